"""Message headers: every kind to bytes and back, alias tables at their limits, what breaks the format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.wire.aliases import AliasTable, AliasWriter, node_reader, node_writer
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import (
    Frame,
    HaveFrame,
    Holder,
    Options,
    RoutingHeader,
    TreeFrame,
    cut,
    read_frame,
    write_header,
)

from .pairs import E, F

NOW = 5000
ME = b"m" * 16 + b"mine"
PEER = b"p" * 16 + b"inca"
TYPE = b"type-id-t-sixtee"
ALIASES_MAX = 127


def window_of(frame: Frame) -> int:
    return frame.options.window if frame.options else 0


WITH_ENDPOINT = (codes.SEND, codes.PUBLISH, codes.CONFIRM, codes.REQUEST)
SIGNALS = (codes.CANCEL, codes.CREDIT, codes.PROBE, codes.PART_CREDIT, codes.UNDELIVERABLE, codes.END)


def outgoing(kind: int, *, format: int = codes.RAW, window: int = 0, **fields: Any) -> Frame:
    """A message with id 300, to run out 1000 ms from now where its kind has a timeout."""
    out = Frame(kind, PEER, E, 0x1234, b"", format, TYPE if format == codes.TYPED else b"")
    out.id = 300
    out.expires = NOW + 1000
    if window:
        out.options = Options()
        out.options.window = window
    for name, value in fields.items():
        setattr(out, name, value)
    return out


def bound_writer(aliases_max: int = ALIASES_MAX) -> AliasWriter:
    """A table in which E is 1 and TYPE is 2."""
    writer = AliasWriter(aliases_max)
    writer.write(E)
    writer.write(TYPE)
    return writer


def bound_reader(aliases_max: int = ALIASES_MAX) -> AliasTable:
    reader = AliasTable(aliases_max)
    reader.ids += [E, TYPE]
    return reader


def nodes() -> tuple[AliasWriter, AliasTable]:
    """The tables of nodes between ME and PEER, as ME writes and PEER reads."""
    return node_writer(ME, PEER, 100), node_reader(PEER, ME, 100)


def write(out: Frame, *, partial: int = -1, size: int = 0) -> str:
    if partial >= 0:
        out.options = cut(out.options, partial, size)
    return write_header(out, bound_writer(), nodes()[0], PEER, NOW).hex(" ")


def read(raw: str, behind: bytes = b"") -> tuple[Frame, bytes]:
    """The header that `raw` (hex) is, and what is left behind it."""
    data = bytes.fromhex(raw) + behind
    reader = Reader(data, 1, len(data))
    header = read_frame(data[0], reader, bound_reader(), nodes()[1], NOW)
    return header, reader.rest()


def code_of(raw: str) -> int:
    with pytest.raises(Refusal) as caught:
        read(raw)
    assert caught.value.text
    return caught.value.code


# As section 5 of docs/protocol.md has it

KINDS = [
    ("80 01 1234", outgoing(codes.SEND)),
    ("81 01 1234", outgoing(codes.SEND, format=codes.CBOR)),
    ("83 01 1234 02", outgoing(codes.SEND, format=codes.TYPED)),
    ("92 01 1234", outgoing(codes.PUBLISH, format=codes.TYPED_AS_ENDPOINT)),
    ("a0 01 1234 ac02 e807", outgoing(codes.CONFIRM)),
    ("b0 01 1234 ac02 e807", outgoing(codes.REQUEST)),
    ("b7 04 0202 0140 01 1234 ac02 e807 02", outgoing(codes.REQUEST, format=codes.TYPED, window=0x140)),
    ("c1 ac02", outgoing(codes.REPLY, format=codes.CBOR)),
    ("c3 ac02 02", outgoing(codes.REPLY, format=codes.TYPED)),
    ("d0 ac02 1234", outgoing(codes.PART)),
    ("d3 ac02 1234 02", outgoing(codes.PART, format=codes.TYPED)),
    ("e0 ac02 40", outgoing(codes.ERROR, code=codes.HANDLER_FAILED)),
    ("f0 01 ac02", outgoing(codes.SIGNAL, signal=codes.CANCEL)),
    ("f0 02 01 1234", outgoing(codes.SIGNAL, signal=codes.CREDIT)),
    ("f0 03 01 1234", outgoing(codes.SIGNAL, signal=codes.PROBE)),
    ("f0 04 ac02 1234", outgoing(codes.SIGNAL, signal=codes.PART_CREDIT)),
    ("f0 05 01 1234 07", outgoing(codes.SIGNAL, signal=codes.UNDELIVERABLE, code=codes.WRONG_KIND)),
    ("f0 06 ac02 1234", outgoing(codes.SIGNAL, signal=codes.END)),
]


@pytest.mark.parametrize(("raw", "out"), KINDS)
def test_each_kind_has_the_bytes_of_the_specification(raw: str, out: Frame) -> None:
    assert bytes.fromhex(write(out)) == bytes.fromhex(raw)


def cut_of(frame: Frame) -> tuple[int, int]:
    """Which partial message, and the size of the whole one; (-1, 0): it is not cut."""
    return (-1, 0) if frame.options is None else (frame.options.partial, frame.options.size)


def same(header: Frame, out: Frame) -> None:
    """A header tells what the message was, field by field."""
    assert (header.kind, header.format, header.type_id) == (out.kind, out.format, out.type_id)
    assert header.signal == out.signal
    named = out.kind in WITH_ENDPOINT or out.signal in (codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE)
    assert header.endpoint == (out.endpoint if named else b"")
    unnumbered = out.kind in (codes.REPLY, codes.ERROR) or out.signal == codes.CANCEL
    assert header.number == (0 if unnumbered else out.number & 0xFFFF)
    assert header.id == (0 if named and out.kind not in (codes.CONFIRM, codes.REQUEST) else out.id)
    timed = out.kind in (codes.CONFIRM, codes.REQUEST)
    assert header.expires == (NOW + max(1, out.expires - NOW) if timed else 0)
    assert (window_of(header), header.code) == (window_of(out), out.code)


@pytest.mark.parametrize(("raw", "out"), KINDS)
def test_each_kind_is_read_back(raw: str, out: Frame) -> None:
    payload = b"" if out.kind == codes.SIGNAL else b"payload"
    header, rest = read(raw, payload)
    same(header, out)
    assert rest == payload


@st.composite
def messages(draw: st.DrawFn) -> Frame:
    kind = draw(st.integers(codes.SEND, codes.SIGNAL))
    format = codes.RAW if kind >= codes.ERROR else draw(st.integers(codes.RAW, codes.TYPED))
    number = draw(st.integers(0, 1 << 40))
    out = Frame(kind, PEER, draw(st.sampled_from([E, F])), number, b"", format, b"")
    out.type_id = TYPE if format == codes.TYPED else b""
    out.id = draw(st.integers(1, 0xFFFFFFFF))
    out.expires = NOW + draw(st.integers(-5, 0xFFFFFFFF))
    if kind == codes.SIGNAL:
        out.signal = draw(st.sampled_from(SIGNALS))
        if out.signal == codes.UNDELIVERABLE:
            out.code = draw(st.integers(0, 255))
    elif kind == codes.REQUEST:
        out.options = Options()
        out.options.window = draw(st.integers(0, 0x7FFF))
    elif kind == codes.ERROR:
        out.code = draw(st.integers(0, 0xFFFFFFFF))
    return out


@given(st.lists(messages(), max_size=8), st.integers(1, 3), st.integers(-1, 254), st.binary(max_size=5))
def test_any_message_is_read_back_whatever_the_alias_table(
    outs: list[Frame], aliases_max: int, partial: int, payload: bytes
) -> None:
    writer, table = AliasWriter(aliases_max), AliasTable(aliases_max)
    node_table = nodes()
    for out in outs:
        behind = b"" if out.kind == codes.SIGNAL else payload
        whole = partial < 0 or out.kind == codes.SIGNAL
        if not whole:
            out.options = cut(out.options, partial, 70_000)
        data = write_header(out, writer, node_table[0], PEER, NOW)
        assert len(data) <= codes.HEADER_SIZE_MAX
        reader = Reader(data + behind, 1, len(data + behind))
        header = read_frame(data[0], reader, table, node_table[1], NOW)
        same(header, out)
        assert cut_of(header) == ((-1, 0) if whole else (partial, 70_000))
        assert reader.rest() == behind


@pytest.mark.parametrize(("raw", "out"), KINDS)
def test_a_header_cut_off_anywhere_is_malformed(raw: str, out: Frame) -> None:
    data = bytes.fromhex(raw)
    for size in range(1, len(data)):
        assert code_of(data[:size].hex()) == codes.MALFORMED


def test_a_timeout_that_has_run_out_is_written_as_one() -> None:
    assert write(outgoing(codes.CONFIRM, expires=NOW - 10)) == "a0 01 12 34 ac 02 01"


def test_a_sequence_number_travels_as_its_low_16_bits() -> None:
    assert write(outgoing(codes.SEND, number=0x1_2345)) == "80 01 23 45"


# Options


def test_a_cut_message_says_its_number_and_whole_size() -> None:
    raw = write(outgoing(codes.SEND), partial=3, size=0x01020304)
    assert raw == "84 07 01 05 03 01 02 03 04 01 12 34"
    header, _ = read(raw)
    assert cut_of(header) == (3, 0x01020304)


def test_both_options_travel_together() -> None:
    header, rest = read(write(outgoing(codes.REQUEST, window=9), partial=0, size=500), b"payload")
    assert (cut_of(header), window_of(header), rest) == ((0, 500), 9, b"payload")


@pytest.mark.parametrize("options", ["00", "02 09 00", "05 63 03 aabbcc", "8200 0900"])
def test_unknown_options_are_skipped(options: str) -> None:
    header, rest = read("84" + options + "01 1234", b"x")
    assert (header.endpoint, header.number, header.options, rest) == (E, 0x1234, None, b"x")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("84 04 02020001 01 1234", codes.SEND),  # STREAM where nothing is streamed
        ("84 04 02020000 01 1234", codes.SEND),  # not even its value is looked at
        ("f4 07 01050000000010 01 05", codes.SIGNAL),  # a signal has no payload to cut
    ],
)
def test_a_known_option_where_it_has_no_business_is_skipped(raw: str, kind: int) -> None:
    header, rest = read(raw)
    assert (header.kind, header.options, rest) == (kind, None, b"")


BROKEN_OPTIONS = [
    "84",
    "84 80",
    "84 05 01 1234",  # longer than the frame
    "84 01 09 01 1234",  # an item without a length
    "84 02 09 01 01 1234",  # an item longer than the options, though not than the frame
    "84 06 0104 00000000 01 1234",  # CUT of 4 bytes
    "84 08 0106 000000000000 01 1234",  # CUT of 6 bytes
    "84 0e 0105 0000000010 0105 0000000010 01 1234",  # CUT twice
    "b4 03 0201 05 01 1234 05 05",  # STREAM of 1 byte
    "b4 05 0203 000005 01 1234 05 05",  # STREAM of 3 bytes
    "b4 08 0202 0005 0202 0005 01 1234 05 05",  # STREAM twice
    "b4 04 0202 0000 01 1234 05 05",  # a window of 0
]


@pytest.mark.parametrize("raw", BROKEN_OPTIONS)
def test_broken_options_are_malformed(raw: str) -> None:
    assert code_of(raw) == codes.MALFORMED


# What breaks the format


@pytest.mark.parametrize(
    "raw",
    [
        "88 10 ff 01 1234",  # a routing header with an unknown layout
        "88 00",
        "a0 01 1234 00 05",  # an id of 0
        "b0 01 1234 00 05",
        "c0 00",
        "d0 00 0000",
        "e0 00 05",
        "f0 01 00",
        "f0 04 00 0001",
        "f0 06 00 0001",
        "a0 01 1234 05 00",  # a timeout of 0
        "b0 01 1234 05 00",
        "e1 05 05",  # a format where there is none
        "f1 01 05",
        "f3 02 01 0001",
        "f0 01 05 00",  # bytes behind a signal
        "f0 02 01 0001 00",
        "f0 05 01 0001 07 00",
        "f0 06 05 0001 00",
    ],
)
def test_what_breaks_the_format_is_malformed(raw: str) -> None:
    assert code_of(raw) == codes.MALFORMED


@pytest.mark.parametrize("signal", [0, 13, 255])
def test_an_unknown_signal_is_left_to_be_counted_whatever_follows_it(signal: int) -> None:
    header, _ = read(f"f0 {signal:02x}", b"anything")
    assert (header.kind, header.signal) == (codes.SIGNAL, signal)


# The mesh: signals between neighbours, holders, and the routing header

FAR = b"far-far-far-away" + b"1234"  # neither ME nor PEER
FROM_FAR = RoutingHeader(FAR, codes.USERSPACE, 254)


@pytest.mark.parametrize(
    ("raw", "which"),
    [
        ("f0 07 01", codes.WHO),
        ("f0 09 01 00 03" + FAR.hex(), codes.PRUNE),
        ("f0 0a 01 00 03" + FAR.hex(), codes.GRAFT),
        ("f0 0b ac02", codes.TRACE),
    ],
)
def test_signals_of_the_mesh_have_the_bytes_of_the_specification(raw: str, which: int) -> None:
    of_a_tree = which in (codes.PRUNE, codes.GRAFT)
    out = TreeFrame(which, PEER, E, FAR) if of_a_tree else outgoing(codes.SIGNAL, signal=which)
    assert bytes.fromhex(write(out)) == bytes.fromhex(raw)
    header, rest = read(raw)
    assert (header.signal, rest) == (which, b"")
    assert header.endpoint == (b"" if which == codes.TRACE else E)
    assert header.id == (300 if which == codes.TRACE else 0)
    assert not of_a_tree or (isinstance(header, TreeFrame) and header.node == FAR)
    for size in range(1, len(bytes.fromhex(raw))):
        assert code_of(bytes.fromhex(raw)[:size].hex()) == codes.MALFORMED
    assert code_of(raw + "00") == codes.MALFORMED


def test_the_answer_to_a_trace_is_its_payload() -> None:
    raw = write(outgoing(codes.SIGNAL, signal=codes.TRACED))
    assert raw == "f0 0c ac 02"
    header, rest = read(raw, b"what it says")
    assert (header.signal, header.id, rest) == (codes.TRACED, 300, b"what it says")


def holder(key: bytes, credit: int = codes.OPENING_CREDIT, cost: int = 0, name: str = "") -> Holder:
    made = Holder(key, codes.ANYCAST, codes.GLOBAL, 0x4005)
    made.credit, made.cost, made.name = credit, cost, name
    return made


HOLDERS = [
    ([], "f0 08 01"),
    ([holder(ME)], "f0 08 01 0e 01 4005"),
    ([holder(PEER, 300), holder(ME, cost=7)], "f0 08 01 1e 02 4005 ac02 2e 01 4005 07"),
    ([holder(FAR, 300, 7, "hi")], "f0 08 01 7e 00 03" + FAR.hex() + "4005 ac02 07 026869"),
]


@pytest.mark.parametrize(("holders", "raw"), HOLDERS)
def test_holders_have_the_bytes_of_the_specification(holders: list[Holder], raw: str) -> None:
    assert bytes.fromhex(write(HaveFrame(PEER, E, holders))) == bytes.fromhex(raw)
    header, _ = read(raw)
    assert isinstance(header, HaveFrame)
    assert (header.signal, header.endpoint) == (codes.HAVE, E)
    fields = ("cost", "credit", "key", "kind", "metric", "name", "realm")  # compiled: no __slots__ to ask
    assert [[getattr(one, field) for field in fields] for one in header.holders] == [
        [getattr(one, field) for field in fields] for one in holders
    ]


def test_sixteen_holders_are_taken_and_no_more() -> None:
    header, _ = read("f0 08 01" + "0e 01 4005" * 16)
    assert isinstance(header, HaveFrame)
    assert len(header.holders) == 16
    assert code_of("f0 08 01" + "0e 01 4005" * 17) == codes.MALFORMED
    assert code_of("f0 08 01 8e 01 4005") == codes.MALFORMED


ROUTED = [
    ("88 04 ff 00 03" + FAR.hex() + "01 1234", codes.SEND, FAR, None),
    ("88 0a 07 00 03" + FAR.hex() + "01 1234", codes.SEND, PEER, RoutingHeader(FAR, codes.LOCALNET, 7)),
    ("88 02 07 01 1234", codes.SEND, PEER, RoutingHeader(b"", codes.LOCALNET, 7)),
    ("88 0f 00 00 03" + FAR.hex() + "01 01 1234", codes.SEND, FAR, RoutingHeader(ME, codes.GLOBAL, 0)),
    ("90 01 1234", codes.PUBLISH, b"", None),
    ("98 09 fe 00 03" + FAR.hex() + "01 1234", codes.PUBLISH, b"", FROM_FAR),
    (
        "98 0d fe 01 00 03" + FAR.hex() + "01 1234",
        codes.PUBLISH,
        ME,
        RoutingHeader(FAR, codes.USERSPACE, 254),
    ),
]


@pytest.mark.parametrize(("raw", "kind", "to", "route"), ROUTED)
def test_the_routing_header_has_the_bytes_of_the_specification(
    raw: str, kind: int, to: bytes, route: RoutingHeader | None
) -> None:
    out = outgoing(kind, destination=to, route=route)
    assert bytes.fromhex(write(out)) == bytes.fromhex(raw)
    header, _ = read(raw)
    assert (header.route is not None) == (raw[1] == "8")
    if header.route is not None:
        wanted = route if route is not None else RoutingHeader(b"", codes.PROCESS, codes.HOPS_MAX)
        assert (header.source(), header.realm(), header.hops()) == (wanted.source, wanted.realm, wanted.hops)
        assert header.destination == (b"" if to == PEER else to)


def test_a_number_that_goes_to_another_id_is_counted_on_both_sides() -> None:
    """All that was learned of frames with that number holds no longer."""
    writer, table = AliasWriter(2), AliasTable(2)
    for value, epoch in ((uuid(1), 0), (uuid(2), 0), (uuid(3), 1), (uuid(1), 2), (uuid(3), 2)):
        data = writer.write(value)
        assert table.read(Reader(data, 0, len(data))) == value
        assert writer.epoch == table.epoch == epoch


# Aliases


def test_a_uuid_crosses_once_then_its_number_stands_for_it() -> None:
    writer = AliasWriter(ALIASES_MAX)
    assert writer.write(E) == b"\x00\x01" + E
    assert writer.write(E) == b"\x01"
    assert writer.write(F) == b"\x00\x02" + F
    assert (writer.write(E), writer.write(F)) == (b"\x01", b"\x02")


def uuid(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("aliases_max", [1, 2, 127, 128, 16383])
def test_a_full_table_gives_the_oldest_binding_away_and_both_sides_agree(aliases_max: int) -> None:
    writer, table = AliasWriter(aliases_max), AliasTable(aliases_max)

    def cross(value: bytes) -> tuple[bytes, int]:
        data = writer.write(value)
        return table.read(Reader(data, 0, len(data))), len(data)

    for number in range(1, aliases_max + 1):
        assert cross(uuid(number))[0] == uuid(number)
    assert all(len(writer.write(uuid(number))) <= 2 for number in range(1, aliases_max + 1))
    assert cross(E)[0] == E  # one past the table: takes the number of the first
    assert len(writer.numbers) == aliases_max
    assert len(table.ids) == aliases_max + 1
    assert uuid(1) not in writer.numbers
    assert cross(uuid(1))[0] == uuid(1)
    for value in (E, uuid(1), uuid(aliases_max), uuid(2)):
        assert cross(value)[0] == value
    assert len(writer.numbers) == aliases_max


@given(st.lists(st.integers(0, 12), max_size=200), st.integers(1, 9))
def test_any_order_of_uuids_is_understood(order: list[int], aliases_max: int) -> None:
    writer, table = AliasWriter(aliases_max), AliasTable(aliases_max)
    for number in order:
        data = writer.write(uuid(number))
        assert table.read(Reader(data, 0, len(data))) == uuid(number)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("80 03 0001", codes.UNKNOWN_ALIAS),  # never bound
        ("80 7f 0001", codes.UNKNOWN_ALIAS),  # the last slot, never bound
        ("80 8001 0001", codes.UNKNOWN_ALIAS),  # one past the table
        ("80 ffffffff0f 0001", codes.UNKNOWN_ALIAS),
        ("80 00 00" + "aa" * 18, codes.UNKNOWN_ALIAS),  # binds 0
        ("80 00 8001" + "aa" * 18, codes.UNKNOWN_ALIAS),  # binds one past the table
        ("80 8000 0001", codes.UNKNOWN_ALIAS),  # a padded 0 is no mark: an alias nobody bound
        ("80 00 05" + "aa" * 15, codes.MALFORMED),  # a uuid cut off
        ("83 01 0001 09", codes.UNKNOWN_ALIAS),  # the type's alias
        ("f0 02 09 0001", codes.UNKNOWN_ALIAS),  # a signal's
    ],
)
def test_an_alias_out_of_place_is_refused(raw: str, code: int) -> None:
    assert code_of(raw) == code


def test_the_last_slot_can_be_bound_and_a_slot_bound_again() -> None:
    table = bound_reader()
    for value in (E, F):
        data = b"\x00\x7f" + value
        assert table.read(Reader(data, 0, len(data))) == value
        assert table.read(Reader(b"\x7f", 0, 1)) == value
