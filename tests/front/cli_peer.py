"""A real program for the tests of the command line. It says "ready", then a line a message."""

import asyncio
import contextlib
import dataclasses
import sys

import busway


@busway.message("6f1c1c8e-5d0d-4a53-9a2e-0d6a4c9b7f10", name="lab/typed")
@dataclasses.dataclass
class Typed:
    number: int


async def main(bus_name: str, label: str) -> None:
    async with busway.AsyncBus(bus_name, label=label) as bus:

        @bus.serve("lab/echo")
        async def echo(request: busway.Request) -> object:
            return request.payload

        @bus.serve("lab/who")
        async def who(request: busway.Request) -> object:
            return label

        @bus.serve("lab/failing")
        async def fail(request: busway.Request) -> object:
            raise busway.RemoteError(300, "no water\x1b[31m")

        @bus.serve("lab/slow")
        async def wait(request: busway.Request) -> None:
            print("asked", flush=True)
            await asyncio.sleep(60)

        @bus.serve("lab/parts")
        async def count(request: busway.Request) -> object:
            yield 0
            yield {"one": b"\x01"}

        @bus.serve(Typed)
        async def double(request: busway.Request) -> object:
            return request.payload.number * 2 if isinstance(request.payload, Typed) else None

        with contextlib.suppress(busway.EndpointTaken):  # a second program of this sort does without
            log = bus.register("lab/log")
            print("ready", flush=True)
            await asyncio.gather(_publish(bus), _read(log))
        print("ready", flush=True)
        await _publish(bus)


async def _publish(bus: busway.AsyncBus) -> None:
    number = 0
    while True:
        number += 1
        await bus.publish("lab/numbers", {"number": number, "raw": b"\x00\xff"})
        await asyncio.sleep(0.02)


async def _read(log: busway.Receiver) -> None:
    async for message in log:
        print(f"taken {message.payload!r}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
