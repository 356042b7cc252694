"""A server of test_scenarios in a thread of the test's own process, joined to it by a pair in memory; spoken
to as one in a process of its own. Its death is that the pair fails.
"""

from __future__ import annotations

import asyncio
import queue
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import busway
from busway.drivers import memory
from busway.drivers.channel import READ_SIZE

_WAIT_S = 60.0
_TICK_S = 0.001


class Shared:
    """One end of a pair whose ends belong to different threads: `soon` calls back in this end's own."""

    fileno = staticmethod(lambda: -1)

    def __init__(self, channel: memory.MemoryChannel, joint: Joint, soon: Callable[[Any], object]) -> None:
        self.sort, self.mtu, self.realm = channel.sort, channel.mtu, channel.realm
        self.address, self.via, self.dialled = channel.address, channel.via, channel.dialled
        self._channel = channel
        self._joint = joint
        self._soon = soon

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("on_readable", "on_writable"):
            with self._joint.lock:
                setattr(self._channel, name, lambda: self._soon(value))
        else:
            super().__setattr__(name, value)

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        with self._joint.lock:
            return self._channel.read(size_max)

    def write(self, data: bytes | memoryview) -> int:
        with self._joint.lock:
            self._joint.work.set()
            return self._channel.write(data)

    def close(self) -> None:
        with self._joint.lock:
            self._channel.close()

    def abandon(self) -> None:
        self._channel.abandon()


class Joint:
    """A pair, and the thread that lets its time pass."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.work = threading.Event()
        self.pair = memory.pair()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="pair in memory")
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            self.work.wait(_TICK_S)
            self.work.clear()
            with self.lock:
                self.pair.advance(time.monotonic_ns() // 1_000_000)

    def fail(self) -> None:
        with self.lock:
            self.pair.fail()

    def close(self) -> None:
        self._over = True
        self._thread.join(_WAIT_S)


class Program:
    """Runs `text`, in which `here(soon)` is the server's end of the pair; `channel(soon)` is the client's."""

    def __init__(self, text: str, *arguments: object) -> None:
        self.joint = Joint()
        self._lines: queue.Queue[str] = queue.Queue()
        self._stop = threading.Event()
        names = {"say": self._say, "heard": self._heard, "here": self._here, "busway": busway}
        names |= {"asyncio": asyncio, "arguments": [str(each) for each in arguments]}
        code = compile(textwrap.dedent(text), "<server>", "exec")
        self._thread = threading.Thread(target=exec, args=(code, names), name="server")

    def channel(self, soon: Callable[[Any], object]) -> Shared:
        """The client's end."""
        return Shared(self.joint.pair.a, self.joint, soon)

    def _here(self, soon: Callable[[Any], object]) -> Shared:
        return Shared(self.joint.pair.b, self.joint, soon)

    def _say(self, *words: object) -> None:
        self._lines.put(" ".join(map(str, words)))

    async def _heard(self) -> None:
        await asyncio.to_thread(self._stop.wait)

    def line(self) -> str:
        """The next line it prints. AssertionError after 10 s."""
        try:
            return self._lines.get(timeout=_WAIT_S)
        except queue.Empty:
            raise AssertionError("the server said nothing") from None

    def expect(self, wanted: str) -> None:
        assert self.line() == wanted

    def kill(self) -> None:
        """Nothing leaves it any more."""
        self.joint.fail()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_WAIT_S)
        self.joint.close()
        assert not self._thread.is_alive()


class AsyncProgram:
    """The same for a test that runs on a loop."""

    def __init__(self, text: str, *arguments: object) -> None:
        self._program = Program(text, *arguments)

    def channel(self) -> Shared:
        return self._program.channel(asyncio.get_running_loop().call_soon_threadsafe)

    async def line(self) -> str:
        return await asyncio.to_thread(self._program.line)

    async def expect(self, wanted: str) -> None:
        assert await self.line() == wanted

    async def kill(self) -> None:
        self._program.kill()

    async def __aenter__(self) -> Self:
        self._program.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._program.__exit__)
