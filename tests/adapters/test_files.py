"""Open files with messages, between real programs: each comes with its message, and whatever becomes of that,
nobody keeps a descriptor open.

That is seen at pipes: the reader has the end when the last copy of the other end is closed, wherever it was,
in a program or on its way; and in `/proc`, where the descriptors of all programs are as many as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Undeliverable
from tests import files_soak
from tests.adapters.tools import Program, buses, sees, until
from tests.rigs import held

pytestmark = pytest.mark.usefixtures("patient")

ROUTER = """
async def main():
    async with busway.AsyncBus(label="router", transit=True) as bus:
        say("ready")
        await heard()
asyncio.run(main())
"""
# What the other program does with messages, by the name of the endpoint.
OTHER = """
async def main():
    leaf = sys.argv[1] == "leaf"
    async with busway.AsyncBus(label="other", leaf=leaf) as bus:

        async def read(name):
            async for message in bus.register(name):
                if name == "unasked":
                    del message
                    say("took")
                    continue
                texts = []
                for file in message.files:
                    with file.open("rb") as opened:
                        texts.append(opened.read().decode() if opened.seekable() else "pipe")
                say(message.payload, *texts)
                message = None

        @bus.serve("echo")
        async def echo(request):
            with request.files[0].open() as opened:
                text = opened.read()
            made = os.memfd_create("answer")
            os.write(made, text.upper())
            os.lseek(made, 0, 0)
            answer = busway.Attached("answer", files=[made])
            os.close(made)
            return answer

        @bus.serve("parts")
        async def parts(request):
            for number in range(request.payload):
                with open("/proc/self/status", "rb") as file:
                    yield busway.Attached(number, files=[file])

        @bus.serve("fails")
        async def fails(request):
            raise ValueError("it fails")

        @bus.serve("hangs")
        async def hangs(request):
            say("hangs")
            await asyncio.Event().wait()

        async def see():
            async for message in bus.register("regions"):
                texts = [bytes(region.view[:5]).decode() for region in message.regions]
                message.regions[0].view[:5] = b"HELLO"
                with message.files[0].open() as opened:
                    say(*texts, opened.read().decode())
                for region in message.regions:
                    region.close()
                del message, region

        seeing = asyncio.create_task(see())
        full = bus.register("full", queue=2)
        waits = bus.register("waits")
        tasks = [asyncio.create_task(read(name)) for name in ("read", "unasked")]
        news = bus.subscribe("news")
        say("ready")
        while (line := await heard()) != "leave":
            if line == "take":
                message = await waits.receive()
                with message.files[0].open() as opened:
                    say(message.payload, opened.read().decode())
            elif line == "news":
                message = await news.receive()
                with message.files[0].open() as opened:
                    say(message.payload, opened.read().decode(), message.missed)
            del message
    say("left")
asyncio.run(main())
"""


class Lab:
    """A bus of this process, another program on the same bus, and, with two hops, a router between them."""

    def __init__(self, bus: AsyncBus, other: Program, others: list[Program]) -> None:
        self.bus = bus
        self.other = other
        self.others = others
        self.before = self.counts()

    def counts(self) -> list[int]:
        """Descriptors of this process and the others that live."""
        return [held.count(), *(held.count(program.pid) for program in self.others)]

    async def settles(self) -> None:
        """All programs have as many descriptors open as in the beginning."""
        await until(lambda: self.counts() == self.before)

    async def kill_other(self) -> None:
        """Who was linked to it, this program or the router, has a descriptor less then."""
        self.before.pop()
        self.before[0] -= 1  # by which its end is seen
        self.before[-1] -= 1
        self.others.remove(self.other)
        await self.other.kill()
        await until(lambda: not sees(self.bus, "read"))


@contextlib.asynccontextmanager
async def lab(hops: int) -> AsyncIterator[Lab]:
    async with contextlib.AsyncExitStack() as stack:
        others = []
        if hops == 2:
            others.append(await stack.enter_async_context(Program(ROUTER)))
            await others[0].expect("ready")
        leaf = hops == 2
        bus = await stack.enter_async_context(AsyncBus(leaf=leaf, label="tester"))
        other = await stack.enter_async_context(Program(OTHER, "leaf" if leaf else "node"))
        others.append(other)
        await other.expect("ready")
        for name in ("read", "fails"):  # a leaf learns of what it sends to
            await bus.send(name, b"", ttl=30.0, confirm=True)
        await other.expect("b''")
        yield Lab(bus, other, others)


class Pipe:
    """A pipe whose writing end was sent away: `closed` is true once nobody has it any more."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.writer = os.fdopen(writer, "wb")

    def closed(self) -> bool:
        try:
            return os.read(self._reader, 1) == b""
        except BlockingIOError:
            return False

    async def ends(self) -> None:
        """Nobody has it any more, not even on its way; then nothing is left of it here either."""
        self.writer.close()
        await until(self.closed)
        os.close(self._reader)


def opened(text: str) -> busway.File:
    """A file in memory of this content, at its beginning."""
    fd = os.memfd_create("busway-test")
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb") as file:
        return busway.File(file)


@pytest.fixture(params=[1, 2], ids=["direct", "by a router"])
def hops(request: pytest.FixtureRequest) -> int:
    """The hops between the two programs."""
    return int(request.param)


async def test_files_come_with_their_message(hops: int) -> None:
    async with lab(hops) as at:
        for count in (1, 3, 64):
            files = [opened(f"{count}-{number}") for number in range(count)]
            await at.bus.send("read", count, files=files)
            for file in files:
                file.close()  # copied when it was sent
            await at.other.expect(" ".join([str(count), *(f"{count}-{number}" for number in range(count))]))
        await at.settles()


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "in pieces"])
async def test_they_stay_with_a_large_message(shared: bool) -> None:
    """However that travels; what is sent meanwhile passes it, and its own files do not mix with others'."""
    limits = busway.Limits() if shared else busway.Limits(shared_memory=False)
    async with AsyncBus(limits=limits) as one, AsyncBus(limits=limits) as two:
        large, small = two.register("large"), two.register("small")
        await until(lambda: sees(one, "small"))
        for number in range(20):
            with opened(f"large {number}") as file:
                await one.send("large", bytes([number]) * 1_000_000, files=[file] * 3)
            with opened(f"small {number}") as file:
                await one.send("small", number, files=[file])
            for receiver, name, count in ((small, "small", 1), (large, "large", 3)):
                message = await receiver.receive(timeout=30.0)
                texts = []
                for found in message.files:
                    with found:
                        texts.append(os.pread(found.fileno(), 20, 0).decode())
                assert texts == [f"{name} {number}"] * count
                if name == "large":
                    assert message.payload == bytes([number]) * 1_000_000


async def test_regions_come_with_files(hops: int) -> None:
    async with lab(hops) as at:
        region = busway.Region(4096)
        region.view[:5] = b"hello"
        with opened("file") as file:
            await at.bus.send("regions", files=[file], regions=[region, region])
        await at.other.expect("hello hello file")
        assert bytes(region.view[:5]) == b"HELLO"
        region.close()
        await at.settles()


async def test_all_sorts_of_files(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        ours, theirs = socket.socketpair()
        with opened("file") as file:
            await at.bus.send("read", "a file", files=[file.fileno()])
            await at.other.expect("a file file")
        await at.bus.send("unasked", files=[pipe.writer, ours, theirs])
        await at.other.expect("took")
        ours.close()
        theirs.close()
        await pipe.ends()
        await at.settles()


async def test_an_answer_has_files_for_who_wants_them(hops: int) -> None:
    async with lab(hops) as at:
        with opened("hello") as file:
            answer = await at.bus.request("echo", files=[file], attached=True)
            assert answer.payload == "answer"
            with answer.files[0].open() as opened_file:
                assert opened_file.read() == b"HELLO"
            assert answer.regions == []
            assert await at.bus.request("echo", files=[file]) == "answer"
        numbers = []
        async for part in at.bus.request_stream("parts", 3, attached=True):
            with part.files[0].open("r") as status:
                assert f"Pid:\t{at.other.pid}\n" in status.read()
            numbers.append(part.payload)
        assert numbers == [0, 1, 2]
        assert [part async for part in at.bus.request_stream("parts", 3)] == [0, 1, 2]
        del answer, part
        await at.settles()


def things_at(bus: AsyncBus) -> int:
    found: int = bus._host.node.receiving.pool.held
    return found


async def test_a_reader_of_parts_that_is_slow_has_few_files_open(hops: int) -> None:
    async with lab(hops) as at:
        before = held.count()
        stream = at.bus.request_stream("parts", 200, attached=True)
        async with contextlib.aclosing(stream):
            numbers = [(await anext(stream)).payload]
            await until(lambda: things_at(at.bus) == 32)
            assert held.count() <= before + 33
            numbers += [part.payload async for part in stream]
        assert numbers == list(range(200))
        stream = at.bus.request_stream("parts", 200, attached=True)
        await anext(stream)
        await until(lambda: things_at(at.bus) == 32)
        await stream.aclose()
        assert things_at(at.bus) == 0
        await at.settles()


async def test_a_pipe_that_was_sent_with_a_request_is_closed_before_the_answer(hops: int) -> None:
    """Who asks keeps nothing open of what has left."""
    async with lab(hops) as at:
        pipe = Pipe()
        asked = asyncio.ensure_future(at.bus.request("hangs", files=[pipe.writer]))
        await at.other.expect("hangs")
        pipe.writer.close()
        await at.kill_other()
        await pipe.ends()
        with pytest.raises(Undeliverable):
            await asked


async def test_files_among_many_plain_messages_over_two_hops() -> None:
    """`make soak` does it with 100,000 of these and 1,000 with files."""
    said = await files_soak.mixed(11, plain=4000, carrying=40)
    assert said.endswith("all right")


# What becomes of a message that is not taken


async def test_nobody_has_the_endpoint(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        for ttl in (0.0, 0.2):
            with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
                await at.bus.send("nobody", files=[pipe.writer], ttl=ttl)
        await pipe.ends()
        await at.settles()


async def test_the_handler_fails(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        with pytest.raises(busway.RemoteError, match="it fails"):
            await at.bus.request("fails", files=[pipe.writer])
        await pipe.ends()
        await at.settles()


async def test_the_queue_is_full(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        for _ in range(2):
            await at.bus.send("full", files=[pipe.writer])
        refused = [at.bus.send("full", files=[pipe.writer], confirm=True, timeout=1.0) for _ in range(3)]
        for error in await asyncio.gather(*refused, return_exceptions=True):
            assert isinstance(error, Undeliverable), error
        assert not pipe.closed()
        await at.other.tell("leave")
        await at.other.expect("left")
        await pipe.ends()


async def test_its_time_passes_in_the_queue(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        with pytest.raises(busway.DeliveryUnknown):
            await at.bus.send("waits", files=[pipe.writer], confirm=True, timeout=0.3)
        await pipe.ends()
        await at.settles()


async def test_it_is_cancelled_in_the_queue_and_amid_its_handler(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        for name in ("hangs", "waits"):
            asked = asyncio.ensure_future(at.bus.request(name, files=[pipe.writer]))
            if name == "hangs":
                await at.other.expect("hangs")
            else:
                await asyncio.sleep(0.1)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await pipe.ends()
        await at.settles()


async def test_the_receiver_is_killed_with_messages_in_its_queue(hops: int) -> None:
    async with lab(hops) as at:
        pipe = Pipe()
        for _ in range(3):
            await at.bus.send("waits", files=[pipe.writer] * 20)
        await at.bus.send("read", "seen")
        await at.other.expect("seen")
        await at.kill_other()
        await pipe.ends()
        await at.settles()


async def test_the_receiver_is_killed_with_messages_on_their_way(hops: int) -> None:
    """It is stopped, so that links are full: what waits is in this program, in the kernel, in a router."""
    async with lab(hops) as at:
        pipe = Pipe()
        at.other.signal(signal.SIGSTOP)
        sends = [
            asyncio.ensure_future(at.bus.send("waits", bytes(30_000), files=[pipe.writer] * 16, timeout=3.0))
            for _ in range(40)
        ]
        await asyncio.wait(sends, timeout=0.5)
        await at.kill_other()
        await asyncio.gather(*sends, return_exceptions=True)
        await pipe.ends()
        await at.settles()


SENDER = """
async def main():
    async with busway.AsyncBus(label="sender", leaf=sys.argv[1] == "leaf") as bus:
        made = os.memfd_create("x")
        os.write(made, b"from the dead")
        os.lseek(made, 0, 0)
        await bus.send("waits", 1, files=[made], ttl=30.0)
        await bus.send("read", "sent", confirm=True, ttl=30.0)
        say("sent")
        await heard()
asyncio.run(main())
"""


async def test_what_a_killed_sender_has_sent_stays_open(hops: int) -> None:
    async with lab(hops) as at:
        async with Program(SENDER, "leaf" if hops == 2 else "node") as sender:
            await at.other.expect("sent")
            await sender.expect("sent")
            await sender.kill()
        await at.other.tell("take")
        await at.other.expect("1 from the dead")
        await at.settles()


async def test_more_files_than_may_wait_in_queues(hops: int) -> None:
    """256 of one link, in messages that were not taken; those that were are the program's."""
    async with lab(hops) as at:
        pipe = Pipe()
        for _ in range(4):
            await at.bus.send("waits", files=[pipe.writer] * 64)
        with pytest.raises(Undeliverable, match="FILES_FULL"):
            await at.bus.request("full", files=[pipe.writer])
        await at.bus.send("read", "plain ones go on", confirm=True)
        await at.other.expect("plain ones go on")
        await at.other.tell("leave")
        await at.other.expect("left")
        await pipe.ends()


async def test_the_bus_is_closed_with_messages_that_wait(hops: int) -> None:
    pipe = Pipe()
    before = held.count()
    async with lab(hops) as at:
        at.other.signal(signal.SIGSTOP)
        sends = [
            asyncio.ensure_future(at.bus.send("waits", bytes(30_000), files=[pipe.writer] * 16))
            for _ in range(40)
        ]
        await asyncio.wait(sends, timeout=0.5)
        await at.bus.close(0.5)
        await asyncio.gather(*sends, return_exceptions=True)
        await at.kill_other()
    await pipe.ends()
    await until(lambda: held.count() <= before)


# Whom they reach


async def test_subscribers_here_and_in_other_programs_get_their_own(hops: int) -> None:
    async with lab(hops) as at:
        here = [at.bus.subscribe("news") for _ in range(2)]
        await at.bus.send("read", "there")
        await at.other.expect("there")
        with opened("news") as file:
            await at.bus.publish("news", 1, files=[file])
        files = []
        for receiver in here:
            message = await receiver.receive(timeout=10.0)
            assert message.files == message.files
            files += message.files
            del message
        assert len({file.fileno() for file in files}) == 2
        for file in files:
            assert os.pread(file.fileno(), 10, 0) == b"news"
            file.close()
        await at.other.tell("news")
        await at.other.expect("1 news 0")
        await at.settles()


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_they_stay_on_this_machine(scheme: str) -> None:
    async with AsyncBus(ipc=False) as one, AsyncBus(ipc=False) as two:
        listener = await one.listen(f"{scheme}://127.0.0.1:0")
        await two.connect(listener.url)
        log = one.register("log", realm="global")
        news = one.subscribe("news", realm="global")
        one.serve("answers", lambda request: busway.Attached("x", files=[0]), realm="global")
        await until(lambda: sees(two, "log"))
        pipe = Pipe()
        for send in (two.send("log", files=[pipe.writer]), two.request("log", files=[pipe.writer])):
            with pytest.raises(Undeliverable, match="NO_FILES") as failed:
                await send
            assert "same user on this machine only, over Unix sockets all the way" in str(failed.value)
            assert "send what is in them instead" in str(failed.value)
        await two.publish("news", 1, realm="global", files=[pipe.writer])
        await two.publish("news", 2, realm="global")
        assert (await news.receive(timeout=10.0)).payload == 2
        with pytest.raises(Undeliverable, match="the reply has files or regions"):
            await two.request("answers")
        await two.send("log", "plain")
        assert (await log.receive(timeout=10.0)).payload == "plain"
        await pipe.ends()


async def test_within_one_program_and_in_memory() -> None:
    async with buses() as (one, two):
        log = two.register("log")
        here = one.register("here", realm="process")
        await until(lambda: sees(one, "log"))
        before = held.count()
        with opened("text") as file:
            await one.send("log", [1], files=[file])
            await one.send("here", object, files=[file])
        for receiver, payload in ((log, [1]), (here, object)):
            message = await receiver.receive(timeout=10.0)
            assert message.payload == payload
            assert message.regions == []
            (found,) = message.files
            with found:
                assert os.pread(found.fileno(), 10, 0) == b"text"
            del message, found
        assert held.count() == before


# What cannot be sent


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"files": ["/etc/passwd"]}, TypeError, "open file"),
        ({"files": "/etc/passwd"}, TypeError, r"files=\[file\]"),
        ({"files": [10_000]}, ValueError, "not open"),
        ({"files": [0] * 65}, ValueError, "at most 64"),
        ({"files": [0], "sealed": True}, ValueError, "sealed"),
        ({"files": [0], "store": True}, ValueError, "stored"),
    ],
)
async def test_what_cannot_be_sent_is_told_at_once(
    options: dict[str, object], error: type[Exception], text: str
) -> None:
    async with AsyncBus(ipc=False) as bus:
        before = held.count()
        calls: list[Any] = [bus.send, bus.publish, bus.request]
        for call in calls:
            with pytest.raises(error, match=text):
                await call("log", **options)
        with pytest.raises(ValueError, match="retained"):
            await bus.publish("log", 1, retain=True, files=[0])
        assert held.count() == before
