"""Old and new versions of a contract meet: each change, with the old and the new client at the old and the
new server. docs/howto/services.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import busway
from busway.testing import Network

pytestmark = pytest.mark.jumps


class One:
    """Version 1 of everything."""

    @dataclass
    class Status:
        rpm: int

    @dataclass
    class Plan:
        rpm: int

    @busway.service("lab/pump", version=1)
    class Pump:
        class TooFast(busway.ServiceError):
            limit: int

        heated: "busway.Signal[One.Status]"

        async def run(self, rpm: int) -> "One.Status":
            if rpm > 3000:
                raise self.TooFast(3000)
            await self.heated.publish(One.Status(rpm))
            return One.Status(rpm)

        async def follow(self, plan: "One.Plan") -> int:
            return plan.rpm


def server_of(pump: Any, **changes: Any) -> type:
    """A service of version 2 with methods of that class, and those of the changes: None takes one away."""
    body = {name: value for name, value in vars(pump).items() if not name.startswith("__")}
    body["__annotations__"] = vars(pump)["__annotations__"]
    body.update(changes)
    kept = {name: value for name, value in body.items() if value is not None}
    return busway.service("lab/pump", version=2)(type("Pump", (), kept))


# The changes --------------------


async def stop(self: Any) -> str:
    return "stopped"


async def run_ramped(self: Any, rpm: int, *, ramp: float = 0.5) -> One.Status:
    return One.Status(int(rpm * ramp))


async def run_at(self: Any, rpm: int, place: str) -> One.Status:
    return One.Status(rpm)


@dataclass
class FullerStatus:
    rpm: int
    ramp: float = 0.25


async def run_fully(self: Any, rpm: int) -> FullerStatus:
    return FullerStatus(rpm, 0.75)


@dataclass
class OtherStatus:
    turns: int


async def run_otherwise(self: Any, rpm: int) -> OtherStatus:
    return OtherStatus(rpm)


@dataclass
class FullerPlan:
    rpm: int
    steps: list[int] = field(default_factory=list)


async def follow_fully(self: Any, plan: FullerPlan) -> int:
    return plan.rpm + len(plan.steps)


class TooFastNow(busway.ServiceError):
    limit: int
    said: str = "slow down"


async def run_sayingly(self: Any, rpm: int) -> One.Status:
    raise self.TooFast(9)


async def run_text(self: Any, rpm: str) -> One.Status:
    return One.Status(len(rpm))


CHANGES: dict[str, dict[str, Any]] = {
    "method added": {"stop": stop},
    "method removed": {"run": None},
    "optional argument added": {"run": run_ramped},
    "needed argument added": {"run": run_at},
    "type of an argument changed": {"run": run_text},
    "field with a default added to a result": {"run": run_fully},
    "needed field of a result replaced": {"run": run_otherwise},
    "field with a default added to an argument": {"follow": follow_fully},
    "error gets a field with a default": {"TooFast": TooFastNow, "run": run_sayingly},
    "error removed": {"TooFast": None},
    "signal removed": {"heated": None, "__annotations__": {}},
}

RUN, FOLLOW = (lambda pump: pump.run(4)), (lambda pump: pump.follow(One.Plan(4)))
OLD, NEW = "old", "new"
BOTH = r"; the server of lab/pump is version {theirs}, this client was written for version {ours}"
TABLE: list[tuple[str, str, str, Callable[[Any], Any], Any]] = [
    # change, client, server, call, what comes of it
    ("method added", OLD, NEW, RUN, One.Status(4)),
    ("method added", NEW, OLD, lambda pump: pump.stop(), "lab/pump version 1 has no method 'stop'"),
    ("method added", NEW, NEW, lambda pump: pump.stop(), "=stopped"),
    ("method removed", OLD, NEW, RUN, "lab/pump version 2 has no method 'run'"),
    ("method removed", NEW, OLD, FOLLOW, 4),
    ("optional argument added", OLD, NEW, RUN, One.Status(2)),
    ("optional argument added", NEW, OLD, RUN, One.Status(4)),
    ("optional argument added", NEW, NEW, lambda pump: pump.run(4, ramp=1.0), One.Status(4)),
    (
        "optional argument added",
        NEW,
        OLD,
        lambda pump: pump.run(4, ramp=1.0),
        "run of lab/pump version 1 has no argument 'ramp'",
    ),
    ("needed argument added", OLD, NEW, RUN, "run.place: the field is missing and has no default"),
    (
        "needed argument added",
        NEW,
        OLD,
        lambda pump: pump.run(4, "here"),
        "run of lab/pump version 1 has no argument 'place'",
    ),
    ("type of an argument changed", OLD, NEW, RUN, "run.rpm: expected str, got int"),
    ("type of an argument changed", NEW, OLD, lambda pump: pump.run("x"), "run.rpm: expected int, got str"),
    ("field with a default added to a result", OLD, NEW, RUN, One.Status(4)),
    ("field with a default added to a result", NEW, OLD, RUN, FullerStatus(4, 0.25)),
    ("field with a default added to a result", NEW, NEW, RUN, FullerStatus(4, 0.75)),
    ("needed field of a result replaced", OLD, NEW, RUN, "the result of run.rpm: the field is missing"),
    ("needed field of a result replaced", NEW, OLD, RUN, "the result of run.turns: the field is missing"),
    ("field with a default added to an argument", OLD, NEW, FOLLOW, 4),
    ("field with a default added to an argument", NEW, OLD, lambda pump: pump.follow(FullerPlan(4, [1])), 4),
    ("error gets a field with a default", OLD, NEW, RUN, One.Pump.TooFast(9)),
    ("error gets a field with a default", NEW, OLD, lambda pump: pump.run(4000), TooFastNow(3000)),
    (
        "error removed",
        NEW,
        OLD,
        lambda pump: pump.run(4000),
        "TooFast",
    ),
    (
        "signal removed",
        OLD,
        NEW,
        lambda pump: first(pump.heated),
        "lab/pump version 2 has no signal 'heated'",
    ),
]


async def first(signal: Any) -> Any:
    """The first value that comes."""
    return await anext(aiter(signal))


def versions(change: str) -> dict[str, Any]:
    """The old and the new contract."""
    return {OLD: One.Pump, NEW: server_of(One.Pump, **CHANGES[change])}


@pytest.mark.parametrize(
    ("change", "client", "server", "call", "outcome"),
    TABLE,
    ids=[f"{change}: {client} client, {server} server" for change, client, server, *_ in TABLE],
)
async def test_matrix(change: str, client: str, server: str, call: Any, outcome: Any) -> None:
    contracts = versions(change)
    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        one.host(contracts[server]())
        await network.link(one, two)
        pump = two.client(contracts[client])
        if isinstance(outcome, busway.ServiceError):
            with pytest.raises(type(outcome)) as declared:
                await call(pump)
            assert vars(declared.value) == vars(outcome)
        elif outcome == "TooFast":
            with pytest.raises(busway.RemoteError) as plain:
                await call(pump)
            assert plain.value.message == 'TooFast {"limit": 3000}'
        elif isinstance(outcome, str) and not outcome.startswith("="):
            with pytest.raises(busway.ContractError) as error:
                await call(pump)
            ours, theirs = ({OLD: 1, NEW: 2}[side] for side in (client, server))
            assert outcome in str(error.value)
            assert str(error.value).endswith(BOTH.format(ours=ours, theirs=theirs))
            assert (error.value.ours, error.value.theirs) == (ours, theirs)
            assert error.value.service == "lab/pump"
        else:
            assert await call(pump) == (outcome.removeprefix("=") if isinstance(outcome, str) else outcome)


def test_each_change_is_in_the_table() -> None:
    assert {change for change, *_ in TABLE} == set(CHANGES)


async def test_where_the_server_cannot_tell_its_version_none_is_told() -> None:
    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        one.serve("lab/pump", lambda request: {"turns": 4})
        await network.link(one, two)
        with pytest.raises(busway.ContractError) as error:
            await two.client(One.Pump).run(4)
        assert error.value.theirs is None
        assert "the server of lab/pump is of unknown version" in str(error.value)
