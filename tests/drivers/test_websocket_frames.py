"""Frames of an open WebSocket: the short way for whole binary messages does what wsproto does."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from busway.drivers import websocket_frames, websocket_masks
from busway.drivers.websocket_frames import FRAGMENTS_MAX, FRAMES_MAX, MESSAGE_SIZE_MAX, Frames
from tests.drivers.test_websocket_fuzz import cut
from tests.drivers.websocket_tools import header

KEY = b"\x01\x23\xfe\xdc"


def frame(first: int, payload: bytes, key: bytes = b"", short: int | None = None) -> bytes:
    """A frame, masked with `key`; `short` in place of its length's first byte makes it a wrong one."""
    head = header(first, len(payload), 0x80 if key else 0)
    if short is not None and len(payload) < 65536:
        longer = struct.pack("!H" if short == 126 else "!Q", len(payload))
        head = bytes((first, (0x80 if key else 0) | short)) + longer
    keys = (key * (len(payload) // 4 + 1))[: len(payload)] if key else bytes(len(payload))
    return head + key + bytes(one ^ other for one, other in zip(payload, keys, strict=True))


class Wsproto(Frames):
    """As `Frames`, with all that comes going to wsproto: what is expected."""

    def receive_data(self, data: bytes) -> bytes:
        if self.ended:
            return b""
        parts: list[bytes] = []
        self._tell(data, parts)
        return b"".join(parts)


def happened(side: Frames, pieces: list[bytes]) -> tuple[object, ...]:
    stream, said = b"", b""
    for piece in pieces:
        stream += side.receive_data(piece)
        while side.pending:
            stream += side.receive_data(b"")
        said += side.control_to_send()
    return stream, side.closed, side.fault, side.left, side.left_first, len(said), side._size, side._fragments


OPCODES = st.sampled_from(
    [0x82, 0x82, 0x82, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0x81, 0xC2, 0x92, 0x83, 0x0A]
)
SIZES = st.sampled_from([0, 1, 2, 3, 4, 5, 125, 126, 127, 1000, 65535, 65536, 70000])


@st.composite
def streams(draw: Callable[..., object]) -> tuple[bool, list[bytes]]:
    """Frames for one side, most of them right."""
    client = bool(draw(st.booleans()))
    parts = []
    for _ in range(int(str(draw(st.integers(1, 6))))):
        first, size = int(str(draw(OPCODES))), int(str(draw(SIZES)))
        if first in (0x88, 0x89, 0x8A):
            size = min(size, int(str(draw(st.sampled_from([0, 2, 125, 126])))))
        wrong = int(str(draw(st.integers(0, 29))))
        masks = client if wrong == 0 else not client
        payload = (
            struct.pack("!H", 1000) if first == 0x88 and size >= 2 else random.Random(size).randbytes(size)
        )
        parts.append(frame(first, payload, KEY if masks else b"", {1: 126, 2: 127}.get(wrong)))
    return client, parts


@settings(max_examples=150)
@given(streams(), st.lists(st.integers(0, 300_000), max_size=6), st.integers(1, 20))
def test_what_comes_is_taken_as_wsproto_takes_it(
    made: tuple[bool, list[bytes]], cuts: list[int], small: int
) -> None:
    client, parts = made
    data = b"".join(parts)
    for pieces in ([data], cut(data, cuts), [data[at : at + small] for at in range(0, len(data), small)]):
        if len(pieces) < 5000:
            assert happened(Frames(client=client), pieces) == happened(Wsproto(client=client), pieces)


class Counting(Connection):
    """wsproto, which says how often it was needed."""

    fed = 0

    def receive_data(self, data: bytes | None) -> None:
        if data:
            self.fed += 1
        super().receive_data(data)


@pytest.mark.parametrize("client", [False, True])
def test_a_binary_message_goes_the_short_way_and_nothing_else_does(
    client: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_frames, "Connection", Counting)
    key = b"" if client else KEY
    side = Frames(client=client)
    payload = random.Random(1).randbytes(100_001)
    assert happened(side, cut(frame(0x82, payload, key) * 2, [7, 50_000, 100_003]))[0] == payload * 2
    assert isinstance(side._wire, Counting)
    assert side._wire.fed == 0
    for first in (0x89, 0x02, 0x80):  # the last two are one message
        before = side._wire.fed
        happened(side, [frame(first, b"x", key)])
        assert side._wire.fed > before
    before = side._wire.fed
    assert happened(side, [frame(0x82, b"y", key)])[0] == b"y"
    assert side._wire.fed == before


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024, 1025, 65535, 65536, 100_000])
def test_what_is_sent_is_what_wsproto_reads(client: bool, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    peer = Connection(ConnectionType.SERVER if client else ConnectionType.CLIENT)
    ways: list[list[bytes | memoryview]] = [
        [payload],
        [payload[: size // 2], memoryview(payload)[size // 2 :]],
    ]
    for buffers in ways:
        peer.receive_data(b"".join(Frames(client=client).send(buffers)))
        came: list[Event] = list(peer.events())
        assert b"".join(event.data for event in came if isinstance(event, BytesMessage)) == payload
        assert [event.message_finished for event in came if isinstance(event, BytesMessage)][-1]
        assert not any(isinstance(event, CloseConnection | Ping | TextMessage) for event in came)


def test_every_message_has_a_key_of_its_own() -> None:
    side = Frames(client=True)
    assert len({bytes(side.send([b""])[0]) for _ in range(100)}) > 90


def test_a_message_that_never_ends_is_cut_off_the_short_way_too() -> None:
    side = Frames(client=True)
    side.receive_data(struct.pack("!BBQ", 0x82, 127, 1 << 40))
    taken = 0
    while side.fault is None:
        taken += len(side.receive_data(bytes(1 << 20)))
    assert side.fault[0] == websocket_frames.TOO_BIG
    assert taken == MESSAGE_SIZE_MAX + (1 << 20)


def test_a_flood_of_empty_messages_gives_others_their_turn() -> None:
    side = Frames(client=True)
    side.receive_data(frame(0x82, b"") * (3 * FRAMES_MAX) + frame(0x82, b"end"))
    turns = 1
    stream = b""
    while side.pending:
        stream += side.receive_data(b"")
        turns += 1
    assert (stream, turns) == (b"end", 4)
    assert FRAGMENTS_MAX < 3 * FRAMES_MAX + 1000  # which are messages, not fragments of one
    assert side.fault is None


# Masks


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1023, 1024, 1025, 4099])
def test_both_masks_do_the_same(size: int) -> None:
    data = random.Random(size).randbytes(size)
    expected = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(data))
    compiled = websocket_masks.compiled()
    assert compiled is not None  # the tests need websockets
    for mask in (compiled, websocket_masks.in_python):
        assert mask(data, KEY) == mask(memoryview(data), KEY) == expected
        assert type(mask(data, KEY)) is bytes


@pytest.mark.parametrize("lacks", ["package", "function", "sense"])
def test_without_a_compiled_mask_all_goes_on(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_masks, "_found", [])
    other = ModuleType("websockets.speedups")
    if lacks == "sense":
        other.apply_mask = lambda data, key: bytes(data)  # type: ignore[attr-defined]
    if lacks == "package":
        monkeypatch.delitem(sys.modules, "websockets.speedups", raising=False)
        monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    else:
        monkeypatch.setitem(sys.modules, "websockets.speedups", other)
    assert websocket_masks.masker() is websocket_masks.in_python
    assert websocket_masks.masker() is websocket_masks.in_python
    payload = random.Random(3).randbytes(5000)
    sent = b"".join(Frames(client=True).send([payload]))
    assert Frames(client=False).receive_data(sent) == payload
