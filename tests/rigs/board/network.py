# A board's Wi-Fi for the unix port of MicroPython: the computer's own network, behind a switch. The air
# stands in files of the folder BOARD: `wifi` holds "1", as when it is missing, while the access point "the
# lab" with the password "its password" is in range, `rssi` how many dBm below zero it is. `joins` counts what
# the board asked for.

from machine import _read, _write

STA_IF = 0
_FOUND = ("the lab", "its password")


class WLAN:
    def __init__(self, interface):
        self._active = False
        self._joined = False
        self._busy = False  # with a connect(), until it has succeeded or is given up
        self._joins = 0

    def active(self, on=None):
        if on is None:
            return self._active
        self._active = bool(on)

    def connect(self, ssid, key=None):
        if not self._active:
            raise OSError("the interface is not active")
        if self._busy:
            raise OSError("Wifi Internal State Error")  # as the ESP32 says it
        self._busy = True
        self._joined = (ssid, key) == _FOUND and bool(_read("wifi", 1))
        self._joins += 1
        _write("joins", self._joins)

    def disconnect(self):
        self._joined = self._busy = False

    def isconnected(self):
        if not _read("wifi", 1):
            self._joined = False  # and nobody joins it again but the program
        if self._joined:
            self._busy = False
        return self._joined

    def status(self, what=None):
        if what == "rssi":
            return -_read("rssi", 60)
        return 3 if self.isconnected() else -2  # as CYW43 tells it: got an address, no such network
