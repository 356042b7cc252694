"""Lookups of a gateway, and of those who ask one: what nobody on this side has is asked for beyond the
fabric, something outside the core by which gateways find each other and are linked on demand.

A fabric is no line that is asked: who asks there is the host (events.FabricEvent), who says when it is done
(`done`), and who of those with a link has to be asked (`found`). A link to a gateway beyond is a slow one: it
has lookups. What is special is that a gateway is told little over it (router.py, `Router.wish`): the way to
this node, and to those of its side that are in touch with something beyond; never what came from beyond. And
it is answered at once, with what this side has. So a gateway keeps nothing of other sides but what is in use,
and no message takes more than one step over the fabric. Knows nothing of messages.
"""

from busway.protocol.routing.advertising import adverts, is_fabric, is_leaf, show
from busway.protocol.routing.events import FabricEvent
from busway.protocol.routing.lookups import Lookups, Query, is_in_line
from busway.protocol.routing.names import Names
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.routing.topology import Topology
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address
from busway.protocol.wire.messages import HaveFrame, Holder, signal, with_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_AGAIN_MS: "Final" = 5000  # between two lookups of the subscribers of one endpoint
_FABRIC: "Final" = b"fabric"  # in place of the key of a node that is asked
_NOT_ASKED = (codes.PATTERNS, codes.LOOKUP, codes.INTROSPECTION)


class GatewayLookups(Lookups):
    """The questions of a node that may be a gateway."""

    def __init__(self, mesh: Topology, names: Names) -> None:
        super().__init__(mesh, names)
        self._asked: "dict[Address, int]" = {}  # those without known subscribers: when they were asked for
        self._called: "dict[bytes, str]" = {}  # names by which others publish, as they say

    # Asking

    def targets(self, uuid: bytes, asker: "Peer | None") -> "list[Peer]":
        """As in general, but that of gateways beyond the fabric only those are asked who are found there."""
        found = super().targets(uuid, asker)
        if self._mesh.fabric:
            found = [peer for peer in found if not is_fabric(peer.hop)]
        return found

    def ask_for_subscribers(self, address: Address, now: int) -> None:
        """Ask for subscribers behind the slow links and the fabric, now and then."""
        if now - self._asked.get(address, -_AGAIN_MS) < _AGAIN_MS:
            return
        if self._mesh.fabric or self.targets(address, None):
            if len(self._asked) >= codes.WATCHES_MAX:
                self._asked = {}
            self._asked[address] = now
            self.ask(address, now)

    def ask_gateways(self, address: Address, now: int) -> None:
        """There are subscribers to what this node begins to publish. A gateway, or a slow link's router, is
        asked for more of them: nothing is sent its way without.
        """
        if self._mesh.fabric or self._mesh.directory.is_known(codes.LOOKUP):
            self.ask_for_subscribers(address, now)

    def send_who(self, peer: "Peer", address: Address) -> None:
        """Say also what an endpoint is called: patterns beyond a fabric are found by that."""
        name = self._mesh.host.name_of(address) if len(address) == codes.ID_SIZE else ""
        if not name or peer.hop is None or peer.hop.lookups:
            super().send_who(peer, address)
            return
        self.expect(self.name_of(peer), address)
        frame = signal(codes.WHO, peer.key, address)
        frame.options = with_name(None, name)
        peer.hop.answer(frame)

    def start(
        self, address: Address, asker: "Peer | None", link: "LinkFace | None", now: int
    ) -> "Query | None":
        """As in general, and beyond the fabric, unless the question came from there."""
        if self._mesh.fabric and asker is not None and is_fabric(asker.hop):
            return None
        super().start(address, asker, link, now)
        self._ask_beyond(address, link, now)
        return self.queries.get(address)

    def _ask_beyond(self, uuid: Address, link: "LinkFace | None", now: int) -> None:
        if not self._mesh.fabric or uuid in _NOT_ASKED or len(uuid) != codes.ID_SIZE:
            return
        query = self.begin_query(uuid, link, now)
        if query is not None and self.waits_for(query, _FABRIC):
            name = self._called.get(uuid) or self._mesh.host.name_of(uuid)
            self._mesh.host.emit(FabricEvent(uuid, name))

    def begin(self, now: int) -> None:
        """This node is a gateway from now on. Those of its side hear so, and ask; it asks for its own sake,
        and its leaves'.
        """
        mesh = self._mesh
        wanted = dict.fromkeys(mesh.host.wanted() + mesh.host.kept())
        for link in mesh.connections:
            if link.state == codes.OPEN and is_leaf(link):
                wanted.update(dict.fromkeys(adverts(link).watched))
        for uuid in wanted:
            self._ask_beyond(uuid, None, now)

    def met(self, peer: "Peer", now: int) -> None:
        if not (self._mesh.fabric and is_fabric(peer.hop)):
            super().met(peer, now)

    # What the host says

    def found(self, node_id: bytes, uuid: bytes, now: int) -> bool:
        """A gateway says on the fabric that its side has a node or endpoint, or of PATTERNS patterns that
        mean it: ask it over its link. Returns whether there is one.
        """
        peer = self._mesh.routes.peers.get(node_id)
        if peer is None or not is_fabric(peer.hop):
            return False
        query = self.begin_query(uuid, None, now)
        if query is not None:
            self.waits_for(query, peer.key)
            self.send_who(peer, uuid)  # also if it was asked before: that may have been lost with a link
        return True

    def done(self, uuid: bytes, now: int) -> None:
        """All have been asked who answered on the fabric."""
        query = self.queries.get(uuid)
        if query is not None and self.is_over(query, _FABRIC):
            self.conclude(query, now)

    def is_inside(self, node_id: bytes) -> bool:
        """Whether a node is on this side: on the fabric there is nothing to ask it."""
        peer = self._mesh.routes.peers.get(node_id)
        return node_id == self._mesh.me.node_id or (peer is not None and not is_fabric(peer.hop))

    def held(self, uuid: bytes) -> int:
        """The kind of an endpoint that this side has, as far as others beyond may know of it; 0: none."""
        mine = self._mesh.own(uuid)
        if mine is not None and mine.realm == codes.GLOBAL:
            return mine.kind
        for entry in self._mesh.directory.known(uuid)[: codes.HOLDERS_SEEN_MAX]:
            if _is_held(entry):
                return entry.kind
        return 0

    # Answering

    def who(
        self, connection: "LinkFace", peer: "Peer", uuid: bytes, realm: int, now: int, name: str = ""
    ) -> None:
        """As in general. A gateway beyond the fabric is answered at once: nobody is asked in its place."""
        if name and self._mesh.fabric and len(uuid) == codes.ID_SIZE:
            if uuid not in self._called and len(self._called) >= codes.ENTRIES_MAX:
                del self._called[next(iter(self._called))]
            self._called[uuid] = name
        query = self.queries.get(uuid)
        if query is None or not is_fabric(peer.hop) or realm > peer.metric >> 14:
            super().who(connection, peer, uuid, realm, now)
            return
        watched = self.watched_by(connection, peer, uuid)
        if watched is None:
            self.answer(peer, uuid, now)
        else:
            watched[uuid] = self.tell_one(peer, uuid, watched[uuid], now)

    def answer(self, peer: "Peer", uuid: bytes, now: int) -> "HaveFrame | None":
        """As in general. Ways are written before what is said when it is written, so they are shown now."""
        if self._mesh.fabric:
            self.holders(peer, uuid)
        return super().answer(peer, uuid, now)

    def holders(self, asker: "Peer", uuid: bytes, beyond: bool = False) -> "list[Holder]":
        """As in general; to a gateway beyond the fabric those of this side. Either side of the fabric is to
        know the way to who asks, and to those who are named.
        """
        found = super().holders(asker, uuid, beyond)
        mesh = self._mesh
        if not mesh.fabric:
            return found
        if is_fabric(asker.hop):
            found = [holder for holder in found if self._is_ours(holder, uuid)]
            for holder in found:
                show(mesh, asker.hop, holder.key)
            return found
        for holder in found:
            peer = mesh.routes.find(holder.key)
            if peer is not None:
                show(mesh, peer.hop, asker.key)
        return found

    def _is_ours(self, holder: Holder, uuid: bytes) -> bool:
        mesh = self._mesh
        peer = mesh.routes.find(holder.key)
        if peer is None or is_fabric(peer.hop):
            return holder.key == mesh.me.key
        entry = peer.entries.get(uuid)
        return not holder.kind or (entry is not None and _is_held(entry))


def _is_held(entry: Entry) -> bool:
    """Whether an endpoint of another node is one of this side: its own line tells of it, as none does that
    comes over a link with lookups.
    """
    return entry.realm == codes.GLOBAL and is_in_line(entry.peer, entry.uuid)
