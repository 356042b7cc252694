"""A store's state in an SQLite file on this machine: a writer thread commits what has come meanwhile in one
transaction (WAL, synchronous=FULL), and only then says that it is kept.

Knows no bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import Any

from busway.store.records import DISK_FULL, NOT_ACTIVE, StoreError
from busway.store.tables import Change, Tables

_JOBS_MAX = 4096  # that one transaction takes in
_WAITING_MAX = 65_536  # jobs that wait for the writer: as many as there can be questions at work, and more
RESERVE = 4 << 20  # bytes that stay free on the disk: what is done with must be able to go


def fcntl_lock(file: int) -> bool:
    """Lock an open file for this process; False if another one has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def connected(path: str | os.PathLike[str], synchronous: str) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time."""
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        connection.close()
        raise
    return connection


def refusal_of(error: BaseException) -> StoreError:
    """The trouble with the file, as those hear it who wanted something kept."""
    text = str(error)
    if isinstance(error, StoreError):
        return error
    if "full" in text or getattr(error, "errno", 0) == 28:
        return StoreError(DISK_FULL, "the disk of the store is full: nothing was kept; make room on it")
    return StoreError(DISK_FULL, f"the store cannot write to its file: {text}")


class Job:
    """Changes that are made together, or not at all."""

    __slots__ = ("changes", "error", "future", "loop", "results")

    def __init__(self, changes: list[Change], loop: asyncio.AbstractEventLoop) -> None:
        self.changes = changes
        self.loop = loop
        self.future: asyncio.Future[list[Any]] = loop.create_future()
        self.results: list[Any] = []
        self.error: StoreError | None = None

    def tell(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.results)


class SqliteBackend:
    """Args: `path` is the folder of the file, which is made if it is not there. Raises StoreError for one
    that another store has, or that is damaged.
    """

    shared = False

    def __init__(self, path: str | os.PathLike[str], reserve: int = RESERVE) -> None:
        self.folder = Path(path)
        self._reserve = reserve
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._ended = False
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not fcntl_lock(self._lock):
                raise StoreError(
                    NOT_ACTIVE,
                    f"another store has {self.folder} open: one store is to a folder, so end that one, or"
                    " give this one another",
                )
            self._writer = self._open()
            try:
                self.tables = Tables(connected(self._path, "FULL"))
            except BaseException:
                self._writer.db.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._run, name="busway store", daemon=True)
        self._thread.start()

    @property
    def place(self) -> str:
        """Its file, for people."""
        return str(self._path)

    @property
    def _path(self) -> Path:
        return self.folder / "store.db"

    def _open(self) -> Tables:
        connection = None
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's other files follow it
            connection = connected(self._path, "FULL")
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if fault == "ok":
                return Tables(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a schema that is none
            fault = str(error)
        if connection is not None:
            connection.close()
        raise StoreError(
            DISK_FULL if "full" in fault else NOT_ACTIVE,
            f"{self._path} cannot be used: {fault}; move it away to begin anew, or put a copy in its place",
        )

    def trouble(self) -> str:
        """Why it could not take in anything now; "" if it could."""
        return refusal_of(OSError(28, "no space is left")).message if self._is_full() else ""

    async def commit(self, changes: list[Change]) -> list[Any]:
        """Make these changes, all or none; returns what each gives, once it is on the disk. Raises StoreError
        if it is not.
        """
        job = Job(changes, asyncio.get_running_loop())
        with self._wake:
            if self._ended:
                raise StoreError(NOT_ACTIVE, "the store has been closed")
            if len(self._jobs) >= _WAITING_MAX:
                raise StoreError(DISK_FULL, "the store's disk is too slow: too much waits to be written")
            self._jobs.append(job)
            self._wake.notify()
        return await job.future

    async def close(self) -> None:
        """Write what waits, and release everything."""
        with self._wake:
            self._ended = True
            self._wake.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self.tables.db.close()
        self._writer.db.close()
        os.close(self._lock)

    # The writer's thread

    def _run(self) -> None:
        while jobs := self._next():
            self._write(jobs)
            for loop in {job.loop for job in jobs}:
                theirs = [job for job in jobs if job.loop is loop]
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_tell, theirs)

    def _next(self) -> list[Job]:
        with self._wake:
            while not self._jobs and not self._ended:
                self._wake.wait()
            count = min(len(self._jobs), _JOBS_MAX)
            return [self._jobs.popleft() for _ in range(count)]

    def _write(self, jobs: list[Job]) -> None:
        refused: list[Job] = []
        if self._is_full():
            refused = [job for job in jobs if any(change[0] == "put" for change in job.changes)]
            for job in refused:
                job.error = refusal_of(OSError(28, "no space is left"))
        jobs = [job for job in jobs if job.error is None]
        if jobs and not self._transact(jobs):
            for job in jobs:  # of those together, one may be too large, and the others not
                self._transact([job])

    def _is_full(self) -> bool:
        try:
            found = os.statvfs(self.folder)
        except (AttributeError, OSError):
            return False
        return found.f_bavail * found.f_frsize < self._reserve

    def _transact(self, jobs: list[Job]) -> bool:
        """In one transaction; False if none of it was done, and each job says why."""
        db = self._writer.db
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.results = [self._writer.apply(change) for change in job.changes]
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            for job in jobs:
                job.error = refusal_of(error)
            return False
        for job in jobs:
            job.error = None
        return True


def _tell(jobs: list[Job]) -> None:
    for job in jobs:
        job.tell()
