"""A sensor that sleeps between its readings: a Raspberry Pi Pico on batteries, at a serial line.

What you need: a Pico (not the W, which measures its supply another way), three AA cells, three wires, and a
computer with a UART of 3.3 V: a Raspberry Pi's, or a USB adapter.

    Pico pin 39 (VSYS)           ->  + of the batteries (1.8 to 5.5 V)
    Pico pin 38 (GND)            --  - of the batteries
    Pico pin 1  (GP0, UART0 TX)  ->  RX of the computer    (Raspberry Pi: pin 10, GPIO15)
    Pico pin 2  (GP1, UART0 RX)  <-  TX of the computer    (Raspberry Pi: pin 8, GPIO14)
    Pico pin 3  (GND)            --  GND of the computer   (Raspberry Pi: pin 6)
    Pico pin 29 (GP22)           --  GND, only to keep it awake: see below

Never batteries and USB at once, unless a diode keeps them apart (Pico data sheet, "Powering Pico").

Install: busway (docs/embedded.md tells how), then copy this file to the board as main.py, reset.
While it sleeps the Pico's USB is off. To get at it again, join GP22 to ground and reset: it stays awake then.
On the computer: `busway bridge serial:///dev/serial0?baud=115200`. Then, on any computer of the bus:

    busway listen lab/battery                          a reading each minute
    busway send lab/battery/period 10 --confirm --timeout 120      one each ten seconds from now on

The second reaches a board that sleeps: the computer with the bridge keeps it until the board wakes, and the
command ends when the board has taken it.
"""

import sys

from machine import ADC, UART, Pin, lightsleep

from busway.adapters.micropython import Loop

BUS = "default"  # as at the bridge: `busway bridge --bus`
AWAKE_MS = 300  # it sleeps again when nothing has come for so long
JOIN_MS = 5000  # after power-on, so that the first reading is not lost

if not Pin(22, Pin.IN, Pin.PULL_UP).value():
    sys.exit()

uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=1024, txbuf=256, timeout=0)
thermometer = ADC(4)  # inside the chip
supply = ADC(3)  # VSYS / 3

loop = Loop(uart, "lab-battery", bus=BUS)
period_s = 60


@loop.receive("lab/battery/period")
def set_period(seconds):
    global period_s
    if isinstance(seconds, int) and 1 <= seconds <= 86400:
        period_s = seconds


def reading():
    """Volts of the batteries; the chip's temperature (RP2040 datasheet, 4.9.5)."""
    volts = supply.read_u16() * 3.3 / 65535 * 3
    sensed = thermometer.read_u16() * 3.3 / 65535
    return {"volts": round(volts, 2), "celsius": round(27 - (sensed - 0.706) / 0.001721, 1)}


def listen():
    """Let commands be taken, until nothing has come for a while."""
    while loop.step(AWAKE_MS):
        pass


started = loop.now()
while not loop.connected and loop.now() - started < JOIN_MS:
    loop.step(100)

while True:
    listen()
    # Without a link, or where nobody listens, this reading is skipped: the next one is newer.
    loop.publish("lab/battery", reading())
    # Returns when all has been written and the router has heard how long it shall keep what comes. False:
    # there is no bridge now. We sleep all the same, for the batteries' sake, and look again when we wake.
    loop.sleep(period_s * 1000)
    lightsleep(period_s * 1000)  # RAM is kept, so the session goes on where it was
    loop.sleep(0)  # awake again: now what was kept comes
