"""Lines that boards print, as messages: the node at the other end of a packet link publishes them on
"busway/log". Knows of links only where the text came from.
"""

from __future__ import annotations

from typing import Any

from busway.payloads import encode
from busway.protocol import Connection, Node, errors

LOG_NAME = "busway/log"
"""Broadcast: {"node": id, "label": text, "address": text, "text": one line}."""

LINE_SIZE_MAX = 256
_ENDPOINT = bytes.fromhex("6ab640b38b325b26991902175397128e")  # endpoint_id(LOG_NAME)


class Lines:
    """Makes lines of text that comes in pieces: of 256 bytes at most, a longer one is told as several."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, text: bytes) -> list[str]:
        """The lines that end with this piece, without what ends them; empty ones are left out."""
        *ended, self._begun = (self._begun + text).replace(b"\r", b"\n").split(b"\n")
        while len(self._begun) > LINE_SIZE_MAX:
            ended.append(self._begun[:LINE_SIZE_MAX])
            self._begun = self._begun[LINE_SIZE_MAX:]
        cut = [line[at : at + LINE_SIZE_MAX] for line in ended for at in range(0, len(line), LINE_SIZE_MAX)]
        return [line.decode(errors="replace") for line in cut]


def publish(node: Node, connection: Connection, lines: list[str], now: int) -> None:
    """Tell whoever listens to "busway/log". What finds no room is dropped, as a log may."""
    peer = connection.peer
    about: dict[str, Any] = {
        "node": peer.node_id if peer is not None else b"",
        "label": peer.label if peer is not None else "",
        "address": connection.link.address,
    }
    for line in lines:
        data, format, type_id = encode(about | {"text": line}, _ENDPOINT)
        try:
            node.publish(_ENDPOINT, data, now, format, type_id, wait=False)
        except errors.LocalError:
            return
