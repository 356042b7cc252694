"""The engine of threads: what was sent leaves though nobody sends again, an idle bus sleeps, and many threads
on narrow links lose nothing.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from functools import partial
from typing import Any

import pytest

import busway
from busway import Bus
from busway.adapters import threads_ends, threads_engine
from busway.adapters.literal import id_of_name
from busway.adapters.threads_pool import Pool
from busway.adapters.threads_promises import Attendant, Promise
from tests.adapters.threads_tools import Task, buses, sees, until
from tests.adapters.tools import PairChannel

pytestmark = pytest.mark.timeout(30)

_ENDLESS_NS = 10**15


class Selects:
    """The I/O thread's selector, which counts how often it slept, and says whether it does."""

    def __init__(self, bus: Bus) -> None:
        self.count = 0
        self.asleep = False
        self._real: Any = bus._host.engine._outer
        bus._host.engine._outer = self  # type: ignore[assignment]
        bus._host.engine._alarm.ring()  # out of the real one
        until(lambda: self.count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float) -> Any:
        self.count += 1
        self.asleep = timeout > 0.1  # longer than any look around
        return self._real.select(timeout)


def without_timers(bus: Bus) -> None:
    """The core's deadlines wake nobody from now on: what leaves leaves without them."""
    engine = bus._host.engine
    with engine.lock:
        engine.arm(None)
        engine.arm = lambda deadline_ms: None  # type: ignore[method-assign]
    bus._host.engine._alarm.ring()


@pytest.mark.parametrize("also", ["nothing", "a caller that has waited"])
def test_what_was_sent_leaves_though_its_sender_does_something_else(
    also: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_engine, "_BATCH_NS", _ENDLESS_NS)  # all but the first wait for what follows
    with buses() as (a, b):
        receiver = b.register("it")
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "it") and sees(a, "echo"))
        without_timers(a)
        for number in range(20):
            if also != "nothing":
                assert a.request("echo", b"") == b""
            a.send("it", b"%d" % number)
            a.send("it", b"%d" % number)
            # This thread calls a no more: the other bus has it all the same.
            assert [receiver.receive(10).payload for _ in range(2)] == [b"%d" % number] * 2


def test_credit_for_what_was_taken_leaves_though_its_receiver_does_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads_engine, "_BATCH_NS", _ENDLESS_NS)
    with buses() as (a, b):
        receiver = b.register("it", queue=4)
        until(lambda: sees(a, "it"))
        without_timers(a)
        without_timers(b)
        sending = Task(lambda: [a.send("it", b"%d" % number) for number in range(50)])
        for number in range(50):
            until(lambda: len(receiver._core.queue), 10)
            assert receiver.receive(0).payload == b"%d" % number
        sending.result()


def test_an_idle_bus_does_not_wake_up() -> None:
    with buses() as (a, b):
        receiver = b.register("it")
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "it") and sees(a, "echo"))
        sides = [Selects(a), Selects(b)]
        for number in range(200):
            a.send("it", b"%d" % number)
            assert receiver.receive().payload == b"%d" % number
            assert a.request("echo", b"") == b""
        waiting = Task(receiver.receive)
        until(lambda: all(side.asleep for side in sides))
        before = [side.count for side in sides]
        time.sleep(0.2)  # in which one that looks around would do so two hundred times
        assert [side.count for side in sides] == before
        receiver.close()
        with pytest.raises(busway.BusClosed):
            waiting.result()


def test_a_busy_sender_seldom_wakes_the_thread_that_writes() -> None:
    """Waking it for each message would cost more than the message."""
    with buses() as (a, b):
        receiver = b.register("it")
        until(lambda: sees(a, "it"))
        rung = 0
        alarm = a._host.engine._alarm
        ring = alarm.ring

        def counted() -> None:
            nonlocal rung
            rung += not alarm._rung
            ring()

        alarm.ring = counted  # type: ignore[method-assign]
        side = Selects(a)
        reading = Task(lambda: [receiver.receive().payload for _ in range(5000)])
        for number in range(5000):
            a.send("it", b"%d" % number)
        reading.result()
        assert rung + side.count < 2500


def narrow(one: Bus, two: Bus) -> None:
    """Link two buses by a socket pair that takes a few messages at a time."""
    here, there = socket.socketpair()
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the system gives
    ready = [
        one.attach(PairChannel(here, "userspace", "pair", True)).ready,
        two.attach(PairChannel(there, "userspace", "pair", False)).ready,
    ]
    for side in ready:
        side.result(20)


class Crowd:
    """Threads that send, receive and ask, each as its own random numbers say, on one narrow link."""

    def __init__(self, a: Bus, b: Bus, seed: int) -> None:
        self.buses = (a, b)
        self.seed = seed
        self.sent = [0, 0]
        self.asked = [0, 0]
        self.lock = threading.Lock()
        self.receivers = [a.register("to a", queue=4), b.register("to b", queue=4)]
        for bus, name in ((a, "ask a"), (b, "ask b")):
            bus.serve(name, lambda request: request.payload, limit=2)
        until(lambda: sees(a, "to b") and sees(a, "ask b") and sees(b, "to a") and sees(b, "ask a"))

    def work(self, number: int, steps: int) -> None:
        """Sends and asks from one bus, to the other."""
        rng = random.Random(f"{self.seed} {number}")
        side = number % 2
        bus, other = self.buses[side], "ba"[side]
        for step in range(steps):
            payload = b"%d %d " % (number, step) + bytes(rng.choice((0, 10, 3000)))
            what = rng.random()
            if what < 0.6:
                bus.send(f"to {other}", payload)
                self._count(self.sent, 1 - side)
            elif what < 0.7:
                bus.send(f"to {other}", payload, confirm=True)
                self._count(self.sent, 1 - side)
            elif what < 0.9:
                assert bus.request(f"ask {other}", payload) == payload
                self._count(self.asked, 1 - side)
            else:
                time.sleep(rng.choice((0, 0.0005)))

    def _count(self, counts: list[int], side: int) -> None:
        with self.lock:
            counts[side] += 1

    def read(self, side: int) -> list[bytes]:
        """Until the receiver is closed; now and then with a time that is over at once."""
        rng = random.Random(f"{self.seed} reads {side}")
        found: list[bytes] = []
        while True:
            try:
                message = self.receivers[side].receive(rng.choice((None, 0, 0.001)))
            except TimeoutError:
                continue
            except busway.BusClosed:
                return found
            found.append(bytes(message.payload[:20]))


@pytest.mark.parametrize("seed", range(3))
def test_threads_on_a_narrow_link_lose_nothing_and_all_come_to_an_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed == 2:  # all handlers count as quick
        monkeypatch.setattr(threads_ends, "_OFTEN_NS", _ENDLESS_NS)
        monkeypatch.setattr(threads_ends, "_QUICK_NS", _ENDLESS_NS)
    with buses(1) as (a,), Bus(ipc=False, label="b", node_id=b"b" * 16) as b:
        narrow(a, b)
        crowd = Crowd(a, b, seed)
        reading = [Task(lambda side=side: crowd.read(side)) for side in (0, 0, 1, 1)]  # type: ignore[misc]
        working = [Task(lambda number=number: crowd.work(number, 120)) for number in range(8)]  # type: ignore[misc]
        for task in working:
            task.result(20)
        for side, receiver in enumerate(crowd.receivers):
            until(lambda side=side, receiver=receiver: receiver._core.taken == crowd.sent[side], 20)  # type: ignore[misc]
            receiver.close()
        found = [task.result(20) for task in reading]
        assert [len(found[0]) + len(found[1]), len(found[2]) + len(found[3])] == crowd.sent
        assert len({each for part in found for each in part}) == sum(crowd.sent)
        assert not any(bus.node.origin.pending or bus._host.handlers or bus._host.waiters for bus in (a, b))


# Handlers in the thread that reads


@pytest.fixture
def attending(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: whoever has answered watches the links next, and does not leave them."""
    monkeypatch.setattr(threads_engine, "_ATTEND_S", 3600.0)
    monkeypatch.setattr(threads_ends, "_OFTEN_NS", _ENDLESS_NS)
    monkeypatch.setattr(threads_ends, "_QUICK_NS", _ENDLESS_NS)


def attended(asking: Bus, serving: Bus) -> None:
    """Returns once a thread of the pool watches the links of `serving`, which has "echo"."""
    engine = serving._host.engine

    def is_there() -> bool:
        assert asking.request("echo", b"x") == b"x"
        return engine._attendant is not None and engine.leader is engine._attendant

    until(is_there)


@pytest.mark.usefixtures("attending")
def test_the_thread_that_reads_a_request_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()

    def note(request: busway.Request) -> bytes:
        threads.add(threading.current_thread().name)
        return request.payload  # type: ignore[no-any-return]

    with buses() as (a, b):
        b.serve("echo", note)
        until(lambda: sees(a, "echo"))
        attended(a, b)
        submitted = 0
        submit = b._host.pool.submit

        def counted(task: Any) -> None:
            nonlocal submitted
            submitted += 1
            submit(task)

        monkeypatch.setattr(b._host.pool, "submit", counted)
        for number in range(200):
            assert a.request("echo", b"%d" % number) == b"%d" % number
        assert submitted <= 20  # a busy machine may take the links from it now and then
        assert threads == {"busway-handler"}


@pytest.mark.usefixtures("attending")
def test_a_slow_handler_there_holds_up_neither_links_nor_timers() -> None:
    release = threading.Event()
    with buses() as (a, b):
        b.serve("echo", lambda request: request.payload)
        slow: Any = b.serve("slow", lambda request: release.wait(60))
        until(lambda: sees(a, "echo") and sees(a, "slow"))
        slow._slow = 0  # as if it had been quick so far
        attended(a, b)
        asking = Task(lambda: a.request("slow", b""))
        until(lambda: b._host.handlers)
        for number in range(20):
            assert a.request("echo", number) == number
        with pytest.raises(busway.RequestTimeout):
            b.request("slow", b"", timeout=0.05)
        release.set()
        assert asking.result() is True


@pytest.mark.usefixtures("attending")
def test_what_waits_behind_a_slow_handler_goes_to_other_threads() -> None:
    both = threading.Barrier(3)
    with buses() as (a, b):
        b.serve("echo", lambda request: request.payload)
        meeting: Any = b.serve("meet", lambda request: both.wait(60) >= 0)
        until(lambda: sees(a, "echo") and sees(a, "meet"))
        meeting._slow = 0
        for _ in range(5):
            attended(a, b)
            asking = [a.request_future("meet", b"") for _ in range(3)]  # which come together
            assert [each.result(60) for each in asking] == [True] * 3
            meeting._slow = 0


@pytest.mark.usefixtures("attending")
def test_a_handler_there_may_ask_and_send_and_wait() -> None:
    with buses() as (a, b):
        a.serve("inner", lambda request: request.payload)
        b.serve("echo", lambda request: b.request("inner", request.payload))
        log = b.register("log")
        until(lambda: sees(a, "echo") and sees(b, "inner") and sees(a, "log"))
        for number in range(100):
            assert a.request("echo", b"%d" % number) == b"%d" % number
        reading = Task(log.receive)
        a.send("log", b"it")
        assert reading.result().payload == b"it"


@pytest.mark.usefixtures("attending")
def test_a_handler_there_may_close_its_bus_and_a_bus_closes_while_links_are_watched() -> None:
    before = set(threading.enumerate())
    for from_handler in (True, False):
        with buses() as (a, b):
            b.serve("echo", lambda request: request.payload)
            closing: Any = b.serve("close", lambda _: b.close())
            until(lambda: sees(a, "echo") and sees(a, "close"))
            closing._slow = 0
            attended(a, b)
            if from_handler:
                with pytest.raises(busway.Undeliverable):
                    a.request("close", b"")
            else:
                b.close()
            until(lambda: b._host.engine._disposed)
    until(lambda: set(threading.enumerate()) == before)


def test_who_has_nothing_to_attend_to_leaves_and_nothing_wakes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_ends, "_OFTEN_NS", _ENDLESS_NS)
    monkeypatch.setattr(threads_ends, "_QUICK_NS", _ENDLESS_NS)
    with buses() as (a, b):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        attended(a, b)
        engine = b._host.engine
        until(lambda: engine.leader is None)
        side = Selects(b)
        until(lambda: side.asleep)
        before = side.count
        time.sleep(0.1)
        assert side.count == before
        assert a.request("echo", b"again") == b"again"


# Tasks of a thread that loses the links


def losing(pool: type[Pool]) -> tuple[threads_engine.Engine, Attendant, list[int]]:
    """One that leads and has four tasks left, with that pool; what is done by and by."""
    engine = threads_engine.Engine(lambda: None, lambda: None, lambda now_ns: False)
    engine.pool = pool(engine._attend)
    engine.leader = me = Attendant(engine)
    done: list[int] = []
    me.tasks.extend(partial(done.append, number) for number in range(4))
    return engine, me, done


def test_a_task_is_done_once_though_its_thread_goes_on_while_it_is_passed_on() -> None:
    class Late(Pool):
        """One where the thread that had the tasks ends its last one while another is started."""

        def submit(self, task: Any) -> None:
            engine._work(me)
            super().submit(task)

    engine, me, done = losing(Late)
    with engine.lock:
        engine._pass_on(me)
    engine.pool.stop(5.0)
    assert sorted(done) == [0, 1, 2, 3]


def test_what_no_other_thread_takes_is_done_by_the_one_that_had_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Pool):
        def submit(self, task: Any) -> None:
            raise RuntimeError("can't start new thread")

    engine, me, done = losing(Full)
    monkeypatch.setattr(engine, "_begin_to_attend", lambda: me)
    with engine.lock:
        engine.leader = None  # who waits has taken the links
        engine._pass_on(me)
    engine._attend()
    assert done == [0, 1, 2, 3]


def writes_of(bus: Bus) -> list[bytes]:
    """What a bus with one link writes from now on, as it is written."""
    written: list[bytes] = []
    [link] = bus._host.runners
    write = link._write

    def noted(buffers: list[Any]) -> list[Any]:
        written.append(b"".join(buffers))
        return write(buffers)

    link._write = noted  # type: ignore[method-assign]
    return written


def test_what_is_asked_leaves_with_what_those_say_who_are_about_to_go_on() -> None:
    """Not by the I/O thread, which nobody wakes here."""
    with buses() as (a, b):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        without_timers(a)
        engine = a._host.engine
        promises = [Promise(engine) for _ in range(3)]
        waiting = [Task(promise.result) for promise in promises]
        until(lambda: all(promise.thread for promise in promises))
        leader = next(promise for promise in promises if promise is engine.leader)
        engine._alarm.ring = lambda: None  # type: ignore[method-assign]
        written = writes_of(a)
        with engine.lock:
            for promise in promises:
                if promise is not leader:
                    promise.set_result(None)
            vars(a._host)["outcome"] = lambda token, promise: promise
            asked: Any = a._host.outcome_of(a.node.request, id_of_name("echo"), b"it", a._host.now_ms())
            assert not written
        assert asked.result(30).payload == b"it"
        assert len(written) == 1
        with engine.lock:
            leader.set_result(None)
        for task in waiting:
            task.result()


def test_answers_of_one_thread_leave_together() -> None:
    with buses() as (a, b):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        written = writes_of(b)

        def writes_for_eight() -> int:
            for number in range(20):  # until its handler is known to be quick
                assert a.request("echo", number) == number
            with b._host.engine.lock:  # all are read at once
                futures = [a.request_future("echo", number) for number in range(8)]
            before = len(written)
            assert [future.result(30) for future in futures] == list(range(8))
            return len(written) - before

        until(lambda: writes_for_eight() < 8)
