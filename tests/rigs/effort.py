"""How much work something is, in units that fit the machine: for tests that hostile input costs little.

Knows nothing of what it measures.
"""

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

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


def calls_of(action: Callable[[], object], turns: int = 10) -> int:
    """Calls of functions that Python sees in `action`: the least of so many turns, for now and then one
    brings about more.
    """
    found = []
    for _ in range(turns):
        count = 0

        def seen(_frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(seen)
        try:
            action()
        finally:
            sys.setprofile(None)
        found.append(count)
    return min(found)
