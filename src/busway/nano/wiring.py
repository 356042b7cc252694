"""Checks handlers and routes against each other, and says what each worker needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from busway.nano import graph
from busway.nano.bridge import Endpoint, Sender, Taker, complaint, objection
from busway.nano.codecs import Codec, carried
from busway.nano.errors import WiringError
from busway.nano.handlers import Half, Route, Shape, name_of, shape_of


class Part(NamedTuple):
    """A handler in its place, or one direction of an endpoint."""

    name: str
    worker: str
    handler: Any
    shape: Shape | None  # None: an endpoint, which takes anything
    endpoint: Endpoint | None = None


class Edge(NamedTuple):
    """Messages of one type from one part to another, both by number; -1: there is no such part."""

    source: int
    kind: Any
    target: int
    wrong: str


class Wiring:
    """All parts of an application and what goes between them.

    Args:
        workers: handlers by the name of the worker that runs them.
        routes: who sends what to whom.
        codec: what carries types for which `codecs` has no other.
        codecs: the same for single types.

    Raises:
        WiringError: they do not fit together.
    """

    def __init__(
        self,
        workers: Mapping[str, Sequence[Any]],
        routes: Sequence[Route],
        codec: Codec | str,
        codecs: Mapping[Any, Codec | str],
    ) -> None:
        self.problems: list[str] = []
        self.parts: list[Part] = []
        self._refused: list[Any] = []  # handlers, and classes, that a worker was given in vain
        for worker, handlers in workers.items():
            self._add_worker(worker, handlers)
        whole = [route for route in routes if self._is_route(route)]
        self._add_endpoints(whole)
        self.edges: list[Edge] = []
        for route in whole:
            self._add_route(route)
        self.kinds: list[Any] = []
        for edge in self.edges:
            if edge.kind not in self.kinds:
                self.kinds.append(edge.kind)
        self.texts: list[str] = []
        self._wrong: set[int] = set()
        self._check_kinds(codec, codecs)
        self._wrong = self._check_reached()
        self.problems += [edge.wrong for edge in self.edges if edge.wrong]
        if self.problems:
            raise WiringError(tuple(dict.fromkeys(self.problems)), self.mermaid())

    # What there is

    def _add_worker(self, worker: str, handlers: Sequence[Any]) -> None:
        if not isinstance(worker, str) or not 1 <= len(worker.encode()) <= 48:
            self.problems.append(f"the name of a worker has 1 to 48 UTF-8 bytes, got {worker!r}")
        if isinstance(handlers, (str, bytes)) or not isinstance(handlers, Sequence) or not handlers:
            self.problems.append(f"the worker {worker!r} is given a list of handlers, one at least")
            return
        for handler in handlers:
            if isinstance(handler, type):
                self._refused.append(handler)
                self.problems.append(
                    f"the worker {worker!r} is given the class {name_of(handler)}; make one of it"
                )
                continue
            if any(part.handler is handler for part in self.parts):
                self.problems.append(f"one {name_of(type(handler))} stands twice among the workers")
                continue
            try:
                shape = shape_of(handler)
            except TypeError as error:
                self.problems.append(str(error))
                self._refused.append(handler)
                continue
            self.parts.append(Part(self._name_for(name_of(type(handler))), worker, handler, shape))

    def _name_for(self, name: str) -> str:
        taken = {part.name for part in self.parts}
        number = 1
        while (found := name if number == 1 else f"{name}#{number}") in taken:
            number += 1
        return found

    def _add_endpoints(self, routes: Sequence[Route]) -> None:
        sources: dict[Endpoint, list[Any]] = {}
        sinks: dict[Endpoint, None] = {}
        for route in routes:
            if isinstance(route.source, Endpoint):
                self.problems.append(complaint(route.source, source=True))
                kinds = sources.setdefault(route.source, [])
                kinds += [route.message] if route.message not in kinds else []
            sinks |= {one: None for one in route.receivers if isinstance(one, Endpoint)}
        self.problems += [complaint(one, source=False) for one in sinks]
        self.problems = [problem for problem in self.problems if problem]
        for endpoint, found in sources.items():
            if text := objection(endpoint, tuple(found)):
                self.problems.append(text)
            handler = Taker(endpoint, tuple(found))
            self.parts.append(
                Part(endpoint.name, f"from {endpoint.name}", handler, shape_of(handler), endpoint)
            )
        for endpoint in sinks:
            self.parts.append(Part(endpoint.name, f"to {endpoint.name}", Sender(endpoint), None, endpoint))

    def _numbers(self, party: Any, *, source: bool) -> list[int]:
        """The parts that a side of a route means."""
        if isinstance(party, Endpoint):
            side = Taker if source else Sender
            return [
                n
                for n, part in enumerate(self.parts)
                if part.endpoint == party and isinstance(part.handler, side)
            ]
        mine = [(n, part.handler) for n, part in enumerate(self.parts) if part.endpoint is None]
        if isinstance(party, type):
            return [n for n, handler in mine if isinstance(handler, party)]
        return [n for n, handler in mine if handler is party]

    def _was_refused(self, party: Any) -> bool:
        """Whether a worker has it, and it has been told what is wrong with it."""
        kinds = [one if isinstance(one, type) else type(one) for one in self._refused]
        if isinstance(party, type):
            return any(issubclass(kind, party) for kind in kinds)
        return any(one is party for one in self._refused)

    # What goes where

    def _is_route(self, route: Any) -> bool:
        if isinstance(route, Route):
            return True
        got = (
            f"{_label(route.source)} >> {name_of(route.message)}" if isinstance(route, Half) else repr(route)
        )
        self.problems.append(f"a route is Source >> Message >> Receiver, got {got}")
        return False

    def _add_route(self, route: Route) -> None:
        said = (
            f"{_label(route.source)} >> {name_of(route.message)} >> {', '.join(map(_label, route.receivers))}"
        )
        sources = self._numbers(route.source, source=True)
        if not sources and not self._was_refused(route.source):
            self.problems.append(f"{said}: no worker has {_label(route.source)}")
        for receiver in route.receivers:
            targets = self._numbers(receiver, source=False)
            if not targets and not self._was_refused(receiver):
                self.problems.append(f"{said}: no worker has {_label(receiver)}")
            for source in sources:
                for target in targets:
                    self._add_edge(source, route.message, target)

    def _add_edge(self, source: int, kind: Any, target: int) -> None:
        if any((edge.source, edge.kind, edge.target) == (source, kind, target) for edge in self.edges):
            return
        wrong = ""
        sends, takes = self.parts[source], self.parts[target]
        emits = sends.shape.emits if sends.shape is not None and sends.endpoint is None else None
        if emits is not None and kind not in emits:
            wrong = f"{sends.name} does not emit {name_of(kind)}, but {_listed(emits)}"
        if takes.shape is not None and takes.endpoint is None and method_for(takes.shape, kind) is None:
            wrong = f"{takes.name} does not take {name_of(kind)}, but {_listed(takes.shape.takes)}"
        self.edges.append(Edge(source, kind, target, wrong))

    # Checks

    def _check_kinds(self, codec: Codec | str, codecs: Mapping[Any, Codec | str]) -> None:
        names: dict[str, Any] = {}
        for kind in self.kinds:
            name = name_of(kind)
            if names.setdefault(name, kind) is not kind:
                self.problems.append(f"two types of messages are called {name}; rename one")
            try:
                self.texts.append(carried(kind, codec, codecs).text)
            except (TypeError, ValueError) as error:
                self.problems.append(f"{name} cannot be carried: {error}")

    def _check_reached(self) -> set[int]:
        """The parts that nobody reaches, and those that nothing is done with."""
        reached = {edge.target for edge in self.edges}
        emitting = {edge.source for edge in self.edges}
        wrong: set[int] = set()
        for number, part in enumerate(self.parts):
            if part.shape is None or part.endpoint is not None or number in reached:
                continue
            if part.shape.takes:
                self.problems.append(f"nobody reaches {part.name}: no route leads to it")
                wrong.add(number)
            elif number not in emitting and "on_loop" not in part.shape.hooks:
                self.problems.append(f"{part.name} takes nothing, has no on_loop, and no route begins at it")
                wrong.add(number)
        return wrong

    # The drawing

    def _drawn(self) -> tuple[list[graph.Node], list[graph.Arrow]]:
        wrong = self._wrong
        nodes = [
            graph.Node(part.name, "" if part.endpoint is not None else part.worker, number in wrong)
            for number, part in enumerate(self.parts)
        ]
        arrows = [
            graph.Arrow(edge.source, name_of(edge.kind), edge.target, bool(edge.wrong)) for edge in self.edges
        ]
        return nodes, arrows

    def mermaid(self) -> str:
        """As Mermaid text."""
        return graph.mermaid(*self._drawn())

    def svg(self) -> str:
        """As SVG."""
        return graph.svg(*self._drawn())


def method_for(shape: Shape, kind: Any) -> Any:
    """The method that takes a type: its own, else that of the nearest class above it; None if none does."""
    for one in getattr(kind, "__mro__", (kind,)):
        if one in shape.takes and one is not object:
            return shape.takes[one]
    return shape.takes.get(kind)


def _label(party: Any) -> str:
    if isinstance(party, Endpoint):
        return f"Endpoint({party.name!r})"
    return name_of(party) if isinstance(party, type) else f"this {name_of(type(party))}"


def _listed(kinds: Any) -> str:
    return ", ".join(sorted(map(name_of, kinds))) or "nothing"
