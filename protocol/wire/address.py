"""Addresses: what a message is sent to. The uuid of one endpoint, or that and the lane byte of option LANE
(docs/protocol.md, section 5.2): messages of another priority, and values that are sent anew, are a pair of
their own, with numbers and credit of its own.

A name for the type, so that most code only hands an address on, or keys a table with it. It is resolved in
one place, `SenderSide.target`; from there on all is said of an entry's own uuid at its own node. A class
would cost each send a hash and a comparison in Python.
"""

from busway.protocol.wire import codes

Address = bytes


def address_of(uuid: bytes, lane: int) -> Address:
    """The address of what is sent to an endpoint with that lane byte."""
    return uuid if lane == codes.NORMAL else uuid + bytes((lane,))


def uuid_of(address: Address) -> bytes:
    """The endpoint of an address."""
    return address[: codes.ID_SIZE]


def lane_at(address: Address) -> int:
    """The lane byte of an address."""
    return address[codes.ID_SIZE] if len(address) > codes.ID_SIZE else codes.NORMAL


def addresses_of(uuid: bytes) -> "list[Address]":
    """All addresses of an endpoint."""
    return [address_of(uuid, lane) for lane in range(codes.LANE_MAX + 1)]
