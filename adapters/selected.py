"""One message to all that a selector means: a copy each, and what became of each. How one waits for that is
the bus's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from busway import selectors
from busway.adapters.arguments import ANY_NODE, milliseconds, priority_of
from busway.adapters.carrying import attached_to, given_apart
from busway.adapters.ends import Items
from busway.adapters.host import BusHost
from busway.adapters.records import Delivery
from busway.adapters.results import error_of, replied
from busway.adapters.typed import Priority
from busway.errors import BusError
from busway.payloads import encode_shared
from busway.protocol import Node, codes, events
from busway.replies import ReplyType
from busway.selectors import Selector

_FINDING_MS = 5000  # how long those who have to be asked are waited for, at the most

ALL, ANY = "all", "any"


def check_copies(to: Any, target: Any, others_only: Any) -> bool:
    """Whether a message is for all that its target means. Raises TypeError, ValueError for what goes with
    selectors only.
    """
    if to not in (ANY, ALL):
        raise ValueError(f'to must be "any" or "all", not {to!r}')
    if not isinstance(others_only, bool):
        raise TypeError(f"others_only must be True or False, not {others_only!r}")
    if not isinstance(target, Selector) and (to == ALL or others_only):
        given = 'to="all"' if to == ALL else "others_only"
        raise ValueError(
            f'{given} goes with a selector, as in busway.where("renderer"), not with {target!r:.60}'
        )
    return bool(to == ALL)


def check_alone(node: Any, sealed: Any) -> None:
    """Raises ValueError for what goes to one node only."""
    check_unsealed(sealed)
    if node is not ANY_NODE:
        raise ValueError('node= is one node: leave it out with to="all"')


def check_unsealed(sealed: Any) -> None:
    """Raises ValueError for what cannot be sealed: a selector means whoever says that it is meant."""
    if sealed is not False:
        raise ValueError(
            "sealed= is for one node, and a selector means whatever says that it is meant: send to each of "
            "bus.endpoints() that you mean by its name, with node=each.node and sealed=True"
        )


def others_of(target: Any, others_only: Any) -> Any:
    """A target; with `others_only` without what the program itself has. Raises TypeError, ValueError."""
    check_copies(ANY, target, others_only)
    return selectors.others_of(target) if others_only else target


def check_selector(selector: Any) -> None:
    """Raises TypeError for anything else."""
    if not isinstance(selector, Selector):
        raise TypeError(f'a selector was expected, as in busway.where("renderer"), not {selector!r:.60}')


def _name_of(node: Node, at: bytes, uuid: bytes) -> str:
    """The name of an endpoint at a node, "" if it has none that is known here."""
    if at == node.node_id:
        return node.receiving.endpoints[uuid].name
    peer = node.routes.peers.get(at)
    entry = None if peer is None else peer.entries.get(uuid)
    return "" if entry is None else entry.name


class Copies:
    """The copies of one message.

    Args: `payload` as the program has given it; `items`, of the bus's sort, takes the outcomes.
    """

    def __init__(
        self, host: BusHost, selector: Selector, payload: Any, items: Items, priority: Priority
    ) -> None:
        host.check_open()
        self._host = host
        self._selector = selector
        self._address = selector.address()
        self._payload, self._words = given_apart(payload)
        self._priority = priority_of(priority)
        self._encoded = encode_shared(self._payload, self._address, host)
        self.items = items
        self.deliveries: list[Delivery] = []  # the cheapest first
        self._waiting: dict[int, int] = {}  # tokens, and which delivery each is of
        self.failed: list[int] = []  # deliveries that came to nothing at once

    @property
    def is_over(self) -> bool:
        """Whether all is known of all."""
        return not self._waiting

    def finding(self, ttl: float, limit_ms: int | None) -> Generator[int, events.Outcome, None]:
        """The steps of finding who gets one: yields tokens, takes their outcomes. Raises Undeliverable."""
        node, now = self._host.node, self._host.now_ms()
        ttl_ms = milliseconds("ttl", ttl)
        most = _FINDING_MS + ttl_ms if limit_ms is None else min(limit_ms, _FINDING_MS + ttl_ms)
        outcome = yield node.locate(self._address, now, timeout_ms=most, ttl_ms=ttl_ms)
        found = node.matches(self._address)
        if not found:
            raise error_of(outcome, self._selector)
        self.deliveries = [Delivery(at, uuid, _name_of(node, at, uuid), None) for uuid, at in found]

    def send(self, confirm: bool, limit_ms: int | None) -> None:
        """All at once, so that nobody waits for another."""
        self._ask_all(self._host.node.send, {"confirm": confirm, "timeout_ms": limit_ms})

    def request(self, limit_ms: int) -> None:
        """As `send`, of requests."""
        self._ask_all(self._host.node.request, {"timeout_ms": limit_ms})

    def _ask_all(self, call: Callable[..., int], options: dict[str, Any]) -> None:
        host, node, now = self._host, self._host.node, self._host.now_ms()
        options |= {"waiter": self.items, "lazily": True, "priority": self._priority, **self._words}
        for number, delivery in enumerate(self.deliveries):
            data, format, type_id = self._encoded
            if delivery.node == node.node_id and delivery.endpoint in node.receiving.process_only:
                data, format, type_id = self._payload, codes.OBJECT, b""
            words = (delivery.endpoint, data, now, format, type_id)
            try:
                token, _ = host.ask(call, *words, node_id=delivery.node, **options)
            except (BusError, ValueError) as error:  # it has gone meanwhile, or too much is under way
                self._note(number, error)
                self.failed.append(number)
                continue
            if token:
                self._waiting[token] = number
        self._words = {}  # what has left is not kept open here

    def _note(self, number: int, error: Exception) -> None:
        known = self.deliveries[number]
        self.deliveries[number] = Delivery(known.node, known.endpoint, known.name, error)

    def settle(self, outcome: events.Outcome) -> int:
        """One outcome has come. Returns which delivery it is of."""
        number = self._waiting.pop(outcome.token)
        self._host.cancel(outcome.token)
        if outcome.status not in (events.ACCEPTED, events.TAKEN, events.REPLIED):
            self._note(number, error_of(outcome, self.deliveries[number].shown()))
        return number

    def answer(
        self, outcome: events.Outcome, wanted: ReplyType | None, attached: bool
    ) -> tuple[Delivery, Any]:
        """Settle a reply: where the copy went, and the value, or why there is none."""
        delivery = self.deliveries[self.settle(outcome)]
        if delivery.error is not None:
            return delivery, delivery.error
        try:
            value = replied(outcome, wanted, delivery.shown())
        except BusError as error:
            return delivery, error
        return delivery, attached_to(outcome, value) if attached else value

    def failures(self) -> list[tuple[Delivery, Any]]:
        """The same of those that could not be asked."""
        return [(self.deliveries[number], self.deliveries[number].error) for number in self.failed]

    def cancel(self) -> None:
        """Nobody waits any more."""
        for token in list(self._waiting):
            self._host.cancel(token)
        self._waiting = {}
