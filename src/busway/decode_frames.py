"""Reads the body of one frame as docs/protocol.md lays it out, and notes every field with its place and name.

Knows single frames: no states of a link, no agreed limits, no bindings of aliases. The core, which carries
traffic, reads the same bytes without names; tests/reference has a third description of them, in `construct`,
and the tests hold all three against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from busway.protocol.wire import codes, runs, things
from busway.wire_names import CONTROL_NAMES, KIND_NAMES, REALM_NAMES

__all__ = ["Alias", "Body", "Read", "Refused", "read_frame", "varint"]

_VARINT_SIZE_MAX = 5


class Refused(Exception):
    """A frame breaks the format.

    Attributes:
        expected: what should have stood there, for people.
        code: the error of section 8 that ends the link.
        short: the frame merely ended too early; more bytes might have made it good.
    """

    def __init__(self, expected: str, code: int = codes.MALFORMED, *, short: bool = False) -> None:
        super().__init__(expected)
        self.expected = expected
        self.code = code
        self.short = short


class Read(NamedTuple):
    """One field that was read: where it stands in the body, and what it holds."""

    offset: int
    length: int
    name: str
    value: Any


class Alias(NamedTuple):
    """Section 5.1. `id` if it is bound here: 16 bytes of an endpoint or type, 20 of a node."""

    number: int
    id: bytes | None


class Body:
    """A cursor over the body of one frame.

    Attributes:
        reads: the fields read so far, in order.
        failed: name and offset of the innermost field at which reading failed.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.reads: list[Read] = []
        self.failed = ("", 0)

    def left(self) -> int:
        return self.end - self.position

    def take(self, count: int, what: str) -> bytes:
        if count > self.left():
            raise Refused(f"{what}; {self.left()} of {count} bytes left", short=True)
        self.position += count
        return self.data[self.position - count : self.position]

    def read(self, name: str, read: Callable[[Body], Any]) -> Any:
        """Reads one field and notes it."""
        start = self.position
        with self.failing_at(name):
            value = read(self)
        self.reads.append(Read(start, self.position - start, name, value))
        return value

    def read_all(self, layout: _Layout) -> dict[str, Any]:
        return {name: self.read(name, read) for name, read in layout.items()}

    def read_announced(self, head: int, layout: _Announced) -> dict[str, Any]:
        """The fields whose bits a head has set."""
        return {name: self.read(name, read) for bit, name, read in layout if head & bit}

    def read_many(self, read: Callable[[Body], Any]) -> list[Any]:
        """As many as there are up to the end."""
        found = []
        while self.left():
            found.append(read(self))
        return found

    def read_within(self, count: int, what: str, read: Callable[[Body], Any]) -> Any:
        """Reads what must use up exactly the next `count` bytes."""
        whole = self.end
        with self.failing_at(what):
            self.take(count, f"{count} bytes of {what}")
            self.end = self.position
            self.position -= count
            try:
                value = read(self)
            except Refused as refused:
                refused.short = False  # its length says that no more bytes belong to it
                raise
            if self.left():
                raise Refused(f"the end of {what}, not {self.left()} more bytes")
        self.end = whole
        return value

    def finish(self) -> None:
        with self.failing_at("end of the frame"):
            if self.left():
                raise Refused(f"the end of the frame, not {self.left()} more bytes")

    @contextmanager
    def failing_at(self, name: str) -> Iterator[None]:
        """Notes where a field begins that turns out to be refused."""
        start = self.position
        try:
            yield
        except Refused:
            if not self.failed[0]:  # the innermost field comes first and says the most
                self.failed = (name, start)
            raise


_Layout = Mapping[str, Callable[[Body], Any]]
_Announced = tuple[tuple[int, str, Callable[[Body], Any]], ...]

# Section 1: types


def varint(body: Body, least: int = 0) -> int:
    value = 0
    for index in range(_VARINT_SIZE_MAX):
        byte = body.take(1, "a varint")[0]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    else:
        raise Refused("a varint of at most 5 bytes")
    if value > 0xFFFFFFFF:
        raise Refused("a varint below 2^32")
    if value < least:
        raise Refused(f"a varint of {least} or more")
    return value


def _count(body: Body) -> int:
    return varint(body, 1)


def _uint(size: int, what: str = "") -> Callable[[Body], int]:
    return lambda body: int.from_bytes(body.take(size, what or f"a u{8 * size}"), "big")


def _bytes(size: int, what: str) -> Callable[[Body], bytes]:
    return lambda body: body.take(size, what)


_u8, _u16, _u32 = _uint(1), _uint(2), _uint(4)
_uuid = _bytes(codes.ID_SIZE, "a uuid of 16 bytes")
_key = _bytes(codes.KEY_SIZE, "a node id of 16 bytes and an incarnation of 4")


def _rest(body: Body) -> bytes:
    return body.take(body.left(), "")


def _text8(body: Body) -> str:
    size = body.take(1, "the length of a text")[0]
    if size > codes.TEXT_SIZE_MAX:
        raise Refused(f"a text of at most {codes.TEXT_SIZE_MAX} bytes, not {size}")
    return _text(body, size)


def _name(body: Body) -> str:
    if not 1 <= body.left() <= codes.TEXT_SIZE_MAX:
        raise Refused(f"a text of 1 to {codes.TEXT_SIZE_MAX} bytes, not {body.left()}")
    return _text(body, body.left())


def _text(body: Body, size: int) -> str:
    try:
        return body.take(size, f"a text of {size} bytes").decode()
    except UnicodeDecodeError as error:
        raise Refused(f"UTF-8 ({error.reason} at byte {error.start} of the text)") from None


def _sentence(body: Body) -> str:
    """UTF-8 for people, shown as well as it can be."""
    return _rest(body).decode(errors="replace")


def _alias(id: Callable[[Body], bytes], first: int) -> Callable[[Body], Alias]:
    """`first` is the lowest number that can be bound."""

    def read(body: Body) -> Alias:
        start = body.position
        number, bound = varint(body), None
        if number == 0 and body.position == start + 1:  # a padded zero is no mark
            number = varint(body)
            if number < first:
                raise Refused(f"an alias from {first} up to be bound", codes.UNKNOWN_ALIAS)
            bound = id(body)
        if number == 0:
            raise Refused("an alias from 1 up", codes.UNKNOWN_ALIAS)
        return Alias(number, bound)

    return read


_place = _alias(_uuid, 1)
_node = _alias(_key, codes.RECEIVER + 1)


def _only(
    read: Callable[[Body], Any], fits: Callable[[Any], object], expected: str, *, short: bool = False
) -> Callable[[Body], Any]:
    """A field that may hold some values only."""

    def checked(body: Body) -> Any:
        value = read(body)
        if not fits(value):
            raise Refused(expected, short=short)
        return value

    return checked


# Section 3: the life of a link


def _magic(body: Body) -> bytes:
    """The first check of all: what is cut short inside it is not Busway either."""
    data = body.take(min(len(codes.MAGIC), body.left()), "")
    if data != codes.MAGIC:
        short = codes.MAGIC.startswith(data)
        raise Refused(f"{codes.MAGIC!r}, not {data!r}", codes.NOT_BUSWAY, short=short)
    return data


def _version(body: Body) -> int:
    version = _u8(body)
    if version != codes.VERSION:
        raise Refused(f"version {codes.VERSION}, not {version}", codes.BAD_VERSION)
    return version


_HELLO: _Layout = {
    "magic": _magic,
    "version": _version,
    "flags": _only(_uint(1, "the flags"), lambda flags: flags & 6, "a realm of 1 to 3 in bits 1-2"),
    "node": _uuid,
    "incarnation": _bytes(codes.INCARNATION_SIZE, "an incarnation of 4 bytes"),
    "features": varint,
    **dict.fromkeys(("frame_size_max", "message_size_max", "aliases_max", "partials_max"), varint),
    "keepalive_ms": varint,
    **dict.fromkeys(("bus", "label", "via"), _text8),
}


def _hello(body: Body) -> dict[str, Any]:
    frame = body.read_all(_HELLO)
    body.read_many(lambda body: _option(body, {}))
    return frame


def _handshake(body: Body) -> dict[str, Any]:
    """The first of a link says what it is; the others are its messages, which only both sides understand."""
    start = body.position
    first = body.left() >= len(codes.MAGIC) and body.take(len(codes.MAGIC), "") == codes.MAGIC
    body.position = start
    layout: _Layout = {"magic": _magic, "version": _version, "pattern": _u8} if first else {}
    return body.read_all({**layout, "message": _rest})


def _option(body: Body, layouts: Mapping[int, _Layout]) -> tuple[int, dict[str, Any]]:
    """An option of a HELLO or a message: its number, and its fields if its layout is known."""
    option = body.read("option", _u8)
    size = body.read("option_length", _u8)
    layout = layouts.get(option, {"option_value": _rest})
    return option, body.read_within(size, "the option's value", lambda body: body.read_all(layout))


# Section 4: directory

_TRAITS: _Announced = ((0x10, "credit", varint), (0x20, "cost", varint), (0x40, "name", _text8))
_LABEL: _Announced = ((0x04, "label", _text8),)

_line = _only(_u8, lambda head: head & 3, "a realm of 1 to 3 in bits 0-1 of a line's head")
_entry_head = _only(
    _only(_u8, lambda head: not head & 0x0C, "bits 2 and 3 of an entry's head to be zero"),
    lambda head: not head or head & 3,
    "nothing but the uuid in an entry that is withdrawn",
)


def _directory(body: Body) -> dict[str, Any]:
    line = body.read("line", _line)
    body.read("node", _node)
    body.read_announced(line, _LABEL)
    body.read_all({"base": varint, "version": varint})
    return {"entries": body.read_many(_entry)}


def _entry(body: Body) -> dict[str, Any]:
    head = body.read("entry", _entry_head)
    entry = {"endpoint": body.read("endpoint", _uuid), **body.read_announced(head, _TRAITS)}
    if head & 0x80:
        _extension(body)
    return entry


def _extension(body: Body) -> None:
    """Labels and a last word, behind the other fields of an endpoint."""
    size = body.read("extension_length", varint)
    body.read_within(size, "the extension", _items)


def _items(body: Body) -> None:
    start = body.position
    kinds = body.read_many(_item)
    if kinds.count(_LABEL_ITEM) > codes.LABELS_MAX or kinds.count(_GONE_ITEM) > 1:
        body.failed = ("the extension", start)
        raise Refused(f"at most {codes.LABELS_MAX} labels and one last word")


_LABEL_ITEM, _GONE_ITEM = 1, 2


def _item(body: Body) -> int:
    item: int = body.read("item", _u8)
    size = body.read("item_length", _u8)
    body.read_within(size, "the item's value", lambda body: _item_value(body, item))
    return item


def _item_value(body: Body, item: int) -> None:
    if item == _LABEL_ITEM:
        body.read("endpoint_label", _label_text)
    elif item == _GONE_ITEM:
        if body.read("last_word_format", _last_word_format) == codes.TYPED:
            body.read("last_word_type", _uuid)
        body.read("last_word", _last_word)
    else:
        body.read("item_value", _rest)


def _label_text(body: Body) -> str:
    raw: bytes = _rest(body)
    if not 1 <= len(raw) <= codes.LABEL_SIZE_MAX:
        raise Refused(f"a label of 1 to {codes.LABEL_SIZE_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"UTF-8 ({error.reason} at byte {error.start} of the text)") from None


_last_word_format = _only(_u8, lambda format: format <= codes.TYPED, "a format of 0 to 3")
_last_word = _only(
    _rest, lambda raw: len(raw) <= codes.GONE_SIZE_MAX, f"a last word of at most {codes.GONE_SIZE_MAX} bytes"
)


# Section 10: routes

_ROUTES: Mapping[int, _Layout] = {
    codes.RETRACT: {"node": _node},
    codes.UPDATE: {"node": _node, "seqno": _u16, "metric": _u16},
    codes.PARENT: {"node": _node},
    codes.PARENT_WITH: {"node": _node, **{f"version, {realm}": varint for realm in REALM_NAMES.values()}},
    codes.SEQREQ: {"node": _node, "seqno": _u16},
    codes.SEQREQ_WIDE: {"node": _node, "seqno": _u16},
    codes.ACK: {"count": _u16},
    codes.DEPARTED: {"node": _node},
}
_route = _only(_u8, lambda route: route in _ROUTES, f"an entry of 0 to {codes.DEPARTED}")


def _routes(body: Body) -> dict[str, Any]:
    return {"entries": body.read_many(lambda body: body.read_all(_ROUTES[body.read("route", _route)]))}


# Section 5: messages


def _files(body: Body) -> int:
    """Their number, behind that of the regions."""
    regions: int = body.reads[-1].value
    files = _u8(body)
    if not 1 <= regions + files <= things.MESSAGE_MAX:
        raise Refused(f"1 to {things.MESSAGE_MAX} regions and files")
    return files


_shared = _only(
    _rest,
    lambda raw: 0 < len(raw) <= things.DESCRIPTION_SIZE_MAX,
    f"a description of 1 to {things.DESCRIPTION_SIZE_MAX} bytes",
)

_OPTIONS: Mapping[int, tuple[Callable[[int], bool], _Layout]] = {
    codes.OPTION_CUT: (lambda kind: kind != codes.SIGNAL, {"partial": _u8, "size": _u32}),
    codes.OPTION_STREAM: (
        lambda kind: kind == codes.REQUEST,
        {"window": _only(_u16, bool, "a window of at least 1")},
    ),
    codes.OPTION_NAME: (lambda kind: kind <= codes.PUBLISH or kind == codes.SIGNAL, {"name": _name}),
    codes.OPTION_RETAIN: (
        lambda kind: kind <= codes.PUBLISH or kind == codes.REQUEST,
        {"retain": _only(_u32, lambda number: number & ~codes.CLEARED, "a number of at least 1")},
    ),
    codes.OPTION_LANE: (
        lambda kind: True,
        {"lane": _only(_u8, lambda lane: lane != 1 and lane < 8, "a lane of 0, or 2 to 7")},
    ),
    things.OPTION_THINGS: (lambda kind: kind < codes.ERROR, {"regions": _u8, "files": _files}),
    things.OPTION_SHARED: (lambda kind: kind < codes.ERROR, {"shared": _shared}),
}
"""Which kinds of message an option says something of, and its fields: elsewhere it is skipped."""

_ENDPOINT: _Layout = {"endpoint": _place}
_SENT: _Layout = {"endpoint": _place, "seq": _u16}
_ANSWERED: _Layout = {**_SENT, "id": _count, "timeout_ms": _count}
_MESSAGES: Mapping[int, _Layout] = {
    codes.SEND: _SENT,
    codes.PUBLISH: _SENT,
    codes.CONFIRM: _ANSWERED,
    codes.REQUEST: _ANSWERED,
    codes.REPLY: {"id": _count},
    codes.PART: {"id": _count, "index": _u16},
    codes.ERROR: {"id": _count, "code": varint},
}
_how = _only(_u8, lambda how: not how & 0xF0, "bits 4-7 of a routing header to be zero")
_NODES: _Announced = ((codes.HOW_DESTINATION, "destination", _node), (codes.HOW_SOURCE, "source", _node))


def _message(body: Body, head: int) -> dict[str, Any]:
    kind, format = head >> 4 & 7, head & 3
    frame: dict[str, Any] = {"format": format, "options": {}}
    _routing(body, head)
    if head & codes.HEAD_OPTIONS:
        size = body.read("options_length", varint)
        frame["options"] = body.read_within(size, "the options", lambda body: _options(body, kind))
    if kind == codes.SIGNAL:
        return frame | _signal(body)
    frame |= body.read_all(_MESSAGES[kind])
    if format == 3:
        body.read("type", _place)
    return frame | body.read_all({"payload": _rest})


def _routing(body: Body, head: int) -> None:
    if head & codes.HEAD_ROUTED:
        how = body.read("how", _how)
        body.read("hops", _u8)
        body.read_announced(how, _NODES)


_run_head = _only(
    _u8,
    lambda head: head & 0xE4 == codes.MESSAGE and head & 3 != codes.TYPED,
    "the head of a SEND or PUBLISH without options, of format 0 to 2",
)
_run_size = _only(_u16, lambda size: size == 0 or size >= runs.LEAST, "a size of 4 or more, or 0")
_run_count = _only(_u16, lambda count: 0 < count <= codes.WINDOW_MAX, f"1 to {codes.WINDOW_MAX} messages")
_payload_size = _only(_u16, lambda size: size >= runs.LEAST, "a size of 4 or more")


def _run(body: Body) -> dict[str, Any]:
    head = body.read("message_head", _run_head)
    _routing(body, head)
    body.read_all(_SENT)
    size = body.read("size", _run_size)
    if size:
        _payloads_of(body, size)
    else:
        count = body.read("count", _run_count)
        for size in [body.read("payload_size", _payload_size) for _ in range(count)]:
            _payload(body, size)
    return {"format": head & 3, "options": {}}


def _payload(body: Body, size: int) -> None:
    body.read("payload", _bytes(size, f"a payload of {size} bytes"))


def _payloads_of(body: Body, size: int) -> None:
    """As many as there are up to the end, one or more."""
    for _ in range(codes.WINDOW_MAX):
        _payload(body, size)
        if not body.left():
            return
    with body.failing_at("payload"):
        raise Refused(f"at most {codes.WINDOW_MAX} messages")


def _options(body: Body, kind: int) -> dict[str, Any]:
    layouts = {option: layout for option, (applies, layout) in _OPTIONS.items() if applies(kind)}
    found = body.read_many(lambda body: _option(body, layouts))
    known = [option for option, _ in found if option in layouts]
    if len(known) != len(set(known)):
        raise Refused("an option once at most")
    return {name: value for option, fields in found if option in layouts for name, value in fields.items()}


# Section 7: signals

_SIGNALS: Mapping[int, _Layout] = {
    codes.CANCEL: {"id": _count},
    codes.CREDIT: {"endpoint": _place, "limit": _u16},
    codes.PROBE: {"endpoint": _place, "sent": _u16},
    codes.PART_CREDIT: {"id": _count, "limit": _u16},
    codes.UNDELIVERABLE: {"endpoint": _place, "seq": _u16, "reason": _u8},
    codes.END: {"id": _count, "parts": _u16},
    codes.WHO: _ENDPOINT,
    codes.HAVE: _ENDPOINT,
    codes.PRUNE: {"endpoint": _place, "tree": _node},
    codes.GRAFT: {"endpoint": _place, "tree": _node},
    codes.TRACE: {"id": _count},
    codes.TRACED: {"id": _count},
    codes.SELECT: {"id": _count, "expression": _rest},
    codes.SELECTED: {"id": _count, "selected_flags": _u8},
    codes.HAVE_PART: _ENDPOINT,
}
_REPORT: _Layout = {"realm": _u8, "cost": varint, "medium": _text8, "label": _text8}


def _signal(body: Body) -> dict[str, Any]:
    signal = body.read("signal", _u8)
    frame = {"signal": signal, **body.read_all(_SIGNALS.get(signal, {"payload": _rest}))}
    if signal in (codes.HAVE, codes.HAVE_PART):
        with body.failing_at("holders"):
            frame["holders"] = body.read_many(_holder)
            if len(frame["holders"]) > codes.HOLDERS_MAX:
                raise Refused(f"at most {codes.HOLDERS_MAX} holders")
    elif signal == codes.SELECTED:
        with body.failing_at("holders"):
            if len(body.read_many(_chosen)) > codes.HOLDERS_MAX:
                raise Refused(f"at most {codes.HOLDERS_MAX} holders")
    elif signal == codes.TRACED:
        _report(body)
    return frame


def _chosen(body: Body) -> dict[str, Any]:
    """A holder with its endpoint, which a HAVE names once for all."""
    return _holder(body, {"node": _node, "endpoint": _place, "metric": _u16})


def _holder(body: Body, place: _Layout | None = None) -> dict[str, Any]:
    head = body.read("holder", _u8)
    body.read_all(place or {"node": _node, "metric": _u16})
    holder = body.read_announced(head, _TRAITS)
    if head & 0x80:
        _extension(body)
    return holder


def _report(body: Body) -> None:
    """Meant for the one who asked only: for all others, and if its parts do not fit, it is bytes."""
    start, before = body.position, len(body.reads)
    try:
        body.read_all(_REPORT)
        body.finish()
    except Refused:
        body.position = start
        del body.reads[before:]
        body.failed = ("", 0)
        body.read("payload", _rest)


# Section 2: frames

_CONTROL: Mapping[int, Callable[[Body], dict[str, Any]] | _Layout] = {
    codes.HELLO: _hello,
    codes.HANDSHAKE: _handshake,
    codes.CLOSE: {"code": varint, "text": _sentence},
    codes.PING: {"token": varint},
    codes.PONG: {"token": varint},
    codes.DIRECTORY: _directory,
    # Short without a byte: a frame that is not all here yet may still have one.
    codes.MORE: {
        "partial": _u8,
        "payload": _only(_rest, bool, "at least one byte in a later piece of a cut message", short=True),
    },
    codes.ROUTES: _routes,
    codes.SYNC: {"stage": _u8},
    codes.RUN: _run,
    codes.SLEEP: {"ms": varint},
}


def _head(body: Body) -> int:
    head = body.take(1, "the head of a frame")[0]
    if head < codes.MESSAGE:
        if head not in _CONTROL and not head & codes.IGNORABLE:
            expected = f"a control frame of this version (0x01 to 0x0a), not 0x{head:02x}"
            raise Refused(expected, codes.UNKNOWN_FRAME)
    elif head >> 4 & 7 >= codes.ERROR and head & 3:
        raise Refused("format 0 in the head of an ERROR or SIGNAL")
    return head


def read_frame(body: Body) -> dict[str, Any]:
    """Reads all of the body, without the length in front.

    Returns:
        "kind", and of the fields those that say something of other frames.

    Raises:
        Refused: the body breaks the format. `body` has the fields up to there, and tells the one that failed.
    """
    head = body.read("head", _head)
    if head & codes.MESSAGE:
        frame = {"kind": KIND_NAMES[head >> 4 & 7], **_message(body, head)}
    else:
        layout = _CONTROL.get(head, {"payload": _rest})
        fields = body.read_all(layout) if isinstance(layout, Mapping) else layout(body)
        frame = {"kind": CONTROL_NAMES.get(head, "unknown"), **fields}
    body.finish()
    return frame
