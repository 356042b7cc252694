"""Labels and last words, as programs give them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters.records import Change, EndpointInfo
from busway.protocol.wire.traits import gone_of
from tests.adapters.tools import buses, until

pytestmark = pytest.mark.jumps


def labels_of(bus: AsyncBus, name: str) -> list[tuple[str, ...]]:
    return [found.labels for found in bus.endpoints() if found.name == name]


def told(change: Change) -> tuple[str, tuple[str, ...]]:
    assert isinstance(change.subject, EndpointInfo)
    return change.what, change.subject.labels


async def test_endpoints_have_their_own_labels_and_those_of_their_bus() -> None:
    async with buses(labels={"fleet", "x"}) as (a, b):
        a.register("render/1", labels={"renderer", "x"})
        a.serve("codec", lambda request: None, labels=["codec"])
        a.subscribe("news")
        await until(lambda: all(labels_of(b, name) for name in ("render/1", "codec", "news")))
        for bus in (a, b):
            assert labels_of(bus, "render/1") == [("fleet", "renderer", "x")]
            assert labels_of(bus, "codec") == [("codec", "fleet", "x")]
            assert labels_of(bus, "news") == [("fleet", "x")]
        (found,) = [found for found in b.endpoints() if found.name == "codec"]
        assert repr(found).endswith(", anycast, localnet, at 61616161, labels codec, fleet, x>")


async def test_what_busway_itself_registers_has_no_labels_of_the_bus() -> None:
    key = busway.Key.new()
    async with AsyncBus(ipc=False, key=key, seal=[], labels={"fleet"}) as bus:
        bus.register("lab/log")
        assert labels_of(bus, "busway/seal") == [()]
        assert labels_of(bus, "lab/log") == [("fleet",)]


async def test_other_labels_are_told_as_a_change() -> None:
    async with buses() as (a, b):
        changes = b.changes()
        async with a.register("render/1", labels={"old"}):
            assert told(await anext(changes)) == ("endpoint-up", ("old",))
        a.register("render/1", labels={"new"})
        assert told(await anext(changes)) == ("endpoint-changed", ("new",))


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ("renderer", TypeError, "several texts"),
        (5, TypeError, "several texts"),
        ([b"renderer"], TypeError, "must be texts"),
        ([""], ValueError, "1 to 32 bytes"),
        (["l" * 33], ValueError, "1 to 32 bytes"),
        ("12345678", TypeError, "several texts"),
        (list("12345678"), ValueError, "at most 8 labels, with those of its node; not 9"),
    ],
)
async def test_bad_labels_are_refused_at_once(labels: Any, error: type[Exception], text: str) -> None:
    async with AsyncBus(ipc=False, labels=["fleet"]) as bus:
        with pytest.raises(error, match=text):
            bus.register("render/1", labels=labels)
        assert bus.endpoints() == []
    if len(labels) < 8 if isinstance(labels, (str, list)) else True:
        with pytest.raises(error, match=text):
            AsyncBus(ipc=False, labels=labels)


@busway.message("3d6d6f2e-6c27-4a0e-9a55-0d6a4c9b7f11")
@dataclasses.dataclass
class Gone:
    why: str


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"raw", b"\0raw"),
        ("text", b"\1dtext"),
        (Gone("x"), b"\3" + bytes.fromhex("3d6d6f2e6c274a0e9a550d6a4c9b7f11") + b"\xa1cwhyax"),
    ],
)
async def test_a_last_word_travels_as_any_payload(payload: Any, wanted: bytes) -> None:
    async with buses() as (a, b):
        a.register("render/1", gone=payload)
        await until(lambda: labels_of(b, "render/1"))
        (entry,) = b.node.entries()
        assert gone_of(entry.traits) == wanted


async def test_a_last_word_has_at_most_128_bytes() -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match="at most 128 bytes, not 129"):
            bus.register("render/1", gone=bytes(129))
        with pytest.raises(ValueError, match="none sees what is registered with realm="):
            bus.register("render/1", realm="process", gone=b"bye")
        with pytest.raises(TypeError, match="cannot send"):
            bus.register("render/1", gone=object())


def test_with_threads_it_is_the_same() -> None:
    with Bus(ipc=False, labels={"fleet"}) as bus:
        bus.register("render/1", labels={"renderer"}, gone=b"bye")
        assert [found.labels for found in bus.endpoints()] == [("fleet", "renderer")]
        with pytest.raises(ValueError, match="1 to 32 bytes"):
            bus.subscribe("news", labels=[""])
