"""The lives of a connection and of a pending message: each step is in its table, and each row is taken."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable

import pytest

from busway.protocol import Connection, codes
from busway.protocol.link import states
from busway.protocol.link.states import AGREED, ENDED, LEAVING, SECURED
from busway.protocol.messaging import flows
from busway.protocol.messaging.flows import (
    FINISHED,
    LAUNCHED,
    OVER,
    PARKED,
    RECALLED,
    SENT,
    UNPLACED,
    UNRESOLVED,
    WAITING,
    Pending,
)
from busway.protocol.wire.codes import CLOSED, CLOSING, GREETING, OPEN, SECURING
from tests.rigs.tree import ROOT

from .pairs import E, F, Pair, guard

# A connection


def connection_in(state: int) -> tuple[Pair, Connection]:
    """The dialler's end of a new link, brought as far as that."""
    net = protected() if state == SECURING else Pair(opened=False)
    if state >= OPEN:
        net.pump()
    if state == CLOSING:
        net.ca.close(net.now)
    elif state == CLOSED:
        net.ca.receive_eof(net.now)
    assert net.ca.state == state
    return net, net.ca


def protected() -> Pair:
    return Pair(opened=False, a_options={"security": guard()}, b_options={"security": guard(seed=5)})


def keys() -> Connection:
    net, connection = connection_in(SECURING)
    for here, there in ((net.ca, net.cb), (net.cb, net.ca)):
        there.receive_data(here.data_to_send(65536, net.now), net.now)
    return connection


def hello() -> Connection:
    return connection_in(OPEN)[1]


def goodbye() -> Connection:
    return connection_in(CLOSING)[1]


def end_of_file(state: int) -> Connection:
    net, connection = connection_in(state)
    connection.receive_eof(net.now)
    return connection


STEPS: dict[tuple[int, int], Callable[[], Connection]] = {
    (SECURING, SECURED): keys,
    (SECURING, ENDED): lambda: end_of_file(SECURING),
    (GREETING, AGREED): hello,
    (GREETING, ENDED): lambda: end_of_file(GREETING),
    (OPEN, LEAVING): goodbye,
    (OPEN, ENDED): lambda: end_of_file(OPEN),
    (CLOSING, ENDED): lambda: end_of_file(CLOSING),
}
LINK_STATES = (SECURING, GREETING, OPEN, CLOSING, CLOSED)
LINK_STEPS = list(itertools.product(LINK_STATES, (SECURED, AGREED, LEAVING, ENDED)))


def test_each_row_of_a_connection_is_known_here() -> None:
    assert STEPS.keys() == states.NEXT.keys()


@pytest.mark.parametrize("row", states.NEXT)
def test_a_connection_takes_each_row(row: tuple[int, int]) -> None:
    assert STEPS[row]().state == states.NEXT[row]


@pytest.mark.parametrize("row", [step for step in LINK_STEPS if step not in states.NEXT])
def test_a_connection_takes_no_other_step(row: tuple[int, int]) -> None:
    _, connection = connection_in(row[0])
    with pytest.raises(KeyError):
        connection._go(row[1])
    assert connection.state == row[0]


def test_no_way_leads_back() -> None:
    assert all(after > state for (state, _), after in states.NEXT.items())


# A pending message


class Sending(Pair):
    """A pair of which b has E; a sends and asks."""

    def __init__(self) -> None:
        super().__init__()
        self.b.register(E, codes.UNICAST, queue_max=2)
        self.pump()

    def pending(self, endpoint: bytes = E, ttl_ms: int = 0) -> Pending:
        token = self.a.request(endpoint, b"q", self.now, ttl_ms=ttl_ms)
        return self.a.origin.pending[token]

    def blocked(self) -> Pending:
        """One without credit."""
        self.cable.block(self.b)
        pending = self.pending()
        while pending.state == SENT:
            pending = self.pending()
        return pending

    def unresolved(self) -> Pending:
        return self.pending(F, ttl_ms=5000)


def in_state(state: int) -> tuple[Sending, Pending]:
    net = Sending()
    pending = (
        net.unresolved() if state == UNRESOLVED else net.blocked() if state == WAITING else net.pending()
    )
    if state == OVER:
        net.a.cancel(pending.id, net.now)
    assert pending.state == state
    return net, pending


def cancelled(net: Sending, pending: Pending) -> None:
    net.a.cancel(pending.id, net.now)


def parked(net: Sending, pending: Pending) -> None:
    net.a.origin.park(net.a.origin.flow(net.a.routes.peers[b"b" * 16], E, 1, net.now), pending, net.now)


def launched(net: Sending, pending: Pending) -> None:
    flow = net.a.origin.flow(net.a.routes.peers[b"b" * 16], E, 1, net.now)
    assert flow.link() is net.ca
    net.a.origin.launch(flow, pending, net.now)


def unplaced(net: Sending, pending: Pending) -> None:
    net.a.origin.unresolved.park(pending, 5000, net.now)


def recalled(net: Sending, pending: Pending) -> None:
    net.a.origin.recall(pending)


HAPPENS: dict[int, Callable[[Sending, Pending], None]] = {
    PARKED: parked,
    LAUNCHED: launched,
    UNPLACED: unplaced,
    FINISHED: cancelled,
    RECALLED: recalled,
}
MESSAGE_STEPS = list(itertools.product((UNRESOLVED, WAITING, SENT, OVER), HAPPENS))


@pytest.mark.parametrize("row", flows.NEXT)
def test_a_message_takes_each_row(row: tuple[int, int]) -> None:
    net, pending = in_state(row[0])
    HAPPENS[row[1]](net, pending)
    assert pending.state == flows.NEXT[row]


@pytest.mark.parametrize(
    "row", [step for step in MESSAGE_STEPS if step not in flows.NEXT and step != (OVER, FINISHED)]
)
def test_a_message_takes_no_other_step(row: tuple[int, int]) -> None:
    net, pending = in_state(row[0])
    with pytest.raises(KeyError):
        HAPPENS[row[1]](net, pending)
    assert pending.state == row[0]


def test_a_message_that_is_over_is_not_finished_again() -> None:
    net, pending = in_state(OVER)
    with pytest.raises(KeyError):
        net.a.origin.finish(pending, 0)


def test_one_outcome_at_most_and_none_is_sent_twice() -> None:
    """The table itself: nothing leaves OVER, nor SENT but for what was not written."""
    assert [after for (state, _), after in flows.NEXT.items() if state in (SENT, OVER)] == [OVER, WAITING]


def test_credit_launches_what_was_parked_and_a_holder_that_goes_gives_it_back() -> None:
    net, waits = in_state(WAITING)
    net.cable.block(net.b, False)
    unresolved = net.unresolved()
    receiver = net.b.register(F, codes.UNICAST)
    net.pump()
    assert unresolved.state == SENT
    net.drain(net.b, net.b.receiving.endpoints[E].receivers[0])
    net.pump()
    assert waits.state in (SENT, OVER)
    net.b.deregister(receiver, net.now)
    net.pump()
    assert unresolved.state == OVER


# The tables are the only way


def assignments(attribute: str, folder: str) -> dict[str, list[str]]:
    """Each assignment to that attribute below protocol/`folder`, as it is written, by its function."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "protocol" / folder).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                        target = node.targets[0]
                        if target.attr == attribute:
                            words = f"{ast.unparse(target)} = {ast.unparse(node.value)}"
                            found.setdefault(function.name, []).append(words)
    return found


def test_the_state_of_a_connection_changes_in_one_place() -> None:
    link = assignments("state", "link") | assignments("state", "packet")
    assert link == {
        "_go": ["self.state = NEXT[self.state, what]"],
        "__init__": ["self.state = codes.SECURING", "self.state = codes.GREETING"],
    }


def test_the_state_of_a_message_changes_by_the_table() -> None:
    words = [one for many in assignments("state", "messaging").values() for one in many]
    pending = [one for one in words if one.startswith("pending.")]
    assert len(pending) >= 8
    assert all(one.startswith("pending.state = NEXT[pending.state, ") for one in pending)
    assert {one for one in words if one not in pending} == {
        "self.state = QUEUED",
        "self.state = UNRESOLVED",
        "request.state = TAKEN",
        "request.state = DONE",
    }
