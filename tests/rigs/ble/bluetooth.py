"""MicroPython's module `bluetooth` for the unix port, which has none: the peripheral's part, whose radio is
chip.py, at the port that BUSWAY_CHIP names.

Interrupts come between two bytecodes, as on a board. Runs on MicroPython; put it beside the program.
"""

import binascii
import json
import os
import select
import socket

import micropython

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAG_READ = 0x0002
FLAG_WRITE_NO_RESPONSE = 0x0004
FLAG_WRITE = 0x0008
FLAG_NOTIFY = 0x0010

_IRQ_CENTRAL_CONNECT = 1
_IRQ_CENTRAL_DISCONNECT = 2
_IRQ_GATTS_WRITE = 3
_IRQ_MTU_EXCHANGED = 21
_ENOMEM = 12
_BUFFERS = 4  # notifications that the radio takes before it is busy
_REFUSED = 3  # every third in any case, so that no program goes without
_ADVERTISED_MAX = 31


def UUID(value: "int | str") -> bytes:
    """Of 16 bits, or of 128 as text: as bytes, the least significant first, which boards make of it too."""
    if isinstance(value, int):
        return bytes((value & 255, value >> 8))
    data = binascii.unhexlify(value.replace("-", ""))
    return bytes([data[at] for at in range(len(data) - 1, -1, -1)])


class BLE:
    """The one radio."""

    _only: "BLE | None" = None

    def __new__(cls) -> "BLE":
        if BLE._only is None:
            BLE._only = object.__new__(cls)
            BLE._only._open()
        return BLE._only

    def _open(self) -> None:
        self._sock = socket.socket()
        port = os.getenv("BUSWAY_CHIP") or ""
        self._sock.connect(socket.getaddrinfo("127.0.0.1", int(port))[0][-1])
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._rest = b""
        self._handler: "Any" = None
        self._active = False
        self._values: "dict[int, bytes]" = {}
        self._sizes: "dict[int, int]" = {}
        self._appends: "dict[int, bool]" = {}
        self._free = _BUFFERS
        self._notified = 0
        self._config: "dict[str, Any]" = {"mtu": 23, "gap_name": "MPY BLE"}
        micropython.schedule(self._turn, None)

    # ---- what a program calls

    def active(self, on: "bool | None" = None) -> bool:
        if on is not None:
            self._active = bool(on)
        return self._active

    def config(self, name: "str | None" = None, **settings: "Any") -> "Any":
        if name is not None:
            return self._config[name]
        self._config.update(settings)
        return None

    def irq(self, handler: "Any") -> None:
        self._handler = handler

    def gatts_register_services(self, services: "Any") -> "Any":
        told = []
        handles = []
        number = 1
        for uuid, characteristics in services:
            told.append(
                [
                    binascii.hexlify(uuid).decode(),
                    [[binascii.hexlify(each[0]).decode(), each[1]] for each in characteristics],
                ]
            )
            here = tuple(range(number, number + len(characteristics)))
            number += len(here)
            handles.append(here)
            for handle in here:
                self._values[handle] = b""
                self._sizes[handle] = 20
        self._tell("register", told)
        return tuple(handles)

    def gatts_set_buffer(self, handle: int, size: int, append: bool = False) -> None:
        self._sizes[handle] = size
        self._appends[handle] = append

    def gatts_read(self, handle: int) -> bytes:
        value = self._values[handle]
        if self._appends.get(handle):
            self._values[handle] = b""
        return value

    def gatts_write(self, handle: int, data: bytes, send_update: bool = False) -> None:
        self._values[handle] = bytes(data)

    def gatts_notify(self, connection: int, handle: int, data: "bytes | None" = None) -> None:
        self._notified += 1
        if not self._free or self._notified % _REFUSED == 0:
            raise OSError(_ENOMEM)
        self._free -= 1
        value = self._values[handle] if data is None else bytes(data)
        self._tell("notify", connection, handle, binascii.hexlify(value).decode())

    def gap_advertise(
        self,
        interval_us: "int | None",
        adv_data: bytes = b"",
        resp_data: bytes = b"",
        connectable: bool = True,
    ) -> None:
        if interval_us is None:
            self._tell("silence")
            return
        assert len(adv_data or b"") <= _ADVERTISED_MAX and len(resp_data or b"") <= _ADVERTISED_MAX
        data = binascii.hexlify(bytes(adv_data or b"") + bytes(resp_data or b"")).decode()
        self._tell("advertise", data, self._config["mtu"])

    def gap_disconnect(self, connection: int) -> bool:
        self._tell("disconnect", connection)
        return True

    # ---- the radio

    def _tell(self, *words: "Any") -> None:
        self._sock.send((json.dumps(list(words)) + "\n").encode())

    def _turn(self, _: object) -> None:
        micropython.schedule(self._turn, None)
        while self._poll.poll(0):
            data = self._sock.recv(4096)
            if not data:
                raise SystemExit  # the radio's program has ended, and so does this one
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._happen(*json.loads(line))

    def _happen(self, what: str, *values: "Any") -> None:
        if what == "sent":
            self._free += 1
        elif what == "connect":
            self._call(_IRQ_CENTRAL_CONNECT, (values[0], 1, binascii.unhexlify(values[1])))
        elif what == "gone":
            self._free = _BUFFERS
            self._call(_IRQ_CENTRAL_DISCONNECT, (values[0], 1, bytes(6)))
        elif what == "mtu":
            self._call(_IRQ_MTU_EXCHANGED, (values[0], values[1]))
        elif what == "write":
            handle = values[1]
            data = binascii.unhexlify(values[2])
            if self._appends.get(handle):
                data = self._values[handle] + data
            self._values[handle] = data[: self._sizes[handle]]
            self._call(_IRQ_GATTS_WRITE, (values[0], handle))

    def _call(self, event: int, values: "Any") -> None:
        if self._handler is not None:
            self._handler(event, values)
