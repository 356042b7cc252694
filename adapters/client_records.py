"""A client of a server, and a message of its, as a program's hooks are given them.

Knows no listener, and of the link only what it counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import ref

from busway.errors import BusClosed, PayloadError
from busway.names import ascii_safe
from busway.payloads import decode
from busway.protocol import codes

_WHAT: Final = {
    codes.SEND: "send",
    codes.PUBLISH: "publish",
    codes.CONFIRM: "confirmed send",
    codes.REQUEST: "request",
}


class ClientMessage:
    """A message that a client has sent, as `on_message` is told of it: `what` ("send", "confirmed send",
    "publish", "request"), `endpoint` (16 bytes) and its `name` ("" if this program does not know it), `size`
    of the payload in bytes.
    """

    __slots__ = ("_data", "_format", "_type_id", "endpoint", "name", "size", "what")

    def __init__(
        self, kind: int, endpoint: bytes, name: str, data: bytes, format: int, type_id: bytes
    ) -> None:
        self.what = _WHAT[kind]
        self.endpoint = endpoint
        self.name = name
        self.size = len(data)
        self._data = data
        self._format = format
        self._type_id = type_id

    def __repr__(self) -> str:
        return f"<{self.what} to {ascii_safe(self.name or self.endpoint.hex())}, {self.size} bytes>"

    @property
    def payload(self) -> Any:
        """The value, decoded at each call. Raises PayloadError for bytes that are none, UnknownType for a
        message type that this program does not know.
        """
        if self._format == codes.RAW:
            return self._data
        if self._format > codes.TYPED:
            raise PayloadError("a payload of a sort that this version does not know", self._data)
        return decode(self._data, self._format, self._type_id, self.endpoint, None)


class Counts:
    """The counts of a client's link, as they are now."""

    __slots__ = ("bytes_in", "bytes_out", "dropped", "messages_in", "messages_out")

    def __init__(
        self,
        messages_in: int = 0,
        messages_out: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        dropped: int = 0,
    ) -> None:
        self.messages_in = messages_in
        self.messages_out = messages_out
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.dropped = dropped


class Client:
    """A client of a server (`listen`, `busway.asgi`): also what its hooks are given.

    name: by which it is reached, `bus.node(name)`; `admit` may choose another.
    node: its node id, 16 bytes.
    address: where it comes from.
    query: the parameters of the URL that it came by, `{"name": "panel-7"}`.
    headers: those of its request, by names in lower case; only `admit` sees them.
    scope: what an ASGI application has of it, with what the application's own middleware put there
        (`scope["user"]`); None of a listener's. Only `admit` sees it.
    proved: what it has proved: "key", "board key", "token", "open" (nothing).
    trusted: what that key is called in the trust file, "" if it is not in it.
    key: the public key that it has proved, in text; "" for none.
    identity: what `admit` returned, if that was text.
    since: when it was let in, in seconds since 1970.
    refused: how often somebody else was refused who came under its name, or with its node id.
    unheard: messages of which `on_message` was not told, for it was stuck.
    """

    __slots__ = (
        "__weakref__",
        "_bus",
        "_counts",
        "_end",
        "_last",
        "address",
        "headers",
        "identity",
        "key",
        "name",
        "node",
        "proved",
        "query",
        "refused",
        "scope",
        "since",
        "trusted",
        "unheard",
    )

    def __init__(self, bus: ref[Any], name: str, node: bytes, address: str) -> None:
        self._bus = bus
        self._counts: Callable[[], Counts] | None = None
        self._last = Counts()
        self._end: Callable[[str], object] | None = None
        self.name = name
        self.node = node
        self.address = address
        self.query: Mapping[str, str] = {}
        self.headers: Mapping[str, str] = {}
        self.scope: Any = None
        self.proved = ""
        self.trusted = ""
        self.key = ""
        self.identity = ""
        self.since = time.time()
        self.refused = 0
        self.unheard = 0

    def __repr__(self) -> str:
        state = "" if self.connected else ", gone"
        return f"<client {ascii_safe(self.name or '?')} ({self.node.hex()[:8]}) at {self.address}{state}>"

    @property
    def connected(self) -> bool:
        """Whether it is there."""
        return self._counts is not None

    def _look(self) -> Counts:
        return self._last if self._counts is None else self._counts()

    @property
    def messages_in(self) -> int:
        """Messages that have come from it: also requests and replies, not the bus's own such as credit."""
        return self._look().messages_in

    @property
    def messages_out(self) -> int:
        """Messages that were written to it."""
        return self._look().messages_out

    @property
    def bytes_in(self) -> int:
        """Bytes that have come from it, without the WebSocket's own."""
        return self._look().bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes that were written to it."""
        return self._look().bytes_out

    @property
    def dropped(self) -> int:
        """Broadcasts and late answers that it did not get, for it reads too slowly."""
        return self._look().dropped

    def row(self) -> dict[str, object]:
        """Its name and counters, as the introspection endpoint tells them."""
        counts = self._look()
        return {
            "name": self.name,
            "since": int(self.since),
            "messages_in": counts.messages_in,
            "messages_out": counts.messages_out,
            "refused": self.refused,
            "dropped": counts.dropped,
            "unheard": self.unheard,
        }

    # What it can be sent

    def _its_bus(self) -> Any:
        bus = self._bus()
        if bus is None:
            raise BusClosed()
        return bus

    def send(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `send` of the bus, to this client's endpoint `to`; of an AsyncBus it is to be awaited."""
        return self._its_bus().send(to, payload, node=self.node, **options)

    def request(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `request` of the bus, to this client's endpoint `to`; of an AsyncBus it is to be awaited."""
        return self._its_bus().request(to, payload, node=self.node, **options)

    def request_stream(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `request_stream` of the bus, to this client's endpoint `to`."""
        return self._its_bus().request_stream(to, payload, node=self.node, **options)

    def disconnect(self, text: str = "the server ended the link") -> None:
        """End its link, with a sentence for it (error 29). A client that heals its links comes again: what
        keeps it away is `admit`.
        """
        if self._end is not None:
            self._its_bus()._host.inside(self._end, text)

    # The server's side

    def _attach(self, counts: Callable[[], Counts], end: Callable[[str], object]) -> None:
        self._counts = counts
        self._end = end

    def _detach(self) -> None:
        """Its link is gone: what was counted stays."""
        if self._counts is not None:
            self._last = self._counts()
        self._counts = self._end = None
