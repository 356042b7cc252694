"""The bounds of a store, in room and time, and the room that it has taken. Knows no bus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from busway.store.records import OVERHEAD, PUBLISHED, STORE_FULL, TOO_LARGE, TRIES, Item, StoreError
from busway.store.tables import ANSWER, Entry, Gone, Tables

MIB = 1 << 20
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Keep:
    """The most that is kept, in bytes, messages and ms; a message counts 256 bytes besides its payload.

    `size` is of all; `share` of that any one sender may have as mail; `mail` are messages that wait for who
    is away, at most for `age_mail`. Of what was published `history` bytes, `count` messages and `age` are
    kept, and more only for durables that have not had it. `message` is the largest payload.
    """

    size: int = 1024 * MIB
    share: float = 0.25
    mail: int = 1_000_000
    age_mail: int = 7 * DAY_MS
    history: int = 256 * MIB
    count: int = 1_000_000
    age: int = DAY_MS
    message: int = 4 * MIB
    tries: int = TRIES


class Usage:
    """The room that a store has taken, by sender; senders that have nothing are forgotten."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self.size = 0
        self.mail = 0
        self.published = 0
        self.published_size = 0
        self._of: Counter[bytes] = Counter()

    def read(self, tables: Tables) -> None:
        """Begin with what is there."""
        self.__init__(self._keep)  # type: ignore[misc]
        for kind, source, count, size in tables.usage():
            self._add(kind, source, count, size)

    def _add(self, kind: int, source: bytes, count: int, size: int) -> None:
        self.size += size
        if kind == PUBLISHED:
            self.published += count
            self.published_size += size
            return
        if kind != ANSWER:
            self.mail += count
        self._of[source] += size
        if not self._of[source]:
            del self._of[source]

    def came(self, entry: Entry) -> None:
        self._add(entry.kind, entry.source, 1, entry.size)

    def gone(self, entries: Iterable[Gone]) -> None:
        for entry in entries:
            self._add(entry.kind, entry.source, -1, -entry.size)

    def answer_came(self, owner: bytes, size: int) -> None:
        """Count an outcome of a stored request, which takes room of who asked until it is fetched."""
        self._add(ANSWER, owner, 1, size)

    def has_room(self, source: bytes, size: int) -> bool:
        """Whether so many bytes more may be kept of one sender."""
        share = self._of[source] + size <= self._keep.size * self._keep.share
        return share and self.size + size <= self._keep.size

    def has_room_for_published(self, size: int) -> bool:
        """Whether so many bytes more may be kept of what is published: beyond the history for durables that
        have not had it, but a sender's share always remains for mail.
        """
        keep = self._keep
        most = max(keep.history, keep.size * (1 - keep.share))
        return self.size + size <= keep.size and self.published_size + size <= most

    def fault(self, source: bytes, item: Item) -> StoreError | None:
        """Why there is no room for a message; None if there is."""
        size = len(item.payload) + OVERHEAD
        if len(item.payload) > self._keep.message:
            return StoreError(
                TOO_LARGE, f"the store takes payloads of {self._keep.message} bytes at the most"
            )
        if self.size + size > self._keep.size:
            return StoreError(STORE_FULL, f"the store has its {self._keep.size} bytes: it keeps no more")
        if item.kind == PUBLISHED:
            if self.has_room_for_published(size):
                return None
            return StoreError(
                STORE_FULL, "the store has as much of what was published as it keeps beside mail"
            )
        if self.mail >= self._keep.mail:
            return StoreError(STORE_FULL, f"the store has its {self._keep.mail} messages for who is away")
        if not self.has_room(source, size):
            return StoreError(STORE_FULL, "the store has as much of this sender as it keeps of one")
        return None

    def shown(self) -> dict[str, Any]:
        """For people and scripts."""
        return {
            "bytes": self.size,
            "bytes_max": self._keep.size,
            "mail": self.mail,
            "published": self.published,
            "published_bytes": self.published_size,
        }
