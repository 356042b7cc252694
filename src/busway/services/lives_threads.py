"""Hosted objects of a Bus: their lives, timers and turns in threads of their own; messages come to those of
the bus.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from busway.adapters.arguments import check_seconds
from busway.adapters.closing import Done
from busway.adapters.ends import VALUES
from busway.adapters.threads_ends import PLAIN_ONLY
from busway.errors import BusError, RemoteError
from busway.services import lives
from busway.services.hooks import Hooks, Timer, is_coroutine
from busway.services.lives import OVER, SETTLED, SHARES, Contracted, Handler, Rules

_LOOK_S = 0.005  # between two looks whether what was taken is done


class Turns:
    """A lock that is had in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


class Life:
    """One life, as the threads in it see it. `with life:` a thread is at work in it."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self.over = threading.Event()  # it is to end
        self.error: BaseException | None = None  # ... with this
        self.at_work: dict[int, int] = {}  # threads in a method of the object, and how deep
        self.loops: list[threading.Thread] = []  # timers and on_run
        self.stopping: threading.Thread | None = None  # on_stop
        self.is_left = False  # no method is called any more

    def __enter__(self) -> None:
        self._hosted._enter(self)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._hosted._exit(self, error)


class Hosted(lives.Hosted):
    """An object that a Bus hosts."""

    _close_s: float | None = None  # that its end may take
    _thread: threading.Thread | None = None  # lives all lives

    def __init__(self, bus: Any, given: Any, name: Any, contracted: Contracted | None, rules: Rules) -> None:
        super().__init__(bus, given, name, contracted, rules)
        self._turns: Any = Turns() if rules.serial else contextlib.nullcontext()
        self._guard = threading.Condition()  # of the state, the counts, and who is at work
        self._life = Life(self)

    def _now(self) -> float:
        return time.monotonic()

    # Life

    def _begin(self) -> None:
        """Called once: the first life begins, and on_start has returned when this does. Raises what on_start
        and `serve` raise, if it is not to begin anew.
        """
        error = self._attempt()
        if error is None or self._rules.again(error):
            name = f"busway-hosted {self._name}"
            self._thread = threading.Thread(target=self._live, args=(error,), name=name, daemon=True)
            self._thread.start()
            return
        self._count(error)
        self._leave()
        self._become("failed")
        raise error

    def _attempt(self) -> Exception | None:
        """Begin a life; the error that this ends with."""
        life = self._new_life()
        self._become("starting")
        try:
            self._began()
            self._register()
            life.loops = [self._loop_of(self._tick, life, timer) for timer in self._hooks.timers]
            if self._hooks.on_run is not None:
                life.loops.append(self._loop_of(self._main, life, self._hooks.on_run))
            for thread in life.loops:
                thread.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this life
            return error
        self._become("running")
        return None

    def _new_life(self) -> Life:
        with self._guard:
            self._life = Life(self)
            if self._is_stopping:
                self._life.over.set()
            return self._life

    def _loop_of(self, function: Callable[..., None], *args: Any) -> threading.Thread:
        return threading.Thread(target=function, args=args, name=f"busway-hosted {self._name}", daemon=True)

    def _become(self, state: lives.State) -> None:
        with self._guard:
            self.state = state
            self._guard.notify_all()

    def _live(self, error: BaseException | None) -> None:
        """All lives, one after the other."""
        try:
            while True:
                error = self._rest_of_life(error)
                if self._is_stopping or not self._rules.again(error):
                    return
                if self._new_life().over.wait(self._delay(random.random())):
                    error = None
                    return
                self.restarts += 1
                error = self._attempt()
        finally:
            self._become("stopped" if error is None else "failed")

    def _rest_of_life(self, error: BaseException | None) -> BaseException | None:
        """To on_stop; returns the error that it ends with, which may be given."""
        life = self._life
        if error is None:
            life.over.wait()
            error = life.error
        if error is not None:
            self._failed(error)
        again = self._rules.again(error) and not self._is_stopping
        self._become("restarting" if again else "stopping")
        self._leave()
        return error

    def _end_life(self, error: BaseException | None) -> bool:
        with self._guard:
            if self._life.over.is_set():
                return False
            self._life.error = error
            self._life.over.set()
            return True

    # Its end

    def _left(self) -> float:
        return self._rules.stop_timeout if self._close_s is None else self._close_s

    def _leave(self) -> None:
        """Take no more messages, let methods at work end, and call on_stop."""
        begun, left = self._now(), self._left()
        _, quiet, stopped, ended = (begun + left * share for share in SHARES)
        life = self._life
        life.over.set()
        ends = self._deregister()
        with self._guard:
            while (life.at_work or any(each.at_work for each in ends)) and self._now() < quiet:
                # Who waits for a thread, or for room for an answer, does not tell when that is over.
                self._guard.wait(min(_LOOK_S, max(0.0, quiet - self._now())))
            life.is_left = True
            hung = len(life.at_work.keys() - {thread.ident for thread in life.loops})
        ending = life.loops
        is_due, self._is_due = self._is_due, False
        if is_due and self._hooks.on_stop is not None:
            life.stopping = self._loop_of(self._stop, self._hooks.on_stop)
            life.stopping.start()
            life.stopping.join(max(0.0, stopped - self._now()))
            ending = [*ending, life.stopping]
        for thread in ending:
            if thread.ident is not None:
                thread.join(max(0.0, ended - self._now()))
        self._hangs(hung + sum(thread.is_alive() for thread in ending))
        self._let_go()

    def _stop(self, on_stop: Callable[[], Any]) -> None:
        try:
            on_stop()
        except Exception as error:  # noqa: BLE001 - the object ends all the same
            self._failed(error)

    def close(self, timeout: float | None = None) -> Done:
        if self._signal(timeout):
            assert self._thread is not None
            self._thread.join(self._left())
        return Done()

    def _signal(self, timeout: float | None) -> bool:
        """Begin its end; whether there is one to be waited for, and not by one of its own threads."""
        if timeout is not None:
            self._close_s = check_seconds("timeout", timeout)
        with self._guard:
            if self.state in OVER or self._thread is None:
                return False
            self._is_stopping = True
            self.state = "stopping"
            self._life.over.set()
            mine = threading.current_thread()
            own = (self._thread, self._life.stopping, *self._life.loops)
            return mine not in own and mine.ident not in self._life.at_work

    # Waiting for it

    def ready(self) -> Done:
        with self._guard:
            self._guard.wait_for(lambda: self.state in SETTLED)
        return self._checked()

    def ended(self) -> Done:
        with self._guard:
            self._guard.wait_for(lambda: self.state in OVER)
        return self._checked()

    def _checked(self) -> Done:
        if self.state == "failed" and self.last_error is not None:
            raise self.last_error
        return Done()

    # Its methods

    def _check_hooks(self, hooks: Hooks) -> None:
        for function in hooks.functions():
            if is_coroutine(function):
                raise TypeError(f"{function.__qualname__}: {PLAIN_ONLY}")

    def _around(self, function: Handler) -> Handler:
        life = self._life

        def handle(message: Any) -> Any:
            with life:
                result = function(message)
                if type(result) in VALUES or not inspect.isgenerator(result):
                    return result
            self._add(-1)  # it has yet to run
            return self._parts(life, result)

        return handle

    def _parts(self, life: Life, parts: Any) -> Iterator[Any]:
        with life, contextlib.closing(parts):
            yield from parts

    def _tick(self, life: Life, timer: Timer) -> None:
        """Call a timer's method at its times."""
        started = self._now()
        number = 0 if timer.every.at_once else 1
        while not life.over.wait(max(0.0, started + number * timer.every.seconds - self._now())):
            try:
                with life:
                    timer.function()
            except Exception as error:  # noqa: BLE001 - the next time is another one
                if isinstance(error, RemoteError):
                    self._raised(error)
                self._log(f"{timer.name} of {self._name}", error)
            following = timer.next_time(number, self._now() - started)
            with self._guard:
                self.skipped += following - number - 1
            number = following

    def _main(self, life: Life, on_run: Callable[[Any], Any]) -> None:
        error = None
        try:
            on_run(self._bus)
        except Exception as raised:  # noqa: BLE001 - whatever it is, it ends this life
            error = raised
        if (life is not self._life or not self._end_life(error)) and error is not None:
            self._failed(error)

    def _count(self, error: BaseException) -> None:
        with self._guard:
            super()._count(error)

    def _add(self, count: int) -> None:
        with self._guard:
            self.handled += count

    def _enter(self, life: Life) -> None:
        """The calling thread is at work in a life, once it is its turn. Raises BusError if that is over."""
        me = threading.get_ident()
        with self._guard:
            life.at_work[me] = life.at_work.get(me, 0) + 1
        self._turns.__enter__()
        if life.is_left:
            error = BusError(f"{self._name} has ended")
            self._exit(life, None)
            raise error

    def _exit(self, life: Life, error: BaseException | None) -> None:
        """It is no longer, and has raised this."""
        self._turns.__exit__(None, None, None)
        me = threading.get_ident()
        with self._guard:
            self.handled += 1
            life.at_work[me] -= 1
            if not life.at_work[me]:
                del life.at_work[me]
                if not life.at_work:
                    self._guard.notify_all()
        if isinstance(error, Exception) and not isinstance(error, RemoteError):
            (self._raised if life is self._life else self._count)(error)


class Crowd(lives.Crowd[Hosted]):
    """The objects that a Bus hosts."""

    made = Hosted

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()

    def listed(self) -> list[Hosted]:
        with self._lock:
            return super().listed()

    def begin(self, hosted: Hosted) -> Hosted:
        hosted._begin()
        with self._lock:
            self._add(hosted)
        return hosted

    def close(self, timeout: float) -> float:
        """End them all within `timeout` seconds; returns what is left of these, a tenth at least."""
        begun = time.monotonic()
        waiting = [each._thread for each in self.listed() if each._signal(timeout * 0.8)]
        for thread in waiting:
            assert thread is not None
            thread.join(max(0.0, begun + timeout * 0.9 - time.monotonic()))
        return max(timeout * 0.1, timeout - (time.monotonic() - begun))
