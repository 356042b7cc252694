"""Documents and stubs of a service, held against validators and type checkers that others have made."""

import enum
import inspect
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import busway
from busway.cli.output import json_text
from busway.cli.services import _lines
from busway.services import documents
from busway.services.contracts import needed_outline
from busway.services.describing import describe
from busway.services.stubs import stub
from busway.services.wording import StubError
from tests.rigs import typing_tools
from tests.services.pumps import AsyncPump, Pump, Status, ThreadPump
from tests.services.rich import Rich

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own fields shadow each other
    from asyncapi3.models import AsyncAPI3


def told(contract: type) -> dict[str, Any]:
    outline = needed_outline(contract)
    return describe(outline, outline.name, outline.version)


def travelled(document: Any) -> Any:
    """As the command prints it."""
    return json.loads(json_text(document))


@pytest.mark.parametrize("contract", [Rich, Pump])
def test_a_json_schema_is_one(contract: type) -> None:
    schema = travelled(documents.json_schema(told(contract)))
    jsonschema.Draft202012Validator.check_schema(schema)
    for definition in schema["$defs"].values():
        whole = {**definition, "$defs": schema["$defs"]}
        assert isinstance(
            list(jsonschema.Draft202012Validator(whole).iter_errors({})), list
        )  # refs lead there


@pytest.mark.parametrize(
    ("call", "fits"),
    [
        (["plant", {"where": {"x": 1.5}}], True),
        (["plant", {"where": {"x": 1.5, "y": 2}, "ring": [3, "y"], "colour": 7, "raw": "00ff"}], True),
        (["fail", {}], True),
        (["count", {"to": 3, "kind": "up", "note": {"any": [1]}}], True),
        (["log", {"many": [1, 2], "pairs": [[1], [2]]}], True),
        (["plant", {}], False),
        (["plant", {"where": {"y": 1.5}}], False),
        (["plant", {"where": {"x": 1.5}, "ring": [3]}], False),
        (["plant", {"where": {"x": 1.5}, "colour": "blue"}], False),
        (["count", {"to": "x"}], False),
        (["count", {"to": 3, "kind": "down"}], False),
        (["fail", {"sad": "x"}], False),
        (["halt", {}], False),
        (["fail"], False),
        ("fail", False),
    ],
)
def test_calls_fit_the_json_schema_or_do_not(call: Any, fits: bool) -> None:
    validator = jsonschema.Draft202012Validator(travelled(documents.json_schema(told(Rich))))
    assert validator.is_valid(call) is fits


@pytest.mark.parametrize("contract", [Rich, Pump])
def test_an_asyncapi_document_is_one(contract: type) -> None:
    document = travelled(documents.asyncapi(told(contract)))
    AsyncAPI3.model_validate(document)
    outline = needed_outline(contract)
    assert set(document["operations"]) == {*outline.methods, *outline.signals}
    for reference in references(document):
        assert found_at(document, reference) is not None
    for schema in schemas_in(document):
        jsonschema.Draft7Validator.check_schema(schema)
    with pytest.raises(ValueError, match="asyncapi"):
        AsyncAPI3.model_validate({**document, "asyncapi": 3})
    with pytest.raises(ValueError, match="does not match"):
        AsyncAPI3.model_validate({**document, "other": 3})


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for member in part.values():
            yield from references(member)
    elif isinstance(part, list):
        for member in part:
            yield from references(member)


def found_at(document: Any, reference: str) -> Any:
    for key in reference.removeprefix("#/").split("/"):
        document = document[key]
    return document


def schemas_in(document: Any) -> Iterator[Any]:
    for channel in document["channels"].values():
        for message in channel["messages"].values():
            yield message["payload"]
    yield from document["components"]["schemas"].values()


# Stubs --------------------


def test_stubs_pass_both_type_checkers(tmp_path: Path) -> None:
    files = []
    for contract in (Rich, Pump):
        for blocking in (False, True):
            file = tmp_path / f"{contract.__name__.lower()}_{'blocking' if blocking else 'async'}.py"
            file.write_text(stub(told(contract), blocking=blocking))
            files.append(file)
    assert typing_tools.mypy(tmp_path, files) == {}
    assert typing_tools.basedpyright(tmp_path, files) == {}


def made(text: str) -> dict[str, Any]:
    """The names of a module with that text."""
    import types

    module = types.ModuleType("made_client")
    sys.modules[module.__name__] = module  # where dataclasses look up what is annotated
    exec(compile(text, "made_client.py", "exec"), vars(module))
    return vars(module)


async def test_a_stub_calls_as_the_class_does() -> None:
    names = made(stub(told(Pump)))
    async with busway.testing.Network() as network:
        one, two = await network.bus(), await network.bus()
        one.host(AsyncPump())
        await network.link(one, two)
        pump = two.client(names["Pump"])
        status = await pump.set_speed(300, ramp=0.5)
        assert (type(status), status.rpm, status.ramp) == (names["Status"], 300, 0.5)
        assert [part async for part in pump.scan(1.5)] == [0.0, 1.5, 3.0]
        with pytest.raises(names["Pump"].TooFast) as error:
            await pump.set_speed(4000)
        assert (error.value.limit, error.value.said) == (3000, b"\xff")
        assert names["Pump"].__doc__ == "A pump."


class Way(enum.Enum):
    IN = 1
    OUT = "out"


class Side(enum.Flag):
    LEFT = 1
    RIGHT = 2


def test_the_default_of_a_union_is_of_the_member_that_has_it() -> None:
    @busway.service("lab/door", version=1)
    class Door:
        async def turn(
            self,
            by: Way | None = None,
            to: Way | bool = True,
            way: Way | int = 1,
            side: Side | None = None,
            sides: Side = Side.LEFT | Side.RIGHT,
        ) -> None: ...

    names = made(stub(told(Door)))
    found = inspect.signature(names["Door"].turn).parameters
    way, side = names["Way"], names["Side"]
    defaults = [found[name].default for name in ("by", "to", "way", "side", "sides")]
    assert defaults == [None, True, way(1), None, side(3)]
    assert type(defaults[1]) is bool


def test_message_types_that_stand_for_each_other_are_declared() -> None:
    """In a program of its own, for a type has one class."""
    from tests.services.test_signals import Oven

    text = stub(told(Oven), blocking=True)
    program = f"""{text}

with busway.Bus(ipc=False) as bus:
    class Server:
        def heat(self) -> None:
            self.told.publish(Cold(celsius=3.0))

    bus.host(Server(), Oven)
    oven = bus.client(Oven)
    with oven.told.subscribe() as told:
        oven.heat()
        print(told.receive(30.0))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("Cold(celsius=3.0)\n", "")
    assert text.count("@busway.message(") == 2


def test_a_blocking_stub_calls_as_the_class_does() -> None:
    names = made(stub(told(Rich), blocking=True))
    with busway.Bus("stubs") as one, busway.Bus("stubs") as two:
        one.host(Rich())
        rich = two.client(names["Rich"]).using(ttl=30.0)
        here = rich.plant(names["Point"](x=2.0), (5, "z"), colour=names["Colour"].DARK, raw=b"\xff")
        assert here == names["Tree"](
            name="(5, 'z') DARK ff 1", children=[names["Tree"](name="leaf")], at=names["Point"](x=2.0)
        )
        assert rich.log() == Rich().log()
        assert [part.celsius for part in rich.count(2)] == [0.0, 1.0]
        with pytest.raises(names["Rich"].TooFast) as error:
            rich.fail()
        assert (error.value.limit, error.value.steps) == (3, {1, 2})


def test_the_blocking_stub_of_an_async_class_is_for_threads() -> None:
    names = made(stub(told(Pump), blocking=True))
    with busway.Bus("stubs") as one, busway.Bus("stubs") as two:
        one.host(ThreadPump(), Pump)
        pump = two.client(names["Pump"]).using(ttl=30.0)
        assert pump.set_speed(1) == names["Status"](rpm=1, ramp=0.0)
        assert Status(1, 0.0) != pump.set_speed(1)


@given(doc=st.text(), title=st.text())
def test_whatever_a_server_tells_stays_text(doc: str, title: str) -> None:
    description = told(Pump) | {"doc": doc, "service": title}
    description["methods"]["set_speed"]["doc"] = doc
    text = stub(description)
    text.encode("ascii", errors="backslashreplace").decode()
    compile(text.encode("utf-8", errors="replace"), "stub", "exec")
    names = set(made_names(text))
    assert names == set(made_names(stub(told(Pump))))


def made_names(text: str) -> Iterator[str]:
    """The names and calls in a program, but for what its texts say."""
    import ast

    for node in ast.walk(ast.parse(text.encode("utf-8", errors="replace"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name


ARGUMENT = {"name": "x", "schema": {}, "required": True, "keyword": False}
TWICE = {"arguments": [ARGUMENT, ARGUMENT], "result": {}, "doc": "", "stream": False}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"contract": "Pump:\n import os\nclass X"}, "cannot be a name in a program"),
        ({"contract": "class"}, "'class' cannot be a name"),
        ({"version": "1); import os"}, "a version is a whole number"),
        ({"signals": {"x = 1": {"schema": {}}}}, "'x = 1' cannot be a name"),
        (
            {"signals": {"x": {"schema": {"x-python": "os.system()"}}}},
            "is no type that a service may",
        ),
        ({"signals": {"x": {"schema": {"$ref": "#/types/os"}}}}, "is not what a service gives"),
        ({"methods": {"import": {}}}, "is not what a service gives"),
        ({"methods": 7}, "is not what a service gives"),
        ({"errors": {"X": {"properties": {"a b": {}}}}}, "'a b' cannot be a name"),
        ({"types": {"Odd": {"x-names": ["A", "B"], "enum": [1]}}}, "is not what a service gives"),
        ({"types": {"ｂｕｓｗａｙ": {"properties": {}}}}, "cannot be a name"),  # noqa: RUF001
        ({"errors": {"X": {"properties": {"__debug__": {}}}}}, "is not what a service gives"),
        ({"methods": {"run": TWICE}}, "is not what a service gives"),
    ],
)
def test_what_has_no_place_in_a_program_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StubError) as error:
        stub(told(Pump) | change)
    assert sentence in str(error.value)


# What a server tells may be 16 MiB: none of it may take more than in proportion --------------------


def test_a_default_that_unions_make_endless_is_refused() -> None:
    """Each level of it fits both members, but for what is at the bottom."""
    both = {"anyOf": [{"$ref": "#/types/T"}, {"$ref": "#/types/T"}]}
    default: Any = bytes(1)
    for _ in range(100):
        default = {"x": default}
    types = {"T": {"type": "object", "properties": {"x": both}}}
    argument = {**ARGUMENT, "required": False, "schema": {"$ref": "#/types/T", "default": default}}
    method = {**TWICE, "arguments": [argument]}
    with pytest.raises(StubError, match="take too long to write"):
        stub(told(Pump) | {"types": types, "methods": {"run": method}})


def test_of_very_many_methods_and_errors_no_asyncapi_document_is_made() -> None:
    method = told(Pump)["methods"]["set_speed"]
    many = {"methods": dict.fromkeys([f"m{number}" for number in range(500)], method)}
    errors: dict[str, Any] = {f"E{number}": {"properties": {}} for number in range(500)}
    assert documents.asyncapi(told(Pump) | many)
    with pytest.raises(ValueError, match="500 methods with 500 errors are too many"):
        documents.asyncapi(told(Pump) | many | {"errors": errors})


def effort_of_describing(count: int) -> int:
    """In comparisons of names."""
    compared = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other) is True

        __hash__ = str.__hash__

    names = [Name(f"f{number}") for number in range(count)]
    record = {"properties": {name: {} for name in names}, "required": [Name(name) for name in names]}
    arguments = [
        {**ARGUMENT, "name": name, "keyword": place > count // 2} for place, name in enumerate(names)
    ]
    method = {**TWICE, "arguments": arguments}
    description = told(Pump) | {"types": {"T": record}, "methods": {"run": method}}
    stub(description)
    list(_lines(description))
    return compared


def test_describing_takes_time_in_proportion() -> None:
    assert effort_of_describing(400) <= 3 * effort_of_describing(200)


def test_a_name_of_the_module_is_not_taken_twice() -> None:
    description = told(Pump)
    description["types"] = {"Protocol": description["types"]["Status"]}
    description["methods"]["set_speed"]["result"] = {"$ref": "#/types/Protocol"}
    names = made(stub(description))
    assert names["Protocol_"](rpm=1, ramp=0.0).rpm == 1


def test_descriptions_travel() -> None:
    """All that a server tells of itself is plain values, small enough for a message."""
    from busway.payloads import decode, encode

    for contract in (Rich, Pump):
        payload, format, _ = encode(told(contract), b"")
        assert stub(decode(payload, format, b"", b"", None)) == stub(told(contract))
