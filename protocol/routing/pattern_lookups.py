"""Subscriptions by pattern, asked for where no directory is pushed: who publishes by a name asks once, and is
told of each pattern, and of its changes, as if it had asked for that (sections 4.3 and 11.1).

As lookups.py for single endpoints, which says whom to ask and what of an answer counts.
"""

from busway.protocol.routing.have_parts import Pace
from busway.protocol.routing.lookups import Answer, Lookups
from busway.protocol.routing.peers import Peer
from busway.protocol.routing.questions import PatternQuestions
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.messages import HaveFrame, Holder
from busway.protocol.wire.patterns import is_proper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_LOOKS_MAX: "Final" = 1024  # patterns that are looked at for one who asks, and may not see them all
_TURN_MAX: "Final" = 4096  # patterns that are looked at in SYNC_MS for those who asked over one link
_NONE: "dict[bytes, bool]" = {}  # never changed


class PatternAnswer(Answer):
    """HAVE of one pattern. Those nearer to the asker than to us are left out: it knows of them."""

    __slots__ = ("said",)

    def __init__(self, lookups: Lookups, peer: Peer, uuid: bytes, said: "list[tuple[bytes, int]]") -> None:
        super().__init__(lookups, peer, uuid)
        self.said = said  # the nodes that it has named, and how far they are; until then the one before

    def refresh(self) -> None:
        self.holders = self.lookups.holders(self.peer, self.endpoint, True)
        self.said = _said(self.holders)


class Asker:
    """One who is told of the patterns."""

    __slots__ = ("link", "peer", "told")

    def __init__(self, link: "LinkFace", peer: Peer) -> None:
        self.link = link  # over which it asked
        self.peer = peer
        self.told: "dict[bytes, PatternAnswer]" = {}  # by uuid of a pattern the latest


class PatternLookups(PatternQuestions):
    """The patterns that others tell this node of, and those that it tells them."""

    def __init__(self, mesh: Topology, lookups: Lookups) -> None:
        self._mesh = mesh
        self._lookups = lookups
        self.wanted = False
        # By whom was asked: the patterns that it has told, and whether it has since it was asked last.
        self._tellers: "dict[bytes, dict[bytes, bool]]" = {}
        self._moved: "dict[Peer, bool]" = {}  # of these those that are reached by another link since
        self._again = Call(self._ask_again)
        self.askers: "dict[bytes, Asker]" = {}  # by key
        self._looked: "dict[LinkFace, int]" = {}  # in this turn: at so many patterns for those of a link
        # Those who are told in the next one: of all, or of what is other than they were told.
        self._waiting: "dict[bytes, bool]" = {}
        self._turn = Call(self._next_turn)
        self._pace = Pace(self._tell_now, mesh.timers)

    # Asking

    def want(self, now: int) -> None:
        """This node, or a leaf of its, publishes by a name: ask, once and for all."""
        if not self.wanted and not self._mesh.leaf:
            self.wanted = True
            self._lookups.ask(codes.PATTERNS, now)

    def is_wanted_of(self, peer: Peer, slow: bool) -> bool:
        """Whether somebody new, behind a slow link or not, is asked: for this node, or for others. Those who
        are not behind slow links ask routers that have such themselves.
        """
        if self.wanted:
            return True
        for asker in self.askers.values():
            if asker.peer is not peer and (slow or asker.link.lookups):
                return True
        return False

    def asked(self, name: bytes) -> None:
        """That one has been asked for them: what it does not tell now is no more."""
        self._tellers[name] = dict.fromkeys(self._tellers.get(name, ()), False)

    def admits(self, name: bytes, frame: HaveFrame, asked: bool) -> bool:
        """Whether a HAVE of that one counts: its endpoint was `asked` for, or is a pattern and those were."""
        uuid = frame.endpoint
        told = self._tellers.get(name)
        if told is None or uuid == codes.PATTERNS or (asked and uuid not in told):
            return asked
        frame.holders = [holder for holder in frame.holders if _is_pattern(holder)]
        if uuid in told:
            told[uuid] = True
            return True
        if not frame.holders:
            return False
        if len(told) >= codes.PATTERNS_TOLD_MAX:
            self._lookups.counters["lookups_over"] += 1
            return False
        told[uuid] = True
        return True

    def not_told(self, name: bytes) -> "list[bytes]":
        """One has told all: the patterns of which it had told before, and does not any more."""
        told = self._tellers[name]
        gone = [uuid for uuid, anew in told.items() if not anew]
        for uuid in gone:
            del told[uuid]
        return gone

    def untold(self, name: bytes, uuid: bytes) -> bool:
        """One says that nobody has it; whether it is a pattern that nobody asked for by itself."""
        return self._tellers.get(name, _NONE).pop(uuid, None) is not None

    def has_told(self, name: bytes, uuid: bytes) -> bool:
        """Whether that one was asked for them, and this is one that it has told."""
        return uuid in self._tellers.get(name, _NONE)

    # Answering

    def watch(self, link: "LinkFace", peer: Peer) -> None:
        """It is told of them from now on. Of too many who asked over one link the first is forgotten."""
        former = self.askers.pop(peer.key, None)
        if former is None:
            of_link = [asker.peer.key for asker in self.askers.values() if asker.link is link]
            if len(of_link) >= codes.WATCHES_MAX:
                del self.askers[of_link[0]]
        asker = self.askers[peer.key] = Asker(link, peer)
        if former is not None:
            asker.told = former.told

    def answer(self, peer: Peer, now: int) -> bool:
        """Tell it of all there are, whatever it was told before: it may have forgotten. Returns whether that
        is done: where many ask over one link, or one asks again and again, some are told later.
        """
        asker = self.askers.get(peer.key)
        if asker is None:
            return True
        if not self._has_turn(asker, self._looks(), True, now):
            return False
        asker.told = {uuid: answer for uuid, answer in asker.told.items() if not answer.written}
        self._fill(asker, now)
        return True

    def _looks(self) -> int:
        """How many patterns are looked at for one who may be told of any."""
        return 1 + min(_LOOKS_MAX, len(self._mesh.directory.patterns.uuids))

    def _has_turn(self, asker: Asker, looks: int, whole: bool, now: int) -> bool:
        """Whether so many patterns may be looked at for it now; else it is told in the next turn."""
        looked = self._looked.get(asker.link, 0)
        if looked >= _TURN_MAX:
            self._wait(asker, whole, now)
            return False
        self._looked[asker.link] = looked + looks
        self._arm_turn(now)
        return True

    def _wait(self, asker: Asker, whole: bool, now: int) -> None:
        self._waiting[asker.peer.key] = whole or self._waiting.get(asker.peer.key, False)
        self._arm_turn(now)

    def _arm_turn(self, now: int) -> None:
        if self._turn.deadline < 0:
            self._mesh.timers.arm(self._turn, now + codes.SYNC_MS)

    def _next_turn(self, now: int) -> None:
        waiting = self._waiting
        self._waiting = {}
        self._looked = {}
        for key, whole in waiting.items():
            asker = self.askers.get(key)
            if asker is not None and whole:
                self._lookups.answer(asker.peer, codes.PATTERNS, now)
            elif asker is not None:
                self._look_again(asker, now)

    def _look_again(self, asker: Asker, now: int) -> None:
        """Tell of all that is other than it was told."""
        if self._has_turn(asker, self._looks(), False, now):
            for uuid in list(asker.told):
                self._tell(asker, uuid, now)
            self._fill(asker, now)

    def _fill(self, asker: Asker, now: int) -> None:
        """Tell of what it has not been told yet, as far as there is room."""
        looks = _LOOKS_MAX
        for uuid in self._mesh.directory.patterns.uuids:
            if len(asker.told) >= codes.PATTERNS_TOLD_MAX or not looks:
                return
            looks -= 1
            if uuid not in asker.told:
                self._tell(asker, uuid, now)

    def _tell(self, asker: Asker, uuid: bytes, now: int, changed: bool = False) -> None:
        """Tell it of one pattern, if it has `changed` or others have it than it was told."""
        hop = asker.peer.hop
        former = asker.told.get(uuid)
        if hop is None or (former is not None and not former.written):
            return  # what waits says what holds when it is written
        if former is None and len(asker.told) >= codes.PATTERNS_TOLD_MAX:
            return
        said = [] if former is None else former.said
        holders = _said(self._lookups.holders(asker.peer, uuid, True))
        if holders == said and not (changed and said):
            return
        if not self._pace.lets(asker.peer, uuid, len(holders), now):
            return
        answer = PatternAnswer(self._lookups, asker.peer, uuid, said)
        asker.told[uuid] = answer
        hop.answer(answer)
        if answer.written:  # there was no room for it
            self._wait(asker, False, now)

    def _tell_now(self, peer: Peer, uuid: bytes, now: int) -> None:
        asker = self.askers.get(peer.key)
        if asker is not None:
            self._tell(asker, uuid, now, True)

    def changed(self, uuid: bytes, now: int) -> None:
        """The holders of an endpoint are others now."""
        for asker in self.askers.values():
            if uuid in self._mesh.directory.patterns.uuids:
                self._tell(asker, uuid, now, True)
            elif uuid in asker.told:
                self._tell(asker, uuid, now, True)
                was_full = len(asker.told) >= codes.PATTERNS_TOLD_MAX
                del asker.told[uuid]  # it is a pattern no longer
                if was_full:
                    self._fill(asker, now)

    def _ask_again(self, now: int) -> None:
        moved = self._moved
        self._moved = {}
        for peer in moved:
            self._lookups.ask_one(peer, codes.PATTERNS, now)

    def moved(self, peer: Peer, now: int) -> None:
        """A node is reached by another link: what it had told may be lost with the former one."""
        if peer.key in self._tellers:
            self._moved[peer] = True
            if self._again.deadline < 0:
                self._mesh.timers.arm(self._again, now + codes.SYNC_MS)

    def way_changed(self, peer: Peer, now: int) -> None:
        """The way to a node is another, or as long as it was no more: others may be told of its patterns now,
        and it of others'. Where that happens again and again, or many have asked over one link, later.
        """
        if not self.askers:
            return
        patterns = [uuid for uuid in peer.entries if uuid in self._mesh.directory.patterns.uuids]
        for asker in self.askers.values():
            if asker.peer is peer:
                self._look_again(asker, now)
            elif patterns and self._has_turn(asker, len(patterns), False, now):
                for uuid in patterns:
                    self._tell(asker, uuid, now)

    def peer_lost(self, peer: Peer) -> None:
        """A node is gone."""
        self.askers.pop(peer.key, None)
        self._tellers.pop(peer.key, None)
        self._moved.pop(peer, None)


def _is_pattern(holder: Holder) -> bool:
    return holder.kind == codes.BROADCAST and is_proper(holder.name)


def _said(holders: "list[Holder]") -> "list[tuple[bytes, int]]":
    return sorted([(holder.key, holder.metric) for holder in holders])
