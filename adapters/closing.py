"""The result of a `close` that is over at once, and those of futures that wait for what ends, or begins."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class Done:
    """`await` may stand before it, as before that of a bus."""

    def __repr__(self) -> str:
        return "<done>"

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


def resolve(futures: list[Any], failure: BaseException | None) -> None:
    """Ends all that are not yet done: with None, or by raising the failure."""
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
            future.exception()  # whoever waited may have been cancelled
