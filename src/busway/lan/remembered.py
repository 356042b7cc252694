"""Addresses that worked, and ports that were listened on, kept in one file for each bus: so that programs
meet where announcements do not come through, and at once.

The file is JSON, of this user alone (0600), written whole and put in place. Several programs share it: each
change is made under a lock, upon what is there. What is damaged is put aside, and told.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from busway.lan.announced import ADDRESSES_MAX, bus_hash, is_usable

VERSION: Final = 1
PLACES_MAX: Final = 64
PORTS_MAX: Final = 16
SIZE_MAX: Final = 65536
FORGOTTEN_S: Final = 30 * 86400.0
_AHEAD_S: Final = 86400.0  # a clock that was put back


class Place(NamedTuple):
    """A program that a link was made to: `worked` is when it was last open, in seconds since 1970."""

    node_id: bytes
    addresses: tuple[str, ...]
    port: int
    worked: float


class Memory(NamedTuple):
    """All that is remembered of a bus: places, the latest first, and own ports, the latest first."""

    places: tuple[Place, ...] = ()
    ports: tuple[int, ...] = ()


class DamagedFile(ValueError):
    """The file holds something else. The sentence says what, and where it was put."""


def state_directory() -> Path:
    """$XDG_STATE_HOME/busway, by default ~/.local/state/busway."""
    base = os.environ.get("XDG_STATE_HOME")
    if not base or not os.path.isabs(base):  # the XDG Base Directory Specification: others are ignored
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "busway"


def path_of(bus: str) -> Path:
    """The file for the bus with this name."""
    return state_directory() / f"lan-{bus_hash(bus)}.json"


def load(path: Path, now: float) -> Memory:
    """The memory in a file, without what is too old; empty if there is none. Raises OSError; DamagedFile,
    once: then the file stands beside it as *.damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        return Memory()
    try:
        return _parse(data, now)
    except (ValueError, RecursionError) as error:
        aside = path.with_suffix(".damaged")
        os.replace(path, aside)
        raise DamagedFile(f"{path} is damaged ({error}): it is put aside as {aside.name}") from None


def worked(path: Path, places: list[Place], ports: list[int], now: float) -> None:
    """Remember that these work now, besides what is remembered. Raises OSError, DamagedFile (nothing is
    written then, but the next time is).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        _save(path, merged(load(path, now), places, ports))


def is_place(place: Place) -> bool:
    """Whether it could be read again."""
    try:
        return bool(place.addresses) and all(is_usable(ip_address(each)) for each in place.addresses)
    except ValueError:
        return False


def merged(before: Memory, places: list[Place], ports: list[int]) -> Memory:
    """The latest of both, each program and each place once, within the bounds."""
    kept: list[Place] = []
    for place in sorted([*filter(is_place, places), *before.places], key=lambda each: -each.worked):
        same = (
            each.node_id == place.node_id
            or (each.port == place.port and set(each.addresses) & set(place.addresses))
            for each in kept
        )
        if not any(same):
            kept.append(place)
    return Memory(tuple(kept[:PLACES_MAX]), tuple(dict.fromkeys([*ports, *before.ports]))[:PORTS_MAX])


def _save(path: Path, memory: Memory) -> None:
    document = {
        "version": VERSION,
        "ports": list(memory.ports),
        "places": [
            {
                "node": place.node_id.hex(),
                "addresses": list(place.addresses),
                "port": place.port,
                "worked": round(place.worked, 3),
            }
            for place in memory.places
        ],
    }
    handle, name = tempfile.mkstemp(prefix=".lan-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the programs of this user; elsewhere than on POSIX the last one to write wins."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _parse(data: bytes, now: float) -> Memory:
    if len(data) > SIZE_MAX:
        raise ValueError(f"it has more than {SIZE_MAX} bytes")
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(f"it is no record of version {VERSION}")
    places, ports = document.get("places"), document.get("ports")
    if not isinstance(places, list) or not isinstance(ports, list) or len(ports) > PORTS_MAX:
        raise ValueError("its places or ports are no lists, or too long")
    found = [_place(each) for each in places]
    fresh = [place for place in found if now - FORGOTTEN_S < place.worked <= now + _AHEAD_S]
    fresh.sort(key=lambda place: -place.worked)
    return Memory(tuple(fresh[:PLACES_MAX]), tuple(map(_port, ports)))


def _place(found: Any) -> Place:
    if not isinstance(found, dict):
        raise ValueError("a place is no map")
    node, addresses, seen = found.get("node"), found.get("addresses"), found.get("worked")
    if not isinstance(node, str) or len(node) != 32:
        raise ValueError("a node id is none")
    if not isinstance(addresses, list) or not 0 < len(addresses) <= ADDRESSES_MAX:
        raise ValueError("addresses are missing, or too many")
    if isinstance(seen, bool) or not isinstance(seen, (int, float)):
        raise ValueError("a time is none")
    for address in addresses:
        if not isinstance(address, str) or not is_usable(ip_address(address)):
            raise ValueError("an address is none")
    return Place(bytes.fromhex(node), tuple(addresses), _port(found.get("port")), float(seen))


def _port(found: Any) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found < 65536:
        raise ValueError("a port is none")
    return found


def now() -> float:
    """Seconds since 1970."""
    return time.time()
