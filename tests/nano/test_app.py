"""Whole applications: in threads and processes, over every bus."""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

from busway import nano
from busway.nano import blocks
from busway.nano.log import Log
from tests.nano import lab
from tests.nano.lab import Celsius, Count, Counter, Failed, Frame, Keeper, Last, Point, Switched, Table
from tests.rigs.tree import ROOT

# From Python 3.12 on it warns of each fork of a program that has threads, as pytest has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

WAIT_S = 60.0


@pytest.fixture(params=["ring", "blocking", "file"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made: dict[str, Callable[[], Log]] = {
        "ring": lambda: nano.RingBus("1 MiB"),
        "blocking": lambda: nano.BlockingBus("64 KiB", patience=WAIT_S),
        "file": lambda: nano.FileBus(tmp_path / "run.log", "256 KiB", growable=True),
    }
    with made[request.param]() as bus:
        yield bus


@pytest.fixture(params=[False, "fork", "spawn"], ids=["threads", "fork", "spawn"])
def processes(request: pytest.FixtureRequest) -> Any:
    return request.param


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_messages_go_where_the_routes_say(bus: Log, processes: Any, tmp_path: Path) -> None:
    kept, added = tmp_path / "kept", tmp_path / "added"
    plain, plus = Keeper(str(kept)), Keeper(str(added))
    adder = lab.Adder()
    app = nano.App(
        bus=bus,
        workers={"a": [Counter(100), plain], "b": [adder], "c": [plus]},
        routes=[Counter >> Count >> (plain, adder), adder >> Count >> plus],
        processes=processes,
    )
    with app as running:
        with pytest.raises(ValueError, match="runs already"):
            app.run()
        assert wait_for(lambda: len(numbers(added)) >= 100), running.workers()
        assert running.settle(WAIT_S)
        counters = running.counters()
        assert all(info.state == "running" for info in running.workers().values())
        pids = {info.pid for info in running.workers().values()}
    assert len(pids) == (3 if processes else 1)
    assert numbers(kept) == list(range(100))
    assert numbers(added) == list(range(1, 101))
    assert counters["Counter"] == nano.Counters(0, 0, 100, 0)
    assert counters["Keeper"] == counters["Keeper#2"] == nano.Counters(100, 0, 0, 0)
    assert counters["Adder"] == nano.Counters(100, 0, 100, 0)
    assert {info.state for info in running.workers().values()} == {"ended"}
    assert running.ended


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_handler_ends_the_application(bus: Log, processes: Any) -> None:
    app = nano.App(
        bus=bus,
        workers={"a": [Counter(50)], "b": [Last(49)]},
        routes=[Counter >> Count >> Last],
        processes=processes,
    )
    running = app.run()
    assert running.join(WAIT_S)
    assert running.counters()["Last"].handled == 50
    assert app.run().stop(WAIT_S)


# ---- every sort of message, every codec


class Everything(nano.Handler):
    """Emits one of each sort."""

    def on_start(self, out: nano.Emit[Any]) -> None:
        for message in (
            *(b"raw", Switched(True), Celsius(7, 21.5), Point(3, -4), Frame(lab.FRAME)),
            *(Table([(0.5, 1), (1.5, 2), (2.5, 3)]), 17, "text"),
        ):
            out(message)


Any_ = bytes | Switched | Celsius | Point | Frame | Table | int | str


class Taking(nano.Handler):
    """Notes what it takes, as text."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.got: list[str] = []

    def handle(self, message: Any_) -> None:
        if isinstance(message, Point):
            text = f"Point({message.x}, {message.y})"
        elif isinstance(message, (Frame, Table)):
            assert not message.array.flags.writeable
            assert not message.array.flags.owndata
            text = f"{type(message).__name__}({message.array.tolist()})"
        else:
            text = repr(message)
        self.got.append(text)
        if len(self.got) == 8:
            Path(self.path).write_text("\n".join(self.got))
            raise nano.Finished


SORTS = (bytes, Switched, Celsius, Point, Frame, Table, int, str)
SHOWN = [
    *("b'raw'", "Switched(on=True)", "Celsius(sensor=7, value=21.5)", "Point(3, -4)"),
    f"Frame({lab.FRAME.tolist()})",
    *("Table([(0.5, 1), (1.5, 2), (2.5, 3)])", "17", "'text'"),
]


@pytest.mark.parametrize("codec", ["msgspec", "cbor", "pickle"])
def test_every_sort_of_message_arrives_as_it_was(
    bus: Log, processes: Any, codec: str, tmp_path: Path
) -> None:
    path = tmp_path / "got"
    app = nano.App(
        bus=bus,
        workers={"b": [Taking(str(path))], "a": [Everything()]},
        routes=[nano.Route(Everything, kind, (Taking,)) for kind in SORTS],
        processes=processes,
        codec=codec,
    )
    assert app.run().join(WAIT_S)
    assert path.read_text().split("\n") == SHOWN


def test_own_functions_carry_a_type() -> None:
    got: list[Switched] = []

    class Take(nano.Handler):
        def handle(self, message: Switched) -> None:
            got.append(message)
            raise nano.Finished

    class Give(nano.Handler):
        def on_start(self, out: nano.Emit[Switched]) -> None:
            out(Switched(True))

    codec = nano.Codec(
        lambda one: b"yes" if one.on else b"no", lambda data: Switched(data == b"yes"), "words"
    )
    with nano.RingBus() as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Give()], "b": [Take()]},
            routes=[Give >> Switched >> Take],
            codecs={Switched: codec},
        )
        assert app.run().join(WAIT_S)
        assert [(entry.kind, entry.source, entry.data) for entry in bus.entries()] == [
            ("Switched", "Give", b"yes")
        ]
        assert dict(bus.kinds) == {"Switched": "codec words"}
    assert got == [Switched(True)]


def test_a_file_with_another_layout_is_refused(tmp_path: Path) -> None:
    def app(kind: Any, bus: Log) -> nano.App:
        class Take(nano.Handler):
            def handle(self, message: Any) -> None:
                pass

            handle.__annotations__["message"] = kind

        class Give(nano.Handler):
            def on_loop(self, out: nano.Emit) -> float:
                return math.inf

        give, take = Give(), Take()
        return nano.App(bus=bus, workers={"a": [give, take]}, routes=[give >> kind >> take])

    other = type("Celsius", (nano.Layout,), {"__annotations__": {"value": nano.f64, "sensor": nano.u16}})
    other.__qualname__ = "Celsius"
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
        app(Celsius, bus)
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
        app(Celsius, bus)
        with pytest.raises(nano.SchemaMismatch, match=r"layout <Hd sensor,value'; here they are 'layout <dH"):
            app(other, bus)


# ---- errors


class Clumsy(nano.Handler):
    """Fails with odd numbers, after it has emitted something."""

    def handle(self, message: Count, out: nano.Emit[Count]) -> None:
        out(message)
        if message.value % 2:
            raise ValueError("odd")


class Beside(nano.Handler):
    def __init__(self) -> None:
        self.got: list[int] = []

    def handle(self, message: Count) -> None:
        self.got.append(message.value)


def test_what_a_handler_raises_touches_nobody_else(bus: Log, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged, and what it emitted in that call is dropped."""
    clumsy, beside, behind = Clumsy(), Beside(), Beside()
    app = nano.App(
        bus=bus,
        workers={"a": [Counter(10)], "b": [clumsy, beside], "c": [behind]},
        routes=[Counter >> Count >> (Clumsy, beside), Clumsy >> Count >> behind],
    )
    with caplog.at_level(logging.CRITICAL, "busway.nano"), app as running:
        assert wait_for(lambda: len(behind.got) == 5)
        assert running.settle(WAIT_S)
        found = running.counters()
    assert found["Clumsy"] == nano.Counters(10, 5, 5, 0)
    assert found["Beside"] == nano.Counters(10, 0, 0, 0)
    assert beside.got == list(range(10))
    assert behind.got == [0, 2, 4, 6, 8]


def test_a_handler_that_always_fails_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(nano.Handler):
        def handle(self, message: Count) -> None:
            raise ValueError("again")

    with nano.BlockingBus() as bus:
        app = nano.App(
            bus=bus, workers={"a": [Counter(2000)], "b": [Fails()]}, routes=[Counter >> Count >> Fails]
        )
        with app as running:
            assert wait_for(lambda: running.counters()["Fails"].errors == 2000)
    assert 1 <= len(caplog.records) < 100
    assert "Fails in worker b failed in handling" in caplog.text


def test_what_cannot_be_decoded_is_an_error_of_who_wanted_it(caplog: pytest.LogCaptureFixture) -> None:
    beside, behind = Beside(), Beside()

    def decode(data: bytes) -> Count:
        if data == b"3":
            raise ValueError("three")
        return Count(int(data))

    codec = nano.Codec(lambda one: str(one.value).encode(), decode)
    with nano.RingBus() as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Counter(5)], "b": [beside, behind]},
            routes=[Counter >> Count >> Beside],
            codecs={Count: codec},
        )
        with caplog.at_level(logging.CRITICAL, "busway.nano"), app as running:
            assert wait_for(lambda: beside.got == behind.got == [0, 1, 2, 4])
            assert running.settle(WAIT_S)
        assert running.counters()["Beside"] == running.counters()["Beside#2"] == nano.Counters(4, 1, 0, 0)


def test_what_on_stop_raises_touches_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    class Stops(nano.Handler):
        def on_start(self) -> None:
            raise nano.Finished

        def on_loop(self) -> float:
            return math.inf

        def on_stop(self, out: nano.Emit) -> None:
            said.append("stopped")
            raise OSError("not quite")

    with caplog.at_level(logging.CRITICAL, "busway.nano"), nano.RingBus() as bus:
        app = nano.App(bus=bus, workers={"a": [Stops(), Stops()], "b": [Stops()]}, routes=[])
        running = app.run()
        assert running.join(WAIT_S)
        assert running.counters()["Stops#2"].errors == 1
    assert said == ["stopped"] * 3


def test_what_is_not_routed_is_counted() -> None:
    class Talks(nano.Handler):
        def on_start(self, out: nano.Emit) -> None:
            out(Count(1))
            out(Switched(True))

    beside = Beside()
    with nano.RingBus() as bus:
        app = nano.App(bus=bus, workers={"a": [Talks(), beside]}, routes=[Talks >> Count >> Beside])
        with app as running:
            assert wait_for(lambda: beside.got == [1])
            assert running.settle(WAIT_S)
        assert running.counters()["Talks"] == nano.Counters(0, 0, 1, 1)


def test_a_message_that_is_too_large_is_an_error_of_its_handler() -> None:
    class Large(nano.Handler):
        def on_loop(self, out: nano.Emit[bytes]) -> float:
            out(b"x" * 2000)
            return math.inf

    class Take(nano.Handler):
        def handle(self, message: bytes) -> None:
            pass

    with nano.RingBus(4096) as bus:
        app = nano.App(bus=bus, workers={"a": [Large(), Take()]}, routes=[Large >> bytes >> Take])
        with app as running:
            assert wait_for(lambda: running.counters()["Large"].errors > 0)
            assert running.workers()["a"].state == "running"
        assert running.counters()["Large"].emitted == 0


def test_what_one_call_emits_may_be_more_than_a_block_has() -> None:
    counter, beside = Counter(500, at_once=500), Beside()
    with nano.BlockingBus(4096, patience=WAIT_S) as bus:
        app = nano.App(bus=bus, workers={"a": [counter], "b": [beside]}, routes=[Counter >> Count >> Beside])
        with app as running:
            assert wait_for(lambda: len(beside.got) == 500)
            assert running.settle(WAIT_S)
    assert beside.got == list(range(500))


@pytest.mark.parametrize("said", [None, True, -1.0, math.nan, "soon"])
def test_on_loop_says_when_it_is_to_be_called_again(said: object) -> None:
    class Vague(nano.Handler):
        def on_loop(self) -> Any:
            return said

    with nano.RingBus() as bus:
        app = nano.App(bus=bus, workers={"a": [Vague()]}, routes=[])
        with app as running:
            assert wait_for(lambda: running.counters()["Vague"].errors > 1)


class Unstartable(nano.Handler):
    def on_loop(self) -> float:
        return math.inf

    def on_start(self) -> None:
        raise OSError("no such lamp")


def test_a_handler_that_cannot_start_ends_the_start(processes: Any, bus: Log) -> None:
    app = nano.App(
        bus=bus,
        workers={"bad": [Unstartable()], "good": [Counter(5), Beside()]},
        routes=[Counter >> Count >> Beside],
        processes=processes,
    )
    with pytest.raises(nano.WorkerFailed, match="bad could not start: OSError: no such lamp"):
        app.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("busway.nano")]
    with pytest.raises(nano.WorkerFailed):
        app.run()


def test_a_worker_that_is_killed_is_seen_and_the_others_go_on(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with nano.BlockingBus("64 KiB", patience=1e9) as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Counter(5000)], "b": [lab.Deadly(3)], "c": [Keeper(str(kept))]},
            routes=[Counter >> Count >> (lab.Deadly, Keeper)],
            processes="fork",
        )
        with app as running:
            assert wait_for(lambda: running.workers()["b"].state == "died")
            assert wait_for(lambda: len(numbers(kept)) == 5000), (
                len(numbers(kept)),
                running.workers(),
                running.counters(),
                bus.state(),
                list(bus.rows()),
            )
        assert running.workers()["b"].reason == "its process was killed, or ended itself"
        assert running.workers()["a"].state == "ended"
    assert numbers(kept) == list(range(5000))


def test_a_handler_that_cannot_be_pickled_is_named() -> None:
    handler = Keeper("nowhere")
    handler.odd = lambda: None  # type: ignore[attr-defined]
    with nano.BlockingBus("64 KiB") as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Counter(10)], "b": [handler]},
            routes=[Counter >> Count >> Keeper],
            processes="spawn",
        )
        with pytest.raises(
            nano.WorkerFailed, match=r"^the worker b cannot be handed to a process.*pickl.*lambda"
        ):
            app.run()
        assert all(pid == 0 for _, _, pid in bus.rows())


def test_stop_is_bounded(processes: Any, bus: Log, tmp_path: Path) -> None:
    app = nano.App(
        bus=bus,
        workers={"a": [Counter(1)], "b": [lab.Sleeper(str(tmp_path / "asleep"))]},
        routes=[Counter >> Count >> lab.Sleeper],
        processes=processes,
    )
    running = app.run()
    assert wait_for((tmp_path / "asleep").exists)
    if processes:
        assert not running.stop(0.3)
        assert running.workers()["b"].state == "died"
        assert running.ended
    else:  # a thread cannot be ended from outside; in a process of its own, so that it does not stay here
        assert not running.join(0.1)
        return_late(running)


def return_late(running: nano.Running) -> None:
    """Lets the thread that sleeps for an hour be."""
    assert not running.stop(0.3)
    assert running.workers()["a"].state == "ended"


def test_hooks_are_called_in_their_order() -> None:
    said: list[str] = []

    class Hooked(nano.Handler):
        def on_start(self) -> None:
            said.append("start")

        def on_loop(self, out: nano.Emit[Count]) -> float:
            said.append("loop")
            out(Count(1))
            return math.inf

        def handle_count(self, message: Count) -> None:
            said.append("handle")
            raise nano.Finished

        def on_stop(self, out: nano.Emit[Count]) -> None:
            said.append("stop")
            out(Count(2))

    with nano.RingBus() as bus:
        app = nano.App(bus=bus, workers={"a": [Hooked()]}, routes=[Hooked >> Count >> Hooked])
        assert app.run().join(WAIT_S)
        assert [entry.number for entry in bus.entries()] == [0, 1]
    assert said == ["start", "loop", "handle", "stop"]


# ---- too slow


def test_a_worker_that_is_lapped_is_told_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    class Slow(nano.Handler):
        def __init__(self) -> None:
            self.got: list[int] = []
            self.missed = 0

        def handle(self, message: Count) -> None:
            gate.wait(WAIT_S)
            self.got.append(message.value)

        def on_missed(self, count: int) -> None:
            self.missed += count
            raise ValueError("counted as an error, nothing else")

    slow = Slow()
    with nano.RingBus(4096) as bus:
        app = nano.App(
            bus=bus, workers={"a": [Counter(3000)], "b": [slow]}, routes=[Counter >> Count >> Slow]
        )
        with app as running:
            assert wait_for(lambda: running.counters()["Counter"].emitted == 3000)
            gate.set()
            assert running.settle(WAIT_S)
        assert running.workers()["b"].missed == slow.missed > 0
        assert running.counters()["Slow"].errors > 0
    assert re.search(r"worker b missed \d+ messages: the writers came round", caplog.text)
    assert slow.missed + len(slow.got) == 3000
    assert slow.got == sorted(set(slow.got))


def test_a_view_that_was_overwritten_counts_as_missed() -> None:
    """The handler has seen who knows what: what it emitted is dropped."""
    gate = threading.Event()

    class Numbers(nano.Handler):
        def __init__(self) -> None:
            self.next = 0

        def on_loop(self, out: nano.Emit[Celsius]) -> float:
            out(Celsius(self.next, 0.5))
            self.next += 1
            return 0.0 if self.next < 3000 else math.inf

    class Slow(nano.Handler):
        def __init__(self) -> None:
            self.missed = 0

        def handle(self, message: Celsius, out: nano.Emit[Count]) -> None:
            gate.wait(WAIT_S)
            out(Count(message.sensor))

        def on_missed(self, count: int) -> None:
            self.missed += count

    slow, beside = Slow(), Beside()
    with nano.RingBus(4096) as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Numbers()], "b": [slow], "c": [beside]},
            routes=[Numbers >> Celsius >> Slow, Slow >> Count >> Beside],
        )
        with app as running:
            assert wait_for(lambda: running.counters()["Numbers"].emitted == 3000)
            gate.set()
            assert running.settle(WAIT_S)
            missed = sum(info.missed for info in running.workers().values())
    assert slow.missed > 0
    assert beside.got == sorted(set(beside.got))
    assert all(0 <= value < 3000 for value in beside.got)
    assert missed + len(beside.got) >= 3000


# ---- files


def test_workers_go_on_where_they_were(processes: Any, tmp_path: Path) -> None:
    """What came while one was not there is handled when it is."""
    kept = tmp_path / "kept"

    def application(bus: Log, counter: Counter) -> nano.App:
        return nano.App(
            bus=bus,
            workers={"a": [counter], "b": [Keeper(str(kept))]},
            routes=[Counter >> Count >> Keeper],
            processes=processes,
        )

    counter = Counter(20)
    for life in range(3):
        with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
            counter.next, counter.count = 20 * life, 20 * life + 20
            with application(bus, counter):
                assert wait_for(lambda: len(numbers(kept)) >= counter.count)
    assert numbers(kept) == list(range(60))


def test_two_programs_do_not_run_one_worker_of_a_file(tmp_path: Path) -> None:
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:

        def app() -> nano.App:
            return nano.App(
                bus=bus, workers={"a": [Counter(1), Beside()]}, routes=[Counter >> Count >> Beside]
            )

        with app(), pytest.raises(ValueError, match="reads as 'a' already"):
            app().run()


def test_what_ended_leaves_its_workers_to_the_program_that_has_them_now(
    processes: Any, tmp_path: Path
) -> None:
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:

        def app(handler: Any) -> nano.App:
            return nano.App(
                bus=bus,
                workers={"a": [Counter(1)], "b": [handler]},
                routes=[Counter >> Count >> type(handler)],
                processes=processes,
            )

        first = app(Last(0)).run()
        assert wait_for(lambda: first.ended)
        with app(Keeper(str(tmp_path / "kept"))):
            first.stop()
            with pytest.raises(ValueError, match="reads as 'b' already"):
                app(Last(1)).run()


def test_a_full_file_fails_the_worker_and_says_why(tmp_path: Path) -> None:
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
        app = nano.App(
            bus=bus,
            workers={"a": [Counter(100_000, 100)], "b": [Beside()]},
            routes=[Counter >> Count >> Beside],
        )
        with app as running:
            assert wait_for(lambda: running.workers()["a"].state == "failed")
            assert "is full" in running.workers()["a"].reason
            assert running.workers()["b"].state == "running"


# ---- from the outside

PROGRAM = """
import sys
from busway import nano
from tests.nano.lab import Count, Counter, Keeper

if __name__ == "__main__":
    app = nano.App(
        bus=nano.BlockingBus(),
        workers={"a": [Counter(10**9, 1)], "b": [Keeper(sys.argv[1])]},
        routes=[Counter >> Count >> Keeper],
        processes=sys.argv[2] or False,
    )
    with app as running:
        try:
            print(*(info.pid for info in running.workers().values()), flush=True)
            running.join()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(*sorted({info.state for info in running.workers().values()}), flush=True)
"""


@pytest.mark.parametrize("method", ["", "fork", "spawn"])
def test_ctrl_c_ends_it_cleanly(method: str, tmp_path: Path) -> None:
    """As a terminal does it: all processes of the group get the signal."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with started(program, tmp_path, method) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        assert len(pids) == 2
        assert wait_for(lambda: len(numbers(tmp_path / "kept")) > 3)
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=WAIT_S)
        assert printed == "interrupted\nended\n"
        assert process.returncode == 0


@contextmanager
def started(program: Path, folder: Path, method: str) -> Iterator[subprocess.Popen[str]]:
    """Runs it, as leader of a group. If what is done with it fails the group is killed: else its end would be
    waited for, and the failure not be told.
    """
    with subprocess.Popen(
        [sys.executable, str(program), str(folder / "kept"), method],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    ) as process:
        try:
            yield process
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


class Exiting(nano.Handler):
    def handle(self, message: Count) -> None:
        sys.exit("no more")


def test_a_handler_that_exits_fails_its_worker(processes: Any, bus: Log) -> None:
    app = nano.App(
        bus=bus,
        workers={"a": [Counter(1)], "b": [Exiting()]},
        routes=[Counter >> Count >> Exiting],
        processes=processes,
    )
    with app as running:
        assert wait_for(lambda: running.workers()["b"].state == "failed")
        assert running.workers()["b"].reason == "SystemExit: no more"
        assert running.workers()["a"].state == "running"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_end_when_their_parent_was_killed(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with started(program, tmp_path, method) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_nothing_of_it_stays_behind() -> None:
    """Descriptors, maps and threads: as many as before."""

    def once() -> None:
        with nano.BlockingBus() as bus:
            beside = Beside()
            app = nano.App(
                bus=bus,
                workers={"a": [Counter(5)], "b": [beside]},
                routes=[Counter >> Count >> Beside],
            )
            with app:
                assert wait_for(lambda: len(beside.got) == 5)

    def counted() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    once()
    before = counted()
    for _ in range(5):
        once()
    assert counted() == before


@dataclass
class Unpicklable:
    """A message that only its own worker could read."""

    thing: Any


def test_the_graph_is_drawn_twice(tmp_path: Path) -> None:
    with nano.RingBus() as bus:
        app = nano.App(
            bus=bus,
            workers={"fast": [Counter(1), lab.Adder()], "slow": [Keeper(str(tmp_path / "kept"))]},
            routes=[Counter >> Count >> lab.Adder, lab.Adder >> Count >> (Keeper, lab.Adder)],
        )
        assert app.graph() == (
            "flowchart LR\n"
            '  subgraph w0["fast"]\n    n0["Counter"]\n    n1["Adder"]\n  end\n'
            '  subgraph w1["slow"]\n    n2["Keeper"]\n  end\n'
            '  n0 -- "Count" --> n1\n  n1 -- "Count" --> n2\n  n1 -- "Count" --> n1\n'
        )
        drawn = app.graph("svg")
        assert re.findall(r'fill="#222">(\w+)</text>', drawn) == ["Counter", "Adder", "Keeper"]
        assert drawn.count("marker-end") == 3
        with pytest.raises(ValueError, match="'mermaid' or 'svg'"):
            app.graph("png")  # type: ignore[arg-type]
        assert app.run().stop()


def test_an_array_that_a_handler_keeps_of_a_file_stays(tmp_path: Path) -> None:
    kept: list[Any] = []

    class Give(nano.Handler):
        def on_start(self, out: nano.Emit[Frame]) -> None:
            out(Frame(lab.FRAME))

    class Keep(nano.Handler):
        def handle(self, message: Frame) -> None:
            kept.append(message.array)
            raise nano.Finished

    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
        app = nano.App(bus=bus, workers={"a": [Give()], "b": [Keep()]}, routes=[Give >> Frame >> Keep])
        assert app.run().join(WAIT_S)
    assert numpy.array_equal(kept[0], lab.FRAME)
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0, 0] = 1


def test_blocks_carry_the_cursor_of_who_wrote_them(tmp_path: Path) -> None:
    with nano.FileBus(tmp_path / "run.log", "64 KiB") as bus:
        beside = Beside()
        app = nano.App(
            bus=bus,
            workers={"a": [Counter(3, 1)], "b": [lab.Adder()], "c": [beside]},
            routes=[Counter >> Count >> lab.Adder, lab.Adder >> Count >> Beside],
        )
        with app as running:
            assert wait_for(lambda: len(beside.got) == 3)
            assert running.settle(WAIT_S)
        state = bus.state()
        position, cursors = 0, []
        while position < state.tail:
            block = bus.read(position, state.tail)
            assert block is not None
            if block.reader:
                cursors.append((block.cursor, block.done))
            position = block.end
        assert cursors
        assert cursors == sorted(cursors)
        assert blocks.BLOCK == 48


def test_failed_says_its_text() -> None:
    assert Failed("why").why == "why"
