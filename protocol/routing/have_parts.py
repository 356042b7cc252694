"""Answers in several frames (docs/protocol.md, 4.3): HAVE_PART, kept until the HAVE that ends it, and how
often such an answer is given.

Whoever answers writes all of them at once: of each who was asked there is one such answer at a time.
"""

from binascii import crc32

from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call, Timers
from busway.protocol.wire import codes
from busway.protocol.wire.messages import HaveFrame, Holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

_ANSWERS_MAX: "Final" = 64  # of those of which more is to come
_PACE_MS: "Final" = 200  # between two answers to one who asks, for each holder in them
_PACED_MAX: "Final" = 1024  # answers of which it is known when they were given


class HaveParts:
    """The first parts of answers, by whom."""

    def __init__(self) -> None:
        self._kept: "dict[bytes, HaveFrame]" = {}
        self._realms: "dict[bytes, int]" = {}  # the widest that any of each has crossed

    def keep(self, name: bytes, frame: HaveFrame, realm: int) -> None:
        """Keep a part that has crossed `realm`, in place of what is of another answer."""
        former = self._kept.get(name)
        if former is not None and former.endpoint == frame.endpoint:
            former.holders += frame.holders[: codes.HOLDERS_SEEN_MAX - len(former.holders)]
            self._realms[name] = max(realm, self._realms[name])
            return
        if former is None and len(self._kept) >= _ANSWERS_MAX:
            self.forget(next(iter(self._kept)))
        self._kept[name] = frame
        self._realms[name] = realm

    def whole(self, name: bytes, frame: HaveFrame, realm: int) -> "tuple[list[Holder], int]":
        """All that came of an answer, and the widest realm that any of it has crossed."""
        former = self._kept.pop(name, None)
        widest = self._realms.pop(name, realm)
        if former is None or former.endpoint != frame.endpoint:
            return frame.holders, realm
        return former.holders + frame.holders, max(realm, widest)

    def forget(self, name: bytes) -> None:
        """Nothing more comes of it."""
        self._kept.pop(name, None)
        self._realms.pop(name, None)


class Pace:
    """When large answers were given. Those who ask, and changes, bring on another so often only: it goes
    before all messages.
    """

    def __init__(self, tell: "Callable[[Peer, bytes, int], object]", timers: Timers) -> None:
        self._tell = tell
        self._timers = timers
        self._next = Call(self._go_on)
        self._due: "dict[bytes, int]" = {}  # by who is told of what: when the next may come
        self._later: "dict[bytes, tuple[Peer, bytes]]" = {}  # those for whom there is one to come

    def lets(self, peer: Peer, uuid: bytes, count: int, now: int) -> bool:
        """Whether one that names so many goes now; else it goes when it may. Who registers does not know what
        time it is (0): the timer does.
        """
        if count <= codes.HOLDERS_MAX or peer.leaf:
            return True
        key = peer.key + uuid
        due = self._due.get(key, now)
        if due > now:
            self._later[key] = peer, uuid
            if self._next.deadline < 0 or due < self._next.deadline:
                self._timers.arm(self._next, due)
            return False
        if key not in self._due and len(self._due) >= _PACED_MAX:
            oldest = next(iter(self._due))
            del self._due[oldest]
            self._later.pop(oldest, None)
        self._due[key] = now + _PACE_MS * min(count, codes.HOLDERS_SEEN_MAX)
        return True

    def _go_on(self, now: int) -> None:
        later = self._later
        self._later = {}
        for peer, uuid in later.values():
            self._tell(peer, uuid, now)


def subscribers(entries: "list[Entry]") -> int:
    """How many holders an answer is about that names all of them; 0 of others."""
    return len(entries) if entries and entries[0].kind == codes.BROADCAST else 0


def named_to(asker: Peer, holders: "list[Holder]") -> "list[Holder]":
    """The holders that an answer names, of all with the nearest first: all subscribers, but to a leaf."""
    all_of_them = not asker.leaf and any([holder.kind == codes.BROADCAST for holder in holders])
    return holders[: codes.HOLDERS_SEEN_MAX if all_of_them else codes.HOLDERS_MAX]


def mix(asker: Peer, key: bytes) -> int:
    """A number by which each asker has its own order of equally near holders."""
    return crc32(asker.key + key)
