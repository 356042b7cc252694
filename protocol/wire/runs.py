"""RUN (docs/protocol.md, section 5.6): plain messages of one flow that follow each other, in one frame. Its
payloads in both directions; what stands before them is that of each of the messages.
"""

from struct import pack, unpack

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import u16, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

RUN: "Final" = b"\x0a"  # its head
FEATURE: "Final" = 0x02  # of HELLO's features: RUN may be sent
LEAST: "Final" = 4  # bytes of a payload, so that a message takes no less of a link than one alone does
_LARGEST: "Final" = 4096  # bytes of a payload: to join larger ones costs more than the frames of each
_BODY_MAX: "Final" = 32768  # bytes of all: of longer frames the most would come in two reads, and be joined
_MOST: "Final" = codes.WINDOW_MAX  # messages that are read: no more of a flow may be under way
_WRITTEN_MAX: "Final" = 256  # ... and that are written: more would be taken in at once than in a turn
_AROUND: "Final" = 12  # bytes of a frame at the most besides what stands before the number, and the payloads
_ALIKE_MIN: "Final" = 8  # payloads of one size from which on those of another size begin a run of their own

# Reading


def count_run(data: bytes, pos: int, stop: int) -> int:
    """Messages of a run whose `size` stands at `pos` and which ends at `stop`. Raises Refusal."""
    if pos + 2 > stop:
        raise Refusal(codes.MALFORMED, "a frame ends inside a field")
    size = data[pos] << 8 | data[pos + 1]
    if size:
        left = stop - pos - 2
        count = left // size
        if size < LEAST or count * size != left or not 0 < count <= _MOST:
            raise _refusal()
        return count
    if pos + 4 > stop:
        raise Refusal(codes.MALFORMED, "a frame ends inside a field")
    count = data[pos + 2] << 8 | data[pos + 3]
    if not 0 < count <= _MOST or pos + 4 + 2 * count > stop:
        raise _refusal()
    sizes = _sizes(data, pos, count)
    if min(sizes) < LEAST or sum(sizes) != stop - pos - 4 - 2 * count:
        raise _refusal()
    return count


def _sizes(data: bytes, pos: int, count: int) -> "tuple[int, ...]":
    sizes: "tuple[int, ...]" = unpack(">%dH" % count, data[pos + 4 : pos + 4 + 2 * count])
    return sizes


def _refusal() -> Refusal:
    text = "a run that is empty or too long, has payloads of less than 4 bytes, or does not end with one"
    return Refusal(codes.MALFORMED, text)


def run_payloads(data: bytes, pos: int, stop: int, count: int) -> "list[bytes]":
    """The payloads of a run that has been counted."""
    size = data[pos] << 8 | data[pos + 1]
    if size:
        return [data[at : at + size] for at in range(pos + 2, stop, size)]
    found: "list[bytes]" = []
    at = pos + 4 + 2 * count
    for size in _sizes(data, pos, count):
        found.append(data[at : at + size])
        at += size
    return found


def payload_bytes(data: bytes, pos: int, stop: int, count: int) -> int:
    """Bytes of all payloads together."""
    return stop - pos - (2 if data[pos] or data[pos + 1] else 4 + 2 * count)


def single_tails(data: bytes, pos: int, stop: int, count: int) -> "list[bytes]":
    """Of a run that has been counted, whose number stands at `pos`: each message as its number and its
    payload.
    """
    number = data[pos] << 8 | data[pos + 1]
    tails: "list[bytes]" = []
    for payload in run_payloads(data, pos + 2, stop, count):
        tails.append(u16(number) + payload)
        number += 1
    return tails


# Writing


def write_together(
    payloads: "list[Any]", at: int, room: int, size_max: int, prefix: bytes, number: int, parts: "list[bytes]"
) -> int:
    """Put payloads from `at` on, as far as they are bytes, into one frame, if there are several that may
    travel so; what is large goes by itself.

    `prefix` is what stands before their numbers, `number` the first; the frame takes no more than `room`
    bytes, nor than `size_max` besides its header. Returns how many went, which added two parts, the second
    with nothing but all payloads; 0: none.
    """
    size = len(payloads[at])
    if not LEAST <= size <= _LARGEST:
        return 0
    room = min(room - len(prefix) - _AROUND, size_max, _BODY_MAX)
    most = min(room // size, _WRITTEN_MAX)
    if most < 2:
        return 0
    alike = 0
    for payload in payloads[at : at + most]:
        if type(payload) is not bytes or len(payload) != size:
            break
        alike += 1
    if alike < most and alike < _ALIKE_MIN:
        sizes = _sizes_from(payloads, at, room)
        if len(sizes) > alike:
            return _write_mixed(payloads, at, sizes, prefix, number, parts)
    if alike < 2:
        return 0
    body = b"".join(payloads[at : at + alike])
    start = RUN + prefix + u16(number) + u16(size)
    parts.append(varint(len(start) + len(body)) + start)
    parts.append(body)
    return alike


def _sizes_from(payloads: "list[Any]", at: int, room: int) -> "list[int]":
    """Of the payloads from `at` on that go into one frame, whatever their sizes."""
    sizes: "list[int]" = []
    total = 0
    stop = min(len(payloads), at + _WRITTEN_MAX)
    while at < stop:
        payload = payloads[at]
        if type(payload) is not bytes:
            break
        size = len(payload)
        total += size + 2
        if not LEAST <= size <= _LARGEST or total > room:
            break
        sizes.append(size)
        at += 1
    return sizes


def _write_mixed(
    payloads: "list[Any]", at: int, sizes: "list[int]", prefix: bytes, number: int, parts: "list[bytes]"
) -> int:
    count = len(sizes)
    body = b"".join(payloads[at : at + count])
    start = RUN + prefix + u16(number) + b"\0\0" + u16(count) + pack(">%dH" % count, *sizes)
    parts.append(varint(len(start) + len(body)) + start)
    parts.append(body)
    return count
