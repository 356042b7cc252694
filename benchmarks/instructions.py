"""Machine instructions that the core spends on a message, counted by valgrind: the same on a busy machine.

Usage: python -m benchmarks.instructions [ROOT ...]

Each ROOT is a checkout (default: this one), so that a change can be held beside what it changes. Three nodes
in one process stand in a row, a - b - c, on links in memory; what one writes is given to the next at once.
All that the nodes do from the call to the message in its receiver's hand is counted: `send` and `request`
from a to b, `transit` from a over b to c, `publish` from a to b. Two runs of different length are subtracted,
so that starting and joining do not count; valgrind must be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WAYS = ("send", "request", "transit", "publish")
FEW, MANY = 200, 700  # messages in the two runs
HERE = Path(__file__).resolve().parents[1]

# Run in the checkout that is measured, with what its nodes offered before rooms and after them.
PROGRAM = """
import gc, random, sys
root, way, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path[:0] = [root + "/src", root]
from busway.protocol import Link, Node, codes

NOW = 1000
nodes = [Node(bytes([number]) * 16, entropy=random.Random(7).randbytes, transit=True) for number in (1, 2, 3)]
a, b, c = nodes

def join(left, right, via):
    return (left.connection(Link(codes.LOCALNET, True, via=via, medium=via), NOW),
            right.connection(Link(codes.LOCALNET, False, via=via, medium=via), NOW))

def pump(links):
    moved = True
    while moved:
        moved = False
        for pair in links:
            for source, target in (pair, pair[::-1]):
                data = source.data_to_send(1 << 20, NOW)
                if data:
                    target.receive_data(data, NOW)
                    moved = True

near = [join(a, b, "near")]
links = near + [join(b, c, "far")]
pump(links)
names = [bytes([letter]) * 16 for letter in b"EFG"]
at_b = b.register(names[0], codes.UNICAST)
at_c = c.register(names[1], codes.UNICAST)
news = b.register(names[2], codes.BROADCAST)
pump(links)

def send():
    a.send(names[0], b"x" * 16, NOW)
    pump(near)
    b.take_events()
    return b.take(at_b, NOW)

def request():
    a.request(names[0], b"x" * 16, NOW)
    pump(near)
    b.take_events()
    message = b.take(at_b, NOW)
    b.respond(message, b"y" * 16, NOW)
    pump(near)
    a.take_events()
    return message

def transit():
    a.send(names[1], b"x" * 16, NOW)
    pump(links)
    c.take_events()
    return c.take(at_c, NOW)

def publish():
    a.publish(names[2], b"x" * 16, NOW)
    pump(near)
    b.take_events()
    return b.take(news, NOW)

run = {"send": send, "request": request, "transit": transit, "publish": publish}[way]
gc.collect()
gc.freeze()  # what imports have left is not looked through again and again
for _ in range(count):
    assert run() is not None, way + " did not arrive"
"""


def instructions(root: Path, way: str, count: int) -> int:
    """All instructions of a process that sends so many messages."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    done = subprocess.run(
        [*command, "-c", PROGRAM, str(root), way, str(count)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    for line in done.stderr.splitlines():
        if "Collected :" in line:
            return int(line.split(":")[1])
    raise SystemExit(f"{root}: {done.stderr}")


def main() -> None:
    roots = [Path(root).resolve() for root in sys.argv[1:]] or [HERE]
    print("instructions per message", *[root.name for root in roots], sep="\t")
    for way in WAYS:
        spent = [
            (instructions(root, way, MANY) - instructions(root, way, FEW)) // (MANY - FEW) for root in roots
        ]
        print(way, *[f"{number:,}" for number in spent], sep="\t", flush=True)


if __name__ == "__main__":
    main()
