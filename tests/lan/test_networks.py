"""The networks of this machine, and what is on them."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address

import pytest

from busway.lan.networks import Network, look, near, own_addresses

THERE = (
    Network("eth0", 2, "192.0.2.7", 24),
    Network("eth0", 2, "fe80::7", 64),
    Network("eth0", 2, "2001:db8::7", 64),
    Network("tun0", 3, "10.9.0.1", 32),
)


@pytest.mark.parametrize(
    ("address", "is_near"),
    [
        ("192.0.2.8", True),
        ("192.0.2.7", True),  # another program of this machine
        ("192.0.2.0", False),
        ("192.0.2.255", False),
        ("192.0.3.1", False),
        ("203.0.113.1", False),
        ("127.0.0.1", False),
        ("10.9.0.1", True),
        ("10.9.0.2", False),
        ("2001:db8::99", True),
        ("2001:db8::", False),
        ("2001:db8:1::1", False),
        ("fe80::8%eth0", True),
        ("fe80::8%2", True),
        ("fe80::8%tun0", False),
        ("fe80::8%9", False),
        ("fe80::8", False),
        ("ff02::1%eth0", False),
        ("pump.local", False),
        ("", False),
    ],
)
def test_only_what_is_on_a_network_of_this_machine_is_near(address: str, is_near: bool) -> None:
    assert near(address, THERE) is is_near


def test_nothing_is_near_without_a_network() -> None:
    assert not near("192.0.2.8", ())


def test_own_addresses_are_announced_once_and_without_zone() -> None:
    found = own_addresses((*THERE, THERE[0]))
    assert found == [
        socket.inet_pton(socket.AF_INET6 if ":" in each.address else socket.AF_INET, each.address)
        for each in THERE
    ]


def test_those_of_this_machine_are_found_without_loopback() -> None:
    found = look()
    assert list(found) == sorted(found)
    assert not any(ip_address(each.address).is_loopback for each in found)
    names = dict(socket.if_nameindex())
    if sys.platform == "linux":
        assert all(names[each.number] == each.interface for each in found)
