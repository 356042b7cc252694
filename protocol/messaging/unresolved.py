"""Messages to an endpoint that nobody is known to have: they wait for one to appear (ttl), or for the word
that there is none. So do questions where an endpoint or node is.

The origin's side; who is asked, and what is answered, is in lookups.py.
"""

from busway.protocol import outcomes
from busway.protocol.errors import WrongKindError
from busway.protocol.messaging.flows import NEXT, UNPLACED, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, is_selector, sought
from busway.protocol.wire.messages import signal


class Unresolved:
    """The messages that wait, by address, in the order of sending."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.waiting: "dict[Address, dict[Pending, int]]" = {}  # each with its turn: not all dicts keep one
        self._turn = 0
        self.selectors: "dict[Address, bool]" = {}  # of these addresses
        self.arrived: "dict[bytes, bool]" = {}  # our own endpoints that some of these wait for no longer

    def park(self, pending: Pending, ttl_ms: int, now: int) -> None:
        uuid = sought(pending.out.endpoint)
        pending.state = NEXT[pending.state, UNPLACED]
        pending.has_ttl = ttl_ms > 0
        asked = self._look_up(pending, now) or self._is_asking(pending)
        if pending.has_ttl and uuid not in pending.asked and uuid != codes.INTROSPECTION:
            pending.asked.append(uuid)  # when that node comes, those who are asked say what it has
            self._origin.lookups.ask(uuid, now)
        if not pending.has_ttl and not self._origin.syncing and not asked:
            self.fail(pending)
            return
        self._wait(pending)
        until = now + (ttl_ms or codes.SYNC_MS)
        self._origin.timers.arm(pending, until if pending.expires < 0 else min(until, pending.expires))

    def _wait(self, pending: Pending) -> None:
        self._turn += 1
        address = pending.out.endpoint
        if is_selector(address):
            self.selectors[address] = True
        self.waiting.setdefault(address, {})[pending] = self._turn

    def _look_up(self, pending: Pending, now: int) -> bool:
        """Ask for the node that is wanted, then for the endpoint; False if there is nobody to ask, any
        more.
        """
        wanted = sought(pending.out.endpoint)
        pinned = pending.pinned
        if pinned and pinned != self._origin.me.node_id and pinned not in self._origin.routes.peers:
            wanted = pinned
        if wanted in pending.asked or wanted == codes.INTROSPECTION:
            return False
        pending.asked.append(wanted)
        return self._origin.lookups.ask(wanted, now)

    def ask_again(self, now: int) -> None:
        """There is somebody new to ask."""
        for waiting in list(self.waiting.values()):
            for pending in _in_order(waiting):
                pending.asked = []
                self._look_up(pending, now)

    def looked_up(self, id: bytes, now: int) -> None:
        """A lookup is over: those who waited for it go, or fail."""
        for address, waiting in list(self.waiting.items()):
            for pending in _in_order(waiting):
                if sought(address) == id or pending.pinned == id:
                    del waiting[pending]
                    self._settle_one(pending, now)
            if not waiting and self.waiting.get(address) is waiting:
                del self.waiting[address]
            for pending in _in_order(self.waiting.get(address, {})):
                over = id in pending.asked and not pending.has_ttl and not self._origin.syncing
                if over and not self._look_up(pending, now) and not self._is_asking(pending):
                    self.fail(pending)

    def _is_asking(self, pending: Pending) -> bool:
        return any([self._origin.lookups.is_asking(id) for id in pending.asked])

    def fail(self, pending: Pending) -> None:
        out = pending.out
        if out.kind == codes.SIGNAL and is_selector(out.endpoint):
            if self._origin.target(out.endpoint, max(0, pending.expires)) is not None:
                self._origin.finish(pending, outcomes.TRACED)  # though others may still be unknown
                return
        gone = (
            pending.pinned
            and pending.pinned not in self._origin.routes.peers
            and pending.pinned != self._origin.me.node_id
        )
        lost = gone or self._origin.lookups.offline()
        self._origin.finish(pending, outcomes.UNDELIVERED, codes.NO_ROUTE if lost else codes.NO_ENDPOINT)

    def settle(self, uuid: bytes, now: int) -> None:
        """The holders of an endpoint changed: let those go that waited for one."""
        self.arrived.pop(uuid, None)
        for address in self._addresses(uuid):
            for pending in _in_order(self.waiting.pop(address, {})):
                self._settle_one(pending, now)

    def settle_selectors(self, now: int) -> None:
        """The same of all selectors that mean something now, for an endpoint may be one of many."""
        for address in list(self.selectors):
            if address not in self.waiting:
                del self.selectors[address]
            elif self._origin.target(address, now) is not None:
                self.settle(sought(address), now)

    def _addresses(self, uuid: Address) -> "list[Address]":
        """All that something may wait for and that are looked up as this one."""
        if is_selector(uuid):
            return [address for address in self.selectors if sought(address) == uuid]
        return self._origin.addresses(uuid)

    def _settle_one(self, pending: Pending, now: int) -> None:
        if pending.out.kind == codes.SIGNAL:
            if not self._tell_place(pending, now):
                self._wait(pending)
            return
        try:
            flow = self._origin.flow_for(pending.out.endpoint, pending.pinned, now)
        except WrongKindError:
            self._origin.finish(pending, outcomes.UNDELIVERED, codes.WRONG_KIND)
            return
        if not self._origin.enter(flow, pending, now):
            self._wait(pending)

    def locate(self, id: bytes, timeout_ms: int, ttl_ms: int, now: int) -> int:
        """The node that has an endpoint, or that id: known, or looked up as for a message."""
        pending = self._origin.open(signal(0, b"", id))
        pending.expires = now + timeout_ms
        if is_selector(id):
            self._look_up(pending, now)  # also if something is known: all that it means is wanted
        if not self._tell_place(pending, now):
            self.park(pending, ttl_ms, now)
        return pending.id

    def _tell_place(self, pending: Pending, now: int) -> bool:
        """Of a question where something is: whether the answer is known now, and so told."""
        origin = self._origin
        id = pending.out.endpoint
        if is_selector(id):
            return self._tell_selected(pending, now)
        peer = origin.me if id == origin.me.node_id else origin.routes.peers.get(id)
        if peer is None:
            target = origin.target(id, now)
            if target is None:
                return False
            entries = origin.directory.holders(id)
            if target.flows:
                peer = target.flows[0].peer
            else:
                peer = entries[0].peer if entries else origin.me
        outcome = origin.finish(pending, outcomes.TRACED)
        outcome.node_id = peer.node_id
        return True

    def _tell_selected(self, pending: Pending, now: int) -> bool:
        """Of a question what a selector means: whether all that can be known is, and that is something."""
        origin = self._origin
        if origin.syncing or self._is_asking(pending) or origin.target(pending.out.endpoint, now) is None:
            return False
        origin.finish(pending, outcomes.TRACED)
        return True

    def synced(self, now: int) -> None:
        """Every link has finished its first directory exchange: now "nobody has it" is known."""
        self.settle_selectors(now)
        for waiting in list(self.waiting.values()):
            for pending in _in_order(waiting):
                if not pending.has_ttl and not self._is_asking(pending):
                    self.fail(pending)

    def is_awaited(self, uuid: bytes) -> bool:
        """Whether something waits for an endpoint."""
        return any([address in self.waiting for address in self._addresses(uuid)])

    def remove(self, pending: Pending) -> None:
        address = pending.out.endpoint
        waiting = self.waiting.get(address)
        if waiting is not None and waiting.pop(pending, 0) and not waiting:
            del self.waiting[address]


def _in_order(waiting: "dict[Pending, int]") -> "list[Pending]":
    return sorted(waiting, key=lambda pending: waiting[pending])
