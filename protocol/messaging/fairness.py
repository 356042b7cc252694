"""The order of service where few handlers run at once: callers share them, those behind one link together.

Each link has its turn, and among its origins each; what one of them has sent stays in order. A handler that
only waits for its caller to read makes room for others where that caller's link has more than its share.
Knows no handler but as a message that one works on, which whoever runs them tells.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.endpoints import InFlow, Message, Receiver
from busway.protocol.messaging.ranks import Ranks
from busway.protocol.messaging.requests import Request
from busway.protocol.messaging.sides import ReceiverSide
from busway.protocol.routing.peers import Peer
from busway.protocol.timers import Timer
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LOOK_MS: "Final" = 1000  # between two looks for handlers that make room


class Lane:
    """Messages that wait, of the origins behind one link: each has its turn."""

    __slots__ = ("link", "origins", "turns")

    def __init__(self, link: "LinkFace | None") -> None:
        self.link = link
        self.origins: "dict[Peer, Fifo]" = {}
        self.turns = Fifo()  # of those, the next one first

    def add(self, message: Message) -> None:
        peer = message.flow.peer
        waiting = self.origins.get(peer)
        if waiting is None:
            waiting = self.origins[peer] = Fifo()
            self.turns.push(peer)
        waiting.push(message)

    def peek(self) -> Message:
        """The message whose turn it is, without taking it."""
        message: Message = self.origins[self.turns.peek()].peek()
        return message

    def next(self) -> Message:
        """The message whose turn it is; there is one."""
        peer: Peer = self.turns.pop()
        waiting = self.origins[peer]
        message: Message = waiting.pop()
        if len(waiting):
            self.turns.push(peer)
        else:
            del self.origins[peer]
        return message


class Crew(Timer):
    """The handlers of one receiver, at most `limit` at once."""

    __slots__ = (
        "_at_work",
        "_host",
        "_known",
        "_lanes",
        "_links",
        "_places",
        "_receiver",
        "_turns",
        "limit",
    )

    def __init__(self, host: ReceiverSide, receiver: Receiver, limit: int) -> None:
        self.deadline = -1
        self.limit = limit
        self._host = host
        self._receiver = receiver
        self._at_work: "dict[Message, LinkFace | None]" = {}  # with the link that each came over
        self._links: "dict[LinkFace | None, int]" = {}  # how many of each
        self._known: "dict[Message, bool]" = {}  # those in the queue that have a place in a lane
        self._lanes: "dict[LinkFace | None, Lane]" = {}
        self._places: "dict[Peer, Lane]" = {}  # of the origins
        self._turns = Fifo()  # of the lanes, the next one first

    def __len__(self) -> int:
        return len(self._at_work)

    def began(self, message: Message) -> None:
        """A handler works on it."""
        link = message.flow.session
        self._at_work[message] = link
        self._links[link] = self._links.get(link, 0) + 1
        if link is not None and self._host.handlers.bounds:
            self._host.handlers.began(message, link)

    def ended(self, message: Message) -> None:
        """... no longer."""
        link = self._at_work.pop(message)
        if self._host.handlers.at_work:
            self._host.handlers.ended(message)
        self._links[link] -= 1
        if not self._links[link]:
            del self._links[link]

    def arrange(self) -> bool:
        """Put the message whose turn it is at the front of the queue, which is not empty. False: no handler
        may begin with any, for their links have as many at work as they may.
        """
        queue = self._receiver.queue
        head = queue.head
        items = queue.items
        if len(items) - head == items[head].flow.queued:
            if self._known:  # places that are not left would count as turns later
                self._forget()
            return self._may_begin(items[head])  # all of one origin: the commonest case
        if self._receiver.ranks is not None:
            return self._arrange_ranks(self._receiver.ranks, items)
        self._learn(items, head)
        held: "list[Lane]" = []
        found = False
        while len(self._turns) and not found:
            lane: Lane = self._turns.pop()
            if self._may_begin(lane.peek()):
                found = self._bring(lane, items, head)
            else:
                held.append(lane)
        for lane in held:
            self._turns.push(lane)
        return found

    def _arrange_ranks(self, ranks: Ranks, items: "list[Message]") -> bool:
        """The same where messages of several priorities wait: of those of the highest that may begin the one
        whose link, and then whose origin, has the fewest at work.
        """
        self._forget()
        origins: "dict[Peer, int]" = {}
        for message in self._at_work:
            origins[message.flow.peer] = origins.get(message.flow.peer, 0) + 1
        for start, stop in ranks.groups():
            best = -1
            least = (0, 0)
            seen: "dict[Peer, bool]" = {}
            for at in range(start, stop):
                flow = items[at].flow
                if flow.peer in seen:
                    continue
                seen[flow.peer] = True
                load = (self._links.get(flow.session, 0), origins.get(flow.peer, 0))
                if (best < 0 or load < least) and self._may_begin(items[at]):
                    best, least = at, load
            if best >= 0:
                ranks.bring(best)
                return True
        return False

    def _may_begin(self, message: Message) -> bool:
        handlers = self._host.handlers
        return not handlers.bounds or handlers.may_begin(message.flow.session, self._receiver)

    def _bring(self, lane: Lane, items: "list[Message]", head: int) -> bool:
        """Put its next message at the front; False if that has been dropped meanwhile."""
        message = lane.next()
        self._leave(message, lane)
        try:
            at = items.index(message, head)
        except ValueError:
            return False
        if at > head:
            items.insert(head, items.pop(at))
        return True

    def _learn(self, items: "list[Message]", head: int) -> None:
        """Give those that have come since the last time their places. They are behind the others."""
        at = len(items)
        while at > head and items[at - 1] not in self._known:
            at -= 1
        while at < len(items):
            message = items[at]
            at += 1
            self._known[message] = True
            self._lane_of(message.flow).add(message)

    def _forget(self) -> None:
        """Nobody has a place."""
        self._known = {}
        self._lanes = {}
        self._places = {}
        self._turns = Fifo()

    def _leave(self, message: Message, lane: Lane) -> None:
        del self._known[message]
        if message.flow.peer not in lane.origins:
            del self._places[message.flow.peer]
        if lane.origins:
            self._turns.push(lane)
        else:
            del self._lanes[lane.link]

    def _lane_of(self, flow: InFlow) -> Lane:
        """That of its link; of an origin whose way has changed that in which the others of its wait."""
        lane = self._places.get(flow.peer) or self._lanes.get(flow.session)
        if lane is None:
            lane = self._lanes[flow.session] = Lane(flow.session)
            self._turns.push(lane)
        self._places[flow.peer] = lane
        return lane

    def press(self, now: int) -> None:
        """All are at work, and messages wait: see whether some only wait for their callers."""
        if self.deadline < 0:
            self._host.timers.arm(self, now + _LOOK_MS)

    def fire(self, now: int) -> None:
        if not len(self._receiver.queue) or len(self._at_work) < self.limit:
            return
        request = self._most_stalled(now)
        if request is not None:
            text = "its answer was not read while others waited for a handler"
            self._host.give_up(request, codes.QUEUE_FULL, text, now)
        self._host.timers.arm(self, now + _LOOK_MS)

    def _most_stalled(self, now: int) -> "Request | None":
        """Of those who have more than their share the one who has not read for longest, and long."""
        links: "dict[LinkFace | None, bool]" = {}
        origins: "dict[Peer, int]" = {}
        for flow in self._receiver.endpoint.active:
            if flow.queued:
                links[flow.session] = True
                origins[flow.peer] = 0
        for message, link in self._at_work.items():
            links[link] = True
            origins[message.flow.peer] = origins.get(message.flow.peer, 0) + 1
        link_max = self.limit // len(links)
        origin_max = self.limit // len(origins)
        found: "Request | None" = None
        longest = now - codes.STALLED_MS
        for message, link in self._at_work.items():
            many = self._links[link] > link_max or origins[message.flow.peer] > origin_max
            if many and isinstance(message, Request):
                since = self._host.stalled_since(message)
                if 0 <= since <= longest:
                    longest = since - 1
                    found = message
        return found
