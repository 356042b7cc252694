"""The loop whose time jumps: what takes no time, what still does, what is said when nothing will happen."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import busway
from busway.adapters import making
from busway.drivers.memory import pair
from busway.testing import JumpingLoop, Network, Stalled, run

QUICKLY_S = 60.0  # of this machine, however busy: none of these hours


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < QUICKLY_S


def now() -> float:
    return asyncio.get_running_loop().time()


# Jumps


def test_timers_end_in_their_order_and_at_their_time() -> None:
    async def main() -> list[tuple[str, float]]:
        ended = []

        async def sleep(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            ended.append((name, now()))

        asyncio.get_running_loop().call_at(7200, lambda: ended.append(("call", now())))
        await asyncio.gather(sleep("day", 86000), sleep("blink", 0.001), sleep("hour", 3600))
        return ended

    for _ in range(2):  # and not otherwise the next time
        assert run(main()) == [("blink", 0.001), ("hour", 3600.0), ("call", 7200.0), ("day", 86000.0)]


def test_time_stands_still_while_something_runs() -> None:
    async def main() -> None:
        async with asyncio.timeout(0.05):
            time.sleep(0.1)  # noqa: ASYNC251 - what computes for long, and lets nobody else run
            for _ in range(1000):
                await asyncio.sleep(0)
        assert now() == 0

    run(main())


def test_a_time_out_cancels_what_it_bounds_when_it_is_due() -> None:
    async def main() -> None:
        cancelled = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(now())
                raise

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), 50)
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_later(25, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled == [50, 75]

    run(main())


def test_a_request_times_out_without_waiting_and_its_handler_is_cancelled_then() -> None:
    async def main() -> None:
        async with Network() as network:
            here, there = await network.bus(), await network.bus()
            await network.link(here, there, delay=0.5)
            ended = []

            async def sleep(request: busway.Request[float]) -> float:
                try:
                    await asyncio.sleep(request.payload)
                finally:
                    ended.append(now() - began)
                return request.payload

            there.serve("sleep", sleep)
            await network.settle(2)
            began = now()
            assert await here.request("sleep", 3600, timeout=4000) == 3600
            assert now() - began == pytest.approx(3601, abs=0.01)
            began = now()
            with pytest.raises(busway.RequestTimeout):
                await here.request("sleep", 3600)
            assert now() - began == pytest.approx(30, abs=0.01)
            await asyncio.sleep(1)
            assert ended == [pytest.approx(3600.5, abs=0.01), pytest.approx(30.5, abs=0.01)]

    run(main())


def test_the_keepalive_finds_who_is_silent_and_tells_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(making._LINK_DEFAULTS, "memory", (1, 5000))

    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as here, busway.AsyncBus(ipc=False) as there:
            ends = pair(delay_ms=100, clock=asyncio.get_running_loop())
            await asyncio.gather(here.attach(ends.a).ready, there.attach(ends.b).ready)
            await asyncio.sleep(600)
            assert here.links()[0].rtt == pytest.approx(0.2, abs=0.01)
            assert await here.trace("", node=there.id)
            changes = here.changes()
            ends.b.on_readable = None  # it hears nothing any more, and says nothing
            began = now()
            while (change := await anext(changes)).what != "link-down":
                pass
            assert "nothing was heard" in change.text
            assert 5 < now() - began < 30

    run(main())


def test_a_link_is_dialled_for_an_hour_without_waiting() -> None:
    """Each attempt is real, and takes the time that it takes; between them time jumps."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"tcp://127.0.0.1:{sock.getsockname()[1]}"

    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as bus:
            with pytest.raises(ConnectionRefusedError):
                await bus.connect(url, wait=3600, retry=busway.Retry(first=30, cap=300))
            assert now() >= 3600

    run(main())


# What still takes its time


def test_a_socket_that_is_watched_keeps_time_from_jumping() -> None:
    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as here, busway.AsyncBus(ipc=False) as there:
            there.serve("echo", lambda request: request.payload)
            link = await here.connect((await there.listen("tcp://127.0.0.1:0")).url)
            for number in range(100):
                assert await here.request("echo", number, ttl=30) == number
            began, real = now(), time.monotonic()
            await asyncio.sleep(0.2)
            assert time.monotonic() - real >= 0.2
            assert now() - began >= 0.2
            assert link.state == "connected"
        began = now()
        await asyncio.sleep(3600)  # it is closed
        assert now() - began == 3600

    run(main())


def test_a_thread_at_work_keeps_time_from_jumping() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            over = threading.Event()
            working = asyncio.create_task(asyncio.to_thread(over.wait, 600))
            await asyncio.sleep(0.2)
            assert not working.done()
            over.set()
            await working
        assert 0.2 <= now() < 60
        await asyncio.gather(asyncio.to_thread(time.sleep, 0.1), return_exceptions=True)
        began = now()
        await asyncio.sleep(3600)
        assert now() - began == 3600

    run(main())


@pytest.mark.parametrize("stdout", [asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL])
def test_a_subprocess_that_runs_keeps_time_from_jumping(stdout: int) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(0.1); print('done')")

    async def main() -> None:
        async with asyncio.timeout(100):
            process = await asyncio.create_subprocess_exec(*words, stdout=stdout)
            assert (await process.communicate())[0] in (b"done\n", None)
            process = await asyncio.create_subprocess_shell(shlex.join(words), stdout=stdout)
            assert await process.wait() == 0
        await asyncio.sleep(3600)

    run(main())


# The end


def test_where_all_wait_for_ever_is_said_at_once_and_what_is_open_is_closed() -> None:
    closed = []

    async def forgets() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        try:
            async with Network() as network:
                bus = await network.bus()
                async with asyncio.TaskGroup() as group:
                    group.create_task(forgets(), name="forgetful")
                    await bus.register("lab/never").receive()
        finally:
            closed.append(True)

    with pytest.raises(Stalled) as caught:
        run(main())
    said = str(caught.value)
    assert said.startswith("every task waits, and there is no timer:\n")
    assert "  forgetful: forgets (" in said
    assert "main (" in said
    assert " > receive (" in said
    assert f"{__file__}:" in said
    assert closed == [True]


def test_who_waits_beyond_the_limit_is_told_so() -> None:
    async def tick() -> None:
        for _ in itertools.count():
            await asyncio.sleep(1)

    with pytest.raises(
        Stalled, match=r"^every task waits, and the 100 s that it may take are over:\n.*tick \("
    ):
        run(tick(), limit=100)
    assert run(asyncio.sleep(100, "in time"), limit=100) == "in time"


@pytest.mark.parametrize("error", [ValueError("wrong"), SystemExit(3)])
def test_what_a_program_raises_is_raised(error: BaseException) -> None:
    async def main() -> None:
        await asyncio.sleep(60)
        raise error

    with pytest.raises(type(error)) as caught:
        run(main())
    assert caught.value is error


def test_cleaning_up_may_take_its_time_too() -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(60)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(90)
            ended.append(now())

    ended: list[float] = []
    with pytest.raises(Stalled):
        run(main(), limit=100)
    assert ended == [150]


@pytest.mark.parametrize("debug", [False, True])
def test_any_runner_takes_the_loop(debug: bool) -> None:
    async def main() -> Any:
        await asyncio.sleep(5)
        return now()

    with asyncio.Runner(loop_factory=JumpingLoop, debug=debug) as runner:
        assert runner.run(main()) == 5
        assert runner.run(main()) == 10


def test_buses_of_other_loops_have_the_time_of_the_machine() -> None:
    async def main() -> float:
        async with busway.AsyncBus(ipc=False) as bus:
            inbox = bus.register("lab/self")
            await bus.send("lab/self", 1)
            return (await inbox.receive()).received_at

    assert time.monotonic() - 5 < asyncio.run(main()) <= time.monotonic()
    assert run(main()) == 0
