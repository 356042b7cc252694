"""Names of this node that another one keeps (docs/protocol.md, section 4.3): what becomes of their receivers,
until they are free again.
"""

from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.messaging.events import ReceiverEvent
from busway.protocol.messaging.holding import Holding
from busway.protocol.outcomes import RECEIVER_BACK
from busway.protocol.wire import codes


class Yielding(Holding):
    """Gives names up and takes them back."""

    yielded: "dict[bytes, list[Endpoint]]"  # that other nodes keep, of each realm one

    def withdraw(self, endpoint: Endpoint, now: int) -> None:
        """An endpoint is not registered here any more."""
        raise NotImplementedError

    def announce(self, endpoint: Endpoint) -> None:
        """One of our own came or went; of the built-in one nobody hears."""
        raise NotImplementedError

    def yield_name(self, uuid: bytes, now: int) -> None:
        """Another node keeps this name (section 4.3): what is queued can still be taken, and nothing more
        comes until the name is free.
        """
        endpoint = self.endpoints[uuid]
        endpoint.yielded = True
        self.withdraw(endpoint, now)
        for flow in list(endpoint.active):
            endpoint.deactivate(flow)
        self.yielded.setdefault(uuid, []).append(endpoint)
        for receiver in endpoint.receivers:
            self.host.emit(ReceiverEvent(receiver))

    def regain_name(self, uuid: bytes, now: int) -> None:
        """A name that was lost is registered again, if nobody else has it."""
        if uuid in self.endpoints:
            return
        for endpoint in self.yielded.get(uuid, ()):
            if self.directory.rival(uuid, endpoint.kind, endpoint.realm) is None:
                self._regain(endpoint, now)
                return

    def _regain(self, endpoint: Endpoint, now: int) -> None:
        self.forget_yielded(endpoint)
        uuid = endpoint.uuid
        self.endpoints[uuid] = endpoint
        if endpoint.kind == codes.BROADCAST:
            self.subscribe(endpoint)
        self.origin.forget_target(uuid)
        self.announce(endpoint)
        for receiver in endpoint.receivers:
            self.host.emit(ReceiverEvent(receiver, RECEIVER_BACK))
        self.origin.unresolved.settle(uuid, now)

    def forget_yielded(self, endpoint: Endpoint) -> None:
        endpoint.yielded = False
        yielded = self.yielded[endpoint.uuid]
        yielded.remove(endpoint)
        if not yielded:
            del self.yielded[endpoint.uuid]
