"""`busway describe`, `call`, `schema` and `stub`, and what Tab offers for them, at a running server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import busway as library
from busway.cli import failures
from tests.front.cli_rig import busway, new_bus
from tests.front.test_cli_completion import offered
from tests.services.pumps import Pump, ThreadPump
from tests.services.rich import Rich

METHOD = {
    "arguments": [{"name": "x", "schema": {"$ref": "#/types/none"}, "required": True, "keyword": False}],
    "result": {"type": "none"},
    "doc": "\x1b[31m",
    "stream": False,
}
FOOLISH = {
    "service": "lab/fool",
    "id": bytes(16),
    "version": 1,
    "contract": "Fool",
    "doc": "",
    "methods": {"run": METHOD},
    "signals": {},
    "errors": {},
    "types": {"Odd": {"x-names": 3}},
}


@pytest.fixture
def bus() -> Iterator[str]:
    """A bus with servers on it."""
    name = new_bus()
    with library.Bus(name) as server:
        server.host(Rich())
        server.host(ThreadPump(), Pump)
        server.serve("lab/plain", lambda request: None)
        server.serve("lab/liar", lambda request: {"methods": {}, "signals": {}, "errors": {}, "types": {}})
        server.serve("lab/fool", lambda request: FOOLISH)
        yield name


DESCRIBED = """\
lab/pump, version 3: Pump
A pump.

set_speed(rpm: int, *, ramp: float = 0.0) -> Status
    Sets the speed.

scan(step: float, count: int = 3) -> a stream of float

fail(how: str) -> None

nap(seconds: float) -> str

signal overheated: float

error TooFast: limit: int, said: bytes = b""

type Status: rpm: int, ramp: float
"""


def test_describe(bus: str) -> None:
    assert busway("describe", "lab/pump", bus=bus).ok().text == DESCRIBED
    told = busway("describe", "lab/rich", "--json", bus=bus).ok().document
    assert (told["service"], told["version"], told["contract"]) == ("lab/rich", 7, "Rich")
    assert list(told["methods"]) == ["plant", "log", "count", "fail"]
    text = busway("describe", "lab/rich", bus=bus).ok().text
    assert "type Colour: RED | DARK" in text
    assert 'seen: frozenset[str] = frozenset(["here"])' in text
    for name in ("lab/plain", "lab/liar"):
        assert "is no service with a contract" in busway("describe", name, bus=bus).failed(failures.NEGATIVE)
    for words in (("describe", "lab/fool"), ("stub", "lab/fool"), ("call", "lab/fool.run", "x=1")):
        failed = busway(*words, bus=bus).failed(failures.NEGATIVE)
        assert "what lab/fool tells of itself cannot be used" in failed
    assert "nobody has" in busway("describe", "lab/none", bus=bus).failed(failures.NEGATIVE)


def test_call(bus: str) -> None:
    def call(*words: str) -> str:
        return busway("call", *words, bus=bus).ok().text.rstrip("\n")

    assert call("lab/pump.set_speed", "rpm=300") == '{"rpm":300,"ramp":0.0}'
    assert call("lab/pump.set_speed", "rpm=300", "ramp=0.5") == '{"rpm":300,"ramp":0.5}'
    assert call("lab/pump.scan", "step=1.5", "count=2") == "0.0\n1.5"
    assert call("lab/pump.nap", "seconds=0") == "slept"
    planted = json.loads(call("lab/rich.plant", 'where={"x": 2}', "colour=DARK", "raw=00ff", 'ring=[3, "y"]'))
    assert planted["name"] == "(3, 'y') DARK 00ff 1"
    assert planted["at"] == {"x": 2.0, "y": 0.0}
    logged = json.loads(
        call(
            "lab/rich.log",
            "at=2026-02-01T00:00:00Z",
            "span=90",
            'ids={"3": "5d5a5bb0-7a50-4a0c-8f3c-0f1f4c5b7f11"}',
            "cost=2.50",
            "day=2026-02-02",
            "many=[1, 2]",
            "pairs=[]",
        )
    )
    assert logged == [
        "2026-02-01 00:00:00+00:00",
        "0:01:30",
        "{3: UUID('5d5a5bb0-7a50-4a0c-8f3c-0f1f4c5b7f11')}",
        "2.50",
        "2026-02-02",
        "[1, 2]",
        "[]",
    ]
    parts = busway("call", "lab/rich.count", "to=2", "note=7", "--json", bus=bus).ok().documents
    assert [part["part"] for part in parts] == [0, 1]
    assert parts[0]["payload"] == {"celsius": 0.0, "when": "2026-01-31T12:00:00+00:00"}
    found = busway("call", "lab/pump.set_speed", "rpm=1", "--json", bus=bus).ok().document
    assert found == {"service": "lab/pump", "method": "set_speed", "result": {"rpm": 1, "ramp": 0.0}}


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (
            ("lab/pump.halt",),
            failures.NEGATIVE,
            "lab/pump version 3 has no method 'halt'; there is set_speed, scan",
        ),
        (
            ("lab/pump",),
            failures.USAGE,
            "'lab/pump' is no method: give NAME.METHOD, as in lab/pump.set_speed",
        ),
        (("lab/pump.set_speed",), failures.USAGE, "set_speed(rpm: int, *, ramp: float = 0.0): it needs rpm"),
        (
            ("lab/pump.set_speed", "speed=1"),
            failures.USAGE,
            "'speed=1' is no argument of it",
        ),
        (("lab/pump.set_speed", "rpm"), failures.USAGE, "'rpm' is no argument of it"),
        (("lab/pump.set_speed", "rpm=x"), failures.NEGATIVE, "set_speed.rpm: expected int, got str"),
        (("lab/pump.set_speed", "rpm=4000"), failures.NEGATIVE, 'busway: TooFast {"limit": 3000, "said": '),
        (("lab/pump.fail", "how=own"), failures.NEGATIVE, "ValueError: the valve is stuck (error 64)"),
        (("lab/rich.log", "at=noon"), failures.USAGE, "at: expected datetime, got 'noon'"),
        (
            ("lab/plain.run",),
            failures.NEGATIVE,
            "lab/plain is no service with a contract: use `busway request`",
        ),
        (("lab/none.run",), failures.NEGATIVE, "nobody has the endpoint 'lab/none'"),
        (("lab/pump.nap", "seconds=30", "--timeout", "0.3"), failures.UNKNOWN, "no reply within the timeout"),
    ],
)
def test_what_comes_of_a_call_that_fails(
    bus: str, words: tuple[str, ...], status: int, sentence: str
) -> None:
    assert sentence in busway("call", *words, bus=bus).failed(status)


def test_schema(bus: str) -> None:
    schema = json.loads(busway("schema", "lab/rich", bus=bus).ok().text)
    assert schema["title"] == "Rich, version 7"
    assert schema["$defs"]["Point"]["required"] == ["x"]
    document = busway("schema", "lab/pump", "--asyncapi", "--json", bus=bus).ok().document
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["overheated"]["address"] == "lab/pump/overheated"


def test_stub(bus: str, tmp_path: Path) -> None:
    written = busway("stub", "lab/pump", "--blocking", bus=bus).ok().text
    assert written.startswith('"""A client of lab/pump, version 3, as `busway stub` has written it."""\n')
    assert "    def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:\n" in written
    assert "    def scan(self, step: float, count: int = 3) -> Iterator[float]: ...\n" in written
    module = busway("stub", "lab/pump", "--json", bus=bus).ok().document["module"]
    assert "async def set_speed" in module


def test_completion(bus: str) -> None:
    assert offered(bus, "describe", "lab/pu") == ["lab/pump"]
    assert offered(bus, "call", "lab/") == ["lab/fool.", "lab/liar.", "lab/plain.", "lab/pump.", "lab/rich."]
    methods = [f"lab/pump.{name}" for name in ("fail", "nap", "scan", "set_speed")]
    assert offered(bus, "call", "lab/pum") == methods
    assert offered(bus, "call", "lab/pump.") == methods
    assert offered(bus, "call", "lab/pump.s") == methods[2:]
    assert offered(bus, "call", "lab/pump.set_speed", "") == ["rpm=", "ramp="]
    assert offered(bus, "call", "lab/pump.set_speed", "rpm=3", "r") == ["ramp="]
    assert offered(bus, "call", "lab/pump.halt", "") == []
