"""Files in TOML by which a user says who may do what: read with care, read again when they change, and what
is wrong in them told with its line.

Knows of no such file what it says. Needs the standard library only.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from busway.errors import SettingsError
from busway.keys import looks_like_key

SIZE_MAX: Final = 1 << 20
NAME_SIZE_MAX: Final = 64  # of what people call somebody, in UTF-8 bytes, as of labels
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
Path = tuple[str | int, ...]  # where a value stands: names of tables and keys, places in lists from 0


class Wrong(Exception):
    """Something at a place of a file is wrong. The place may lead deeper than the file does."""

    def __init__(self, place: Path, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class SettingsFile:
    """A file that is read again whenever it has changed; while what is new in it is wrong, what it said
    before holds, and `trouble` says what is wrong. Subclasses say what it means.

    Raises its `error` if it is wrong when it is read first.
    """

    error: type[SettingsError]
    remedy = ""  # for who has no such file
    harm = ""  # what who can write it could do

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.given = os.fspath(path)  # as the user knows it
        self.path = os.path.abspath(path)
        self._trouble: SettingsError | None = None
        self._seen: tuple[int, ...] | None = None
        self._version = 0
        text, self._seen = self._contents()
        self._take(text)

    def _take(self, text: str) -> bool:
        """Take what the file says now; whether that is something else than before. Raises its error."""
        raise NotImplementedError

    def version(self) -> int:
        """Read it again if it looks otherwise than before. Another number if it says something else, or has
        something else wrong with it.
        """
        seen = self._look()  # before it is read: what is written meanwhile is another version
        if seen != self._seen:
            changed, trouble = False, str(self._trouble)
            try:
                text, now = self._contents()
                changed = self._take(text)
                self._seen, self._trouble = now, None
            except self.error as error:
                self._seen, self._trouble = seen, error
            self._version += changed or trouble != str(self._trouble)
        return self._version

    def _look(self) -> tuple[int, ...] | None:
        try:
            return _signature(os.stat(self.path))
        except OSError:
            return None

    def _contents(self) -> tuple[str, tuple[int, ...]]:
        return contents(self.path, self.error, self.remedy, self.harm)


def _signature(found: os.stat_result) -> tuple[int, ...]:
    """The signature that tells one version of a file from another, its permissions included."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def contents(
    path: str, error: type[SettingsError], remedy: str = "", harm: str = ""
) -> tuple[str, tuple[int, ...]]:
    """The text of a file that nobody else can write, and what tells this version of it from others. Raises
    `error`.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise error(path, 0, "it is no regular file, which could be read again when it changes")
            _check_owner(found, path, error, harm)
            data = file.read(SIZE_MAX + 1)
    except OSError as failure:
        how = f": {remedy}" if remedy and isinstance(failure, FileNotFoundError) else ""
        raise error(path, 0, f"{failure.strerror}{how}") from failure
    if len(data) > SIZE_MAX:
        raise error(path, 0, f"it has more than {SIZE_MAX} bytes")
    try:
        return data.decode(), _signature(found)
    except UnicodeDecodeError as failure:
        line = data[: failure.start].count(b"\n") + 1
        raise error(path, line, "it is not UTF-8") from None


def _opener(path: str, flags: int) -> int:
    """Without waiting for who would write, if it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_owner(found: os.stat_result, path: str, error: type[SettingsError], harm: str) -> None:
    if os.name != "posix":
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise error(path, 0, f"it belongs to another user (uid {found.st_uid}), who could {harm}")
    if found.st_mode & 0o022:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise error(path, 0, f"others can write it (mode {mode}), and {harm}: `chmod go-w {path}`")


def document(text: str, path: str, error: type[SettingsError]) -> dict[str, Any]:
    """The tables of a file. Raises `error` with the line where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as failure:
        message, line = _place_of(str(failure), text)
        raise error(path, line, f"no TOML: {message}") from None
    except (ValueError, RecursionError):  # of numbers, and of tables in tables, that no such file has
        raise error(path, 0, "no TOML: a number is too long, or something nested too deep") from None


def _place_of(message: str, text: str) -> tuple[str, int]:
    """The message of tomllib without its place, and the line of that."""
    found = re.search(r" \(at line (\d+), column \d+\)$| \(at end of document\)$", message)
    if found is None:
        return message, 0
    line = int(found[1]) if found[1] else text.rstrip("\n").count("\n") + 1
    return message[: found.start()], line


def name_problem(name: str) -> str:
    """The fault of a name of somebody, in words; "" for none."""
    if not name or _CONTROL.search(name) or len(name.encode(errors="replace")) > NAME_SIZE_MAX:
        return f"{name!r} is no name: 1 to {NAME_SIZE_MAX} bytes, no control characters"
    if looks_like_key(name):
        return "the key stands where the name belongs: write [some-name] and key = below it"
    return ""


# Where what stands in the text


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of each table and value of a text that is TOML, by its place. Of what stands in
    one line, or is a text in a list of several lines, too; of the rest that of what holds it.
    """
    found: dict[Path, int] = {}
    tables: dict[Path, int] = {}  # how many of an array of tables there have been
    here: Path = ()
    for line, statement in _statements(text):
        content = statement.strip()
        if content.startswith("["):
            here = _header(content, tables)
            found.setdefault(here, line)
            continue
        for place, value in _leaves(tomllib.loads(statement), here):
            found.setdefault(place, line + _offset(statement, value))
    return found


def line_of(lines: dict[Path, int], place: Path) -> int:
    """The line of a place, else of what holds it; 0 if that is the whole file."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)


def _header(content: str, tables: dict[Path, int]) -> Path:
    """The place of [a.b] or [[a.b]]; names of arrays of tables are followed by which of them it is."""
    value: Any = tomllib.loads(content)
    place: Path = ()
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        place = (*place, name)
        if isinstance(value, list):
            tables[place] = tables.get(place, -1) + 1
            return (*place, tables[place])
        if place in tables:
            place = (*place, tables[place])
    return place


def _leaves(value: Any, place: Path) -> Iterator[tuple[Path, Any]]:
    """All that a value holds, with itself, and where."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, each in items:
        yield (*place, name), each
        yield from _leaves(each, (*place, name))


def _offset(statement: str, value: Any) -> int:
    """In which line of a statement of several a text stands in quotes, from 0."""
    if not isinstance(value, str) or "\n" not in statement.strip():
        return 0
    at = max(statement.find(f'"{value}"'), statement.find(f"'{value}'"), 0)
    return statement.count("\n", 0, at)


_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]",
    re.S,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The headers and assignments of a text that is TOML, each with its first line."""
    depth = start = 0
    line = first = 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        line += mark.count("\n")
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        elif mark == "\n" and not depth:
            yield first, text[start : token.end()]
            start, first = token.end(), line
    yield first, text[start:]
