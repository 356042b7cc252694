"""The core compiled with mypyc: really compiled, and the same program."""

import re

import pytest

from benchmarks import instructions
from tests.rigs.compiled import CompiledCore, modules
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
    "KeyedHandshake": {"pattern", "tag_size"},
    "PacketConnection": {"done", "wants_write"},
    "PacketLeafConnection": {"done", "wants_write"},
}


pytestmark = pytest.mark.timeout(900)  # the first test pays for the build

# Compiled classes take no interpreted subclasses, compiled code asks none of a list: these tests make some.
PURE_ONLY = [f"tests/protocol/test_{name}.py" for name in ("timers", "campaign", "small_leaf_memory")]
# These make one, too, or set a constant or a method that is compiled in.
PURE_ONLY_TESTS = [
    f"tests/protocol/test_{name}"
    for name in (
        "addressing_attacks.py::test_a_last_value_of_one_of_many_publishers_costs_what_it_costs_of_few",
        "leaf_patterns.py::test_names_of_leaves_are_bounded",
        "leaf_patterns.py::test_so_many_roots_are_remembered",
        "pattern_lookups.py::test_a_pattern_that_nobody_beyond_may_see_is_looked_at_and_not_told",
        "pattern_lookups.py::test_of_too_many_the_ones_known_longest_are_told_and_the_next_in_place_of_one_that_goes",
        "pattern_lookups.py::test_of_too_many_who_ask_over_one_link_the_first_is_forgotten",
        "pattern_lookups.py::test_words_that_do_not_count_are_bounded_and_go_with_who_said_them",
        "pattern_lookups_attacks.py::test_an_answer_that_brings_on_one_question_too_many_counts",
        "pattern_lookups_attacks.py::test_many_that_ask_at_once_are_told_in_turns",
        "pattern_lookups_attacks.py::test_patterns_outlive_too_many_questions_and_go_when_they_are_told_no_more",
        "publishing_patterns.py::test_the_names_that_a_publisher_remembers_are_bounded",
        "ranks.py::test_where_none_of_the_highest_may_begin_a_lower_one_does",
        "retained.py::test_what_was_published_close_to_a_change_is_sent_once_more",
        "retained.py::test_a_restless_network_is_waited_for_so_long_and_no_longer",
        "retained.py::test_floods_push_out_their_own",
        "retained.py::test_bytes_are_bounded_too",
        "retained_bounds.py::test_one_that_waits_for_that_may_close",
        "retained_bounds.py::test_questions_are_cut_as_the_link_takes_them",
        "retained_bounds.py::test_questions_cost_a_node_so_much_and_no_more",
        "retained_bounds.py::test_so_many_floors_are_remembered",
        "retained_bounds.py::test_so_many_nodes_are_counted",
        "retained_bounds.py::test_values_that_it_cannot_have_are_remembered_so_far",
        "retained_bounds.py::test_what_has_found_no_room_is_not_asked_for_again",
        "retained_bounds.py::test_who_means_nothing_and_says_so_again_and_again_costs_little",
        "retained_losses.py::test_a_word_that_a_value_is_no_more_is_made_good_for_as_well",
        "retained_losses.py::test_one_that_was_kept_for_a_moment_only_is_no_more_either",
        "selecting.py::test_sending_again_looks_at_no_endpoint_and_a_change_at_one",
    )
]


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
    left_out = [f"--ignore={path}" for path in PURE_ONLY] + [f"--deselect={test}" for test in PURE_ONLY_TESTS]
    printed = compiled_core.pytest("tests/protocol", *left_out)
    assert re.search(r"^busway\.protocol: .*\.so$", printed, re.MULTILINE), printed


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
