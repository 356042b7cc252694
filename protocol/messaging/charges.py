"""Requests under way of the links whose number of them a guard bounds: each counts from when it comes in
until it is answered and no handler works on it any more.
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.endpoints import DONE, Message, Request


class Charges:
    """Who has how many. For links without a bound nothing is kept."""

    __slots__ = ("_at_work", "_counts", "links")

    def __init__(self) -> None:
        self.links: "dict[Message, LinkFace]" = {}  # of those that count
        self._counts: "dict[LinkFace, int]" = {}
        self._at_work: "dict[Message, bool]" = {}  # those that a handler works on

    def count(self, link: LinkFace) -> int:
        """How many of a link are under way."""
        return self._counts.get(link, 0)

    def add(self, request: Message, link: LinkFace) -> None:
        """One has come in."""
        self.links[request] = link
        self._counts[link] = self._counts.get(link, 0) + 1

    def began(self, message: Message) -> None:
        """A handler works on it."""
        if message in self.links:
            self._at_work[message] = True

    def ended(self, message: Message) -> None:
        """... no longer."""
        if self._at_work.pop(message, False) and isinstance(message, Request) and message.state == DONE:
            self._remove(message)

    def answered(self, request: Request) -> None:
        """Nobody waits for its answer any more. A handler may still be at work, though it was told."""
        if request in self.links and request not in self._at_work:
            self._remove(request)

    def _remove(self, request: Message) -> None:
        link = self.links.pop(request)
        self._counts[link] -= 1
        if not self._counts[link]:
            del self._counts[link]
