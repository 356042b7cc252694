"""Which messages come in: those that are meant for the endpoint that they name, and as a guard says, which is
asked at the destination, before they count for anything.

Knows no queue.
"""

from busway.protocol.link.face import Remote
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.endpoints import Endpoint, InFlow
from busway.protocol.messaging.laned import MarkedInFlow
from busway.protocol.messaging.leaving import rank
from busway.protocol.messaging.responding import Responding
from busway.protocol.routing.directory import Directory
from busway.protocol.routing.guard import Gate
from busway.protocol.routing.peers import Peer, Routes
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, uuid_of
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.patterns import is_proper, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace

# What an origin does with a message of each kind, from SEND to REQUEST.
_ACTIONS = (codes.MAY_SEND, codes.MAY_PUBLISH, codes.MAY_SEND, codes.MAY_CALL)


class Admitting(Responding):
    """Lets in what others send, as far as they may."""

    gate: Gate
    routes: Routes
    patterns: "dict[bytes, str]"  # by uuid, those that have been subscribed to here
    subscribed: int  # endpoints of kind BROADCAST here
    counters: "dict[str, int]"
    directory: Directory
    marked: bool  # messages with a lane byte have come

    def send_credit(self, flow: InFlow) -> None:
        """Tell the origin its limit as it stands when the frame is written."""
        raise NotImplementedError

    def subscribe(self, endpoint: Endpoint) -> None:
        """An endpoint of kind broadcast is registered here now."""
        self.subscribed += 1
        if is_proper(endpoint.name):
            self.patterns[endpoint.uuid] = endpoint.name
            self.directory.patterns.add(endpoint.uuid, endpoint.name)

    def unsubscribe(self, endpoint: Endpoint) -> None:
        """... and is no longer."""
        self.subscribed -= 1
        if self.patterns.pop(endpoint.uuid, None) is not None:
            self.directory.patterns.remove(endpoint.uuid, endpoint.name)

    def is_meant(self, frame: Frame) -> bool:
        """Whether a broadcast belongs to the endpoint that it names, which is ours: what comes by a pattern
        has a name which that means, and what comes by a name has none. Else it is counted, and nobody's.
        """
        name = "" if frame.options is None else frame.options.name
        pattern = self.patterns.get(uuid_of(frame.endpoint))
        if bool(name) if pattern is None else (not name or "*" in name or not matches(pattern, name)):
            self.counters["misnamed"] += 1
            return False
        return True

    def all_peers(self) -> "list[Peer]":
        """This node, and those that it reaches."""
        return [self.me] + list(self.routes.peers.values())

    def flow_of(
        self, peer: Correspondent, endpoint: Endpoint, address: Address, received: int, now: int
    ) -> InFlow:
        """The messages of one origin to an address of an endpoint, which need not share its queue yet; new
        ones come behind `received`.
        """
        flow = peer.in_flows.get(address)
        if flow is None:
            if len(address) > codes.ID_SIZE:
                self.marked = True
                flow = MarkedInFlow(peer, endpoint, received, now, address)
            else:
                flow = InFlow(peer, endpoint, received, now)
            peer.in_flows[address] = flow
        return flow

    def flow_from(self, peer: Correspondent, address: Address, seq: int, now: int) -> "InFlow | None":
        """The flow that a message belongs to; a new one starts just before `seq`. None if nobody here has the
        endpoint.
        """
        flow = peer.in_flows.get(address)
        if flow is None:
            endpoint = self.endpoints.get(uuid_of(address))
            if endpoint is None:
                return None
            flow = self.flow_of(peer, endpoint, address, seq - 1, now)
        if not flow.active and (peer.reachable or peer is self.me):
            flow.endpoint.activate(flow)  # a node without a way here cannot be given credit
        return flow

    def marked_endpoint(self, address: Address) -> "Endpoint | None":
        """The endpoint of an address that is no uuid, to which messages of more than one priority come."""
        endpoint = self.endpoints.get(uuid_of(address))
        if endpoint is not None:
            rank_all(endpoint)
        return endpoint

    def admits(
        self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, frame: Frame, now: int
    ) -> bool:
        """Whether a message may come in. That it may is asked once for each pair, link and action; of a
        broadcast that goes farther than usual, or comes by a pattern, each time: there its name counts.
        """
        name = "" if frame.options is None else frame.options.name
        if name:
            return self._admits_named(session, peer, endpoint, frame, name, now)
        what = _ACTIONS[frame.kind]
        usual = codes.LOCALNET if what == codes.MAY_PUBLISH else endpoint.realm
        realm = frame.reach() if what == codes.MAY_PUBLISH else usual
        flow = peer.in_flows.get(frame.endpoint)
        if flow is not None and flow.judged is session and flow.verdicts >> what & 1 and realm <= usual:
            return True
        if not self.gate.allows(session, peer.node_id, what, endpoint.uuid, endpoint.name, realm):
            self.pass_over(session, peer, endpoint, frame.endpoint, frame.number, now)
            return False
        flow = self.flow_of(peer, endpoint, frame.endpoint, frame.number - 1, now)
        if flow.judged is not session:
            flow.judged = session
            flow.verdicts = 0
        if realm == usual:
            flow.verdicts |= 1 << what
        return True

    def _admits_named(
        self,
        session: "LinkFace",
        peer: Correspondent,
        endpoint: Endpoint,
        frame: Frame,
        name: str,
        now: int,
    ) -> bool:
        realm = frame.reach()
        if self.gate.permits(session, peer.node_id, codes.MAY_PUBLISH, b"", name, realm):
            return True
        self.gate.deny(session, peer.node_id, codes.MAY_PUBLISH, endpoint.uuid, name, realm)
        self.pass_over(session, peer, endpoint, frame.endpoint, frame.number, now)
        return False

    def pass_over(
        self,
        session: "LinkFace",
        peer: Correspondent,
        endpoint: Endpoint,
        address: Address,
        number: int,
        now: int,
    ) -> None:
        """Count a denied message as taken: so its origin hears of each, and nobody misses it."""
        flow = self.flow_of(peer, endpoint, address, number, now)
        gap = (number - flow.received) & 0xFFFF
        if gap < 0x8000:
            flow.received += gap
        elif is_new_session(flow, session):
            start_anew(flow, number)
        flow.came_by(session, True)
        flow.last_used = now
        if flow.has_credit():
            flow.limit = max(flow.limit, flow.received + endpoint.opening)
            if self.is_visible(session, peer, endpoint):
                self.send_credit(flow)

    def told(self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, reason: int) -> int:
        """Why a message is not taken, as its origin hears it: what is hidden from it is not there."""
        return reason if self.is_visible(session, peer, endpoint) else codes.NO_ENDPOINT

    def is_visible(self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint) -> bool:
        """Whether an origin may see an endpoint, or the neighbour may, which tells those behind it."""
        neighbour = session.peer
        return self._may(session, peer, codes.MAY_SEE, endpoint, endpoint.realm) or (
            neighbour is not None
            and neighbour.node_id != peer.node_id
            and self._may(session, neighbour, codes.MAY_SEE, endpoint, endpoint.realm)
        )

    def is_denied(self, link: "LinkFace", peer: Correspondent, endpoint: Endpoint) -> bool:
        """Whether no message at all may come in."""
        if endpoint.kind == codes.BROADCAST:
            return not self._may(link, peer, codes.MAY_PUBLISH, endpoint, max(codes.LOCALNET, link.realm))
        may_send = self._may(link, peer, codes.MAY_SEND, endpoint, endpoint.realm)
        return not may_send and not self._may(link, peer, codes.MAY_CALL, endpoint, endpoint.realm)

    def _may(self, link: "LinkFace", peer: Remote, what: int, endpoint: Endpoint, realm: int) -> bool:
        return self.gate.permits(link, peer.node_id, what, endpoint.uuid, endpoint.name, realm)

    def guard_changed(self) -> None:
        """Ask again about what has been let in; without a guard about nothing."""
        guarded = self.gate.guard is not None
        for peer in self.all_peers() + list(self.routes.departed.values()):
            for flow in talk(peer).in_flows.values():
                flow.judged = None
                flow.verdicts = 0
                flow.came_by(flow.session, guarded)
        self.handlers.look_again()


def is_new_session(flow: InFlow, session: "LinkFace | None") -> bool:
    """Whether the pair's link has ended and a younger one brings its next message: then an old number is not
    late, but of an origin that has forgotten the pair.
    """
    last = flow.session
    if last is None or session is None or last.state != codes.CLOSED:
        return False
    return session.number > last.number


def start_anew(flow: InFlow, received: int) -> None:
    """Its next number is the one behind `received`."""
    flow.received = received
    flow.limit = received + flow.endpoint.opening


def rank_all(endpoint: Endpoint) -> None:
    """A message of another priority comes to it."""
    for receiver in endpoint.receivers:
        rank(receiver)


def is_replay(frame: Frame, endpoint: Endpoint) -> bool:
    """Whether it is a retained value that is sent anew to one subscriber."""
    return frame.kind == codes.SEND and endpoint.kind == codes.BROADCAST and frame.lane() & codes.REPLAY != 0
