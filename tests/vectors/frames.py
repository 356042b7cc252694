"""Frames that are good, byte by byte, and what each says. May not import busway."""

from typing import Any

from tests.vectors.pieces import (
    DEFAULT,
    E1,
    E2,
    HELLO_B,
    HELLO_B_ASIDE,
    IDS_B,
    LIMITS,
    MAGIC,
    NODE_C,
    SEND_BINDS,
    T1,
    Vector,
    bind,
    hello,
    hexed,
    vector,
)

GREETING_FRAMES = [
    vector("HELLO of B", HELLO_B, hello(), state="greeting"),
    vector(
        "HELLO of a leaf, GLOBAL, with a keepalive, an empty label and via",
        f"2d 01 {MAGIC} 02 07 {IDS_B} 00 8001 00 01 01 b817 {DEFAULT} 00 00",
        hello(
            leaf=True,
            realm="GLOBAL",
            dialled=False,
            frame_size_max=128,
            message_size_max=0,
            aliases_max=1,
            partials_max=1,
            keepalive_ms=3000,
            label="",
            via="",
        ),
        state="greeting",
    ),
    vector(
        "HELLO with the largest limits, LOCALNET, and features that nobody knows yet",
        f"47 01 {MAGIC} 02 0c {IDS_B} ffffffff0f ffffffff0f ffffffff0f ffffffff0f ffffffff0f ffffffff0f"
        f" {DEFAULT} 01 62 03 697063",
        hello(
            realm="LOCALNET",
            features=4294967295,
            frame_size_max=4294967295,
            message_size_max=4294967295,
            aliases_max=4294967295,
            partials_max=4294967295,
            keepalive_ms=4294967295,
        ),
        state="greeting",
    ),
    vector(
        "HELLO with unknown options and the reserved flags set",
        f"3a 01 {MAGIC} 02 ca {IDS_B} {LIMITS} {DEFAULT} 01 62 03 697063 01 02 aabb c8 00 02 00",
        hello(),
        state="greeting",
        canonical=False,
    ),
    vector(
        "HELLO with a label of two-byte and three-byte characters",
        f"37 01 {MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 06 62 c3b6 e28483 03 697063",
        hello(label="bö℃"),
        state="greeting",
    ),
    vector(
        "HELLO with texts of 64 bytes",
        f"ea01 01 {MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 40 {'6c' * 64} 40 {'76' * 64} 01 3a {'00' * 58}",
        hello(label="l" * 64, via="v" * 64),
        state="greeting",
        canonical=False,
    ),
]

CONTROL_FRAMES = [
    vector("CLOSE, the goodbye", "02 03 00", {"kind": "CLOSE", "code": 0, "text": ""}),
    vector("CLOSE with a text", "09 03 09 c3bc 62656c2e 21", {"kind": "CLOSE", "code": 9, "text": "übel.!"}),
    vector(
        "HANDSHAKE, the first one",
        f"0a 02 {MAGIC} 02 02 010203",
        {"kind": "HANDSHAKE", "version": 2, "pattern": 2, "message": "010203"},
        state="greeting",
    ),
    vector("CLOSE before HELLO", "02 03 12", {"kind": "CLOSE", "code": 18, "text": ""}, state="greeting"),
    vector("CLOSE with a code nobody knows", "04 03 80 8001", {"kind": "CLOSE", "code": 16384, "text": ""}),
    vector(
        "CLOSE with a text that is not UTF-8",
        "05 03 01 61ff62",
        {"kind": "CLOSE", "code": 1, "text": "a\ufffdb"},
        canonical=False,
    ),
    vector("PING", "02 04 07", {"kind": "PING", "token": 7}),
    vector("PING with the largest token", "06 04 ffffffff0f", {"kind": "PING", "token": 4294967295}),
    vector(
        "PING with padded length and token", "8300 04 8700", {"kind": "PING", "token": 7}, canonical=False
    ),
    vector("PONG", "03 05 ac02", {"kind": "PONG", "token": 300}),
    vector(
        "two PINGs and a PONG",
        "02 04 01 02 04 02 02 05 03",
        {"kind": "PING", "token": 1},
        {"kind": "PING", "token": 2},
        {"kind": "PONG", "token": 3},
    ),
    vector(
        "an unknown frame that may be ignored, then PING",
        "04 50 010203 02 04 01",
        {"kind": "IGNORED", "head": 0x50, "payload": "010203", "skipped": True},
        {"kind": "PING", "token": 1},
    ),
    vector("SLEEP for a minute", "04 41 e0d403", {"kind": "SLEEP", "ms": 60000}),
    vector("SLEEP that is over", "02 41 00", {"kind": "SLEEP", "ms": 0}),
    vector(
        "ignorable heads 0x40, 0x7e and 0x7f with empty bodies",
        "01 40 01 7e 01 7f",
        {"kind": "IGNORED", "head": 0x40, "payload": "", "skipped": True},
        {"kind": "IGNORED", "head": 0x7E, "payload": "", "skipped": True},
        {"kind": "IGNORED", "head": 0x7F, "payload": "", "skipped": True},
    ),
]


def entry(endpoint: str, kind: str, credit: int = 4, cost: int = 0, name: str = "", **traits: Any) -> Vector:
    """`traits`: labels, a list of texts, and gone, hex, where there are any."""
    return {"endpoint": endpoint, "kind": kind, "credit": credit, "cost": cost, "name": name} | traits


def withdrawn(endpoint: str) -> Vector:
    return {"endpoint": endpoint, "kind": "withdrawn"}


def node(number: int, id: str = "") -> Vector:
    return {"number": number} | ({"id": hexed(id)} if id else {})


def directory(
    realm: str,
    whose: Vector,
    base: int,
    version: int,
    *entries: Vector,
    label: str | None = None,
    **flags: bool,
) -> Vector:
    return {
        "kind": "DIRECTORY",
        "realm": realm,
        "leaf": False,
        "more": False,
        "in_part": False,
        "node": whose,
        "label": label,
        "base": base,
        "version": version,
        "entries": list(entries),
    } | flags


DIRECTORY_FRAMES = [
    vector("DIRECTORY without entries", "05 06 01 01 00 00", directory("USERSPACE", node(1), 0, 0)),
    vector(
        "DIRECTORY with a label alone, GLOBAL, of a leaf",
        "09 06 17 01 03 6cc3b6 00 00",
        directory("GLOBAL", node(1), 0, 0, label="lö", leaf=True),
    ),
    vector(
        "DIRECTORY with a unicast endpoint, bare",
        f"16 06 01 01 00 01 01 {E1}",
        directory("USERSPACE", node(1), 0, 1, entry(E1, "unicast")),
    ),
    vector(
        "DIRECTORY with all fields: broadcast, GLOBAL, credit 200, cost 300, name",
        f"1e 06 03 01 00 01 73 {E1} c801 ac02 03 6c6162",
        directory("GLOBAL", node(1), 0, 1, entry(E1, "broadcast", 200, 300, "lab")),
    ),
    vector(
        "DIRECTORY with three entries: only credit, only cost, only name; more follows",
        f"3e 06 22 01 00 04 12 {E1} 00 22 {E2} 10 42 {T1} 03 6cc3b6",
        directory(
            "LOCALNET",
            node(1),
            0,
            4,
            entry(E1, "anycast", credit=0),
            entry(E2, "anycast", cost=16),
            entry(T1, "anycast", name="lö"),
            more=True,
        ),
    ),
    vector(
        "DIRECTORY announces, replaces and withdraws",
        f"39 06 01 01 00 03 01 {E1} 12 {E1} 09 00 {E1}",
        directory(
            "USERSPACE",
            node(1),
            0,
            3,
            entry(E1, "unicast"),
            entry(E1, "anycast", credit=9),
            withdrawn(E1),
        ),
    ),
    vector(
        "DIRECTORY with a gap before it, and large versions",
        f"19 06 01 01 ac02 808001 00 {E2}",
        directory("USERSPACE", node(1), 300, 16384, withdrawn(E2)),
    ),
    vector(
        "DIRECTORY of a node that nobody has a way to, its number bound here",
        f"1a 06 02 00 03 {NODE_C} 00 01",
        directory("LOCALNET", node(3, NODE_C), 0, 1),
    ),
    vector(
        "DIRECTORY of a line that is told in part",
        f"2b 06 42 00 03 {NODE_C} 00 02 01 {E1}",
        directory("LOCALNET", node(3, NODE_C), 0, 2, entry(E1, "unicast"), in_part=True),
    ),
    vector(
        "DIRECTORY with the reserved flags set",
        f"16 06 89 01 00 01 01 {E1}",
        directory("USERSPACE", node(1), 0, 1, entry(E1, "unicast")),
        canonical=False,
    ),
    vector(
        "DIRECTORY with an empty name and a name of 64 bytes",
        f"69 06 01 01 00 02 41 {E1} 00 41 {E2} 40 {'6e' * 64}",
        directory("USERSPACE", node(1), 0, 2, entry(E1, "unicast"), entry(E2, "unicast", name="n" * 64)),
        canonical=False,
    ),
    vector(
        "DIRECTORY with labels, and labels behind all other fields",
        f"3e 06 01 01 00 02 82 {E1} 06 01 04 726f c3a9 f3 {E2} c801 ac02 01 6e 09 01 01 61 01 04 62 2f63 21",
        directory(
            "USERSPACE",
            node(1),
            0,
            2,
            entry(E1, "anycast", labels=["roé"]),
            entry(E2, "broadcast", 200, 300, "n", labels=["a", "b/c!"]),
        ),
    ),
    vector(
        "DIRECTORY with a last word, of bytes, of CBOR and of a type",
        f"5b 06 01 01 00 03 82 {E1} 03 02 01 00 82 {E2} 08 01 01 61 02 03 01 6178"
        f" 82 {T1} 15 02 13 03 {T1} a178",
        directory(
            "USERSPACE",
            node(1),
            0,
            3,
            entry(E1, "anycast", gone="00"),
            entry(E2, "anycast", labels=["a"], gone="016178"),
            entry(T1, "anycast", gone=f"03{T1}a178"),
        ),
    ),
    vector(
        "DIRECTORY with eight labels of 32 bytes and a last word of 128",
        f"ab03 06 01 01 00 01 82 {E1} 9303"
        + "".join(f" 01 20 {letter * 32}" for letter in ("61", "62", "63", "64", "65", "66", "67", "68"))
        + f" 02 81 00 {'ff' * 128}",
        directory(
            "USERSPACE",
            node(1),
            0,
            1,
            entry(E1, "anycast", labels=[letter * 32 for letter in "abcdefgh"], gone="00" + "ff" * 128),
        ),
    ),
    vector(
        "DIRECTORY with an extension of nothing, of unknown items, of labels in disorder and twice",
        f"4b 06 01 01 00 03 81 {E1} 00 81 {E2} 05 07 01 aa ff 00 81 {T1} 0b 01 01 62 09 00 01 01 61 01 01 62",
        directory(
            "USERSPACE",
            node(1),
            0,
            3,
            entry(E1, "unicast"),
            entry(E2, "unicast"),
            entry(T1, "unicast", labels=["a", "b"]),
        ),
        canonical=False,
    ),
]


def route(name: str, about: Vector | None = None, **fields: object) -> Vector:
    return {"route": name} | ({} if about is None else {"node": about}) | fields


def routes(*entries: Vector) -> Vector:
    return {"kind": "ROUTES", "entries": list(entries)}


ROUTES_FRAMES = [
    vector("ROUTES with nothing", "01 08", routes()),
    vector(
        "ROUTES: a neighbour offers itself",
        "07 08 01 01 0007 0000",
        routes(route("UPDATE", node(1), seqno=7, metric=0)),
    ),
    vector(
        "ROUTES: a node is bound and offered over LOCALNET at cost 17, then withdrawn",
        f"1e 08 01 00 03 {NODE_C} ffff 8011 00 03",
        routes(route("UPDATE", node(3, NODE_C), seqno=65535, metric=0x8011), route("RETRACT", node(3))),
    ),
    vector(
        "ROUTES: a source has said goodbye, a source is named for the first time to say so",
        f"1d 08 07 02 07 00 03 {NODE_C} 06 0000",
        routes(route("DEPARTED", node(2)), route("DEPARTED", node(3, NODE_C)), route("ACK", count=0)),
    ),
    vector(
        "ROUTES: PARENT for the reader, with versions and without",
        "09 08 03 02 01 ac02 00 02 02",
        routes(route("PARENT with versions", node(2), versions=[1, 300, 0]), route("PARENT", node(2))),
    ),
    vector(
        "ROUTES: requests for newer numbers",
        f"1e 08 04 02 0001 05 00 03 {NODE_C} 0100",
        routes(
            route("SEQREQ", node(2), seqno=1),
            route("SEQREQ to everyone", node(3, NODE_C), seqno=256),
        ),
    ),
    vector("ROUTES: nothing acknowledged yet", "04 08 06 0000", routes(route("ACK", count=0))),
    vector(
        "ROUTES with the metric of no way",
        f"1c 08 01 00 03 {NODE_C} 0001 ffff",
        routes(route("UPDATE", node(3, NODE_C), seqno=1, metric=65535)),
    ),
    vector(
        "SYNC, all stages, and some that nobody knows",
        "02 09 01 02 09 02 02 09 03 02 09 04 02 09 05 02 09 00 02 09 ff",
        *[{"kind": "SYNC", "stage": stage} for stage in (1, 2, 3, 4, 5, 0, 255)],
    ),
]


def message(kind: str, payload: str = "", format: int = 0, **fields: Any) -> Vector:
    return {"kind": kind, "format": format, "payload": hexed(payload)} | fields


HELLO_PAYLOAD = "68656c6c6f"
PATTERNS = "e2b93376d4eb52c9b2a9b939527b4d44"  # of "busway/patterns"
E1_AS_1 = message("SEND", HELLO_PAYLOAD, endpoint=E1, seq=1, **bind("endpoint", 1))

MESSAGE_FRAMES = [
    vector("SEND that binds alias 1", SEND_BINDS, E1_AS_1),
    vector(
        "SEND that binds, then one that uses alias 1: 5 bytes besides the payload",
        f"{SEND_BINDS} 06 80 01 0002 6869",
        E1_AS_1,
        message("SEND", "6869", endpoint=E1, seq=2, endpoint_alias=1),
    ),
    vector(
        "SEND with an empty payload and sequence number 0",
        f"15 80 000e {E1} 0000",
        message("SEND", "", endpoint=E1, seq=0, **bind("endpoint", 14)),
    ),
    vector(
        "rebinding alias 1 to E2, two aliases to one endpoint",
        f"{SEND_BINDS} 16 80 0001 {E2} 0001 61 05 80 01 0002 62 16 80 0002 {E2} 0003 63 05 80 02 0004 64",
        E1_AS_1,
        message("SEND", "61", endpoint=E2, seq=1, **bind("endpoint", 1)),
        message("SEND", "62", endpoint=E2, seq=2, endpoint_alias=1),
        message("SEND", "63", endpoint=E2, seq=3, **bind("endpoint", 2)),
        message("SEND", "64", endpoint=E2, seq=4, endpoint_alias=2),
    ),
    vector(
        "the highest alias, 127",
        f"16 80 007f {E1} 0001 61 05 80 7f 0002 62",
        message("SEND", "61", endpoint=E1, seq=1, **bind("endpoint", 127)),
        message("SEND", "62", endpoint=E1, seq=2, endpoint_alias=127),
    ),
    vector(
        "an alias with a padded number",
        f"17 80 00 8100 {E1} 0001 61 06 80 8100 0002 62",
        message("SEND", "61", endpoint=E1, seq=1, **bind("endpoint", 1)),
        message("SEND", "62", endpoint=E1, seq=2, endpoint_alias=1),
        canonical=False,
    ),
    vector(
        "SEND with CBOR, and CBOR of the endpoint's type",
        f"21 81 0001 {E1} 0001 a1 61 63 fb4035800000000000 05 82 01 0002 a0",
        message("SEND", "a16163fb4035800000000000", 1, endpoint=E1, seq=1, **bind("endpoint", 1)),
        message("SEND", "a0", 2, endpoint=E1, seq=2, endpoint_alias=1),
    ),
    vector(
        "SEND with a type named, bound in the same frame; then both by alias",
        f"28 83 0001 {E1} 0001 0002 {T1} a0 06 83 01 0002 02 a0",
        message("SEND", "a0", 3, endpoint=E1, seq=1, type=T1, **bind("endpoint", 1), **bind("type", 2)),
        message("SEND", "a0", 3, endpoint=E1, seq=2, type=T1, endpoint_alias=1, type_alias=2),
    ),
    vector(
        "the endpoint is also the type: bound and used in one frame",
        f"17 83 0001 {E1} 0001 01 a0",
        message("SEND", "a0", 3, endpoint=E1, seq=1, type=E1, **bind("endpoint", 1), type_alias=1),
    ),
    vector(
        "PUBLISH",
        f"16 90 0003 {E1} ffff 61 05 91 03 0000 01",
        message("PUBLISH", "61", endpoint=E1, seq=65535, **bind("endpoint", 3)),
        message("PUBLISH", "01", 1, endpoint=E1, seq=0, endpoint_alias=3),
    ),
    vector(
        "CONFIRM",
        f"19 a0 0001 {E1} 0001 05 b817 61",
        message("CONFIRM", "61", endpoint=E1, seq=1, id=5, timeout_ms=3000, **bind("endpoint", 1)),
    ),
    vector(
        "REQUEST with the largest id and timeout",
        f"20 b1 0001 {E1} 0001 ffffffff0f ffffffff0f f6",
        message(
            "REQUEST",
            "f6",
            1,
            endpoint=E1,
            seq=1,
            id=4294967295,
            timeout_ms=4294967295,
            **bind("endpoint", 1),
        ),
    ),
    vector(
        "REQUEST with a type named",
        f"2a b3 0001 {E1} 0001 01 01 0002 {T1} a0",
        message(
            "REQUEST",
            "a0",
            3,
            endpoint=E1,
            seq=1,
            id=1,
            timeout_ms=1,
            type=T1,
            **bind("endpoint", 1),
            **bind("type", 2),
        ),
    ),
    vector(
        "REQUEST that takes a streaming reply of 16 parts",
        f"1d b4 04 02 02 0010 0001 {E1} 0001 01 e807",
        message("REQUEST", "", endpoint=E1, seq=1, id=1, timeout_ms=1000, stream=16, **bind("endpoint", 1)),
    ),
    vector(
        "PUBLISH that may be lost",
        f"19 94 02 03 00 0001 {E1} 0001 61",
        message("PUBLISH", "61", endpoint=E1, seq=1, best_effort=True, **bind("endpoint", 1)),
    ),
    vector(
        "SEND that may be lost",
        f"18 84 02 03 00 0001 {E1} 0001",
        message("SEND", "", endpoint=E1, seq=1, best_effort=True, **bind("endpoint", 1)),
    ),
    vector(
        "PUBLISH that may get anywhere",
        f"1a 94 03 04 01 03 0001 {E1} 0001 61",
        message("PUBLISH", "61", endpoint=E1, seq=1, reach="GLOBAL", **bind("endpoint", 1)),
    ),
    vector(
        "PUBLISH that may be lost, for this machine",
        f"1b 94 05 03 00 04 01 01 0001 {E1} 0001",
        message(
            "PUBLISH", "", endpoint=E1, seq=1, best_effort=True, reach="USERSPACE", **bind("endpoint", 1)
        ),
    ),
    vector(
        "PUBLISH of whose reaches the narrowest counts",
        f"1c 94 06 04 01 02 04 01 03 0001 {E1} 0001",
        message("PUBLISH", "", endpoint=E1, seq=1, reach="LOCALNET", **bind("endpoint", 1)),
        canonical=False,
    ),
    vector(
        "PUBLISH whose reach is no realm",
        f"1e 94 08 04 01 00 04 03 030303 0001 {E1} 0001",
        message("PUBLISH", "", endpoint=E1, seq=1, reach="USERSPACE", **bind("endpoint", 1)),
        canonical=False,
    ),
    vector(
        "PUBLISH under a name",
        f"1c 94 05 06 03 612f62 0001 {E1} 0001 61",
        message("PUBLISH", "61", endpoint=E1, seq=1, name="a/b", **bind("endpoint", 1)),
    ),
    vector(
        "PUBLISH under a name that may get anywhere, retained",
        f"23 94 0d 04 01 03 06 02 c3a9 07 04 00010203 0001 {E1} 0001",
        message(
            "PUBLISH", "", endpoint=E1, seq=1, reach="GLOBAL", name="é", retain=66051, **bind("endpoint", 1)
        ),
    ),
    vector(
        "SEND of a retained value under a name",
        f"22 84 0b 06 03 612f62 07 04 00000001 0001 {E1} 0001 61",
        message("SEND", "61", endpoint=E1, seq=1, name="a/b", retain=1, **bind("endpoint", 1)),
    ),
    vector(
        "PUBLISH that clears a retained value",
        f"1c 94 06 07 04 80000002 0001 {E1} 0001",
        message("PUBLISH", "", endpoint=E1, seq=1, retain=0x80000002, **bind("endpoint", 1)),
    ),
    vector(
        "REQUEST whether retained values have come: those behind 3, up to 300, are 5 and 260",
        f"23 b4 06 07 04 0000012c 0001 {E1} 0001 01 e807 03 02 ff01",
        message(
            "REQUEST",
            "0302ff01",
            endpoint=E1,
            seq=1,
            id=1,
            timeout_ms=1000,
            retain=300,
            **bind("endpoint", 1),
        ),
    ),
    vector(
        "SEND of low priority",
        f"19 84 03 05 01 00 0001 {E1} 0001",
        message("SEND", "", endpoint=E1, seq=1, lane=0, **bind("endpoint", 1)),
    ),
    vector(
        "REQUEST for a stream, urgent",
        f"20 b4 07 02 02 0010 05 01 03 0001 {E1} 0001 01 e807",
        message(
            "REQUEST", "", endpoint=E1, seq=1, id=1, timeout_ms=1000, stream=16, lane=3, **bind("endpoint", 1)
        ),
    ),
    vector(
        "a value that is sent anew, with high priority",
        f"1a 84 03 05 01 06 0001 {E1} 0001 61",
        message("SEND", "61", endpoint=E1, seq=1, lane=6, **bind("endpoint", 1)),
    ),
    vector(
        "REPLY, ERROR, PART of high priority",
        "07 c4 03 05 01 02 01 61 07 e4 03 05 01 02 01 02 08 d4 03 05 01 02 01 0000",
        message("REPLY", "61", id=1, lane=2),
        message("ERROR", "", id=1, code=2, lane=2),
        message("PART", "", id=1, index=0, lane=2),
    ),
    vector("REPLY", "04 c1 8001 f5", message("REPLY", "f5", 1, id=128)),
    vector("REPLY without payload: taken", "02 c0 01", message("REPLY", "", id=1)),
    vector(
        "REPLY with a type named",
        f"15 c3 01 0001 {T1} a0",
        message("REPLY", "a0", 3, id=1, type=T1, **bind("type", 1)),
    ),
    vector("PART", "06 d0 01 0002 6162", message("PART", "6162", id=1, index=2)),
    vector("PART 65535", "05 d1 01 ffff 00", message("PART", "00", 1, id=1, index=65535)),
    vector("ERROR", "08 e0 01 02 66756c6c 21", message("ERROR", "66756c6c21", id=1, code=2)),
    vector(
        "ERROR of the application's own, without a sentence",
        "04 e0 01 8002",
        message("ERROR", "", id=1, code=256),
    ),
]

OPTION_FRAMES = [
    vector("no option at all behind the bit", "03 c4 00 01", message("REPLY", "", id=1), canonical=False),
    vector(
        "unknown options of 0, 1 and 3 bytes are skipped",
        "0e c4 0a 03 00 c8 01 aa ff 03 010203 01 61",
        message("REPLY", "61", id=1),
        canonical=False,
    ),
    vector(
        "options among unknown ones, with a padded length",
        f"29 b4 8f00 09 02 0000 02 02 0003 01 05 02 00000100 0001 {E1} 0001 01 01 61",
        message(
            "REQUEST",
            "61",
            endpoint=E1,
            seq=1,
            id=1,
            timeout_ms=1,
            stream=3,
            cut={"partial": 2, "size": 256},
            **bind("endpoint", 1),
        ),
        canonical=False,
    ),
    vector(
        "STREAM where it has no business is skipped, and CUT on a SIGNAL",
        "07 c4 04 02 02 0001 01 0b f4 07 01 05 00 00000002 01 01",
        message("REPLY", "", id=1),
        {"kind": "SIGNAL", "signal": "CANCEL", "id": 1},
        canonical=False,
    ),
]

CUT_SEND = f"21 84 07 01 05 00 0000000c 0001 {E1} 0001 {'61' * 4}"
CUT_SEND_FRAME = message(
    "SEND", "61" * 4, endpoint=E1, seq=1, cut={"partial": 0, "size": 12}, **bind("endpoint", 1)
)


def more(payload: str, partial: int = 0) -> Vector:
    return {"kind": "MORE", "partial": partial, "payload": hexed(payload)}


CUT_FRAMES = [
    vector(
        "a SEND of 12 bytes in three pieces",
        f"{CUT_SEND} 07 07 00 {'62' * 5} 05 07 00 {'63' * 3}",
        CUT_SEND_FRAME,
        more("62" * 5),
        more("63" * 3),
        messages=[
            {"kind": "SEND", "endpoint": E1, "seq": 1, "format": 0, "payload": "61" * 4 + "62" * 5 + "63" * 3}
        ],
    ),
    vector(
        "two messages cut at once, a PING and a REPLY between their pieces",
        f"{CUT_SEND} 02 04 01 0b c4 07 01 05 03 00000003 05 64 02 c0 06 04 07 03 6566 0a 07 00 {'62' * 8}",
        CUT_SEND_FRAME,
        {"kind": "PING", "token": 1},
        message("REPLY", "64", id=5, cut={"partial": 3, "size": 3}),
        message("REPLY", "", id=6),
        more("6566", 3),
        more("62" * 8),
        messages=[
            {"kind": "REPLY", "id": 6, "format": 0, "payload": ""},
            {"kind": "REPLY", "id": 5, "format": 0, "payload": "646566"},
            {"kind": "SEND", "endpoint": E1, "seq": 1, "format": 0, "payload": "61" * 4 + "62" * 8},
        ],
    ),
    vector(
        "aliases are resolved when the first frame is read",
        f"{CUT_SEND} 16 80 0001 {E2} 0001 7a 0a 07 00 {'62' * 8}",
        CUT_SEND_FRAME,
        message("SEND", "7a", endpoint=E2, seq=1, **bind("endpoint", 1)),
        more("62" * 8),
        messages=[
            {"kind": "SEND", "endpoint": E2, "seq": 1, "format": 0, "payload": "7a"},
            {"kind": "SEND", "endpoint": E1, "seq": 1, "format": 0, "payload": "61" * 4 + "62" * 8},
        ],
    ),
    vector(
        "a first frame with an empty piece, and the same partial number again",
        f"1d 84 07 01 05 01 00000001 0001 {E1} 0001 03 07 01 61"
        " 0c 84 07 01 05 01 00000001 01 0002 03 07 01 62",
        message("SEND", "", endpoint=E1, seq=1, cut={"partial": 1, "size": 1}, **bind("endpoint", 1)),
        more("61", 1),
        message("SEND", "", endpoint=E1, seq=2, cut={"partial": 1, "size": 1}, endpoint_alias=1),
        more("62", 1),
        messages=[
            {"kind": "SEND", "endpoint": E1, "seq": 1, "format": 0, "payload": "61"},
            {"kind": "SEND", "endpoint": E1, "seq": 2, "format": 0, "payload": "62"},
        ],
    ),
    vector(
        "a CONFIRM, a PUBLISH, a REQUEST, a PART and an ERROR cut",
        f"1f a4 07 01 05 00 00000001 0001 {E1} 0001 01 01 03 07 00 61"
        " 0c 94 07 01 05 00 00000001 01 0001 03 07 00 62"
        " 12 b4 0b 02 02 0001 01 05 00 00000001 01 0002 02 01 03 07 00 63"
        " 0c d4 07 01 05 00 00000001 01 0000 03 07 00 64"
        " 0b e4 07 01 05 00 00000001 01 40 03 07 00 65",
        message(
            "CONFIRM",
            "",
            endpoint=E1,
            seq=1,
            id=1,
            timeout_ms=1,
            cut={"partial": 0, "size": 1},
            **bind("endpoint", 1),
        ),
        more("61"),
        message("PUBLISH", "", endpoint=E1, seq=1, cut={"partial": 0, "size": 1}, endpoint_alias=1),
        more("62"),
        message(
            "REQUEST",
            "",
            endpoint=E1,
            seq=2,
            id=2,
            timeout_ms=1,
            stream=1,
            cut={"partial": 0, "size": 1},
            endpoint_alias=1,
        ),
        more("63"),
        message("PART", "", id=1, index=0, cut={"partial": 0, "size": 1}),
        more("64"),
        message("ERROR", "", id=1, code=64, cut={"partial": 0, "size": 1}),
        more("65"),
        messages=[
            {
                "kind": "CONFIRM",
                "endpoint": E1,
                "seq": 1,
                "id": 1,
                "timeout_ms": 1,
                "format": 0,
                "payload": "61",
            },
            {"kind": "PUBLISH", "endpoint": E1, "seq": 1, "format": 0, "payload": "62"},
            {
                "kind": "REQUEST",
                "endpoint": E1,
                "seq": 2,
                "id": 2,
                "timeout_ms": 1,
                "stream": 1,
                "format": 0,
                "payload": "63",
            },
            {"kind": "PART", "id": 1, "index": 0, "format": 0, "payload": "64"},
            {"kind": "ERROR", "id": 1, "code": 64, "format": 0, "payload": "65"},
        ],
    ),
]


def signal(name: str, **fields: Any) -> Vector:
    return {"kind": "SIGNAL", "signal": name} | fields


SIGNAL_FRAMES = [
    vector("CANCEL", "03 f0 01 05", signal("CANCEL", id=5)),
    vector(
        "CREDIT, binding and by alias",
        f"16 f0 02 0001 {E1} 0010 05 f0 02 01 ffff",
        signal("CREDIT", endpoint=E1, limit=16, **bind("endpoint", 1)),
        signal("CREDIT", endpoint=E1, limit=65535, endpoint_alias=1),
    ),
    vector("PROBE", f"16 f0 03 0001 {E1} 0004", signal("PROBE", endpoint=E1, sent=4, **bind("endpoint", 1))),
    vector("PART_CREDIT", "05 f0 04 07 0020", signal("PART_CREDIT", id=7, limit=32)),
    vector(
        "CREDIT, PROBE and CANCEL of an urgent pair",
        f"1a f4 03 05 01 03 02 0001 {E1} 0010 09 f4 03 05 01 03 03 01 0004 07 f4 03 05 01 03 01 05",
        signal("CREDIT", endpoint=E1, limit=16, lane=3, **bind("endpoint", 1)),
        signal("PROBE", endpoint=E1, sent=4, lane=3, endpoint_alias=1),
        signal("CANCEL", id=5, lane=3),
    ),
    vector(
        "UNDELIVERABLE: full, then overtaken",
        f"17 f0 05 0001 {E1} 0009 02 06 f0 05 01 000a 0e",
        signal("UNDELIVERABLE", endpoint=E1, seq=9, reason=2, **bind("endpoint", 1)),
        signal("UNDELIVERABLE", endpoint=E1, seq=10, reason=14, endpoint_alias=1),
    ),
    vector("END", "06 f0 06 8001 0003", signal("END", id=128, parts=3)),
    vector(
        "unknown signals are skipped with all that follows",
        "02 f0 00 05 f0 10 010203 02 f0 ff 03 f0 01 05",
        signal("UNKNOWN", number=0, payload="", skipped=True),
        signal("UNKNOWN", number=16, payload="010203", skipped=True),
        signal("UNKNOWN", number=255, payload="", skipped=True),
        signal("CANCEL", id=5),
    ),
]


def holder(kind: str, realm: int, whose: Vector, metric: int, **fields: object) -> Vector:
    given = {"kind": kind, "realm": realm, "node": whose, "metric": metric}
    return given | {"credit": 4, "cost": 0, "name": ""} | fields


def routing(realm: int, hops: int, **nodes: Vector) -> Vector:
    return {"routing": {"realm": realm, "hops": hops} | nodes}


MESH_FRAMES = [
    vector("WHO", f"14 f0 07 00 01 {E1}", signal("WHO", endpoint=E1, **bind("endpoint", 1))),
    vector(
        "WHO that says what the endpoint is called",
        f"1a f4 05 06 03 612f62 07 00 01 {E1}",
        signal("WHO", endpoint=E1, **bind("endpoint", 1)) | {"name": "a/b"},
    ),
    vector(
        "HAVE: nobody",
        f"14 f0 08 00 01 {E1}",
        signal("HAVE", endpoint=E1, holders=[], **bind("endpoint", 1)),
    ),
    vector(
        "HAVE: two holders, one with all fields, and a node by its id",
        f"3d f0 08 00 01 {E1} 0a 01 4001 77 00 03 {NODE_C} 8011 c801 ac02 03 6c6162 00 01 4001",
        signal(
            "HAVE",
            endpoint=E1,
            holders=[
                holder("anycast", 2, node(1), 0x4001),
                holder("broadcast", 1, node(3, NODE_C), 0x8011, credit=200, cost=300, name="lab"),
                holder("withdrawn", 0, node(1), 0x4001),
            ],
            **bind("endpoint", 1),
        ),
    ),
    vector(
        "HAVE_PART: a subscriber, and HAVE with another",
        f"2d f0 0f 00 01 {E1} 0b 00 03 {NODE_C} 8011 07 f0 08 01 07 01 4001",
        signal(
            "HAVE_PART",
            endpoint=E1,
            holders=[holder("broadcast", 2, node(3, NODE_C), 0x8011)],
            **bind("endpoint", 1),
        ),
        signal("HAVE", endpoint=E1, endpoint_alias=1, holders=[holder("broadcast", 1, node(1), 0x4001)]),
    ),
    vector(
        "HAVE: a holder with a label and a last word",
        f"21 f0 08 00 01 {E1} 8a 01 4001 08 01 01 61 02 03 01 6178",
        signal(
            "HAVE",
            endpoint=E1,
            holders=[holder("anycast", 2, node(1), 0x4001, labels=["a"], gone="016178")],
            **bind("endpoint", 1),
        ),
    ),
    vector(
        "WHO about subscriptions by pattern; HAVE of one, and of none more",
        f"14 f0 07 00 01 {PATTERNS} 1e f0 08 00 02 {E1} 4b 01 0000 05 6c61622f2a 03 f0 08 01",
        signal("WHO", endpoint=PATTERNS, **bind("endpoint", 1)),
        signal(
            "HAVE",
            endpoint=E1,
            holders=[holder("broadcast", 2, node(1), 0, name="lab/*")],
            **bind("endpoint", 2),
        ),
        signal("HAVE", endpoint=PATTERNS, endpoint_alias=1, holders=[]),
    ),
    vector(
        "PRUNE, then GRAFT, of what the reader publishes",
        f"15 f0 09 00 01 {E1} 02 04 f0 0a 01 02",
        signal("PRUNE", endpoint=E1, tree=node(2), **bind("endpoint", 1)),
        signal("GRAFT", endpoint=E1, endpoint_alias=1, tree=node(2)),
    ),
    vector("TRACE", "04 f0 0b ac02", signal("TRACE", id=300)),
    vector(
        "TRACED to nobody who asked",
        "0c f0 0c 05 01 01 03 697063 02 6c62",
        signal("TRACED", id=5, report={"realm": 1, "cost": 1, "medium": "ipc", "label": "lb"}),
    ),
    vector(
        "TRACED over GLOBAL at cost 300, by a node without a label",
        "0b f0 0c 05 03 ac02 03 746370 00",
        signal("TRACED", id=5, report={"realm": 3, "cost": 300, "medium": "tcp", "label": ""}),
    ),
    vector(
        "TRACED with a label cut, and with nothing: no error, only who asked reads it",
        "0a f0 0c 05 01 01 03 697063 02 03 f0 0c 05",
        signal("TRACED", id=5, report="01010369706302"),
        signal("TRACED", id=5, report=""),
    ),
    vector(
        "SELECT: renderer and not codec, or a name",
        "22 f0 0d ac02 01 08 72656e6465726572 01 05 636f646563 05 03 02 08 72656e6465722f2a 04",
        signal("SELECT", id=300, expression="010872656e64657265720105636f6465630503020872656e6465722f2a04"),
    ),
    vector("SELECT without an expression", "03 f0 0d 05", signal("SELECT", id=5, expression="")),
    vector("SELECTED: nobody", "04 f0 0e 05 00", signal("SELECTED", id=5, flags=0, holders=[])),
    vector("SELECTED: refused", "04 f0 0e 05 02", signal("SELECTED", id=5, flags=2, holders=[])),
    vector(
        "SELECTED: two holders of two endpoints, one with a label, and more follow",
        f"4f f0 0e 05 01 8a 01 00 01 {E1} 4001 03 01 01 61 5a 00 03 {NODE_C} 00 02 {E2} 8011 c801 03 6c6162",
        signal(
            "SELECTED",
            id=5,
            flags=1,
            holders=[
                holder("anycast", 2, node(1), 0x4001, labels=["a"], endpoint=E1, **bind("endpoint", 1)),
                holder(
                    "anycast",
                    2,
                    node(3, NODE_C),
                    0x8011,
                    credit=200,
                    name="lab",
                    endpoint=E2,
                    **bind("endpoint", 2),
                ),
            ],
        ),
    ),
    vector(
        "SEND with a routing header: from a node behind the sender, over GLOBAL so far, 9 more hops",
        f"2f 88 0b 09 00 03 {NODE_C} 00 01 {E1} 0001 6869",
        message("SEND", endpoint=E1, seq=1, payload="6869", **bind("endpoint", 1))
        | routing(3, 9, source=node(3, NODE_C)),
    ),
    vector(
        "REQUEST with a routing header that names both, and a stream option",
        f"28 bc 0e ff 02 01 04 02 02 0008 00 01 {E1} 0001 05 e807 {'00' * 7}",
        message("REQUEST", endpoint=E1, seq=1, id=5, timeout_ms=1000, stream=8, payload="00" * 7)
        | bind("endpoint", 1)
        | routing(2, 255, destination=node(2), source=node(1)),
        redundant=True,
    ),
    vector(
        "PUBLISH of a leaf along the tree of the sender",
        f"30 98 0d fe 01 00 03 {NODE_C} 00 01 {E1} 0001 6869",
        message("PUBLISH", endpoint=E1, seq=1, payload="6869", **bind("endpoint", 1))
        | routing(1, 254, destination=node(1), source=node(3, NODE_C)),
    ),
    vector(
        "REPLY in transit, from the sender",
        "05 c8 00 ff 05 00",
        message("REPLY", id=5, payload="00") | routing(0, 255),
        redundant=True,
    ),
]


def run(of: str, endpoint: str, seq: int, size: int, *payloads: str, format: int = 0, **more: Any) -> Vector:
    """A RUN, by an alias that is bound."""
    frame = {"kind": "RUN", "of": of, "format": format, "endpoint": endpoint, "seq": seq, "size": size}
    return frame | {"payloads": [hexed(payload) for payload in payloads]} | {"endpoint_alias": 1} | more


def sent(seq: int, payload: str, kind: str = "SEND", format: int = 0) -> Vector:
    return {"kind": kind, "endpoint": E1, "seq": seq, "format": format, "payload": hexed(payload)}


RUN_FRAMES = [
    vector(
        "three SEND of 5 bytes in a RUN, behind one that binds",
        f"{SEND_BINDS} 16 0a 80 01 0002 0005 {'61' * 5} {'62' * 5} {'63' * 5}",
        E1_AS_1,
        run("SEND", E1, 2, 5, "61" * 5, "62" * 5, "63" * 5),
        messages=[
            sent(1, HELLO_PAYLOAD),
            *[sent(2 + at, each * 5) for at, each in enumerate(("61", "62", "63"))],
        ],
        state="open with runs",
    ),
    vector(
        "two PUBLISH of different sizes in a RUN, with CBOR, their numbers passing 65535",
        f"16 91 0001 {E1} fffe 01 16 0a 91 01 ffff 0000 0002 0004 0005 {'64' * 9}",
        message("PUBLISH", "01", 1, endpoint=E1, seq=65534, **bind("endpoint", 1)),
        run("PUBLISH", E1, 65535, 0, "64" * 4, "64" * 5, format=1),
        messages=[
            sent(65534, "01", "PUBLISH", 1),
            sent(65535, "64" * 4, "PUBLISH", 1),
            sent(0, "64" * 5, "PUBLISH", 1),
        ],
        state="open with runs",
    ),
    vector(
        "a RUN with a routing header, of a node that is bound in it as the endpoint is",
        f"38 0a 88 08 09 00 03 {NODE_C} 00 01 {E1} 0001 0004 {'65' * 8}",
        run("SEND", E1, 1, 4, "65" * 4, "65" * 4, endpoint_binds=True)
        | routing(0, 9, source=node(3, NODE_C)),
        messages=[sent(1, "65" * 4), sent(2, "65" * 4)],
        state="open with runs",
    ),
    vector(
        "a RUN of one message, which nobody writes",
        f"{SEND_BINDS} 0c 0a 80 01 0002 0005 {'61' * 5}",
        E1_AS_1,
        run("SEND", E1, 2, 5, "61" * 5),
        messages=[sent(1, HELLO_PAYLOAD), sent(2, "61" * 5)],
        state="open with runs",
        redundant=True,
    ),
]

THINGS_FRAMES = [
    vector(
        "HELLO that takes things beside the bytes",
        HELLO_B_ASIDE,
        hello(features=8),
        state="greeting",
    ),
    vector(
        "SEND with one region and two files, and one without",
        f"1b 84 04 08 02 0102 0001 {E1} 0001 61 05 80 01 0002 62",
        message("SEND", "61", endpoint=E1, seq=1, regions=1, files=2, **bind("endpoint", 1)),
        message("SEND", "62", endpoint=E1, seq=2, endpoint_alias=1),
        state="open with things",
        beside=["01", "02", "03"],
    ),
    vector(
        "PUBLISH of 5 bytes in shared memory, with 64 files",
        f"1e 94 08 08 02 0040 0a 02 0105 0001 {E1} 0001",
        message("PUBLISH", "", endpoint=E1, seq=1, files=64, shared="0105", **bind("endpoint", 1)),
        state="open with things",
        beside=["6162636465", *["00"] * 64],
    ),
    vector(
        "CONFIRM and REQUEST with a file each, and the longest description",
        f"1e a4 04 08 02 0001 0001 {E1} 0001 05 b817 61 4a b4 42 0a 40 {'aa' * 64} 01 0002 06 e807",
        message("CONFIRM", "61", endpoint=E1, seq=1, id=5, timeout_ms=3000, files=1, **bind("endpoint", 1)),
        message("REQUEST", "", endpoint=E1, seq=2, id=6, timeout_ms=1000, shared="aa" * 64, endpoint_alias=1),
        state="open with things",
        beside=["01", "aa"],
    ),
    vector(
        "REPLY and PART with a region each",
        "08 c4 04 08 02 0100 01 61 09 d4 04 08 02 0100 02 0000",
        message("REPLY", "61", id=1, regions=1),
        message("PART", "", id=2, index=0, regions=1),
        state="open with things",
        beside=["01", "02"],
    ),
    vector(
        "a SEND of 6 bytes in two pieces, its file with the first",
        f"22 84 0b 01 05 00 00000006 08 02 0001 0001 {E1} 0001 61 07 07 00 {'62' * 5}",
        message(
            "SEND", "61", endpoint=E1, seq=1, cut={"partial": 0, "size": 6}, files=1, **bind("endpoint", 1)
        ),
        more("62" * 5),
        messages=[sent(1, "61" + "62" * 5)],
        state="open with things",
        beside=["01"],
    ),
    vector(
        "things in another order, with priority, on what has none skipped",
        f"20 84 0a 0a 01 01 08 02 0001 05 01 03 0001 {E1} 0001 09 e4 04 08 02 0001 01 02 61",
        message("SEND", "", endpoint=E1, seq=1, files=1, shared="01", lane=3, **bind("endpoint", 1)),
        message("ERROR", "61", id=1, code=2),
        state="open with things",
        beside=["61", "01"],
        canonical=False,
    ),
]

FRAMES = {
    "about": "docs/protocol.md sections 2 to 7: what node B sends to node A, states as in setup.json",
    "vectors": [
        *GREETING_FRAMES,
        *CONTROL_FRAMES,
        *DIRECTORY_FRAMES,
        *ROUTES_FRAMES,
        *MESSAGE_FRAMES,
        *OPTION_FRAMES,
        *CUT_FRAMES,
        *SIGNAL_FRAMES,
        *MESH_FRAMES,
        *RUN_FRAMES,
        *THINGS_FRAMES,
    ],
}
