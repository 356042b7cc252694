"""One run of the demo from start to end: programs, watcher, kills, screen. Knows not how they are shown."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import busway
from busway.demo import board
from busway.demo.errors import DemoError
from busway.demo.figures import PROGRAMS, Figures
from busway.demo.page import listen
from busway.demo.processes import Processes
from busway.demo.report import unseen
from busway.demo.watcher import LABEL, PATIENCE_S, Watcher
from busway.drivers import unix

START_S = 60.0  # what a program may take to start and join, on a machine that is busy
LATE_S = 60.0  # what a busy machine may take to show the rest, when the time is over
LOOK_S = 0.1
VICTIM_LIFE_S = 1.5
VICTIM_REST_S = 0.3


class Run:
    """Runs until `duration` seconds are over, a signal comes, or something fails.

    Args:
        bus_name: the bus that all programs join.
        duration: seconds from when all have joined; None for ever.
        port: where browsers come, on 127.0.0.1; 0 for a free one.
        show: shows the figures again and again until it is cancelled.
    """

    def __init__(
        self,
        bus_name: str,
        duration: float | None,
        port: int,
        show: Callable[[Figures], Coroutine[Any, Any, None]],
    ) -> None:
        self.figures = Figures()
        self.signal = 0  # the one that ended it
        self._bus_name = bus_name
        self._duration = duration
        self._port = port
        self._url = ""  # where the WebSocket listens
        self._show = show
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """All of it. Raises DemoError, and whatever the bus raises that it should not."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        bus = await self._join()
        try:
            self._url = await listen(bus, self._bus_name, self._port)
            self.figures.page = self._url.replace("ws://", "http://") + "/"
            async with Processes(self._bus_name) as processes:
                await self._watch(Watcher(bus, self.figures), processes)
            self.figures.complaints = processes.complaints
        except busway.EndpointTaken as error:  # on a busy machine another demo is seen late
            raise self._refused() from error
        finally:
            await bus.close()
            unix.sweep(self._bus_name)  # what the last kill -9 may have left

    def _on_signal(self, number: int) -> None:
        self.signal = number
        self._stop.set()

    async def _join(self) -> busway.AsyncBus:
        try:
            bus = await busway.AsyncBus(self._bus_name, label=LABEL).open()
        except (ValueError, OSError) as error:  # the bus's name, or the directory of its sockets
            raise DemoError(str(error)) from error
        if any(node.label == LABEL and not node.me for node in bus.nodes()):
            await bus.close()
            raise self._refused()
        return bus

    def _refused(self) -> DemoError:
        text = f'a demo runs on bus "{self._bus_name}" already: end it, or give another name with --bus'
        return DemoError(text)

    async def _watch(self, watcher: Watcher, processes: Processes) -> None:
        standing = [*watcher.listeners(), self._show(self.figures), self._fail_on_exit(processes)]
        async with background(*standing) as listeners:
            async with background(self._start(watcher, processes)) as start:
                await self._wait(None, *start, *listeners)
            if self._stop.is_set():
                return
            async with (
                background(self._kill_periodically(watcher, processes)) as killing,
                background(*watcher.askers()) as askers,
            ):
                await self._wait(self._duration, *killing, *askers, *listeners)
                async with background(self._linger()) as lingering:
                    await self._wait(LATE_S, *lingering, *killing, *askers, *listeners)
                watcher.stop_asking()
                await asyncio.wait(askers, timeout=2 * PATIENCE_S)

    async def _wait(self, timeout: float | None, *tasks: asyncio.Task[None]) -> None:
        """Until a task ends (and raise what it raised), a signal comes, or the time is over."""
        stop = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([stop, *tasks], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        for task in done - {stop}:
            task.result()

    async def _linger(self) -> None:
        """On a busy machine it takes longer until all has been seen that is to be seen."""
        while self._duration is not None and unseen(self.figures, self._duration):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_S)

    async def _start(self, watcher: Watcher, processes: Processes) -> None:
        for name in PROGRAMS:
            await processes.start(name, *(("--url", self._url) if name == "remote" else ()))
        await self._start_board(processes)
        try:
            await watcher.until(lambda: all(self.figures.came[name] for name in PROGRAMS), START_S)
        except TimeoutError:
            absent = ", ".join(name for name in PROGRAMS if not self.figures.came[name])
            raise DemoError(f"within {START_S:.0f} s of their start these did not join: {absent}") from None

    async def _start_board(self, processes: Processes) -> None:
        """It may come late: nothing waits for it."""
        if why := board.obstacle():
            self.figures.note(f"no board: {why}")
            return
        self.figures.board_expected = True
        await processes.start("board")

    async def _kill_periodically(self, watcher: Watcher, processes: Processes) -> None:
        while True:
            await asyncio.sleep(VICTIM_LIFE_S)
            await self._kill_and_restart(watcher, processes)

    async def _kill_and_restart(self, watcher: Watcher, processes: Processes) -> None:
        figures = self.figures
        came, killed_at = figures.came["victim"], time.monotonic()
        figures.note("victim gets kill -9")
        figures.kills += 1
        await processes.kill("victim")
        await asyncio.sleep(VICTIM_REST_S)
        await processes.start("victim")
        try:
            await watcher.until(lambda: figures.came["victim"] > came, START_S)
        except TimeoutError:
            raise DemoError(f"the victim was started again and did not join within {START_S:.0f} s") from None
        figures.returns += 1
        figures.returns_s += time.monotonic() - killed_at

    async def _fail_on_exit(self, processes: Processes) -> None:
        """Fail when a program ends that should not."""
        raise DemoError(await processes.deaths.get())


@contextlib.asynccontextmanager
async def background(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run them as tasks meanwhile; afterwards all are over."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
