"""The smallest heap in which a leaf lives on MicroPython beside a real bus: as .mpy, as .py, or frozen.

`python -m benchmarks.leaf_memory [MICROPYTHON...] [--frozen MICROPYTHON]`: name an i386 build to measure
32-bit words. Four endpoints, a request in flight at any time, frames of 256 bytes; over a stream, and over
packets on a pty; each without a key, and with one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import busway
from busway.board_keys import make_board_key
from busway.firmware import MODULES, SECURE, build, measure, show
from tests.drivers.lines import line
from tests.rigs import micropython

BOARD = """
import gc, socket, sys
from busway.adapters.micropython import Loop
sort, place, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if sort == "stream":
    line = socket.socket()
    line.connect(socket.getaddrinfo("127.0.0.1", place)[0][-1])
else:
    line = open(place, "r+b")
loop = Loop(line, "board", sort=sort, key=sys.argv[4])
for name in ("lab/a", "lab/b", "lab/c"):
    loop.serve(name)(lambda value: value)
loop.subscribe("lab/d")(lambda value: None)
done = [0]
def replied(outcome):
    done[0] += outcome.ok
    if done[0] < rounds:
        loop.request("lab/double", done[0], replied, 5000, 5000)
loop.request("lab/double", 0, replied, 5000, 5000)
first = 0
while done[0] < rounds:
    loop.step(5000)
    if done[0] == rounds // 10 and not first:
        gc.collect()
        first = gc.mem_alloc()
gc.collect()
print(done[0], gc.mem_alloc(), gc.mem_alloc() - first)
"""


class Site:
    """A bus with something to ask, and ways for boards to reach it: `bus`, and `keyed` for those whose key is
    in `folder`."""

    def __init__(self, bus: busway.Bus, keyed: busway.Bus, folder: Path) -> None:
        self.bus = bus
        self.keyed = keyed
        self._key = (folder / "board.key").read_text()
        self._ports = {}
        for each in (bus, keyed):
            self._ports[each] = each.listen("tcp://127.0.0.1:0").url.rsplit(":", 1)[1]
            each.serve("lab/double")(lambda request: request.payload * 2)

    def run(
        self,
        command: str,
        folder: Path,
        heap_kib: int,
        rounds: int = 200,
        *,
        sort: str = "stream",
        key: bool = False,
        patience_s: float = 10.0,
    ) -> list[int]:
        """Lets a board ask `rounds` times, over a link of that sort, with a key or without.

        A link must be open within `patience_s`, and the board end within that and 20 ms for each round.

        Returns: rounds done, bytes held at the end, growth since a tenth of them; empty if the heap was too
        small.
        """
        command = os.path.abspath(shutil.which(command) or command)  # the board runs in its folder
        program = folder / "main.py"
        program.write_text(BOARD)
        (folder / "board.key").write_text(self._key)
        bus = self.keyed if key else self.bus
        words = [str(rounds), "board.key" if key else ""]
        with line() as cable:
            place = self._ports[bus] if sort == "stream" else str(cable.board)
            board = subprocess.Popen(
                [command, "-X", f"heapsize={heap_kib}k", program.name, sort, place, *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                pass_fds=[cable.board],
            )
            with board, contextlib.ExitStack() as stack:
                stack.callback(board.kill)
                try:
                    if sort == "packet":
                        stack.callback(bus.connect(cable.url, wait=patience_s).close)
                    printed, _ = board.communicate(timeout=patience_s + rounds / 50)
                except (OSError, busway.BusError, subprocess.TimeoutExpired):
                    return []  # out of memory it says nothing any more
        return [int(word) for word in printed.split()] if board.returncode == 0 else []

    def least_heap(self, command: str, folder: Path, sort: str, key: bool) -> int:
        """The smallest heap in KiB in which 200 requests are answered, by halving."""
        low, high = 8, 512
        while high - low > 1:
            middle = (low + high) // 2
            if self.run(command, folder, middle, sort=sort, key=key):
                high = middle
            else:
                low = middle
        return high


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Buses of its own, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        make_board_key(Path(folder, "board.key"))
        with busway.Bus(ipc=False) as bus, busway.Bus(ipc=False, boards=folder) as keyed:
            yield Site(bus, keyed, Path(folder))


def report(site: Site, command: str, folder: Path, title: str, keys: Sequence[bool] = (False, True)) -> None:
    for sort, key in itertools.product(("stream", "packet"), keys):
        heap = site.least_heap(command, folder, sort, key)
        rounds, held, growth = site.run(command, folder, 512, 2000, sort=sort, key=key)
        print(f"{title}, {sort} link{' with a key' if key else ''}: least heap {heap} KiB;", end=" ")
        print(f"{rounds} requests hold {held} bytes, growth since the 200th {growth} bytes")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaf_memory", description=__doc__)
    parser.add_argument("commands", nargs="*", metavar="MICROPYTHON", help="default: what make setup fetched")
    parser.add_argument(
        "--frozen", metavar="MICROPYTHON", help="one that holds busway; see tests/rigs/freeze_micropython.sh"
    )
    options = parser.parse_args(arguments)
    found = micropython.find()
    commands = options.commands or ([found] if found and not options.frozen else [])
    with tempfile.TemporaryDirectory() as place, site() as there:
        for number, command in enumerate(commands):
            for compiled in (True, False):
                folder = Path(place, f"{number}-{compiled}")
                flash = build(folder, compiled=compiled)
                print(f"{command}\n{show(flash, measure(folder, command, tuple(flash)))}")
                report(there, command, folder, ".mpy" if compiled else ".py")
        if options.frozen:
            folder = Path(place, "frozen")
            folder.mkdir()
            # What is not frozen with them: asyncio; AES.
            names = [name for name in MODULES if "asyncio" not in name and name not in SECURE]
            ram = measure(folder, options.frozen, names)
            print(f"{options.frozen}\n{show(dict.fromkeys(names, 0), ram)}")
            report(there, options.frozen, folder, "frozen", (False,))


if __name__ == "__main__":
    main()
