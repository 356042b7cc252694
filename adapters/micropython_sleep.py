"""Saying that a board will sleep: loaded by those that do.

Knows the loop; what is said is the core's.
"""

from busway.adapters.micropython import Loop
from busway.protocol.leaf.sleeping import announce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TOLD_MS: "Final" = 2000  # for the router's acknowledgement


def sleep(loop: Loop, ms: int) -> bool:
    """As `Loop.sleep`."""
    connection = loop.connection
    if connection is None or not loop.connected:
        return False
    until = loop.now() + _TOLD_MS
    announce(connection, ms, until - _TOLD_MS)
    loop._quiet = True
    loop._wake()
    told = False
    while not told and loop.connection is connection and loop.now() < until:
        loop.step(20)
        packets = getattr(connection, "packets", None)
        told = not (loop._tail or connection.wants_write) and (packets is None or packets.settled())
    connection.sleeping = b""
    loop._quiet = False
    loop._wake()
    return told
