"""The sans-IO core of Busway: state machines that turn bytes and times into events and bytes.

Imports itself, `struct` and `binascii`, nothing else; runs unchanged on CPython, compiled with mypyc, and on
MicroPython.
"""

from busway.protocol import codes, events
from busway.protocol.connection import Connection
from busway.protocol.endpoints import Message, Receiver, Request
from busway.protocol.errors import ClosedError, EndpointTakenError, FullError, LocalError, WrongKindError
from busway.protocol.hello import Limits
from busway.protocol.link import Link
from busway.protocol.node import Node
from busway.protocol.routes import Peer

__all__ = [
    "ClosedError",
    "Connection",
    "EndpointTakenError",
    "FullError",
    "Limits",
    "Link",
    "LocalError",
    "Message",
    "Node",
    "Peer",
    "Receiver",
    "Request",
    "WrongKindError",
    "codes",
    "events",
]
