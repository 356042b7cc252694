"""Code that users copy passes mypy and basedpyright at their strictest: the documents and the examples."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rigs import typing_tools
from tests.rigs.tree import ROOT
from tests.rigs.typing_tools import Said
from tests.test_docs import DOCUMENTS, blocks

EXAMPLES = ROOT / "examples"
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
            if body.startswith("# examples/"):  # which stands there, too
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


WRONG = "inbox = bus.register('lab/log')\nprint((await inbox.receive()).payload_of(3))\n"
FITS = """import busway
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


# Each way to write the union, with a case for each member: nothing is left for `assert_never`.
EXHAUSTIVE = """import busway
from dataclasses import dataclass
from typing import Annotated, TypeAlias, Union, assert_never


@busway.message(name="lab/reading")
@dataclass
class Reading:
    celsius: float


@busway.message(name="lab/alarm")
@dataclass
class Alarm:
    text: str


Told: TypeAlias = Annotated[Reading | Alarm, "what the lab tells"]
Same = Union[Reading, Alarm]


async def listen(bus: busway.AsyncBus, other: busway.Bus) -> None:
    async for message in bus.subscribe("lab", types=Told):
        match message.payload:
            case Reading(celsius):
                print(celsius)
            case Alarm(text):
                print(text)
            case _:
                assert_never(message.payload)
    for message in other.register("lab", types=Same):
        match message.payload:
            case Reading() | Alarm():
                pass
            case _:
                assert_never(message.payload)

    @bus.serve("lab/ask", types=Reading | Alarm)
    def answer(request: busway.Request[Reading | Alarm]) -> str:
        match request.payload:
            case Reading():
                return "reading"
            case Alarm():
                return "alarm"

    reply = await bus.request("lab/ask", reply=Told)
    match reply:
        case Reading():
            pass
        case Alarm():
            pass
        case _:
            assert_never(reply)
    print(answer)
"""
# The same with a case left out, each of which is an error on the line of `assert_never`, or of the function.
LEFT_OUT = [
    ("            case Alarm(text):\n                print(text)\n", "assert_never(message.payload)"),
    (" | Alarm()", "assert_never(message.payload)"),
    ('            case Alarm():\n                return "alarm"\n', "def answer"),
    ("        case Alarm():\n            pass\n", "assert_never(reply)"),
]


class Checked(NamedTuple):
    """All files that are looked at, by both checkers in one run each, for it is the start that takes time."""

    documents: list[Path]
    examples: list[Path]
    typed: Path
    wrong: Path
    fits: Path
    misfits: Path
    exhaustive: Path
    left_out: list[Path]
    mypy: Said
    basedpyright: Said


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    folder = tmp_path_factory.mktemp("typing")
    documents, examples = written(folder), sorted(EXAMPLES.glob("*.py"))
    typed, wrong, fits, misfits = (
        folder / f"{name}.py" for name in ("test_typed", "wrong", "fits", "misfits")
    )
    typed.write_text("# pyright: standard\n" + (ROOT / "tests" / "adapters" / "test_typed.py").read_text())
    wrong.write_text(wrapped(WRONG))
    fits.write_text(FITS)
    bad = "".join(f"    {call}(Reading, {{'celsius': 21.5}})\n    {call}(Reading, 5)\n" for call in CALLS)
    misfits.write_text(FITS + bad)
    exhaustive = folder / "exhaustive.py"
    exhaustive.write_text(EXHAUSTIVE)
    left_out = [folder / f"left_out_{number}.py" for number in range(len(LEFT_OUT))]
    for file, (case, _) in zip(left_out, LEFT_OUT, strict=True):
        assert EXHAUSTIVE.count(case) == 1
        file.write_text(EXHAUSTIVE.replace(case, ""))
    ours = [*documents, wrong, fits, misfits, exhaustive, *left_out]
    mypy = typing_tools.mypy(folder, ours)
    basedpyright = typing_tools.basedpyright(
        folder, [*ours, typed, *examples], imports={EXAMPLES: [EXAMPLES]}
    )
    assert {*mypy, *basedpyright} <= {*ours, typed, *examples}
    return Checked(documents, examples, typed, wrong, fits, misfits, exhaustive, left_out, mypy, basedpyright)


def complaints(said: Said, files: Sequence[Path]) -> dict[str, list[str]]:
    return {file.name: said[file] for file in files if file in said}


def test_mypy_over_the_documents(checked: Checked) -> None:
    assert complaints(checked.mypy, checked.documents) == {}


def test_basedpyright_over_the_documents(checked: Checked) -> None:
    assert complaints(checked.basedpyright, checked.documents) == {}


def test_both_over_the_examples(checked: Checked) -> None:
    by_make_check = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert by_make_check["strict"]
    assert EXAMPLES.name in by_make_check["files"]
    assert len(checked.examples) >= 10
    assert complaints(checked.basedpyright, checked.examples) == {}


def test_basedpyright_agrees_with_what_the_tests_say_of_types(checked: Checked) -> None:
    assert complaints(checked.basedpyright, [checked.typed]) == {}


def test_the_checkers_see_a_mistake(checked: Checked) -> None:
    for said in (checked.mypy, checked.basedpyright):
        assert any("payload_of" in line for line in said[checked.wrong])


def test_the_checkers_refuse_what_is_no_message_of_a_class(checked: Checked) -> None:
    first = len(FITS.splitlines()) + 1
    wrong = {str(line) for line in range(first, first + 2 * len(CALLS))}
    for said in (checked.mypy, checked.basedpyright):
        assert complaints(said, [checked.fits]) == {}
        assert {line.partition(":")[0] for line in said[checked.misfits]} >= wrong


def test_the_checkers_see_that_a_union_is_taken_apart_in_full(checked: Checked) -> None:
    for said in (checked.mypy, checked.basedpyright):
        assert complaints(said, [checked.exhaustive]) == {}


@pytest.mark.parametrize("number", range(len(LEFT_OUT)))
def test_the_checkers_see_a_case_that_is_left_out(checked: Checked, number: int) -> None:
    file, place = checked.left_out[number], LEFT_OUT[number][1]
    lines = file.read_text().splitlines()
    for said in (checked.mypy, checked.basedpyright):
        wrong = [lines[int(each.partition(":")[0]) - 1] for each in said[file]]
        assert any(place in line for line in wrong)
