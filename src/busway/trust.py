"""Trust: which public keys may join over the network, and as what. A table in the program, or a TOML file
that is read again when it changes.

Knows nothing of links, and needs the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from busway.errors import TrustFileError
from busway.keys import looks_like_key, public_of, public_text

ROLES: Final = ("leaf", "router")
KEYS_MAX: Final = 4096
_NAME_SIZE_MAX = 64  # in UTF-8 bytes, as of labels
_FILE_SIZE_MAX = 1 << 20
_FIELDS = ("key", "role")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Trusted(NamedTuple):
    """A key that may join: what people call it, its public half (32 bytes), its role ("leaf", "router")."""

    name: str
    public: bytes
    role: str


class Trust(Protocol):
    """Something that says who may join."""

    def find(self, public: bytes, /) -> Trusted | None:
        """What is known of this public key, 32 bytes; None of one that may not join."""

    def version(self) -> int:
        """A number that is another one when what it says has changed."""

    @property
    def trouble(self) -> TrustFileError | None:
        """What is wrong with it now, so that an earlier version holds."""

    @property
    def place(self) -> str:
        """Where a key has to be entered, for people."""


class TrustTable:
    """Trust as a program says it: `trust={"busway1…": "router", "lab-pc": "leaf"}`."""

    place = "this program's trust="
    trouble = None

    def __init__(self, known: list[Trusted]) -> None:
        self._known = {each.public: each for each in known}

    def find(self, public: bytes) -> Trusted | None:
        return self._known.get(public)

    def version(self) -> int:
        return 0


class TrustFile:
    """Trust as a TOML file says it:

        [lab-pc]
        key = "busway1…"
        role = "router"

    It is read again whenever it has changed; while what is new in it is wrong, what it said before holds, and
    `trouble` says what is wrong. Raises TrustFileError if it is wrong when it is read first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self.trouble: TrustFileError | None = None
        self._known: dict[bytes, Trusted] = {}
        self._seen: tuple[int, ...] | None = None
        self._version = 0
        self._read(*_contents(self.path))

    @property
    def place(self) -> str:
        return f"the trust file {self.path}"

    @property
    def entries(self) -> list[Trusted]:
        """All that it says now."""
        self.version()
        return list(self._known.values())

    def find(self, public: bytes) -> Trusted | None:
        self.version()
        return self._known.get(public)

    def version(self) -> int:
        """Read it again if it looks otherwise than before. Another number if it says something else, or has
        something else wrong with it.
        """
        seen = self._look()  # before it is read: what is written meanwhile is another version
        if seen != self._seen:
            former, trouble = self._known, str(self.trouble)
            try:
                self._read(*_contents(self.path))
                self.trouble = None
            except TrustFileError as error:
                self._seen = seen
                self.trouble = error
            self._version += former != self._known or trouble != str(self.trouble)
        return self._version

    def _look(self) -> tuple[int, ...] | None:
        try:
            return _signature(os.stat(self.path))
        except OSError:
            return None

    def _read(self, text: str, seen: tuple[int, ...]) -> None:
        known = parse(text, self.path)
        self._known, self._seen = {each.public: each for each in known}, seen


def _signature(found: os.stat_result) -> tuple[int, ...]:
    """What tells one version of a file from another, its permissions included."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def _contents(path: str) -> tuple[str, tuple[int, ...]]:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            _check_owner(found, path)
            data = file.read(_FILE_SIZE_MAX + 1)
    except OSError as error:
        remedy = (
            ": `busway pair` makes one, or write it by hand" if isinstance(error, FileNotFoundError) else ""
        )
        raise TrustFileError(path, 0, f"{error.strerror}{remedy}") from error
    if len(data) > _FILE_SIZE_MAX:
        raise TrustFileError(path, 0, f"it has more than {_FILE_SIZE_MAX} bytes")
    try:
        return data.decode(), _signature(found)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TrustFileError(path, line, "it is not UTF-8") from None


def _check_owner(found: os.stat_result, path: str) -> None:
    """Whoever can write it says who joins."""
    if os.name != "posix":
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise TrustFileError(
            path, 0, f"it belongs to another user (uid {found.st_uid}), who could let anybody in"
        )
    if found.st_mode & 0o022:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise TrustFileError(
            path, 0, f"others can write it (mode {mode}), and let anybody in: `chmod go-w {path}`"
        )


def parse(text: str, path: str) -> list[Trusted]:
    """The entries of a trust file. Raises TrustFileError with the line of the first that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _place_of(str(error), text)
        raise TrustFileError(path, line, f"no TOML: {message}") from None
    except (ValueError, RecursionError):  # of numbers, and of tables in tables, that no trust file has
        raise TrustFileError(path, 0, "no TOML: a number is too long, or something nested too deep") from None
    if len(document) > KEYS_MAX:
        raise TrustFileError(path, 0, f"it has {len(document)} entries, and {KEYS_MAX} are the most")
    found: dict[bytes, Trusted] = {}
    for name, entry in document.items():
        try:
            trusted = _entry(name, entry)
            if trusted.public in found:
                raise _Wrong(
                    "key", f"{name} has the key of {found[trusted.public].name}: leave one of them out"
                )
        except _Wrong as wrong:
            raise TrustFileError(path, _line_of(text, name, wrong.field), wrong.message) from None
        found[trusted.public] = trusted
    return list(found.values())


class _Wrong(Exception):
    """An entry is wrong, in this field ("": as a whole)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def _entry(name: str, entry: Any) -> Trusted:
    if problem := name_problem(name):
        raise _Wrong("", problem)
    if not isinstance(entry, dict):
        raise _Wrong("", f'expected [{name}] with key = "busway1…" and role = "leaf" or "router" below it')
    for field in entry:
        if field not in _FIELDS:
            raise _Wrong(field, f"{name} has {field!r}, and an entry has key and role only")
    for field in _FIELDS:
        if not isinstance(entry.get(field), str):
            expected = (
                '"busway1…", as `busway key show` prints it' if field == "key" else '"leaf" or "router"'
            )
            raise _Wrong(field if field in entry else "", f"{name} needs {field} = {expected}")
    try:
        return Trusted(name, public_of(entry["key"]), _role(entry["role"]))
    except ValueError as error:
        raise _Wrong("role" if entry["role"] not in ROLES else "key", f"{name}: {error}") from None


def _role(role: object) -> str:
    if role not in ROLES:
        raise ValueError(
            f'the role must be "leaf" (speaks for itself) or "router" (may forward for others), not {role!r}'
        )
    return str(role)


def name_problem(name: str) -> str:
    """What is wrong with the name of an entry; "" for nothing."""
    if not name or _CONTROL.search(name) or len(name.encode(errors="replace")) > _NAME_SIZE_MAX:
        return f"{name!r} is no name: 1 to {_NAME_SIZE_MAX} bytes, no control characters"
    if looks_like_key(name):
        return "the key stands where the name belongs: write [some-name] and key = below it"
    return ""


def _place_of(message: str, text: str) -> tuple[str, int]:
    """What tomllib says, and the line of it."""
    found = re.search(r" \(at line (\d+), column \d+\)$| \(at end of document\)$", message)
    if found is None:
        return message, 0
    line = int(found[1]) if found[1] else text.rstrip("\n").count("\n") + 1
    return message[: found.start()], line


def _line_of(text: str, name: str, field: str) -> int:
    """The line of a field of an entry, or else of the entry; 0 if it is written in a way not seen through."""
    here, line_of_entry = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = tomllib.loads(line)
        except tomllib.TOMLDecodeError:
            continue
        for word, value in found.items():
            if line.lstrip().startswith("["):
                here = word
            if word == name and (line.lstrip().startswith("[") or not here):
                line_of_entry = number
                if not field or (isinstance(value, dict) and field in value):
                    return number
            elif here == name and word == field:
                return number
    return line_of_entry


def append(path: str | os.PathLike[str], trusted: Trusted) -> None:
    """Add an entry to a trust file, or make the file; what stands in it stays as it is.

    Raises TrustFileError if the file is wrong, or has that name or key already; ValueError for a name that is
    none.
    """
    where = os.path.abspath(path)
    if problem := name_problem(trusted.name):
        raise ValueError(problem)
    text = _contents(where)[0] if os.path.lexists(where) else _HEADING
    for each in parse(text, where):
        if each.public == trusted.public:
            raise TrustFileError(where, 0, f"it has that key already, as {each.name} with role {each.role}")
        if each.name == trusted.name:
            raise TrustFileError(
                where,
                0,
                f"it has {each.name} already, with another key: remove that one, or choose another name",
            )
    header = trusted.name if _BARE.fullmatch(trusted.name) else _quoted(trusted.name)
    entry = f'\n[{header}]\nkey = "{public_text(trusted.public)}"\nrole = "{_role(trusted.role)}"\n'
    _replace(where, text + "\n" * (not text.endswith("\n")) + entry)


_HEADING = """\
# Who may join over the network, by the key that `busway key show` prints there. Read again when it changes.
# role = "router": may forward for others; "leaf": speaks for itself only.
"""


def _quoted(name: str) -> str:
    """As a basic string of TOML."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _replace(path: str, text: str) -> None:
    """Never half a file, whenever it is read."""
    real = os.path.realpath(path)
    beside = f"{real}.{secrets.token_hex(4)}.new"  # what a process that died has left is in nobody's way
    try:
        with open(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            if os.path.exists(real):
                _give_mode(file.fileno(), os.stat(real))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, real)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise TrustFileError(path, 0, f"cannot be written: {error.strerror}") from error


def _give_mode(fd: int, former: os.stat_result) -> None:
    """Who could read it still can, whatever this process's umask and group are."""
    if os.name == "posix":
        with contextlib.suppress(PermissionError):  # of a group that this user is not in
            os.fchown(fd, -1, former.st_gid)
        os.fchmod(fd, stat.S_IMODE(former.st_mode))


def trust_of(given: object) -> Trust | None:
    """What `trust=` of a bus means: a table of keys or names with their roles, or the path of a trust file;
    None is what BUSWAY_TRUST says, or no trust.

    A name in a table stands for the key that has it in the file that BUSWAY_TRUST names, else `usual_path()`.
    Raises TypeError, ValueError, TrustFileError.
    """
    if given is None:
        given = os.environ.get("BUSWAY_TRUST") or None
    if given is None:
        return None
    if isinstance(given, TrustFile):
        return given
    if isinstance(given, (str, os.PathLike)):
        return TrustFile(given)
    if isinstance(given, Mapping):
        return TrustTable(_listed(given))
    raise TypeError(
        f"trust must be the path of a trust file, or a dict of keys and roles, not {type(given).__name__}"
    )


def _listed(given: Mapping[Any, Any]) -> list[Trusted]:
    if len(given) > KEYS_MAX:
        raise ValueError(f"trust has {len(given)} entries, and {KEYS_MAX} are the most")
    found: list[Trusted] = []
    book: TrustFile | None = None
    for who, role in given.items():
        if not isinstance(who, str):
            raise TypeError(f"trust has keys (busway1…) or names with their roles, not {who!r}")
        if looks_like_key(who):
            public = public_of(who)
            found.append(Trusted(public_text(public)[:15], public, _role(role)))
            continue
        book = book or TrustFile(usual_path())
        found.append(_by_name(book, who)._replace(role=_role(role)))
    return found


def _by_name(book: TrustFile, name: str) -> Trusted:
    for each in book.entries:
        if each.name == name:
            return each
    raise ValueError(f"{name!r} is no key (busway1…), nor a name in {book.place}: `busway pair` enters one")


def usual_path() -> str:
    """The trust file that BUSWAY_TRUST names, else trust.toml where this user's settings are."""
    return os.environ.get("BUSWAY_TRUST") or os.path.join(settings_folder(), "trust.toml")


def settings_folder() -> str:
    """The place of this user's keys and trust: $XDG_CONFIG_HOME/busway, by default ~/.config/busway."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "busway")
