"""The ways out of a receiver's queue: in turn, for another that needs the room, or for a newer one."""

from busway.protocol.fifo import Fifo
from busway.protocol.messaging.carried import released
from busway.protocol.messaging.endpoints import Message, Receiver
from busway.protocol.messaging.latest import Latest
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.ranks import Ranks
from busway.protocol.messaging.requests import Request
from busway.protocol.messaging.viewed import seen
from busway.protocol.wire import codes


def pull(receiver: Receiver) -> Message:
    """Remove the message whose turn it is; the caller has seen that there is one."""
    message: Message = receiver.queue.pop()
    receiver.size -= size_of(message.payload)
    message.flow.queued -= 1
    if not receiver.plain:
        left(receiver, message)
    return message


def left(receiver: Receiver, message: Message) -> Message:
    """The message at the front has been taken out, where that is not all. Returns it as the program gets
    it.
    """
    released(message)
    ranks = receiver.ranks
    if ranks is not None:
        ranks.took()
        if ranks.are_plain():
            receiver.ranks = None
            _find_latest(receiver)
    receiver.show_lost(message, codes.DROP_OLDEST)
    return message if type(message.payload) is not memoryview else seen(message)


def _find_latest(receiver: Receiver) -> None:
    """Only normal ones are left, and again each has its place; one has just been taken."""
    if receiver.latest is not None:
        receiver.latest = Latest()
        queue = receiver.queue
        for at in range(queue.head, len(queue.items)):
            message: Message = queue.items[at]
            if message.flow.active:
                receiver.latest.note(message.flow, message.name, receiver.taken + 1, at - queue.head)


def rank(receiver: Receiver) -> None:
    """A message of another priority comes: from now on it matters what each has."""
    if receiver.ranks is None:
        receiver.ranks = Ranks(receiver.queue)
        receiver.plain = False


def give_way(receiver: Receiver, message: Message) -> "Message | None":
    """Remove the message that this one, for which there is no room, is taken instead of; None: it is itself
    the one to be dropped.
    """
    oldest = receiver.policy == codes.DROP_OLDEST
    ranks = receiver.ranks
    if ranks is None:
        return pull(receiver) if oldest else None
    priority = message.flow.lane() & 3
    lowest = ranks.lowest()
    if lowest > priority or (lowest == priority and not oldest):
        return None
    victim: Message = ranks.remove(lowest, not oldest)
    receiver.size -= size_of(victim.payload)
    victim.flow.queued -= 1
    return victim


def replace(receiver: Receiver, message: Message, size: int) -> bool:
    """LATEST: put a message in the place of an older one of its origin and name, if that still waits."""
    flow = message.flow
    latest = receiver.latest
    assert latest is not None
    if receiver.ranks is None:
        ahead = latest.find(flow, message.name, receiver.taken)
    else:
        ahead = _ahead(receiver, message)
    if ahead < 0:
        if flow.active and receiver.has_room(size):  # else nobody would forget it, or it will not wait
            latest.note(flow, message.name, receiver.taken, len(receiver.queue))
        return False
    at = receiver.queue.head + ahead
    old: Message = receiver.queue.items[at]
    receiver.queue.items[at] = message
    receiver.size += size - size_of(old.payload)
    released(old)
    message.missed += 1 + old.missed
    receiver.dropped += 1
    return True


def _ahead(receiver: Receiver, message: Message) -> int:
    """How many will be taken before the message that waits of the same origin and name; -1: there is none."""
    queue = receiver.queue
    for at in range(queue.head, len(queue.items)):
        other: Message = queue.items[at]
        if other.flow is message.flow and other.name == message.name:
            return at - queue.head
    return -1


def note_lost(receiver: Receiver, message: Message) -> None:
    """The policy has dropped it."""
    receiver.dropped += 1
    if message.flow.active:  # else its origin is gone
        if not receiver.lost:
            receiver.lost = {}
        receiver.lost[message.flow] = receiver.lost.get(message.flow, 0) + 1 + message.missed
        receiver.plain = False


def count_plain(queue: Fifo, most: int) -> int:
    """How many of the next `most` messages stand before the first request."""
    items = queue.items
    first = at = queue.head
    stop = min(len(items), first + most)
    while at < stop and not isinstance(items[at], Request):
        at += 1
    return at - first
