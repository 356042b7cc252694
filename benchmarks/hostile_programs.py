"""Attacks of strangers and hostile peers on running programs: who is let in, what they are told, who is still
answered, what stands in the log. The rows of docs/attacks.md that need sockets; benchmarks/hostile.py runs
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import busway
from busway import AsyncBus
from busway.protocol.wire.control import write_close

TOKEN = "a-token-of-more-than-128-bits-0123456789abcdef"
LABEL = "the-label-of-a-program"
STRANGERS = 200
NASTY = "all is well\n2026-01-01 INFO busway nobody came\x1b[2J" * 3
STREAMS = 64
PATIENCE_S = 20.0
NOBODY = 54_321  # a user that has no processes

Row = tuple[str, str]


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1].partition("/")[0])


async def relayed() -> list[Row]:
    """Somebody in the middle of two that listen with one token passes on what each says."""
    async with AsyncBus(ipc=False) as one, AsyncBus(ipc=False) as other:
        ends = [
            await asyncio.open_connection(
                "127.0.0.1", _port((await bus.listen("tcp://127.0.0.1:0", token=TOKEN)).url)
            )
            for bus in (one, other)
        ]
        pumps = [asyncio.create_task(_pump(here[0], there[1])) for here, there in (ends, ends[::-1])]
        await asyncio.sleep(1)
        open_ = sum(len(bus.nodes()) > 1 or _open(bus) for bus in (one, other))
        for pump in pumps:
            pump.cancel()
    return [("listeners with a token that a man in the middle joined, knowing none", f"{open_} of 2")]


def _open(bus: AsyncBus) -> bool:
    return any(link.state == "open" for link in bus.links())


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None = None
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if kept is not None:
                kept += data
            writer.write(data)
        writer.close()


async def told() -> list[Row]:
    """All that a listener with a token says to whoever connects, before anything is proved."""
    async with AsyncBus(ipc=False, label=LABEL) as bus:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", _port((await bus.listen("tcp://127.0.0.1:0", token=TOKEN)).url)
        )
        heard = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                heard = await reader.read(65536)
        writer.close()
    named = "among them its label, bus and id" if LABEL.encode() in heard else "none of its label, bus and id"
    return [("what a listener tells a stranger that says nothing", f"{len(heard)} bytes, {named}")]


async def streams() -> list[Row]:
    """One caller that has 64 streams and reads none of them; then another one calls."""
    async with AsyncBus(ipc=False) as bus:

        async def counting(request: Any) -> Any:
            for _ in range(100_000):
                yield bytes(100)

        bus.serve("service", counting)
        url = (await bus.listen("tcp://127.0.0.1:0")).url
        async with AsyncBus(ipc=False) as hostile, AsyncBus(ipc=False) as honest:
            await hostile.connect(url)
            await honest.connect(url)
            held = [hostile.request_stream("service", None, timeout=600) for _ in range(STREAMS)]
            for stream in held:
                await anext(stream)
            await asyncio.sleep(0.5)
            started = time.monotonic()
            answer = f"not within {PATIENCE_S:.0f} s"
            with contextlib.suppress(busway.BusError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    async for _ in honest.request_stream("service", None, timeout=600):
                        answer = f"after {time.monotonic() - started:.1f} s"
                        break
    return [(f"another caller beside {STREAMS} streams that nobody reads, answered", answer)]


class _Lines(logging.Handler):
    """Keeps what is logged as a terminal would get it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


async def log() -> list[Row]:
    """Strangers that say goodbye with lines of their own."""
    lines, logger = _Lines(), logging.getLogger("busway")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    async with AsyncBus(ipc=False) as bus:
        port = _port((await bus.listen("tcp://127.0.0.1:0")).url)
        for _ in range(STRANGERS):
            await asyncio.to_thread(_say_and_go, port, write_close(99, NASTY))
        await asyncio.sleep(0.5)
    logger.removeHandler(lines)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    forged = sum(line.startswith("2026-01-01 INFO") for line in lines.text.split("\n"))
    figure = f"{lines.text.count(chr(10))}, {forged} forged, {lines.text.count(chr(27))} ESC"
    rows = [(f"lines in the log after {STRANGERS} strangers", figure)]
    server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
    text = ""
    async with AsyncBus(ipc=False) as bus:
        try:
            await bus.connect(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        except busway.LinkRefused as error:
            text = str(error)
    server.close()
    figure = f"{len(text.splitlines())}, {text.count(chr(27))} ESC"
    return [*rows, ("lines in the text of the error when a stranger refuses a link", figure)]


async def _refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(write_close(99, NASTY))
    writer.close()


def _say_and_go(port: int, said: bytes) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass


async def replayed() -> list[Row]:
    """Somebody else says again what a dialler with the token said over WebSocket."""
    async with AsyncBus(ipc=False, label=LABEL) as bus, AsyncBus(ipc=False) as honest:
        port, kept = _port((await bus.listen("ws://127.0.0.1:0", token=TOKEN)).url), bytearray()

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(_pump(reader, there[1], kept), _pump(there[0], writer))

        server = await asyncio.start_server(between, "127.0.0.1", 0)
        seen = server.sockets[0].getsockname()[1]
        await honest.connect(f"ws://127.0.0.1:{seen}", token=TOKEN)
        said = bytes(kept).replace(b":%d" % seen, b":%d" % port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        heard = b""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                while data := await reader.read(65536):
                    heard += data
        writer.close()
        server.close()
    is_told = "yes" if LABEL.encode() in heard else "no"
    return [("who repeats a page's upgrade is told which program is there", is_told)]


def _environment(place: str, **more: str) -> dict[str, str]:
    return {**os.environ, "BUSWAY_DIR": place, **more}


@contextlib.contextmanager
def _started(*words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "busway", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def secrets() -> list[Row]:
    """A token that was typed, and one that stands in the environment."""
    with tempfile.TemporaryDirectory(prefix="bw-") as place:
        with _started("listen-on", "tcp://127.0.0.1:0", "--token", TOKEN, env=_environment(place)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            shown = TOKEN.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        with _started("serve", "env", "--", "env", env=_environment(place, BUSWAY_TOKEN=TOKEN)) as process:
            for _ in range(50):
                asked = [sys.executable, "-m", "busway", "request", "env"]
                done = subprocess.run(asked, env=_environment(place), capture_output=True, check=False)
                if done.returncode == 0:
                    break
                time.sleep(0.2)
        assert done.returncode == 0, done.stderr
        inherited = TOKEN.encode() in done.stdout
    return [
        ("a token that was typed stands in the list of processes", "yes" if shown else "no"),
        ("... and one of the environment in that of a command that is served", "yes" if inherited else "no"),
    ]


MEETING = f"""
import asyncio, os, tempfile, busway

async def meet():
    async with busway.AsyncBus() as one, busway.AsyncBus() as other:
        async def answer(_):
            return "right"
        one.serve("name", answer, kind="unicast", realm="userspace")
        return await other.request("name", None, timeout=5, ttl=3)

with tempfile.TemporaryDirectory() as place:
    os.environ["BUSWAY_DIR"] = place
    asyncio.run(meet())  # all is imported now that this user may not read
del os.environ["BUSWAY_DIR"]
os.setgid({NOBODY})
os.setuid({NOBODY})
print(asyncio.run(meet()))
"""


def squatted() -> list[Row]:
    """Another user has made the directory in which this one's programs meet."""
    title = "programs meet though another user has made their directory in /tmp"
    if os.geteuid() != 0:
        return [(title, "only root can look")]
    place = Path(tempfile.gettempdir(), f"busway-{NOBODY}")
    place.mkdir(mode=0o755, exist_ok=True)
    try:
        done = subprocess.run([sys.executable, "-c", MEETING], capture_output=True, check=False)
    finally:
        place.rmdir()
        for own in place.parent.glob(f"{place.name}-*"):
            shutil.rmtree(own)
    if b"Error" in done.stderr and place.name.encode() not in done.stderr:
        raise RuntimeError(done.stderr.decode())
    return [(title, "yes" if done.stdout == b"right\n" else "no")]


ROWS: list[tuple[int, Callable[[], Coroutine[Any, Any, list[Row]] | list[Row]]]] = [
    (1, relayed),
    (12, streams),
    (13, told),
    (14, log),
    (17, replayed),
    (18, secrets),
    (19, squatted),
]
