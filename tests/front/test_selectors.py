"""Selectors as programs and people write them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import busway
from busway import where
from busway.protocol.wire.selectors import Selector as Read
from busway.selectors import Selector, read_expression

labels = st.one_of(
    st.sampled_from(["renderer", "codec", "and", "not", "name:x", "a b", '"', "\\", "(", "ü:", ":a"]),
    st.text(min_size=1, max_size=6).filter(lambda text: 1 <= len(text.encode(errors="replace")) <= 32),
).filter(lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text))
patterns = st.sampled_from(["render/*", "**", "a/**/b", "plain", "a b/*", 'quo"te'])
selectors = st.recursive(
    st.one_of(labels.map(where), patterns.map(where.name)),
    lambda parts: st.one_of(
        st.tuples(parts, parts).map(lambda both: both[0] & both[1]),
        st.tuples(parts, parts).map(lambda both: both[0] | both[1]),
        parts.map(lambda part: ~part),
    ),
    max_leaves=6,
)


def test_it_reads_as_it_was_written() -> None:
    selector = where("renderer") & ~where("codec") | where("spare")
    assert repr(selector) == "where('renderer') & ~where('codec') | where('spare')"
    assert str(selector) == "renderer and not codec or spare"
    assert repr(where("a") & (where("b") | where("c"))) == "where('a') & (where('b') | where('c'))"
    assert repr(where("a") & (where("b") & where("c"))) == "where('a') & (where('b') & where('c'))"
    assert repr(where("a", "b", "c")) == "where('a') & where('b') & where('c')"
    assert repr(~(where("a") & where.name("b/*"))) == "~(where('a') & where.name('b/*'))"
    assert str(~~where("and")) == 'not not "and"'
    assert repr(where) == "busway.where"


@given(selectors)
def test_what_it_says_is_itself_again(selector: Selector) -> None:
    assert where.parse(str(selector)) == selector
    assert eval(repr(selector), {"where": where}) == selector
    for again in (copy.copy(selector), copy.deepcopy(selector), pickle.loads(pickle.dumps(selector))):
        assert again == selector
        assert hash(again) == hash(selector)
    assert read_expression(selector.address()[18:]) == selector


def meaning(selector: Selector, has: set[str], name: str = "") -> bool:
    return Read(selector.address()[18:]).fits([label.encode() for label in has], name)


@pytest.mark.parametrize("has", [set[str](), {"a"}, {"b"}, {"a", "b"}, {"c"}, {"a", "c"}, {"a", "b", "c"}])
def test_it_means_what_python_means(has: set[str]) -> None:
    a, b, c = (label in has for label in "abc")
    assert meaning(where("a", "b"), has) == (a and b)
    assert meaning(where("a") & ~where("b") | where("c"), has) == ((a and not b) or c)
    assert meaning(where.parse("a and not (b or c)"), has) == (a and not (b or c))
    assert meaning(where.parse("not a or b and c"), has) == (not a or (b and c))
    assert meaning(where.parse("not (a or b) and not c"), has) == (not (a or b) and not c)


def test_names_are_exact_or_patterns() -> None:
    assert meaning(where.name("render/1"), set(), "render/1")
    assert not meaning(where.name("render/1"), set(), "render/2")
    assert meaning(where.parse("name:render/*"), set(), "render/2")
    assert not meaning(where.name("**"), set())  # an endpoint without a name has none that fits
    assert not meaning(where.name("**"), set(), "busway/seal")


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", 1, "a label"),
        ("renderer and", 13, "a label"),
        ("renderer codec", 10, "`and` or `or`"),
        ("renderer or or codec", 13, "before 'or'"),
        ("(renderer", 1, "not closed"),
        ("renderer)", 9, "never opened"),
        ("(renderer and)", 14, "before '\\)'"),
        ("a and 'b", 7, "never closed"),
        ("name:", 1, "stands before"),
        ("a and name:t*", 7, "whole level"),
        ("name:x y", 8, "`and` or `or`"),
        ("a or " + "l" * 33, 6, "1 to 32 bytes"),
        ('a or ""', 6, "1 to 32 bytes"),
        ("not", 4, "a label"),
        (":a", 1, "a label"),
        ("not " * 64 + "a", 1, "at most 64 terms"),
        ("(" * 64 + "a" + ")" * 63, 1, "not closed"),
        (" or ".join("a" * 40), 158, "at most 64 terms"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, place: int, what: str) -> None:
    with pytest.raises(ValueError, match=what) as raised:
        where.parse(text)
    first, shown, mark = str(raised.value).split("\n")
    assert first.startswith(f"at character {place} of the selector")
    assert shown[len(mark) - 1 :] == "  "[2:] + text[place - 1 : place + 39] or place > len(text)


def test_nested_as_deep_as_one_likes_it_is_bounded() -> None:
    assert where.parse("(" * 2000 + "a" + ")" * 2000) == where("a")
    with pytest.raises(ValueError, match="at most 4096 characters"):
        where.parse("(" * 5000)


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: where(5), TypeError, "a text"),  # type: ignore[arg-type]
        (lambda: where(""), ValueError, "1 to 32"),
        (lambda: where("\ud800"), ValueError, "UTF-8"),
        (lambda: where.name("a*"), ValueError, "whole level"),
        (lambda: where.name("n" * 65), ValueError, "1 to 64"),
        (lambda: where.parse(5), TypeError, "a text"),  # type: ignore[arg-type]
        (lambda: bool(where("a")), TypeError, "joined by &"),
        (lambda: where("a") & "b", TypeError, "unsupported"),
        (lambda: "b" | where("a"), TypeError, "unsupported"),  # type: ignore[operator]
        (Selector, TypeError, "busway.where"),
        (lambda: setattr(where("a"), "_data", b""), AttributeError, "never changes"),
        (lambda: delattr(where("a"), "_data"), AttributeError, "never changes"),
        (lambda: where(*(str(number) for number in range(33))), ValueError, "at most 64 terms"),
    ],
)
def test_misuse_is_told_at_once(make: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        make()


def test_equal_ones_are_the_same_key() -> None:
    assert {where("a") | where("b"): 1}[where.parse("a or b")] == 1
    assert where("a") != where.name("a")
    assert where("a") != "a"
    assert busway.where is where
