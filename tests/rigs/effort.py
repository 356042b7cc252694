"""How much work something is, in units that fit the machine: for tests that hostile input costs little.

Knows nothing of what it measures.
"""

import time
from collections.abc import Callable

_STEPS = 30_000  # some milliseconds: enough to be measured well, little beside what is


def _step(table: dict[int, int], number: int) -> None:
    table[number & 1023] = number


def effort(action: Callable[[], object]) -> float:
    """Processor time of `action`, in that of a million calls of a small function, measured just before.

    A slow or busy machine, coverage or a tracer makes both slower, so a bound on it holds where one in
    seconds does not.
    """
    table: dict[int, int] = {}
    start = time.process_time()
    for number in range(_STEPS):
        _step(table, number)
    middle = time.process_time()
    action()
    return (time.process_time() - middle) / (middle - start) * _STEPS / 1_000_000
