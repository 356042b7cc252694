"""How a payload is given on the command line: where it comes from, and what it is taken for. Knows no bus."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import click

from busway.cli import completing, failures, output
from busway.cli.failures import Failure

AUTO, JSON, TEXT, RAW, HEX = "auto", "json", "text", "raw", "hex"

HELP = """\
What is sent:
  PAYLOAD is sent as a value: the one that it is in JSON (21.5, true, null, "text", '{"rpm": 300}'), and if
  it is no JSON, as text. Without PAYLOAD null is sent. -j insists on JSON, --text takes any PAYLOAD as text,
  --raw sends its bytes as they are, --hex the bytes that its hexadecimal digits stand for.
  PAYLOAD "-" reads standard input, --file a file: sent as the bytes they are, unless -j, --text or --hex
  says otherwise. A PAYLOAD that begins with a minus sign stands after "--", as in: NAME -- -5
  --type says which message type (@busway.message) it is: what takes declared types only reads no other."""

_HEX_NOISE = re.compile(r"0x|[\s:,_-]", re.IGNORECASE)


def payload_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The PAYLOAD argument and its options; the command gets the value as `payload`."""

    @click.argument("text", metavar="[PAYLOAD]", required=False)
    @click.option(
        "-j",
        "--json-payload",
        "form",
        flag_value=JSON,
        help="PAYLOAD must be JSON, and is sent as that value.",
    )
    @click.option("--text", "form", flag_value=TEXT, help="Send PAYLOAD as text, even if it is JSON.")
    @click.option("--raw", "form", flag_value=RAW, help="Send the bytes of PAYLOAD as they are.")
    @click.option("--hex", "form", flag_value=HEX, help="Send the bytes that PAYLOAD says in hexadecimal.")
    @click.option("--file", type=click.File("rb"), metavar="PATH", help="Send what is in this file.")
    @click.option(
        "--type",
        "type_name",
        metavar="TYPE",
        callback=_check_type,
        shell_complete=completing.endpoints,
        help="The message type that it is, by UUID or name: PAYLOAD is then a JSON object of its fields.",
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        text: str | None,
        form: str | None,
        file: BinaryIO | None,
        type_name: str | None,
        **options: Any,
    ) -> Any:
        if type_name is None:
            return function(*args, payload=read_payload(text, form, file), **options)
        fields = read_payload("{}" if text is None and file is None else text, form or AUTO, file)
        return function(*args, payload=typed(fields, type_name), **options)

    command.__doc__ = (inspect.getdoc(function) or "").replace("{payload}", HELP)
    return command


def _check_type(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from busway.names import endpoint_id

    try:
        if value is not None:
            endpoint_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


class Typed:
    """Fields that are to be sent as a message type, whose UUID the bus may know by its name."""

    def __init__(self, fields: dict[str, Any], name: str) -> None:
        self.fields = fields
        self.name = name

    def instance(self, type_id: bytes) -> object:
        """A message of that type, for sending. Its class is known to nobody: a reply is not taken for it."""
        from dataclasses import make_dataclass

        from busway.messages import Declaration

        cls: Any = make_dataclass("Message", self.fields)
        cls.__busway_message__ = Declaration(cls, type_id, "")
        return cls(**self.fields)


def typed(value: object, name: str) -> Typed:
    """A payload of the type of that name. Raises Failure for what cannot be one."""
    from keyword import iskeyword

    if not isinstance(value, dict):
        _refuse("--type needs a PAYLOAD that is a JSON object of the type's fields, as '{\"rpm\": 300}'")
    for field in value:
        if not field.isidentifier() or iskeyword(field):
            _refuse(f"{field!r} cannot be a field of a message type: expected a name as in Python")
    return Typed(value, name)


def read_payload(text: str | None, form: str | None, file: BinaryIO | None) -> object:
    """The value to send. Raises Failure for what is given twice or cannot be read as asked."""
    if text is not None and file is not None:
        raise click.UsageError("PAYLOAD and --file exclude each other")
    if file is not None:
        return interpret(file.read(), form or RAW)
    if text == "-":
        return interpret(sys.stdin.buffer.read(), form or RAW)
    if text is None and form is None:
        return None
    return interpret(os.fsencode(text or ""), form or AUTO)


def interpret(data: bytes, form: str) -> object:
    """Bytes as the value that they stand for in this form. Raises Failure."""
    if form == RAW:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _refuse("the payload is no UTF-8 text; --raw sends bytes as they are")
    if form == TEXT:
        return text
    if form == HEX:
        return _bytes_of(text)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if form == AUTO:
            if text.lstrip().startswith(("{", "[")):
                output.note(
                    f"PAYLOAD is no JSON ({error}) and goes as text: names need quotes, as in"
                    " '{\"rpm\": 300}'; --text says that text is meant"
                )
            return text
        _refuse(f"the payload is no JSON: {error}; without -j it is sent as text")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _bytes_of(text: str) -> bytes:
    try:
        return bytes.fromhex(_HEX_NOISE.sub("", text))
    except ValueError:
        _refuse("the payload is not hexadecimal: give pairs of digits, as in 0aff or 0a:ff")


def _refuse(sentence: str) -> NoReturn:
    raise Failure(failures.USAGE, sentence)
