"""Bounds how many may come to a program's listeners without having said who they are. Knows no socket.

Whoever connects takes a descriptor and one of the node's links until it has proved itself or five seconds
have passed. So there are bounds, for all and for one address. One that is full lets in nobody who comes from
there, until the oldest has been silent for a second: then it makes room. So those of a crowd that redials at
once get in one after another, and strangers who say nothing keep nobody out for longer than that, not even
those who share their address (NAT). Who is in counts no more; programs of this user on this machine never do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

INCOMING_MAX: Final = 256
INCOMING_OF_ADDRESS_MAX: Final = 64
PATIENCE_S: Final = 1.0
_IPV6_PREFIX: Final = 64  # what one who is given IPv6 has all of


def origin_of(address: str) -> str:
    """The machine or household that a link's address is of, such as "192.0.2.1" for tcp://192.0.2.1:5000; of
    IPv6 its /64.
    """
    host = address.partition("://")[2].rpartition(":")[0] or address
    host = host.removeprefix("[").removesuffix("]").partition("%")[0]
    if ":" not in host:
        return host
    import ipaddress  # only for IPv6, for it is slow to import

    try:
        found = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))


class Incoming:
    """One who has come. `waits()` tells whether it has yet to prove itself, `turn_away()` ends it."""

    __slots__ = ("origin", "since", "turn_away", "waits")

    def __init__(self, origin: str, since: float) -> None:
        self.origin = origin
        self.since = since
        self.waits: Callable[[], bool] = lambda: True
        self.turn_away: Callable[[], object] = lambda: None


class IncomingLinks:
    """The incoming links of all listeners of one bus, until they have proved themselves. `turned_away`
    counts.
    """

    def __init__(self) -> None:
        self.turned_away = 0
        self._waiting: list[Incoming] = []  # the oldest first

    def admit(self, address: str, now_s: float) -> Incoming | None:
        """One more has come; None if it is one too many."""
        if len(self._waiting) >= INCOMING_OF_ADDRESS_MAX:
            self._waiting = [incoming for incoming in self._waiting if incoming.waits()]
        origin = origin_of(address)
        same = [incoming for incoming in self._waiting if incoming.origin == origin]
        for waiting, most in ((same, INCOMING_OF_ADDRESS_MAX), (self._waiting, INCOMING_MAX)):
            if len(waiting) >= most and not self._make_room(waiting[0], now_s):
                self.turned_away += 1
                return None
        incoming = Incoming(origin, now_s)
        self._waiting.append(incoming)
        return incoming

    def _make_room(self, oldest: Incoming, now_s: float) -> bool:
        if now_s - oldest.since < PATIENCE_S:
            return False
        self._waiting.remove(oldest)
        self.turned_away += 1
        oldest.turn_away()
        return True
