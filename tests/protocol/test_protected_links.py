"""Protected links: what both sides hear of each other, and what strangers hear."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Connection, Link, Node, codes, events
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.secure.channel import Channel, Handshake
from busway.protocol.secure.cipher import AesState
from busway.protocol.secure.keyed import board_id
from busway.protocol.secure.security import Security, node_id_of
from busway.protocol.wire.control import write_close

from .board_crypto import Crypto
from .leaves import LeafNet
from .lines import Line, layer_of
from .pairs import AES, START, Drawn, E, Entropy, F, Net, Pair, bodies, guard
from .streams import NOW, Listener
from .test_packet_connection import opened as opened_line
from .test_packets import syn
from .test_small_leaf_packets import PacketNet

LOCALNET = codes.LOCALNET
PATTERNS = {
    "XXpsk3": codes.XXPSK3,
    "NNpsk0": codes.NNPSK0,
    "PSK-AES": codes.PSK_AES,
    "XXpsk3, AES": codes.XXPSK3 | AES,
    "NNpsk0, AES": codes.NNPSK0 | AES,
}
OPEN_TO_ALL: dict[str, Any] = {"token": None, "takes": (codes.PLAIN, codes.XXPSK3)}


def protected(pattern: int = codes.XXPSK3, **options: Any) -> Pair:
    """Two nodes that have a token."""
    options = {
        "a_options": {"security": guard(first=pattern)},
        "b_options": {"security": guard(seed=9)},
        **options,
    }
    return Pair(realm=LOCALNET, **options)


def unlike(ours: Security | None, theirs: Security | None, **options: Any) -> Pair:
    """Two nodes of which each has its own idea of the link, and what became of it."""
    pair = Pair(
        opened=False,
        realm=LOCALNET,
        a_options={"security": ours},
        b_options={"security": theirs},
        **options,
    )
    pair.pump()
    return pair


def refused(pair: Pair) -> tuple[int, int, bool]:
    """The error that both sides have of the link, and whether it was the dialler that refused."""
    (here,) = pair.closings(pair.ca)
    (there,) = pair.closings(pair.cb)
    assert here.code == there.code
    assert here.by_peer != there.by_peer
    assert here.text == there.text
    return here.code, len(here.text), there.by_peer


# What both sides hear


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_messages_of_all_sizes_arrive_over_a_protected_link(pattern: int, split: int) -> None:
    pair = protected(pattern, opened=False)
    pair.pump(split=split)
    assert pair.ca.state == pair.cb.state == codes.OPEN
    receivers = [node.register(E, codes.ANYCAST) for node in (pair.a, pair.b)]
    pair.pump(split=split)
    sent = [b"%d" % size + bytes(size) for size in (0, 1, 100, 5000, 200_000 if not split else 9000)]
    for payload in sent:
        pair.a.send(E, payload, pair.now, node_id=pair.b.node_id)
        pair.b.send(E, payload, pair.now, node_id=pair.a.node_id)
    pair.pump(777, split)
    for node, receiver in zip((pair.a, pair.b), receivers, strict=True):
        assert [message.payload for message in pair.drain(node, receiver)] == sent
    pair.ca.close(pair.now)
    pair.pump(split=split)
    assert refused(pair) == (codes.GOODBYE, 0, True)
    assert pair.ca.done
    assert pair.cb.done


def test_dialler_reads_two_round_trips_after_it_began() -> None:
    """Pattern 1; and its HELLO goes with the last message of the handshake."""
    pair = protected(opened=False)
    written = []
    for here, there in ((pair.ca, pair.cb), (pair.cb, pair.ca), (pair.ca, pair.cb), (pair.cb, pair.ca)):
        data = here.data_to_send(4096, pair.now)
        written.append(len(data))
        there.receive_data(data, pair.now)
    assert pair.ca.state == pair.cb.state == codes.OPEN
    assert written[:2] == [56, 98]
    assert written[2] > 66


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_nothing_that_is_said_can_be_read_on_the_wire(pattern: int) -> None:
    """Not the token, who is there, the bus, nor what is sent."""
    pair = protected(pattern, a_node={"label": "a's label"}, b_node={"label": "b's label"})
    receiver = pair.b.register(E, codes.UNICAST, name="lab/secret")
    pair.pump()
    pair.a.send(E, b"a message", pair.now)
    pair.pump()
    assert len(pair.drain(pair.b, receiver)) == 1
    for end in pair.cable.ends:
        for word in (b"default", b"label", b"aaaa", b"bbbb", b"lab/secret", b"a message", E):
            assert word not in end.sent


def test_small_frames_share_a_record() -> None:
    """100 messages of 32 bytes cost 18 to 20 bytes more than on a plain link, not 100 times that."""
    sizes = []
    for pair in (Pair(realm=LOCALNET), protected()):
        pair.b.register(E, codes.UNICAST)
        pair.pump()
        before = len(pair.cable.ends[0].sent)
        for number in range(4):
            pair.a.send(E, bytes((number,)) * 32, pair.now)
        pair.pump()
        sizes.append(len(pair.cable.ends[0].sent) - before)
    assert 17 <= sizes[1] - sizes[0] <= 20


def test_a_link_that_is_plain_has_no_channel_and_says_hello_at_once() -> None:
    pair = Pair(opened=False)
    assert pair.ca.channel is pair.cb.channel is None
    assert pair.cb.data_to_send(600, pair.now)[1] == codes.HELLO


def test_each_state_is_told_and_the_handshake_has_five_seconds() -> None:
    pair = protected(opened=False)
    pair.advance(5000, pump=False)
    assert [event.code for event in pair.closings(pair.cb)] == [codes.HELLO_TIMEOUT]


def test_end_of_the_connection_is_no_goodbye_unless_that_was_protected() -> None:
    pair = protected()
    goodbye = write_close(codes.GOODBYE, "never mind")
    pair.note(pair.b, pair.cb.receive_data(goodbye, pair.now))
    (closed,) = pair.closings(pair.cb)
    assert (closed.code, closed.by_peer) == (codes.MALFORMED, False)
    pair = protected()
    pair.cable.cut()
    assert [event.code for event in pair.closings(pair.cb)] == [codes.LOST]


def test_sleep_and_what_ends_it_over_a_protected_link() -> None:
    pair = protected()
    pair.ca.sleep(5000, pair.now)
    pair.pump()
    assert pair.cb.asleep_until == pair.now + 5000
    pair.ca.close(pair.now)
    pair.pump()
    assert pair.cb.state == codes.CLOSED


def test_what_comes_while_another_link_is_read_to_its_end_keeps_its_order() -> None:
    """The younger of two links over one address waits for the older, whose last messages come first."""
    pair = protected()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.cable.block(pair.a)
    for number in range(3):
        pair.a.send(E, b"old %d" % number, pair.now)
    second = pair.link(
        pair.a,
        pair.b,
        realm=LOCALNET,
        a_options={"security": guard(seed=20)},
        b_options={"security": guard(seed=30)},
    )
    pair.pump()
    assert second.b.waits_for is pair.cb or second.a.state == codes.OPEN
    pair.a.send(E, b"new", pair.now)
    pair.pump()
    pair.cable.block(pair.a, False)
    pair.pump()
    pair.advance(3000)
    got = [message.payload for message in pair.drain(pair.b, receiver)]
    assert got == [b"old 0", b"old 1", b"old 2", b"new"]


# Who is refused, and what both sides hear of it


def test_wrong_token_is_refused_by_who_was_dialled() -> None:
    code, _, by_dialler = refused(unlike(guard("right"), guard("wrong")))
    assert (code, by_dialler) == (codes.TOKEN, False)


@pytest.mark.parametrize(
    ("ours", "theirs", "code"),
    [
        (guard("t"), guard(None), codes.TOKEN),
        (guard(None), guard("t"), codes.TOKEN),
        (None, guard("t"), codes.TOKEN),
        (guard("t", first=codes.NNPSK0), guard("u"), codes.TOKEN),
        (guard("t", first=codes.NNPSK0), guard(None), codes.PATTERN),
        (guard("t", first=codes.PSK_AES), guard("u"), codes.TOKEN),
        (guard("t", first=codes.PSK_AES), guard("t", takes=(codes.XXPSK3,)), codes.PATTERN),
    ],
)
def test_who_differs_hears_why(ours: Security | None, theirs: Security | None, code: int) -> None:
    """One sentence, at both ends, whichever of them found out."""
    found, size, _ = refused(unlike(ours, theirs))
    assert found == code
    assert size > 20


def test_where_one_side_is_plain_the_sentence_says_so() -> None:
    for ours, theirs in ((guard("t"), None), (None, guard("t"))):
        pair = unlike(ours, theirs)
        assert pair.ca.close_code == pair.cb.close_code == codes.TOKEN
        for text in (pair.ca.close_text, pair.cb.close_text):
            assert "give both sides the same token" in text or "this side has none: give it" in text


def test_another_bus_is_refused_by_its_name() -> None:
    pair = unlike(guard(), guard(), b_node={"bus": "other"})
    assert refused(pair)[0] == codes.BUS_NAME
    assert "'other'" in pair.ca.close_text


def test_another_version_is_refused_by_its_number() -> None:
    pair = protected(opened=False)
    first = bytearray(pair.ca.data_to_send(600, pair.now))
    first[6] = 3
    pair.note(pair.b, pair.cb.receive_data(bytes(first), pair.now))
    (closed,) = pair.closings(pair.cb)
    assert closed.code == codes.BAD_VERSION
    assert "this side speaks protocol version 2, the other 3" in closed.text
    pair.note(pair.a, pair.ca.receive_data(pair.cb.data_to_send(600, pair.now), pair.now))
    assert [event.code for event in pair.closings(pair.ca)] == [codes.BAD_VERSION]


# Open to all


def test_listener_that_is_open_takes_who_protects_and_who_cannot() -> None:
    for ours in (guard(None), None):
        pair = unlike(ours, guard(**OPEN_TO_ALL))
        assert pair.ca.state == pair.cb.state == codes.OPEN
        assert (pair.cb.channel is None) == (ours is None)
        receiver = pair.b.register(E, codes.UNICAST)
        pair.pump()
        pair.a.send(E, b"text", pair.now)
        pair.pump()
        assert len(pair.drain(pair.b, receiver)) == 1


def test_listener_that_is_open_says_nothing_before_it_is_spoken_to() -> None:
    pair = unlike(None, guard(**OPEN_TO_ALL))
    hello = bytes(pair.cable.ends[1].sent)
    assert bodies(hello)[0][0] == codes.HELLO
    listener = Listener(security=guard(**OPEN_TO_ALL))
    assert listener.connection.data_to_send(4096, NOW) == b""


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(True, True), (True, False), (False, True)],
)
@pytest.mark.parametrize("first", [codes.XXPSK3, codes.NNPSK0])
def test_aes_is_taken_up_where_it_is_quick_at_both_sides(first: int, ours: bool, theirs: bool) -> None:
    """For all records behind both HELLO."""
    sides = guard(first=first, quick_aes=ours), guard(seed=9, quick_aes=theirs)
    pair = unlike(*sides)
    for connection in (pair.ca, pair.cb):
        assert connection.state == codes.OPEN
        channel = connection.channel
        assert channel is not None
        for state in (channel._sender, channel._receiver):
            assert (type(state) is AesState) == (ours and theirs)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("leaf", [False, True])
def test_where_only_leaves_may_come_a_router_is_refused(plain: bool, leaf: bool) -> None:
    theirs = guard(**OPEN_TO_ALL, admit=lambda handshake: codes.ROLE_LEAF)
    pair = unlike(None if plain else guard(None), theirs, a_node={"leaf": leaf})
    if leaf:
        assert pair.cb.state == codes.OPEN
        return
    code, _, by_dialler = refused(pair)
    assert (code, by_dialler) == (codes.NOT_A_ROUTER, False)
    assert "routers=True" in pair.ca.close_text


# Row 1: somebody in the middle of two that listen, or two that dial


@pytest.mark.parametrize(
    "security", [None, guard(), guard(None), guard(**OPEN_TO_ALL)], ids=["plain", "token", "keys", "open"]
)
@pytest.mark.parametrize("dialled", [False, True])
def test_man_in_the_middle_of_two_that_listen_or_dial_joins_nobody(
    security: Security | None, dialled: bool
) -> None:
    """He passes on whatever either says."""
    net = Net()
    ends = [
        net.node(letter).connection(Link(LOCALNET, dialled, via="x" * dialled, security=security), net.now)
        for letter in "ab"
    ]
    for _ in range(6):
        for here, there in (ends, ends[::-1]):
            data = here.data_to_send(4096, net.now)
            if data:
                there.receive_data(data, net.now)
    assert all(not node.peers() for node in net.nodes)
    assert all(end.opened_at < 0 for end in ends)
    if security is None:
        assert [end.close_code for end in ends] == [codes.SAME_ROLE] * 2
    elif not dialled:
        assert [end.bytes_out for end in ends] == [0, 0]


def test_hello_with_our_own_role_is_refused() -> None:
    net = Net()
    ends = [net.node(letter).connection(Link(), net.now) for letter in "ab"]
    ends[0].receive_data(ends[1].data_to_send(4096, net.now), net.now)
    assert ends[0].close_code == codes.SAME_ROLE
    assert "were dialled" in ends[0].close_text


# Row 13: what a stranger hears


def test_stranger_hears_nothing_but_a_key_exchange() -> None:
    """He who dials writes first; what is written to him before he has proved himself is noise to him."""
    for security in (guard(), guard(**OPEN_TO_ALL)):
        listener = Listener(security=security)
        connection = listener.connection
        assert connection.data_to_send(4096, NOW) == b""
        stranger = guard("another").channel(False, "default")
        stranger.begin()
        listener.feed([stranger.out])
        answer = connection.data_to_send(4096, NOW)
        assert len(answer) == 98
        assert connection.data_to_send(4096, NOW) == b""
        stranger.out = b""
        stranger.receive(answer)
        listener.feed([stranger.out])
        assert connection.close_code == codes.TOKEN
        (goodbye,) = bodies(connection.data_to_send(4096, NOW))
        assert goodbye[0] == codes.CLOSE
        for word in (b"default", b"B", b"b" * 16):
            assert word not in answer + (goodbye if word != b"B" else b"")


def test_board_of_a_stranger_hears_nothing_before_its_first_record() -> None:
    listener = Listener(security=guard())
    stranger = guard("another", first=codes.PSK_AES).channel(False, "default")
    stranger.begin()
    listener.feed([stranger.out])
    answer = listener.connection.data_to_send(4096, NOW)
    assert len(answer) == 34
    stranger.out = b""
    stranger.receive(answer)
    assert listener.connection.data_to_send(4096, NOW) == b""
    stranger.say(b"\x01" * 40)
    listener.feed([stranger.out])
    assert listener.connection.close_code == codes.TOKEN


# Ids and keys


def key_of(seed: int) -> tuple[tuple[bytes, bytes], bytes]:
    """An X25519 key, and the id that it gives its node."""
    keys = Drawn(seed)
    pair = keys.keypair()
    return pair, node_id_of(keys, pair[1])


def meeting(node_id: bytes, *, leaf: bool = False, realm: int = LOCALNET, **options: Any) -> Connection:
    """The listener's end of a link that a node with that id has dialled."""
    net = Net()
    a = Node(node_id, entropy=Entropy(1))
    b = net.node("b", leaf=leaf)
    net.nodes.append(a)
    cable = net.link(a, b, realm=realm, **options)
    net.pump()
    return cable.b


KEY, KEYED_ID = key_of(70)
OTHER_KEY, OTHER_ID = key_of(71)


def with_key(key: tuple[bytes, bytes], pattern: int = codes.XXPSK3) -> dict[str, Any]:
    return {
        "a_options": {"security": guard(static=key, first=pattern)},
        "b_options": {"security": guard(seed=9)},
    }


def test_id_of_a_key_is_let_in_with_that_key_only() -> None:
    assert KEYED_ID[0] & codes.BOUND
    assert meeting(KEYED_ID, **with_key(KEY)).state == codes.OPEN
    refused = meeting(KEYED_ID, **with_key(OTHER_KEY))
    assert refused.close_code == codes.IDENTITY
    assert meeting(KEYED_ID, **with_key(KEY, codes.NNPSK0)).close_code == codes.IDENTITY
    assert meeting(KEYED_ID, **with_key(KEY, codes.PSK_AES)).close_code == codes.IDENTITY
    assert meeting(KEYED_ID).close_code == codes.IDENTITY  # over a plain link
    assert meeting(b"a" * 16, **with_key(KEY)).state == codes.OPEN


def test_on_this_machine_any_id_is_let_in_and_a_leaf_takes_what_its_router_has() -> None:
    assert meeting(KEYED_ID, realm=codes.USERSPACE).state == codes.OPEN
    assert meeting(KEYED_ID, leaf=True).state == codes.OPEN


def test_where_the_system_says_who_it_is_any_id_is_let_in() -> None:
    """As between two programs in memory, whatever the link's realm."""
    assert meeting(KEYED_ID, b_options={"any_id": True}).state == codes.OPEN
    assert meeting(KEYED_ID, a_options={"any_id": True}).close_code == codes.IDENTITY  # its own affair


BOARD_KEY = bytes(range(32))
BOARD_ID = board_id(Drawn(0), BOARD_KEY)


@pytest.mark.parametrize(
    ("node_id", "code"), [(BOARD_ID, -1), (b"a" * 16, codes.IDENTITY), (KEYED_ID, codes.IDENTITY)]
)
def test_board_has_the_id_of_its_key(node_id: bytes, code: int) -> None:
    keys = {BOARD_ID: BOARD_KEY}
    options: dict[str, Any] = {
        "a_options": {"security": Secret(Crypto(), Entropy(2), BOARD_KEY)},
        "b_options": {"security": guard(None, board_key=keys.get)},
    }
    net = LeafNet("m")
    net.cord.cut()
    net.leaf = Leaf(node_id, entropy=Entropy(4))
    cord = net.plug(net.leaf, net.router, leaf_options=options["a_options"], **options["b_options"])
    net.settle()
    assert cord.other.close_code == code
    assert (cord.other.state == codes.OPEN) == (code < 0)


@pytest.mark.parametrize("sort", ["stream", "packet"])
@pytest.mark.parametrize("dials", [True, False])
def test_leaf_begins_the_handshake_if_it_dialled_and_answers_if_not(sort: str, dials: bool) -> None:
    net = PacketNet()
    net.cord.cut()
    net.leaf = Leaf(BOARD_ID, entropy=Entropy(4))
    ours = {"dialled": dials, "security": Secret(Crypto(), Entropy(2), BOARD_KEY)}
    theirs = guard(None, first=codes.PSK_AES, board_key={BOARD_ID: BOARD_KEY}.get)
    options: dict[str, Any] = {"dialled": not dials, "security": theirs, "sort": sort, "window": 8}
    net.cord = net.plug(net.leaf, net.router, leaf_options=ours, **options)
    net.run(3000)
    assert net.cord.connection.state == net.cord.other.state == codes.OPEN
    receiver = net.router.register(E, codes.UNICAST)
    net.leaf.send(E, b"secret", net.now)
    net.run(1000)
    assert [message.payload for message in net.drain(net.router, receiver)] == [b"secret"]


def test_who_decides_about_keys_sees_the_key_and_the_hash_and_both_sides_hear_no() -> None:
    seen: list[tuple[bytes, bytes, bytes, int]] = []

    def admit(handshake: Handshake | None) -> int:
        assert handshake is not None
        seen.append((handshake.remote_key, handshake.remote_id, handshake.hash, handshake.pattern))
        return codes.ROLE_NONE

    ours: list[bytes] = []

    def trust(handshake: Handshake | None) -> int:
        assert handshake is not None
        ours.append(handshake.hash)
        return codes.ROLE_ROUTER

    pair = unlike(guard(static=KEY, admit=trust), guard(admit=admit))
    assert refused(pair)[0] == codes.UNTRUSTED
    assert "not trusted here" in pair.ca.close_text
    assert seen == [(KEY[1], KEYED_ID, ours[0], codes.XXPSK3)]
    pair = unlike(guard(static=KEY, admit=admit), guard(admit=trust))
    assert refused(pair)[0] == codes.UNTRUSTED
    assert ours[-1] == seen[-1][2]


# Over packets


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize(
    "options",
    [{}, {"ber": 1e-4, "burst": 1e-3}, {"mtu": 20, "loss": 0.1, "double": 0.05, "late": 0.1}],
    ids=str,
)
def test_messages_arrive_over_lines_that_lose(pattern: int, options: dict[str, Any]) -> None:
    line = opened_line(seed=5, security=guard(first=pattern), **options)
    receiver = line.b.register(E, codes.UNICAST)
    line.run(800)
    for number in range(20):
        line.a.send(E, b"%064d" % number, line.now)
    got: list[bytes] = []
    for _ in range(400):
        line.run(50)
        got += [message.payload for message in line.drain(1, receiver)]
        if len(got) == 20:
            break
    assert got == [b"%064d" % number for number in range(20)]
    assert [side.connection.close_code for side in line.sides] == [-1, -1]


@pytest.mark.parametrize("dialled", [None, False, True])
def test_who_dialled_begins_else_the_greater_nonce(dialled: bool | None) -> None:
    """On a line both sides may dial, or neither."""
    for seed in range(4):
        options: dict[str, Any] = {} if dialled is None else {"dialled": dialled}
        line = Line(seed=seed, mtu=64, security=guard(first=codes.PSK_AES), **options)
        line.run(400)
        layers = [layer_of(side.connection) for side in line.sides]
        assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
        assert layers[0].initiates != layers[1].initiates
        if dialled is None:
            assert layers[0].initiates
        else:
            assert layers[0].initiates == (layers[0]._nonce > layers[1]._nonce)


def test_best_effort_messages_go_in_the_stream_and_none_is_taken_outside_it() -> None:
    line = opened_line(security=guard(first=codes.PSK_AES))
    receiver = line.b.register(F, codes.BROADCAST)
    line.run(400)
    for number in range(5):
        line.a.publish(F, b"reading %d" % number, line.now, best_effort=True)
        line.run(200)
    assert [message.payload for message in line.drain(1, receiver)] == [b"reading %d" % n for n in range(5)]
    there = line.sides[1].connection
    before = there.skipped_frames
    layer = layer_of(line.sides[0].connection)
    layer.offer(b"\x90\x00\x01" + F + b"\x00\x09forged")
    line.sides[0].connection.touch()
    line.run(200)
    assert there.skipped_frames == before + 1
    assert line.drain(1, receiver) == []


def test_peer_in_another_role_is_met_in_another_session() -> None:
    """A board that was reset before it was heard, and now has the greater nonce."""
    first = Line(mtu=64, dialled=False, security=guard(first=codes.PSK_AES)).sides[0].connection
    layer = layer_of(first)
    mine = layer._nonce
    first.receive_data(syn(b"\x01\x01\x01\x01", mine, mtu=64), START)
    assert layer.initiates
    while first.data_to_send(64, START):
        pass
    first.receive_data(syn(b"\xff\xff\xff\xff", mine, mtu=64), START)
    assert first.close_code == codes.RESTARTED


def test_link_over_packets_that_waits_for_its_peer_does_so_for_ever() -> None:
    line = Line(security=guard(first=codes.PSK_AES))
    line.sides[1].deaf = line.sides[0].deaf = True
    line.run(20_000)
    assert [side.connection.state for side in line.sides] == [codes.SECURING] * 2
    line.sides[1].deaf = line.sides[0].deaf = False
    line.run(2500)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2


def test_reset_of_one_side_brings_new_keys() -> None:
    line = opened_line(security=guard(first=codes.PSK_AES))
    hashes = set()
    for which in (1, 0):
        line.reset(which)
        line.run(3000)
        assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
        channel = line.sides[0].connection.channel
        assert isinstance(channel, Channel)
        assert channel.handshake is not None
        hashes.add(channel.handshake.hash)
    assert len(hashes) == 2
    assert line.seen(0, events.LINK_CLOSED)
