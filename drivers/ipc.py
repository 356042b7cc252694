"""Links between this user's programs on this machine: Unix sockets, named pipes on Windows. Only chooses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from busway.drivers import unix
from busway.drivers.unix import Peer

if TYPE_CHECKING:
    from busway.drivers.unix_census import Sighting

__all__ = [
    "Peer",
    "dial",
    "has_pipes",
    "is_dead",
    "open_listener",
    "other_buses",
    "peers",
    "place",
    "places",
    "sightings",
    "sweep",
]


def has_pipes() -> bool:
    """Whether this system's programs meet at named pipes."""
    return sys.platform == "win32"


def _driver() -> Any:
    if not has_pipes():
        return unix
    from busway.drivers import named_pipe  # which nobody else waits for

    return named_pipe


def _census() -> Any:
    from busway.drivers import unix_census  # only for those who look for somebody

    return unix_census


def open_listener(bus: str, node_id: bytes) -> Any:
    """Makes the node's place to connect to, where others find it. Raises as `unix.UnixListener.open`."""
    return _driver().Listener.open(bus, node_id)


def peers(bus: str) -> list[Peer]:
    """The nodes of this user on this bus. Raises as `unix.peers`."""
    found: list[Peer] = _driver().peers(bus)
    return found


def sweep(bus: str) -> list[Peer]:
    """Removes what dead nodes left behind; returns whose it was. Raises as `unix.sweep`."""
    found: list[Peer] = _driver().sweep(bus)
    return found


def is_dead(path: str) -> bool:
    """Whether a peer's `path` is left over from a program that died. Raises OSError if it has gone."""
    return bool(_driver().is_dead(path))


def place(bus: str) -> str:
    """The directory where the nodes of this user on this bus are found; "" for named pipes, which have none.

    Raises as `unix.peers`.
    """
    return "" if has_pipes() else unix.bus_directory(bus)


def places() -> list[str]:
    """The directories where sockets may be, the own one first; none for named pipes. Raises ValueError."""
    return [] if has_pipes() else unix.directories()


def other_buses(bus: str) -> dict[str, list[str]]:
    """By hash, the sockets of this user's living programs on buses of other names; none of named pipes."""
    return {} if has_pipes() else _census().other_buses(bus)


def sightings() -> list[Sighting]:
    """Everybody's programs with a socket on this machine, as far as the kernel tells."""
    return [] if has_pipes() else _census().sightings()


def dial(path: str) -> Any:
    """Connects to a node. Raises as `unix.dial`."""
    return _driver().dial(path)
