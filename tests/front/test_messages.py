"""busway.messages: what can be declared, and the mistakes that are named at once."""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from busway.messages import accepted_types, declaration_by_id, declaration_of, message
from busway.names import endpoint_id


def fresh() -> str:
    return str(uuid.uuid4())


def test_a_declaration_knows_its_class() -> None:
    identity = fresh()

    @message(identity, name="lab/reading")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Reading:
        celsius: float
        hidden: int = field(default=3, init=False)

    declaration = declaration_of(Reading)
    assert declaration is not None
    assert declaration is declaration_by_id(uuid.UUID(identity).bytes)
    assert (declaration.cls, declaration.name) == (Reading, "lab/reading")


def test_a_uuid_object_will_do() -> None:
    identity = uuid.uuid4()

    @message(identity)
    class Reading(msgspec.Struct):
        celsius: float

    declaration = declaration_of(Reading)
    assert declaration is not None
    assert (declaration.type_id, declaration.name) == (identity.bytes, "")


def test_a_name_will_do_and_is_the_endpoint_of_that_name() -> None:
    @message(name="lab/by name")
    @dataclass
    class Reading:
        celsius: float

    declaration = declaration_of(Reading)
    assert declaration is not None
    assert declaration.type_id == endpoint_id("lab/by name") == endpoint_id(Reading)

    @dataclass
    class Other:
        volts: float

    with pytest.raises(ValueError, match="made from the name 'lab/by name': give one of them another name"):
        message(name="lab/by name")(Other)


def test_neither_uuid_nor_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a UUID such as .*, or a name, as in @busway.message\(name="):
        message()


def test_a_subclass_is_not_declared_with_its_base() -> None:
    @message(fresh())
    @dataclass
    class Base:
        x: int

    @dataclass
    class Heir(Base):
        y: int = 0

    assert declaration_of(Heir) is None
    message(fresh())(Heir)
    assert declaration_of(Heir) is not declaration_of(Base)


def test_two_classes_cannot_share_a_uuid() -> None:
    identity = fresh()

    @message(identity)
    @dataclass
    class First:
        x: int

    @dataclass
    class Second:
        x: int

    with pytest.raises(ValueError, match=r"Second and .*First have the same UUID"):
        message(identity)(Second)
    assert declaration_of(Second) is None


def test_a_class_has_one_uuid() -> None:
    @message(fresh())
    @dataclass
    class Reading:
        x: int

    with pytest.raises(ValueError, match="declared already"):
        message(fresh())(Reading)


def _reading(identity: str) -> type:
    @message(identity)
    @dataclass
    class Reading:
        x: int

    return Reading


def test_a_reloaded_class_takes_the_place_of_the_earlier_one() -> None:
    identity = fresh()
    earlier, later = _reading(identity), _reading(identity)
    found = declaration_by_id(uuid.UUID(identity).bytes)
    assert found is not None
    assert found.cls is later
    assert earlier is not later
    assert declaration_of(earlier) is not None


@pytest.mark.parametrize(
    ("type_id", "name", "error", "sentence"),
    [
        ("lab/reading", "", ValueError, "needs a UUID such as"),
        (7, "", TypeError, "takes a UUID"),
        ("5f0c1d5e-2f0a-4a53-8f0e-6a8c3f2b9d10", "x" * 65, ValueError, "1 to 64 UTF-8 bytes"),
    ],
)
def test_improper_arguments(type_id: Any, name: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        message(type_id, name=name)


def test_what_is_no_message_class() -> None:
    @dataclass
    class Base:
        x: int

    class Heir(Base):
        pass

    wrong: list[Any] = [int, Heir, 3]
    for thing in wrong:
        with pytest.raises(TypeError, match=r"put @dataclass below|declares a class, got int"):
            message(fresh())(thing)


def test_forgetting_the_uuid_is_named() -> None:
    bare: Any = message
    with pytest.raises(TypeError, match=r"as in @busway\.message"):

        @bare
        @dataclass
        class Reading:
            x: int


def test_an_annotation_that_cannot_be_checked_is_refused_with_its_field() -> None:
    for wrong in (
        range,
        typing.Callable,
        typing.TypeVar("T"),
        list[range],
        tuple[int, range],
        dict[str, range],
    ):
        cls = dataclasses.make_dataclass("Wrong", [("x", wrong)])
        with pytest.raises(TypeError, match=r"Wrong\.x: .*cannot be checked on arrival; use int"):
            message(fresh())(cls)


def test_structs_are_checked_at_once_too() -> None:
    cls = msgspec.defstruct("Wrong", [("x", dict[str, int] | list[int] | set[int])])
    with pytest.raises(TypeError, match="more than one"):
        message(fresh())(cls)


@dataclass
class Outer:
    inner: Inner
    others: list[Outer] = field(default_factory=list)


def test_forward_references_wait_until_they_are_needed() -> None:
    message(fresh())(Outer)
    with pytest.raises(TypeError, match="'Inner' is not defined; define what it mentions at the top level"):
        accepted_types([Outer])
    globals()["Inner"] = dataclasses.make_dataclass("Inner", [("x", int)])
    assert accepted_types([Outer]) == (Outer,)
    declaration = declaration_of(Outer)
    assert declaration is not None
    found = declaration.converter().convert({"inner": {"x": 1}, "others": [{"inner": {"x": 2}}]})
    assert found.others[0].inner.x == 2


if typing.TYPE_CHECKING:

    @dataclass
    class Inner:
        x: int


def test_what_a_receiver_may_accept() -> None:
    cls = _reading(fresh())
    assert accepted_types([cls, bytes]) == (cls, bytes)
    assert accepted_types([]) is None
    for wrong in (int, complex):
        classes: list[Any] = [cls, wrong]
        with pytest.raises(TypeError, match=rf"put @busway\.message.* above {wrong.__name__}"):
            accepted_types(classes)
    for odd, shown in ("Reading", "'Reading'"), (list[int], "list["), (None, "None"), (cls | None, "None"):
        with pytest.raises(TypeError, match=rf"takes message classes, as in .*, not {re.escape(shown)}"):
            accepted_types([odd])


def test_unions_and_what_stands_for_them_are_their_members() -> None:
    one, other = _reading(fresh()), _reading(fresh())
    Alias = typing.NewType("Alias", one)  # type: ignore[valid-newtype,valid-type]
    for given in (
        one | other,
        typing.Union[one, other],  # noqa: UP007 - as people write it
        typing.Annotated[one | other, "tagged", ["not hashable"]],
        typing.Union[typing.Annotated[one, "first"], other],  # noqa: UP007
        Alias | other,
    ):
        assert accepted_types([given]) == (one, other), given
    assert accepted_types([one | bytes]) == (one, bytes)
    assert accepted_types([one | other, bytes]) == (one, other, bytes)
    with pytest.raises(TypeError, match="put @busway"):
        accepted_types([one | int])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = ...` is of 3.12")
def test_a_type_statement_stands_for_its_members() -> None:
    one, other = _reading(fresh()), _reading(fresh())
    names = {"one": one, "other": other}
    exec("type Either = one | other", names)
    assert accepted_types([names["Either"]]) == (one, other)
