"""Bytes from what people paste: hex digits, dumps of xxd and hexdump, Python literals. Knows no protocol."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["parse_hex"]

_TEXT_SIZE_MAX = 64 * 1024 * 1024  # characters
_SHOWN_MAX = 24  # characters of what was pasted, in an error

_LITERAL = re.compile(r"""\s*(?:bytes\(|bytearray\(|memoryview\()?\s*[rR]?[bB][rR]?['"]""")
_WRAPPER = re.compile(r"\s*(?:bytes|bytearray|memoryview)\((.*)\)\s*", re.DOTALL)
_ESCAPE = re.compile(r"\\x(?=[0-9a-fA-F]{2})")
_ARRAY = re.compile(r"\{([^{}]*)\}")
_LINE = re.compile(r"\s*([0-9a-fA-F]{4,16})(:\s|\s{2,})\s*(.*)")
_CLOSING = re.compile(r"\s*[0-9a-fA-F]{4,16}:?\s*")
_PUNCTUATION = re.compile(r"[\s,;:\-_\[\]{}()]+")
_HEX = re.compile(r"[0-9a-fA-F]*")


class _Line(NamedTuple):
    """A line of a dump: where it says it is, and its bytes."""

    offset: int
    data: bytes
    marked: bool  # by a colon or by bars; else only the offsets tell


def parse_hex(text: str) -> bytes:
    """Reads bytes as people paste them.

    Taken are hex digits in pairs, together or apart, with spaces, line ends, commas, colons, hyphens,
    brackets and 0x or \\x before them; the output of `xxd`, `hexdump -C` and the like, with offsets and a
    text column; C arrays, as `xxd -i` writes them; and Python's own b'\\x01...', also several of them and
    with bytearray() around. A line may end with a comment after #.

    Args:
        text: at most 64 Mi characters.

    Returns:
        The bytes; b"" if there is nothing but white space.

    Raises:
        ValueError: it says what was found where, and what was expected.
    """
    if len(text) > _TEXT_SIZE_MAX:
        raise ValueError(f"at most {_TEXT_SIZE_MAX} characters of hex are taken at once, got {len(text)}")
    if _LITERAL.match(text):
        return _literal(text)
    dump = _dump(text.splitlines())  # first: its text column may hold anything
    if dump is not None:
        return dump
    array = _ARRAY.search(text)
    return _digits((array[1] if array else text).splitlines())


def _literal(text: str) -> bytes:
    wrapped = _WRAPPER.fullmatch(text)
    inner = wrapped[1] if wrapped else text
    try:
        # In brackets, literals on several lines are one.
        value = ast.literal_eval(f"({inner.strip()})")
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"this looks like Python's b'...' but is none ({_reason(error)}): {_short(text)}"
        ) from None
    if not isinstance(value, bytes):
        raise ValueError(f"expected one bytes literal, got {type(value).__name__}: {_short(text)}")
    return value


def _reason(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else type(error).__name__


def _dump(lines: Sequence[str]) -> bytes | None:
    """The bytes of a dump with offsets, or None if this is none."""
    found: list[_Line] = []
    repeated = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if line.strip() == "*":
            repeated = repeated or number
            continue
        if found and _CLOSING.fullmatch(line):
            continue
        read = _dump_line(line)
        if read is None:
            return None
        found.append(read)
    if not found or not _offsets_fit(found, repeated > 0):
        return None
    if repeated:
        raise ValueError(
            f"line {repeated} is a * for lines left out: make the dump with `hexdump -v` or `xxd`"
        )
    return b"".join(line.data for line in found)


def _offsets_fit(lines: Sequence[_Line], gaps: bool) -> bool:
    """Whether each line begins where the last one ended; that tells offsets from plain digits."""
    if not lines[0].marked and lines[0].offset != 0:
        return False
    ends = [line.offset + len(line.data) for line in lines]
    steps = zip(ends, lines[1:], strict=False)
    return all(line.offset == end or (gaps and line.offset > end) for end, line in steps)


def _dump_line(line: str) -> _Line | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    offset, mark, rest = int(match[1], 16), match[2], match[3]
    if rest.rstrip().endswith("|") and "|" in rest.rstrip()[:-1]:  # hexdump -C: the text stands between bars
        columns, marked = rest[: rest.index("|")], True
    elif mark.startswith(":"):  # xxd: two spaces before the text
        columns, marked = re.split(r"\s{2,}", rest, maxsplit=1)[0], True
    else:  # Wireshark and others
        columns, marked = re.split(r"\s{3,}", rest, maxsplit=1)[0], False
    digits = "".join(columns.split())
    if len(digits) % 2 or not _HEX.fullmatch(digits):
        return None
    return _Line(offset, bytes.fromhex(digits), marked)


def _digits(lines: Sequence[str]) -> bytes:
    data = bytearray()
    for number, line in enumerate(lines, 1):
        for piece in _PUNCTUATION.split(_ESCAPE.sub(" ", line.split("#", 1)[0])):
            data += _pair(piece, number)
    return bytes(data)


def _pair(piece: str, line: int) -> bytes:
    digits = piece
    if piece[:2] in ("0x", "0X"):
        digits = piece[2:]
        if len(digits) == 1:  # 0x7 is one byte, as C and Python write it
            digits = "0" + digits
        if not digits:
            raise ValueError(f"expected hex digits after 0x in line {line}")
    good = _HEX.match(digits)
    if good is not None and good.end() < len(digits):
        raise ValueError(f"expected hex digits, found {digits[good.end()]!r} in {_short(piece)}, line {line}")
    if len(digits) % 2:
        raise ValueError(f"expected two hex digits to a byte, found {_short(piece)} in line {line}")
    return bytes.fromhex(digits)


def _short(text: str) -> str:
    text = text.strip()
    return repr(text) if len(text) <= _SHOWN_MAX else repr(text[:_SHOWN_MAX]) + "..."
