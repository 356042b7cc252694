"""Sessions with things, at random: each comes with its own message over whatever ways; and whatever a peer
says of things, the link ends with a numbered error at the most, and nothing of them stays.
"""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any

import pytest

from busway.protocol import Request, codes
from busway.protocol.wire.things import SHARED_MIN

from .beside import Machine, Machines, Memory, Thing, held, numbers
from .nets import ANYCAST, BROADCAST, UNICAST
from .pairs import E, F, G

_LIVE = (codes.OPEN, codes.CLOSING)


def session(net: Machine, rng: random.Random) -> tuple[bytes, list[tuple[int, list[Any]]]]:
    """Messages that a node writes, with things; and the things, each with where in the bytes it comes."""
    written = bytearray()
    came: list[tuple[int, list[Any]]] = []
    for number in range(rng.randint(2, 6)):
        payload = bytes(rng.choice((3, 3, SHARED_MIN, 70_000)))
        brought = [Thing(number) for _ in range(rng.choice((0, 1, 3, 64)))]
        if rng.random() < 0.3:
            net.a.publish(F, payload, net.now, things=brought)
        elif rng.random() < 0.5:
            net.a.request(E, payload, net.now, things=brought)
        else:
            net.a.send(E, payload, net.now, things=brought)
        while net.ca.wants_write:
            data = net.ca.data_to_send(rng.choice((500, 65536)), net.now)
            things = net.ca.things_to_send()
            if things:
                came.append((len(written), things))
            written += data
    return bytes(written), came


def changed(rng: random.Random, data: bytes) -> bytes:
    """The same with some bytes flipped, cut out or doubled."""
    made = bytearray(data)
    for _ in range(rng.randint(0, 3)):
        at = rng.choice((rng.randrange(len(made)), rng.randrange(min(60, len(made)))))
        how = rng.randrange(3)
        if how == 0:
            made[at] = rng.randrange(256)
        elif how == 1:
            made[at : at + rng.randint(1, 5)] = b""
        else:
            made[at:at] = made[at : at + rng.randint(1, 5)]
    return bytes(made)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_peer_says_of_things_ends_the_link_at_the_most(seed: int) -> None:
    rng = random.Random(seed)
    net = Machine(Memory(rng.choice((0, 1 << 20))))
    receivers = [net.b.register(E, UNICAST), net.b.register(F, BROADCAST)]
    net.pump()
    data, came = session(net, rng)
    data = changed(rng, data)
    references: list[weakref.ref[Any]] = []
    pos = 0
    while pos < len(data):
        stop = min(len(data), pos + rng.choice((1000, 30_000, 100_000)))
        while came and came[0][0] < stop:
            things = came.pop(0)[1]
            if rng.random() < 0.1 and things:
                things.pop()
            if rng.random() < 0.05:
                things.append(Thing(99))
            references += [weakref.ref(thing) for thing in things if isinstance(thing, Thing)]
            net.cb.receive_things(things, net.now)
            del things
        net.note(net.b, net.cb.receive_data(data[pos:stop], net.now))
        pos = stop
        if rng.random() < 0.3:
            net.drain(net.b, receivers[0])
    assert net.cb.state in _LIVE or net.cb.close_code > 0
    net.cable.cut()
    net.advance(31_000)
    for receiver in receivers:
        net.drain(net.b, receiver)
    assert (held(net.cb), net.b.receiving.pool.held) == (0, 0)
    net.log.clear()
    came.clear()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


@pytest.mark.parametrize("seed", range(12))
def test_each_thing_comes_with_its_own_message_over_two_hops(seed: int) -> None:
    rng = random.Random(seed)
    net = Machines("arb", "ar rb", Memory(rng.choice((0, 100_000, 1 << 30))))
    receivers = [net["b"].register(uuid, ANYCAST) for uuid in (E, F)]
    heard = net["b"].register(G, BROADCAST)
    net.pump()
    sent: dict[bytes, list[int]] = {}
    number = 0
    for step in range(60):
        count = rng.choice((0, 0, 0, 1, 2, 20))
        mine = list(range(number, number + count))
        number += count
        payload = b"%04d" % step + bytes(rng.choice((0, 0, 1000, 66_000, 200_000)))
        brought = [Thing(each) for each in mine]
        uuid, priority = rng.choice((E, F)), rng.choice((1, 1, codes.HIGH, codes.LOW))
        if rng.random() < 0.2:
            net["a"].publish(G, payload, net.now, things=brought, patience_ms=-1)
        elif rng.random() < 0.5:
            net["a"].send(uuid, payload, net.now, things=brought, priority=priority)
        else:
            net["a"].request(uuid, payload, net.now, things=brought, regions=count // 2)
        sent[payload] = mine
        for _ in range(rng.randint(0, 3)):
            net.step(rng.choice((300, 9000, 65536)))
        if rng.random() < 0.5:
            look(net, [*receivers, heard], sent)
    for _ in range(200):
        net.pump()
        look(net, [*receivers, heard], sent)
    assert sent == {}
    assert net.undelivered("a") == []


def look(net: Machines, receivers: list[Any], sent: dict[bytes, list[int]]) -> None:
    """Take what has come, and answer what asks."""
    for receiver in receivers:
        for message in net.drain(net["b"], receiver):
            assert numbers(message.things) == sent.pop(bytes(message.payload))
            if isinstance(message, Request):
                net["b"].respond(message, message.payload, net.now, things=message.things)
