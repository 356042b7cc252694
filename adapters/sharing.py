"""Large payloads between programs of one machine, as a bus shares them: memory that both sides see takes the
place of their bytes on a link (link/aside.py says when).

Light: what knows memory (busway/memory) is loaded with the first payload that is shared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import ref

from busway.protocol import Limits, Node, codes
from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire.things import SHARED_MIN

if TYPE_CHECKING:
    from busway.adapters.opening import Loop
    from busway.memory.large import Large

SWEEP_S: Final = 5.0
_USUAL: Final = Limits().shared_memory


class Host(Protocol):
    """A bus as this needs it."""

    node: Node
    sharing: Sharing | None

    @property
    def loop(self) -> Loop: ...
    def soon(self, callback: Callable[[], object]) -> None: ...


class Sharing:
    """All that one bus shares, over all of its links."""

    def __init__(self, host: Host) -> None:
        self._host = ref(host)
        self.size_max = most_of(host.node.limits)
        self._payload_size_max = host.node.limits.message_size_max
        self.given = 0  # payloads that were put into memory
        self.taken = 0  # that others had put there
        self._large: Large | None = None

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        """As protocol/link/aside.py says."""
        if not self.size_max:
            return None
        found = self._memory().put(payload)
        self.given += found is not None
        self._watch()
        return found

    def take(self, description: bytes, thing: Any) -> Any:
        """As protocol/link/aside.py says."""
        try:
            payload = self._memory().look(description, thing)
        except ValueError as error:
            raise _objection(error) from None
        self.taken += 1
        self._watch()
        return payload

    def join(self, pieces: Sequence[Any]) -> memoryview | None:
        """The pieces of a payload in memory from which it need not be copied again; None: they stay what
        they are. Any thread may call it.
        """
        host = self._host()
        if not self.size_max or host is None or sum(map(len, pieces)) < SHARED_MIN:
            return None
        if not any(connection.aside_on for connection in host.node.connections):
            return None
        large = self._memory()
        found = large.join(pieces)
        if large.wants_sweep():
            host.soon(partial(_sweep_later, ref(self)))
        return found

    def link_ended(self) -> None:
        """All that came over it may be of a program that is gone: nothing of that is kept here."""
        if self._large is not None:
            self._large.cache.clear()

    def _memory(self) -> Large:
        if self._large is None:
            with _making:
                if self._large is None:
                    from busway.memory.large import Large

                    self._large = Large(self.size_max, self._payload_size_max)
        return self._large

    def _watch(self) -> None:
        if self._large is not None and self._large.wants_sweep():
            _sweep_later(ref(self))

    def _sweep(self) -> None:
        if self._large is not None and self._large.sweep():
            _sweep_later(ref(self))

    def report(self) -> dict[str, object]:
        """For the node's report: docs/protocol.md, section 9."""
        row: dict[str, object] = {"given": self.given, "taken": self.taken, "size_max": self.size_max}
        large = self._large
        if large is None:
            return row | dict.fromkeys(("size", "regions", "held", "mapped", "leases"), 0)
        return row | {
            "size_max": large.size_max,  # 0 where the system has none
            "size": large.pool.size,
            "regions": large.pool.count,
            "held": large.held(),
            "mapped": large.cache.mapped(),
            "leases": len(large.leases),
        }


_making: Final = threading.Lock()


def _sweep_later(sharing: ref[Sharing]) -> None:
    """As a callback of the bus's loop; a bus that was dropped is let go."""
    found = sharing()
    host = None if found is None else found._host()
    if host is not None:
        host.loop.call_later(SWEEP_S, partial(_sweep, sharing))


def _objection(error: ValueError) -> Exception:
    """The exception that `take` raises for what came."""
    from busway.memory.large import TooLarge

    text = str(error)
    return Refusal(codes.TOO_LARGE, text) if isinstance(error, TooLarge) else LocalError(text)


def _sweep(sharing: ref[Sharing]) -> None:
    found = sharing()
    if found is not None:
        found._sweep()


def sharing_of(host: Host) -> Sharing:
    """The thing that the links of a bus have beside their bytes."""
    if host.sharing is None:
        host.sharing = Sharing(host)
    return host.sharing


def most_of(limits: Limits) -> int:
    """Bytes that a bus with these limits shares."""
    if limits.shared_memory != _USUAL:
        return limits.shared_memory
    try:
        return min(_USUAL, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    except (ValueError, OSError, AttributeError):  # Windows has no sysconf
        return 0
