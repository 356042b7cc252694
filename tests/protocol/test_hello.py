"""HELLO and the handshake: what is agreed, and every refusal with its number, on both sides of a link."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import Connection, Limits, Link, LocalError, Node, codes, events
from busway.protocol.errors import Refusal
from busway.protocol.wire.fields import Reader, frame, varint
from busway.protocol.wire.hello import (
    FLAG_DIALLED,
    FLAG_LEAF,
    FLAG_LOOKUPS,
    Hello,
    agree_keepalive,
    agree_limits,
    read_hello,
    write_hello,
)

from .pairs import Net, Pair, node_of

U32 = st.integers(0, 0xFFFFFFFF)
SHORT = st.text(max_size=16)


LIMITS = ("frame_size_max", "message_size_max", "aliases_max", "partials_max")
FLAGS = {"leaf": FLAG_LEAF, "dialled": FLAG_DIALLED, "lookups": FLAG_LOOKUPS}
DEFAULTS = dict(zip(LIMITS, Limits().values(), strict=True))
TEXTS = ("bus", "label", "via")


def written(**fields: Any) -> bytes:
    """The body of a HELLO that a node with default limits takes, with some fields changed."""
    flags = fields.get("realm", codes.USERSPACE) << 1
    flags |= sum(flag for name, flag in FLAGS.items() if fields.get(name))
    limits = [fields.get(name, value) for name, value in DEFAULTS.items()]
    texts = [fields.get(name, {"bus": "default"}.get(name, "")) for name in TEXTS]
    key = fields.get("key", b"p" * 16 + b"inca")
    features, keepalive_ms = fields.get("features", 0), fields.get("keepalive_ms", 0)
    body = bytearray(write_hello(flags, key, features, limits, keepalive_ms, *texts))
    body[5] = fields.get("version", codes.VERSION)
    return bytes(body)


def decode(body: bytes) -> Hello:
    return Hello(*read_hello(Reader(body, 1, len(body))))


def fields_of(hello: Hello) -> dict[str, object]:
    names = (*FLAGS, "realm", "key", "features", "keepalive_ms", *TEXTS)
    return dict(zip(LIMITS, hello.limits, strict=True)) | {name: getattr(hello, name) for name in names}


# The frame


HELLOS = st.fixed_dictionaries(
    {name: st.booleans() for name in FLAGS}
    | dict.fromkeys((*LIMITS, "features", "keepalive_ms"), U32)
    | dict.fromkeys(TEXTS, SHORT)
    | {
        "realm": st.integers(codes.USERSPACE, codes.GLOBAL),
        "key": st.binary(min_size=20, max_size=20),
    }
)


@given(HELLOS, st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3))
def test_a_hello_is_read_back_whatever_options_follow(
    hello: dict[str, Any], options: list[tuple[int, bytes]]
) -> None:
    body = written(**hello)
    body += b"".join(bytes((kind, len(value))) + value for kind, value in options)
    assert fields_of(decode(body)) == hello


@given(HELLOS)
def test_the_longest_hello_fits_what_is_read_before_it(hello: dict[str, Any]) -> None:
    texts = dict.fromkeys(TEXTS, "x" * codes.TEXT_SIZE_MAX)
    assert len(written(**{**hello, **texts})) <= codes.HELLO_SIZE_MAX


def test_reserved_flags_are_ignored() -> None:
    body = bytearray(written())
    body[6] |= 0xC0
    assert fields_of(decode(bytes(body))) == fields_of(decode(written()))


def test_a_hello_cut_off_anywhere_is_refused_by_what_is_missing() -> None:
    body = written(label="me", via="ipc")
    for size in range(1, len(body)):
        with pytest.raises(Refusal) as caught:
            decode(body[:size])
        assert caught.value.code == (codes.NOT_BUSWAY if size < 5 else codes.MALFORMED)


@pytest.mark.parametrize("option", [b"\x07", b"\x07\x02x", b"\x01\x00\x07"])
def test_an_option_that_the_frame_cuts_off_is_malformed(option: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode(written() + option)
    assert caught.value.code == codes.MALFORMED


def test_magic_comes_before_version_and_version_before_format() -> None:
    body = bytearray(written())
    del body[6:]
    body[5] = 1
    with pytest.raises(Refusal, match="speaks protocol version 2, the other 1: update") as version:
        decode(bytes(body))
    assert version.value.code == codes.BAD_VERSION
    body[1] = 0
    with pytest.raises(Refusal) as magic:
        decode(bytes(body))
    assert magic.value.code == codes.NOT_BUSWAY


def test_realm_process_is_malformed() -> None:
    with pytest.raises(Refusal) as caught:
        decode(written(realm=codes.PROCESS))
    assert caught.value.code == codes.MALFORMED


# What both agree on

AT_LEAST = (128, 1, 1, 1)
AT_MOST = (0xFFFFFFFF, 0xFFFFFFFF, 16383, 255)


@pytest.mark.parametrize(("name", "least", "most"), list(zip(LIMITS, AT_LEAST, AT_MOST, strict=True)))
def test_own_limits_are_checked_at_both_ends(name: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(Limits(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(LocalError, match=name):
            Limits(**{name: value})


def test_the_memory_that_is_shared_is_a_number_of_bytes_or_whether() -> None:
    assert [Limits(shared_memory=value).shared_memory for value in (True, False, 0, 5)] == [1 << 30, 0, 0, 5]
    assert Limits().shared_memory == 1 << 30
    assert repr(Limits()).endswith("shared_memory=1073741824)")
    with pytest.raises(LocalError, match="shared_memory"):
        Limits(shared_memory=-1)
    for wrong in ("no", None, 2e8):
        with pytest.raises((LocalError, TypeError), match=r"shared_memory must be|int object expected"):
            Limits(shared_memory=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", range(len(LIMITS)))
def test_the_smaller_limit_holds_whichever_side_has_it(at: int) -> None:
    large = list(Limits().values())
    small = [value - (place == at) for place, value in enumerate(large)]
    assert agree_limits(small, large) == agree_limits(large, small) == small


@pytest.mark.parametrize(("at", "least"), list(enumerate(AT_LEAST)))
def test_a_peers_limit_is_taken_at_its_minimum_and_refused_below(at: int, least: int) -> None:
    theirs = list(Limits().values())
    theirs[at] = least
    assert agree_limits(Limits().values(), theirs)[at] == least
    theirs[at] = least - 1
    with pytest.raises(Refusal, match=LIMITS[at]) as caught:
        agree_limits(Limits().values(), theirs)
    assert caught.value.code == codes.LIMITS


def test_bus_name_is_checked_before_identity_and_identity_before_limits() -> None:
    own = tell(b"")[0].me.key  # of each such node
    closings = [
        tell(written(**changes, frame_size_max=1))[2][0]
        for changes in ({"key": own, "bus": "other"}, {"key": own}, {"key": own[:16] + b"othr"})
    ]
    assert [closed.code for closed in closings] == [codes.BUS_NAME, codes.SELF, codes.LIMITS]
    assert closings[0].text == "this side is on bus 'default', the other on 'other'"


@pytest.mark.parametrize(
    ("mine", "theirs", "agreed"),
    [(0, 0, 0), (0, 500, 500), (500, 0, 500), (500, 400, 400), (400, 500, 400)],
)
def test_keepalive_is_the_smaller_interval_that_is_not_zero(mine: int, theirs: int, agreed: int) -> None:
    assert agree_keepalive(mine, theirs) == agreed


# Two nodes


def ends_with(net: Net, code: int, *connections: Connection) -> None:
    """Each side heard of the end exactly once, with the same number and a sentence."""
    for connection in connections:
        assert connection.state == codes.CLOSED
        assert connection.done
        (closed,) = net.closings(connection)
        assert closed.code == connection.close_code == code
        assert closed.text == connection.close_text
        assert closed.text
        assert connection not in node_of(connection).connections
    assert not net.seen(kind=events.LINK_OPEN)


def test_two_nodes_open_with_a_hello_each_and_nothing_to_wait_for() -> None:
    pair = Pair(opened=False)
    assert pair.step()  # b reads a's HELLO and a reads b's
    assert (pair.ca.state, pair.cb.state) == (codes.OPEN, codes.OPEN)
    opened = pair.seen(kind=events.LINK_OPEN)
    assert {event.connection for event in opened} == {pair.ca, pair.cb}
    for connection, other in ((pair.ca, pair.cb), (pair.cb, pair.ca)):
        assert connection.peer is not None
        assert connection.peer.node_id == node_of(other).node_id
        assert connection.peer.label == node_of(other).label
        assert connection.opened_at == pair.now
    assert len(pair.seen(kind=events.NODE_UP)) == 2


@pytest.mark.parametrize(("ours", "theirs", "wider"), [(1, 1, 1), (1, 2, 2), (3, 2, 3), (1, 3, 3), (2, 2, 2)])
def test_the_realm_is_the_wider_of_both(ours: int, theirs: int, wider: int) -> None:
    pair = Pair(a_options={"realm": ours}, b_options={"realm": theirs})
    assert pair.ca.realm == pair.cb.realm == wider


def test_limits_and_keepalive_are_the_smaller_on_both_sides() -> None:
    pair = Pair(
        a_node={"limits": Limits(1000, 5000, 9, 3)},
        b_node={"limits": Limits(2000, 4000, 7, 5)},
        a_options={"keepalive_ms": 3000},
        b_options={"keepalive_ms": 7000},
    )
    for connection in (pair.ca, pair.cb):
        agreed = connection.limits
        assert [getattr(agreed, name) for name in LIMITS] == [1000, 4000, 7, 3]
        assert connection.keepalive_ms == 3000


def test_the_diallers_name_for_the_address_holds_on_both_sides() -> None:
    pair = Pair(a_options={"via": "tcp://host:1"}, b_options={"via": ""})
    assert pair.ca.via == pair.cb.via == "tcp://host:1"


def test_another_bus_is_refused_on_both_sides() -> None:
    pair = Pair(opened=False, b_node={"bus": "other"})
    pair.pump()
    ends_with(pair, codes.BUS_NAME, pair.ca, pair.cb)
    assert "'other'" in pair.ca.close_text
    assert "'default'" in pair.ca.close_text


def test_a_node_connected_to_itself_is_refused_on_both_sides() -> None:
    net = Net()
    node = net.node("a")
    cable = net.link(node, node)
    net.pump()
    ends_with(net, codes.SELF, cable.a, cable.b)


def test_the_same_node_id_of_another_incarnation_is_another_node() -> None:
    net = Net()
    cable = net.link(net.node("a"), net.node("a"))
    net.pump()
    assert cable.a.state == cable.b.state == codes.OPEN


def tell(hello: bytes) -> tuple[Node, Connection, list[Any], bytes]:
    """A fresh node reads one HELLO that was made by hand: what it reports and what it answers."""
    net = Net()
    node = net.node("a")
    connection = node.connection(Link(dialled=True), net.now)
    connection.data_to_send(1000, net.now)
    happened = connection.receive_data(frame(hello), net.now)
    return node, connection, happened, connection.data_to_send(1000, net.now)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bus": "other"}, codes.BUS_NAME),
        ({"version": 1}, codes.BAD_VERSION),
        ({"version": 3}, codes.BAD_VERSION),
        ({"version": 0}, codes.BAD_VERSION),
        ({"realm": 0}, codes.MALFORMED),
        ({"bus": "x" * 65}, codes.MALFORMED),
        ({"frame_size_max": 127}, codes.LIMITS),
        ({"message_size_max": 0}, codes.LIMITS),
        ({"aliases_max": 0}, codes.LIMITS),
        ({"partials_max": 0}, codes.LIMITS),
        ({"dialled": True}, codes.SAME_ROLE),
        ({"key": b"\x80" * 20, "realm": codes.LOCALNET}, codes.IDENTITY),
    ],
)
def test_a_refusal_is_told_to_the_peer_with_number_and_sentence(changes: dict[str, Any], code: int) -> None:
    node, connection, happened, answer = tell(written(**changes))
    (closed,) = happened
    assert (closed.kind, closed.code, closed.by_peer) == (events.LINK_CLOSED, code, False)
    assert answer == frame(bytes((codes.CLOSE,)) + varint(code) + closed.text.encode())
    assert closed.text
    assert connection.done
    assert node.counters["links_refused"] == 1


def test_what_does_not_speak_busway_is_told_so() -> None:
    _, _, happened, answer = tell(b"\x01HTTP/1.1 400 Bad Request")
    assert [event.code for event in happened] == [codes.NOT_BUSWAY]
    assert answer[1:3] == bytes((codes.CLOSE, codes.NOT_BUSWAY))


@pytest.mark.parametrize(
    ("start", "waits"),
    [
        (b"GET / HTTP/1.1", False),  # a length of 71, an unknown head
        (b"\x40", True),
        (b"\x40\x01", True),
        (b"\x40\x01BSW", True),
        (b"\x40\x01BSX", False),
        (b"\x40\x01HTTP", False),
        (b"\x40\x03\x07no", True),  # a CLOSE may come first
        (b"\x40\x04", True),  # error 13 when it is whole
        (b"\x40\x80", True),
        (b"\x40\x3f", False),
        (b"\x15\x03\x01\x00", True),
        (b"\x15\x03\x01\x00\x02\x02\x46", False),  # a TLS server complains
        (b"\x15\x03\x01no", True),  # a CLOSE of the same length
        (b"HTTP/1.1 400 Bad Request", False),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_a_stranger_is_refused_as_soon_as_it_shows(start: bytes, waits: bool, split: bool) -> None:
    net = Net()
    connection = net.node("a").connection(Link(), net.now)
    for piece in [bytes([byte]) for byte in start] if split else [start]:
        net.note(node_of(connection), connection.receive_data(piece, net.now))
    assert [event.code for event in net.closings(connection)] == ([] if waits else [codes.NOT_BUSWAY])


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS: connect to wss://"),
        (b"HTTP/1.1 400 Bad Request", "speaks HTTP: connect to ws:// or wss://"),
        (b"HTTP/1.1 400 Bad Request" + bytes(100), "speaks HTTP: connect to ws:// or wss://"),
        (b"SSH-2.0-OpenSSH", "does not speak Busway"),
    ],
)
def test_a_stranger_that_is_known_is_named(start: bytes, told: str) -> None:
    net = Net()
    connection = net.node("a").connection(Link(), net.now)
    net.note(node_of(connection), connection.receive_data(start, net.now))
    (closed,) = net.closings(connection)
    assert closed.code == codes.NOT_BUSWAY
    assert told in closed.text


def test_the_peer_that_is_refused_hears_the_reason() -> None:
    # b refuses a's version; a, which is content with b, hears of it in the CLOSE.
    pair = Pair(opened=False)
    hello = bytearray(pair.ca.data_to_send(1000, pair.now))
    hello[1 + 5] = 9
    pair.note(pair.b, pair.cb.receive_data(bytes(hello), pair.now))
    pair.pump()
    (closed,) = pair.closings(pair.ca)
    assert (closed.code, closed.by_peer) == (codes.BAD_VERSION, True)
    assert "update the older one" in closed.text


def test_no_hello_within_five_seconds_ends_the_link() -> None:
    pair = Pair(opened=False)
    pair.cable.block(pair.a)
    pair.advance(4999)
    assert pair.cb.state == codes.GREETING
    pair.advance(1)
    (closed,) = pair.closings(pair.cb)
    assert (closed.code, closed.by_peer) == (codes.HELLO_TIMEOUT, False)
    pair.cable.block(pair.a, False)
    pair.pump()
    assert [event.code for event in pair.closings(pair.ca)] == [codes.HELLO_TIMEOUT]


def test_a_hello_in_time_disarms_the_timer() -> None:
    pair = Pair(opened=False)
    pair.advance(4000, pump=False)
    pair.pump()
    pair.advance(60_000)
    assert pair.ca.state == pair.cb.state == codes.OPEN


def test_close_before_the_handshake_is_over_ends_at_once() -> None:
    pair = Pair(opened=False)
    pair.ca.close(pair.now)
    assert pair.ca.state == codes.CLOSED
    pair.pump()
    assert [event.code for event in pair.closings(pair.ca)] == [codes.GOODBYE]
    assert pair.cb.state == codes.CLOSED
    assert [event.code for event in pair.closings(pair.cb)] == [codes.GOODBYE]


def test_close_instead_of_hello_is_answered_and_ends() -> None:
    pair = Pair(opened=False)
    pair.note(pair.b, pair.cb.receive_data(frame(bytes((codes.CLOSE, codes.MESH_FULL)) + b"full"), pair.now))
    (closed,) = pair.closings(pair.cb)
    assert (closed.code, closed.text, closed.by_peer) == (codes.MESH_FULL, "full", True)
    said = pair.cb.data_to_send(1000, pair.now)
    assert said.endswith(frame(bytes((codes.CLOSE, codes.MESH_FULL))))
