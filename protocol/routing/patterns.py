"""The patterns that somebody has subscribed to, and which of them mean a name.

A trie by levels, walked along all branches at once that the name fits so far: what a name costs depends on
the patterns that begin as it does, not on how many there are. Knows no subscriber.
"""

from busway.protocol.wire.patterns import is_proper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

MATCHES_MAX: "Final" = 256  # patterns of one link that one name is looked up for, at the most
_BRANCHES_MAX: "Final" = 1024  # ... and places in the trie that are followed at once


class _Branch:
    """A place in the trie: what may follow, and the patterns that end here."""

    __slots__ = ("holders", "many", "next")

    def __init__(self, many: bool) -> None:
        self.many = many  # its level is **
        self.next: "dict[str, _Branch]" = {}
        # By who told of them and uuid: how many have subscribed.
        self.holders: "dict[object, dict[bytes, int]]" = {}


class PatternIndex:
    """Patterns by level, with the uuids that stand for them."""

    __slots__ = ("_exceeded", "_root", "changes", "size", "uuids")

    def __init__(self, exceeded: "Callable[[object, int], None] | None" = None) -> None:
        self._exceeded = exceeded  # is told of whose patterns so many were left out
        self.uuids: "dict[bytes, int]" = {}  # how many have subscribed to each, the one known longest first
        self._root = _Branch(False)
        self.size = 0  # subscriptions
        self.changes = 0  # another number whenever a name may mean others

    def add(self, uuid: bytes, name: str, teller: object = None) -> None:
        """Somebody has subscribed to the endpoint of that name, says a link, or None: this node; what is no
        pattern is left out.
        """
        if not is_proper(name):
            return
        self.size += 1
        self.uuids[uuid] = self.uuids.get(uuid, 0) + 1
        branch = self._root
        for level in _levels_of(name):
            following = branch.next.get(level)
            if following is None:
                following = branch.next[level] = _Branch(level == "**")
            branch = following
        holders = branch.holders.setdefault(teller, {})
        count = holders.get(uuid, 0)
        holders[uuid] = count + 1
        self.changes += not count

    def remove(self, uuid: bytes, name: str, teller: object = None) -> None:
        """... and has no longer."""
        if not is_proper(name):
            return
        self.size -= 1
        self.uuids[uuid] -= 1
        if not self.uuids[uuid]:
            del self.uuids[uuid]
        way: "list[_Branch]" = [self._root]
        levels = _levels_of(name)
        for level in levels:
            way.append(way[-1].next[level])
        branch = way.pop()
        holders = branch.holders[teller]
        holders[uuid] -= 1
        if holders[uuid]:
            return
        self.changes += 1
        del holders[uuid]
        if not holders:
            del branch.holders[teller]
        while way and not branch.next and not branch.holders:
            branch = way.pop()
            del branch.next[levels[len(way)]]

    def find(self, name: str) -> "list[bytes]":
        """The uuids of the patterns that mean a name, each once; MATCHES_MAX of each link at the most, so
        that who tells of many takes nobody else's place.
        """
        if not self.size or not name or "*" in name:
            return []
        here: "dict[_Branch, bool]" = {}
        full = False
        _enter(self._root, here)
        for level in name.split("/"):
            before = here
            here = {}
            for branch in before:
                if branch.many:
                    here[branch] = True  # it takes this level, too
                for key in (level, "*"):
                    following = branch.next.get(key)
                    if following is not None:
                        _enter(following, here)
            full = full or len(here) >= _BRANCHES_MAX
        found: "dict[bytes, bool]" = {}
        counts: "dict[object, int]" = {}
        for branch in here:
            for teller, holders in branch.holders.items():
                count = counts.get(teller, 0)
                counts[teller] = count + len(holders)
                for uuid in list(holders)[: max(0, MATCHES_MAX - count)]:
                    found[uuid] = True
        if full and self._exceeded is not None:
            self._exceeded(None, 1)  # at least, of nobody knows whom
        for teller, count in counts.items():
            if count > MATCHES_MAX and self._exceeded is not None:
                self._exceeded(teller, count - MATCHES_MAX)
        return list(found)


def _enter(branch: _Branch, here: "dict[_Branch, bool]") -> None:
    """A place that a name has come to, and the one behind it, if ** follows and takes nothing."""
    if len(here) < _BRANCHES_MAX:
        here[branch] = True
        many = branch.next.get("**")
        if many is not None:
            here[many] = True


def _levels_of(pattern: str) -> "list[str]":
    """The levels of a pattern; several ** behind each other mean what one does."""
    levels: "list[str]" = []
    for level in pattern.split("/"):
        if level != "**" or not levels or levels[-1] != "**":
            levels.append(level)
    return levels
