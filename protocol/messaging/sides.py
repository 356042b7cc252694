"""The two sides of a conversation, as their parts and each other see them: what a part may use, no more."""

from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.correspondent import Correspondent
from busway.protocol.messaging.endpoints import Endpoint, EndpointHost
from busway.protocol.messaging.flows import FlowOwner, OutFlow, Pending, Target
from busway.protocol.messaging.host import MessagingHost
from busway.protocol.outcomes import Outcome
from busway.protocol.routing.mesh import Mesh
from busway.protocol.routing.peers import Peer
from busway.protocol.timers import Timers
from busway.protocol.wire.address import Address
from busway.protocol.wire.messages import Frame


class ReceiverSide(EndpointHost):
    """This node as a destination, for messages of its own."""

    endpoints: "dict[bytes, Endpoint]"
    process_only: "dict[bytes, bool]"  # uuids of PROCESS endpoints: their payloads stay objects

    def arrive_local(self, frame: Frame, now: int) -> None:
        """A message of this very node."""
        raise NotImplementedError

    def probed(
        self, session: "LinkFace | None", peer: Correspondent, uuid: bytes, sent: int, now: int
    ) -> None:
        """PROBE: what of the origin's messages has not arrived by now is lost."""
        raise NotImplementedError

    def part_credit(self, peer: Correspondent, id: int, limit: int, now: int) -> None:
        """PART_CREDIT: an absolute limit, like CREDIT."""
        raise NotImplementedError

    def cancelled(self, peer: Correspondent, id: int) -> None:
        """CANCEL; for a request that is over already it means nothing."""
        raise NotImplementedError


class SenderSide(FlowOwner):
    """This node as an origin."""

    def __init__(self, host: MessagingHost, me: Correspondent, mesh: Mesh, timers: Timers) -> None:
        self.host = host
        self.me = me
        self.routes = mesh.routes
        self.directory = mesh.directory
        self.lookups = mesh.lookups
        self.forwarder = mesh.forwarder
        self.mesh = mesh
        self.timers = timers
        self.receiving = ReceiverSide()
        self.targets: "dict[Address, Target]" = {}
        self.pending: "dict[int, Pending]" = {}
        self.syncing = 0  # links whose first directory exchange is not over
        self.counters = {
            "unknown_reply": 0,
            "best_effort_dropped": 0,
            "broadcast_dropped": 0,
            "undeliverable": 0,
            "timed_out": 0,
            "probes": 0,
            "signals_dropped": 0,
        }

    def target(self, address: Address, now: int) -> "Target | None":
        """Where messages to an address go; None: nobody is known to have it."""
        raise NotImplementedError

    def flow_for(self, address: Address, node_id: bytes, now: int) -> "OutFlow | None":
        """To the holder that is wanted, or the only one; None if there is none, or a crowd."""
        raise NotImplementedError

    def is_crowd(self, crowd: object, address: Address, now: int) -> bool:
        """Whether that still is what messages to an address go to."""
        raise NotImplementedError

    def ready(self, flow: OutFlow) -> bool:
        """Whether the flow has credit and its link room. A local flow needs no link."""
        raise NotImplementedError

    def open(self, out: Frame) -> Pending:
        """Give a message a token under which its fate will be told."""
        raise NotImplementedError

    def launch(self, flow: OutFlow, pending: Pending, now: int) -> None:
        """Send it by a flow that is ready."""
        raise NotImplementedError

    def await_room(self, flow: OutFlow, now: int) -> None:
        """Hear of credit, or of room on its link."""
        raise NotImplementedError

    def enter(self, flow: "OutFlow | None", pending: Pending, now: int) -> bool:
        """To its flow, or the crowd of those that may get it; it waits there if it must. False: there is
        none.
        """
        raise NotImplementedError

    def reroute(self, pending: Pending, now: int) -> None:
        """Whom it was meant for is not there: another holder, or none."""
        raise NotImplementedError

    def finish(self, pending: Pending, status: int, code: int = 0, text: str = "") -> Outcome:
        """The one terminal outcome of a pending message."""
        raise NotImplementedError

    def call_off(self, pending: Pending, now: int) -> None:
        """CANCEL, on the same way as the request and behind it."""
        raise NotImplementedError

    def undelivered(self, peer: Peer, uuid: bytes, seq: int, reason: int, now: int) -> None:
        """UNDELIVERABLE came: tell the program, with the number widened again."""
        raise NotImplementedError

    def park_unresolved(self, pending: Pending, ttl_ms: int, now: int) -> None:
        """Nobody is known to have its endpoint: it waits, as long as there is hope."""
        raise NotImplementedError

    def settle_trace(self, pending: Pending, now: int) -> bool:
        """Of a question where something is: whether the answer is known now, and so told."""
        raise NotImplementedError
