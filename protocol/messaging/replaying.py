"""Retained values at their destination (docs/protocol.md, section 11.2): which of them are news, and which a
new receiver gets that were there before it.
"""

from busway.protocol.messaging.admitting import Admitting, start_anew
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.endpoints import Endpoint, InFlow, Message, Receiver
from busway.protocol.messaging.lasts import Lasts
from busway.protocol.messaging.marked import Last, MarkedMessage
from busway.protocol.messaging.retained import Retained
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, uuid_of
from busway.protocol.wire.ascending import read_ascending, write_ascending
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.patterns import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_DOUBT_MS: "Final" = 2000  # after which who is back has sent anew what it keeps, if it knows that it was away
_LOOKS_MAX: "Final" = 65536  # at values in a second, for the questions that come over one link
_LOOKS_MS: "Final" = 1000
_REPLAYS: "Final" = b"\5"  # behind an endpoint's uuid: the pair of what is sent anew (LANE: normal, replay)


class Replaying(Admitting):
    """Takes in the last values of others, and gives them to whom they are new."""

    lasts: Lasts
    roots: "dict[bytes, bytes]"  # by leaf and address: the router that numbers its copies for patterns
    retained: Retained
    doubts: Call  # arms itself
    looked: "dict[LinkFace, tuple[int, int]]"  # by link: since when, and how many values of late
    denied: "dict[bytes, bool]"  # endpoints to which values came that a guard denied

    def arrive(self, session: "LinkFace", peer: Correspondent, frame: Frame, now: int) -> None:
        """A message of another node, from one of our links."""
        raise NotImplementedError

    def refuse(self, peer: Peer, kind: int, address: Address, seq: int, id: int, reason: int) -> None:
        """Tell the origin that a message is not taken."""
        raise NotImplementedError

    def put(self, receiver: Receiver, message: Message, size: int) -> None:
        """Queue a message at a receiver, or apply its policy."""
        raise NotImplementedError

    def follow_root(self, peer: Correspondent, frame: Frame) -> None:
        """A leaf's copy for a pattern came, which its router has numbered: another router begins anew."""
        key = peer.key + frame.endpoint
        former = self.roots.get(key, b"")
        if former != frame.destination:
            if len(self.roots) >= codes.ENTRIES_MAX:
                del self.roots[next(iter(self.roots))]
            self.roots[key] = frame.destination
            flow = peer.in_flows.get(frame.endpoint)
            if flow is not None:
                start_anew(flow, frame.number - 1)

    def entry_of(self, endpoint: Endpoint) -> Entry:
        """An endpoint of ours as others are told of it."""
        raise NotImplementedError

    def arrive_retained(self, session: "LinkFace", peer: Correspondent, frame: Frame, now: int) -> None:
        """A broadcast that is the last value of its name now, or says that there is none any more: nobody is
        given what has come before in another way.
        """
        endpoint = self.endpoints[uuid_of(frame.endpoint)]
        options = frame.options
        assert options is not None
        realm = session.realm if frame.route is None else max(session.realm, frame.route.realm)
        if endpoint.realm < realm:
            self.arrive(session, peer, frame, now)  # which refuses it
            return
        if self.gate.guard is not None and not self.admits(session, peer, endpoint, frame, now):
            self.denied[endpoint.uuid] = True
            return
        news = self.lasts.is_news(peer.key, endpoint.uuid, options.name, options.retain)
        if news and not options.retain & codes.CLEARED:
            self.arrive(session, peer, frame, now)
        else:
            self.pass_over(session, peer, endpoint, frame.endpoint, frame.number, now)
        flow = peer.in_flows.get(frame.endpoint)
        if news and flow is not None and flow.received & 0xFFFF == frame.number & 0xFFFF:
            self._note(session, peer, endpoint, frame, now)

    def _note(
        self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, frame: Frame, now: int
    ) -> None:
        options = frame.options
        assert options is not None
        last = Last(options.retain, frame.payload, frame.format, frame.type_id, now)
        self.lasts.note(session, peer.key, endpoint.uuid, options.name, last)

    def is_replayed(
        self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, frame: Frame, now: int
    ) -> bool:
        """Whether what is not of the endpoint's kind is a last value that is sent anew to this node: then its
        receivers get it, unless they had it. Or the question which have come.
        """
        options = frame.options
        if endpoint.kind != codes.BROADCAST or options is None or not options.retain:
            return False
        if frame.kind == codes.REQUEST:
            self._tell_what_came(session, peer, endpoint, frame, now)
        elif frame.kind == codes.SEND and self.is_meant(frame):
            self._take_replayed(session, peer, endpoint, frame, now)
        return frame.kind != codes.CONFIRM

    def _take_replayed(
        self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, frame: Frame, now: int
    ) -> None:
        options = frame.options
        assert options is not None
        if not self._may_publish(session, peer, endpoint, options.name):
            self.denied[endpoint.uuid] = True
            reason = self.told(session, peer, endpoint, codes.NO_PERMISSION)
            self.refuse(peer, codes.SEND, frame.endpoint, frame.number, 0, reason)
            return
        if self.lasts.is_news(peer.key, endpoint.uuid, options.name, options.retain):
            self._note(session, peer, endpoint, frame, now)
            last = Last(options.retain, frame.payload, frame.format, frame.type_id, now)
            for receiver in list(endpoint.receivers):
                self._give(receiver, peer, options.name, last)
            return
        known = self.lasts.confirm(peer.key, endpoint.uuid, options.name, options.retain)
        if known is not None:
            self._give_lacking(peer, options.name, known)

    def _may_publish(self, link: "LinkFace", peer: Correspondent, endpoint: Endpoint, name: str) -> bool:
        """Whether a guard lets a publisher's value in, of that name, "" if it is the endpoint's own."""
        uuid = b"" if name else endpoint.uuid
        name = name or endpoint.name
        return self.gate.permits(link, peer.node_id, codes.MAY_PUBLISH, uuid, name, endpoint.realm)

    def _give_lacking(self, peer: Correspondent, name: str, last: Last) -> None:
        """A value had been in doubt, and holds: those get it that have come meanwhile."""
        lacking = last.lacking
        last.lacking = None
        for receiver in [] if lacking is None else lacking:
            if not receiver.closed:
                self._give(receiver, peer, name, last)

    def _tell_what_came(
        self, session: "LinkFace", peer: Correspondent, endpoint: Endpoint, frame: Frame, now: int
    ) -> None:
        """A publisher asks which of its values this node lacks, and says by that which there are."""
        options = frame.options
        assert options is not None
        numbers = read_ascending(bytes(frame.payload))
        hop = peer.hop
        if not self.is_visible(session, peer, endpoint):
            self.refuse(peer, codes.REQUEST, frame.endpoint, frame.number, frame.id, codes.NO_ENDPOINT)
            return
        if not numbers or hop is None or not hop.has_room() or not self._may_look(session, peer, now):
            return  # it asks again
        through = options.retain
        lacking, doubted = self.lasts.compare(peer.key, endpoint.uuid, numbers[0], through, numbers[1:])
        for name, last in doubted:
            if self._may_publish(session, peer, endpoint, name):
                self._give_lacking(peer, name, last)
        answer = Frame(codes.REPLY, peer.key, b"", 0, write_ascending(lacking), codes.RAW, b"")
        answer.id = frame.id
        hop.enqueue(answer)

    def _give(self, receiver: Receiver, peer: Correspondent, name: str, last: Last) -> None:
        """A value from before it was there, to a receiver."""
        flow = self._replays_of(peer, receiver.endpoint, last.at)
        flow.received += 1
        message = MarkedMessage(flow, flow.received, last.payload, last.format, last.type_id, 0, last.at)
        message.mark(name, retained=True)
        self.put(receiver, message, last.size)

    def _replays_of(self, peer: Correspondent, endpoint: Endpoint, now: int) -> InFlow:
        address = endpoint.uuid + _REPLAYS
        flow = peer.in_flows.get(address)
        if flow is None:
            self.marked = True  # as others whose address is no uuid
            flow = peer.in_flows[address] = InFlow(peer, endpoint, 0, now)
        flow.last_used = max(flow.last_used, now)
        return flow

    def give_lasts(self, receiver: Receiver) -> None:
        """A receiver is new: what this node itself has published, and what has come for other receivers of
        its endpoint.
        """
        endpoint = receiver.endpoint
        pattern = self.patterns.get(endpoint.uuid)
        for uuid, kept in list(self.retained.values.items()):
            if uuid == endpoint.uuid:
                self._give(receiver, self.me, "", kept)
            elif pattern is not None and kept.name and matches(pattern, kept.name):
                if kept.format != codes.OBJECT or endpoint.realm == codes.PROCESS:
                    self._give(receiver, self.me, kept.name, kept.copy_for(uuid))
        if len(endpoint.receivers) > 1:
            for source in self.lasts.sources():
                for name, last in self.lasts.of(source, endpoint.uuid):
                    self._give_known(receiver, source, name, last)

    def _give_known(self, receiver: Receiver, source: bytes, name: str, last: Last) -> None:
        """Give it what has come for others: now, or when the publisher is back and has it still. One that is
        farther away than the endpoint can be seen is not there; and of one that may publish it no longer
        nothing is given.
        """
        endpoint = receiver.endpoint
        peer = self.routes.find(source)
        hop = None if peer is None else peer.hop
        away = peer is None or hop is None or peer.metric >> 14 > endpoint.realm
        if away and last.lacking is None:
            last.lacking = []
        if last.lacking is not None:
            last.lacking = [other for other in last.lacking if not other.closed] + [receiver]
        elif peer is not None and hop is not None and self._may_publish(hop, talk(peer), endpoint, name):
            self._give(receiver, talk(peer), name, last)

    def forget_lasts(self, uuid: bytes) -> None:
        """Nobody here has subscribed to an endpoint any more."""
        self.lasts.forget(uuid)
        self.denied.pop(uuid, None)

    def look_for_denied(self) -> None:
        """A guard may let in now what it has denied: tell the endpoints once more, to be sent it anew."""
        denied = self.denied
        self.denied = {}
        for uuid in denied:
            self.mesh.lines.put_own(self.entry_of(self.endpoints[uuid]))

    def _may_look(self, link: "LinkFace", peer: Correspondent, now: int) -> bool:
        """Whether a question that came over a link is looked at, with all that has come of its publisher."""
        since, looks = self.looked.get(link, (now, 0))
        if now - since >= _LOOKS_MS:
            since, looks = now, 0
        if looks >= _LOOKS_MAX:
            return False
        self.looked[link] = since, looks + self.lasts.count_of(peer.key)
        return True

    def link_ended(self, link: "LinkFace") -> None:
        """A link is gone."""
        self.looked.pop(link, None)
        self.lasts.link_ended(link)

    # Publishers that were away

    def returned(self, now: int) -> None:
        """A node is back: it sends its values anew, or does not know that it was away."""
        if self.lasts.count and self.doubts.deadline < 0:
            self.timers.arm(self.doubts, now + _DOUBT_MS)

    def look_for_doubts(self, now: int) -> None:
        """Tell the endpoints once more whose values are still in doubt: their publishers send those anew then
        which they keep.
        """
        told: "dict[bytes, bool]" = {}
        for source in self.lasts.sources():
            peer = self.routes.find(source)
            if peer is not None and peer.reachable:
                for uuid in self.lasts.take_doubted(source):
                    told[uuid] = True
        for uuid in told:
            self.mesh.lines.put_own(self.entry_of(self.endpoints[uuid]))
