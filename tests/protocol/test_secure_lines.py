"""What protects a packet link: both sides choose it by what each says in its SYN."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from busway.protocol import codes, events
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.packet.packets import VERSION_BITS
from busway.protocol.secure.channel import Channel, Handshake
from busway.protocol.secure.keyed import board_id
from busway.protocol.secure.lines import ABLE, WANTS, LineSecurity
from busway.protocol.secure.security import Security, node_id_of
from tests.rigs.tree import ROOT

from .board_crypto import Crypto
from .lines import Line, layer_of
from .pairs import START, Drawn, E, Entropy, guard
from .test_packets import syn
from .test_small_leaf_packets import PacketNet


def key_of(seed: int) -> tuple[tuple[bytes, bytes], bytes]:
    pair = Drawn(seed).keypair()
    return pair, node_id_of(Drawn(0), pair[1])


KEY, KEYED_ID = key_of(70)
OTHER_KEY, OTHER_ID = key_of(71)
BOARD_KEY = bytes(range(32))
VECTORS = json.loads((ROOT / "tests/vectors/packets.json").read_text())["choices"]
BOARD_ID = board_id(Drawn(0), BOARD_KEY)
NOBODY = (b"", b"")
COMPUTERS: dict[str, Any] = {"dialled": True}


def nodes(key: tuple[bytes, bytes] = NOBODY, token: str | None = None, **more: Any) -> Security:
    return guard(token, seed=key[1][0] if key[1] else 1, static=key, takes=(codes.XXPSK3,), **more)


def boards(token: str | None = None, **more: Any) -> Security:
    return guard(token, first=codes.PSK_AES, takes=(codes.PSK_AES,), **more)


def keyed(key: tuple[bytes, bytes], others: Security | None = None, **more: Any) -> LineSecurity:
    return LineSecurity(nodes(key, **more), others, True)


def plain() -> LineSecurity:
    """A computer that was given nothing."""
    return LineSecurity(nodes(), None, False)


def line(ours: Any, theirs: Any, **options: Any) -> Line:
    made = Line(own=({"security": ours}, {"security": theirs}), **{**COMPUTERS, **options})
    made.run(3000)
    return made


def pattern(made: Line, which: int) -> int:
    """Of the handshake on that side's open link; 0: it is plain."""
    connection = made.sides[which].connection
    assert connection.state == codes.OPEN
    if connection.channel is None:
        return codes.PLAIN
    assert isinstance(connection.channel, Channel)
    assert connection.channel.handshake is not None
    return connection.channel.handshake.pattern


def ends(made: Line) -> list[set[int]]:
    """The errors that links ended with at each side; behind each a new session begins on the line."""
    found = [{event.code for event in made.seen(which, events.LINK_CLOSED)} for which in (0, 1)]
    return [each - {codes.RESTARTED} for each in found]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_what_protects_a_link_follows_from_both_syn(vector: dict[str, Any]) -> None:
    board = boards("one")
    here = LineSecurity(nodes() if vector["here"] & ABLE else None, board, vector["here"] & WANTS > 0)
    assert here.offers in (vector["here"] & (ABLE | WANTS), 0)
    chosen = here.facing(vector["there"] & ~VERSION_BITS)
    assert chosen is not None
    assert (chosen is not board) == (vector["pattern"] == codes.XXPSK3)


@pytest.mark.parametrize("mtu", [0, 20])
@pytest.mark.parametrize("seed", range(4))
def test_two_with_keys_prove_them_to_each_other(seed: int, mtu: int) -> None:
    """Whichever begins: that one of two that dialled whose nonce is greater."""
    made = line(keyed(KEY), keyed(OTHER_KEY), ids=(KEYED_ID, OTHER_ID), seed=seed, mtu=mtu)
    assert [pattern(made, which) for which in (0, 1)] == [codes.XXPSK3] * 2
    proved = [getattr(side.connection.channel, "handshake").remote_id for side in made.sides]  # noqa: B009
    assert proved == [OTHER_ID, KEYED_ID]
    receiver = made.b.register(E, codes.UNICAST)
    made.run(500)
    made.a.send(E, b"secret", made.now)
    made.run(1500)
    assert [message.payload for message in made.drain(1, receiver)] == [b"secret"]
    assert ends(made) == [set(), set()]


def test_both_begin_in_turn() -> None:
    """Else the cases above show one order only."""
    begun = set()
    for seed in range(4):
        made = line(keyed(KEY), keyed(OTHER_KEY), ids=(KEYED_ID, OTHER_ID), seed=seed)
        begun.add(layer_of(made.sides[0].connection).initiates)
    assert begun == {True, False}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (plain, codes.XXPSK3),  # a computer without a key: one for the moment
        (lambda: None, codes.PLAIN),  # what knows of no protection: a board
        (lambda: LineSecurity(None, None, False), codes.PLAIN),  # a computer that has no means for it
    ],
)
def test_one_with_a_key_meets_who_has_none(theirs: Callable[[], Any], expected: int, seed: int) -> None:
    made = line(keyed(KEY), theirs(), ids=(b"a" * 16, b"b" * 16), seed=seed)
    assert [pattern(made, which) for which in (0, 1)] == [expected] * 2
    assert ends(made) == [set(), set()]


def test_two_that_were_given_nothing_stay_plain() -> None:
    made = line(plain(), plain())
    assert [pattern(made, which) for which in (0, 1)] == [codes.PLAIN] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("seed", range(2))
def test_the_token_counts_between_two_with_keys(seed: int) -> None:
    made = line(keyed(KEY, token="one"), keyed(OTHER_KEY, token="one"), seed=seed)
    assert [pattern(made, which) for which in (0, 1)] == [codes.XXPSK3] * 2
    for theirs in (keyed(OTHER_KEY, token="two"), keyed(OTHER_KEY), plain()):
        assert ends(line(keyed(KEY, token="one"), theirs, seed=seed)) == [{codes.TOKEN}] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("seed", range(2))
def test_trust_is_asked_about_keys(seed: int) -> None:
    def admit(handshake: Handshake | None) -> int:
        assert handshake is not None
        return codes.ROLE_ROUTER if handshake.remote_id == KEYED_ID else codes.ROLE_NONE

    def trusting() -> LineSecurity:
        return LineSecurity(nodes(OTHER_KEY, admit=admit), None, True, codes.ROLE_LEAF)

    made = line(keyed(KEY), trusting(), ids=(KEYED_ID, OTHER_ID), seed=seed)
    assert [pattern(made, which) for which in (0, 1)] == [codes.XXPSK3] * 2
    assert ends(line(plain(), trusting(), seed=seed)) == [{codes.UNTRUSTED}] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize(("leaf", "code"), [(True, None), (False, codes.NOT_A_ROUTER)])
def test_who_proves_nothing_to_one_that_trusts_comes_as_a_leaf(leaf: bool, code: int | None) -> None:
    """Else whoever hides that it can shake hands would be a router."""
    trusting = LineSecurity(nodes(), None, True, codes.ROLE_LEAF)
    made = line(None, trusting, leaf=leaf)
    assert ends(made)[0] == (set() if code is None else {code})


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_what_says_that_it_can_and_does_not_is_refused() -> None:
    """As one whose SYN somebody has changed on the way."""
    liar = LineSecurity(None, None, False)
    liar.offers = ABLE | WANTS
    assert ends(line(keyed(KEY), liar)) == [{codes.TOKEN}] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("ours", ["the board's key", "a token", "nothing"])
@pytest.mark.parametrize("dials", [True, False])
def test_boards_come_to_one_with_a_key_as_ever(ours: str, dials: bool) -> None:
    secret = {
        "the board's key": Secret(Crypto(), Entropy(2), BOARD_KEY),
        "a token": Secret(Crypto(), Entropy(2), b"", b"one"),
        "nothing": None,
    }[ours]
    others = {
        "the board's key": boards(board_key={BOARD_ID: BOARD_KEY}.get),
        "a token": boards("one"),
        "nothing": None,
    }[ours]
    net = PacketNet()
    net.cord.cut()
    net.leaf = Leaf(BOARD_ID if ours == "the board's key" else b"x" * 16, entropy=Entropy(4))
    leaf_options = {"dialled": dials, "security": secret}
    options: dict[str, Any] = {"dialled": True, "security": keyed(KEY, others), "sort": "packet", "window": 8}
    net.cord = net.plug(net.leaf, net.router, leaf_options=leaf_options, **options)
    net.run(3000)
    assert net.cord.connection.state == net.cord.other.state == codes.OPEN


def test_a_peer_that_says_something_else_is_met_in_another_session() -> None:
    """Before it was heard: what protects the link has been chosen for another."""
    first = Line(mtu=64, own=({"security": keyed(KEY)}, {})).sides[0].connection
    mine = layer_of(first)._nonce
    first.receive_data(syn(b"\x01\x01\x01\x01", mine, mtu=64, said=ABLE), START)
    assert isinstance(first.channel, Channel)
    first.receive_data(syn(b"\x01\x01\x01\x02", mine, mtu=64), START)
    assert first.close_code == codes.RESTARTED


def test_a_reset_side_brings_new_keys_or_none() -> None:
    made = line(keyed(KEY), keyed(OTHER_KEY))
    for security, expected in ((None, codes.PLAIN), (plain(), codes.XXPSK3)):
        made.sides[1].options["security"] = security
        made.reset(1)
        made.run(3000)
        assert [pattern(made, which) for which in (0, 1)] == [expected] * 2
    assert ends(made) == [set(), set()]
