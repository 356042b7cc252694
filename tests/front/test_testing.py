"""The network in memory that users get for their own tests."""

from __future__ import annotations

import asyncio

import pytest

import busway
from busway.testing import Network, run


def test_two_buses_talk_and_are_cut_and_healed() -> None:
    async def main() -> None:
        async with Network() as network:
            pump, panel = await network.bus("pump"), await network.bus("panel")
            await network.link(pump, panel, delay=0.01, realm="localnet")
            pump.serve("lab/pump", lambda _: {"ok": True})
            assert await panel.request("lab/pump", ttl=1) == {"ok": True}
            assert [link.realm for link in panel.links()] == ["localnet"]
            network.cut(pump, panel)
            with pytest.raises(busway.Undeliverable):
                await panel.request("lab/pump")
            await network.heal(pump, panel)
            assert await panel.request("lab/pump", ttl=1) == {"ok": True}

    run(main())


def test_a_chain_goes_round_a_cut() -> None:
    async def main() -> None:
        async with Network() as network:
            buses = [await network.bus(f"b{number}", transit=True) for number in range(4)]
            for one, other in zip(buses, [*buses[1:], buses[0]], strict=True):
                await network.link(one, other)
            first, _, third, _ = buses
            third.serve("echo", lambda request: request.payload)
            await network.settle()
            assert await first.request("echo", 1) == 1
            way = [hop.label for hop in await first.trace("echo")]
            network.cut(first, next(bus for bus in buses if bus.node.label == way[0]))
            assert await first.request("echo", 2, ttl=2) == 2
            assert [hop.label for hop in await first.trace("echo")] != way

    run(main())


def test_delay_is_felt() -> None:
    async def main() -> None:
        async with Network() as network:
            one, other = await network.bus(), await network.bus()
            await network.link(one, other, delay=0.05)
            one.serve("echo", lambda request: request.payload)
            await network.settle(0.2)
            began = asyncio.get_running_loop().time()
            assert await other.request("echo", 1) == 1
            assert asyncio.get_running_loop().time() - began == pytest.approx(0.1)

    run(main())


def test_what_cannot_be_is_refused() -> None:
    async def main() -> None:
        async with Network() as network:
            one, other = await network.bus("one"), await network.bus("other")
            with pytest.raises(ValueError, match="two different buses"):
                await network.link(one, one)
            with pytest.raises(TypeError, match=r"a link joins two buses, as .* makes them, not 'panel'"):
                await network.link(one, "panel")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="no link"):
                network.cut(one, other)
            with pytest.raises(ValueError, match="realm must be one of"):
                await network.link(one, other, realm="nearby")  # type: ignore[arg-type]
            red = await network.bus("red", name="red")
            with pytest.raises(busway.LinkRefused):
                await network.link(one, red)

    run(main())
