"""Every case of WebSocket that was tried ends as the table in docs/links/websocket.md says; all are there."""

import re

import pytest

from tests.drivers import websocket_peers
from tests.drivers.websocket_cases import CASES
from tests.rigs.tree import ROOT

assert websocket_peers.CASES is CASES
ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)  # not the rule below the head, which has no spaces


def table() -> dict[str, str]:
    text = (ROOT / "docs" / "links" / "websocket.md").read_text(encoding="utf-8")
    return dict(ROW.findall(text.partition("<!-- cases -->")[2]))


def test_the_table_has_every_case_and_no_other() -> None:
    assert list(table())[1:] == list(CASES)  # the first is the table's head


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    assert CASES[name]() == table()[name]
