"""Any bytes at either side of a WebSocket: no exception, bounded memory, and the same however cut."""

import itertools
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.drivers.upgrades import SUBPROTOCOL
from busway.drivers.websocket_frames import Frames
from busway.drivers.websocket_http import ClientOpening, ServerOpening, Site
from tests.drivers.websocket_tools import UPGRADE, header, masked, request_of

SITE = Site("127.0.0.1", "/", False, frozenset(), {})
OPENINGS: dict[str, Callable[[], ServerOpening | ClientOpening]] = {
    "server": lambda: ServerOpening(SITE),
    "client": lambda: ClientOpening("127.0.0.1", "/"),
}
OUT_MAX = 4096  # what a side may have to say to anything

first_bytes = st.one_of(
    st.sampled_from([0x82, 0x02, 0x00, 0x80, 0x81, 0x88, 0x89, 0x8A]), st.integers(0, 255)
)
payloads = st.one_of(st.binary(max_size=130), st.integers(0, 65535).map(lambda code: struct.pack("!H", code)))
frames = st.one_of(
    st.builds(masked, first_bytes, payloads),
    st.builds(lambda first, payload: header(first, len(payload)) + payload, first_bytes, payloads),
    st.builds(lambda first, size: header(first, size, 0x80), first_bytes, st.integers(0, 2**63)),
    st.binary(max_size=40),
)
requests = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([*UPGRADE, "Origin: null", "Content-Length: 3", "Host: x", "\x00", ": x"])).map(
        lambda lines: request_of(*lines)
    ),
    st.lists(
        st.sampled_from([line.encode() for line in UPGRADE] + [b"\r\n", b"Content-Length: 9", b"\xff"])
    ).map(lambda lines: b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""])),
    st.integers(0, 999).map(lambda status: b"HTTP/1.1 %d x\r\n\r\n" % status),
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(mark % (len(data) + 1) for mark in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def run_frames(client: bool, pieces: list[bytes]) -> tuple[bytes, object, int]:
    side = Frames(client=client)
    stream = b""
    for piece in pieces:
        stream += side.receive_data(piece)
        assert len(side.control_to_send()) <= OUT_MAX
    assert len(stream) <= sum(map(len, pieces))
    assert side.fault is None or side.closed is None
    code = side.fault[0] if side.fault else 0
    return stream, side.closed, 1003 if code == 1007 and not side.closed and is_text(pieces) else code


def is_text(pieces: list[bytes]) -> bool:
    """Text is refused once some is there, before or after it turns out to be bad UTF-8."""
    return any(byte & 0x0F == 1 for byte in b"".join(pieces))


@pytest.mark.parametrize("client", [False, True])
@settings(max_examples=400)
@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_frames_in_any_pieces(client: bool, parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole = run_frames(client, [data])
    assert run_frames(client, cut(data, cuts)) == whole
    assert run_frames(client, [data[i : i + 1] for i in range(len(data))]) == whole


@pytest.mark.parametrize("side", OPENINGS)
@settings(max_examples=400)
@given(st.lists(requests, max_size=3), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_bytes_in_place_of_a_handshake(side: str, parts: list[bytes], cuts: list[int]) -> None:
    opening = OPENINGS[side]()
    for piece in cut(b"".join(parts), cuts):
        opening.receive_data(piece)
        assert len(opening.data_to_send()) <= OUT_MAX
    assert opening.done or not opening.fault
    opening.receive_eof()
    assert opening.done
    assert opening.open != bool(opening.fault)
    assert len(opening.fault) <= OUT_MAX
    assert not (opening.open and side == "client")  # nobody guesses the answer to our key


def test_the_fuzzed_handshake_would_open_if_it_were_right() -> None:
    """Or the test above would show nothing."""
    opening = ServerOpening(SITE)
    opening.receive_data(request_of(*UPGRADE))
    assert opening.open
    assert SUBPROTOCOL.encode() in opening.data_to_send()


def test_a_flood_that_never_ends_a_line_is_cut_off() -> None:
    for side in OPENINGS.values():
        opening = side()
        for _ in range(100):
            opening.receive_data(b"x" * 1000)
        assert opening.done
        assert not opening.open


def test_interim_answers_without_end() -> None:
    opening = ClientOpening("127.0.0.1", "/")
    for _ in range(1000):
        opening.receive_data(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
        if opening.done:
            break
    assert (opening.done, opening.open) == (True, False)
    assert "there is no answer in 32768 bytes" in opening.fault
