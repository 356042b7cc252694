"""One link, without input or output: states, HELLO, CLOSE, limits, cut messages (2, 3 and 5.3)."""

from __future__ import annotations

from typing import Final

from tests.stranger import wire
from tests.stranger.wall import Wall
from tests.stranger.wire import Fault, Frame, Reader, Short, Tables, varint

GREETING: Final = "GREETING"
OPEN: Final = "OPEN"
CLOSING: Final = "CLOSING"
CLOSED: Final = "CLOSED"
_ALLOWED: Final = {"HELLO": (GREETING,), "HANDSHAKE": (GREETING,)}


class Session:
    """Bytes in with `receive`, frames out of it; bytes to send gather in `out`."""

    def __init__(self, hello: Frame, token: str | None = None, *, packets: bool = False) -> None:
        self.hello = hello
        self.theirs: Frame = {}
        self.state = GREETING
        self.code = -1  # with which the link ended
        self.text = ""
        self.skipped = 0
        self.tables: Tables | None = None
        self.limits: dict[str, int] = {}
        self.out = bytearray()
        self._packets = packets
        self._wall: Wall | None = None
        self._held = b""  # of our stream, until records may be written
        if token is not None:
            self._wall = Wall(token, hello["bus"], packets=packets, dialled=hello["dialled"])
            self.out += self._wall.out
            self._wall.out = b""
        self._buffer = b""
        self._cut: dict[int, tuple[Frame, int, list[bytes]]] = {}
        self.write_body(wire.write(hello))

    def write_body(self, body: bytes) -> None:
        data = varint(len(body)) + body
        if self._wall is None:
            self.out += data
        elif self._wall.ready:
            most = self.limits.get("frame_size_max", 512)  # of a record, as of a frame
            for at in range(0, len(data), most):
                self.out += self._wall.seal(data[at : at + most])
        elif body[0] == 3:
            self.out += data
        else:
            self._held += data

    def write(self, frame: Frame) -> None:
        self.write_body(wire.write(frame))

    @property
    def peer(self) -> bytes:
        return bytes.fromhex(self.theirs["node"] + self.theirs["incarnation"])

    @property
    def me(self) -> bytes:
        return bytes.fromhex(self.hello["node"] + self.hello["incarnation"])

    def crossed(self, message: Frame) -> int:
        """The widest realm that a message has crossed, this link with it."""
        before: int = message.get("routing", {}).get("realm", 0)
        return max(before, *(wire.REALMS.index(side["realm"]) for side in (self.theirs, self.hello)))

    # ---- reading

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that came: control frames as they are, messages put together."""
        found: list[Frame] = []
        try:
            self._buffer += data if self._wall is None else self._within(self._wall, data)
            while self.state != CLOSED and (body := self._next_body()):
                found += self.receive_body(body)
        except Fault as fault:
            self.fail(fault)
        return found

    def _within(self, wall: Wall, data: bytes) -> bytes:
        """What of our stream came, and what may be said now."""
        plain = wall.receive(data)
        self.out += wall.out
        wall.out = b""
        if wall.ready and self._held:
            self.out += wall.seal(self._held)
            self._held = b""
        return plain

    def fail(self, fault: Fault) -> None:
        if self.state != CLOSING:
            self.write({"kind": "CLOSE", "code": fault.code, "text": ""})
        self._end(fault.code, str(fault))

    def close(self) -> None:
        """The goodbye."""
        self.write({"kind": "CLOSE", "code": 0, "text": ""})
        self.state = CLOSING

    def _end(self, code: int, text: str) -> None:
        self.state = CLOSED
        self.code, self.text = code, text
        self._buffer = b""

    def _next_body(self) -> bytes:
        reader = Reader(self._buffer)
        try:
            size = reader.varint()
        except Short:
            return b""
        if not size:
            raise Fault(9, "an empty frame")
        if size > (512 if self.state == GREETING else self.limits["frame_size_max"]):
            raise Fault(10, "a frame too large")
        if reader.left() < size:
            return b""
        body = reader.take(size)
        self._buffer = self._buffer[reader.at :]
        return body

    def receive_body(self, body: bytes) -> list[Frame]:
        head = body[0]
        opened = self.state in (OPEN, CLOSING)
        if head >= 128:
            if not opened or self.tables is None:
                raise Fault(13, "a message too early")
            return self._message(wire.read_message(body, self.tables))
        kind = wire.CONTROL.get(head, "")
        if not kind:
            return self._unknown(head, body)
        if kind != "CLOSE" and not (self.state in _ALLOWED[kind] if kind in _ALLOWED else opened):
            raise Fault(13, f"{kind} while {self.state}")
        return self._control(wire.read_control(body, self.tables))

    def _unknown(self, head: int, body: bytes) -> list[Frame]:
        if self.state == GREETING:
            raise Fault(1, "no Busway")
        if head < 0x40:
            raise Fault(12, f"frame {head}")
        self.skipped += 1
        return [{"kind": "IGNORED", "head": head, "payload": body[1:].hex(), "skipped": True}]

    def _control(self, frame: Frame) -> list[Frame]:
        kind = frame["kind"]
        if kind == "HELLO":
            self._greeted(frame)
        elif kind == "HANDSHAKE":
            raise Fault(7, "the other side protects this link")
        elif kind == "CLOSE":
            if self.state != CLOSING:
                self.write({"kind": "CLOSE", "code": frame["code"], "text": ""})
            self._end(frame["code"], frame["text"])
        elif kind == "PING":
            self.write({"kind": "PONG", "token": frame["token"]})
        elif kind == "ROUTES" and not self.theirs["leaf"]:
            if any(entry.get("count", 0) for entry in frame["entries"]):
                raise Fault(9, "we have sent nothing that could be acknowledged")
        elif kind == "MORE":
            return [frame, *self._more(frame)]
        return [frame]

    def _greeted(self, theirs: Frame) -> None:
        if theirs["bus"] != self.hello["bus"]:
            raise Fault(3, f"this is bus {self.hello['bus']}, not {theirs['bus']}")
        self.theirs = theirs
        if self.peer == self.me:
            raise Fault(4, "connected to itself")
        if not self._packets and theirs["dialled"] == self.hello["dialled"]:
            raise Fault(22, "both dialled, or neither")
        for name, least in (
            ("frame_size_max", 128),
            ("message_size_max", 1),
            ("aliases_max", 1),
            ("partials_max", 1),
        ):
            self.limits[name] = min(theirs[name], self.hello[name])
            if self.limits[name] < least:
                raise Fault(8, f"{name} is below its minimum")
        keepalives = [side["keepalive_ms"] for side in (theirs, self.hello) if side["keepalive_ms"]]
        self.limits["keepalive_ms"] = min(keepalives, default=0)
        with_leaf = theirs["leaf"] or self.hello["leaf"]
        self.tables = Tables(self.peer, self.me, self.limits["aliases_max"], with_leaf)
        self.state = OPEN

    # ---- messages

    def _message(self, frame: Frame) -> list[Frame]:
        assert self.tables is not None
        routing = frame.get("routing", {})
        source = self.tables.key(routing["source"]) if "source" in routing else self.peer
        target = self.tables.key(routing["destination"]) if "destination" in routing else self.me
        if self.theirs["leaf"] and source != self.peer:
            raise Fault(9, "a leaf is the source of all it sends")
        # Numbers may be bound anew before a cut message is complete: what they meant is kept with it.
        frame["from"], frame["to"] = source, target
        for holder in frame.get("holders", ()):
            holder["key"] = self.tables.key(holder["node"])
        if frame.get("skipped"):
            self.skipped += 1
        if "cut" not in frame:
            return [frame, {**frame, "whole": True}]
        return [frame, *self._begin(frame)]

    def _begin(self, frame: Frame) -> list[Frame]:
        partial, size = frame["cut"]["partial"], frame["cut"]["size"]
        payload = bytes.fromhex(frame["payload"])
        if size > self.limits["message_size_max"]:
            raise Fault(10, "a message too large")
        if partial >= self.limits["partials_max"] or partial in self._cut:
            raise Fault(14, "a partial number in use or out of range")
        if len(payload) >= size:
            raise Fault(9, "a cut message that is whole")
        self._cut[partial] = (frame, size - len(payload), [payload])
        return []

    def _more(self, more: Frame) -> list[Frame]:
        if more["partial"] not in self._cut:
            raise Fault(14, "a partial number not in use")
        frame, left, pieces = self._cut[more["partial"]]
        piece = bytes.fromhex(more["payload"])
        if not 0 < len(piece) <= left:
            raise Fault(9, "an empty piece, or too much of it")
        pieces.append(piece)
        self._cut[more["partial"]] = (frame, left - len(piece), pieces)
        if left > len(piece):
            return []
        del self._cut[more["partial"]]
        return [{**frame, "payload": b"".join(pieces).hex(), "whole": True}]
