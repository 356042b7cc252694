"""The documentation site builds without warnings, loads nothing from elsewhere, and tells of all there is."""

from __future__ import annotations

import os
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import busway
import busway.testing
from busway.cli.app import commands
from busway.protocol import codes
from tests.rigs import architecture
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: a warning is an error."""
    made = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(made)]
    assert output_of(words, cwd=ROOT, env=environment, timeout_s=600) == ""
    return made


class Loaded(HTMLParser):
    """All that a browser fetches with a page, besides the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        address = given.get("src") or given.get("data") or (given.get("href") if tag == "link" else None)
        if address:
            self.found.append(address)


def loaded(page: str) -> list[str]:
    """Addresses that the page's tags load, and those in its style sheets."""
    parser = Loaded()
    parser.feed(page)
    return parser.found + re.findall(r"url\(['\"]?([^'\")]+)", page)


ELSEWHERE = re.compile(r"(https?:)?//")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = [path for kind in ("*.html", "*.css") for path in site.rglob(kind)]
    assert len(pages) > 30
    found = {path.name: loaded(path.read_text(encoding="utf-8")) for path in pages}
    assert sum(map(len, found.values())) > 100
    assert {name: [one for one in all_ if ELSEWHERE.match(one)] for name, all_ in found.items()} == {
        name: [] for name in found
    }
    # Of such a block the theme would draw a graph, with a script that it fetches.
    assert [path.name for path in pages if 'class="mermaid"' in path.read_text(encoding="utf-8")] == []


def test_what_is_loaded_would_be_seen() -> None:
    page = '<link rel="icon" href="//a/b.png"><script src="https://c"></script><style>a {b: url("http://d")}</style>'
    assert [one for one in loaded(page) if ELSEWHERE.match(one)] == ["//a/b.png", "https://c", "http://d"]


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    shown = re.findall(r'<h3 id="([\w.]+)"', page)
    assert sorted(shown) == sorted([*(f"busway.{name}" for name in busway.__all__), "busway.testing"])
    tools = [f"testing.{name}" for name in busway.testing.__all__]
    for call in (
        *tools,
        "AsyncBus.request_stream",
        "Bus.request_future",
        "Receiver.receive",
        "Node.handle_timer",
    ):
        assert f'id="busway.{call}"' in page, call


def test_the_reference_has_every_command_and_number(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="busway-([\w-]+)"', page) == list(commands())
    assert "--json" in page
    page = (site / "reference" / "numbers.html").read_text(encoding="utf-8")
    for names in (codes.REASON_NAMES, codes.LINK_ERROR_NAMES):
        for number, name in names.items():
            assert re.search(rf"<td>{number}</td>\s*<td>{name}</td>\s*<td>.+</td>", page), name


def test_documents_lead_to_files_of_the_repository(site: Path) -> None:
    page = (site / "howto" / "examples.html").read_text(encoding="utf-8")
    assert 'href="../source/examples/worker.py.html"' in page
    assert "async def" in re.sub(r"<[^>]+>", "", (site / "source/examples/worker.py.html").read_text())


def test_what_is_written_of_the_architecture_is_what_the_code_is() -> None:
    """Else: `make docs` writes it anew."""
    assert architecture.page() == architecture.PAGE.read_text(encoding="utf-8")
    assert architecture.drawing() == architecture.DRAWING.read_text(encoding="utf-8")


def short_numbers(size: int) -> bytes:
    """Random bytes of which every request's number is a short one."""
    drawn = bytearray(random.randbytes(size))
    drawn[::4] = bytes(len(drawn[::4]))
    drawn[1::4] = bytes(len(drawn[1::4]))
    return bytes(drawn)


def test_ways_do_not_depend_on_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {title: way.counts() for title, way in architecture.ways().items()}
    monkeypatch.setattr(os, "urandom", short_numbers)
    assert {title: way.counts() for title, way in architecture.ways().items()} == counts


def test_a_way_is_one_of_a_message() -> None:
    for title, way in architecture.ways().items():
        files = {file for turn in way.turns for file, _ in turn}
        assert {"adapters/asyncio_calls.py", "drivers/memory.py", "protocol/node.py"} <= files, title
        functions, count, changes = way.counts()
        assert functions > count > 5
        assert changes > count
