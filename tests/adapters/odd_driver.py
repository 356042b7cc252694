"""A driver for test_faults.py that raises what no driver should, wherever the test says."""

from __future__ import annotations

import socket
from typing import Any

from tests.adapters.tools import PairChannel

fault: tuple[str, BaseException] = ("", Exception())  # where, and what


def _fail(where: str) -> None:
    if fault[0] == where:
        raise fault[1]


class OddChannel(PairChannel):
    """One end of a socket pair whose other end says nothing."""

    __slots__ = ("asked", "other")

    asked: bool
    other: socket.socket

    def connected(self) -> bool:
        if fault[0] == "connected later":
            if not self.asked:
                self.asked = True
                return False
            self._sock.close()
            raise fault[1]
        _fail("connected")
        return True

    def read(self, size_max: int = 65536) -> bytes | None:
        _fail("read")
        return super().read(size_max)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        _fail("write")
        return super().write(data)

    def close(self) -> None:
        super().close()
        self.other.close()
        _fail("close")


class OddListener:
    """Always readable, and takes nobody as long as `fault` says so."""

    refused = 0
    url = "tcp://odd"

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._far.send(b"!")
        self.asked = self.clients = 0

    def fileno(self) -> int:
        return self._near.fileno()

    def accept(self) -> Any:
        self.asked += 1
        _fail("accept")
        self._near.setblocking(False)
        try:
            self._near.recv(1)
        except BlockingIOError:
            return None
        self.clients += 1
        return dial("", "", dialled=False)

    def close(self) -> None:
        self._near.close()
        self._far.close()

    def abandon(self) -> None:
        self.close()


def candidates(url: str) -> list[str]:
    _fail("candidates")
    return ["one", "two"]


def dial(candidate: str, url: str, *, token: str | None = None, dialled: bool = True) -> OddChannel:
    _fail("dial")
    one, two = socket.socketpair()
    channel = OddChannel(one, "localnet", "odd", dialled)
    channel.other = two
    channel.asked = False
    if fault[0] == "read":
        two.send(b"?")
    if fault[0] == "close":
        two.send(b"GET / HTTP/1.1\r\n\r\n")
    return channel


def listen(url: str, *, token: str | None = None, open: bool = False) -> OddListener:
    return OddListener()
