"""What runs a Bus: its node and links in the engine of threads, and who waits for what.

Only the engine and what is open refer to it, never the other way round to the Bus: one that a program has
dropped is noticed, and everything released.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from busway.adapters import closing, facade, remarks, tap
from busway.adapters.dialled import Dialling
from busway.adapters.facade import Realm
from busway.adapters.links import LinkRunner, ListenerRunner, Owner, now_ms
from busway.adapters.local import LocalMesh
from busway.adapters.records import Change, Undelivered
from busway.adapters.threads_callbacks import FutureReply
from busway.adapters.threads_ends import Arrivals, Changes, Job, Parts
from busway.adapters.threads_engine import Engine, Pool, Promise
from busway.adapters.threads_signals import install, shielded, uninstall
from busway.errors import BusClosed, BusError
from busway.names import ascii_safe
from busway.payloads import encode
from busway.protocol import Connection, Message, Node, codes, errors, events

_log = logging.getLogger("busway")
_EXIT_S = 2.0  # what a bus that is still open gets when the interpreter ends
_JOIN_S = 1.0  # for the I/O thread, which never runs anything of the user's
WAY = "with Bus() as bus:"
_live: weakref.WeakSet[Host] = weakref.WeakSet()


class Host:
    """The threads' side of a bus."""

    def __init__(self, node: Node, ipc: bool) -> None:
        self.node = node
        self.undeliverable: deque[Undelivered] = deque(maxlen=1024)
        self.engine = Engine(self._turn, self._fire)
        self.failures = self.engine.failures
        self.pool = Pool()
        self.tap = False  # whether this program may be tapped (tap.py), by whose bus
        self.face: weakref.ref[Any] | None = None
        self.failure: BusError | None = None
        self.handlers: dict[Message, Job] = {}  # at work, by the message they answer
        self.dialled: set[Dialling] = set()
        self.node.dialled = self._dialled_rows
        self.runners: set[LinkRunner] = set()
        self.listeners: set[ListenerRunner] = set()
        self.waiters: dict[int, Promise | Parts | FutureReply] = {}
        self.changes: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._ipc = ipc
        self._opened = False
        self._released = False
        self._mesh: LocalMesh | None = None
        self._idle: Promise | None = None  # who waits for the last link to end
        self._at_rest: Promise | None = None  # who waits for a handler to end
        self._quiet_until = 0.0
        self._pid = os.getpid()
        _live.add(self)

    @property
    def state(self) -> str:
        """For people."""
        if self.failure is not None:
            return "closed"
        return "open" if self._opened else "not open yet"

    @property
    def left_open(self) -> bool:
        return self._opened and self.failure is None

    def check(self) -> None:
        """Raises BusClosed after `close`, BusError in a forked child."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)  # a new one for each thread

    def check_open(self) -> None:
        """Raises as `check`, and BusError before `open`."""
        self.check()
        if not self._opened:
            raise BusError(f"the bus is not open: use it inside `{WAY}`")

    # Life

    def open(self) -> None:
        """Join."""
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

    def close(self, timeout: float) -> None:
        """Leave, within `timeout` seconds. Twice is once."""
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
            steps: list[Callable[[], object]] = [
                partial(self.engine.call, self._release),
                partial(self.engine.stop, _JOIN_S),
                lambda: self.pool.stop(max(0.0, end - time.monotonic())),
            ]
            try:
                closing.release(steps, _log.error)
            finally:
                uninstall()

    def _stop_listening(self) -> None:
        closing.release(closing.steps_of(self.listeners, self.dialled, self._mesh), self._complain)
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
        waking = closing.wake_receivers(self.node)
        why = "the handler did not end in time: its node is closing"
        for message in self.handlers:
            facade.answer_error(self.node, message, codes.BUS_CLOSED, why, now_ms())
        closing.release([partial(self.node.close, now_ms()), *waking], self._complain)

    def _until_idle(self, end: float) -> None:
        with self.engine.lock:
            if not self.runners:
                return
            self._idle = promise = Promise(self.engine)
        self.engine.wait(promise, max(0.0, end - time.monotonic()))

    def _release(self) -> None:
        """Nothing stays open, however far `close` got."""
        if self._released:
            return
        self._released = True
        self._leave()
        steps: list[Callable[[], object]] = [runner.close for runner in list(self.runners)]
        steps += [changes._finish for changes in list(self.changes)]
        closing.release([*steps, self.failures.close], self._complain)

    def _complain(self, *words: object) -> None:
        self.engine.remarks.append(partial(_log.error, *words))

    def drop(self) -> None:
        """Nobody holds the bus any more: for any thread and any instant, also amid the core."""
        self.engine.soon(self._dropped)

    def _dropped(self) -> None:
        """In the I/O thread, which ends itself."""
        if self.failure is not None:
            return
        self.failure = BusClosed()
        self._stop_listening()
        self._leave()
        closing.release([self._turn], self._complain)
        self._release()
        self.engine.end()
        self.pool.stop(0.0)
        uninstall()

    # Outcomes

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
        waiter: Parts | FutureReply | None = None,
        **options: Any,
    ) -> tuple[int, Promise | Parts | FutureReply | None]:
        if check:
            self.check()
        token = function(*args, **options)
        if not token:
            return 0, None
        if _log.isEnabledFor(logging.DEBUG):
            self.engine.remarks.append(partial(_log.debug, "%s", remarks.waiting(self.node, token)))
        found = self.waiters[token] = Promise(self.engine) if waiter is None else waiter
        return token, found

    def outcome(self, token: int, promise: Promise) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is interrupted cancels it."""
        try:
            self.engine.wait(promise)
        finally:
            if not promise.resolved:
                self.engine.finish(self.cancel, token)
        outcome: events.Outcome = promise.value
        return outcome

    def cancel(self, token: int) -> None:
        self.waiters.pop(token, None)
        self.node.cancel(token, now_ms())

    def settle(self, token: int, promise: Promise) -> None:
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
            self.settle(token, promise)

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
                cast(Arrivals, cast(events.MessagesEvent, event).receiver.tag)._wake()
            elif kind == events.OUTCOME:
                self._on_outcome(cast(events.Outcome, event))
            elif kind == events.UNDELIVERABLE:
                self._on_undeliverable(cast(events.UndeliverableEvent, event))
            elif kind == events.REQUEST_CANCELLED:
                request = cast(events.RequestEvent, event).request
                if request in self.handlers:
                    self.handlers[request].cancelled = True
            elif kind == events.RECEIVER_TAKEN:
                cast(Arrivals, cast(events.ReceiverEvent, event).receiver.tag)._taken()
            elif kind == events.RECEIVER_ASKED:
                cast(Arrivals, cast(events.ReceiverEvent, event).receiver.tag)._asked(self)
            else:
                self._on_change(event)

    def _on_outcome(self, outcome: events.Outcome) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            self.engine.remarks.append(partial(_log.debug, "%s", remarks.outcome(outcome)))
        waiter = self.waiters.get(outcome.token)
        if isinstance(waiter, Parts):
            waiter.put(outcome)
        elif waiter is not None:
            del self.waiters[outcome.token]
            waiter.set_result(outcome)

    def _on_undeliverable(self, event: events.UndeliverableEvent) -> None:
        if event.endpoint == tap.TAP:
            return  # who watched has gone
        lost = facade.undelivered(self.node, event)
        self.undeliverable.append(lost)
        if time.monotonic() >= self._quiet_until:  # one line a second tells as much as a thousand
            self._quiet_until = time.monotonic() + 1.0
            self.engine.remarks.append(partial(_log.warning, "a message was %s", lost.error))

    def _on_change(self, event: events.Event) -> None:
        tap.noticed(self, event)
        if event.kind == events.LOG:
            log = cast(events.LogEvent, event)
            if log.connection.tag is not None:
                cast(LinkRunner, log.connection.tag).printed(log.text)
            return
        change = facade.change_of(event)
        if change is not None:  # before what follows from it
            self.tell(change)
        if event.kind == events.LINK_CLOSED:
            connection: Connection = cast(events.LinkEvent, event).connection
            if connection.tag is not None:
                cast(LinkRunner, connection.tag).ended()
            if connection.close_code not in facade.ORDERLY and not self.node.closed:
                words = ("a link ended: %s: %s", connection.link.address, ascii_safe(connection.close_text))
                self.engine.remarks.append(partial(_log.info, *words))
            if self._mesh is not None and connection.via == "ipc":
                self._mesh.link_lost(connection)
            for runner in self.runners:  # one that had to wait for the end of this link is read on now
                runner.settle()

    def tell(self, change: Change) -> None:
        """To those who read `changes()`, and the log."""
        if _log.isEnabledFor(logging.DEBUG):
            self.engine.remarks.append(partial(_log.debug, "%s", remarks.change(change)))
        for changes in self.changes:
            changes._put(change)

    def _warn(self, *words: object) -> None:
        self.engine.remarks.append(partial(_log.warning, *words))

    def _dialled_rows(self) -> list[dict[str, object]]:
        return [link.row() for link in self.dialled]

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        self.runners.discard(runner)
        if not self.runners and self._idle is not None and not self._idle.resolved:
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
        closing.abandon(self._mesh, self.dialled, self.runners, self.listeners)

    # What links need of their bus; called with the lock held

    def run_link(
        self,
        channel: Any,
        token: str | None = None,
        *,
        realm: Realm | None = None,
        cost: int | None = None,
        owner: Owner | None = None,
    ) -> LinkRunner:
        """As `attach`; `owner` has it as a link that heals."""
        self.check()
        runner = LinkRunner(self, channel, token, realm, cost, owner)
        self.runners.add(runner)
        if channel.fileno() < 0:  # it calls, from any thread
            channel.on_readable = partial(self.engine.soon, runner.on_readable)
            channel.on_writable = partial(self.engine.soon, runner.on_writable)
        return runner

    @property
    def loop(self) -> Engine:
        """What runs the links."""
        return self.engine

    def welcome(
        self, channel: Any, token: str | None, realm: Realm | None = None, cost: int | None = None
    ) -> LinkRunner | None:
        """A listener has a comer."""
        if self.failure is not None:
            channel.close()
            return None
        return self.run_link(channel, token, realm=realm, cost=cost)

    def inside(self, function: Callable[[], Any]) -> Any:
        """Call it with the lock held."""
        return self.engine.call(function)

    def in_thread(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        """Call `function` in a thread of the pool, then `done(value, error)` with the lock held."""

        def work() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001 - told to who asked
                self.engine.soon(partial(done, None, error))
            else:
                self.engine.soon(partial(done, value, None))

        try:
            self.pool.submit(work)
        except RuntimeError as error:  # no thread to be had
            self.engine.call_later(0.0, partial(done, None, OSError(str(error))))

    def remark(self, level: int, text: str, *words: object) -> None:
        """Log it, once the lock is released."""
        self.engine.remarks.append(partial(_log.log, level, text, *words))


def _after_fork() -> None:
    for host in list(_live):
        host.abandon()


def _at_exit() -> None:
    for host in list(_live):
        host.close(_EXIT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
