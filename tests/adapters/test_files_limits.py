"""Open files where the system gives no more: too many on their way, and a program that may have none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from busway import AsyncBus, Undeliverable
from busway.adapters import beside
from busway.drivers import descriptors
from busway.drivers.descriptors import Descriptor
from busway.drivers.unix import UnixChannel
from tests.adapters.test_files import Pipe, opened
from tests.adapters.tools import Program, sees, until

pytestmark = pytest.mark.usefixtures("patient")

# Both ends in one program of a user who is not root, for whom the kernel bounds what is on its way.
POOR = """
import resource
from tests.adapters.test_files import opened

async def main():
    async with busway.AsyncBus() as one, busway.AsyncBus() as two:  # all is imported that will be needed
        two.serve("x", lambda request: None)
        with opened("x") as file:
            await one.request("x", files=[file], ttl=30.0)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, most))
    user = 60000 + os.getpid() % 5000  # of whom nothing else is on its way
    os.chown(os.environ["BUSWAY_DIR"], user, user)
    os.setgroups([])
    os.setresuid(user, user, user)
    async with busway.AsyncBus() as one, busway.AsyncBus() as two:
        ours, theirs = socketpair()
        fill(ours)
        log = two.register("log")
        while not any(found.name == "log" for found in one.endpoints()):
            await asyncio.sleep(0.01)
        with opened("file") as file:
            await one.send("log", 1, files=[file])
        waiting = asyncio.ensure_future(log.receive())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        say("waits" if not done else "came")
        theirs.close()  # and all that was on its way to it
        ours.close()
        message = await waiting
        with message.files[0].open() as opened_file:
            say(message.payload, opened_file.read().decode())

def socketpair():
    import socket
    return socket.socketpair()

def fill(ours):
    import array, errno, socket
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        for count in (50, 1):
            while True:
                try:
                    numbers = array.array("i", [fd] * count)
                    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
                except OSError as error:
                    assert error.errno == errno.ETOOMANYREFS, error
                    break
    finally:
        os.close(fd)
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user of its own, whose descriptors are counted")
async def test_a_link_waits_while_too_many_are_on_their_way() -> None:
    async with Program(POOR) as program:
        await program.expect("waits")
        await program.expect("1 file")


async def test_a_link_goes_on_that_was_full_when_as_many_might_go_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a busy system answers in turn: too many on their way; then, as it is tried again, no room for a
    byte.
    """
    answers, send = [descriptors.TOO_MANY, 0, descriptors.TOO_MANY, 0], descriptors.send

    def answered(*words: Any) -> int:
        return answers.pop(0) if answers else send(*words)

    monkeypatch.setattr(descriptors, "send", answered)
    async with AsyncBus() as one, AsyncBus() as two, two.register("log") as log:
        await until(lambda: sees(one, "log"))
        with opened("file") as file:
            await one.send("log", 1, files=[file])
        message = await log.receive(timeout=20)
        with message.files[0].open() as found:
            assert found.read() == b"file"
    assert not answers


class Clock:
    """An event loop whose timers are over at once, and are on record."""

    def __init__(self) -> None:
        self.waits_ms: list[int] = []
        self._loop = asyncio.get_running_loop()
        self.remove_writer = self._loop.remove_writer

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> object:
        self.waits_ms.append(round(delay_s * 1000))
        return self._loop.call_soon(callback)


async def test_it_is_tried_again_after_ever_longer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [*[descriptors.TOO_MANY] * 7, 1, *[descriptors.TOO_MANY] * 2, 1]
    monkeypatch.setattr(descriptors, "send", lambda *_: answers.pop(0))
    clock: Any = Clock()
    one, other = socket.socketpair()
    with one, other, opened("file") as file:
        channel = UnixChannel(one, "ipc:pair", dialled=True)
        channel.carry(lambda _: None, lambda: [Descriptor(os.dup(file.fileno()))])
        while answers:
            again = asyncio.Event()
            channel.write(b"x")
            if beside.ask_later(channel, clock, again.set):
                await again.wait()
        assert clock.waits_ms == [10, 20, 40, 80, 160, 160, 160, 10, 20]


BARE = """
import resource

async def main():
    async with busway.AsyncBus(label="bare") as bus:
        log = bus.register("log")
        say("ready")
        await heard()
        used = len(os.listdir("/proc/self/fd"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, limits[1]))
        changes = bus.changes()
        say("bare")
        async for change in changes:
            if change.what == "link-down":
                say(change.text)
                break
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        message = await log.receive()
        with message.files[0].open() as file:
            say(message.payload, file.read().decode())
asyncio.run(main())
"""


async def test_who_has_no_descriptors_left_loses_the_link_says_why_and_comes_back() -> None:
    async with AsyncBus(label="rich") as bus, Program(BARE) as bare:
        await bare.expect("ready")
        await until(lambda: sees(bus, "log"))
        await bare.tell()
        await bare.expect("bare")
        pipe = Pipe()
        await bus.send("log", files=[pipe.writer] * 10)
        assert "ulimit -n" in await bare.line()
        await pipe.ends()
        with opened("text") as file:
            await bus.send("log", "again", files=[file], ttl=30.0)
        await bare.expect("again text")


FEW = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

async def main():
    async with busway.AsyncBus(label="few") as bus:
        log = bus.register("log")
        say("ready")
        await heard()
        async for message in log:
            say(len(message.files))
            for file in message.files:
                file.close()
            del message
asyncio.run(main())
"""


async def test_no_more_wait_than_half_of_what_a_program_may_have_open() -> None:
    async with AsyncBus(label="rich") as bus, Program(FEW) as few:
        await few.expect("ready")
        await until(lambda: sees(bus, "log"))
        pipe = Pipe()
        for _ in range(5):
            await bus.send("log", files=[pipe.writer] * 10)
        with pytest.raises(Undeliverable, match="FILES_FULL"):
            await bus.send("log", files=[pipe.writer], confirm=True)
        await few.tell()
        for _ in range(5):
            await few.expect("10")
        await bus.send("log", files=[pipe.writer], confirm=True)
        await few.expect("1")
        await pipe.ends()
