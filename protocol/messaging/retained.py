"""The last values that this node keeps of what it publishes, and those who are to get them: each subscriber
that appears, once, as a SEND to its node's endpoint (docs/protocol.md, section 11.2).

What must hold: after the last change each subscriber within reach has the last value of each name. A copy
that is published may be missed while trees change, so what was published close to a change is sent once more
when nothing has changed for a while. Nobody has it twice, for its number tells (lasts.py).
"""

from busway.protocol.errors import FullError
from busway.protocol.link.face import LinkFace, Waiter
from busway.protocol.link.queue import OVERHEAD
from busway.protocol.messaging.marked import Last
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.patterns import is_proper, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SETTLE_MS: "Final" = 2000  # without a change, after which copies that follow miss nobody
_LOOKS_MAX: "Final" = 4096  # at values, for those who want some, before others have a turn
_LOOKS_EACH: "Final" = 64  # ... for one of them
_TURNS_MAX: "Final" = 4  # ... that are waited for
_AGAIN_MS: "Final" = 2000  # after which what a node on the way had no room for is sent again
_AGAIN_MAX: "Final" = 5  # times that this is doubled for who is refused the same values again and again


class Kept(Last):
    """One of ours."""

    __slots__ = ("name", "realm", "uuid")

    def __init__(self, uuid: bytes, out: Frame, name: str, number: int, realm: int, now: int) -> None:
        super().__init__(number, out.payload, out.format, out.type_id, now)
        self.uuid = uuid
        self.name = name
        self.realm = realm  # as far as it may get

    def copy_for(self, uuid: bytes) -> Last:
        """The same for a pattern; `uuid` is that of the name."""
        if self.format != codes.TYPED_AS_ENDPOINT:
            return self
        return Last(self.number, self.payload, codes.TYPED, uuid, self.at)


class Replay:
    """How far one subscriber has got the values that it is to get."""

    __slots__ = ("after", "peer", "realm", "turns", "uuid")

    def __init__(self, entry: Entry, after: int) -> None:
        self.peer = entry.peer
        self.uuid = entry.uuid  # of its endpoint
        self.realm = entry.realm
        self.after = after  # the values with greater numbers are still to be looked at
        self.turns: "Turns | None" = None  # of the link that it goes over

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

    __slots__ = ("_retained", "hop", "replays")

    def __init__(self, retained: "Retained", hop: LinkFace) -> None:
        self.deadline = -1
        self._retained = retained
        self.hop = hop
        self.replays: "dict[Replay, bool]" = {}

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        self._retained.go_on(self)

    def fire(self, now: int) -> None:
        """They wait for no time."""


class Retained:
    """Keeps and replays. `count_max` values and `size_max` bytes at the most."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.count_max = 1024
        self.size_max = 16777216
        self.size = 0
        self.values: "dict[bytes, Kept]" = {}
        self._number = 0
        self._log: "list[Kept]" = []  # by number; those that are kept no longer are still in it
        self._replays: "dict[bytes, dict[bytes, Replay]]" = {}  # by node and endpoint
        self._turns_of: "dict[LinkFace, Turns]" = {}
        self._looks = _LOOKS_MAX  # that are left at a time
        self._looked_at = 0
        self._looking = Call(self._look_on)
        self._unsettled: "dict[bytes, int]" = {}  # names published of late, and when
        self._epoch = -1
        self._changed_at = 0  # when that was seen to change
        self._turns = 0
        self._timer = Call(self._settle)
        # Endpoints, by node and uuid, for which values found no room on the way, and from which number on.
        self._refused: "dict[bytes, tuple[Peer, int]]" = {}
        self._in_vain: "dict[bytes, tuple[int, int]]" = {}  # how often from the same number on, and which
        self._again = Call(self._send_again)
        self._rounds = 0  # of those

    # Keeping

    def number(self, uuid: bytes, payload: object) -> int:
        """The number of a value that is to be kept. Raises FullError."""
        former = self.values.get(uuid)
        count = len(self.values) + (former is None)
        size = size_of(payload) + OVERHEAD + self.size - (0 if former is None else former.size)
        if count > self.count_max or size > self.size_max:
            raise FullError(
                "this node keeps %d last values, %d bytes, and may keep %d, %d bytes: clear some first"
                % (len(self.values), self.size, self.count_max, self.size_max)
            )
        self._number += 1
        return self._number

    def published(self, uuid: bytes, out: Frame, name: str, realm: int, now: int) -> None:
        """It has been, or waits for room: keep it, or no longer."""
        assert out.options is not None
        self._drop(uuid)
        if not out.options.retain & codes.CLEARED:
            kept = self.values[uuid] = Kept(uuid, out, name, out.options.retain, realm, now)
            self.size += kept.size
            self._log.append(kept)
            if len(self._log) > 64 + 2 * len(self.values):
                self._log = [kept for kept in self._log if self.values.get(kept.uuid) is kept]
        self._look(now)
        self._unsettled[uuid] = now
        if self._timer.deadline < 0:
            self._turns = 0
            self._origin.timers.arm(self._timer, now + _SETTLE_MS)

    def _drop(self, uuid: bytes) -> None:
        former = self.values.pop(uuid, None)
        if former is not None:
            self.size -= former.size

    def clearing(self) -> int:
        """The number of the word that a value is no more."""
        self._number += 1
        return self._number | codes.CLEARED

    # Replaying

    def subscribed(self, entry: Entry) -> None:
        """Another node has a broadcast endpoint now."""
        if self.values:
            self._replay(entry, 0)

    def _replay(self, entry: Entry, after: int) -> None:
        """Give a subscriber the values with numbers above that, if it means them."""
        if not is_proper(entry.name) and entry.uuid not in self.values:
            return
        replays = self._replays.setdefault(entry.peer.key, {})
        replay = replays.get(entry.uuid)
        if replay is None:
            replay = replays[entry.uuid] = Replay(entry, after)
        replay.after = min(replay.after, after)
        self._queue(replay)

    def _queue(self, replay: Replay) -> None:
        hop = replay.peer.hop
        if hop is None:
            replay.join(None)  # its way is lost, and may come back
            return
        turns = self._turns_of.get(hop)
        if turns is None:
            turns = self._turns_of[hop] = Turns(self, hop)
        replay.join(turns)
        if len(turns.replays) == 1:
            self.go_on(turns)

    def go_on(self, turns: Turns) -> None:
        """Send as much as there is room for, a value of each in turn."""
        hop = turns.hop
        while turns.replays:
            if not hop.has_room():
                hop.await_room(turns)
                return
            if self._looks <= 0:  # others have a turn before this goes on
                self._origin.timers.arm(self._looking, self._looked_at + 1)
                return
            replay = next(iter(turns.replays))
            if replay.peer.hop is not hop:
                replay.join(None)  # it has no way for now
            elif self._step(replay):
                del turns.replays[replay]
                turns.replays[replay] = True
            else:
                self._end(replay)
        self._turns_of.pop(hop, None)

    def _look_on(self, now: int) -> None:
        self._looks = _LOOKS_MAX
        self._looked_at = now
        for turns in list(self._turns_of.values()):
            self.go_on(turns)

    def _step(self, replay: Replay) -> bool:
        """Send the next value that a subscriber means, if it is found soon; whether there may be more."""
        entry = replay.peer.entries[replay.uuid]
        if not is_proper(entry.name):
            kept = self.values.get(replay.uuid)
            if kept is not None and kept.number > replay.after:
                self._send(replay, kept)
            return False
        log = self._log
        at = self._place(replay.after)
        stop = min(at + _LOOKS_EACH, len(log))
        while at < stop:
            kept = log[at]
            at += 1
            self._looks -= 1
            replay.after = kept.number
            if self.values.get(kept.uuid) is kept and kept.name and matches(entry.name, kept.name):
                self._send(replay, kept)
                break
        return at < len(log)

    def _place(self, after: int) -> int:
        """Where the values with greater numbers begin."""
        low, high = 0, len(self._log)
        while low < high:
            middle = (low + high) >> 1
            if self._log[middle].number > after:
                high = middle
            else:
                low = middle + 1
        return low

    def _send(self, replay: Replay, kept: Kept) -> None:
        hop = replay.peer.hop
        assert hop is not None
        if self._may_go(replay, kept):
            hop.enqueue(self._frame(replay, kept))

    def _end(self, replay: Replay) -> None:
        replay.join(None)
        key = replay.peer.key
        del self._replays[key][replay.uuid]
        if not self._replays[key]:
            del self._replays[key]

    def _may_go(self, replay: Replay, kept: Kept) -> bool:
        peer = replay.peer
        hop = peer.hop
        assert hop is not None
        if kept.format == codes.OBJECT or peer.metric >> 14 > min(kept.realm, replay.realm):
            return False
        if len(kept.payload) > hop.limits.message_size_max:
            return False
        gate = self._origin.mesh.gate
        if gate.guard is None or not kept.name:
            return True
        return gate.permits(hop, peer.node_id, codes.MAY_SUBSCRIBE, b"", kept.name, replay.realm)

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

    def way_changed(self, peer: Peer) -> None:
        """There is a way again, or another."""
        for replay in list(self._replays.get(peer.key, {}).values()):
            self._queue(replay)

    def undelivered(self, peer: Peer, uuid: bytes, seq: int, reason: int, now: int) -> bool:
        """UNDELIVERABLE came. Returns whether it is of a value, which is sent again if it found no room."""
        entry = peer.entries.get(uuid)
        if entry is None or entry.kind != codes.BROADCAST or not self.values:
            return False
        if reason in (codes.QUEUE_FULL, codes.NO_ROUTE):
            number = self._number - ((self._number - seq) & 0xFFFF)
            at = self._place(number - 1)
            known = at < len(self._log) and self._log[at].number == number
            place = peer.key + uuid
            _, after = self._refused.get(place, (peer, number - 1))
            self._refused[place] = peer, min(after, number - 1) if known else 0
            if self._again.deadline < 0:
                self._origin.timers.arm(self._again, now + _AGAIN_MS)
        return True

    def _send_again(self, now: int) -> None:
        """Send what found no room again: less and less often to a node that refuses the same over and over,
        truly or not.
        """
        refused = self._refused
        self._refused = {}
        self._in_vain = {place: told for place, told in self._in_vain.items() if place in refused}
        self._rounds += 1
        for place, (peer, after) in refused.items():
            entry = peer.entries.get(place[codes.KEY_SIZE :])
            if entry is None or not peer.reachable:
                continue
            count, former = self._in_vain.get(place, (0, -1))
            count = min(count, _AGAIN_MAX) if after <= former else 0
            if self._rounds & (1 << count) - 1:
                self._refused[place] = peer, after
                continue
            self._in_vain[place] = count + 1, after
            self._replay(entry, after)
        if self._refused or self._in_vain:
            self._origin.timers.arm(self._again, now + _AGAIN_MS)

    def withdrawn(self, peer: Peer, uuid: bytes) -> None:
        """It does not want them any more."""
        replay = self._replays.get(peer.key, {}).get(uuid)
        if replay is not None:
            self._end(replay)

    def link_ended(self, link: LinkFace) -> None:
        """None of them goes over it any more."""
        turns = self._turns_of.pop(link, None)
        if turns is not None:
            for replay in list(turns.replays):
                replay.join(None)

    # Changes

    def _look(self, now: int) -> None:
        epoch = self._origin.mesh.epoch
        if self._epoch != epoch:
            self._epoch = epoch
            self._changed_at = now

    def _settle(self, now: int) -> None:
        """Look whether copies may have been missed."""
        self._look(now)
        self._turns += 1
        restless = now - self._changed_at < _SETTLE_MS
        if restless and self._turns < _TURNS_MAX:
            self._origin.timers.arm(self._timer, now + _SETTLE_MS)
            return
        late: "list[bytes]" = []
        for uuid, at in list(self._unsettled.items()):
            if at - self._changed_at < _SETTLE_MS:
                late.append(uuid)
        self._unsettled = {}
        self._turns = 0
        concerned = self._concerned(late)
        if concerned:
            after = min([self.values[uuid].number for uuid in late if uuid in self.values]) - 1
            for entry in concerned:
                self._replay(entry, after)
        if restless:
            for uuid in late:
                self._unsettled[uuid] = now
            self._origin.timers.arm(self._timer, now + _SETTLE_MS)

    def _concerned(self, uuids: "list[bytes]") -> "list[Entry]":
        """The subscribers of these, by name or pattern."""
        directory = self._origin.directory
        found: "dict[bytes, bool]" = {}
        for uuid in uuids:
            kept = self.values.get(uuid)
            if kept is not None:
                found[uuid] = True
                for pattern in directory.patterns.find(kept.name):
                    found[pattern] = True
        return [entry for uuid in found for entry in directory.known(uuid) if entry.kind == codes.BROADCAST]
