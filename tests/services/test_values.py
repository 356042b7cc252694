"""Signatures and values that Hypothesis makes go there and back, on both sorts of bus."""

import datetime
import decimal
import enum
import inspect
import itertools
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import busway
from busway.cli.output import json_text
from busway.messages import converter_of
from busway.payloads import plain
from busway.services.contracts import needed_outline
from busway.services.describing import describe
from busway.services.documents import json_schema
from busway.services.stubs import stub
from busway.services.values import Shape
from busway.testing import Network, run
from tests.services.test_documents import made as module_of


class Colour(enum.Enum):
    RED = "red"
    DARK = 7


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Named:
    name: str
    at: Point | None = None
    tags: frozenset[str] = frozenset()
    more: dict[str, list[int]] = field(default_factory=dict)


class Reading(msgspec.Struct):
    celsius: float
    place: str | None = None


@dataclass
class Checked:
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("a count is not negative")


@busway.message(name="lab/alarm")
@dataclass
class Alarm:
    text: str


@busway.message(name="lab/calm")
@dataclass
class Calm:
    since: float


Metres = NewType("Metres", float)

whole = st.integers(-(2**70), 2**70)
number = st.floats(allow_nan=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
point = st.builds(Point, number, number)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, whole),
    (float, number),
    (str, text),
    (bytes, st.binary(max_size=8)),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, st.one_of(whole, text, st.lists(whole, max_size=2))),
    (datetime.datetime, st.datetimes(timezones=st.just(datetime.UTC))),
    (datetime.date, st.dates()),
    (datetime.timedelta, st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999))),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 3], st.sampled_from(["a", 3])),
    (Metres, number.map(Metres)),
    (Annotated[int, "of something"], whole),
    (Point, point),
    (Named, st.builds(Named, text, st.none() | point, st.frozensets(text, max_size=2))),
    (Reading, st.builds(Reading, number, st.none() | text)),
    (Checked, st.builds(Checked, st.integers(0, 9))),
    (int | str, whole | text),
    (Alarm | Calm, st.builds(Alarm, text) | st.builds(Calm, number)),
    (Alarm | Calm | None, st.none() | st.builds(Alarm, text) | st.builds(Calm, number)),
]
RESULTS_ONLY = {Alarm | Calm, Alarm | Calm | None}  # elsewhere nothing tells them apart
Typed = tuple[Any, st.SearchStrategy[Any]]


def of(kind: Any, *members: Any) -> Any:
    """`kind[members]`, which type checkers do not take where members are values."""
    return kind[members if len(members) > 1 else members[0]]


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda typed: (of(list, typed[0]), st.lists(typed[1], max_size=3))),
        inner.map(lambda typed: (of(Sequence, typed[0]), st.lists(typed[1], max_size=3))),
        inner.map(lambda typed: (of(tuple, typed[0], ...), st.lists(typed[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(
            lambda two: (of(tuple, two[0][0], two[1][0]), st.tuples(two[0][1], two[1][1]))
        ),
        inner.map(lambda typed: (of(Mapping, str, typed[0]), st.dictionaries(text, typed[1], max_size=3))),
        inner.map(lambda typed: (of(Optional, typed[0]), st.none() | typed[1])),
    )


arguments = st.recursive(
    st.sampled_from([each for each in LEAVES if each[0] not in RESULTS_ONLY]), containers, max_leaves=3
) | st.just((set[int], st.sets(st.integers(0, 99), max_size=3)))
results = arguments | st.sampled_from([each for each in LEAVES if each[0] in RESULTS_ONLY])
NAMES = ("rpm", "self_", "found", "given", "type", "absent_______", "ü", "cls")


@dataclass
class Case:
    """A method, and a call of it."""

    signature: inspect.Signature
    positional: list[Any]
    named: dict[str, Any]
    answer: Any

    def takes(self) -> dict[str, Any]:
        """What the method is to be given."""
        bound = self.signature.bind(*self.positional, **self.named)
        return dict(bound.arguments)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    parameters: list[inspect.Parameter] = []
    positional: list[Any] = []
    named: dict[str, Any] = {}
    count = draw(st.integers(0, 4))
    keywords = draw(st.integers(0, count))
    optional = False
    for place, name in enumerate(NAMES[:count]):
        annotation, values = draw(arguments)
        is_keyword = place >= count - keywords
        optional = (optional and not is_keyword) or draw(st.booleans())
        kind = inspect.Parameter.KEYWORD_ONLY if is_keyword else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = draw(values) if optional else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
        if not optional or draw(st.booleans()):
            value = draw(values)
            if is_keyword or named or len(positional) < place or draw(st.booleans()):
                named[name] = value
            else:
                positional.append(value)
    annotation, values = draw(results)
    signature = inspect.Signature(parameters, return_annotation=annotation)
    return Case(signature, positional, named, draw(values))


def with_signature(function: Any, signature: inspect.Signature, returns: Any) -> Any:
    """The function with that signature, behind `self`."""
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__signature__ = signature.replace(
        parameters=[me, *signature.parameters.values()], return_annotation=returns
    )
    function.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    function.__annotations__["return"] = returns
    return function


class Echo:
    """The base of what is made for a case: keeps what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[dict[str, Any]] = []


def contract_of(case: Case, *, blocking: bool) -> Any:
    """A service whose methods have the case's signature: one that returns the answer, one that streams it."""

    async def call(self: Any, **given: Any) -> Any:
        self.seen.append(given)
        return self.answer

    async def stream(self: Any, **given: Any) -> Any:
        self.seen.append(given)
        yield self.answer
        yield self.answer

    def blocking_call(self: Any, **given: Any) -> Any:
        self.seen.append(given)
        return self.answer

    def blocking_stream(self: Any, **given: Any) -> Any:
        self.seen.append(given)
        yield self.answer
        yield self.answer

    result = case.signature.return_annotation
    methods = (blocking_call, blocking_stream) if blocking else (call, stream)
    parts = of(Iterator if blocking else AsyncIterator, result)
    body = {
        name: with_signature(function, case.signature, returns)
        for name, function, returns in zip(("call", "stream"), methods, (result, parts), strict=True)
    }
    return busway.service("lab/echo")(type("Made", (Echo,), body))


def same(found: Any, wanted: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    return bool(found == wanted)


@settings(max_examples=150)
@given(case=cases())
def test_round_trips_on_asyncio(case: Case) -> None:
    async def main() -> None:
        made = contract_of(case, blocking=False)
        server = made(case.answer)
        async with Network() as network:
            one, two = await network.bus(), await network.bus()
            one.host(server)
            await network.link(one, two)
            echo: Any = two.client(made)
            assert same(await echo.call(*case.positional, **case.named), case.answer)
            stream = echo.stream(*case.positional, **case.named)
            assert same([part async for part in stream], [case.answer] * 2)
        assert same(server.seen, [case.takes()] * 2)

    run(main())


def plainly(value: Any) -> Any:
    """The value as those see it who know none of its classes."""
    return plain([value])[0]


def test_a_default_that_a_stub_cannot_write_does_not_travel() -> None:
    shape = Shape("call", [("found", set[int], None), ("rpm", tuple[int, int], lambda: ...)])
    assert shape.pack({"found": {1}}) == {"found": {1}}


@settings(max_examples=100)
@given(case=cases().filter(lambda case: case.signature.return_annotation not in RESULTS_ONLY))
def test_stubs_of_made_signatures_call_as_the_classes_do(case: Case) -> None:
    """What a stub knows of a signature is enough: its own classes stand for those of the server."""

    async def main() -> None:
        made = contract_of(case, blocking=False)
        outline = needed_outline(made)
        described = describe(outline, outline.name, outline.version)
        jsonschema.Draft202012Validator.check_schema(json.loads(json_text(json_schema(described))))
        stubbed = module_of(stub(described))["Made"]
        hints = needed_outline(stubbed).methods["call"].hints
        taken = {
            name: converter_of(hints[name]).convert(plainly(value)) for name, value in case.takes().items()
        }
        server = made(case.answer)
        async with Network() as network:
            one, two = await network.bus(), await network.bus()
            one.host(server)
            await network.link(one, two)
            echo: Any = two.client(stubbed)
            assert same(plainly(await echo.call(**taken)), plainly(case.answer))
            assert same([plainly(part) async for part in echo.stream(**taken)], [plainly(case.answer)] * 2)
        assert same(server.seen, [case.takes()] * 2)

    run(main())


@pytest.fixture(scope="module")
def two_buses() -> Iterator[tuple[busway.Bus, busway.Bus]]:
    directory = Path(tempfile.mkdtemp(prefix="bw-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUSWAY_DIR", str(directory))
        with busway.Bus() as one, busway.Bus() as two:
            yield one, two
    shutil.rmtree(directory, ignore_errors=True)


numbers = itertools.count()


@settings(max_examples=60)
@given(case=cases())
def test_round_trips_in_threads(two_buses: tuple[busway.Bus, busway.Bus], case: Case) -> None:
    one, two = two_buses
    made = contract_of(case, blocking=True)
    server = made(case.answer)
    name = f"lab/echo/{next(numbers)}"
    with one.host(server, name=name):
        echo: Any = two.client(made, name=name).using(ttl=60.0)
        assert same(echo.call(*case.positional, **case.named), case.answer)
        assert same(list(echo.stream(*case.positional, **case.named)), [case.answer] * 2)
    assert same(server.seen, [case.takes()] * 2)
