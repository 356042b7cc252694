"""Code that users copy passes mypy and basedpyright at their strictest: the documents and the examples."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.rigs import typing_tools
from tests.rigs.tree import ROOT
from tests.test_docs import DOCUMENTS, blocks

PROGRAM = re.compile(r"# (\w+\.py)\n")
FRAGMENT = """import busway


async def paste(bus: busway.AsyncBus) -> None:
"""

pytestmark = pytest.mark.timeout(2 * typing_tools.TIMEOUT_S)


def wrapped(pasted: str) -> str:
    """A module of what one pastes into the prompt of `python -m asyncio`, which knows a bus and `await`."""
    body = re.sub(
        r"^import (asyncio, )?busway\n",
        lambda found: "import asyncio\n" if found[1] else "",
        pasted,
        flags=re.M,
    )
    imports = "".join(re.findall(r"^(?:from|import) .*\n", body, re.MULTILINE))
    body = re.sub(r"^(?:from|import) .*\n", "", body, flags=re.MULTILINE)
    return imports + FRAGMENT + textwrap.indent(body, "    ")


def written(folder: Path) -> list[Path]:
    """The Python of every document as modules; a document's fragments are one, as they are read."""
    files = []
    for document in DOCUMENTS:
        stem = re.sub(r"\W", "_", document.removesuffix(".md"))
        pasted = []
        for body in blocks(document, "python"):
            if body.startswith("# examples/"):  # which tests/test_examples.py checks
                continue
            if named := PROGRAM.match(body):
                files.append(folder / f"{stem}_{named[1]}")
                files[-1].write_text(body)
            else:
                pasted.append(body)
        if pasted:
            files.append(folder / f"{stem}.py")
            files[-1].write_text(wrapped("\n".join(pasted)))
    return files


def test_the_documents_have_python_to_check(tmp_path: Path) -> None:
    names = {file.name for file in written(tmp_path)}
    wanted = {
        "README_pump.py",
        "docs_tutorial_calls.py",
        "docs_howto_core_core.py",
        "docs_links_browser_site.py",
    }
    assert wanted <= names


def test_mypy_over_the_documents(tmp_path: Path) -> None:
    assert typing_tools.mypy(tmp_path, written(tmp_path)) == ""


def test_basedpyright_over_the_documents(tmp_path: Path) -> None:
    assert typing_tools.basedpyright(tmp_path, written(tmp_path)) == ""


def test_basedpyright_agrees_with_what_the_tests_say_of_types(tmp_path: Path) -> None:
    copy = tmp_path / "test_typed.py"
    copy.write_text((ROOT / "tests" / "adapters" / "test_typed.py").read_text())
    assert typing_tools.basedpyright(tmp_path, [copy], typeCheckingMode="standard") == ""


def test_the_checkers_see_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(
        wrapped("inbox = bus.register('lab/log')\nprint((await inbox.receive()).payload_of(3))\n")
    )
    assert "payload_of" in typing_tools.mypy(tmp_path, [file])
    assert "payload_of" in typing_tools.basedpyright(tmp_path, [file])


GOOD = """import busway
from busway import endpoint_id
from dataclasses import dataclass


@busway.message(name="lab/reading")
@dataclass
class Reading:
    celsius: float


async def paste(bus: busway.AsyncBus, other: busway.Bus) -> None:
    await bus.send("lab/log", 5)
    await bus.send(endpoint_id(Reading), 5)
    await bus.send(Reading, Reading(21.5))
"""
CALLS = ["await bus.send", "await bus.publish", "await bus.request", "other.send", "other.publish"]
CALLS += ["other.request", "other.request_future", "other.request_stream", "bus.request_stream"]


def test_the_checkers_refuse_what_is_no_message_of_a_class(tmp_path: Path) -> None:
    file = tmp_path / "fits.py"
    file.write_text(GOOD)
    assert typing_tools.mypy(tmp_path, [file]) == ""
    assert typing_tools.basedpyright(tmp_path, [file]) == ""
    file.write_text(
        GOOD
        + "".join(f"    {call}(Reading, {{'celsius': 21.5}})\n    {call}(Reading, 5)\n" for call in CALLS)
    )
    first = len(GOOD.splitlines()) + 1
    wrong = {f"fits.py:{line}:" for line in range(first, first + 2 * len(CALLS))}
    for said in (typing_tools.mypy(tmp_path, [file]), typing_tools.basedpyright(tmp_path, [file])):
        assert {place for place in wrong if place in said} == wrong
