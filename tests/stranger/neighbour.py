"""A program of Busway's for the stranger to meet. Ends when its input does.

Arguments: where ("unix", or the URL to listen on, or of a serial line), the token ("" for none).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import busway

WIDE: Final = "global"


async def main(where: str, token: str) -> None:
    async with busway.AsyncBus(label="neighbour") as bus:
        heard: list[object] = []

        @bus.serve("near/double", realm=WIDE)
        async def double(request: busway.Request) -> object:
            return request.payload * 2

        @bus.serve("near/count", realm=WIDE)
        async def count(request: busway.Request) -> AsyncIterator[object]:
            for number in range(request.payload):
                yield number

        @bus.serve("near/fail", realm=WIDE)
        async def fail(request: busway.Request) -> object:
            raise ValueError("no")

        @bus.serve("near/heard", realm=WIDE)
        async def tell(request: busway.Request) -> object:
            return heard

        @bus.serve("near/ask", realm=WIDE)
        async def ask(request: busway.Request) -> object:
            """The same the other way round."""
            for number in range(40):
                await bus.send("stranger/inbox", number, ttl=30)
            await bus.send("stranger/inbox", "the last", confirm=True, timeout=60)
            for number in range(20):
                await bus.publish("near/news", number, realm=WIDE)
            doubled = await bus.request("stranger/double", b"x" * 30000, timeout=60)
            parts = [part async for part in bus.request_stream("stranger/count", 30, timeout=60)]
            try:
                await bus.request("stranger/fail", None, timeout=60)
            except busway.RemoteError as error:
                return [doubled, parts, str(error)]
            return "it did not fail"

        @bus.serve("near/forecast", realm=WIDE)
        async def forecast(request: busway.Request) -> object:
            """Readings that may be lost, until the asker has enough."""
            for number in range(request.payload):
                await bus.publish("near/news", number, best_effort=True, realm=WIDE)
                await asyncio.sleep(0.05)
            return request.payload

        inbox = bus.register("near/inbox", kind="anycast", realm=WIDE)
        news = bus.subscribe("stranger/news", realm=WIDE)
        listening = asyncio.gather(listen(inbox, heard), listen(news, heard))
        url = where
        if where.startswith("serial:"):
            print(where, flush=True)  # who is at the other end comes later
            await bus.connect(where, token=token or None, wait=60)
        elif where != "unix":
            url = (await bus.listen(where, token=token or None)).url
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


async def listen(receiver: busway.Receiver[Any], heard: list[object]) -> None:
    async for message in receiver:
        heard += [message.payload]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
