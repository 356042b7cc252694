"""Variables that share a place: a function does what it did, with fewer of them."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.slots import share


def shared(source: str) -> tuple[str, int]:
    """A function's text with shared variables, and how many it has then."""
    tree = ast.parse(source)
    [function] = tree.body
    assert isinstance(function, ast.FunctionDef)
    share(function)
    stored = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return ast.unparse(tree), len(stored)


def run(source: str, *arguments: Any) -> Any:
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["f"](*arguments)


CASES = {
    "one after the other": ("a = x + 1\ny = a * 2\nb = y + 1\nreturn b", 2),
    "both at once": ("a = x + 1\nb = x + 2\nreturn a * b", 2),
    "branches": ("if x:\n    a = x + 1\n    return a\nelse:\n    b = 3\n    return b", 1),
    "a branch within what is in use": ("a = x\nif x:\n    b = a + 1\n    x = b\nreturn a + x", 3),
    "what a turn leaves for the next": (
        (
            "n = 0\nwhile n < 3:\n    if n:\n        a = a + n\n    else:\n        a = x\n"
            "    b = n + 1\n    n = b\nreturn a + n"
        ),
        3,
    ),
    "what each turn has for itself": (
        "n = 0\nfor i in range(3):\n    a = i + x\n    n += a\n    b = n\n    n = b + 1\nreturn n",
        3,
    ),
    "of an exception": (
        (
            "try:\n    a = 1 // x\n    return a\n"
            "except ZeroDivisionError as error:\n    b = str(error)\n    return b"
        ),
        1,
    ),
    "several at once": ("a, b = x, 2\nc = a + b\nd, e = c, 1\nreturn d + e", 3),
    "an argument stays": ("x = x + 1\na = x\nreturn a", 2),
    "what is deleted stays": ("a = [x]\ndel a\nb = 1\nreturn b", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_a_function_does_what_it_did(name: str) -> None:
    body, count = CASES[name]
    source = "def f(x):\n" + "\n".join(f"    {line}" for line in body.splitlines())
    text, number = shared(source)
    assert number == count, text
    for value in (0, 1, 5):
        assert run(text, value) == run(source, value)


@pytest.mark.parametrize(
    "body",
    ["a = x\nreturn lambda: a", "a = [b for b in x]\nc = a\nreturn c", "global a\na = 1\nb = a\nreturn b"],
)
def test_one_with_functions_of_its_own_stays_as_it_is(body: str) -> None:
    source = "def f(x):\n" + "\n".join(f"    {line}" for line in body.splitlines())
    assert shared(source)[0] == ast.unparse(ast.parse(source))


def test_what_is_imported_keeps_its_name() -> None:
    text, _ = shared("def f(x):\n    from math import gcd as g\n    a = g(x, 4)\n    b = a\n    return b")
    assert "gcd as g" in text
    assert run(text, 6) == 2


NAMES = "abcde"


@st.composite
def blocks(draw: Any, depth: int = 3) -> list[str]:
    """Statements of a function; each variable is given a value at its beginning, so that none is missing."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        one, two, three = (draw(st.sampled_from(NAMES)) for _ in range(3))
        kind = draw(st.integers(0, 6 if depth else 2))
        if kind <= 2:
            lines.append(f"{one} = ({two} + {three} * 3 + {kind}) % 101")
            continue
        inner = [f"    {line}" for line in draw(blocks(depth=depth - 1))]
        if kind == 3:
            lines += [f"if {one} % 2:", *inner]
        elif kind == 4:
            other = [f"    {line}" for line in draw(blocks(depth=depth - 1))]
            lines += [f"if {one} % 2:", *inner, "else:", *other]
        elif kind == 5:
            lines += [f"for i{depth} in range({two} % 3):", *inner, f"    {one} = ({one} + i{depth}) % 101"]
        else:
            lines += ["try:", *inner, f"    {one} = {two} // ({three} % 2)", "except ZeroDivisionError:"]
            lines += [f"    {two} = {one} + 1"]
    return lines


@settings(max_examples=300, deadline=None)
@given(blocks(), st.booleans())
def test_random_functions_do_what_they_did(body: list[str], first: bool) -> None:
    """With a value from the beginning on, or only from where they are given one: then both fail alike."""
    begin = [f"{name} = {number}" for number, name in enumerate(NAMES)] if first else ["a = b = x"]
    lines = [*begin, *body, "return [a, b, c, d, e]"]
    source = "def f(x):\n" + "\n".join(f"    {line}" for line in lines)
    text, _ = shared(source)
    try:
        wanted = run(source, 7)
    except NameError:
        return  # none of ours reads what it has not been given
    assert run(text, 7) == wanted, text
