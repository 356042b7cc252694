"""Explains captured bytes, field by field, for people: the work behind `busway decode`.

The layout of frames comes from `busway.wire`. This file adds what one frame alone does not say: which uuid an
alias stands for, what the pieces of a cut message amount to, where bytes go wrong. It knows nothing of links:
neither agreed limits nor states nor time. Nothing that carries traffic imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

from busway.decode_values import bytes_text, cbor_text, endpoint_text, error_text, reason_text, value_text
from busway.decode_views import Field, Frame, render_rich, render_text, to_json
from busway.names import endpoint_id
from busway.wire import Read, Refused, Trace, Varint, parse_body
from busway.wire_names import SIGNAL_NAMES

__all__ = ["Direction", "Field", "Frame", "explain", "parse_hex", "render_rich", "render_text", "to_json"]

_CLOSE = 0x03
_MALFORMED = 9
_UNKNOWN_ALIAS = 11
_TOO_MANY = 14

_NODES = ("node", "destination", "source", "tree")
_SENDER = 1
_OURS = {_SENDER: "the node that sends this", 2: "the node that reads this"}

_INTROSPECTION = "busway/introspection"
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


class _Bound(NamedTuple):
    """The meanings of the numbers of both tables."""

    aliases: dict[int, bytes]
    nodes: dict[int, bytes]


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
    """

    label: str = ""
    names: dict[bytes, str] = field(default_factory=dict)
    aliases: dict[int, bytes] = field(default_factory=dict)
    nodes: dict[int, bytes] = field(default_factory=dict)
    sender: bytes = b""
    greeted: bool = False
    closed: bool = False
    cuts: dict[int, _Cut] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.names.setdefault(endpoint_id(_INTROSPECTION), _INTROSPECTION)

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
        stream = BytesIO(self.data[self.start : self.start + _VARINT_SIZE_MAX])
        size: int = Varint.parse_stream(stream)
        if size == 0:
            raise Refused(_MALFORMED, "a length of at least 1")
        self._add(stream.tell(), "length", value_text("size", size))
        return size

    def _whole(self, size: int) -> Frame:
        end = self.position + size
        trace = Trace()
        try:
            parsed = parse_body(self.data[self.position : end], trace)
        except Refused as refused:
            return self._refused(refused, trace, end)
        try:
            self._show(trace, parsed, _Bound(self.known.aliases, self.known.nodes))
            self._take_in(parsed)
        except _Wrong as wrong:
            self._rest("unread", end)
            return self._last("error", str(wrong), wrong.code)
        return self._made(_name(parsed), end)

    def _refused(self, refused: Refused, trace: Trace, end: int) -> Frame:
        problem = f"{trace.failed_name} at {self._here(trace.failed_offset)}: expected {refused.expected}"
        self._show_some(trace)
        self._rest(trace.failed_name, end)
        return self._last("error", problem, refused.code)

    def _cut_off(self, size: int) -> Frame:
        """A frame that goes on behind the end of the data: what there is of it is shown."""
        begun = self.data[self.position :]
        problem = f"the frame at {self.base + self.start} has {size} bytes, {len(begun)} of them are here"
        trace = Trace()
        try:
            parse_body(begun, trace)
        except Refused as refused:
            if not refused.short:
                return self._refused(refused, trace, len(self.data))
            problem += f"; next is {trace.failed_name} at {self._here(trace.failed_offset)}"
        self._show_some(trace)
        self._rest(trace.failed_name, len(self.data))
        return self._last("incomplete", problem)

    # Fields

    def _show_some(self, trace: Trace) -> None:
        """Shows what was read of a frame that is not whole; what it binds does not count."""
        try:
            self._show(trace, None, _Bound(dict(self.known.aliases), dict(self.known.nodes)))
        except _Wrong:
            pass  # the frame is refused in any case

    def _show(self, trace: Trace, parsed: Any, bound: _Bound) -> None:
        wrong: _Wrong | None = None
        for read in trace.reads:
            text, problem = self._text(read, trace, parsed, bound)
            self._add(read.length, read.name, text)
            wrong = wrong or problem
        if wrong is not None:
            raise wrong

    def _text(self, read: Read, trace: Trace, parsed: Any, bound: _Bound) -> tuple[str, _Wrong | None]:
        """The value for people, and what is wrong with it in the light of what came before."""
        if isinstance(read.value, dict) and "number" in read.value:
            if read.name in _NODES:
                return self._node_text(read, bound.nodes)
            return self._alias_text(read, bound.aliases)
        if read.name == "endpoint":
            return endpoint_text(read.value, self.known.names), None
        if read.name == "code":
            is_close = trace.reads[0].value == _CLOSE
            return (error_text if is_close else reason_text)(read.value), None
        if read.name == "payload" and _is_whole_cbor(parsed):
            return cbor_text(read.value), None
        return value_text(read.name, read.value), None

    def _alias_text(self, read: Read, aliases: dict[int, bytes]) -> tuple[str, _Wrong | None]:
        number, id = read.value["number"], read.value["id"]
        if id is not None:
            aliases[number] = id
            return f"{endpoint_text(id, self.known.names)}, bound to alias {number}", None
        if number in aliases:
            return f"{endpoint_text(aliases[number], self.known.names)}, alias {number}", None
        if not self.known.greeted:
            return f"alias {number}, bound before these bytes", None
        where = f"{read.name} at {self._here()}: expected an alias that was bound, not {number}"
        return f"alias {number}, never bound", _Wrong(_UNKNOWN_ALIAS, where)

    def _node_text(self, read: Read, nodes: dict[int, bytes]) -> tuple[str, _Wrong | None]:
        number, id = read.value["number"], read.value["id"]
        if id is not None:
            nodes[number] = id
            return f"{id[:16].hex()} incarnation {id[16:].hex()}, bound to number {number}", None
        if number in _OURS:
            who = f", {self.known.sender.hex()}" if number == _SENDER and self.known.sender else ""
            return f"{_OURS[number]}{who}, number {number}", None
        if number in nodes:
            return f"{nodes[number][:16].hex()}, number {number}", None
        if not self.known.greeted:
            return f"number {number}, bound before these bytes", None
        where = f"{read.name} at {self._here()}: expected a number that was bound, not {number}"
        return f"number {number}, never bound", _Wrong(_UNKNOWN_ALIAS, where)

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

    def _take_in(self, parsed: Any) -> None:
        if parsed.kind == "HELLO":
            self.known.greet(parsed.node)
        elif parsed.kind == "CLOSE":
            self.known.closed = True
        elif parsed.kind == "DIRECTORY":
            self._learn_names(parsed)
        elif parsed.get("holders"):
            self._learn_holders(parsed)
        elif parsed.kind == "MORE":
            self._piece(parsed)
        elif (cut := _option(parsed, "size")) is not None:
            self._first_piece(parsed, cut)

    def _learn_names(self, parsed: Any) -> None:
        for entry in parsed.entries:
            if entry.name:
                self.known.names[bytes(entry.endpoint)] = entry.name

    def _learn_holders(self, parsed: Any) -> None:
        endpoint = parsed.endpoint.id or self.known.aliases.get(parsed.endpoint.number)
        for holder in parsed.holders:
            if holder.name and endpoint is not None:
                self.known.names[bytes(endpoint)] = holder.name

    def _first_piece(self, parsed: Any, cut: Any) -> None:
        if cut.partial in self.known.cuts:
            raise _Wrong(_TOO_MANY, f"expected a partial number that is not in use, not {cut.partial}")
        if len(parsed.payload) >= cut.size:
            raise _Wrong(_MALFORMED, f"expected less than all {cut.size} bytes in the first frame")
        self.known.cuts[cut.partial] = _Cut(parsed.kind, parsed.format, cut.size, bytearray(parsed.payload))

    def _piece(self, parsed: Any) -> None:
        cut = self.known.cuts.get(parsed.partial)
        if cut is None:
            if self.known.greeted:
                raise _Wrong(_TOO_MANY, f"expected the number of a message under way, not {parsed.partial}")
            return self._add(0, "message", "begun before these bytes")
        cut.data += parsed.payload
        if len(cut.data) > cut.size:
            raise _Wrong(_MALFORMED, f"expected {cut.size} bytes in all pieces, not {len(cut.data)}")
        if len(cut.data) < cut.size:
            return self._add(0, "message", f"{len(cut.data)} of {cut.size} bytes of a {cut.kind}")
        del self.known.cuts[parsed.partial]
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


def _name(parsed: Any) -> str:
    if parsed.kind == "SIGNAL":
        return f"SIGNAL {SIGNAL_NAMES.get(parsed.signal, 'unknown')}"
    return "unknown" if parsed.kind == "IGNORED" else str(parsed.kind)


def _option(parsed: Any, key: str) -> Any:
    """The value of the option that has a field of that name, or None."""
    for item in parsed.get("options") or ():
        if not isinstance(item.value, bytes) and key in item.value:
            return item.value
    return None


def _is_whole_cbor(parsed: Any) -> bool:
    return parsed is not None and bool(parsed.get("format")) and _option(parsed, "size") is None
