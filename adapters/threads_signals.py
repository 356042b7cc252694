"""Keeps Ctrl-C out of the midst of the core: there it waits until the call is over, or until it has to wait.

Python raises KeyboardInterrupt in the main thread between any two steps; half a step of the core's would
leave a link that is never written to again. Only Python's own handler of SIGINT is stood in for, while a bus
is open. Knows nothing of the bus.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_shielded: set[CodeType] = set()
_windows: set[CodeType] = set()
_lock = threading.Lock()
_users = 0


class _Interrupt:
    pending = False  # Ctrl-C came where it could not be raised


interrupt = _Interrupt()


def shielding(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """As `shielded`, but its caller looks at `interrupt.pending` behind it, and calls `raise_pending`."""
    _shielded.add(function.__code__)
    return function


def shielded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Ctrl-C in this function is raised when the outermost such one ends, or at the next window in it."""
    _shielded.add(function.__code__)

    @functools.wraps(function)
    def run(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return function(*args, **options)
        finally:
            if interrupt.pending:
                raise_pending()

    return run


def window(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """This function waits: Ctrl-C is raised in it at once, whoever has called it."""
    _windows.add(function.__code__)
    return function


def raise_pending() -> None:
    """Raises KeyboardInterrupt if one waits and this is a place for it."""
    if (
        interrupt.pending
        and threading.current_thread() is threading.main_thread()
        and _may_raise(sys._getframe(1))
    ):
        interrupt.pending = False
        raise KeyboardInterrupt


def _may_raise(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _windows:
            return True
        if frame.f_code in _shielded:
            return False
        frame = frame.f_back
    return True


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    if _may_raise(frame):
        interrupt.pending = False
        raise KeyboardInterrupt
    interrupt.pending = True


def install() -> None:
    """A bus is opened."""
    global _users
    with _lock:
        _users += 1
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _on_interrupt)


def uninstall() -> None:
    """A bus is closed; with the last one Python's own handler comes back."""
    global _users
    with _lock:
        _users -= 1
        ours = threading.current_thread() is threading.main_thread()
        if ours and not _users and signal.getsignal(signal.SIGINT) is _on_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
