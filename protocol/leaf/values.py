"""Patterns and last values at a small leaf (docs/protocol.md, sections 11.1 and 11.2), and copies for itself:
whether a broadcast is meant for an endpoint, and whether a value is news.

Loaded with the first of these. Knows the leaf's queues, and no
link.
"""

from binascii import crc32

from busway.protocol.errors import LocalError
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.state import Flow, Receiver
from busway.protocol.wire import codes
from busway.protocol.wire.ascending import read_ascending, write_ascending
from busway.protocol.wire.patterns import is_proper, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

LASTS_MAX: "Final" = 32  # values of which a leaf knows that it had them
_TAG_SIZE: "Final" = 8  # bytes; behind each the number, which has 4
_FORGOTTEN = b"\0\0\0\0"  # in the place of a name: the highest number of those that were forgotten


def check_subscription(leaf: "Any", kind: int, name: str) -> None:
    """Raise LocalError for a name with a star that is no pattern, or not of an endpoint for broadcasts."""
    if kind != codes.BROADCAST or not is_proper(name):
        raise LocalError("a pattern is subscribed to, and its stars are whole levels: name")
    leaf.patterned = True


def arrive_named(leaf: "Any", session: int, receiver: Receiver, message: Message, now: int) -> None:
    """A message that has a name, or is a last value, or is for an endpoint of a pattern."""
    if message.kind == codes.REQUEST and message.retain and receiver.kind == codes.BROADCAST:
        _answer(leaf, message)
        return
    replayed = message.kind == codes.SEND and message.retain != 0
    published = message.kind == codes.PUBLISH or replayed or message.lane & codes.REPLAY != 0
    if receiver.kind != codes.BROADCAST or not published:
        leaf._refuse(message, codes.WRONG_KIND)
        return
    if message.name == "" if is_proper(receiver.name) else message.name != "":
        leaf.counters["misrouted"] += 1
        return
    if message.name and not matches(receiver.name, message.name):
        leaf.counters["misrouted"] += 1
        return
    number = message.retain
    tag = _tag(message) if number else b""
    if number and number & ~codes.CLEARED <= _known(leaf, tag):
        message.retain = codes.CLEARED  # it counts, and is given to nobody
        number = 0
    if not replayed:
        leaf._deliver(receiver, message, session, now)
        if message.flow is None:
            return  # it came too late
    elif not message.retain & codes.CLEARED and not _queue(leaf, receiver, message, now):
        return  # it will be sent again
    if number:
        _note(leaf, tag, number & ~codes.CLEARED)


def _queue(leaf: "Any", receiver: Receiver, message: Message, now: int) -> bool:
    """Queue a value from before this leaf had subscribed. Without room it is refused: no other is lost."""
    if not leaf.has_room(receiver, message):
        leaf.counters["refused"] += 1
        leaf._refuse(message, codes.QUEUE_FULL)
        return False
    message.retained = True
    message.receiver = receiver
    message.name = message.name or receiver.name
    message.flow = Flow(message.key, b"")  # of no pair: nobody waits for credit
    leaf._enqueue(receiver, message, now)
    return True


def give_own(leaf: "Any", item: Message, name: str, now: int) -> None:
    """Give what this leaf publishes to its own endpoints, too: of that uuid, or by a pattern."""
    for receiver in leaf.receivers:
        own = receiver.uuid == item.endpoint
        if own or (name and is_proper(receiver.name) and matches(receiver.name, name)):
            copy = Message(codes.PUBLISH, receiver.uuid, item.payload, item.type_id or item.format)
            copy.key = leaf.key
            copy.lane = item.lane
            copy.number = item.number & 0xFFFF
            if not own:
                copy.name = name
                copy.number = leaf._in_flow(copy, receiver, 0).last + 1 & 0xFFFF
                if item.format == codes.TYPED_AS_ENDPOINT:
                    copy.type_id = item.endpoint
                    copy.format = codes.TYPED
            leaf._deliver(receiver, copy, 0, now)


# The numbers of the values that have come: tag and number of each, the latest first.


def _tag(message: Message) -> bytes:
    """Publisher with endpoint, and name, in short."""
    return _short(message.key + message.endpoint) + _short(b"name" + message.name.encode())


def _short(raw: bytes) -> bytes:
    return (crc32(raw) & 0xFFFFFFFF).to_bytes(4, "big")


def _answer(leaf: "Any", message: Message) -> None:
    """The publisher asks which of its values are lacking: those that have not come, nor been forgotten."""
    numbers = read_ascending(message.payload)
    if not numbers:
        return
    pair = _short(message.key + message.endpoint)
    lasts = leaf.lasts
    forgotten = 0
    had: "list[int]" = []
    for place in range(0, len(lasts), _TAG_SIZE + 4):
        if lasts[place : place + 4] == pair:
            number = int.from_bytes(lasts[place + _TAG_SIZE : place + _TAG_SIZE + 4], "big")
            had.append(number)
            if lasts[place + 4 : place + _TAG_SIZE] == _FORGOTTEN:
                forgotten = number
    lacking: "list[int]" = []
    for number in numbers[1:]:
        if number > forgotten and number not in had:
            lacking.append(number)
    item = leaf.queue_answer(
        message.key, message.id, Message(codes.REPLY, b"", write_ascending(lacking), codes.RAW)
    )
    item.lane = message.lane


def _place(lasts: bytes, tag: bytes) -> int:
    for place in range(0, len(lasts), _TAG_SIZE + 4):
        if lasts[place : place + _TAG_SIZE] == tag:
            return place
    return -1


def _known(leaf: "Any", tag: bytes) -> int:
    """The number of the last value that came; 0 if none is known."""
    place = _place(leaf.lasts, tag)
    if place < 0:
        return 0
    return int.from_bytes(leaf.lasts[place + _TAG_SIZE : place + _TAG_SIZE + 4], "big")


def _note(leaf: "Any", tag: bytes, number: int) -> None:
    lasts = leaf.lasts
    place = _place(lasts, tag)
    if place >= 0:
        number = max(number, _known(leaf, tag))
        lasts = lasts[:place] + lasts[place + _TAG_SIZE + 4 :]
    leaf.lasts = tag + number.to_bytes(4, "big") + lasts
    stop = LASTS_MAX * (_TAG_SIZE + 4)
    oldest = leaf.lasts[stop:]
    leaf.lasts = leaf.lasts[:stop]
    if oldest and oldest[4:_TAG_SIZE] != _FORGOTTEN:
        _note(leaf, oldest[:4] + _FORGOTTEN, int.from_bytes(oldest[_TAG_SIZE:], "big"))
