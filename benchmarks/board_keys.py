"""The cost of a link with a key for a board's processor: each record sealed and opened, and a handshake.

`python -m benchmarks.board_keys [MICROPYTHON...]`: of MicroPython on this computer, the least of 40 rounds. A
record of 112 bytes fills a packet on a serial line. The handshake is a board's half: the two messages, the
keys, and both HELLO.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from busway.firmware import build
from tests.rigs import micropython

PROGRAM = """
import os, time
from busway.adapters.micropython_crypto import Crypto, Secret

def least(work, rounds=50):
    best = None
    for _ in range(40):
        began = time.ticks_us()
        for _ in range(rounds):
            work()
        took = time.ticks_diff(time.ticks_us(), began)
        best = took if best is None else min(best, took)
    return best / rounds

crypto = Crypto()
key, nonce = bytes(16), bytes(13)
for size in (16, 64, 112, 256):
    plain = os.urandom(size)
    sealed = crypto.seal(key, nonce, b"", plain)
    sealing = least(lambda: crypto.seal(key, nonce, b"", plain))
    opening = least(lambda: crypto.open(key, nonce, b"", sealed))
    print("record of %4d bytes: %7.1f us to seal, %7.1f us to open" % (size, sealing, opening))

secret = Secret(crypto, os.urandom, bytes(32))
hello = bytes(96)

def nothing(size, now):
    return b""

def both():
    here, there = secret.channel(True, "default"), secret.channel(True, "default")
    here.begin()
    there.receive(here.write(nothing, 512, 0))
    here.receive(there.write(nothing, 512, 0))
    for one, other in ((here, there), (there, here)):
        one.say(hello)
        assert other.receive(one.write(nothing, 512, 0)) == hello

print("handshake: %.3f ms" % (least(both) / 2000))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.board_keys", description=__doc__)
    parser.add_argument("commands", nargs="*", metavar="MICROPYTHON", help="default: what make setup fetched")
    found = [micropython.find(), micropython.find_32()]
    commands = parser.parse_args(arguments).commands or [command for command in found if command]
    with tempfile.TemporaryDirectory() as place:
        build(Path(place), compiled=False)  # which has the names of the sources
        Path(place, "main.py").write_text(PROGRAM)
        for command in commands:
            print(command)
            command = os.path.abspath(shutil.which(command) or command)
            subprocess.run([command, "-X", "heapsize=256k", "main.py"], cwd=place, check=True)


if __name__ == "__main__":
    main()
