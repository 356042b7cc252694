"""Things beside the bytes of a link: which message they go with, whatever is cut, batched, queued or refused,
and where they do not go.
"""

from __future__ import annotations

from typing import Any

from busway.protocol import events
from busway.protocol.errors import LocalError
from busway.protocol.link.aside import Aside
from busway.protocol.messaging.viewed import ViewedMessage
from busway.protocol.wire.things import SHARED_MIN

from .nets import UNICAST
from .pairs import E, Pair


class Thing:
    """One thing, as an adapter might hand it over: known by its number, and when it is gone."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"thing {self.number}"


class Memory(Aside):
    """Memory that both sides see: what is given lies in a dict of the test's, under a number."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.given: dict[int, Any] = {}
        self.taken = 0

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        if len(payload) > self.room:
            return None
        number = len(self.given) + 1
        self.given[number] = payload
        return number.to_bytes(4, "big"), (number, bytes(payload))

    def take(self, description: bytes, thing: Any) -> Any:
        number, payload = thing if isinstance(thing, tuple) else (0, b"")
        if int.from_bytes(description, "big") != number:
            raise LocalError("the memory is not what the other side says")
        self.taken += 1
        return memoryview(payload).toreadonly()


def pair(**options: Any) -> Pair:
    """Two nodes on one machine; the memory of both is `pair.memory`."""
    memory = Memory()
    net = Pair(aside=memory, **options)
    net.memory = memory  # type: ignore[attr-defined]
    return net


def things(*numbers: int) -> list[Thing]:
    return [Thing(number) for number in numbers]


def numbers(carrier: Any) -> list[int]:
    return [thing.number for thing in carrier]


def test_a_message_brings_its_things() -> None:
    net = pair()
    assert net.ca.aside_on
    assert net.cb.aside_on
    receiver = net.b.register(E, UNICAST)
    net.pump()
    token = net.a.send(E, b"with", net.now, things=things(1, 2, 3), regions=1)
    net.a.send(E, b"without", net.now)
    net.pump()
    (outcome,) = net.outcomes(net.a, token)
    assert outcome.status == events.ACCEPTED
    first, second = net.drain(net.b, receiver)
    assert (first.payload, numbers(first.things), second.payload, second.things) == (
        b"with",
        [1, 2, 3],
        b"without",
        (),
    )
    assert (numbers(first.regions), numbers(first.files)) == ([1], [2, 3])
    assert (second.regions, second.files) == ([], [])


def test_a_large_payload_is_shared() -> None:
    net = pair()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    sent = net.ca.bytes_out
    for size in (SHARED_MIN - 1, SHARED_MIN, 1 << 20):
        net.a.send(E, bytes(size), net.now)
        net.pump()
    assert net.ca.bytes_out - sent < SHARED_MIN + 200
    messages = net.drain(net.b, receiver)
    assert [(isinstance(message, ViewedMessage), len(message.payload)) for message in messages] == [
        (False, SHARED_MIN - 1),
        (True, SHARED_MIN),
        (True, 1 << 20),
    ]


def test_requests_and_replies_have_things() -> None:
    net = pair()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    token = net.a.request(E, bytes(SHARED_MIN), net.now, things=things(7))
    net.pump()
    (request,) = net.drain(net.b, receiver)
    assert (len(request.payload), numbers(request.things)) == (SHARED_MIN, [7])
    net.b.respond(request, bytes(SHARED_MIN), net.now, things=things(8, 9), regions=1)
    net.pump()
    (outcome,) = net.outcomes(net.a, token)
    assert (outcome.status, outcome.payload) == (events.REPLIED, bytes(SHARED_MIN))
    assert numbers(outcome.beside.regions + outcome.beside.files) == [8, 9]
