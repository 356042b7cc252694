"""The life of a connection (docs/protocol.md, section 3): its states, and what leads from one to the next.

    SECURING -> GREETING -> OPEN -> CLOSING -> CLOSED

A plain link begins in GREETING. It never goes back, each step but the last may be left out, and nothing
follows CLOSED. So whatever a link holds for its peer is made once, when it opens, and given back once, when
it is CLOSED.
"""

from busway.protocol.wire.codes import CLOSED, CLOSING, GREETING, OPEN, SECURING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SECURED: "Final" = 0  # both sides have keys, or the link is plain after all
AGREED: "Final" = 1  # HELLO came
LEAVING: "Final" = 2  # this side says goodbye
ENDED: "Final" = 3  # by either side, or by the line

# (state, what happened) -> the next state. What is not here does not happen.
NEXT: "Final" = {
    (SECURING, SECURED): GREETING,
    (SECURING, ENDED): CLOSED,
    (GREETING, AGREED): OPEN,
    (GREETING, ENDED): CLOSED,
    (OPEN, LEAVING): CLOSING,
    (OPEN, ENDED): CLOSED,
    (CLOSING, ENDED): CLOSED,
}
