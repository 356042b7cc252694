"""The other nodes, with what is said between each and this one."""

from busway.protocol.link.face import LinkFace, Remote
from busway.protocol.messaging.endpoints import InFlow
from busway.protocol.messaging.flows import SENT, OutFlow, Pending
from busway.protocol.messaging.requests import Request
from busway.protocol.routing.peers import Peer, PeerKeeper

_NO_CASTS: "dict[bytes, int]" = {}  # never changed: there are many nodes, and few are leaves of ours


class Correspondent(Peer):
    """A node in one incarnation, and the conversation with it in both directions."""

    __slots__ = ("casts", "in_flows", "out_flows", "outstanding", "serving", "stalled")

    def __init__(
        self, keeper: PeerKeeper, node_id: bytes, incarnation: bytes, label: str = "", leaf: bool = False
    ) -> None:
        super().__init__(keeper, node_id, incarnation, label, leaf)
        self.out_flows: "dict[bytes, OutFlow]" = {}
        self.in_flows: "dict[bytes, InFlow]" = {}
        self.casts = _NO_CASTS  # of a leaf of ours: its copies for patterns so far, by endpoint
        self.stalled: "list[OutFlow]" = []  # flows that wait for a way
        self.outstanding: "dict[int, Pending]" = {}  # that are assigned to it, by id
        self.serving: "dict[int, Request]" = {}  # its requests that we have not answered yet, by id

    def has_numbers(self) -> bool:
        return bool(self.out_flows or self.in_flows or self.casts)

    def expects_us(self) -> bool:
        return bool(self.out_flows)

    def forget_received(self) -> None:
        self.in_flows.clear()  # which its links look at, too (LinkFace.intakes)

    def is_needed(self) -> bool:
        return bool(self.out_flows or self.serving)

    def keep_to(self, links: "list[LinkFace | None]") -> None:
        for flow in self._flows():
            if flow.hop is not None and flow.hop not in links:
                flow.hop = None

    def leave(self, link: LinkFace) -> None:
        for flow in self._flows():
            if flow.hop is link and link is not self.hop and link not in self.connections:
                flow.hop = None

    def came_back(self, endpoint: bytes, id: int) -> bool:
        pending = self.outstanding.get(id)
        flow = self.out_flows.get(endpoint)
        strayed = flow is not None and flow.hop is not None and flow.hop is not self.hop
        if flow is not None and strayed:
            flow.hop = None
        return strayed or (pending is not None and pending.state == SENT)

    def _flows(self) -> "list[OutFlow]":
        """The flows that stay on their link though a nearer way has come: of messages, and of parts."""
        streams = [request.stream for request in self.serving.values()]
        return list(self.out_flows.values()) + [stream for stream in streams if stream is not None]


def talk(peer: "Remote | None") -> Correspondent:
    """The conversation with a node."""
    assert isinstance(peer, Correspondent)
    return peer


def assign(pending: Pending, flow: OutFlow) -> None:
    """A message goes over that flow now, to its node."""
    peer = flow.peer
    if pending.peer is not peer:
        if pending.peer is not None:
            release(pending)
        pending.peer = peer
        assert isinstance(peer, Correspondent)  # not by talk(): every request comes by here
        peer.outstanding[pending.id] = pending
    pending.flow = flow
    pending.out.destination = peer.key


def release(pending: Pending) -> None:
    """It goes to no node any more, or not yet."""
    peer = pending.peer
    if peer is not None:
        assert isinstance(peer, Correspondent)
        del peer.outstanding[pending.id]
        pending.peer = None
