"""The targets of messages to selectors: of the endpoints that it means those that count, and of these the
cheapest. Knows nothing of what becomes of the message; sender.py does with it as with one to several holders.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.messaging.flows import OutFlow, Target
from busway.protocol.messaging.sides import SenderSide, price
from busway.protocol.routing.peers import Entry
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, address_of, expression_of, is_without_own, lane_at, sought
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.messaging.anycast import Crowd


class SelectedFrame(Frame):
    """A message to a selector: when it goes, its endpoint is that of whoever gets it."""

    __slots__ = ("selector",)

    def __init__(self, kind: int, address: Address, payload: object, format: int, type_id: bytes) -> None:
        super().__init__(kind, b"", address, 0, payload, format, type_id)
        self.selector = address


class Match:
    """An endpoint that a selector means, at one node."""

    __slots__ = ("cost", "credit", "peer", "uuid")

    def __init__(self, entry: Entry, cost: int, credit: int) -> None:
        self.peer = entry.peer
        self.uuid = entry.uuid
        self.cost = cost  # of the way and the endpoint together
        self.credit = credit


class Selecting:
    """The targets of selectors."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self._selections = origin.mesh.selections
        self.used: "dict[Address, bool]" = {}  # that have been asked for, and are not known since
        self.crowds: "dict[Address, Crowd]" = {}  # of those with several equally cheap holders

    def check(self, address: Address) -> None:
        """Raise LocalError for an address whose expression is none."""
        try:
            self._selections.find(expression_of(address))
        except Refusal as refusal:
            raise LocalError(refusal.text) from None

    def message(
        self,
        kind: int,
        address: Address,
        payload: object,
        format: int,
        type_id: bytes,
        node_id: bytes,
        now: int,
    ) -> SelectedFrame:
        """A message to a selector. What others have told of that is asked again, if it is old. Raises
        LocalError.
        """
        self.check(address)
        if node_id or kind == codes.PUBLISH:
            raise LocalError("a selector goes with send and request, and picks the node itself")
        self._origin.mesh.selects.refresh(sought(address), now)
        return SelectedFrame(kind, address, payload, format, type_id)

    def target(self, address: Address, now: int) -> "Target | None":
        """The cheapest that an address means; None if there is none."""
        flows: "list[OutFlow]" = []
        best = -1
        for match in self.matches(address):
            if best < 0 or match.cost < best:
                best = match.cost
                flows = []
            if match.cost == best:
                to = address_of(match.uuid, lane_at(address))
                flows.append(self._origin.flow(match.peer, to, match.credit, now))
        if not flows:
            return None
        if len(self.used) >= codes.SELECTIONS_MAX:
            self._forget_first()
        target = self._origin.targets[address] = Target(codes.ANYCAST)
        target.flows = flows
        self.used[address] = True
        return target

    def matches(self, address: Address) -> "list[Match]":
        """All that an address means and that count, the cheapest first."""
        origin = self._origin
        found: "list[Match]" = []
        counted: "dict[bytes, tuple[Endpoint | None, dict[Entry, None]]]" = {}
        for entry in self._selections.find(expression_of(address)).found.values():
            uuid = entry.uuid
            if uuid not in counted:
                own, entries = origin.counted(uuid)
                counted[uuid] = own, dict.fromkeys(entries)
            local, others = counted[uuid]
            if entry.peer is origin.me:
                if local is not None and not is_without_own(address):
                    found.append(Match(entry, local.cost, local.opening))
            elif entry in others:
                found.append(Match(entry, price(entry), entry.credit))
        found.sort(key=lambda match: (match.cost, match.peer.key, match.uuid))
        return found

    def forget(self) -> None:
        """Holders, or ways to them, have changed: all are found anew."""
        for address in self.used:
            self._origin.targets.pop(address, None)
        self.used = {}
        for crowd in self.crowds.values():
            crowd.wake()

    def _forget_first(self) -> None:
        """The selector that was asked for before the others is found anew, if it is used again."""
        address = next(iter(self.used))
        del self.used[address]
        self._origin.targets.pop(address, None)

    def waits_for(self, flow: OutFlow) -> bool:
        """Whether something waits for one of several, of which that is one."""
        return any([len(crowd.waiting) > 0 and flow in crowd.flows for crowd in self.crowds.values()])

    def wake(self, flow: OutFlow) -> None:
        """It may be free for another now."""
        for crowd in self.crowds.values():
            if len(crowd.waiting) and flow in crowd.flows:
                crowd.wake()
