"""Programs with sockets of Busway on this machine, other users' and those in other directories included.

For finding out why two programs do not meet. Knows file names and the kernel's table, opens no socket.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from busway.drivers import unix, unix_places

_TABLE: Final = "/proc/net/unix"  # proc(5); of Linux, readable by everybody
_LISTENS: Final = 0x10000  # __SO_ACCEPTCON in its flags
# The name that a socket was bound to, before it was renamed (unix.py).
_SOCKET = re.compile(r"(/.+)/([0-9a-f]{16})/([0-9a-f]{32})\.(?:tmp|sock)")
_USUAL = re.compile(r"(?:/run/user/(\d+)/busway|/tmp/busway-(\d+)(?:-[0-9a-f]{16})?)")


class Sighting(NamedTuple):
    """A program that listens: its user's id (-1 if that cannot be seen), the directory of all of that user's
    sockets, the hash of its bus name as in a path, and its node id.
    """

    uid: int
    directory: str
    bus: str
    node_id: bytes


def sightings(table: str = _TABLE) -> list[Sighting]:
    """All programs with a socket on this machine, as far as the kernel tells; none where it does not."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return []
    found = {sighting for line in lines if (sighting := _sighting(line))}
    return sorted(found)


def _sighting(line: str) -> Sighting | None:
    """A line is: Num RefCount Protocol Flags Type St Inode [Path]."""
    words = line.split(maxsplit=7)
    if len(words) < 8 or not int(words[3], 16) & _LISTENS:
        return None
    path = _SOCKET.fullmatch(words[7])
    if path is None:
        return None
    directory, bus, node = path.groups()
    return Sighting(_owner(directory), directory, bus, bytes.fromhex(node))


def _owner(directory: str) -> int:
    usual = _USUAL.fullmatch(directory)
    if usual is not None:
        return int(usual[1] or usual[2])
    try:
        return os.lstat(directory).st_uid
    except OSError:
        return -1


def other_buses(bus: str) -> dict[str, list[str]]:
    """The buses of other names in this user's directories: by hash, the sockets of those who live.

    Raises ValueError, NotImplementedError as `unix.peers`.
    """
    found: dict[str, list[str]] = {}
    for parent in unix.directories():
        mine = os.path.basename(unix_places.bus_path(parent, bus))
        try:
            unix_places.check_private(parent)
            names = [name for name in os.listdir(parent) if unix_places.is_bus(name) and name != mine]
        except OSError:
            continue
        for name in names:
            if living := unix.living(os.path.join(parent, name)):
                found.setdefault(name, []).extend(living)
    return found
