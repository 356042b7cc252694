"""Words that a router should not say to a leaf, and bad news: the core in the role of a leaf and
the small leaf alike (docs/protocol.md, sections 2, 4.3, 5, 12.6)."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import WrongKindError, codes
from busway.protocol.wire.fields import text8, varint
from tests.rigs.alike import HIGH, LOW, ROUTER, UUIDS, PythonLeaf, alias, frame, have, head, hello, node, u16

E, F, *_ = UUIDS
UNICAST, ANYCAST, BROADCAST = codes.UNICAST, codes.ANYCAST, codes.BROADCAST
PING = frame(bytes((codes.PING, 5)))
PONG = frame(bytes((codes.PONG, 5)))


@pytest.fixture(params=[False, True], ids=["core", "small"])
def leaf(request: pytest.FixtureRequest) -> PythonLeaf:
    made = PythonLeaf(small=request.param)
    made.step("feed", data=b"")
    return made


def opened(leaf: PythonLeaf, flags: int = codes.GLOBAL << 1) -> PythonLeaf:
    leaf.step("feed", data=frame(hello(flags)) + frame(bytes((codes.SYNC, 3))))
    return leaf


def feed(leaf: PythonLeaf, data: bytes) -> list[list[Any]]:
    return leaf.step("feed", data=data)[1]


def who(uuid: bytes) -> bytes:
    return bytes((0xF0, codes.WHO)) + alias(uuid)


# Names that another node keeps


@pytest.mark.parametrize("other", [LOW, HIGH], ids=["smaller", "larger"])
def test_a_unicast_name_that_another_held_before_is_given_up(leaf: PythonLeaf, other: bytes) -> None:
    leaf.step("register", endpoint=E, kind=UNICAST)
    leaf.step("register", endpoint=F, kind=ANYCAST)
    said = leaf.step("feed", data=frame(hello()))[2]
    assert who(E) in said  # else it would never be told
    assert said.count(bytes((0xF0, codes.WHO))) == 1
    happened, said = leaf.step("feed", data=have(E, [(other, UNICAST)]))[1:]
    assert happened == [["taken", E.hex()]]
    assert said.endswith((b"\0" + E, bytes((ANYCAST,)) + F))  # withdrawn; a small leaf tells all it has
    assert feed(leaf, have(E, [(other, ANYCAST), (HIGH, ANYCAST)])) == []
    happened, said = leaf.step("feed", data=have(E, []))[1:]
    assert happened == [["back", E.hex()]]
    assert bytes((UNICAST,)) + E in said  # registered again


def test_of_two_names_that_others_keep_one_comes_back(leaf: PythonLeaf) -> None:
    opened(leaf)
    for uuid in (E, F):
        leaf.step("register", endpoint=uuid, kind=UNICAST)
        assert feed(leaf, have(uuid, [(ROUTER, UNICAST)])) == [["taken", uuid.hex()]]
    assert feed(leaf, have(F, [])) == [["back", F.hex()]]
    assert feed(leaf, have(E, [])) == [["back", E.hex()]]


def test_a_unicast_name_that_another_took_later_is_kept(leaf: PythonLeaf) -> None:
    opened(leaf)
    assert who(E) in leaf.step("register", endpoint=E, kind=UNICAST)[2]
    assert feed(leaf, have(E, [])) == []
    for holders in ([(LOW, UNICAST)], [(LOW, ANYCAST), (HIGH, ANYCAST)], [(ROUTER, BROADCAST)]):
        assert leaf.step("feed", data=have(E, holders) + PING)[1:] == ([], PONG)


def test_a_name_that_another_kept_can_be_let_go_of(leaf: PythonLeaf) -> None:
    opened(leaf)
    leaf.step("register", endpoint=E, kind=UNICAST)
    assert feed(leaf, have(E, [(ROUTER, UNICAST)])) == [["taken", E.hex()]]
    assert leaf.step("withdraw", endpoint=E)[1:] == ([], b"")
    assert leaf.step("feed", data=have(E, []) + PING)[1:] == ([], PONG)


def test_holders_that_agree_keep_their_name_together(leaf: PythonLeaf) -> None:
    leaf.step("register", endpoint=E, kind=ANYCAST)
    opened(leaf)
    leaf.step("feed", data=have(E, [(LOW, ANYCAST)]))
    assert leaf.step("feed", data=PING)[1:] == ([], PONG)


def test_a_small_leaf_asks_again_for_a_name_that_it_had_sent_to() -> None:
    leaf = opened(PythonLeaf(small=True))
    leaf.step("submit", kind="send", uuid=E, payload=b"s0", timeout_ms=9)
    feed(leaf, have(E, [(LOW, UNICAST)]))
    assert bytes((0xF0, codes.WHO, 1)) in leaf.step("register", endpoint=E, kind=UNICAST)[2]
    assert feed(leaf, have(E, [(LOW, UNICAST)])) == [["taken", E.hex()]]
    said = leaf.step("submit", kind="send", uuid=E, payload=b"s1", timeout_ms=9)[2]
    assert said.endswith(b"s1")  # to the one that keeps it


def test_of_holders_in_conflict_the_first_gets_what_waits(leaf: PythonLeaf) -> None:
    opened(leaf)
    leaf.step("submit", kind="send", uuid=E, payload=b"s0", timeout_ms=9)
    said = leaf.step("feed", data=have(E, [(HIGH, UNICAST), (LOW, UNICAST)]))[2]
    assert said.endswith(HIGH + bytes((1,)) + u16(1) + b"s0")


def test_who_asks_a_leaf_is_told_what_it_has(leaf: PythonLeaf) -> None:
    leaf.step("register", endpoint=E, kind=ANYCAST)
    opened(leaf)
    said = leaf.step("feed", data=frame(who(E)))[2]
    assert said == frame(bytes((0xF0, codes.HAVE)) + alias(E) + bytes((ANYCAST | codes.GLOBAL << 2, 1, 0, 0)))
    assert leaf.step("feed", data=frame(who(F)))[2] == frame(bytes((0xF0, codes.HAVE)) + b"\0\2" + F)


# Frames


@pytest.mark.parametrize(
    ("data", "code"),
    [(frame(b"\x41\x05"), 13), (b"\x05\x41", None), (b"\x05\x42", 1), (b"\x05\x00", 1), (b"\x05", None)],
)
def test_sleep_is_known_before_hello(leaf: PythonLeaf, data: bytes, code: int | None) -> None:
    assert feed(leaf, data) == ([] if code is None else [["closed", code]])


ENTRY = bytes((0x71,)) + E + varint(9) + varint(300) + text8("name")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x16\x01" + text8("label") + b"\0\3" + ENTRY + b"\0" + F, None),
        (b"\x03" + node(LOW) + b"\0\1", None),
        (b"\x03\x09\0\1", 11),
        (b"\x04\x09", 11),
        (b"\x00\x01\0\1", 9),
        (b"\x03\x01\0", 9),
        (b"\x03\x01\0\1\x81" + E, 9),
        (b"\x03\x01\0\1\x04" + E, 9),
        (b"\x03\x01\0\1\x10" + E + b"\4", 9),
        (b"\x03\x01\0\1\x01" + E[1:], 9),
        (b"\x03\x01\0\1\x41" + E + b"\1\xff", 9),
    ],
)
def test_a_directory_that_breaks_the_format_ends_the_link(
    leaf: PythonLeaf, body: bytes, code: int | None
) -> None:
    opened(leaf)
    assert feed(leaf, frame(bytes((codes.DIRECTORY,)) + body)) == ([] if code is None else [["closed", code]])
    if code is None:
        assert leaf.step("feed", data=PING)[1:] == ([], PONG)


@pytest.mark.parametrize("body", [b"", b"\x80", b"\5\5"])
def test_a_sleep_that_breaks_the_format_ends_the_link(leaf: PythonLeaf, body: bytes) -> None:
    opened(leaf)
    assert feed(leaf, frame(bytes((codes.SLEEP,)) + body)) == [["closed", 9]]


def test_of_two_faults_in_a_header_the_first_counts(leaf: PythonLeaf) -> None:
    opened(leaf)
    assert feed(leaf, frame(b"\x88\x1c\xff\x09\x09")) == [["closed", 9]]  # the layout, then a node unbound


def test_of_two_faults_in_a_header_the_first_counts_also_if_it_is_the_alias(leaf: PythonLeaf) -> None:
    opened(leaf)
    assert feed(leaf, frame(b"\xb0\x09\x00\x01\x00\x00")) == [["closed", 11]]  # an alias, then an id of 0


def test_a_leaf_speaks_for_itself_only(leaf: PythonLeaf) -> None:
    opened(leaf, codes.GLOBAL << 1 | 1)
    assert feed(leaf, frame(head(codes.SEND, LOW) + alias(E) + u16(1))) == [["closed", 9]]


# A router that sleeps


def test_nothing_is_written_to_a_router_that_sleeps(leaf: PythonLeaf) -> None:
    opened(leaf)
    sleep = frame(bytes((codes.SLEEP,)) + varint(60_000))
    assert leaf.step("feed", data=PING + sleep) == (0, [], b"")
    assert not leaf.connection.wants_write
    assert leaf.step("pass", ms=30_000)[2] == b""
    assert leaf.step("feed", data=frame(bytes((codes.PONG, 1))))[2] == PONG


def test_no_bytes_end_no_sleep(leaf: PythonLeaf) -> None:
    opened(leaf)
    feed(leaf, frame(bytes((codes.SLEEP, 100))))
    assert leaf.step("feed", data=b"") == (0, [], b"")
    assert leaf.step("register", endpoint=E, kind=codes.UNICAST)[2] == b""


def test_what_comes_behind_a_sleep_ends_it(leaf: PythonLeaf) -> None:
    opened(leaf)
    assert leaf.step("feed", data=frame(bytes((codes.SLEEP, 100))) + PING)[2] == PONG
    assert leaf.step("feed", data=frame(bytes((codes.SLEEP, 0))) + PING[:1])[2] == b""
    assert leaf.step("feed", data=PING[1:])[2] == PONG


def test_who_closes_does_not_wait_for_a_router_that_sleeps(leaf: PythonLeaf) -> None:
    opened(leaf)
    feed(leaf, frame(bytes((codes.SLEEP, 100))))
    leaf.connection.close(leaf.now)
    assert ["closed", 0] in leaf.step("pass", ms=0)[1]


# Outcomes


@pytest.mark.parametrize("kind", ["request", "confirm"])
def test_an_end_or_a_part_for_what_is_no_stream_ends_nothing(leaf: PythonLeaf, kind: str) -> None:
    opened(leaf)
    id, _, _ = leaf.step("submit", kind=kind, uuid=E, payload=b"s0", timeout_ms=5000)
    feed(leaf, have(E, [(ROUTER, UNICAST)]))
    assert 0 < id < 128
    assert feed(leaf, frame(bytes((0xF0, codes.END, id, 0, 0)))) == []
    assert feed(leaf, frame(bytes((0xD0, id, 0, 0)))) == []
    ((_, _, status, *_),) = feed(leaf, frame(bytes((0xC0, id))))
    assert status == ("replied" if kind == "request" else "taken")


def test_without_a_link_nobody_is_known_to_have_nothing(leaf: PythonLeaf) -> None:
    opened(leaf)
    leaf.step("submit", kind="send", uuid=E, payload=b"s0", timeout_ms=9)
    happened = leaf.step("eof")[1] + leaf.step("pass", ms=10_000)[1]
    leaf.step("submit", kind="send", uuid=F, payload=b"s1", timeout_ms=9)
    happened += leaf.step("pass", ms=10_000)[1] + leaf.happened
    assert ["outcome", 1, "undelivered", codes.NO_ROUTE, "", ""] in happened
    assert codes.NO_ENDPOINT not in [event[3] for event in happened if event[0] == "outcome"]


def test_what_waits_for_credit_hears_that_its_way_is_gone(leaf: PythonLeaf) -> None:
    opened(leaf)
    for number in range(6):
        leaf.step("submit", kind="confirm", uuid=E, payload=b"s%d" % number, timeout_ms=5000)
    leaf.step("submit", kind="confirm", uuid=F, payload=b"s6", timeout_ms=5000)
    feed(leaf, have(E, [(LOW, ANYCAST)]))
    feed(leaf, have(E, [(LOW, ANYCAST)]))  # told again: no more credit for that
    gone = frame(bytes((codes.ROUTES, codes.RETRACT)) + node(LOW))
    happened = feed(leaf, gone) + feed(leaf, have(E, []))
    codes_seen = sorted((status, code) for _, _, status, code, *_ in happened)
    assert codes_seen == [("undelivered", codes.NO_ROUTE)] * 2 + [("unknown", codes.NO_ROUTE)] * 4


def test_a_name_that_is_a_broadcast_is_refused_at_once(leaf: PythonLeaf) -> None:
    opened(leaf)
    leaf.step("submit", kind="send", uuid=E, payload=b"s0", timeout_ms=9)
    assert feed(leaf, have(E, [(LOW, BROADCAST)])) == [
        ["outcome", 1, "undelivered", codes.WRONG_KIND, "", ""]
    ]
    with pytest.raises(WrongKindError):
        leaf.submit("send", E, b"s1", 9)


def test_a_plain_message_before_what_ends_the_link_is_taken(leaf: PythonLeaf) -> None:
    leaf.step("register", endpoint=E, kind=UNICAST)
    opened(leaf)
    happened = feed(leaf, frame(head(codes.SEND, ROUTER) + alias(E) + u16(1) + b"m0") + frame(b"\x00"))
    assert [event[0] for event in happened] == ["closed", "message"]
