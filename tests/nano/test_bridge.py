"""Endpoints of the bus at the ends of routes: a nano application is a citizen of the bus."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import busway
from busway import nano
from tests.nano.lab import FRAME, Celsius, Count, Frame, Point, Reading, Switched

# From Python 3.12 on it warns of each fork of a program that has threads, as pytest has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

WAIT_S = 60.0
INBOX = nano.Endpoint("lab/in")


@pytest.fixture(autouse=True)
def _own_bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        monkeypatch.setenv("BUSWAY_DIR", directory)
        yield


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Doubler(nano.Handler):
    def handle(self, message: Count, out: nano.Emit[Count]) -> None:
        out(Count(2 * message.value))


@pytest.mark.parametrize("processes", [False, "fork"])
def test_what_comes_from_the_bus_is_handled_and_what_is_emitted_goes_there(processes: Any) -> None:
    """The application opens a bus of its own; the other side is any program."""
    app = nano.App(
        bus=nano.BlockingBus(),
        workers={"a": [Doubler()]},
        routes=[INBOX >> Count >> Doubler, Doubler >> Count >> nano.Endpoint("lab/out", ttl=10.0)],
        processes=processes,
    )
    with app as running, busway.Bus() as bus, bus.register("lab/out") as answers:
        for value in range(20):
            bus.send("lab/in", {"value": value}, ttl=10.0)
        got = [answers.receive(WAIT_S).payload for _ in range(20)]
    assert got == [{"value": 2 * value} for value in range(20)]
    counters = running.counters()
    assert counters["from lab/in"].emitted == 20
    assert counters["to lab/out"].handled == 20
    assert {info.state for info in running.workers().values()} == {"ended"}


class Echo(nano.Handler):
    def handle(
        self,
        message: Reading | bytes | Celsius | Point | Frame,
        out: nano.Emit[Reading | bytes | Celsius | Point | Frame],
    ) -> None:
        out(message)


@pytest.mark.parametrize(
    ("kind", "message", "payload"),
    [
        (Reading, Reading(21.5), Reading(21.5)),
        (bytes, b"raw", b"raw"),
        (Celsius, Celsius(7, 21.5), bytes(Celsius(7, 21.5).data)),
        (Point, Point(3, -4), bytes(Point(3, -4))),
        (Frame, Frame(FRAME), FRAME.tobytes()),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_sort_of_message_crosses(kind: Any, message: Any, payload: Any) -> None:
    with busway.Bus() as bus, bus.register("lab/out", types=(Reading, bytes)) as answers:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Echo()]},
            routes=[INBOX >> kind >> Echo, Echo >> kind >> nano.Endpoint("lab/out")],
            joined=bus,
        )
        with app:
            bus.send("lab/in", payload, ttl=10.0)
            assert answers.receive(WAIT_S).payload == payload
    assert message is not None


def test_declared_types_share_an_endpoint() -> None:
    got: list[object] = []

    class Take(nano.Handler):
        def handle_reading(self, message: Reading) -> None:
            got.append(message)

        def handle_bytes(self, message: bytes) -> None:
            got.append(message)

    with busway.Bus() as bus:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Take()]},
            routes=[INBOX >> Reading >> Take, INBOX >> bytes >> Take],
            joined=bus,
        )
        with app:
            bus.send("lab/in", Reading(1.0), ttl=10.0)
            bus.send("lab/in", b"raw")
            bus.send("lab/in", Reading(2.0))
            assert wait_for(lambda: len(got) == 3)
    assert got == [Reading(1.0), b"raw", Reading(2.0)]


def test_broadcast_endpoints_are_published_to_and_subscribed() -> None:
    with busway.Bus() as bus, bus.subscribe("lab/news") as news:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Doubler()]},
            routes=[
                nano.Endpoint("lab/numbers", "broadcast") >> Count >> Doubler,
                Doubler >> Count >> nano.Endpoint("lab/news", "broadcast"),
            ],
            joined=bus,
        )
        with app:
            bus.publish("lab/numbers", {"value": 4})
            assert news.receive(WAIT_S).payload == {"value": 8}


def test_what_does_not_fit_is_counted_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with busway.Bus() as bus, bus.register("lab/out") as answers:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Doubler()]},
            routes=[INBOX >> Count >> Doubler, Doubler >> Count >> nano.Endpoint("lab/out")],
            joined=bus,
        )
        with caplog.at_level(logging.CRITICAL, "busway.nano"), app as running:
            bus.send("lab/in", {"value": 1}, ttl=10.0)
            for wrong in ({"value": "many"}, b"\0", None):
                bus.send("lab/in", wrong)
            bus.send("lab/in", {"value": 2})
            assert [answers.receive(WAIT_S).payload["value"] for _ in range(2)] == [2, 4]
            assert wait_for(lambda: running.counters()["from lab/in"].errors > 0)
        assert running.counters()["from lab/in"][1:3] == (3, 2)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Reading, {"celsius": 1.0}), (Celsius, b"short"), (Point, "text")]
)
def test_payloads_of_another_sort_are_counted(
    kind: Any, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with busway.Bus() as bus:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Echo()]},
            routes=[INBOX >> kind >> Echo, Echo >> kind >> nano.Endpoint("lab/out")],
            joined=bus,
        )
        with caplog.at_level(logging.CRITICAL, "busway.nano"), app as running:
            bus.send("lab/in", wrong, ttl=10.0)
            assert wait_for(lambda: running.counters()["from lab/in"].errors == 1)
        assert running.counters()["from lab/in"].emitted == 0


def test_nobody_to_send_to_is_an_error_of_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    class Once(nano.Handler):
        def on_start(self, out: nano.Emit[Switched]) -> None:
            out(Switched(True))

    with busway.Bus() as bus:
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Once()]},
            routes=[Once >> Switched >> nano.Endpoint("lab/nobody")],
            joined=bus,
        )
        with caplog.at_level(logging.CRITICAL, "busway.nano"), app as running:
            assert wait_for(lambda: running.counters()["to lab/nobody"].errors == 1)
            assert running.workers()["to lab/nobody"].state == "running"
    assert running.ended


def test_a_program_that_has_the_name_already_keeps_it() -> None:
    with busway.Bus() as bus, bus.register("lab/in", "unicast"):
        app = nano.App(
            bus=nano.RingBus(),
            workers={"a": [Doubler()]},
            routes=[
                nano.Endpoint("lab/in", "unicast") >> Count >> Doubler,
                Doubler >> Count >> nano.Endpoint("x"),
            ],
            joined=bus,
        )
        with pytest.raises(nano.WorkerFailed, match="from lab/in could not start"):
            app.run()
