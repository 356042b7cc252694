"""Random bytes for boards that have no os.urandom. Not secret: give `Loop` an `entropy` of your own where the
link has a token.

Knows nothing else.
"""

import random
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ticks: "Any" = getattr(time, "ticks_us", getattr(time, "perf_counter_ns", None))


def urandom(size: int) -> bytes:
    """`size` bytes that differ from call to call and, as far as the board's clock and generator do, from
    start to start."""
    data = bytearray(size)
    for at in range(size):
        # The generator may start the same each time; how long the start took to here does not.
        data[at] = (random.getrandbits(8) ^ _ticks() ^ _ticks() >> 8) & 0xFF
        time.sleep(0.0001)
    return bytes(data)
