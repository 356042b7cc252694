"""The short way of requests, replies and confirmed messages: it writes and reads what the long one does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol.errors import Refusal
from busway.protocol.link.fast import read_answerable, write_answerable
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasTable, AliasWriter
from busway.protocol.wire.fields import Reader, varint
from busway.protocol.wire.messages import Frame, Options, RoutingHeader, read_frame, write_header
from tests.rigs.uncounted import first_counted

ENDPOINT = bytes(range(16))
ME, PEER = b"\1" * 20, b"\2" * 20
NOW = 1_000_000
KINDS = (codes.CONFIRM, codes.REQUEST, codes.REPLY)


def frame(
    kind: int = codes.REQUEST, id: int = 0x0ABCDEF, left: int = 30_000, format: int = codes.CBOR
) -> Frame:
    """One that the short way takes."""
    out = Frame(kind, PEER, b"" if kind == codes.REPLY else ENDPOINT, 0x1234, b"payload", format, b"")
    out.id = id
    out.expires = 0 if kind == codes.REPLY else NOW + left
    return out


def bound() -> AliasWriter:
    writer = AliasWriter(1000)
    writer.write(ENDPOINT)
    return writer


def reader_for(*uuids: bytes) -> AliasTable:
    table = AliasTable(1000)
    writer = AliasWriter(1000)
    for uuid in uuids:
        data = writer.write(uuid)
        table.read(Reader(data, 0, len(data)))
    return table


def long_way(out: Frame) -> bytes:
    header = write_header(out, bound(), AliasWriter(8, (ME, PEER)), PEER, NOW)
    return varint(len(header) + len(out.payload)) + header


def seen(message: Frame) -> "dict[str, object]":
    return {name: getattr(message, name) for kind in Frame.__mro__ for name in getattr(kind, "__slots__", ())}


@given(
    st.sampled_from(KINDS),
    st.integers(1, 0xFFFFFFFF),
    st.integers(-5, 0xFFFFFFF),
    st.sampled_from((codes.RAW, codes.CBOR, codes.TYPED_AS_ENDPOINT)),
    st.binary(max_size=300),
)
def test_any_bytes_that_are_written_are_the_same(
    kind: int, id: int, left: int, format: int, payload: bytes
) -> None:
    test_the_bytes_are_the_same(kind, id, left, format, payload)


@pytest.mark.parametrize(
    ("kind", "id", "left", "format", "payload"),
    [
        (codes.REQUEST, 0x200000, 0x80, codes.RAW, b""),
        (codes.REQUEST, 0x0FFFFFFF, 0x3FFF, codes.RAW, b""),
        (codes.CONFIRM, 0x0FFFFFFF, 0x4000, codes.RAW, b"x" * 200),
        (codes.CONFIRM, 0x10000000, 0x1FFFFF, codes.RAW, b""),
        (codes.REPLY, 0x1FFFFF, 1, codes.CBOR, b"x" * 130),
    ],
)
def test_the_bytes_are_the_same(kind: int, id: int, left: int, format: int, payload: bytes) -> None:
    out = frame(kind, id, left, format)
    out.payload = payload
    short = write_answerable(out, bound(), PEER, NOW)
    usual = 0x200000 <= id <= codes.ID_MAX and (kind == codes.REPLY or 0x80 <= left < 0x200000)
    assert short == (long_way(out) if usual else b"")


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_more_goes_the_long_way(kind: int) -> None:
    routed, optional, typed, afar = frame(kind), frame(kind), frame(kind), frame(kind)
    routed.route = RoutingHeader(ME, codes.LOCALNET, 3)
    optional.options = Options()
    typed.format = codes.TYPED
    afar.destination = b"\3" * 20
    for out in (routed, optional, typed, afar):
        assert write_answerable(out, bound(), PEER, NOW) == b""
    afar.destination = b""
    assert write_answerable(afar, bound(), PEER, NOW) != b""


def test_other_kinds_and_unbound_aliases_go_the_long_way() -> None:
    for kind in (codes.SEND, codes.PUBLISH, codes.PART, codes.ERROR, codes.SIGNAL):
        assert write_answerable(frame(kind), bound(), PEER, NOW) == b""
    writer = AliasWriter(1000)
    assert write_answerable(frame(), writer, PEER, NOW) == b""


@pytest.mark.parametrize("kind", [codes.CONFIRM, codes.REQUEST])
@pytest.mark.parametrize("left", [0x80, 0x4000])
@pytest.mark.parametrize("before", first_counted([126, 127, 16382], 2))
def test_aliases_of_two_bytes_are_written_and_read_the_same(kind: int, left: int, before: int) -> None:
    out, ids = frame(kind, left=left), [number.to_bytes(16, "big") for number in range(before)]
    writer = AliasWriter(codes.ALIASES_MAX)
    table = AliasTable(codes.ALIASES_MAX)
    for uuid in [*ids, ENDPOINT]:
        data = writer.write(uuid)
        table.read(Reader(data, 0, len(data)))
    data = write_answerable(out, writer, PEER, NOW) + out.payload
    header = write_header(out, writer, AliasWriter(8, (ME, PEER)), PEER, NOW)
    assert data == varint(len(header) + len(out.payload)) + header + out.payload
    came = read_answerable(data[1], data, 2, len(data), table, NOW)
    assert came is not None
    assert (came.endpoint, came.number, came.id) == (ENDPOINT, out.number, out.id)
    assert (came.expires, came.payload) == (out.expires, out.payload)


@given(
    st.sampled_from(KINDS),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=24),
        st.tuples(
            st.sampled_from(
                (b"", b"\x01\x00\x07", b"\x02\xff\xff", b"\x09\x00\x00", b"\x81\x01\x00", b"\x81\0\0\7")
            ),
            st.integers(0, 0xFFFFFFFF).map(varint),
            st.integers(0, 0xFFFFFFFF).map(varint),
            st.binary(max_size=4),
        ).map(b"".join),
    ),
)
def test_any_bytes_mean_the_same(kind: int, format: int, data: bytes) -> None:
    test_what_is_read_is_the_same(kind, format, data)


@pytest.mark.parametrize(
    ("kind", "format", "data"),
    [
        (codes.REQUEST, codes.CBOR, b"\1\0\7" + varint(0x0ABCDEF) + varint(30_000) + b"payload"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + varint(200) + b""),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + varint(1) + b"x"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + b"\0x"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + b"\x80\x80"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + b"\x80\0x"),  # 0 in two bytes
        (codes.CONFIRM, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + b"\x80\x80\0x"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + b"\x81\0x"),
        (codes.REQUEST, codes.RAW, b"\1\0\7" + varint(0x0ABCDEF) + varint(0xFFFFFF) + b"x"),
        (codes.REQUEST, codes.RAW, b"\0\0\7" + varint(0x0ABCDEF) + varint(1) + b"x"),
        (codes.REQUEST, codes.TYPED, b"\1\0\7" + varint(0x0ABCDEF) + varint(1) + b"\1x"),
        (codes.CONFIRM, codes.RAW, b"\1\0\7" + varint(5) + varint(1) + b"xxxxxxxx"),
        (codes.REQUEST, codes.RAW, b"\x81\0\0\7" + varint(0x0ABCDEF) + varint(200) + b"x"),  # 1 in two bytes
        (codes.REQUEST, codes.RAW, b"\x81\x80\0\0\7" + varint(0x0ABCDEF) + varint(200) + b"x"),
        (codes.REQUEST, codes.RAW, b"\x81\0\0\7" + varint(0x0ABCDEF)),
        (codes.REPLY, codes.RAW, b"\x80\x80\x80\0"),
        (codes.REPLY, codes.RAW, b"\x80\x80\x80"),
        (codes.REQUEST, codes.RAW, b"\1\0\7\x80"),
        (codes.REPLY, codes.TYPED, varint(0x0ABCDEF) + b"\1x"),
        (codes.REQUEST, codes.RAW, b"\x09\0\7" + varint(0x0ABCDEF) + varint(1) + b"x"),
    ],
)
def test_what_is_read_is_the_same(kind: int, format: int, data: bytes) -> None:
    head = codes.MESSAGE | kind << 4 | format
    body = b"." + bytes((head,)) + data + b"the next frame"
    stop = len(body) - 14
    short = read_answerable(head, body, 2, stop, reader_for(ENDPOINT, ME[:16]), NOW)
    if short is None:
        return
    reader = Reader(body, 2, stop)
    try:
        message = read_frame(head, reader, reader_for(ENDPOINT, ME[:16]), AliasTable(8), NOW)
    except Refusal as refusal:
        raise AssertionError("the long way refuses it: " + refusal.text) from None
    message.payload = reader.rest()
    assert seen(short) == seen(message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0x80, 0x3FFF, 0x4000, 0x1FFFFF])
def test_what_the_short_way_writes_it_reads(kind: int, left: int) -> None:
    out = frame(kind, left=left)
    data = write_answerable(out, bound(), PEER, NOW) + out.payload
    came = read_answerable(data[1], data, 2, len(data), reader_for(ENDPOINT), NOW)
    assert came is not None
    assert (came.kind, came.endpoint, came.id, came.expires) == (kind, out.endpoint, out.id, out.expires)
    assert came.payload == b"payload"
