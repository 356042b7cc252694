"""Hosted objects of an AsyncBus: their lives, timers and turns on its loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from asyncio import current_task
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from busway.adapters.arguments import check_seconds
from busway.adapters.ends import VALUES
from busway.errors import RemoteError
from busway.services import lives
from busway.services.hooks import Hooks, Timer
from busway.services.lives import OVER, SETTLED, SHARES, Contracted, Handler, Rules

Task = asyncio.Task[Any]


class Ending:
    """The end of an object that is being closed; it may be awaited. None for who would wait for himself."""

    def __init__(self, task: Task | None) -> None:
        self.task = task

    def __await__(self) -> Generator[Any, None, None]:
        if self.task is not None:
            yield from asyncio.wait([self.task]).__await__()


class Hosted(lives.Hosted):
    """An object that an AsyncBus hosts."""

    _over: asyncio.Future[BaseException | None]  # done when this life is to end: the error
    _starting: Awaitable[Any] | None = None  # what on_start gave to be awaited
    _error: BaseException | None = None  # that this life began with
    _close_s: float | None = None  # that its end may take
    _task: Task | None = None  # lives all lives

    def __init__(self, bus: Any, given: Any, name: Any, contracted: Contracted | None, rules: Rules) -> None:
        super().__init__(bus, given, name, contracted, rules)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()  # set, and made anew, with each other state
        self._at_work: set[Task] = set()
        self._loops: set[Task] = set()  # timers and on_run

    def _now(self) -> float:
        return self._loop.time()

    # Life

    def _begin(self) -> None:
        """Called once: the first life begins. If on_start is a plain function, or there is none, it runs when
        this returns. Raises what on_start and `serve` raise, if it is not to begin anew.
        """
        self._attempt()
        if self._error is None or self._rules.again(self._error):
            self._task = self._loop_of(self._live())
            return
        if self._is_due:
            self._task = self._loop_of(self._live())  # calls on_stop
        else:
            self._let_go()
            self._become("failed")
            self._count(self._error)
        raise self._error

    def _attempt(self) -> None:
        """Begin a life, as far as that goes at once."""
        self._over = self._loop.create_future()
        self._starting = self._error = None
        self._become("starting")
        try:
            given = self._began()
            if inspect.isawaitable(given):
                self._starting = given
            else:
                self._run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this life
            self._error = error

    def _run(self) -> None:
        self._register()
        self._loops = {self._loop_of(self._tick(timer)) for timer in self._hooks.timers}
        if self._hooks.on_run is not None:
            self._loops.add(self._loop_of(self._main(self._hooks.on_run)))
        self._become("running")

    def _loop_of(self, steps: Coroutine[Any, Any, None]) -> Task:
        return self._loop.create_task(steps)

    def _become(self, state: lives.State) -> None:
        self.state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _live(self) -> None:
        """All lives, one after the other."""
        error: BaseException | None = None
        try:
            while True:
                error = await self._one_life()
                if self._is_stopping or not self._rules.again(error):
                    return
                if await self._pause(self._delay(random.random())):
                    error = None
                    return
                self.restarts += 1
                self._attempt()
        finally:
            self._become("stopped" if error is None else "failed")

    async def _one_life(self) -> BaseException | None:
        """From on_start to on_stop; returns the error that it ends with."""
        error = self._error
        try:
            if error is None:
                error = await self._until_over()
            if error is not None:
                self._failed(error)
        finally:
            again = self._rules.again(error) and not self._is_stopping
            self._become("restarting" if again else "stopping")
            await self._leave()
        return error

    async def _until_over(self) -> BaseException | None:
        try:
            if self._starting is not None:
                if not await self._started(self._starting):
                    return None
                self._run()
            return await self._over
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this life
            return error

    async def _started(self, starting: Awaitable[Any]) -> bool:
        """Await on_start; False if the object is closed meanwhile."""
        task = asyncio.ensure_future(starting)
        try:
            await asyncio.wait([task, self._over], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                begun, left = self._now(), self._left()
                await self._finish({task}, begun + left * SHARES[0], begun + left * SHARES[1])
        finally:
            task.cancel()
        if not task.done() or task.cancelled():
            return False
        task.result()
        self._is_due = True
        return not self._is_stopping

    async def _pause(self, seconds: float) -> bool:
        """Until the next life; whether the object was closed instead."""
        self._over = self._loop.create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over
        return self._is_stopping

    def _end_life(self, error: BaseException | None) -> bool:
        if self._over.done():
            return False
        self._over.set_result(error)
        return True

    # Its end

    def _left(self) -> float:
        return self._rules.stop_timeout if self._close_s is None else self._close_s

    async def _leave(self) -> None:
        """Take no more messages, let methods at work end, and call on_stop."""
        begun, left = self._now(), self._left()
        until = [begun + left * share for share in SHARES]
        self._deregister()
        await asyncio.sleep(0)  # what was taken just before begins
        for task in self._loops - self._at_work:
            task.cancel()
        at_work = self._at_work | self._loops
        await self._finish(at_work, until[0], until[1])
        self._at_work -= at_work
        self._loops = set()
        is_due, self._is_due = self._is_due, False
        if is_due and self._hooks.on_stop is not None:
            stopping = self._loop_of(self._stop(self._hooks.on_stop))
            await self._finish({stopping}, until[2], until[3])
        self._let_go()

    async def _finish(self, tasks: set[Task], may_go_on: float, cancelled: float) -> None:
        """Wait for tasks: until `may_go_on`, and if they have to be cancelled then, until `cancelled`."""
        tasks = await self._wait(tasks, may_go_on)
        for task in tasks:
            task.cancel()
        self._hangs(len(await self._wait(tasks, cancelled)))

    async def _wait(self, tasks: set[Task], until: float) -> set[Task]:
        """Wait; returns the tasks that have not ended by then."""
        if not tasks:
            return tasks
        _, left = await asyncio.wait(tasks, timeout=max(0.0, until - self._now()))
        return left

    async def _stop(self, on_stop: Callable[[], Any]) -> None:
        try:
            await _given(on_stop)
        except Exception as error:  # noqa: BLE001 - the object ends all the same
            self._failed(error)

    def close(self, timeout: float | None = None) -> Ending:
        if timeout is not None:
            self._close_s = check_seconds("timeout", timeout)
        if self.state in OVER or self._task is None:
            return Ending(None)
        if not self._is_stopping:
            self._is_stopping = True
            self._become("stopping")
            self._deregister()
            self._end_life(None)
        mine = current_task()
        return Ending(None if mine in self._at_work or mine in self._loops else self._task)

    # Waiting for it

    async def ready(self) -> None:
        while self.state not in SETTLED:
            await self._changed.wait()
        self._check()

    async def ended(self) -> None:
        while self.state not in OVER:
            await self._changed.wait()
        self._check()

    def _check(self) -> None:
        if self.state == "failed" and self.last_error is not None:
            raise self.last_error

    # Its methods

    def _check_hooks(self, hooks: Hooks) -> None:
        if hooks.on_run is not None and not inspect.iscoroutinefunction(hooks.on_run):
            whose = type(self._object).__qualname__
            raise TypeError(f"{whose}.on_run must be a coroutine function (async def) on an AsyncBus")

    def _around(self, function: Handler) -> Handler:
        if self._rules.serial:
            return lambda message: self._answer(function, message)

        if inspect.iscoroutinefunction(function):
            return lambda message: self._awaited(function(message))

        def handle(message: Any) -> Any:
            try:
                result = function(message)
                if type(result) not in VALUES:
                    if inspect.isawaitable(result):
                        return self._awaited(result)
                    if inspect.isgenerator(result) or inspect.isasyncgen(result):
                        return self._parts(result)
            except Exception as error:
                self.handled += 1
                self._answered(error)
                raise
            self.handled += 1
            return result

        return handle

    def _answered(self, error: Exception) -> None:
        if not isinstance(error, RemoteError):
            self._raised(error)

    async def _awaited(self, result: Awaitable[Any]) -> Any:
        task = current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            return await result
        except Exception as error:
            self._answered(error)
            raise
        finally:
            self.handled += 1
            self._at_work.discard(task)

    async def _answer(self, function: Handler, message: Any) -> Any:
        """Of a serial object: in its turn."""
        result = await self._awaited(self._in_turn(function, message))
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            self.handled -= 1  # it has yet to run
            return self._parts(result)
        return result

    async def _in_turn(self, function: Callable[..., Any], *args: Any) -> Any:
        async with self._lock:
            return await _given(function, *args)

    async def _parts(self, parts: Any) -> AsyncIterator[Any]:
        """The parts of an answer, as a method gives them."""
        task = current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            async with self._lock if self._rules.serial else contextlib.nullcontext():
                if inspect.isasyncgen(parts):
                    async with contextlib.aclosing(parts):
                        async for part in parts:
                            yield part
                else:
                    with contextlib.closing(parts):
                        for part in parts:
                            yield part
                            await asyncio.sleep(0)
        except Exception as error:
            self._answered(error)
            raise
        finally:
            self.handled += 1
            self._at_work.discard(task)

    async def _tick(self, timer: Timer) -> None:
        """Call a timer's method at its times."""
        started, over = self._now(), self._over
        number = 0 if timer.every.at_once else 1
        task = current_task()
        assert task is not None
        while not over.done():
            await asyncio.sleep(started + number * timer.every.seconds - self._now())
            self._at_work.add(task)
            try:
                await (self._in_turn if self._rules.serial else _given)(timer.function)
            except Exception as error:  # noqa: BLE001 - the next time is another one
                self._raised(error)
                self._log(f"{timer.name} of {self._name}", error)
            finally:
                self.handled += 1
                self._at_work.discard(task)
            following = timer.next_time(number, self._now() - started)
            self.skipped += following - number - 1
            number = following

    async def _main(self, on_run: Callable[[Any], Awaitable[Any]]) -> None:
        over, error = self._over, None
        try:
            await on_run(self._bus)
        except Exception as raised:  # noqa: BLE001 - whatever it is, it ends this life
            error = raised
        if not over.done():
            over.set_result(error)
        elif error is not None:
            self._failed(error)


async def _given(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function, awaited if that is to be."""
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


class Crowd(lives.Crowd[Hosted]):
    """The objects that an AsyncBus hosts."""

    made = Hosted

    def begin(self, hosted: Hosted) -> Hosted:
        try:
            hosted._begin()
        finally:
            if hosted._task is not None:
                self._add(hosted)
        return hosted

    async def close(self, timeout: float) -> float:
        """End them all within `timeout` seconds; returns what is left of these, a tenth at least."""
        time = asyncio.get_running_loop().time
        begun = time()
        endings = [each.close(timeout * 0.8) for each in self._members]
        tasks = {each.task for each in endings if each.task is not None}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=timeout * 0.9)
            for task in left:
                task.cancel()
        return max(timeout * 0.1, timeout - (time() - begun))
