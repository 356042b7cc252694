"""`busway clients`: who is at the servers of named clients."""

import threading
from collections.abc import Iterator

import pytest

from busway import Bus
from tests.front.cli_rig import busway, new_bus


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    """A bus with a server, at which "panel-1" is, who has asked twice."""
    name = new_bus()
    came = threading.Event()
    with Bus(name, label="hall") as hall, Bus(name, ipc=False, label="panel-1") as panel:
        hall.serve("echo", lambda request: request.payload, realm="global")
        panel.connect(hall.listen("ws://127.0.0.1:0", max_connections=5, admit=lambda client: came.set()).url)
        assert came.is_set()
        for number in range(2):
            assert panel.request("echo", number) == number
        yield name


def test_lists_them(bus: str) -> None:
    first, line = busway("clients", bus=bus).ok().lines
    assert first.split()[:5] == ["NAME", "SERVER", "ADDRESS", "SINCE", "IN"]
    assert line.split()[:2] == ["panel-1", "hall"]


def test_json(bus: str) -> None:
    (found,) = busway("clients", "-n", "hall", "--json", bus=bus).ok().document
    assert (found["name"], found["server_label"], found["protection"]) == ("panel-1", "hall", "open")
    assert (found["messages_in"], found["messages_out"]) == (2, 2)
    assert (found["refused"], found["dropped"], found["unheard"]) == (0, 0, 0)
    assert found["bytes_in"] > 0 < found["bytes_out"]
    assert found["address"].startswith("ws://127.0.0.1:")
    (link,) = busway("links", "-n", "hall", "--json", bus=bus).ok().document
    assert link["client"]["messages_in"] == 2


def test_none_is_an_empty_list() -> None:
    assert busway("clients", "--json", bus=new_bus()).ok().document == []
