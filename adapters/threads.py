"""The bus for programs with threads: the same names and promises as AsyncBus, blocking.

Any thread may call, handlers may too. What messages mean, how they are ordered, retried, limited and timed
out is the core's; who waits for what is threads_engine.py's.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack, cast, overload

from busway.adapters import facade
from busway.adapters.dialled import DialledLink
from busway.adapters.facade import Change
from busway.adapters.links import LinkRunner, ListenerRunner, now_ms
from busway.adapters.local import LocalMesh
from busway.adapters.threads_ends import Changes, Job, Parts, Receiver
from busway.adapters.threads_engine import Engine, Pool, Promise
from busway.adapters.threads_links import Links
from busway.adapters.threads_receiving import Receiving
from busway.adapters.threads_signals import install, shielded, uninstall
from busway.adapters.threads_views import Views
from busway.adapters.typed import R, RequestOptions, StreamOptions, Target
from busway.errors import BusClosed, BusError, Undeliverable
from busway.names import check_bus_name, endpoint_id
from busway.payloads import encode
from busway.protocol import Connection, Limits, Message, Node, codes, errors, events

_log = logging.getLogger("busway")
_ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED)
_EXIT_S = 2.0  # what a bus that is still open gets when the interpreter ends
_JOIN_S = 1.0  # for the I/O thread, which never runs anything of the user's
_live: weakref.WeakSet[Bus] = weakref.WeakSet()


class Bus(Receiving, Links, Views):
    """A program's place on the bus, for threads. Every method blocks, and any thread may call it.

    Args: as `AsyncBus`: `name` of the bus; `ipc`: find this machine's other programs of the same user;
        `leaf`: join through one local node; `transit`: forward for others; `label` for people; `node_id`
        16 bytes; `limits`.

    Use it as `with Bus() as bus:`; that returns having joined the local nodes (at most 500 ms).
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
        )
        self.undeliverable: deque[events.UndeliverableEvent] = deque(maxlen=1024)
        self.engine = Engine(self._turn, self._fire)
        self.pool = Pool()
        self.failures = self.engine.failures
        self.failure: BusError | None = None
        self.handlers: dict[Message, Job] = {}  # at work, by the message they answer
        self._ipc = ipc
        self._opened = False
        self._mesh: LocalMesh | None = None
        self.dialled: set[DialledLink] = set()
        self.node.dialled = self._dialled_rows
        self._runners: set[LinkRunner] = set()
        self._listeners: set[ListenerRunner] = set()
        self._waiters: dict[int, Promise | Parts] = {}
        self._changes: set[Changes] = set()
        self._idle: Promise | None = None  # who waits for the last link to end
        self._at_rest: Promise | None = None  # who waits for a handler to end
        self._quiet_until = 0.0
        self._pid = os.getpid()
        _live.add(self)

    def __repr__(self) -> str:
        state = "closed" if self.failure is not None else "open" if self._opened else "not open yet"
        return facade.describe_bus(self, self.node, state)

    # Life

    @property
    def id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self.node.node_id

    def check(self) -> None:
        """Raises BusClosed after `close`, BusError in a forked child."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)  # a new one for each thread

    def check_open(self) -> None:
        """Raises as `check`, and BusError before `open`."""
        self.check()
        if not self._opened:
            raise BusError("the bus is not open: use it inside `with Bus() as bus:`")

    def open(self) -> Self:
        """Join. `with` does this."""
        with self.engine.lock:
            self.check()
            if self._opened:
                raise BusError("the bus is open already")
            self.engine.start()
            self._opened = True
            install()
        # Now: a thread that imports while another forks would leave the child an import that never ends.
        encode(None, b"")
        if self._ipc:
            self._mesh = self.engine.call(LocalMesh, self, not self.node.leaf, self._warn)
            self.engine.wait(self.engine.call(self._mesh.join))
        return self

    def __enter__(self) -> Self:
        try:
            return self.open()
        except BaseException:
            self.close(0)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout: float = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once.

        Handlers at work get half of that time to finish. Whoever waits in a call gets BusClosed. Ctrl-C ends
        the waiting, and everything is released all the same.
        """
        with self.engine.lock:
            if self.failure is not None:
                return
            self.failure = BusClosed()
        if not self._opened:
            return
        end = time.monotonic() + timeout
        try:
            self.engine.call(self._stop_listening)
            self._await_handlers(time.monotonic() + timeout / 2)
            self.engine.call(self._leave)
            self._until_idle(end)
        except BaseException:
            end = 0.0  # Ctrl-C: handlers at work are not waited for, either
            raise
        finally:
            try:
                self.engine.call(self._release)
                self.engine.stop(_JOIN_S)
                self.pool.stop(max(0.0, end - time.monotonic()))
            finally:
                uninstall()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        for link in list(self.dialled):
            link.bus_closed()
        if self._mesh is not None:
            self._mesh.close()
        for job in self.handlers.values():
            job.cancelled = True

    def _await_handlers(self, end: float) -> None:
        me = threading.get_ident()
        while True:
            with self.engine.lock:
                if all(job.thread == me for job in self.handlers.values()):
                    return
                self._at_rest = promise = Promise(self.engine)
            if not self.engine.wait(promise, max(0.0, end - time.monotonic())):
                return

    def handler_ended(self) -> None:
        if self._at_rest is not None and not self._at_rest.resolved:
            self._at_rest.set_result(None)

    def _leave(self) -> None:
        """End everything outstanding, and say goodbye."""
        tags = [core.tag for endpoint in self.node.endpoints() for core in endpoint.receivers]
        why = "the handler did not end in time: its node is closing"
        for message in self.handlers:
            facade.answer_error(self.node, message, codes.BUS_CLOSED, why, now_ms())
        self.node.close(now_ms())
        for tag in tags:
            if tag is not None:  # the built-in endpoint's
                cast(Receiver[Any], tag).wake()

    def _until_idle(self, end: float) -> None:
        with self.engine.lock:
            if not self._runners:
                return
            self._idle = promise = Promise(self.engine)
        self.engine.wait(promise, max(0.0, end - time.monotonic()))

    def _release(self) -> None:
        """Nothing stays open, however far `close` got."""
        self._leave()
        for runner in list(self._runners):
            runner.close()
        for changes in list(self._changes):
            changes.finish()
        self.failures.close()

    # Sending

    @shielded
    def send(
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

        Arguments and errors as `AsyncBus.send`. Waits while the receiver gives no credit.
        """
        endpoint, data, format, type_id = self._prepare(to, payload)
        token, promise = self.ask(
            self.node.send,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=node,
            confirm=confirm,
            ttl_ms=facade.milliseconds("ttl", ttl) if ttl else 0,
            timeout_ms=facade.milliseconds("timeout", timeout),
        )
        if promise is not None:
            outcome = self.outcome(token, promise)
            if outcome.status not in (events.ACCEPTED, events.TAKEN):
                raise facade.error_of(outcome)

    @shielded
    def publish(
        self, to: Target, payload: Any = None, *, wait: bool = False, best_effort: bool = False
    ) -> None:
        """Give every subscriber of `to` a copy. Arguments and errors as `AsyncBus.publish`."""
        endpoint, data, format, type_id = self._prepare(to, payload)
        token, promise = self.ask(
            self.node.publish,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            best_effort=best_effort,
            patience_ms=facade.publish_patience(wait),
        )
        if promise is not None:
            self._settle(token, promise)

    @overload
    def request(
        self, to: Target, payload: Any = None, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    def request(
        self, to: Target, payload: Any = None, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @shielded
    def request(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float = 30.0,
        ttl: float = 0.0,
        node: bytes = b"",
        reply: Any = None,
    ) -> Any:
        """Ask; returns the reply's value. Arguments and errors as `AsyncBus.request`. Ctrl-C cancels it."""
        wanted = facade.wanted_reply(reply)
        token, promise = self._request(to, payload, timeout, ttl, node, 0)
        outcome = self.outcome(token, promise)
        if outcome.status == events.REPLIED:
            return facade.decode_outcome(outcome, wanted)
        raise facade.error_of(outcome)

    @overload
    def request_stream(
        self, to: Target, payload: Any = None, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> Generator[R, None, None]: ...

    @overload
    def request_stream(
        self, to: Target, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> Generator[Any, None, None]: ...

    def request_stream(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float = 30.0,
        ttl: float = 0.0,
        node: bytes = b"",
        window: int = codes.STREAM_WINDOW,
        reply: Any = None,
    ) -> Generator[Any, None, None]:
        """Ask a handler that answers in parts; an iterator over their values. Closing it early cancels.

        Arguments and errors as `AsyncBus.request_stream`.
        """
        wanted = facade.wanted_reply(reply)
        parts = Parts(self.engine)
        token, _ = self._request(to, payload, timeout, ttl, node, window, parts)
        try:
            while True:
                outcome = parts.get()
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise facade.error_of(outcome)
                self.engine.call(self.node.consume_part, token, now_ms())
                yield facade.decode_outcome(outcome, wanted)
                if outcome.status == events.REPLIED:
                    return
        finally:
            self.engine.finish(self._cancel, token)

    def _request(
        self,
        to: Any,
        payload: Any,
        timeout: float,
        ttl: float,
        node: bytes,
        window: int,
        parts: Parts | None = None,
    ) -> tuple[int, Any]:
        endpoint, data, format, type_id = self._prepare(to, payload)
        return self.ask(
            self.node.request,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            waiter=parts,
            node_id=node,
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.milliseconds("timeout", timeout),
            window=window,
        )

    def _prepare(self, to: Any, payload: Any) -> tuple[bytes, Any, int, bytes]:
        """Without the lock: encoding may run code of the user's."""
        self.check_open()
        endpoint = endpoint_id(to)
        if self.node.is_process_only(endpoint):
            return endpoint, payload, codes.OBJECT, b""
        return endpoint, *encode(payload, endpoint)

    def ask(self, function: Callable[..., int], *args: Any, **options: Any) -> tuple[int, Promise | None]:
        """Call the core; where it gives a token, with a promise of its outcome."""
        lazy = function in (self.node.send, self.node.publish)
        call = self.engine.call_lazily if lazy else self.engine.call
        try:
            found: tuple[int, Promise | None] = call(self._start, True, function, args, **options)
        except errors.LocalError as error:
            raise facade.for_users(error) from None
        return found

    def _start(
        self,
        check: bool,
        function: Callable[..., int],
        args: tuple[Any, ...],
        *,
        waiter: Parts | None = None,
        **options: Any,
    ) -> tuple[int, Promise | Parts | None]:
        if check:
            self.check()
        token = function(*args, **options)
        if not token:
            return 0, None
        found = self._waiters[token] = Promise(self.engine) if waiter is None else waiter
        return token, found

    def outcome(self, token: int, promise: Promise) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is interrupted cancels it."""
        try:
            self.engine.wait(promise)
        finally:
            if not promise.resolved:
                self.engine.finish(self._cancel, token)
        outcome: events.Outcome = promise.value
        return outcome

    def _cancel(self, token: int) -> None:
        self._waiters.pop(token, None)
        self.node.cancel(token, now_ms())

    def _settle(self, token: int, promise: Promise) -> None:
        if self.outcome(token, promise).code == codes.BUS_CLOSED:
            raise BusClosed()

    @shielded
    def settled(self, function: Callable[..., int], *args: Any) -> None:
        """Answer, also while the bus closes; returns once the answer is on its way, or nobody wants it any
        more.
        """
        try:
            token, promise = self.engine.call(self._start, False, function, args)
        except errors.LocalError as error:
            raise facade.for_users(error) from None
        if promise is not None:
            self._settle(token, promise)

    # The turn: with the lock held, whenever the core may have something to say

    def _turn(self) -> None:
        node = self.node
        while True:
            flush, happened = node.connections_to_flush(), node.take_events()
            if not flush and not happened:
                break
            for connection in flush:
                if connection.tag is not None:
                    cast(LinkRunner, connection.tag).flush()
            self.dispatch(happened)
        self.engine.arm(node.next_deadline())

    def _fire(self) -> None:
        self.dispatch(self.node.handle_timer(now_ms()))

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
                    self.handlers[request].cancelled = True
            elif kind == events.RECEIVER_TAKEN:
                cast(Receiver[Any], cast(events.ReceiverEvent, event).receiver.tag).taken()
            else:
                self._on_change(event)

    def _on_outcome(self, outcome: events.Outcome) -> None:
        waiter = self._waiters.get(outcome.token)
        if isinstance(waiter, Parts):
            waiter.put(outcome)
        elif waiter is not None:
            del self._waiters[outcome.token]
            waiter.set_result(outcome)

    def _on_undeliverable(self, event: events.UndeliverableEvent) -> None:
        self.undeliverable.append(event)
        if time.monotonic() >= self._quiet_until:  # one line a second tells as much as a thousand
            self._quiet_until = time.monotonic() + 1.0
            words = ("a message to %s was %s", event.endpoint.hex(), Undeliverable(event.reason))
            self.engine.remarks.append(partial(_log.warning, *words))

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
                words = ("a link ended: %s: %s", connection.link.address, connection.close_text)
                self.engine.remarks.append(partial(_log.info, *words))
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

    def _warn(self, *words: object) -> None:
        self.engine.remarks.append(partial(_log.warning, *words))

    def _dialled_rows(self) -> list[dict[str, object]]:
        return [link.row() for link in self.dialled]

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        self._runners.discard(runner)
        if not self._runners and self._idle is not None and not self._idle.resolved:
            self._idle.set_result(None)

    def abandon(self) -> None:
        """In a forked child: the parent's bus is not ours. Our copies of its descriptors are closed, nothing
        else.
        """
        self.engine.abandon()
        if self.failure is None:
            self.failure = BusError(
                f"this bus was opened by process {self._pid} before fork: open one of your own in the child"
            )
        for link in self.dialled:
            link.abandon()
        for runner in self._runners:
            runner.abandon()
        for listener in self._listeners:
            listener.abandon()
        if self._mesh is not None and self._mesh.listener is not None:
            self._mesh.listener.abandon()


def _after_fork() -> None:
    for bus in list(_live):
        bus.abandon()


def _at_exit() -> None:
    for bus in list(_live):
        bus.close(_EXIT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
