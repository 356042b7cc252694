"""The small leaf on packet links: lossy lines, a router that starts anew, logs, best effort."""

from __future__ import annotations

import random

import pytest

from busway.protocol import Link, codes, events
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.packets import PacketLeafConnection
from busway.protocol.packet import cobs

from .leaves import Cord, LeafNet
from .pairs import E, Entropy, F


class PacketNet(LeafNet):
    """The leaf's cord is a line that may lose packets; `mtu` 0: bytes."""

    def __init__(self, mtu: int = 0, loss: float = 0.0, seed: int = 1) -> None:
        super().__init__("m")
        self.cord.cut()
        self.rng = random.Random(seed)
        self.loss = loss
        self.cord = self.lay(mtu)

    def lay(self, mtu: int = 0) -> Cord:
        cord = self.plug(self.leaf, self.router, sort="packet", mtu=mtu, window=8)
        self.run(3000)
        return cord

    def run(self, ms: int) -> None:
        """Time in steps of 10 ms, in each of which what was written arrives, or does not."""
        for _ in range(0, ms, 10):
            self.now += 10
            for cord in list(self.cords):
                self.turn(cord)

    def turn(self, cord: Cord) -> None:
        here, there = cord.connection, cord.other
        for _ in range(20):
            data = here.data_to_send(200, self.now)
            self.hear(self.leaf, self.leaf.take_events())
            back = there.data_to_send(200, self.now)
            if not data and not back:
                break
            if data and self.rng.random() >= self.loss:
                self.note(self.router, there.receive_data(data, self.now))
            if back and self.rng.random() >= self.loss:
                self.hear(self.leaf, here.receive_data(back, self.now))
        self.hear(self.leaf, self.leaf.handle_timer(self.now))
        if self.leaf.link is not here and 0 <= here.next_deadline() <= self.now:
            here.fire(self.now)
        self.note(self.router, self.router.handle_timer(self.now))


def packet_link(net: PacketNet) -> PacketLeafConnection:
    link = net.cord.connection
    assert isinstance(link, PacketLeafConnection)
    return link


@pytest.mark.parametrize("mtu", [0, 20, 128])
@pytest.mark.parametrize("loss", [0.0, 0.15])
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_requests_both_ways_over_a_line_that_loses_packets(mtu: int, loss: float) -> None:
    net = PacketNet(mtu, loss)
    assert net.cord.connection.state == codes.OPEN
    served = net.leaf.register(E, codes.ANYCAST)
    far = net.router.register(F, codes.UNICAST)
    net.run(1000)
    mine, theirs = [], []
    for number in range(20):
        theirs.append(net.router.request(E, b"%d" % number, net.now))
        mine.append(net.leaf.request(F, b"%d" % number + b"x" * 300, net.now))
        for _ in range(20):
            net.run(200)
            for message in net.taken(served):
                net.leaf.respond(message, message.payload, net.now)
            for asked in net.drain(net.router, far):
                net.router.respond(asked, b"r" * 400, net.now)
            if net.verdicts(mine[-1]) and net.outcomes(net.router, theirs[-1]):
                break
    assert [net.verdicts(token) for token in mine] == [[(events.REPLIED, 0)]] * 20
    assert [[o.payload for o in net.outcomes(net.router, token)] for token in theirs] == [
        [b"%d" % number] for number in range(20)
    ]


def test_a_router_that_was_silent_for_long_and_speaks_again_is_not_given_up() -> None:
    net = PacketNet()
    link = packet_link(net)
    link._suspect = True  # as a deadline that passed leaves it
    net.router.request(E, b"it", net.now, ttl_ms=1000)
    net.run(40_000)
    assert link._suspect is False
    assert link.state == codes.OPEN


def test_a_router_that_starts_anew_ends_the_session_at_once() -> None:
    net = PacketNet()
    net.cords.clear()
    former = packet_link(net)
    again = net.router.connection(Link(codes.LOCALNET, sort="packet", via="cord"), net.now)
    for _ in range(100):
        net.now += 10
        net.note(net.router, again.receive_data(former.data_to_send(200, net.now), net.now))
        net.note(net.router, net.router.handle_timer(net.now))
        net.hear(net.leaf, former.receive_data(again.data_to_send(200, net.now), net.now))
        net.hear(net.leaf, net.leaf.handle_timer(net.now))
    assert [event.code for event in net.heard(events.LINK_CLOSED)][-1:] == [codes.RESTARTED]
    assert former.done
    former.receive_data(b"more\0", net.now)
    net.cord = net.lay()
    assert net.cord.connection.state == codes.OPEN


def test_what_it_logs_is_read_at_the_other_end_and_prints_as_well() -> None:
    net = PacketNet()
    packet_link(net).log(b"hello")
    net.run(200)
    net.note(net.router, net.cord.other.receive_data(b"Traceback\r\n\0", net.now))
    assert [event.text for event in net.seen(net.router, events.LOG)] == [b"hello", b"Traceback\r\n"]
    net.cord.other.log(b"for the board")  # which has nobody to show it to
    net.run(200)
    assert net.heard(events.LOG) == []
    packet_link(PacketNet(loss=1.0)).log(b"nobody is there")


def test_best_effort_messages_come_in_packets_of_their_own() -> None:
    net = PacketNet()
    receiver = net.leaf.register(E, codes.BROADCAST)
    net.run(1000)
    link = packet_link(net)
    link.packets.frames = [b"\x90\x00\x01" + E + b"\x00\x01now", b"", b"\xc0\x01", b"\x90\x05\x00\x01"]
    link._take_frames(net.now)
    assert [message.payload for message in net.taken(receiver)] == [b"now"]
    assert link.skipped_frames == 2
    assert link.close_code == codes.UNKNOWN_ALIAS


def test_closing_lingers_until_the_last_packet_has_been_acknowledged() -> None:
    net = PacketNet()
    link = packet_link(net)
    net.leaf.close(net.now)
    net.run(1000)
    assert link.close_code == codes.GOODBYE
    net.cords.clear()
    link.fire(net.now + 60_000)
    assert link.done
    assert not link.wants_write
    assert link.next_deadline() == -1


def test_a_peer_of_another_version_and_one_that_does_not_answer() -> None:
    leaf = Leaf(b"x" * 16, entropy=Entropy(1))
    link = leaf.connection(Link(sort="packet"), 0)
    assert isinstance(link, PacketLeafConnection)
    for now in range(0, 100_000, 500):
        leaf.handle_timer(now)
        assert isinstance(link, LeafConnection)
        assert link.wants_write == bool(link.data_to_send(200, now))
    assert link.state == codes.GREETING
    link.packets.wrong_version = 9
    link.receive_data(b"", 100_000)
    assert (link.close_code, link.done) == (codes.BAD_VERSION, True)
    link.receive_eof(100_000)


def test_what_a_router_must_say_back_has_no_ctrl_c() -> None:
    """To a board that was reset meanwhile, and whose terminal the line is, it would be one."""
    leaf = Leaf(b"n" * 16, entropy=lambda size: b"\3\4" * (size // 2))
    said = leaf.connection(Link(codes.LOCALNET, sort="packet"), 0).data_to_send(99, 0)
    assert cobs.decode(said.strip(b"\0"))[2:6] == b"\x13\x14\x13\x14"
