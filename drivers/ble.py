"""Bluetooth LE links, ble://NAME or ble://ADDRESS: the central's side, one packet for each write and
notification. What bleak does is in ble_radio.py, and
importing this imports bleak.

    ble://Pump%201               the device that advertises this name
    ble://AA:BB:CC:DD:EE:FF      the one with this address (macOS: the UUID that stands for it)
    ble://                       any that offers Busway's service, the strongest first
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
from typing import Final
from urllib.parse import unquote

from busway.drivers.ble_radio import OUTBOX_MAX, RX, SERVICE, TX, Found, Session, radio, scan, stuff
from busway.drivers.channel import READ_SIZE

__all__ = ["RX", "SERVICE", "TX", "BleChannel", "Found", "candidates", "devices", "dial", "parse"]

_SCHEME: Final = "ble://"
_NAME_SIZE_MAX: Final = 248  # bytes, Bluetooth Core, Vol 3, Part C, 3.2.2
_ADDRESS: Final = re.compile(
    r"([0-9A-F]{2}:){5}[0-9A-F]{2}|[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"
)
_SCAN_S: Final = 5.0  # sparing devices advertise once a second, and a scan may miss several
_LINGER_S: Final = 0.5  # of any device: others may be nearer than the first that was heard


class BleChannel:
    """A connection to a peripheral, perhaps still being made: ask `connected()`.

    mtu: ATT_MTU less 3 bytes; 0 while connecting.
    dropped: packets that came faster than they were read, as if lost in the air.
    """

    sort = "packet"
    realm = "localnet"
    dialled = True

    def __init__(self, found: Found) -> None:
        near, far = socket.socketpair()
        try:
            near.setblocking(False)
            # Nothing but stuffing goes this way: little is filled, and emptied, sooner.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            stuff(near)
            self._session = Session(radio(), found, far)
        except BaseException:
            near.close()
            far.close()
            raise
        self._near = near
        self.mtu = 0
        self.address = _SCHEME + found.address
        self.via = self.address

    @property
    def dropped(self) -> int:
        return self._session.dropped

    def fileno(self) -> int:
        return self._near.fileno()

    def connected(self) -> bool:
        if self._session.failure:
            raise self._failed(errno.EHOSTUNREACH)
        if self._session.ready:
            self.mtu = self._session.mtu
        return self._session.ready

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        try:
            if self._near.recv(1):
                return self._session.inbox.popleft()
        except BlockingIOError:
            return None
        # Bluetooth knows no end of its own: whoever wants to part says so in the protocol.
        raise self._failed(errno.ECONNRESET)

    def write(self, data: bytes | memoryview) -> int:
        session = self._session
        if self._near.fileno() < 0:
            raise OSError(errno.EBADF, f"{self.address}: the channel is closed")
        if session.failure:
            raise self._failed(errno.ECONNRESET)
        if len(data) > self.mtu:  # radios drop it without a word
            raise ValueError(f"a packet has at most {self.mtu} bytes on this link, not {len(data)}")
        if len(session.outbox) >= OUTBOX_MAX:
            stuff(self._near)
            session.wake()  # if it has sent all meanwhile, nothing else would take the stuffing away
            return 0
        if data:
            session.outbox.append(bytes(data))
            session.wake()
        return len(data)

    def close(self) -> None:
        self._near.close()
        self._session.close()

    def abandon(self) -> None:
        self._near.close()
        self._session.far.close()

    def _failed(self, number: int) -> OSError:
        return OSError(number, f"{self.address}: {self._session.failure or os.strerror(number)}")


def parse(url: str) -> tuple[str, str]:
    """Splits a URL into address, in capitals, and name; both are "" for any device.

    A name is written as in any URL: a space as %20. Raises ValueError for anything else.
    """
    fault = f"expected ble://NAME, ble://AA:BB:CC:DD:EE:FF or ble:// for any device, not {url!r}"
    if not url.startswith(_SCHEME):
        raise ValueError(fault)
    rest = url.removeprefix(_SCHEME).removesuffix("/")
    if any(found in rest for found in "/?#"):
        raise ValueError(f"{fault} (in a name / is written %2F, ? %3F and # %23)")
    try:
        name = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"{fault}: what % stands for there is not UTF-8") from None
    if len(name.encode()) > _NAME_SIZE_MAX:
        raise ValueError(f"a device's name has at most {_NAME_SIZE_MAX} bytes: {fault}")
    if _ADDRESS.fullmatch(name.upper()):
        return name.upper(), ""
    return "", name


def candidates(url: str) -> list[Found]:
    """The devices that `url` may mean and that advertise now, the strongest first; never none.

    Scans for up to 5 seconds, and blocks: run it in a thread.
    Raises ValueError for a malformed URL, OSError if there is no such device or no Bluetooth.
    """
    address, name = parse(url)

    def is_meant(found: Found) -> bool:
        return address in ("", found.address.upper()) and name in ("", found.name)

    turned_on = radio()
    heard = turned_on.result(scan(turned_on, is_meant, _SCAN_S, 0.0 if address or name else _LINGER_S))
    meant = [found for found in heard if is_meant(found)]
    if not meant:
        raise OSError(errno.EHOSTUNREACH, _not_found(address or name, heard))
    return meant


def _not_found(wanted: str, heard: list[Found]) -> str:
    others = ", ".join(f"{found.name!r} ({found.address})" for found in heard)
    who = f"no device {wanted!r} with Busway's service" if wanted else "no device with Busway's service"
    return (
        f"{who} was heard within {_SCAN_S:g} s: is it on, in range, and not connected to something else?"
        f" Heard: {others or 'none'}"
    )


def devices(timeout: float = _SCAN_S) -> list[Found]:
    """All devices with Busway's service that are heard within `timeout` seconds, the strongest first. Blocks.

    Raises ValueError for a timeout that is not positive, OSError if there is no Bluetooth.
    """
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    turned_on = radio()
    return turned_on.result(scan(turned_on, lambda _: False, timeout, 0.0))


def dial(found: Found, url: str = "") -> BleChannel:
    """Starts connecting to one of `candidates(url)`; the channel's `connected()` tells what came of it.

    Args: `url` as every driver takes it; the device's address names the link. Raises OSError.
    """
    return BleChannel(found)
