"""The bus for asyncio programs: runs a node and its links on the running loop, and hands results to who
awaits them.

What messages mean, how they are ordered, retried, limited and timed out is the core's. This file moves and
wakes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self, Unpack, cast, overload

from busway.adapters import facade
from busway.adapters.asyncio_ends import YIELD_MASK, Changes, Parts, Receiver
from busway.adapters.asyncio_links import Links
from busway.adapters.asyncio_receiving import Receiving
from busway.adapters.asyncio_views import Views
from busway.adapters.dialled import DialledLink
from busway.adapters.facade import Change
from busway.adapters.failures import Failures
from busway.adapters.links import LinkRunner, ListenerRunner, now_ms
from busway.adapters.local import LocalMesh
from busway.adapters.typed import R, RequestOptions, StreamOptions, Target
from busway.errors import BusClosed, BusError, Undeliverable
from busway.names import check_bus_name, endpoint_id, id_of_text
from busway.payloads import encode
from busway.protocol import Connection, Limits, Message, Node, codes, errors, events

_log = logging.getLogger("busway")
_ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED)
_live: weakref.WeakSet[AsyncBus] = weakref.WeakSet()


class AsyncBus(Receiving, Links, Views):
    """A program's place on the bus.

    Args:
        name: the bus's name; only nodes of the same name meet.
        ipc: find this machine's other programs of the same user, at once and with nothing configured.
        leaf: join through one local node, which forwards for this one, as short-lived commands do; such a
            node is told of what it asks for only.
        transit: forward for others. By default a node does so once it has links of two sorts, such as IPC and
            TCP.
        label: tells people which program this is; by default the script's name and process id.
        node_id: 16 bytes; by default random.
        limits: sizes that this node takes (`busway.Limits`).

    Use it as `async with AsyncBus() as bus:`; that returns having joined the local nodes (at most 500 ms).
    """

    def __init__(
        self,
        name: str = "default",
        *,
        ipc: bool = True,
        leaf: bool = False,
        transit: bool | None = None,
        label: str | None = None,
        node_id: bytes | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.node = Node(
            node_id or os.urandom(16),
            entropy=os.urandom,
            bus=check_bus_name(name),
            label=facade.default_label() if label is None else label,
            leaf=leaf,
            transit=transit,
            limits=limits,
            encode=facade.dump_cbor,
            wake=self._wake,
        )
        self.undeliverable: deque[events.UndeliverableEvent] = deque(maxlen=1024)
        self.failures: Failures
        self._process_only = self.node.desk.process_only  # empty for most: then no payload is an object
        self._ipc = ipc
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: BusError | None = None
        self._mesh: LocalMesh | None = None
        self.dialled: set[DialledLink] = set()
        self.node.dialled = self._dialled_rows
        self._runners: set[LinkRunner] = set()
        self._listeners: set[ListenerRunner] = set()
        self.handlers: dict[Message, asyncio.Task[None]] = {}  # at work, by the message they answer
        self._waiters: dict[int, asyncio.Future[events.Outcome] | Parts] = {}
        self._changes: set[Changes] = set()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed = -1
        self._calls = 0
        self._quiet_until = 0.0
        self._idle: asyncio.Future[None] | None = None
        self._pid = os.getpid()
        _live.add(self)

    def __repr__(self) -> str:
        state = "closed" if self.failure is not None else "open" if self._loop is not None else "not open yet"
        return facade.describe_bus(self, self.node, state)

    # Life

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the bus was opened on. Raises BusError before that."""
        if self._loop is None:
            raise BusError("the bus is not open: use it inside `async with AsyncBus() as bus:`")
        return self._loop

    @property
    def id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self.node.node_id

    def check(self) -> None:
        """Raises BusClosed after `close`, BusError in a forked child."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # or it would grow with every use

    async def open(self) -> Self:
        """Join. `async with` does this."""
        self.check()
        if self._loop is not None:
            raise BusError("the bus is open already")
        self._loop = asyncio.get_running_loop()
        self.failures = Failures(self._loop.call_later, _now)
        self._wake()
        if self._ipc:
            self._mesh = LocalMesh(self, not self.node.leaf, _log.warning)
            await self._mesh.join()
        return self

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except BaseException:
            await self.close(0)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, timeout: float = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once.
        """
        if self.failure is not None:
            return
        self.failure = BusClosed()
        if self._loop is None:
            return
        deadline = self.loop.time() + timeout
        for listener in self._listeners:
            listener.close()
        for link in list(self.dialled):
            link.bus_closed()
        if self._mesh is not None:
            self._mesh.close()
        try:
            await self._stop_handlers(deadline)
            self._leave()
            await self._until_idle(deadline)
        finally:
            self._release()

    def _leave(self) -> None:
        """End everything outstanding, and say goodbye."""
        tags = [core.tag for endpoint in self.node.endpoints() for core in endpoint.receivers]
        self.node.close(now_ms())
        for tag in tags:
            if tag is not None:  # the built-in endpoint's
                cast(Receiver[Any], tag).wake()
        self._pump()

    def _release(self) -> None:
        """Nothing stays open, however far `close` got."""
        self._leave()
        for runner in list(self._runners):
            runner.close()
        self.dispatch(self.node.take_events())
        if self._timer is not None:
            self._timer.cancel()
        for changes in list(self._changes):
            changes.finish()
        self.failures.close()

    async def _stop_handlers(self, deadline: float) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in self.handlers.values() if task is not mine]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - self.loop.time()))

    async def _until_idle(self, deadline: float) -> None:
        while self._runners and self.loop.time() < deadline:
            self._idle = self.loop.create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._idle
            except TimeoutError:
                return

    # Sending

    async def send(
        self,
        to: Target,
        payload: Any = None,
        *,
        confirm: bool = False,
        ttl: float = 0.0,
        timeout: float = 30.0,
        node: bytes = b"",
    ) -> None:
        """Send to whoever holds `to`; returns when the message is accepted for transport.

        With `confirm` it returns when the receiving program has taken it, within `timeout` seconds. `ttl`
        seconds wait for the endpoint to appear; `node` picks one of several holders. Raises Undeliverable,
        with `confirm` also DeliveryUnknown; ValueError for a broadcast endpoint.
        """
        if self.failure is not None:
            self.check()
        endpoint = id_of_text(to) if type(to) is str else endpoint_id(to)
        if type(payload) is bytes and not (confirm or ttl or node or self._process_only):
            try:
                token = self.node.send(endpoint, payload, monotonic_ns() // 1_000_000)
            except errors.LocalError as error:
                raise facade.for_users(error) from None
            if not token:
                self._calls += 1
                if self._calls & YIELD_MASK == 0:
                    await asyncio.sleep(0)
                return
        else:
            token = self._send(endpoint, payload, confirm, ttl, timeout, node)
        if token:
            outcome = await self.outcome(token)
            if outcome.status not in (events.ACCEPTED, events.TAKEN):
                raise facade.error_of(outcome)
        else:
            await self._turn()

    def _send(
        self, endpoint: bytes, payload: Any, confirm: bool, ttl: float, timeout: float, node: bytes
    ) -> int:
        data, format, type_id = self._encode(payload, endpoint)
        return self._call(
            self.node.send,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=node,
            confirm=confirm,
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.milliseconds("timeout", timeout),
        )

    async def publish(
        self, to: Target, payload: Any = None, *, wait: bool = False, best_effort: bool = False
    ) -> None:
        """Give every subscriber of `to` a copy. Nobody listening is no error. Raises ValueError for another
        kind of endpoint.

        It waits a little, at most 0.5 s, for a link whose queue is full, and not at all for one that others
        have waited for in vain: that link misses the copy, or keeps it as the newest. With `wait` it waits
        until each link concerned has room, however long that takes.
        `best_effort` never waits: serial and BLE links may lose this copy, and leave it out when they are
        busy; the subscriber's `missed` counts it. For readings of which the next comes soon.
        """
        self._check_open()
        endpoint = endpoint_id(to)
        data, format, type_id = self._encode(payload, endpoint)
        token = self._call(
            self.node.publish,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            best_effort=best_effort,
            patience_ms=facade.publish_patience(wait),
        )
        if token:
            await self.settled(token)
        else:
            await self._turn()

    @overload
    async def request(
        self, to: Target, payload: Any = None, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    async def request(
        self, to: Target, payload: Any = None, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    async def request(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float = 30.0,
        ttl: float = 0.0,
        node: bytes = b"",
        reply: Any = None,
    ) -> Any:
        """Ask, and return the reply's value.

        `reply` is what the reply has to be: a message class, or what a field's annotation may say (`float`,
        `list[int]`, a dataclass); it is checked and converted, and PayloadError says what does not fit. By
        default any value.

        Raises RemoteError (the handler failed), RequestTimeout after `timeout` seconds (it may have run),
        Undeliverable, PayloadError, ValueError for a broadcast endpoint. Cancelling the caller cancels it.
        """
        wanted = facade.wanted_reply(reply)
        outcome = await self.outcome(self._request(to, payload, timeout, ttl, node, 0))
        if outcome.status == events.REPLIED:
            return facade.decode_outcome(outcome, wanted)
        raise facade.error_of(outcome)

    @overload
    def request_stream(
        self, to: Target, payload: Any = None, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def request_stream(
        self, to: Target, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Any, None]: ...

    async def request_stream(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float = 30.0,
        ttl: float = 0.0,
        node: bytes = b"",
        window: int = codes.STREAM_WINDOW,
        reply: Any = None,
    ) -> AsyncGenerator[Any, None]:
        """Ask a handler that answers in parts; an async iterator over their values.

        `timeout` counts from the last part; `window` parts may be under way. Errors as `request`; a lost part
        raises Undeliverable. Leave the iteration early with `contextlib.aclosing` to cancel at once.
        """
        wanted = facade.wanted_reply(reply)
        token = self._request(to, payload, timeout, ttl, node, window)
        parts = Parts(self.loop)
        self._waiters[token] = parts
        try:
            while True:
                outcome = await parts.get()
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise facade.error_of(outcome)
                self.node.consume_part(token, now_ms())
                yield facade.decode_outcome(outcome, wanted)
                if outcome.status == events.REPLIED:
                    return
        finally:
            self._waiters.pop(token, None)
            self.node.cancel(token, now_ms())
            self._wake()

    def _request(self, to: Any, payload: Any, timeout: float, ttl: float, node: bytes, window: int) -> int:
        self._check_open()
        endpoint = endpoint_id(to)
        data, format, type_id = self._encode(payload, endpoint)
        token = self._call(
            self.node.request,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=node,
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.milliseconds("timeout", timeout),
            window=window,
        )
        self._wake()
        return token

    def _check_open(self) -> None:
        self.check()
        assert self.loop is not None  # or it raises

    def _encode(self, payload: Any, endpoint: bytes) -> tuple[Any, int, bytes]:
        if self._process_only and self.node.is_process_only(endpoint):
            return payload, codes.OBJECT, b""
        return encode(payload, endpoint)

    def _call(self, function: Callable[..., int], *args: Any, **options: Any) -> int:
        try:
            return function(*args, **options)
        except errors.LocalError as error:
            raise facade.for_users(error) from None

    async def _turn(self) -> None:
        """Now and then let the loop breathe: a caller that never has to wait would starve everyone else."""
        self._calls += 1
        if self._calls & YIELD_MASK == 0:
            await asyncio.sleep(0)

    async def outcome(self, token: int) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is cancelled cancels it."""
        future: asyncio.Future[events.Outcome] = self.loop.create_future()
        self._waiters[token] = future
        self._wake()
        try:
            return await future
        finally:
            if self._waiters.pop(token, None) is not None:
                self.node.cancel(token, now_ms())

    async def settled(self, token: int) -> None:
        """Wait until a publish or reply that had to wait is on its way; for one that nobody wants any more,
        no longer.
        """
        if token:
            outcome = await self.outcome(token)
            if outcome.code == codes.BUS_CLOSED:
                raise BusClosed()

    # The pump

    def _wake(self) -> None:
        """There is something to write, to tell, or to time: once, when the loop comes round."""
        if not self._pumping and self._loop is not None:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        for connection in self.node.connections_to_flush():
            if connection.tag is not None:
                cast(LinkRunner, connection.tag).flush()
        self.dispatch(self.node.take_events())

    def _arm(self) -> None:
        """One timer, for the node's next deadline.

        One that is set too early stays: firing for nothing once is cheaper than moving it with every answer.
        """
        deadline = self.node.next_deadline()
        if deadline is None or 0 <= self._armed <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self.loop.call_later(max(0, deadline - now_ms()) / 1000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._armed = -1
        self.dispatch(self.node.handle_timer(now_ms()))
        self._wake()

    def dispatch(self, happened: list[events.Event]) -> None:
        """Hand events to those who wait for them."""
        for event in happened:
            kind = event.kind
            if kind == events.MESSAGES:
                cast(Receiver[Any], cast(events.MessagesEvent, event).receiver.tag).wake()
            elif kind == events.OUTCOME:
                self._on_outcome(cast(events.Outcome, event))
            elif kind == events.UNDELIVERABLE:
                self._on_undeliverable(cast(events.UndeliverableEvent, event))
            elif kind == events.REQUEST_CANCELLED:
                request = cast(events.RequestEvent, event).request
                if request in self.handlers:
                    self.handlers[request].cancel()
            elif kind == events.RECEIVER_TAKEN:
                cast(Receiver[Any], cast(events.ReceiverEvent, event).receiver.tag).taken()
            else:
                self._on_change(event)
        self._arm()

    def _on_outcome(self, outcome: events.Outcome) -> None:
        waiter = self._waiters.get(outcome.token)
        if isinstance(waiter, Parts):
            waiter.put(outcome)
        elif waiter is not None:
            del self._waiters[outcome.token]
            if not waiter.done():
                waiter.set_result(outcome)

    def _on_undeliverable(self, event: events.UndeliverableEvent) -> None:
        self.undeliverable.append(event)
        if self.loop.time() >= self._quiet_until:  # one line a second tells as much as a thousand
            self._quiet_until = self.loop.time() + 1.0
            _log.warning("a message to %s was %s", event.endpoint.hex(), Undeliverable(event.reason))

    def _on_change(self, event: events.Event) -> None:
        if event.kind == events.LOG:
            log = cast(events.LogEvent, event)
            if log.connection.tag is not None:
                cast(LinkRunner, log.connection.tag).printed(log.text)
            return
        if event.kind == events.LINK_CLOSED:
            connection: Connection = cast(events.LinkEvent, event).connection
            if connection.tag is not None:
                cast(LinkRunner, connection.tag).ended()
            if connection.close_code not in _ORDERLY and not self.node.closed:
                _log.info("a link ended: %s: %s", connection.link.address, connection.close_text)
            if self._mesh is not None and connection.via == "ipc":
                self._mesh.link_lost(connection)
            for runner in self._runners:  # one that had to wait for the end of this link is read on now
                runner.settle()
        change = facade.change_of(event)
        if change is not None:
            self.tell(change)

    def tell(self, change: Change) -> None:
        """To those who read `changes()`."""
        for changes in self._changes:
            changes.put(change)

    def _dialled_rows(self) -> list[dict[str, object]]:
        return [link.row() for link in self.dialled]

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        self._runners.discard(runner)
        if not self._runners and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def abandon(self) -> None:
        """In a forked child: the parent's bus is not ours. Our copies of its descriptors are closed, nothing
        else.
        """
        if self.failure is None:
            self.failure = BusError(
                f"this bus was opened by process {self._pid} before fork: open one of your own in the child"
            )
        self._loop = None
        for link in self.dialled:
            link.abandon()
        for runner in self._runners:
            runner.abandon()
        for listener in self._listeners:
            listener.abandon()
        if self._mesh is not None and self._mesh.listener is not None:
            self._mesh.listener.abandon()


def _now(callback: Callable[[], object]) -> None:
    callback()


def _after_fork() -> None:
    for bus in list(_live):
        bus.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
