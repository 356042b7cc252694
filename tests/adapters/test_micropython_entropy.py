"""Boards without os.urandom, on a real MicroPython: each start is told from the one before, and joins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import busway
from tests.adapters.test_micropython_station import running
from tests.adapters.threads_tools import until

BARE = """
import os, random, sys

class Bare:
    pass

bare = Bare()
for name in dir(os):
    if name != "urandom":
        setattr(bare, name, getattr(os, name))
sys.modules["os"] = bare
random.seed(1)  # as a board's generator is at each start
"""

DRAWS = (
    BARE
    + """
from busway.adapters.micropython_entropy import urandom
print(urandom(0) + urandom(16) == urandom(16), len(urandom(5)))
print(urandom(16))
"""
)

PROGRAM = (
    BARE
    + """
from busway.adapters.micropython import Loop
from busway.adapters.micropython_net import tcp
from busway.adapters.micropython_websocket import websocket

url, token = sys.argv[1:]
opener = tcp(url) if url.startswith("tcp") else websocket(url)
loop = Loop(opener, "bare", sort="stream", token=token)

@loop.serve("lab/bare")
def bare(value):
    return [hasattr(sys.modules["os"], "urandom"), value]

loop.run()
"""
)


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


def test_what_is_drawn_differs_from_call_to_call_and_from_start_to_start(
    interpreter: str, board_files: Path
) -> None:
    drawn = set()
    for _ in range(4):
        with running(interpreter, board_files, DRAWS) as board:
            printed = board.communicate(timeout=60)[0].splitlines()
        assert printed[0] == "False 5"
        drawn.add(printed[1])
    assert len(drawn) == 4


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_a_board_without_urandom_joins_as_another_at_each_start(
    bus: busway.Bus, interpreter: str, board_files: Path, scheme: str
) -> None:
    """The board has no serial number either: its node id is drawn, as are its incarnation and nonces."""
    url = bus.listen(f"{scheme}://127.0.0.1:0", token="a secret-h4k9w2x7q5m8z3t6r1v0", realm="localnet").url
    ids = set()
    for start in range(2):
        with running(interpreter, board_files, PROGRAM, url, "a secret-h4k9w2x7q5m8z3t6r1v0"):
            assert bus.request("lab/bare", start, ttl=60.0, timeout=60.0) == [False, start]
            ids |= {node.id for node in bus.nodes() if node.label == "bare"}
        # Else the next request may still go to the board that has just been killed.
        until(lambda: len(bus.nodes()) == 1)
    assert len(ids) == 2
