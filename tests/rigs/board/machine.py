# A board's pins, ADC and UART for the unix port of MicroPython: all that is substituted under a firmware
# example. What the board's world does stands in files of the folder BOARD: pin14 holds "0" or "1", adc4 a
# number; output pins are written there too. `asleep` holds the ms that the board sleeps for; `wake` ends
# that, as a pin's interrupt would. The UART is an open pty, whose descriptor BOARD_UART names.

import os
import time

_PLACE = os.getenv("BOARD")
_EIO = 5
_uarts = []


def _read(name, usual):
    try:
        with open(_PLACE + "/" + name) as file:
            return int(file.read() or usual)
    except OSError:
        return usual


def _write(name, value):
    # Renamed into place, so that nobody reads it half written.
    with open(_PLACE + "/." + name, "w") as file:
        file.write(str(value))
    os.rename(_PLACE + "/." + name, _PLACE + "/" + name)


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 2
    PULL_DOWN = 1

    def __init__(self, number, mode=IN, pull=None, value=None):
        self._name = "pin%d" % number
        self._out = mode == Pin.OUT
        self._usual = 1 if pull == Pin.PULL_UP else 0
        self._level = 0
        if self._out:
            self.value(value or 0)

    def value(self, level=None):
        if level is None:
            return self._level if self._out else _read(self._name, self._usual)
        self._level = 1 if level else 0
        _write(self._name, self._level)


class ADC:
    ATTN_11DB = 3

    def __init__(self, pin, atten=0):
        self._name = "adc%d" % pin if isinstance(pin, int) else "adc" + pin._name[3:]

    def read_u16(self):
        return _read(self._name, 14000)

    def read_uv(self):
        return _read(self._name, 750000)


class UART:
    """As machine.UART with timeout=0: nothing here waits."""

    def __init__(self, number, baudrate=9600, tx=None, rx=None, rxbuf=256, txbuf=256, timeout=0):
        self._file = open(int(os.getenv("BOARD_UART")), "r+b")
        self._size = rxbuf
        self._came = b""
        _uarts.append(self)

    def any(self):
        if not self._came:
            try:
                self._came = self._file.read(self._size) or b""  # None while there is nothing
            except OSError as error:
                if error.errno == _EIO:  # whoever held the other end is gone: so is this board's power
                    raise SystemExit from None
                raise
        return len(self._came)

    def readinto(self, buffer, size=None):
        if not self.any():
            return None
        size = min(len(buffer) if size is None else size, len(self._came))
        buffer[:size] = self._came[:size]
        self._came = self._came[size:]
        return size

    def read(self, size=None):
        if not self.any():
            return None
        size = len(self._came) if size is None else size
        data, self._came = self._came[:size], self._came[size:]
        return data

    def write(self, data):
        return self._file.write(data)


def lightsleep(ms):
    """Messages that come meanwhile find nobody."""
    _write("asleep", ms)
    end = time.ticks_add(time.ticks_ms(), ms)
    while time.ticks_diff(end, time.ticks_ms()) > 0 and not _read("wake", 0):
        for uart in _uarts:
            uart.read()
        time.sleep_ms(2)
    _write("wake", 0)
    _write("asleep", 0)


def unique_id():
    return (os.getenv("BOARD_ID") or "board001").encode()
