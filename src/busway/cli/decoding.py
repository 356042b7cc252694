"""`busway decode`: reads bytes and prints what busway.decode explains of them."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option
from busway.decode import explain, parse_hex, render_text, to_json
from busway.decode_packets import explain_packets


@click.command(cls=Examples)
@click.argument("words", metavar="[HEX]...", nargs=-1)
@click.option("--file", type=click.File("rb"), metavar="PATH", help="Read the bytes from this file.")
@click.option("--binary", is_flag=True, help="The file or standard input is bytes, whatever it looks like.")
@click.option("--packets", is_flag=True, help="The bytes are of a serial line: explain its packets.")
@json_option("One JSON document: a list of frames.")
def decode(words: tuple[str, ...], file: BinaryIO | None, binary: bool, packets: bool, as_json: bool) -> int:
    """Examples:
      busway decode 07 90 01 00 01 68 69 21
      busway decode --file capture.bin --json
      xxd capture.bin | busway decode
      busway decode --packets --file serial.bin

    The bytes are one direction of one link, from its beginning or from the beginning of any frame; an
    alias that was bound earlier is shown as a number. Of a protected link the handshake is explained,
    and how long each record is: what it holds only both ends can read. A file or standard input that is
    text is read as hexadecimal (digits, or what xxd prints), anything else as the bytes themselves;
    --binary takes text as bytes, too. Exit status 1 if something is malformed or cut off.
    """
    if words and file is not None:
        raise click.UsageError("HEX and --file exclude each other")
    if words and words != ("-",):
        data = _from_text(" ".join(words))
    else:
        data = _from_bytes((file or sys.stdin.buffer).read(), binary)
    if not data:
        raise Failure(failures.USAGE, "there are no bytes to explain: give HEX, --file or standard input")
    return _explain(data, packets, as_json)


def _from_bytes(data: bytes, binary: bool) -> bytes:
    if binary or not _is_text(data):
        return data
    return _from_text(data.decode())


def _is_text(data: bytes) -> bool:
    return data.isascii() and all(byte >= 0x20 or byte in b"\t\n\r" for byte in data)


def _from_text(text: str) -> bytes:
    try:
        return parse_hex(text)
    except ValueError as error:
        raise Failure(failures.USAGE, str(error)) from None


def _explain(data: bytes, packets: bool, as_json: bool) -> int:
    frames = explain_packets(data) if packets else explain(data)
    if as_json:
        output.say_json(to_json(frames))
    elif sys.stdout.isatty():
        from rich.console import Console

        from busway.decode import render_rich

        Console().print(render_rich(frames), end="", soft_wrap=True)
    else:
        output.say(render_text(frames).rstrip("\n"))
    return failures.NEGATIVE if any(frame.problem for frame in frames) else failures.OK
