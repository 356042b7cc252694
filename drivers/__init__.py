"""Drivers: each opens one sort of link and moves bytes. They know nothing of the protocol."""

from busway.drivers.channel import Channel, Listener, PushChannel
from busway.drivers.memory import MemoryChannel, Pair, pair
from busway.drivers.tcp import TcpChannel, TcpListener
from busway.drivers.unix import Peer, UnixChannel, UnixListener

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
