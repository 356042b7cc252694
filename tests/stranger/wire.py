"""Frames to dictionaries and back: sections 1, 2, 4, 5, 7 and 10 of the page. Keeps no state but tables.

The dictionaries have the words of tests/vectors (make.py says which).
"""

from __future__ import annotations

import uuid
from typing import Any, Final

Frame = dict[str, Any]

NAMESPACE: Final = uuid.UUID("f2066500-0bc6-4ea2-9d3a-7801eb92bb6c")
REALMS: Final = ("PROCESS", "USERSPACE", "LOCALNET", "GLOBAL")
KINDS: Final = ("SEND", "PUBLISH", "CONFIRM", "REQUEST", "REPLY", "PART", "ERROR", "SIGNAL")
SIGNALS: Final = {
    1: "CANCEL",
    2: "CREDIT",
    3: "PROBE",
    4: "PART_CREDIT",
    5: "UNDELIVERABLE",
    6: "END",
    7: "WHO",
    8: "HAVE",
    9: "PRUNE",
    10: "GRAFT",
    11: "TRACE",
    12: "TRACED",
    13: "SELECT",
    14: "SELECTED",
    15: "HAVE_PART",
}
SIGNAL_NUMBERS: Final = {name: number for number, name in SIGNALS.items()}
HOLDERS: Final = ("withdrawn", "unicast", "anycast", "broadcast")
ROUTES: Final = (
    "RETRACT",
    "UPDATE",
    "PARENT",
    "PARENT with versions",
    "SEQREQ",
    "SEQREQ to everyone",
    "ACK",
    "DEPARTED",
)
CONTROL: Final = {
    1: "HELLO",
    2: "HANDSHAKE",
    3: "CLOSE",
    4: "PING",
    5: "PONG",
    6: "DIRECTORY",
    7: "MORE",
    8: "ROUTES",
    9: "SYNC",
    0x41: "SLEEP",
}
HEADS: Final = {name: head for head, name in CONTROL.items()}
OPENING_CREDIT: Final = 4
# What stands behind the signal and its endpoint or id.
_SIGNAL_U16: Final = {
    "CREDIT": "limit",
    "PROBE": "sent",
    "PART_CREDIT": "limit",
    "UNDELIVERABLE": "seq",
    "END": "parts",
}


class Fault(Exception):
    """The link ends with this number of section 8."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Short(Fault):
    """More bytes are needed. Within a frame, error 9."""

    def __init__(self) -> None:
        super().__init__(9, "a field is cut")


def endpoint_of(name: str) -> bytes:
    return uuid.uuid5(NAMESPACE, name).bytes


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def u16(value: int) -> bytes:
    return (value & 0xFFFF).to_bytes(2, "big")


def text8(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


def decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Fault(9, "a text that is not UTF-8") from error


class Reader:
    """Fields of a frame, one after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if self.left() < size:
            raise Short
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        return self.take(self.left())

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def u8(self) -> int:
        return self.number(1)

    def u16(self) -> int:
        return self.number(2)

    def varint(self) -> int:
        value = 0
        for place in range(5):
            byte = self.u8()
            value |= (byte & 127) << 7 * place
            if byte < 128:
                if value >> 32:
                    raise Fault(9, "a varint of 2^32 or more")
                return value
        raise Fault(9, "a varint of more than 5 bytes")

    def text8(self) -> str:
        size = self.u8()
        if size > 64:
            raise Fault(9, "a text of more than 64 bytes")
        return decoded(self.take(size))

    def id(self) -> int:
        value = self.varint()
        if not value:
            raise Fault(9, "an id of 0")
        return value

    def end(self) -> None:
        if self.left():
            raise Fault(9, "bytes behind the last field")


class Table:
    """Numbers that the other side binds (5.1): of ids, or with `fixed` of nodes."""

    def __init__(self, most: int, size: int = 16, fixed: tuple[bytes, ...] = ()) -> None:
        self.most = most
        self.size = size
        self.first = len(fixed) + 1
        self.bound = dict(enumerate(fixed, 1))

    def read(self, reader: Reader) -> tuple[int, bool]:
        """The number, and whether it was bound here."""
        if reader.left() and not reader.data[reader.at]:
            reader.u8()
            number = reader.varint()
            if not self.first <= number <= self.most:
                raise Fault(11, f"number {number} cannot be bound")
            self.bound[number] = reader.take(self.size)
            return number, True
        number = reader.varint()
        if number not in self.bound:
            raise Fault(11, f"number {number} was never bound")
        return number, False


class Tables:
    """The bindings of one direction."""

    def __init__(self, sender: bytes, reader: bytes, aliases_max: int, with_leaf: bool) -> None:
        self.ids = Table(aliases_max)
        self.nodes = Table(max(3, aliases_max) if with_leaf else 16384, 20, (sender, reader))

    def key(self, node: Frame) -> bytes:
        """Id and incarnation of a node that was read."""
        return self.nodes.bound[node["number"]]


def _read_node(reader: Reader, tables: Tables) -> Frame:
    number, binds = tables.nodes.read(reader)
    return {"number": number, "id": tables.nodes.bound[number].hex()} if binds else {"number": number}


def _node(node: Frame) -> bytes:
    return (
        b"\0" + varint(node["number"]) + bytes.fromhex(node["id"]) if "id" in node else varint(node["number"])
    )


def _read_id(reader: Reader, tables: Tables, name: str, frame: Frame) -> None:
    number, binds = tables.ids.read(reader)
    frame[name] = tables.ids.bound[number].hex()
    frame[name + "_alias"] = number
    if binds:
        frame[name + "_binds"] = True


def _id(name: str, frame: Frame) -> bytes:
    number = varint(frame[name + "_alias"])
    return b"\0" + number + bytes.fromhex(frame[name]) if frame.get(name + "_binds") else number


# ---- control frames


def read_hello(reader: Reader) -> Frame:
    if reader.left() < 4 or reader.take(4) != b"BSWY":
        raise Fault(1, "no Busway")
    version = reader.u8()
    if version != 2:
        raise Fault(2, f"version {version}")
    flags = reader.u8()
    frame: Frame = {
        "kind": "HELLO",
        "version": version,
        "leaf": bool(flags & 1),
        "realm": REALMS[flags >> 1 & 3],
        "dialled": bool(flags & 8),
        "lookups": bool(flags & 32),
    }
    for name, size in (("node", 16), ("incarnation", 4)):
        frame[name] = reader.take(size).hex()
    for name in _LIMITS:
        frame[name] = reader.varint()
    for name in ("bus", "label", "via"):
        frame[name] = reader.text8()
    while reader.left():
        reader.u8()
        reader.take(reader.u8())
    if frame["realm"] == "PROCESS":
        raise Fault(9, "a realm of 0")
    return frame


_LIMITS: Final = (
    "features",
    "frame_size_max",
    "message_size_max",
    "aliases_max",
    "partials_max",
    "keepalive_ms",
)


def _hello(frame: Frame) -> bytes:
    flags = frame["leaf"] | REALMS.index(frame["realm"]) << 1 | frame["dialled"] << 3
    flags |= frame["lookups"] << 5
    body = b"\1BSWY" + bytes([frame["version"], flags])
    body += bytes.fromhex(frame["node"] + frame["incarnation"])
    body += b"".join(varint(frame[name]) for name in _LIMITS)
    return body + b"".join(text8(frame[name]) for name in ("bus", "label", "via"))


def _read_directory(reader: Reader, tables: Tables) -> Frame:
    head = reader.u8()
    if not head & 3:
        raise Fault(9, "a line of realm 0")
    frame: Frame = {"kind": "DIRECTORY", "realm": REALMS[head & 3], "leaf": bool(head & 16)}
    frame["more"] = bool(head & 32)
    frame["in_part"] = bool(head & 64)
    frame["node"] = _read_node(reader, tables)
    frame["label"] = reader.text8() if head & 4 else None
    frame["base"] = reader.varint()
    frame["version"] = reader.varint()
    frame["entries"] = []
    while reader.left():
        frame["entries"].append(_read_entry(reader))
    return frame


def _read_entry(reader: Reader) -> Frame:
    head = reader.u8()
    if head & 0x0C or (not head & 3 and head & 0xF0):
        raise Fault(9, "an entry of an unknown layout")
    entry: Frame = {"endpoint": reader.take(16).hex(), "kind": HOLDERS[head & 3]}
    if head & 3:
        _read_offer(reader, head, entry)
    return entry


def _read_offer(reader: Reader, head: int, entry: Frame) -> None:
    entry["credit"] = reader.varint() if head & 16 else OPENING_CREDIT
    entry["cost"] = reader.varint() if head & 32 else 0
    entry["name"] = reader.text8() if head & 64 else ""
    if head & 128:
        _read_extension(Reader(reader.take(reader.varint())), entry)


def _read_extension(reader: Reader, entry: Frame) -> None:
    labels: list[bytes] = []
    while reader.left():
        item, value = reader.u8(), reader.take(reader.u8())
        if item == 1:
            labels.append(value)
        elif item == 2:
            before = 17 if value[:1] == b"\3" else 1
            if "gone" in entry or not before <= len(value) <= before + 128 or value[0] > 3:
                raise Fault(9, "a last word of an unknown layout, or two")
            entry["gone"] = value.hex()
    if len(labels) > 8 or not all(1 <= len(label) <= 32 for label in labels):
        raise Fault(9, "labels that are too many, empty or long")
    try:
        texts = [label.decode() for label in sorted(set(labels))]
    except UnicodeDecodeError:
        raise Fault(9, "a label that is not UTF-8") from None
    if texts:
        entry["labels"] = texts


def _offer(entry: Frame) -> tuple[int, bytes]:
    head, tail = 0, b""
    if entry["credit"] != OPENING_CREDIT:
        head, tail = 16, varint(entry["credit"])
    if entry["cost"]:
        head, tail = head | 32, tail + varint(entry["cost"])
    if entry["name"]:
        head, tail = head | 64, tail + text8(entry["name"])
    items = b"".join(bytes([1, len(label.encode())]) + label.encode() for label in entry.get("labels", ()))
    if "gone" in entry:
        gone = bytes.fromhex(entry["gone"])
        items += bytes([2, len(gone)]) + gone
    if items:
        head, tail = head | 128, tail + varint(len(items)) + items
    return head, tail


def _directory(frame: Frame) -> bytes:
    head = REALMS.index(frame["realm"]) | frame["leaf"] << 4 | frame["more"] << 5
    head |= frame.get("in_part", False) << 6
    label = b""
    if frame["label"] is not None:
        head, label = head | 4, text8(frame["label"])
    body = bytes([6, head]) + _node(frame["node"]) + label + varint(frame["base"]) + varint(frame["version"])
    for entry in frame["entries"]:
        bits, tail = (0, b"") if entry["kind"] == "withdrawn" else _offer(entry)
        bits |= HOLDERS.index(entry["kind"])
        body += bytes([bits]) + bytes.fromhex(entry["endpoint"]) + tail
    return body


def _read_route(reader: Reader, tables: Tables) -> Frame:
    number = reader.u8()
    if number >= len(ROUTES):
        raise Fault(9, f"an entry {number}")
    entry: Frame = {"route": ROUTES[number]}
    if number == 6:
        entry["count"] = reader.u16()
        return entry
    entry["node"] = _read_node(reader, tables)
    if number in (1, 4, 5):
        entry["seqno"] = reader.u16()
    if number == 1:
        entry["metric"] = reader.u16()
    if number == 3:
        entry["versions"] = [reader.varint() for _ in range(3)]
    return entry


def _route(entry: Frame) -> bytes:
    body = bytes([ROUTES.index(entry["route"])])
    if "count" in entry:
        return body + u16(entry["count"])
    body += _node(entry["node"])
    body += b"".join(u16(entry[name]) for name in ("seqno", "metric") if name in entry)
    return body + b"".join(varint(version) for version in entry.get("versions", ()))


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def read_control(body: bytes, tables: Tables | None) -> Frame:
    """A known control frame."""
    reader = Reader(body, 1)
    kind = CONTROL[body[0]]
    if kind == "HELLO":
        return read_hello(reader)
    if kind == "CLOSE":
        return {"kind": kind, "code": reader.varint(), "text": _lenient(reader.rest())}
    if kind == "HANDSHAKE":  # the first one: the others are wall.py's
        if reader.take(4) != b"BSWY":
            raise Fault(1, "no Busway")
        if (version := reader.u8()) != 2:
            raise Fault(2, f"version {version}")
        return {"kind": kind, "version": version, "pattern": reader.u8(), "message": reader.rest().hex()}
    if kind == "MORE":
        return {"kind": kind, "partial": reader.u8(), "payload": reader.rest().hex()}
    assert tables is not None
    if kind == "DIRECTORY":
        return _read_directory(reader, tables)
    if kind == "ROUTES":
        entries = []
        while reader.left():
            entries.append(_read_route(reader, tables))
        return {"kind": kind, "entries": entries}
    name = {"SYNC": "stage", "SLEEP": "ms"}.get(kind, "token")
    frame = {"kind": kind, name: reader.u8() if kind == "SYNC" else reader.varint()}
    reader.end()
    return frame


def _control(frame: Frame) -> bytes:
    kind = frame["kind"]
    if kind == "HELLO":
        return _hello(frame)
    if kind == "DIRECTORY":
        return _directory(frame)
    head = bytes([HEADS[kind]])
    if kind == "CLOSE":
        return head + varint(frame["code"]) + str(frame["text"]).encode()
    if kind == "HANDSHAKE":
        return head + b"BSWY" + bytes((frame["version"], frame["pattern"])) + bytes.fromhex(frame["message"])
    if kind == "MORE":
        return head + bytes([frame["partial"]]) + bytes.fromhex(frame["payload"])
    if kind == "ROUTES":
        return head + b"".join(_route(entry) for entry in frame["entries"])
    if kind == "SYNC":
        return head + bytes([frame["stage"]])
    return head + varint(frame["ms" if kind == "SLEEP" else "token"])


# ---- messages


def read_message(body: bytes, tables: Tables) -> Frame:
    head = body[0]
    reader = Reader(body, 1)
    kind = KINDS[head >> 4 & 7]
    frame: Frame = {"kind": kind}
    if head & 8:
        frame["routing"] = _read_routing(reader, tables)
    if head & 4:
        _read_options(reader, frame)
    if kind in ("ERROR", "SIGNAL") and head & 3:
        raise Fault(9, "an error or signal with a format")
    if kind == "SIGNAL":
        _read_signal(reader, tables, frame)
        return frame
    frame["format"] = head & 3
    if kind in ("SEND", "PUBLISH", "CONFIRM", "REQUEST"):
        _read_id(reader, tables, "endpoint", frame)
        frame["seq"] = reader.u16()
    if kind not in ("SEND", "PUBLISH"):
        frame["id"] = reader.id()
    if kind in ("CONFIRM", "REQUEST"):
        frame["timeout_ms"] = reader.varint()
        if not frame["timeout_ms"]:
            raise Fault(9, "a timeout of 0")
    if kind == "PART":
        frame["index"] = reader.u16()
    if kind == "ERROR":
        frame["code"] = reader.varint()
    if head & 3 == 3:
        _read_id(reader, tables, "type", frame)
    frame["payload"] = reader.rest().hex()
    return frame


def _read_routing(reader: Reader, tables: Tables) -> Frame:
    how = reader.u8()
    if how & 0xF0:
        raise Fault(9, "a routing header of an unknown layout")
    routing: Frame = {"realm": how & 3, "hops": reader.u8()}
    for bit, name in ((4, "destination"), (8, "source")):
        if how & bit:
            routing[name] = _read_node(reader, tables)
    return routing


def _read_options(reader: Reader, frame: Frame) -> None:
    items = Reader(reader.take(reader.varint()))
    kind = frame["kind"]
    while items.left():
        which = items.u8()
        value = Reader(items.take(items.u8()))
        if which == 1 and kind != "SIGNAL":
            if "cut" in frame or value.left() != 5:
                raise Fault(9, "CUT twice, or not of 5 bytes")
            frame["cut"] = {"partial": value.u8(), "size": value.number(4)}
        elif which == 2 and kind == "REQUEST":
            if "stream" in frame or value.left() != 2:
                raise Fault(9, "STREAM twice, or not of 2 bytes")
            frame["stream"] = value.u16()
            if not frame["stream"]:
                raise Fault(9, "STREAM without room")
        elif which == 3 and kind in ("SEND", "PUBLISH"):
            frame["best_effort"] = True
        elif which == 4 and kind == "PUBLISH":
            reach = value.u8() if value.left() == 1 else 1
            reach = reach if reach in (1, 2, 3) else 1
            frame["reach"] = REALMS[min(reach, REALMS.index(frame.get("reach", "GLOBAL")))]
        elif which == 5:
            if "lane" in frame or value.left() != 1:
                raise Fault(9, "LANE twice, or not of a byte")
            frame["lane"] = value.u8()
            if frame["lane"] == 1 or frame["lane"] > 7:
                raise Fault(9, "LANE is none")
        elif which == 6 and kind in ("SEND", "PUBLISH", "SIGNAL"):
            if "name" in frame or not 1 <= value.left() <= 64:
                raise Fault(9, "NAME twice, or not of 1 to 64 bytes")
            frame["name"] = decoded(value.rest())
        elif which == 7 and kind in ("SEND", "PUBLISH", "REQUEST"):
            if "retain" in frame or value.left() != 4:
                raise Fault(9, "RETAIN twice, or not of 4 bytes")
            frame["retain"] = value.number(4)
            if not frame["retain"] & 0x7FFFFFFF:
                raise Fault(9, "RETAIN of number 0")


def _read_signal(reader: Reader, tables: Tables, frame: Frame) -> None:
    number = reader.u8()
    name = frame["signal"] = SIGNALS.get(number, "UNKNOWN")
    if name == "UNKNOWN":
        frame.update(number=number, payload=reader.rest().hex(), skipped=True)
        return
    if name in ("CANCEL", "PART_CREDIT", "END", "TRACE", "TRACED", "SELECT", "SELECTED"):
        frame["id"] = reader.id()
    else:
        _read_id(reader, tables, "endpoint", frame)
    if name == "TRACED":
        frame["report"] = _read_report(reader.rest())
        return
    if name == "SELECT":
        frame["expression"] = reader.rest().hex()
        return
    if name == "SELECTED":
        frame["flags"] = reader.u8()
    if name in _SIGNAL_U16:
        frame[_SIGNAL_U16[name]] = reader.u16()
    if name == "UNDELIVERABLE":
        frame["reason"] = reader.u8()
    if name in ("PRUNE", "GRAFT"):
        frame["tree"] = _read_node(reader, tables)
    if name in ("HAVE", "SELECTED", "HAVE_PART"):
        frame["holders"] = []
        while reader.left():
            frame["holders"].append(_read_holder(reader, tables, name == "SELECTED"))
            if len(frame["holders"]) > 16:
                raise Fault(9, "more than 16 holders")
    reader.end()


def _read_holder(reader: Reader, tables: Tables, selected: bool = False) -> Frame:
    head = reader.u8()
    holder: Frame = {"kind": HOLDERS[head & 3], "realm": head >> 2 & 3, "node": _read_node(reader, tables)}
    if selected:
        _read_id(reader, tables, "endpoint", holder)
    holder["metric"] = reader.u16()
    _read_offer(reader, head, holder)
    return holder


def _read_report(raw: bytes) -> Any:
    try:
        reader = Reader(raw)
        report = {"realm": reader.u8(), "cost": reader.varint()}
        report["medium"], report["label"] = reader.text8(), reader.text8()  # type: ignore[assignment]
        reader.end()
        return report
    except Fault:
        return raw.hex()


def write(frame: Frame) -> bytes:
    """The body of a frame."""
    kind = frame["kind"]
    if kind not in KINDS:
        return _control(frame)
    head = 128 | KINDS.index(kind) << 4 | frame.get("format", 0)
    tail = b""
    if "routing" in frame:
        head |= 8
        tail += _routing(frame["routing"])
    options = _options(frame)
    if options:
        head |= 4
        tail += varint(len(options)) + options
    if kind == "SIGNAL":
        return bytes([head]) + tail + _signal(frame)
    if "endpoint" in frame:
        tail += _id("endpoint", frame) + u16(frame["seq"])
    for name in ("id", "timeout_ms", "code"):
        tail += varint(frame[name]) if name in frame else b""
    tail += u16(frame["index"]) if "index" in frame else b""
    tail += _id("type", frame) if "type" in frame else b""
    return bytes([head]) + tail + bytes.fromhex(frame["payload"])


def _routing(routing: Frame) -> bytes:
    how, tail = routing["realm"], b""
    for bit, name in ((4, "destination"), (8, "source")):
        if name in routing:
            how |= bit
            tail += _node(routing[name])
    return bytes([how, routing["hops"]]) + tail


def _options(frame: Frame) -> bytes:
    options = b""
    if "stream" in frame:
        options += b"\2\2" + u16(frame["stream"])
    if "best_effort" in frame:
        options += b"\3\0"
    if "reach" in frame:
        options += bytes([4, 1, REALMS.index(frame["reach"])])
    if "name" in frame:
        options += b"\6" + text8(frame["name"])
    if "retain" in frame:
        options += b"\7\4" + frame["retain"].to_bytes(4, "big")
    if "cut" in frame:
        options += bytes([1, 5, frame["cut"]["partial"]]) + frame["cut"]["size"].to_bytes(4, "big")
    if "lane" in frame:
        options += bytes([5, 1, frame["lane"]])
    return options


def _signal(frame: Frame) -> bytes:
    name = frame["signal"]
    if name == "UNKNOWN":
        return bytes([frame["number"]]) + bytes.fromhex(frame["payload"])
    body: bytes = bytes([SIGNAL_NUMBERS[name]])
    body += varint(frame["id"]) if "id" in frame else _id("endpoint", frame)
    body += u16(frame[_SIGNAL_U16[name]]) if name in _SIGNAL_U16 else b""
    body += bytes([frame["reason"]]) if "reason" in frame else b""
    body += bytes([frame["flags"]]) if name == "SELECTED" else b""
    body += bytes.fromhex(frame["expression"]) if name == "SELECT" else b""
    body += _node(frame["tree"]) if "tree" in frame else b""
    for holder in frame.get("holders", ()):
        bits, tail = _offer(holder)
        bits |= HOLDERS.index(holder["kind"]) | holder["realm"] << 2
        endpoint = _id("endpoint", holder) if name == "SELECTED" else b""
        body += bytes([bits]) + _node(holder["node"]) + endpoint + u16(holder["metric"]) + tail
    report: Any = frame.get("report")
    if isinstance(report, str):
        return body + bytes.fromhex(report)
    if report is not None:
        body += bytes([report["realm"]]) + varint(report["cost"])
        body += text8(report["medium"]) + text8(report["label"])
    return body
