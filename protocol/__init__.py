"""The sans-IO core of Busway: state machines that turn bytes and times into events and bytes.

Imports itself, `struct` and `binascii`, nothing else; runs unchanged on CPython, compiled with mypyc, and on
MicroPython.
"""

# isort: off
# From below, so that no import waits for a long chain of others: MicroPython's stack is short.
from busway.protocol.wire import codes
from busway.protocol.routing.peers import Peer
from busway.protocol.messaging.endpoints import Message, Receiver
from busway.protocol.messaging.requests import Request
from busway.protocol.link.link import Link
from busway.protocol import events
from busway.protocol.errors import ClosedError, EndpointTakenError, FullError, LocalError, WrongKindError
from busway.protocol.wire.hello import Limits
from busway.protocol.link.connection import Connection
import busway.protocol.routing.mesh  # noqa: F401
import busway.protocol.messaging.sender  # noqa: F401
import busway.protocol.messaging.admitting  # noqa: F401
import busway.protocol.messaging.receiving  # noqa: F401
from busway.protocol.messaging.fairness import Crew
from busway.protocol.routing.guard import Guard
from busway.protocol.node import Node
# isort: on

__all__ = [
    "ClosedError",
    "Connection",
    "Crew",
    "EndpointTakenError",
    "FullError",
    "Guard",
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
