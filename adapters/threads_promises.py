"""Promises, for which threads wait, and timers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from busway.adapters.threads_pool import Task


class Engine(Protocol):
    """The engine, as they need it."""

    def wait(self, promise: Promise, timeout: float | None = None) -> bool: ...
    def rouse(self, promise: Promise) -> object: ...


class Promise:
    """Something that a thread waits for. Resolved with the lock held, once."""

    resolved = False
    value: Any = None
    error: BaseException | None = None
    gate: threading.Lock | None = None  # what its follower sleeps on
    thread = 0  # that waits for it, while it stands in line
    roused = False  # it is resolved, and its follower has not yet gone on

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def done(self) -> bool:
        return self.resolved

    def set_result(self, value: Any) -> None:
        self.value = value
        self.resolved = True
        self.engine.rouse(self)

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self.set_result(None)

    def exception(self) -> BaseException | None:
        return self.error

    def result(self, timeout: float | None = None) -> Any:
        """Wait `timeout` seconds; the value. Raises TimeoutError, or what it failed with."""
        if not self.engine.wait(self, timeout):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.value


class Attendant(Promise):
    """A thread of the pool that watches the links. It leaves by itself, so it is never resolved."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.thread = threading.get_ident()
        self.tasks: deque[Task] = deque()  # its own, that came of what it read
        self.is_working = False  # at these, and not at the links
        self.turns = 0  # how often it has been at the links
        self.seen = -1  # its turns when the I/O thread last looked

    def next_task(self) -> Task | None:
        """Take out one; None if another thread was quicker."""
        try:
            return self.tasks.popleft()
        except IndexError:
            return None


class Timer:
    """A call to come."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None
