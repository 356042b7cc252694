"""The commonest thing on a busy link: a run of plain messages of one flow. Read here in one loop, without a
call for each frame.

Only what needs no decision is taken: same head, same alias of one byte, consecutive numbers, room in the
queue. The first
frame that differs in anything is left to the connection, which goes the long way (docs/protocol.md, section
5).
"""

from busway.protocol.messaging.endpoints import InFlow, Message, Receiver


def read_run(
    data: bytes,
    pos: int,
    end: int,
    frame_max: int,
    head: int,
    number: int,
    flow: InFlow,
    receiver: Receiver,
    now: int,
) -> int:
    """Queue the frames from `pos` on that continue `flow`; returns where the first other one starts."""
    queue = receiver.queue
    append = queue.items.append
    format = head & 3
    seq = flow.received
    room = receiver.queue_max - len(queue)
    space = receiver.size_max - receiver.size
    size = 0
    largest = 0
    while room > 0 and pos + 5 <= end:
        length = data[pos]
        start = pos + 1
        if length >= 0x80:
            if data[start] >= 0x80:
                break
            length = length & 0x7F | data[start] << 7
            start += 1
        stop = start + length
        seq += 1
        if (
            length < 4
            or stop > end
            or length > frame_max
            or data[start] != head
            or data[start + 1] != number
            or data[start + 2] != seq >> 8 & 0xFF
            or data[start + 3] != seq & 0xFF
            or size + length - 4 > space
        ):
            seq -= 1
            break
        size += length - 4
        if length > largest:
            largest = length
        append(Message(flow, seq, data[start + 4 : stop], format, b"", 0, now))
        room -= 1
        pos = stop
    flow.queued += seq - flow.received
    flow.received = seq
    receiver.size += size
    if largest - 4 > receiver.endpoint.message_size:
        receiver.endpoint.message_size = largest - 4
    return pos


def read_far_run(
    data: bytes,
    pos: int,
    end: int,
    frame_max: int,
    prefix: bytes,
    flow: InFlow,
    receiver: Receiver,
    now: int,
) -> int:
    """The same for messages with a routing header: `prefix` is all that stands before their number."""
    queue = receiver.queue
    append = queue.items.append
    before = len(prefix)
    format = prefix[0] & 3
    seq = flow.received
    room = receiver.queue_max - len(queue)
    space = receiver.size_max - receiver.size
    size = 0
    largest = 0
    while room > 0 and pos + 5 <= end:
        length = data[pos]
        start = pos + 1
        if length >= 0x80:
            if data[start] >= 0x80:
                break
            length = length & 0x7F | data[start] << 7
            start += 1
        stop = start + length
        at = start + before
        body = length - before - 2
        if (
            stop > end
            or body < 0
            or length > frame_max
            or data[at] != (seq + 1) >> 8 & 0xFF
            or data[at + 1] != (seq + 1) & 0xFF
            or data[start:at] != prefix
            or size + body > space
        ):
            break
        seq += 1
        size += body
        if body > largest:
            largest = body
        append(Message(flow, seq, data[at + 2 : stop], format, b"", 0, now))
        room -= 1
        pos = stop
    flow.queued += seq - flow.received
    flow.received = seq
    receiver.size += size
    if largest > receiver.endpoint.message_size:
        receiver.endpoint.message_size = largest
    return pos
