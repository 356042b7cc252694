"""Commands wait for the label of a node that another one told of first, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from busway import AsyncBus
from busway.cli.labels import Labels
from busway.testing import Network


def label_of(bus: AsyncBus, node: bytes) -> str:
    return next(each.label for each in bus.nodes() if each.id == node)


def test_a_label_that_is_on_its_way_is_waited_for() -> None:
    async def job() -> None:
        async with Network() as network:
            here, door, far = [await network.bus(label, transit=True) for label in ("here", "door", "far")]
            await network.link(here, door, delay=0.01)
            changes = here.changes()
            await network.link(door, far)
            async with asyncio.timeout(60):
                while (await anext(changes)).what != "node-up":
                    pass
            assert label_of(here, far.id) == ""
            await Labels(here, 60.0).wait(far.id)
            assert label_of(here, far.id) == "far"

    asyncio.run(job())


def test_one_that_has_none_is_waited_for_once() -> None:
    async def job() -> None:
        async with Network() as network, AsyncBus(ipc=False, label="") as nameless:
            here = await network.bus("here")
            await network.link(here, nameless)
            labels = Labels(here)
            await labels.wait()
            for again in (labels.wait(), labels.wait(nameless.id)):
                with pytest.raises(StopIteration):  # at once
                    again.send(None)

    asyncio.run(job())
