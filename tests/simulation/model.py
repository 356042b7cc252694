"""Exhaustive check of the routing rules: every order in which some changes, messages and notices can happen.

Three or four nodes, one source (node 0: routes to different sources do not meet). From a network at rest each
of a few changes happens once, at any time and in any order; every message is written and read at any time,
links keep order and lose nothing but at their end, which each side notices at any time. States are told apart
by all that the routers know and all that is on its way. Checked in every state: no loop. In every state in
which nothing is on its way: all routes are the fixed point, or one retry makes them so. Afterwards: without
changes and retries no order of events goes round for ever.

Time stands still, but for retries: they come when nothing else is on its way. Nothing is held for a while
before it is forgotten, which leaves more to go wrong.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from busway.protocol.routing.children import Child
from busway.protocol.routing.distances import INFINITE, extend
from busway.protocol.routing.router import DEPARTED, NOTHING, PARENT, Neighbour, Route, Router
from busway.protocol.timers import Timers

SEQNO = 65535  # the next one is 0
REALM = 1
SILENT = 128  # incarnations from here on tell nothing of themselves
COST = 4000  # four hops end at infinity: a route to what is gone has not far to go
UPDATE, RETRACT, CHILD, ASK, ACK, FAREWELL = range(6)
NAMES = ("UPDATE", "RETRACT", "PARENT", "SEQREQ", "ACK", "DEPARTED")
KINDS = {PARENT: CHILD, NOTHING: RETRACT, DEPARTED: FAREWELL}  # by what is told
Frozen = tuple[Any, ...]
Step = tuple[Any, ...]  # one of the functions at the end of this file, and its values
After = tuple[Frozen, tuple[tuple[int, Frozen], ...]]  # a router, and what it has written on which session
KNOWN_MAX = 200_000  # steps that are remembered: more take too much room


class Change(NamedTuple):
    """Things that happen once: `down` and `up` of a pair, `cost` as one side of it sees it, `restart` of a
    node; `fall`: it restarts, but tells nothing of itself; `leave`: the same, and it has said goodbye first.
    """

    what: str
    one: int
    two: int = 0
    cost: int = COST

    def __str__(self) -> str:
        return {
            "down": f"{self.one}-{self.two} dies",
            "up": f"{self.one}-{self.two} begins",
            "cost": f"{self.one} sees cost {self.cost} to {self.two}",
            "restart": f"{self.one} restarts",
            "fall": f"{self.one} restarts in silence",
            "leave": f"{self.one} says goodbye",
        }[self.what]


class Fault(AssertionError):
    """Something does not hold; the text says in which order of events."""


def _nothing(*_: object) -> None:
    pass


def _key_of(node: int, incarnation: int) -> bytes:
    return bytes(16) + bytes((0, 0, incarnation, node))


def _named(key: bytes) -> str:
    return f"{key[19]}.{key[18]}" if key else "all"


class Farewells:
    """A router that notes which sources went, and have said goodbye as far as it knows."""

    farewells: set[bytes]


def modelled(base: type[Router]) -> type[Router]:
    """The same rules; only node 0 tells of itself."""

    class Modelled(base, Farewells):  # type: ignore[valid-type, misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.hold_ms = 0
            self.damper.calm_ms = 0
            self.farewells = set()

        def _remove(self, route: Route) -> None:
            if self.has_parted(route, 0):
                self.farewells.add(route.key)
            super()._remove(route)

        def wish(self, neighbour: Neighbour, route: Route) -> int:
            if route is self.me and not _is_source(route.key):
                return NOTHING
            found: int = super().wish(neighbour, route)
            return found

    return Modelled


def _by_key(frozen: Frozen) -> bytes:
    key: bytes = frozen[0]
    return key


def _is_source(key: bytes) -> bool:
    return key[19] == 0 and key[18] < SILENT


class Session(NamedTuple):
    """A link from its beginning to when both ends have noticed its end."""

    one: int
    two: int
    open: tuple[bool, bool]
    dead: bool
    queues: tuple[Frozen, Frozen]  # written by `one` and by `two`, and not yet read
    goodbye: bool = False  # that is the last that is read of a session that is dead

    def side(self, node: int) -> int:
        return 0 if node == self.one else 1

    def put(self, side: int, entries: Frozen) -> Session:
        queues = list(self.queues)
        queues[side] = entries
        return self._replace(queues=(queues[0], queues[1]))


class State(NamedTuple):
    """All there is. `nodes` are frozen routers, `sessions` by number."""

    nodes: Frozen
    sessions: tuple[tuple[int, Session], ...]
    left: tuple[Change, ...]  # changes that have not happened
    births: int  # sessions and incarnations so far
    retried: bool  # since the last change or notice


# Routers as tuples and back --------------------


def freeze(router: Router) -> Frozen:
    """All that decides what a router does next, with counts relative to what is acknowledged."""
    neighbours = []
    for neighbour in router.neighbours:
        acked = neighbour.acked
        neighbours.append(
            (
                neighbour.link,
                b"" if neighbour.route is None else neighbour.route.key,
                neighbour.cost,
                tuple(sorted((route.key, told) for route, told in neighbour.told.items())),
                tuple(sorted(route.key for route in neighbour.dirty)),
                tuple(sorted((route.key, wanted) for route, wanted in neighbour.requests.items())),
                tuple(sorted(route.key for route in neighbour.children)),
                neighbour.withdrawn - acked,
                tuple(sorted((route.key, mark - acked) for route, mark in neighbour.marks.items())),
                neighbour.processed,
                neighbour.acks_due,
            )
        )
    routes = [
        (
            route.key,
            -1 if route.via is None else route.via.link,
            route.distance,
            route.feasible,
            tuple(sorted((neighbour.link, offer) for neighbour, offer in route.offers.items())),
            route.asked,
            route.passed,
            route in router.fading,
            router.goodbyes.heard.get(route),
            tuple(sorted(neighbour.link for neighbour in router.owed.get(route, ()))),
        )
        for route in router.routes.values()
    ]
    farewells = tuple(sorted(getattr(router, "farewells", ())))
    return (router.me.key, tuple(sorted(neighbours)), tuple(sorted(routes, key=_by_key)), farewells)


def thaw(frozen: Frozen, router_class: type[Router]) -> Router:
    me, neighbours, routes, farewells = frozen
    router = router_class(me, Timers(), _nothing, _nothing, _nothing)
    router.transit = True
    assert isinstance(router, Farewells)
    router.farewells = set(farewells)
    sessions: dict[int, Neighbour] = {}
    for number, _, cost, *_ in neighbours:
        sessions[number] = neighbour = _neighbour(number, cost)
        router.neighbours.append(neighbour)
    for key, via, distance, feasible, offers, asked, passed, fading, heard, owed in routes:
        route = router.route(key)
        route.via = sessions.get(via)
        route.distance = distance
        route.feasible = feasible
        route.offers = {sessions[number]: offer for number, offer in offers}
        for neighbour in route.offers:
            neighbour.offered += 1
        route.asked = asked
        route.passed = passed
        if fading:
            router.fading[route] = True
        if heard is not None:
            router.goodbyes.heard[route] = heard
        if owed:
            router.owed[route] = {sessions[number]: True for number in owed}
    known = router.routes
    for number, peer, _, told, dirty, requests, children, unacked, marks, processed, due in neighbours:
        neighbour = sessions[number]
        neighbour.route = known.get(peer)
        neighbour.told = {known[key]: value for key, value in told}
        neighbour.dirty = {known[key]: True for key in dirty}
        neighbour.requests = {known[key]: wanted for key, wanted in requests}
        neighbour.children = {known[key]: Child([0] * 4, False) for key in children}
        neighbour.withdrawn = unacked
        neighbour.marks = {known[key]: mark for key, mark in marks}
        neighbour.marked = {mark: known[key] for key, mark in marks}
        neighbour.processed = processed
        neighbour.acks_due = due
    return router


# One step --------------------


class Model:
    """All states that can be reached from one network by some changes.

    Args: `pairs` the links there are, `changes` what happens, each once. `eager`: what is to be written is
    written at once, which leaves fewer orders.
    """

    def __init__(
        self,
        nodes: int,
        pairs: tuple[tuple[int, int], ...],
        changes: tuple[Change, ...],
        router_class: type[Router] = Router,
        eager: bool = False,
    ) -> None:
        self.router_class = modelled(router_class)
        self.eager = eager
        self.leaves = any(change.what == "leave" for change in changes)
        self.pairs = pairs
        self._known: dict[tuple[Frozen, Step], After] = {}
        fresh = tuple(self._newborn(node, 0) for node in range(nodes))
        state = State(fresh, (), changes, 0, False)
        for one, two in pairs:
            state = self._join(state, one, two)
        while moves := list(self._moves(state)):
            state = moves[0][1]
        self.first = state

    def _newborn(self, node: int, incarnation: int) -> Frozen:
        key = _key_of(node, incarnation)
        return freeze(self.router_class(key, Timers(), _nothing, _nothing, _nothing, SEQNO))

    def _with(self, state: State, node: int, step: Step) -> State:
        """The state after a router did something."""
        nodes = list(state.nodes)
        nodes[node], written = self._after(nodes[node], step)
        state = state._replace(nodes=tuple(nodes))
        for number, entries in written:
            session = dict(state.sessions)[number]
            if not session.dead:
                side = session.side(node)
                state = self._put(state, number, session.put(side, (*session.queues[side], *entries)))
        return state

    def _after(self, frozen: Frozen, step: Step) -> After:
        """What a router is after a step, and what it has written: remembered, for states share routers."""
        found = self._known.get((frozen, step))
        if found is None:
            router = thaw(frozen, self.router_class)
            do, *values = step
            do(router, *values)
            written = [
                (neighbour.link, _entries(router, neighbour))
                for neighbour in router.neighbours
                if self.eager or (do is _write and neighbour.link == values[0])
            ]
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            found = (freeze(router), tuple(each for each in written if each[1]))
            self._known[frozen, step] = found
        return found

    @staticmethod
    def _put(state: State, number: int, session: Session) -> State:
        sessions = dict(state.sessions)
        sessions[number] = session
        if not any(session.open):
            del sessions[number]
        return state._replace(sessions=tuple(sorted(sessions.items())))

    def _join(self, state: State, one: int, two: int) -> State:
        number = state.births
        session = Session(one, two, (True, True), False, ((), ()))
        state = self._put(state._replace(births=number + 1), number, session)
        for node, peer in ((one, two), (two, one)):
            key = state.nodes[peer][0]
            state = self._with(state, node, (_open, number, key))
        return state

    def _close(self, state: State, number: int, side: int) -> State:
        """One end notices that a session is over."""
        session = dict(state.sessions)[number]
        node = (session.one, session.two)[side]
        still = (session.open[0] and side != 0, session.open[1] and side != 1)
        state = self._put(state, number, session._replace(open=still, dead=True, queues=((), ())))
        return self._with(state, node, (_part if session.goodbye else _close, number))

    def _read(self, state: State, number: int, side: int) -> State:
        """The first entry that this side wrote is read by the other."""
        session = dict(state.sessions)[number]
        (kind, key, value), *rest = session.queues[side]
        state = self._put(state, number, session.put(side, tuple(rest)))
        node = (session.two, session.one)[side]
        return self._with(state, node, (_take, number, kind, key, value))

    # What can happen next

    def _moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Steps that are due by themselves: writing, reading, noticing."""
        for number, session in state.sessions:
            for side in (0, 1):
                if session.queues[side] and session.open[1 - side]:
                    reader = (session.two, session.one)[side]
                    kind, key, value = session.queues[side][0]
                    label = f"{reader} reads {NAMES[kind]} {value} of {_named(key)} on {number}"
                    yield label, self._read(state, number, side)
                if session.dead and session.open[side] and not (session.goodbye and session.queues[1 - side]):
                    closed = self._close(state, number, side)._replace(retried=False)
                    yield f"{(session.one, session.two)[side]} notices the end of {number}", closed
        if not self.eager:
            yield from self._writes(state)

    def _writes(self, state: State) -> Iterator[tuple[str, State]]:
        for node, frozen in enumerate(state.nodes):
            for number, _, _, _, dirty, requests, *_, due in frozen[1]:
                if dirty or requests or due:
                    yield f"{node} writes to {number}", self._with(state, node, (_write, number))

    def _changes(self, state: State) -> Iterator[tuple[str, State]]:
        for index, change in enumerate(state.left):
            left = state.left[:index] + state.left[index + 1 :]
            for after in self._apply(state._replace(left=left, retried=False), change):
                yield str(change), after

    def _apply(self, state: State, change: Change) -> Iterator[State]:
        one, two = change.one, change.two
        if change.what == "up":
            yield self._join(state, one, two)
        elif change.what in ("restart", "fall", "leave"):
            yield self._restart(state, one, change.what)
        else:
            number = self._between(state, one, two)
            if number >= 0 and change.what == "down":
                session = dict(state.sessions)[number]
                yield self._put(state, number, session._replace(dead=True, queues=((), ())))
            elif number >= 0:
                yield self._with(state, one, (_set_cost, number, change.cost))

    @staticmethod
    def _between(state: State, one: int, two: int) -> int:
        for number, session in state.sessions:
            if {session.one, session.two} == {one, two} and not session.dead:
                return number
        return -1

    def _restart(self, state: State, node: int, how: str) -> State:
        """All is forgotten; the neighbours have not noticed. It joins those again that it was joined to,
        unless it has left: then they read what it had written, and its goodbye.
        """
        peers = []
        for number, session in state.sessions:
            if node in (session.one, session.two):
                side = session.side(node)
                still = (session.open[0] and side != 0, session.open[1] and side != 1)
                if not session.dead:
                    peers.append(session.two if side == 0 else session.one)
                session = session._replace(open=still, dead=True)
                if how == "leave":
                    state = self._put(state, number, session.put(1 - side, ())._replace(goodbye=True))
                else:
                    state = self._put(state, number, session._replace(queues=((), ())))
        nodes = list(state.nodes)
        nodes[node] = self._newborn(node, nodes[node][0][18] + (1 if how == "restart" else SILENT))
        state = state._replace(nodes=tuple(nodes))
        for peer in peers if how != "leave" else ():
            state = self._join(state, node, peer)
        return state

    def _retry(self, state: State) -> Iterator[tuple[str, State]]:
        """Nothing is on its way: whoever still needs a number asks again, and all is long ago."""
        after = state._replace(retried=True)
        asking = False
        for node, (_, _, routes, _) in enumerate(state.nodes):
            asking = asking or any(asked >= 0 for _, _, _, _, _, asked, *_ in routes)
            after = self._with(after, node, (_retry,))
        if asking:
            yield "retry", after

    # What must hold

    def check(self, state: State) -> None:
        """No loop towards any incarnation of the source."""
        hops: dict[tuple[bytes, int], int] = {}
        sessions = dict(state.sessions)
        for node, (_, _, routes, _) in enumerate(state.nodes):
            for key, via, *_ in routes:
                session = sessions.get(via)
                if session is not None and session.open[0] and session.open[1]:
                    hops[key, node] = session.two if session.one == node else session.one
        for key, node in hops:
            here, steps = node, 0
            while (key, here) in hops:
                here = hops[key, here]
                steps += 1
                if here == node or steps > len(state.nodes):
                    raise Fault("a loop")

    def check_rest(self, state: State) -> None:
        """Everyone has the best way there is to the source, and nothing else."""
        source = state.nodes[0][0]
        edges: dict[int, list[tuple[int, int]]] = {}
        ends = {(number, node): neighbour for node, neighbour, number in _ends(state)}
        for number, session in state.sessions:
            for node, peer in ((session.one, session.two), (session.two, session.one)):
                edges.setdefault(peer, []).append((node, ends[number, node][2]))
        best = {0: 0} if _is_source(source) else {}
        beside = {node for node, _ in edges.get(0, ())}  # a session with the source itself always wins
        waiting = deque(best)
        while waiting:  # metrics only grow along a way, so this ends
            peer = waiting.popleft()
            for node, cost in edges.get(peer, ()):
                if peer and node in beside:
                    continue
                metric = extend(best[peer], REALM, cost)
                if metric < best.get(node, INFINITE):
                    best[node] = metric
                    waiting.append(node)
        for node, (_, neighbours, routes, farewells) in enumerate(state.nodes):
            found = {
                key: distance & 0xFFFF for key, _, distance, *_ in routes if distance >= 0 and _is_source(key)
            }
            wanted = {source: best[node]} if node in best else {}
            if found != wanted:
                names = [{_named(key): metric for key, metric in each.items()} for each in (found, wanted)]
                raise Fault(f"node {node} has {names[0]}, should have {names[1]}")
            allowed = {source, state.nodes[node][0]} | {peer for _, peer, *_ in neighbours}
            stale = {key for key, *_ in routes} - allowed
            if stale:
                raise Fault(f"node {node} keeps {set(map(_named, stale))}")
            if self.leaves and node and not state.left and not any(map(_is_source, farewells)):
                raise Fault(f"node {node} has not heard the goodbye")

    # The whole

    def explore(self, states_max: int, seconds: float) -> Result:
        """Breadth first, so that a fault is shown in the fewest steps. Raises Fault."""
        return Search(self).run(states_max, seconds)

    def expand(self, state: State) -> Iterator[tuple[str, State, bool]]:
        """Steps that can come next, and whether they come by themselves."""
        calm = True
        for label, after in self._moves(state):
            calm = calm and "notices" in label
            yield label, after, True
        for label, after in self._changes(state):
            yield label, after, False
        if calm:
            asking = list(self._retry(state))
            noticed = not any(session.dead for _, session in state.sessions)
            if not asking and noticed:
                self.check_rest(state)
            if asking and noticed and state.retried:
                raise Fault("one retry was not enough")
            if not state.retried:  # while an end is not noticed it might ask for ever
                for label, after in asking:
                    yield label, after, False


class Result(NamedTuple):
    """How far it came."""

    states: int
    steps: int
    whole: bool  # every state was seen

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.steps:,} steps, {'all there are' if self.whole else 'not all'}"


class Case(NamedTuple):
    """One network and what happens to it."""

    nodes: int
    pairs: tuple[tuple[int, int], ...]
    changes: tuple[Change, ...]
    eager: bool = False
    small: bool = False

    def __str__(self) -> str:
        shape = " ".join(f"{one}{two}" for one, two in self.pairs)
        return f"{shape}: {', '.join(map(str, self.changes))}{' (written at once)' if self.eager else ''}"

    def model(self, router_class: type[Router] = Router) -> Model:
        return Model(self.nodes, self.pairs, self.changes, router_class, self.eager)


_TRIANGLE = ((0, 1), (1, 2), (0, 2))
_SQUARE = ((0, 1), (1, 2), (2, 3), (0, 3))
_KITE = ((0, 1), (1, 2), (2, 3), (1, 3))  # a triangle, and the source behind it
_TAILED = ((0, 1), (0, 2), (1, 2), (2, 3))  # a triangle with the source, and one behind it
_CROSSED = ((0, 1), (1, 2), (2, 3), (0, 3), (1, 3))
_DEAR = 2 * COST + 1000


def _cases() -> Iterator[Case]:
    """The small ones take seconds in all; the rest, in this order, as long as one likes."""
    down, up, dearer = Change("down", 0, 1), Change("up", 0, 1), Change("cost", 1, 0, _DEAR)
    yield Case(4, _KITE, (Change("cost", 2, 1, _DEAR), Change("cost", 1, 2, _DEAR)), small=True)
    yield Case(3, _TRIANGLE, (down, up), small=True)
    yield Case(3, _TRIANGLE, (down, Change("down", 0, 2)), small=True)
    yield Case(3, _TRIANGLE, (Change("restart", 1),), small=True)
    yield Case(3, _TRIANGLE, (down, Change("down", 0, 2), up), eager=True, small=True)
    yield Case(4, _SQUARE, (down, Change("cost", 3, 0, _DEAR)), small=True)
    yield Case(4, _SQUARE, (down, up), eager=True, small=True)
    yield Case(4, _KITE, (down,), small=True)
    yield Case(4, _SQUARE, (Change("leave", 0),), eager=True, small=True)
    yield Case(4, _KITE, (Change("leave", 0),), eager=True, small=True)
    yield Case(4, _TAILED, (Change("leave", 0),), small=True)
    yield Case(3, _TRIANGLE, (down, Change("cost", 2, 0, _DEAR)))
    yield Case(4, _SQUARE, (Change("leave", 0),))
    yield Case(4, _CROSSED, (Change("leave", 0),), eager=True)
    yield Case(4, _KITE, (Change("leave", 0), down), eager=True)
    yield Case(4, _SQUARE, (down, up))
    yield Case(4, _CROSSED, (down,))
    yield Case(3, _TRIANGLE, (Change("restart", 1), Change("restart", 2)), eager=True)
    yield Case(4, _KITE, (Change("fall", 0),), eager=True)
    yield Case(4, _CROSSED, (Change("restart", 1),), eager=True)
    yield Case(4, _CROSSED, (Change("restart", 1),))
    yield Case(3, _TRIANGLE, (down, Change("down", 0, 2), up))
    yield Case(3, _TRIANGLE, (down, Change("cost", 2, 0, _DEAR), up), eager=True)
    yield Case(4, _KITE, (down, up), eager=True)
    yield Case(4, _SQUARE, (Change("fall", 0),), eager=True)
    yield Case(3, _TRIANGLE, (Change("fall", 0),))
    yield Case(3, _TRIANGLE, (Change("restart", 0),), eager=True)
    yield Case(4, _CROSSED, (dearer, Change("cost", 3, 0, _DEAR), up), eager=True)


CASES = tuple(_cases())


class Search:
    """States are known again by a hash of 64 bits, so that only those still to be visited take room."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.numbers: dict[int, int] = {}
        self.origins: list[tuple[int, str]] = []
        self.edges = array("l")  # pairs of what leads to what by itself
        self.waiting: deque[tuple[int, State]] = deque()
        self.steps = 0

    def run(self, states_max: int, seconds: float) -> Result:
        until = time.monotonic() + seconds
        self._add(self.model.first, -1, "at rest")
        while self.waiting and len(self.numbers) <= states_max and time.monotonic() < until:
            self._expand(*self.waiting.popleft())
        if not self.waiting:
            self.check_ends()
        return Result(len(self.numbers), self.steps, not self.waiting)

    def _expand(self, number: int, state: State) -> None:
        try:
            for label, after, by_itself in self.model.expand(state):
                self.steps += 1
                other = self._add(after, number, label)
                if by_itself:
                    self.edges.extend((number, other))
        except Fault as fault:
            found = "" if "after: " in str(fault) else f", after: {self._history(number)}"
            raise Fault(f"{fault}{found}") from None
        except Exception as error:
            raise Fault(f"{type(error).__name__} {error}, after: {self._history(number)}") from error

    def _add(self, state: State, origin: int, label: str) -> int:
        mark = hash(state)
        found = self.numbers.get(mark)
        if found is not None:
            return found
        number = self.numbers[mark] = len(self.numbers)
        self.origins.append((origin, label))
        try:
            self.model.check(state)
        except Fault as fault:
            raise Fault(f"{fault}, after: {self._history(number)}") from None
        self.waiting.append((number, state))
        return number

    def _history(self, number: int) -> str:
        labels = []
        while number > 0:
            number, label = self.origins[number]
            labels.append(label)
        return "; ".join(reversed(labels))

    def check_ends(self) -> None:
        """Kahn's algorithm: what happens by itself never goes round."""
        targets: list[list[int]] = [[] for _ in self.numbers]
        degrees = [0] * len(targets)
        for at in range(0, len(self.edges), 2):
            targets[self.edges[at]].append(self.edges[at + 1])
            degrees[self.edges[at + 1]] += 1
        free = [number for number, degree in enumerate(degrees) if not degree]
        gone = 0
        while free:
            gone += 1
            for target in targets[free.pop()]:
                degrees[target] -= 1
                if not degrees[target]:
                    free.append(target)
        if gone < len(degrees):
            number = next(number for number, degree in enumerate(degrees) if degree)
            raise Fault(f"it goes round for ever, after: {self._history(number)}")


def _ends(state: State) -> Iterator[tuple[int, Frozen, int]]:
    for node, (_, neighbours, _, _) in enumerate(state.nodes):
        for neighbour in neighbours:
            yield node, neighbour, neighbour[0]


def _find(router: Router, number: int) -> Neighbour:
    return next(neighbour for neighbour in router.neighbours if neighbour.link == number)


# What a router does in one step --------------------


def _open(router: Router, number: int, key: bytes) -> None:
    router.open(_neighbour(number, COST), key, 0)


def _close(router: Router, number: int) -> None:
    neighbour = _find(router, number)
    assert neighbour.route is not None
    router.goodbyes.see_lost(neighbour.route, 0)
    router.close(neighbour, 0)


def _part(router: Router, number: int) -> None:
    """A session is over, and the node at the other end has said goodbye."""
    neighbour = _find(router, number)
    assert neighbour.route is not None
    router.part(neighbour.route, 0)
    router.close(neighbour, 0)


def _neighbour(number: int, cost: int) -> Neighbour:
    neighbour = Neighbour(number, REALM, cost, False)
    neighbour.addressing = True
    return neighbour


def _set_cost(router: Router, number: int, cost: int) -> None:
    router.set_cost(_find(router, number), cost, 0)


def _take(router: Router, number: int, kind: int, key: bytes, value: int) -> None:
    """It reads an entry."""
    neighbour = _find(router, number)
    if kind == UPDATE:
        router.update(neighbour, router.route(key), value, 0)
    elif kind == RETRACT:
        router.withdraw(neighbour, router.route(key), 0)
    elif kind == FAREWELL:
        if key not in router.routes:
            router.note_withdrawal(neighbour)
            assert isinstance(router, Farewells)
            router.farewells.add(key)
            return
        router.part(router.routes[key], 0)
        router.withdraw(neighbour, router.routes[key], 0)
    elif kind == CHILD:
        router.adopt(neighbour, router.route(key), Child([0] * 4, False), 0)
    elif kind == ACK:
        if not router.acknowledge(neighbour, neighbour.acked + value & 0xFFFF, 0):
            raise Fault("acknowledged what was never sent")
    elif key in router.routes:
        router.request(neighbour, router.routes[key], value, 0)


def _write(router: Router, number: int) -> None:
    """It does nothing else: what it has to say on this session is written."""


def _retry(router: Router) -> None:
    """It asks again for what it needs, and all is long ago."""
    for route in list(router.routes.values()):
        route.passed = NOTHING
        if route.asked >= 0:
            router.retry(route, 0)


def _entries(router: Router, neighbour: Neighbour) -> Frozen:
    """All that is to be written to a neighbour, as it is written."""
    entries: list[tuple[int, bytes, int]] = []
    for route in router.news(neighbour):
        told = router.tell(neighbour, route)
        entries.append((UPDATE if told >= 0 else KINDS[told], route.key, told))
    entries += [(ASK, route.key, wanted) for route, wanted in neighbour.requests.items()]
    neighbour.requests = {}
    if neighbour.acks_due:
        neighbour.acks_due = False
        entries.append((ACK, b"", neighbour.processed))
        neighbour.processed = 0  # counted since the last ACK: sums are the reader's
    return tuple(entries)
