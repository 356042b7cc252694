"""The inside of an AsyncBus: its node and links on the running loop, and the pump between them."""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
from asyncio import _get_running_loop  # documented for those who run loops; a few ns
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from busway.adapters.arguments import for_users
from busway.adapters.asyncio_pump import Pump
from busway.adapters.failures import Failures
from busway.adapters.host import UNCLOSED, Asked, BusHost, check_settled
from busway.adapters.identity import Identity
from busway.adapters.local import LocalMesh
from busway.adapters.opening import Told
from busway.adapters.typed import R
from busway.errors import BusClosed, BusError
from busway.protocol import Node, errors, events

if TYPE_CHECKING:
    from busway.adapters.hooks import Done

_LOOP_END_S = 2.0  # what a bus that is still open gets when its loop ends


class Host(Pump, BusHost):
    """The loop's side of a bus. Args: `make` gives the core's node, given what wakes it; the others as
    BusHost's.
    """

    way = "async with AsyncBus() as bus:"

    def __init__(
        self, make: Callable[[Callable[[], None]], Node], ipc: bool, may_tap: bool, identity: Identity
    ) -> None:
        self._thread = threading.current_thread()
        self._end: AsyncGenerator[None, None] | None = None
        self._hooks: set[asyncio.Task[Any]] = set()
        Pump.__init__(self)
        self.core = make(self.wake)
        BusHost.__init__(self, self.core, ipc, may_tap, identity)

    # Who may call

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the bus was opened on. Raises BusError before that."""
        if self._loop is None:
            self.check_open()
        loop: asyncio.AbstractEventLoop = self._loop
        return loop

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop:
        return self.loop

    def check(self) -> None:
        """Raises BusClosed after `close`; BusError in a forked child, another thread, on another loop."""
        if self.failure is not None:
            super().check()
        self.check_here()

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

    def call(self, function: Callable[..., R], /, *args: Any) -> R:
        """The loop's callbacks are never in the midst of the core."""
        return function(*args)

    look = BusHost.inside

    def soon(self, callback: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(callback)
            except RuntimeError:
                return  # it is closed

    def together(self, function: Callable[[], R]) -> R:
        held = self.hold()
        try:
            return function()
        finally:
            self._urgent = False
            self.leave(held)

    def say(self, line: Callable[[], object]) -> None:
        line()

    # Life

    async def open(self) -> None:
        """Join. Where that fails the bus is closed: nobody would do it who calls no `async with`."""
        self.check()
        if self._opened:
            raise BusError("the bus is open already")
        self.identity.take()
        self._opened = True
        self._loop = asyncio.get_running_loop()
        self._thread = threading.current_thread()
        self._ident = threading.get_ident()
        self.clock = getattr(self._loop, "monotonic_ns", self.clock)  # of a loop whose time jumps
        self.failures = Failures(self._loop.call_later, lambda say: say())
        self._end = _at_loop_end(self)
        await anext(self._end)
        self.wake()
        try:
            if self._ipc:
                self._mesh = LocalMesh(self, not self.node.leaf)
                await self._mesh.join()
            if self.lan is not None:
                self.lan.begin()
        except BaseException:
            await self.close(0)
            raise

    async def close(self, timeout: float) -> None:
        """Leave, within `timeout` seconds. Twice is once."""
        if self.failure is not None:
            return
        self.check()
        self.failure = BusClosed()
        if not self._opened:
            return
        deadline = self.loop.time() + timeout
        self._stop_listening()
        try:
            await self._stop_handlers(deadline)
            self._leave()
            await self._until_idle(deadline)
        finally:
            self._release()
            for task in list(self._hooks):
                task.cancel()
            for session in self.sessions:
                await session.gone()
            end, self._end = self._end, None
            if end is not None:
                await end.aclose()

    def _leave(self) -> None:
        super()._leave()
        self._take_steps([self.pump])

    def _tell_last(self) -> None:
        self.dispatch(self.node.take_events())
        if self._timer is not None:
            self._timer.cancel()

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
        self._stop_listening()
        self._release()

    def _let_go(self) -> None:
        """Without a loop: the others see the links end."""
        held: list[Any] = [runner.channel for runner in self.runners]
        held += [listener.listener for listener in self._all_listeners()]
        self._take_steps([*(each.close for each in held), *([] if self.lan is None else [self.lan.stop])])

    def abandon(self) -> None:
        super().abandon()
        self._loop = None

    # Outcomes

    def ask(
        self,
        function: Callable[..., int],
        *args: Any,
        waiter: Any = None,
        lazily: bool = True,  # the pump always is
        **options: Any,
    ) -> Asked:
        """Call the core; where it gives a token, with the future of its outcome, or `waiter`."""
        try:
            token = function(*args, **options)
        except errors.LocalError as error:
            raise for_users(error) from None
        return (token, self.await_outcome(token, waiter)) if token else (0, None)

    def await_outcome(self, token: int, waiter: Any = None) -> Any:
        self.wake()  # for its time limit, too
        return super().await_outcome(token, waiter)

    def expect(self, token: int) -> asyncio.Future[events.Outcome]:
        """The future of an outcome, for who sees to the pump."""
        future: asyncio.Future[events.Outcome] = super().await_outcome(token)
        return future

    async def awaited(self, token: int) -> events.Outcome:
        """As `outcome`, of a token that nobody waits for yet."""
        return await self.outcome(token, self.await_outcome(token))

    async def outcome(self, token: int, future: asyncio.Future[events.Outcome]) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is cancelled cancels it."""
        try:
            return await future
        finally:
            if token in self.waiters:
                self.cancel(token)

    async def settled(self, function: Callable[..., int], *args: Any) -> None:
        """Answer; returns once the answer is on its way, or nobody wants it any more."""
        token, future = self.ask(function, *args)
        if token:
            check_settled(await self.outcome(token, future))

    def run_hook(self, hook: Callable[..., Any], args: tuple[Any, ...], done: Done) -> Callable[[], object]:
        def ended(task: asyncio.Task[Any]) -> None:
            self._hooks.discard(task)
            if task.cancelled():
                done(None, asyncio.CancelledError())
                return
            error = task.exception()
            done(None if error is not None else task.result(), error)

        task = self.loop.create_task(_hooked(hook, args))
        self._hooks.add(task)
        task.add_done_callback(ended)
        return task.cancel

    def in_thread(self, function: Callable[[], Any], done: Told) -> None:
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


async def _hooked(hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call a hook: the value that it returns, or gives when that is awaited."""
    found = hook(*args)
    return await found if inspect.isawaitable(found) else found


async def _at_loop_end(host: Host) -> AsyncGenerator[None, None]:
    """A loop that ends ends its async generators, as `asyncio.run` does: this one closes a bus left open."""
    try:
        yield
    finally:
        if host.left_open:
            host._end = None
            try:
                text = f"{UNCLOSED.format(way=host.way)}, when its loop ended: {host.node.label}"
                warnings.warn(text, ResourceWarning, stacklevel=2, source=host)
            finally:
                await host.close(_LOOP_END_S)
