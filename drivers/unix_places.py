"""Places for the sockets of a user's programs, and whether a directory is fit for them. Opens no socket.

Programs of one user find each other there whatever their environment is, so the directories follow from the
user's id; and a program may start before the user's own directory is there (at boot, from cron, under sudo)
or outlive it (after logout). So there are two, and every program looks into both:

    /run/user/UID/busway    where a program's own socket goes if /run/user/UID is ours and can be written
    /tmp/busway-UID         else
    /tmp/busway-UID-HEX     else: in /tmp anybody may have made the one before. HEX is drawn at random, so
                            nobody can; all such directories that are ours are looked into

BUSWAY_DIR takes the place of all. A directory counts only if nobody else can put anything there: it belongs
to the user, has mode 0700 and is no symbolic link. What fails that is an error where the own socket is to go,
and is passed over where others are looked for, as somebody else may have made it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Final, NoReturn

RUNTIME: Final = "/run/user"
TEMPORARY: Final = "/tmp"

_SPARE = r"-[0-9a-f]{16}\Z"  # both are compiled at first use
_BUS_NAME = r"[0-9a-f]{16}"
# Errors that another directory mends: read-only, full, not ours to write, no sockets on that file system.
_UNFIT = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTDIR)
_ELSEWHERE = "set BUSWAY_DIR to a directory of your own"


def places() -> list[str]:
    """The directories where sockets of this user's programs may be; the first is where the own one goes.

    Makes nothing. Raises ValueError for a BUSWAY_DIR that cannot be.
    """
    chosen = os.environ.get("BUSWAY_DIR", "")
    if chosen and not os.path.isabs(chosen):
        raise ValueError(
            f"BUSWAY_DIR must be an absolute path, not {chosen!r}: programs start in different directories"
        )
    if chosen:
        return [os.path.normpath(chosen)]
    fallback, own = _usual()
    runtime = os.path.dirname(own)
    spare = _spare_places(fallback)
    if is_squatted(fallback):
        shared = [*(spare or [f"{fallback}-{os.urandom(8).hex()}"]), fallback]
    else:
        shared = [fallback, *spare]
    if not _is_ours(runtime):
        return shared
    return [own, *shared] if _is_writable(runtime) else [*shared, own]


def _usual() -> tuple[str, str]:
    """The two places that follow from the user."""
    uid = os.geteuid()
    return f"{TEMPORARY}/busway-{uid}", f"{RUNTIME}/{uid}/busway"


def is_squatted(path: str) -> bool:
    """Whether another user has made what is at a place of ours: we can neither use nor remove it."""
    try:
        return os.lstat(path).st_uid != os.geteuid()
    except OSError:
        return False


def _spare_places(fallback: str) -> list[str]:
    """The directories that stand for `fallback`, those that are private: others may make what they like."""
    parent, name = os.path.split(fallback)
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    found = [os.path.join(parent, each) for each in sorted(names) if each.startswith(f"{name}-")]
    return [path for path in found if re.search(_SPARE, path) and not _objection_to(path)]


def _objection_to(path: str) -> str:
    try:
        return _objection(path, os.lstat(path))[0]
    except OSError:
        return "is gone"


def _is_ours(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _is_writable(path: str) -> bool:
    """Not so in a sandbox that shows the directory read-only."""
    return os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def bus_path(parent: str, bus: str) -> str:
    """The directory of a bus in one of the places: bus names may have characters that file names cannot."""
    import hashlib

    return os.path.join(parent, hashlib.sha256(bus.encode()).hexdigest()[:16])


def is_bus(name: str) -> bool:
    """Whether a file's name may be that of a bus's directory."""
    return re.fullmatch(_BUS_NAME, name) is not None


def make_private(path: str) -> None:
    """Makes the directory if need be. Raises OSError that says what to do, as `check_private` does."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        parent = os.path.dirname(path)
        raise FileNotFoundError(
            f"{parent} does not exist: make it, or set BUSWAY_DIR to another directory"
        ) from error
    except OSError as error:
        raise_with_way_out(error, path)
    check_private(path)


def raise_with_way_out(error: OSError, path: str) -> NoReturn:
    """Raises the system's error about a file or socket of ours, with what to do where another place helps."""
    if error.errno not in _UNFIT or error.strerror != os.strerror(error.errno):
        raise error
    text = f"{path} cannot be made ({error.strerror}): {_ELSEWHERE}, where files and sockets can be made"
    raise OSError(error.errno, text) from error


def check_private(path: str) -> None:
    """Raises PermissionError, with a way out, if others could put sockets there; FileNotFoundError."""
    found = os.lstat(path)
    objection, remedy = _objection(path, found)
    if objection and (path in _usual() or is_bus(os.path.basename(path)) or _holds_only_buses(path, found)):
        raise PermissionError(f"{path} {objection}: {remedy}, or {_ELSEWHERE}")
    if objection:  # somebody's directory, which is used for other things, too
        raise PermissionError(f"{path} {objection}: {_ELSEWHERE}{_example(path)}")


def _objection(path: str, found: os.stat_result) -> tuple[str, str]:
    """The reason why sockets cannot be there, and what to do if the directory is Busway's own."""
    uid = os.geteuid()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return f"is a symbolic link to {os.readlink(path)!r}", "remove it"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a directory", "remove it"
    if found.st_uid != uid:
        return f"belongs to user {found.st_uid} and you are user {uid}", "have it removed"
    if mode & 0o777 != 0o700:
        return f"has mode {mode:04o}, expected 0700", f"run `chmod 700 {path}`"
    return "", ""


def _holds_only_buses(path: str, found: os.stat_result) -> bool:
    """Whether a directory of ours was made for sockets, as far as one can see: its mode may be changed."""
    shared = stat.S_IMODE(found.st_mode) & (stat.S_ISVTX | 0o022)  # as /tmp is, and others' directories are
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or shared:
        return False
    try:
        return all(is_bus(name) for name in os.listdir(path))
    except OSError:
        return False


def _example(path: str) -> str:
    """A directory below one that is used for other things, too, if it is safe to make one there."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    safe = found.st_uid in (0, os.geteuid()) and (not mode & 0o022 or mode & stat.S_ISVTX)
    if not safe or not stat.S_ISDIR(found.st_mode) or not _is_writable(path):
        return ""
    return f", for example {os.path.join(path, f'busway-{os.geteuid()}')}, which is made if it is not there"
