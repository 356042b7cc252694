"""Logs what handlers and callbacks raise: the first of a kind in full, then how many more there were, at
growing intervals.

Runs nothing: the timers are the bus's, and what is to be logged goes through it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from busway.names import ascii_safe

_log = logging.getLogger("busway")
_FIRST_S = 1.0  # the first count after this
_LAST_S = 3600.0  # ... each next one after twice as long, but no longer than this
_KINDS_MAX = 256  # kinds of failures told apart; the others share one


class _Kind:
    """A sort of failure that has been logged in full lately."""

    __slots__ = ("count", "interval", "name", "text", "timer")

    def __init__(self, name: str, timer: Any) -> None:
        self.name = name
        self.timer = timer
        self.interval = _FIRST_S
        self.count = 0  # since the last line
        self.text = ""  # of the last one


class Failures:
    """The exceptions that a bus's handlers and callbacks have raised.

    Args: `call_later(delay, callback)` of the bus's loop; `say(callback)` calls it where logging is allowed.
    In threads everything here is called with the engine's lock held.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], object]], Any],
        say: Callable[[Callable[[], object]], object],
    ) -> None:
        self._call_later = call_later
        self._say = say
        self._kinds: dict[object, _Kind] = {}

    def add(self, name: str, error: BaseException) -> None:
        """`name`, such as "a handler of lab/pump", has raised `error`: logged now, or counted."""
        where: object = (name, type(error), _place(error.__traceback__))
        if where not in self._kinds and len(self._kinds) >= _KINDS_MAX:
            where = None
        known = self._kinds.get(where)
        if known is not None:
            known.count += 1
            known.text = ascii_safe(describe(error))
            return
        timer = self._call_later(_FIRST_S, partial(self._due, where))
        self._kinds[where] = _Kind(name if where is not None else "one of many handlers", timer)
        self._say(partial(_log.error, "%s failed", name, exc_info=error))

    def _due(self, where: object) -> None:
        kind = self._kinds[where]
        if not kind.count:
            del self._kinds[where]  # it is over: the next one is news again
            return
        self._tell(kind)
        kind.interval = min(_LAST_S, 2 * kind.interval)
        kind.timer = self._call_later(kind.interval, partial(self._due, where))

    def _tell(self, kind: _Kind) -> None:
        words = "%s failed %d more %s in the same way, the last with %s"
        times = "time" if kind.count == 1 else "times"
        self._say(partial(_log.error, words, kind.name, kind.count, times, kind.text))
        kind.count = 0

    def close(self) -> None:
        """Tell what has not been told. Twice is once."""
        kinds, self._kinds = self._kinds, {}
        for kind in kinds.values():
            if kind.count:
                self._tell(kind)
            kind.timer.cancel()


def _place(trace: TracebackType | None) -> object:
    """The place where it was raised."""
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def describe(error: BaseException) -> str:
    """The exception in words, even if its own text fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a program's own class may raise whatever it likes
        return f"{type(error).__name__} (its text cannot be shown)"
