"""Looks at this machine for `busway doctor`: socket directories, the dead, other buses, other users."""

from __future__ import annotations

import os
import stat
from collections import Counter
from typing import TYPE_CHECKING

from busway.cli import output

if TYPE_CHECKING:
    from busway.cli.doctor import Report
    from busway.drivers.unix_census import Sighting

_NAMES = "programs meet only on buses of the same name: compare --bus, BUSWAY_BUS and AsyncBus(NAME)"
_USERS = (
    "programs of different users meet over TCP alone: one runs `busway listen-on tcp://127.0.0.1:0"
    " --token-file FILE`, the other `busway connect URL --token-file FILE`; or run both as one user"
)
_DIRECTORIES = "start both with the same BUSWAY_DIR, or both without"
_HIDDEN = (
    "if it was removed, its program puts it back within 5 s; if it stays away, the program has a /tmp of its"
    " own (systemd's PrivateTmp): give it and the others a common BUSWAY_DIR, or `loginctl enable-linger`"
)


def check_directory(report: Report, bus: str, *, by_url: bool = False) -> None:
    """The directories of sockets, who is in them, and who is elsewhere on this machine; `by_url` if the
    question is another: then nobody has to be here.
    """
    from busway.drivers import ipc
    from busway.drivers.unix_places import is_squatted

    try:
        mine = ipc.place(bus)
        peers = ipc.peers(bus)
        places = ipc.places()
    except (OSError, ValueError) as error:
        text = (error.strerror if isinstance(error, OSError) else "") or str(error)
        report.find(f"the socket directory cannot be used: {text}", "do as that says, then try again")
        report.unsafe = True
        return
    for number, path in enumerate(places):
        if is_squatted(path):
            text = f"{path} is another user's: programs of this user meet in {places[0]} instead"
            report.well(f"{text}. Have it removed")
        else:
            _check_place(report, path, own=not number)
    dead = [peer for peer in peers if _is_dead(peer.path)]
    live = [peer for peer in peers if peer not in dead]
    report.well(f"{output.counted(len(live), 'program')} of this user on bus {bus!r} on this machine")
    for peer in dead:
        report.well(
            f"the socket of node {peer.node_id.hex()[:8]} is left over from a program that died: the next"
            " program that joins removes it"
        )
    alone = not live
    _check_other_buses(report, bus, alone)
    known = {peer.node_id for peer in peers}
    _check_others(report, os.path.basename(mine), places, known, alone and not by_url)
    if places and os.environ.get("BUSWAY_DIR"):
        report.well(f"BUSWAY_DIR is set to {places[0]}: programs without it look elsewhere and are not found")


def _check_place(report: Report, path: str, *, own: bool) -> None:
    from busway.drivers.unix_places import check_private

    try:
        check_private(path)
    except FileNotFoundError:
        return  # nobody has been there
    except OSError as error:
        report.find(
            f"programs of this user that run before login or after logout cannot be joined: {error}",
            "do as that says; nothing there is trusted before",
        )
        return
    mode = stat.S_IMODE(os.stat(path).st_mode)
    report.well(f"socket directory {path}, mode {mode:o}" + ("" if own else ", looked into, too"))


def _is_dead(path: str) -> bool:
    from busway.drivers import ipc

    try:
        return ipc.is_dead(path)
    except OSError:
        return False  # it has gone meanwhile


def _tell(report: Report, text: str, advice: str, alone: bool) -> None:
    """A finding if it may be why nobody is here, else a fact."""
    if alone:
        report.find(text, advice)
    else:
        report.well(f"{text}: {advice}")


def _check_other_buses(report: Report, bus: str, alone: bool) -> None:
    from busway.cli.greeting import greet
    from busway.drivers import ipc

    for sockets in ipc.other_buses(bus).values():
        greeting = greet(sockets[0])
        name = f"the other bus {greeting.bus!r}" if greeting and greeting.bus else "another bus"
        here = f"nobody is on bus {bus!r}, but " if alone else ""
        _tell(
            report, f"{here}{output.counted(len(sockets), 'program')} of this user on {name}", _NAMES, alone
        )


def _check_others(report: Report, bus: str, places: list[str], known: set[bytes], alone: bool) -> None:
    """Programs that the kernel knows of and no directory of ours shows. `bus` is the hash of its name."""
    from busway.drivers import ipc

    others: Counter[tuple[int, bool]] = Counter()
    elsewhere: Counter[str] = Counter()
    for found in ipc.sightings():
        if found.uid != os.geteuid():
            others[found.uid, found.bus == bus] += 1
        elif found.bus == bus and found.directory not in places:
            elsewhere[found.directory] += 1
        elif found.bus == bus and found.node_id not in known:
            report.find(f"a program listens at {_path(found)}, and that is not there", _HIDDEN)
    for directory, count in elsewhere.items():
        text = f"{output.counted(count, 'program')} of this user on this bus, found only in {directory}"
        _tell(report, text, _DIRECTORIES, alone)
    for (uid, same), count in sorted(others.items()):
        on = "on a bus of this name" if same else "on buses of other names"
        text = f"{output.counted(count, 'program')} of user {_user(uid)} {on} on this machine"
        _tell(report, text, _USERS, alone and same)


def _path(found: Sighting) -> str:
    return os.path.join(found.directory, found.bus, found.node_id.hex() + ".sock")


def _user(uid: int) -> str:
    """Name and number, as far as they are known."""
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except (KeyError, OverflowError):
        return str(uid) if uid >= 0 else "unknown"
