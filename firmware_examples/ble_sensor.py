"""A temperature sensor over Bluetooth LE: an ESP32 with a TMP36, no wires to the computer.

What you need: an ESP32 board and a TMP36 (three legs, flat side towards you: +, out, -).

    3V3     --  TMP36 left leg (+)
    GPIO34  <-  TMP36 middle leg (out)
    GND     --  TMP36 right leg (-)

Install: busway (docs/embedded.md tells how), then copy this file to the board as main.py, reset.
On a computer with Bluetooth: `busway bridge ble://lab-ble`. Then, on any computer of the bus:

    busway listen lab/outside

The board offers a service of Busway's own, made like Nordic's UART service: the computer writes packets to
one characteristic and is notified of the board's by another. Nobody is asked for a PIN: whoever is near can
connect, so let such a board do nothing that a passer-by must not, or give it a key, without which nobody
speaks with it or reads what it says: write the modules with `busway firmware --out board --key lab-ble.key`,
copy board/board.key to the board as well, and set KEY below. The bridge is given the key, too:
`busway bridge ble://lab-ble --boards lab-ble.key`.
"""

import bluetooth
from machine import ADC, Pin

from busway.adapters.micropython import Loop

NAME = "lab-ble"
BUS = "default"  # as at the bridge: `busway bridge --bus`
KEY = ""  # "board.key": the file with the board's key
PERIOD_MS = 2000

SERVICE = bluetooth.UUID("48120001-f71f-577c-9e12-807faa345906")
RX = bluetooth.UUID("48120002-f71f-577c-9e12-807faa345906")  # the computer writes here
TX = bluetooth.UUID("48120003-f71f-577c-9e12-807faa345906")  # ... and is notified here
WRITE_NO_RESPONSE = 0x0004
NOTIFY = 0x0010
CENTRAL_CONNECT, CENTRAL_DISCONNECT, GATTS_WRITE = 1, 2, 3

ATT_MTU = 247  # the most that fits one radio packet; the computer may agree to less
MTU = ATT_MTU - 3
ARRIVED_MAX = 16
ADVERTISE_US = 100_000


class Radio:
    """The Bluetooth side as a stream of whole packets, which is what Loop wants of it."""

    def __init__(self, name):
        self._name = name
        self._central = None
        self._arrived = []
        self._ble = bluetooth.BLE()
        self._ble.active(True)
        self._ble.config(mtu=ATT_MTU, gap_name=name)
        self._ble.irq(self._irq)
        service = (SERVICE, ((TX, NOTIFY), (RX, WRITE_NO_RESPONSE)))
        ((self._tx, self._rx),) = self._ble.gatts_register_services((service,))
        self._ble.gatts_set_buffer(self._rx, MTU)  # 20 bytes otherwise, and longer packets would be cut
        self._advertise()

    def _advertise(self):
        """The service in the advertisement, the name in the answer to a scan: both do not fit one packet."""
        service = bytes(SERVICE)
        name = self._name.encode()
        self._ble.gap_advertise(
            ADVERTISE_US,
            adv_data=b"\x02\x01\x06" + bytes((len(service) + 1, 0x07)) + service,
            resp_data=bytes((len(name) + 1, 0x09)) + name,
        )

    def _irq(self, event, data):
        """Called by MicroPython between any two lines of ours, so it only writes down what happened."""
        if event == GATTS_WRITE and data[1] == self._rx:
            if len(self._arrived) < ARRIVED_MAX:  # a lost packet is sent again
                self._arrived.append(self._ble.gatts_read(self._rx))
        elif event == CENTRAL_CONNECT:
            self._central = data[0]
        elif event == CENTRAL_DISCONNECT:
            self._central = None
            self._advertise()

    def any(self):
        """How many packets have arrived."""
        return len(self._arrived)

    def read(self):
        """The next packet; None if there is none."""
        return self._arrived.pop(0) if self._arrived else None

    def write(self, packet):
        """How many bytes were taken: all, or None while the radio is busy."""
        if self._central is None:
            return len(packet)  # nobody is there: as good as lost on the air
        try:
            self._ble.gatts_notify(self._central, self._tx, packet)
        except OSError:  # ENOMEM: its buffers are full
            return None
        return len(packet)


sensor = ADC(Pin(34), atten=ADC.ATTN_11DB)
loop = Loop(Radio(NAME), NAME, bus=BUS, mtu=MTU, key=KEY)


@loop.every(PERIOD_MS)
def measure():
    millivolts = sensor.read_uv() / 1000
    loop.publish("lab/outside", {"celsius": round((millivolts - 500) / 10, 1)})  # TMP36 datasheet


loop.run()
