"""The other of two machines: calibrates the sensor over there, and shows three of its readings.

export BUSWAY_TOKEN_FILE=token.txt
python far.py tcp://lab.example:7000
python far.py wss://lab.example:8443 ca.pem
"""

import asyncio
import sys

import busway
from lab import Calibrate, Calibrated, Reading


async def main(url: str, cafile: str | None = None) -> None:
    async with busway.AsyncBus(label="far", ipc=False) as bus:
        # A WebSocket is of realm "global": what is to pass it is registered with that realm.
        readings = bus.subscribe(Reading, realm="global")
        if cafile is None:
            await bus.connect(url, wait=30.0)
        else:
            await bus.connect(url, cafile=cafile, wait=30.0)
        answer = await bus.request(Calibrate, Calibrate(25.0), reply=Calibrated, ttl=30.0)
        print(f"calibrated: {answer.offset:+.1f}", flush=True)
        for _ in range(3):
            message = await readings.receive(timeout=30.0)
            print(f"{message.payload.place}: {message.payload.celsius:.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
