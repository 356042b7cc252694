"""Drivers: each opens one sort of link and moves bytes. They know nothing of the protocol.

Nothing is imported before it is used: who dials by TCP waits for no other driver.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False

if TYPE_CHECKING:
    from busway.drivers.channel import Channel, Listener, PushChannel
    from busway.drivers.memory import MemoryChannel, Pair, pair
    from busway.drivers.tcp import TcpChannel, TcpListener
    from busway.drivers.unix import Peer, UnixChannel, UnixListener

_HOME = {
    "Channel": "channel",
    "Listener": "channel",
    "MemoryChannel": "memory",
    "Pair": "memory",
    "Peer": "unix",
    "PushChannel": "channel",
    "TcpChannel": "tcp",
    "TcpListener": "tcp",
    "UnixChannel": "unix",
    "UnixListener": "unix",
    "pair": "memory",
}

__all__ = [
    "Channel",
    "Listener",
    "MemoryChannel",
    "Pair",
    "Peer",
    "PushChannel",
    "TcpChannel",
    "TcpListener",
    "UnixChannel",
    "UnixListener",
    "pair",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'busway.drivers' has no attribute {name!r}")
    value = getattr(import_module(f"busway.drivers.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
