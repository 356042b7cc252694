"""What messaging asks of its node: that the program hears what happened."""

from busway.protocol.messaging.endpoints import Endpoint, Receiver, Request
from busway.protocol.outcomes import Outcome
from busway.protocol.routing.host import RoutingHost


class MessagingHost(RoutingHost):
    """The node, as messaging knows it."""

    def outcome_came(self, outcome: Outcome) -> None:
        """Of a send or request."""
        raise NotImplementedError

    def send_failed(self, endpoint: bytes, node_id: bytes, number: int, reason: int) -> None:
        """A plain message that had been accepted did not arrive."""
        raise NotImplementedError

    def messages_came(self, receiver: Receiver) -> None:
        """Its queue is no longer empty."""
        raise NotImplementedError

    def request_given_up(self, request: Request) -> None:
        """Its origin no longer wants an answer, is gone, or the deadline passed."""
        raise NotImplementedError

    def receiver_taken(self, receiver: Receiver) -> None:
        """Another node keeps the name."""
        raise NotImplementedError

    def receiver_asked(self, receiver: Receiver) -> None:
        """For the first time a receiver that answers nothing was sent a request."""
        raise NotImplementedError

    def announce(self, endpoint: Endpoint) -> None:
        """One of our own came or went."""
        raise NotImplementedError
