"""Selectors: whom a message is for, by what receivers are.

`where("renderer") & ~where("codec")` means the endpoints that have the one label and not the other. A
selector is a value: immutable, hashable, equal to one that is written alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from busway.protocol import codes, errors
from busway.protocol.wire import selectors as wire
from busway.protocol.wire.address import Address, selector_address
from busway.protocol.wire.patterns import check_pattern

__all__ = ["Selector", "where"]

_OR, _AND, _NOT, _TERM = range(4)  # how strongly they bind
_WORDS = {"or": _OR, "and": _AND, "not": _NOT}
_SIGNS = {"or": "|", "and": "&", "not": "~"}
_PLAIN = r"[^\s()\"':][^\s()\"']*"  # a label or pattern that needs no quotes
_TEXT_MAX = 4096  # characters that are parsed


class Selector:
    """The receivers that a message is for: made by `where`, joined by `&`, `|` and `~`."""

    __slots__ = ("_binds", "_code", "_data", "_others_only", "_terms", "_text")

    _data: bytes
    _code: str
    _text: str
    _terms: int
    _binds: int
    _others_only: bool

    def __init__(self) -> None:
        raise TypeError('selectors are made by busway.where, as in where("renderer") & ~where("codec")')

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a selector never changes: make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a selector never changes: make another one")

    def __and__(self, other: object) -> Selector:
        return _join("and", self, other) if isinstance(other, Selector) else NotImplemented

    def __or__(self, other: object) -> Selector:
        return _join("or", self, other) if isinstance(other, Selector) else NotImplemented

    def __invert__(self) -> Selector:
        return _made(
            self._data + bytes((wire.NOT,)),
            f"~{_within(self, _NOT, False)}",
            f"not {_within(self, _NOT, True)}",
            self._terms + 1,
            _NOT,
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("selectors are joined by &, | and ~, not by `and`, `or` and `not`")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return self._code

    def __str__(self) -> str:
        """As `where.parse` reads it."""
        return self._text

    def __reduce__(self) -> Any:
        return where.parse, (self._text,)

    def means(self, labels: Iterable[str], name: str = "") -> bool:
        """Whether an endpoint with these labels, and that name, is meant."""
        return wire.Selector(self._data).fits([label.encode() for label in labels], name)

    def address(self) -> Address:
        """The address of what it means, as the core takes it."""
        return selector_address(self._data, self._others_only)


def read_expression(data: bytes) -> Selector:
    """The selector that an expression on the wire is. Raises ValueError."""
    try:
        wire.Selector(data)  # whether it is one
    except errors.Refusal as refusal:
        raise ValueError(refusal.text) from None
    results: list[Selector] = []
    at = 0
    while at < len(data):
        kind = data[at]
        at += 1
        if kind in (wire.LABEL, wire.NAME):
            stop = at + 1 + data[at]
            value = data[at + 1 : stop].decode()
            code = f"where({value!r})" if kind == wire.LABEL else f"where.name({value!r})"
            results.append(_term(kind, value, code))
            at = stop
        elif kind == wire.NOT:
            results.append(~results.pop())
        else:
            right = results.pop()
            results.append(_join("and" if kind == wire.AND else "or", results.pop(), right))
    return results[0]


def others_of(selector: Selector) -> Selector:
    """The same but for what the program that sends has itself."""
    made = _made(selector._data, selector._code, selector._text, selector._terms, selector._binds)
    object.__setattr__(made, "_others_only", True)
    return made


def _made(data: bytes, code: str, text: str, terms: int, binds: int) -> Selector:
    if terms > codes.SELECTOR_TERMS_MAX or len(data) > codes.SELECTOR_SIZE_MAX:
        raise ValueError(
            f"a selector has at most {codes.SELECTOR_TERMS_MAX} terms (labels, names and operators) and "
            f"{codes.SELECTOR_SIZE_MAX} bytes; this one {terms} and {len(data)}"
        )
    made = object.__new__(Selector)
    values = {"_data": data, "_code": code, "_text": text, "_terms": terms, "_binds": binds}
    for name, value in (values | {"_others_only": False}).items():
        object.__setattr__(made, name, value)
    return made


def _join(word: str, left: Selector, right: Selector) -> Selector:
    """As Python and `parse` read it: from the left, so the right one stands in brackets if it is the same."""
    binds = _WORDS[word]
    sign = _SIGNS[word]
    operator = wire.AND if word == "and" else wire.OR
    return _made(
        left._data + right._data + bytes((operator,)),
        f"{_within(left, binds, False)} {sign} {_within(right, binds + 1, False)}",
        f"{_within(left, binds, True)} {word} {_within(right, binds + 1, True)}",
        left._terms + right._terms + 1,
        binds,
    )


def _within(part: Selector, binds: int, is_text: bool) -> str:
    words = part._text if is_text else part._code
    return words if part._binds >= binds else f"({words})"


def _term(kind: int, value: str, code: str) -> Selector:
    plain = re.fullmatch(_PLAIN, value) is not None and value not in _WORDS
    if kind == wire.LABEL and value.startswith("name:"):
        plain = False
    text = value if plain else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    if kind == wire.NAME:
        text = f"name:{text}"
    return _made(wire.write_operand(kind, value), code, text, 1, _TERM)


def _checked(what: str, value: object, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {what} is a text (str), not {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} is a text in UTF-8, and this one has no place there") from None
    if not 1 <= size <= most:
        raise ValueError(f"a {what} has 1 to {most} bytes of UTF-8: {value!r:.80} has {size}")
    return value


class Where:
    """The beginning of selectors: `busway.where`."""

    def __call__(self, label: str, *labels: str) -> Selector:
        """Endpoints that have a label; of several all of them. Raises TypeError, ValueError."""
        found = [
            _term(wire.LABEL, _checked("label", each, codes.LABEL_SIZE_MAX), f"where({each!r})")
            for each in (label, *labels)
        ]
        joined = found[0]
        for other in found[1:]:
            joined = joined & other
        return joined

    def name(self, pattern: str) -> Selector:
        """Endpoints of that name, or whose names fit a pattern: `*` stands for a whole level between slashes,
        `**` for any number of levels. Raises TypeError, ValueError.
        """
        _checked("name", pattern, codes.TEXT_SIZE_MAX)
        try:
            check_pattern(pattern)
        except errors.LocalError as error:
            raise ValueError(str(error)) from None
        return _term(wire.NAME, pattern, f"where.name({pattern!r})")

    def parse(self, text: str) -> Selector:
        """Read `renderer and not (codec or name:"spare/*")`: labels, `name:` before names and patterns,
        `and`, `or`, `not` and brackets; what has spaces, quotes or brackets in it, or is one of these words,
        stands in quotes. Raises ValueError that points at the place, TypeError.
        """
        if not isinstance(text, str):
            raise TypeError(f"a selector is parsed from a text (str), not {text!r}")
        if len(text) > _TEXT_MAX:
            raise ValueError(f"a selector has at most {_TEXT_MAX} characters, not {len(text)}")
        return _Parser(text).parse()

    def __repr__(self) -> str:
        return "busway.where"


where = Where()


class _Parser:
    """Dijkstra's shunting yard: operators wait until what binds less comes, however deep it is nested."""

    _TOKEN = re.compile(rf"\s*(?:(?P<sign>[()])|(?P<name>name:)?(?:(?P<quote>[\"'])|(?P<plain>{_PLAIN})))")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._results: list[Selector] = []
        self._waiting: list[tuple[str, int]] = []  # operators and open brackets, with their places

    def parse(self) -> Selector:
        wanted = True  # a label, a name, `not` or a bracket
        while (place := self._skip()) < len(self._text):
            wanted = self._take(place, wanted)
        if wanted:
            self._fail(place, "a label, or name: with a pattern, was expected")
        while self._waiting:
            word, place = self._waiting.pop()
            if word == "(":
                self._fail(place, "this bracket is not closed")
            self._apply(word, place)
        return self._results[0]

    def _skip(self) -> int:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at

    def _take(self, place: int, wanted: bool) -> bool:
        """One token; returns whether a term is wanted next."""
        found = self._TOKEN.match(self._text, place)
        if found is None:
            self._fail(place, "a label, or name: with a pattern, was expected")
        self._at = found.end()
        word = found["sign"] or ("" if found["name"] else found["plain"] or "")
        if wanted and word in ("(", "not"):
            self._waiting.append((word, place))
            return True
        if word in ("and", "or", ")"):
            if wanted:
                self._fail(place, f"a label, or name: with a pattern, was expected before {word!r}")
            return self._close(place) if word == ")" else self._operator(word, place)
        if not wanted:
            self._fail(
                place, "`and` or `or` was expected, in small letters; what has spaces in it stands in quotes"
            )
        value: str = self._quoted(found["quote"], place) if found["quote"] else found["plain"]
        if not found["name"] and not found["quote"] and value.startswith("name:"):
            self._fail(place, "name: stands before a name or a pattern")
        try:
            self._results.append(where.name(value) if found["name"] else where(value))
        except ValueError as error:
            self._fail(place, str(error))
        return False

    def _quoted(self, quote: str, place: int) -> str:
        value = ""
        while self._at < len(self._text) and (char := self._text[self._at]) != quote:
            self._at += 1
            if char == "\\" and self._at < len(self._text):
                char = self._text[self._at]
                self._at += 1
            value += char
        if self._at == len(self._text):
            self._fail(place, f"{quote} was opened here and never closed")
        self._at += 1
        return value

    def _operator(self, word: str, place: int) -> bool:
        while self._waiting and self._waiting[-1][0] != "(":
            if _WORDS[self._waiting[-1][0]] < _WORDS[word]:
                break
            self._apply(*self._waiting.pop())
        self._waiting.append((word, place))
        return True

    def _close(self, place: int) -> bool:
        while self._waiting and self._waiting[-1][0] != "(":
            self._apply(*self._waiting.pop())
        if not self._waiting:
            self._fail(place, "this bracket was never opened")
        self._waiting.pop()
        return False

    def _apply(self, word: str, place: int) -> None:
        try:
            if word == "not":
                self._results.append(~self._results.pop())
            else:
                right = self._results.pop()
                self._results.append(_join(word, self._results.pop(), right))
        except ValueError as error:
            self._fail(place, str(error))

    def _fail(self, place: int, what: str) -> NoReturn:
        """The text around the place, with a mark below it."""
        first = max(0, place - 40)
        shown = "".join(char if char.isprintable() else " " for char in self._text[first : place + 40])
        mark = " " * (place - first) + "^"
        raise ValueError(f"at character {place + 1} of the selector: {what}\n  {shown}\n  {mark}")
