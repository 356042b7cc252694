"""Routing, as it asks its node for more than a link does: to hear of nodes, ways and endpoints that come and
go, and to be rid of what cannot be sent.
"""

from busway.protocol.link.face import Intake, LinkFace, LinkHost
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.wire.messages import Frame


class RoutingHost(LinkHost):
    """The node, as routing knows it."""

    def name_of(self, uuid: bytes) -> str:
        """The name by which this node's program, or a leaf of it, calls an endpoint; "" if by none."""
        raise NotImplementedError

    def make_peer(self, node_id: bytes, incarnation: bytes) -> Peer:
        """The record of a node that is new."""
        raise NotImplementedError

    def link_joined(self, link: LinkFace, peer: Peer) -> None:
        """It is among its peer's links now."""
        raise NotImplementedError

    def link_ended(self, link: LinkFace, by_peer: bool) -> None:
        """It is not among our links any more."""
        raise NotImplementedError

    def node_up(self, peer: Peer, now: int) -> None:
        """It can be reached."""
        raise NotImplementedError

    def node_down(self, peer: Peer, unsent: "list[Frame]", now: int) -> None:
        """It cannot be reached any more; `unsent`: what was not written."""
        raise NotImplementedError

    def node_missing(self, peer: Peer, seen: bool, now: int) -> None:
        """It is about to be down, and has not said goodbye; `seen`: as a link with it has shown."""
        raise NotImplementedError

    def node_parted(self, key: bytes, realm: int, now: int) -> bool:
        """A node that cannot be reached has said goodbye, says somebody behind a link of that realm. Returns
        whether it counted as missing until now.
        """
        raise NotImplementedError

    def kept(self) -> "list[bytes]":
        """Endpoints of which all subscribers have to be known, those that come later, too."""
        raise NotImplementedError

    def way_changed(self, peer: Peer, lost: bool, now: int) -> None:
        """The next hop is another; `lost`: there was none."""
        raise NotImplementedError

    def ways_cost(self, entries: "dict[bytes, Entry]", moved: bool, now: int) -> None:
        """The cost of the way to a holder of these endpoints has changed; `moved`: its realm, too."""
        raise NotImplementedError

    def endpoint_up(self, entry: Entry, known: "Entry | None", now: int) -> None:
        """Another node has an endpoint; `known` is what was known of that before."""
        raise NotImplementedError

    def endpoint_down(self, entry: Entry, now: int) -> None:
        """Another node has it no longer."""
        raise NotImplementedError

    def own_entries(self) -> "list[Entry]":
        """The endpoints of this node, also those of realm PROCESS."""
        raise NotImplementedError

    def name_lost(self, uuid: bytes, now: int) -> None:
        """An endpoint of ours belongs to another node."""
        raise NotImplementedError

    def name_free(self, uuid: bytes, now: int) -> None:
        """Its holders are others now: an endpoint that was lost may be ours again, if none is in conflict."""
        raise NotImplementedError

    def looked_up(self, uuid: bytes, now: int) -> None:
        """A lookup is over."""
        raise NotImplementedError

    def holds(self, uuid: bytes) -> bool:
        """Whether that is an endpoint of ours, of any realm."""
        raise NotImplementedError

    def wanted(self) -> "list[bytes]":
        """Endpoints that messages of ours wait for."""
        raise NotImplementedError

    def ask_again(self, now: int) -> None:
        """There is somebody new to ask for all of them."""
        raise NotImplementedError

    def syncing(self, syncing: bool, now: int) -> None:
        """Whether there is a link on which the first directory exchange is not over."""
        raise NotImplementedError

    def arm_sweep(self, now: int) -> None:
        """There is something that may fall idle."""
        raise NotImplementedError

    def turned_away(self, hop: LinkFace, frame: Frame, reason: int) -> None:
        """The only link that is left does not take that message, for that reason."""
        raise NotImplementedError

    def credit_lost(self, intake: Intake) -> None:
        """A link has ended that was to tell its limit."""
        raise NotImplementedError

    def answered(self, peer: Peer, answer: Frame, now: int) -> None:
        """A message of ours had come back, and ended here: what its peer would have said."""
        raise NotImplementedError
