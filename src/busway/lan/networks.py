"""The networks that this machine is on: its interfaces that are up, their addresses, and whether an address
is on one of them. Polled, for that is the same on every system, and costs some 0.2 ms.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_interface
from pathlib import Path
from typing import NamedTuple

from busway.lan.announced import is_usable

_TENTATIVE = 0x40  # IFA_F_TENTATIVE of linux/if_addr.h
_DOWN = ("down", "lowerlayerdown", "notpresent", "dormant")


class Network(NamedTuple):
    """An address of this machine, and the network that it is on."""

    interface: str
    number: int
    address: str
    prefix: int


def look() -> tuple[Network, ...]:
    """All of this machine's, without those of loopback and of interfaces that are down, in order."""
    import ifaddr  # which zeroconf brings

    tentative = _tentative()
    found = []
    for adapter in ifaddr.get_adapters():
        name = adapter.name if isinstance(adapter.name, str) else adapter.name.decode(errors="replace")
        if not _is_up(name):
            continue
        for each in adapter.ips:
            text = each.ip if isinstance(each.ip, str) else each.ip[0].partition("%")[0]
            if not ip_address(text).is_loopback and (adapter.index, text) not in tentative:
                found.append(Network(name, adapter.index or 0, text, each.network_prefix))
    return tuple(sorted(found))


def _tentative() -> set[tuple[int, str]]:
    """Addresses of IPv6 that cannot be used yet, as the kernel is still asking whether others have them
    (Linux), by the interface's number.
    """
    found = set()
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        digits, number, _, _, flags, *_ = line.split()
        if int(flags, 16) & _TENTATIVE:
            found.add((int(number, 16), str(IPv6Address(bytes.fromhex(digits)))))
    return found


def _is_up(interface: str) -> bool:
    """On Linux as the kernel says; elsewhere addresses of what is down are not listed, or lead nowhere."""
    try:
        return Path(f"/sys/class/net/{interface}/operstate").read_text().strip() not in _DOWN
    except (OSError, ValueError):
        return True


def near(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is on one of these networks, so that it is reached without a router."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if not is_usable(found):
        return False
    zone = found.scope_id if isinstance(found, IPv6Address) else None
    plain = ip_address(address.partition("%")[0])
    for each in networks:
        if zone is not None and zone not in (each.interface, str(each.number)):
            continue
        net = ip_interface(f"{each.address}/{each.prefix}").network
        if plain in net and (net.num_addresses <= 2 or plain != net.network_address):
            return plain.version == 6 or net.num_addresses <= 2 or plain != net.broadcast_address
    return False


def own_addresses(networks: Iterable[Network]) -> list[bytes]:
    """The addresses to announce, as DNS has them: of IPv6 without zone, which is each machine's own."""
    texts = dict.fromkeys(each.address for each in networks)
    return [
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
        for text in texts
        if not ip_address(text).is_unspecified
    ]
