"""The sentence about a library that is missing: it names what the extra brings, and a command that works."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from busway.drivers import extras
from tests.rigs.tree import ROOT

NOT_FOR_USERS = {"all", "bench", "dev", "docs"}  # made of the others; for who works on Busway


def of_pyproject() -> dict[str, tuple[str, ...]]:
    """The libraries of each extra, by name; an extra within an extra is replaced by what it brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["optional-dependencies"]

    def libraries(extra: str) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        for wanted in named[extra]:
            inner = re.fullmatch(r"busway\[(\w+)\]", wanted)
            found += libraries(inner[1]) if inner else (re.split(r"[<>=!~; ]", wanted)[0],)
        return found

    return {extra: libraries(extra) for extra in named if extra not in NOT_FOR_USERS}


def test_the_libraries_are_those_of_pyproject() -> None:
    assert of_pyproject() == extras.LIBRARIES


def test_the_command_is_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.missing("the demo needs", "demo") == (
        f"the demo needs psutil and h11 and wsproto: {sys.executable} -m pip install psutil h11 wsproto"
    )
    monkeypatch.setattr(sys, "executable", "/home/a b/python")
    assert shlex.split(extras.install("ble")) == ["/home/a b/python", "-m", "pip", "install", "bleak"]
    monkeypatch.setattr(sys, "executable", "")  # as in a program that embeds Python
    assert extras.install("ble") == "python3 -m pip install bleak"
    assert extras.install("nats") == "python3 -m pip install 'nats-py[nkeys]'"


def test_no_message_asks_pip_for_busway_itself() -> None:
    """It cannot be found by name: who has a checkout or a wheel would be told that there is no such thing."""
    wrong = [
        str(path.relative_to(ROOT))
        for folder in ("src", "drivers", "adapters", "protocol")
        for path in sorted(Path(ROOT / folder).rglob("*.py"))
        if re.search(r"pip install .{0,20}busway", path.read_text())
    ]
    assert wrong == []
