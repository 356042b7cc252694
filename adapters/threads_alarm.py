"""Wakes a thread that waits on a selector."""

from __future__ import annotations

import socket


class Alarm:
    """A pair of sockets: `inner` is watched, and readable once it has been rung."""

    def __init__(self) -> None:
        self.inner, self._outer = socket.socketpair()
        self.inner.setblocking(False)
        self._outer.setblocking(False)
        self._rung = False

    def ring(self) -> None:
        if not self._rung:
            self._rung = True
            try:
                self._outer.send(b"!")
            except OSError:
                pass  # it is ringing, or closed

    def drain(self) -> None:
        try:
            self.inner.recv(64)
        except OSError:
            pass
        self._rung = False  # only now: who finds it rung has changed before what is looked at after this

    def close(self) -> None:
        self.inner.close()
        self._outer.close()
