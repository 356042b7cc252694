"""Rights and quotas, as a policy gives them: it is asked here, and what it denied is counted and told, as is
what was more than a link's share. Knows no policy.
"""

from busway.protocol.link.face import LinkFace, LinkHost, Remote
from busway.protocol.routing.events import DeniedEvent, ExceededEvent
from busway.protocol.routing.peers import Entry
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Guard:
    """A policy in two functions, which must not raise.

    `may(link, node_id, what, uuid, name, realm)`: whether somebody may do that, `what` of codes.MAY_SERVE to
    MAY_SEE. `link` is the one by which it comes, or goes (MAY_SEE); `node_id` who it is of, 16 bytes: the
    neighbour, or a node behind it; `uuid`, `name` ("": none) and `realm` are those of the endpoint, but for a
    publish, whose `realm` is how far it goes. A name that is a pattern is asked of as a whole: whether they
    may with any name that it means; and of each of these by itself, with `uuid` b"": it is the name's.

    `quota(link, which)`: how much one link may take, `which` of codes.QUOTA_ROUTES to QUOTA_HANDLERS:
    sources, directory entries, bytes of unfinished messages, requests under way at once; -1: what holds
    without a guard.
    """

    __slots__ = ("may", "quota")

    def __init__(
        self,
        may: "Callable[[LinkFace, bytes, int, bytes, str, int], bool]",
        quota: "Callable[[LinkFace, int], int]",
    ) -> None:
        self.may = may
        self.quota = quota


class Gate:
    """Asks the guard, if there is one. Of each link's denials those of late are told once."""

    def __init__(self, host: LinkHost, counters: "dict[str, int]") -> None:
        self.guard: "Guard | None" = None
        self.changes = 0  # counts those of the guard
        self.handlers_max: "dict[LinkFace, int]" = {}  # of each link that has a bound
        self._host = host
        self._counters = counters
        # What was denied, whose and to which endpoint: its name and realm.
        self._told: "dict[LinkFace, dict[bytes, tuple[str, int]]]" = {}

    def allows(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        """Whether somebody may do that; if not, it is counted and told."""
        if self.permits(link, node_id, what, uuid, name, realm):
            return True
        self.deny(link, node_id, what, uuid, name, realm)
        return False

    def deny(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> None:
        """Count and tell that somebody may not do what it tried."""
        self._counters["denied"] += 1
        key = bytes((what,)) + node_id + uuid
        told = self._told.setdefault(link, {})
        if key not in told:
            if len(told) >= codes.DENIALS_LINK_MAX:
                del told[next(iter(told))]
            told[key] = (name, realm)
            self._host.emit(DeniedEvent(link, node_id, what, uuid, name, realm))

    def permits(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        """The same, but that nobody has tried it."""
        guard = self.guard
        return guard is None or guard.may(link, node_id, what, uuid, name, realm)

    def lets_in(self, entry: Entry, link: "LinkFace | None", denied: bool = False) -> bool:
        """Whether a node may have an endpoint, as told over that link, or that over which it came; `denied`
        if it was not let in before, so that nobody tries it anew.
        """
        link = entry.link if link is None else link
        if self.guard is None or link is None or entry.uuid == codes.LOOKUP:
            return True  # the bus's own
        what = codes.MAY_SUBSCRIBE if entry.kind == codes.BROADCAST else codes.MAY_SERVE
        ask = self.permits if denied else self.allows
        return ask(link, entry.peer.node_id, what, entry.uuid, entry.name, entry.realm)

    def shows(self, entry: Entry, link: LinkFace, peer: Remote, name: "str | None" = None) -> bool:
        """Whether another node may see an endpoint, under its name, or if it had this `name`."""
        if self.guard is None or entry.uuid == codes.LOOKUP:
            return True
        name = entry.name if name is None else name
        return self.permits(link, peer.node_id, codes.MAY_SEE, entry.uuid, name, entry.realm)

    def exceeded(self, link: LinkFace, which: int) -> None:
        """A link brought more than its share, of what the guard or the node itself bounds: told once until
        the next sweep.
        """
        if not link.exceeded >> which & 1:
            link.exceeded |= 1 << which
            self._host.emit(ExceededEvent(link, which))

    def bound(self, link: LinkFace, which: int, most: int) -> int:
        """How much a link may take, `most` at the most."""
        quota = -1 if self.guard is None else self.guard.quota(link, which)
        return most if quota < 0 else min(quota, most)

    def changed(self) -> None:
        """Forget what was denied, and is not any more: it is told when it is denied again."""
        self.changes += 1
        for link, told in self._told.items():
            for key, (name, realm) in list(told.items()):
                if self.permits(link, key[1 : 1 + codes.ID_SIZE], key[0], key[-codes.ID_SIZE :], name, realm):
                    del told[key]

    def ended(self, link: LinkFace) -> None:
        """A link is gone."""
        self._told.pop(link, None)
        self.handlers_max.pop(link, None)
