"""How many lines of some code are run: a measure of work that is the same on every machine.

Knows nothing of what it measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(action: Callable[[], object], folder: str) -> int:
    """The lines that `action` runs in files whose path has `folder` in it; each turn of a loop counts."""
    count = 0

    def each(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return each

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        return each if folder in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        action()
    finally:
        sys.settrace(before)
    return count
