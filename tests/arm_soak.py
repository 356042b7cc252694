"""A stage of the soak: Busway frozen into a real image of MicroPython for a Cortex-M3, run by QEMU.

The image (rigs/freeze_arm.sh) has a heap of 20 KiB, and another, whose link has a key, one of 24; its UART 1
is a pty, which a bus opens as a serial line. For half the time given each is asked, sent confirmed messages
and heard, at random from the seed. Nothing may be lost, wrong or out of order, and what the board holds may
not grow. Needs qemu-system-arm, gcc-arm-none-eabi and libnewlib-arm-none-eabi.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import busway
from busway.board_keys import load_board_key
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

RIGS = ROOT / "tests" / "rigs"
HEAPS = {False: 20480, True: 24576}  # without a key, with one
SIZE_MAX = 64  # bytes of a message: with room for larger ones the heap has to be larger
GROWTH_MAX = 256  # bytes, from the second look at the board's memory, when all names are known, to the last
TOOLS = ("qemu-system-arm", "arm-none-eabi-gcc", "gcc", "make")
MACHINE = (
    "-M",
    "mps2-an385",
    "-nographic",
    "-monitor",
    "none",
    "-semihosting",
    "-serial",
    "pty",
    "-serial",
    "pty",
)


def build(directory: Path, keyed: bool) -> tuple[Path, int]:
    """The image, with the firmware as `busway firmware` makes it, and the bytes of flash that it takes. The
    key of one that is `keyed` is in the folder `keys` beside it.
    """
    firmware, program, key = directory / "firmware", directory / "program", directory / "keys" / "board.key"
    with_key: list[str | Path] = ["--key", key] if keyed else []
    making: list[str | Path] = [sys.executable, "-m", "busway", "firmware", "--out", firmware, *with_key]
    output_of(making, cwd=ROOT, timeout_s=120)
    program.mkdir(exist_ok=True)
    shutil.copy(RIGS / "arm" / "sensor.py", program)
    if keyed:
        (program / "secret.py").write_text(f"KEY = {load_board_key(key)!r}\n")
    command: list[str | Path] = [RIGS / "freeze_arm.sh", firmware, program, directory, str(HEAPS[keyed])]
    printed = output_of(command, cwd=ROOT, timeout_s=1200)
    sizes = re.search(r"^\s*(\d+)\s+(\d+)\s+\d+\s+\d+\s+\w+\s", printed, re.MULTILINE)
    assert sizes is not None, printed
    return directory / "firmware.elf", int(sizes[1]) + int(sizes[2])


@contextlib.contextmanager
def running(image: Path) -> Iterator[tuple[int, str]]:
    """QEMU with that image: a descriptor of the board's terminal, and the path of its serial line."""
    command = ["qemu-system-arm", *MACHINE, "-kernel", str(image)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            paths = [line_of(process.stdout.readline()) for _ in range(2)]
            terminal = os.open(paths[0], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                tty.setraw(terminal)
                yield terminal, paths[1]
            finally:
                os.close(terminal)
        finally:
            process.kill()


def line_of(said: str) -> str:
    found = re.search(r"/dev/pts/\d+", said)
    assert found is not None, f"QEMU said: {said!r}"
    return found[0]


def printed_by(terminal: int) -> str:
    """All that the board has printed."""
    with contextlib.suppress(BlockingIOError):
        return os.read(terminal, 65536).decode(errors="replace")
    return ""


async def boot(terminal: int, bus: busway.AsyncBus, line: str) -> None:
    """Types what starts the program until the board is on the bus."""
    heard = ""
    for _ in range(20):
        os.write(terminal, b"\r\nimport sensor\r\n")
        try:
            await bus.connect(f"serial://{line}?baud=115200", wait=3)
            return
        except OSError:
            heard += printed_by(terminal)
    raise AssertionError(f"the board did not come; it printed:\n{heard}")


async def talk(bus: busway.AsyncBus, seed: int, seconds: float) -> tuple[int, int, int, int]:
    """Requests, messages taken, announcements heard, and by how much the board's memory grew."""
    rng = random.Random(seed)
    heard: list[int] = []
    readings = bus.subscribe("arm/taken")
    allocated: list[int] = []
    requests = sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not requests % 200:
            allocated.append((await bus.request("arm/memory", ttl=30))[0])
        value = rng.randrange(10**6)
        assert await bus.request("arm/double", value, ttl=30) == 2 * value
        requests += 1
        if rng.random() < 0.3:
            await bus.send("arm/sink", rng.randbytes(rng.randrange(SIZE_MAX)), confirm=True, ttl=30)
            sent += 1
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append((await readings.receive(timeout=0)).payload)
    assert heard == sorted(heard), "announcements out of order"
    async with asyncio.timeout(30):  # the last announcement tells all that was sent
        while (await readings.receive()).payload < sent:
            pass
    return requests, sent, len(heard), allocated[-1] - allocated[min(1, len(allocated) - 1)]


async def one(
    terminal: int, line: str, keys: Path | None, seed: int, seconds: float
) -> tuple[int, int, int, int]:
    async with busway.AsyncBus(ipc=False, boards=keys) as bus:
        await boot(terminal, bus, line)
        return await talk(bus, seed, seconds)


def arm(seed: int, seconds: float) -> tuple[bool, str]:
    """Builds the images, which takes a minute or two each, and talks to them for the time given."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = "apt-get install qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi"
        return True, f"NOT RUN: no {', '.join(missing)} here; on Debian: {packages}"
    with tempfile.TemporaryDirectory(prefix="bw-") as scratch:
        told = [talked(Path(scratch), keyed, seed, seconds / 2) for keyed in (False, True)]
    return all(well for well, _ in told), "; with a key: ".join(text for _, text in told)


def talked(scratch: Path, keyed: bool, seed: int, seconds: float) -> tuple[bool, str]:
    """The same of one image."""
    image, flash = build(scratch, keyed)
    with running(image) as (terminal, line):
        try:
            keys = scratch / "keys" if keyed else None
            requests, sent, heard, growth = asyncio.run(one(terminal, line, keys, seed, seconds))
        except (AssertionError, TimeoutError, busway.BusError) as error:
            return False, f"{error!r}; the board printed: {printed_by(terminal)}"
    text = f"{requests} requests, {sent} messages confirmed, {heard} announcements"
    heap = f"a heap of {HEAPS[keyed]} bytes, of which {growth} more in use at the end"
    return growth <= GROWTH_MAX, f"{text}; {heap}; {flash} bytes of flash, MicroPython's included"
