"""Addresses: what a message is sent to. The uuid of one endpoint, or that and the lane byte of option LANE
(docs/protocol.md, section 5.2): messages of another priority, and values that are sent anew, are a pair of
their own, with numbers and credit of its own. Or a selector, with which it never travels: 16 zeros, the lane
byte, flags and its expression.

A name for the type, so that most code only hands an address on, or keys a table with it. It is resolved in
one place, `SenderSide.target`; from there on all is said of an entry's own uuid at its own node. A class
would cost each send a hash and a comparison in Python.
"""

from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

Address = bytes


_SELECTED: "Final" = b"\0" * codes.ID_SIZE
_AT: "Final" = codes.ID_SIZE + 2  # where the expression of a selector begins
_WITHOUT_OWN: "Final" = 1  # in its flags


def address_of(uuid: Address, lane: int) -> Address:
    """The address of what is sent to an endpoint, or a selector, with that lane byte."""
    if len(uuid) > _AT:
        return uuid[: codes.ID_SIZE] + bytes((lane,)) + uuid[codes.ID_SIZE + 1 :]
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


def selector_address(expression: bytes, without_own: bool) -> Address:
    """The address of what a selector means; perhaps without the endpoints of the node that sends."""
    return _SELECTED + bytes((codes.NORMAL, _WITHOUT_OWN if without_own else 0)) + expression


def is_selector(address: Address) -> bool:
    """Whether it is that of a selector."""
    return len(address) > _AT


def sought(address: Address) -> Address:
    """The address that is looked up for another: its endpoint, or the selector itself."""
    return selector_address(address[_AT:], False) if len(address) > _AT else uuid_of(address)


def expression_of(address: Address) -> bytes:
    """The expression of a selector; b"" of other addresses."""
    return address[_AT:]


def is_without_own(address: Address) -> bool:
    """Whether a selector leaves out the endpoints of the node that sends."""
    return address[codes.ID_SIZE + 1] & _WITHOUT_OWN != 0
