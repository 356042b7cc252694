"""A store's state in NATS JetStream: each message that is kept is one of a stream, the rest stands under
subjects of which the last value counts. A copy in SQLite, which is nobody's truth, answers what is asked.

Of the stores at one stream one is active: it holds a key that ends by itself when it is not renewed, and each
of its writes says which one was the last, so that who has lost the key and does not know it writes no more.
Knows no bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from busway.drivers import extras
from busway.drivers.nats import parse
from busway.errors import MissingLibrary
from busway.store.records import DISK_FULL, NOT_ACTIVE, StoreError
from busway.store.tables import Change, Durable, Entry, Mark, Tables

LEASE_S = 6.0
RENEW_S = 1.5
DEDUPE_S = 600.0  # in which a sender's repetition is known by NATS itself, whoever is active
_TRY_S = 0.5
_ASK_S = 10.0
_CLOSE_S = 2.0
_CANCEL_S = 0.5
_ACK_S = 8.0
_FULL = (10023, 10047, 10077)  # of NATS: no resources, no storage, as many bytes as the stream may have
_CONNECT_S = 5.0
_AT_ONCE = 256
_SIZE_AT_ONCE = 1 << 20  # bytes: more than NATS's client takes without a pause could leave in another order
_JOBS_MAX = 1024
_ENCODER = msgspec.msgpack.Encoder()
Job = tuple[list[Change], "asyncio.Future[list[Any]]"]


class JetStreamBackend:
    """Args: `place` is nats://host:port/NAME, of several servers with commas between the hosts; NAME is that
    of the stream (busway). `?replicas=3` in a cluster. `access` as the options of `connect` to a backbone.
    Raises MissingLibrary, ValueError, OSError.
    """

    shared = True

    def __init__(self, place: str, access: dict[str, Any]) -> None:
        try:
            import nats

            from busway.drivers import nats_session
        except ImportError:
            raise MissingLibrary(extras.missing("stores at NATS need", "nats")) from None
        parts = urlsplit(place)
        self.name = parts.path.strip("/") or "busway"
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"the name of a stream has letters, digits, - and _: not {self.name!r}")
        self._replicas = int(parse_qs(parts.query).get("replicas", ["1"])[0])
        names = ("credentials", "nkey", "tls", "cafile")
        servers = parse(f"{parts.scheme}://{parts.netloc}")
        self._access = nats_session.access_of(servers, *map(access.get, names))
        self._is_refusal = nats_session.is_refusal
        self._client = partial(nats_session.SafeClient, servers.tls or "tls" in self._access)
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{self.name}"
        self._nats: Any = nats
        self._connection: Any = None
        self._js: Any = None
        self._key: Any = None
        self._revision = 0
        self._last = 0  # the number of the last message in the stream
        self._jobs: list[Job] = []
        self._work: asyncio.Event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._tidied = 0  # when senders were written last
        self.lost = asyncio.Event()  # another may be active now
        self.tables: Tables

    # Life

    async def connect(self) -> None:
        """Reach the server, and make what is not there. Raises StoreError."""
        js = self._nats.js
        try:
            await self._reach()
            self._js = self._connection.jetstream(timeout=_ASK_S)
            for name, subject, each in ((self.name, "e", -1), (f"{self.name}_state", "s.>", 1)):
                config = js.api.StreamConfig(
                    name=name,
                    subjects=[f"busway-store.{self.name}.{subject}"],
                    max_msgs_per_subject=each,
                    num_replicas=self._replicas,
                    duplicate_window=DEDUPE_S if each < 0 else 0,
                )
                await self._js.add_stream(config)
            self._key = await self._js.create_key_value(
                bucket=f"{self.name}_active", ttl=LEASE_S, history=1, replicas=self._replicas
            )
        except Exception as error:  # noqa: BLE001 - whatever the library raises is told in our words
            await self.close()
            why = str(error) or type(error).__name__
            if isinstance(error, js.errors.ServiceUnavailableError):
                why = "its server runs without JetStream (nats-server -js)"
            raise StoreError(NOT_ACTIVE, f"{self.place} cannot be used: {why}") from None

    async def _reach(self) -> None:
        """Connect; what the servers refuse is told at once, and no answer after a while. Raises as nats-py,
        TimeoutError.
        """
        self._connection = self._client()
        refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        trouble: list[Exception] = []

        async def failed(error: Exception) -> None:
            trouble[:] = [error]
            if self._is_refusal(error) and not refused.done():
                refused.set_result(error)

        options = {"connect_timeout": 2, "max_reconnect_attempts": -1, "error_cb": failed, **self._access}
        connecting = asyncio.ensure_future(self._connection.connect(**options))
        try:
            await asyncio.wait((connecting, refused), timeout=_CONNECT_S, return_when="FIRST_COMPLETED")
            if refused.done():
                raise refused.result()
            if not connecting.done():
                raise trouble[0] if trouble else TimeoutError(f"no answer within {_CONNECT_S:g} s")
            connecting.result()
        finally:
            connecting.cancel()

    async def start(self) -> None:
        """Wait until no other is active, and be it: then the copy has all that is kept. Raises StoreError."""
        self.lost = asyncio.Event()
        while True:
            try:
                self._revision = await self._key.create("active", os.urandom(8))
                break
            except Exception:  # noqa: BLE001 - another has it, or no server is there: both pass
                await asyncio.sleep(_TRY_S)
        self._tasks = [asyncio.ensure_future(self._renew())]
        try:
            await self._copy()
        except Exception as error:  # noqa: BLE001 - as above
            await self.stop()
            raise StoreError(NOT_ACTIVE, f"{self.place} cannot be read: {error}") from None
        self._tasks.append(asyncio.ensure_future(self._run()))

    async def stop(self) -> None:
        """Be active no more."""
        self.lost.set()
        # More than once, for asyncio.wait_for of CPython before 3.12, by which nats-py waits, drops one that
        # comes together with what it waits for (python/cpython issue 86296).
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CANCEL_S)
        self._tasks = []
        self._refuse(StoreError(NOT_ACTIVE, "this store is not the active one any more"))
        if self._revision:
            with contextlib.suppress(Exception):
                await self._key.delete("active", last=self._revision)
        self._revision = 0

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self.stop()
            connection, self._connection = self._connection, None
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):  # one that TLS did not begin never closes
                    await connection.close()

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + LEASE_S
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                async with asyncio.timeout_at(until - RENEW_S / 2):
                    self._revision = await self._key.update("active", b"", last=self._revision)
                until = loop.time() + LEASE_S
            except Exception:  # noqa: BLE001 - no answer, or another has it
                if loop.time() + RENEW_S < until:
                    continue
                self._revision = 0
                self.lost.set()
                return

    # Reading all

    async def _copy(self) -> None:
        """All that is kept, into tables in memory and on no disk."""
        self.tables = Tables(sqlite3.connect("", isolation_level=None, check_same_thread=False))
        db = self.tables.db
        db.execute("BEGIN")
        async for subject, number, data in self._all(f"{self.name}_state"):
            self._restore(subject.split(".")[3:], number, data)
        async for _, number, data in self._all(self.name):
            row = msgspec.msgpack.decode(data)
            stream = row[6][:16]
            entry = Entry(number, *row[1:])
            trouble = db.execute("SELECT value FROM meta WHERE key = ?", (f"t.{number}",)).fetchone()
            number_of = int.from_bytes(entry.id[16:], "big")
            self.tables.apply(("put", stream, number_of, entry.stored, [entry]))
            if trouble is not None:
                self.tables.apply(("trouble", number, *msgspec.msgpack.decode(trouble[0])))
        db.execute("COMMIT")
        info = await self._js.stream_info(self.name)
        self._last = info.state.last_seq
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
        db.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (self._last,))

    async def _all(self, stream: str) -> Any:
        info = await self._js.stream_info(stream)
        if not info.state.messages:
            return
        subject = f"busway-store.{self.name}." + ("e" if stream == self.name else "s.>")
        found = await self._js.subscribe(subject, stream=stream, ordered_consumer=True)
        try:
            while True:
                message = await found.next_msg(timeout=_ASK_S)
                about = message.metadata
                yield message.subject, about.sequence.stream, message.data
                if not about.num_pending:
                    return
        finally:
            with contextlib.suppress(Exception):
                await found.unsubscribe()

    def _restore(self, words: list[str], number: int, data: bytes) -> None:
        sort, key = words[0], ".".join(words[1:])
        if not data:
            return
        value = msgspec.msgpack.decode(data)
        if sort == "d":
            durable, marks = value
            self.tables.apply(("durable", *durable))
            self.tables.apply(("progress", durable[0], durable[2], [Mark(*mark) for mark in marks]))
        elif sort == "a":
            self.tables.apply(("answer", *value))
        elif sort == "s":
            self.tables.apply(("put", bytes.fromhex(key), value[0], value[1], []))
        elif sort == "t":
            self.tables.apply(("meta", f"t.{key}", data))
        else:
            self.tables.apply(("meta", key, value))

    # Writing

    def trouble(self) -> str:
        """Why it could not take in anything now; "" if it could."""
        connected = self._connection is not None and self._connection.is_connected
        return "" if connected else f"{self.place} is not reached"

    async def commit(self, changes: list[Change]) -> list[Any]:
        """Make these changes; returns what each gives, once NATS has confirmed them. Raises StoreError."""
        if not self._revision:
            raise StoreError(NOT_ACTIVE, "this store is not the active one any more")
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._jobs.append((changes, future))
        self._work.set()
        return await future

    def _refuse(self, error: StoreError) -> None:
        jobs, self._jobs = self._jobs, []
        for _, future in jobs:
            if not future.done():
                future.set_exception(error)

    async def _run(self) -> None:
        """Write what has come meanwhile together."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._jobs:
                jobs, self._jobs = self._jobs[:_JOBS_MAX], self._jobs[_JOBS_MAX:]
                try:
                    await self._write(jobs)
                except BaseException as error:
                    self._jobs[:0] = jobs
                    if not isinstance(error, Exception):
                        self._refuse(StoreError(NOT_ACTIVE, "this store is not the active one any more"))
                        raise
                    self._refuse(self._told(error))
                    self.lost.set()  # the stream counts, not what is here: begin anew with what it has
                    return

    def _told(self, error: Exception) -> StoreError:
        """A write that came to nothing, as those hear it who wanted it. Most may ask again: what was kept of
        it all the same is known when this store, or another, has read all anew.
        """
        if isinstance(error, StoreError):
            return error
        full = isinstance(error, self._nats.js.errors.APIError) and error.err_code in _FULL
        text = f"NATS does not keep it: {str(error) or type(error).__name__}"
        return StoreError(DISK_FULL if full else NOT_ACTIVE, text)

    async def _write(self, jobs: list[Job]) -> None:
        entries = [
            entry for changes, _ in jobs for change in changes if change[0] == "put" for entry in change[4]
        ]
        acks = iter(await self._publish_all(entries))
        told: list[tuple[asyncio.Future[list[Any]], list[Any]]] = []
        gone: list[int] = []
        for changes, future in jobs:
            results: list[Any] = []
            for change in changes:
                if change[0] == "put":
                    results.append(self._put(change, acks))
                    continue
                results.append(self.tables.apply(change))
                if change[0] == "remove":
                    gone += change[1]
                else:
                    await self._follow(change)
            told.append((future, results))
        for at in range(0, len(gone), _AT_ONCE):
            await asyncio.gather(*(self._delete(pos) for pos in gone[at : at + _AT_ONCE]))
        for future, results in told:
            if not future.done():
                future.set_result(results)

    async def _publish_all(self, entries: list[Entry]) -> list[Any]:
        """The word of NATS on each. Those behind a repetition, which does not count, are tried again."""
        found = await self._publish_run(entries)
        failed = [index for index, ack in enumerate(found) if isinstance(ack, BaseException)]
        if failed and any(not isinstance(ack, BaseException) and ack.duplicate for ack in found):
            self._last = (await self._js.stream_info(self.name)).state.last_seq
            again = await self._publish_run([entries[index] for index in failed])
            for index, ack in zip(failed, again, strict=True):
                found[index] = ack
        for ack in found:
            if isinstance(ack, BaseException):
                raise ack
            if ack.duplicate and self.tables.entry(ack.seq) is None and await self._is_there(ack.seq):
                raise StoreError(NOT_ACTIVE, "the stream has more than this store has read: it begins anew")
        return found

    async def _is_there(self, pos: int) -> bool:
        with contextlib.suppress(self._nats.js.errors.NotFoundError):
            await self._js.get_msg(self.name, pos)
            return True
        return False

    async def _publish_run(self, entries: list[Entry]) -> list[Any]:
        """Each is told which one is to be before it, so they may be on their way together."""
        found: list[Any] = []
        run: list[Any] = []
        size = 0
        for entry in entries:
            headers = {"Nats-Msg-Id": entry.id.hex(), "Nats-Expected-Last-Sequence": str(self._last)}
            self._last += 1
            data = _ENCODER.encode([0, *entry[1:]])
            subject = f"busway-store.{self.name}.e"
            run.append(self._js.publish(subject, data, timeout=_ACK_S, headers=headers))
            size += len(data)
            if len(run) >= _AT_ONCE or size > _SIZE_AT_ONCE:
                found += await asyncio.gather(*run, return_exceptions=True)
                run, size = [], 0
        return found + await asyncio.gather(*run, return_exceptions=True)

    def _put(self, change: Change, acks: Any) -> list[int]:
        """Give entries their places at NATS. One that was there already is here, or done with."""
        _, stream, last, now, entries = change
        answers = [next(acks) for _ in entries]
        fresh = [
            entry._replace(pos=ack.seq)
            for entry, ack in zip(entries, answers, strict=True)
            if not ack.duplicate
        ]
        self.tables.apply(("put", stream, last, now, fresh))
        return [ack.seq for ack in answers]

    async def _follow(self, change: Change) -> None:
        """Write what is not an entry."""
        kind = change[0]
        if kind == "tidy":
            for stream, last, at in self.tables.senders(self._tidied):
                await self._state(f"s.{stream.hex()}", [last, at])
            self._tidied = change[1]
        if kind == "trouble":
            self.tables.apply(("meta", f"t.{change[1]}", b""))
            await self._state(f"t.{change[1]}", change[2:])
        elif kind in ("durable", "progress"):
            name = change[1]
            durable = next((each for each in self.tables.durables() if each.name == name), None)
            if durable is not None:
                await self._state(f"d.{name.encode().hex()}", [Durable(*durable), self.tables.marks(name)])
        elif kind == "forget":
            await self._state(f"d.{change[1].encode().hex()}", None)
        elif kind == "answer":
            await self._state(f"a.{change[1].hex()}", change[1:])
        elif kind == "answered":
            for ident in change[1]:
                await self._state(f"a.{ident.hex()}", None)
        elif kind == "meta":
            await self._state(f"m.{change[1]}", change[2])

    async def _delete(self, pos: int) -> None:
        with contextlib.suppress(self._nats.js.errors.NotFoundError, self._nats.js.errors.BadRequestError):
            await self._js.delete_msg(self.name, pos)
        if self.tables.meta(f"t.{pos}") or self._has_trouble(pos):
            await self._state(f"t.{pos}", None)

    def _has_trouble(self, pos: int) -> bool:
        found = self.tables.db.execute("DELETE FROM meta WHERE key = ? RETURNING 1", (f"t.{pos}",)).fetchone()
        return found is not None

    async def _state(self, subject: str, value: Any) -> None:
        subject = f"busway-store.{self.name}.s.{subject}"
        if value is None:
            await self._js.purge_stream(f"{self.name}_state", subject=subject)
        else:
            await self._js.publish(subject, _ENCODER.encode(value))
