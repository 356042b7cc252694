"""Words for the shell when one presses Tab, and the list of commands."""

from __future__ import annotations

import pytest

from busway.cli.output import uuid_text
from busway.names import endpoint_id
from tests.front.cli_rig import busway, busway_started, new_bus, peer


def offered(bus: str, *words: str) -> list[str]:
    """For the last of `words`, as bash is told."""
    line = " ".join(("busway", *words))
    told = busway(bus=bus, _BUSWAY_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words)))
    assert (told.status, told.stderr) == (0, "")
    return [found.partition(",")[2] for found in told.lines if found]


def test_endpoints_and_nodes_that_are_there() -> None:
    bus = new_bus()
    with peer(bus, "answers"):
        (name,) = [each for each in offered(bus, "request", "") if each.endswith("echo")]
        assert offered(bus, "request", name[:-1]) == [name]
        assert offered(bus, "send", "no-such") == []
        assert offered(bus, "ping", "answ") == ["answers"]
        assert offered(bus, "nodes", "--node", "a") == ["answers"]
        assert "answers" in offered(bus, "doctor", "")


@pytest.mark.parametrize("name", ["lab/$(reboot)", "lab/`reboot`", "lab/a\nplain,b", "lab/a;b", "--help"])
def test_a_name_that_a_shell_would_obey_is_offered_by_its_id(name: str) -> None:
    bus = new_bus()
    with busway_started("listen", "--kind", "unicast", "--", name, bus=bus):
        assert offered(bus, "request", "") == [uuid_text(endpoint_id(name))]


def test_a_label_cannot_add_to_what_is_offered() -> None:
    bus = new_bus()
    with peer(bus, "a\nplain\n$(reboot)\n_"):
        told = busway(bus=bus, _BUSWAY_COMPLETE="zsh_complete", COMP_WORDS="busway ping ", COMP_CWORD="2")
        assert "$(reboot)" not in told.lines


@pytest.mark.parametrize("words", [("request", ""), ("nodes", "-n", "")])
def test_nobody_is_there(words: tuple[str, ...]) -> None:
    assert offered(new_bus(), *words) == []


def test_a_directory_that_cannot_be_used_is_not_told_here() -> None:
    told = busway(
        _BUSWAY_COMPLETE="bash_complete", COMP_WORDS="busway send ", COMP_CWORD="2", BUSWAY_DIR="/dev/null"
    )
    assert (told.status, told.text.strip(), told.stderr) == (0, "", "")


@pytest.mark.parametrize("columns", ["50", "80", "200"])
def test_each_sentence_of_the_help_is_whole(columns: str) -> None:
    told = busway("--help", COLUMNS=columns).ok().text
    assert told.count("...") == 1, "that of the usage"
    words = " ".join(told.split())
    assert "whoever holds a unicast or anycast endpoint." in words
    assert "_BUSWAY_COMPLETE=bash_source" in told
