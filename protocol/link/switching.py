"""The short way for the commonest message on its way through a node, or over several nodes to this one: a
plain SEND whose routing header and aliases are those of the one before.

Its bytes up to the number are looked up as a whole; whatever differs in anything goes the long way
(forwarding.py, desk.py), which then is remembered here.
"""

from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame, RoutingHeader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection
    from busway.protocol.routing.peers import Peer

_KNOWN_MAX = 1024  # prefixes that are remembered for one link


class Path:
    """Messages of one origin to one endpoint that pass through here."""

    __slots__ = ("endpoint", "epoch", "format", "hop", "peer", "prefix", "route")

    def __init__(self, peer: "Peer", hop: "Connection", frame: Frame, route: RoutingHeader) -> None:
        self.peer = peer
        self.hop = hop
        self.endpoint = frame.endpoint
        self.format = frame.format
        self.route = route
        self.prefix = b""  # what stands before the number on the next link
        self.epoch = -1  # of the next link's numbers, when that was so

    def message(self, tail: bytes) -> Frame:
        """A message of it in the general form; `tail` is its number and payload."""
        number = tail[0] << 8 | tail[1]
        frame = Frame(codes.SEND, self.peer.key, self.endpoint, number, tail[2:], self.format, b"")
        frame.route = self.route
        return frame


class Parcel:
    """A message that waits for its next link."""

    __slots__ = ("path", "tail")

    def __init__(self, path: Path, tail: bytes) -> None:
        self.path = path
        self.tail = tail


def prefix_end(data: bytes, start: int, stop: int) -> int:
    """Where the number of a plain SEND with a routing header stands; 0 if its header binds anything or is
    longer than usual.
    """
    how = data[start + 1]
    at = start + 3
    count = 1 + (how >> 2 & 1) + (how >> 3 & 1)
    while count:
        if at + 3 > stop or not data[at]:
            return 0
        if data[at] >= 0x80:
            at += 1
            if data[at] >= 0x80:
                return 0
        at += 1
        count -= 1
    return at if at + 2 <= stop else 0


class Switch:
    """What is known of the prefixes that come over one link."""

    __slots__ = ("epoch", "known")

    def __init__(self) -> None:
        self.known: "dict[bytes, object]" = {}
        self.epoch = 0

    def learn(self, prefix: bytes, meaning: object) -> None:
        """Remember what messages with this prefix are."""
        if len(self.known) >= _KNOWN_MAX:
            self.known = {}
        self.known[prefix] = meaning
