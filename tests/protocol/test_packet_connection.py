"""Nodes over links that lose packets: sessions, resets, sleep, logs."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Link, LocalError, Node, codes, events
from busway.protocol.packet import cobs
from busway.protocol.packet.packets import SYN
from busway.protocol.wire.fields import frame
from tests.protocol.lines import Line, layer_of
from tests.protocol.pairs import START, E, Entropy, F, Pair
from tests.protocol.test_packets import syn

LINES: list[dict[str, Any]] = [
    {},
    {"baud": 9600, "ber": 1e-4},
    {"ber": 1e-4, "burst": 1e-3},
    {"mtu": 20, "loss": 0.1, "double": 0.05, "late": 0.1},
    {"mtu": 185, "loss": 0.2},
]


def opened(**options: Any) -> Line:
    line = Line(**options)
    for _ in range(80):
        line.run(100)
        if [side.connection.synced for side in line.sides] == [True] * 2:
            break
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
    return line


def closings(line: Line, which: int) -> list[int]:
    return [event.code for event in line.seen(which, events.LINK_CLOSED)]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("options", LINES, ids=str)
def test_messages_arrive_whole_once_and_in_order(options: dict[str, Any]) -> None:
    line = opened(seed=5, **options)
    receiver = line.b.register(E, codes.UNICAST)
    line.run(800)
    tokens = [line.a.send(E, b"%064d" % number, line.now, confirm=True) for number in range(40)]
    large = line.a.send(E, bytes(4096), line.now, confirm=True, timeout_ms=60_000)
    got = []
    for _ in range(600):
        line.run(50)
        got += [message.payload for message in line.drain(1, receiver)]
        if len(got) == 41:
            break
    assert got == [*(b"%064d" % number for number in range(40)), bytes(4096)]
    line.run(1500)
    verdicts = {event.token: event.status for event in line.seen(0, events.OUTCOME)}
    assert verdicts == dict.fromkeys([*tokens, large], events.TAKEN)
    assert closings(line, 0) == closings(line, 1) == []


@pytest.mark.parametrize("options", [{}, {"mtu": 20, "loss": 0.1}, {"ber": 1e-4, "baud": 9600}], ids=str)
@pytest.mark.parametrize("leaf", [False, True])
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_reset_is_noticed_at_once(options: dict[str, Any], leaf: bool) -> None:
    line = opened(seed=2, leaf=leaf, **options)
    for which in (1, 0, 0, 1):
        gone = line.sides[1 - which].connection
        line.reset(which)
        line.run(3000)
        assert gone.close_code == codes.RESTARTED
        assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
    assert set(closings(line, 0)) == {codes.RESTARTED}
    assert set(closings(line, 1)) == {codes.RESTARTED}


def test_a_link_waits_for_its_peer_for_ever() -> None:
    line = Line()
    line.sides[1].deaf = line.sides[0].deaf = True
    line.run(20_000)
    assert line.sides[0].connection.state == codes.GREETING
    assert line.sides[0].connection.waits_for_peer
    assert line.a.origin.syncing == 0  # nobody waits for what a board that is not there may have
    line.sides[1].deaf = line.sides[0].deaf = False
    line.run(2500)
    assert line.sides[0].connection.state == codes.OPEN


def test_from_the_first_contact_on_hello_is_waited_for() -> None:
    line = Line()
    connection = line.sides[0].connection
    nonce = b"cccc"
    sent = connection.data_to_send(1000, line.now)
    assert sent[2] == SYN
    mine = sent[4:8]
    assert connection.receive_data(b"\0" + cobs.encode(syn(nonce, mine, mtu=134)) + b"\0", line.now) == []
    assert not connection.waits_for_peer
    line.now += codes.HELLO_TIMEOUT_MS
    happened = line.a.handle_timer(line.now)
    assert [event.kind for event in happened] == [events.LINK_CLOSED]
    assert connection.close_code == codes.HELLO_TIMEOUT
    assert not connection.done  # the goodbye is still to be acknowledged
    connection.data_to_send(1000, line.now)
    line.now += codes.LINGER_MS
    line.a.handle_timer(line.now)
    assert connection.done


def test_another_version_of_packets_is_refused() -> None:
    line = Line(mtu=20)
    connection = line.sides[0].connection
    connection.receive_data(syn(b"cccc", version=2), line.now)
    assert connection.close_code == codes.BAD_VERSION
    assert "version 2" in connection.close_text
    assert connection.done


@pytest.mark.parametrize("options", [{}, {"mtu": 20, "loss": 0.2}], ids=str)
def test_goodbye(options: dict[str, Any]) -> None:
    line = opened(seed=9, **options)
    first, second = (side.connection for side in line.sides)
    line.a.close(line.now)
    told = [first.done]
    for _ in range(4000):
        line.run(1)
        if first.done:
            break
    line.run(1500)
    assert first.close_code == second.close_code == codes.GOODBYE
    assert [*told, first.done, second.done] == [False, True, True]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_silence_ends_the_link_and_the_next_one_finds_the_peer_anew() -> None:
    line = opened()
    assert line.sides[0].connection.keepalive_ms == 5000
    for side in line.sides:
        side.deaf = True
    line.run(25_000)
    assert closings(line, 0) == closings(line, 1) == [codes.SILENT]
    for side in line.sides:
        side.deaf = False
        side.connect(line.now)
    line.run(3000)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_one_side_gives_up_alone() -> None:
    """The other one learns it when the next session begins."""
    line = opened()
    line.sides[0].deaf = True
    line.run(30_000)
    line.sides[0].deaf = False
    line.run(5000)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
    line.run(20_000)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_an_idle_link_lives_and_says_little() -> None:
    line = opened()
    before = line.sides[0].connection.bytes_out + line.sides[1].connection.bytes_out
    line.run(60_000)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
    assert line.sides[0].connection.bytes_out + line.sides[1].connection.bytes_out - before < 1000


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_noise_is_no_sign_of_life() -> None:
    line = opened()
    first = line.sides[0]
    line.sides[0].deaf = line.sides[1].deaf = True
    for _ in range(260):
        line.run(100)
        first.events += first.connection.receive_data(b"\x01\x02noise\0", line.now)
    assert closings(line, 0) == [codes.SILENT]


def test_an_old_or_forged_beginning_does_not_shut_the_peer_out() -> None:
    line = Line()
    first, second = (layer_of(side.connection) for side in line.sides)
    assert first is not None
    assert second is not None
    for nonce in (second._nonce, b"old1", b"old2", second._nonce, b"old3", b"old1"):
        first.receive(b"\0" + cobs.encode(syn(nonce)) + b"\0", line.now)
    assert second._nonce in first._former
    line.run(3000)
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2


# Logs


def test_logs_and_what_a_board_prints() -> None:
    line = opened()
    first, second = line.sides
    second.connection.log(b"pump started\n")
    line.run(50)
    second.wire += b"Traceback (most recent call last):\n"
    line.run(250)
    first.events += first.connection.receive_data(b">>> ", line.now)
    line.run(200)
    found = line.seen(0, events.LOG)
    assert [event.text for event in found] == [
        b"pump started\n",
        b"Traceback (most recent call last):\n",
        b">>> ",
    ]
    assert {event.connection for event in found} == {first.connection}
    assert closings(line, 0) == []


BOOT = b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nload:0x3fff0030,len:1344\r\n"


@pytest.mark.parametrize("size", [2, 60, 120, 135, 136, 137, 300, 2000])
@pytest.mark.parametrize("end", [b"", b"\0"])
def test_what_a_board_prints_behind_the_noise_of_its_boot_loader(size: int, end: bytes) -> None:
    line = opened()
    first = line.sides[0]
    noise = bytes(at * 37 % 255 + 1 for at in range(size - 1)) + b"\x80"
    first.events += first.connection.receive_data(noise + BOOT + end, line.now)
    first.events += first.node.handle_timer(line.now + 100)
    first.events += first.connection.receive_data(b"File main.py, line 3\r\n\0", line.now + 100)
    found = b"".join(event.text for event in line.seen(0, events.LOG))
    assert found[-60:] == (BOOT + b"File main.py, line 3\r\n")[-60:]
    assert layer_of(first.connection) is not None
    assert layer_of(first.connection).damaged > 0
    line.run(500)
    assert closings(line, 0) == []


def test_the_end_of_a_damaged_packet_is_no_text() -> None:
    line = opened()
    first = line.sides[0]
    for chunk in (
        b"\x40\x01\x02fifteen bytes\n",
        b"\x40\x01\x02long enough, without a line feed",
        b"\x01ok\n\x02",
    ):
        first.events += first.connection.receive_data(b"\0" + chunk + b"\0", line.now)
    assert line.seen(0, events.LOG) == []


@pytest.mark.parametrize("noise", [b"\xf8\x80\0", b"\xf8\x06" * 69], ids=["short", "endless"])
def test_who_sees_but_noise_is_asked_about_the_rate_once(noise: bytes) -> None:
    node = Node(b"a" * 16, entropy=Entropy(1))
    connection = node.connection(Link(codes.LOCALNET, True, sort="packet"), START)
    happened = [[*connection.receive_data(noise, START)] for _ in range(9)]
    assert [len(found) for found in happened] == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    told: Any = happened[3][0]
    assert b"baud" in told.text
    line = opened()  # who has a peer is not
    for _ in range(9):
        line.sides[0].events += line.sides[0].connection.receive_data(noise, line.now)
    assert line.seen(0, events.LOG) == []


def test_log_before_the_link_is_open_does_nothing() -> None:
    line = Line()
    connection = line.sides[0].connection
    connection.log(b"early")
    assert layer_of(connection) is not None
    assert layer_of(connection).logs == []


# Sleep


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_sleeping_peer_is_neither_asked_nor_given_up() -> None:
    line = opened(leaf=True)
    leaf, router = line.sides
    receiver = line.a.register(E, codes.UNICAST)
    line.run(300)
    leaf.connection.sleep(60_000, line.now)
    line.run(300)
    leaf.deaf = True
    for number in range(4):
        line.b.send(E, b"%d" % number, line.now)
    before = router.connection.bytes_out
    line.run(59_000)
    assert router.connection.state == codes.OPEN
    assert router.connection.bytes_out == before
    assert layer_of(router.connection) is not None
    assert layer_of(router.connection).resent == 0
    leaf.deaf = False
    leaf.connection.sleep(0, line.now)
    line.run(1000)
    assert [message.payload for message in line.drain(0, receiver)] == [b"0", b"1", b"2", b"3"]
    line.run(20_000)
    assert leaf.connection.state == codes.OPEN


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_oversleeps_is_gone() -> None:
    line = opened(leaf=True)
    leaf, router = line.sides
    leaf.connection.sleep(30_000, line.now)
    line.run(300)
    leaf.deaf = router.deaf = True
    line.run(40_000)
    assert router.connection.state == codes.OPEN
    line.run(10_000)
    assert closings(line, 1) == [codes.SILENT]


def test_whatever_a_sleeper_says_wakes_it() -> None:
    line = opened(leaf=True)
    leaf, router = line.sides
    leaf.connection.sleep(30_000, line.now)
    line.run(300)
    assert layer_of(router.connection) is not None
    assert layer_of(router.connection).asleep
    line.a.register(E, codes.UNICAST)
    line.run(300)
    assert not layer_of(router.connection).asleep


def test_sleep_on_a_stream() -> None:
    pair = Pair(keepalive_ms=1000)
    pair.ca.sleep(20_000, pair.now)
    pair.pump()
    pair.cable.block(pair.a)
    pair.advance(15_000)
    assert pair.cb.state == codes.OPEN
    pair.advance(15_000)
    assert pair.cb.state == codes.CLOSED


def test_sleep_is_for_open_links_and_bounded() -> None:
    pair = Pair(opened=False)
    for wrong in (-1, codes.SLEEP_MAX_MS + 1):
        with pytest.raises(LocalError, match="0 to 86400000"):
            pair.ca.sleep(wrong, pair.now)
    pair.ca.sleep(10, pair.now)
    pair.pump()
    assert pair.cb.asleep_until == -1
    pair.note(pair.b, pair.cb.receive_data(frame(b"\x41\xff\xff\xff\xff\x0f"), pair.now))
    assert pair.cb.asleep_until == pair.now + codes.SLEEP_MAX_MS
    pair.note(pair.b, pair.cb.receive_data(frame(b"\x41\x00\x00"), pair.now))
    assert pair.cb.close_code == codes.MALFORMED


def test_sleep_on_an_older_links_account() -> None:
    """All that comes over a link that waits for the end of another is held, packets or not."""
    line = opened()
    before = line.sides[0].connection
    line.a.register(E, codes.UNICAST)
    line.sides[1].connection.waits_for = before
    line.run(300)
    assert line.sides[1].connection._held_size > 0
    line.sides[1].connection.catch_up(line.now)
    line.run(300)
    assert [entry.uuid for entry in line.b.entries()] == [E]


# Echoes


def test_an_echo_is_no_peer_and_people_are_told_once() -> None:
    for mtu in (0, 20):
        node = Node(b"a" * 16, entropy=Entropy(1))
        connection = node.connection(Link(codes.LOCALNET, True, sort="packet", mtu=mtu), START)
        happened: list[Any] = []
        for now in range(START, START + 20_000, 10):
            happened += node.handle_timer(now)
            data = connection.data_to_send(64, now)
            happened += connection.receive_data(data, now) if data else []
        assert connection.waits_for_peer
        assert (connection.state, node.peers()) == (codes.GREETING, [])
        assert [type(event) for event in happened] == [events.LogEvent]
        assert b"gives back what is written" in happened[0].text
        assert layer_of(connection) is not None
        assert layer_of(connection).damaged == 0


@pytest.mark.parametrize("mtu", [20, 128])
def test_two_who_hear_themselves_as_well_understand_each_other(mtu: int) -> None:
    line = opened(mtu=mtu, echo=True)
    receivers = [node.register(uuid, codes.UNICAST) for node, uuid in ((line.a, E), (line.b, F))]
    line.run(500)
    tokens = [
        [node.send(uuid, b"%064d" % number, line.now, confirm=True) for number in range(20)]
        for node, uuid in ((line.a, F), (line.b, E))
    ]
    got: list[list[bytes]] = [[], []]
    for _ in range(200):
        line.run(50)
        for which in (0, 1):
            got[which] += [message.payload for message in line.drain(which, receivers[which])]
    for which in (0, 1):
        assert got[which] == [b"%064d" % number for number in range(20)]
        verdicts = {event.token: event.status for event in line.seen(which, events.OUTCOME)}
        assert verdicts == dict.fromkeys(tokens[which], events.TAKEN)
        assert len(line.sides[which].node.peers()) == 1
        assert len(line.seen(which, events.LOG)) == 1
        packets = layer_of(line.sides[which].connection)
        assert packets is not None
        assert (packets.damaged, packets.resent) == (0, 0)
        assert closings(line, which) == []
