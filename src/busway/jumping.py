"""An event loop for tests whose time jumps to the next timer when all wait: an hour's sleep takes none.

The idea is trio's MockClock with autojump. Knows nothing of buses: they take the time from their loop.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

DAY_S = 86400.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stalled(RuntimeError):
    """Every task waits, and nothing that the loop knows of wakes one, or not before its limit. The text says
    where each waits.
    """


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with its own time: it begins at 0, stands still while something runs, and jumps to the
    next timer when all wait.

    While the loop watches a socket or another file, a thread works for it (`run_in_executor`,
    `asyncio.to_thread`) or a subprocess runs, nothing jumps: time passes as it does outside. Threads that the
    program has started itself are not seen.

    Args: `limit` in seconds of the loop's time. What runs the loop raises Stalled when they are over, and at
    once when all wait and there is no timer.
    """

    def __init__(self, *, limit: float = DAY_S) -> None:
        self._clock = _Clock(limit)
        super().__init__(self._clock)
        self._clock.report = self._report
        self._clock.own = len(self._clock.get_map())

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._clock.now

    def monotonic_ns(self) -> int:
        """The same in nanoseconds: the clock of the buses that are opened on this loop."""
        return round(self._clock.now * 1e9)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._clock.threads += 1
        future.add_done_callback(self._clock.worked)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._clock.threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._clock.threads -= 1

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        made = await super().subprocess_exec(*args, **options)
        self._clock.programs.add(made[0])
        return made

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        made = await super().subprocess_shell(*args, **options)
        self._clock.programs.add(made[0])
        return made

    def _report(self) -> str:
        """Where each task waits, one to a line."""
        return "\n".join(sorted(f"  {task.get_name()}: {_way(task)}" for task in asyncio.all_tasks(self)))


def _way(task: asyncio.Task[Any]) -> str:
    """The coroutines from the task's own to the one that waits."""
    steps = []
    awaited: Any = task.get_coro()
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        steps.append(f"{awaited.__name__} ({frame.f_code.co_filename}:{frame.f_lineno})")
        awaited = awaited.cr_await
    return " > ".join(steps)


class _Clock(selectors.BaseSelector):
    """The loop's selector: asked to wait for a timer, it lets the time pass instead."""

    def __init__(self, limit: float) -> None:
        self.now = 0.0
        self.threads = 0  # that work for the loop
        self.programs: set[asyncio.SubprocessTransport] = set()
        self.own = 0  # files that the loop itself has
        self.report: Callable[[], str] = str
        self._limit = self._until = limit
        self._seen = time.monotonic()
        self._files = selectors.DefaultSelector()

    def worked(self, _: object) -> None:
        self.threads -= 1

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        outside = self._has_outside()
        ready = self._files.select(timeout if outside else 0)
        seen, self._seen = self._seen, time.monotonic()
        if outside:
            self.now += self._seen - seen
        elif not ready and timeout != 0:
            self._jump(timeout)
        return ready

    def _has_outside(self) -> bool:
        """Whether something outside may wake the loop."""
        self.programs = {program for program in self.programs if program.get_returncode() is None}
        return self.threads > 0 or len(self.programs) > 0 or len(self._files.get_map()) > self.own

    def _jump(self, timeout: float | None) -> None:
        if timeout is not None and self.now + timeout <= self._until:
            self.now += timeout
            return
        why = "there is no timer" if timeout is None else f"the {self._limit:g} s that it may take are over"
        self._until = self.now + self._limit  # for those who clean up
        raise Stalled(f"every task waits, and {why}:\n{self.report()}")

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()


def run(main: Coroutine[Any, Any, T], *, limit: float = DAY_S) -> T:
    """Run a program on a JumpingLoop, as `asyncio.run` does on others, and return its result.

    Args: `limit` in seconds of the loop's time. Raises what `main` raises, and Stalled.
    """
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(limit=limit)) as runner:
        return runner.run(main)
