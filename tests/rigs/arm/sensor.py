"""The program of the ARM image: on UART 1 it answers, takes what is sent, and publishes what it counted."""

import time

from busway.adapters.micropython import Loop
from machine import UART

try:
    from secret import KEY
except ImportError:
    KEY = b""


def entropy(size):
    """No image for QEMU has a source of randomness: the time at which the host begins is what differs."""
    seed = time.ticks_us()
    data = bytearray(size)
    for i in range(size):
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        data[i] = (seed >> 16) & 0xFF
    return bytes(data)


who = {"key": KEY} if KEY else {"node_id": b"mps2" * 4}
loop = Loop(UART(1, 115200), "mps2", bus="default", entropy=entropy, **who)
taken = 0


@loop.serve("arm/double")
def double(value):
    return value * 2


@loop.receive("arm/sink")
def sink(message):
    global taken
    taken += 1


@loop.every(100)
def tell():
    loop.publish("arm/taken", taken)


@loop.serve("arm/memory")
def memory(_):
    import gc

    gc.collect()
    return [gc.mem_alloc(), gc.mem_free()]


loop.run()
