"""The inside of a Bus: its node and links in the engine of threads, and who waits for what."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from busway.adapters.arguments import for_users
from busway.adapters.host import Asked, BusHost, Run, check_settled, live
from busway.adapters.identity import Identity
from busway.adapters.links import LinkRunner
from busway.adapters.local import LocalMesh
from busway.adapters.opening import Told
from busway.adapters.results import answer_error
from busway.adapters.threads_engine import Engine
from busway.adapters.threads_pace import Paces
from busway.adapters.threads_promises import Promise
from busway.adapters.threads_signals import install, shielded, shielding, uninstall
from busway.adapters.typed import R
from busway.errors import BusClosed, BusError
from busway.payloads import encode
from busway.protocol import Node, Request, codes, errors, events

if TYPE_CHECKING:
    from busway.adapters.hooks import Done

_EXIT_S = 2.0  # what a bus that is still open gets when the interpreter ends
_MANY = 64  # messages that are worth a system call of their own
_NOW = {"wait": False}
_JOIN_S = 1.0  # for the I/O thread, which never runs anything of the user's


class Count:
    """A number that goes up in the midst of a call."""

    value = 0


_ACCEPTED = events.Outcome(0, events.ACCEPTED)  # of what had no need of a token


class Host(BusHost):
    """The threads' side of a bus. Args: `make` gives the core's node, given what wakes it; the
    others as BusHost's.
    """

    way = "with Bus() as bus:"

    def __init__(
        self, make: Callable[[Callable[[], None]], Node], ipc: bool, may_tap: bool, identity: Identity
    ) -> None:
        self.paces = Paces()
        self.engine = Engine(self._turn, self._fire, self.paces.is_behind)
        self.failures = self.engine.failures
        self.pool = self.engine.pool
        self._at_rest: Promise | None = None  # who waits for a handler to end
        super().__init__(make(self.engine.stir), ipc, may_tap, identity)
        self._core = self.node  # itself, also while somebody watches what is said

    @property
    def loop(self) -> Engine:
        """The engine, which runs the links."""
        return self.engine

    def call(self, function: Callable[..., R], /, *args: Any) -> R:
        return self.engine.call(function, *args)

    def look(self, function: Callable[..., R], /, *args: Any) -> R:
        with self.engine.lock:
            return function(*args)

    def soon(self, callback: Callable[[], object]) -> None:
        self.engine.soon(callback)

    def together(self, function: Callable[[], R]) -> R:
        return function()  # what it is called from ends with a turn

    def say(self, line: Callable[[], object]) -> None:
        """Once the lock is released."""
        self.engine.remarks.append(line)

    # Life

    def open(self) -> None:
        """Join. Where that fails the bus is closed: nobody would do it who calls no `with`."""
        with self.engine.lock:
            self.check()
            if self._opened:
                raise BusError("the bus is open already")
            self.identity.take()
            self.engine.start()
            self._opened = True
            install()
        # Now: a thread that imports while another forks would leave the child an import that never ends.
        encode(None, b"")
        try:
            if self._ipc:
                self._mesh = self.engine.call(LocalMesh, self, not self.node.leaf)
                self.engine.wait(self.engine.call(self._mesh.join))
            if self.lan is not None:
                self.lan.begin()
        except BaseException:
            self.close(0)
            raise

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
                *[session.join for session in self.sessions],
                partial(self.engine.stop, _JOIN_S),
                lambda: self.pool.stop(max(0.0, end - time.monotonic())),
            ]
            try:
                self._take_steps(steps)
                self.engine.say()
            finally:
                uninstall()

    def _stop_listening(self) -> None:
        super()._stop_listening()
        for job in self.handlers.values():
            job.cancel()

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
        why = "the handler did not end in time: its node is closing"
        for message in self.handlers:
            answer_error(self.node, message, codes.BUS_CLOSED, why, self.now_ms())
        super()._leave()

    def _until_idle(self, end: float) -> None:
        with self.engine.lock:
            if not self.runners:
                return
            self._idle = promise = Promise(self.engine)
        self.engine.wait(promise, max(0.0, end - time.monotonic()))

    def drop(self) -> None:
        self.engine.soon(self._dropped)

    def _dropped(self) -> None:
        """In the I/O thread, which ends itself."""
        if self.failure is not None:
            return
        self.failure = BusClosed()
        self._stop_listening()
        self._leave()
        self._take_steps([self._turn])
        self._release()
        self.engine.end()
        self.pool.stop(0.0)
        uninstall()

    def abandon(self) -> None:
        self.engine.abandon()
        super().abandon()

    # Outcomes

    def ask(
        self,
        function: Callable[..., int],
        *args: Any,
        waiter: Any = None,
        lazily: bool = False,
        **options: Any,
    ) -> Asked:
        """Call the core; where it gives a token, with the promise of its outcome, or `waiter`. What is said
        `lazily` may be written together with what follows.
        """
        call = self.engine.call_lazily if lazily else self.engine.call
        try:
            asked: Asked = call(self._ask, True, function, args, options, waiter)
        except errors.LocalError as error:
            raise for_users(error) from None
        return asked

    @shielding
    def send_now(
        self, endpoint: bytes, payload: bytes | memoryview, format: int = codes.RAW, type_id: bytes = b""
    ) -> events.Outcome | None:
        """Send a plain message, as `ask` lazily does without options, but with the lock taken once, and
        little else done; the outcome of what had to wait. Raises users' errors.
        """
        engine = self.engine
        now = self.clock()
        promise: Any = None
        try:
            with engine.lock:
                if self.failure is not None or not self._opened:
                    self.check_open()
                if engine.inside:
                    engine.enter()  # which raises
                engine.inside = True
                try:
                    token = self.node.send(endpoint, payload, now // 1_000_000, format, type_id)
                    if token:
                        promise = self.await_outcome(token)
                        engine.turn()
                    elif now >= engine.until_ns:
                        engine.turn_soon(now)
                finally:
                    engine.inside = False
        except errors.LocalError as error:
            raise for_users(error) from None
        finally:
            if engine.remarks:
                engine.say()
        return self.outcome(token, promise) if token else None

    @shielded
    def send_run(self, run: Run, done: int, accepted: Count) -> events.Outcome | None:
        """Send what of `run` goes at once, behind those that are `done`, and count it; if that is nothing,
        the first of it as `send` does, whose outcome is returned. Raises users' errors.
        """
        try:
            _, (token, promise) = self.engine.call_lazily(self._send_run, run, done, accepted)
        except errors.LocalError as error:
            raise for_users(error) from None
        if not token:
            return None
        try:
            return self.outcome(token, promise)
        finally:  # who is interrupted may have been answered just before
            outcome: events.Outcome | None = promise.value
            accepted.value += outcome is not None and outcome.status == events.ACCEPTED

    def _send_run(self, run: Run, done: int, accepted: Count) -> tuple[bool, Asked]:
        self.check()
        now = self.now_ms()
        endpoint, payloads, format, type_id, words = run
        sent = 0
        if format < codes.TYPED and self.node is self._core and not words:
            sent = self._core.send_many(endpoint, payloads[done:], now, format)
        token = 0 if sent else self.node.send(endpoint, payloads[done], now, format, type_id, **words)
        if token:
            return True, (token, self.await_outcome(token))
        accepted.value += sent or 1
        return sent >= _MANY, (0, None)

    @shielded
    def try_send(
        self, send: Callable[..., int], endpoint: bytes, payload: Any, now: int, format: int, type_id: bytes
    ) -> events.Outcome | None:
        """The outcome of this call of the core if it has not to wait; else nothing was sent. Raises users'
        errors.
        """
        args = (endpoint, payload, now, format, type_id)
        try:
            with self.engine.lock:
                self.check()
                token, promise = self.engine.call_lazily(self._ask, False, send, args, _NOW, None)
                if token and not promise.resolved:
                    self.engine.call(self.cancel, token)
        except errors.FullError:
            return None
        except errors.LocalError as error:
            raise for_users(error) from None
        outcome: events.Outcome | None = promise.value if token else _ACCEPTED
        return outcome

    @shielded
    def outcome_of(self, function: Callable[..., int], *args: Any, **options: Any) -> events.Outcome:
        """Call the core for what is not over at once, and wait for its fate, with the lock taken once for all
        of it. Raises users' errors.
        """
        engine = self.engine
        promise = Promise(engine)
        try:
            with engine.lock:
                self.check()
                engine.enter()
                try:
                    token = function(*args, **options)
                    self.await_outcome(token, promise)
                    engine.turn_with_others()
                    if engine.running:
                        engine.line_up(promise)
                finally:
                    engine.inside = False
        except errors.LocalError as error:
            raise for_users(error) from None
        return self.outcome(token, promise)

    @shielding
    def take_now(self, take: Callable[[Any], Any], core: Any) -> Any:
        """The next message of a receiver that `take` gives; None if there is none, or the core is at work in
        this very thread.
        """
        engine = self.engine
        with engine.lock:
            if engine.inside or not core.queue.items:
                return None
            engine.inside = True
            try:
                message = take(core)
                if engine.stirred:  # credit for who sent it
                    engine.turn_soon(self.clock())
            finally:
                engine.inside = False
        return message

    @shielding
    def take_many(self, core: Any, most: int) -> list[Any]:
        """As `take_now`, up to `most`; [] if there is none."""
        engine = self.engine
        with engine.lock:
            if engine.inside:
                return []
            engine.inside = True
            try:
                found: list[Any] = self.node.receiving.take_many(core, most)
                if engine.stirred:
                    engine.turn_soon(self.clock())
            finally:
                engine.inside = False
        return found

    def _ask(
        self, check: bool, function: Callable[..., int], args: Any, options: dict[str, Any], waiter: Any
    ) -> Asked:
        if check:
            self.check()
        token = function(*args, **options)
        return (token, self.await_outcome(token, waiter)) if token else (0, None)

    def outcome(self, token: int, promise: Promise) -> events.Outcome:
        """Wait for the fate of `token`; a caller who is interrupted cancels it."""
        try:
            self.engine.wait(promise)
        finally:
            if not promise.resolved:
                self.engine.finish(self.cancel, token)
        outcome: events.Outcome = promise.value
        return outcome

    @shielded
    def settled(self, function: Callable[..., int], *args: Any) -> None:
        """Answer, also while the bus closes; returns once that is on its way, or nobody wants it any more."""
        try:
            token, promise = self.engine.call(self._ask, False, function, args, {}, None)
        except errors.LocalError as error:
            raise for_users(error) from None
        if token:
            check_settled(self.outcome(token, promise))

    def replied(self, respond: Callable[..., int], asked: Request, payload: Any, *words: Any) -> bool:
        """As `settled` of a reply; `words` are its format and type, and what is to be called if it goes at
        once. True: it has, and that was called.
        """
        try:
            token, promise = self.engine.call_amid_tasks(self._reply, respond, asked, payload, *words)
        except errors.LocalError as error:
            raise for_users(error) from None
        if token:
            check_settled(self.outcome(token, promise))
        return not token

    def _reply(
        self,
        respond: Callable[..., int],
        asked: Request,
        payload: Any,
        format: int,
        type_id: bytes,
        then: Callable[[], object],
    ) -> Asked:
        token = respond(asked, payload, self.now_ms(), format, type_id)
        if token:
            return token, self.await_outcome(token)
        then()
        return 0, None

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
        self.dispatch(self.node.handle_timer(self.now_ms()))

    def entry(self, callback: Callable[[], object]) -> Callable[[], object]:
        return partial(self.engine.soon, callback)

    def run_hook(self, hook: Callable[..., Any], args: tuple[Any, ...], done: Done) -> Callable[[], object]:
        self.in_thread(partial(hook, *args), done)
        return _nothing  # a thread cannot be ended

    def in_thread(self, function: Callable[[], Any], done: Told) -> None:
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


def _nothing() -> None:
    """There is nothing to give up."""


def _at_exit() -> None:
    for host in list(live):
        if isinstance(host, Host):
            host.close(_EXIT_S)


atexit.register(_at_exit)
