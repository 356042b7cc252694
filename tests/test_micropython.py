"""The core on a real MicroPython."""

from tests.rigs.micropython import MicroPython
from tests.test_compiled import module_names

IMPORTS = """
import sys
for name in {names!r}:
    __import__(name)
    print(name)
print(sys.implementation.name)
"""


def test_every_module_can_be_imported(real_micropython: MicroPython) -> None:
    names = module_names()
    printed = real_micropython.run(IMPORTS.format(names=names))
    assert printed.split() == [*names, "micropython"]
