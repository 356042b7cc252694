"""The core on a real MicroPython."""

import os
import pty
import select
import shutil
import subprocess

import pytest

from busway.protocol import Link, Node, codes, events
from tests.rigs import packet_fuzz, session_fuzz
from tests.rigs.compiled import modules
from tests.rigs.micropython import MicroPython, find_32
from tests.rigs.tree import ROOT

IMPORTS = """
import sys
for name in {names!r}:
    __import__(name)
    print(name)
print(sys.implementation.name)
"""


FUZZ = """
import packet_fuzz
for seed in range({seeds}):
    print(packet_fuzz.run(seed, {rounds}))
"""


VECTORS = """
import program
print(program.run({folder!r}))
"""


BOARDS = """
import boards
from busway.adapters.micropython_crypto import Crypto
print(boards.run({folder!r}, Crypto()))
"""


def test_every_module_can_be_imported(real_micropython: MicroPython) -> None:
    names = [name for name in modules() if name.startswith("busway.protocol")]
    printed = real_micropython.run(IMPORTS.format(names=names))
    assert printed.split() == [*names, "micropython"]


def test_golden_vectors(real_micropython: MicroPython) -> None:
    """The very program that tests/protocol/test_vectors.py runs on CPython and, compiled, on mypyc."""
    folder = ROOT / "tests" / "vectors"
    shutil.copy(folder / "program.py", real_micropython.directory / "program.py")
    assert int(real_micropython.run(VECTORS.format(folder=str(folder)))) >= 150


@pytest.mark.parametrize("words", ["64", "32"])
def test_what_boards_compute_for_a_link_with_a_key(real_micropython: MicroPython, words: str) -> None:
    """RFC 3610, SP 800-38C, RFC 4231, RFC 5869 and handshake pattern 3, over the interpreter's own AES."""
    command = real_micropython.command if words == "64" else find_32()
    if command is None:
        pytest.skip("no 32-bit MicroPython here: `make setup` fetches one on Debian and its kin (amd64)")
    folder = ROOT / "tests" / "vectors"
    adapters = real_micropython.directory / "busway" / "adapters"
    adapters.mkdir(exist_ok=True)
    shutil.copy(ROOT / "adapters" / "micropython_crypto.py", adapters / "micropython_crypto.py")
    shutil.copy(folder / "boards.py", real_micropython.directory / "boards.py")
    printed = MicroPython(command, real_micropython.directory).run(BOARDS.format(folder=str(folder)))
    assert printed == "22\n"


def test_a_prompt_that_echoes_is_no_peer(real_micropython: MicroPython) -> None:
    """A board without a program shows its REPL, which answers what it reads with text."""
    ours, theirs = pty.openpty()
    node = Node(b"r" * 16, entropy=os.urandom)
    connection = node.connection(Link(codes.LOCALNET, True, sort="packet"), 0)
    texts = b""
    command = [real_micropython.command, "-i"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as board:
        try:
            os.close(theirs)
            for now in range(0, 30_000, 50):
                happened = node.handle_timer(now)
                if now >= 1000:  # it has begun by then
                    os.write(ours, connection.data_to_send(64, now))
                if select.select([ours], [], [], 1.0 if not texts else 0.002)[0]:
                    happened += connection.receive_data(os.read(ours, 4096), now)
                texts += b"".join(event.text for event in happened if isinstance(event, events.LogEvent))
                if board.poll() is not None:
                    break
        except OSError:
            pass  # a byte 4 is Ctrl-D: it has ended
        finally:
            board.kill()
            os.close(ours)
    assert b"MicroPython" in texts
    assert b">>>" in texts
    assert connection.waits_for_peer
    assert (connection.state, node.peers()) == (codes.GREETING, [])


def test_the_packet_layer_says_the_same_for_any_bytes(real_micropython: MicroPython) -> None:
    """A fuzzer with one corpus of seeds, on CPython and here."""
    seeds, rounds = 12, 400
    source = ROOT / "tests" / "rigs" / "packet_fuzz.py"
    shutil.copy(source, real_micropython.directory / source.name)
    printed = real_micropython.run(FUZZ.format(seeds=seeds, rounds=rounds))
    assert printed.splitlines() == [packet_fuzz.run(seed, rounds) for seed in range(seeds)]
    assert len(set(printed.splitlines())) == seeds


def test_whole_sessions_have_the_same_events_on_the_same_corpus(real_micropython: MicroPython) -> None:
    """A router's Connection and a Leaf: `make soak` goes on with other seeds."""
    seeds = 60
    source = ROOT / "tests" / "rigs" / "session_fuzz.py"
    shutil.copy(source, real_micropython.directory / source.name)
    here = [session_fuzz.run(seed) for seed in range(seeds)]
    for command in {
        real_micropython.command,
        find_32() or real_micropython.command,
    }:  # words of 64 and 32 bits
        board = MicroPython(command, real_micropython.directory)
        assert board.run(session_fuzz.PROGRAM, "0", str(seeds), heap="16m").splitlines() == here
    assert len(set(here)) == seeds
    ended, fates = zip(*(line.split(" [")[1:] for line in here), strict=True)
    assert sum(one != "0, 0]" for one in ended) > seeds // 3  # resets, and lines that were too bad
    assert sum(one != "0, 0]" for one in fates) > seeds // 2
