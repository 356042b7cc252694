"""The campaign of run.py, for a moment; `make soak` has the long one. And that it finds what it looks for."""

from __future__ import annotations

import pytest

from tests.chaos import run, stamps


def test_nothing_leaks_and_nothing_changes_whoever_is_killed() -> None:
    counts, faults = run.chaos(16, 3.0)
    assert faults == []
    assert counts["kills"] > 0
    for what in ("send: good", "request: good", "frame", "message", "files", "regions", "held", "read"):
        assert counts[what] > 0, run.told(counts)


def test_a_payload_that_has_changed_is_seen() -> None:
    made = bytearray(stamps.make(100_000, 3, 7))
    assert stamps.read(memoryview(made)) == (3, 7)
    with pytest.raises(ValueError, match="99999 bytes where 100000 were sent"):
        stamps.read(memoryview(made)[:-1])
    again = stamps.make(100_000, 3, 8)
    for at in (40, 5_000, 99_999):
        torn = made[:at] + again[at:]
        with pytest.raises(ValueError, match="number 7 of source 3 is not what was sent"):
            stamps.read(memoryview(torn))
