"""Pauses before what failed is tried again. Pure: no store, no time."""

from __future__ import annotations

from typing import Any

import pytest

from busway.store.intake import Intake, StoredMessage
from busway.store.memory import Memory
from busway.store.queues import Budget, Queue, Session
from busway.store.records import Delivered, pause_ms
from busway.store.tables import Change, Entry

NOW = 1_000_000


def entry(pos: int, tries: int = 0) -> Entry:
    return Entry(
        pos, 2, "jobs/a", bytes(16), bytes(16), "", bytes(24), 0, 0, 1, 0, 0, b"", b"", 0, tries=tries
    )


class Source:
    """One message."""

    title = "work"
    tries = 100

    def __init__(self, tries: int) -> None:
        self.first: list[Entry] = []
        self.entries = [entry(1, tries)]

    def read(self, tables: Any, after: int, count: int) -> tuple[list[Entry], int]:
        found, self.entries = self.entries, []
        return found, found[-1].pos if found else after

    def done(self, queue: Queue, positions: list[int]) -> list[Change]:
        return []

    def trouble(self, entry: Entry, tries: int, due: int, dead: str) -> Change:
        return ("trouble", tries, due, dead)


def given(tries: int) -> tuple[Queue, Session]:
    """A queue whose message has failed so often, and a consumer that has it."""
    queue = Queue(Source(tries), None, Budget())  # type: ignore[arg-type]
    session = Session(queue, bytes(16), bytes(16), bytes(16), 1)
    session.visibility = 30.0
    queue.sessions.append(session)
    assert queue.pump(NOW) == [session]
    queue.held(session, 1, 0.0)
    return queue, session


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_ms(tries) for tries in (1, 2, 3, 7, 8, 100)] == [500, 1000, 2000, 32_000, 60_000, 60_000]


@pytest.mark.parametrize(("tries", "due"), [(0, 0), (1, NOW + 500), (3, NOW + 2000)])
def test_what_took_too_long_goes_to_another_at_once_and_then_ever_later(tries: int, due: int) -> None:
    queue, session = given(tries)
    assert queue.overdue(session, 29.0, NOW) == []
    assert queue.overdue(session, 31.0, NOW) == [("trouble", tries + 1, due, "")]
    assert queue.next_due() == due
    assert queue.pump(NOW) == ([] if due else [session])
    assert queue.pump(NOW + 60_000) == ([session] if due else [])


@pytest.mark.parametrize(
    ("attach", "tries", "pause"),
    [({"durable": "work"}, 0, 500), ({"durable": "work"}, 2, 2000), ({}, 0, 0), ({}, 2, 0)],
)
def test_a_job_that_is_given_back_waits_ever_longer_and_mail_keeps_its_order(
    attach: dict[str, Any], tries: int, pause: int
) -> None:
    intake = Intake(attach, Memory(), False)
    found = Delivered(bytes(24), "jobs/a", bytes(16), bytes(16), "", 0, b"", b"", 1, 0, 1, tries)
    StoredMessage(intake, found, 7).retry()
    StoredMessage(intake, found, 8).retry(0.25)
    assert intake.report().again == [(7, pause), (8, 250)]
