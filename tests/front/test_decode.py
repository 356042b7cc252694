"""busway.decode: every byte explained, whatever the bytes; aliases, names, cut messages; pasted hex."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.decode import Direction, Frame, explain, parse_hex, render_rich, render_text, to_json
from busway.wire_names import OPTION_NAMES
from tests.reference.plain import load
from tests.reference.test_wire import by_name, frames
from tests.reference.wire import Frame as WireFrame
from tests.rigs.tree import ROOT

FRAMES = load("frames.json")["vectors"]
ERRORS = load("errors.json")["vectors"]
HELLO = bytes.fromhex(load("setup.json")["states"]["open"]["feed"])

E1 = bytes([0xE1]) * 16
E1_TEXT = "e1e1e1e1-e1e1-e1e1-e1e1-e1e1e1e1e1e1"
GOOD = st.lists(frames, max_size=5).map(lambda some: b"".join(map(WireFrame.build, some)))


def opened(**more: Any) -> Direction:
    """A direction whose HELLO was read."""
    direction = Direction(**more)
    explain(HELLO, direction=direction)
    return direction


def assert_accounted(found: list[Frame], data: bytes, offset: int = 0) -> None:
    """Frames hold every byte once; within each, fields do; all but the last are good."""
    assert b"".join(frame.raw for frame in found) == data
    for frame in found:
        assert frame.offset == offset
        for field in frame.fields:
            assert field.offset == offset
            offset += field.length
        assert offset == frame.offset + len(frame.raw)
    assert not any(frame.problem for frame in found[:-1])


def values(frame: Frame) -> dict[str, str]:
    return {field.name: field.value for field in frame.fields}


def send(number: int, *, binds: bool = False, payload: bytes = b"x", **more: Any) -> bytes:
    endpoint = {"number": number, "id": E1 if binds else None}
    return built(kind="SEND", endpoint=endpoint, seq=1, payload=payload, **more)


def built(**frame: Any) -> bytes:
    data: bytes = WireFrame.build(frame)
    return data


def directory(*entries: dict[str, Any], realm: int = 1, **flags: Any) -> bytes:
    """A DIRECTORY frame of the sender's own line."""
    own = {"number": 1, "id": None}
    return built(kind="DIRECTORY", realm=realm, node=own, base=0, version=1, entries=list(entries), **flags)


# The golden vectors


@pytest.mark.parametrize("vector", FRAMES, ids=by_name)
def test_good_frames_are_named_and_accounted_for(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    found = explain(data, direction=opened())
    assert_accounted(found, data)
    assert not any(frame.problem for frame in found)
    kinds = [frame.name.split()[0] for frame in found]
    assert kinds == [frame["kind"].replace("IGNORED", "unknown") for frame in vector["frames"]]


@pytest.mark.parametrize("vector", FRAMES, ids=by_name)
def test_good_frames_cut_off_anywhere_are_incomplete(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    ends = {frame.offset + len(frame.raw) for frame in explain(data, direction=opened())}
    for size in range(1, len(data)):
        found = explain(data[:size], direction=opened())
        assert_accounted(found, data[:size])
        assert (found[-1].name == "incomplete") == (size not in ends)
        assert found[-1].code is None


@pytest.mark.parametrize("vector", [v for v in ERRORS if v["scope"] != "link" and v["code"]], ids=by_name)
def test_bad_frames_end_in_an_error_with_its_code(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    found = explain(data)
    assert_accounted(found, data)
    assert (found[-1].name, found[-1].code) == ("error", vector["code"])
    assert "expected" in found[-1].problem


ALONE = ("alias", "in use", "that is complete", "holds", "more than announced", "of 0 bytes")
BY_HISTORY = [v for v in ERRORS if v["scope"] == "link" and v["code"] in (9, 11, 14)]


@pytest.mark.parametrize(
    "vector",
    [v for v in BY_HISTORY if any(word in v["name"] for word in ALONE) and "128 of 127" not in v["name"]],
    ids=by_name,
)
def test_what_came_before_shows_errors_too(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    found = explain(data, direction=opened())
    assert_accounted(found, data)
    assert (found[-1].name, found[-1].code) == ("error", vector["code"])


# Any bytes


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    found = explain(data, offset=7)
    assert_accounted(found, data, 7)
    json.dumps(to_json(found))
    assert render_text(found).isascii() or render_text(found).replace("\n", "").isprintable()


@given(GOOD, st.data())
def test_good_frames_damaged_anywhere_never_raise(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3)) if data else 0):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    direction = opened() if draw.draw(st.booleans()) else Direction()
    assert_accounted(explain(bytes(damaged), direction=direction), bytes(damaged))


@given(frames.filter(lambda frame: frame["kind"] not in ("HELLO", "CLOSE")))
def test_a_frame_cut_off_anywhere_is_incomplete(frame: dict[str, Any]) -> None:
    data = WireFrame.build(frame)
    for size in range(1, len(data)):
        found = explain(data[:size])
        assert_accounted(found, data[:size])
        assert [entry.name for entry in found] == ["incomplete"]
        assert found[0].code is None
        assert found[0].problem


@given(GOOD, st.integers(0, 5))
def test_in_two_calls_or_one_the_outcome_is_the_same(data: bytes, split: int) -> None:
    """Between any two frames, that is; what cannot be read on is one entry."""
    whole = explain(data, direction="a to b")
    size = sum(len(frame.raw) for frame in whole[:split])
    direction = Direction("a to b")
    begun = explain(data[:size], direction=direction)
    assert begun + explain(data[size:], direction=direction, offset=size) == whole


def test_a_frame_cut_off_that_is_wrong_already_is_an_error() -> None:
    """The option runs past the options, and no byte that is still to come can mend that."""
    (frame,) = explain(bytes.fromhex("20 c4 02 09 05"))
    assert (frame.name, frame.code) == ("error", 9)


def test_no_bytes_are_no_frames() -> None:
    assert explain(b"") == []


def test_a_long_capture_takes_time_in_proportion() -> None:
    data = built(kind="PING", token=1) * 20_000
    assert len(explain(data)) == 20_000


# What frames say about those behind them


def test_later_frames_show_what_an_alias_stands_for() -> None:
    direction = Direction()
    first, second = explain(send(1, binds=True) + send(1), direction=direction)
    assert values(first)["endpoint"] == f"{E1_TEXT}, bound to alias 1"
    assert values(second)["endpoint"] == f"{E1_TEXT}, alias 1"
    assert direction.aliases == {1: E1}
    (third,) = explain(send(1), direction=direction)
    assert values(third)["endpoint"] == f"{E1_TEXT}, alias 1"


def test_an_alias_bound_before_the_capture_is_no_error() -> None:
    (frame,) = explain(send(5))
    assert frame.name == "SEND"
    assert values(frame)["endpoint"] == "alias 5, bound before these bytes"


def test_an_alias_never_bound_is_one() -> None:
    (frame,) = explain(send(5) + send(6), direction=opened())
    assert (frame.name, frame.code) == ("error", 11)
    assert frame.problem == "endpoint at 2: expected an alias that was bound, not 5"
    assert values(frame)["endpoint"] == "alias 5, never bound"


def test_an_alias_never_bound_in_a_frame_cut_off() -> None:
    (frame,) = explain(send(5)[:-1], direction=opened())
    assert (frame.name, frame.code) == ("incomplete", None)
    assert values(frame)["endpoint"] == "alias 5, never bound"


def test_a_new_hello_forgets_the_aliases() -> None:
    direction = opened()
    explain(send(1, binds=True), direction=direction)
    explain(HELLO, direction=direction)
    assert explain(send(1), direction=direction)[0].code == 11


@pytest.mark.parametrize("cut", [-1, None], ids=["incomplete", "malformed"])
def test_a_frame_that_is_not_whole_binds_nothing(cut: int | None) -> None:
    direction = Direction()
    data = (send(1, binds=True) if cut else send(1, binds=True)[:-3].replace(b"\x16", b"\x13", 1))[:cut]
    (frame,) = explain(data, direction=direction)
    assert frame.problem
    assert f"{E1_TEXT}, bound to alias 1" in values(frame).values()
    assert direction.aliases == {}


def test_names_of_one_direction_show_in_the_other() -> None:
    names: dict[bytes, str] = {}
    there, back = Direction("there", names), Direction("back", names)
    entry = {"endpoint_kind": 2, "endpoint": E1, "name": "lab/pump"}
    explain(directory(entry), direction=there)
    bound, used = explain(send(1, binds=True) + send(1), direction=back)
    assert values(bound)["endpoint"] == f"{E1_TEXT} 'lab/pump', bound to alias 1"
    assert values(used)["endpoint"] == f"{E1_TEXT} 'lab/pump', alias 1"


def test_the_built_in_endpoint_has_its_name() -> None:
    id = bytes.fromhex("528d7fc3ac295b889d2eda2dc1833636")
    data = built(kind="SEND", endpoint={"number": 1, "id": id}, seq=1, payload=b"")
    assert "'busway/introspection'" in values(explain(data)[0])["endpoint"]


def test_cbor_is_shown_decoded() -> None:
    data = send(1, format=1, payload=cbor2.dumps({"celsius": 21.5, "ok": [True, None]}))
    assert values(explain(data)[0])["payload"] == "{'celsius': 21.5, 'ok': [True, None]}"


@pytest.mark.parametrize(
    "payload", [b"", b"\xa1", b"\xff", b"\x81" * 5000, b"\xc2\x5a\x7f\xff\xff\xff", b"\x01\x01"]
)
def test_bad_cbor_is_shown_as_bytes(payload: bytes) -> None:
    (frame,) = explain(send(1, format=1, payload=payload))
    assert values(frame)["payload"].startswith("no readable CBOR")


@given(st.binary(max_size=60))
def test_no_payload_makes_it_raise(payload: bytes) -> None:
    data = send(1, format=1, payload=payload)
    assert_accounted(explain(data), data)


def test_the_pieces_of_a_cut_message_are_put_together() -> None:
    payload = cbor2.dumps(["one", "two", "three"])
    first = send(
        1, format=1, payload=payload[:4], options=[{"type": 1, "value": {"partial": 2, "size": len(payload)}}]
    )
    middle = built(kind="MORE", partial=2, payload=payload[4:9])
    last = built(kind="MORE", partial=2, payload=payload[9:])
    found = explain(first + middle + last)
    assert_accounted(found, first + middle + last)
    assert values(found[0])["payload"] == bytes_shown(payload[:4])
    assert values(found[1])["message"] == f"9 of {len(payload)} bytes of a SEND"
    assert values(found[2])["message"] == "SEND complete: ['one', 'two', 'three']"


def bytes_shown(data: bytes) -> str:
    return values(explain(send(1, payload=data))[0])["payload"]


def test_a_piece_of_a_message_begun_before_the_capture_is_no_error() -> None:
    (frame,) = explain(built(kind="MORE", partial=0, payload=b"x"))
    assert values(frame)["message"] == "begun before these bytes"


def test_bytes_behind_a_close_are_not_read() -> None:
    close = built(kind="CLOSE", code=9, text="bye")
    direction = Direction()
    goodbye, rest = explain(close + b"anything", direction=direction)
    assert values(goodbye)["code"] == "MALFORMED (9)"
    assert (rest.name, rest.raw, rest.code) == ("not read", b"anything", None)
    assert explain(close, direction=direction)[0].name == "not read"


@pytest.mark.parametrize(
    ("frame", "field", "text"),
    [
        ({"kind": "CLOSE", "code": 77, "text": ""}, "code", "unknown (77)"),
        ({"kind": "ERROR", "id": 1, "code": 2, "payload": b""}, "code", "QUEUE_FULL (2)"),
        ({"kind": "ERROR", "id": 1, "code": 300, "payload": b""}, "code", "the application's (300)"),
        ({"kind": "ERROR", "id": 1, "code": 2, "payload": b"full"}, "payload", "66756c6c 'full'"),
        ({"kind": "SIGNAL", "signal": 6, "id": 1, "parts": 2}, "signal", "END (6)"),
        ({"kind": "CONFIRM", "endpoint": {"number": 1}, "seq": 1, "id": 9, "timeout_ms": 250, "payload": b""},
         "timeout_ms", "250 ms"),
        ({"kind": "IGNORED", "head": 0x51, "payload": b""}, "head", "0x51 unknown, may be ignored"),
        ({"kind": "PING", "token": 3}, "length", "2 bytes"),
        ({"kind": "IGNORED", "head": 0x51, "payload": b""}, "length", "1 byte"),
        ({"kind": "PART", "id": 1, "index": 1, "format": 2, "options": [], "payload": b"\xf6"},
         "head", "0xd6 PART, options, format 2 (CBOR of the endpoint's type)"),
        ({"kind": "MORE", "partial": 1, "payload": b"\xff" * 33}, "payload", "ff" * 32 + "... (33 bytes)"),
    ],
    ids=str,
)  # fmt: skip
def test_values_read_as_people_read_them(frame: dict[str, Any], field: str, text: str) -> None:
    assert values(explain(built(**frame))[0])[field] == text


def test_options_have_the_names_that_the_protocol_gives_them() -> None:
    table = (ROOT / "docs" / "protocol.md").read_text().split("| Type | Value | On | Meaning |")[1]
    named = re.findall(r"^\| (\d+) ([A-Z_]+) \|", table.split("\n\n")[0], re.M)
    assert {int(number): name for number, name in named} == OPTION_NAMES
    things = bytes.fromhex("1a8404080200010001") + b"\xe1" * 16 + bytes.fromhex("0001")
    shown = values(explain(things)[0])
    assert (shown["option"], shown["regions"], shown["files"]) == ("THINGS (8)", "0", "1")


def test_hello_and_directory_show_their_bits() -> None:
    hello = values(explain(HELLO)[0])
    assert hello["flags"] == "router, USERSPACE (1), dialled, no token demanded"
    assert hello["keepalive_ms"] == "0 ms: relies on the end of the connection"
    assert hello["bus"] == "'default'"
    entry = {"endpoint_kind": 3, "endpoint": E1, "credit": 9, "name": "a"}
    shown = values(explain(directory(entry, realm=3, leaf=True, more=True))[0])
    assert shown["line"] == "0x33 GLOBAL (3), a leaf, more follows"
    assert shown["node"] == "the node that sends this, number 1"
    assert shown["entry"] == "0x53 broadcast, with credit, with name"
    assert shown["endpoint"] == E1_TEXT


# Nodes, routes, lines and lookups in words

NODE_C = bytes(range(0x20, 0x34))
C = NODE_C[:16].hex()
BOUND = f"{C} incarnation {NODE_C[16:].hex()}, bound to number 3"


def node(number: int, id: bytes | None = None) -> dict[str, Any]:
    return {"number": number, "id": id}


def told(*frames: dict[str, Any], direction: Direction | None = None) -> list[list[tuple[str, str]]]:
    """All that is shown of each frame, without its length and head."""
    data = b"".join(built(**frame) for frame in frames)
    found = explain(data, direction=direction or Direction())
    assert_accounted(found, data)
    return [[(field.name, field.value) for field in frame.fields[2:]] for frame in found]


def test_routes_in_words() -> None:
    entries = [
        {"route": 1, "node": node(1), "seqno": 7, "metric": 0},
        {"route": 1, "node": node(3, NODE_C), "seqno": 8, "metric": 0x8011},
        {"route": 1, "node": node(3), "seqno": 9, "metric": 65535},
        {"route": 3, "node": node(2), "versions": [1, 300, 0]},
        {"route": 5, "node": node(3), "seqno": 10},
        {"route": 0, "node": node(3)},
        {"route": 6, "count": 2},
    ]
    assert told({"kind": "ROUTES", "entries": entries}) == [
        [
            ("route", "UPDATE (1)"),
            ("node", "the node that sends this, number 1"),
            ("seqno", "7"),
            ("metric", "0x0000: the node itself"),
            ("route", "UPDATE (1)"),
            ("node", BOUND),
            ("seqno", "8"),
            ("metric", "0x8011: LOCALNET (2), cost 17"),
            ("route", "UPDATE (1)"),
            ("node", f"{C}, number 3"),
            ("seqno", "9"),
            ("metric", "0xffff: no way"),
            ("route", "PARENT with versions (3)"),
            ("node", "the node that reads this, number 2"),
            ("version, USERSPACE", "1"),
            ("version, LOCALNET", "300"),
            ("version, GLOBAL", "0"),
            ("route", "SEQREQ to everyone (5)"),
            ("node", f"{C}, number 3"),
            ("seqno", "10"),
            ("route", "RETRACT (0)"),
            ("node", f"{C}, number 3"),
            ("route", "ACK (6)"),
            ("count", "2"),
        ]
    ]


def test_stages_in_words() -> None:
    assert told(*({"kind": "SYNC", "stage": stage} for stage in (3, 4, 9))) == [
        [("stage", "all lines are told (3)")],
        [("stage", "passes nothing on (4)")],
        [("stage", "unknown (9)")],
    ]


def test_a_routing_header_in_words() -> None:
    routing = {"realm": 3, "hops": 9, "destination": node(2), "source": node(3, NODE_C)}
    frame = {"kind": "REPLY", "format": 0, "routing": routing, "id": 1, "payload": b""}
    assert told(frame)[0][:4] == [
        ("how", "0x0f has crossed GLOBAL (3), with destination, with source"),
        ("hops", "9"),
        ("destination", "the node that reads this, number 2"),
        ("source", BOUND),
    ]
    routing = {"realm": 0, "hops": 255, "destination": None, "source": None}
    assert told(frame | {"routing": routing})[0][0] == ("how", "0x00 has crossed nothing (0)")


def test_lookups_in_words_and_names_are_learned() -> None:
    direction = Direction()
    holder = {"endpoint_kind": 2, "realm": 2, "node": node(3, NODE_C), "metric": 0x4001, "name": "lab/x"}
    itself = {"endpoint_kind": 0, "realm": 0, "node": node(3), "metric": 0}
    have = {"kind": "SIGNAL", "signal": 8, "endpoint": node(1, E1), "holders": [holder, itself]}
    who = {"kind": "SIGNAL", "signal": 7, "endpoint": node(1)}
    assert told(have, who, direction=direction) == [
        [
            ("signal", "HAVE (8)"),
            ("endpoint", f"{E1_TEXT}, bound to alias 1"),
            ("holder", "0x4a anycast, LOCALNET (2), with name"),
            ("node", BOUND),
            ("metric", "0x4001: USERSPACE (1), cost 1"),
            ("name", "'lab/x'"),
            ("holder", "0x00 the node itself, no realm (0)"),
            ("node", f"{C}, number 3"),
            ("metric", "0x0000: the node itself"),
        ],
        [("signal", "WHO (7)"), ("endpoint", f"{E1_TEXT} 'lab/x', alias 1")],
    ]


def test_a_report_in_words_or_as_bytes() -> None:
    report = {"realm": 3, "cost": 17, "medium": "tcp", "label": "lab"}
    traced = {"kind": "SIGNAL", "signal": 12, "id": 5}
    assert told(traced | {"report": report}, traced | {"report": b"\x03"}) == [
        [
            ("signal", "TRACED (12)"),
            ("id", "5"),
            ("realm", "GLOBAL (3)"),
            ("cost", "17"),
            ("medium", "'tcp'"),
            ("label", "'lab'"),
        ],
        [("signal", "TRACED (12)"), ("id", "5"), ("payload", "03")],
    ]


def test_the_sender_has_its_id_once_it_said_hello() -> None:
    frame = {"kind": "SIGNAL", "signal": 9, "endpoint": node(1, E1), "tree": node(1)}
    sender = "101112131415161718191a1b1c1d1e1f"
    assert told(frame, direction=opened())[0][-1] == (
        "tree",
        f"the node that sends this, {sender}, number 1",
    )


def test_a_number_bound_before_the_capture_is_no_error_but_one_never_bound_is() -> None:
    frame = built(kind="ROUTES", entries=[{"route": 0, "node": node(5)}])
    (seen,) = explain(frame)
    assert (values(seen)["node"], seen.problem) == ("number 5, bound before these bytes", "")
    (seen,) = explain(frame, direction=opened())
    assert (values(seen)["node"], seen.code) == ("number 5, never bound", 11)
    assert seen.problem == "node at 3: expected a number that was bound, not 5"


def test_a_frame_cut_off_shows_what_it_binds_but_binds_nothing() -> None:
    entries = [{"route": 0, "node": node(3, NODE_C)}, {"route": 2, "node": node(3)}, {"route": 6, "count": 1}]
    direction = opened()
    (frame,) = explain(built(kind="ROUTES", entries=entries)[:-1], direction=direction)
    assert frame.name == "incomplete"
    assert [field.value for field in frame.fields if field.name == "node"] == [BOUND, f"{C}, number 3"]
    assert direction.nodes == {}


def test_another_hello_forgets_the_numbers_of_nodes() -> None:
    direction = opened()
    explain(built(kind="ROUTES", entries=[{"route": 0, "node": node(3, NODE_C)}]), direction=direction)
    assert direction.nodes == {3: NODE_C}
    explain(HELLO, direction=direction)
    assert direction.nodes == {}


# Problems say where and what


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("80", "length at 0: expected a varint; 0 of 1 bytes left"),
        ("00", "length at 0: expected a length of at least 1"),
        ("01 20", "head at 1: expected a control frame of this version (0x01 to 0x0a), not 0x20"),
        ("03 04 01 00", "end of the frame at 3: expected the end of the frame, not 1 more bytes"),
        ("05 01 42535758", "magic at 2: expected b'BSWY', not b'BSWX'"),
        ("02 c0 00", "id at 2: expected a varint of 1 or more"),
        ("06 c4 02 09 02 01 61",
         "the option's value at 5: expected 2 bytes of the option's value; 0 of 2 bytes left"),
        ("05 04", "the frame at 0 has 5 bytes, 1 of them are here; next is token at 2"),
        ("07 03 00 6162", "the frame at 0 has 7 bytes, 4 of them are here"),
    ],
    ids=lambda text: str(text)[:20],
)  # fmt: skip
def test_problems_say_what_was_expected_where(data: str, problem: str) -> None:
    found = explain(bytes.fromhex(data))
    assert found[-1].problem == problem


# Views


def test_text_names_every_field_and_shows_the_problem() -> None:
    shown = render_text(explain(bytes.fromhex("02 04 07 01 20"), direction="a to b"))
    *lines, problem = shown.splitlines()
    assert lines == [
        "a to b  PING  3 bytes at 0",
        "       0  02                  length  2 bytes",
        "       1  04                  head    0x04 PING",
        "       2  07                  token   7",
        "a to b  error  2 bytes at 3",
        "       3  01                  length  1 byte",
        "       4  20                  head    20 ' '",
    ]
    assert problem.startswith("  ! head at 4: expected a control frame of this version")
    assert problem.endswith("not 0x20: error UNKNOWN_FRAME (12)")


def test_rich_shows_the_same_text() -> None:
    found = explain(HELLO + b"\x01\x20")
    shown = render_rich(found)
    assert shown.plain == render_text(found)
    assert {str(span.style) for span in shown.spans} >= {"bold", "red"}


def test_nothing_from_a_stranger_steers_the_terminal() -> None:
    nasty = "\x1b[2J\r\n\u202e"
    data = (
        directory({"endpoint_kind": 1, "endpoint": E1, "name": nasty})
        + send(1, binds=True, payload=nasty.encode())
        + send(1, format=1, payload=cbor2.dumps({nasty: cbor2.CBORTag(4711, nasty)}))
        + send(1, format=1, payload=cbor2.dumps(nasty))
        + built(kind="CLOSE", code=1, text=nasty)
    )
    shown = render_text(explain(data, direction=nasty))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) == 1 + sum(len(frame.fields) + 1 for frame in explain(data))


def test_json_has_all_that_a_script_needs() -> None:
    found = to_json(explain(b"\x02\x04\x07\x00", direction="x"))
    assert json.loads(json.dumps(found)) == found
    assert found[0] == {
        "direction": "x",
        "offset": 0,
        "length": 3,
        "name": "PING",
        "hex": "020407",
        "fields": [
            {"offset": 0, "length": 1, "name": "length", "value": "2 bytes"},
            {"offset": 1, "length": 1, "name": "head", "value": "0x04 PING"},
            {"offset": 2, "length": 1, "name": "token", "value": "7"},
        ],
        "problem": "",
        "error": None,
    }
    assert found[1]["error"] == {"code": 9, "name": "MALFORMED"}


# Pasted hex


def xxd(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        lines.append(f"{at:08x}: {pairs:<39}  {text_column(row)}")
    return "\n".join(lines)


def text_column(row: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)


PASTINGS: dict[str, Callable[[bytes], str]] = {
    "digits": bytes.hex,
    "capitals": lambda data: data.hex().upper(),
    "spaces": lambda data: data.hex(" "),
    "colons": lambda data: data.hex(":"),
    "hyphens": lambda data: data.hex("-"),
    "lines": lambda data: "\r\n".join(f"{byte:02x}" for byte in data),
    "0x each": lambda data: ", ".join(f"0x{byte:02x}" for byte in data),
    "0x in front": lambda data: "0x" + data.hex() if data else "",
    "escapes": lambda data: "".join(f"\\x{byte:02x}" for byte in data),
    "xxd": xxd,
}


@pytest.mark.parametrize("way", PASTINGS)
@given(data=st.binary(max_size=70))
def test_bytes_are_read_as_they_were_pasted(way: str, data: bytes) -> None:
    assert parse_hex(PASTINGS[way](data)) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("02 04 07  # a PING\n# nothing here\n0204 08", "020407020408"),
        ("e1e0  e1e1", "e1e0e1e1"),
        ("  00000000: 0204 07   ...\n00000003: 08  .", "02040708"),
    ],
)
def test_single_pastings(text: str, data: str) -> None:
    assert parse_hex(text).hex() == data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("02 0g", "'02 0g' in line 1"),
        ("02\n04 zz", "'04 zz' in line 2"),
        ("02 047", "'02 047' in line 1"),
        ("0204 ü", "'0204 ü' in line 1"),
        ("00000000: 0204  ..\n*\n", "'*' in line 2"),
    ],
)
def test_bad_pastings_say_what_is_wrong(text: str, found: str) -> None:
    with pytest.raises(ValueError, match="expected hex digits in pairs, or what xxd prints") as caught:
        parse_hex(text)
    assert str(caught.value).endswith(found)


@given(st.text(max_size=60) | st.text("0123456789abcdefx:|* \n'b\\", max_size=60))
def test_any_text_gives_bytes_or_a_value_error(text: str) -> None:
    try:
        data = parse_hex(text)
    except ValueError:
        return
    assert isinstance(data, bytes)


# Protected links


@pytest.mark.parametrize("which", load("handshakes.json")["handshakes"], ids=lambda which: which["name"])
@pytest.mark.parametrize("side", ["initiator", "responder"])
def test_what_is_behind_a_handshake_are_records(which: dict[str, Any], side: str) -> None:
    shaken = [bytes.fromhex(each["frame"]) for each in which["handshake"] if each["from"] == side]
    records = [bytes.fromhex(each["record"]) for each in which["records"] if each["from"] == side]
    whole = b"".join(shaken + records)
    shown = explain(whole)
    assert [frame.name for frame in shown] == ["HANDSHAKE"] * len(shaken) + ["record"] * len(records)
    assert [frame.raw for frame in shown] == shaken + records
    assert not any(frame.problem for frame in shown)
    *_, last = explain(whole[:-1])
    assert (last.name, last.code) == ("incomplete", None)
    assert last.problem.startswith("the record at ")


def test_who_has_another_token_says_so_in_the_place_of_a_record() -> None:
    refused = b"\x05\x02salt" + b"\x09\x03\x07another" + b"rest"
    assert [frame.name for frame in explain(refused)] == ["HANDSHAKE", "CLOSE", "not read"]
    assert [frame.name for frame in explain(b"\x05\x02salt" + b"\x09\x03\x07an\xffther")] == [
        "HANDSHAKE",
        "record",
    ]
