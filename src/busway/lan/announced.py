"""The announcement of a program on the local network, and what is taken from those of others. Pure.

DNS-SD (RFC 6763): an instance of `_busway._tcp.local.`, named by the node's id; its TXT record has

    v      the version of this record, 1
    bus    the first 8 bytes of the SHA-256 of "busway-lan", a zero byte and the bus's name, in 16 digits
    id     the node's id, 32 hexadecimal digits
    port   that of TCP, as in the SRV record
    realm  "localnet"

Neither the name of the bus nor its token, the program or the user can be read from it. Anybody can announce
anything: what is taken from it is whom to ask, and never whom to believe.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

SERVICE: Final = "_busway._tcp.local."
VERSION: Final = "1"
ADDRESSES_MAX: Final = 8  # of one program
_HOST: Final = ".local."
_TTL_HOST_S: Final = 120


class Announced(NamedTuple):
    """A program that was announced: `bus` the hash of its bus's name, `addresses` as text, those of IPv6 that
    hold on one link with its zone.
    """

    node_id: bytes
    bus: str
    addresses: tuple[str, ...]
    port: int
    realm: str = "localnet"


def bus_hash(bus: str) -> str:
    """The digits that stand for a bus's name."""
    return sha256(b"busway-lan\0" + bus.encode()).hexdigest()[:16]


def instance_name(node_id: bytes) -> str:
    """The name of a program's announcement."""
    return f"{node_id.hex()}.{SERVICE}"


def host_name(node_id: bytes) -> str:
    """The name that its addresses have: no other's, so that no other's addresses are taken for its own."""
    return f"busway-{node_id.hex()}{_HOST}"


def text_record(node_id: bytes, bus: str, port: int) -> dict[str, str]:
    """The TXT record of a program; `bus` is the bus's name."""
    return {
        "v": VERSION,
        "bus": bus_hash(bus),
        "id": node_id.hex(),
        "port": str(port),
        "realm": "localnet",
    }


def parse(
    name: str, properties: Mapping[str, str | None], addresses: list[str], port: int | None
) -> Announced:
    """An announcement as it was found. Raises ValueError with a sentence for people for what is none."""
    said = {key: properties.get(key) or "" for key in ("v", "bus", "id", "port", "realm")}
    if said["v"] != VERSION:
        raise ValueError(f"its announcement has version {said['v'][:8]!r}, and this program knows {VERSION}")
    if not _is_hex(said["id"], 32) or name.lower() != f"{said['id']}.{SERVICE}":
        raise ValueError("its announcement has no node id, or another one than its name")
    if not _is_hex(said["bus"], 16):
        raise ValueError("its announcement does not say which bus it is of")
    if port is None or not 0 < port < 65536 or said["port"] != str(port):
        raise ValueError("its announcement has no port, or two")
    if said["realm"] != "localnet":
        raise ValueError(f"its announcement has realm {said['realm'][:16]!r}, not 'localnet'")
    usable = tuple(dict.fromkeys(filter(None, map(_plain, addresses))))[:ADDRESSES_MAX]
    if not usable:
        raise ValueError("its announcement has no address")
    return Announced(bytes.fromhex(said["id"]), said["bus"], usable, port, said["realm"])


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(digit in "0123456789abcdef" for digit in text)


def _plain(text: str) -> str:
    """An address as it is written everywhere; "" for one that nobody is dialled at."""
    try:
        found = ip_address(text)
    except ValueError:
        return ""
    return "" if not is_usable(found) else str(found)


def is_usable(found: IPv4Address | IPv6Address) -> bool:
    """Whether it can be that of a program on another machine, as far as the address itself says."""
    if found.is_loopback or found.is_multicast or found.is_unspecified or found.is_reserved:
        return False
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped is None and (not found.is_link_local or bool(found.scope_id))
    return True
