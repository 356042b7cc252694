"""Links in which somebody has a say: who comes is judged by what it says of itself, its messages are counted,
and it may be left unread for a while without being taken for dead. Other links load none of it.
"""

from busway.protocol.link.connection import Connection
from busway.protocol.link.face import LinkHost
from busway.protocol.link.link import Link
from busway.protocol.link.meter import Meter
from busway.protocol.packet.connection import PacketConnection
from busway.protocol.packet.packets import PacketLayer
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Hello, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    # Of a node's id, and what its dialler calls the address: in which role it may come. Raises Refusal.
    Accept = Callable[[bytes, str], int]


class GuardedConnection(Connection):
    """As `Connection`. `accept` is asked in which role somebody may come; `meter` counts, once it is asked
    to.
    """

    def __init__(self, host: LinkHost, link: Link, limits: Limits, now: int) -> None:
        self.meter: "Meter | None" = None
        self.accept: "Accept | None" = None
        super().__init__(host, link, limits, now)

    def _check_who(self, theirs: Hello) -> None:
        super()._check_who(theirs)
        _judge(self, self.accept, theirs)

    def _take_in(self, data: bytes, now: int) -> None:
        meter = self.meter
        if meter is None:
            super()._take_in(data, now)
            return
        meter.take(data)
        meter.busy = True
        super()._take_in(data, now)
        meter.busy = False

    def _hold(self, data: bytes, now: int) -> None:
        if self.meter is not None:
            self.meter.give_back(data)
        super()._hold(data, now)

    def count(self) -> Meter:
        """Count the messages that come, from now on. Returns what counts."""
        if self.meter is None:
            self.meter = _meter_of(self)
        return self.meter

    def unread(self, now: int) -> None:
        """This side does not read for now: call it at least as often as the keepalive. That nothing is heard
        says nothing of the other side, and it hears that this one is there.
        """
        _keep(self, now)


class GuardedPacketConnection(PacketConnection):
    """The same of a packet link."""

    def __init__(self, host: LinkHost, link: Link, nonce: bytes, limits: Limits, now: int) -> None:
        self.meter: "Meter | None" = None
        self.accept: "Accept | None" = None
        super().__init__(host, link, nonce, limits, now)

    def _check_who(self, theirs: Hello) -> None:
        super()._check_who(theirs)
        _judge(self, self.accept, theirs)

    def _take_in(self, data: bytes, now: int) -> None:
        meter = self.meter
        if meter is None:
            super()._take_in(data, now)
            return
        meter.take(data)
        meter.busy = True
        super()._take_in(data, now)
        meter.busy = False

    def _hold(self, data: bytes, now: int) -> None:
        if self.meter is not None:
            self.meter.give_back(data)
        super()._hold(data, now)

    def count(self) -> Meter:
        """Count the messages that come, from now on. Returns what counts."""
        if self.meter is None:
            self.meter = _meter_of(self)
        return self.meter

    def _take_frames(self, layer: PacketLayer, now: int) -> None:
        if self.meter is not None:
            self.meter.messages += len(layer.frames)
        super()._take_frames(layer, now)

    def unread(self, now: int) -> None:
        """As of GuardedConnection."""
        _keep(self, now)


def _meter_of(connection: Connection) -> Meter:
    meter = Meter()
    meter.take(b"".join(connection._chunks))  # the frame that is coming in
    if connection.piece_left:
        meter.skip(connection.piece_left)
    return meter


def _judge(connection: Connection, accept: "Accept | None", theirs: Hello) -> None:
    """Raises Refusal."""
    if accept is not None:
        role = accept(theirs.key[: codes.ID_SIZE], connection.link.via or theirs.via)
        connection.role = min(connection.role, role)
        connection.check_role(theirs)


def _keep(connection: Connection, now: int) -> None:
    connection.last_read = now
    connection.say(connection.keepalive.excuse(now))


def guarded(host: LinkHost, link: Link, nonce: bytes, limits: Limits, now: int) -> Connection:
    """A state machine for a new link of this sort: for `Node.connection`. `nonce` is of packet links.

    Messages come one by one: of many in one frame more might be there at once than are granted in a second.
    """
    link.runs = False
    if link.sort == "packet":
        return GuardedPacketConnection(host, link, nonce, limits, now)
    return GuardedConnection(host, link, limits, now)
