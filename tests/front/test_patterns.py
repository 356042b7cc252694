"""Patterns of names: what they fit, and that no name makes them dear."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.patterns import Patterns, overlap, pattern_problem
from busway.protocol.wire.patterns import matches
from tests.rigs.effort import effort


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("lab/pump", ["lab/pump"], ["lab/pumps", "lab", "xlab/pump", ""]),
        ("lab/*", ["lab/pump", "lab/"], ["lab", "lab/a/b", "lab//"]),
        ("lab/**", ["lab/pump", "lab/a/b", "lab/"], ["lab", "plab/a"]),
        ("**", ["", "a", "a/b/c"], []),
        ("*", ["", "a"], ["a/b"]),
        ("lab/?", ["lab/a", "lab/?"], ["lab/", "lab//", "lab/ab"]),
        ("**/state", ["a/state", "a/b/state"], ["state", "a/states"]),
        ("a*b**c?", ["abcx", "aXXb/c/cx", "ab/cc"], ["a/bcx", "abc", "abc/"]),
        ("lab***", ["lab", "lab/x/y"], ["la"]),
        ("[a]", ["[a]"], ["a"]),
    ],
)
def test_what_a_pattern_fits(pattern: str, fitting: list[str], others: list[str]) -> None:
    found = Patterns([pattern])
    assert [text for text in fitting + others if found.fits(text)] == fitting
    beside = Patterns(["x?y", pattern, "**/q"])
    assert all(beside.fits(text) for text in fitting)
    assert not any(beside.fits(text) for text in others)


WORDS = st.text("ab/?*", max_size=10)


@given(st.lists(WORDS, max_size=4), WORDS)
def test_they_mean_what_a_regular_expression_means(patterns: list[str], text: str) -> None:
    def fits(pattern: str) -> bool:
        parts = re.findall(r"\*\*+|\*|\?|[^*?]", pattern)
        words = {"*": "[^/]*", "?": "[^/]"}
        made = "".join(".*" if part[:2] == "**" else words.get(part, re.escape(part)) for part in parts)
        return re.fullmatch(made, text, re.DOTALL) is not None

    assert Patterns(patterns).fits(text) == any(map(fits, patterns))


def test_no_name_is_dear() -> None:
    """A pattern of many stars, compared by trying, takes time that is a power of their number."""
    found = Patterns(["**a" * 20 + "**b"])
    assert effort(lambda: [found.fits("a" * 64) for _ in range(100)]) < 0.2


@pytest.mark.parametrize("wrong", ["", "a\n", "\x1b", "é" * 65, 1, None])
def test_what_is_no_pattern(wrong: object) -> None:
    assert repr(wrong) in pattern_problem(wrong)
    assert pattern_problem("é" * 64) == ""


def test_what_has_not_said_its_name_fits_only_what_names_it_or_all() -> None:
    """It may be called anything, so a pattern for some names is none for it."""
    uuid = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    for pattern in ("*", "?*", "3f*", "3f**", "*-*", "**/*", uuid[:-1] + "?"):
        assert not Patterns([pattern]).fits(uuid)
        assert not Patterns([pattern]).fits(uuid.upper())
        assert not Patterns([pattern, "lab/**"]).fits(uuid)
    for pattern in ("**", uuid):
        assert Patterns(["lab/*", pattern]).fits(uuid)
    assert Patterns(["*"]).fits(uuid[:-1])


NAMES = ["a", "b", "a/a", "a/b", "b/a", "a/a/b", "b/b/b", "a/b/a/b", "?", "a/?"]
POLICY = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?"]), min_size=1, max_size=5).map("".join)
FAMILY = st.lists(st.sampled_from(["a", "b", "*", "**", "?"]), min_size=1, max_size=4).map("/".join)


@given(POLICY, FAMILY)
def test_a_family_is_seen_to_have_a_name_that_fits(pattern: str, family: str) -> None:
    """It may be found where there is none: each name is asked of by itself, too."""
    found = Patterns([pattern])
    if any(found.fits(name) and matches(family, name) for name in NAMES):
        assert overlap(pattern, family)


@pytest.mark.parametrize(
    ("pattern", "family", "found"),
    [
        ("lab/x", "lab/*", True),
        ("lab/x", "lab/**", True),
        ("lab", "lab/**", True),
        ("lab/x/y", "lab/*", False),
        ("lab/*", "hall/**", False),
        ("lab/t*", "lab/*/x", False),
        ("**/state", "*/state", True),
        ("lab/?", "lab/?", True),
        ("lab/?", "*/ab", False),
        ("?", "*", True),
        ("*", "a/b", False),
        ("a**", "**/b", True),
    ],
)
def test_what_a_family_has(pattern: str, family: str, found: bool) -> None:
    assert overlap(pattern, family) == found


def test_a_family_that_is_made_to_be_slow_is_not() -> None:
    overlap.cache_clear()
    assert effort(lambda: overlap("**a*" * 30 + "b", "/".join(["**", "a"] * 10 + ["c"]))) < 2
