"""The questions that are asked beside those for single endpoints, as lookups.py sees them."""

from busway.protocol.routing.peers import Peer
from busway.protocol.wire.address import Address
from busway.protocol.wire.messages import HaveFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace


class SelectorQuestions:
    """The questions for selectors (selects.py)."""

    def ask(self, address: Address, now: int) -> bool:
        """Whether it is worth to wait for an answer: somebody is being asked."""
        raise NotImplementedError

    def is_asking(self, address: Address) -> bool:
        """Whether an answer is waited for."""
        raise NotImplementedError

    def tells(self, key: bytes, uuid: bytes) -> bool:
        """Whether somebody was asked for a selector and says that a node has that endpoint."""
        raise NotImplementedError

    def refused(self, peer: Peer, uuid: bytes) -> None:
        """A node that was said to have an endpoint has it no longer."""
        raise NotImplementedError

    def met(self, now: int) -> None:
        """There is somebody new to ask."""
        raise NotImplementedError

    def peer_lost(self, peer: Peer, now: int) -> None:
        """A node is gone."""
        raise NotImplementedError


class PatternQuestions:
    """The question for all subscriptions by pattern (pattern_lookups.py)."""

    wanted: bool  # this node publishes by names, so it asks

    def asked(self, name: bytes) -> None:
        """That one has been asked for them."""
        raise NotImplementedError

    def want(self, now: int) -> None:
        """This node, or a leaf of its, publishes by a name."""
        raise NotImplementedError

    def is_wanted_of(self, peer: Peer, slow: bool) -> bool:
        """Whether somebody new, behind a slow link or not, is asked: for this node, or for others."""
        raise NotImplementedError

    def admits(self, name: bytes, frame: HaveFrame, asked: bool) -> bool:
        """Whether a HAVE of that one counts: its endpoint was `asked` for, or is a pattern and those were."""
        raise NotImplementedError

    def not_told(self, name: bytes) -> "list[bytes]":
        """One has told all: the patterns of which it had told before, and does not any more."""
        raise NotImplementedError

    def untold(self, name: bytes, uuid: bytes) -> bool:
        """One says that nobody has it; whether it is a pattern that nobody asked for by itself."""
        raise NotImplementedError

    def watch(self, link: "LinkFace", peer: Peer) -> None:
        """It is told of them from now on."""
        raise NotImplementedError

    def has_told(self, name: bytes, uuid: bytes) -> bool:
        """Whether that one was asked for them, and this is one that it has told."""
        raise NotImplementedError

    def answer(self, peer: Peer, now: int) -> bool:
        """Tell it of all there are. Returns whether that is done: else it is later."""
        raise NotImplementedError

    def changed(self, uuid: bytes, now: int) -> None:
        """The holders of an endpoint are others now."""
        raise NotImplementedError

    def moved(self, peer: Peer, now: int) -> None:
        """A node is reached by another link."""
        raise NotImplementedError

    def way_changed(self, peer: Peer, now: int) -> None:
        """The way to a node is another, or as long as it was no more."""
        raise NotImplementedError

    def peer_lost(self, peer: Peer) -> None:
        """A node is gone."""
        raise NotImplementedError
