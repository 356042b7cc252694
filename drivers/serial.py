"""Serial links, serial:///dev/ttyUSB0?baud=115200 or by USB id, through pyserial. Delimits and checks
nothing: bytes may be lost and damaged on the way, and the protocol's packet layer sees to that. Imported only
when such a URL is used.

POSIX ports are read and written by their descriptor. Where there is none (Windows), two threads pump between
the port and a socket pair, so that the channel has one there, too; only that differs.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import struct
import threading
import time
from typing import Any, Final

import serial

if os.name == "posix":
    import fcntl
    import termios

from busway.drivers.channel import READ_SIZE
from busway.drivers.serial_ports import Wanted, choose, holder, no_such_port, obstacle, parse, ports

# Linux calls a terminal writable while fewer than 256 bytes wait in its driver (n_tty.c, WAKEUP_CHARS), BSD
# and macOS below at most 256 (ttsetwater): with a smaller bound a loop would spin, with a larger one control
# frames wait. At 9600 baud it is 270 ms.
QUEUE_SIZE: Final = 256
_QUEUE_S: Final = 0.02  # of a fast line more may wait: as much as leaves within this time
_SLOW_BAUD: Final = 19200
# On a slow line no more than half a packet may wait when the next one is handed over, or one of high priority
# would come late. What an adapter between here and the line keeps is not counted by the system: it is taken
# to leave at the line's rate.
_PACKET_SIZE: Final = 137
_AHEAD_MAX: Final = _PACKET_SIZE // 2
_LOOK_S: Final = 0.002
_COST_9600: Final = 512
_COST_MIN: Final = 64
_UDEV_S: Final = 1.0
_UDEV_LOOK_S: Final = 0.02
_PUMP_SIZE: Final = 64
_PUMP_WAIT_S: Final = 0.1
_LOCKED: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY)


def cost_of(baud: int) -> int:
    """A line's cost in the route metric: 512 at 9600 baud, halved whenever the rate doubles, at least 64."""
    cost = _COST_MIN
    while cost * baud < _COST_9600 * 9600:
        cost *= 2
    return cost


class _Line:
    """An open serial port, ours alone. See `busway.drivers.channel.Channel`.

    baud: the rate in bit/s.
    cost: in the route metric, by the rate.
    lookups: whether the line is too slow to push a directory over it.
    write_size: more than this need not be handed over at once.
    paced: whether `room` says how much; it is asked again after `pause_s` seconds where that is none.
    """

    sort = "packet"
    realm = "localnet"
    mtu = 0
    dialled = True

    def __init__(self, port: serial.Serial, address: str, *, via: str, baud: int, write_size: int) -> None:
        self._port = port
        self.address = address
        self.via = via
        self.baud = baud
        self.cost = cost_of(baud)
        self.lookups = baud <= _SLOW_BAUD
        self.write_size = write_size
        self.paced = baud <= _SLOW_BAUD
        self.pause_s = 0.0
        self._free_at = 0.0  # when all that was handed over will have left, by the clock

    def _waiting(self) -> int:
        """Bytes that the system says it has not sent yet."""
        return 0

    def room(self) -> int:
        """Bytes to hand over now, at least a packet, or 0: `pause_s` says how long."""
        ahead = max(self._waiting(), math.ceil((self._free_at - time.monotonic()) * self.baud / 10))
        if ahead > _AHEAD_MAX:
            self.pause_s = max(_LOOK_S, (ahead - _AHEAD_MAX) * 10 / self.baud)
            return 0
        return _AHEAD_MAX + _PACKET_SIZE - max(0, ahead)

    def _wrote(self, count: int) -> int:
        if self.paced:
            self._free_at = max(self._free_at, time.monotonic()) + count * 10 / self.baud
        return count

    def connected(self) -> bool:
        return True

    def _gone(self, why: object = "unplugged or switched off") -> OSError:
        return OSError(errno.EIO, f"{self.address} is gone: {why}")


class SerialChannel(_Line):
    """A port that is read and written by its descriptor."""

    def __init__(self, port: serial.Serial, address: str, *, via: str, baud: int, rtscts: bool) -> None:
        write_size = max(QUEUE_SIZE, int(baud / 10 * _QUEUE_S))
        super().__init__(port, address, via=via, baud=baud, write_size=write_size)
        self._fd: int = port.fileno()
        self._rtscts = rtscts
        self._exclude(True)

    def fileno(self) -> int:
        return self._fd

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        self._check_open()
        try:
            data = os.read(self._fd, size_max)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._lost(error) from error
        if not data:  # hung up: a line that is merely silent gives EAGAIN, for VMIN is 1
            raise self._lost(None)
        return data

    def write(self, data: bytes | memoryview) -> int:
        self._check_open()
        try:
            room = self.write_size - self._waiting()
            return self._wrote(os.write(self._fd, data[:room])) if room > 0 and data else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error) from error

    def _waiting(self) -> int:
        """Bytes that the kernel has not sent yet. A pty's are never counted."""
        answer = fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0\0\0\0")
        count: int = struct.unpack("i", answer)[0]
        return count

    def _check_open(self) -> None:
        if self._fd < 0:
            raise OSError(errno.EBADF, f"{self.address} is closed")

    def _lost(self, error: OSError | None) -> OSError:
        if error is None or error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
            return self._gone()
        return OSError(error.errno, f"{self.address}: {error.strerror}")

    def close(self) -> None:
        if self._fd < 0:
            return
        self._exclude(False)
        if self._rtscts:
            self._drop_output()
        self.abandon()

    def _drop_output(self) -> None:
        """Closing waits for what is unsent: without handshake well under a second, with it perhaps long."""
        with contextlib.suppress(termios.error):
            termios.tcflush(self._fd, termios.TCOFLUSH)

    def abandon(self) -> None:
        self._fd = -1
        self._port.close()

    def _exclude(self, on: bool) -> None:
        """Keep out programs that know nothing of the lock that pyserial takes. A pty keeps the mark beyond
        a kill -9, until its other end is closed, so it gets none.
        """
        if str(self._port.port).startswith("/dev/pts/"):
            return
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCEXCL if on else termios.TIOCNXCL)


class PumpedChannel(_Line):
    """A port that has no descriptor to wait on: threads carry its bytes to and from a socket."""

    def __init__(self, port: serial.Serial, address: str, *, via: str, baud: int) -> None:
        super().__init__(port, address, via=via, baud=baud, write_size=QUEUE_SIZE)
        port.timeout = _PUMP_WAIT_S
        port.write_timeout = None
        self._closing = False
        self._failure: OSError | None = None
        self._sock, self._inner = socket.socketpair()
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_SIZE)
        self._inner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_SIZE)
        name = f"busway {address}"
        self._writer = threading.Thread(target=self._pump_out, name=name, daemon=True)
        self._writer.start()
        threading.Thread(target=self._pump_in, name=name, daemon=True).start()

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        try:
            data = self._sock.recv(size_max)
        except BlockingIOError:
            return None
        if not data:
            raise self._failure or self._gone()
        return data

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._wrote(self._sock.send(data[:QUEUE_SIZE])) if data else 0
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._closing = True
        self._sock.close()  # both pumps see the end; the one that reads closes the port within 100 ms

    def abandon(self) -> None:
        self.close()

    def _pump_in(self) -> None:
        try:
            while not self._closing and self._failure is None:
                data = self._port.read(max(1, self._port.in_waiting))
                if data:
                    self._inner.sendall(data)
        except Exception as error:  # noqa: BLE001 - pyserial on Windows raises more than its own
            self._fail(error)
        finally:
            with contextlib.suppress(OSError):
                self._inner.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(Exception):  # pyserial's, as above
                self._port.cancel_write()
            self._writer.join()
            self._inner.close()
            self._port.close()

    def _pump_out(self) -> None:
        try:
            while data := self._inner.recv(_PUMP_SIZE):
                self._port.write(data)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._closing:
            self._failure = self._gone(error)


def candidates(url: str) -> list[str]:
    """The device that the URL means now: a board may come back under another name. Looks at all ports and so
    may block: run it in a thread.

    Raises ValueError for a malformed URL; OSError if there is no such port, or several match.
    """
    wanted = parse(url)
    device = wanted.device or choose(wanted, ports())
    if os.name == "posix" and not os.path.exists(device):
        raise no_such_port(f"no serial port {device}", ports())
    _await_udev(device)
    return [device]


def _await_udev(device: str) -> None:
    """A port that has just been plugged in is the system's alone until udev has given it to its group."""
    end = time.monotonic() + _UDEV_S
    with contextlib.suppress(OSError):
        while not os.access(device, os.R_OK | os.W_OK) and time.monotonic() < end:
            if time.time() - os.stat(device).st_ctime > _UDEV_S:
                return
            time.sleep(_UDEV_LOOK_S)


def dial(device: str, url: str = "") -> SerialChannel | PumpedChannel:
    """Opens one of `candidates(url)` for this process alone.

    Args: `url` says the baud rate and what names the link.
    Raises OSError with what to do, ValueError for a malformed URL.
    """
    wanted = parse(url or f"serial://{device}")
    port = _opened(device, wanted)
    address = f"serial://{device}"
    try:
        if os.name == "posix":
            return SerialChannel(port, address, via=wanted.via, baud=wanted.baud, rtscts=wanted.rtscts)
        return PumpedChannel(port, address, via=wanted.via, baud=wanted.baud)
    except BaseException:
        port.close()
        raise


def _opened(device: str, wanted: Wanted) -> serial.Serial:
    port = serial.Serial(
        baudrate=wanted.baud,
        timeout=0,
        write_timeout=0,
        rtscts=wanted.rtscts,
        exclusive=True if os.name == "posix" else None,  # Windows knows nothing else
        inter_byte_timeout=0 if os.name == "posix" else None,  # which is VMIN 1, so that 0 bytes mean the end
    )
    port.dtr = wanted.dtr
    port.rts = wanted.rts
    port.port = device
    try:
        port.open()
    except (OSError, ValueError) as error:  # SerialException is an OSError
        raise _explained(error, device, wanted) from error
    return port


def _explained(error: Any, device: str, wanted: Wanted) -> OSError:
    """The same with what to do."""
    number = getattr(error, "errno", None)
    if number in _LOCKED:
        who = holder(device) or "another program"
        return OSError(errno.EBUSY, f"{device} is in use by {who}: end that, or take another port")
    if number == errno.ENOENT:
        return no_such_port(f"no serial port {device}", ports())
    if number in (errno.EACCES, errno.EPERM):
        why = obstacle(device) or "no permission"
        return PermissionError(errno.EACCES, f"{device}: {why}")
    if "baud" in str(error).lower():
        return OSError(errno.EINVAL, f"{device} cannot do {wanted.baud} baud: take another rate at both ends")
    if number in (errno.EISDIR, errno.ENOTTY, None):
        return OSError(errno.ENOTTY, f"{device} is no serial port; `busway ports` lists those there are")
    return OSError(number, f"{device}: {error}")
