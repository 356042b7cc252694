"""Runs of plain messages: the short way does what the long way does, frame by frame."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Limits, codes
from busway.protocol.outbox import frame

from .pairs import E, F, G
from .streams import RECORD, Cut, Listener, at_random, one_by_one, whole


class Model:
    """What a receiver of plain messages must show: number, payload and gap of each, and what it refused."""

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
    counters = listener.node.desk.counters
    assert (counters["late"], counters["refused"]) == (model.late, model.refused)
    assert counters["dropped"] == model.dropped
    for receiver, queue in zip(listener.receivers, model.queues, strict=True):
        assert receiver.size == sum(len(payload) for _, payload, _ in queue)
        assert [(m.seq & 0xFFFF, m.payload, m.missed) for m in receiver.queue.drain()] == queue
