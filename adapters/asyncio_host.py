"""What runs an AsyncBus: its node and links on the running loop, the pump between them, and who awaits what.

Only the loop and what is open refer to it, never the other way round to the AsyncBus: one that a program has
dropped is noticed, and everything released.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
import weakref
from asyncio import _get_running_loop  # documented for those who run loops; a few ns
from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, TypeVar, cast

from busway.adapters import closing, facade, remarks, tap
from busway.adapters.asyncio_ends import Arrivals, Changes, Parts
from busway.adapters.dialled import Dialling
from busway.adapters.failures import Failures
from busway.adapters.links import LinkRunner, ListenerRunner, Owner, now_ms
from busway.adapters.local import LocalMesh
from busway.adapters.records import Change, Undelivered
from busway.errors import BusClosed, BusError
from busway.names import ascii_safe
from busway.protocol import Connection, Message, Node, codes, errors, events

_T = TypeVar("_T")
_log = logging.getLogger("busway")
_LOOP_END_S = 2.0  # what a bus that is still open gets when its loop ends
WAY = "async with AsyncBus() as bus:"
_live: weakref.WeakSet[Host] = weakref.WeakSet()


class Host:
    """The loop's side of a bus. Args: `node` makes the core's node, given what wakes it."""

    def __init__(self, node: Callable[[Callable[[], None]], Node], ipc: bool) -> None:
        self.node = node(self.wake)
        self.undeliverable: deque[Undelivered] = deque(maxlen=1024)
        self.tap = False  # whether this program may be tapped (tap.py), by whose bus
        self.face: weakref.ref[Any] | None = None
        self.failure: BusError | None = None
        self.failures: Failures
        self.dialled: set[Dialling] = set()
        self.node.dialled = self._dialled_rows
        self.runners: set[LinkRunner] = set()
        self.listeners: set[ListenerRunner] = set()
        self.handlers: dict[Message, asyncio.Task[None]] = {}  # at work, by the message they answer
        self.waiters: dict[int, asyncio.Future[events.Outcome] | Parts] = {}
        self.changes: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._ipc = ipc
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.current_thread()
        self._mesh: LocalMesh | None = None
        self._end: AsyncGenerator[None, None] | None = None
        self._released = False
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed = -1
        self._quiet_until = 0.0
        self._idle: asyncio.Future[None] | None = None
        self._pid = os.getpid()
        _live.add(self)

    # Who may call

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the bus was opened on. Raises BusError before that."""
        if self._loop is None:
            raise BusError(f"the bus is not open: use it inside `{WAY}`")
        return self._loop

    @property
    def state(self) -> str:
        """For people."""
        if self.failure is not None:
            return "closed"
        return "open" if self._loop is not None else "not open yet"

    @property
    def left_open(self) -> bool:
        return self._loop is not None and self.failure is None

    def check(self) -> None:
        """Raises BusClosed after `close`; BusError in a forked child, in another thread than the bus's, on
        another loop.
        """
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # or it would grow with every use
        if self._loop is not None:
            self.check_here()

    def check_open(self) -> None:
        """Raises as `check`, and BusError before `open`."""
        self.check()
        assert self.loop is not None  # or it raises

    def check_here(self) -> None:
        """Raises BusError in another thread, and on another loop."""
        running = _get_running_loop()
        if running is self._loop or self._loop is None:
            return
        thread = threading.current_thread()
        if running is None and thread is self._thread:  # its loop has a pause
            return
        where = "no loop" if running is None else repr(running)
        raise BusError(
            f"this bus was opened in thread {self._thread.name!r} on {self._loop!r}, and is called from"
            f" thread {thread.name!r} on {where}: call it there with asyncio.run_coroutine_threadsafe or"
            " loop.call_soon_threadsafe, or use busway.Bus, which any thread may call"
        )

    # Life

    async def open(self) -> None:
        """Join."""
        self.check()
        if self._loop is not None:
            raise BusError("the bus is open already")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.current_thread()
        self.failures = Failures(self._loop.call_later, _now)
        self._end = _at_loop_end(self)
        await anext(self._end)
        self.wake()
        if self._ipc:
            self._mesh = LocalMesh(self, not self.node.leaf, _log.warning)
            await self._mesh.join()

    async def close(self, timeout: float) -> None:
        """Leave, within `timeout` seconds. Twice is once."""
        if self.failure is not None:
            return
        self.check()
        self.failure = BusClosed()
        if self._loop is None:
            return
        deadline = self.loop.time() + timeout
        closing.release(closing.steps_of(self.listeners, self.dialled, self._mesh), _log.error)
        try:
            await self._stop_handlers(deadline)
            self._leave()
            await self._until_idle(deadline)
        finally:
            self._release()
            end, self._end = self._end, None
            if end is not None:
                await end.aclose()

    def _leave(self) -> None:
        """End everything outstanding, and say goodbye."""
        waking = closing.wake_receivers(self.node)
        steps: list[Callable[[], object]] = [partial(self.node.close, now_ms()), *waking, self.pump]
        closing.release(steps, _log.error)

    def _release(self) -> None:
        """Nothing stays open, however far `close` got."""
        if self._released:
            return
        self._released = True
        self._leave()
        steps: list[Callable[[], object]] = [runner.close for runner in list(self.runners)]
        steps.append(lambda: self.dispatch(self.node.take_events()))
        if self._timer is not None:
            steps.append(self._timer.cancel)
        steps += [changes._finish for changes in list(self.changes)]
        closing.release([*steps, self.failures.close], _log.error)

    async def _stop_handlers(self, deadline: float) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in self.handlers.values() if task is not mine]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - self.loop.time()))

    async def _until_idle(self, deadline: float) -> None:
        while self.runners and self.loop.time() < deadline:
            self._idle = self.loop.create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._idle
            except TimeoutError:
                return

    def drop(self) -> None:
        """Nobody holds the bus any more: for any thread and any instant, also amid the core."""
        loop = self.loop
        try:
            if loop.is_running():
                loop.call_soon_threadsafe(self._dropped)
                return
        except RuntimeError:  # closed in this very moment
            pass
        self._dropped()

    def _dropped(self) -> None:
        if self.failure is not None:
            return
        self.failure = BusClosed()
        if self.loop.is_closed():
            self._let_go()
            return
        for task in list(self.handlers.values()):
            task.cancel()
        closing.release(closing.steps_of(self.listeners, self.dialled, self._mesh), _log.error)
        self._release()

    def _let_go(self) -> None:
        """Without a loop: the others see the links end."""
        held: list[Any] = [runner.channel for runner in self.runners]
        held += [listener.listener for listener in self.listeners]
        if self._mesh is not None and self._mesh.listener is not None:
            held.append(self._mesh.listener.listener)
        closing.release([each.close for each in held], _log.error)

    def abandon(self) -> None:
        """In a forked child: the parent's bus is not ours."""
        if self.failure is None:
            self.failure = BusError(
                f"this bus was opened by process {self._pid} before fork: open one of your own in the child"
            )
        self._loop = None
        closing.abandon(self._mesh, self.dialled, self.runners, self.listeners)

    # Outcomes

    async def outcome(self, token: int) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is cancelled cancels it."""
        future: asyncio.Future[events.Outcome] = self.loop.create_future()
        self.waiters[token] = future
        self.wake()
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s", remarks.waiting(self.node, token))
        try:
            return await future
        finally:
            if self.waiters.pop(token, None) is not None:
                self.node.cancel(token, now_ms())

    async def settled(self, token: int) -> None:
        """Wait until a publish or reply that had to wait is on its way; for one that nobody wants any more,
        no longer.
        """
        if token:
            outcome = await self.outcome(token)
            if outcome.code == codes.BUS_CLOSED:
                raise BusClosed()

    def call(self, function: Callable[..., int], *args: Any, **options: Any) -> int:
        """Call the core; its complaints are told in users' words."""
        try:
            return function(*args, **options)
        except errors.LocalError as error:
            raise facade.for_users(error) from None

    # The pump

    def wake(self) -> None:
        """There is something to write, to tell, or to time: once, when the loop comes round."""
        if not self._pumping and self._loop is not None:
            self._pumping = True
            self._loop.call_soon(self.pump)

    def pump(self) -> None:
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
        self.wake()

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
                    self.handlers[request].cancel()
            elif kind == events.RECEIVER_TAKEN:
                cast(Arrivals, cast(events.ReceiverEvent, event).receiver.tag)._taken()
            elif kind == events.RECEIVER_ASKED:
                cast(Arrivals, cast(events.ReceiverEvent, event).receiver.tag)._asked()
            else:
                self._on_change(event)
        self._arm()

    def _on_outcome(self, outcome: events.Outcome) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s", remarks.outcome(outcome))
        waiter = self.waiters.get(outcome.token)
        if isinstance(waiter, Parts):
            waiter.put(outcome)
        elif waiter is not None:
            del self.waiters[outcome.token]
            if not waiter.done():
                waiter.set_result(outcome)

    def _on_undeliverable(self, event: events.UndeliverableEvent) -> None:
        if event.endpoint == tap.TAP:
            return  # who watched has gone
        lost = facade.undelivered(self.node, event)
        self.undeliverable.append(lost)
        if self.loop.time() >= self._quiet_until:  # one line a second tells as much as a thousand
            self._quiet_until = self.loop.time() + 1.0
            _log.warning("a message was %s", lost.error)

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
                _log.info("a link ended: %s: %s", connection.link.address, ascii_safe(connection.close_text))
            if self._mesh is not None and connection.via == "ipc":
                self._mesh.link_lost(connection)
            for runner in self.runners:  # one that had to wait for the end of this link is read on now
                runner.settle()

    def tell(self, change: Change) -> None:
        """To those who read `changes()`, and the log."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s", remarks.change(change))
        for changes in self.changes:
            changes._put(change)

    def _dialled_rows(self) -> list[dict[str, object]]:
        return [link.row() for link in self.dialled]

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        self.runners.discard(runner)
        if not self.runners and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # What links need of their bus

    def run_link(
        self,
        channel: Any,
        token: str | None = None,
        *,
        realm: facade.Realm | None = None,
        cost: int | None = None,
        owner: Owner | None = None,
    ) -> LinkRunner:
        """Run a driver's open channel as a link; `owner` has it as a link that heals."""
        self.check()
        runner = LinkRunner(self, channel, token, realm, cost, owner)
        self.runners.add(runner)
        return runner

    welcome = run_link

    def inside(self, function: Callable[[], _T]) -> _T:
        """The loop's callbacks are never in the midst of the core."""
        self.check_here()
        return function()

    def in_thread(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        """Call `function` in a thread, then `done(value, error)` on the loop."""

        def ended(future: asyncio.Future[Any]) -> None:
            if future.cancelled():  # the executor was shut down
                done(None, OSError("there is no thread to look it up in"))
                return
            error = future.exception()
            done(None if error is not None else future.result(), error)

        try:
            self.loop.run_in_executor(None, function).add_done_callback(ended)
        except RuntimeError as error:  # no thread to be had
            self.loop.call_soon(done, None, OSError(str(error)))

    def remark(self, level: int, text: str, *words: object) -> None:
        """Log it."""
        _log.log(level, text, *words)


def _now(callback: Callable[[], object]) -> None:
    callback()


async def _at_loop_end(host: Host) -> AsyncGenerator[None, None]:
    """The loop ends its async generators when it ends itself, as `asyncio.run` does: this one closes a bus
    that is open still.
    """
    try:
        yield
    finally:
        if host.left_open:
            host._end = None
            try:
                text = f"{closing.UNCLOSED.format(way=WAY)}, when its loop ended: {host.node.label}"
                warnings.warn(text, ResourceWarning, stacklevel=2, source=host)
            finally:
                await host.close(_LOOP_END_S)


def _after_fork() -> None:
    for host in list(_live):
        host.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
