"""Answers that come back: replies, errors, the parts of streams, each matched with what this node has
outstanding.

Knows neither links nor how a message found its way.
"""

from busway.protocol import outcomes
from busway.protocol.messaging.flows import SENT, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.peers import Peer
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame, signal


class Answers:
    """Correlates what others answer; late, unknown, cancelled and forged answers end here."""

    __slots__ = ("_origin",)

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin

    def tell_window(self, pending: Pending, now: int) -> None:
        """PART_CREDIT: the server may send as many parts as the program has room for."""
        pending.window_told = now
        limit = pending.consumed + pending.window
        peer = pending.peer
        assert peer is not None
        if peer is self._origin.me:
            self._origin.receiving.part_credit(self._origin.me, pending.id, limit & 0xFFFF, now)
            return
        if peer.hop is not None:  # else its way is lost: it is told again
            peer.hop.answer(signal(codes.PART_CREDIT, peer.key, b"", limit, pending.id))

    def pending_of(self, peer: Peer, id: int) -> "Pending | None":
        """The pending message that an answer belongs to: late, unknown, cancelled and forged ones end
        here.
        """
        pending = self._origin.pending.get(id)
        if pending is None or pending.state != SENT or pending.peer is not peer:
            self._origin.counters["unknown_reply"] += 1
            return None
        return pending

    def _stream_of(self, peer: Peer, id: int) -> "Pending | None":
        """The same for PART and END: who did not ask for parts is sent none, and still waits."""
        pending = self.pending_of(peer, id)
        if pending is not None and not pending.window:
            self._origin.counters["unknown_reply"] += 1
            return None
        return pending

    def reply(self, peer: Peer, id: int, payload: object, format: int, type_id: bytes) -> None:
        """REPLY came."""
        pending = self.pending_of(peer, id)
        if pending is not None:
            taken = pending.out.kind == codes.CONFIRM
            outcome = self._origin.finish(pending, outcomes.TAKEN if taken else outcomes.REPLIED)
            outcome.payload = payload
            outcome.format = format
            outcome.type_id = type_id

    def error(self, peer: Peer, id: int, code: int, text: str, now: int) -> None:
        """ERROR came."""
        pending = self.pending_of(peer, id)
        if pending is not None:
            status = outcomes.UNDELIVERED if code <= codes.REASON_LAST else outcomes.FAILED
            self._origin.finish(pending, status, code, text)
            if code == codes.NO_ENDPOINT:
                self._origin.lookups.refused(peer, pending.out.endpoint, now)

    def failed(self, peer: Peer, kind: int, failed: Frame, reason: int, now: int) -> None:
        """A message of ours ended on its way, as its answer would say."""
        if kind == codes.ERROR:
            self.error(peer, failed.id, reason, "", now)
        else:
            self._origin.undelivered(peer, failed.endpoint, failed.number, reason, now)

    def part(self, peer: Peer, frame: Frame, now: int) -> None:
        """PART came; one that is not the next, or beyond the window, ends the stream."""
        pending = self._stream_of(peer, frame.id)
        if pending is None:
            return
        room = pending.next_part - pending.consumed < pending.window
        if frame.number & 0xFFFF != pending.next_part & 0xFFFF or not room:
            self._lose_part(pending, now)
            return
        pending.next_part += 1
        self._extend(pending, now)
        outcome = outcomes.Outcome(frame.id, outcomes.PARTIAL)
        outcome.payload = frame.payload
        outcome.format = frame.format
        outcome.type_id = frame.type_id
        self._origin.host.emit(outcome)

    def _lose_part(self, pending: Pending, now: int) -> None:
        self._origin.call_off(pending, now)
        self._origin.finish(pending, outcomes.UNDELIVERED, codes.PART_LOST)

    def _extend(self, pending: Pending, now: int) -> None:
        """A stream's timeout counts from its last part."""
        pending.expires = now + pending.timeout_ms
        self._origin.timers.arm(pending, pending.expires)

    def end(self, peer: Peer, id: int, parts: int, now: int) -> None:
        """END came; a count that differs means that parts are missing."""
        pending = self._stream_of(peer, id)
        if pending is None:
            return
        if parts != pending.next_part & 0xFFFF:
            self._lose_part(pending, now)
        else:
            self._origin.finish(pending, outcomes.ENDED)

    def consume_part(self, token: int, now: int) -> None:
        """The program took a part: let the server send on when half of the window is used."""
        pending = self._origin.pending.get(token)
        if pending is None or pending.consumed >= pending.next_part:
            return
        pending.consumed += 1
        if pending.consumed % max(1, pending.window // 2) == 0:
            self.tell_window(pending, now)
