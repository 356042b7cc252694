"""Keeps parts of a test out of coverage: the filling of a table whose last place only is of interest, and all
seeds of a random run but a few.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest


@contextmanager
def uncounted() -> Iterator[None]:
    """What runs within is not measured, and takes half the time."""
    measuring = "coverage" in type(sys.gettrace()).__module__
    if not measuring:
        yield
        return
    from coverage import Coverage

    counted = Coverage.current()
    assert counted is not None
    counted.stop()
    try:
        yield
    finally:
        counted.start()


def first_counted(values: Iterable[Any], count: int) -> list[Any]:
    """Parameters of a test of which only the first `count` are measured: the rest run as ever."""
    each = iter(values)
    return [*islice(each, count), *(pytest.param(value, marks=pytest.mark.no_cover) for value in each)]
