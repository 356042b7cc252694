"""The two sides of a conversation, as their parts and each other see them: what a part may use, no more. Of
the sender's side that is above all where messages go.
"""

from busway.protocol.errors import WrongKindError
from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.carried import Pool
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.endpoints import Endpoint, EndpointHost
from busway.protocol.messaging.flows import FlowOwner, MarkedFlow, OutFlow, Pending, Target, flow_to
from busway.protocol.messaging.handlers import Handlers
from busway.protocol.messaging.requests import Request
from busway.protocol.outcomes import Outcome
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.mesh import Mesh
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Timers
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, addresses_of, is_selector, lane_at, uuid_of
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_REALM_COST: "Final" = 1 << 20  # a wider realm on the way weighs more than any cost


def price(entry: Entry) -> int:
    """The cost of another node's endpoint, with that of the way there."""
    metric = entry.peer.metric
    return (metric >> 14) * _REALM_COST + (metric & 0x3FFF) + entry.cost


class ReceiverSide(EndpointHost):
    """This node as a destination, for messages of its own."""

    endpoints: "dict[bytes, Endpoint]"
    process_only: "dict[bytes, bool]"  # uuids of PROCESS endpoints: their payloads stay objects
    timers: Timers
    handlers: Handlers
    pool: Pool

    def arrive_local(self, frame: Frame, now: int) -> None:
        """A message of this very node."""
        raise NotImplementedError

    def signal_came(self, session: "LinkFace | None", peer: Correspondent, frame: Frame, now: int) -> None:
        """PROBE, CANCEL or PART_CREDIT, of this very node if there is no `session`."""
        raise NotImplementedError

    def stalled_since(self, request: Request) -> int:
        """Since when a handler has waited for its caller to read, ms; -1: it does not."""
        raise NotImplementedError

    def give_up(self, request: Request, code: int, text: str, now: int) -> None:
        """End a request that a handler works on, with an error."""
        raise NotImplementedError


class SenderSide(FlowOwner):
    """This node as an origin."""

    def __init__(self, host: RoutingHost, me: Correspondent, mesh: Mesh, timers: Timers) -> None:
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
        self.direct: "dict[Address, OutFlow]" = {}  # the one remote holder of an address, for Node.send
        self.marked = False  # there may be addresses with a lane byte: all of a uuid are looked after
        self.pending: "dict[int, Pending]" = {}
        self.syncing = False  # there is a link whose first directory exchange is not over
        self.counters = {
            "unknown_reply": 0,
            "best_effort_dropped": 0,
            "broadcast_dropped": 0,
            "undeliverable": 0,
            "timed_out": 0,
            "probes": 0,
            "signals_dropped": 0,
        }

    # Where messages go

    def target(self, address: Address, now: int) -> "Target | None":
        """Where messages to an address go; None: nobody is known to have it."""
        found = self.targets.get(address)
        if found is None:
            if len(address) > codes.ID_SIZE and lane_at(address) != codes.NORMAL:
                self.marked = True
            if is_selector(address):
                return self.select(address, now)
            found = self._build_target(address, now)
            if found is not None:
                self.targets[address] = found
                if len(found.flows) == 1 and found.flows[0].peer is not self.me:
                    self.direct[address] = found.flows[0]
        return found

    def _build_target(self, address: Address, now: int) -> "Target | None":
        local, entries = self.counted(uuid_of(address))
        if local is None and not entries:
            return None
        target = Target(local.kind if local is not None else entries[0].kind)
        if target.kind == codes.BROADCAST:
            return target
        best = -1
        if local is not None:
            best = local.cost
            target.flows = [self.flow(self.me, address, local.opening, now)]
        for entry in entries:
            cost = price(entry)
            if best < 0 or cost < best:
                best = cost
                target.flows = []
            if cost == best:
                target.flows.append(self.flow(entry.peer, address, entry.credit, now))
        return target

    def counted(self, uuid: bytes) -> "tuple[Endpoint | None, list[Entry]]":
        """An endpoint of this node, and those of others, that messages to a uuid may go to: of one kind, and
        in no conflict.
        """
        local = self.receiving.endpoints.get(uuid)
        entries = self.directory.holders(uuid)
        if local is None or not entries:
            return local, entries
        if local.realm == codes.PROCESS:
            return local, []  # what is meant for it are objects, which cannot leave
        kind = local.kind
        alone = kind == codes.UNICAST or kind != entries[0].kind
        if alone and entries[0].realm < local.realm:
            return None, entries  # of two realms the narrower counts
        return local, [] if alone else entries

    def addresses(self, uuid: bytes) -> "list[Address]":
        """The addresses of an endpoint that may be in use."""
        return addresses_of(uuid) if self.marked else [uuid]

    def flow(self, peer: Peer, address: Address, credit: int, now: int) -> OutFlow:
        """The flow to an address at a node, made if it is new."""
        flow = talk(peer).out_flows.get(address)
        if flow is None:
            flow = flow_to(self, peer, address, credit, now)
            talk(peer).out_flows[address] = flow
        return flow

    def flow_for(self, address: Address, node_id: bytes, now: int) -> "OutFlow | None":
        """To the holder that is wanted, or the only one; None if there is none, or a crowd."""
        if node_id:
            return self._pinned_flow(address, node_id, now)
        target = self.target(address, now)
        if target is None:
            return None
        if target.kind == codes.BROADCAST:
            raise WrongKindError("this endpoint is of kind broadcast: use publish")
        return target.flows[0] if len(target.flows) == 1 else None

    def _pinned_flow(self, address: Address, node_id: bytes, now: int) -> "OutFlow | None":
        uuid = uuid_of(address)
        if len(address) > codes.ID_SIZE:
            self.marked = True
        if node_id == self.me.node_id:
            local = self.receiving.endpoints.get(uuid)
            if local is not None and local.kind == codes.BROADCAST:
                raise WrongKindError("this endpoint is of kind broadcast: use publish")
            return self.flow(self.me, address, local.opening, now) if local is not None else None
        peer = self.routes.peers.get(node_id)
        if peer is None:
            return None
        entry = peer.entries.get(uuid)
        if entry is None:
            known = uuid == codes.INTROSPECTION
            return self.flow(peer, address, codes.OPENING_CREDIT, now) if known else None
        if entry.kind == codes.BROADCAST and not lane_at(address) & codes.REPLAY:
            raise WrongKindError("this endpoint is of kind broadcast: use publish")
        return self.flow(peer, address, entry.credit, now)

    def await_room(self, flow: OutFlow, now: int) -> None:
        """Hear of credit, or of room on its link."""
        hop = flow.link()
        if flow.sent < flow.limit:
            if hop is not None:
                hop.await_room_for(flow.lane if isinstance(flow, MarkedFlow) else codes.NORMAL, flow)
            elif flow.peer is not self.me and flow not in talk(flow.peer).stalled:
                talk(flow.peer).stalled.append(flow)
        elif flow.endpoint and flow.deadline < 0:
            self.timers.arm(flow, now + (1 if flow.in_doubt else flow.probe_ms))

    # Of the part above

    def select(self, address: Address, now: int) -> "Target | None":
        """Where messages to a selector go."""
        raise NotImplementedError

    def ready(self, flow: OutFlow) -> bool:
        """Whether the flow has credit and its link room. A local flow needs no link."""
        raise NotImplementedError

    def carrying(self, flows: "list[OutFlow]", out: Frame) -> "list[OutFlow]":
        """The ones of these that the files and regions of a message can go to, as far as is known here; all,
        if it has none, or nobody can get them.
        """
        raise NotImplementedError

    def open(self, out: Frame) -> Pending:
        """Give a message a token under which its fate will be told."""
        raise NotImplementedError

    def launch(self, flow: OutFlow, pending: Pending, now: int) -> None:
        """Send it by a flow that is ready."""
        raise NotImplementedError

    def enter(self, flow: "OutFlow | None", pending: Pending, now: int) -> bool:
        """To its flow, or the crowd of those that may get it; it waits there if it must. False: there is
        none.
        """
        raise NotImplementedError

    def reroute(self, pending: Pending, now: int) -> None:
        """Send it to another holder, if there is one: whom it was meant for is not there."""
        raise NotImplementedError

    def finish(self, pending: Pending, status: int, code: int = 0, text: str = "") -> Outcome:
        """The one terminal outcome of a pending message."""
        raise NotImplementedError

    def value_answered(self, peer: Peer, answer: Frame, now: int) -> None:
        """A reply or error came for a question about values."""
        raise NotImplementedError

    def value_undelivered(self, peer: Peer, uuid: bytes, seq: int, reason: int) -> bool:
        """UNDELIVERABLE came for no pair of ours. Returns whether it is of a last value."""
        raise NotImplementedError

    def call_off(self, pending: Pending, now: int) -> None:
        """CANCEL, on the same way as the request and behind it."""
        raise NotImplementedError
