"""The wire format of docs/protocol.md, version 2, as declarations for the library `construct`.

Written from that page alone, beside the core and what `busway decode` reads with: the tests hold both against
it. It knows single frames only: no states of a link, no agreed limits, no bindings of aliases. Of
busway.protocol it has the names of numbers only.

    Frame.parse(b"\\x02\\x04\\x07")           -> Container(head=4, kind="PING", token=7)
    Frame.build({"kind": "PING", "token": 7}) -> b"\\x02\\x04\\x07"

Where a frame breaks the format, parsing raises `Refused`, with the error number of section 8. Given
`trace=Trace()`, parsing notes every field with its place, and the field at which it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import construct as c  # type: ignore[import-untyped]

from busway.wire_names import CONTROL_NAMES, KIND_NAMES, REALM_NAMES
from tests.reference.wire_types import (
    MALFORMED,
    U8,
    U16,
    U32,
    Alias,
    Bytes,
    Count,
    End,
    Marked,
    Node,
    Read,
    Refused,
    Rest,
    Sized,
    Text,
    Text8,
    Trace,
    UntilEnd,
    Uuid,
    Varint,
    Within,
    malformed,
    marked,
    optional,
)

__all__ = ["Body", "BuildError", "Frame", "Read", "Refused", "Stream", "Trace", "Varint", "parse_body"]

BuildError = c.ConstructError
"""Raised by `Frame.build` for a value that its field cannot carry."""

MAGIC = b"BSWY"
VERSION = 2

_NOT_BUSWAY = 1
_OTHER_VERSION = 2
_UNKNOWN_FRAME = 12


def _head(number: int) -> Any:
    return marked("head", c.Rebuild(U8, number))


def _control(number: int, *fields: Any) -> Any:
    return c.Struct(_head(number), "kind" / c.Computed(CONTROL_NAMES[number]), *fields, End)


# -----------------------------------------------------------------------------
# Section 3: the life of a link


def _check_version(version: int) -> None:
    if version != VERSION:
        raise Refused(_OTHER_VERSION, f"version {VERSION}, not {version}")


class _Magic(c.Construct):  # type: ignore[misc]
    """BSWY. The first check of all: what is cut short inside it is not Busway either."""

    def __init__(self) -> None:
        super().__init__()
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        data: bytes = stream.read(len(MAGIC))
        if data != MAGIC:
            raise Refused(_NOT_BUSWAY, f"{MAGIC!r}, not {data!r}", short=MAGIC.startswith(data))
        return data

    def _build(self, obj: object, stream: Any, context: Any, path: str) -> bytes:
        stream.write(MAGIC)
        return MAGIC


def _check_flags(flags: Any) -> None:
    if flags.realm == 0:
        malformed("a realm of 1 to 3 in bits 1-2")


HelloFlags = c.BitStruct(
    "reserved" / c.Default(c.BitsInteger(2), 0),
    "lookups" / c.Default(c.Flag, False),
    "reserved_too" / c.Default(c.Flag, False),
    "dialled" / c.Flag,
    "realm" / c.BitsInteger(2),
    "leaf" / c.Flag,
)


class _FlagByte(Sized):
    """HelloFlags behind our own reading of a byte: a frame cut before it is refused like any other."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        return HelloFlags.parse(self._take(stream, 1, "the flags"))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        stream.write(HelloFlags.build(obj))
        return obj


HelloOption = c.Struct(
    "type" / Marked("option", U8),
    "value" / Within(Marked("option_length", U8), Marked("option_value", Rest), "the option's value"),
)

Hello = _control(
    1,
    marked("magic", _Magic()),
    marked("version", c.Default(U8, VERSION), _check_version),
    marked("flags", _FlagByte(), _check_flags),
    marked("node", Uuid),
    marked("incarnation", Bytes(4, "an incarnation of 4 bytes")),
    marked("features", Varint),
    marked("frame_size_max", Varint),
    marked("message_size_max", Varint),
    marked("aliases_max", Varint),
    marked("partials_max", Varint),
    marked("keepalive_ms", Varint),
    marked("bus", Text8),
    marked("label", Text8),
    marked("via", Text8),
    "options" / UntilEnd(HelloOption),
)


def _begins(this: Any) -> bool:
    """Whether a HANDSHAKE is the first one: it has magic, version and pattern, those after it have not."""
    if not this._parsing:
        return this.get("version") is not None
    start = this._io.tell()
    data = this._io.read(len(MAGIC))
    this._io.seek(start)
    return bool(data == MAGIC)


def _began(this: Any) -> bool:
    return this.get("magic") is not None if this._parsing else this.get("version") is not None


Handshake = _control(
    2,
    optional("magic", _begins, _Magic()),
    "version" / c.Default(c.If(_began, Marked("version", U8, _check_version)), None),
    optional("pattern", _began, U8),
    marked("message", Rest),
)


class _Sentence(c.Adapter):  # type: ignore[misc]
    """UTF-8 for people, shown as well as it can be."""

    def _decode(self, obj: bytes, context: Any, path: str) -> str:
        return obj.decode(errors="replace")

    def _encode(self, obj: str, context: Any, path: str) -> bytes:
        return obj.encode()


Close = _control(3, marked("code", Varint), marked("text", _Sentence(Rest)))
Ping = _control(4, marked("token", Varint))
Pong = _control(5, marked("token", Varint))

# -----------------------------------------------------------------------------
# Section 4: directory

_CREDIT, _COST, _NAME, _EXTENSION, _ENTRY_RESERVED = 0x10, 0x20, 0x40, 0x80, 0x0C
_LABEL_ITEM, _GONE_ITEM = 1, 2
_LABEL, _LEAF, _MORE_FRAMES, _IN_PART = 0x04, 0x10, 0x20, 0x40


def _check_entry(head: int) -> None:
    if head & _ENTRY_RESERVED:
        malformed("bits 2 and 3 of an entry's head to be zero")
    if head and not head & 3:
        malformed("nothing but the uuid in an entry that is withdrawn")


def _entry_head(this: Any) -> int:
    return int(this["endpoint_kind"] | _announced(this))


def _announced(this: Any) -> int:
    parts = (("credit", _CREDIT), ("cost", _COST), ("name", _NAME), ("extension", _EXTENSION))
    return sum(bit for name, bit in parts if this.get(name) is not None)


class _Label(c.Adapter):  # type: ignore[misc]
    """1 to 32 bytes of UTF-8."""

    def _decode(self, obj: bytes, context: Any, path: str) -> str:
        if not 1 <= len(obj) <= 32:
            malformed("a label of 1 to 32 bytes")
        try:
            return obj.decode()
        except UnicodeDecodeError as error:
            malformed(f"UTF-8 ({error.reason} at byte {error.start} of the text)")

    def _encode(self, obj: str, context: Any, path: str) -> bytes:
        return obj.encode()


def _check_last_word_format(format: int) -> None:
    if format > 3:
        malformed("a format of 0 to 3")


def _check_last_word(word: bytes) -> None:
    if len(word) > 128:
        malformed("a last word of at most 128 bytes")


LastWord = c.Struct(
    marked("last_word_format", U8, _check_last_word_format),
    optional("last_word_type", lambda this: this.last_word_format == 3, Uuid),
    marked("last_word", Rest, _check_last_word),
)
_Item = c.Struct(
    "type" / Marked("item", U8),
    "value"
    / Within(
        Marked("item_length", U8),
        c.Switch(
            lambda this: this.type,
            {_LABEL_ITEM: Marked("endpoint_label", _Label(Rest)), _GONE_ITEM: LastWord},
            default=Marked("item_value", Rest),
        ),
        "the item's value",
    ),
)


class _FewItems(c.Subconstruct):  # type: ignore[misc]
    """At most 8 labels and one last word."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        start = stream.tell()
        items = self.subcon._parsereport(stream, context, path)
        types = [item.type for item in items]
        if types.count(_LABEL_ITEM) > 8 or types.count(_GONE_ITEM) > 1:
            trace = context._params.get("trace")
            if trace is not None:
                trace.fail("the extension", start)
            malformed("at most 8 labels and one last word")
        return items


Extension = Within(Marked("extension_length", Varint), _FewItems(UntilEnd(_Item)), "the extension")


def _has(bit: int) -> Callable[[Any], bool]:
    return lambda this: bool(this.entry & 3 and this.entry & bit)


DirectoryEntry = c.Struct(
    marked("entry", c.Rebuild(U8, _entry_head), _check_entry),
    "endpoint_kind" / c.Computed(lambda this: this.entry & 3),
    marked("endpoint", Uuid),
    optional("credit", _has(_CREDIT), Varint),
    optional("cost", _has(_COST), Varint),
    optional("name", _has(_NAME), Text8),
    "extension" / c.Default(c.If(_has(_EXTENSION), Extension), None),
)


def _check_line(head: int) -> None:
    if not head & 3:
        malformed("a realm of 1 to 3 in bits 0-1 of a line's head")


def _line_head(this: Any) -> int:
    parts = (
        (this.get("label") is not None, _LABEL),
        (this.get("leaf"), _LEAF),
        (this.get("more"), _MORE_FRAMES),
        (this.get("in_part"), _IN_PART),
    )
    return int(this["realm"] | sum(bit for given, bit in parts if given))


Directory = _control(
    6,
    marked("line", c.Rebuild(U8, _line_head), _check_line),
    "realm" / c.Computed(lambda this: this.line & 3),
    "leaf" / c.Computed(lambda this: bool(this.line & _LEAF)),
    "more" / c.Computed(lambda this: bool(this.line & _MORE_FRAMES)),
    "in_part" / c.Computed(lambda this: bool(this.line & _IN_PART)),
    marked("node", Node),
    optional("label", lambda this: this.line & _LABEL, Text8),
    marked("base", Varint),
    marked("version", Varint),
    "entries" / UntilEnd(DirectoryEntry),
)

Sync = _control(9, marked("stage", U8))
Sleep = _control(0x41, marked("ms", Varint))


def _check_piece(piece: bytes) -> None:
    if not piece:
        # Short, for a frame that is not all here yet may still have one.
        raise Refused(MALFORMED, "at least one byte in a later piece of a cut message", short=True)


More = _control(7, marked("partial", U8), marked("payload", Rest, _check_piece))

# -----------------------------------------------------------------------------
# Section 10: routes

_UPDATE, _PARENT_WITH, _SEQREQ, _SEQREQ_WIDE, _ACK, _DEPARTED = 1, 3, 4, 5, 6, 7


def _check_route(kind: int) -> None:
    if kind > _DEPARTED:
        malformed("an entry of 0 to 7")


def _of(*kinds: int) -> Callable[[Any], bool]:
    return lambda this: this.route in kinds


_Versions = c.Sequence(*(Marked(f"version, {REALM_NAMES[realm]}", Varint) for realm in (1, 2, 3)))

RouteEntry = c.Struct(
    marked("route", U8, _check_route),
    optional("node", lambda this: this.route != _ACK, Node),
    optional("seqno", _of(_UPDATE, _SEQREQ, _SEQREQ_WIDE), U16),
    optional("metric", _of(_UPDATE), U16),
    "versions" / c.Default(c.If(_of(_PARENT_WITH), _Versions), None),
    optional("count", _of(_ACK), U16),
)

Routes = _control(8, "entries" / UntilEnd(RouteEntry))

# -----------------------------------------------------------------------------
# Section 5: messages

_MESSAGE, _ROUTED, _OPTIONS, _FORMAT = 0x80, 0x08, 0x04, 0x03
_REQUEST, _ERROR, _SIGNAL = 3, 6, 7
_CUT, _STREAM, _BEST_EFFORT, _REACH, _LANE, _NAMED, _RETAIN, _THINGS, _SHARED = 1, 2, 3, 4, 5, 6, 7, 8, 10
_PUBLISH = 1


def _message_kind(head: int) -> int:
    return head >> 4 & 7


def _check_window(window: int) -> None:
    if window == 0:
        malformed("a window of at least 1")


Cut = c.Struct(marked("partial", U8), marked("size", U32))
StreamOption = c.Struct(marked("window", U16, _check_window))
BestEffort = c.Struct("best_effort" / c.Computed(True), marked("option_value", Rest))
_REALMS = (b"\1", b"\2", b"\3")
Reach = c.Struct(
    marked("option_value", Rest),
    "reach" / c.Computed(lambda this: this.option_value[0] if this.option_value in _REALMS else 1),
)


def _check_lane(lane: int) -> None:
    if lane == 1 or lane > 7:
        malformed("a lane of 0, or 2 to 7")


def _check_retain(number: int) -> None:
    if not number & 0x7FFFFFFF:
        malformed("a number of at least 1")


class _Files(c.Validator):  # type: ignore[misc]
    """So many that with the regions before them they are not too many."""

    def _validate(self, obj: Any, context: Any, path: str) -> bool:
        if not 1 <= context.regions + obj <= 64:
            malformed("1 to 64 regions and files")
        return True


def _check_shared(shared: bytes) -> None:
    if not 1 <= len(shared) <= 64:
        malformed("a description of 1 to 64 bytes")


Lane = c.Struct(marked("lane", U8, _check_lane))
NameOption = c.Struct(marked("name", Text))
Retain = c.Struct(marked("retain", U32, _check_retain))
ThingsOption = c.Struct(marked("regions", U8), marked("files", _Files(U8)))
Shared = c.Struct(marked("shared", Rest, _check_shared))
_OPTION_LAYOUTS = {
    _CUT: Cut,
    _STREAM: StreamOption,
    _BEST_EFFORT: BestEffort,
    _REACH: Reach,
    _LANE: Lane,
    _NAMED: NameOption,
    _RETAIN: Retain,
    _THINGS: ThingsOption,
    _SHARED: Shared,
}


def _applies(this: Any) -> int:
    """The option's type where it has business, else 0: a misplaced option is skipped like an unknown one."""
    kind = _message_kind(this._.head)
    option = int(this.type)
    if option == _BEST_EFFORT:
        return option if kind <= _PUBLISH else 0
    if option == _NAMED:
        return option if kind <= _PUBLISH or kind == _SIGNAL else 0
    if option == _RETAIN:
        return option if kind <= _PUBLISH or kind == _REQUEST else 0
    if option == _LANE:
        return option
    if option in (_THINGS, _SHARED):
        return option if kind < _ERROR else 0
    if option == _REACH:
        return option if kind == _PUBLISH else 0
    misplaced = kind == _SIGNAL if option == _CUT else kind != _REQUEST
    return 0 if misplaced else option


Option = c.Struct(
    "type" / Marked("option", U8),
    "value"
    / Within(
        Marked("option_length", U8),
        c.Switch(_applies, _OPTION_LAYOUTS, default=Marked("option_value", Rest)),
        "the option's value",
    ),
)


class _Once(c.Validator):  # type: ignore[misc]
    """No option that means something may stand there twice."""

    def _validate(self, obj: Any, context: Any, path: str) -> bool:
        known = [item["type"] for item in obj or () if not isinstance(item["value"], bytes)]
        known = [option for option in known if option not in (_BEST_EFFORT, _REACH)]
        if len(known) != len(set(known)):
            malformed("an option once at most")
        return True


Options = Within(Marked("options_length", Varint), _Once(UntilEnd(Option)), "the options")


def _message_head(kind: int) -> Callable[[Any], int]:
    def head(this: Any) -> int:
        options = _OPTIONS if this.get("options") is not None else 0
        routed = _ROUTED if this.get("routing") is not None else 0
        return int(_MESSAGE | kind << 4 | routed | options | this.get("format", 0))

    return head


def _check_message_head(head: int) -> None:
    if _message_kind(head) in (_ERROR, _SIGNAL) and head & _FORMAT:
        malformed("format 0 in the head of an ERROR or SIGNAL")


def _check_how(how: int) -> None:
    if how & 0xF0:
        malformed("bits 4-7 of a routing header to be zero")


def _how(this: Any) -> int:
    parts = ((this.get("destination"), 4), (this.get("source"), 8))
    return int(this["realm"] | sum(bit for given, bit in parts if given is not None))


RoutingHeader = c.Struct(
    marked("how", c.Rebuild(U8, _how), _check_how),
    "realm" / c.Computed(lambda this: this.how & 3),
    marked("hops", U8),
    optional("destination", lambda this: this.how & 4, Node),
    optional("source", lambda this: this.how & 8, Node),
)


def _message(kind: int, *fields: Any) -> Any:
    return c.Struct(
        marked("head", c.Rebuild(U8, _message_head(kind)), _check_message_head),
        "kind" / c.Computed(KIND_NAMES[kind]),
        "format" / c.Computed(lambda this: this.head & _FORMAT),
        "routing" / c.Default(c.If(lambda this: this.head & _ROUTED, RoutingHeader), None),
        "options" / c.Default(c.If(lambda this: this.head & _OPTIONS, Options), None),
        *fields,
    )


_Type = optional("type", lambda this: this.head & _FORMAT == 3, Alias)
_Payload = marked("payload", Rest)
_Endpoint = marked("endpoint", Alias)
_Seq = marked("seq", U16)
_Id = marked("id", Count)
_Timeout = marked("timeout_ms", Count)

Send = _message(0, _Endpoint, _Seq, _Type, _Payload)
Publish = _message(1, _Endpoint, _Seq, _Type, _Payload)
Confirm = _message(2, _Endpoint, _Seq, _Id, _Timeout, _Type, _Payload)
Request = _message(3, _Endpoint, _Seq, _Id, _Timeout, _Type, _Payload)
Reply = _message(4, _Id, _Type, _Payload)
Part = _message(5, _Id, marked("index", U16), _Type, _Payload)
Error = _message(6, _Id, marked("code", Varint), _Payload)

_RUN_MAX, _PAYLOAD_MIN = 16384, 4


def _check_run_head(head: int) -> None:
    if head & 0xE4 != _MESSAGE or head & _FORMAT == 3:
        malformed("the head of a SEND or PUBLISH without options, of format 0 to 2")


def _run_head(this: Any) -> int:
    routed = _ROUTED if this.get("routing") is not None else 0
    return int(_MESSAGE | (this["of"] == "PUBLISH") << 4 | routed | this.get("format", 0))


def _check_run_size(size: int) -> None:
    if 0 < size < _PAYLOAD_MIN:
        malformed("a size of 4 or more, or 0")


def _check_payload_size(size: int) -> None:
    if size < _PAYLOAD_MIN:
        malformed("a size of 4 or more")


def _check_run_count(count: int) -> None:
    if not 0 < count <= _RUN_MAX:
        malformed(f"1 to {_RUN_MAX} messages")


class _Payloads(c.Construct):  # type: ignore[misc]
    """Of the sizes that stand before them; of one size as many as there are up to the end, one or more."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        found = c.ListContainer()
        if not context.size:
            for size in context.sizes:
                found.append(self._one(size, stream, context, path))
            return found
        while not found or not _at_end(stream):
            if len(found) == _RUN_MAX:
                trace = context._params.get("trace")
                if trace is not None:
                    trace.fail("payload", stream.tell())
                malformed(f"at most {_RUN_MAX} messages")
            found.append(self._one(context.size, stream, context, path))
        return found

    def _one(self, size: int, stream: Any, context: Any, path: str) -> Any:
        return Marked("payload", Bytes(size, f"a payload of {size} bytes"))._parsereport(
            stream, context, path
        )

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        stream.write(b"".join(obj))
        return obj


def _at_end(stream: Any) -> bool:
    here = stream.tell()
    stream.seek(here)
    more = stream.read(1)
    stream.seek(here)
    return not more


_Sizes = c.Array(lambda this: this.count, Marked("payload_size", U16, _check_payload_size))
Run = _control(
    10,
    marked("message_head", c.Rebuild(U8, _run_head), _check_run_head),
    "of" / c.Computed(lambda this: KIND_NAMES[_message_kind(this.message_head)]),
    "format" / c.Computed(lambda this: this.message_head & _FORMAT),
    "routing" / c.Default(c.If(lambda this: this.message_head & _ROUTED, RoutingHeader), None),
    _Endpoint,
    _Seq,
    marked("size", U16, _check_run_size),
    "count"
    / c.If(
        lambda this: not this.size,
        Marked("count", c.Rebuild(U16, lambda this: len(this.payloads)), _check_run_count),
    ),
    "sizes"
    / c.If(
        lambda this: not this.size,
        c.Rebuild(_Sizes, lambda this: [len(payload) for payload in this.payloads]),
    ),
    "payloads" / _Payloads(),
)

# -----------------------------------------------------------------------------
# Section 7: signals

_HOLDERS_MAX = 16


def _holder_head(this: Any) -> int:
    return int(this["endpoint_kind"] | this["realm"] << 2 | _announced(this))


Holder = c.Struct(
    marked("holder", c.Rebuild(U8, _holder_head)),
    "endpoint_kind" / c.Computed(lambda this: this.holder & 3),
    "realm" / c.Computed(lambda this: this.holder >> 2 & 3),
    marked("node", Node),
    marked("metric", U16),
    optional("credit", lambda this: this.holder & _CREDIT, Varint),
    optional("cost", lambda this: this.holder & _COST, Varint),
    optional("name", lambda this: this.holder & _NAME, Text8),
    "extension" / c.Default(c.If(lambda this: this.holder & _EXTENSION, Extension), None),
)


Chosen = c.Struct(
    marked("holder", c.Rebuild(U8, _holder_head)),
    "endpoint_kind" / c.Computed(lambda this: this.holder & 3),
    "realm" / c.Computed(lambda this: this.holder >> 2 & 3),
    marked("node", Node),
    marked("endpoint", Alias),
    marked("metric", U16),
    optional("credit", lambda this: this.holder & _CREDIT, Varint),
    optional("cost", lambda this: this.holder & _COST, Varint),
    optional("name", lambda this: this.holder & _NAME, Text8),
    "extension" / c.Default(c.If(lambda this: this.holder & _EXTENSION, Extension), None),
)


class _Few(c.Subconstruct):  # type: ignore[misc]
    """At most 16 holders."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        start = stream.tell()
        holders = self.subcon._parsereport(stream, context, path)
        if len(holders) > _HOLDERS_MAX:
            trace = context._params.get("trace")
            if trace is not None:
                trace.fail("holders", start)
            malformed(f"at most {_HOLDERS_MAX} holders")
        return holders


class _Legible(c.Subconstruct):  # type: ignore[misc]
    """A field for the one who asked only: for all others, and if its parts do not fit, it is bytes."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        trace = context._params.get("trace") or Trace()
        start, before = stream.tell(), len(trace.reads)
        try:
            return self.subcon._parsereport(stream, context, path)
        except Refused:
            stream.seek(start)
            del trace.reads[before:]
            trace.failed_name = ""
            return Marked("payload", Rest)._parsereport(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        layout = Rest if isinstance(obj, bytes) else self.subcon
        return layout._build(obj, stream, context, path)


Report = c.Struct(
    marked("realm", U8), marked("cost", Varint), marked("medium", Text8), marked("label", Text8), End
)

_SIGNAL_FIELDS = {
    1: c.Struct(_Id, End),
    2: c.Struct(_Endpoint, marked("limit", U16), End),
    3: c.Struct(_Endpoint, marked("sent", U16), End),
    4: c.Struct(_Id, marked("limit", U16), End),
    5: c.Struct(_Endpoint, _Seq, marked("reason", U8), End),
    6: c.Struct(_Id, marked("parts", U16), End),
    7: c.Struct(_Endpoint, End),
    8: c.Struct(_Endpoint, "holders" / _Few(UntilEnd(Holder))),
    9: c.Struct(_Endpoint, marked("tree", Node), End),
    10: c.Struct(_Endpoint, marked("tree", Node), End),
    11: c.Struct(_Id, End),
    12: c.Struct(_Id, "report" / _Legible(Report)),
    13: c.Struct(_Id, marked("expression", Rest)),
    14: c.Struct(_Id, marked("selected_flags", U8), "holders" / _Few(UntilEnd(Chosen))),
    15: c.Struct(_Endpoint, "holders" / _Few(UntilEnd(Holder))),
}
_UnknownSignal = c.Struct(marked("payload", Rest))

Signal = _message(
    7,
    marked("signal", U8),
    "about" / c.Switch(lambda this: this.signal, _SIGNAL_FIELDS, default=_UnknownSignal),
)

# -----------------------------------------------------------------------------
# Section 2: frames

_CONTROL = {1: Hello, 2: Handshake, 3: Close, 4: Ping, 5: Pong, 6: Directory, 7: More, 8: Routes, 9: Sync} | {
    0x41: Sleep
}
_CONTROL |= {0x0A: Run}
_MESSAGES = {0: Send, 1: Publish, 2: Confirm, 3: Request, 4: Reply, 5: Part, 6: Error, 7: Signal}
_BY_NAME = {CONTROL_NAMES[n]: layout for n, layout in _CONTROL.items()} | {
    KIND_NAMES[n]: layout for n, layout in _MESSAGES.items()
}
_IGNORABLE = 0x40

Ignored = c.Struct(
    marked("head", U8),
    "kind" / c.Computed("IGNORED"),
    marked("payload", Rest),
)


def _layout(head: int) -> Any:
    if head & _MESSAGE:
        return _MESSAGES[_message_kind(head)]
    if head in _CONTROL:
        return _CONTROL[head]
    if head & _IGNORABLE:
        return Ignored
    raise Refused(_UNKNOWN_FRAME, f"a control frame of this version (0x01 to 0x0a), not 0x{head:02x}")


class _Body(Sized):
    """The body of any frame. Parses to a flat Container with "kind"; builds from a mapping with "kind".

    The fields of a SIGNAL stand beside the others, not below one of their own.
    """

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        trace = context._params.get("trace")
        start = stream.tell()
        try:
            head = self._take(stream, 1, "the head of a frame")[0]
            layout = _layout(head)
        except Refused:
            if trace is not None:
                trace.fail("head", start)
            raise
        stream.seek(start)
        frame = layout._parsereport(stream, context, path)
        frame.update(frame.pop("about", None) or {})
        return frame

    def _build(self, obj: Mapping[str, Any], stream: Any, context: Any, path: str) -> Any:
        layout = Ignored if obj["kind"] == "IGNORED" else _BY_NAME[obj["kind"]]
        layout._build({**obj, "about": obj}, stream, context, path)
        return obj


Body = _Body()
Frame = Within(Varint, Body, "a frame")
Stream = UntilEnd(Frame)


def parse_body(body: bytes, trace: Trace) -> Any:
    """Parses the body of one frame.

    Args:
        body: all bytes of it, without the length in front.
        trace: takes up every field read, also those before a failure.

    Returns:
        The Container that `Body` describes.

    Raises:
        Refused: the body breaks the format.
    """
    return Body.parse_stream(BytesIO(body), trace=trace)
