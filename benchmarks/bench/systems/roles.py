"""The base of all roles: opened on entering, closed on leaving, and what it says of itself."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from typing import Self

HIGH_WATER = 2_048  # messages that may wait, on all sides of all systems: half of Busway's default queue


class Role:
    """One side of a system in a worker that blocks. PLACE is a folder of its own for each pair."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.stack = ExitStack()

    def open(self) -> None:
        raise NotImplementedError

    def about(self) -> str:
        """The version that runs."""
        return ""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


class AsyncRole:
    """The same for a worker with an event loop."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        raise NotImplementedError

    def about(self) -> str:
        """The version that runs."""
        return ""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()
