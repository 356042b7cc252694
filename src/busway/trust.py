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
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from busway import settings
from busway.errors import TrustFileError
from busway.keys import looks_like_key, public_of, public_text
from busway.settings import SettingsFile, Wrong, name_problem

ROLES: Final = ("leaf", "router")
KEYS_MAX: Final = 4096
_FIELDS = ("key", "role")
_REMEDY = "`busway pair` makes one, or write it by hand"
_HARM = "let anybody in"  # whoever can write it says who joins
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Trusted(NamedTuple):
    """A key that may join: what people call it, its public half (32 bytes), its role ("leaf", "router")."""

    name: str
    public: bytes
    role: str


class Trust(Protocol):
    """Something that says who may join."""

    @property
    def entries(self) -> list[Trusted]:
        """All whom it knows."""

    def find(self, public: bytes, /) -> Trusted | None:
        """Find what is known of this public key, 32 bytes; None of one that may not join."""

    def version(self) -> int:
        """A number that is another one when what it says has changed."""

    @property
    def trouble(self) -> TrustFileError | None:
        """The fault of the file as it is now, so that an earlier version holds."""

    @property
    def place(self) -> str:
        """Where a key has to be entered, for people."""


class TrustTable:
    """Trust as a program says it: `trust={"busway1…": "router", "lab-pc": "leaf"}`."""

    place = "this program's trust="
    trouble = None

    def __init__(self, known: list[Trusted]) -> None:
        self._known = {each.public: each for each in known}

    @property
    def entries(self) -> list[Trusted]:
        return list(self._known.values())

    def find(self, public: bytes) -> Trusted | None:
        return self._known.get(public)

    def version(self) -> int:
        return 0


class TrustFile(SettingsFile):
    """Trust as a TOML file says it:

        [lab-pc]
        key = "busway1…"
        role = "router"

    It is read again whenever it has changed; while what is new in it is wrong, what it said before holds, and
    `trouble` says what is wrong. Raises TrustFileError if it is wrong when it is read first.
    """

    error = TrustFileError
    remedy = _REMEDY
    harm = _HARM

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._known: dict[bytes, Trusted] = {}
        super().__init__(path)

    def _take(self, text: str) -> bool:
        former, self._known = self._known, {each.public: each for each in parse(text, self.path)}
        return former != self._known

    @property
    def trouble(self) -> TrustFileError | None:
        """The fault of the file as it is now, so that an earlier version holds."""
        assert self._trouble is None or isinstance(self._trouble, TrustFileError)
        return self._trouble

    @property
    def place(self) -> str:
        """Where a key has to be entered, for people."""
        return f"the trust file {self.path}"

    @property
    def entries(self) -> list[Trusted]:
        """All that it says now."""
        self.version()
        return list(self._known.values())

    def find(self, public: bytes) -> Trusted | None:
        """Find what is known of this public key, 32 bytes; None of one that may not join."""
        self.version()
        return self._known.get(public)


def parse(text: str, path: str) -> list[Trusted]:
    """The entries of a trust file. Raises TrustFileError with the line of the first that is wrong."""
    document = settings.document(text, path, TrustFileError)
    if len(document) > KEYS_MAX:
        line = settings.line_of(settings.lines_of(text), (list(document)[KEYS_MAX],))
        raise TrustFileError(path, line, f"it has {len(document)} entries, and {KEYS_MAX} are the most")
    found: dict[bytes, Trusted] = {}
    for name, entry in document.items():
        try:
            trusted = _entry(name, entry)
            if trusted.public in found:
                former = found[trusted.public].name
                raise Wrong((name, "key"), f"{name} has the key of {former}: leave one of them out")
        except Wrong as wrong:
            line = settings.line_of(settings.lines_of(text), wrong.place)
            raise TrustFileError(path, line, wrong.message) from None
        found[trusted.public] = trusted
    return list(found.values())


def _entry(name: str, entry: Any) -> Trusted:
    if problem := name_problem(name):
        raise Wrong((name,), problem)
    if not isinstance(entry, dict):
        raise Wrong(
            (name,), f'expected [{name}] with key = "busway1…" and role = "leaf" or "router" below it'
        )
    for field in entry:
        if field not in _FIELDS:
            raise Wrong((name, field), f"{name} has {field!r}, and an entry has key and role only")
    for field in _FIELDS:
        if not isinstance(entry.get(field), str):
            expected = (
                '"busway1…", as `busway key show` prints it' if field == "key" else '"leaf" or "router"'
            )
            raise Wrong((name, field), f"{name} needs {field} = {expected}")
    try:
        return Trusted(name, public_of(entry["key"]), _role(entry["role"]))
    except ValueError as error:
        field = "role" if entry["role"] not in ROLES else "key"
        raise Wrong((name, field), f"{name}: {error}") from None


def _role(role: object) -> str:
    if role not in ROLES:
        raise ValueError(
            f'the role must be "leaf" (speaks for itself) or "router" (may forward for others), not {role!r}'
        )
    return str(role)


def append(path: str | os.PathLike[str], trusted: Trusted) -> None:
    """Add an entry to a trust file, or make the file; what stands in it stays as it is.

    Raises TrustFileError if the file is wrong, or has that name or key already; ValueError for a name that is
    none, or a key of one run.
    """
    where = os.path.abspath(path)
    public_of(public_text(trusted.public))
    if problem := name_problem(trusted.name):
        raise ValueError(problem)
    text = _HEADING
    if os.path.lexists(where):
        text, _ = settings.contents(where, TrustFileError, _REMEDY, _HARM)
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
    """Keep who can read it, whatever this process's umask and group are."""
    if os.name == "posix":
        with contextlib.suppress(PermissionError):  # of a group that this user is not in
            os.fchown(fd, -1, former.st_gid)
        os.fchmod(fd, stat.S_IMODE(former.st_mode))


def trust_of(given: object, known: Trust | None = None) -> Trust | None:
    """The trust that `trust=` of a bus means: a table of keys or names with their roles, or the path of a
    trust file; None is what BUSWAY_TRUST says, or no trust.

    A name in a table stands for the key that has it in what is `known` already, else in the file that
    BUSWAY_TRUST names, else in `usual_path()`. Raises TypeError, ValueError, TrustFileError.
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
        return TrustTable(_listed(given, known))
    raise TypeError(
        f"trust must be the path of a trust file, or a dict of keys and roles, not {type(given).__name__}"
    )


def _listed(given: Mapping[Any, Any], known: Trust | None) -> list[Trusted]:
    if len(given) > KEYS_MAX:
        raise ValueError(f"trust has {len(given)} entries, and {KEYS_MAX} are the most")
    found: list[Trusted] = []
    books = [] if known is None else [known]
    usual = False
    for who, role in given.items():
        if not isinstance(who, str):
            raise TypeError(f"trust has keys (busway1…) or names with their roles, not {who!r}")
        if looks_like_key(who):
            public = public_of(who)
            found.append(Trusted(public_text(public)[:15], public, _role(role)))
            continue
        named = _by_name(books, who)
        if named is None and not usual:
            books.append(_usual_book(who, known))
            usual = True
            named = _by_name(books, who)
        if named is None:
            places = " or ".join(each.place for each in books)
            raise ValueError(
                f"{who!r} is no key (busway1…), nor a name in {places}: `busway pair` enters one"
            )
        found.append(named._replace(role=_role(role)))
    return found


def _by_name(books: list[Trust], name: str) -> Trusted | None:
    return next((each for book in books for each in book.entries if each.name == name), None)


def _usual_book(name: str, known: Trust | None) -> TrustFile:
    """This user's trust file, in which a name is looked up that is not in what is known."""
    try:
        return TrustFile(usual_path())
    except TrustFileError as error:
        if known is None:
            raise
        message = f"{error.message} ({name!r} is no key, and not in {known.place} either)"
        raise TrustFileError(error.path, error.line, message) from error.__cause__


def usual_path() -> str:
    """The trust file that BUSWAY_TRUST names, else trust.toml where this user's settings are."""
    return os.environ.get("BUSWAY_TRUST") or os.path.join(settings_folder(), "trust.toml")


def settings_folder() -> str:
    """The place of this user's keys and trust: $XDG_CONFIG_HOME/busway, by default ~/.config/busway."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "busway")
