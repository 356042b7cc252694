"""`busway decode`: reads bytes and prints what busway.decode explains of them."""

from __future__ import annotations

import re
import sys
from typing import BinaryIO

import click

from busway.cli import failures
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option

_HEX_TEXT = re.compile(rb"(0[xX]|[0-9a-fA-F]|[\s:,_-])*")

_EXAMPLES = """\
Examples:
  busway decode 06 90 01 00 01 68 69
  busway decode --file capture.bin --json
  xxd -p capture.bin | busway decode

The bytes are one direction of one link, from its beginning or from the beginning of any frame. A file or
standard input that holds nothing but hexadecimal digits and separators is taken as such, anything else as
the bytes themselves; --binary takes it as bytes in any case. Exit status 1 if something is malformed."""


@click.command(cls=Examples, epilog=_EXAMPLES)
@click.argument("words", metavar="[HEX]...", nargs=-1)
@click.option("--file", type=click.File("rb"), metavar="PATH", help="Read the bytes from this file.")
@click.option("--binary", is_flag=True, help="The file or standard input is bytes, whatever it looks like.")
@json_option("One JSON document: a list of frames.")
def decode(words: tuple[str, ...], file: BinaryIO | None, binary: bool, as_json: bool) -> int:
    """Explain bytes of a link, field by field."""
    if words and file is not None:
        raise click.UsageError("HEX and --file exclude each other")
    if words and words != ("-",):
        data = _from_hex(" ".join(words))
    else:
        data = _from_bytes((file or sys.stdin.buffer).read(), binary)
    return _explain(data, as_json)


def _from_bytes(data: bytes, binary: bool) -> bytes:
    if binary or not _HEX_TEXT.fullmatch(data):
        return data
    return _from_hex(data.decode())


def _from_hex(text: str) -> bytes:
    from busway.decode import parse_hex

    try:
        return parse_hex(text)
    except ValueError as error:
        raise Failure(failures.USAGE, str(error)) from None


def _explain(data: bytes, as_json: bool) -> int:
    raise NotImplementedError
