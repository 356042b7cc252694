"""Streaming replies of a board: handlers that yield. Loaded when one does.

Knows generators and the loop; how parts travel is the core's (protocol/leaf/streams.py).
"""

from busway.adapters.micropython import Loop, RemoteError, describe, encode
from busway.protocol import codes
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.streams import respond_end, respond_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_AGAIN_MS: "Final" = 5  # until the asker, or the line, may have room again


def offer(loop: Loop, request: Message, value: object) -> bool:
    """One part; False: no room now. Raises ValueError, TypeError for what cannot be sent, RemoteError if one
    reply was asked for."""
    if not request.window:
        raise RemoteError(codes.NOT_A_STREAM, "this one replies in parts: ask for a stream")
    payload, format = encode(value)
    taken = respond_part(loop.leaf, request, payload, loop.now(), format)
    loop._wake()
    return taken


def finish(loop: Loop, request: Message) -> None:
    """All parts have been given."""
    respond_end(loop.leaf, request)
    loop._wake()


class Stream:
    """One streaming reply under way: asks its generator for the next value when there is room for it. None
    is no part, but means that there is none yet."""

    def __init__(self, loop: Loop, request: Message, values: "Any") -> None:
        self._loop = loop
        self._request = request
        self._values = values
        self._value: object = None  # that waits for room
        self._timer: "list[Any]" = [loop.now(), _AGAIN_MS, self._go_on]
        loop._timers.append(self._timer)
        loop._wake()

    def _go_on(self) -> None:
        loop = self._loop
        request = self._request
        try:
            while request.wants_answer:
                if self._value is None:
                    self._value = next(self._values)
                if self._value is None or not offer(loop, request, self._value):
                    return
                self._value = None
            self._values.close()
        except StopIteration:
            finish(loop, request)
        except Exception as error:  # noqa: BLE001 - a program's own: the asker hears of it
            loop.last_error = error
            code, text = describe(error)
            loop.answer(request, None, code, text)
        loop._timers = [timer for timer in loop._timers if timer is not self._timer]
