"""Words about the endpoints of nodes that did not count when they came: there was no way to the node yet, or
its own lines said otherwise. They are looked at again when that changes, for nobody says them twice.
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Holder


class Word:
    """The word of one who was asked, by name, that a node holds an endpoint."""

    __slots__ = ("holder", "link", "name", "realm", "uuid")

    def __init__(self, name: bytes, uuid: bytes, holder: Holder, link: LinkFace, realm: int) -> None:
        self.name = name
        self.uuid = uuid
        self.holder = holder
        self.link = link  # over which it came
        self.realm = realm  # the widest that it has crossed


class Hearsay:
    """Such words, by node; ENTRIES_MAX at the most."""

    def __init__(self) -> None:
        self.size = 0
        self._of_nodes: "dict[bytes, dict[bytes, Word]]" = {}  # ... and by who says so of which endpoint
        self._nodes: "dict[bytes, list[bytes]]" = {}  # the nodes by the latter

    def note(self, word: Word) -> None:
        """Keep it for later."""
        if self.size >= codes.ENTRIES_MAX:
            return
        place = word.name + word.uuid
        words = self._of_nodes.setdefault(word.holder.key, {})
        if place not in words:
            self.size += 1
            self._nodes.setdefault(place, []).append(word.holder.key)
        words[place] = word

    def forget(self, name: bytes, uuid: bytes) -> None:
        """That one says something else of the endpoint now."""
        place = name + uuid
        for key in self._nodes.pop(place, ()):
            words = self._of_nodes[key]
            del words[place]
            self.size -= 1
            if not words:
                del self._of_nodes[key]

    def take(self, key: bytes) -> "list[Word]":
        """Take out the words about a node."""
        words = self._of_nodes.pop(key, {})
        self.size -= len(words)
        for place in words:
            nodes = self._nodes[place]
            nodes.remove(key)
            if not nodes:
                del self._nodes[place]
        return list(words.values())
