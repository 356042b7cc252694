"""Reads the greeting of a program of this machine: its version, bus and label. Joins nothing."""

from __future__ import annotations

import select
from typing import NamedTuple

from busway.drivers import ipc
from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.hello import Hello, read_hello

GREET_S = 0.2  # a program says HELLO at once; one that is stopped, or too busy for that, never


class Greeting(NamedTuple):
    """`bus` and `label` are "" where the version is another, for then the rest may look otherwise."""

    version: int
    bus: str
    label: str


def greet(path: str, timeout: float = GREET_S) -> Greeting | None:
    """Ask the program at a socket who it is; None if it does not say. Blocks `timeout` seconds at most."""
    try:
        channel = ipc.dial(path)
    except OSError:
        return None
    try:
        if not select.select([channel], [], [], timeout)[0]:
            return None
        return _parse(channel.read(codes.HELLO_SIZE_MAX) or b"")
    except OSError:
        return None
    finally:
        channel.close()


def _parse(data: bytes) -> Greeting | None:
    reader = Reader(data, 0, len(data))
    try:
        reader.end = reader.varint() + reader.pos
        if reader.end > len(data) or reader.u8() != codes.HELLO:
            return None
        begin = reader.pos + len(codes.MAGIC)
        if data[reader.pos : begin] == codes.MAGIC and data[begin] != codes.VERSION:
            return Greeting(data[begin], "", "")
        hello = Hello(*read_hello(reader))
    except (Refusal, IndexError):
        return None
    return Greeting(codes.VERSION, hello.bus, hello.label)


def other_version(path: str) -> str:
    """The sentence about a program that cannot be joined because its protocol is another; "" for others."""
    found = greet(path)
    if found is None or found.version == codes.VERSION:
        return ""
    return f"speaks protocol version {found.version}, and this command {codes.VERSION}: update the older one"
