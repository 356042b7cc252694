"""Runs links in threads: one lock around the core, one thread for what nobody waits for, a pool for handlers.

Who waits moves bytes itself (leader and followers): the first thread that has to wait watches all links, so
an answer reaches its caller without passing through another thread. While nobody waits, the I/O thread
watches. While much is said, it looks around each millisecond, and nobody has to wake it: what may wait so
long, to be written, or read while those who wait come and go, is left to them and it. Then it sleeps.

A thread of the pool that has done its task watches the links next, and does what comes of that with its own
hands, as long as the tasks are quick: a request reaches its handler, and the answer its link, in one thread.
One that is still at them when the I/O thread has looked twice loses the links, and the tasks that it has not
begun with go to others.

Where those who take what was read are to catch up first, nobody watches the links: who has led follows, and
the I/O thread looks each millisecond whether that is over. Knows nothing of endpoints and messages.

    links   the selector of all links; whoever leads waits on it
    outer   the I/O thread's: its alarm, and `links` as one descriptor while there is no leader
"""

from __future__ import annotations

import heapq
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from typing import Any, TypeVar

from busway.adapters.failures import Failures
from busway.adapters.threads_alarm import Alarm
from busway.adapters.threads_pool import Pool, Task
from busway.adapters.threads_promises import Attendant, Promise, Timer
from busway.adapters.threads_signals import interrupt, raise_pending, shielded, window
from busway.errors import BusError

_R = TypeVar("_R")

_BATCH_NS = 200_000  # what is said so soon after the last write waits to be written with what follows
_LOOK_S = 0.001
_LOOK_NS = 1_000_000
_ATTEND_S = 0.002  # who attends to links that bring nothing for so long leaves them
_UNREAD_NS = 25_000_000  # so long links are left unread at a time, whoever is to catch up
_NEVER = float("inf")
_DAY_S = 86400.0  # epoll takes no longer waits than 24 days


class Engine:
    """The loop of a bus for threads. `turn` is called with the lock held after everything that may have
    given the core something to say; `fire` when the core's deadline has come. `is_behind`, given the time in
    nanoseconds, is whether those who take what was read are to catch up before more is.
    """

    def __init__(
        self, turn: Callable[[], object], fire: Callable[[], object], is_behind: Callable[[int], bool]
    ) -> None:
        self.lock = threading.RLock()
        self.pool = Pool(self._attend)
        self.inside = False  # this lock's owner is in the midst of the core
        self.stirred = False  # the core may have something to write or to tell
        self.leader: Promise | None = None
        self.until_ns = 0  # what is said until then is written with what waits already
        self.remarks: deque[Callable[[], object]] = deque()  # what is to be logged
        self.failures = Failures(self.call_later, self.remarks.append)
        self._turn = turn
        self._fire = fire
        self._is_behind = is_behind
        self._unread_ns = 0  # since when links are left unread
        self._followers: dict[Promise, None] = {}
        self._soon: deque[Callable[[], object]] = deque()
        self._later: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._attendant: Attendant | None = None  # the last there was
        self._turned_ns = 0
        self._left_ns = 0  # when the last who waited left
        self._behind = False  # something waits to be written with what follows, or by the I/O thread
        self._roused = 0  # followers that are about to go on
        self._lively = False  # the I/O thread looks around within a millisecond: nobody has to ring
        self._active = False  # something was said or waited for since it last looked
        self._ours = False  # the I/O thread watches the links while nobody else does
        self._core_due = _NEVER
        self._wake_at = _NEVER  # when the I/O thread will look around by itself
        self._thread: threading.Thread | None = None
        self._watching = False  # the I/O thread is alive
        self._io = 0  # its number
        self._stopping = False
        self._disposed = True

    # Life

    def start(self) -> None:
        """Open what waiting needs, and start the I/O thread. Raises OSError."""
        with ExitStack() as opened:  # nothing stays open if descriptors or threads run out on the way
            self.links = opened.enter_context(selectors.DefaultSelector())
            self._outer: selectors.BaseSelector = self.links
            self._nested = hasattr(self.links, "fileno")  # epoll, kqueue; else the I/O thread alone watches
            self._alarm = opened.enter_context(closing(Alarm()))
            self._poke = opened.enter_context(closing(Alarm()))
            if self._nested:
                self._outer = opened.enter_context(selectors.DefaultSelector())
                self._watch_again()
            self._outer.register(self._alarm.inner, selectors.EVENT_READ, (self._alarm.drain, None))
            self.links.register(self._poke.inner, selectors.EVENT_READ, (self._poke.drain, None))
            self._disposed = False
            self._watching = True
            # A daemon that the bus's own exit hook ends and joins: it never outlives the interpreter.
            self._thread = threading.Thread(target=self._run, name="busway-io", daemon=True)
            self._thread.start()
            self._opened = opened.pop_all()

    @property
    def running(self) -> bool:
        return self._thread is not None and not self._stopping

    @shielded
    def stop(self, timeout: float) -> None:
        """End the I/O thread, and release everything once the last who waits has left."""
        with self.lock:
            self._stopping = True
            if self._thread is None:
                return
            self._alarm.ring()
            self._poke.ring()  # who attends to the links leaves them
        self._thread.join(timeout)
        self._dispose()

    def end(self) -> None:
        """Called in the I/O thread, with the lock held: it ends once its turn is over."""
        self._stopping = True
        self._alarm.ring()

    def _dispose(self) -> None:
        """By the last of those who waited, the I/O thread and `stop`."""
        with self.lock:
            if self._watching or self.leader is not None or self._disposed or not self._stopping:
                return
            self._disposed = True
            self._opened.close()

    def abandon(self) -> None:
        """In a forked child no other thread lives, and the selectors are the parent's, too: only closed."""
        self.lock = threading.RLock()
        self.inside = False
        self.leader = None
        self._followers.clear()
        self._stopping = True
        if not self._disposed:
            self._disposed = True
            self._opened.close()

    # Into the core, and out of it

    @shielded
    def call(self, function: Callable[..., _R], *args: Any, **options: Any) -> _R:
        """Call something of the core's, then write and tell what came of it, with this thread's own hands."""
        return self._call(self.turn, function, *args, **options)

    @shielded
    def call_amid_tasks(self, function: Callable[..., _R], *args: Any) -> _R:
        """As `call`, but what one of several tasks of this thread says leaves once these are done."""
        return self._call(self._turn_after_tasks, function, *args)

    def _call(
        self, turn: Callable[[], object], function: Callable[..., _R], *args: Any, **options: Any
    ) -> _R:
        try:
            with self.lock:
                self.enter()
                try:
                    return function(*args, **options)
                finally:
                    try:
                        turn()
                    finally:
                        self.inside = False
        finally:
            if self.remarks:
                self.say()

    @shielded
    def call_lazily(self, function: Callable[..., tuple[int, Any]], *args: Any, **options: Any) -> Any:
        """As `call`, but what follows closely on what was written is left to be written with what follows: by
        the next call, or by the I/O thread within a millisecond. Not where the first of its results is true.
        """
        with self.lock:
            self.enter()
            result: tuple[int, Any] = (1, None)
            try:
                result = function(*args, **options)
                return result
            finally:
                try:
                    if result[0]:
                        self.turn()
                    else:
                        self.turn_soon(time.monotonic_ns())
                finally:
                    self.inside = False

    def stir(self) -> None:
        """The core has something to write or to tell."""
        self.stirred = True

    def turn(self) -> None:
        """With the lock held: write and tell what there is."""
        self._turned_ns = time.monotonic_ns()
        self._behind = self.stirred = False
        self.until_ns = 0
        self._turn()

    def turn_soon(self, now_ns: int) -> None:
        """With the lock held: write it now if nothing was written just before, else with what follows, and
        within a millisecond.
        """
        if now_ns - self._turned_ns > _BATCH_NS or not self.running:
            self.turn()
        else:
            self._turn_later()

    def turn_with_others(self) -> None:
        """With the lock held: write it now, or with what followers say who are about to go on."""
        if self._roused and self.running:
            self._turn_later()
        else:
            self.turn()

    def _turn_after_tasks(self) -> None:
        me = self._attendant
        if me is not None and me.is_working and me.tasks and me.thread == threading.get_ident():
            self._turn_later()
        else:
            self.turn()

    def _turn_later(self) -> None:
        """Have it written by who says something next, or by the I/O thread within a millisecond."""
        self._active = True
        if not self._behind:
            self._behind = True
            self.until_ns = self._turned_ns + _BATCH_NS
            if not self._lively:
                self._alarm.ring()

    def _turn_behind(self) -> None:
        """With the lock held: write what was left to this thread."""
        if self._behind and not self.inside:
            self.inside = True
            try:
                self.turn()
            finally:
                self.inside = False

    def finish(self, function: Callable[..., Any], *args: Any) -> None:
        """As `call`, for what may be run by the garbage collector, even in the midst of the core."""
        with self.lock:
            if self.inside:
                self.soon(partial(function, *args))
                return
        self.call(function, *args)

    def say(self) -> None:
        """Without the lock: a logging handler may call the bus, or hold a lock of its own."""
        try:
            while True:
                self.remarks.popleft()()
        except IndexError:
            pass

    def enter(self) -> None:
        """With the lock held. Raises BusError where the core is at work in this very thread."""
        if self.inside:
            raise BusError(
                "the bus was called in the midst of another of its calls, by a signal handler, a finalizer or"
                " a logging handler: let them only note what is to be done"
            )
        self.inside = True

    @shielded
    def soon(self, callback: Callable[[], object]) -> None:
        """Have the I/O thread call, with the lock held. For any thread, also in the midst of the core."""
        self._soon.append(callback)
        if self.running:
            self._alarm.ring()

    # The loop that links know

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        self._watch(fd, callback, self._watched(fd)[1])

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        self._watch(fd, self._watched(fd)[0], callback)

    def remove_reader(self, fd: int) -> None:
        self._watch(fd, None, self._watched(fd)[1])

    def remove_writer(self, fd: int) -> None:
        self._watch(fd, self._watched(fd)[0], None)

    def time(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        when = time.monotonic() + delay
        timer = Timer(callback)
        heapq.heappush(self._later, (when, next(self._order), timer))
        self._wake_by(when)
        return timer

    def create_future(self) -> Promise:
        return Promise(self)

    def arm(self, deadline_ms: int | None) -> None:
        """Note when the core's timers are due. Looking too early is cheaper than moving it each time."""
        self._core_due = _NEVER if deadline_ms is None else deadline_ms / 1000
        self._wake_by(self._core_due)

    def _wake_by(self, when: float) -> None:
        if when < self._wake_at:
            self._wake_at = when
            if self.running and self._io != threading.get_ident():
                self._alarm.ring()

    def _watched(self, fd: int) -> tuple[Any, Any]:
        key = None if self._disposed else self.links.get_map().get(fd)
        return key.data if key is not None else (None, None)

    def _watch(self, fd: int, reader: Any, writer: Any) -> None:
        if self._disposed:
            return
        mask = (selectors.EVENT_READ if reader else 0) | (selectors.EVENT_WRITE if writer else 0)
        known = fd in self.links.get_map()
        if mask and known:
            self.links.modify(fd, mask, (reader, writer))
        elif mask:
            self.links.register(fd, mask, (reader, writer))
        elif known:
            self.links.unregister(fd)
        if not self._nested:
            self._alarm.ring()

    # Waiting

    @shielded
    def wait(self, promise: Promise, timeout: float | None = None) -> bool:
        """Wait `timeout` seconds for it; whether it is resolved. A signal's handler may raise out of it."""
        end = _NEVER if timeout is None else time.monotonic() + timeout
        try:
            if not promise.thread:
                with self.lock:
                    if self.inside:
                        raise BusError("nothing can be waited for in the midst of a call of the bus")
                    self.line_up(promise)
            while not promise.resolved:
                left = None if timeout is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                if self.leader is promise:
                    self._lead(promise, left)
                elif promise.gate is not None:
                    self._sleep(promise.gate, left)
        finally:
            if promise.thread:
                with self.lock:
                    self._leave(promise)
        return True

    def line_up(self, promise: Promise) -> None:
        """With the lock held: `wait` follows, whatever happens. Raises BusError."""
        if promise.resolved:
            return
        if not self.running:
            raise BusError("nothing can be waited for here: the bus is not open")
        promise.thread = threading.get_ident()
        attendant = self._attendant
        if attendant is not None and attendant.is_working and self.leader is attendant:
            self.leader = None
            self._pass_on(attendant)
        if self.leader is None and self._nested and not self._leaves_unread():
            self._take_links(promise)
        else:
            self._follow(promise)

    def _follow(self, promise: Promise) -> None:
        promise.gate = threading.Lock()
        promise.gate.acquire()
        self._followers[promise] = None

    def _take_links(self, leader: Promise) -> None:
        self.leader = leader
        self._give_up_links()

    def _give_up_links(self) -> None:
        """The I/O thread is not woken by them."""
        if self._ours:
            self._ours = False
            self._outer.unregister(self._links_fd())

    def _lead(self, promise: Promise, left: float | None) -> None:
        ready = self._watch_links(left)
        with self.lock:
            if self.leader is promise and ready:
                self._serve(ready)
            if promise.resolved:
                self._leave(promise)
            elif self.leader is promise and self._leaves_unread():
                self.leader = None
                self._follow(promise)
        if self.remarks:
            self.say()

    def _leaves_unread(self) -> bool:
        """With the lock held: whether links are not watched for now. The I/O thread then looks around."""
        now = time.monotonic_ns()
        if not self._is_behind(now):
            self._unread_ns = 0
            return False
        if not self._unread_ns:
            self._unread_ns = now
        elif now - self._unread_ns >= _UNREAD_NS:
            return False
        self._active = True
        if not self._lively and self._io != threading.get_ident():
            self._alarm.ring()
        return True

    @window
    def _watch_links(self, left: float | None) -> Any:
        if interrupt.pending:
            raise_pending()
        return self.links.select(None if left is None else min(left, _DAY_S))

    @window
    def _sleep(self, gate: threading.Lock, left: float | None) -> None:
        if interrupt.pending:
            raise_pending()
        gate.acquire(timeout=-1 if left is None else left)

    def _leave(self, promise: Promise) -> None:
        """With the lock held: the next who waits leads, or the I/O thread watches again."""
        promise.thread = 0
        if promise.roused:
            promise.roused = False
            self._roused -= 1
            if not self._roused:
                self._turn_behind()
        if self.leader is not promise:
            self._followers.pop(promise, None)
        elif not self._next_leads():
            self._hand_back()
            self._dispose()

    def _next_leads(self) -> bool:
        """Whether there is one."""
        self.leader = None
        if self._followers and not self._leaves_unread():
            self.leader = next(iter(self._followers))
        if self.leader is not None:
            del self._followers[self.leader]
            _open(self.leader.gate)
        return self.leader is not None

    def _hand_back(self) -> None:
        """Nobody waits any more. Where they come and go quickly the I/O thread only looks at the links each
        millisecond, until nobody comes any more: it would be woken for all that comes, and find that another
        was there before.
        """
        if self._stopping:
            return
        if not self._lively:
            now = time.monotonic_ns()
            quickly = now - self._left_ns < _LOOK_NS
            self._left_ns = now
            if not quickly:
                self._watch_again()
                return
            self._alarm.ring()
        self._active = True

    def _watch_again(self) -> None:
        if not self._stopping and not self._leaves_unread():
            self._ours = True
            self._outer.register(self._links_fd(), selectors.EVENT_READ)

    def rouse(self, promise: Promise) -> None:
        """It is resolved: whoever sleeps on it goes on."""
        if self.leader is promise:
            if promise.thread != threading.get_ident():
                self._poke.ring()
        elif _open(promise.gate):
            promise.roused = True
            self._roused += 1

    # Tasks

    def do(self, task: Task, quick: bool) -> None:
        """With the lock held: have it done, a `quick` one by this very thread once the lock is released if it
        attends to the links, else by another of the pool. Raises RuntimeError if there is none to be had.
        """
        attendant = self._attendant if quick else None
        if attendant is None or self.leader is not attendant or attendant.thread != threading.get_ident():
            self.pool.submit(task)
        else:
            attendant.tasks.append(task)

    def _attend(self) -> None:
        """In a thread of the pool that has nothing else to do: watch the links, and do what comes of it until
        nothing comes for a moment, or others wait, who watch as well.
        """
        me = self._begin_to_attend()
        if me is None:
            return
        try:
            while self.leader is me and self._read_for(me):
                self._work(me)
        finally:
            with self.lock:
                if self.leader is me:
                    self._pass_on(me)
                    if not self._next_leads():
                        self._watch_again()
                        self._dispose()
            while task := me.next_task():
                task()

    def _begin_to_attend(self) -> Attendant | None:
        with self.lock:
            # Those that nobody watches are left for callers who come and go.
            if self.leader is not None or not self._ours or not self.running:
                return None
            me = self._attendant = Attendant(self)
            self._take_links(me)
            return me

    def _read_for(self, me: Attendant) -> bool:
        """Whether it goes on."""
        ready = self.links.select(0 if me.tasks else _ATTEND_S)
        with self.lock:
            me.turns += 1
            if self._stopping or not (ready or me.tasks):
                return False
            if ready:
                self._serve(ready)
            if self._followers or self._leaves_unread():
                return False
            if me.tasks:
                me.is_working = self._active = True
                if not self._lively:
                    self._alarm.ring()
        if self.remarks:
            self.say()
        return True

    def _work(self, me: Attendant) -> None:
        """Do its tasks, but for a moment only: then the links have their turn."""
        until = time.monotonic_ns() + _BATCH_NS
        while self.leader is me and (task := me.next_task()):
            task()
            if time.monotonic_ns() > until:
                break
        me.is_working = False
        if self._behind:
            with self.lock:
                self._turn_behind()

    def _pass_on(self, attendant: Attendant) -> None:
        """With the lock held, which the attendant does not hold: to the pool what it has not begun with, each
        taken from it before another may begin with it.
        """
        while task := attendant.next_task():
            try:
                self.pool.submit(task)
            except RuntimeError:  # the system gives no more threads: it does them itself
                attendant.tasks.appendleft(task)
                return

    def _look_after(self, attendant: Attendant) -> None:
        """With the lock held, each millisecond: one that is slow does not hold up the links."""
        if self.leader is attendant and attendant.is_working:
            self._active = True
            if attendant.seen == attendant.turns:
                self._pass_on(attendant)
                if not self._next_leads():
                    self._watch_again()
            attendant.seen = attendant.turns

    # The I/O thread

    def _run(self) -> None:
        self._io = threading.get_ident()
        left = 0.0
        while True:
            ready = self._outer.select(left)
            with self.lock:
                if self._stopping:
                    self._watching = False
                    self._dispose()
                    return
                if self._nested:
                    ready = self._links_ready(ready)
                elif self._leaves_unread():
                    ready = []
                self._serve(ready)
                left = self._look_ahead()
            if self.remarks:
                self.say()
            if self._unread_ns and not self._nested:
                time.sleep(_LOOK_S)  # the selector, which has the links, would not wait

    def _links_ready(self, told: Any) -> Any:
        """The alarm is heard; what is ready of the links, if nobody else watches them."""
        mine = self.leader is None and not self._ours
        for key, _ in told:
            if key.data is not None:
                self._alarm.drain()
            else:
                mine = self._ours
        if mine and (self._followers or self._leaves_unread()):
            self._give_up_links()
            self._next_leads()
            return ()
        return self.links.select(0) if mine else ()

    def _look_ahead(self) -> float:
        """How long it may sleep."""
        if self._attendant is not None:
            self._look_after(self._attendant)
        if not self._active and self.leader is None and self._nested and not self._ours:
            self._watch_again()
        self._lively = self._active
        self._active = False
        now = time.monotonic()
        self._wake_at = min(self._core_due, self._later[0][0] if self._later else _NEVER)
        if self._lively:
            self._wake_at = min(self._wake_at, now + _LOOK_S)
        return 0.0 if self._soon else max(0.0, min(_DAY_S, self._wake_at - now))

    def _serve(self, ready: Any) -> None:
        """With the lock held: what links have to say, and what is due."""
        self.inside = True
        if ready:
            self._unread_ns = 0
        try:
            for key, mask in ready:
                reader, writer = key.data
                if mask & selectors.EVENT_WRITE and writer is not None:
                    self._guard(writer)
                if mask & selectors.EVENT_READ and reader is not None:
                    self._guard(reader)
            if self._io == threading.get_ident():
                self._do_due()
            self._guard(self.turn)
        finally:
            self.inside = False

    def _do_due(self) -> None:
        while self._soon:
            self._guard(self._soon.popleft())
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            callback = heapq.heappop(self._later)[2].callback
            if callback is not None:
                self._guard(callback)
        if self._core_due <= now:
            self._core_due = _NEVER
            self._guard(self._fire)

    def _guard(self, callback: Callable[[], object]) -> None:
        """Call it: a failure at one link is no reason to leave the others."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on
            self.failures.add("a link's callback", error)

    def _links_fd(self) -> int:
        return self.links.fileno()


def _open(gate: threading.Lock | None) -> bool:
    """Whether it was closed."""
    closed = gate is not None and gate.locked()
    if gate is not None and closed:  # with the engine's lock held nobody else opens it
        gate.release()
    return closed
