"""busway.convert: every annotation it knows, what fits it, and the sentence for what does not."""

from __future__ import annotations

import array
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import typing
import uuid
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, Literal, NewType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.classes import Mismatch
from busway.convert import Converter
from busway.payloads import DEPTH_MAX

NOON = datetime.datetime(2024, 1, 2, 12, tzinfo=datetime.UTC)
IDENTITY = uuid.UUID(int=5)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Tolerant(enum.Enum):
    KNOWN = 1
    OTHER = -1

    @classmethod
    def _missing_(cls, value: object) -> Tolerant:
        if value == 13:
            raise LookupError("unlucky")
        return cls.OTHER


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass
class Tree:
    label: str
    children: list[Tree] = field(default_factory=list)


class Site(msgspec.Struct):
    name: str
    mark: bytes = b""
    seen: dict[str, int] = {}


Metres = NewType("Metres", float)


def converter(annotation: Any) -> Converter:
    return Converter(dataclasses.make_dataclass("R", [("v", annotation)]))


def converted(annotation: Any, value: object, *, sets: bool = True) -> Any:
    return converter(annotation).convert({"v": value}, sets=sets).v


FITS: list[tuple[Any, object, object]] = [
    (collections.abc.Sequence[float], [1, 2.5], [1.0, 2.5]),
    (typing.Sequence, (1, 2), [1, 2]),
    (collections.abc.Mapping[str, float], {"a": 1}, {"a": 1.0}),
    (collections.abc.MutableMapping, {"a": 1}, {"a": 1}),
    (collections.abc.Set[int], frozenset({1}), {1}),
    (collections.abc.Sequence[int] | None, None, None),
    (datetime.timedelta, datetime.timedelta(1, 2, 3), datetime.timedelta(1, 2, 3)),
    (fractions.Fraction, fractions.Fraction(1, 3), fractions.Fraction(1, 3)),
    (array.array, array.array("h", [1]), array.array("h", [1])),
    (ipaddress.IPv4Address, ipaddress.ip_address("1.2.3.4"), ipaddress.ip_address("1.2.3.4")),
    (ipaddress.IPv6Network, ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("fe80::/10")),
    (int, 3, 3),
    (float, 3, 3.0),
    (float, 2.5, 2.5),
    (str, "a", "a"),
    (bytes, b"a", b"a"),
    (bool, True, True),
    (None, None, None),
    (Any, [1, {}], [1, {}]),
    (object, "a", "a"),
    (complex, 1j, 1j),
    (datetime.datetime, NOON, NOON),
    (datetime.date, NOON.date(), NOON.date()),
    (uuid.UUID, IDENTITY, IDENTITY),
    (decimal.Decimal, decimal.Decimal(3), decimal.Decimal(3)),
    (decimal.Decimal, -math.inf, decimal.Decimal("-Infinity")),
    (list, [1, "a"], [1, "a"]),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (tuple, [1], (1,)),
    (typing.Tuple, [1], (1,)),  # noqa: UP006
    (typing.List[int], [1], [1]),  # noqa: UP006
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (set[int], {1}, {1}),
    (frozenset[int], {1}, frozenset({1})),
    (dict, {1: "a"}, {1: "a"}),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict[Colour, Level], {"red": 1}, {Colour.RED: Level.LOW}),
    (dict[tuple[int, int], str], {(1, 2): "a"}, {(1, 2): "a"}),
    (int | None, None, None),
    (typing.Optional[int], 3, 3),  # noqa: UP045
    (float | None, 3, 3.0),
    (float | int, 3, 3),
    (float | str, 3, 3.0),
    (int | str | None, None, None),
    (int | list[int], [1], [1]),
    (bytes | str, b"a", b"a"),
    (datetime.datetime | str, "noon", "noon"),
    (fractions.Fraction | int, 3, 3),
    (list[int] | set[int], {1}, {1}),
    (Literal["on", 1, None], "on", "on"),
    (Literal[1], 1, 1),
    (Literal[Colour.RED], "red", Colour.RED),
    (Colour, "red", Colour.RED),
    (Colour, 2, Colour.BLUE),
    (Level, 1, Level.LOW),
    (Flags, 3, Flags.A | Flags.B),
    (Tolerant, 7, Tolerant.OTHER),
    (Point, {"x": 1}, Point(1.0)),
    (Point, {"x": 1, "z": "from a newer sender"}, Point(1.0)),
    (list[Point], [{"x": 1, "y": 2}], [Point(1.0, 2.0)]),
    (Tree, {"label": "a", "children": [{"label": "b"}]}, Tree("a", [Tree("b")])),
    (Site, {"name": "a", "mark": b"m"}, Site("a", b"m")),
    (Annotated[int, ["unit"]], 3, 3),
    (typing.Final[int], 3, 3),
    (Metres, 3, 3.0),
]


@pytest.mark.parametrize("sets", [True, False])
@pytest.mark.parametrize(("annotation", "value", "wanted"), FITS)
def test_what_fits(annotation: Any, value: object, wanted: object, sets: bool) -> None:
    found = converted(annotation, value, sets=sets)
    assert found == wanted
    assert type(found) is type(wanted)


MISFITS: list[tuple[Any, object, str]] = [
    (int, True, "R.v: expected int, got bool"),
    (int, 3.0, "R.v: expected int, got float"),
    (float, "3", "R.v: expected float, got str"),
    (float, True, "R.v: expected float, got bool"),
    (float, 10**400, "R.v: expected float, got an int too large for one"),
    (bool, 1, "R.v: expected bool, got int"),
    (str, b"a", "R.v: expected str, got bytes"),
    (bytes, "a", "R.v: expected bytes, got str"),
    (None, 0, "R.v: expected None, got int"),
    (datetime.date, NOON, "R.v: expected date, got datetime"),
    (decimal.Decimal, 1.5, "R.v: expected Decimal, got float"),
    (list[int], [1, "a"], "R.v[1]: expected int, got str"),
    (list[int], {1}, "R.v: expected list, got set"),
    (list[int], "12", "R.v: expected list, got str"),
    (set[int], [1], "R.v: expected set, got list"),
    (tuple[int, str], [1], "R.v: expected list of length 2, got 1"),
    (tuple[int, str], [1, 2], "R.v[1]: expected str, got int"),
    (tuple[int, str], 1, "R.v: expected list, got int"),
    (dict[str, int], {"a": "b"}, "R.v['a']: expected int, got str"),
    (dict[str, int], {1: 1}, "R.v[1]: expected str, got int"),
    (dict[str, int], [], "R.v: expected map, got list"),
    (int | None, "a", "R.v: expected int | None, got str"),
    (set[Point], [{"x": 1}], "R.v: expected set, got list"),
    (datetime.timedelta, 3, "R.v: expected timedelta, got int"),
    (uuid.UUID | None, "5", "R.v: expected UUID | None, got str"),
    (dict[str, Point], {"a": {"x": "b"}}, "R.v['a'].x: expected float, got str"),
    (dict[Colour, int], {"green": 1}, "R.v['green']: expected a value of Colour ('red', 2), got str"),
    (int | str, 2.5, "R.v: expected int | str, got float that fits none of them"),
    (Literal["on", 1], True, "R.v: expected one of 'on', 1, got bool"),
    (Literal["on", 1], [], "R.v: expected one of 'on', 1, got list"),
    (Colour, "green", "R.v: expected a value of Colour ('red', 2), got str"),
    (Colour, True, "R.v: expected a value of Colour ('red', 2), got bool"),
    (Level, 1.0, "R.v: expected a value of Level (1), got float"),
    (Tolerant, 13, "R.v: expected a value of Tolerant (1, -1), got int"),
    (Point, [1, 2], "R.v: expected a map of fields, got list"),
    (Point, {"y": 1}, "R.v.x: the field is missing and has no default"),
    (list[Point], [{"x": 1}, {"x": "a"}], "R.v[1].x: expected float, got str"),
    (Tree, {"label": "a", "children": [{"label": 1}]}, "R.v.children[0].label: expected str, got int"),
    (Site, {"name": 1}, "R.v.name: expected str, got int"),
    (Site, {"name": "a", "mark": "bXk="}, "R.v.mark: expected bytes, got str"),
    (Site, {"name": "a", "seen": {"b": "c"}}, "R.v.seen[...]: expected int, got str"),
    (Site, {"name": "a", "seen": {1: 1}}, "R.v.seen (a key): expected str, got int"),
    (list[Site], [[]], "R.v[0]: expected a map of fields, got list"),
]


@pytest.mark.parametrize("sets", [True, False])
@pytest.mark.parametrize(("annotation", "value", "sentence"), MISFITS)
def test_what_does_not_fit(annotation: Any, value: object, sentence: str, sets: bool) -> None:
    with pytest.raises(Mismatch) as caught:
        converted(annotation, value, sets=sets or isinstance(value, set))
    assert caught.value.describe("R") == sentence


class Odd(enum.Enum):
    PAIR = (1, 2)


def self_referring() -> Any:
    class Alias:
        __value__: Any

    alias = Alias()
    alias.__value__ = alias
    return alias


REFUSED: list[tuple[Any, str]] = [
    (Point | Tree, "Point and Tree are each a map on the wire"),
    (Point | dict[str, int], "are each a map on the wire"),
    (Annotated[list[int], "a"] | tuple[int, ...], "are each a list on the wire"),
    (set[int] | frozenset[str], "are each a set on the wire"),
    (Odd, "the values of Odd must be numbers"),
    (typing.Callable[[], int], "cannot be checked on arrival"),
    (self_referring(), "refers to itself"),
]


@pytest.mark.parametrize(("annotation", "sentence"), REFUSED)
def test_what_is_refused_at_declaration(annotation: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        converter(annotation)


def test_a_class_that_refuses_is_a_misfit() -> None:
    @dataclass
    class Positive:
        v: int

        def __post_init__(self) -> None:
            if self.v < 0:
                raise LookupError("negative" + "!" * 1000)

    convert = Converter(Positive).convert
    assert convert({"v": 1}).v == 1
    with pytest.raises(Mismatch) as caught:
        convert({"v": -1})
    sentence = caught.value.describe("Positive")
    assert "Positive refused it: LookupError: negative!!!" in sentence
    assert len(sentence) < 400


def test_fields_outside_the_constructor_do_not_travel() -> None:
    @dataclass
    class Derived:
        v: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            self.twice = 2 * self.v

    assert Converter(Derived).convert({"v": 2, "twice": 9}) == Derived(2)


# Made at the top level, where the InitVar's string annotation can be resolved.
@dataclass
class Needy:
    v: int
    scale: InitVar[int]


@dataclass
class Content:
    v: int
    scale: InitVar[int] = 2


def test_an_init_only_field_needs_a_default() -> None:
    with pytest.raises(TypeError, match=r"Needy\.scale: an InitVar is not kept"):
        Converter(Needy)
    assert Converter(Content).convert({"v": 1}, sets=False) == Content(1)


def test_a_failing_union_of_nested_values_takes_linear_time() -> None:
    value: dict[str, Any] = {"label": 3}
    for _ in range(60):
        value = {"label": "a", "children": [value]}
    with pytest.raises(Mismatch):
        converted(Tree | list[Tree] | int, value)


@dataclass
class Chain:
    next: Chain | None = None


@pytest.mark.parametrize(("annotation", "step"), [(Chain, "next"), (Tree, "children")])
def test_values_as_deep_as_payloads_may_be(annotation: Any, step: str) -> None:
    value: dict[str, Any] = {"label": "a"}
    for _ in range(DEPTH_MAX if step == "next" else DEPTH_MAX // 2):
        value = {"label": "a", step: value if step == "next" else [value]}
    one = Converter(annotation)
    found = one.convert(value)
    assert isinstance(found, annotation)
    one.convert(value, making=False)


PLAIN: list[Any] = [
    *(
        int,
        float,
        str,
        bytes,
        bool,
        Any,
        datetime.datetime,
        uuid.UUID,
        list,
        dict,
        Point,
        Tree,
        Site,
        Level,
    ),
    *(
        list[float],
        tuple[int, ...],
        tuple[int, str],
        dict[str, float],
        int | None,
        list[Point],
        dict[int, Tree],
    ),
    collections.abc.Sequence[int],
]
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.just(NOON)
    | st.just(IDENTITY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "label", "children", "name", 1]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain, st.sampled_from(PLAIN))
def test_the_quick_way_takes_and_makes_what_the_exact_one_does(value: Any, annotation: Any) -> None:
    found = []
    for sets in (False, True):
        try:
            found.append(repr(Converter(annotation).convert(value, sets=sets)))
        except Mismatch as mismatch:
            found.append(mismatch.describe(""))
    assert Converter(annotation)._native is not None
    assert found[0] == found[1]
