"""The way to each node: distance vector with feasibility, loop-free at every instant (docs/routing.md).

The rules of RFC 8966, sections 2.4 to 2.6, over sessions that lose nothing: so an update is sent once, and an
idle network is silent. Knows no bytes, and a link only as something to be told that there is news for it.

What must hold: if B is A's next hop towards a source, over a session that both have open, then FD(B) is
strictly better than FD(A); FD is the best distance that a node has ever sent for the source. Round a circle
FD would get better all the time and be the same at the end: so next hops never lead in one.

Why it holds: a new next hop must offer better than FD (`_select`), and its own FD was no worse before that
offer left (`tell`), or it is the source itself, where every way ends, whatever its number; each link makes a
distance worse (`extend`); what was said in a session ends with it (`close`); and FD is forgotten only when
nobody can have this node as next hop, for each withdrawal was acknowledged as processed (`_may_forget`). Who
has nothing feasible left asks the source for a newer number, by which every offer becomes so (`_want`): that
is why a way that exists is found.

The proof: docs/routing.md; RFC 8966, section 2.4; J. J. Garcia-Luna-Aceves, Loop-free routing using diffusing
computations (IEEE/ACM Transactions on Networking, 1993), the source node condition. tests/simulation looks
for loops after every single event, in random networks and in all those of a small model; each rule left out
makes some.
"""

from busway.protocol.routing.children import Child
from busway.protocol.routing.damping import CALM_MS, FREE, Damper
from busway.protocol.routing.distances import COST_MAX, INFINITE, better, extend, newer
from busway.protocol.routing.goodbyes import Goodbyes
from busway.protocol.timers import Timer, Timers
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final

_WORST: "Final" = 0x20000  # the rank of no way
_HOLD_MS: "Final" = 10000  # longer than news takes to go round the largest ring
_HELD_MAX: "Final" = 1024  # routes without a way; beyond that they are not held
_RAISES_MAX: "Final" = 64  # of our own number in a second
_STRIDE_MAX: "Final" = 0x4000  # of a number that is asked for, before that which is there
_PASSES_MAX: "Final" = 16  # of requests for one source, one close behind the other
_TURNS_MAX: "Final" = 32  # changes of a route in a second, behind the first, that are told at once
_FLEETING_MS: "Final" = 10000  # a source that is there for less is fleeting
_FLEETING_MAX: "Final" = 128  # of a neighbour in a second, until those that come are told late
NOTHING: "Final" = -1  # no distance
PARENT: "Final" = -2  # told: "I reach it through you", which offers nothing
DEPARTED: "Final" = -4  # to be told: no way, and the source has said goodbye


def rank(route: "Route", neighbour: "Neighbour", offer: int) -> int:
    """The place of an offer among those of one source, the smallest first: by realm, then a session with the
    source itself before whatever others tell of it, then by cost. A leaf has no way but its session, so none
    beyond this machine comes before that.
    """
    metric = extend(offer & 0xFFFF, neighbour.realm, neighbour.cost)
    if metric == INFINITE:
        return _WORST
    realm = metric >> 14
    if neighbour.route is not route:
        return realm << 15 | 0x4000 | metric & COST_MAX
    if neighbour.leaf:
        realm = min(realm, codes.LOCALNET)
    return realm << 15 | metric & COST_MAX


# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NOT_DIRTY: "dict[Route, bool]" = {}
_NO_NUMBERS: "dict[Route, int]" = {}
_NONE_MARKED: "dict[int, Route]" = {}


class Neighbour:
    """The routing side of one link: what each side has told the other in this session (rule 6)."""

    def __init__(self, link: "Any", realm: int, cost: int, leaf: bool) -> None:
        self.link = link  # the host's
        self.addressing = False  # it knows DEPARTED
        self.realm = realm
        self.cost = cost
        self.leaf = leaf
        self.slow = False  # lookups instead of a pushed directory
        self.shown: "dict[Route, bool] | None" = None  # of a gateway beyond the fabric (fabric.py)
        self.route: "Route | None" = None  # to the node at the other end
        self.stub = False  # it passes nothing on
        self.told: "dict[Route, int]" = {}  # a distance or PARENT; absent: nothing, or withdrawn
        self.dirty = _NOT_DIRTY  # told is not what it should be
        self.requests = _NO_NUMBERS  # SEQREQ to be written: the number, plus WIDE
        self.children: "dict[Route, Child]" = {}  # it reaches them through us
        self.withdrawn = 0  # withdrawals sent: RETRACT and PARENT
        self.acked = 0  # ... of which so many have been processed
        self.marks = _NO_NUMBERS  # number of the last withdrawal of each, until it is acked
        self.marked = _NONE_MARKED  # ... and whose each of these is
        self.offered = 0  # sources that it offers
        self.offered_max = codes.ROUTES_LINK_MAX  # ... and may
        self.over = 0  # what it told and we had no room for
        self.fleeting = 0  # sources that it led to but for a moment, in the second that began then
        self.fleeting_at = -CALM_MS
        self.processed = 0  # withdrawals of theirs that we have processed
        self.acks_due = False

    def make_dirty(self, route: "Route") -> None:
        """Notes a source of which it was told something else than it should be."""
        if not self.dirty:
            self.dirty = {}
        self.dirty[route] = True


WIDE: "Final" = 0x10000


class Route(Timer):
    """The way to one source, a node in one incarnation, as far as it is known."""

    __slots__ = (
        "asked",
        "came_at",
        "distance",
        "feasible",
        "key",
        "offers",
        "owner",
        "passed",
        "passes",
        "passed_at",
        "retry_ms",
        "router",
        "turned_at",
        "turns",
        "via",
    )

    def __init__(self, router: "Router", key: bytes) -> None:
        self.deadline = -1
        self.router = router
        self.key = key  # node id and incarnation, 20 bytes
        self.via: "Neighbour | None" = None  # the next hop
        self.distance = NOTHING  # ours: what we would advertise
        self.feasible = NOTHING  # FD: the best distance ever sent
        self.offers: "dict[Neighbour, int]" = {}  # distances that neighbours advertise
        self.asked = NOTHING  # sequence number that we asked for last, while we need one
        self.passed = NOTHING  # the last request of others that we passed on
        self.passed_at = 0
        self.passes = 0  # requests that were passed on since then
        self.retry_ms = 0
        self.came_at = 0
        self.turned_at = -CALM_MS  # when it changed first, of the last changes close behind each other
        self.turns = 0  # ... and how many followed
        self.owner: object = None  # the host's

    def fire(self, now: int) -> None:
        if self.asked >= 0:
            self.router.retry(self, now)
        else:
            self.router.expire(self)


class Router:
    """The routes of one node.

    Args: `key` node id and incarnation; `seqno` the first sequence number; `changed` is called when the next
    hop or distance of a route has changed, `touched` when a neighbour has something to be written,
    `forgotten` when a route is removed.
    """

    def __init__(
        self,
        key: bytes,
        timers: Timers,
        changed: "Callable[[Route, int], None]",
        touched: "Callable[[Neighbour], None]",
        forgotten: "Callable[[Route], None]",
        seqno: int = 0,
    ) -> None:
        self.timers = timers
        self.changed = changed
        self.touched = touched
        self.forgotten = forgotten
        self.transit = False
        self.hold_ms = _HOLD_MS
        self.raises = 0  # of our own number, in the second that began then
        self.raised_at = 0
        self.strode_at = -codes.SEQREQ_MS  # when it rose by more than one
        self.me = Route(self, key)
        self.me.distance = seqno << 16
        self.routes: "dict[bytes, Route]" = {key: self.me}
        self.neighbours: "list[Neighbour]" = []
        self.offered = 0  # offers over links that leave this machine
        self.fading: "dict[Route, bool]" = {}  # without a way; to be forgotten when rule 5 allows
        self.goodbyes = Goodbyes()
        # Who was told that there is no way, and not whether the source said goodbye.
        self.owed: "dict[Route, dict[Neighbour, bool]]" = {}
        self.damper = Damper(timers, _TURNS_MAX, self._release)
        self.counters = {
            "route_changes": 0,
            "routes_over": 0,
            "routes_held": 0,
            "seqno_requests": 0,
            "seqno_raised": 0,
        }

    # The table

    def route(self, key: bytes) -> Route:
        """The record of a source, made if it is new."""
        route = self.routes.get(key)
        if route is None:
            route = self.routes[key] = Route(self, key)
        return route

    def open(self, neighbour: Neighbour, key: bytes, now: int) -> None:
        """A session begins. To a leaf we are the origin of its route (rule 7); a router is told all."""
        route = neighbour.route = self.route(key)
        self.goodbyes.forget(route)
        self.neighbours.append(neighbour)
        if neighbour.leaf:
            after = 0 if route.feasible < 0 else (route.feasible >> 16) + 1 & 0xFFFF
            self.update(neighbour, route, after << 16, now)
            return
        for other in self._offered():
            self._mark_for(neighbour, other)

    def _offered(self) -> "list[Route]":
        """The routes that others may be told: hundreds may come at once, so not all are looked at in vain."""
        if self.transit:
            return list(self.routes.values())
        leaves = [neighbour.route for neighbour in self.neighbours if neighbour.leaf]
        return [self.me] + [route for route in leaves if route is not None]

    def close(self, neighbour: Neighbour, now: int) -> None:
        """A session is over: nothing holds that was learned or told in it (rule 6)."""
        self.neighbours.remove(neighbour)
        for owed in self.owed.values():
            owed.pop(neighbour, None)
        own = [] if neighbour.route is None else [neighbour.route]  # most have no other
        for route in own + list(self.routes.values()):
            if not neighbour.offered:
                break
            if self._take_back(neighbour, route):
                self._select(route, now)
        if neighbour.route is not None and neighbour.route.via is None:
            self.fading[neighbour.route] = True
        for route in list(self.fading):
            if route.deadline < 0:
                self._forget(route, now)

    def part(self, route: Route, now: int) -> None:
        """Its source has said goodbye, to us or to who says so: if all ways to it go now, it is not lost."""
        if self.goodbyes.note(route, now) and route.via is None and not route.offers:
            self._tell_owed(route)

    def has_parted(self, route: Route, now: int) -> bool:
        """Whether it is without a way, and its source has said goodbye."""
        return route.via is None and not route.offers and self.goodbyes.count(route, now)

    def _tell_owed(self, route: Route) -> None:
        for neighbour in self.owed.get(route, ()) if route not in self.damper.held else ():
            self._mark_for(neighbour, route)

    def set_transit(self, transit: bool) -> None:
        """Whether others' routes are offered, too (rule 8)."""
        if transit != self.transit:
            self.transit = transit
            for route in self.routes.values():
                self._mark(route)

    def set_cost(self, neighbour: Neighbour, cost: int, now: int) -> None:
        """The cost of a link changed. Staying on a next hop whose metric rose is safe (rule 2)."""
        neighbour.cost = cost
        for route in list(self.routes.values()):
            if neighbour in route.offers:
                self._select(route, now)

    # What a neighbour tells

    def update(self, neighbour: Neighbour, route: Route, distance: int, now: int) -> None:
        """It offers a route; a metric without end is a withdrawal that nobody counts. What there is no room
        for is left alone, as if it had not been told.
        """
        neighbour.children.pop(route, None)
        if route is self.me:
            return
        fresh = False
        if distance & 0xFFFF == INFINITE:
            self._drop_offer(neighbour, route)
        else:
            fresh = neighbour not in route.offers
            if fresh and not self._may_offer(neighbour, route):
                if route.via is None:
                    self.fading[route] = True
                self._forget(route, now)
                return
            route.offers[neighbour] = distance
        self._select(route, now, fresh)
        self._forget(route, now)

    def withdraw(self, neighbour: Neighbour, route: Route, now: int) -> None:
        """It offers the route no longer."""
        self.note_withdrawal(neighbour)
        neighbour.children.pop(route, None)
        if self._drop_offer(neighbour, route):
            self._select(route, now)
            self.changed(route, now)  # also if it was not the next hop: it may still be used
        elif route.via is None and route is not self.me:
            self.fading[route] = True
        self._forget(route, now)

    def _may_offer(self, neighbour: Neighbour, route: Route) -> bool:
        """Whether there is room for one more offer of a neighbour: always for that of itself; else each link
        leaves room to the others, and those that leave this machine to the programs on it.
        """
        far = neighbour.realm > codes.USERSPACE
        if neighbour.route is not route:
            full = neighbour.offered >= neighbour.offered_max
            if full or (far and self.offered >= codes.ROUTES_FAR_MAX) or len(self.routes) > codes.ROUTES_MAX:
                neighbour.over += 1
                self.counters["routes_over"] += 1
                return False
        neighbour.offered += 1
        self.offered += 1 if far else 0
        return True

    def _take_back(self, neighbour: Neighbour, route: Route) -> bool:
        """A neighbour's offer is gone; whether there was one."""
        if route.offers.pop(neighbour, NOTHING) < 0:
            return False
        neighbour.offered -= 1
        self.offered -= 1 if neighbour.realm > codes.USERSPACE else 0
        return True

    def note_withdrawal(self, neighbour: Neighbour) -> None:
        """It offers a route no longer, whichever. We say that we have seen it (rule 5)."""
        neighbour.processed = neighbour.processed + 1 & 0xFFFF
        neighbour.acks_due = True
        self.touched(neighbour)

    def _drop_offer(self, neighbour: Neighbour, route: Route) -> bool:
        if not self._take_back(neighbour, route):
            return False
        neighbour.requests.pop(route, None)
        return True

    def adopt(self, neighbour: Neighbour, route: Route, child: Child, now: int) -> None:
        """It reaches the source through us: no offer, and a child of the source's tree (rule 11)."""
        self.withdraw(neighbour, route, now)
        if self.routes.get(route.key) is route:
            neighbour.children[route] = child

    def acknowledge(self, neighbour: Neighbour, count: int, now: int) -> bool:
        """`count` of our withdrawals, modulo 65536, were processed; False if there were not so many."""
        before = neighbour.acked
        acked = before + ((count - before) & 0xFFFF)
        if acked > neighbour.withdrawn:
            return False
        neighbour.acked = acked
        for mark in range(before + 1, acked + 1):
            route = neighbour.marked.pop(mark, None)
            if route is not None:
                del neighbour.marks[route]
                self._forget(route, now)
        return True

    def request(self, neighbour: Neighbour, route: Route, wanted: int, now: int) -> None:
        """SEQREQ: it wants a sequence number of at least `wanted` (RFC 8966, section 3.8.1.2)."""
        seqno = wanted & 0xFFFF
        if route is self.me:
            mine = self.me.distance >> 16
            if newer(seqno, mine) and self._may_raise(now):
                self.counters["seqno_raised"] += 1
                self.me.distance = (mine + self._stride(seqno - mine & 0xFFFF, now) & 0xFFFF) << 16
                self._mark(self.me)
            return
        if route.via is not None and not newer(seqno, route.distance >> 16):
            return  # what it wants is on its way to it
        if now - route.passed_at < codes.SEQREQ_MS // 2:
            if route.passed in (wanted, wanted | WIDE) or route.passes >= _PASSES_MAX:
                return
            route.passes += 1
        else:
            route.passes = 1
        route.passed = wanted
        route.passed_at = now
        self._ask(route, wanted, neighbour, now)

    def _may_raise(self, now: int) -> bool:
        """Not so often that a neighbour which does not read for a while takes the newest number for an old
        one.
        """
        if now - self.raised_at >= codes.SEQREQ_MS:
            self.raised_at = now
            self.raises = 0
        self.raises += 1
        return self.raises <= _RAISES_MAX

    def _stride(self, gap: int, now: int) -> int:
        """How far our number rises for one who wants it by `gap`: by more than one if somebody has lied to
        them, and then as seldom as a neighbour that does not read for a while can follow.
        """
        if gap == 1 or now - self.strode_at < codes.SEQREQ_MS:
            return 1
        self.strode_at = now
        return min(gap, _STRIDE_MAX)

    # What we tell

    def wish(self, neighbour: Neighbour, route: Route) -> int:
        """The news that a neighbour should have been told: a distance, PARENT, NOTHING or DEPARTED."""
        if route.via is neighbour:
            return NOTHING if neighbour.leaf else PARENT
        if route in self.goodbyes.heard and self._is_farewell(neighbour, route):
            return DEPARTED
        if route.distance < 0 or neighbour.leaf or route is neighbour.route:
            return NOTHING
        if neighbour.shown is not None and route is not self.me:
            if route not in neighbour.shown or route.via is None or route.via.shown is not None:
                return NOTHING
        if self.transit or route is self.me or (route.via is not None and route.via.leaf):
            return route.distance
        return NOTHING

    def show(self, neighbour: Neighbour, route: Route) -> None:
        """A gateway beyond the fabric has to do with a source from now on."""
        if neighbour.shown is not None and route not in neighbour.shown:
            neighbour.shown[route] = True
            if route not in self.damper.held:
                self._mark_for(neighbour, route)

    def _is_farewell(self, neighbour: Neighbour, route: Route) -> bool:
        """Whether a neighbour that heard of a source, or that its way is gone, is to hear of its goodbye."""
        if route.via is not None or route.offers or not self.goodbyes.is_told(route):
            return False
        return neighbour.addressing and (route in neighbour.told or neighbour in self.owed.get(route, ()))

    def tell(self, neighbour: Neighbour, route: Route) -> int:
        """The news about a route, now that it is written: FD falls before the bytes leave (rule 2)."""
        news = self.wish(neighbour, route)
        if route in self.owed:
            self.owed[route].pop(neighbour, None)
        if news >= 0:
            if route is not self.me and better(news, route.feasible):
                route.feasible = news
            neighbour.told[route] = news
            return news
        neighbour.withdrawn += 1
        if not neighbour.marks:
            neighbour.marks = {}
            neighbour.marked = {}
        neighbour.marked.pop(neighbour.marks.get(route, 0), None)
        neighbour.marks[route] = neighbour.withdrawn
        neighbour.marked[neighbour.withdrawn] = route
        if news == PARENT:
            neighbour.told[route] = PARENT
            return news
        neighbour.told.pop(route, None)
        if news == NOTHING and route.via is None and neighbour.addressing:
            self.owed.setdefault(route, {})[neighbour] = True
        return news

    def news(self, neighbour: Neighbour) -> "list[Route]":
        """The routes to be told about, in order: withdrawals first, then the nearest (rule 3)."""
        dirty = neighbour.dirty
        neighbour.dirty = _NOT_DIRTY
        order = [
            (self._urgency(neighbour, route), route.key, route)
            for route in dirty
            if self.wish(neighbour, route) != neighbour.told.get(route, NOTHING)
        ]
        order.sort()  # no two have the same key
        return [route for _, _, route in order]

    def _urgency(self, neighbour: Neighbour, route: Route) -> int:
        wish = self.wish(neighbour, route)
        return -1 if wish < 0 else wish & 0xFFFF

    # Choosing

    def _select(self, route: Route, now: int, fresh: bool = False) -> None:
        """The best of the present next hop, a session with the source itself and the feasible offers; ask for
        a new sequence number if that is not the best of all (rules 2 and 4). `fresh`: there is an offer where
        there was none.
        """
        via = route.via
        distance = route.distance
        best = _WORST
        found: "Neighbour | None" = None
        infeasible = _WORST
        if via is not None:
            offer = route.offers.get(via, NOTHING)
            if offer >= 0:
                best = rank(route, via, offer)
                found = via if best < _WORST else None
        for neighbour, offer in route.offers.items():
            place = rank(route, neighbour, offer)
            if place < best:
                if better(offer, route.feasible) or (neighbour.route is route and not neighbour.leaf):
                    best = place
                    found = neighbour
                else:
                    infeasible = min(infeasible, place)
        route.via = found
        route.distance = NOTHING if found is None else self._distance(route, found)
        if found is not None and route.feasible >= 0:
            self._keep_up(route)
        if route in self.goodbyes.heard:
            if found is not None:
                self.goodbyes.has_way(route, via is None)
            elif not route.offers and self.goodbyes.without_way(route, now):
                self._tell_owed(route)
        if found is not via or route.distance != distance:
            self.counters["route_changes"] += 1
            if via is None or found is None:
                self._note_fleeting(route, via, now)
            if now - route.turned_at >= self.damper.calm_ms:
                route.turned_at = now
                route.turns = 0
            else:
                self._turn(route, now)
            self._mark(route)
            self.changed(route, now)
        elif found is None and not route.offers:
            self.changed(route, now)  # not even an infeasible way is left
        if found is None:
            self.fading[route] = True
        else:
            self.fading.pop(route, None)
        if infeasible < best:
            self._want(route, now, found is None and (fresh or via is not None))
        else:
            self._satisfied(route)
        if found is not None and found is not via:
            self._pass_again(route, now)

    def _distance(self, route: Route, via: Neighbour) -> int:
        offer = route.offers[via]
        return offer >> 16 << 16 | extend(offer & 0xFFFF, via.realm, via.cost)

    def _pass_again(self, route: Route, now: int) -> None:
        """A request of others that went a way which is gone, or had none, goes on now."""
        if route.passed >= 0 and now - route.passed_at < codes.SEQREQ_MS:
            if newer(route.passed & 0xFFFF, route.distance >> 16):
                self._ask(route, route.passed, None, now)

    def _keep_up(self, route: Route) -> None:
        """With nobody to tell for a very long time FD would come to pass for newer than the newest."""
        if 0x4000 <= (route.distance >> 16) - (route.feasible >> 16) & 0xFFFF < 0x8000:
            route.feasible = route.distance

    def _turn(self, route: Route, now: int) -> None:
        """It has changed within this second before."""
        route.turns += 1
        if route.turns > FREE and self.damper.turn(route, route.turns, len(self.routes), now):
            self.counters["routes_held"] += 1

    def _note_fleeting(self, route: Route, former: "Neighbour | None", now: int) -> None:
        """There is a way now, or none any more. Who leads to one source after the other, and to none for
        long, is not passed on at once any more; nobody else's news is late by that.
        """
        via = route.via
        if via is not None:
            route.came_at = now
            if via.fleeting > _FLEETING_MAX and now - via.fleeting_at < self.damper.calm_ms:
                self.damper.hold(route, now)
                self.counters["routes_held"] += 1
        elif former is not None and now - route.came_at < _FLEETING_MS:
            if now - former.fleeting_at >= CALM_MS:
                former.fleeting_at = now
                former.fleeting = 0
            former.fleeting += 1

    def _release(self, route: Route, now: int) -> None:
        """Tell what was held; what changes again within a second waits for the next time."""
        route.turned_at = now
        route.turns = _TURNS_MAX
        self._mark(route)

    def _mark(self, route: Route) -> None:
        """Without transit only few are told of another's route, or have been."""
        if route in self.damper.held:
            return
        via = route.via
        everyone = self.transit or route is self.me or (via is not None and via.leaf)
        for neighbour in self.neighbours:
            if everyone or neighbour is via or route in neighbour.told or route in neighbour.dirty:
                self._mark_for(neighbour, route)

    def tell_again(self, neighbour: Neighbour, route: Route, told: int) -> None:
        """Note that what a neighbour was told does not hold any more: `told` does."""
        neighbour.told[route] = told
        if route not in self.damper.held:
            self._mark_for(neighbour, route)

    def _mark_for(self, neighbour: Neighbour, route: Route) -> None:
        if self.wish(neighbour, route) == neighbour.told.get(route, NOTHING):
            neighbour.dirty.pop(route, None)
        elif route not in neighbour.dirty:
            neighbour.make_dirty(route)
            self.touched(neighbour)

    # Sequence numbers (rule 4)

    def _want(self, route: Route, now: int, urgent: bool) -> None:
        """Ask at once if we have just lost our way, or have none and see a new one, or asked for nothing yet;
        else the timer asks again. A number that came lowered FD, too: asking for the next one then would race
        with a better way that is only slower, for ever.
        """
        if route.asked >= 0 and not urgent:
            return
        route.retry_ms = codes.SEQREQ_MS
        self._ask_for_next(route, 0, now)

    def _ask_for_next(self, route: Route, wide: int, now: int) -> None:
        route.asked = (route.feasible >> 16) + 1 & 0xFFFF
        self.timers.arm(route, now + route.retry_ms)
        self._ask(route, route.asked | wide, None, now)

    def _satisfied(self, route: Route) -> None:
        route.asked = NOTHING
        self.timers.disarm(route)

    def retry(self, route: Route, now: int) -> None:
        """The number asked for has not come: ask everyone who offers the source."""
        route.retry_ms = min(route.retry_ms * 2, codes.SEQREQ_MAX_MS)
        self._ask_for_next(route, WIDE, now)

    def _ask(self, route: Route, wanted: int, asker: "Neighbour | None", now: int) -> None:
        """Send SEQREQ on: to the next hop, else to the best offer, feasible or not; if WIDE to all offers."""
        if wanted & WIDE:
            for neighbour in route.offers:
                if neighbour is not asker:
                    self._send_request(neighbour, route, wanted, now)
            return
        towards = route.via
        if towards is None or towards is asker:
            towards = self._best_offer(route, asker)
        if towards is not None:
            self._send_request(towards, route, wanted, now)

    def _best_offer(self, route: Route, asker: "Neighbour | None") -> "Neighbour | None":
        best = _WORST
        found: "Neighbour | None" = None
        for neighbour, offer in route.offers.items():
            place = rank(route, neighbour, offer)
            if place < best and neighbour is not asker:
                best = place
                found = neighbour
        return found

    def _send_request(self, neighbour: Neighbour, route: Route, wanted: int, now: int) -> None:
        """Ask one neighbour. Too far before the number that it has counts as older; what is older stays."""
        offer = route.offers[neighbour] >> 16
        if _STRIDE_MAX < (wanted - offer) & 0xFFFF <= 0x8001:  # FD and 1 to what is no newer
            wanted = wanted & WIDE | offer + _STRIDE_MAX & 0xFFFF
        if neighbour.leaf:
            self._answer_for(neighbour, route, wanted & 0xFFFF, now)
            return
        self.counters["seqno_requests"] += 1
        if not neighbour.requests:
            neighbour.requests = {}
        neighbour.requests[route] = wanted
        self.touched(neighbour)

    def _answer_for(self, leaf: Neighbour, route: Route, seqno: int, now: int) -> None:
        """A leaf is not asked: we are the origin of its route (rule 7)."""
        if newer(seqno, route.offers[leaf] >> 16):
            self.counters["seqno_raised"] += 1
            self.update(leaf, route, seqno << 16, now)

    # Forgetting (rule 5)

    def _forget(self, route: Route, now: int) -> None:
        """Remove a route without a way whose withdrawal everyone has processed and that nobody offers. If it
        was ever told, after a while: the argument does not need that, but FD keeps a route to what is gone
        from running round through those who forgot it, for as long as its metric lasts.
        """
        if self._may_forget(route):
            if route.feasible < 0 or not self.hold_ms or len(self.fading) > _HELD_MAX:
                self._remove(route)
            elif route.deadline < 0:
                self.timers.arm(route, now + self.hold_ms)

    def expire(self, route: Route) -> None:
        """FD has been held long enough."""
        if self._may_forget(route):
            self._remove(route)

    def _remove(self, route: Route) -> None:
        del self.fading[route]
        del self.routes[route.key]
        self.goodbyes.forget(route)
        self.owed.pop(route, None)
        self.damper.held.pop(route, None)
        self.timers.disarm(route)
        self.forgotten(route)

    def _may_forget(self, route: Route) -> bool:
        if route not in self.fading or route.offers:
            return False
        for neighbour in self.neighbours:
            if route in neighbour.told or route in neighbour.marks or neighbour.route is route:
                return False
            if route in neighbour.children or route in neighbour.dirty:
                return False  # it will say so when it has left; it is still to hear of a goodbye
        return True
