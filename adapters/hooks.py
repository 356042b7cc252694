"""A program's hooks, called one by one and never for longer than they may take.

How a hook is run is the host's: a task of asyncio, or a thread. Knows no client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

Done = Callable[[Any, BaseException | None], object]  # what it returned, or raised


class Loop(Protocol):
    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any: ...


class Host(Protocol):
    """A bus as its hooks need it."""

    @property
    def loop(self) -> Any: ...
    def run_hook(
        self, hook: Callable[..., Any], args: tuple[Any, ...], done: Done
    ) -> Callable[[], object]: ...


class HookTimeout(TimeoutError):
    """A hook that did not end in time."""


class Run:
    """One call of a hook. Args: `done` is called once, with HookTimeout after `limit_s` seconds if it has not
    ended by then; `ended` is called in that case, if it ends later.
    """

    __slots__ = ("_cancel", "_done", "_ended", "_timer")

    def __init__(
        self,
        host: Host,
        hook: Callable[..., Any],
        args: tuple[Any, ...],
        limit_s: float,
        done: Done,
        ended: Callable[[], object] | None = None,
    ) -> None:
        self._done: Done | None = done
        self._ended = ended
        late = HookTimeout(f"the hook did not end within {limit_s:g} s")
        self._timer = host.loop.call_later(limit_s, partial(self._late, late))
        self._cancel = host.run_hook(hook, args, self._over)

    def _over(self, value: Any, error: BaseException | None) -> None:
        self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(value, error)
        elif self._ended is not None:
            self._ended()

    def _late(self, error: HookTimeout) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(None, error)
            self._cancel()


class Line:
    """The calls of one client's hooks: one at a time, in order. `failed` is told of what they raise."""

    __slots__ = ("_failed", "_host", "_limit_s", "_waiting", "busy", "stuck")

    def __init__(
        self, host: Host, limit_s: float, failed: Callable[[Callable[..., Any], BaseException], object]
    ) -> None:
        self._host = host
        self._limit_s = limit_s
        self._failed = failed
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.busy = False
        self.stuck = False  # the last did not end in time, and has not ended yet

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, hook: Callable[..., Any], *args: Any) -> None:
        """Call it when those before have ended."""
        self._waiting.append((hook, args))
        if not self.busy:
            self._next()

    def _next(self) -> None:
        self.busy = bool(self._waiting)
        if self.busy:
            hook, args = self._waiting.popleft()
            Run(self._host, hook, args, self._limit_s, partial(self._told, hook), self._free)

    def _told(self, hook: Callable[..., Any], _value: Any, error: BaseException | None) -> None:
        if error is not None:
            self._failed(hook, error)
        self.stuck = isinstance(error, HookTimeout)
        if not self.stuck:
            self._next()

    def _free(self) -> None:
        self.stuck = False
        self._next()
