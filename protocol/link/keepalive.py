"""Whether the other side of a link is still there, and how long a round trip takes: PING, where nothing is
heard for long, and PONG.

Knows of the link only when it has heard something; how it ends is the link's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, frame, varint


class Keepalive:
    """All that one link knows of its peer's silence."""

    __slots__ = ("_link", "_measured", "_sent", "_suspect")

    def __init__(self, link: LinkFace, now: int) -> None:
        self._link = link
        self._sent = -1
        self._measured = now  # when the round trip was last asked for, by any PING
        self._suspect = False

    def look(self, now: int) -> bytes:
        """The link's timer fired: returns a frame to be written, or b"", and sets it anew. Ends the link
        where the silence has been too long.
        """
        link = self._link
        interval = link.keepalive_ms
        silent = now - max(link.last_read, link.asleep_until)
        asks = True
        if silent < interval * codes.SILENT_INTERVALS:
            self._suspect = False
        if silent < interval:
            # Without silence there are no PINGs; how long a round trip takes is of interest all the same.
            long_ago = now - self._measured >= interval * codes.MEASURE_INTERVALS
            asks = silent >= 0 and (link.rtt_ms < 0 or long_ago)
            link.host.timers.arm(link, now - silent + interval)
        elif silent < interval * codes.SILENT_INTERVALS:
            link.host.timers.arm(link, now + interval)
        elif not self._suspect:
            # This program may have been stopped meanwhile: read what has arrived before judging.
            self._suspect = True
            link.host.timers.arm(link, now + max(1, interval // 4))
        else:
            link.fail(codes.SILENT, "nothing was heard for %d ms" % silent, now)
            asks = False
        return self._ask(now) if asks else b""

    def excuse(self, now: int) -> bytes:
        """This side does not read for now: the silence says nothing of the other side. Returns as `look`."""
        self._suspect = False
        interval = self._link.keepalive_ms
        due = self._link.state == codes.OPEN and interval and now - self._measured >= interval
        return self._ask(now) if due else b""

    def _ask(self, now: int) -> bytes:
        self._sent = self._measured = now
        return frame(bytes((codes.PING,)) + varint(now & 0x0FFFFFFF))

    def answered(self, token: int, now: int) -> None:
        """PONG came."""
        if self._sent >= 0 and token == self._sent & 0x0FFFFFFF:
            self._link.rtt_ms = now - self._sent
            self._sent = -1


def token_of(reader: Reader) -> int:
    """The only field of PING and its like. Raises Refusal."""
    value = reader.varint()
    if reader.left():
        raise Refusal(codes.MALFORMED, "bytes behind a frame's last field")
    return value
