"""Bus, for threads: opening, closing, what it shows, outcomes, handlers, and many threads at once."""

from __future__ import annotations

import logging
import selectors
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import busway
from busway import Bus
from busway.adapters.threads_pool import Pool
from busway.drivers import memory
from busway.protocol import codes
from tests.adapters.threads_tools import WAIT_S, Task, buses, join, sees, until

pytestmark = pytest.mark.timeout(30)

SENDING: dict[str, Callable[[Bus], object]] = {
    "send bytes": lambda bus: bus.send("x", b""),
    "send a value": lambda bus: bus.send("x", {"a": 1}),
    "send confirmed": lambda bus: bus.send("x", b"", confirm=True),
    "publish": lambda bus: bus.publish("x", b""),
    "request": lambda bus: bus.request("x", b""),
    "request_stream": lambda bus: list(bus.request_stream("x")),
    "connect": lambda bus: bus.connect("tcp://127.0.0.1:1"),
    "listen": lambda bus: bus.listen("tcp://127.0.0.1:0"),
    "trace": lambda bus: bus.trace("x"),
}
REGISTERING: dict[str, Callable[[Bus], object]] = {
    "register": lambda bus: bus.register("x"),
    "subscribe": lambda bus: bus.subscribe("x"),
    "serve": lambda bus: bus.serve("x", print),
    "changes": lambda bus: bus.changes(),
    "open": lambda bus: bus.open(),
}


def echo(request: busway.Request) -> object:
    return request.payload


# Life


@pytest.mark.parametrize("name", SENDING)
def test_before_open_sending_is_an_error_that_says_how_to_open(name: str) -> None:
    with pytest.raises(busway.BusError, match="with Bus"):
        SENDING[name](Bus(ipc=False))


@pytest.mark.parametrize("name", [*SENDING, *REGISTERING])
def test_after_close_everything_is_closed(name: str) -> None:
    with Bus(ipc=False) as bus:
        pass
    with pytest.raises(busway.BusClosed):
        {**SENDING, **REGISTERING}[name](bus)


def test_a_bus_is_opened_once_and_what_is_registered_before_counts() -> None:
    bus = Bus(ipc=False)
    bus.serve("early", echo)
    with bus, Bus(ipc=False) as other:
        with pytest.raises(busway.BusError, match="open already"):
            bus.open()
        join(bus, other)
        assert other.request("early", 5) == 5


def test_bad_arguments_raise_at_once() -> None:
    with Bus(ipc=False) as bus:
        with pytest.raises(ValueError, match="unicast, anycast, broadcast"):
            bus.register("x", kind="multicast")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="limit must be at least 1"):
            bus.serve("x", print, limit=0)
        with pytest.raises(ValueError, match="expected tcp://host:port"):
            bus.connect("carrier-pigeon://loft")
        with pytest.raises(ValueError, match="timeout must be 0 to"):
            bus.request("x", timeout=-1)

        async def coroutine(_: busway.Request) -> None: ...

        with pytest.raises(TypeError, match="AsyncBus"):
            bus.serve("x", coroutine)
        assert bus.endpoints() == []


def test_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    with buses() as (a, b):
        b.serve("it", echo)
        until(lambda: sees(a, "it"))
        assert a.request("it", 1) == 1
    until(lambda: set(threading.enumerate()) == before)


def test_close_from_another_thread_ends_all_who_wait() -> None:
    release = threading.Event()
    with buses() as (a, b):
        b.serve("mute", lambda _: release.wait(60))
        b.register("full", queue=2)
        mine, iterated, changes = a.register("x"), a.subscribe("y"), a.changes()
        until(lambda: sees(a, "mute") and sees(a, "full") and sees(b, "x"))

        def fill() -> None:
            while True:
                a.send("full", b"")

        tasks = [
            Task(lambda: a.request("mute")),
            Task(lambda: list(a.request_stream("mute"))),
            Task(lambda: a.send("full", b"", confirm=True)),
            Task(lambda: a.send("nobody", b"", ttl=30)),
        ]
        until(lambda: len(a.node.origin.pending) == len(tasks))
        tasks.append(Task(fill))  # only now: what is to be confirmed is refused where all is full
        receiving, iterating, changing = (
            Task(mine.receive),
            Task(lambda: list(iterated)),
            Task(lambda: list(changes)),
        )
        until(lambda: len(a.node.origin.pending) == len(tasks))
        until(lambda: mine._arrivals.waiting and iterated._arrivals.waiting)
        Task(lambda: a.close(600)).result()
        for task in [*tasks, receiving]:
            with pytest.raises(busway.BusClosed):
                task.result()
        assert iterating.result() == []  # an iteration just ends
        changing.result()
        a.close()
        release.set()


def test_close_writes_what_was_sent_before() -> None:
    with buses() as (a, b):
        receiver = b.register("x")
        until(lambda: sees(a, "x"))
        for number in range(1000):
            a.send("x", number)
        a.close()
        assert [receiver.receive(60).payload for _ in range(1000)] == list(range(1000))


def test_close_takes_no_longer_than_asked_when_a_handler_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, release = threading.Event(), threading.Event()
    waits: list[float | None] = []

    def noting(wait: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*what: Any) -> Any:
            waits.append(what[-1])
            return wait(*what)

        return noted

    def stubborn(_: busway.Request) -> None:
        begun.set()
        release.wait(600)

    with buses() as (a, b):
        b.serve("stubborn", stubborn)
        until(lambda: sees(a, "stubborn"))
        asking = Task(lambda: a.request("stubborn", timeout=600))
        assert begun.wait(60)
        with monkeypatch.context() as patch:
            patch.setattr(b._host.engine, "wait", noting(b._host.engine.wait))
            patch.setattr(b._host.pool, "stop", noting(b._host.pool.stop))
            Task(lambda: b.close(0.4)).result()
        assert len(waits) >= 2, "for the handler, and for its thread"
        assert all(each is not None and each <= 0.4 for each in waits)
        assert waits[0] is not None
        assert waits[0] <= 0.2  # half is for the goodbye
        with pytest.raises(busway.Undeliverable) as caught:  # not BusClosed: the caller's own bus is open
            asking.result()
        assert caught.value.reason == codes.BUS_CLOSED
        release.set()
        until(lambda: not b._host.handlers)


def test_a_handler_that_ends_soon_answers_before_its_bus_closes() -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(_: busway.Request) -> str:
        begun.set()
        release.wait(60)
        return "done"

    with buses() as (a, b):
        b.serve("slow", slow)
        until(lambda: sees(a, "slow"))
        asking = Task(lambda: a.request("slow"))
        assert begun.wait(60)
        closing = Task(lambda: b.close(8))
        until(lambda: b._host.failure is not None)
        release.set()
        assert asking.result() == "done"
        closing.result()


def test_a_handler_may_close_its_own_bus() -> None:
    with buses() as (a, b):
        b.serve("goodbye", lambda _: b.close())
        until(lambda: sees(a, "goodbye"))
        with pytest.raises(busway.Undeliverable):
            a.request("goodbye")


# Messages


def test_messages_arrive_once_in_order() -> None:
    with buses() as (a, b):
        receiver = b.register("log")
        until(lambda: sees(a, "log"))
        reading = Task(lambda: [receiver.receive(60).payload for _ in range(5000)])
        for number in range(5000):
            a.send("log", number)
        assert reading.result() == list(range(5000))


def test_several_threads_share_a_receiver() -> None:
    with buses() as (a, b):
        receiver = b.register("log")
        until(lambda: sees(a, "log"))
        reading = [Task(lambda: [message.payload for message in receiver]) for _ in range(4)]
        for number in range(2000):
            a.send("log", number, confirm=number == 1999)
        receiver.close()
        taken = [number for task in reading for number in task.result()]
        assert sorted(taken) == list(range(2000))


def test_a_receive_that_times_out_loses_nothing() -> None:
    with buses() as (a, b), b.register("log") as receiver:
        with pytest.raises(TimeoutError):
            receiver.receive(0.01)
        with pytest.raises(TimeoutError):
            receiver.receive(0)
        a.send("log", b"late", ttl=30)
        assert receiver.receive(60).payload == b"late"


def test_publish_reaches_every_subscriber() -> None:
    with buses(3) as (a, b, c):
        receivers = [bus.subscribe("news") for bus in (a, b, c)]
        until(lambda: len([found for found in a.endpoints() if found.name == "news"]) == 3)
        a.publish("news", 7)
        assert [receiver.receive(60).payload for receiver in receivers] == [7, 7, 7]
        a.publish("news", 8, best_effort=True)
        assert [receiver.receive(60).payload for receiver in receivers] == [8, 8, 8]
        with pytest.raises(ValueError, match="publish"):
            a.send("news", 1)


def test_a_full_speed_publish_reaches_all_who_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine this very program may stand still for longer than a publish waits.
    monkeypatch.setattr("busway.adapters.arguments._PUBLISH_PATIENCE_MS", 60_000)
    with buses(3) as (a, b, c):
        receivers = [bus.subscribe("news", queue=20_000) for bus in (b, c)]
        until(lambda: len(a.endpoints()) == 2)
        for number in range(10_000):
            a.publish("news", b"%05d" % number + bytes(1000), wait=number % 2 == 0)
        for receiver in receivers:
            got = [receiver.receive(60) for _ in range(10_000)]
            assert sum(message.missed for message in got) == 0
        assert a.node.origin.counters["broadcast_dropped"] == 0


def test_a_publish_waits_a_little_for_a_subscriber_that_is_behind() -> None:
    """One of two reads again as soon as its queue has filled up: without patience it would miss the rest."""
    with buses(3) as (a, b, c):
        receivers = [bus.subscribe("news", queue=5000) for bus in (b, c)]
        until(lambda: len(a.endpoints()) == 2)
        engine = b._host.engine
        with engine.lock:
            [link] = [each for each in b._host.runners if each.connection.peer is b.node.routes.peers[a.id]]
            engine.remove_reader(link.channel.fileno())

        def publish() -> None:
            for number in range(3000):
                a.publish("news", b"%05d" % number + bytes(1000))

        publishing = Task(publish)
        until(lambda: a.node.origin.pending or not publishing.is_alive())
        with engine.lock:
            engine.add_reader(link.channel.fileno(), link.on_readable)
        publishing.result(60)
        for receiver in receivers:
            assert [receiver.receive(60).missed for _ in range(3000)] == [0] * 3000
        assert a.node.origin.counters["broadcast_dropped"] == 0


@pytest.mark.parametrize("policy", ["refuse", "drop_newest", "latest"])
def test_what_a_subscriber_misses_is_seen(policy: busway.adapters.typed.Policy) -> None:
    with buses() as (a, b):
        receiver = b.subscribe("level", queue=2, policy=policy)
        until(lambda: sees(a, "level"))
        for number in range(10):
            a.publish("level", number)
        kept = 1 if policy == "latest" else 2
        until(lambda: receiver.dropped == 10 - kept)
        assert receiver.missed == (0 if policy == "latest" else 8)
        got = [receiver.receive(60) for _ in range(kept)]
        assert [message.payload for message in got] == ([9] if policy == "latest" else [0, 1])
        assert got[0].missed == (9 if policy == "latest" else 0)


def test_confirm_and_its_failures() -> None:
    with buses() as (a, b):
        receiver = b.register("log")
        until(lambda: sees(a, "log"))
        sending = Task(lambda: a.send("log", "sure", confirm=True))
        until(lambda: len(receiver._core.queue))
        assert sending.is_alive()  # it has arrived, and nobody has taken it
        assert receiver.receive().payload == "sure"
        sending.result()
        with pytest.raises(busway.DeliveryUnknown):
            a.send("log", "late", confirm=True, timeout=0.1)
        sending = Task(lambda: a.send("log", "never", confirm=True))
        until(lambda: len(receiver._core.queue))
        receiver.close()
        with pytest.raises(busway.Undeliverable):
            sending.result()
        with pytest.raises(busway.BusClosed):
            receiver.receive()


def test_a_slow_receiver_slows_its_sender_and_nobody_else() -> None:
    with buses() as (a, b):
        slow, quick = b.register("slow", queue=16), b.register("quick")
        until(lambda: sees(a, "slow") and sees(a, "quick"))

        def fill() -> None:
            for number in range(200):
                a.send("slow", number)

        filling = Task(fill)
        for number in range(500):
            a.send("quick", number)
        assert [quick.receive(60).payload for _ in range(500)] == list(range(500))
        assert filling.is_alive()
        assert [slow.receive(60).payload for _ in range(200)] == list(range(200))
        filling.result()


def test_a_later_failure_is_told_and_a_logging_handler_may_call_the_bus(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Publisher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            a.publish("logs", record.getMessage())

    with buses() as (a, b):
        logs, receiver = b.subscribe("logs"), b.register("log")
        until(lambda: sees(a, "log") and sees(a, "logs"))
        handler = Publisher()
        logging.getLogger("busway").addHandler(handler)
        try:
            a.send("log", b"1")
            until(lambda: len(receiver._core.queue))
            receiver.close()
            until(lambda: len(a.undeliverable) == 1)
            lost = a.undeliverable[0]
            assert (lost.name, lost.label, lost.reason_name) == ("log", "b", "RECEIVER_CLOSED")
            assert "not delivered" in str(logs.receive(60).payload)
        finally:
            logging.getLogger("busway").removeHandler(handler)


# Requests and handlers


def test_serve_is_a_decorator_and_handlers_may_call_the_bus() -> None:
    with buses() as (a, b):

        @b.serve("inner")
        def inner(request: busway.Request) -> int:
            return 2 * request.payload  # type: ignore[no-any-return]

        @a.serve("outer")
        def outer(request: busway.Request) -> object:
            return a.request("inner", request.payload) + 1

        until(lambda: sees(a, "inner") and sees(b, "outer"))
        assert b.request("outer", 20) == 41
        assert outer.__name__ == "outer"


def test_slow_handlers_hold_up_nobody_else() -> None:
    release = threading.Event()
    with buses() as (a, b):
        b.serve("slow", lambda _: release.wait(60), limit=3)
        b.serve("quick", echo, limit=1)
        until(lambda: sees(a, "slow") and sees(a, "quick"))
        asking = [Task(lambda: a.request("slow")) for _ in range(10)]
        until(lambda: len(b._host.handlers) == 3)
        for number in range(100):
            assert a.request("quick", number) == number
        until(lambda: len(b._host.handlers) == 3)  # a reply may be there before its handler is put away
        release.set()
        assert [task.result() for task in asking] == [True] * 10


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (KeyError("no such pump"), codes.HANDLER_FAILED, "KeyError: 'no such pump'"),
        (busway.RemoteError(256, "empty tank"), 256, "empty tank"),
        (OSError("surrogate \udcff"), codes.HANDLER_FAILED, "OSError: surrogate \\udcff"),
        (busway.BusClosed(), codes.HANDLER_FAILED, "BusClosed"),
    ],
    ids=ascii,
)
def test_whatever_a_handler_raises_the_caller_hears(raised: Exception, code: int, text: str) -> None:
    def handler(_: busway.Request) -> None:
        raise raised

    with buses() as (a, b):
        b.serve("it", handler)
        until(lambda: sees(a, "it"))
        with pytest.raises(busway.RemoteError) as caught:
            a.request("it", timeout=60)
        assert caught.value.code == code
        assert caught.value.message.startswith(text)


def test_outcomes_of_a_request() -> None:
    release = threading.Event()
    with buses() as (a, b):
        b.serve("mute", lambda _: release.wait(60))
        until(lambda: sees(a, "mute"))
        with pytest.raises(busway.Undeliverable) as caught:
            a.request("nobody")
        assert caught.value.reason == codes.NO_ENDPOINT
        started = time.monotonic()
        with pytest.raises(busway.RequestTimeout, match=r"no reply within"):
            a.request("mute", timeout=0.1)
        assert time.monotonic() - started > 0.09
        asking = Task(lambda: a.request("mute"))
        until(lambda: len(b._host.handlers) == 2)
        for runner in list(b._host.runners):
            b._host.engine.call(runner.close)  # without a goodbye, as if the program had been killed
        with pytest.raises(busway.Undeliverable) as caught:
            asking.result()
        assert caught.value.reason == codes.LOST_AFTER_SENDING
        release.set()


def test_streams_are_whole_and_bounded_and_can_be_left() -> None:
    made = []

    def numbers(request: busway.Request) -> Iterator[int]:
        for number in range(request.payload):
            made.append(number)
            yield number

    with buses() as (a, b):
        b.serve("count", numbers)
        until(lambda: sees(a, "count"))
        assert list(a.request_stream("count", 1000)) == list(range(1000))
        made.clear()
        parts = a.request_stream("count", 1_000_000)
        assert [next(parts) for _ in range(5)] == [0, 1, 2, 3, 4]
        parts.close()
        until(lambda: not b._host.handlers)
        assert len(made) < 500
        with pytest.raises(busway.Undeliverable) as caught:
            a.request("count", 3)
        assert caught.value.reason == codes.NOT_A_STREAM


def test_a_stream_that_is_dropped_in_the_midst_of_the_core_is_cancelled_later() -> None:
    with buses() as (a, b):
        b.serve("count", lambda request: iter(()).__class__ and (number for number in range(1_000_000)))
        until(lambda: sees(a, "count"))
        parts = a.request_stream("count")
        assert next(parts) == 0
        a._host.engine.call(parts.close)  # as the garbage collector may do it
        until(lambda: not b._host.handlers)


def test_process_endpoints_pass_the_object_itself() -> None:
    with Bus(ipc=False) as bus:
        bus.serve("private", lambda request: request.payload, realm="process")
        thing = object()
        assert bus.request("private", thing) is thing


def test_calls_from_the_midst_of_a_call_are_refused() -> None:
    with Bus(ipc=False) as bus, pytest.raises(busway.BusError, match="in the midst"):
        bus._host.engine.call(lambda: bus.publish("x", 1))


def test_a_broken_thread_limit_is_the_callers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Pool, task: object) -> None:
        raise RuntimeError("can't start new thread")

    with buses() as (a, b):
        b.serve("it", echo)
        until(lambda: sees(a, "it"))
        monkeypatch.setattr(Pool, "submit", refuse)
        with pytest.raises(busway.RemoteError, match="can't start new thread"):
            a.request("it")
        monkeypatch.undo()
        assert a.request("it", 1) == 1


# What is there


def test_views() -> None:
    with buses() as (a, b):
        changes = a.changes()
        b.register("lab/log")
        assert next(changes).what == "endpoint-up"
        assert [node.label for node in a.nodes()] == ["a", "b"]
        assert [found.name for found in a.endpoints()] == ["lab/log"]
        assert [link.peer for link in a.links()] == [b.id]
        assert [route.via for route in a.routes()] == [b.id]
        assert [hop.node for hop in a.trace("lab/log")] == [b.id]
        with pytest.raises(busway.Undeliverable):
            a.trace("nobody")
        b.close()
        assert [next(changes).what for _ in range(3)] == ["link-down", "endpoint-down", "node-down"]
        changes.close()
        assert list(changes) == []


def test_a_channel_that_pushes_can_be_attached() -> None:
    pair = memory.pair()
    with Bus(ipc=False) as one, Bus(ipc=False) as two:
        runners = [one.attach(pair.a), two.attach(pair.b)]
        deadline = time.monotonic() + 10
        while not all(runner.ready.done() for runner in runners):
            assert time.monotonic() < deadline
            pair.advance(time.monotonic_ns() // 1_000_000)
        assert len(one.nodes()) == len(two.nodes()) == 2


# Many threads


@pytest.mark.parametrize("selector", ["epoll", "select"])
def test_32_threads_of_1000_requests_have_one_outcome_each(
    selector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if selector == "select":  # cannot be nested: only the I/O thread watches
        monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    count = 1000 if selector == "epoll" else 100

    def work(bus: Bus, number: int) -> list[Any]:
        return [bus.request("it", [number, step]) for step in range(count)]

    with buses() as (a, b):
        b.serve("it", echo)
        until(lambda: sees(a, "it"))
        tasks = [Task(lambda number=number: work(a, number)) for number in range(32)]  # type: ignore[misc]
        for number, task in enumerate(tasks):
            assert task.result(60) == [[number, step] for step in range(count)]
        assert not a._host.waiters
        assert not a.node.origin.pending


def test_workers_that_do_one_job_at_a_time_get_the_next_when_they_are_free() -> None:
    with buses(3) as (a, b, c):
        busy = threading.Event()
        b.serve("job", lambda request: request.payload, limit=1)
        c.serve("job", lambda request: busy.wait(WAIT_S), limit=1)
        until(lambda: len([found for found in a.endpoints() if found.name == "job"]) == 2)
        jobs = [Task(lambda: a.request("job", 0)) for _ in range(20)]
        until(lambda: len([job for job in jobs if not job.is_alive()]) == 19)
        busy.set()
        for job in jobs:
            job.result()


@pytest.mark.parametrize(
    ("to", "text"), [("lab/nobody", "lab/nobody"), (uuid.UUID(int=0xABCDEF << 104), "abcdef00")]
)
def test_errors_name_the_endpoint(to: Any, text: str) -> None:
    with buses(1) as (a,):
        calls: list[Callable[[], object]] = [
            lambda: a.send(to, b"x"),
            lambda: a.send(to, b"x", confirm=True),
            lambda: a.request(to),
            lambda: a.request_future(to).result(),
            lambda: list(a.request_stream(to)),
            lambda: a.trace(to),
        ]
        for call in calls:
            with pytest.raises(busway.Undeliverable, match=f"^not delivered to {text}: nobody has") as caught:
                call()
            assert caught.value.endpoint == text


def test_what_was_not_answered_in_time_is_named() -> None:
    with buses(1) as (a,):
        held = a.register("lab/held")
        with pytest.raises(busway.RequestTimeout, match=r"^lab/held: no reply within"):
            a.request("lab/held", timeout=0.05)
        with pytest.raises(busway.DeliveryUnknown, match=r"^lab/held: no verdict came"):
            a.send("lab/held", confirm=True, timeout=0.05)
        held.close()
