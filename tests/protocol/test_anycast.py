"""Several equally cheap holders of an anycast endpoint: shares that are fair, and work for who is free."""

from __future__ import annotations

import pytest

from busway.protocol import FullError, LocalError, Node, Request, codes, events
from busway.protocol.messaging.correspondent import talk
from tests.protocol.helpers import C, assert_settled, counts, fill, payloads
from tests.protocol.leaves import LeafNet
from tests.protocol.pairs import E, F, Net, Pair
from tests.rigs.uncounted import uncounted


class Worker:
    """Works on one request after the other, for `ms` each."""

    def __init__(self, net: Net, node: Node, ms: int, opening: int = 1) -> None:
        self.net = net
        self.node = node
        self.ms = ms
        self.receiver = node.register(E, codes.ANYCAST, opening=opening)
        self.request: Request | None = None
        self.ends = 0
        self.done = 0

    def step(self) -> None:
        """Finish what is due, and take the next."""
        if self.request is not None and self.net.now >= self.ends:
            self.node.respond(self.request, b"", self.net.now)
            self.request = None
            self.done += 1
        if self.request is None:
            message = self.node.take(self.receiver, self.net.now)
            if isinstance(message, Request):
                self.request = message
                self.ends = self.net.now + self.ms


def work(net: Net, workers: list[Worker], tick: int = 1) -> int:
    """Until nobody has anything to do; returns how long that took, ms."""
    began = last = net.now
    while net.now - last < 3000:
        for worker in workers:
            before = worker.done
            worker.step()
            if worker.done > before:
                last = net.now
        net.pump()
        net.advance(tick)
    return last - began


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_60_jobs_go_to_who_is_free() -> None:
    """Two workers of 50 ms and one of a second, one job at a time each: the slow one gets two."""
    net = Net()
    a, *nodes = net.mesh("abcd")
    workers = [Worker(net, node, ms) for node, ms in zip(nodes, (50, 50, 1000), strict=True)]
    net.pump()
    tokens = [a.request(E, b"", net.now) for _ in range(60)]
    took = work(net, workers)
    assert [[o.status for o in net.outcomes(a, token)] for token in tokens] == [[events.REPLIED]] * 60
    assert took <= 2100
    assert workers[2].done == 2
    assert abs(workers[0].done - workers[1].done) <= 2
    assert_settled(net)


def test_a_worker_that_becomes_quick_gets_its_share_again() -> None:
    net = Net()
    a, *nodes = net.mesh("abc")
    workers = [Worker(net, nodes[0], 10), Worker(net, nodes[1], 500)]
    net.pump()
    with uncounted():
        for _ in range(60):
            a.request(E, b"", net.now)
        work(net, workers)
    assert workers[1].done <= 2
    workers[1].ms = 10
    for worker in workers:
        worker.done = 0
    for _ in range(600):
        a.request(E, b"", net.now)
    work(net, workers)
    assert workers[0].done + workers[1].done == 600
    assert workers[1].done > 200


def test_requests_go_where_the_fewest_are_outstanding() -> None:
    """Holders that work on many at once: b holds on to what it has, c answers."""
    net = Net()
    a, b, c = net.mesh("abc")
    slow, quick = Worker(net, b, 10_000, 4), Worker(net, c, 0, 4)
    net.pump()
    for _ in range(40):
        a.request(E, b"", net.now, timeout_ms=60_000)
        for _ in range(2):
            quick.step()
            net.pump()
    assert quick.done >= 36
    assert len(slow.receiver.queue) <= 2


def test_a_burst_of_sends_is_shared_evenly_though_one_answers_first() -> None:
    """The credit of c comes a moment later: it gets its half all the same."""
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.pump()
    got = [0, 0]
    sent = 0
    token = 0
    while sent < 300:
        if not token or net.outcomes(a, token):
            token = a.send(E, b"x", net.now)
            sent += 1
            continue
        net.cables[0].ends[0].inbox += net.cables[0].b.data_to_send(65536, net.now)
        for at, (node, receiver) in enumerate(holders):
            got[at] += len(net.drain(node, receiver))
        net.pump()
    net.pump()
    for at, (node, receiver) in enumerate(holders):
        got[at] += len(net.drain(node, receiver))
    assert sum(got) == 300
    assert abs(got[0] - got[1]) <= 2


def test_one_that_does_not_read_is_waited_for_once_and_then_passed_over() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    stuck, keen = b.register(E, codes.ANYCAST), c.register(E, codes.ANYCAST)
    net.pump()
    net.cables[0].block(b)  # its credit does not come
    waits = 0
    for _ in range(100):
        token = a.send(E, b"x", net.now)
        net.pump()
        if token and not net.outcomes(a, token):
            waits += 1
            net.advance(20)
        assert not token or [o.status for o in net.outcomes(a, token)] == [events.ACCEPTED]
        net.drain(c, keen)
        net.pump()
    assert waits == 1
    assert (len(stuck.queue), keen.taken) == (4, 96)
    net.advance(600)  # it is given another chance
    token = a.send(E, b"x", net.now)
    net.cables[0].block(b, False)
    net.pump()
    assert len(stuck.queue) == 5
    for _ in range(40):
        a.send(E, b"x", net.now)
        net.pump()
        net.drain(b, stuck)
        net.drain(c, keen)
        net.pump()
    assert 20 < stuck.taken <= 5 + 29  # it catches up with no more than a few


def test_who_comes_later_starts_level() -> None:
    net = Net()
    a, b, c, d = net.mesh("abcd")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.pump()
    for _ in range(50):
        a.send(E, b"x", net.now)
        net.pump()
        counts(net, holders)
        net.pump()
    holders.append((d, d.register(E, codes.ANYCAST)))
    net.pump()
    got = [0, 0, 0]
    for _ in range(30):
        a.send(E, b"x", net.now)
        net.pump()
        got = [had + new for had, new in zip(got, counts(net, holders), strict=True)]
        net.pump()
    assert got == [10, 10, 10]


def test_without_waiting_it_is_full() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    for node in (b, c):
        node.register(E, codes.ANYCAST, opening=1)
    net.pump()
    for _ in range(2):
        assert a.request(E, b"", net.now, wait=False)
    with pytest.raises(FullError):
        a.request(E, b"", net.now, wait=False)
    token = a.request(E, b"", net.now)
    with pytest.raises(FullError):  # others wait already
        a.request(E, b"", net.now, wait=False)
    a.cancel(token, net.now)
    net.pump()
    assert [o.status for o in net.outcomes(a, token)] == [events.CANCELLED]


def test_what_waits_ends_in_time_or_with_the_node() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    for node in (b, c):
        node.register(E, codes.ANYCAST, opening=1)
    net.pump()
    tokens = [a.request(E, b"", net.now, timeout_ms=1000) for _ in range(3)]
    kept = [a.send(E, b"", net.now, confirm=True, timeout_ms=5000) for _ in range(2)]
    net.advance(1000)
    assert [[o.status for o in net.outcomes(a, token)] for token in tokens] == [[events.TIMED_OUT]] * 3
    a.close(net.now)
    net.pump()
    ended = [[(o.status, o.code) for o in net.outcomes(a, token)] for token in kept]
    assert ended == [[(events.UNKNOWN, codes.BUS_CLOSED)]] * 2


def test_what_waits_goes_to_the_one_that_is_left_or_fails_when_none_is() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    workers = [Worker(net, node, 10) for node in (b, c)]
    net.pump()
    tokens = [a.request(E, b"", net.now) for _ in range(5)]
    net.pump()
    b.deregister(workers[0].receiver, net.now)
    net.pump()
    net.advance(1)
    assert len(talk(a.routes.peers[C]).out_flows[E].waiting) + len(workers[1].receiver.queue) == 4
    c.deregister(workers[1].receiver, net.now)
    net.pump()
    net.advance(1)
    fates = [[o.status for o in net.outcomes(a, token)] for token in tokens]
    assert fates == [[events.UNDELIVERED]] * 5
    assert a.origin.crowds[E].waiting.items == []
    net.advance(2 * codes.SWEEP_MS)
    assert a.origin.crowds == {}


def test_what_waits_finds_no_holder_at_all() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receivers = [(node, node.register(E, codes.ANYCAST, opening=1)) for node in (b, c)]
    net.pump()
    tokens = [a.request(E, b"", net.now) for _ in range(3)]
    net.pump()
    for node, receiver in receivers:
        node.deregister(receiver, net.now)
    net.pump()
    net.advance(1)
    assert [[o.status for o in net.outcomes(a, token)] for token in tokens] == [[events.UNDELIVERED]] * 3


def test_what_waits_at_one_that_goes_is_shared_by_the_others() -> None:
    net = Net()
    a, b, c, d = net.mesh("abcd")
    gone = b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    fill(net, a, E, 8)
    holders = [(node, node.register(E, codes.ANYCAST)) for node in (c, d)]
    net.pump()
    b.deregister(gone, net.now)  # with four in its queue, and four that wait at the origin
    net.pump()
    assert counts(net, holders) == [2, 2]
    assert_settled(net)


def test_the_node_closes_while_messages_wait_for_one_of_several() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    for node in (b, c):
        node.register(E, codes.ANYCAST, opening=1)
    net.pump()
    tokens = [a.request(E, b"", net.now) for _ in range(5)]
    net.advance(2 * codes.SWEEP_MS // 3)
    a.handle_timer(net.now)
    a.sweep(net.now)
    assert list(a.origin.crowds) == [E]  # somebody waits there
    a.close(net.now)
    net.pump()
    ended = [[(o.status, o.code) for o in net.outcomes(a, token)] for token in tokens]
    assert ended == [[(events.UNDELIVERED, codes.BUS_CLOSED)]] * 5


def test_of_one_name_at_several_nodes_the_one_that_is_wanted_gets_it_though_others_are_free() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.pump()
    for number in range(3):
        a.send(E, b"%d" % number, net.now, node_id=C)
    net.pump()
    assert payloads(net.drain(*holders[1])) == [b"0", b"1", b"2"]


def test_a_blocked_crowd_asks_for_credit_that_was_lost() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.pump()
    for flow in [net.nodes[0].origin.flow(peer, E, 4, net.now) for peer in a.routes.peers.values()]:
        flow.sent = flow.limit  # as if nothing had come through
    token = a.send(E, b"x", net.now)
    assert token
    net.advance(codes.PROBE_MS)
    net.pump()
    assert a.origin.counters["probes"] > 0
    assert [o.status for o in net.outcomes(a, token)] == [events.ACCEPTED]
    assert sum(counts(net, holders)) == 1


def test_a_full_link_makes_wait_too() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    for node in (b, c):
        node.register(F, codes.UNICAST if node is b else codes.ANYCAST)
    net.pump()
    for cable in net.cables[:2]:
        cable.block(a)
    tokens = [a.send(E, bytes(600_000), net.now) for _ in range(5)]
    assert tokens[:4] == [0] * 4
    assert tokens[4]
    for cable in net.cables[:2]:
        cable.block(a, False)
    net.pump()
    assert [o.status for o in net.outcomes(a, tokens[4])] == [events.ACCEPTED]
    assert sum(counts(net, holders)) == 5


def test_the_credit_that_says_how_many_are_worked_on_travels() -> None:
    net = Pair()
    net.b.register(E, codes.ANYCAST, opening=2)
    net.pump()
    assert net.a.entries()[0].credit == 2
    for opening in (0, 5):
        with pytest.raises(LocalError, match="opening must be 1 to 4"):
            net.b.register(F, codes.ANYCAST, opening=opening)


def test_a_leaf_learns_it_as_well() -> None:
    net = Net()
    router, leaf = net.node("a"), net.node("b", leaf=True)
    net.link(leaf, router)
    router.register(E, codes.ANYCAST, opening=1)
    net.pump()
    leaf.request(E, b"", net.now)
    net.pump()
    assert [entry.credit for entry in leaf.entries()] == [1]


def test_small_leaves_that_take_the_first_share_the_holders() -> None:
    """They keep no counts: their router names equally near holders to each in another order."""
    net = LeafNet("mbc")
    holders = [(node, node.register(E, codes.ANYCAST)) for node in net.nodes[1:]]
    net.settle()
    leaves = [net.leaf]
    for number in range(15):
        leaf = net.add_leaf(chr(ord("A") + number))
        net.plug(leaf, net.router)
        leaves.append(leaf)
    net.settle()
    for leaf in leaves:
        leaf.send(E, b"x", net.now)
    net.settle()
    got = counts(net, holders)
    assert sum(got) == 16
    assert min(got) >= 4


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_holders_that_take_nothing_keep_no_sends_from_who_reads() -> None:
    """Thirty that are stuck: each is waited for a moment, but not one after the other for ever."""
    net = Net()
    a, b, *stuck = net.mesh("ab")
    reader = b.register(E, codes.ANYCAST)
    for number in range(30):
        node = net.node(chr(ord("A") + number))
        net.link(a, node)
        node.register(E, codes.ANYCAST, opening=1, queue_max=2)
        stuck.append(node)
    net.pump()
    for _ in range(200):
        a.send(E, b"", net.now)
    taken = 0
    for _ in range(300):
        net.advance(10)
        net.pump()
        taken += len(net.drain(b, reader))
    assert taken >= 200 - 3 * len(stuck)
    assert not a.origin.pending
