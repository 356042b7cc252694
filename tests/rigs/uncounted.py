"""Keeps a part of a test out of coverage: the filling of a table whose last place only is of interest."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
