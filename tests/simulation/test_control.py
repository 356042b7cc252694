"""Random lives of the control plane: no loop at any instant, and all that must hold at rest.

A failure names its seed; `play(seed)` repeats it.
"""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest

from busway.protocol.routing.children import Child
from busway.protocol.routing.router import Route
from tests.simulation.control import GLOBAL, LOCALNET, USERSPACE, Host, Leaf, LoopError, Net, Pace
from tests.simulation.life import Life, play

QUICK = Pace(delay=100, jitter=0, patience=0)


# The simulator itself --------------------


def chain(net: Net, count: int) -> list[Host]:
    hosts = [net.start(name) for name in range(count)]
    for one, two in pairwise(hosts):
        net.join(one, two, QUICK)
    return hosts


def settle(net: Net) -> None:
    while net.step():
        pass


def test_one_seed_is_one_run() -> None:
    first, second = play(7), play(7)
    assert (first.now, first.instants, first.entries) == (second.now, second.instants, second.entries)
    assert play(8).entries != first.entries


def test_a_chain_reaches_everyone() -> None:
    net = Net(1)
    hosts = chain(net, 4)
    settle(net)
    net.check_rest()
    assert net.fixed_point(hosts[0].key) == {
        host: (USERSPACE << 14 | hops if hops else 0) for hops, host in enumerate(hosts)
    }


def test_the_fixed_point_prefers_the_narrower_realm_and_counts_each_side_s_own_cost() -> None:
    net = Net(1)
    a, b, c = (net.start(name) for name in range(3))
    net.join(a, b, QUICK, cost=1, realm=GLOBAL)
    net.join(b, c, QUICK, cost=100, realm=LOCALNET)
    link = net.join(a, c, QUICK, cost=100, realm=LOCALNET)
    net.set_cost(link.ends[0], 7)
    settle(net)
    net.check_rest()
    assert net.fixed_point(b.key)[a] == LOCALNET << 14 | 107
    assert net.fixed_point(a.key)[b] == LOCALNET << 14 | 200


def test_nobody_is_reached_through_a_node_that_does_not_forward_but_its_leaves() -> None:
    net = Net(1)
    a, b, c = chain(net, 3)
    net.set_transit(b, False)
    leaf = net.leaves[9] = Leaf(9, net.key(9))
    net.attach(leaf, b, cost=256)
    settle(net)
    net.check_rest()
    assert list(net.fixed_point(c.key)) == [c, b]
    assert set(net.fixed_point(leaf.key)) == {a, b, c}


def test_what_a_severed_link_carried_is_lost_and_nobody_knows() -> None:
    net = Net(1)
    a, b = chain(net, 2)
    settle(net)
    net.sever(net.links[0])
    net.start(2)
    net.join(b, net.hosts[2], QUICK)
    settle(net)
    assert net.hosts[2].key in b.router.routes
    assert net.hosts[2].key not in a.router.routes
    assert b.key in a.router.routes
    with pytest.raises(AssertionError, match="seed 1"):
        net.check_rest()
    for end in list(net.links[0].ends):
        net.close(end)
    settle(net)
    net.check_rest()


def test_a_crash_is_noticed_only_when_the_session_ends() -> None:
    net = Net(1)
    a, b = chain(net, 2)
    settle(net)
    net.crash(1)
    settle(net)
    assert b.key in a.router.routes
    (end,) = a.ends
    net.close_after_reading(end)
    settle(net)
    net.check_rest()
    assert list(a.router.routes) == [a.key]


def test_a_loop_is_seen_at_once() -> None:
    """By hand: each of two hosts takes the other for its next hop."""
    net = Net(1)
    a, b = chain(net, 2)
    settle(net)
    for host in (a, b):
        route = host.router.route(net.key(9) if host is a else list(a.router.routes)[-1])
        route.via = host.ends[0].neighbour
        net.moved.append((host, route))
    with pytest.raises(LoopError, match=r"seed 1, \d+ us: a loop at 0\.1 towards 9\.3"):
        net.check()


def test_a_metric_that_overflows_is_no_way() -> None:
    net = Net(1)
    a, b, c = (net.start(name) for name in range(3))
    net.join(a, b, QUICK, cost=9000)
    net.join(b, c, QUICK, cost=9000)
    settle(net)
    net.check_rest()
    assert net.fixed_point(c.key) == {c: 0, b: USERSPACE << 14 | 9000}
    assert list(a.router.fading) == [a.router.routes[c.key]]


def test_a_route_that_is_kept_though_it_was_removed_is_found() -> None:
    net = Net(1)
    a, _ = chain(net, 2)
    settle(net)
    net.check_limits(a)
    a.ends[0].neighbour.children[Route(a.router, b"gone")] = Child([0] * 4, False)
    with pytest.raises(AssertionError, match="children"):
        net.check_limits(a)


# What a prototype of these rules did for ever, or for long --------------------


@pytest.mark.parametrize("delay_ms", [1, 100, 900, 3000])
def test_numbers_do_not_race_where_the_better_way_is_the_slower_one(delay_ms: int) -> None:
    net = Net(1)
    source, near, far, behind = (net.start(name, seqno=0) for name in range(4))
    slow = Pace(delay=delay_ms * 1000, jitter=0, patience=0)
    net.join(source, near, QUICK, cost=32, realm=GLOBAL)
    net.join(source, far, slow, cost=16, realm=LOCALNET)
    link = net.join(far, near, slow, cost=16, realm=LOCALNET)
    net.join(near, behind, QUICK)
    settle(net)
    for end in list(link.ends):
        net.close(end)
    settle(net)
    net.join(far, near, slow, cost=500, realm=LOCALNET)  # better by its realm, and dearer than before
    before = net.entries
    settle(net)
    net.check_rest()
    assert near.router.routes[source.key].distance >> 14 & 3 == LOCALNET
    assert net.entries - before < 100


def ghost(hasty: bool) -> int:
    """Entries read after a node was in a ring for 5 ms, too short for its news to come round."""
    net = Net(1)
    net.hasty = hasty
    hosts = [net.start(name) for name in range(24)]
    for name, host in enumerate(hosts):
        pace = Pace(delay=1000 if name < 16 else 3000, jitter=0, patience=100, whole=True)
        net.join(host, hosts[(name + 1) % 24], pace)
    settle(net)
    link = net.join(hosts[0], net.start(99), QUICK)
    net.run_until(net.now + 5000)
    before = net.entries
    for end in list(link.ends):
        net.close(end)
    settle(net)
    net.check_rest()
    return net.entries - before


def test_a_node_that_was_there_for_a_moment_is_soon_gone_everywhere() -> None:
    """Each node remembers it, so that its route does not run round the ring till its metric ends."""
    assert ghost(hasty=False) < 400
    assert ghost(hasty=True) > 10_000


# Lives --------------------


@functools.cache
def raised(seed: int) -> int:
    """Plays a life, once. How many of its nodes passed the end of the numbers; -1: it began elsewhere."""
    life = Life(seed)
    life.play()
    if life.seqno < 65_530:
        return -1
    return sum(host.router.me.distance >> 16 < 1000 for host in life.net.hosts.values())


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_random_lives(first: int) -> None:
    for seed in range(first, first + 40):
        raised(seed)


def test_a_goodbye_is_heard_wherever_the_node_was_known() -> None:
    """At rest, when all its neighbours have heard it. Which of them hear it first, the seed says."""
    heard = 0
    for seed in range(0, 90, 3):  # FD is held in these
        life = Life(seed, events=20)
        life.play()
        net = life.net
        name = life.rng.choice(list(net.hosts))
        host = net.crash(name)
        known = [other for other in net.hosts.values() if host.key in other.reached]
        for link in net.links:
            for end in link.ends:
                if end.peer is not None and end.peer.host is host:
                    life.later(life.gap, net.part_after_reading, end)
        life.rest()
        heard += len(known)
        assert [other for other in known if host.key not in other.farewells] == [], seed
    assert heard > 100


def test_long_lives() -> None:
    for seed in range(3):
        play(1_000_000 + seed, events=400)


def test_where_news_is_held_each_node_on_the_way_may_add_a_second() -> None:
    play(23028, events=600)


# Seeds at which a former version of protocol/routing/router.py failed.
@pytest.mark.parametrize("seed", [118, 1018, 2482, 3119, 3238, 6211])
def test_lives_that_failed_once(seed: int) -> None:
    raised(seed)


def test_numbers_go_round_in_a_life() -> None:
    """Some lives begin just before the end of the numbers, and need newer ones."""
    assert any(raised(seed) > 0 for seed in range(40))
