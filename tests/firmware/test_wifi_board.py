"""The Wi-Fi example on a real MicroPython, with a token: readings, parts, and what happens without Wi-Fi."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import busway
from tests.rigs.boards import Board, board

WARM = pytest.approx(27.0, abs=10.0)
TOKEN = "a long secret-h4k9w2x7q5m8z3t6r1v0"
SETTINGS = "SSID = 'the lab'\nKEY = 'its password'\nURL = {!r}\nTOKEN = {!r}\n"


@busway.message(name="lab/room")
@dataclass
class Room:
    """As the example's header declares it."""

    celsius: float
    dbm: int


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


def told(reading: object) -> Any:
    assert isinstance(reading, Room)
    return reading.celsius, reading.dbm


def settle(bus: busway.Bus, directory: Path) -> str:
    """Listen, and tell the board where."""
    url = bus.listen("tcp://127.0.0.1:0", token=TOKEN).url
    (directory / "wifi_settings.py").write_text(SETTINGS.format(url, TOKEN))
    return url


@pytest.fixture
def found(bus: busway.Bus, tmp_path: Path) -> Iterator[Board]:
    settle(bus, tmp_path)
    with board("wifi_sensor.py", tmp_path) as found:
        yield found


def test_readings_are_of_the_declared_type(bus: busway.Bus, found: Board) -> None:
    readings = bus.subscribe(Room)
    found.put("rssi", 71)
    readings.receive(timeout=60)
    assert told(readings.receive(timeout=60).payload) == (WARM, -71)
    (node,) = (node for node in bus.nodes() if node.label == "lab-wifi")
    (link,) = bus.links()
    assert link.peer == node.id


def test_a_burst_comes_in_parts(bus: busway.Bus, found: Board) -> None:
    parts = bus.request_stream("lab/room/burst", 3, ttl=30.0, reply=Room)
    assert [told(part) for part in parts] == [(WARM, -60)] * 3
    with pytest.raises(busway.RemoteError, match="1 to 100") as caught:
        list(bus.request_stream("lab/room/burst", 101))
    assert caught.value.code == 256


def test_the_board_finds_back_when_wifi_and_computer_were_away(tmp_path: Path) -> None:
    """A join that is begun while there is no Wi-Fi comes to nothing: the board must begin another."""
    with contextlib.ExitStack() as stack:
        with busway.Bus("default", ipc=False) as bus:
            url = settle(bus, tmp_path)
            found = stack.enter_context(board("wifi_sensor.py", tmp_path))
            assert len(list(bus.request_stream("lab/room/burst", 1, ttl=30.0))) == 1
            assert found.shown("joins") == 1
            found.put("wifi", 0)
        found.until("joins", 2)
        found.put("wifi", 1)
        with busway.Bus("default", ipc=False) as bus:
            bus.listen(url, token=TOKEN)
            assert len(list(bus.request_stream("lab/room/burst", 1, ttl=60.0, timeout=60.0))) == 1
        assert found.shown("joins") >= 3
        assert found.complaint() == ""
