"""Patterns of names against a naive matcher, and what they cost at the most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import LocalError
from busway.protocol.wire.patterns import check_pattern, is_pattern, match_levels, matches

levels = st.sampled_from(["a", "b", "ab", ""])
names = st.lists(levels, min_size=1, max_size=7).map("/".join)
patterns = st.lists(st.one_of(levels, st.just("*"), st.just("**")), min_size=1, max_size=7).map("/".join)


def naive(pattern: list[str], name: list[str]) -> bool:
    """All ways to share the levels out."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(naive(pattern[1:], name[taken:]) for taken in range(len(name) + 1))
    return bool(name) and pattern[0] in ("*", name[0]) and naive(pattern[1:], name[1:])


@given(patterns, names)
def test_it_means_what_a_naive_matcher_finds(pattern: str, name: str) -> None:
    assert matches(pattern, name) == naive(pattern.split("/"), name.split("/"))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("lab/*/temperature", "lab/1/temperature", True),
        ("lab/*/temperature", "lab/1/2/temperature", False),
        ("lab/*", "lab", False),
        ("lab/*", "lab/", True),
        ("lab/**", "lab", True),
        ("lab/**", "lab/1/2", True),
        ("lab/**", "laboratory", False),
        ("**", "", True),
        ("**/a", "a", True),
        ("**/a/**/b", "a/x/a/b/c/b", True),
        ("lab", "lab", True),
        ("lab", "lab/1", False),
        ("LAB/*", "lab/1", False),
    ],
)
def test_examples(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


class Counted(str):
    """A level that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    "pattern", ["**/**/**/a", "**/*/" * 10 + "a", "**/x/" * 12 + "a", "**/" * 20 + "*/a"]
)
def test_a_pattern_that_is_slow_for_naive_matchers_costs_levels_times_levels(pattern: str) -> None:
    name = [Counted("x") for _ in range(32)] + [Counted("b")]
    parts = pattern.split("/")
    Counted.compared = 0
    assert not match_levels(parts, name)
    assert Counted.compared <= len(parts) * len(name)


@pytest.mark.parametrize("pattern", ["lab/*", "**", "a/**/b", "plain", "*", "ü" * 32])
def test_patterns_and_names_are_taken(pattern: str) -> None:
    check_pattern(pattern)
    assert is_pattern(pattern) == ("*" in pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "not 0"),
        ("ü" * 33, "not 66"),
        ("lab/t*", "'t\\*' in 'lab/t\\*' is neither"),
        ("***", "whole level"),
        ("a/***/b", "whole level"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(LocalError, match=text):
        check_pattern(pattern)
