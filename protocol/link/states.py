"""The life of a connection (docs/protocol.md, section 3): its states, and what leads from one to the next.

    GREETING -> AUTHENTICATING -> OPEN -> CLOSING -> CLOSED

It never goes back, each step but the last may be left out, and nothing follows CLOSED. So whatever a link
holds for its peer is made once, when it opens, and given back once, when it is CLOSED.
"""

from busway.protocol.wire.codes import AUTHENTICATING, CLOSED, CLOSING, GREETING, OPEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROOF_WANTED: "Final" = 0  # HELLO came, and one of the two demands a token
AGREED: "Final" = 1  # the handshake is over
LEAVING: "Final" = 2  # this side says goodbye
ENDED: "Final" = 3  # by either side, or by the line

# (state, what happened) -> the next state. What is not here does not happen.
NEXT: "Final" = {
    (GREETING, PROOF_WANTED): AUTHENTICATING,
    (GREETING, AGREED): OPEN,
    (GREETING, ENDED): CLOSED,
    (AUTHENTICATING, AGREED): OPEN,
    (AUTHENTICATING, ENDED): CLOSED,
    (OPEN, LEAVING): CLOSING,
    (OPEN, ENDED): CLOSED,
    (CLOSING, ENDED): CLOSED,
}
