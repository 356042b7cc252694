# A board's Bluetooth LE radio for the unix port of MicroPython: all that is substituted under a firmware
# example. The air is a socket, whose descriptor BOARD_RADIO names: two bytes of length, a letter, bytes.
# To the board: C connected, D disconnected, W written to its RX. From it: A advertisement and scan response
# (lengths first), N notification. Like a real radio it calls the irq handler from outside the program's flow,
# refuses every third notification as ENOMEM, and cuts what is longer than the buffer.

import _thread
import os

import micropython

FLAG_NOTIFY = 0x0010
FLAG_WRITE_NO_RESPONSE = 0x0004
_CENTRAL = 1
_CONNECT, _DISCONNECT, _WRITE = 1, 2, 3
_ENOMEM = 12


class UUID:
    def __init__(self, text):
        self.data = bytes(reversed(bytes.fromhex(text.replace("-", ""))))

    # bytes(uuid) works on boards by the buffer protocol, which Python classes cannot have here.
    def __iter__(self):
        return iter(self.data)

    def __len__(self):
        return len(self.data)


class BLE:
    def __init__(self):
        self._air = open(int(os.getenv("BOARD_RADIO")), "r+b")
        self._handler = None
        self._handled = _thread.allocate_lock()
        self._came = b""
        self._values = {}
        self._sizes = {}
        self._notified = 0
        self._receiver = -1

    def active(self, on=None):
        return True

    def config(self, **settings):
        pass

    def irq(self, handler):
        self._handler = handler
        _thread.start_new_thread(self._listen, ())

    def gatts_register_services(self, services):
        made = []
        handle = 10
        for _uuid, characteristics in services:
            handles = []
            for found in characteristics:
                handle += 3
                self._sizes[handle] = 20
                if found[1] & FLAG_WRITE_NO_RESPONSE:
                    self._receiver = handle
                handles.append(handle)
            made.append(tuple(handles))
        return tuple(made)

    def gatts_set_buffer(self, handle, size, append=False):
        self._sizes[handle] = size

    def gatts_read(self, handle):
        return self._values.get(handle, b"")

    def gatts_notify(self, connection, handle, data):
        assert connection == _CENTRAL
        self._notified += 1
        if self._notified % 3 == 0:
            raise OSError(_ENOMEM)
        self._say(b"N" + bytes(data))

    def gap_advertise(self, interval_us, adv_data=None, resp_data=None, connectable=True):
        adv, resp = bytes(adv_data or b""), bytes(resp_data or b"")
        assert len(adv) <= 31 and len(resp) <= 31
        self._say(b"A" + bytes((len(adv), len(resp))) + adv + resp)

    def _say(self, data):
        self._air.write(len(data).to_bytes(2, "big") + data)

    def _listen(self):
        """In a thread, which only waits; what came is handled between two lines of the program."""
        while True:
            self._handled.acquire()
            head = self._air.read(2)
            if not head:
                return
            self._came = self._air.read(int.from_bytes(head, "big"))
            micropython.schedule(self._tell, None)

    def _tell(self, _):
        came, self._came = self._came, b""
        self._handled.release()
        if came[:1] == b"C":
            self._handler(_CONNECT, (_CENTRAL, 0, b"\0" * 6))
        elif came[:1] == b"D":
            self._handler(_DISCONNECT, (_CENTRAL, 0, b"\0" * 6))
        else:
            self._values[self._receiver] = came[1:][: self._sizes[self._receiver]]
            self._handler(_WRITE, (_CENTRAL, self._receiver))
