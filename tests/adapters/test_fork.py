"""Programs that fork: the child cannot use the parent's bus and is told so, and does it no harm."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest

from busway import AsyncBus
from tests.adapters.tools import Program, knows, sees, until

CHILD = """
import multiprocessing, socket

async def try_all(bus, receiver, service):
    "What the child may not do, with what it is told."
    async def parts():
        async for part in bus.request_stream("echo"):
            pass
    calls = {
        "send": lambda: bus.send("echo", b""),
        "confirm": lambda: bus.send("echo", b"", confirm=True),
        "publish": lambda: bus.publish("news", 1),
        "request": lambda: bus.request("echo", 1),
        "stream": parts,
        "receive": lambda: receiver.receive(),
        "iterate": lambda: anext(receiver),
        "connect": lambda: bus.connect("tcp://127.0.0.1:1"),
        "listen": lambda: bus.listen("tcp://127.0.0.1:0"),
        "open": lambda: bus.open(),
    }
    for name, call in calls.items():
        try:
            await call()
            return f"{name} worked"
        except busway.BusError as error:
            if f"opened by process {os.getppid()} before fork" not in str(error):
                return f"{name} said {error}"
    for call in (lambda: bus.register("x"), lambda: bus.serve("y", print), lambda: bus.changes()):
        try:
            call()
            return "registering worked"
        except busway.BusError as error:
            pass
    receiver.close()
    service.close()
    await bus.close()
    async with asyncio.timeout(60):
        async with busway.AsyncBus() as mine:
            return f"all refused, and {await mine.request('echo', 7)} of its own"
"""

OS_FORK = (
    CHILD
    + """
async def main():
    async with busway.AsyncBus() as bus:
        service = bus.serve("echo", lambda request: request.payload)
        receiver = bus.register("log")
        listener = await bus.listen("tcp://127.0.0.1:0")
        read, write = os.pipe()
        if not (child := os.fork()):
            try:
                said = asyncio.run(try_all(bus, receiver, service))
            except BaseException as error:
                said = repr(error)
            os.write(write, said.encode())
            os._exit(0)
        os.close(write)
        loop = asyncio.get_running_loop()
        said = loop.create_future()
        loop.add_reader(read, lambda: said.set_result(os.read(read, 1000).decode()))
        say(await said)
        loop.remove_reader(read)
        os.waitpid(child, 0)
        say("parent")
        async for message in receiver:
            say(message.payload)
asyncio.run(main())
"""
)

MULTIPROCESSING = (
    CHILD
    + """
def work(bus, receiver, service, say_to):
    try:
        said = asyncio.run(try_all(bus, receiver, service))
    except BaseException as error:
        said = repr(error)
    say_to.send(said)

async def main():
    async with busway.AsyncBus() as bus:
        service = bus.serve("echo", lambda request: request.payload)
        receiver = bus.register("log")
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe()
        child = context.Process(target=work, args=(bus, receiver, service, theirs))
        child.start()
        while not mine.poll():
            await asyncio.sleep(0.002)
        say(mine.recv())
        child.join()
        say("parent")
        async for message in receiver:
            say(message.payload)
asyncio.run(main())
"""
)


@pytest.mark.parametrize("program", [OS_FORK, MULTIPROCESSING], ids=["os.fork", "multiprocessing"])
async def test_the_childs_use_of_the_bus_is_an_error_and_the_parents_goes_on(program: str) -> None:
    async with AsyncBus() as bus, Program(program) as parent:
        await parent.expect("all refused, and 7 of its own")
        await parent.expect("parent")
        await until(lambda: sees(bus, "log") and len(bus.nodes()) == 2)
        assert await bus.request("echo", "still here") == "still here"
        for number in range(100):
            await bus.send("log", number)
            await parent.expect(str(number))


THROUGH_THE_LOOP = pytest.param(
    "sys.exit(0)",  # through all the finally clauses, and the loop's own end
    id="loop",
    marks=pytest.mark.skipif(
        sys.version_info >= (3, 14),
        reason="from Python 3.14 on no loop ends in a forked child, with or without a bus",
    ),
)
THROUGH_THE_BUS = pytest.param("raise Leave", id="bus")


@pytest.mark.parametrize("leave", [THROUGH_THE_BUS, THROUGH_THE_LOOP])
async def test_a_child_that_leaves_through_the_finally_clauses_harms_nobody(leave: str) -> None:
    program = f"""
    class Leave(Exception):
        pass

    async def main():
        try:
            await parent_and_child()
        except Leave:
            os._exit(0)

    async def parent_and_child():
        async with busway.AsyncBus() as bus:
            bus.serve("echo", lambda request: request.payload)
            receiver = bus.register("log")
            await receiver.receive()
            child = os.fork()
            if not child:
                {leave}
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                await asyncio.sleep(0.002)
            say("child left")
            async for message in receiver:
                say(message.payload)
    asyncio.run(main())
    """
    async with AsyncBus() as bus, Program(program) as parent:
        await bus.send("log", 0, ttl=30)
        await parent.expect("child left")
        assert await bus.request("echo", 1) == 1
        await bus.send("log", 2)
        await parent.expect("2")


async def test_a_surviving_child_keeps_neither_socket_nor_link_of_a_dead_parent() -> None:
    program = """
    async def main():
        async with busway.AsyncBus() as bus:
            listener = await bus.listen("tcp://127.0.0.1:0")
            child = os.fork()
            if not child:
                os.close(0)
                os.close(1)  # the pipes of this very test
                time.sleep(60)
                os._exit(0)
            say(child, bus.id.hex(), listener.url)
            await asyncio.Event().wait()
    asyncio.run(main())
    """
    async with AsyncBus() as bus, Program(program) as parent:
        words = (await parent.line()).split()
        child, node_id, url = int(words[0]), bytes.fromhex(words[1]), words[2]
        try:
            await until(lambda: knows(bus, node_id))
            await parent.kill()
            await until(lambda: knows(bus))  # without a keepalive: local links have none
            os.kill(child, 0)  # it lives
            async with AsyncBus() as late:
                await until(lambda: knows(late, bus.id))
            host, port = url.removeprefix("tcp://").split(":")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)), 1).close()
        finally:
            os.kill(child, signal.SIGKILL)


async def test_a_program_started_by_exec_holds_nothing() -> None:
    program = """
    import subprocess
    async def main():
        async with busway.AsyncBus() as bus:
            child = subprocess.Popen(["sleep", "60"], close_fds=False, stdin=subprocess.DEVNULL, stdout=2)
            say(child.pid, bus.id.hex())
            await asyncio.Event().wait()
    asyncio.run(main())
    """
    async with AsyncBus() as bus, Program(program) as parent:
        child, node_id = (await parent.line()).split()
        try:
            await until(lambda: knows(bus, bytes.fromhex(node_id)))
            await parent.kill()
            await until(lambda: knows(bus))  # without a keepalive: local links have none
            async with AsyncBus() as late:
                await until(lambda: knows(late, bus.id))
        finally:
            os.kill(int(child), signal.SIGKILL)
