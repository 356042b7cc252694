"""Waits for sockets and conditions with a bound, so that no test sleeps for a guessed time."""

import select
import time
from collections.abc import Callable

from busway.drivers import Channel, Listener

_BOUND_S = 60


def until(condition: Callable[[], bool], what: str) -> None:
    """Polls until the condition holds. AssertionError after a minute."""
    deadline = time.monotonic() + _BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {_BOUND_S} s for {what}"
        time.sleep(0.001)


def readable(waiter: Channel | Listener) -> None:
    assert select.select([waiter.fileno()], [], [], _BOUND_S)[0], f"nothing to read within {_BOUND_S} s"


def writable(channel: Channel) -> None:
    assert select.select([], [channel.fileno()], [], _BOUND_S)[1], f"not writable within {_BOUND_S} s"


def accept(listener: Listener) -> Channel:
    """The next incoming connection."""
    readable(listener)
    channel = listener.accept()
    assert channel is not None
    return channel


def read(channel: Channel, size: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        readable(channel)
        part = channel.read(size - len(data))
        assert part != b"", f"the end after {len(data)} of {size} bytes"
        data += part or b""
    return data


def fill(channel: Channel) -> tuple[int, bool]:
    """Writes until the channel is busy. Returns how many bytes it took, and whether one write was partial."""
    chunk = bytes(4 << 20)
    total, partial = 0, False
    while taken := channel.write(chunk):
        total += taken
        partial = partial or taken < len(chunk)
    return total, partial
