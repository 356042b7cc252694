"""Starts, kills and ends the demo's programs, each a process of its own. Knows nothing of the bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from busway import tokens

END_S = 30.0  # what a program may take to leave before it is killed, on a machine that is busy


class Process:
    """One running program. Made by `Processes.start`."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, on_death: Callable[[str], None]
    ) -> None:
        self.process = process
        self.expected = False  # whether it may end
        self._name = name
        self._on_death = on_death
        self._last_line = ""  # of its standard error
        self.watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self._last_line = line.decode(errors="replace").strip() or self._last_line
        await self.process.wait()
        if not self.expected:
            self._on_death(f"{self._name} ended by itself {self.manner()}")

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.expected = True
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.watching

    def manner(self) -> str:
        """How it ended."""
        said = f": {self._last_line}" if self._last_line else ""
        return f"with status {self.process.returncode}{said}"

    async def end(self) -> str:
        """Wait until it has left as it was told, or kill it; a sentence on what was wrong, or ""."""
        already = self.watching.done()
        _, late = await asyncio.wait([self.watching], timeout=END_S)
        if late:
            await self.kill()
            return f"{self._name} did not leave within {END_S:.0f} s and had to be killed"
        if self.process.returncode and not already:
            return f"{self._name} left {self.manner()}"
        return ""


class Processes:
    """The programs that run, all of which end when this one does, whatever ends it.

    Their standard input is one pipe whose writing end only we hold: it ends when we close it and when we die.
    """

    def __init__(self, bus_name: str) -> None:
        self.deaths: asyncio.Queue[str] = asyncio.Queue()  # sentences on programs that should have stayed
        self.complaints: list[str] = []  # sentences on programs that did not leave as they should
        self._bus_name = bus_name
        self._running: dict[str, Process] = {}
        self._lifeline, self._held = os.pipe()

    async def start(self, name: str, *arguments: str) -> None:
        """Start `busway.demo.<name>` with this interpreter and these arguments."""
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", f"busway.demo.{name}", *arguments, "--bus", self._bus_name),
            stdin=self._lifeline,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=tokens.without(os.environ),
            process_group=0,  # a Ctrl-C in the terminal is for us alone
        )
        self._running[name] = Process(name, started, self.deaths.put_nowait)

    async def kill(self, name: str) -> None:
        """kill -9 the program of that name."""
        await self._running[name].kill()

    async def close(self) -> None:
        """Tell all to leave, and kill those that don't within END_S."""
        for process in self._running.values():
            process.expected = True
        os.close(self._held)
        os.close(self._lifeline)
        ends = await asyncio.gather(*(process.end() for process in self._running.values()))
        self.complaints = [sentence for sentence in ends if sentence]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
