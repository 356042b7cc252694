"""A store on the bus: takes in what is to be kept, records what is published, and hands it out.

What is kept where is the backend's, who gets what next queues.py's, and how it gets to receivers that know
nothing of stores pushing.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from busway.errors import BusError, RemoteError
from busway.names import endpoint_id, uuid_text
from busway.protocol import codes
from busway.protocol.errors import LocalError
from busway.protocol.wire.patterns import check_pattern, matches
from busway.store import records
from busway.store.asking import answer_jobs, history, last, status
from busway.store.finding import Found, conflict, may_meet, stores_at, told
from busway.store.lasting import Lasting
from busway.store.limits import Keep, Usage
from busway.store.pushing import Pushing
from busway.store.queues import Budget, DurableSource, MailSource, Queue, Session
from busway.store.recording import Recording, republish
from busway.store.records import MAIL, REQUEST, StoreError, name_problem, own_stream
from busway.store.tables import ANSWER, Backend, Change, Durable, Entry, Gone, Tables, now_ms

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus
    from busway.adapters.typed import Realm

log = logging.getLogger("busway")
_TICK_S = 0.25
_TIDY_S = 10.0
_SEEK_S = 5.0
_ANSWER_S = 20.0  # how long a question for an answer waits
_SETTLE_S = 1.0  # in which consumers come back to a store that begins, before others get their mail
_SENDER_AGE_MS = 7 * 86_400_000
_KINDS = (MAIL, REQUEST, records.PUBLISHED)
_DECODER = msgspec.msgpack.Decoder(records.Question)
_ENCODER = msgspec.msgpack.Encoder()


class Turn:
    """The puts of one sender, one after the other; `users` are at it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Service:
    """A running store. Args: `keep` are names and patterns."""

    def __init__(
        self,
        bus: AsyncBus,
        backend: Any,
        keep: tuple[str, ...],
        limits: Keep,
        realm: Realm,
        lasting: tuple[str, ...] = (),
    ) -> None:
        self.bus = bus
        self.backend: Backend = backend
        self.keep = keep
        self.limits = limits
        self.usage = Usage(limits)
        self.counts: Counter[str] = Counter()
        self.id = b""
        self.stream = os.urandom(16)  # of what is recorded
        self._closed = False
        self.others: dict[bytes, Found] = {}  # stores, by node
        self.displaced = asyncio.Event()  # an older store has been met that keeps names of these
        self.sessions: dict[bytes, Session] = {}
        self.queues: dict[tuple[str, bytes | str], Queue] = {}
        self.trouble = ""  # what is wrong with it now, for people
        self._budget = Budget()
        self._tidied = 0.0
        self._sought = 0.0  # when it was looked whether all other stores have been met
        self.realm = realm
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writing: set[asyncio.Task[Any]] = set()
        self._sending: dict[bytes, asyncio.Event] = {}
        self._asked: dict[bytes, asyncio.Event] = {}  # who waits for an answer
        self._services: list[Any] = []
        self._putting: dict[bytes, Turn] = {}
        self.pushing = Pushing(self)
        self.recording = Recording(self)
        self.lasting = Lasting(self, lasting)

    @property
    def tables(self) -> Tables:
        return self.backend.tables

    # Life

    async def start(self) -> None:
        """Be found by the programs of the bus. Raises StoreError if another store keeps names of these."""
        self.id = self.tables.meta("id")
        if not self.id:
            self.id = now_ms().to_bytes(6, "big") + os.urandom(10)  # the older one is the smaller
            await self.commit([("meta", "id", self.id)])
        await self._check_alone()
        self.usage.read(self.tables)
        for name, answer, limit in (
            (records.STORE_NAME, self._answer, 256),
            (records.ANSWERS_NAME, self._answer, 4096),
        ):
            self._services.append(self.bus.serve(name, answer, realm=self.realm, limit=limit))
        self.recording.start()
        self.spawn(self._watch())
        self.spawn(self._tick())
        self.spawn(self.pushing.run(_SETTLE_S))
        self.spawn(self.lasting.run(_SETTLE_S))

    async def close(self) -> None:
        """Serve no more. What is being written goes on (`written`)."""
        for service in self._services:
            service.close()
        self.recording.close()
        self._closed = True
        for event in self._asked.values():
            event.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def written(self) -> None:
        """Wait until all that was being written when it was closed is, or has failed."""
        if self._writing:
            await asyncio.wait(self._writing)

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run it until the store ends; what it raises is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _written(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run what writes to its end, also if nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        self._writing.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._writing.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BusError):
            log.error("a task of the store failed", exc_info=error)

    def _other_nodes(self) -> list[bytes]:
        """The nodes of other stores, as far as they are known."""
        store = endpoint_id(records.STORE_NAME)
        return [info.node for info in self.bus.endpoints() if info.id == store and info.node != self.bus.id]

    def _meet_others(self) -> None:
        """Meet the stores that are there and have not been met: one came while others were asked, or has not
        answered.
        """
        for node in self._other_nodes():
            if node not in self.others:
                self.spawn(self._meet(node))

    async def _meet(self, node: bytes) -> None:
        for other in await stores_at(self.bus, [node]):
            if node not in self._other_nodes():
                return  # it has gone meanwhile
            self.others[node] = other
            if other.id < self.id and (why := conflict(self.keep, other)):
                log.warning("the store stands by: %s", why)
                self.displaced.set()

    async def _check_alone(self) -> None:
        for other in await stores_at(self.bus, self._other_nodes()):
            self.others[other.node] = other
            if other.id != self.id and (why := conflict(self.keep, other)):
                raise StoreError(records.NOT_ACTIVE, why)

    # Questions

    async def _answer(self, request: Any) -> Any:
        """Answers in the form in which was asked: MessagePack as bytes, or a value."""
        packed = isinstance(request.payload, bytes)
        try:
            if packed:
                question = _DECODER.decode(request.payload)
            else:
                question = msgspec.convert(request.payload, records.Question)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.counts["malformed"] += 1
            raise RemoteError(records.MALFORMED, f"no question of a store: {error}") from None
        try:
            found = await self._answers(request, question)
        except StoreError as error:
            self.counts[error.reason_name] += 1
            raise RemoteError(error.code, error.message) from None
        except sqlite3.Error as error:  # of a file that was damaged meanwhile, or a store that ends
            raise RemoteError(records.NOT_ACTIVE, f"the store cannot read its file: {error}") from None
        return _ENCODER.encode(found) if packed else msgspec.to_builtins(found, builtin_types=(bytes,))

    async def _answers(self, request: Any, question: Any) -> Any:
        kind = type(question)
        if kind is records.Put:
            return await self._put(request, question)
        if kind is records.Ack:
            return await self._ack(request, question)
        if kind is records.Attach:
            return await self._attach(request, question)
        if kind is records.Hello:
            return told([Found(self.bus.id, self.id, self.keep), *self.others.values()])
        if kind is records.Answer:
            return await self._outcome(request, question)
        if kind is records.Detach:
            session = self._session(request, question.session)
            return await self.commit(self._lose(session, True))
        if kind is records.History:
            return history(self, request, question)
        if kind is records.Last:
            return last(self, request, question.name)
        if kind is records.Jobs:
            return await answer_jobs(self, request, question)
        return status(self)

    async def commit(self, changes: list[Change]) -> list[Any]:
        """Make changes durable, and count them, also if who asked waits no longer. Raises StoreError, which
        the store then is known to suffer from.
        """
        if not changes:
            return []
        return await asyncio.shield(self._written(self._commit(changes)))

    async def _commit(self, changes: list[Change]) -> list[Any]:
        try:
            found = await self.backend.commit(changes)
        except StoreError as error:
            if error.message != self.trouble and error.code != records.NOT_ACTIVE:
                log.warning("the store refuses: %s", error.message)
            self.trouble = error.message
            raise
        self.trouble = ""
        for change, result in zip(changes, found, strict=True):
            if change[0] in ("remove", "answer", "answered", "tidy"):
                self.usage.gone(result)
        return found

    # What comes in

    async def _put(self, request: Any, put: records.Put) -> records.PutReply:
        if len(put.stream) != 16 or len(put.numbers) != len(put.items):
            raise StoreError(records.MALFORMED, "a put has a stream of 16 bytes and as many numbers as items")
        if sorted(set(put.numbers)) != put.numbers or not put.items or put.numbers[0] < 0:
            raise StoreError(records.MALFORMED, "the numbers of a put ascend, and there is one at least")
        stream = own_stream(request.source, put.stream)
        lock = self._putting.setdefault(stream, Turn())
        lock.users += 1
        try:
            async with lock.lock:
                # What is written is given to who waits for it, also if its sender waits no longer.
                return await asyncio.shield(self._written(self._put_in_turn(request, put, stream)))
        finally:
            lock.users -= 1
            if not lock.users:
                del self._putting[stream]

    async def _put_in_turn(self, request: Any, put: records.Put, stream: bytes) -> records.PutReply:
        now = now_ms()
        known = self.tables.last_of(stream)
        await self.recording.make_room(
            sum(len(item.payload) + records.OVERHEAD for item in put.items if item.kind == records.PUBLISHED)
        )
        entries: list[Entry] = []
        fault: StoreError | None = None
        stored = 0
        for number, item in zip(put.numbers, put.items, strict=True):
            if number > known:
                fault = self._fault(request, item)
                if fault is not None:
                    break
                entries.append(self._entry(request, stream, number, item, now))
                self.usage.came(entries[-1])  # at once: others are asking for room meanwhile
            stored += 1
        if entries:
            change = ("put", stream, put.numbers[stored - 1], now, entries)
            try:
                ((places,)) = await self.commit([change])
            except StoreError as error:
                self.usage.gone(Gone(entry.kind, entry.source, entry.size) for entry in entries)
                if not known >= put.numbers[0]:
                    raise
                return records.PutReply(sum(n <= known for n in put.numbers), error.code, error.message)
            self.counts["stored"] += len(entries)
            kept = [entry._replace(pos=pos) for entry, pos in zip(entries, places, strict=True)]
            self.arrived(kept)
            for entry in kept:
                if entry.kind == records.PUBLISHED:
                    self.spawn(republish(self, entry))
        if fault is not None:
            self.counts[fault.reason_name] += 1
            return records.PutReply(stored, fault.code, fault.message)
        return records.PutReply(stored)

    def _entry(self, request: Any, stream: bytes, number: int, item: records.Item, now: int) -> Entry:
        kept = self.limits.age_mail if item.kind != records.PUBLISHED else 0
        wait = min(item.wait_ms or kept, kept or item.wait_ms)
        return Entry(
            0,
            item.kind,
            item.name,
            item.endpoint,
            request.source,
            request.source_label[:64],
            stream + number.to_bytes(8, "big"),
            now,
            now + wait if wait else 0,
            item.priority,
            item.timeout_ms,
            item.format,
            item.type_id,
            item.payload,
            len(item.payload) + records.OVERHEAD,
        )

    def _fault(self, request: Any, item: records.Item) -> StoreError | None:
        """Why one is not kept; None if it is."""
        if item.kind not in _KINDS or not 0 <= item.priority <= 3:
            return StoreError(records.MALFORMED, "no kind or priority that a store knows")
        if item.format not in (codes.RAW, codes.CBOR, codes.TYPED_AS_ENDPOINT, codes.TYPED) or len(
            item.type_id
        ) != (16 if item.format == codes.TYPED else 0):
            return StoreError(records.MALFORMED, "no format that a message has")
        problem = name_problem(item.name, item.endpoint)
        if problem:
            return StoreError(records.MALFORMED, problem)
        text = item.name or uuid_text(item.endpoint)
        if not self.keeps(text):
            return StoreError(records.NOT_KEPT, f"this store does not keep {text!r}")
        what = codes.MAY_PUBLISH if item.kind == records.PUBLISHED else codes.MAY_SEND
        what = codes.MAY_CALL if item.kind == REQUEST else what
        if not self.may(request, what, item.endpoint, item.name):
            return StoreError(
                records.NOT_ALLOWED,
                f"the policy of the store does not let this program do that with {text!r}",
            )
        return self.usage.fault(request.source, item)

    def keeps(self, text: str) -> bool:
        """Whether a name is among those that it is to keep; its own are not."""
        return not text.startswith(records.BUILT_IN) and any(matches(each, text) for each in self.keep)

    def may(self, request: Any, what: int, endpoint: bytes, name: str) -> bool:
        """Whether the policy of this program lets who asks do that with a name."""
        if request.source == self.bus.id:
            return True
        gate = self.bus.node.receiving.gate
        link, node = request.flow.session, request.source
        if gate.permits(link, node, what, endpoint, name, codes.LOCALNET):
            return True
        gate.deny(link, node, what, endpoint or endpoint_id(name), name, codes.LOCALNET)
        return False

    def arrived(self, entries: Iterable[Entry]) -> None:
        """These are kept now: who waits for such is given them."""
        mail: dict[bytes, str] = {}
        published = False
        for entry in entries:
            if entry.kind == records.PUBLISHED:
                published = True
                if self.lasting.patterns:
                    self.spawn(self.lasting.came(entry))
            else:
                mail[entry.endpoint] = entry.name
        for endpoint in mail:
            queue = self.queues.get(("mail", endpoint))
            if queue is not None:
                queue.arrived()
                self.pump(queue)
            self.pushing.arrived(endpoint)
        if published:
            for (kind, _), queue in list(self.queues.items()):
                if kind == "durable":
                    queue.arrived()
                    self.pump(queue)

    # Consumers

    def _session(self, request: Any, ident: bytes) -> Session:
        session = self.sessions.get(ident)
        if session is None or session.node != request.source:
            raise StoreError(records.NO_SESSION, "there is no such session: attach anew")
        session.heard = time.monotonic()
        return session

    async def _attach(self, request: Any, attach: records.Attach) -> dict[str, Any]:
        if not 1 <= attach.ahead <= records.AHEAD_MAX:
            raise StoreError(records.MALFORMED, f"a session has 1 to {records.AHEAD_MAX} ahead")
        if attach.durable:
            await self._check_durable(request, attach)
        else:
            self._check_mail(request, attach)
        # From here on to where the session is known nothing else happens.
        if attach.session in self.sessions:
            self._session(request, attach.session)
            return {"lease": records.LEASE_S}
        of_node = sum(each.node == request.source for each in self.sessions.values())
        if len(self.sessions) >= records.SESSIONS_MAX or of_node >= records.SESSIONS_MAX // 4:
            raise StoreError(
                records.TOO_MANY,
                f"the store has {records.SESSIONS_MAX} consumers, the most it takes, or"
                f" {records.SESSIONS_MAX // 4} of this program",
            )
        queue = self._queue_for(attach)
        session = Session(queue, attach.session, request.source, attach.to, attach.ahead)
        session.visibility = attach.visibility if attach.durable else 0.0
        session.heard = time.monotonic()
        self.sessions[session.id] = session
        queue.sessions.append(session)
        self._sending[session.id] = asyncio.Event()
        self.spawn(self._send_to(session, self._sending[session.id]))
        changes: list[Change] = []
        for other in [] if attach.durable else self._replaced(session, attach.alone):
            changes += self._lose(other, True)
        await self.commit(changes)
        queue.arrived()
        self.pump(queue)
        return {"lease": records.LEASE_S}

    @staticmethod
    def _replaced(session: Session, alone: bool) -> list[Session]:
        """The sessions in whose place this one comes: those of the same receiver; all, if it is alone."""
        others = [each for each in session.queue.sessions if each is not session]
        return [each for each in others if alone or (each.node, each.to) == (session.node, session.to)]

    def _check_mail(self, request: Any, attach: records.Attach) -> None:
        if problem := name_problem(attach.name, attach.endpoint):
            raise StoreError(records.MALFORMED, problem)
        if not self.may(request, codes.MAY_SERVE, attach.endpoint, attach.name):
            raise StoreError(
                records.NOT_ALLOWED,
                f"the policy of the store does not let this program receive {attach.name!r}",
            )

    def _queue_for(self, attach: records.Attach) -> Queue:
        """The queue of a consumer, which is made anew if nobody had it. Raises StoreError."""
        key: tuple[str, bytes | str] = ("mail", attach.endpoint)
        if attach.durable:
            key = ("durable", attach.durable)
        if key in self.queues:
            return self.queues[key]
        if not attach.durable:
            source = MailSource(attach.endpoint, attach.name, self.limits.tries)
            self.queues[key] = Queue(source, self.tables, self._budget)
            return self.queues[key]
        durable = next((each for each in self.tables.durables() if each.name == attach.durable), None)
        if durable is None:
            raise StoreError(records.NO_SUCH, f"the durable {attach.durable!r} was dropped meanwhile")
        progress = DurableSource(self.tables, durable)
        self.queues[key] = Queue(progress, self.tables, self._budget, durable.floor)
        return self.queues[key]

    async def _check_durable(self, request: Any, attach: records.Attach) -> None:
        try:
            check_pattern(attach.pattern)
        except Exception as error:  # noqa: BLE001 - the core's own error, told as it is
            raise StoreError(records.MALFORMED, str(error)) from None
        if (
            not 1 <= len(attach.durable.encode()) <= records.NAME_SIZE_MAX
            or not 1 <= attach.tries <= records.TRIES_MAX
        ):
            raise StoreError(records.MALFORMED, "a durable has a name of 1 to 64 bytes, and 1 to 1000 tries")
        if not 0 <= attach.visibility <= records.VISIBILITY_MAX_S:
            raise StoreError(records.MALFORMED, "visibility is 0 to 86400 seconds")
        if not self.may(request, codes.MAY_SUBSCRIBE, b"", attach.pattern):
            raise StoreError(
                records.NOT_ALLOWED,
                f"the policy of the store does not let this program subscribe to {attach.pattern!r}",
            )
        if not any(may_meet(each, attach.pattern) for each in self.keep):
            raise StoreError(records.NOT_KEPT, f"this store keeps nothing that {attach.pattern!r} means")
        known = {each.name: each for each in self.tables.durables()}
        durable = known.get(attach.durable)
        if durable is None:
            if len(known) >= records.DURABLES_MAX:
                raise StoreError(records.TOO_MANY, f"the store has {records.DURABLES_MAX} durables, its most")
            durable = Durable(
                attach.durable, attach.pattern, self._start(attach.start), attach.tries, request.source
            )
            await self.commit([("durable", *durable)])
        elif durable.pattern != attach.pattern:
            raise StoreError(
                records.MALFORMED,
                f"the durable {durable.name!r} subscribes to {durable.pattern!r}, not to {attach.pattern!r}:"
                " drop it (busway jobs --forget), or take another name",
            )

    def _start(self, start: str | int | float) -> int:
        """The place behind which a new durable begins: a word, a place, or a time in seconds since 1970."""
        if start == "new":
            return self.tables.last_position()
        if start == "first":
            return 0
        if isinstance(start, (bool, str)) or not 0 <= start <= records.NUMBER_MAX:
            raise StoreError(records.MALFORMED, 'start is "new", "first", a position, or a time')
        if isinstance(start, int):
            return max(0, start - 1)
        return self.tables.position_at(int(min(start * 1000, records.TIME_MAX_MS)))

    async def _ack(self, request: Any, ack: records.Ack) -> dict[str, Any]:
        session = self._session(request, ack.session)
        queue = session.queue
        left = queue.loaded
        changes = queue.done(session, ack.done)
        self.counts["delivered"] += left - queue.loaded
        for number, pause in ack.again:
            changes += queue.again(session, number, pause, now_ms())
        queue.held(session, ack.held, time.monotonic())
        if ack.wanted >= 0:
            session.again_from(ack.wanted)
            self._sending[session.id].set()
        self.pump(queue)
        await self.commit(changes)
        return {}

    def pump(self, queue: Queue) -> None:
        """Give consumers of a queue what there is."""
        for session in queue.pump(now_ms()):
            self._sending[session.id].set()

    async def _send_to(self, session: Session, event: asyncio.Event) -> None:
        """Send a consumer what it is given, as it takes it, until it is lost."""
        while not session.lost:
            await event.wait()
            event.clear()
            while not session.lost:
                first, messages = session.batch()
                if not messages:
                    break
                batch = _ENCODER.encode(records.Batch(session.id, first, messages))
                try:
                    await self.bus.send(session.to, batch, node=session.node, timeout=records.LEASE_S)
                except (BusError, LocalError, ValueError):  # it is away, or its bus does not take as much
                    await self._give_up(session)
                    return

    async def _give_up(self, session: Session) -> None:
        with contextlib.suppress(StoreError):
            await self.commit(self._lose(session, False))

    def _lose(self, session: Session, orderly: bool) -> list[Change]:
        queue = session.queue
        if self.sessions.pop(session.id, None) is None:
            return []
        changes = queue.lose(session, orderly, now_ms())
        self._sending.pop(session.id).set()
        if queue.sessions:
            self.pump(queue)
        else:
            queue.release()
            for key in [key for key, each in self.queues.items() if each is queue]:
                del self.queues[key]
        return changes

    async def _watch(self) -> None:
        """Follow the nodes and endpoints that come and go."""
        for info in self.bus.endpoints():
            self.pushing.appeared(info)
        self._meet_others()
        async for change in self.bus.changes():
            subject: Any = change.subject
            if change.what in ("endpoint-up", "endpoint-changed"):
                self.pushing.appeared(subject)
                if subject.name == records.STORE_NAME and subject.node != self.bus.id:
                    self.spawn(self._meet(subject.node))
            elif change.what == "endpoint-down":
                self.pushing.vanished(subject)
                if subject.name == records.STORE_NAME:
                    self.others.pop(subject.node, None)
            elif change.what == "node-down":
                self.spawn(self.lasting.departed(subject.id))
                for session in [s for s in self.sessions.values() if s.node == subject.id]:
                    self.spawn(self.commit(self._lose(session, False)))

    # Time

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                await self._look_after()
            except sqlite3.Error as error:
                self.trouble = f"the store cannot read its file: {error}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(_TIDY_S)

    async def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._sought > _SEEK_S:
            self._sought = now
            self._meet_others()
        changes: list[Change] = []
        for session in list(self.sessions.values()):
            if now - session.heard > records.LEASE_S:
                changes += self._lose(session, False)
            elif late := session.queue.overdue(session, now, now_ms()):
                changes += late
                self.pump(session.queue)
        for queue in list(self.queues.values()):
            if queue.next_due() and queue.next_due() <= now_ms():
                self.pump(queue)
        with contextlib.suppress(StoreError):
            await self.commit(changes)
            if now - self._tidied > _TIDY_S:
                self._tidied = now
                await self._tidy()

    async def _tidy(self) -> None:
        now = now_ms()
        while expired := self.tables.expired(now, 1000):
            await self.remove(expired, "expired")
        await self.recording.trim()
        await self.commit([("tidy", now, now - _SENDER_AGE_MS)])

    async def remove(self, entries: list[Entry], why: str) -> None:
        """Remove entries, whoever has them in memory."""
        (gone,) = await self.commit([("remove", [entry.pos for entry in entries])])
        self.counts[why] += len(gone)
        for entry in entries:
            for queue in self.queues.values():
                queue.gone(entry.pos)
            if entry.kind == REQUEST:
                await self.outcome(entry, 2, codes.EXPIRED, "", codes.RAW, b"", b"")

    # Answers to stored requests

    async def outcome(
        self, entry: Entry, state: int, code: int, text: str, format: int, type_id: bytes, payload: bytes
    ) -> None:
        """Keep what became of a request until it is asked for: `state` 0 a reply, 1 an error of its handler,
        2 why there is none.
        """
        until = entry.expires or now_ms() + self.limits.age_mail
        if len(payload) > self.limits.message:
            state, code, text, format, type_id, payload = 2, codes.MESSAGE_TOO_LARGE, "", codes.RAW, b"", b""
        elif not self.usage.has_room(entry.source, len(payload) + records.OVERHEAD):
            state, code, text, format, type_id, payload = 2, codes.QUEUE_FULL, "", codes.RAW, b"", b""
        row = (
            entry.id,
            entry.source,
            max(until, now_ms() + 60_000),
            state,
            code,
            text,
            format,
            type_id,
            payload,
        )
        self.usage.answer_came(entry.source, len(payload) + records.OVERHEAD)
        try:
            await self.commit([("answer", *row)])
        except StoreError:
            self.usage.gone([Gone(ANSWER, entry.source, len(payload) + records.OVERHEAD)])
            raise
        if event := self._asked.get(entry.id):
            event.set()

    async def _outcome(self, request: Any, answer: records.Answer) -> Any:
        ident = own_stream(request.source, answer.id[:16]) + answer.id[16:]
        if answer.over:
            if self.tables.answer(ident) is not None:
                await self.commit([("answered", [ident])])
            return []
        event = self._asked.setdefault(ident, asyncio.Event())
        try:
            found = self.tables.answer(ident)
            if found is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ANSWER_S):
                        await event.wait()
                if self._closed:
                    raise StoreError(records.NOT_ACTIVE, "this store is not the active one any more")
                found = self.tables.answer(ident)
        finally:
            self._asked.pop(ident, None)
        return [] if found is None else list(found[1:])
