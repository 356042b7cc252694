"""The core compiled with mypyc: really compiled, and the same program."""

import re

import pytest

from benchmarks import instructions
from tests.rigs.compiled import CORE_LEFT_OUT, CompiledCore, modules
from tests.rigs.counting import check

WHERE_FROM = """
import importlib
for name in {names!r}:
    print(name, importlib.import_module(name).__file__.rsplit(".", 1)[1])
"""

DECLARED_TWICE = """
import importlib
for name in {names!r}:
    for kind in vars(importlib.import_module(name)).values():
        if isinstance(kind, type) and kind.__module__ == name:
            for key, value in vars(kind).items():
                above = [each.__name__ for each in kind.__mro__[1:] if key in vars(each)]
                if type(value).__name__ == "getset_descriptor" and above and key != "__dict__":
                    print(kind.__name__, key)
"""
# Numbers and bytes, of which the garbage collector knows nothing, and properties.
MAY_BE_DECLARED_TWICE = {
    "Message": {"code", "expires", "id", "number", "signal", "type_id"},
    "MarkedMessage": {"last_word", "name", "retained"},
    "ViewedMessage": {"view"},
    "KeyedHandshake": {"pattern", "tag_size"},
    "PacketConnection": {"done", "wants_write"},
    "PacketLeafConnection": {"done", "wants_write"},
}


pytestmark = pytest.mark.timeout(900)  # the first test pays for the build


def test_from_the_checkout_the_core_is_compiled(compiled_core: CompiledCore) -> None:
    assert re.fullmatch(r"busway \S+, compiled core, CPython \S+", compiled_core.version)
    assert "busway.protocol is compiled, which takes" in compiled_core.heard


def test_every_module_is_compiled(compiled_core: CompiledCore) -> None:
    names = modules()
    assert "busway.adapters.asyncio_pump" in names
    printed = compiled_core.run(WHERE_FROM.format(names=names))
    assert printed.split("\n")[:-1] == [f"{name} so" for name in names]


def test_no_attribute_is_declared_in_a_class_and_again_in_one_below_it(compiled_core: CompiledCore) -> None:
    """The compiled class would show it to the garbage collector twice: what young objects refer to so is
    taken for garbage, and emptied while it is in use.
    """
    printed = compiled_core.run(DECLARED_TWICE.format(names=modules()))
    found: dict[str, set[str]] = {}
    for line in printed.splitlines():
        kind, key = line.split()
        found.setdefault(kind, set()).add(key)
    assert found == MAY_BE_DECLARED_TWICE


def test_tests_of_the_core_pass_compiled(compiled_core: CompiledCore) -> None:
    printed = compiled_core.pytest("tests/protocol", *CORE_LEFT_OUT)
    assert re.search(r"^busway\.protocol: .*\.so$", printed, re.MULTILINE), printed
    passed = re.search(r"(\d+) passed", printed)
    assert passed, printed
    assert int(passed[1]) > 4000


def test_messages_cost_compiled_what_is_on_record(compiled_core: CompiledCore) -> None:
    if not instructions.installed():
        pytest.skip("no valgrind here to count instructions (Debian: apt-get install valgrind)")
    counts = instructions.Counts(compiled_core.directory)
    assert counts.kind == "compiled"
    check(counts, compiled_core.directory)


def test_tests_of_the_asyncio_bus_pass_compiled(compiled_core: CompiledCore) -> None:
    """The quick ones, of what is compiled of it: `make compiled` runs all."""
    names = ("asyncio_bulk", "asyncio_turns", "asyncio_requests", "asyncio_services", "asyncio_payloads")
    compiled_core.pytest(*(f"tests/adapters/test_{name}.py" for name in names))


def test_the_compiler_is_no_need_of_a_program(compiled_core: CompiledCore) -> None:
    printed = compiled_core.run(
        "import sys, busway; busway.AsyncBus; print('mypy_extensions' in sys.modules)"
    )
    assert printed == "False\n"


FORGETS = """
import asyncio, busway, warnings
async def main():
    async with busway.AsyncBus(ipc=False) as bus:
        receiver = bus.register("it")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            bus.send("it"), bus.request("it"), receiver.receive()
        print(*(warning.message for warning in warned), sep=chr(10))
asyncio.run(main())
"""


def test_in_development_mode_a_forgotten_await_is_warned_of(compiled_core: CompiledCore) -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-X', 'dev', '-c', {!r}], check=True)"
    printed = compiled_core.run(program.format(FORGETS))
    names = re.findall(r"coroutine '(\S+)' was never awaited", printed)
    assert sorted(names) == ["AsyncBus.request", "AsyncBus.send", "Receiver.receive"]
