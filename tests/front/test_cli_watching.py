"""`busway watch`, on running programs."""

from __future__ import annotations

import json
import signal

from tests.front.cli_rig import busway, busway_started, new_bus, python


def test_so_many_lines_are_endpoints_and_a_script_can_wait_for_one() -> None:
    name = new_bus()
    nobody = busway("watch", "box/*", "-c", "1", "--timeout", "0.5", bus=name)
    assert (nobody.status, nobody.lines) == (3, [])
    with python("-m", "tests.front.labelled_program", name, "one") as one:
        assert one.line() == "ready"
        with busway_started("watch", "box/*", "-c", "2", bus=name) as watching:
            assert watching.line().split()[1:3] == ["here", "box/one"]
            with python("-m", "tests.front.labelled_program", name, "two") as two:
                assert two.line() == "ready"
                assert watching.line().split()[1:3] == ["came", "box/two"]
                assert watching.status() == 0


def test_it_tells_who_is_there_who_comes_who_left_and_who_is_lost() -> None:
    name = new_bus()
    with python("-m", "tests.front.labelled_program", name, "one", "codec") as one:
        assert one.line() == "ready"
        with busway_started("watch", "box/*", bus=name) as watching:
            here = watching.line().split()
            assert here[1:6] == ["here", "box/one", "unicast", "localnet", "one"]
            assert watching.complaint() == "busway: 1 there now; Ctrl-C ends this"
            with python("-m", "tests.front.labelled_program", name, "two") as two:
                assert two.line() == "ready"
                assert watching.line().split()[1:3] == ["came", "box/two"]
                two.tell(signal.SIGKILL)
                assert watching.line().split()[1:3] == ["lost", "box/two"]
            one.tell(signal.SIGKILL)
            assert watching.line().split()[1:3] == ["lost", "box/one"]
            watching.tell(signal.SIGINT)
            assert watching.status() == 0


def test_documents_for_scripts() -> None:
    name = new_bus()
    with python("-m", "tests.front.labelled_program", name, "one", "codec") as one:
        assert one.line() == "ready"
        lines = busway("watch", "**", "--json", "-c", "3", bus=name).ok().lines  # not itself
    documents = [json.loads(line) for line in lines]
    assert [each["what"] for each in documents] == ["present", "present", "complete"]
    assert {each["endpoint"] for each in documents[:2]} == {"box/one", "work/one"}
    assert documents[0]["labels"] == ["codec", "fleet"]
    assert (documents[0]["node_label"], documents[0]["leaf"]) == ("one", False)


def test_a_selector_in_place_of_a_pattern() -> None:
    name = new_bus()
    with python("-m", "tests.front.labelled_program", name, "one", "codec") as one:
        assert one.line() == "ready"
        line = busway("watch", "--where", "codec", "-q", "-c", "1", bus=name).ok().lines[0]
        assert line.split()[1] == "here"
        assert "PATTERN" in busway("watch", bus=name).stderr
        assert "PATTERN" in busway("watch", "x", "--where", "codec", bus=name).stderr


def test_what_is_no_pattern_is_refused() -> None:
    result = busway("watch", "lab/t*", bus=new_bus())
    assert result.status == 2
    assert "whole level" in result.stderr
