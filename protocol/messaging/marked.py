"""Messages of which there is more to say than of others: a name of their own, that they come late."""

from busway.protocol.link.queue import OVERHEAD
from busway.protocol.messaging.endpoints import Message
from busway.protocol.messaging.payload import size_of
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from busway.protocol.messaging.endpoints import Receiver


class MarkedMessage(Message):
    """One of which there is more to say than of others: they pay nothing for that."""

    __slots__ = ("_last_word", "_name", "_retained", "reach")

    def mark(self, name: str, retained: bool = False, last_word: bool = False, reach: int = 0) -> None:
        """Say it; `name` "": the endpoint's own; `reach`: the widest realm that it is for, 0 where its sender
        has not said it.
        """
        self.reach = reach
        self._name = name
        self._retained = retained
        self._last_word = last_word

    @property
    def name(self) -> str:
        return self._name or self.flow.endpoint.name

    @property
    def retained(self) -> bool:
        return self._retained

    @property
    def last_word(self) -> bool:
        return self._last_word

    def copy(self) -> "MarkedMessage":
        """The same, for another receiver."""
        copy = MarkedMessage(
            self.flow, self.seq, self.payload, self.format, self.type_id, self.missed, self.arrived
        )
        copy.mark(self._name, self._retained, self._last_word, self.reach)
        return copy


class Last:
    """The last value of a name, as one publisher has it: `number` counts those of its node."""

    __slots__ = ("asked", "at", "cleared", "format", "lacking", "number", "payload", "size", "type_id")

    def __init__(self, number: int, payload: object, format: int, type_id: bytes, at: int) -> None:
        self.number = number & ~codes.CLEARED
        self.cleared = number & codes.CLEARED != 0  # there is none any more
        if type(payload) is memoryview:
            payload = bytes(payload)  # it may stay for long, and others want its room
        self.payload: "Any" = b"" if self.cleared else payload
        self.format = format
        self.type_id = type_id
        self.at = at  # when it was published, or came, ms
        # While its publisher is away, who may clear it: the receivers that have come meanwhile.
        self.lacking: "list[Receiver] | None" = None
        self.asked = False  # ... and whether that has been asked for since
        self.size = size_of(self.payload) + OVERHEAD
