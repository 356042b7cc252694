"""Prints values, ids and tables, for people and for scripts. Knows no bus.

What comes from other programs is escaped: no control character of theirs reaches the terminal.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

LINE_LENGTH_MAX = 1000
"""Longest payload shown to people, in characters; --json shows all."""

SLOW_S = 2.0
"""How long, in seconds, people wait for something before they are told that it is still under way."""

_WIDTH_MAX = 1_000_000  # of a table, in columns: nothing is cut, a terminal breaks long lines itself
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """The text with everything escaped that a terminal might obey or not show."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _ESCAPES.get(char) or _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def uuid_text(ident: bytes) -> str:
    """16 bytes as a UUID; others as hex."""
    return str(uuid.UUID(bytes=ident)) if len(ident) == 16 else ident.hex()


def node_text(ident: bytes, label: str) -> str:
    """A node as people know it."""
    return f"{printable(label)} {ident.hex()[:8]}".strip()


def plain(value: object) -> object:
    """The value as JSON can carry it: bytes become hexadecimal, times ISO 8601, sets lists, keys text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no nan and inf
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {_key(key): plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(member) for member in value]
    return _plain_other(value)


def _plain_other(value: Any) -> object:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "items"):
        return plain(dict(value.items()))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "tag") and hasattr(value, "value"):
        return {"tag": value.tag, "value": plain(value.value)}
    return str(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    shown = plain(key)
    return shown if isinstance(shown, str) else _dumps(shown)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_text(value: object) -> str:
    """One line of JSON that any terminal and any JSON reader takes."""
    text = _dumps(plain(value))
    # Inside JSON only strings can hold such characters, and there \uXXXX means the same.
    return text if text.isprintable() else json.dumps(plain(value), separators=(",", ":"))


def value_text(value: object) -> str:
    """A payload for people: bytes as in Python, else JSON; cut if very long, large arrays only named."""
    if isinstance(value, bytes):
        text = repr(value[:LINE_LENGTH_MAX])
        rest = len(value) - LINE_LENGTH_MAX
        return f"{text}… {rest:,} more bytes" if rest > 0 else text
    text = json_text(_brief(value))
    rest = len(text) - LINE_LENGTH_MAX
    return f"{text[:LINE_LENGTH_MAX]}… {rest:,} more characters" if rest > 0 else text


def _brief(value: Any) -> Any:
    """The value with names in place of its large arrays, whose numbers would take long to write."""
    if isinstance(value, dict):
        return {key: _brief(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_brief(member) for member in value]
    shape = getattr(value, "shape", None)
    if not shape or math.prod(shape) <= LINE_LENGTH_MAX:
        return value
    return f"{getattr(value, 'dtype', value.__class__.__name__)} {' x '.join(map(str, shape))}"


def write_value(value: object) -> None:
    """A reply as the command's result: text and bytes as they are, fit to be piped; the rest as JSON."""
    terminal = sys.stdout.isatty()
    if isinstance(value, bytes):
        say(bytes_text(value)) if terminal else _write(value)
    elif isinstance(value, str):
        say(printable(value) if terminal else value)
    else:
        say(json_text(value))


def bytes_text(value: bytes) -> str:
    """Bytes for a terminal: if they are text its lines, else as Python writes them."""
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode().removesuffix("\n")
        if text.replace("\n", "").replace("\t", "").isprintable() and value:
            return text
    return repr(value)


def _write(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise Closed from None


class Closed(Exception):
    """The reader of the output is gone."""


def say(text: str) -> None:
    """One line to stdout, at once. Raises Closed."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise Closed from None


def say_json(document: object) -> None:
    """One JSON document, in one line, to stdout, at once."""
    say(json_text(document))


def note(text: str) -> None:
    """One line for people, to stderr."""
    click.echo(f"busway: {printable(text)}", err=True)


@contextlib.contextmanager
def noted_if_slow(text: str, told: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Writes a line to stderr, if that is a terminal, when what is done takes so long that people wonder, and
    they have not been `told` why. Scripts and logs get none. Needs a running loop.
    """
    import asyncio

    def say() -> None:
        if sys.stderr.isatty() and not told():
            note(text)

    timer = asyncio.get_running_loop().call_later(SLOW_S, say)
    try:
        yield
    finally:
        timer.cancel()


def clock_text(now: float | None = None) -> str:
    """The time of day with milliseconds."""
    now = time.time() if now is None else now
    return time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"


def size_text(size: float) -> str:
    """Bytes as people read them: 12 B, 3.4 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def duration_text(milliseconds: float) -> str:
    """As in 850 ms, 12 s, 5 min, 3 h, 2 d; "-" for what was not measured."""
    if milliseconds < 0:
        return "-"
    for unit, size, count in (("ms", 1, 1000), ("s", 1000, 60), ("min", 60_000, 60), ("h", 3_600_000, 48)):
        if milliseconds < size * count:
            return f"{milliseconds / size:.0f} {unit}"
    return f"{milliseconds / 86_400_000:.0f} d"


def counted(count: int, noun: str) -> str:
    """As in "1 node", "2 nodes"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listing(
    documents: Sequence[object],
    as_json: bool,
    nothing: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    colour: Callable[[str], str | None] | None = None,
) -> None:
    """The documents as JSON, or the same as a table; where there are none `nothing` is said to people."""
    if as_json:
        say_json(documents)
    elif documents:
        table(headings, rows, colour)
    else:
        note(nothing)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    colour: Callable[[str], str | None] | None = None,
) -> None:
    """A table to stdout, as wide as what it holds. Columns whose heading begins with ">" stand to the right.

    `colour` gives the last column's cells their colours, on a terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        shown.add_column(
            Text(heading.lstrip(">")), justify="right" if heading[0] == ">" else "left", no_wrap=True
        )
    for row in rows:
        cells = [Text(f"{value:,}" if isinstance(value, int) else printable(str(value))) for value in row]
        cells[-1].style = (colour and colour(cells[-1].plain)) or ""
        shown.add_row(*cells)
    console = Console(width=_WIDTH_MAX)
    with console.capture() as captured:
        console.print(shown)
    for line in captured.get().splitlines():
        say(line.rstrip())
