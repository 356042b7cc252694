"""The last values that this node sends anew, each to one subscriber, as a SEND to its node's endpoint
(docs/protocol.md, section 11.2): in turn with those of others, as the links have room.

Bounded in work for each turn, and in bytes for each node, however often that asks.
"""

from busway.protocol.link.face import LinkFace, Waiter
from busway.protocol.link.queue import OVERHEAD
from busway.protocol.messaging.keeping import Keeping, Kept
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.patterns import is_proper, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LOOKS_MAX: "Final" = 4096  # at values, for those who want some, before others have a turn
_LOOKS_EACH: "Final" = 64  # ... for one of them
_PATIENCE_MS: "Final" = 2000  # after which is looked whether a node may be sent more
# What one node is sent again, of all that is kept and 64 KiB: so often at once, and then once in a while.
_TIMES_MAX: "Final" = 16
_TIMES_MS: "Final" = 64000
_SIZE_MIN: "Final" = 65536
_LOOK_SIZE: "Final" = 4  # bytes that a look at a value counts for


class Replay:
    """How far one subscriber has got the values that it is to get."""

    __slots__ = ("after", "bounded", "numbers", "peer", "realm", "turns", "uuid")

    def __init__(self, entry: Entry) -> None:
        self.peer = entry.peer
        self.uuid = entry.uuid  # of its endpoint
        self.realm = entry.realm
        self.after = -1  # the values with greater numbers are still to be looked at; -1: only `numbers`
        self.numbers: "list[int]" = []  # the least stands last
        self.bounded = False  # it has been sent some before, and may not have them again and again
        self.turns: "Turns | None" = None  # of the link that it goes over

    def widen(self, after: int) -> None:
        """It is to get all values behind `after`."""
        if self.numbers:
            after = min(after, self.numbers[-1] - 1)
            self.numbers = []
        self.after = after if self.after < 0 else min(self.after, after)

    def add(self, numbers: "list[int]") -> None:
        """It is to get the values of these ascending numbers, too."""
        if self.after >= 0:
            self.after = min(self.after, numbers[0] - 1)
        else:
            self.numbers = sorted(dict.fromkeys(self.numbers + numbers), reverse=True)

    def join(self, turns: "Turns | None") -> None:
        """It goes over another link, or over none."""
        if self.turns is not turns:
            if self.turns is not None:
                del self.turns.replays[self]
            self.turns = turns
            if turns is not None:
                turns.replays[self] = True


class Turns(Waiter):
    """The replays that go over one link, in turn, as it has room."""

    __slots__ = ("_resending", "hop", "replays")

    def __init__(self, resending: "Resending", hop: LinkFace) -> None:
        self.deadline = -1
        self._resending = resending
        self.hop = hop
        self.replays: "dict[Replay, bool]" = {}

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        self._resending.go_on(self, now)

    def fire(self, now: int) -> None:
        """They wait for no time."""


class Resending(Keeping):
    """Sends what is kept to those who are to get it."""

    def __init__(self, origin: SenderSide) -> None:
        super().__init__()
        self._origin = origin
        self._replays: "dict[bytes, dict[bytes, Replay]]" = {}  # by node and endpoint
        self._turns_of: "dict[LinkFace, Turns]" = {}
        self._looks = _LOOKS_MAX  # that are left at a time
        self._looking = Call(self._look_on)
        self._spent: "dict[bytes, tuple[int, int]]" = {}  # by node: bytes that it was sent of late, and when
        self._parked: "dict[Replay, bool]" = {}  # of nodes that have been sent too much
        self._patience = Call(self._unpark)

    def replay(self, entry: Entry) -> Replay:
        """That of a subscriber, made if there is none."""
        replays = self._replays.setdefault(entry.peer.key, {})
        replay = replays.get(entry.uuid)
        if replay is None:
            replay = replays[entry.uuid] = Replay(entry)
        return replay

    def is_replaying(self, peer: Peer, uuid: bytes) -> bool:
        """Whether a subscriber is being sent some."""
        return uuid in self._replays.get(peer.key, _NONE)

    def queue(self, replay: Replay, now: int) -> None:
        """It is to go on."""
        self._parked.pop(replay, None)
        hop = replay.peer.hop
        if hop is None:
            replay.join(None)  # its way is lost, and may come back
            return
        turns = self._turns_of.get(hop)
        if turns is None:
            turns = self._turns_of[hop] = Turns(self, hop)
        replay.join(turns)
        if len(turns.replays) == 1:
            self.go_on(turns, now)

    def go_on(self, turns: Turns, now: int) -> None:
        """Send as much as there is room for, a value of each in turn."""
        hop = turns.hop
        while turns.replays:
            if not hop.has_room():
                hop.await_room(turns)
                return
            if self._looks <= 0:  # others have a turn before this goes on
                self._origin.timers.arm(self._looking, now + 1)
                return
            replay = next(iter(turns.replays))
            if replay.peer.hop is not hop:
                replay.join(None)  # it has no way for now
            elif replay.bounded and not self.may_spend(replay.peer, now):
                self._park(replay, now)
            elif self._step(replay, now):
                del turns.replays[replay]
                turns.replays[replay] = True
            else:
                self._end(replay)
        self._turns_of.pop(hop, None)

    def _look_on(self, now: int) -> None:
        self._looks = _LOOKS_MAX
        for turns in list(self._turns_of.values()):
            self.go_on(turns, now)

    def _step(self, replay: Replay, now: int) -> bool:
        """Send the next value that a subscriber means, if it is found soon; whether there may be more."""
        entry = replay.peer.entries[replay.uuid]
        if replay.after < 0:
            kept = self.find(replay.numbers.pop())
            self._looks -= 1
            if kept is not None and means(entry, kept):
                self._send(replay, kept, now)
            return bool(replay.numbers)
        if not is_proper(entry.name):
            kept = self.values.get(replay.uuid)
            if kept is not None and kept.number > replay.after:
                self._send(replay, kept, now)
            return False
        log = self.log
        begin = at = self.place(replay.after)
        stop = min(at + _LOOKS_EACH, len(log))
        while at < stop:
            kept = log[at]
            at += 1
            replay.after = kept.number
            if self.is_kept(kept) and means(entry, kept):
                self._send(replay, kept, now)
                break
        self.look(replay.peer, at - begin, replay.bounded, now)
        return at < len(log)

    def look(self, peer: Peer, count: int, bounded: bool, now: int) -> None:
        """So many values have been looked at for a node."""
        self._looks -= count
        if bounded:
            self.spend(peer, count * _LOOK_SIZE, now)

    def _send(self, replay: Replay, kept: Kept, now: int) -> None:
        peer = replay.peer
        hop = peer.hop
        assert hop is not None
        if self.may_go(peer, hop, replay.realm, kept):
            if replay.bounded:
                self.spend(peer, kept.size, now)
            hop.enqueue(self._frame(replay, kept))

    def may_go(self, peer: Peer, hop: LinkFace, realm: int, kept: Kept) -> bool:
        """Whether a subscriber in that realm, at the end of the way by that link, may have a value."""
        if kept.format == codes.OBJECT or peer.metric >> 14 > min(kept.realm, realm):
            return False
        if len(kept.payload) > hop.limits.message_size_max:
            return False
        gate = self._origin.mesh.gate
        if gate.guard is None or not kept.name:
            return True
        return gate.permits(hop, peer.node_id, codes.MAY_SUBSCRIBE, b"", kept.name, realm)

    @staticmethod
    def _frame(replay: Replay, kept: Kept) -> Frame:
        named = kept.uuid != replay.uuid
        last = kept.copy_for(kept.uuid) if named else kept
        number = kept.number & 0xFFFF  # UNDELIVERABLE says which by that
        out = Frame(codes.SEND, replay.peer.key, replay.uuid, number, last.payload, last.format, last.type_id)
        out.options = Options()
        out.options.retain = kept.number
        out.options.name = kept.name if named else ""
        return out

    def _end(self, replay: Replay) -> None:
        replay.join(None)
        self._parked.pop(replay, None)
        key = replay.peer.key
        del self._replays[key][replay.uuid]
        if not self._replays[key]:
            del self._replays[key]

    def stop(self, peer: Peer, uuid: bytes) -> None:
        """A subscriber does not want them any more."""
        replay = self._replays.get(peer.key, _NONE).get(uuid)
        if replay is not None:
            self._end(replay)

    def resume_replays(self, peer: Peer, now: int) -> None:
        """There is a way again, or another."""
        for replay in list(self._replays.get(peer.key, _NONE).values()):
            self.queue(replay, now)

    def link_ended(self, link: LinkFace) -> None:
        """None of them goes over it any more."""
        turns = self._turns_of.pop(link, None)
        if turns is not None:
            for replay in list(turns.replays):
                replay.join(None)

    # What a node may be sent again: else it could have its own link, and those on the way, filled for ever

    def may_spend(self, peer: Peer, now: int) -> bool:
        """Whether a node may be sent more now."""
        return self._spent_by(peer, now) < _TIMES_MAX * (self.size + _SIZE_MIN)

    def spend(self, peer: Peer, size: int, now: int) -> None:
        """It is sent so many bytes."""
        spent = self._spent_by(peer, now) + size + OVERHEAD
        if peer.key not in self._spent and len(self._spent) >= codes.DEPARTED_MAX:
            del self._spent[next(iter(self._spent))]
        self._spent[peer.key] = spent, now

    def _spent_by(self, peer: Peer, now: int) -> int:
        spent, at = self._spent.get(peer.key, (0, now))
        return max(0, spent - (self.size + _SIZE_MIN) * (now - at) // _TIMES_MS)

    def _park(self, replay: Replay, now: int) -> None:
        replay.join(None)
        self._parked[replay] = True
        if self._patience.deadline < 0:
            self._origin.timers.arm(self._patience, now + _PATIENCE_MS)

    def _unpark(self, now: int) -> None:
        parked = list(self._parked)
        self._parked = {}
        for replay in parked:
            self.queue(replay, now)


_NONE: "dict[bytes, Replay]" = {}


def means(entry: Entry, kept: Kept) -> bool:
    """Whether a subscriber means a value."""
    if not is_proper(entry.name):
        return entry.uuid == kept.uuid
    return bool(kept.name) and matches(entry.name, kept.name)
