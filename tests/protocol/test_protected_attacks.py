"""Protected links: what one on the wire can do, and what any bytes do to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Link, Node, codes
from busway.protocol.wire.control import write_close
from busway.protocol.wire.fields import frame

from .pairs import AES, E, Entropy, Pair, bodies, guard
from .streams import NOW, SMALL, Listener, at_random, check_outcome
from .test_protected_links import LOCALNET, OPEN_TO_ALL, PATTERNS, protected

# On the wire: flip, drop, repeat, reorder, splice, truncate


class Recorded:
    """What a dialler wrote to a listener that always draws the same keys, from the first byte to the last."""

    def __init__(self, pattern: int) -> None:
        self.pattern = pattern
        pair = Pair(
            realm=LOCALNET,
            limits=SMALL,
            a_node={"entropy": Entropy(7), "leaf": True},
            b_node={"entropy": Entropy(2)},
            a_options={"security": guard(first=pattern, seed=40)},
            b_options={"security": guard(seed=50)},
        )
        self.writes: list[bytes] = []  # each is one or more frames of the handshake, or one record
        end = pair.cable.ends[0]
        receiver = pair.b.register(E, codes.UNICAST)
        pair.pump()
        self.handshake = len(end.sent)
        for number in range(3):
            before = len(end.sent)
            pair.a.send(E, b"message %d" % number + b"." * (number * 3), pair.now)
            pair.pump()
            self.writes.append(bytes(end.sent[before:]))
        self.sent = bytes(end.sent)
        self.read = [message.payload for message in pair.drain(pair.b, receiver)]
        assert len(self.read) == 3

    def listener(self, seed: int = 50) -> Pair:
        """The listener again, and nobody at the other end. With another seed it draws other keys."""
        pair = Pair(
            opened=False,
            realm=LOCALNET,
            limits=SMALL,
            a_node={"entropy": Entropy(7)},
            b_node={"entropy": Entropy(2)},
            b_options={"security": guard(seed=seed)},
        )
        pair.b.register(E, codes.UNICAST)
        return pair

    def replay(self, data: bytes) -> tuple[list[bytes], int, bool]:
        """What the listener reads of that: messages, the error the link ended with, whether by the peer."""
        pair = self.listener()
        pair.note(pair.b, pair.cb.receive_data(data, pair.now))
        receiver = pair.b.receiving.endpoints[E].receivers[0]
        got = [message.payload for message in pair.drain(pair.b, receiver)]
        closed = pair.closings(pair.cb)
        return got, closed[0].code if closed else -1, bool(closed and closed[0].by_peer)


RECORDED: dict[int, Recorded] = {}


def recorded(pattern: int) -> Recorded:
    if pattern not in RECORDED:
        RECORDED[pattern] = Recorded(pattern)
    return RECORDED[pattern]


def check_attack(record: Recorded, data: bytes, what: object) -> None:
    """The link ends, or waits for bytes that never come; what was read is what was written, up to there."""
    got, code, by_peer = record.replay(data)
    assert got == record.read[: len(got)], what
    assert len(got) < len(record.read), what
    assert not by_peer, what
    assert code in (-1, codes.FORGED, codes.TOO_LARGE, codes.MALFORMED), what


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_session_that_is_replayed_as_it_was_is_the_session(pattern: int) -> None:
    """Or the attacks below would show nothing."""
    record = recorded(pattern)
    assert record.replay(record.sent) == (record.read, -1, False)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_any_byte_that_is_changed_ends_the_link(pattern: int) -> None:
    record = recorded(pattern)
    for at in range(record.handshake, len(record.sent)):
        data = record.sent[:at] + bytes((record.sent[at] ^ 1 << at % 8,)) + record.sent[at + 1 :]
        check_attack(record, data, at)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_any_byte_that_is_dropped_repeated_or_put_in_ends_the_link(pattern: int) -> None:
    record = recorded(pattern)
    sent = record.sent
    for at in range(record.handshake, len(sent)):
        check_attack(record, sent[:at] + sent[at + 1 :], at)
        check_attack(record, sent[:at], at)
        if sent[at] != sent[at - 1] and at < len(sent) - 1:
            check_attack(record, sent[:at] + sent[at : at + 1] + sent[at:], at)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_records_that_are_dropped_repeated_reordered_or_spliced_end_the_link(pattern: int) -> None:
    record = recorded(pattern)
    start, writes = record.sent[: record.handshake], record.writes
    for at in range(len(writes)):
        for other in range(len(writes)):
            if other != at:
                swapped = list(writes)
                swapped[at], swapped[other] = swapped[other], swapped[at]
                check_attack(record, start + b"".join(swapped), ("swapped", at, other))
                instead = [*writes[:at], writes[other], *writes[at + 1 :]]
                check_attack(record, start + b"".join(instead), ("in its place", at, other))
        if at < len(writes) - 1:
            check_attack(record, start + b"".join(writes[:at] + writes[at + 1 :]), ("dropped", at))
        twice = start + b"".join(writes[: at + 1] + writes[at:])
        got, code, by_peer = record.replay(twice)
        assert got == record.read[: at + 1]
        assert (code, by_peer) == (codes.FORGED, False)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_any_byte_of_the_handshake_that_is_changed_lets_nobody_in(pattern: int) -> None:
    record = recorded(pattern)
    for at in range(record.handshake):
        data = record.sent[:at] + bytes((record.sent[at] ^ 0x20,)) + record.sent[at + 1 :]
        got, code, _ = record.replay(data)
        assert got == record.read[: len(got)], at
        assert len(got) < len(record.read), at
        if pattern != codes.PSK_AES or code != -1:
            assert code != codes.GOODBYE, at


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_what_was_said_in_one_session_is_nothing_in_the_next(pattern: int) -> None:
    record = recorded(pattern)
    pair = protected(pattern)
    pair.note(pair.b, pair.cb.receive_data(record.writes[0], pair.now))
    assert [event.code for event in pair.closings(pair.cb)] == [codes.FORGED]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_who_says_a_whole_session_again_gets_no_further_than_a_key_exchange(pattern: int) -> None:
    """All of it, from the first byte on, to the same listener at another time. Over pattern 2 the first
    message proves the token all the same, so records follow: for who has drawn the keys of that message.
    """
    record = recorded(pattern)
    pair = record.listener(seed=60)
    pair.note(pair.b, pair.cb.receive_data(record.sent, pair.now))
    proved = pattern & ~AES == codes.NNPSK0
    assert [event.code for event in pair.closings(pair.cb)] == [codes.FORGED if proved else codes.TOKEN]
    handshake, *rest = bodies(pair.cb.data_to_send(4096, pair.now))
    assert handshake[0] == codes.HANDSHAKE
    assert not any(word in body for body in rest for word in (b"bbbb", b"default", b"changes"))
    assert len(rest) == 2 if proved else rest[0][0] == codes.CLOSE
    assert pair.drain(pair.b, pair.b.receiving.endpoints[E].receivers[0]) == []


# Any bytes, in every state of a protected link


def half_way(pattern: int, feeds: int) -> Callable[[], Listener]:
    """A listener that has read so many writes of a dialler."""

    def make() -> Listener:
        listener = Listener(security=guard(seed=9))
        dialler = Node(b"a" * 16, entropy=Entropy(3), limits=SMALL).connection(
            Link(dialled=True, via="ipc", security=guard(first=pattern, seed=4)), NOW
        )
        for _ in range(feeds):
            listener.feed([dialler.data_to_send(4096, NOW)])
            dialler.receive_data(listener.connection.data_to_send(4096, NOW), NOW)
        return listener

    return make


class Dialler(Listener):
    """As Listener, but the side that dials."""

    def __init__(self, feeds: int, pattern: int) -> None:
        super().__init__(dialled=True, security=guard(first=pattern, seed=4))
        other = Node(b"a" * 16, entropy=Entropy(3), limits=SMALL).connection(
            Link(via="ipc", security=guard(seed=9)), NOW
        )
        for _ in range(feeds):
            other.receive_data(self.connection.data_to_send(4096, NOW), NOW)
            self.feed([other.data_to_send(4096, NOW)])


STATES: dict[str, Callable[[], Listener]] = {
    "securing": half_way(codes.XXPSK3, 0),
    "securing, one message read": half_way(codes.XXPSK3, 1),
    "greeting": half_way(codes.PSK_AES, 1),
    "greeting by a token": half_way(codes.NNPSK0, 1),
    "open": half_way(codes.XXPSK3, 3),
    "open to a board": half_way(codes.PSK_AES, 3),
    "open to all": lambda: Listener(security=guard(**OPEN_TO_ALL)),
    "dialling": lambda: Dialler(0, codes.XXPSK3),
    "dialling by a token": lambda: Dialler(0, codes.NNPSK0),
    "dialling a board": lambda: Dialler(0, codes.PSK_AES),
    "dialled": lambda: Dialler(1, codes.XXPSK3),
    "dialled and open": lambda: Dialler(3, codes.XXPSK3),
    "dialled and open, AES": lambda: Dialler(3, codes.XXPSK3 | AES),
}

STARTS = [
    b"",
    frame(b"\2BSWY\2\1" + bytes(range(48))),
    frame(b"\2BSWY\2\2" + bytes(range(48))),
    frame(b"\2BSWY\2\3" + bytes(32)),
    frame(b"\2" + bytes(range(96))),
    frame(b"\2" + bytes(range(48))),
    frame(b"\2" + bytes(32)),
    write_close(codes.TOKEN, "no"),
    b"\x40" + bytes(64),
]


@pytest.mark.parametrize("state", STATES)
@given(start=st.sampled_from(STARTS), data=st.binary(max_size=200), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_arbitrary_bytes(state: str, start: bytes, data: bytes, seed: int) -> None:
    listener = STATES[state]()
    connection = listener.connection
    before = connection.state
    listener.feed(at_random(seed)(start + data))
    channel = connection.channel
    if channel is not None:
        assert sum(map(len, channel._chunks)) <= 1024
        assert len(channel.out) <= 1024
    if before == codes.OPEN and start + data:
        assert connection.state in (codes.OPEN, codes.CLOSED)
    check_outcome(listener, before)


def test_states_are_what_they_are_called() -> None:
    named = {name: codes.STATE_NAMES[make().connection.state] for name, make in STATES.items()}
    for name, state in named.items():
        words = name.split(", ")[0].split(" ")
        wanted = "open" if words[-1] == "open" or name == "open to a board" else words[0]
        assert state == {"dialling": "securing", "dialled": "greeting", "open to all": "securing"}.get(
            name if name == "open to all" else wanted, wanted
        ), name
