"""The last values that this node keeps of what it publishes, and those who are to have them: each subscriber
is sent those that it means when it appears, and asked now and then whether it has them (docs/protocol.md,
section 11.2).

What must hold: after the last change each subscriber within reach has the last value of each name. A copy may
be missed while trees change, or be lost in a node or link that dies, which need not be seen here. So who has
subscribed to what was published is asked when that has settled, until it says that it has it. Nobody has a
value twice, for its number tells (lasts.py).
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.ids import Ids
from busway.protocol.messaging.keeping import Kept
from busway.protocol.messaging.resending import Resending, means
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call, Timer
from busway.protocol.wire import codes
from busway.protocol.wire.ascending import NUMBERS_MAX, read_ascending, write_ascending
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.patterns import is_proper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SETTLE_MS: "Final" = 2000  # after which who was to get a value is asked whether it has it
_AGAIN_MS: "Final" = 2000  # after which it is asked again
_AGAIN_MAX: "Final" = (
    10  # times that this is doubled for who does not answer, or lacks the same again and again
)
_ANSWER_MS: "Final" = 30000  # for which the question makes sense
_IDS: "Final" = codes.ID_MAX + 1  # of questions, which no request has
_FORMER_MAX: "Final" = 4096  # subscribers that are gone, and may come back

_NOT_NOW = (codes.QUEUE_FULL, codes.NO_ROUTE, codes.EXPIRED)  # reasons that pass


class Subscriber(Timer):
    """An endpoint of another node that is to have some of the values, and as far as is known has them. It is
    asked when its time is up.
    """

    __slots__ = (
        "_retained",
        "confirmed",
        "deaf",
        "given",
        "id",
        "lacked",
        "peer",
        "through",
        "tries",
        "untaken",
        "uuid",
    )

    def __init__(self, retained: "Retained", peer: Peer, uuid: bytes) -> None:
        self.deadline = -1
        self._retained = retained
        self.peer = peer
        self.uuid = uuid
        self.confirmed = 0  # it has all that it means up to this number
        self.through = 0  # ... is being asked about
        self.id = 0  # of the question; 0: none waits for an answer
        self.tries = 0  # that have not ended well
        self.lacked = 0  # the greatest number that it said it lacks
        self.given = False  # it may have something
        self.deaf = False  # it answers no questions, or wants no values
        self.untaken: "dict[int, bool]" = {}  # numbers of values that cannot get there

    def fire(self, now: int) -> None:
        self._retained.ask(self, now)

    def look_again(self) -> None:
        """It may have others, or may have them now."""
        self.confirmed = 0
        self.tries = 0
        self.untaken = {}


class Retained(Resending):
    """Keeps values, and sees to it that others have them."""

    def __init__(self, origin: SenderSide, ids: Ids) -> None:
        super().__init__(origin)
        self._ids = ids
        self._subscribers: "dict[bytes, dict[bytes, Subscriber]]" = {}  # by node and endpoint
        # Those that are gone: whether they may still have something, as their nodes cannot be reached.
        self._former: "dict[bytes, bool]" = {}
        self._asked: "dict[int, Subscriber]" = {}  # by the id of the question
        # Names published of late: when, the text, and whether some have a value now that is theirs no more.
        self._unsettled: "dict[bytes, tuple[int, str, bool]]" = {}
        self._timer = Call(self._settle)

    def published(self, uuid: bytes, out: Frame, name: str, realm: int, now: int) -> None:
        """It has been, or waits for room: keep it, or no longer."""
        assert out.options is not None
        number = out.options.retain
        former = self.values.get(uuid)
        _, _, less = self._unsettled.get(uuid, (now, name, False))
        if number & codes.CLEARED:
            self.drop(uuid)
            less = True
        else:
            self.keep(Kept(uuid, out, name, number, realm, now))
            less = less or (former is not None and former.realm > realm)
        self._unsettled[uuid] = now, name, less
        if self._timer.deadline < 0:
            self._origin.timers.arm(self._timer, now + _SETTLE_MS)

    # Subscribers

    def subscribed(self, entry: Entry, now: int) -> None:
        """Another node has a broadcast endpoint now, or has told of it anew: it may have been closed in
        between.
        """
        peer = entry.peer
        known = self._subscribers.get(peer.key, _NONE).get(entry.uuid)
        if known is not None and not known.deaf:
            known.look_again()
            self.ask(known, now)
        elif self._former.get(peer.key + entry.uuid, False):
            known = self._subscriber(entry)
            known.given = True
            self.ask(known, now)
        elif entry.uuid in self.values or (is_proper(entry.name) and self.values):
            self._begin(entry, known is not None or peer.key + entry.uuid in self._former, now)

    def _begin(self, entry: Entry, again: bool, now: int) -> None:
        """It is to have everything."""
        known = self._subscriber(entry)
        known.deaf = False
        known.look_again()
        self._origin.timers.arm(known, now + _SETTLE_MS)
        replay = self.replay(entry)
        replay.widen(0)
        replay.bounded = again
        self.queue(replay, now)

    def _subscriber(self, entry: Entry) -> Subscriber:
        subscribers = self._subscribers.setdefault(entry.peer.key, {})
        known = subscribers.get(entry.uuid)
        if known is None:
            known = subscribers[entry.uuid] = Subscriber(self, entry.peer, entry.uuid)
        return known

    def withdrawn(self, entry: Entry) -> None:
        """It does not want them any more; or it is too far away, and may come back with some."""
        peer, uuid = entry.peer, entry.uuid
        self.stop(peer, uuid)
        subscribers = self._subscribers.get(peer.key, _NONE)
        known = subscribers.pop(uuid, None)
        if known is None:
            return
        if not subscribers:
            del self._subscribers[peer.key]
        self._origin.timers.disarm(known)
        self._asked.pop(known.id, None)
        place = peer.key + uuid
        self._former.pop(place, None)
        if len(self._former) >= _FORMER_MAX:
            del self._former[next(iter(self._former))]
        away = not peer.reachable or peer.metric >> 14 > entry.realm
        self._former[place] = away and known.given and not known.deaf

    def way_changed(self, peer: Peer, now: int) -> None:
        """There is a way again, or another."""
        self.resume_replays(peer, now)
        for known in self._subscribers.get(peer.key, _NONE).values():
            if known.tries > 1 and not known.deaf:
                known.tries = 1
                self._origin.timers.arm(known, now + _AGAIN_MS)

    def guard_changed(self, now: int) -> None:
        """Others may have values now than before."""
        for subscribers in self._subscribers.values():
            for known in subscribers.values():
                if not known.deaf:
                    known.look_again()
                    self._origin.timers.arm(known, now)

    def _settle(self, now: int) -> None:
        """Ask whether those have what was published a while ago that should have it."""
        first = now
        for uuid, (at, name, less) in list(self._unsettled.items()):
            if now - at < _SETTLE_MS:
                first = min(first, at)
                continue
            del self._unsettled[uuid]
            for entry in self._concerned(uuid, name):
                known = self._subscriber(entry)
                known.given = True
                if less:
                    known.confirmed = 0
                if not known.deaf and (known.tries <= 1 or known.deadline < 0):
                    self._origin.timers.arm(known, now)
        if self._unsettled:
            self._origin.timers.arm(self._timer, first + _SETTLE_MS)

    def _concerned(self, uuid: bytes, name: str) -> "list[Entry]":
        """The subscribers of a name, also by patterns."""
        directory = self._origin.directory
        found = [uuid] + directory.patterns.find(name)
        return [entry for uuid in found for entry in directory.known(uuid) if entry.kind == codes.BROADCAST]

    # Questions

    def ask(self, known: Subscriber, now: int) -> None:
        """Ask a subscriber whether it has what it should have, if that can be said now."""
        peer = known.peer
        hop = peer.hop
        entry = peer.entries.get(known.uuid)
        if entry is None or entry.kind != codes.BROADCAST:
            return
        wait = hop is None or not hop.has_room() or hop.asleep_until >= 0 or not self.may_spend(peer, now)
        if wait or self.is_replaying(peer, known.uuid):
            self._origin.timers.arm(known, now + _AGAIN_MS)
            return
        if self._looks <= 0:  # others have a turn before
            self._origin.timers.arm(self._looking, now + 1)
            self._origin.timers.arm(known, now + 2)
            return
        assert hop is not None
        numbers, settled = self._listed(known, entry, hop, now)
        if settled <= known.confirmed or not (numbers or (known.given and not known.confirmed)):
            known.confirmed = max(known.confirmed, settled)
            self._rest(known, entry, now)
            return
        self._question(known, hop, numbers, settled, now)

    def _rest(self, known: Subscriber, entry: Entry, now: int) -> None:
        """It has all that has settled."""
        known.tries = 0
        if self._listed_from(known, entry) < len(self.log):
            self._origin.timers.arm(known, now + _SETTLE_MS)
        else:
            self._origin.timers.disarm(known)

    def _listed_from(self, known: Subscriber, entry: Entry) -> int:
        """Where in the log the values begin that it is to be asked about next; its end if there are none."""
        if is_proper(entry.name):
            return self.place(known.confirmed)
        kept = self.values.get(entry.uuid)
        none = kept is None or kept.number <= known.confirmed
        return len(self.log) if kept is None or none else self.place(kept.number - 1)

    def _listed(self, known: Subscriber, entry: Entry, hop: LinkFace, now: int) -> "tuple[list[int], int]":
        """The numbers of the next values that it should have, and up to which they are all of them: not
        those that were published just now, which may be on their way, unless it may have forgotten all.
        """
        numbers: "list[int]" = []
        most = min(NUMBERS_MAX, hop.limits.message_size_max // 5 - 1)  # each takes 5 bytes at the most
        log = self.log
        begin = at = self._listed_from(known, entry)
        proper = is_proper(entry.name)
        stop = min(len(log), at + (NUMBERS_MAX if proper else 1))
        settled = 0
        while at < stop and not settled:
            kept = log[at]
            if self.is_kept(kept) and means(entry, kept):
                young = known.confirmed and now - kept.at < _SETTLE_MS
                if young or len(numbers) >= most:
                    settled = kept.number
                elif kept.number not in known.untaken and self.may_go(known.peer, hop, entry.realm, kept):
                    numbers.append(kept.number)
            at += 1
        if not settled:
            settled = self.newest + 1 if at == len(log) or not proper else log[at].number
        self.look(known.peer, at - begin, True, now)
        return numbers, settled - 1

    def _question(
        self, known: Subscriber, hop: LinkFace, numbers: "list[int]", settled: int, now: int
    ) -> None:
        self._asked.pop(known.id, None)
        known.through = settled
        known.id = _IDS + self._ids.draw()
        self._asked[known.id] = known
        payload = write_ascending([known.confirmed] + numbers)
        out = Frame(codes.REQUEST, known.peer.key, known.uuid, 0, payload, codes.RAW, b"")
        out.id = known.id
        out.expires = now + _ANSWER_MS
        out.options = Options()
        out.options.retain = settled
        self.spend(known.peer, len(payload), now)
        hop.enqueue(out)
        self._later(known, now)

    def _later(self, known: Subscriber, now: int) -> None:
        """It is asked again after a while, and the longer the more often that was in vain."""
        self._origin.timers.arm(known, now + (_AGAIN_MS << min(known.tries, _AGAIN_MAX)))
        known.tries += 1

    def answered(self, peer: Peer, answer: Frame, now: int) -> None:
        """A reply or error came, for a question; one that has been repeated since means nothing."""
        known = self._asked.get(answer.id)
        if known is None or known.peer is not peer:
            return
        del self._asked[known.id]
        known.id = 0
        if answer.kind == codes.ERROR:
            if answer.code not in _NOT_NOW:
                self._give_up(known)
            return
        lacking = read_ascending(bytes(answer.payload))
        if lacking is not None:
            self._has_all_but(known, lacking, now)

    def _give_up(self, known: Subscriber) -> None:
        """It takes none, or cannot say which it has."""
        known.deaf = True
        self._origin.timers.disarm(known)

    def _has_all_but(self, known: Subscriber, lacking: "list[int]", now: int) -> None:
        known.given = True
        numbers: "list[int]" = []
        for number in lacking:
            if known.confirmed < number <= known.through and number not in known.untaken:
                if self.find(number) is not None:  # else there is a newer one
                    numbers.append(number)
        if not numbers:
            known.confirmed = known.through
            known.tries = 0
            self.ask(known, now)
            return
        if numbers[0] > known.lacked:
            known.tries = 0  # they are others than before
        known.lacked = numbers[-1]
        replay = self.replay(known.peer.entries[known.uuid])
        replay.add(numbers)
        replay.bounded = True
        self.queue(replay, now)
        self._later(known, now)

    def undelivered(self, peer: Peer, uuid: bytes, seq: int, reason: int) -> bool:
        """UNDELIVERABLE came. Returns whether it is of a value: its subscriber is going to be asked, or
        cannot be sent that.
        """
        entry = peer.entries.get(uuid)
        known = self._subscribers.get(peer.key, _NONE).get(uuid)
        if entry is None or entry.kind != codes.BROADCAST or known is None:
            return False
        number = self.newest - ((self.newest - seq) & 0xFFFF)
        if reason == codes.WRONG_KIND:
            self._give_up(known)
        elif reason not in _NOT_NOW and self.find(number) is not None:
            if len(known.untaken) > NUMBERS_MAX:
                known.untaken = {}
            known.untaken[number] = True
        return True


_NONE: "dict[bytes, Subscriber]" = {}
