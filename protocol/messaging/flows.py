"""Things on their way from this node: messages, the flows they belong to, and what the caller was promised to
hear. Data, no rules.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.link.face import Waiter
from busway.protocol.routing.directory import Directory
from busway.protocol.routing.peers import Peer
from busway.protocol.timers import Timer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, lane_at, uuid_of
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace
    from busway.protocol.link.queue import Run

# States of a pending message.
UNRESOLVED: "Final" = 0  # nobody has the endpoint
WAITING: "Final" = 1  # no credit, or no room on the link
SENT: "Final" = 2
OVER: "Final" = 3

# What happens to one.
PARKED: "Final" = 0  # with a holder, or all of them
LAUNCHED: "Final" = 1
UNPLACED: "Final" = 2  # nobody is known to have the endpoint, or no longer
FINISHED: "Final" = 3  # by its one terminal outcome
RECALLED: "Final" = 4  # to a selector, launched, and never written: its node is gone

# (state, what happened) -> the next state. What is not here does not happen: above all, nothing is launched
# twice, and what has been written never waits again, so no message is sent twice and none has two outcomes.
NEXT: "Final" = {
    (UNRESOLVED, PARKED): WAITING,
    (UNRESOLVED, LAUNCHED): SENT,
    (UNRESOLVED, UNPLACED): UNRESOLVED,
    (UNRESOLVED, FINISHED): OVER,
    (WAITING, LAUNCHED): SENT,
    (WAITING, UNPLACED): UNRESOLVED,
    (WAITING, FINISHED): OVER,
    (SENT, FINISHED): OVER,
    (SENT, RECALLED): WAITING,
}

UNLIMITED: "Final" = 1 << 62  # the limit of a flow without credit: replies, broadcasts


class FlowOwner:
    """The sender side, for flows and pending messages whose time is up."""

    def probe(self, flow: "OutFlow", now: int) -> None:
        """Blocked for long: ask the destination, in case credit or messages were lost, or counts differ."""
        raise NotImplementedError

    def resume(self, flow: "OutFlow", now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        """Credit or room has come: let go what waited, in order, `most` messages at the most."""
        raise NotImplementedError

    def due(self, pending: "Pending", now: int) -> None:
        """A pending message's time is up."""
        raise NotImplementedError


class OutFlow(Waiter):
    """The messages to one address at one node (or the parts of one stream): its numbers, and what waits for
    credit. `endpoint` is the address, b"" of answers.
    """

    __slots__ = (
        "base",
        "blocked",
        "done",
        "endpoint",
        "hop",
        "in_doubt",
        "lags_until",
        "last_used",
        "limit",
        "open",
        "opening",
        "origin",
        "peer",
        "probe_ms",
        "resuming",
        "run",
        "sent",
        "waiting",
    )

    def __init__(self, origin: FlowOwner, peer: Peer, endpoint: bytes, credit: int, now: int) -> None:
        self.deadline = -1
        self.origin = origin
        self.peer = peer
        self.endpoint = endpoint
        self.hop: "LinkFace | None" = None
        self.run: "Run | None" = None  # of the last one sent, if that was plain: in its link's queue, or was
        self.sent = 0
        self.opening = credit
        self.limit = credit
        self.waiting = Fifo()
        self.last_used = now
        self.resuming = False
        self.probe_ms = codes.PROBE_MS  # until it asks, when it is blocked
        self.in_doubt = False  # the destination may have a higher limit in mind: it is asked at once
        # For choosing among several holders (anycast.py):
        self.open = 0  # requests outstanding
        self.done = 0  # ... that were answered of late
        self.base = 0  # what `sent` was when counting began
        self.blocked = -1  # since when a send has waited for its credit, ms
        self.lags_until = -1  # until then it is passed over while it has none, ms

    def certain(self) -> None:
        """The limit is right, as far as is known."""
        self.probe_ms = codes.PROBE_MS
        self.in_doubt = False

    def is_announced(self, directory: Directory) -> bool:
        """While it is, the other side may have the flow's number in mind, however long it was stopped."""
        uuid = uuid_of(self.endpoint)
        return uuid in self.peer.entries or uuid == codes.INTROSPECTION

    def share(self) -> int:
        """How many it has got of the messages that others could have got as well."""
        return self.sent - self.base

    def link(self) -> "LinkFace | None":
        """The link that the messages take: the same as long as it stands, even if a better one has come, for
        there they would overtake those that are under way.
        """
        hop = self.hop
        if hop is None or hop.state == codes.CLOSED:
            hop = self.peer.hop
            if hop is not None and hop.state == codes.CLOSED:
                hop = None  # its end is just being told: there will be another way, or none
            if hop is not None:
                hop.queue.run = None  # what waits there from an earlier time is not the one before what comes
            self.hop = hop
            self.run = None  # of the former link's numbers
        return hop

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        """There is room on its link: go on."""
        self.origin.resume(self, now, most)

    def fire(self, now: int) -> None:
        self.origin.probe(self, now)


class MarkedFlow(OutFlow):
    """One whose messages, or answers, have that lane byte."""

    __slots__ = ("lane",)

    def __init__(
        self, origin: FlowOwner, peer: Peer, endpoint: bytes, credit: int, now: int, lane: int
    ) -> None:
        super().__init__(origin, peer, endpoint, credit, now)
        self.lane = lane


def flow_to(origin: FlowOwner, peer: Peer, address: Address, credit: int, now: int) -> OutFlow:
    """The flow of messages to an address at a node."""
    if len(address) > codes.ID_SIZE:
        return MarkedFlow(origin, peer, address, credit, now, lane_at(address))
    return OutFlow(origin, peer, address, credit, now)


def answers_flow(origin: FlowOwner, peer: Peer, credit: int, now: int, lane: int) -> OutFlow:
    """The flow of answers, or of the parts of one, to requests with that lane byte."""
    if lane != codes.NORMAL:
        return MarkedFlow(origin, peer, b"", credit, now, lane)
    return OutFlow(origin, peer, b"", credit, now)


class Pending(Timer):
    """A message whose fate the caller was promised to hear."""

    __slots__ = (
        "asked",
        "consumed",
        "expires",
        "flow",
        "id",
        "link",
        "next_part",
        "origin",
        "out",
        "has_ttl",
        "patience_ms",
        "peer",
        "pinned",
        "realm",
        "state",
        "timeout_ms",
        "window",
        "window_told",
    )

    def __init__(self, origin: FlowOwner, id: int, out: Frame) -> None:
        self.deadline = -1
        self.origin = origin
        self.id = id
        self.out = out
        self.peer: "Peer | None" = None  # whom it goes to; None: that is not known yet, or it is a broadcast
        self.flow: "OutFlow | None" = None
        self.link: "LinkFace | None" = None  # that brought its last part
        self.state = UNRESOLVED
        self.expires = -1  # ms; -1: a plain message waits for credit as long as it takes
        self.has_ttl = False  # it waits for an endpoint to appear (ttl)
        self.asked: "list[bytes]" = []  # nodes and endpoints that were looked up for it
        self.pinned = b""
        self.timeout_ms = 0
        self.window = 0
        self.window_told = 0  # when, the last time, ms
        self.patience_ms = 0  # of a publish, for each link that is full
        self.realm = codes.LOCALNET  # ... as far as it may get
        self.next_part = 0
        self.consumed = 0

    def fire(self, now: int) -> None:
        self.origin.due(self, now)


class Target:
    """Where messages to a uuid go: the cheapest holders; for a broadcast endpoint that there are any."""

    __slots__ = ("flows", "kind")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.flows: "list[OutFlow]" = []
