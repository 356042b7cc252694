"""Messages with a lane byte (docs/protocol.md, section 5.5), at their destination: a pair of their own."""

from busway.protocol.messaging.endpoints import Endpoint, InFlow
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, lane_at
from busway.protocol.wire.messages import Frame, signal_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.routing.peers import Peer
    from busway.protocol.wire.aliases import AliasWriter


class MarkedInFlow(InFlow):
    """The messages of one origin to one of our endpoints that have the same lane byte."""

    __slots__ = ("_address", "_lane")

    def __init__(self, peer: "Peer", endpoint: Endpoint, received: int, now: int, address: Address) -> None:
        super().__init__(peer, endpoint, received, now)
        self._address = address
        self._lane = lane_at(address)
        if self.has_credit():
            self.half = endpoint.opening >> 1

    def address(self) -> Address:
        return self._address

    def lane(self) -> int:
        return self._lane

    def has_credit(self) -> bool:
        return self._lane & codes.REPLAY != 0 or self.endpoint.kind != codes.BROADCAST

    def credit(self) -> Frame:
        return signal_about(codes.CREDIT, self.peer.key, self._address, self.limit)

    def short_credit(self, aliases: "AliasWriter", direct: bytes) -> bytes:
        return b""
