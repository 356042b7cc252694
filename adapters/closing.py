"""The result of a `close` that is over at once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class Done:
    """`await` may stand before it, as before that of a bus."""

    def __repr__(self) -> str:
        return "<done>"

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()
