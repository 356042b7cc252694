"""Messaging, as it asks its node for more than routing does."""

from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.routing.host import RoutingHost


class MessagingHost(RoutingHost):
    """The node, as messaging knows it."""

    def announce(self, endpoint: Endpoint) -> None:
        """One of our own came or went."""
        raise NotImplementedError
