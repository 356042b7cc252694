"""Large messages between processes of one machine: bytes per second, and how long one takes.

Usage: python -m benchmarks.shared [--rounds N] [--sizes 65536,1048576,8388608] [--subscribers 1,5]
                                   [--systems a/b] [--share X] [--core DIR | --pure] [--json FILE]

One process sends, one or five take. Each message is written into where the program has it (a frame with
its number at both ends; the rest stays as it is), sent, and looked at by every receiver: a byte of each page,
and the numbers. Nothing is lost: a sender waits for the slowest. `GB/s` is what each receiver gets, from the
first send until the slowest has looked at the last one; `µs` is from before a message is written until a
receiver has looked at it, one message at a time, with pauses between them. `CPU µs` is the processor time
that a message takes in all processes, at full speed: where others use the machine it says more than GB/s.

The systems, each as its documents say that it is fast:

  busway, region     the program writes into a region of a busway.Registry, which has room for sixteen
                     and for 16 MiB at least, and sends a view of it
  busway, array      the same with an array of numpy of the registry's; arrays arrive
  busway, numpy      an array of the program's is sent, which it may change at once; arrays arrive
  busway, bytes      the same with a bytearray; message.view is looked at
  busway, socket     the same with Limits(shared_memory=False); only if named, for it takes long
  pyzmq              PUB and SUB over ipc, of a bytearray that may be changed at once
  pyzmq, copy=False  the same without a copy at both ends: one of eight bytearrays is written once it has left
  zenoh              peers over a Unix socket, without shared memory
  zenoh, shm         the same with it: a buffer out of its provider, filled from a bytearray
  by hand            multiprocessing.shared_memory, a ring of eight messages, filled from a bytearray, and a
                     pipe to each receiver and back

Busway's have a row with its core compiled, as `pip install` builds it where there is a C compiler, and one in
pure Python. Rounds of all follow each other in turn, each in new processes; figures are medians. `of pyzmq`
is the median of the ratios of GB/s to plain pyzmq's of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import zmq

import busway
from benchmarks.bench import machine
from benchmarks.bench.core import PURE, compiled_package
from benchmarks.bench.progress import Progress
from tests.rigs.tree import ROOT

NAME = "bench/frame"
PAGE = 4096
BYTES = 1 << 29  # of a round at the most
COUNTS = (24, 2000)  # messages of a round, at the least and at the most
PACED = 40  # messages whose time is taken
HELLO = (
    1 << 64
) - 1  # the number of those that are sent until everybody has one, and of the last before jobs
START = HELLO - 1
SLOTS = 8  # messages of the ring by hand, and buffers of pyzmq
REGIONS = 16  # messages of a registry: as many may be on their way together, and more would leave the caches
REGION_BYTES = 1 << 24  # ... or so many bytes of them
NAP_S = 0.00005
WAIT_S = 60.0
STAMP = struct.Struct("<QQ")  # number and nanoseconds
context = multiprocessing.get_context("fork")

Take = Callable[[], Awaitable[Any]]
Buffer = Callable[[int], Awaitable[Any]]
Put = Callable[[Any], Awaitable[object]]


class Place(NamedTuple):
    """Where the processes of a team meet."""

    folder: Path
    shared: SharedMemory
    pipes: list[tuple[Connection, Connection]]  # the sender's end, the receiver's


class System(NamedTuple):
    """A way to send. Each side is opened; one takes messages, the other gives room for one and sends it."""

    receiver: Callable[[Place, int], contextlib.AbstractAsyncContextManager[Take]]
    sender: Callable[[Place], contextlib.AbstractAsyncContextManager[tuple[Buffer, Put]]]


def of_program() -> Buffer:
    """Room that belongs to the program, the same for every message of a size."""
    rooms: dict[int, bytearray] = {}

    async def buffer(size: int) -> bytearray:
        if size not in rooms:
            rooms[size] = bytearray(size)
        return rooms[size]

    return buffer


# Busway --------------------


def opened(place: Place, **limits: Any) -> busway.AsyncBus:
    os.environ["BUSWAY_DIR"] = str(place.folder)
    return busway.AsyncBus("bench", limits=busway.Limits(**limits))


def busway_system(view: Callable[[Any], Any], convert: Callable[[bytearray], Any], **limits: Any) -> System:
    """Publishes what `convert` makes of the program's buffer, and looks at what `view` finds in a message."""

    @contextlib.asynccontextmanager
    async def receiver(place: Place, _number: int) -> AsyncIterator[Take]:
        async with opened(place, **limits) as bus:
            frames = bus.subscribe(NAME)

            async def take() -> Any:
                return view(await frames.receive())

            yield take

    @contextlib.asynccontextmanager
    async def sender(place: Place) -> AsyncIterator[tuple[Buffer, Put]]:
        async with opened(place, **limits) as bus:

            async def put(room: bytearray) -> None:
                await bus.publish(NAME, convert(room), wait=True)

            yield of_program(), put

    return System(receiver, sender)


def registry_sender(take: Callable[[busway.Registry, int], Any], block: int) -> Any:
    """Publishes what `take` gives of a registry, each in a block of `block` sizes."""

    @contextlib.asynccontextmanager
    async def sender(place: Place) -> AsyncIterator[tuple[Buffer, Put]]:
        async with opened(place) as bus:
            registries: dict[int, busway.Registry] = {}

            async def buffer(size: int) -> Any:
                if size not in registries:
                    room = max(REGIONS << (size - 1).bit_length(), REGION_BYTES)
                    registries[size] = busway.Registry(room * block)
                while True:
                    try:
                        return take(registries[size], size)
                    except MemoryError:  # the receivers have all of them
                        await asyncio.sleep(0)
                        time.sleep(NAP_S)  # noqa: ASYNC251 - no timer of the loop is so short

            async def put(room: Any) -> None:
                await bus.publish(NAME, room, wait=True)

            yield buffer, put

    return sender


# pyzmq --------------------


@contextlib.asynccontextmanager
async def zmq_receiver(place: Place, _number: int) -> AsyncIterator[Take]:
    with zmq.Context() as here, here.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVHWM, SLOTS)
        socket.setsockopt(zmq.RECONNECT_IVL, 1)  # ms: it may come before the other has bound
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"ipc://{place.folder}/zmq")

        async def take() -> Any:
            return socket.recv()

        async def take_frame() -> Any:
            return socket.recv(copy=False).buffer

        yield take_frame if _number < 0 else take


def zmq_system(*, copy: bool) -> System:
    @contextlib.asynccontextmanager
    async def receiver(place: Place, number: int) -> AsyncIterator[Take]:
        async with zmq_receiver(place, number if copy else -1) as take:
            yield take

    @contextlib.asynccontextmanager
    async def sender(place: Place) -> AsyncIterator[tuple[Buffer, Put]]:
        with zmq.Context() as there, there.socket(zmq.PUB) as socket:
            socket.setsockopt(zmq.SNDHWM, SLOTS)
            socket.setsockopt(zmq.XPUB_NODROP, 1)  # it waits for the slowest
            socket.bind(f"ipc://{place.folder}/zmq")
            rooms: dict[int, list[tuple[bytearray, Any]]] = {}

            async def buffer(size: int) -> bytearray:
                found = rooms.setdefault(size, [])
                if len(found) < SLOTS:
                    return bytearray(size)
                room, tracker = found.pop(0)
                tracker.wait()
                return room

            async def put(room: bytearray) -> None:
                rooms[len(room)].append((room, socket.send(room, copy=False, track=True)))

            async def put_copy(room: bytearray) -> None:
                socket.send(room)

            yield (of_program(), put_copy) if copy else (buffer, put)

    return System(receiver, sender)


# zenoh --------------------


def zenoh_session(place: Place, where: str, *, shm: bool) -> Any:
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "false")
    config.insert_json5("listen/endpoints", "[]")
    config.insert_json5("transport/shared_memory/enabled", json.dumps(shm))
    config.insert_json5(f"{where}/endpoints", json.dumps([f"unixsock-stream/{place.folder}/zenoh"]))
    return zenoh.open(config)


def zenoh_system(*, shm: bool) -> System:
    @contextlib.asynccontextmanager
    async def receiver(place: Place, _number: int) -> AsyncIterator[Take]:
        import zenoh

        with zenoh_session(place, "connect", shm=shm) as session:
            frames = session.declare_subscriber(NAME, zenoh.handlers.FifoChannel(SLOTS))

            async def take() -> Any:
                return frames.recv().payload.to_bytes()  # it has no other way to look at a payload

            yield take

    @contextlib.asynccontextmanager
    async def sender(place: Place) -> AsyncIterator[tuple[Buffer, Put]]:
        import zenoh

        with zenoh_session(place, "listen", shm=shm) as session:
            out = session.declare_publisher(NAME, congestion_control=zenoh.CongestionControl.BLOCK)
            providers: dict[int, Any] = {}

            async def put(room: bytearray) -> None:
                out.put(room)

            async def put_shared(room: bytearray) -> None:
                size = len(room)
                if size not in providers:
                    providers[size] = zenoh.shm.ShmProvider.default_backend(2 * SLOTS * size)
                policy = zenoh.shm.BlockOn(zenoh.shm.GarbageCollect())
                shared = providers[size].alloc(size, policy)
                shared[0:size] = room
                out.put(shared)

            yield of_program(), put_shared if shm else put

    return System(receiver, sender)


# By hand --------------------


@contextlib.asynccontextmanager
async def hand_receiver(place: Place, number: int) -> AsyncIterator[Take]:
    pipe = place.pipes[number][1]
    memory: Any = place.shared.buf
    held = False

    async def take() -> Any:
        nonlocal held
        if held:
            pipe.send_bytes(b"\0")  # the one before is not looked at any more
        held = True
        at, size = STAMP.unpack(pipe.recv_bytes())
        return memory[at : at + size]

    yield take


@contextlib.asynccontextmanager
async def hand_sender(place: Place) -> AsyncIterator[tuple[Buffer, Put]]:
    sent = 0
    memory: Any = place.shared.buf

    async def put(room: bytearray) -> None:
        nonlocal sent
        size = len(room)
        slots = [pipe for pipe, _ in place.pipes]
        for pipe in slots:
            if sent >= SLOTS - 1:
                pipe.recv_bytes()
        at = sent % SLOTS * (place.shared.size // SLOTS)
        memory[at : at + size] = room
        for pipe in slots:
            pipe.send_bytes(STAMP.pack(at, size))
        sent += 1

    yield of_program(), put


BYTES_SENT = busway_system(lambda message: message.view, lambda room: room)
ARRAYS_SENT = busway_system(
    lambda message: message.payload, lambda room: numpy.frombuffer(room, "u1").reshape(-1, 64)
)
SYSTEMS: dict[str, System] = {
    "busway, region": System(
        BYTES_SENT.receiver, registry_sender(lambda registry, size: registry.take(size).view[:size], 1)
    ),
    "busway, array": System(
        # Its margins make a block of twice the size of an array of a power of two.
        ARRAYS_SENT.receiver,
        registry_sender(lambda registry, size: registry.array((size // 64, 64)), 2),
    ),
    "busway, numpy": ARRAYS_SENT,
    "busway, bytes": BYTES_SENT,
    "busway, socket": busway_system(lambda message: message.view, lambda room: room, shared_memory=False),
    "pyzmq": zmq_system(copy=True),
    "pyzmq, copy=False": zmq_system(copy=False),
    "zenoh": zenoh_system(shm=False),
    "zenoh, shm": zenoh_system(shm=True),
    "by hand": System(hand_receiver, hand_sender),
}
BASE = "pyzmq"
USUAL = [name for name in SYSTEMS if name != "busway, socket"]


# The two sides of each --------------------


class Job(NamedTuple):
    """A number of messages of one size, as fast as can be or one at a time."""

    size: int
    number: int  # of messages
    paced: bool


async def job_from(parent: Connection) -> Job | None:
    # Nothing wakes the loop for it, and what was sent last may still have to leave.
    while not parent.poll():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    found: Job | None = parent.recv()
    return found


def look(message: Any) -> tuple[int, int]:
    """A byte of every page, and the numbers at both ends. Returns number and time of sending."""
    flat = isinstance(message, numpy.ndarray)
    data: Any = message.reshape(-1) if flat else numpy.frombuffer(message, "u1")
    data[::PAGE].sum()
    number, when = STAMP.unpack_from(data)
    (end,) = struct.unpack_from("<Q", data, len(data) - 8)
    if end != number:
        raise AssertionError(f"message {number} has the end of message {end}")
    return number, when


def written(room: Any, number: int) -> None:
    struct.pack_into("<Q", room, memoryview(room).nbytes - 8, number)
    STAMP.pack_into(room, 0, number, time.perf_counter_ns())


async def receiving(parent: Connection, system: System, place: Place, number: int) -> None:
    async with system.receiver(place, number) as take:
        assert look(await take())[0] == HELLO
        parent.send("up")
        while look(await take())[0] != START:
            pass
        parent.send("ready")
        while (job := await job_from(parent)) is not None:
            parent.send("ready")
            took, spent = [], time.process_time()
            for number in range(job.number):
                found, when = look(await take())
                if found != number:
                    raise AssertionError(f"message {found} came in place of {number}")
                took.append(time.perf_counter_ns() - when)
            parent.send((time.perf_counter(), time.process_time() - spent, took))


async def sending(parent: Connection, system: System, place: Place) -> None:
    async with system.sender(place) as (buffer, put):
        number = HELLO
        while number == HELLO:
            number = START if parent.poll() else HELLO
            room = await buffer(PAGE)
            written(room, number)
            await put(room)
            await asyncio.sleep(0.01)
        parent.recv()
        while (job := await job_from(parent)) is not None:
            began, spent = time.perf_counter(), time.process_time()
            for number in range(job.number):
                if job.paced:
                    await asyncio.sleep(0.002 + job.size / 1e9)
                room = await buffer(job.size)
                written(room, number)
                await put(room)
            await asyncio.sleep(0)
            parent.send((began, time.process_time() - spent))


def child(parent: Connection, work: Callable[..., Any], *given: Any) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(WAIT_S))
    try:
        asyncio.run(work(parent, *given))
    except Exception as error:  # noqa: BLE001 - for who waits
        parent.send(error)
    os._exit(0)  # zenoh's threads may be at work still


class Round(NamedTuple):
    """Bytes per second that each receiver got; in seconds how long single messages took, and the processor
    time of one in all processes.
    """

    rate: float
    latency: float
    cost: float


def told(pipe: Connection) -> Any:
    """The next that a process has to say. Raises TimeoutError, and what the process raised."""
    if not pipe.poll(WAIT_S):
        raise TimeoutError("a round stands still")
    found = pipe.recv()
    if isinstance(found, Exception):
        raise found
    return found


def ran(name: str, subscribers: int, sizes: list[int], share: float) -> dict[int, Round]:
    """All sizes with one team of processes."""
    system, found = SYSTEMS[name], {}
    with tempfile.TemporaryDirectory(prefix="bw-") as folder, contextlib.ExitStack() as stack:
        shared = SharedMemory(create=True, size=SLOTS * max(*sizes, PAGE))
        stack.callback(shared.unlink)
        stack.callback(shared.close)
        place = Place(Path(folder), shared, [context.Pipe() for _ in range(subscribers)])
        parents = [context.Pipe() for _ in range(subscribers + 1)]
        pipes = [near for near, _ in parents]
        works: list[tuple[Any, ...]] = [(parents[0][1], sending, system, place)]
        works += [(parents[one + 1][1], receiving, system, place, one) for one in range(subscribers)]
        team = [context.Process(target=child, args=work, daemon=True) for work in works]
        for process in team:
            process.start()
        for process in team:
            stack.callback(process.kill)
        for pipe in pipes[1:]:
            assert told(pipe) == "up"
        pipes[0].send("start")
        for pipe in pipes[1:]:
            assert told(pipe) == "ready"
        for size in sizes:
            found[size] = round_of(pipes, size, share)
        for pipe in pipes:
            pipe.send(None)
        for process in team:
            process.join(5)
    return found


def round_of(pipes: list[Connection], size: int, share: float) -> Round:
    count = max(2, int(share * min(max(BYTES // size, COUNTS[0]), COUNTS[1])))
    rates, latencies, costs = [], [], []
    paced = Job(size, max(2, int(share * PACED)), paced=True)
    for job in (Job(size, count, paced=False), Job(size, count, paced=False), paced):  # the first to get warm
        for pipe in pipes[1:]:
            pipe.send(job)
        for pipe in pipes[1:]:  # a queue that nobody takes from drops what came first
            assert told(pipe) == "ready"
        pipes[0].send(job)
        began, spent = told(pipes[0])
        ends = [told(pipe) for pipe in pipes[1:]]
        rates.append(job.size * job.number / (max(end for end, _, _ in ends) - began))
        latencies.append(statistics.median(took for _, _, tooks in ends for took in tooks) / 1e9)
        costs.append((spent + sum(each for _, each, _ in ends)) / job.number)
    return Round(rates[1], latencies[2], costs[1])


# Rounds, and what is printed --------------------


class Row(NamedTuple):
    """A system, and the package of Busway that it is run with."""

    system: str
    package: Path
    core: str  # "compiled", "pure"; "": it is not Busway

    @property
    def title(self) -> str:
        return f"{self.system}, pure" if self.core == "pure" else self.system


class Line(NamedTuple):
    """A row with one size and number of subscribers."""

    subscribers: int
    size: int
    row: Row
    rounds: list[Round]

    @property
    def rate(self) -> float:
        return statistics.median(one.rate for one in self.rounds)

    @property
    def latency(self) -> float:
        return statistics.median(one.latency for one in self.rounds)

    @property
    def cost(self) -> float:
        return statistics.median(one.cost for one in self.rounds)

    def over(self, other: Line) -> float:
        return statistics.median(
            mine.rate / theirs.rate for mine, theirs in zip(self.rounds, other.rounds, strict=True)
        )


def rows_of(options: argparse.Namespace) -> list[Row]:
    """Busway's systems twice, the others once. Raises AssertionError: the core cannot be compiled."""
    cores = {"pure": PURE}
    if not options.pure:
        cores = {"compiled": (options.core or compiled_package(Progress())).resolve(), **cores}
    rows = []
    for system in options.systems:
        ours = system.startswith("busway")
        rows += (
            [Row(system, package, core) for core, package in cores.items()]
            if ours
            else [Row(system, PURE, "")]
        )
    return rows


class Apart:
    """A process that imports a package of Busway, and runs teams with it. A context manager."""

    def __init__(self, package: Path) -> None:
        path = os.pathsep.join((str(package), str(ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.shared", "--teams"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()

    def ran(self, system: str, subscribers: int, options: argparse.Namespace) -> list[Round]:
        """A round of each size, as of the function. Raises RuntimeError; it has said why."""
        given = {"name": system, "subscribers": subscribers, "sizes": options.sizes, "share": options.share}
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(given), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{system} failed, see above")
        return [Round(*each) for each in json.loads(answer)]


def teams() -> None:
    """The work of such a process."""
    for line in sys.stdin:
        print(json.dumps(list(ran(**json.loads(line)).values())), flush=True)


def measure(options: argparse.Namespace, rows: list[Row]) -> list[Line]:
    lines = {
        (subscribers, size, row): Line(subscribers, size, row, [])
        for subscribers in options.subscribers
        for size in options.sizes
        for row in rows
    }
    with contextlib.ExitStack() as stack:
        by = {package: stack.enter_context(Apart(package)) for package in {row.package for row in rows}}
        for number in range(options.rounds):
            for subscribers, row in itertools.product(options.subscribers, rows):
                doing = f"round {number + 1}: {row.title}, {subscribers} subscribers"
                print(f"\r{doing:<78}", end="", file=sys.stderr)
                found = by[row.package].ran(row.system, subscribers, options)
                for size, one in zip(options.sizes, found, strict=True):
                    lines[subscribers, size, row].rounds.append(one)
    print("\r".ljust(80), end="\r", file=sys.stderr)
    return list(lines.values())


def size_text(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def table(lines: list[Line], options: argparse.Namespace) -> str:
    """As Markdown: a row for each system and number of subscribers."""
    heads = [f"{size_text(size)}: GB/s | µs | CPU µs | of {BASE}" for size in options.sizes]
    texts = [f"| Subscribers | System | {' | '.join(heads)} |", "|---" * (2 + 4 * len(heads)) + "|"]
    by = {(line.subscribers, line.size, line.row.title): line for line in lines}
    for subscribers in options.subscribers:
        for title in dict.fromkeys(line.row.title for line in lines):
            cells = [str(subscribers), title]
            for size in options.sizes:
                line, base = by[subscribers, size, title], by.get((subscribers, size, BASE))
                cells += [f"{line.rate / 1e9:.2f}", f"{line.latency * 1e6:,.0f}", f"{line.cost * 1e6:,.0f}"]
                cells.append(f"{line.over(base):.1f}" if base and base is not line else "")
            texts.append(f"| {' | '.join(cells)} |")
    return "\n".join(texts)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.shared", description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="of each system (default 5)")
    parser.add_argument(
        "--sizes", type=numbers, default=[1 << 16, 1 << 20, 1 << 23], help="bytes of a message"
    )
    parser.add_argument("--subscribers", type=numbers, default=[1, 5], help="receiving processes")
    parser.add_argument(
        "--systems", type=lambda text: text.split("/"), default=USUAL, help="a/b of those above"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the messages of a round (default 1)")
    core = parser.add_mutually_exclusive_group()
    core.add_argument("--core", type=Path, metavar="DIR", help="compiled package that was built before")
    core.add_argument("--pure", action="store_true", help="pure Python only: nothing is compiled")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--teams", action="store_true", help=argparse.SUPPRESS)  # of `Apart`
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.share <= 100:
        parser.error("--rounds is 1 or more, --share more than 0 and at most 100")
    if unknown := set(options.systems) - set(SYSTEMS):
        parser.error(f"no system {sorted(unknown)}: there are {', '.join(SYSTEMS)}")
    if min(options.sizes) < PAGE or min(options.subscribers) < 1:
        parser.error(f"a message has {PAGE} bytes or more, and there is one subscriber at least")
    return options


def main() -> None:
    options = arguments()
    if options.teams:
        teams()
        return
    found = measure(options, rows_of(options))
    print(table(found, options))
    if options.json is not None:
        rows = [
            {
                "subscribers": line.subscribers,
                "size": line.size,
                "system": line.row.system,
                "core": line.row.core,
                "rounds": [one._asdict() for one in line.rounds],
            }
            for line in found
        ]
        options.json.write_text(
            json.dumps({"environment": machine.environment(), "lines": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
