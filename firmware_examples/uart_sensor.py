"""A temperature sensor on a serial line: a Raspberry Pi Pico that publishes its chip's temperature.

What you need: a Pico, three wires, and a computer with a UART of 3.3 V: a Raspberry Pi's, or a USB adapter.

    Pico pin 1  (GP0, UART0 TX)  ->  RX of the computer    (Raspberry Pi: pin 10, GPIO15)
    Pico pin 2  (GP1, UART0 RX)  <-  TX of the computer    (Raspberry Pi: pin 8, GPIO14)
    Pico pin 3  (GND)            --  GND of the computer   (Raspberry Pi: pin 6)

TX goes to RX and RX to TX. Never connect 5 V signals: the Pico bears 3.3 V. Power it over USB or VSYS.

Install: busway (docs/embedded.md tells how), then copy this file to the board as main.py, reset.
On the computer: `busway bridge serial:///dev/serial0?baud=115200`. Then, on any computer of the bus:

    busway listen lab/temperature          the readings as they come
    busway request lab/identify '3'        the LED blinks three times: that is the board you mean

What the board says with loop.log() is read with `busway monitor --log`.
"""

from machine import ADC, UART, Pin

from busway.adapters.micropython import Loop, RemoteError

BUS = "default"  # as at the bridge: `busway bridge --bus`
PERIOD_MS = 1000

# rxbuf holds what comes while we measure: a few frames. More buys nothing, for the window is agreed on.
uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=1024, txbuf=256, timeout=0)
led = Pin(25, Pin.OUT)
sensor = ADC(4)  # inside the chip

loop = Loop(uart, "lab-pico", bus=BUS)
blinks = 0


def celsius():
    """The chip's temperature (RP2040 datasheet, 4.9.5)."""
    volts = sensor.read_u16() * 3.3 / 65535
    return round(27 - (volts - 0.706) / 0.001721, 1)


@loop.every(PERIOD_MS)
def measure():
    # False without a link or room to queue it: then this reading is skipped, the next one is newer.
    loop.publish("lab/temperature", {"celsius": celsius()})


@loop.serve("lab/identify")
def identify(times):
    """Answers at once and blinks afterwards: whoever asks does not wait for it."""
    global blinks
    if not isinstance(times, int) or not 1 <= times <= 20:
        raise RemoteError(256, "say how many times to blink, 1 to 20")
    blinks = 2 * times
    loop.log("blinking %d times\n" % times)
    return {"blinks": times}


@loop.every(200)
def blink():
    global blinks
    if blinks:
        blinks -= 1
        led.value(blinks & 1)


loop.run()
