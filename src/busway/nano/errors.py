"""The errors of nano applications and their buses."""

from __future__ import annotations

from busway.errors import BusError


class WiringError(BusError):
    """An application whose handlers and routes do not fit together. Raised when it is made.

    Args:
        problems: a sentence for each thing that is wrong.
        picture: the application as Mermaid text; what is wrong is red in it.
    """

    def __init__(self, problems: tuple[str, ...], picture: str) -> None:
        super().__init__(problems, picture)
        self.problems = problems
        self.picture = picture

    def __str__(self) -> str:
        return "\n".join([*(f"- {problem}" for problem in self.problems), "", self.picture])


class Missed(BusError):
    """A reader could not have some messages. It goes on with those behind them.

    Args:
        missed: how many messages these were.
        position: of what it reads next.
        reason: a sentence for people.
    """

    def __init__(self, missed: int, position: int, reason: str) -> None:
        super().__init__(missed, position, reason)
        self.missed = missed
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.missed} messages missed: {self.reason}" if self.missed else self.reason


class Lapped(Missed):
    """The writers of a ring came round and wrote over what the reader had not read yet."""


class Damaged(Missed):
    """A part of a file is no longer what was written there."""


class SchemaMismatch(BusError):
    """A file was written with other layouts of its message types, or by a machine with another byte order."""


class LogFull(BusError):
    """A file that is not growable has no room for the next message."""


class WorkerFailed(BusError):
    """A worker could not start, or ended for a reason other than `stop`."""


class Finished(Exception):
    """For handlers to raise: the whole application is to stop. What was emitted before it counts."""
