"""The smallest heap in which a leaf lives on MicroPython beside a real bus, as .mpy and as .py files.

`python -m benchmarks.leaf_memory [MICROPYTHON...]`: name an i386 build to measure 32-bit words.
Four endpoints, a request in flight at any time, frames of 256 bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import busway
from busway.firmware import build, measure, show
from tests.rigs import micropython

BOARD = """
import gc, socket, sys
from busway.adapters.micropython import Loop
line = socket.socket()
line.connect(socket.getaddrinfo("127.0.0.1", int(sys.argv[1]))[0][-1])
loop = Loop(line, "board", sort="stream", node_id=b"b" * 16)
for name in ("lab/a", "lab/b", "lab/c"):
    loop.serve(name)(lambda value: value)
loop.subscribe("lab/d")(lambda value: None)
rounds = int(sys.argv[2])
done = [0]
def replied(outcome):
    done[0] += outcome.ok
    if done[0] < rounds:
        loop.request("lab/double", done[0], replied, 5000, 5000)
loop.request("lab/double", 0, replied, 5000, 5000)
first = 0
while done[0] < rounds:
    loop.step(5000)
    if done[0] == rounds // 2 and not first:
        gc.collect()
        first = gc.mem_alloc()
gc.collect()
print(done[0], gc.mem_alloc(), gc.mem_alloc() - first)
"""


def run(command: str, folder: Path, port: str, heap_kib: int, rounds: int = 200) -> list[int]:
    """Rounds done, bytes held at the end, growth since the middle; empty if the heap was too small."""
    (folder / "main.py").write_text(BOARD)
    try:
        done = subprocess.run(
            [command, "-X", f"heapsize={heap_kib}k", "main.py", port, str(rounds)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return []
    return [int(word) for word in done.stdout.split()] if done.returncode == 0 else []


def least_heap(command: str, folder: Path, port: str) -> int:
    """The smallest heap in KiB in which 200 requests are answered, by halving."""
    low, high = 8, 512
    while high - low > 1:
        middle = (low + high) // 2
        if run(command, folder, port, middle):
            high = middle
        else:
            low = middle
    return high


def main() -> None:
    commands = sys.argv[1:] or [command for command in [micropython.find()] if command]
    with tempfile.TemporaryDirectory() as place, busway.Bus("default", ipc=False) as bus:
        port = bus.listen("tcp://127.0.0.1:0").url.rsplit(":", 1)[1]
        bus.serve("lab/double")(lambda request: request.payload * 2)
        for command in commands:
            print(command)
            for compiled in (True, False):
                folder = Path(place, f"{commands.index(command)}-{compiled}")
                flash = build(folder, compiled=compiled)
                print(show(flash, measure(folder, command, tuple(flash))))
                rounds, held, growth = run(command, folder, port, 512, 2000)
                print(
                    f"{'.mpy' if compiled else '.py '}: least heap {least_heap(command, folder, port)} KiB;",
                    end=" ",
                )
                print(f"{rounds} requests hold {held} bytes, growth over the second half {growth} bytes\n")


if __name__ == "__main__":
    main()
