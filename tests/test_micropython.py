"""The core on a real MicroPython."""

import shutil

from tests.rigs import packet_fuzz
from tests.rigs.micropython import MicroPython
from tests.rigs.tree import ROOT
from tests.test_compiled import module_names

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


def test_every_module_can_be_imported(real_micropython: MicroPython) -> None:
    names = module_names()
    printed = real_micropython.run(IMPORTS.format(names=names))
    assert printed.split() == [*names, "micropython"]


def test_golden_vectors(real_micropython: MicroPython) -> None:
    """The very program that tests/protocol/test_vectors.py runs on CPython and, compiled, on mypyc."""
    folder = ROOT / "tests" / "vectors"
    shutil.copy(folder / "program.py", real_micropython.directory / "program.py")
    assert int(real_micropython.run(VECTORS.format(folder=str(folder)))) >= 150


def test_the_packet_layer_says_the_same_for_any_bytes(real_micropython: MicroPython) -> None:
    """A fuzzer with one corpus of seeds, on CPython and here."""
    seeds, rounds = 12, 400
    source = ROOT / "tests" / "rigs" / "packet_fuzz.py"
    shutil.copy(source, real_micropython.directory / source.name)
    printed = real_micropython.run(FUZZ.format(seeds=seeds, rounds=rounds))
    assert printed.splitlines() == [packet_fuzz.run(seed, rounds) for seed in range(seeds)]
    assert len(set(printed.splitlines())) == seeds
