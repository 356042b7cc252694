"""Runs the golden vectors against the core.

One file for CPython, the compiled core and MicroPython: it uses what all share. `run(folder, ...)`
returns how many checks were made and raises AssertionError with a vector's name at the first that fails.
`primitives` are those of secure/cipher.py, `crypto` is that of leaf/keyed.py; without them what is protected
is left out.
"""

import json
from binascii import crc32

from busway.protocol import Link, Node, codes
from busway.protocol.errors import LocalError, Refusal
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.link.connection import Connection
from busway.protocol.packet import cobs
from busway.protocol.packet.texts import TextLayer
from busway.protocol.secure.security import Security
from busway.protocol.wire.address import uuid_of
from busway.protocol.wire.aliases import AliasTable, AliasWriter, node_reader, node_writer
from busway.protocol.wire.fields import Reader, text8, varint
from busway.protocol.wire.hello import Hello, Limits, read_hello, write_hello
from busway.protocol.wire.messages import (
    Frame,
    HaveFrame,
    SelectedSignal,
    TreeFrame,
    read_frame,
    read_run,
    write_header,
)
from busway.protocol.wire.runs import write_together
from busway.protocol.wire.traits import gone_of, labels_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Vector = dict[str, Any]

NOW = 1000
KINDS = ("SEND", "PUBLISH", "CONFIRM", "REQUEST", "REPLY", "PART", "ERROR", "SIGNAL")
SIGNALS = "- CANCEL CREDIT PROBE PART_CREDIT UNDELIVERABLE END WHO HAVE PRUNE GRAFT TRACE TRACED".split(" ")
SIGNALS += ["SELECT", "SELECTED", "HAVE_PART"]
HOLDERS = ("withdrawn", "unicast", "anycast", "broadcast")
NUMBERS = ("seq", "index", "limit", "sent", "parts")


def unhex(text: str) -> bytes:
    return bytes([int(text[at : at + 2], 16) for at in range(0, len(text), 2)])


def hexed(raw: bytes) -> str:
    return "".join(["%02x" % byte for byte in raw])


def check(ok: bool, *about: object) -> None:
    if not ok:
        raise AssertionError(" / ".join([str(item) for item in about]))


def load(folder: str, name: str) -> "Vector":
    with open(folder + "/" + name) as file:
        content: "Vector" = json.load(file)
    return content


class Told:
    """Memory as the vectors have it: its description ends with how many bytes it has, modulo 256."""

    def take(self, description: bytes, thing: "Any") -> "Any":
        if description[-1] != len(thing) & 0xFF and len(description) < 64:
            raise LocalError("the memory is not what the other side says")
        return memoryview(thing)


def hand_over(made: Connection, vector: "Vector") -> None:
    """The things that come before the bytes of a vector."""
    beside = vector.get("beside", [])
    made.receive_things([unhex(thing) for thing in beside], NOW)


def connection(setup: "Vector", state: str, primitives: "Any" = None) -> Connection:
    """Node A's connection in a state, as setup.json says."""
    own, how = setup["own"], setup["states"][state]
    node = Node(
        unhex(own["node"]),
        entropy=lambda size: unhex(own["incarnation"]),
        label="a",
        limits=Limits(4096, 65536, 127, 4),
    )
    protection = None
    if how["token"]:
        protection = Security(primitives, bytes, takes=(codes.PSK_AES,), token=setup["token"].encode())
    runs = how.get("runs", False)
    aside = Told() if how.get("aside") else None
    made = node.connection(
        Link(codes.USERSPACE, False, security=protection, runs=runs, addressing=False, aside=aside), NOW
    )
    sent = made.data_to_send(65536, NOW)
    check(hexed(sent) == how.get("sends", setup["sends"]), state, "its HELLO is", hexed(sent))
    if how["feed"]:
        made.receive_data(unhex(how["feed"]), NOW)
    return made


def check_varints(folder: str) -> int:
    """Good ones, refused ones and cut ones."""
    vectors = load(folder, "varints.json")
    for vector in vectors["good"]:
        raw = unhex(vector["hex"])
        check(Reader(raw, 0, len(raw)).varint() == vector["value"], "varint", vector["hex"])
        if vector["canonical"]:
            check(varint(vector["value"]) == raw, "varint of", vector["value"])
    refused = vectors["refused"] + vectors["incomplete"]
    for vector in refused:
        raw = unhex(vector["hex"])
        try:
            Reader(raw, 0, len(raw)).varint()
        except Refusal as refusal:
            check(refusal.code == codes.MALFORMED, "varint", vector["hex"], refusal.code)
        else:
            check(False, "varint", vector["hex"], "was taken")
    return len(vectors["good"]) + len(refused)


def check_errors(folder: str, primitives: "Any") -> int:
    """Bytes that end a link with a number, and bytes that do not; whole and one at a time."""
    setup = load(folder, "setup.json")
    vectors = errors_of(folder, primitives)
    for vector in vectors:
        wanted = (-1, codes.GOODBYE) if vector["code"] is None else (vector["code"],)
        raw = unhex(vector["hex"])
        for step in (len(raw) or 1, 1):
            made = connection(setup, vector["state"], primitives)
            hand_over(made, vector)
            for at in range(0, len(raw), step):
                made.receive_data(raw[at : at + step], NOW)
            check(made.close_code in wanted, vector["name"], "ended with", made.close_code)
    return len(vectors)


def errors_of(folder: str, primitives: "Any") -> "list[Vector]":
    """Those in errors.json that can be shown."""
    vectors = load(folder, "errors.json")["vectors"]
    return [vector for vector in vectors if vector["state"] != "securing" or primitives is not None]


def bodies(raw: bytes) -> "list[bytes]":
    """The frames of a whole stream, without their lengths."""
    found = []
    at = 0
    while at < len(raw):
        reader = Reader(raw, at, len(raw))
        size = reader.varint()
        found.append(reader.take(size))
        at = reader.pos
    return found


def check_frames(folder: str) -> int:
    """Every field of every frame, and the same bytes back where a sender would write them."""
    setup = load(folder, "setup.json")
    count = 0
    for vector in load(folder, "frames.json")["vectors"]:
        raw = unhex(vector["hex"])
        tables = Tables(setup)
        frames = bodies(raw)
        check(len(frames) == len(vector["frames"]), vector["name"], "has", len(frames), "frames")
        for body, wanted in zip(frames, vector["frames"]):  # noqa: B905 - MicroPython has no strict=
            if wanted["kind"] in KINDS:
                check_message(vector, body, wanted, tables)
            elif wanted["kind"] == "HELLO":
                check_hello(vector, body, wanted)
            elif wanted["kind"] == "RUN":
                check_run(vector, body, wanted, tables)
            count += 1
        if vector["state"] == "greeting":
            continue  # whether a node takes a HELLO is another question: errors.json
        made = connection(setup, vector["state"])
        hand_over(made, vector)
        made.receive_data(raw, NOW)
        closes = [frame for frame in vector["frames"] if frame["kind"] == "CLOSE"]
        code = closes[0]["code"] if closes else -1
        check(made.close_code == code, vector["name"], "ended with", made.close_code, made.close_text)
        skipped = [frame for frame in vector["frames"] if frame.get("skipped")]
        check(made.skipped_frames == len(skipped), vector["name"], "skipped", made.skipped_frames)
    return count


class Tables:
    """The numbers of one direction, from node B to node A: as A reads them, and as B would write them."""

    def __init__(self, setup: "Vector") -> None:
        self.a = unhex(setup["own"]["node"] + setup["own"]["incarnation"])
        self.b = read_hello(Reader(unhex(setup["states"]["open"]["feed"]), 2, 0x33))[1]
        self.aliases = AliasTable(127)
        self.nodes = node_reader(self.a, self.b, codes.ROUTES_MAX)
        self.writer = AliasWriter(127)
        self.node_writer = node_writer(self.b, self.a, codes.ROUTES_MAX)

    def number_of(self, key: bytes) -> int:
        return self.nodes.ids.index(key)


def check_message(vector: "Vector", body: bytes, wanted: "Vector", tables: Tables) -> None:
    reader = Reader(body, 1, len(body))
    frame = read_frame(body[0], reader, tables.aliases, tables.nodes, NOW)
    found = fields(frame)
    for key in wanted:
        if key in (
            "payload",
            "skipped",
            "number",
            "routing",
            "holders",
            "tree",
            "report",
            "expression",
        ) or key.split("_")[-1] in (
            "alias",
            "binds",
        ):
            continue
        check(found.get(key) == wanted[key], vector["name"], key, found.get(key))
    check_nodes(vector, frame, wanted, tables)
    if wanted.get("skipped"):
        return
    payload = reader.rest()
    if "expression" in wanted:
        check(hexed(payload) == wanted["expression"], vector["name"], "expression", payload)
    if "report" in wanted:
        check(payload == report(wanted["report"]), vector["name"], "report", payload)
    if wanted["kind"] != "SIGNAL":
        check(hexed(payload) == wanted["payload"], vector["name"], "payload", payload)
    if vector["canonical"] and not vector.get("redundant"):
        check(written(frame, payload, wanted, tables) == body, vector["name"], "is written differently")


def check_run(vector: "Vector", body: bytes, wanted: "Vector", tables: Tables) -> None:
    reader = Reader(body, 1, len(body))
    frame, payloads, behind = read_run(reader, tables.aliases, tables.nodes, NOW)
    found = fields(frame)
    for key in ("format", "endpoint", "seq"):
        check(found[key] == wanted[key], vector["name"], key, found[key])
    check(found["kind"] == wanted["of"], vector["name"], "of", found["kind"])
    check([hexed(payload) for payload in payloads] == wanted["payloads"], vector["name"], "payloads")
    check_nodes(vector, frame, wanted, tables)
    if not vector.get("redundant"):
        parts: "list[bytes]" = []
        prefix = written(frame, b"", wanted, tables)[:-2]
        check(prefix == body[1:behind], vector["name"], "begins differently")
        count = write_together(payloads, 0, 4096, 4096, prefix, frame.number, parts)
        check(count == len(payloads), vector["name"], "has", count, "messages")
        check(parts[0][1:] + parts[1] == body, vector["name"], "is written differently")


def report(wanted: "Any") -> bytes:
    """The contents of TRACED, or its bytes where it says nothing."""
    if isinstance(wanted, str):
        return unhex(wanted)
    tail = text8(wanted["medium"]) + text8(wanted["label"])
    return bytes([wanted["realm"]]) + varint(wanted["cost"]) + tail


def check_nodes(vector: "Vector", frame: Frame, wanted: "Vector", tables: Tables) -> None:
    """All that names nodes: the routing header, holders, the root of a tree."""
    routing = wanted.get("routing")
    check((frame.route is not None) == (routing is not None), vector["name"], "routed")
    if routing is not None:
        check(frame.realm() == routing["realm"], vector["name"], "realm", frame.realm())
        check(frame.hops() == routing["hops"], vector["name"], "hops", frame.hops())
        for name, key in (("destination", frame.destination), ("source", frame.source())):
            number = tables.number_of(key) if key else None
            check(number == routing.get(name, {}).get("number"), vector["name"], name, number)
    if "tree" in wanted:
        node = frame.node if isinstance(frame, TreeFrame) else b""
        check(tables.number_of(node) == wanted["tree"]["number"], vector["name"], "tree")
    told_holders = wanted.get("holders", [])
    holders = frame.holders if isinstance(frame, (HaveFrame, SelectedSignal)) else []
    check(len(holders) == len(told_holders), vector["name"], len(holders), "holders")
    for holder, told in zip(holders, told_holders):  # noqa: B905 - MicroPython has no strict=
        found = {
            "kind": HOLDERS[holder.kind],
            "realm": holder.realm,
            "metric": holder.metric,
            "credit": holder.credit,
            "cost": holder.cost,
            "name": holder.name,
            "labels": [label.decode() for label in labels_of(holder.traits)],
            "gone": hexed(gone_of(holder.traits)),
            "endpoint": hexed(holder.endpoint),
        }
        for field in found:
            wanted_field = told.get(field, [] if field == "labels" else "")
            check(found[field] == wanted_field, vector["name"], "holder", field, found[field])
        check(tables.number_of(holder.key) == told["node"]["number"], vector["name"], "holder's node")


def fields(frame: Frame) -> "Vector":
    """A header in the words of the vectors."""
    found: "Vector" = {
        "kind": KINDS[frame.kind],
        "format": frame.format,
        "endpoint": hexed(uuid_of(frame.endpoint)),
        "lane": frame.lane(),
        "id": frame.id,
        "timeout_ms": frame.expires - NOW if frame.expires else 0,
        "code": frame.code,
        "reason": frame.code,
        "stream": frame.options.window if frame.options else 0,
        "best_effort": frame.is_best_effort(),
        "reach": codes.REALM_NAMES[frame.options.reach].upper() if frame.options else "",
        "name": frame.options.name if frame.options else "",
        "retain": frame.options.retain if frame.options else 0,
        "type": hexed(frame.type_id),
    }
    things = frame.things()
    if things is not None:
        found["regions"] = things.region_count
        found["files"] = things.count - things.region_count
        found["shared"] = hexed(things.description)
    for name in NUMBERS:
        found[name] = frame.number
    if frame.options is not None and frame.options.partial >= 0:
        found["cut"] = {"partial": frame.options.partial, "size": frame.options.size}
    if frame.kind == codes.SIGNAL:
        found["signal"] = SIGNALS[frame.signal] if 0 < frame.signal < len(SIGNALS) else "UNKNOWN"
        found["flags"] = frame.code
    return found


def place(writer: AliasWriter, number: int) -> None:
    """Make `number` the next that the table gives, whatever stood there."""
    while len(writer.ids) < number:
        writer.ids.append(b"")
    if number < len(writer.ids):
        writer.numbers[writer.ids[number]] = number
    writer._next = number


def written(frame: Frame, payload: bytes, wanted: "Vector", tables: Tables) -> bytes:
    """The frame as our own writer puts it, with the vector's alias numbers."""
    writer = tables.writer
    for name, uuid in (
        ("type", frame.type_id),
        ("endpoint", uuid_of(frame.endpoint)),
    ):  # the endpoint is bound first
        number = wanted.get(name + "_alias")
        if number is None:
            continue
        if wanted.get(name + "_binds"):
            writer.numbers.pop(uuid, None)
            place(writer, number)
        else:
            writer.numbers[uuid] = number
    return write_header(frame, writer, tables.node_writer, tables.a, NOW) + payload


def check_hello(vector: "Vector", body: bytes, wanted: "Vector") -> None:
    hello = Hello(*read_hello(Reader(body, 1, len(body))))
    found = {
        "kind": "HELLO",
        "version": codes.VERSION,
        "leaf": hello.leaf,
        "realm": codes.REALM_NAMES[hello.realm].upper(),
        "dialled": hello.dialled,
        "lookups": hello.lookups,
        "node": hexed(hello.key[:16]),
        "incarnation": hexed(hello.key[16:]),
        "features": hello.features,
        "frame_size_max": hello.limits[0],
        "message_size_max": hello.limits[1],
        "aliases_max": hello.limits[2],
        "partials_max": hello.limits[3],
        "keepalive_ms": hello.keepalive_ms,
        "bus": hello.bus,
        "label": hello.label,
        "via": hello.via,
    }
    for key in wanted:
        check(found[key] == wanted[key], vector["name"], key, found[key])
    if vector["canonical"]:
        parts = (hello.features, hello.limits, hello.keepalive_ms, hello.bus, hello.label, hello.via)
        again = write_hello(body[6], hello.key, *parts)
        check(again == body, vector["name"], "is written differently")


def leaf_connection(setup: "Vector", state: str) -> LeafConnection:
    """The connection of a small leaf with node A's identity, in a state of setup.json."""
    own, how = setup["own"], setup["states"][state]
    leaf = Leaf(
        unhex(own["node"]),
        entropy=lambda size: unhex(own["incarnation"]),
        label="a",
        limits=(4096, 65536, 127, 4),
    )
    connection = leaf.connection(Link(codes.USERSPACE, False, addressing=False), NOW)
    sent = hexed(connection.data_to_send(65536, NOW))
    check(sent[14:] == as_leaf(how.get("sends", setup["sends"]))[14:], state, "the leaf's HELLO is", sent)
    if how["feed"]:
        connection.receive_data(unhex(how["feed"]), NOW)
    return connection


def as_leaf(sends: str) -> str:
    """The HELLO in setup.json, with the bit that says leaf."""
    return sends and sends[:14] + "%02x" % (int(sends[14:16], 16) | 1) + sends[16:]


# A leaf is sent no directory and no SLEEP, its table of nodes is the smaller one, and its peer is no leaf.
NOT_FOR_LEAVES = (
    "DIRECTORY",
    "SLEEP",
    "ROUTES that bind the last number",
    "a leaf names another node as source",
    "SELECT",  # which it skips as any signal that it does not know
    "HAVE_PART",  # likewise: nobody sends a leaf one
)


def check_leaf(folder: str) -> int:
    """The vectors that concern a leaf, against the one for small boards."""
    setup = load(folder, "setup.json")
    count = 0
    for vector in errors_of(folder, None):
        if for_leaves(vector):
            wanted = (-1, codes.GOODBYE) if vector["code"] is None else (vector["code"],)
            raw = unhex(vector["hex"])
            for step in (len(raw) or 1, 1):
                made = leaf_connection(setup, vector["state"])
                for at in range(0, len(raw), step):
                    made.receive_data(raw[at : at + step], NOW)
                check(made.close_code in wanted, "leaf", vector["name"], "ended with", made.close_code)
            count += 1
    for vector in load(folder, "frames.json")["vectors"]:
        if vector["state"] == "greeting" or not for_leaves(vector):
            continue
        made = leaf_connection(setup, vector["state"])
        made.receive_data(unhex(vector["hex"]), NOW)
        closes = [frame["code"] for frame in vector["frames"] if frame["kind"] == "CLOSE"]
        code = closes[0] if closes else -1
        check(made.close_code == code, "leaf", vector["name"], made.close_code, made.close_text)
        skipped = [frame for frame in vector["frames"] if frame.get("skipped")]
        check(made.skipped_frames == len(skipped), "leaf", vector["name"], "skipped", made.skipped_frames)
        count += 1
    return count


def for_leaves(vector: "Vector") -> bool:
    frames = [frame["kind"] for frame in vector.get("frames", [])]
    if vector["state"] in ("open with runs", "open with things"):
        return False
    return not [word for word in NOT_FOR_LEAVES if word in vector["name"] or word in frames]


class Source:
    """Gives a stream as the packets ask for it."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, size: int, now: int) -> bytes:
        data = self.left[:size]
        self.left = self.left[size:]
        return data


def check_packets(folder: str) -> int:
    """Packet links: coding, checksums, and whole traces."""
    vectors = load(folder, "packets.json")
    for vector in vectors["coded"]:
        plain = unhex(vector["plain"])
        check(hexed(cobs.encode(plain)) == vector["coded"], "COBS of", vector["plain"])
        check(cobs.decode(unhex(vector["coded"])) == plain, "COBS", vector["coded"])
    for vector in vectors["checksums"]:
        raw = unhex(vector["hex"])
        check(cobs.crc16(raw, 0xFFFF) == vector["crc16"], "CRC-16 of", vector["hex"])
        check(cobs.crc16_by_table(raw, 0xFFFF) == vector["crc16"], "CRC-16 by table of", vector["hex"])
        check(cobs.crc16(raw, 0xFFFF) ^ 0xFFFF == vector["crc16_sent"], "CRC-16 sent of", vector["hex"])
        check(crc32(raw, 0) == vector["crc32"], "CRC-32 of", vector["hex"])
    for trace in vectors["traces"]:
        layer = TextLayer(unhex("01020304"), trace["mtu"], 31, NOW, trace.get("says", 0))
        now = NOW
        for number, step in enumerate(trace["steps"]):
            now += step.get("wait", 0)
            check_step(layer, step, now, "%s, step %d" % (trace["name"], number))
    return len(vectors["coded"]) + len(vectors["checksums"]) + len(vectors["traces"])


def check_step(layer: TextLayer, step: "Vector", now: int, name: str) -> None:
    if "write" in step:
        source = Source(unhex(step["write"]))
        packets = []
        while True:
            packet = layer.write(source.take, 1000, now)
            if not packet:
                break
            packets.append(hexed(packet))
        check(packets == step["packets"], name, "wrote", packets)
    elif "read" in step:
        stream = hexed(layer.receive(unhex(step["read"]), now))
        check(stream == step["stream"], name, "gave", stream)
    elif "wait" in step:
        if 0 <= layer.deadline() <= now:
            layer.handle_timer(now)
    elif "offer" in step:
        layer.offer(unhex(step["offer"]))
    elif "log" in step:
        layer.log(unhex(step["log"]))
    else:
        found = {
            "damaged": layer.damaged,
            "duplicates": layer.duplicates,
            "resent": layer.resent,
            "restarted": layer.restarted,
            "texts": [hexed(text) for text in layer.texts],
        }
        for key in step["tells"]:
            check(found[key] == step["tells"][key], name, key, found[key])


def drawn(raw: bytes) -> "Callable[[int], bytes]":
    """The source of randomness that gives what a vector says."""
    return lambda size: raw


def check_keyed(folder: str, crypto: "Any") -> int:
    """The handshakes of boards, and their records: what a board writes, and what it reads."""
    count = 0
    for vector in load(folder, "handshakes.json")["handshakes"]:
        for side, other in (("initiator", "responder"), ("responder", "initiator")):
            mine = vector[side]
            if vector["pattern"] != codes.PSK_AES or (mine["key_id"] == "00" * 16 and not vector["token"]):
                continue
            key = b"" if vector["token"] else unhex(vector["key"])
            made = Secret(crypto, drawn(unhex(mine["nonce"])), key, vector["token"].encode())
            check(hexed(made.id) == mine["key_id"], vector["name"], "id of the key")
            channel = made.channel(vector["sort"] == "packet", vector["bus"])
            if side == "initiator":
                channel.begin()
            for message in vector["handshake"]:
                if message["from"] == other:
                    channel.receive(unhex(message["frame"]))
                    continue
                check(hexed(channel.out) == message["frame"], vector["name"], side, hexed(channel.out))
                channel.out = b""
            check(channel.secured, vector["name"], side, "has no keys")
            for number, record in enumerate(vector["records"]):
                plaintext = unhex(record["plaintext"])
                if record["from"] == other:
                    read = channel.receive(unhex(record["record"]))
                    check(read == plaintext, vector["name"], side, "reads", hexed(read))
                    continue
                channel.say(plaintext)
                check(hexed(channel.out) == record["record"], vector["name"], side, "writes", number)
                channel.out = b""
            count += 1
    return count


def run(folder: str, primitives: "Any" = None, crypto: "Any" = None) -> int:
    """All vectors in a folder."""
    count = check_varints(folder) + check_errors(folder, primitives) + check_frames(folder)
    if crypto is not None:
        count += check_keyed(folder, crypto)
    return count + check_leaf(folder) + check_packets(folder)
