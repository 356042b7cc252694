"""How many handlers work at once for each link, at all endpoints together, where a guard bounds it; what
waits for one of them to end is told then.
"""

from busway.protocol.link.face import LinkFace, LinkHost
from busway.protocol.messaging.endpoints import Message, Receiver
from busway.protocol.routing.guard import Gate
from busway.protocol.wire import codes


class Handlers:
    """The handlers at work of the links that have a bound, and the receivers that wait."""

    __slots__ = ("_counts", "_gate", "_host", "_waiting", "at_work", "bounds")

    def __init__(self, host: LinkHost, gate: Gate) -> None:
        self._host = host
        self._gate = gate
        self.bounds = gate.handlers_max  # of each link that has one
        self.at_work: "dict[Message, LinkFace]" = {}
        self._counts: "dict[LinkFace, int]" = {}
        self._waiting: "dict[Receiver, bool]" = {}

    def may_begin(self, link: "LinkFace | None", receiver: Receiver) -> bool:
        """Whether one more may work on what came over that link. If not, the receiver is told (MESSAGES) when
        that may have changed.
        """
        most = self.bounds
        if link is None or link not in most or self._counts.get(link, 0) < most[link]:
            return True
        self._waiting[receiver] = True
        receiver.waits = True
        self._gate.exceeded(link, codes.QUOTA_HANDLERS)
        return False

    def began(self, message: Message, link: LinkFace) -> None:
        """One works on what came over that link."""
        if link in self.bounds:
            self.at_work[message] = link
            self._counts[link] = self._counts.get(link, 0) + 1

    def ended(self, message: Message) -> None:
        """... no longer."""
        link = self.at_work.pop(message, None)
        if link is not None:
            self._counts[link] -= 1
            if not self._counts[link]:
                del self._counts[link]
            self.look_again()

    def look_again(self) -> None:
        """Let those go on that wait."""
        waiting = self._waiting
        self._waiting = {}
        for receiver in waiting:
            receiver.waits = False
            self._host.emit(receiver.messages)
