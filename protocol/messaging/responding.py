"""Answers of this node to the requests that it serves: one reply, an error, or parts and their end.

The half of the destination's side that its program drives; what arrives is in receiving.py.
"""

from busway.protocol.errors import LocalError
from busway.protocol.messaging.correspondent import Correspondent
from busway.protocol.messaging.endpoints import InFlow
from busway.protocol.messaging.events import RequestEvent
from busway.protocol.messaging.flows import UNLIMITED, MarkedFlow, OutFlow, answers_flow
from busway.protocol.messaging.part_things import GoingParts
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.requests import DONE, Request
from busway.protocol.messaging.sender import Origin, may_go
from busway.protocol.messaging.sides import ReceiverSide
from busway.protocol.outcomes import CANCELLED
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.peers import Peer
from busway.protocol.wire import codes
from busway.protocol.wire.address import address_of, addresses_of
from busway.protocol.wire.messages import Frame, Options, signal
from busway.protocol.wire.things import Things

_TOO_LARGE = (
    "the reply exceeds message_size_max of the link it takes: cut it, or raise the limit on both nodes"
)
_NO_FILES = "the reply has files or regions, which go to programs of the same user on this machine only"


class Responding(ReceiverSide):
    """Answers requests, as a handler asks for it."""

    host: RoutingHost
    me: Correspondent
    origin: Origin
    reply_flows: "dict[bytes, OutFlow]"
    going: "dict[OutFlow, GoingParts]"  # of streams that bring things

    def respond(
        self,
        request: Request,
        payload: object,
        format: int,
        type_id: bytes,
        now: int,
        things: "Things | None" = None,
    ) -> int:
        """The reply of a request. Returns 0, or a token to wait on while the link is full."""
        if self._exceeds(request, payload):
            return self.respond_error(request, codes.MESSAGE_TOO_LARGE, _TOO_LARGE, now)
        out = Frame(codes.REPLY, request.flow.peer.key, b"", 0, payload, format, type_id)
        if things is not None and not self._bring(request, out, things):
            return self.respond_error(request, codes.NO_FILES, _NO_FILES, now)
        return self._conclude(request, out, now)

    def respond_error(self, request: Request, code: int, text: str, now: int) -> int:
        """The error of a request."""
        if self._exceeds(request, text.encode()):
            text = ""
        out = error_of(request.flow.peer, request.id, code)
        out.payload = text.encode()
        return self._conclude(request, out, now)

    def respond_end(self, request: Request, now: int) -> int:
        """The end of a streaming reply."""
        if request.stream is None:
            raise LocalError("the origin asked for one reply, not a stream: use respond")
        out = signal(codes.END, request.flow.peer.key, b"", request.stream.sent)
        return self._conclude(request, out, now)

    def _conclude(self, request: Request, out: Frame, now: int) -> int:
        if request.state == DONE:
            return 0  # cancelled, expired, or its origin is gone: nobody waits for it
        if request.stream is not None and len(request.stream.waiting):
            raise LocalError("parts of this reply still wait for credit: end it after they have gone")
        if request.stream is None:
            marked = type(request.flow) is not InFlow
            flow = self._marked_flow(request, now) if marked else self._reply_flow(request.flow.peer, now)
        else:
            flow = answers_flow(self.origin, request.flow.peer, UNLIMITED, now, request.flow.lane())
            flow.hop = request.stream.hop  # behind the parts
        request.moved_at = now
        token = self._submit(flow, out, request.id, now)
        self._finish_request(request)
        return token

    def respond_part(
        self,
        request: Request,
        payload: object,
        format: int,
        type_id: bytes,
        now: int,
        things: "Things | None" = None,
    ) -> int:
        """One part of a streaming reply. Returns 0, or a token to wait on for credit or room."""
        if request.stream is None:
            raise LocalError("the origin asked for one reply, not a stream: use respond")
        if request.state == DONE:
            return 0
        request.expires = now + request.timeout_ms
        self._arm(request, now)
        if self._exceeds(request, payload):
            return self._break_off(request, codes.MESSAGE_TOO_LARGE, _TOO_LARGE, now)
        out = Frame(codes.PART, request.flow.peer.key, b"", 0, payload, format, type_id)
        if things is not None:
            if not self._bring(request, out, things):
                return self._break_off(request, codes.NO_FILES, _NO_FILES, now)
            if things.count:
                self._note_things(request.stream, things.count)
        return self._submit(request.stream, out, request.id, now)

    def _note_things(self, stream: OutFlow, count: int) -> None:
        going = self.going.get(stream)
        if going is None:
            going = self.going[stream] = GoingParts(stream)
        going.add(count)

    def _bring(self, request: Request, out: Frame, things: Things) -> bool:
        """Let things go beside an answer. False: they do not get to the origin."""
        out.options = Options()
        out.options.things = things
        peer = request.flow.peer
        return peer.hop is None or may_go(peer, peer.hop, out)

    def _exceeds(self, request: Request, payload: object) -> bool:
        """Whether the link to the origin takes less than this node does."""
        hop = request.flow.peer.hop
        if hop is None:
            return False
        size = len(payload) if isinstance(payload, bytes) else size_of(payload)
        return size > hop.limits.message_size_max

    def _break_off(self, request: Request, code: int, text: str, now: int) -> int:
        """An error instead of the parts that are still to come; the handler at work is told."""
        assert request.stream is not None
        self.abandon_parts(request.stream)
        self.host.emit(RequestEvent(request))
        return self.respond_error(request, code, text, now)

    def stalled_since(self, request: Request) -> int:
        stream = request.stream
        if request.state == DONE:
            flow = self.reply_flows.get(_answers_to(request))
            return request.moved_at if flow is not None and len(flow.waiting) else -1
        return request.moved_at if stream is not None and len(stream.waiting) else -1

    def give_up(self, request: Request, code: int, text: str, now: int) -> None:
        if request.state != DONE:
            self._break_off(request, code, text, now)
            return
        flow = self.reply_flows[_answers_to(request)]
        while len(flow.waiting):  # its answers, which it does not read
            self.origin.finish(flow.waiting.peek(), CANCELLED)

    def abandon_parts(self, stream: OutFlow) -> None:
        """Parts of a reply that wait for credit are not wanted any more."""
        for pending in stream.waiting.drain():
            self.origin.finish(pending, CANCELLED)

    def _submit(self, flow: OutFlow, out: Frame, id: int, now: int) -> int:
        out.id = id
        if isinstance(flow, MarkedFlow):
            out.mark(flow.lane)
        if self.origin.go(flow, out, now):
            return 0
        pending = self.origin.open(out)
        out.id = id
        if out.kind != codes.PART:  # which its request's time ends
            pending.expires = now + codes.STREAM_STALL_MS
        if not flow.peer.reachable and flow.peer is not self.me:
            # It asked, but cannot be reached: its end ends nothing.
            pending.expires = now + codes.ROUTE_LOSS_GRACE_MS
        self.origin.park(flow, pending, now)
        return pending.id

    def _reply_flow(self, peer: Peer, now: int) -> OutFlow:
        flow = self.reply_flows.get(peer.node_id)
        if flow is None or flow.peer is not peer:
            flow = self.reply_flows[peer.node_id] = OutFlow(self.origin, peer, b"", UNLIMITED, now)
        return flow

    def _marked_flow(self, request: Request, now: int) -> OutFlow:
        """The same of answers to requests with its lane byte: others do not keep them waiting."""
        peer = request.flow.peer
        key = _answers_to(request)
        flow = self.reply_flows.get(key)
        if flow is None or flow.peer is not peer:
            flow = answers_flow(self.origin, peer, UNLIMITED, now, request.flow.lane())
            self.reply_flows[key] = flow
        return flow

    def forget_answers(self, peer: Peer) -> None:
        """Nobody waits for them any more."""
        for key in addresses_of(peer.node_id):
            self.reply_flows.pop(key, None)

    def way_changed(self, peer: Peer) -> None:
        """Answers need not stay on their link as a flow does: each is a lane of its own, and by another way
        than the nearest it would not be believed.
        """
        for key in addresses_of(peer.node_id):
            flow = self.reply_flows.get(key)
            if flow is not None:
                flow.hop = None

    def _arm(self, request: Request, now: int) -> None:
        """Its time; a stream is looked at before, for it may have stalled."""
        assert request.timer is not None
        at = request.expires
        if request.stream is not None:
            at = min(at, now + codes.STREAM_PATIENCE_MS)
        self.timers.arm(request.timer, at)

    def _finish_request(self, request: Request) -> None:
        request.state = DONE
        if self.going and request.stream is not None:
            self.going.pop(request.stream, None)
        if request.timer is not None:
            self.timers.disarm(request.timer)
            request.timer = None
        peer = request.flow.peer
        assert isinstance(peer, Correspondent)
        serving = peer.serving
        if serving.get(request.id) is request:
            del serving[request.id]


def _answers_to(request: Request) -> bytes:
    """Name the flow of answers to requests like this one."""
    flow = request.flow
    return address_of(flow.peer.node_id, flow.lane())


def error_of(peer: Peer, id: int, code: int, lane: int = codes.NORMAL) -> Frame:
    """The ERROR that a request ends with if it is not answered."""
    out = Frame(codes.ERROR, peer.key, b"", 0, b"", codes.RAW, b"")
    out.id = id
    out.code = code
    if lane != codes.NORMAL:
        out.mark(lane)
    return out
