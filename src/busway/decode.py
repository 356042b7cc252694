"""Explains captured bytes, field by field, for people: the work behind `busway decode`.

`busway.decode_frames` reads single frames. This file adds what one alone does not say: which uuid an alias
stands for, what the pieces of a cut message amount to, where bytes go wrong. It knows nothing of links:
neither agreed limits nor states nor time. Nothing that carries traffic imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from busway.decode_frames import Alias, Body, Read, Refused, read_frame, varint
from busway.decode_values import bytes_text, cbor_text, endpoint_text, error_text, reason_text, value_text
from busway.decode_views import Field, Frame, render_rich, render_text, to_json
from busway.names import endpoint_id
from busway.protocol.wire import codes
from busway.wire_names import SIGNAL_NAMES

__all__ = ["Direction", "Field", "Frame", "explain", "parse_hex", "render_rich", "render_text", "to_json"]

_NODES = ("node", "destination", "source", "tree")
_OURS = {codes.SENDER: "the node that sends this", codes.RECEIVER: "the node that reads this"}

_INTROSPECTION = "busway/introspection"
_LOOKUP = "busway/lookup"
_PATTERNS = "busway/patterns"
_VARINT_SIZE_MAX = 5

_XXD = re.compile(r"\s*[0-9a-fA-F]{8,}: (.*?)(?:  .*)?")
_BETWEEN = re.compile(r"0[xX]|\\x|[,;:\-]")


def parse_hex(text: str) -> bytes:
    """Reads hex digits in pairs, together or apart, also with 0x or \\x before them, or what `xxd` prints.

    What is between them may be white space, commas, semicolons, colons and hyphens; a line may end with a
    comment after #. Raises ValueError for anything else; it names the line.
    """
    data = bytearray()
    for number, line in enumerate(text.splitlines(), 1):
        dumped = _XXD.fullmatch(line)
        digits = dumped[1] if dumped else _BETWEEN.sub(" ", line.partition("#")[0])
        try:
            data += bytes.fromhex(digits)
        except ValueError:
            found = f"{line.strip()[:40]!r} in line {number}"
            raise ValueError(f"expected hex digits in pairs, or what xxd prints, found {found}") from None
    return bytes(data)


@dataclass(slots=True)
class _Cut:
    """A cut message under way."""

    kind: str
    format: int
    size: int
    data: bytearray


@dataclass(slots=True)
class Direction:
    """The memory of `explain` for one direction of a link, from call to call.

    Attributes:
        label: shown with every frame, such as "a to b".
        names: human names of endpoints, by their 16 bytes. DIRECTORY and HAVE add to it. The names that
            messages of one direction need were announced in the other: give both the same dict.
        aliases: what each alias stands for at present.
        nodes: what each number of a node stands for.
        sender: the node id that the HELLO told; b"" if none was seen.
        greeted: a HELLO was seen, so every binding there is has been seen too. Another HELLO begins anew.
        closed: a CLOSE was seen; what follows is not read.
        handshakes: how many HANDSHAKE frames are still to come; None before the first. Behind the last of
            them are records, which only both ends can read.
    """

    label: str = ""
    names: dict[bytes, str] = field(default_factory=dict)
    aliases: dict[int, bytes] = field(default_factory=dict)
    nodes: dict[int, bytes] = field(default_factory=dict)
    sender: bytes = b""
    greeted: bool = False
    closed: bool = False
    handshakes: int | None = None
    cuts: dict[int, _Cut] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in (_INTROSPECTION, _LOOKUP, _PATTERNS):
            self.names.setdefault(endpoint_id(name), name)

    def greet(self, sender: bytes) -> None:
        """A session of that node begins: nothing bound before holds."""
        self.sender = sender
        self.aliases.clear()
        self.nodes.clear()
        self.cuts.clear()
        self.greeted = True


def explain(data: bytes, *, direction: Direction | str = "", offset: int = 0) -> list[Frame]:
    """Explains a stretch of one direction of a stream link.

    Args:
        data: bytes that begin at the start of a frame. They may begin anywhere in the life of a link: an
            alias bound earlier is then shown as a number.
        direction: what is known of the direction, or only its label. The same `Direction` given again
            carries on; it takes in what is bound and named here.
        offset: where `data` begins in the stream; offsets are counted from there.

    Returns:
        The frames in order; together they hold every byte of `data` once. Where a frame breaks the format,
        the last entry is named "error" and takes all bytes from there on; where the bytes end within a frame,
        it is named "incomplete". Both say what was expected. Bytes after a CLOSE are one entry named
        "not read".
    """
    known = Direction(direction) if isinstance(direction, str) else direction
    frames: list[Frame] = []
    position = 0
    while position < len(data):
        frame = _Explanation(data, position, known, offset).frame()
        frames.append(frame)
        position += len(frame.raw)
    return frames


class _Wrong(Exception):
    """A frame of good form that cannot follow what came before, or one of bad form."""

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class _Explanation:
    """One frame in the making: the one that begins at `start` of `data`."""

    def __init__(self, data: bytes, start: int, known: Direction, base: int) -> None:
        self.data = data
        self.start = start
        self.position = start  # of what no field covers yet
        self.known = known
        self.base = base
        self.fields: list[Field] = []

    def frame(self) -> Frame:
        if self.known.closed:
            return self._last("not read", "nothing follows a CLOSE")
        try:
            size = self._length()
        except Refused as refused:
            problem = f"length at {self._here()}: expected {refused.expected}"
            self._rest("length", len(self.data))
            if refused.short:
                return self._last("incomplete", problem)
            return self._last("error", problem, refused.code)
        return self._whole(size) if self.position + size <= len(self.data) else self._cut_off(size)

    def _length(self) -> int:
        body = Body(self.data[self.start : self.start + _VARINT_SIZE_MAX])
        size = varint(body)
        if size == 0:
            raise Refused("a length of at least 1")
        self._add(body.position, "length", value_text("size", size))
        return size

    def _whole(self, size: int) -> Frame:
        end = self.position + size
        body = Body(self.data[self.position : end])
        if self.known.handshakes == 0 and not self._is_close(end):
            self._rest("ciphertext", end)
            return self._made("record", end)
        try:
            frame = read_frame(body)
        except Refused as refused:
            return self._refused(refused, body, end)
        try:
            self._show(body, frame, self.known)
            self._take_in(frame)
        except _Wrong as wrong:
            self._rest("unread", end)
            return self._last("error", str(wrong), wrong.code)
        signal = f" {SIGNAL_NAMES.get(frame['signal'], 'unknown')}" if "signal" in frame else ""
        return self._made(frame["kind"] + signal, end)

    def _is_close(self, end: int) -> bool:
        """Whether that is a plain CLOSE, of one who has no key or another, in the place of a record."""
        body = self.data[self.position : end]
        try:
            return body[0] == codes.CLOSE and body[1:2].isascii() and body[2:].decode().isprintable()
        except UnicodeDecodeError:
            return False

    def _refused(self, refused: Refused, body: Body, end: int) -> Frame:
        name, offset = body.failed
        problem = f"{name} at {self._here(offset)}: expected {refused.expected}"
        self._show_some(body)
        self._rest(name, end)
        return self._last("error", problem, refused.code)

    def _cut_off(self, size: int) -> Frame:
        """A frame that goes on behind the end of the data: what there is of it is shown."""
        body = Body(self.data[self.position :])
        what = "record" if self.known.handshakes == 0 else "frame"
        problem = f"the {what} at {self.base + self.start} has {size} bytes, {body.end} of them are here"
        if self.known.handshakes == 0:
            self._rest("ciphertext", len(self.data))
            return self._last("incomplete", problem)
        try:
            read_frame(body)
        except Refused as refused:
            if not refused.short:
                return self._refused(refused, body, len(self.data))
            problem += f"; next is {body.failed[0]} at {self._here(body.failed[1])}"
        self._show_some(body)
        self._rest(body.failed[0], len(self.data))
        return self._last("incomplete", problem)

    # Fields

    def _show_some(self, body: Body) -> None:
        """Shows what was read of a frame that is not whole; what it binds does not count."""
        try:
            known = self.known
            self._show(body, {}, replace(known, aliases=dict(known.aliases), nodes=dict(known.nodes)))
        except _Wrong:
            pass  # the frame is refused in any case

    def _show(self, body: Body, frame: dict[str, Any], known: Direction) -> None:
        is_close = bool(body.reads) and body.reads[0].value == codes.CLOSE
        is_cbor = bool(frame.get("format")) and "size" not in frame["options"]
        wrong: _Wrong | None = None
        for read in body.reads:
            if read.name == "code":
                text, problem = (error_text if is_close else reason_text)(read.value), None
            elif read.name == "payload" and is_cbor:
                text, problem = cbor_text(read.value), None
            else:
                text, problem = self._text(read, known)
            self._add(read.length, read.name, text)
            wrong = wrong or problem
        if wrong is not None:
            raise wrong

    def _text(self, read: Read, known: Direction) -> tuple[str, _Wrong | None]:
        """The value for people, and what is wrong with it in the light of what came before."""
        if isinstance(read.value, Alias):
            return self._alias_text(read.name, *read.value, known)
        if read.name == "endpoint":
            return endpoint_text(read.value, known.names), None
        return value_text(read.name, read.value), None

    def _alias_text(
        self, name: str, number: int, id: bytes | None, known: Direction
    ) -> tuple[str, _Wrong | None]:
        is_node = name in _NODES
        bound, article, word = (known.nodes, "a", "number") if is_node else (known.aliases, "an", "alias")
        if id is not None:
            bound[number] = id
            shown = (
                f"{id[:16].hex()} incarnation {id[16:].hex()}" if is_node else endpoint_text(id, known.names)
            )
            return f"{shown}, bound to {word} {number}", None
        if is_node and number in _OURS:
            who = f", {known.sender.hex()}" if number == codes.SENDER and known.sender else ""
            return f"{_OURS[number]}{who}, {word} {number}", None
        if number in bound:
            shown = bound[number][:16].hex() if is_node else endpoint_text(bound[number], known.names)
            return f"{shown}, {word} {number}", None
        if not known.greeted:
            return f"{word} {number}, bound before these bytes", None
        where = f"{name} at {self._here()}: expected {article} {word} that was bound, not {number}"
        return f"{word} {number}, never bound", _Wrong(codes.UNKNOWN_ALIAS, where)

    def _add(self, length: int, name: str, value: str) -> None:
        self.fields.append(Field(self.base + self.position, length, name, value))
        self.position += length

    def _rest(self, name: str, end: int) -> None:
        """Covers what is left up to `end`, if anything is."""
        if self.position < end:
            data = self.data[self.position : end]
            self._add(len(data), name or "unread", bytes_text(data))

    def _here(self, in_body: int | None = None) -> int:
        """An offset in the stream: of a place in the body, or of what comes next."""
        if in_body is None:
            return self.base + self.position
        header = self.fields[0].length
        return self.base + self.start + header + in_body

    # What a frame means for those behind it

    def _take_in(self, frame: dict[str, Any]) -> None:
        kind = frame["kind"]
        if kind == "HELLO":
            self.known.greet(frame["node"])
        elif kind == "HANDSHAKE":
            if self.known.handshakes is None:
                self.known.handshakes = 2 if frame.get("pattern") == codes.XXPSK3 else 1
            self.known.handshakes -= 1
        elif kind == "CLOSE":
            self.known.closed = True
        elif kind == "DIRECTORY":
            for entry in frame["entries"]:
                self._learn_name(entry["endpoint"], entry)
        elif "holders" in frame:
            number, id = frame["endpoint"]
            for holder in frame["holders"]:
                self._learn_name(id or self.known.aliases.get(number), holder)
        elif kind == "MORE":
            self._piece(frame["partial"], frame["payload"])
        elif "size" in frame.get("options", ()):
            self._first_piece(frame, **frame["options"])

    def _learn_name(self, endpoint: bytes | None, told: dict[str, Any]) -> None:
        if endpoint is not None and told.get("name"):
            self.known.names[endpoint] = told["name"]

    def _first_piece(self, frame: dict[str, Any], partial: int, size: int, **_other: Any) -> None:
        if partial in self.known.cuts:
            raise _Wrong(codes.TOO_MANY, f"expected a partial number that is not in use, not {partial}")
        if len(frame["payload"]) >= size:
            raise _Wrong(codes.MALFORMED, f"expected less than all {size} bytes in the first frame")
        data = bytearray(frame["payload"])
        self.known.cuts[partial] = _Cut(frame["kind"], frame["format"], size, data)

    def _piece(self, partial: int, payload: bytes) -> None:
        cut = self.known.cuts.get(partial)
        if cut is None:
            if self.known.greeted:
                raise _Wrong(codes.TOO_MANY, f"expected the number of a message under way, not {partial}")
            return self._add(0, "message", "begun before these bytes")
        cut.data += payload
        if len(cut.data) > cut.size:
            raise _Wrong(codes.MALFORMED, f"expected {cut.size} bytes in all pieces, not {len(cut.data)}")
        if len(cut.data) < cut.size:
            return self._add(0, "message", f"{len(cut.data)} of {cut.size} bytes of a {cut.kind}")
        del self.known.cuts[partial]
        whole = bytes(cut.data)
        value = cbor_text(whole) if cut.format else bytes_text(whole)
        return self._add(0, "message", f"{cut.kind} complete: {value}")

    # The outcome

    def _made(self, name: str, end: int, problem: str = "", code: int | None = None) -> Frame:
        raw = bytes(self.data[self.start : end])
        return Frame(self.known.label, self.base + self.start, raw, name, tuple(self.fields), problem, code)

    def _last(self, name: str, problem: str, code: int | None = None) -> Frame:
        """An entry after which nothing can be read: it takes all bytes that are left."""
        self._rest("unread", len(self.data))
        return self._made(name, len(self.data), problem, code)
