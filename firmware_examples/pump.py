"""A pump that is switched by request: a board with a relay, a float switch, and three rules of its own.

The rules hold whatever anybody asks, and without a link: never longer than a minute at a time, never dry,
and off when the link is lost.

What you need: a Raspberry Pi Pico (or any board: change the pins), a relay module with a 3.3 V input that
switches on HIGH, a float switch that closes while there is water, and the wires of uart_sensor.py.

    GP15 (pin 20)  ->  IN of the relay module     its VCC to VBUS (5 V, pin 40), its GND to GND
    GP14 (pin 19)  --  float switch  --  GND      the pull-up inside the chip does the rest
    GP0, GP1, GND      the serial line, as in uart_sensor.py

Mains voltage is for people who know it: use a low-voltage pump.

On the computer: `busway bridge serial:///dev/serial0?baud=115200`. Then, on any computer of the bus:

    busway request lab/pump '{"on": true, "seconds": 5}'     {"on": true, "seconds": 5}
    busway request lab/pump '{"on": false}'
    busway listen lab/pump/state                             once a second, and at once when it changes

If the tank is empty, the request fails at whoever asked with error 256, "no water". Why the pump went off by
itself can be read with `busway monitor --log`.
"""

from time import ticks_add, ticks_diff, ticks_ms

from machine import ADC, UART, Pin

from busway.adapters.micropython import Loop, RemoteError

BUS = "default"  # as at the bridge: `busway bridge --bus`
SECONDS_MAX = 60
NO_WATER = 256  # error codes from 256 on are ours to give a meaning
BAD_REQUEST = 257

uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=1024, txbuf=256, timeout=0)
relay = Pin(15, Pin.OUT, value=0)
float_switch = Pin(14, Pin.IN, Pin.PULL_UP)
sensor = ADC(4)

loop = Loop(uart, "lab-pump", bus=BUS)
off_at = 0


def has_water():
    return float_switch.value() == 0  # closed: pulled to ground


def switch(on, seconds=0):
    global off_at
    if on:
        off_at = ticks_add(ticks_ms(), seconds * 1000)
    relay.value(1 if on else 0)
    tell()


@loop.serve("lab/pump")
def pump(order):
    """{"on": true, "seconds": 1 to 60} or {"on": false}; the answer is what was done."""
    if not isinstance(order, dict) or not isinstance(order.get("on"), bool):
        raise RemoteError(BAD_REQUEST, 'expected {"on": true, "seconds": 5} or {"on": false}')
    seconds = order.get("seconds", SECONDS_MAX) if order["on"] else 0
    if order["on"] and not (isinstance(seconds, int) and 1 <= seconds <= SECONDS_MAX):
        raise RemoteError(BAD_REQUEST, "seconds must be 1 to %d" % SECONDS_MAX)
    if order["on"] and not has_water():
        raise RemoteError(NO_WATER, "no water")
    switch(order["on"], seconds)
    return {"on": order["on"], "seconds": seconds}


@loop.every(50)
def watch():
    """The three rules."""
    if not relay.value():
        return
    if not has_water():
        loop.log("no water: pump off\n")
    elif not loop.connected:
        pass  # nobody is there to be told
    elif ticks_diff(off_at, ticks_ms()) > 0:
        return
    switch(False)


@loop.every(1000)
def tell():
    volts = sensor.read_u16() * 3.3 / 65535
    celsius = round(27 - (volts - 0.706) / 0.001721, 1)
    loop.publish("lab/pump/state", {"on": bool(relay.value()), "water": has_water(), "celsius": celsius})


loop.run()
