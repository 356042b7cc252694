"""The small leaf on links with a key: sessions with a router, golden vectors, and somebody on the wire."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.protocol import Link, codes, events
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.secure.security import Security
from busway.protocol.wire.fields import frame
from tests.rigs.tree import ROOT
from tests.vectors import boards

from .board_crypto import Crypto
from .leaves import LeafNet
from .pairs import START, E, Entropy, F, bodies, guard

KEY = bytes(range(64, 96))
TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"


class Noting(Crypto):
    """Remembers what was sealed: the plain bytes of each record."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def seal(self, key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
        self.said.append(plaintext)
        return super().seal(key, nonce, ad, plaintext)


def board_secret(crypto: Any = None, key: bytes = KEY, seed: int = 11) -> Secret:
    return Secret(crypto or Noting(), Entropy(seed), key)


def token_secret() -> Secret:
    return Secret(Noting(), Entropy(12), b"", TOKEN.encode())


BOARD_ID = board_secret().id
SORTS = {"key": board_secret, "token": token_secret}


def keyed_link(secret: Secret, **options: Any) -> Link:
    return Link(codes.USERSPACE, True, via="cord", security=secret, **options)


def router_guard(key: bytes = KEY) -> Security:
    """Knows the board, by this key, and the token."""
    return guard(TOKEN, board_key={BOARD_ID: key}.get)


class KeyedNet(LeafNet):
    """The leaf's cord is protected, at its router by `ours`."""

    def __init__(self, secret: Secret | None = None, ours: Security | None = None) -> None:
        super().__init__("m")
        self.secret = secret or board_secret()
        self.cord.cut()
        node_id = self.secret.id if self.secret.id[0] else b"x" * 16
        self.leaf = Leaf(node_id, entropy=Entropy(90), label="X")
        self.cord = self.plug(
            self.leaf,
            self.router,
            realm=codes.USERSPACE,
            security=ours or router_guard(),
            leaf_options={"security": self.secret},
        )
        self.leaf_log.clear()

    @property
    def said(self) -> list[bytes]:
        """What the leaf said in each record."""
        said: list[bytes] = self.secret.crypto.said
        return said

    def ended(self) -> tuple[int, str]:
        (event,) = self.heard(events.LINK_CLOSED)
        return event.code, event.text


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_session_travels_in_records_cut_anywhere(sort: str, seed: int | None) -> None:
    net = KeyedNet(SORTS[sort]())
    rng = None if seed is None else random.Random(seed)
    served = net.leaf.register(E, codes.ANYCAST)
    far = net.router.register(F, codes.UNICAST)
    net.settle(rng)
    assert net.cord.connection.state == codes.OPEN
    asked = [net.router.request(E, b"q" * size, net.now) for size in (1, 100, 700)]
    for size in (0, 10, 100):
        net.leaf.send(F, b"secret" * size, net.now)
    net.settle(rng)
    for message in net.taken(served):
        net.leaf.respond(message, message.payload, net.now)
    net.settle(rng)
    replies = [net.outcomes(net.router, token)[0].payload for token in asked]
    assert replies == [b"q" * 1, b"q" * 100, b"q" * 700]
    assert [len(message.payload) for message in net.drain(net.router, far)] == [0, 60, 600]
    assert b"secret" not in net.cord.sent
    assert b"qqqqqq" not in net.cord.got
    assert max(map(len, net.said)) <= 256
    net.leaf.close(net.now)
    net.settle(rng)
    assert net.ended() == (codes.GOODBYE, "the node is closing")


def test_hello_is_alone_in_the_first_record_also_of_a_link_that_ends_at_once() -> None:
    net = KeyedNet()
    connection = net.cord.connection
    net.cord.to_router += connection.data_to_send(65536, net.now)
    net.cord.move()  # the router's half is under way
    net.cord.move()
    connection.cut_off(net.now, codes.TOO_LARGE, "out of memory")
    net.settle()
    hello, goodbye = net.said
    (body,) = bodies(hello)
    assert body[0] == codes.HELLO
    (body,) = bodies(goodbye)
    assert body[:2] == bytes((codes.CLOSE, codes.TOO_LARGE))


# What is refused


def board(secret: Secret) -> tuple[Leaf, LeafConnection]:
    """A leaf that has begun its link."""
    leaf = Leaf(b"x" * 16, entropy=Entropy(7))
    connection = leaf.connection(keyed_link(secret), START)
    (body,) = bodies(connection.data_to_send(512, START))
    assert body[0] == codes.HANDSHAKE
    assert body[7:23] == secret.id
    return leaf, connection


def ended(connection: LeafConnection) -> int:
    assert connection.state == codes.CLOSED
    return connection.close_code


ANSWER = frame(bytes((codes.HANDSHAKE,)) + bytes(32))
NAMED = frame(bytes((codes.HANDSHAKE,)) + BOARD_ID + bytes(16))


@pytest.mark.parametrize(
    ("sort", "came", "code"),
    [
        ("key", frame(b"\1BSWY\2"), codes.TOKEN),  # HELLO: it asks for no key
        ("key", frame(b"\2BSWY\2\1" + bytes(48)), codes.MALFORMED),  # it begins itself
        ("key", frame(b"\2" + bytes(31)), codes.MALFORMED),
        ("token", NAMED, codes.TOKEN),
        ("key", b"\0", codes.MALFORMED),
        ("key", b"\x81\x04", codes.TOO_LARGE),  # 513 bytes, before one of them has come
        ("key", b"\xff\xff\xff\xff\x7f", codes.MALFORMED),  # no length
        ("key", ANSWER + b"\x89\x04", codes.TOO_LARGE),  # 521, and 8 of them a tag
        ("key", ANSWER + frame(bytes(80)), codes.FORGED),
        ("key", NAMED + frame(bytes(80)), codes.FORGED),
        ("key", ANSWER + frame(b"\x04" * 7), codes.FORGED),  # less than a tag
        ("key", ANSWER + frame(b"\3\7no"), codes.TOKEN),  # a CLOSE in plain text
        ("key", ANSWER + frame(b"\3" + b"\x90" * 80), codes.FORGED),  # a record that begins like one
        ("key", frame(b"\3\x1ano"), codes.UNTRUSTED),
        ("key", frame(b"\3"), codes.MALFORMED),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_answer_of_who_knows_the_key(sort: str, came: bytes, code: int, step: int) -> None:
    leaf, connection = board(SORTS[sort]())
    for at in range(0, len(came), step):
        assert connection.state != codes.CLOSED
        connection.receive_data(came[at : at + step], START)
    assert ended(connection) == code
    assert leaf.link is None


FIRST = b"\2BSWY\2\3"


@pytest.mark.parametrize(
    ("sort", "came", "code"),
    [
        ("key", FIRST[:6] + b"\1" + bytes(48), codes.PATTERN),
        ("key", b"\2BSWY\3\3" + bytes(32), codes.PATTERN),
        ("key", FIRST + bytes(31), codes.MALFORMED),
        ("key", FIRST + b"\x80" + bytes(31), codes.TOKEN),  # the initiator's counts, and we do not have it
        ("token", FIRST + BOARD_ID + bytes(16), codes.TOKEN),
    ],
)
def test_what_a_board_does_not_answer(sort: str, came: bytes, code: int) -> None:
    """On packet links the router may be the one that begins."""
    channel = SORTS[sort]().channel(True, "default")
    channel.receive(frame(came))
    assert channel.refusal is not None
    assert channel.refusal.code == code
    assert channel.write(lambda size, now: b"CLOSE", 100, START) == b"CLOSE"


@pytest.mark.parametrize("named", [bytes(16), BOARD_ID])
def test_a_board_that_answers_waits_for_a_record_that_proves_the_other_side(named: bytes) -> None:
    board = board_secret().channel(True, "lab")
    other = Secret(Crypto(), Entropy(5), KEY).channel(True, "lab")
    other._mine = named + other._mine[16:]
    other.begin()
    board.receive(other.write(no_frames, 100, START))
    answer = board.write(no_frames, 100, START)
    other.receive(answer)
    assert (board.secured, board.ready) == (True, False)
    assert (other.secured, other.ready) == (True, True)
    other.say(b"hello")
    assert board.receive(other.write(no_frames, 100, START)) == b"hello"
    assert board.ready
    wrong = board_secret().channel(True, "lab")
    wrong.receive(frame(FIRST + bytes(32)))
    assert wrong.secured
    wrong.receive(frame(bytes(40)))
    assert wrong.refusal is not None
    assert wrong.refusal.code == codes.TOKEN


def no_frames(size: int, now: int) -> bytes:
    return b""


def test_a_router_without_the_key_says_so() -> None:
    net = KeyedNet(ours=guard(None))
    net.settle()
    code, text = net.ended()
    assert code == codes.TOKEN
    assert text.startswith("no key is known here for this board")
    assert net.said == []


def test_a_key_that_differs_ends_the_link() -> None:
    net = KeyedNet(ours=router_guard(bytes(32)))
    net.settle()
    assert net.ended()[0] == codes.TOKEN
    assert len(net.said) == 1
    assert not net.router.peers()


@pytest.mark.parametrize(("packets", "bus"), [(False, "lab"), (True, "default")])
def test_other_buses_and_other_sorts_of_link_have_other_keys(packets: bool, bus: str) -> None:
    board = board_secret().channel(False, "default")
    router = router_guard().channel(packets, bus)
    board.begin()
    router.receive(board.write(no_frames, 100, START))
    board.receive(router.write(no_frames, 100, START))
    assert (board.ready, router.secured, router.refusal) == (True, True, None)
    board.say(b"hello")
    assert router.receive(board.write(no_frames, 100, START)) == b""
    assert router.refusal is not None
    assert router.refusal.code == codes.TOKEN


def test_an_empty_record_is_none() -> None:
    net = KeyedNet()
    net.settle()
    net.cord.to_leaf += net.cord.other.channel._seal(b"")
    net.settle()
    assert net.ended()[0] == codes.MALFORMED


def test_a_record_is_no_longer_than_a_frame_may_be() -> None:
    net = KeyedNet()
    net.settle()
    assert net.cord.connection.frame_size_max == 256
    net.cord.to_leaf += b"\x88\x02"
    net.cord.move()
    assert net.cord.connection.state == codes.OPEN
    net.cord.to_leaf += bytes(264)
    net.settle()
    assert net.ended()[0] == codes.FORGED
    net = KeyedNet()
    net.settle()
    net.cord.to_leaf += b"\x89\x02"
    net.settle()
    assert net.ended()[0] == codes.TOO_LARGE


# Somebody who sees and changes every byte


SENT = [b"one", b"two" * 40, b"three", b"four"]


class Recording:
    """What a router said to the leaf, and what that took of it; the same for any leaf of `board()`."""

    def __init__(self) -> None:
        net = KeyedNet()
        net.leaf.register(E, codes.UNICAST)
        net.settle()
        for payload in SENT:
            net.router.send(E, payload, net.now)
            net.settle()
        self.records = [frame(body) for body in bodies(net.cord.got)]


def heard_by_a_leaf(pieces: list[bytes]) -> tuple[list[bytes], LeafConnection]:
    """The messages that a fresh leaf takes of these bytes."""
    net = KeyedNet()
    receiver = net.leaf.register(E, codes.UNICAST)
    connection = net.cord.connection
    for piece in pieces:
        connection.data_to_send(65536, net.now)
        connection.receive_data(piece, net.now)
    return [message.payload for message in net.taken(receiver)], connection


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording()


def test_what_was_recorded_is_heard(recording: Recording) -> None:
    assert heard_by_a_leaf(recording.records)[0] == SENT
    assert heard_by_a_leaf([b"".join(recording.records)])[0] == SENT


def changes(records: list[bytes], rng: random.Random) -> dict[str, list[bytes]]:
    """The ways to change a stream, each of which a reader has to see."""
    whole = b"".join(records)
    at = rng.randrange(len(whole))
    stop = at + rng.randint(1, 40)
    one, other = sorted(rng.sample(range(1, len(records)), 2))
    swapped = [*records]
    swapped[one], swapped[other] = swapped[other], swapped[one]
    flipped = whole[:at] + bytes((whole[at] ^ 1 << rng.randrange(8),)) + whole[at + 1 :]
    return {
        "flip": [flipped],
        "drop": [whole[:at] + whole[stop:]],
        "repeat": [whole[:stop] + whole[at:]],
        "insert": [whole[:at] + rng.randbytes(stop - at) + whole[at:]],
        "drop a record": records[:one] + records[one + 1 :],
        "repeat a record": records[:one] + records[one - 1 :],
        "swap": swapped,
        "splice": [*records[:one], *records[other:], *records[one:other]],
        "truncate": [whole[:at]],
    }


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("seed", range(40))
def test_no_changed_message_is_taken_and_the_link_ends(recording: Recording, seed: int) -> None:
    for how, pieces in changes(recording.records, random.Random(seed)).items():
        if b"".join(pieces) == b"".join(recording.records):
            continue  # two equal bytes were dropped, or the like
        heard, connection = heard_by_a_leaf(pieces)
        assert heard == SENT[: len(heard)], how
        if how == "truncate":
            connection.receive_eof(START)
            assert ended(connection) in (codes.LOST, codes.GOODBYE)
            continue
        connection.receive_data(bytes(600), START)  # for a length that was made larger
        assert ended(connection) != codes.GOODBYE, how


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("bit", range(8))
def test_every_byte_counts(recording: Recording, bit: int) -> None:
    whole = b"".join(recording.records)
    for at in range(bit, len(whole), 8):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << bit
        heard, connection = heard_by_a_leaf([bytes(flipped), bytes(600)])
        assert heard == SENT[: len(heard)], at
        assert heard != SENT, at
        ended(connection)


def test_a_replayed_session_says_nothing(recording: Recording) -> None:
    """The router's nonce is the same again, the leaf's is not."""
    leaf, connection = board(board_secret(seed=12))
    leaf.register(E, codes.UNICAST)
    connection.receive_data(b"".join(recording.records), START)
    assert ended(connection) == codes.FORGED


# Memory


class Short(Noting):
    """Has no memory for every second record; for HELLO it has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.used: list[bytes] = []

    def seal(self, key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
        self.calls += 1
        if not self.calls % 2:
            raise MemoryError
        self.used.append(nonce)
        return super().seal(key, nonce, ad, plaintext)


def test_without_memory_nothing_is_lost_and_no_number_is_used_twice() -> None:
    crypto = Short()
    net = KeyedNet(board_secret(crypto))
    far = net.router.register(F, codes.UNICAST)

    def settle() -> None:
        for _ in range(60):
            try:
                net.settle()
            except MemoryError:
                continue
            return

    settle()
    for number in range(5):
        net.leaf.send(F, b"%d" % number * 100, net.now)
        settle()
    assert [message.payload[:1] for message in net.drain(net.router, far)] == [b"0", b"1", b"2", b"3", b"4"]
    assert len(set(crypto.used)) == len(crypto.used) == len(bodies(net.cord.sent)[1:])


def test_the_golden_vectors() -> None:
    """The very program that tests/test_micropython.py runs on MicroPython."""
    assert boards.run(str(ROOT / "tests" / "vectors"), Crypto()) == 22
