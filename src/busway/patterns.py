"""Patterns of names: * stands for anything within a level, ** for anything over levels, ? for one character.

A name comes from a stranger, so what it costs to compare must not depend on what it is: all patterns are
followed at once, a bit for each place in each of them (the extended Shift-And of Navarro and Raffinot,
Flexible Pattern Matching in Strings, 2002, section 4.3). Knows nothing of who may do what.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

SIZE_MAX = 128  # of one pattern, in UTF-8 bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_PART = re.compile(r"\*+|.", re.DOTALL)


def pattern_problem(text: object) -> str:
    """The fault of a pattern, in words; "" for none."""
    if not isinstance(text, str):
        return f"a pattern is text, not {text!r}"
    if not text or _CONTROL.search(text) or len(text.encode(errors="replace")) > SIZE_MAX:
        return f"{text!r} is no pattern of names: 1 to {SIZE_MAX} bytes, no control characters"
    return ""


@functools.lru_cache(maxsize=4096)
def overlap(pattern: str, family: str) -> bool:
    """Whether there may be a name that fits a pattern, and is of a family of names as subscribers write it:
    there * is a whole level and ** any number of levels (protocol/wire/patterns.py). Rather says so than not.
    """
    ours = _PART.findall(pattern)
    theirs = _PART.findall(family.replace("/**", "**").replace("**/", "**"))
    seen = {(0, 0)}
    ways = [(0, 0)]
    while ways:
        at, place = ways.pop()
        mine = ours[at] if at < len(ours) else ""
        its = theirs[place] if place < len(theirs) else ""
        if not mine and not its:
            return True
        steps = [(at + 1, place)] * mine.startswith("*") + [(at, place + 1)] * its.startswith("*")
        if mine and its and _meet(mine, its):
            steps.append((at + (mine[0] != "*"), place + (its[0] != "*")))
        for step in steps:
            if step not in seen:
                seen.add(step)
                ways.append(step)
    return False


def _meet(mine: str, its: str) -> bool:
    """Whether a character fits both a part of a pattern and one of a family; there ? is a letter like any."""
    if its.startswith("**"):
        return True
    if its == "*":
        return mine != "/"
    if mine in ("*", "?"):
        return its != "/"
    return mine.startswith("**") or mine == its


class Patterns:
    """Some patterns, of which a text may fit any."""

    __slots__ = ("_all", "_any", "_final", "_level", "_literal", "_next", "_prefixes", "_start")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._literal: set[str] = set()
        prefixes: list[str] = []
        self._start = self._final = 0  # before the first place of each, and behind the last
        self._level = self._all = 0  # places that stay as they are on what is no "/", or on anything
        self._any = 0  # places that ? takes on
        self._next: dict[str, int] = {}  # places that this character takes on, with those of ?
        at = 0
        for pattern in dict.fromkeys(patterns):
            if "*" not in pattern and "?" not in pattern:
                self._literal.add(pattern)
            elif pattern.endswith("**") and not {"*", "?"} & set(pattern.rstrip("*")):
                prefixes.append(pattern.rstrip("*"))
            else:
                at = self._add(pattern, at)
        self._prefixes = tuple(prefixes)
        for char in self._next:
            self._next[char] |= 0 if char == "/" else self._any

    def _add(self, pattern: str, at: int) -> int:
        self._start |= 1 << at
        for part in _PART.findall(pattern):
            if part[0] != "*":
                if part == "?":
                    self._any |= 1 << at
                else:
                    self._next[part] = self._next.get(part, 0) | 1 << at
                at += 1
            elif len(part) > 1:
                self._all |= 1 << at
            else:
                self._level |= 1 << at
        self._final |= 1 << at
        return at + 1

    def fits(self, text: str) -> bool:
        """Whether any of them fits the whole text. A UUID stands for what has not said its name, which may be
        any: of patterns with * or ? only one that fits all there is fits it.
        """
        if text in self._literal or "" in self._prefixes:
            return True
        if _UUID.fullmatch(text):
            return False
        if text.startswith(self._prefixes):
            return True
        places = self._start
        for char in text:
            if not places:
                return False
            if char == "/":
                places = (places & self._next.get(char, 0)) << 1 | places & self._all
            else:
                places = (places & self._next.get(char, self._any)) << 1 | places & (self._all | self._level)
        return bool(places & self._final)
