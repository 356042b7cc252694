"""A temperature sensor on Wi-Fi: a Raspberry Pi Pico W with no wires to a computer, and no bridge.

What you need: a Pico W, power over USB or VSYS, and a Wi-Fi with WPA2 in whose network a computer listens.
Nothing is connected to the pins: the thermometer is inside the chip.

Install: busway (docs/embedded.md tells how), then a file wifi_settings.py of four lines, then this file as
main.py, and reset. The settings are secrets and stand by themselves, so that the program can be shown around:

    SSID = "the lab"                        the Wi-Fi
    KEY = "its password"
    URL = "tcp://192.168.1.20:7000"         the computer that listens
    TOKEN = "gx7q5m8z3t6r1v0h4k9w2eyb4a"    as at the listener; `busway token` makes one

On that computer: `busway bridge --listen tcp://0.0.0.0:7000 --token-file token.txt`. Then, on any
computer of the bus:

    busway listen lab/room                         a reading every two seconds
    busway request lab/room/burst 10 --stream      ten readings, a tenth of a second apart, one a line

A program in Python gets readings as objects of the type that it has declared:

    @busway.message(name="lab/room")
    @dataclass
    class Room:
        celsius: float
        dbm: int

The token is proved, not sent, and all that travels is encrypted: who is in the Wi-Fi can neither read nor
change it. Write the modules with `busway firmware --secure`, which adds what that takes. A board with the
token can pass for any other that has it; docs/embedded.md tells how each gets a key of its own.
"""

from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

import network
from machine import ADC
from wifi_settings import KEY, SSID, TOKEN, URL

from busway.adapters.micropython import Loop, RemoteError
from busway.adapters.micropython_net import tcp
from busway.adapters.micropython_types import MessageType

BUS = "default"  # as at the computer that listens: `busway bridge --bus`
PERIOD_MS = 2000
BURST_MS = 100
BURST_MAX = 100
WIFI_MS = 10000
BAD_REQUEST = 256  # error codes from 256 on are ours to give a meaning

Room = MessageType("lab/room", "celsius", "dbm")

sensor = ADC(4)  # inside the chip
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
dial = tcp(URL)


def join():
    """The Wi-Fi where it is lost, and a connection over it. Loop calls this again until it works."""
    if not wlan.isconnected():
        wlan.connect(SSID, KEY)
        end = ticks_add(ticks_ms(), WIFI_MS)
        while not wlan.isconnected():
            if ticks_diff(end, ticks_ms()) <= 0:
                wlan.disconnect()  # else the next connect() finds this one at work
                raise OSError("no Wi-Fi %s: status %d" % (SSID, wlan.status()))
            sleep_ms(100)
    return dial()


loop = Loop(join, "lab-wifi", bus=BUS, sort="stream", token=TOKEN)


def reading():
    """The chip's temperature (RP2040 datasheet, 4.9.5), and how strong the Wi-Fi is here."""
    volts = sensor.read_u16() * 3.3 / 65535
    return Room(celsius=round(27 - (volts - 0.706) / 0.001721, 1), dbm=wlan.status("rssi"))


@loop.every(PERIOD_MS)
def measure():
    # False without a link or room to queue it: then this reading is skipped, the next one is newer.
    loop.publish("lab/room", reading())


@loop.serve("lab/room/burst")
def burst(count):
    """So many readings, each sent as soon as it is there and the asker has room."""
    if not isinstance(count, int) or not 1 <= count <= BURST_MAX:
        raise RemoteError(BAD_REQUEST, "say how many readings, 1 to %d" % BURST_MAX)
    due = ticks_ms()
    for _ in range(count):
        while ticks_diff(due, ticks_ms()) > 0:
            yield  # nothing yet: meanwhile the board does its other work
        due = ticks_add(due, BURST_MS)
        yield reading()


loop.run()
