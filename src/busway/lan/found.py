"""All that was found, how, and what became of it: the records of a bus, and who follows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from busway.adapters.closing import Done
from busway.adapters.records import named
from busway.names import ascii_safe

if TYPE_CHECKING:  # the same to a checker
    from dataclasses import dataclass
else:
    from busway.adapters.frozen import dataclass

if TYPE_CHECKING:
    from busway.adapters.ends import Items

FOUND_MAX: Final = 4096  # records that wait to be read
FOUND_NAME: Final = "busway/found"  # where a program tells those of its user what it has found
STATES: Final = (
    *("seen", "dialling", "joined", "enough", "other bus", "refused"),
    *("unreachable", "ignored", "gone"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """A program or board that was found without its address having been given.

    `how`: "mdns" (it is announced on the local network), "remembered" (a link to it was open before),
    "incoming" (it came by itself, and nothing else is known of it), "serial" or "ble". `address` is its URL,
    `node` its node id (b"" while that is not known), `label` its program's, once it is on the bus. `state`:

    - "seen": nothing was tried yet;
    - "dialling": a link is being made;
    - "joined": there is a link;
    - "enough": it is on the bus, and reached through others: no link of its own is needed;
    - "other bus": it is of a bus with another name;
    - "refused": it, or this side, did not let the other in; `reason` says why;
    - "unreachable": nobody answers there, or not as Busway does; `reason` says more;
    - "ignored": it is left alone, for `reason`;
    - "gone": it is not there any more.
    """

    how: str
    address: str
    node: bytes
    label: str
    state: str
    reason: str

    def __repr__(self) -> str:
        who = f" {named(self.label, self.node)}" if self.node else ""
        why = f": {self.reason}" if self.reason else ""
        return f"<found by {self.how} at {self.address}{who}, {self.state}{why}>"


class Finds:
    """All that a bus has found, by keys of those who find it."""

    def __init__(self) -> None:
        self._there: dict[object, Found] = {}
        self.streams: WeakSet[BaseFoundStream] = WeakSet()

    def all(self) -> list[Found]:
        """Everything that is there now."""
        return list(self._there.values())

    def tell(self, key: object, found: Found) -> None:
        """It is so now."""
        if self._there.get(key) != found:
            self._there[key] = found
            self._pass_on(key, found)

    def gone(self, key: object, reason: str = "") -> None:
        """It is not there any more; nothing if it was not."""
        found = self._there.pop(key, None)
        if found is not None:
            self._pass_on(key, Found(found.how, found.address, found.node, found.label, "gone", reason))

    def _pass_on(self, key: object, found: Found) -> None:
        for stream in self.streams:
            stream._put(key, found)

    def rows(self) -> list[dict[str, Any]]:
        """As other programs of the user are told."""
        return [
            {
                "how": each.how,
                "address": ascii_safe(each.address),
                "node": each.node,
                "label": each.label,
                "state": each.state,
                "reason": ascii_safe(each.reason),
            }
            for each in self.all()
        ]

    def end(self) -> None:
        """No more will come."""
        for stream in list(self.streams):
            stream._finish()


class BaseFoundStream:
    """All that is found, then what becomes of it. Made by `found`; `close()` ends it.

    Of one that changes while nobody reads only the last is told. A reader that is FOUND_MAX behind loses the
    oldest; `missed` counts them.
    """

    def __init__(self, keep: Any, host: Any, items: Items) -> None:
        from busway.lan.hub import hub_of

        host.check()
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._items = items
        self._finds = hub_of(keep).finds
        self._waiting: dict[object, Found] = {}
        self.missed = 0
        host.look(self._begin)

    def __repr__(self) -> str:
        closed = ", closed" if self._items.ended else ""
        return f"<found: {len(self._waiting)} to be read{closed}>"

    def _begin(self) -> None:
        self._finds.streams.add(self)
        for key, found in self._finds._there.items():
            self._put(key, found)

    def _put(self, key: object, found: Found) -> None:
        is_new = key not in self._waiting
        if is_new and len(self._waiting) >= FOUND_MAX:
            del self._waiting[self._items.queue.popleft()]
            self.missed += 1
        self._waiting[key] = found
        if is_new:
            self._items.put(key)

    def _take(self, key: object) -> Found | None:
        """The record of a key that was read; None if there is none any more, as the stream was closed."""
        return self._waiting.pop(key, None)

    def _finish(self) -> None:
        self._finds.streams.discard(self)
        self._items.end()

    def _close(self) -> None:
        self._items.queue.clear()
        self._waiting.clear()
        self._finish()

    def close(self) -> Done:
        """Read no more. Twice is once. Of an AsyncBus it may be awaited."""
        self._host.look(self._close)
        return Done()


def read_rows(rows: object) -> Iterable[dict[str, Any]]:
    """The rows that another program has told, each whole. Raises ValueError for anything else."""
    if not isinstance(rows, list):
        raise ValueError("the answer is no list")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("node"), bytes):
            raise ValueError("the answer has an entry that is none")
        texts = {name: row.get(name) for name in ("how", "address", "label", "state", "reason")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("the answer has an entry that is none")
        yield {**texts, "node": row["node"]}
