"""A router of Busway that does with what passes through it what it likes: for tests of what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from busway import AsyncBus
from busway.protocol import codes
from busway.protocol.wire.messages import Frame

Tamper = Callable[[Frame, bytes], list[Frame]]


def copy(frame: Frame, **changes: Any) -> Frame:
    """Another frame that says the same, but for the changes."""
    made = Frame(
        frame.kind,
        frame.destination,
        frame.endpoint,
        frame.number,
        frame.payload,
        frame.format,
        frame.type_id,
    )
    for name in ("id", "code", "signal", "expires", "options", "route"):
        setattr(made, name, getattr(frame, name))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class Hostile:
    """A bus whose node hands everything in transit to `tamper`, and passes on what that returns."""

    def __init__(self, bus: AsyncBus) -> None:
        self.seen: list[Frame] = []
        self.tamper: Tamper = lambda frame, source: [frame]
        node: Any = bus.node
        self._pass_on = node.forwarder.pass_on
        node.forwarder.pass_on = self._passed
        self._came = node.frame_came
        node.frame_came = self._published
        node.meaning_of = lambda *_: None  # no short way past it

    def _passed(self, connection: Any, source: bytes, frame: Frame, now: int) -> None:
        self.seen.append(copy(frame))
        for each in self.tamper(frame, source):
            self._pass_on(connection, source, each, now)

    def _published(self, link: Any, frame: Frame, now: int) -> None:
        """Broadcasts, which are its own as well as others'."""
        if frame.kind != codes.PUBLISH:
            self._came(link, frame, now)
            return
        self.seen.append(copy(frame))
        for each in self.tamper(frame, b""):
            self._came(link, each, now)

    def said(self) -> bytes:
        """All payloads that passed."""
        return b"\n".join(frame.payload for frame in self.seen if isinstance(frame.payload, bytes))
