"""Protection of a packet link, by what is at its other end: a node that can prove a key, or a board.

Each side says in its SYN what it can and wants, so both choose alike (docs/protocol.md, section 3.2.5).
"""

from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.secure.security import Security

ABLE: "Final" = 0x20  # of a SYN's second byte: its sender takes pattern 1
WANTS: "Final" = 0x10  # ... and has something to prove or to ask for


class LineSecurity:
    """Chooses the protection of one packet link.

    Args:
        nodes: the Security between two that take pattern 1, None: this side does not.
        others: the Security with all others, None: it is plain.
        wants: whether this side has a token, a key, or asks for one.
        plain_role: of `codes`, in which the others may come over a plain link.
    """

    features = 0  # of HELLO: packets are too small for another cipher to matter

    def __init__(
        self,
        nodes: "Security | None",
        others: "Security | None",
        wants: bool,
        plain_role: int = codes.ROLE_ROUTER,
    ) -> None:
        self._nodes = nodes
        self._others = others
        self.plain_role = plain_role
        self.offers = 0 if nodes is None else ABLE | WANTS if wants else ABLE

    def facing(self, offered: int) -> "Security | None":
        """The protection from a side that `offered` that, the same at both; None: none."""
        if offered & self.offers & ABLE and (offered | self.offers) & WANTS:
            return self._nodes
        return self._others
