"""A board's word that it will sleep (docs/protocol.md, section 12.6). Loaded by boards that do."""

from busway.protocol.leaf.link import LeafConnection
from busway.protocol.wire import codes
from busway.protocol.wire.fields import frame, varint


def announce(connection: LeafConnection, ms: int, now: int) -> None:
    """Say, behind all that waits, that this board neither reads nor writes for the next `ms`, at most a day;
    until `sleeping` of the link is emptied it is said again behind whatever else is written. 0: awake.
    """
    if connection.state == codes.OPEN:
        data = frame(bytes((codes.SLEEP,)) + varint(min(ms, codes.SLEEP_MAX_MS)))
        connection._goodbye = data
        connection.sleeping = data if ms else b""
        connection._last_read = now + ms  # nor is the router's silence one meanwhile
        if connection.keepalive_ms:
            connection.deadline = connection._last_read + connection.keepalive_ms
