"""Subscribers of Bus: who keeps up misses nothing of a burst, and who does not holds nobody up."""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from busway import Bus, Registry
from busway.adapters import threads_engine, threads_pace
from busway.adapters.threads_ends import Receiver
from busway.adapters.threads_pace import Pace, Paces, pace_of
from busway.drivers.unix import UnixChannel
from tests.adapters.threads_tools import Task, buses, sees, until

pytestmark = pytest.mark.timeout(60)

_ENDLESS_NS = 10**15
_COPIES = 6000  # more than a queue holds, less than a link and its sockets do
_TEXT = b"x" * 60


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has much to take is waited for, however busy the machine is."""
    monkeypatch.setattr(threads_pace, "_WINDOW_NS", _ENDLESS_NS)
    monkeypatch.setattr(threads_engine, "_UNREAD_NS", _ENDLESS_NS)


@contextlib.contextmanager
def subscribed(**options: Any) -> Iterator[tuple[Bus, Bus, Receiver[Any]]]:
    """A publisher, and a subscriber of "feed"."""
    with buses() as (a, b):
        receiver = b.subscribe("feed", **options)
        until(lambda: sees(a, "feed"))
        yield a, b, receiver


def publish(bus: Bus, count: int = _COPIES) -> None:
    for number in range(count):
        bus.publish("feed", b"%04d" % number + _TEXT)


def take(receiver: Receiver[Any], count: int = _COPIES) -> list[int]:
    """Their numbers; none was missed."""
    taken = [receiver.receive(30) for _ in range(count)]
    assert sum(message.missed for message in taken) == receiver.missed == 0
    return [int(message.payload[:4]) for message in taken]


def until_held_or_lost(bus: Bus, receiver: Receiver[Any]) -> None:
    until(lambda: bus._host.engine._unread_ns or receiver.dropped)


@pytest.mark.parametrize("selector", ["epoll", "select"])
@pytest.mark.usefixtures("patient")
def test_no_more_is_read_than_who_takes_has_room_for(selector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if selector == "select":
        monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    with subscribed() as (a, b, receiver):
        publishing = Task(lambda: publish(a))
        until_held_or_lost(b, receiver)
        assert take(receiver) == list(range(_COPIES))
        publishing.result()


@pytest.mark.skipif(sys.platform != "linux", reason="only there memory is shared by itself")
@pytest.mark.usefixtures("patient")
def test_no_more_is_read_than_who_takes_has_room_for_in_bytes() -> None:
    """A queue takes 64 of 1 MiB, which is few."""
    size, count = 1 << 20, 200
    with contextlib.ExitStack() as stack:
        a, b = (stack.enter_context(Bus(ipc=False, label=label)) for label in "ab")
        ours, theirs = socket.socketpair()
        for side in (
            a.attach(UnixChannel(ours, "ipc:pair", dialled=True)).ready,
            b.attach(UnixChannel(theirs, "ipc:pair", dialled=False)).ready,
        ):
            side.result(30)
        receiver = b.subscribe("feed")
        until(lambda: sees(a, "feed"))
        with Registry(size).take(size) as region:
            view = region.view
            publishing = Task(lambda: [a.publish("feed", view, wait=True) for _ in range(count)])
            until_held_or_lost(b, receiver)
            assert [receiver.receive(30).missed for _ in range(count)] == [0] * count
            publishing.result()
        assert receiver.missed == receiver.dropped == 0


@pytest.mark.usefixtures("patient")
def test_who_waits_for_something_else_reads_no_more_either() -> None:
    with subscribed() as (a, b, receiver):
        other = b.register("other")
        a.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "other") and sees(b, "echo"))
        waiting = Task(other.receive)  # and watches the links
        until(lambda: b._host.engine.leader is not None)
        publish(a)
        a.send("other", b"it")
        until_held_or_lost(b, receiver)
        asking = Task(lambda: b.request("echo", b"it"))
        assert take(receiver) == list(range(_COPIES))
        assert waiting.result().payload == asking.result() == b"it"


@pytest.mark.usefixtures("patient")
def test_a_thread_that_serves_reads_no_more_either() -> None:
    with subscribed() as (a, b, receiver):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))

        asking = Task(lambda: [a.request("echo", number) for number in range(1000)])
        publishing = Task(lambda: publish(a))
        until_held_or_lost(b, receiver)
        assert take(receiver) == list(range(_COPIES))
        assert asking.result() == list(range(1000))
        publishing.result()


def test_who_takes_nothing_stops_nobody() -> None:
    with subscribed() as (a, b, receiver):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        publish(a, 3 * _COPIES)
        assert a.request("echo", b"it") == b"it"
        until(lambda: receiver.dropped)


def test_links_are_read_in_time_whoever_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_pace, "_WINDOW_NS", _ENDLESS_NS)
    with subscribed() as (a, b, receiver):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        publish(a)
        assert a.request("echo", b"it") == b"it"
        until(lambda: receiver.dropped)


def test_a_closed_receiver_is_not_waited_for(patient: None) -> None:
    with subscribed() as (a, b, receiver):
        b.serve("echo", lambda request: request.payload)
        until(lambda: sees(a, "echo"))
        publishing = Task(lambda: publish(a))
        until_held_or_lost(b, receiver)
        receiver.close()
        assert b._host.paces._known == {}
        publishing.result()
        assert a.request("echo", b"it") == b"it"


# The rule


class Queue:
    """A receiver's queue, as the rule sees it."""

    def __init__(self) -> None:
        self.queue = range(0)
        self.queue_max = 4096
        self.size = 0
        self.size_max = 1 << 26
        self.taken = 0


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processor time of this program, which only the test lets pass."""
    passed = [0]
    monkeypatch.setattr(threads_pace, "process_time_ns", lambda: passed[0])
    return passed


def test_who_takes_too_little_is_not_waited_for_until_little_waits(ran: list[int]) -> None:
    queue = Queue()
    pace = Pace(cast(Any, queue))
    queue.queue = range(1023)
    assert not pace.is_behind(10**9)
    queue.queue = range(1024)
    assert pace.is_behind(now := 10**9 + 1)
    queue.taken += 256
    ran[0] += threads_pace._RUN_NS
    assert pace.is_behind(now := now + threads_pace._WINDOW_NS)  # enough
    queue.taken += 255
    ran[0] += threads_pace._RUN_NS
    assert pace.is_behind(now + threads_pace._WINDOW_NS - 1)
    assert not pace.is_behind(now := now + threads_pace._WINDOW_NS)
    queue.taken += 256
    ran[0] += threads_pace._RUN_NS
    assert pace.is_behind(now := now + threads_pace._WINDOW_NS)
    ran[0] += threads_pace._RUN_NS
    assert not pace.is_behind(now := now + threads_pace._WINDOW_NS)
    queue.queue = range(1023)
    assert not pace.is_behind(now)
    queue.queue = range(1024)
    assert pace.is_behind(now)


def test_large_ones_count_by_their_bytes(ran: list[int]) -> None:
    queue = Queue()
    pace = Pace(cast(Any, queue))
    queue.queue, queue.size = range(15), 15 << 20
    assert not pace.is_behind(10**9)
    queue.queue, queue.size = range(16), 16 << 20
    assert pace.is_behind(now := 10**9 + 1)
    queue.taken += 4  # of the 64 that it takes
    ran[0] += threads_pace._RUN_NS
    assert pace.is_behind(now := now + threads_pace._WINDOW_NS)
    queue.taken += 3
    ran[0] += threads_pace._RUN_NS
    assert not pace.is_behind(now + threads_pace._WINDOW_NS)


def test_who_does_not_run_has_more_time(ran: list[int]) -> None:
    queue = Queue()
    queue.queue = range(4096)
    pace = Pace(cast(Any, queue))
    now = 10**9
    assert pace.is_behind(now)
    ran[0] += threads_pace._RUN_NS - 1
    assert pace.is_behind(now + threads_pace._WINDOW_MAX_NS - 1)
    assert not pace.is_behind(now + threads_pace._WINDOW_MAX_NS)


def test_who_has_credit_wants_the_latest_or_has_a_short_queue_is_not_waited_for() -> None:
    with buses(1) as (bus,):
        assert pace_of(bus.register("it")._core) is None
        assert pace_of(bus.subscribe("it/latest", policy="latest")._core) is None
        assert pace_of(bus.subscribe("it/short", queue=1023)._core) is None
        assert pace_of(bus.subscribe("it/long", queue=1024)._core) is not None


def test_of_many_subscribers_the_last_are_known() -> None:
    paces = Paces()
    queues = [Queue() for _ in range(threads_pace._MOST + 1)]
    queues[0].queue = range(4096)
    each = [Pace(cast(Any, queue)) for queue in queues]
    for pace in each[:-1]:
        paces.add(pace)
    paces.add(each[0])
    assert paces.is_behind(10**9)
    paces.add(each[-1])
    assert not paces.is_behind(10**9)
    paces.add(each[0])
    assert paces.is_behind(10**9)
    paces.discard(each[0])
    assert not paces.is_behind(10**9)


def test_links_are_left_unread_for_25_ms_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**9]
    monkeypatch.setattr(threads_engine, "time", SimpleNamespace(monotonic_ns=lambda: now[0]))
    engine = threads_engine.Engine(lambda: None, lambda: None, lambda _: True)
    engine._lively = True  # nobody has to be woken
    assert engine._leaves_unread()
    now[0] += 24_999_999
    assert engine._leaves_unread()
    now[0] += 1
    assert not engine._leaves_unread()
