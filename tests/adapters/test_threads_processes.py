"""Bus among processes: joining, asyncio programs, kill -9, fork, Ctrl-C, and the interpreter's end."""

from __future__ import annotations

import os
import signal
import time

import pytest

import busway
from busway import Bus
from tests.adapters.threads_tools import Program, Task, sees, until
from tests.rigs.tree import ROOT

pytestmark = pytest.mark.timeout(30)

THREADS_SERVER = """
with busway.Bus() as bus:
    bus.serve("echo", lambda request: request.payload)
    say(bus.id.hex())
    sys.stdin.readline()
"""
ASYNC_SERVER = """
import asyncio
async def main():
    async with busway.AsyncBus() as bus:
        bus.serve("echo", lambda request: request.payload)
        say(bus.id.hex())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
asyncio.run(main())
"""
SERVERS = pytest.mark.parametrize("server", [THREADS_SERVER, ASYNC_SERVER], ids=["threads", "asyncio"])


@SERVERS
def test_local_programs_find_each_other_whoever_comes_first(server: str) -> None:
    with Program(server) as early:
        early.line()
        with Bus() as bus, Program(server) as late:
            assert sees(bus, "echo")  # at once
            node = bytes.fromhex(late.line())
            assert bus.request("echo", [1, "ü"]) == [1, "ü"]
            until(lambda: len(bus.nodes()) == 3)
            assert bus.request("echo", "you", node=node, ttl=30) == "you"
            # Its own link may come after word of it from the other.
            until(lambda: [hop.node for hop in bus.trace("echo", node=node, timeout=60)] == [node])


@SERVERS
def test_a_leaf_joins_through_one_and_through_another_when_that_dies(server: str) -> None:
    with Program(server) as one, Program(server) as two:
        servers = {bytes.fromhex(program.line()): program for program in (one, two)}
        with Bus(leaf=True) as bus:
            (link,) = bus.links()
            assert bus.request("echo", 1) == 1
            servers[link.peer].kill()
            until(lambda: [other.peer for other in bus.links()] == [*(set(servers) - {link.peer})])
            assert bus.request("echo", 2, ttl=30) == 2


def test_asyncio_programs_call_a_bus_of_threads() -> None:
    caller = """
    import asyncio
    async def main():
        async with busway.AsyncBus() as bus:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(bus.request("echo", number)) for number in range(200)]
            say([task.result() for task in tasks] == list(range(200)))
            parts = [part async for part in bus.request_stream("count", 500)]
            say(parts == list(range(500)))
            await bus.send("log", "bye", confirm=True)
    asyncio.run(main())
    """
    with Bus() as bus, bus.register("log") as log:
        bus.serve("echo", lambda request: request.payload)
        bus.serve("count", lambda request: (number for number in range(request.payload)))
        with Program(caller) as program:
            program.expect("True")
            program.expect("True")
            assert log.receive(60).payload == "bye"
            assert program.ended() == ""


@SERVERS
def test_kill_9_of_the_server_ends_every_call_at_once(server: str) -> None:
    with Bus() as bus, Program(server.replace("request.payload", "time.sleep(60)")) as program:
        program.line()
        until(lambda: sees(bus, "echo"))
        asking = [Task(lambda: bus.request("echo", timeout=600)) for _ in range(8)]
        changes = bus.changes()
        until(lambda: len(bus.node.origin.pending) == 8)
        program.kill()
        for task in asking:
            with pytest.raises(busway.Undeliverable):
                task.result()
        assert next(changes).what == "link-down"
        until(lambda: len(bus.nodes()) == 1)


def test_tcp_with_a_token() -> None:
    with Bus(ipc=False) as near, Bus(ipc=False) as far:
        listener = near.listen("tcp://127.0.0.1:0", token="secret-h4k9w2x7q5m8z3t6r1v0")
        near.serve("echo", lambda request: request.payload)
        with pytest.raises(busway.LinkRefused):
            far.connect(listener.url, token="guess-h4k9w2x7q5m8z3t6r1v0")
        assert far.connect(listener.url, token="secret-h4k9w2x7q5m8z3t6r1v0").peer == near.id
        assert far.request("echo", 1) == 1
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            far.connect(listener.url, token="secret-h4k9w2x7q5m8z3t6r1v0", retry=None)
        with pytest.raises(ValueError, match="beyond this machine"):
            near.listen("tcp://0.0.0.0:0")


# Ctrl-C


@pytest.mark.parametrize(
    "call",
    [
        'bus.request("mute")',
        'list(bus.request_stream("mute"))',
        'bus.send("nobody", ttl=60)',
        'bus.send("unread", confirm=True)',
        "receiver.receive()",
        "receiver.receive(60)",
        "list(receiver)",
        "list(changes)",
        'bus.connect(f"tcp://127.0.0.1:{deaf.getsockname()[1]}")',
    ],
)
def test_ctrl_c_interrupts(call: str) -> None:
    program = f"""
    import socket
    with busway.Bus() as bus, socket.create_server(("127.0.0.1", 0)) as deaf:
        receiver = bus.register("x")
        bus.register("unread")
        changes = bus.changes()
        bus.serve("mute", lambda _: gate.wait(60))
        bus.serve("echo", lambda request: request.payload)
        gate = threading.Event()
        say("ready")
        threading.Timer(0.1, say, ["waiting"]).start()
        try:
            {call}
        except KeyboardInterrupt:
            say("interrupted", len(bus._host.waiters), bus.request("echo", 5))
        gate.set()
    say("closed")
    """
    with Program(program) as program_:
        program_.expect("ready")
        program_.expect("waiting")
        program_.process.send_signal(signal.SIGINT)
        program_.expect("interrupted 0 5")
        program_.expect("closed")
        assert program_.ended() == ""


def test_ctrl_c_ends_a_close_that_waits_for_a_handler() -> None:
    program = """
    import signal
    gate, asked = threading.Event(), threading.Event()
    with busway.Bus(ipc=False) as bus:
        bus.serve("stuck", lambda _: asked.set() or gate.wait(600))
        threading.Thread(target=lambda: bus.request("stuck", None, timeout=600), daemon=True).start()
        asked.wait(60)
        threading.Timer(0.1, say, ["closing"]).start()
        began = time.monotonic()
        try:
            bus.close(600)
        except KeyboardInterrupt:
            say("interrupted", time.monotonic() - began < 120)
    say("handler", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    gate.set()
    """
    with Program(program) as program_:
        program_.expect("closing")
        program_.process.send_signal(signal.SIGINT)
        program_.expect("interrupted True")
        program_.expect("handler True")
        program_.ended()


@pytest.mark.parametrize(
    "calls",
    [
        'bus.request("echo", b"x", ttl=30, timeout=60)',
        'bus.send("it", b"x")\n                    drain(receiver)',
    ],
    ids=["request", "send and receive"],
)
def test_ctrl_c_amid_a_busy_loop_leaves_the_bus_usable(calls: str) -> None:
    program = f"""
    def drain(receiver):
        try:
            while True:
                receiver.receive(0)
        except TimeoutError:
            pass

    with busway.Bus() as bus, busway.Bus() as other:
        other.serve("echo", lambda request: request.payload)
        receiver = other.register("it")
        bus.send("it", b"", ttl=30)
        interrupted = 0
        while interrupted < 40:
            try:
                say(interrupted)  # in here, since the next signal may come before it has returned
                while True:
                    {calls}
            except KeyboardInterrupt:
                interrupted += 1
        say(interrupted)
        for number in range(100):
            bus.request("echo", b"x", timeout=60)
            bus.send("it", b"x")
            drain(receiver)
        started = time.monotonic()
        bus.close(600), other.close(600)  # with nothing that they would wait for
    say("closed", time.monotonic() - started < 120)
    """
    with Program(program) as program_:
        program_.expect("0")
        for number in range(40):
            time.sleep(0.003 + number / 10_000)  # at any place of the loop
            program_.process.send_signal(signal.SIGINT)
            program_.expect(str(number + 1))
        program_.expect("closed True")
        assert program_.ended() == ""


# Fork


FORK = """
def calls(bus, receiver, service):
    return {
        "send": lambda: bus.send("echo", b""),
        "confirm": lambda: bus.send("echo", b"", confirm=True),
        "publish": lambda: bus.publish("news", 1),
        "request": lambda: bus.request("echo", 1),
        "stream": lambda: list(bus.request_stream("echo")),
        "receive": lambda: receiver.receive(),
        "connect": lambda: bus.connect("tcp://127.0.0.1:1"),
        "listen": lambda: bus.listen("tcp://127.0.0.1:0"),
        "open": lambda: bus.open(),
        "register": lambda: bus.register("x"),
        "serve": lambda: bus.serve("y", print),
        "changes": lambda: bus.changes(),
    }

def try_all(bus, receiver, service):
    "What the child may not do, with what it is told."
    for name, call in calls(bus, receiver, service).items():
        try:
            call()
            return f"{name} worked"
        except busway.BusError as error:
            if f"opened by process {os.getppid()} before fork" not in str(error):
                return f"{name} said {error}"
    receiver.close()
    service.close()
    bus.close()
    with busway.Bus() as mine:
        return f"all refused, and {mine.request('echo', 7)} of its own"

with busway.Bus() as bus:
    service = bus.serve("echo", lambda request: request.payload)
    receiver = bus.register("log")
    busy = threading.Thread(target=lambda: [bus.request("echo", 1) for _ in range(3000)])
    busy.start()  # so that the lock may be held at the fork
    waiting = threading.Thread(target=lambda: say("parent got", receiver.receive().payload))
    waiting.start()
    for round in range(5):
        child = os.fork()
        if not child:
            import faulthandler
            faulthandler.dump_traceback_later(10, exit=True)
            try:
                say(try_all(bus, receiver, service))
            except BaseException as error:
                say(repr(error))
            os._exit(0) if round % 2 else sys.exit(0)
        os.waitpid(child, 0)
    busy.join()
    bus.send("log", "still here")
    waiting.join()
"""


@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_is_told_and_the_parent_goes_on() -> None:
    with Program(FORK) as program:
        for _ in range(5):
            program.expect("all refused, and 7 of its own")
        program.expect("parent got still here")
        assert program.ended() == ""


def test_a_surviving_child_keeps_neither_socket_nor_link_of_a_dead_parent() -> None:
    program = """
    with busway.Bus() as bus:
        child = os.fork()
        if not child:
            os.close(0), os.close(1), os.close(2)  # the pipes of this very test
            time.sleep(60)
            os._exit(0)
        say(child, bus.id.hex())
        time.sleep(60)
    """
    with Bus() as bus, Program(program) as parent:
        child, node_id = parent.line().split()
        try:
            until(lambda: bytes.fromhex(node_id) in [node.id for node in bus.nodes()])
            parent.kill()
            until(lambda: len(bus.nodes()) == 1)
            os.kill(int(child), 0)  # it lives
        finally:
            os.kill(int(child), signal.SIGKILL)


# The interpreter's end


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "sys.exit(0)",
        "threading.Thread(target=lambda: ask(bus), daemon=True).start()",
        "threading.Thread(target=lambda: list(receiver), daemon=True).start()",
        'bus.send("mute")',
        "bus.close()",
        "bus.close(0)",
        "threading.Thread(target=bus.close).start()",
        "del bus",
    ],
)
def test_the_interpreter_ends_in_time_with_the_bus_open(ending: str) -> None:
    program = f"""
    bus = busway.Bus().open()
    def ask(bus):
        try:
            bus.request("nobody", ttl=600, timeout=600)
        except busway.BusClosed:
            pass
    receiver = bus.register("x")
    bus.serve("mute", lambda _: time.sleep(600))
    bus.send("far", "last words", ttl=30)
    say("ready")
    {ending}
    """
    with Bus() as far:
        receiver = far.register("far")
        with Program(program) as program_:
            program_.expect("ready")
            assert program_.ended() == ""
        assert receiver.receive(60).payload == "last words"
        until(lambda: len(far.nodes()) == 1)


def test_an_import_alone_starts_nothing() -> None:
    with Program("busway.Bus; say(threading.active_count())") as program:
        program.expect("1")
    assert (ROOT / "adapters" / "threads.py").is_file()


OPENED_WITHOUT_DESCRIPTORS = """
import gc, os, resource, warnings
import busway
import busway.adapters.threads
gc.disable()
warnings.simplefilter("error", ResourceWarning)
busway.Bus(ipc=False).open().close()  # imports what it needs
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
before = sorted(os.listdir("/proc/self/fd"))
tries = 0
while True:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(max(before, key=int)) + tries, hard))
    bus = busway.Bus(ipc=False)
    try:
        bus.open()
    except OSError as error:
        failure = error.with_traceback(None)
        del bus, error
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert sorted(os.listdir("/proc/self/fd")) == before, tries
        tries += 1
        continue
    bus.close()
    break
print("tries", tries, flush=True)
"""


def test_opening_without_descriptors_leaves_none_open() -> None:
    with Program(OPENED_WITHOUT_DESCRIPTORS) as program:
        word, tries = program.line().split()
        assert word == "tries"
        assert int(tries) >= 4
