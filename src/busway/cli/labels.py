"""Waits for the labels of nodes of which another one told first, for commands that need them."""

from __future__ import annotations

import asyncio
import contextlib

from busway.adapters.asyncio import AsyncBus

_LATE_S = 0.3  # a label that has not come after this is waited for no more: the node may have none


class Labels:
    """Labels of the nodes of a bus, as far as one can be waited for."""

    def __init__(self, bus: AsyncBus, patience_s: float = _LATE_S) -> None:
        self._bus = bus
        self._patience_s = patience_s
        self._nameless: set[bytes] = set()  # waited for in vain

    async def wait(self, *wanted: bytes) -> None:
        """Until these nodes have labels (none given: all that there are), or it takes too long."""
        changes = self._bus.changes()
        try:
            with contextlib.suppress(TimeoutError, StopAsyncIteration):
                async with asyncio.timeout(self._patience_s):
                    while self._without(wanted):
                        await anext(changes)
        finally:
            await changes.aclose()
        self._nameless.update(self._without(wanted))

    def _without(self, wanted: tuple[bytes, ...]) -> list[bytes]:
        return [
            node.id
            for node in self._bus.nodes()
            if not node.label and node.id not in self._nameless and (not wanted or node.id in wanted)
        ]
