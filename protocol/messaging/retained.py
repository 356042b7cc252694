"""The last values that this node keeps of what it publishes, and those who are to get them: each subscriber
that appears, once, as a SEND to its node's endpoint (docs/protocol.md, section 11.2).

What must hold: after the last change each subscriber within reach has the last value of each name. A copy
that is published may be missed while trees change, so what was published close to a change is sent once more
when nothing has changed for a while. Nobody has it twice, for its number tells (lasts.py).
"""

from busway.protocol.errors import FullError
from busway.protocol.link.face import Waiter
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
_TURNS_MAX: "Final" = 4  # ... that are waited for
_AGAIN_MS: "Final" = 2000  # after which what a node on the way had no room for is sent again


class Kept(Last):
    """One of ours."""

    __slots__ = ("name", "realm")

    def __init__(self, out: Frame, name: str, number: int, realm: int, now: int) -> None:
        super().__init__(number, out.payload, out.format, out.type_id, now)
        self.name = name
        self.realm = realm  # as far as it may get

    def copy_for(self, uuid: bytes) -> Last:
        """The same for a pattern; `uuid` is that of the name."""
        if self.format != codes.TYPED_AS_ENDPOINT:
            return self
        return Last(self.number, self.payload, codes.TYPED, uuid, self.at)


class Replay(Waiter):
    """The values that one subscriber is to get, as its link has room, and has been sent of late."""

    __slots__ = ("_retained", "idle", "numbers", "peer", "realm", "refused", "sent", "uuid", "uuids")

    def __init__(self, retained: "Retained", entry: Entry) -> None:
        self.deadline = -1
        self._retained = retained
        self.peer = entry.peer
        self.uuid = entry.uuid  # of its endpoint
        self.realm = entry.realm
        self.uuids: "dict[bytes, bool]" = {}  # of the names
        self.sent = 0
        self.numbers: "dict[int, bytes]" = {}  # of those sent of late, by seq
        self.refused: "dict[bytes, bool]" = {}  # for which a node on the way had no room: to be sent again
        self.idle = False  # nothing has been sent for a while

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        self._retained.go_on(self)

    def fire(self, now: int) -> None:
        """It waits for no time."""


class Retained:
    """Keeps and replays. `count_max` values and `size_max` bytes at the most."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.count_max = 1024
        self.size_max = 16777216
        self.size = 0
        self.values: "dict[bytes, Kept]" = {}
        self._number = 0
        self._replays: "dict[bytes, Replay]" = {}  # by node and endpoint
        self._unsettled: "dict[bytes, int]" = {}  # names published of late, and when
        self._epoch = -1
        self._changed_at = 0  # when that was seen to change
        self._turns = 0
        self._timer = Call(self._settle)
        self._again = Call(self._send_again)

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
            kept = self.values[uuid] = Kept(out, name, out.options.retain, realm, now)
            self.size += kept.size
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
            self._replay(entry, self._meant(entry))

    def _meant(self, entry: Entry) -> "list[bytes]":
        """The values for an endpoint."""
        if not is_proper(entry.name):
            return [entry.uuid] if entry.uuid in self.values else []
        return [uuid for uuid, kept in self.values.items() if kept.name and matches(entry.name, kept.name)]

    def _replay(self, entry: Entry, uuids: "list[bytes]") -> None:
        key = entry.peer.key + entry.uuid
        replay = self._replays.get(key)
        if replay is None and uuids:
            replay = self._replays[key] = Replay(self, entry)
        if replay is not None:
            replay.realm = entry.realm
            for uuid in uuids:
                replay.uuids[uuid] = True
            self.go_on(replay)

    def go_on(self, replay: Replay) -> None:
        """Send as much as there is room for."""
        peer = replay.peer
        while replay.uuids and peer.reachable:
            hop = peer.hop
            if hop is None:
                return  # its way is lost, and may come back
            if not hop.has_room():
                hop.await_room(replay)
                return
            uuid = next(iter(replay.uuids))
            del replay.uuids[uuid]
            kept = self.values.get(uuid)
            if kept is not None and self._may_go(replay, kept):
                self._note(replay, uuid)
                hop.enqueue(self._frame(replay, uuid, kept))

    def _note(self, replay: Replay, uuid: bytes) -> None:
        replay.sent += 1
        replay.idle = False
        replay.numbers[replay.sent & 0xFFFF] = uuid
        if len(replay.numbers) > self.count_max:
            del replay.numbers[next(iter(replay.numbers))]

    def undelivered(self, key: bytes, uuid: bytes, seq: int, reason: int, now: int) -> bool:
        """UNDELIVERABLE came. Returns whether it is of a value, which is sent again if it found no room."""
        replay = self._replays.get(key + uuid)
        value = b"" if replay is None else replay.numbers.pop(seq, b"")
        if replay is None or not value:
            return False
        if reason in (codes.QUEUE_FULL, codes.NO_ROUTE):
            replay.refused[value] = True
            if self._again.deadline < 0:
                self._origin.timers.arm(self._again, now + _AGAIN_MS)
        return True

    def _send_again(self, now: int) -> None:
        for replay in list(self._replays.values()):
            if replay.refused:
                replay.uuids.update(replay.refused)
                replay.refused = {}
                self.go_on(replay)

    def sweep(self) -> None:
        """Once in a while: of those who have all for long nothing is remembered."""
        for key, replay in list(self._replays.items()):
            if replay.idle and not replay.uuids and not replay.refused:
                del self._replays[key]
            replay.idle = True

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
    def _frame(replay: Replay, uuid: bytes, kept: Kept) -> Frame:
        named = uuid != replay.uuid
        last = kept.copy_for(uuid) if named else kept
        number = replay.sent & 0xFFFF
        out = Frame(codes.SEND, replay.peer.key, replay.uuid, number, last.payload, last.format, last.type_id)
        out.options = Options()
        out.options.retain = kept.number
        out.options.name = kept.name if named else ""
        return out

    def way_changed(self, peer: Peer) -> None:
        """There is a way again, or another."""
        for replay in list(self._replays.values()):
            if replay.peer is peer:
                self.go_on(replay)

    def lose_peer(self, peer: Peer) -> None:
        """It is gone, and comes back with all that it has subscribed to."""
        for key, replay in list(self._replays.items()):
            if replay.peer is peer:
                del self._replays[key]

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
        for entry in self._concerned(late):
            self._replay(entry, [uuid for uuid in self._meant(entry) if uuid in late])
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
