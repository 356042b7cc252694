"""The little that the code needs for being compiled: nothing of the compiler is there when a program runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_):
        """Leave the class as it is."""
        return lambda one: one


def warn_of_forgotten(kind: type, *names: str) -> None:
    """In Python's development mode (`python -X dev`), have these coroutine functions of a class be such that
    Python warns of one that nobody awaits: of what is compiled it does not know.
    """
    if sys.flags.dev_mode:
        for name in names:
            setattr(kind, name, _told(getattr(kind, name), f"{kind.__qualname__}.{name}"))


def _told(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(function)
    async def told(*args: Any, **options: Any) -> Any:
        return await function(*args, **options)

    told.__qualname__ = name
    return told
