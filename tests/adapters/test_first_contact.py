"""Two programs of at most eight lines each, in two processes, find each other with nothing configured."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks import first_contact


def test_the_programs_have_at_most_eight_lines() -> None:
    for program in (first_contact.SERVER, first_contact.CLIENT):
        assert len(program.strip().splitlines()) <= 8


def test_they_find_each_other_whoever_starts_first() -> None:
    assert first_contact.measure() > 0


@pytest.mark.parametrize("first", ["SERVER", "CLIENT"])
def test_the_programs_alone_do_it_too(first: str) -> None:
    """As people would start them: the one prints, the other runs on until it is stopped."""
    order = [first, "CLIENT" if first == "SERVER" else "SERVER"]
    started = []
    try:
        for name in order:
            text = getattr(first_contact, name).replace("ttl=5", "ttl=30")  # for a busy machine
            process = subprocess.Popen(
                [sys.executable, "-c", text],
                env=first_contact.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            started.append(process)
        client = started[order.index("CLIENT")]
        out, _ = client.communicate(timeout=60)
        assert out == "{'celsius': 21.5}\n"
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without BUSWAY_DIR the two agree on the directory by the user alone; the bus name keeps them apart."""
    monkeypatch.delenv("BUSWAY_DIR")
    name = f"first-contact-{os.getpid()}-{time.monotonic_ns()}"
    assert first_contact.measure(name) > 0
