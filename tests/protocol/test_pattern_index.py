"""The index of patterns: which of them mean a name, against the matcher of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol.routing.patterns import MATCHES_MAX, PatternIndex
from busway.protocol.wire.patterns import is_proper, matches
from tests.rigs.effort import calls_of

LEVELS = st.sampled_from(["a", "b", "", "ab"])
NAMES = st.lists(LEVELS, min_size=1, max_size=6).map("/".join).filter(bool)
PATTERNS = st.lists(st.one_of(LEVELS, st.sampled_from(["*", "**"])), min_size=1, max_size=6).map("/".join)


def uuid_of(pattern: str) -> bytes:
    return pattern.encode().rjust(16)[-16:]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lab/*", True),
        ("**", True),
        ("*", True),
        ("lab/**/x", True),
        ("lab/temperature", False),
        ("lab/t*", False),
        ("lab/***", False),
        ("lab/*/t*", False),
        ("", False),
    ],
)
def test_a_star_within_a_level_makes_no_pattern(name: str, found: bool) -> None:
    assert is_proper(name) == found


def test_what_has_a_star_is_no_name_that_a_pattern_means() -> None:
    index = PatternIndex()
    index.add(b"1", "**")
    assert index.find("lab/*") == []
    assert index.find("lab/x") == [b"1"]


@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=24), st.lists(NAMES, min_size=1, max_size=4))
def test_the_index_finds_what_each_pattern_means(steps: list[tuple[str, bool]], names: list[str]) -> None:
    index = PatternIndex()
    held: list[str] = []
    for pattern, comes in steps:
        if comes or pattern not in held:
            held.append(pattern)
            index.add(uuid_of(pattern), pattern)
        else:
            held.remove(pattern)
            index.remove(uuid_of(pattern), pattern)
    for name in names:
        wanted = {uuid_of(each) for each in held if is_proper(each) and matches(each, name)}
        found = index.find(name)
        assert set(found) == wanted
        assert len(found) == len(wanted)
    assert index.size == sum(map(is_proper, held))
    for pattern in held:
        index.remove(uuid_of(pattern), pattern)
    assert index.size == 0
    assert not index._root.next


def test_several_double_stars_behind_each_other_mean_what_one_does() -> None:
    index = PatternIndex()
    index.add(b"1", "lab/**/**/x")
    index.add(b"2", "lab/**/x")
    for name in ("lab/x", "lab/1/2/x"):
        assert index.find(name) == [b"1", b"2"]
    index.remove(b"1", "lab/**/**/x")
    assert index.find("lab/x") == [b"2"]


def test_it_says_when_a_name_may_mean_others() -> None:
    index = PatternIndex()
    index.add(b"1", "lab/*")
    first = index.changes
    index.add(b"1", "lab/*")  # another subscriber
    index.add(b"2", "lab/temperature")
    index.add(b"3", "lab/t*")
    index.remove(b"3", "lab/t*")
    index.remove(b"1", "lab/*")
    assert index.changes == first
    index.remove(b"1", "lab/*")
    assert index.changes != first


def test_ten_thousand_patterns_cost_a_name_that_none_of_them_means_what_one_costs() -> None:
    few, many = PatternIndex(), PatternIndex()
    few.add(b"1", "hall/0/*")
    for number in range(10_000):
        many.add(b"%d" % number, f"hall/{number}/*")
    assert calls_of(lambda: many.find("lab/temperature")) == calls_of(lambda: few.find("lab/temperature"))


def test_more_patterns_of_one_name_than_it_is_looked_up_for_are_left_out() -> None:
    over: list[tuple[object, int]] = []
    index = PatternIndex(lambda teller, count: over.append((teller, count)))
    for number in range(1, 256):
        index.add(b"%d" % number, "/".join("*" if number >> bit & 1 else "b" for bit in range(8)), "a link")
    index.add(b"256", "b/**", "a link")
    assert len(index.find("/".join(["b"] * 8))) == MATCHES_MAX
    assert over == []
    for number in range(4096):
        chosen = ["*" if number >> bit & 1 else "a" for bit in range(12)]
        index.add(b"%d" % number, "/".join(chosen))
    index.add(b"all", "**")
    found = index.find("/".join(["a"] * 12))
    assert len(found) == MATCHES_MAX
    assert over == [(None, 1), (None, 1025 - MATCHES_MAX)]  # as far as the patterns were followed
