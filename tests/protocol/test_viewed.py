"""Messages whose payload lies in memory that others see: what programs get of it."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Message, codes
from busway.protocol.messaging.viewed import ViewedMessage
from busway.protocol.wire.things import SHARED_MIN

from .beside import Machine, numbers, things
from .nets import BROADCAST, UNICAST
from .pairs import E, Pair

LARGE = b"0123456789abcdef" * (SHARED_MIN // 16)


def drained(net: Pair, payload: bytes, *words: Any) -> list[Message]:
    receiver = net.b.register(E, UNICAST)
    net.pump()
    net.a.send(E, payload, net.now, *words)
    net.pump()
    return net.drain(net.b, receiver)


def test_bytes_are_copied_when_they_are_asked_for() -> None:
    (message,) = drained(Machine(), LARGE)
    assert isinstance(message, ViewedMessage)
    view = message.view
    assert (view.readonly, bytes(view)) == (True, LARGE)
    assert message.view is view
    assert message.lent is view
    payload = message.payload
    assert (type(payload), payload) == (bytes, LARGE)
    assert message.payload is payload
    assert message.view.obj is payload


def test_all_else_of_the_message_is_as_ever() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST, name="lab/camera")
    net.pump()
    net.a.send(E, b"small", net.now)
    net.a.send(E, LARGE, net.now, things=things(1, 2))
    net.pump()
    small, large = net.drain(net.b, receiver)
    assert (large.seq, large.missed, large.format, large.type_id) == (small.seq + 1, 0, codes.RAW, b"")
    assert (large.source, large.endpoint, large.name, large.error) == (small.source, E, "lab/camera", None)
    assert numbers(large.things) == [1, 2]
    assert (large.retained, large.last_word) == (False, False)
    for _ in "12":  # before its bytes have been copied, and behind that
        assert repr(large).startswith("<message 2 to 'lab/camera' from 'A': b'0123456789abcdef")
    with pytest.raises(AttributeError, match="nothing"):
        large.nothing  # noqa: B018


def test_every_payload_that_is_bytes_or_an_array_has_a_view() -> None:
    (message,) = drained(Machine(), b"small")
    assert not isinstance(message, ViewedMessage)
    assert (bytes(message.view), message.view.readonly) == (b"small", True)
    message.payload = bytearray(b"array")
    assert (bytes(message.view), message.view.readonly) == (b"array", True)
    message.payload = {"a": 1}
    with pytest.raises(TypeError, match=r"only bytes and arrays have a view, not .* of type "):
        message.view  # noqa: B018


def test_what_is_no_bytes_is_left_to_be_decoded_from_the_view() -> None:
    (message,) = drained(Machine(), LARGE, codes.CBOR)
    assert not isinstance(message, ViewedMessage)
    assert (type(message.payload), bytes(message.payload)) == (memoryview, LARGE)


def test_what_wants_an_answer_is_copied_at_once() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    net.a.request(E, LARGE, net.now)
    net.a.send(E, LARGE, net.now, confirm=True)
    net.pump()
    for message in net.drain(net.b, receiver):
        assert (type(message.payload), message.payload) == (bytes, LARGE)
        assert bytes(message.view) == LARGE


def test_a_view_that_is_sent_to_this_node_itself_comes_as_bytes() -> None:
    net = Machine()
    receiver = net.a.register(E, UNICAST)
    net.a.send(E, memoryview(LARGE), net.now)
    net.a.send(E, memoryview(b"small"), net.now)
    net.pump()
    for message, sent in zip(net.drain(net.a, receiver), (LARGE, b"small"), strict=True):
        assert isinstance(message, ViewedMessage)
        assert bytes(message.view) == sent
        assert (type(message.payload), message.payload) == (bytes, sent)


def test_each_of_several_subscribers_has_its_own() -> None:
    net = Machine()
    receivers = [net.b.register(E, BROADCAST) for _ in range(3)]
    net.pump()
    net.a.publish(E, LARGE, net.now)
    net.a.publish(E, memoryview(LARGE), net.now)
    net.pump()
    found = [net.drain(net.b, receiver) for receiver in receivers]
    assert [len(messages) for messages in found] == [2, 2, 2]
    assert len({id(message) for messages in found for message in messages}) == 6
    for messages in found:
        assert [bytes(message.view) for message in messages] == [LARGE, LARGE]
        assert [message.payload for message in messages] == [LARGE, LARGE]


def test_how_far_it_was_published_stays() -> None:
    net = Machine()
    receiver = net.b.register(E, BROADCAST)
    net.pump()
    net.a.publish(E, LARGE, net.now, realm=codes.USERSPACE)
    net.pump()
    (message,) = net.drain(net.b, receiver)
    assert isinstance(message, ViewedMessage)
    assert (message.reach, message.retained) == (codes.USERSPACE, False)


def test_many_at_once() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    for number in range(4):
        net.a.send(E, bytes([number]) * (SHARED_MIN if number % 2 else 5), net.now)
    net.pump()
    taken = net.b.take_many(receiver, 10)
    assert [(message.payload[:2], len(message.payload)) for message in taken] == [
        (b"\0\0", 5),
        (b"\1\1", SHARED_MIN),
        (b"\2\2", 5),
        (b"\3\3", SHARED_MIN),
    ]
