"""The serial ports there are, who uses them, and what a serial:// URL means. Opens no port: that would
reset many boards. Knows nothing of bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from busway.drivers.channel import short_via
from busway.drivers.extras import missing

BAUD_DEFAULT: Final = 115200
_BAUD_MIN: Final = 50
_BAUD_MAX: Final = 20_000_000
_OPTIONS: Final = ("baud", "vid", "pid", "serial", "rtscts", "dtr", "rts")
_EXPECTED: Final = (
    "expected serial:///dev/ttyUSB0?baud=115200, serial://COM3, serial://?vid=2e8a&pid=0005 or"
    " serial://?serial=E6614C311B"
)


@dataclass(frozen=True)
class Wanted:
    """The wish of a URL: a `device`, or the port whose USB ids and serial number are these.

    Args: `device` "" for by id; `vid`, `pid` -1 and `serial_number` "" for any; `baud` in bit/s; `rtscts`
    for handshake by wire; `dtr`, `rts` the levels of these wires from the opening on.
    """

    device: str = ""
    vid: int = -1
    pid: int = -1
    serial_number: str = ""
    baud: int = BAUD_DEFAULT
    rtscts: bool = False
    dtr: bool = True
    rts: bool = True

    @property
    def via(self) -> str:
        """The same for each link to this port or board, whatever its baud rate or device name."""
        if self.device:
            return short_via(f"serial://{self.device}")
        ids = [f"{self.vid:04x}" if self.vid >= 0 else "", f"{self.pid:04x}" if self.pid >= 0 else ""]
        return short_via(f"serial:{':'.join(ids)}:{self.serial_number}")

    def matches(self, port: Port) -> bool:
        """Whether the port is one of those asked for by id."""
        return (
            self.vid in (-1, port.vid)
            and self.pid in (-1, port.pid)
            and self.serial_number.lower() in ("", port.serial_number.lower())
        )


@dataclass(frozen=True)
class Port:
    """A serial port of this machine: `vid` and `pid` are -1 for one that is not on USB."""

    device: str
    vid: int = -1
    pid: int = -1
    serial_number: str = ""
    description: str = ""

    @property
    def usb_id(self) -> str:
        """As in 2e8a:0005, "" without."""
        return f"{self.vid:04x}:{self.pid:04x}" if self.vid >= 0 else ""

    def __str__(self) -> str:
        said = ", ".join(part for part in (self.usb_id, self.serial_number, self.description) if part)
        return f"{self.device} ({said})" if said else self.device


def parse(url: str) -> Wanted:
    """The wish of the URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "serial" or not url.startswith("serial://") or parts.fragment:
        raise ValueError(f"{_EXPECTED}, not {url!r}")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError(f"{_EXPECTED}, not {url!r}") from None
    options = dict(pairs)
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown or len(options) < len(pairs):
        fault = f"no option {unknown[0]!r}" if unknown else "an option stands there twice"
        raise ValueError(f"{fault} in {url!r}: there are {', '.join(_OPTIONS)}")
    device = parts.netloc + parts.path
    by_id = [name for name in ("vid", "pid", "serial") if name in options]
    if device in ("", "/"):
        device = ""
    if bool(device) == bool(by_id):
        raise ValueError(f"give a port, or vid=, pid= or serial= to find it by: {_EXPECTED}, not {url!r}")
    return Wanted(
        device,
        _usb_number(options, "vid", url),
        _usb_number(options, "pid", url),
        _filled(options.get("serial"), url),
        _baud(options.get("baud", str(BAUD_DEFAULT)), url),
        _switch(options, "rtscts", False, url),
        _switch(options, "dtr", True, url),
        _switch(options, "rts", True, url),
    )


def _filled(value: str | None, url: str) -> str:
    if value == "":
        raise ValueError(f"serial= needs the board's serial number in {url!r}; `busway ports` lists them")
    return value or ""


def _usb_number(options: dict[str, str], name: str, url: str) -> int:
    if name not in options:
        return -1
    text = options[name].lower().removeprefix("0x")
    if not 1 <= len(text) <= 4 or any(char not in "0123456789abcdef" for char in text):
        raise ValueError(f"{name}= is up to four hexadecimal digits, as in vid=2e8a, not {url!r}")
    return int(text, 16)


def _baud(text: str, url: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 8 and _BAUD_MIN <= int(text) <= _BAUD_MAX):
        raise ValueError(f"baud= is a rate from {_BAUD_MIN} to {_BAUD_MAX} bit/s, as in baud=115200: {url!r}")
    return int(text)


def _switch(options: dict[str, str], name: str, usual: bool, url: str) -> bool:
    text = options.get(name, "1" if usual else "0")
    if text not in ("0", "1"):
        raise ValueError(f"{name}= is 0 or 1 in {url!r}")
    return text == "1"


def ports() -> list[Port]:
    """The serial ports of this machine, by name. Raises ModuleNotFoundError without pyserial."""
    try:
        from serial.tools.list_ports import comports
    except ModuleNotFoundError:
        raise ModuleNotFoundError(missing("serial ports need", "serial")) from None
    return sorted((_port_of(found) for found in comports()), key=lambda port: port.device)


def _port_of(found: Any) -> Port:
    """Of pyserial's ListPortInfo, which says "n/a" and None for what it does not know."""
    description = "" if found.description in (None, "n/a") else found.description
    return Port(
        found.device,
        -1 if found.vid is None else found.vid,
        -1 if found.pid is None else found.pid,
        found.serial_number or "",
        description,
    )


def choose(wanted: Wanted, there: Iterable[Port]) -> str:
    """The device that `wanted` asks for by id. Raises OSError if none matches, or several."""
    there = list(there)
    found = [port for port in there if wanted.matches(port)]
    if len(found) == 1:
        return found[0].device
    if found:
        listed = "; ".join(map(str, found))
        raise OSError(errno.EINVAL, f"{len(found)} ports match: {listed}. Name one by serial= or its path")
    raise no_such_port(f"no serial port matches {wanted.via.removeprefix('serial:').strip(':')}", there)


def no_such_port(what: str, there: Iterable[Port]) -> OSError:
    """The error that lists those there are."""
    listed = "; ".join(map(str, there)) or "none (is the cable one that carries data?)"
    return FileNotFoundError(errno.ENOENT, f"{what}; there are: {listed}")


def obstacle(device: str) -> str:
    """The reason why this user may not open the device, and what to do; "" if nothing is in the way."""
    if os.name != "posix" or os.access(device, os.R_OK | os.W_OK) or not os.path.exists(device):
        return ""
    import grp
    import pwd

    about = os.stat(device)
    try:
        group = grp.getgrgid(about.st_gid)
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return advice(device, about.st_mode, "", (), "")
    return advice(device, about.st_mode, group.gr_name, group.gr_mem, user)


def advice(device: str, mode: int, group: str, members: Iterable[str], user: str) -> str:
    """The way to let `user` open a device of this mode and group ("" for one without a name)."""
    if stat.S_IMODE(mode) & 0o060 != 0o060 or group in ("", "root"):
        return f"no permission: let a udev rule give {device} to a group of yours, mode 0660"
    if user in members:
        return f"no permission yet: you are in group {group} from your next login on; log in again"
    return f"no permission: you are not in group {group}: sudo usermod -aG {group} {user}, then log in again"


def holder(device: str) -> str:
    """The programs that have the device open, as far as seen: such as "pid 812 (minicom)"; "" for nobody.

    Looks at the locks of the kernel, lock files, and the open files of processes (Linux). Elsewhere "".
    """
    try:
        real = os.path.realpath(device)
        about = os.stat(real)
    except OSError:
        return ""
    for pid in (*_lockers(about), *_lock_files(real), *_openers(real)):
        if pid != os.getpid():
            return f"pid {pid} ({_name_of(pid)})" if pid > 0 else "another program"
    return ""


def _lockers(about: os.stat_result) -> Iterator[int]:
    """Processes with an flock on the device, from /proc/locks (proc(5)), which all may read."""
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    for line in _lines("/proc/locks"):
        fields = line.split()
        if len(fields) >= 6 and fields[5] == place and fields[4].lstrip("-").isdigit():
            yield int(fields[4])


def _lock_files(device: str) -> Iterator[int]:
    """As older programs write them (Filesystem Hierarchy Standard 3.0, 5.9)."""
    for line in _lines(f"/var/lock/LCK..{os.path.basename(device)}"):
        if line.strip().isdigit() and os.path.exists(f"/proc/{line.strip()}"):
            yield int(line)


def _openers(device: str) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.readlink(entry) == device for entry in folder.iterdir()):
                yield int(folder.parent.name)
        except OSError:
            continue  # gone, or another user's


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _name_of(pid: int) -> str:
    return next(iter(_lines(f"/proc/{pid}/comm")), "?")
