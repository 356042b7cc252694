"""Verdicts across a backbone that breaks: a partition amid a request, a gateway so slow that NATS drops it,
and what nobody has. Real servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from typing import Any

import nats
import pytest

import busway
from busway import AsyncBus, Undeliverable
from busway.adapters import making
from busway.adapters.bus import host_of
from tests.adapters.tools import Program, until
from tests.rigs import nats_servers

FLOOD = 4000  # messages of 60 kB at the most: the system's buffers have some MB
LATER: Any = {"ttl": 20.0, "timeout": 30.0}

pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


async def test_a_partition_amid_a_request_ends_it_and_it_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(making._LINK_DEFAULTS, "nats", (48, 1000))  # or it would take 15 s to be noticed
    began: list[Any] = []
    go_on = asyncio.Event()
    with nats_servers.one() as server:
        async with AsyncBus("parts", ipc=False) as here, AsyncBus("parts", ipc=False) as there:

            @there.serve("slow", realm="global")
            async def slow(request: Any) -> Any:
                began.append(request.payload)
                await go_on.wait()
                return request.payload

            await here.connect(server.url)
            await there.connect(server.url)
            asked = asyncio.create_task(here.request("slow", 1, ttl=20.0, timeout=1000.0))
            sent = asyncio.create_task(here.send("slow", 2, confirm=True, timeout=1000.0))
            await until(lambda: began)
            server.stop()
            with pytest.raises(Undeliverable, match="LOST_AFTER_SENDING"):
                await asked
            go_on.set()  # its reply goes nowhere
            with contextlib.suppress(busway.BusError):
                await sent
            server.go_on()
            assert await here.request("slow", 3, ttl=60.0, timeout=90.0) == 3
            assert Counter(began)[1] == 1
            assert max(Counter(began).values()) == 1


async def test_a_gateway_that_nats_drops_for_it_is_too_slow_leaves_no_send_without_a_verdict() -> None:
    text = """
        async def main():
            async with busway.AsyncBus("drops", ipc=False) as bus:
                await bus.connect(sys.argv[1])
                receiver = bus.register("count", realm="global", queue=4096)
                @bus.serve("taken", realm="global")
                async def taken(request):
                    return numbers
                numbers = []
                say(bus.id.hex())
                async for message in receiver:
                    numbers.append(int.from_bytes(message.payload[:4], "big"))
        asyncio.run(main())
    """
    outcomes: Counter[str] = Counter()
    good: set[int] = set()

    async def send(bus: AsyncBus, number: int) -> None:
        try:
            await bus.send("count", number.to_bytes(4, "big") + bytes(4000), confirm=True, timeout=300.0)
        except busway.BusError as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["taken"] += 1
            good.add(number)

    with nats_servers.one("max_payload: 65536\nmax_pending: 65536\nwrite_deadline: 1s") as server:
        async with Program(text, server.url) as far, AsyncBus("drops", ipc=False) as bus:
            node_id = bytes.fromhex(await far.line())
            await bus.connect(server.url)
            await bus.send("count", bytes(4), confirm=True, **LATER)
            backbone: Any = host_of(bus).backbone
            stranger = await nats.connect(server.url)
            far.signal(signal.SIGSTOP)
            async with asyncio.TaskGroup() as tasks:
                for number in range(1, 601):
                    tasks.create_task(send(bus, number))
                # What gateways send each other does not fill the system's buffers: others have to.
                for _ in range(FLOOD):
                    await stranger.publish(backbone._hub.subject_of(node_id, "elsewhere-1"), bytes(60_000))
                    await stranger.flush()
                    if "Slow Consumer" in server.log():
                        break
                far.signal(signal.SIGCONT)
            assert "Slow Consumer" in server.log()
            await stranger.close()
            assert outcomes.total() == 600
            taken = Counter(await bus.request("taken", None, ttl=60.0, timeout=90.0))
            assert max(taken.values()) == 1
            assert good <= taken.keys()
            await bus.send("count", bytes(4), confirm=True, ttl=60.0, timeout=90.0)


async def test_what_nobody_has_is_asked_for_once_and_anew_when_somebody_comes() -> None:
    with nats_servers.one() as server:
        async with AsyncBus("none", ipc=False) as here, AsyncBus("none", ipc=False) as there:
            await here.connect(server.url)
            await there.connect(server.url)
            backbone: Any = host_of(here).backbone
            for _ in range(5):
                with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
                    await here.request("pump", 1)
            assert backbone.counters["asked"] == 2  # who has it, and who has a pattern that means it
            there.serve("pump", realm="global")(lambda request: request.payload)
            assert await here.request("pump", 2, **LATER) == 2
