"""The types of the JavaScript client for TypeScript: they declare what the modules export, and nothing else.

They are read simply: a declaration begins a line, and a member of it has two spaces before it.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from busway import web
from tests.rigs import browser
from tests.rigs.tree import ROOT

FOLDER = web.folder()
_DECLARED = re.compile(r"^export (class|function|const) (\w+)(?:<[^(]*?>)?(?: extends (\w+))?", re.M)
_AGAIN = re.compile(r"^export \{ ([\w, ]+) \} from", re.M)
_INTERFACE = re.compile(r"^export interface (\w+)(?:<.*?>)?(?: extends (\w+))? \{\n(.*?)^\}", re.M | re.S)
_CLASS = re.compile(r"^export class (\w+)[^{]*\{(\}|\n.*?^\})", re.M | re.S)
_MEMBER = re.compile(r"^  (?:readonly )?(\w+)\??[(<:]", re.M)
_OPTIONS = {
    "constructor": "WebOptions",
    "subscribe": "SubscribeOptions",
    "serve": "RegisterOptions",
    "request": "AskOptions",
    "requestAll": "AskAllOptions",
    "requestStream": "StreamOptions",
    "send": "SendOptions",
    "publish": "PublishOptions",
}


@pytest.fixture(scope="module")
def exported() -> Any:
    script = ROOT / "tests" / "web" / "exports.mjs"
    run = subprocess.run(
        [browser.node(), script, FOLDER], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def declared(file: str) -> str:
    return (FOLDER / file.replace(".js", ".d.ts")).read_text()


def interfaces() -> dict[str, tuple[str, set[str]]]:
    """Which interface extends which, and its own members."""
    text = declared("bus.js") + declared("busway.js")
    return {name: (base, set(_MEMBER.findall(body))) for name, base, body in _INTERFACE.findall(text)}


def members(name: str) -> set[str]:
    base, own = interfaces()[name]
    return own | members(base) if base else own


@pytest.mark.parametrize("file", ["bus.js", "busway.js", "node/bus.js"])
def test_each_export_is_declared_and_nothing_else(exported: Any, file: str) -> None:
    text = declared(file)
    found = {name: ("class" if kind == "class" else "function") for kind, name, _ in _DECLARED.findall(text)}
    again = {name for names in _AGAIN.findall(text) for name in names.split(", ")}
    known = exported["modules"][file]
    assert {*found, *again} == set(known)
    assert found == {name: known[name]["kind"] for name in found}
    bases = {name: base for kind, name, base in _DECLARED.findall(text) if kind == "class"}
    assert bases == {name: known[name]["base"] for name in bases}


@pytest.mark.parametrize("file", ["bus.js", "busway.js", "node/bus.js"])
def test_each_member_of_a_class_is_declared_and_nothing_else(exported: Any, file: str) -> None:
    for name, body in _CLASS.findall(declared(file)):
        found = set(_MEMBER.findall(body)) - {"constructor"}
        inherited = {"name", "code"} if name == "Undeliverable" else {"name"} if name == "BusError" else set()
        fields = set(exported["fields"].get(name, ())) - inherited
        assert found == {*exported["modules"][file][name]["members"], *fields}, name


def test_selectors_have_what_is_declared(exported: Any) -> None:
    assert members("Selector") == set(exported["selectors"])


@pytest.mark.parametrize("call", _OPTIONS)
def test_options_are_those_that_a_call_takes(exported: Any, call: str) -> None:
    assert members(_OPTIONS[call]) == set(exported["options"][call])


@pytest.mark.parametrize(("call", "option"), [("last", "timeout"), ("presence", "signal")])
def test_options_of_calls_that_have_one(exported: Any, call: str, option: str) -> None:
    assert exported["options"][call] == [option]
    (text,) = re.findall(rf"^  {call}(?:<.*?>)?\((.*?)\): ", declared("bus.js"), re.M | re.S)
    assert re.findall(r"options\?: \{ (\w+)\?:", text) == [option]


def test_the_package_says_where_they_are() -> None:
    package = json.loads((FOLDER / "package.json").read_text())
    assert package["types"] == package["exports"]["."]["types"]
    for name in (".", "./node"):
        where = package["exports"][name]
        assert list(where) == ["types", "default"]  # the first that fits counts
        assert where["types"] == where["default"].replace(".js", ".d.ts")
        assert (FOLDER / where["types"]).is_file()
        assert (FOLDER / where["default"]).is_file()
