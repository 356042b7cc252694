"""A stranger on a serial line that damages, loses and doubles, and that is pulled and put back."""

from __future__ import annotations

import os
import random
import select
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stranger.carriers import SerialCarrier
from tests.stranger.leaf import now_ms
from tests.stranger.test_joins import calls, is_called, joined, neighbour, until

SEED = 20261128


@contextmanager
def noisy(far: int) -> Iterator[int]:
    """The terminal at the end of a bad line: one piece in 15 is damaged, cut or doubled, either way."""
    ours, theirs = os.openpty()
    for fd in (ours, theirs, far):
        tty.setraw(fd)
    chance = random.Random(SEED)
    stop = threading.Event()

    def spoilt(data: bytes) -> bytes:
        what = chance.randrange(45)
        at = chance.randrange(len(data))
        if what == 0:
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        if what == 1:
            return data[:at]
        return data + data if what == 2 else data

    def carry() -> None:
        ways = {far: ours, ours: far}
        while not stop.is_set():
            for fd in select.select(list(ways), [], [], 0.05)[0]:
                left = spoilt(os.read(fd, 256))
                while left and not stop.is_set():
                    left = left[os.write(ways[fd], left) :]

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield os.dup(theirs)
    finally:
        stop.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


def test_a_bad_line_loses_nothing() -> None:
    far, near = os.openpty()
    tty.setraw(near)
    with noisy(far) as end, neighbour(f"serial://{os.ttyname(near)}"):
        carrier = SerialCarrier(end, now_ms())
        with joined(carrier) as (leaf, inbox, news):
            calls(leaf)
            is_called(leaf, inbox, news)
        assert carrier.packets.damaged, "the line was not bad at all"
        assert carrier.packets.resent
    os.close(near)
    os.close(far)


def test_a_board_that_starts_anew_joins_again() -> None:
    """The other side learns by the new nonce that the session is another."""
    far, near = os.openpty()
    tty.setraw(near)
    with neighbour(f"serial://{os.ttyname(near)}"):
        for _ in range(3):
            carrier = SerialCarrier(os.dup(far), now_ms())
            with joined(carrier) as (leaf, _, _):
                assert leaf.request("near/double", 4) == 8
                leaf.session.state = "CLOSED"  # as when the power goes: without a word
    os.close(near)
    os.close(far)


def test_what_may_be_lost_comes_in_lossy_packets() -> None:
    far, near = os.openpty()
    tty.setraw(near)
    with neighbour(f"serial://{os.ttyname(near)}"):
        carrier = SerialCarrier(far, now_ms())
        with joined(carrier) as (leaf, _, news):
            assert leaf.request("near/forecast", 20) == 20
            until(lambda: bool(news) and len(news) + leaf.missed("near/news") >= news[-1] + 1 - news[0])
            assert leaf.lossy, "none of them came in a LOSSY packet"
            assert news == sorted(set(news))
    os.close(near)
