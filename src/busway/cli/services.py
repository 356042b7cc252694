"""`busway describe`, `call`, `schema` and `stub`: services with a contract, as running servers tell it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.typed import Priority
from busway.cli import calling, completing, failures, output, session
from busway.cli.failures import Failure
from busway.cli.options import (
    Examples,
    Place,
    check_endpoint,
    joins,
    json_option,
    node_option,
    timeout_option,
)
from busway.cli.talk import PRIORITY, TTL, print_parts, run_asking
from busway.errors import RemoteError
from busway.services import documents, faults, stubs
from busway.services.parsing import Unfit, parsed
from busway.services.wording import Wording

_NAME = click.argument("name", metavar="NAME", callback=check_endpoint, shell_complete=completing.endpoints)
_HOLDER = "The server to ask, of several: a node's label, or the beginning of its id or label."
_ASKED = timeout_option(10.0, "How long to wait for the server, in seconds.")


@click.command(cls=Examples)
@_NAME
@TTL
@node_option(_HOLDER)
@_ASKED
@json_option("All that the server tells, as one JSON document.")
@joins
def describe(place: Place, name: str, ttl: float, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway describe lab/pump
      busway describe lab/pump --json | jq '.methods | keys'

    Prints what a service has: methods with their arguments and results, signals, errors, and the classes
    that these mention, as the running server tells it (`bus.host`). Exit status 1: nobody has NAME, or it
    has no contract.
    """

    def show(told: dict[str, Any]) -> None:
        if as_json:
            output.say_json(told | {"id": output.uuid_text(told["id"])})
            return
        for line in _lines(told):
            output.say(output.printable(line))

    return _with_contract(place, "describe", name, ttl, node, timeout, show)


def _lines(told: dict[str, Any]) -> list[str]:
    """A description for people."""
    words = Wording(told["types"], {name: name for name in told["types"]})
    lines = [f"{told['service']}, version {told['version']}: {told['contract']}", *_doc(told["doc"], "")]
    for name, method in told["methods"].items():
        result = ("a stream of " if method["stream"] else "") + words.annotation(method["result"])
        lines += ["", f"{name}({', '.join(words.arguments(method))}) -> {result}"]
        lines += _doc(method["doc"], "    ")
    sections = [
        ("signal", {name: words.annotation(each["schema"]) for name, each in told["signals"].items()}),
        ("error", {name: _fields(words, schema) for name, schema in told["errors"].items()}),
        ("type", {name: _fields(words, schema) for name, schema in told["types"].items()}),
    ]
    for title, found in sections:
        lines += [""] if found else []
        lines += [f"{title} {name}: {text}" for name, text in found.items()]
    return lines


def _doc(text: str, indent: str) -> list[str]:
    return [f"{indent}{line}".rstrip() for line in text.splitlines()]


def _fields(words: Wording, schema: dict[str, Any]) -> str:
    if "x-names" in schema:
        return " | ".join(schema["x-names"])
    required = frozenset(schema.get("required", ()))
    shown = []
    for name, of in schema["properties"].items():
        default = "" if name in required else f" = {words.default(of)}"
        shown.append(f"{name}: {words.annotation(of)}{default}")
    return ", ".join(shown) or "no fields"


@click.command(cls=Examples)
@click.argument("what", metavar="NAME.METHOD", shell_complete=calling.methods)
@click.argument("given", metavar="[ARGUMENT=VALUE]...", nargs=-1, shell_complete=calling.arguments)
@TTL
@PRIORITY
@node_option(_HOLDER)
@timeout_option(30.0, "How long to wait for the result, in seconds.")
@json_option("The result in a JSON document.")
@joins
def call(
    place: Place,
    what: str,
    given: tuple[str, ...],
    ttl: float,
    priority: Priority,
    node: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Examples:
      busway call lab/pump.set_speed rpm=300
      busway call lab/pump.set_speed rpm=300 ramp=0.5 --timeout 2 --json
      busway call lab/pump.scan step=1.5               a line for each part
      busway call lab/log.add 'entry={"text": "on", "at": "2026-01-31T12:00:00Z"}'

    Calls a method of a service with these arguments, and prints the result: text and bytes as they are,
    anything else as JSON. A VALUE is JSON, and text where the method wants text or it is no JSON; times are
    written in ISO 8601, bytes in hexadecimal, spans of time in seconds. `busway describe` tells the methods
    and their arguments; Tab completes both. Exit status 1: nobody has NAME, it has no such method, or it
    failed; 2: the arguments do not fit; 3: no result within --timeout.
    """
    name, method = calling.parted(what)

    async def job(bus: AsyncBus) -> int:
        to = session.one_node(bus, node)
        told = await calling.described(bus, name, ttl=ttl, node=to, timeout=timeout)
        with _readable(name):
            arguments = _arguments(told, method, given)
        options: dict[str, Any] = {"timeout": timeout, "node": to, "priority": priority}
        whom, payload = session.target(bus, name), [method, arguments]
        asked: dict[str, object] = {"service": name, "method": method}
        try:
            if told["methods"][method]["stream"]:
                await print_parts(asked, bus.request_stream(whom, payload, **options), as_json)
                return failures.OK
            result = await bus.request(whom, payload, **options)
        except RemoteError as error:
            raise _failure(error) from None
        if as_json:
            output.say_json(asked | {"result": result})
        elif result is not None:
            output.write_value(result)
        return failures.OK

    return run_asking(place, "call", name, job, leaf=not ttl)


def _failure(error: RemoteError) -> Exception:
    """The answer as the command ends with it: an error of the contract by its name."""
    names = {faults.NO_METHOD: "NO_METHOD", faults.MISFIT: "MISFIT"}
    names[faults.DECLARED] = error.message.partition(" ")[0]
    if error.code not in names:
        return error
    return Failure(failures.NEGATIVE, output.printable(error.message), names[error.code])


def _arguments(told: dict[str, Any], method: str, given: tuple[str, ...]) -> dict[str, Any]:
    """The arguments as the method wants them. Raises Failure."""
    if method not in told["methods"]:
        there = ", ".join(told["methods"]) or "none"
        text = f"{told['service']} version {told['version']} has no method {method!r}; there is {there}"
        raise Failure(failures.NEGATIVE, output.printable(text), "NO_METHOD")
    known = {each["name"]: each for each in told["methods"][method]["arguments"]}
    found = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            raise _unfit(told, method, f"{word!r} is no argument of it, as in NAME=VALUE")
        try:
            found[name] = parsed(text, known[name]["schema"], told["types"])
        except Unfit as error:
            raise _unfit(told, method, f"{name}: {error}") from None
    missing = [name for name, each in known.items() if each["required"] and name not in found]
    if missing:
        raise _unfit(told, method, f"it needs {', '.join(missing)}")
    return found


def _unfit(told: dict[str, Any], method: str, text: str) -> Failure:
    words = Wording(told["types"], {name: name for name in told["types"]})
    head = f"{method}({', '.join(words.arguments(told['methods'][method]))})"
    return Failure(failures.USAGE, output.printable(f"{head}: {text}"))


@click.command(cls=Examples)
@_NAME
@click.option("--asyncapi", is_flag=True, help="An AsyncAPI 3.0 document, in place of a JSON Schema.")
@TTL
@node_option(_HOLDER)
@_ASKED
@json_option("The document in one line.")
@joins
def schema(
    place: Place, name: str, asyncapi: bool, ttl: float, node: str, timeout: float, as_json: bool
) -> int:
    """Examples:
      busway schema lab/pump > pump.schema.json
      busway schema lab/pump --asyncapi > pump.asyncapi.json

    Prints what a service has for other tools, as JSON: a JSON Schema (draft 2020-12) that every call of it
    fits, with the schemas of arguments, results, signals and errors in its $defs; or an AsyncAPI 3.0
    document. Values travel as CBOR: bytes and times are written in JSON as `busway request` prints them.
    """
    make = documents.asyncapi if asyncapi else documents.json_schema

    def show(told: dict[str, Any]) -> None:
        output.say_json(make(told)) if as_json else output.say(calling.pretty(make(told)))

    return _with_contract(place, "schema", name, ttl, node, timeout, show)


@click.command(cls=Examples)
@_NAME
@click.option("--blocking", is_flag=True, help="For busway.Bus, whose calls block; else for busway.AsyncBus.")
@TTL
@node_option(_HOLDER)
@_ASKED
@json_option("The module's text in one JSON document.")
@joins
def stub(
    place: Place, name: str, blocking: bool, ttl: float, node: str, timeout: float, as_json: bool
) -> int:
    """Examples:
      busway stub lab/pump > pump_client.py
      busway stub lab/pump --blocking > pump_client.py

    Prints a Python module with the contract of a service, for programs that have no access to its class:
    `bus.client(Pump)` takes it, and type checkers know its methods. With --blocking it is written as a Bus
    has it, with plain functions.
    """

    def show(told: dict[str, Any]) -> None:
        text = stubs.stub(told, blocking=blocking)
        if as_json:
            output.say_json({"service": told["service"], "version": told["version"], "module": text})
        else:
            output.say(text.rstrip("\n"))

    return _with_contract(place, "stub", name, ttl, node, timeout, show)


def _with_contract(
    place: Place,
    command: str,
    name: str,
    ttl: float,
    node: str,
    timeout: float,
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Ask the server for its contract, and show something made of it."""

    async def job(bus: AsyncBus) -> int:
        to = session.one_node(bus, node)
        told = await calling.described(bus, name, ttl=ttl, node=to, timeout=timeout)
        with _readable(name):
            show(told)
        return failures.OK

    return run_asking(place, command, name, job, leaf=not ttl)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Where something is made of a description, in which anything may stand. Raises Failure."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        text = f"what {name} tells of itself cannot be used: {error}"
        raise Failure(failures.NEGATIVE, output.printable(text), "UNREADABLE") from None
