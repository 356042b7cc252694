"""Which of several equally cheap holders of an anycast endpoint gets a message, and what waits for one of
them.

A request goes where the fewest are outstanding, a plain send to each in turn; one with files or regions only
to those who can have them, if anybody can. What nobody may get yet waits here, in order, and not at one of
them: so whoever is free first gets it. Knows flows, and nothing of links.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.messaging.correspondent import release
from busway.protocol.messaging.flows import NEXT, PARKED, OutFlow, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.timers import Timer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PATIENCE_MS: "Final" = (
    20  # how long a send waits for the holder whose turn it is: credit is on its way if it reads
)
_LAG_MS: "Final" = 500  # how long it is passed over after that, while it has no credit
_DEBT_MAX: "Final" = 16  # sends that a holder may be behind the others, to catch up with
_MEMORY: "Final" = 256  # answers of the quickest holder after which all counts are halved


class Crowd(Timer):
    """The holders of one endpoint, and what waits for them."""

    __slots__ = ("_pumping", "_turn", "address", "flows", "origin", "waiting")

    def __init__(self, origin: SenderSide, address: Address) -> None:
        self.deadline = -1
        self.origin = origin
        self.address = address
        self.flows: "list[OutFlow]" = []
        self.waiting = Fifo()
        self._turn = 0
        self._pumping = False

    def adopt(self, flows: "list[OutFlow]") -> None:
        """These are the holders now; who is new starts level with the one that has got the least."""
        if flows is self.flows:
            return
        former = {flow: True for flow in self.flows}  # there may be thousands
        least = -1
        for flow in flows:
            if flow in former and (least < 0 or flow.share() < least):
                least = flow.share()
        if least < 0:
            for flow in flows:
                flow.base = 0
            least = min([flow.sent for flow in flows])
            for flow in flows:
                flow.base = flow.sent - min(flow.sent - least, _DEBT_MAX)
        for flow in flows:
            if former and flow not in former:
                flow.base = flow.sent - least
        self.flows = flows

    def choose(self, out: Frame, now: int) -> "OutFlow | None":
        """Choose whom a message goes to now; None: it has to wait."""
        if len(self.waiting):
            return None
        return self._pick(out, now)

    def _pick(self, out: Frame, now: int) -> "OutFlow | None":
        flows = self.flows if out.options is None else self.origin.carrying(self.flows, out)
        flow = self._fairest(flows, now) if out.kind == codes.SEND else self._least_busy(flows)
        if flow is not None:
            self._turn += 1
        return flow

    def _may_go(self, flow: OutFlow) -> bool:
        return not len(flow.waiting) and self.origin.ready(flow)

    def _least_busy(self, flows: "list[OutFlow]") -> "OutFlow | None":
        """The holder with the fewest requests outstanding, in turn among equals."""
        count = len(flows)
        most = 0
        for flow in flows:
            if flow.done > most:
                most = flow.done
        if most >= _MEMORY:
            for flow in flows:
                flow.done >>= 1
        best: "OutFlow | None" = None
        for step in range(count):
            flow = flows[(self._turn + step) % count]
            if (best is None or flow.open < best.open) and self._may_go(flow):
                if flow.open < _allowed(flow, most):
                    best = flow
        return best

    def _fairest(self, flows: "list[OutFlow]", now: int) -> "OutFlow | None":
        """The holder that has got the least. One without credit is waited for a moment, so that a burst does
        not all go to the one that answers first, then passed over for a while.
        """
        count = len(flows)
        while True:
            best: "OutFlow | None" = None
            most = 0
            for step in range(count):
                flow = flows[(self._turn + step) % count]
                share = flow.share()
                if share > most:
                    most = share
                if (best is None or share < best.share()) and (now >= flow.lags_until or self._may_go(flow)):
                    best = flow
            if best is None:
                return None
            if self._may_go(best):
                best.base = min(best.base, best.sent - most + _DEBT_MAX)
                best.blocked = -1
                return best
            if best.blocked < 0:
                best.blocked = now
            if now - best.blocked < _PATIENCE_MS:
                self.origin.timers.arm(self, best.blocked + _PATIENCE_MS)
                return None
            best.blocked = -1
            for flow in flows:  # all at once: in turn, many that are stuck would keep all from who is not
                if not self._may_go(flow):
                    flow.lags_until = now + _LAG_MS

    def park(self, pending: Pending, now: int) -> None:
        """Hold a message until a holder may get it."""
        pending.flow = None
        pending.state = NEXT[pending.state, PARKED]
        release(pending)
        self.waiting.push(pending)
        if pending.expires >= 0 and pending.deadline < 0:
            self.origin.timers.arm(pending, pending.expires)
        if len(self.waiting) == 1:
            self.await_one(now)

    def await_one(self, now: int) -> None:
        """Hear of credit, or room."""
        for flow in self.flows:
            if not self.origin.ready(flow):
                self.origin.await_room(flow, now)

    def wake(self) -> None:
        """Somebody may have become free: look at the next turn of the timers."""
        if len(self.waiting):
            self.origin.timers.arm(self, 0)

    def fire(self, now: int) -> None:
        self.pump(now)

    def pump(self, now: int) -> None:
        """Let go what may go, in order."""
        if self._pumping:  # a message to ourselves freed credit: the loop that sent it goes on
            return
        self._pumping = True
        while len(self.waiting):
            target = self.origin.target(self.address, now)
            if target is None or len(target.flows) < 2:  # one holder is left, or none
                for item in self.waiting.drain():
                    self.origin.reroute(item, now)
                break
            self.adopt(target.flows)
            pending: Pending = self.waiting.peek()
            flow = self._pick(pending.out, now)
            if flow is None:
                self.await_one(now)
                break
            self.waiting.pop()
            self.origin.launch(flow, pending, now)
        self._pumping = False


def _allowed(flow: OutFlow, most: int) -> int:
    """How many requests a holder may have outstanding that works on few at once, as its opening credit below
    4 says: the quickest as many as that, and ahead of it a few more the more it has answered; the others in
    proportion. Of the rest credit decides.
    """
    if flow.opening >= codes.OPENING_CREDIT:
        return codes.OUTSTANDING_MAX
    allowed = flow.opening + (most >> 4)
    if most:
        allowed = allowed * flow.done // most
    return max(1, allowed)
