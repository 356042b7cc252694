"""Runs of plain messages: the short way does what the long way does, frame by frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Limits, codes, events
from busway.protocol.messaging.endpoints import _read_run
from busway.protocol.wire.fields import frame

from .pairs import E, F, G
from .streams import NOW, RECORD, Cut, Listener, at_random, one_by_one, opened, whole


class Model:
    """The view of a receiver of plain messages: number, payload and gap of each, and what it refused."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.queues = [list[tuple[int, bytes, int]]() for _ in range(3)]
        self.late = self.refused = self.dropped = 0

    def message(self, which: int, seq: int, payload: bytes) -> None:
        gap = seq - self.last.setdefault(which, seq - 1)
        if gap <= 0:
            self.late += 1
            return
        self.last[which] = seq
        queue = self.queues[which]
        full = len(queue) == (20, 6, 6)[which]
        self.refused += full and which == 0
        self.dropped += full and which > 0
        if full and which == 1:
            queue.pop(0)
        if not full or which == 1:
            queue.append((seq & 0xFFFF, payload, gap - 1))


STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from([1, 1, 1, 2, 3, 0, -2]), st.integers(0, 120)),
    max_size=40,
)


@given(STEPS, st.sampled_from([whole, one_by_one, at_random(5)]))
@settings(max_examples=60)
def test_plain_messages_are_numbered_counted_and_bounded_on_every_way(
    steps: list[tuple[int, int, int]], cut: Cut
) -> None:
    listener, model, stream = Listener(Limits(frame_size_max=160)), Model(), b""
    listener.feed([RECORD[0]])
    seqs = [0xFFF0] * 3
    for which, step, size in steps:
        seqs[which] += step
        alias = bytes((which + 1,))
        if which not in model.last:
            alias = b"\x00" + alias + (E, F, G)[which]
        kind = codes.PUBLISH if which == 2 else codes.SEND
        head = bytes((codes.MESSAGE | kind << 4 | size & 1,))
        stream += frame(head + alias + (seqs[which] & 0xFFFF).to_bytes(2, "big") + bytes([size]) * size)
        model.message(which, seqs[which], bytes([size]) * size)
    listener.feed(cut(stream))
    counters = listener.node.receiving.counters
    assert (counters["late"], counters["refused"]) == (model.late, model.refused)
    assert counters["dropped"] == model.dropped
    for receiver, queue in zip(listener.receivers, model.queues, strict=True):
        assert receiver.size == sum(len(payload) for _, payload, _ in queue)
        assert [(m.seq & 0xFFFF, m.payload, m.missed) for m in receiver.queue.drain()] == queue


def run(start: int, sizes: list[int], **limits: int) -> tuple[int, Listener, list[int]]:
    """How many frames of these payload sizes, numbered from `start` on, read_run takes; and their ends."""
    listener = Listener(Limits())
    listener.feed([RECORD[0]])
    listener.feed([frame(b"\x80\x00\x01" + E + (start - 1 & 0xFFFF).to_bytes(2, "big"))])
    receiver = listener.receivers[0]
    receiver.queue.drain()
    (flow,) = receiver.endpoint.active
    flow.received = start - 1
    for name, value in limits.items():
        setattr(receiver, name, value)
    stream, ends = b"", []
    for number, size in enumerate(sizes, start):
        stream += frame(b"\x80\x01" + (number & 0xFFFF).to_bytes(2, "big") + bytes(size))
        ends.append(len(stream))
    after = _read_run(stream, 0, len(stream), 65536, b"\x80\x01", flow, receiver, NOW)
    got = [(message.seq, len(message.payload)) for message in receiver.queue.items]
    count = len(got)
    assert got == list(enumerate(sizes[:count], start))
    assert after == ([0, *ends][count])
    assert flow.received == start - 1 + count
    assert flow.queued == 1 + count
    assert receiver.size == sum(sizes[:count])
    return count, listener, ends


@pytest.mark.parametrize("start", [1, 0xFE, 0xFFFE, 0x1_FFFD])
def test_a_run_is_read_to_its_end_across_every_edge_of_its_number(start: int) -> None:
    sizes = [0, 1, 123, 124, 500, 16379, 16380, 65000, 7]
    assert run(start, sizes)[0] == len(sizes)


def test_a_length_of_four_bytes_is_left_to_the_long_way() -> None:
    listener = opened()
    bound = frame(b"\x80\x00\x01" + E + b"\x00\x01")
    listener.feed([bound + b"\x85\x80\x80\x00\x80\x01\x00\x02x" + b"\x05\x80\x01\x00\x03y"])
    assert [m.payload for m in listener.receivers[0].queue.drain()] == [b"", b"x", b"y"]


def test_a_run_ends_before_a_length_of_four_bytes() -> None:
    listener = opened()
    listener.feed([frame(b"\x80\x00\x01" + E + b"\x00\x01")])
    receiver = listener.receivers[0]
    (flow,) = receiver.endpoint.active
    first = b"\x05\x80\x01\x00\x02x"
    stream = first + b"\x85\x80\x80\x00\x80\x01\x00\x03y"
    assert _read_run(stream, 0, len(stream), 65536, b"\x80\x01", flow, receiver, NOW) == len(first)
    assert flow.received == 2


@pytest.mark.parametrize("start", [1, 0xF0, 0xFFF0])
def test_frames_of_one_length_are_read_across_every_edge_of_their_number(start: int) -> None:
    sizes = [9] * 40 + [200] * 300 + [9, 200, 9, 9, 9, 0, 0, 0]
    assert run(start, sizes, queue_max=1000, size_max=100_000)[0] == len(sizes)
    assert run(start, sizes, queue_max=1000, size_max=2400)[0] == 50


@pytest.mark.parametrize("number", [0xFF00, 0xFD, 0x01FE, 0xFF])
def test_one_of_the_same_length_with_another_number_ends_a_run(number: int) -> None:
    listener = opened()
    listener.feed([frame(b"\x80\x00\x01" + E + b"\x00\xfc")])
    receiver = listener.receivers[0]
    (flow,) = receiver.endpoint.active
    numbers = (0xFD, 0xFE, 0xFF, 0x100) if number == 0xFF else (0xFD, 0xFE)
    stream = b"".join(frame(b"\x80\x01" + each.to_bytes(2, "big") + b"same") for each in (*numbers, number))
    after = _read_run(stream, 0, len(stream), 65536, b"\x80\x01", flow, receiver, NOW)
    assert after == len(stream) - 9
    assert flow.received == numbers[-1]


@pytest.mark.parametrize(
    ("limits", "count"), [({"queue_max": 3}, 3), ({"size_max": 30}, 3), ({"size_max": 29}, 2)]
)
def test_a_run_stops_where_the_queue_is_full(limits: dict[str, int], count: int) -> None:
    assert run(1, [10] * 6, **limits)[0] == count


def test_the_largest_of_a_run_is_remembered() -> None:
    _, listener, _ = run(1, [10, 300, 20])
    assert listener.receivers[0].endpoint.message_size == 300


def test_a_run_is_told_counted_and_dated_like_any_message() -> None:
    listener = Listener(Limits())
    listener.feed([RECORD[0], frame(b"\x80\x00\x01" + E + b"\x00\x01")])
    (flow,) = listener.receivers[0].endpoint.active
    listener.receivers[0].queue.drain()
    told = len(listener.happened)
    stream = b"".join(frame(b"\x80\x01\x00" + bytes([number])) for number in range(2, 8))
    listener.happened += listener.connection.receive_data(stream, NOW + 5)
    assert [event.kind for event in listener.happened[told:]] == [events.MESSAGES]
    assert listener.node.receiving.counters["received"] == 7
    assert flow.last_used == NOW + 5
    assert {message.received_at for message in listener.receivers[0].queue.items} == {(NOW + 5) / 1000}
