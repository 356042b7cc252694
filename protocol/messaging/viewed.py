"""Messages whose bytes lie in memory that others see as well: taken by a program, they have a view of these,
and a copy once somebody asks for it.
"""

from busway.protocol.messaging.endpoints import Message
from busway.protocol.messaging.marked import MarkedMessage
from busway.protocol.messaging.requests import Request
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ViewedMessage(MarkedMessage):
    """A message of bytes: `payload` is made when it is first asked for, and then `lent` let go of."""

    __slots__ = ("lent",)

    def __init__(self, message: Message) -> None:
        self.flow = message.flow
        self.seq = message.seq
        self.format = message.format
        self.type_id = message.type_id
        self.missed = message.missed
        self.arrived = message.arrived
        self.error = None
        self.lent: "Any" = message.payload  # None: it has been copied
        self.beside = getattr(message, "beside", None)
        if isinstance(message, MarkedMessage):
            self.mark(message.name, message.retained, message.last_word, message.reach)
        else:
            self.mark("")

    def __getattr__(self, name: str) -> "Any":
        """The payload, which nobody has asked for yet."""
        if name != "payload":
            raise AttributeError(name)
        self._copy()
        return self.payload

    def _copy(self) -> None:
        self.payload = bytes(self.lent)
        self.lent = None

    def __repr__(self) -> str:
        if self.lent is not None:
            self._copy()  # compiled, a class above looks where the payload is, and does not ask
        return super().__repr__()

    @property
    def view(self) -> memoryview:
        lent: "memoryview | None" = self.lent
        return memoryview(self.payload) if lent is None else lent


def seen(message: Message) -> Message:
    """A message that has been taken, whose payload is a view, as the program gets it: only bytes look
    different, all else is decoded from the view.
    """
    if message.format != codes.RAW:
        return message
    if isinstance(message, Request):  # others know it by identity
        message.payload = bytes(message.payload)
        return message
    return ViewedMessage(message)
