"""busway.decode_frames against the description in tests/reference: the same fields, places and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.decode_frames import Alias, Body, Refused, read_frame
from tests.reference import wire
from tests.reference.plain import load
from tests.reference.test_wire import frames

HEXES = [vector["hex"] for name in ("frames.json", "errors.json") for vector in load(name)["vectors"]]


def outcome(body: bytes) -> tuple[Any, ...]:
    """The fields that were read, and of a refusal all that there is to say."""
    cursor = Body(body)
    refusal: tuple[Any, ...] = ()
    try:
        read_frame(cursor)
    except Refused as refused:
        refusal = (refused.code, refused.expected, refused.short, *cursor.failed)
    return [tuple(read) for read in cursor.reads], *refusal


def declared_outcome(body: bytes) -> tuple[Any, ...]:
    trace = wire.Trace()
    refusal: tuple[Any, ...] = ()
    try:
        wire.parse_body(body, trace)
    except wire.Refused as refused:
        refusal = (refused.code, refused.expected, refused.short, trace.failed_name, trace.failed_offset)
    reads = [(read.offset, read.length, read.name, plain(read, body)) for read in trace.reads]
    return reads, *refusal


def plain(read: wire.Read, body: bytes) -> Any:
    if read.name == "flags":
        return body[read.offset]
    if isinstance(read.value, dict):
        return Alias(read.value["number"], read.value["id"])
    return read.value


@pytest.mark.parametrize("digits", HEXES)
def test_vectors_anywhere_cut(digits: str) -> None:
    data = bytes.fromhex(digits)
    for start in range(min(3, len(data))):
        for end in range(start, len(data) + 1):
            assert outcome(data[start:end]) == declared_outcome(data[start:end])


@given(frames, st.data())
def test_frames_whole_cut_and_damaged(frame: dict[str, Any], draw: st.DataObject) -> None:
    data = wire.Frame.build(frame)
    body = bytearray(data[1 if data[0] < 0x80 else 2 :])
    assert outcome(bytes(body)) == declared_outcome(bytes(body))
    for _ in range(draw.draw(st.integers(0, 3))):
        body[draw.draw(st.integers(0, len(body) - 1))] = draw.draw(st.integers(0, 255))
    body = body[: draw.draw(st.integers(0, len(body)))] + draw.draw(st.binary(max_size=3))
    assert outcome(bytes(body)) == declared_outcome(bytes(body))


@given(st.binary(max_size=80))
def test_arbitrary_bytes(body: bytes) -> None:
    assert outcome(body) == declared_outcome(body)
