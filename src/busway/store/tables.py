"""The tables of a store in SQLite: what each change does to them, and what is read from them.

A change is a tuple that begins with a word; it may be repeated without harm where a message of the journal
may come twice. Knows no bus, and no thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from busway.names import endpoint_id
from busway.protocol.wire.patterns import is_pattern, matches
from busway.store.records import OVERHEAD

SCAN_MAX = 100_000  # entries that one question looks at, at the most
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE entries (
  pos INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, name TEXT NOT NULL, endpoint BLOB NOT NULL,
  source BLOB NOT NULL, label TEXT NOT NULL, id BLOB NOT NULL, stored INTEGER NOT NULL,
  expires INTEGER NOT NULL, priority INTEGER NOT NULL, timeout INTEGER NOT NULL, format INTEGER NOT NULL,
  type BLOB NOT NULL, payload BLOB NOT NULL, size INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  due INTEGER NOT NULL DEFAULT 0, dead TEXT NOT NULL DEFAULT '');
CREATE INDEX by_endpoint ON entries (endpoint, pos);
CREATE INDEX by_expiry ON entries (expires) WHERE expires > 0;
CREATE INDEX published ON entries (pos) WHERE kind = 2;
CREATE TABLE senders (stream BLOB PRIMARY KEY, last INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE durables (name TEXT PRIMARY KEY, pattern TEXT NOT NULL, floor INTEGER NOT NULL,
  tries INTEGER NOT NULL, owner BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (durable TEXT NOT NULL, pos INTEGER NOT NULL, done INTEGER NOT NULL,
  tries INTEGER NOT NULL, due INTEGER NOT NULL, dead TEXT NOT NULL,
  PRIMARY KEY (durable, pos)) WITHOUT ROWID;
CREATE TABLE answers (id BLOB PRIMARY KEY, owner BLOB NOT NULL, expires INTEGER NOT NULL,
  status INTEGER NOT NULL, code INTEGER NOT NULL, text TEXT NOT NULL, format INTEGER NOT NULL,
  type BLOB NOT NULL, payload BLOB NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = (
    "pos, kind, name, endpoint, source, label, id, stored, expires, priority, timeout, format, type, payload,"
    " size, tries, due, dead"
)
_EXPECTED = (
    ("entries", _COLUMNS),
    ("senders", "stream, last, at"),
    ("durables", "name, pattern, floor, tries, owner"),
    ("marks", "durable, pos, done, tries, due, dead"),
    ("answers", "id, owner, expires, status, code, text, format, type, payload"),
)
_PUT = (
    "INSERT INTO entries (pos, kind, name, endpoint, source, label, id, stored, expires, priority, timeout,"
    " format, type, payload, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ANSWER = 3  # beside the kinds of entries: what became of a stored request
SENDERS_MAX = 1_000_000  # that are remembered; of more those that were heard last
Change = tuple[Any, ...]


def now_ms() -> int:
    """The time of day, ms since 1970."""
    return time.time_ns() // 1_000_000


class Entry(NamedTuple):
    """A message that is kept. `pos` is its place, `stored`, `expires` and `due` are ms since 1970."""

    pos: int
    kind: int
    name: str
    endpoint: bytes
    source: bytes
    label: str
    id: bytes
    stored: int
    expires: int
    priority: int
    timeout: int
    format: int
    type_id: bytes
    payload: bytes
    size: int
    tries: int = 0
    due: int = 0
    dead: str = ""

    def is_over(self, now: int) -> bool:
        """Whether it has expired: then it is removed soon."""
        return 0 < self.expires <= now


class Gone(NamedTuple):
    """An entry or answer that was removed."""

    kind: int
    source: bytes
    size: int


class Durable(NamedTuple):
    """A durable subscription: what is at `floor` and before it is done with."""

    name: str
    pattern: str
    floor: int
    tries: int
    owner: bytes


class Mark(NamedTuple):
    """A message of a durable that is not like others: done out of turn, tried before, or dead."""

    pos: int
    done: int
    tries: int
    due: int
    dead: str


class Tables:
    """The tables behind one connection. Args: `connection` in autocommit mode."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.db = connection
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        for table, columns in _EXPECTED:  # raises for a file with other tables
            connection.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchone()

    # Changes

    def apply(self, change: Change) -> Any:
        """Make a change within the transaction that is open; returns what it gives."""
        return getattr(self, f"_do_{change[0]}")(*change[1:])

    def _do_put(self, stream: bytes, last: int, now: int, entries: Sequence[Entry]) -> list[int]:
        """Entries of one sender. Those with `pos` 0 get the next place; returns the places."""
        found = []
        for entry in entries:
            made = self.db.execute(_PUT, (entry.pos or None, *entry[1:15]))
            found.append(made.lastrowid or 0)
        if stream:
            self.db.execute(
                "INSERT INTO senders VALUES (?, ?, ?) ON CONFLICT (stream) DO UPDATE"
                " SET last = max(last, excluded.last), at = excluded.at",
                (stream, last, now),
            )
        return found

    def _do_remove(self, positions: Iterable[int]) -> list[Gone]:
        """Entries are done with, expired or dropped; returns what they were."""
        found = []
        for pos in positions:
            row = self.db.execute("SELECT kind, source, size FROM entries WHERE pos = ?", (pos,)).fetchone()
            if row is not None:
                self.db.execute("DELETE FROM entries WHERE pos = ?", (pos,))
                found.append(Gone(*row))
        return found

    def _do_trouble(self, pos: int, tries: int, due: int, dead: str) -> None:
        self.db.execute(
            "UPDATE entries SET tries = ?, due = ?, dead = ? WHERE pos = ?", (tries, due, dead, pos)
        )

    def _do_durable(self, name: str, pattern: str, floor: int, tries: int, owner: bytes) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO durables VALUES (?, ?, ?, ?, ?)", (name, pattern, floor, tries, owner)
        )

    def _do_forget(self, name: str) -> None:
        """A durable is no more."""
        self.db.execute("DELETE FROM durables WHERE name = ?", (name,))
        self.db.execute("DELETE FROM marks WHERE durable = ?", (name,))

    def _do_progress(self, name: str, floor: int, marks: Sequence[Mark]) -> None:
        """A durable's floor, and what is said of messages above it. A mark that says nothing is removed."""
        self.db.execute("UPDATE durables SET floor = max(floor, ?) WHERE name = ?", (floor, name))
        for mark in marks:
            if mark == Mark(mark.pos, 0, 0, 0, ""):
                self.db.execute("DELETE FROM marks WHERE durable = ? AND pos = ?", (name, mark.pos))
            else:
                self.db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?)", (name, *mark))
        self.db.execute(
            "DELETE FROM marks WHERE durable = ? AND done = 1 AND pos <="
            " (SELECT floor FROM durables WHERE name = ?)",
            (name, name),
        )

    def _do_answer(self, *row: Any) -> list[Gone]:
        """The outcome of a stored request, until it is fetched or expires; returns those that it replaces."""
        found = self._do_answered(row[:1])
        self.db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return found

    def _do_answered(self, ids: Sequence[bytes]) -> list[Gone]:
        return [gone for each in ids for gone in self._forget_answers("id = ?", each)]

    def _forget_answers(self, where: str, value: Any) -> list[Gone]:
        rows = self.db.execute(
            f"DELETE FROM answers WHERE {where} RETURNING owner, length(payload)", (value,)
        ).fetchall()
        return [Gone(ANSWER, owner, size + OVERHEAD) for owner, size in rows]

    def _do_meta(self, key: str, value: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _do_tidy(self, now: int, senders_before: int) -> list[Gone]:
        """Forget answers that have expired, which are returned, and senders not heard since then."""
        self.db.execute("DELETE FROM senders WHERE at < ?", (senders_before,))
        (count,) = self.db.execute("SELECT count(*) FROM senders").fetchone()
        if count > SENDERS_MAX:
            self.db.execute(
                "DELETE FROM senders WHERE stream IN (SELECT stream FROM senders ORDER BY at LIMIT ?)",
                (count - SENDERS_MAX,),
            )
        return self._forget_answers("expires < ?", now)

    # Reading

    def meta(self, key: str) -> bytes:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def last_of(self, stream: bytes) -> int:
        """The last number of a sender's stream that was kept; -1 if none was."""
        row = self.db.execute("SELECT last FROM senders WHERE stream = ?", (stream,)).fetchone()
        return -1 if row is None else int(row[0])

    def senders(self, since: int) -> list[tuple[bytes, int, int]]:
        """Streams that were heard since then: each with its last number, and when that came."""
        return self.db.execute("SELECT stream, last, at FROM senders WHERE at >= ?", (since,)).fetchall()

    def last_position(self) -> int:
        """The place of the last entry that ever was."""
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
        return 0 if row is None else int(row[0])

    def usage(self) -> list[tuple[int, bytes, int, int]]:
        """Kind, source, how many entries and their bytes."""
        return self.db.execute(
            "SELECT kind, source, count(*), sum(size) FROM entries GROUP BY kind, source UNION ALL"
            " SELECT ?, owner, count(*), sum(length(payload) + ?) FROM answers GROUP BY owner",
            (ANSWER, OVERHEAD),
        ).fetchall()

    def mail(
        self, endpoint: bytes, kinds: tuple[int, int], after: int, count: int, size_max: int = 0
    ) -> list[Entry]:
        """The next messages for who is away, of kinds from the first to the last, dead ones not; no more
        behind `size_max` bytes of payloads, 0 for any number.
        """
        rows = self.db.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE"
            " endpoint = ? AND pos > ? AND kind BETWEEN ? AND ? AND dead = '' ORDER BY pos LIMIT ?",
            (endpoint, after, *kinds, count),
        )
        found: list[Entry] = []
        size = 0
        for row in rows:
            found.append(Entry(*row))
            size += len(found[-1].payload)
            if size >= size_max > 0:
                break
        rows.close()
        return found

    def addressees(self) -> list[tuple[bytes, str]]:
        """The endpoints that have mail, each with its name."""
        return self.db.execute(
            "SELECT DISTINCT endpoint, name FROM entries WHERE kind < 2 AND dead = ''"
        ).fetchall()

    def entry(self, pos: int) -> Entry | None:
        found = self._entries("pos = ?", (pos,))
        return found[0] if found else None

    def published(
        self, pattern: str, after: int, count: int, since: int = 0, until: int = 0, scan: int = 0
    ) -> tuple[list[Entry], int]:
        """Messages that were published to names of a pattern, and up to where was looked: at `scan`
        entries at the most, 0 for all.
        """
        end = self.last_position()  # before the look: what comes in between is looked at next time
        if not is_pattern(pattern):
            found = self._entries(
                "endpoint = ? AND kind = 2 AND pos > ? AND stored >= ? AND (? = 0 OR stored < ?)"
                " ORDER BY pos LIMIT ?",
                (endpoint_id(pattern), after, since, until, until, count),
            )
            last = found[-1].pos if found else after
            return found, last if len(found) == count else max(end, last)
        places: list[int] = []
        looked = 0
        for place, name in self.db.execute(
            "SELECT pos, name FROM entries WHERE kind = 2 AND pos > ? AND stored >= ?"
            " AND (? = 0 OR stored < ?) ORDER BY pos LIMIT ?",
            (after, since, until, until, scan or -1),
        ):
            after = place
            looked += 1
            if matches(pattern, name):
                places.append(place)
                if len(places) == count:
                    return self._at(places), after
        return self._at(places), after if looked == scan else max(after, end)

    def count_published(self, pattern: str, after: int, without: set[int]) -> tuple[int, int]:
        """The number of messages that were published to names of a pattern, of the next SCAN_MAX, and the
        time of the first, ms.
        """
        count = first = 0
        if not is_pattern(pattern):
            rows = self.db.execute(
                "SELECT pos, stored FROM entries WHERE endpoint = ? AND kind = 2 AND pos > ? ORDER BY pos"
                " LIMIT ?",
                (endpoint_id(pattern), after, SCAN_MAX),
            ).fetchall()
            found = [stored for place, stored in rows if place not in without]
            return len(found), found[0] if found else 0
        for place, name, stored in self.db.execute(
            "SELECT pos, name, stored FROM entries WHERE kind = 2 AND pos > ? ORDER BY pos LIMIT ?",
            (after, SCAN_MAX),
        ):
            if place not in without and matches(pattern, name):
                first = first or stored
                count += 1
        return count, first

    def newest(self, pattern: str, count: int, since: int, until: int) -> list[Entry]:
        """The newest that was published to names of a pattern, the oldest of these first: of the last
        SCAN_MAX where it is not a name.
        """
        if not is_pattern(pattern):
            places = self.db.execute(
                "SELECT pos FROM entries WHERE endpoint = ? AND kind = 2 AND stored >= ?"
                " AND (? = 0 OR stored < ?) ORDER BY pos DESC LIMIT ?",
                (endpoint_id(pattern), since, until, until, count),
            ).fetchall()
            return self._at(place for (place,) in reversed(places))
        found: list[int] = []
        for place, name in self.db.execute(
            "SELECT pos, name FROM entries WHERE kind = 2 AND stored >= ? AND (? = 0 OR stored < ?)"
            " ORDER BY pos DESC LIMIT ?",
            (since, until, until, SCAN_MAX),
        ):
            if matches(pattern, name):
                found.append(place)
                if len(found) == count:
                    break
        return self._at(reversed(found))

    def newest_of_each(self, count: int, means: Callable[[str], bool]) -> list[Entry]:
        """The newest that was published to each name that is meant, the newest names first."""
        rows = self.db.execute(
            "SELECT max(pos), name FROM entries WHERE kind = 2 GROUP BY endpoint ORDER BY 1 DESC"
        )
        return self._at(list(islice((pos for pos, name in rows if means(name)), count)))

    def oldest_published(self, count: int, after: int) -> list[tuple[int, int, int]]:
        """Place, bytes and time of what was published first behind a place, of what is there."""
        text = "SELECT pos, size, stored FROM entries WHERE kind = 2 AND pos > ? ORDER BY pos LIMIT ?"
        return self.db.execute(text, (after, count)).fetchall()

    def position_at(self, since: int) -> int:
        """The place before the first that was published at or after a time, in ms."""
        row = self.db.execute(
            "SELECT pos FROM entries WHERE kind = 2 AND stored >= ? ORDER BY pos LIMIT 1", (since,)
        ).fetchone()
        return self.last_position() if row is None else int(row[0]) - 1

    def expired(self, now: int, count: int) -> list[Entry]:
        return self._entries("expires > 0 AND expires <= ? LIMIT ?", (now, count))

    def dead(self, endpoint: bytes, count: int) -> list[Entry]:
        return self._entries(
            "endpoint = ? AND kind < 2 AND dead != '' ORDER BY pos LIMIT ?", (endpoint, count)
        )

    def durables(self) -> list[Durable]:
        return [Durable(*row) for row in self.db.execute("SELECT * FROM durables ORDER BY name")]

    def marks(self, durable: str) -> list[Mark]:
        return [
            Mark(*row)
            for row in self.db.execute(
                "SELECT pos, done, tries, due, dead FROM marks WHERE durable = ? ORDER BY pos", (durable,)
            )
        ]

    def mail_queues(self) -> list[tuple[bytes, str, int, int, int]]:
        """Endpoint, name, messages that wait, dead ones, and when the oldest was stored."""
        return self.db.execute(
            "SELECT endpoint, name, sum(dead = ''), sum(dead != ''), min(stored) FROM entries"
            " WHERE kind < 2 GROUP BY endpoint ORDER BY name"
        ).fetchall()

    def answer(self, ident: bytes) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(
            "SELECT owner, status, code, text, format, type, payload FROM answers WHERE id = ?", (ident,)
        ).fetchone()
        return row

    def _at(self, places: Iterable[int]) -> list[Entry]:
        return [entry for entry in map(self.entry, places) if entry is not None]

    def _entries(self, where: str, values: Sequence[Any]) -> list[Entry]:
        return [
            Entry(*row) for row in self.db.execute(f"SELECT {_COLUMNS} FROM entries WHERE {where}", values)
        ]


class Backend:
    """The face of what keeps the state: `tables` to read, and `commit`, which returns when it is durable."""

    tables: Tables
    place: str

    def trouble(self) -> str:
        """Why it could not take in anything now; "" if it could."""
        raise NotImplementedError

    async def commit(self, changes: list[Change]) -> list[Any]:
        """Make changes, all or none."""
        raise NotImplementedError

    async def close(self) -> None:
        """Release everything."""
        raise NotImplementedError
