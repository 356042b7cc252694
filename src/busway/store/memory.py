"""The memory of a receiver: the ids of the messages that it has taken, so that none is taken twice.

In memory, or in an SQLite file that outlives the program; there the program can write what came of a message
together with its id, in one transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

IDS_MAX = 65_536
"""Ids that are remembered: more than a store can repeat, which repeats nothing that it knows to be done."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS busway_taken"
    " (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE NOT NULL)"
)


class Memory:
    """Ids in memory, as long as the receiver is there."""

    def __init__(self) -> None:
        self._ids: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, ident: bytes) -> bool:
        with self._lock:
            return ident in self._ids

    def add(self, idents: Sequence[bytes]) -> None:
        """These are taken."""
        with self._lock:
            for ident in idents:
                self._ids[ident] = None
            while len(self._ids) > IDS_MAX:
                self._ids.popitem(last=False)

    @contextlib.contextmanager
    def taking(self, idents: Sequence[bytes]) -> Iterator[sqlite3.Connection]:
        """Raises ValueError: there is no file."""
        raise ValueError('a transaction needs a memory in a file: register(…, once="taken.db")')
        yield  # type: ignore[unreachable]

    def close(self) -> None:
        """Release everything."""


class FileMemory(Memory):
    """Ids in an SQLite file, which a program may use for tables of its own. Raises sqlite3.Error, OSError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._turn = threading.RLock()
        self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_SCHEMA)
        super().add([row[0] for row in self._db.execute("SELECT id FROM busway_taken ORDER BY number")])

    def has(self, ident: bytes) -> bool:
        if super().has(ident):
            return True
        with self._turn:  # another receiver may share the file
            found = self._db.execute("SELECT 1 FROM busway_taken WHERE id = ?", (ident,)).fetchone()
        return found is not None

    def add(self, idents: Sequence[bytes]) -> None:
        with self.taking(idents):
            pass

    @contextlib.contextmanager
    def taking(self, idents: Sequence[bytes]) -> Iterator[sqlite3.Connection]:
        """A transaction at whose end these are taken; what it raises undoes all of it."""
        with self._turn:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.executemany(
                    "INSERT OR IGNORE INTO busway_taken (id) VALUES (?)", [(each,) for each in idents]
                )
                self._db.execute(
                    "DELETE FROM busway_taken WHERE number <= (SELECT max(number) FROM busway_taken) - ?",
                    (IDS_MAX,),
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        super().add(idents)

    def close(self) -> None:
        with self._turn:
            self._db.close()
