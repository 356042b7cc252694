"""A router that does at random all that it can to sealed messages: what arrives is what was sent, each once
and in order, or nothing; and once it does nothing more all is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import pytest

import busway
from busway import BusError
from busway.protocol import codes
from busway.protocol.wire.messages import Frame
from tests.adapters.hostile_router import copy
from tests.adapters.test_sealed import ALICE, around
from tests.adapters.tools import until

pytestmark = pytest.mark.jumps(needed=True)

NAMES = ("valve", "pump", "news", "scan")
UUIDS = [busway.endpoint_id(name) for name in NAMES]


class Fury:
    """What a router does to each frame: mostly nothing, so that things go on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kept: list[Frame] = []
        self._held: list[Frame] = []
        self.did: set[str] = set()

    def __call__(self, frame: Frame, _: bytes) -> list[Frame]:
        if frame.kind in (codes.SIGNAL, codes.ERROR):
            return [frame]  # changed they end the link
        self._kept = [*self._kept[-40:], copy(frame)]
        if self._random.random() < 0.8:
            return [frame]
        deed = self._random.choice(DEEDS)
        self.did.add(deed)
        found: list[Frame] = getattr(self, deed)(frame)
        return found

    def drop(self, frame: Frame) -> list[Frame]:
        return []

    def flip(self, frame: Frame) -> list[Frame]:
        data = bytearray(frame.payload or b"?")
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return [copy(frame, payload=bytes(data))]

    def cut(self, frame: Frame) -> list[Frame]:
        return [copy(frame, payload=frame.payload[: self._random.randrange(len(frame.payload) + 1)])]

    def repeat(self, frame: Frame) -> list[Frame]:
        return [copy(frame), copy(frame, number=frame.number + 1, id=frame.id and frame.id ^ 1)]

    def splice(self, frame: Frame) -> list[Frame]:
        """The payload of another, whatever and whosever it was."""
        other = self._random.choice(self._kept)
        return [copy(frame, payload=other.payload, format=other.format, type_id=other.type_id)]

    def redirect(self, frame: Frame) -> list[Frame]:
        return [copy(frame, endpoint=self._random.choice(UUIDS))]

    def strip(self, frame: Frame) -> list[Frame]:
        return [copy(frame, payload=b"forged", format=codes.RAW, type_id=b"")]

    def hold(self, frame: Frame) -> list[Frame]:
        """Some come later, in another order, as if they were the newest."""
        self._held.append(copy(frame))
        if len(self._held) < 3:
            return []
        held, self._held = self._held, []
        self._random.shuffle(held)
        return [copy(each, number=frame.number + step) for step, each in enumerate(held)]

    def recast(self, frame: Frame) -> list[Frame]:
        if frame.kind in (codes.SEND, codes.REQUEST):
            return [
                copy(frame, kind=codes.SEND + codes.REQUEST - frame.kind, id=frame.id or 77, expires=9**6)
            ]
        if frame.kind in (codes.REPLY, codes.PART) and self._random.random() < 0.7:
            return [copy(frame, kind=codes.REPLY + codes.PART - frame.kind, number=0)]
        return (
            [copy(frame, kind=codes.ERROR, code=300, format=codes.RAW, type_id=b"")] if frame.id else [frame]
        )


DEEDS = ("drop", "flip", "cut", "repeat", "splice", "redirect", "strip", "hold", "recast")


@pytest.mark.parametrize("seed", range(2))
async def test_what_arrives_is_what_was_sent_once_and_in_order(seed: int) -> None:
    async with around() as (_, hostile, (alice, bob)):
        valve, news = bob.register("valve", sealed=True), bob.subscribe("news", sealed=True)
        ran: list[Any] = []

        def pump(request: busway.Request[Any]) -> Any:
            ran.append((request.verified, request.payload))
            return ["done", request.payload]

        def scan(request: busway.Request[Any]) -> Any:
            yield from range(request.payload, request.payload + 3)

        bob.serve("pump", pump, sealed=True)
        bob.serve("scan", scan, sealed=True)
        await until(lambda: len({entry.uuid for entry in alice.node.entries()} & set(UUIDS)) == 4)
        came: dict[str, list[Any]] = {"valve": [], "news": []}

        async def read(receiver: busway.Receiver[Any], name: str) -> None:
            async for message in receiver:
                assert message.error is None
                came[name].append((message.verified, message.payload))

        reading = [asyncio.ensure_future(read(*each)) for each in ((valve, "valve"), (news, "news"))]
        fury = hostile.tamper = Fury(seed)
        answered: list[int] = []
        scanned: list[int] = []

        async def read_parts(number: int) -> None:
            parts = [part async for part in alice.request_stream("scan", number, sealed=True, timeout=1)]
            assert parts == [number, number + 1, number + 2]
            scanned.append(number)

        async def say(number: int) -> None:
            for call in (
                partial(alice.send, "valve", number, sealed=True, timeout=1),
                partial(alice.publish, "news", number, sealed=True),
                partial(alice.request, "pump", number, sealed=True, timeout=1),
                partial(read_parts, number),
            ):
                with contextlib.suppress(BusError):
                    answer = await call()
                    assert answer in (None, ["done", number])
                    answered.extend([number] * (answer is not None))

        for number in range(150):
            await say(number)
        assert fury.did == set(DEEDS)
        hostile.tamper = lambda frame, _: [frame]
        last = 150
        while not all(found and found[-1][1] == last for found in (*came.values(), ran)):
            last += 1
            assert last < 400
            await say(last)
            await asyncio.sleep(0.5)
        for found in (*came.values(), ran):
            numbers = [number for _, number in found]
            assert {who for who, _ in found} == {ALICE.text}
            assert numbers == sorted(set(numbers))
            assert len([number for number in numbers if number < 150]) > 5
        assert answered[-1] == scanned[-1] == last
        assert 5 < len(scanned) < 150
        assert min(valve.refused, news.refused) > 5
        for task in reading:
            assert not task.done()
            task.cancel()
