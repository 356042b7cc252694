"""Bus, for threads: many messages in one call, and what is sent only if it need not wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway import Bus
from busway.payloads import encode, encode_shared
from tests.adapters.threads_tools import Program, Task, buses, join, sees, until
from tests.rigs.effort import calls_of

pytestmark = pytest.mark.timeout(30)


@busway.message(name="bulk of threads/reading")
@dataclass
class Reading:
    number: int


@busway.message(name="bulk of threads/other")
@dataclass
class Other:
    number: int


@contextlib.contextmanager
def joined(**options: Any) -> Iterator[tuple[Bus, Bus, Any]]:
    with buses() as (a, b):
        receiver = b.register("it", **options)
        until(lambda: sees(a, "it"))
        yield a, b, receiver


def taken(receiver: Any, count: int) -> list[Any]:
    """The payloads of so many messages."""
    found: list[Any] = []
    while len(found) < count:
        found += [message.payload for message in receiver.receive_many(timeout=20)]
    return found


# send_many and receive_many


@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_all_arrive_in_order(count: int) -> None:
    payloads = [b"%d" % number for number in range(count)]
    with joined() as (a, _, receiver):
        sending = Task(lambda: a.send_many("it", iter(payloads)))
        assert taken(receiver, count) == payloads
        assert sending.result() == count


def test_values_of_all_sorts_arrive_in_order() -> None:
    payloads: list[Any] = [b"raw", 1, "text", {"a": [1, 2]}, Reading(3), Reading(4), None, b"raw again", 2.5]
    with joined() as (a, _, receiver):
        a.send("it", 0)
        assert a.send_many("it", payloads) == len(payloads)
        a.send("it", 1)
        assert taken(receiver, len(payloads) + 2) == [0, *payloads, 1]


def test_a_message_class_takes_its_own() -> None:
    with buses() as (a, b):
        inbox = b.register(Reading)
        until(lambda: any(found.node == b.id for found in a.endpoints()))
        a.send_many(Reading, [Reading(number) for number in range(300)])
        assert taken(inbox, 300) == [Reading(number) for number in range(300)]
        with pytest.raises(TypeError, match="endpoint Reading takes Reading, not int") as caught:
            a.send_many(Reading, [Reading(1), Reading(2), 3, Reading(4)])
        assert vars(caught.value)["accepted"] == 2
        assert taken(inbox, 2) == [Reading(1), Reading(2)]


@pytest.mark.parametrize("wrong", [b"bytes", "text", {"a": 1}, 7, None])
def test_what_is_not_several_is_refused_with_how_to_write_it(wrong: Any) -> None:
    with buses(1) as (a,), pytest.raises(TypeError, match=r"write \[payload\]"):
        a.send_many("it", wrong)


def test_an_error_in_the_midst_tells_how_many_were_accepted() -> None:
    with joined() as (a, _, receiver):
        payloads: list[Any] = [b"x", *range(70), b"y", b"z", object(), 1]
        with pytest.raises(TypeError) as caught:
            a.send_many("it", payloads)
        assert vars(caught.value)["accepted"] == 73
        assert taken(receiver, 73) == payloads[:73]
        with pytest.raises(busway.Undeliverable) as lost:
            a.send_many("nobody", [b"x", b"y"])
        assert vars(lost.value)["accepted"] == 0


def test_what_its_iterator_raises_leaves_all_unsent() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    with buses(1) as (a,):
        receiver = a.register("here")
        with pytest.raises(OSError, match="file is gone") as caught:
            a.send_many("here", broken())
        assert vars(caught.value)["accepted"] == 0
        with pytest.raises(TimeoutError):
            receiver.receive(timeout=0)


def test_each_is_encoded_once_where_one_at_a_time_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with buses(1) as (a,):
        receiver = a.register("here", queue=1000)  # of the same program: each by itself
        encoded: list[Any] = []

        def counting(payload: Any, endpoint: bytes, joiner: Any) -> Any:
            encoded.append(payload)
            return encode_shared(payload, endpoint, joiner)

        monkeypatch.setattr("busway.adapters.bus.encode_shared", counting)
        assert a.send_many("here", range(300)) == 300
        assert taken(receiver, 300) == list(range(300))
        assert encoded == list(range(300))


def test_closed_in_the_midst_it_ends() -> None:
    with joined(queue=16) as (a, _, __):
        sending = Task(lambda: a.send_many("it", [b"x"] * 5000))
        until(lambda: a.node.origin.pending)
        a.close()
        with pytest.raises(busway.BusClosed) as caught:
            sending.result()
        assert 0 < vars(caught.value)["accepted"] < 5000
        with pytest.raises(busway.BusClosed) as late:
            a.send_many("it", [b"x"])
        assert vars(late.value)["accepted"] == 0
        with pytest.raises(busway.BusClosed):
            a.try_send("it", b"x")


def test_several_threads_are_each_in_order_and_all_counted() -> None:
    with joined(queue=64) as (a, _, receiver):
        sending = [
            Task(lambda name=name: a.send_many("it", [(name, number) for number in range(700)]))  # type: ignore[misc]
            for name in "abc"
        ]
        got: list[list[Any]] = []
        lock = threading.Lock()

        def read() -> None:
            while sum(map(len, got)) < 2100:
                with contextlib.suppress(TimeoutError):
                    batch = receiver.receive_many(50, timeout=0.05)
                    with lock:
                        got.append([message.payload for message in batch])

        reading = [Task(read) for _ in range(2)]
        assert [task.result() for task in sending] == [700] * 3
        for task in reading:
            task.result()
        assert all(len(batch) <= 50 for batch in got)
        found = [tuple(each) for batch in got for each in batch]
        assert sorted(found) == [(name, number) for name in "abc" for number in range(700)]


def test_within_one_program_objects_stay_objects() -> None:
    with Bus(ipc=False) as bus:
        receiver = bus.register("here", realm="process")
        objects = [object(), b"bytes", object()]
        bus.send_many("here", objects)
        found = [message.payload for message in receiver.receive_many()]
        assert [id(each) for each in found] == [id(each) for each in objects]
        assert bus.try_send("here", objects)
        assert receiver.receive().payload is objects


def test_at_most_so_many_are_taken() -> None:
    with joined() as (a, _, receiver):
        a.send_many("it", list(range(10)))
        until(lambda: len(receiver._core.queue) == 10)
        assert [len(receiver.receive_many(most)) for most in (1, 4, 100)] == [1, 4, 5]
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="most must be at least 1 message"):
                receiver.receive_many(wrong)
            with pytest.raises(ValueError, match="most must be at least 1 message"):
                receiver.batches(wrong)
        with pytest.raises(TypeError, match="most must be the messages to take at once"):
            receiver.receive_many("3")
        a.send("it", b"kept")
        until(lambda: len(receiver._core.queue))
        with pytest.raises(ValueError, match="timeout must be"):
            receiver.receive_many(timeout=-1)
        assert receiver.receive_many()[0].payload == b"kept"


def test_unknown_types_are_skipped_and_counted_and_what_does_not_fit_is_marked() -> None:
    with joined(types=(Reading,)) as (a, _, receiver):
        a.send_many("it", [Reading(1), Other(2), 3, Reading(4)])
        until(lambda: len(receiver._core.queue) == 4)
        first, odd, last = [receiver.receive_many(1) for _ in range(3)]
        assert [first[0].payload, last[0].payload] == [Reading(1), Reading(4)]
        assert isinstance(odd[0].error, busway.PayloadError)
        a.send_many("it", [Other(5), Other(6)])
        with pytest.raises(TimeoutError, match="nothing came to 'it'"):
            receiver.receive_many(timeout=0.2)
        assert receiver.unknown == 3


def test_a_receiver_that_waits_is_given_what_comes_and_batches_end_with_it() -> None:
    with joined() as (a, b, receiver):
        waiting = Task(receiver.receive_many)
        until(lambda: receiver._arrivals.waiting)
        a.send("it", 1)
        assert [message.payload for message in waiting.result()] == [1]
        sending = Task(lambda: a.send_many("it", list(range(2000))))
        found: list[Any] = []
        for batch in receiver.batches(most=600):
            assert 1 <= len(batch) <= 600
            found += [message.payload for message in batch]
            if len(found) == 2000:
                receiver.close()
        assert found == list(range(sending.result()))
        with pytest.raises(busway.BusClosed):
            receiver.receive_many()
        called = b.register("called").deliver(print)
        with pytest.raises(busway.BusError, match="callback"):
            called.receive_many()


def test_sealed_messages_are_received_many_at_once() -> None:
    keys = [busway.Key.new(), busway.Key.new()]
    seal = [key.text for key in keys]
    with Bus(ipc=False, key=keys[0], seal=seal) as a, Bus(ipc=False, key=keys[1], seal=seal) as b:
        join(a, b)
        receiver = b.register("it", sealed=True)
        for payload in (0, 1, "plain", 2):
            a.send("it", payload, ttl=20, sealed=payload != "plain")
        assert taken(receiver, 3) == [0, 1, 2]
        assert receiver.refused == 1


def test_who_watches_is_told_of_each() -> None:
    with joined() as (a, b, receiver):
        watch = b.register("busway/tap", "anycast", "userspace")
        until(lambda: type(a._host.node).__name__ == "Tapped")
        a.send_many("it", [b"%d" % number for number in range(3)])
        told = [watch.receive(20).payload for _ in range(3)]
        assert [record["payload"] for record in told] == [b"%d" % number for number in range(3)]
        assert taken(receiver, 3) == [b"%d" % number for number in range(3)]


def test_ctrl_c_in_the_midst_tells_how_many_were_accepted() -> None:
    program = """
    with busway.Bus() as bus, busway.Bus() as other:
        receiver = other.register("it", queue=16)
        bus.send("it", 0, ttl=30)
        say("ready")
        threading.Timer(0.1, say, ["waiting"]).start()
        try:
            bus.send_many("it", range(1, 5000))
        except KeyboardInterrupt as error:
            accepted = error.accepted
        found = [receiver.receive(20).payload for _ in range(accepted + 1)]
        say(0 < accepted < 4999, found == list(range(accepted + 1)))
        bus.send("it", "after")
        say(receiver.receive(20).payload)
    """
    with Program(program) as program_:
        program_.expect("ready")
        program_.expect("waiting")
        program_.process.send_signal(signal.SIGINT)
        program_.expect("True True")
        program_.expect("after")
        assert program_.ended() == ""


# try_send


def test_ctrl_c_just_after_one_that_waited_was_accepted_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with joined(queue=4) as (a, _, receiver):
        engine = a._host.engine
        wait = engine.wait

        def interrupted(*arguments: Any) -> bool:
            wait(*arguments)
            raise KeyboardInterrupt

        def send() -> int:
            try:
                a.send_many("it", range(60))
            except KeyboardInterrupt as error:
                return int(vars(error)["accepted"])
            return -1

        with monkeypatch.context() as patched:
            patched.setattr(engine, "wait", interrupted)
            sending = Task(send)
            found = taken(receiver, 1)
            while sending.is_alive():  # one that was taken alone gives no credit back yet
                with contextlib.suppress(TimeoutError):
                    found += [message.payload for message in receiver.receive_many(timeout=0.01)]
            accepted = sending.result()
        last = Task(lambda: a.send("it", None))
        while None not in found:
            found += taken(receiver, 1)
        last.result()
        assert found == [*range(accepted), None]


def test_it_is_sent_if_it_need_not_wait() -> None:
    with joined(queue=16) as (a, _, receiver):
        sent = 0
        while a.try_send("it", sent):
            sent += 1
            assert sent < 5000
        assert sent > 0
        assert not a.try_send("it", b"x")
        assert taken(receiver, sent) == list(range(sent))
        until(lambda: a.try_send("it", "again"))
        assert taken(receiver, 1) == ["again"]


def test_what_would_fail_at_once_raises() -> None:
    with joined() as (a, b, _):
        news = b.subscribe("news")
        until(lambda: sees(a, "news"))
        with pytest.raises(busway.Undeliverable, match="nobody"):
            a.try_send("nobody", b"x")
        with pytest.raises(ValueError, match="publish"):
            a.try_send("news", b"x")
        with pytest.raises(TypeError):
            a.try_send("it", object())
        news.close()
        assert not a._host.waiters


def test_what_is_accepted_leaves_with_what_follows_and_values_as_bytes_do() -> None:
    """A write for each, or a way of its own for values, would take several times the calls."""
    with joined() as (a, _, receiver):
        sending = Task(lambda: a.send_many("it", [b"x"] * 6000))  # gives credit for a thousand and more
        taken(receiver, 6000)
        sending.result()
        one = calls_of(lambda: a.send("it", b"x"))
        encoded = calls_of(lambda: encode(1.5, bytes(16)))
        assert calls_of(lambda: a.send("it", 1.5)) < one + encoded + 5
        assert calls_of(lambda: a.try_send("it", b"x")) < 3 * one
        assert calls_of(lambda: a.send_many("it", [1.5] * 50)) < 50 * (encoded + 5)
        taken(receiver, 1)


def test_where_it_has_to_be_asked_for_first_nothing_is_sent() -> None:
    with joined() as (_, b, receiver), Bus(ipc=False, leaf=True) as leaf:
        join(leaf, b)
        until(lambda: leaf.try_send("it", b"x"))
        assert taken(receiver, 1) == [b"x"]
        assert not leaf._host.waiters
        assert len(receiver._core.queue) == 0
