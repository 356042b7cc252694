"""The numbers of all events, what they have in common, and the outcome of a send or request."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Kinds of events.
LINK_OPEN: "Final" = 1
LINK_CLOSED: "Final" = 2
NODE_UP: "Final" = 3
NODE_DOWN: "Final" = 4
ENDPOINT_UP: "Final" = 5
ENDPOINT_DOWN: "Final" = 6
MESSAGES: "Final" = 7
OUTCOME: "Final" = 8
UNDELIVERABLE: "Final" = 9
REQUEST_CANCELLED: "Final" = 10
RECEIVER_TAKEN: "Final" = 11
DUPLICATE_NODE: "Final" = 12
LOG: "Final" = 13
NODE_CHANGED: "Final" = 14
LINK_STATE: "Final" = 15
RECEIVER_ASKED: "Final" = 16
RECEIVER_BACK: "Final" = 17
DENIED: "Final" = 18
EXCEEDED: "Final" = 19
ENDPOINT_GONE: "Final" = 20
SYNCED: "Final" = 21  # all links have told what there was when they opened, or a lookup is over
FABRIC_ASKED: "Final" = 22  # somebody is to be asked beyond the fabric

# How an endpoint has gone.
WITHDRAWN: "Final" = 0  # its holder has closed it, or does not show it here any more
SAID_GOODBYE: "Final" = 1  # with its node, in order
LOST: "Final" = 2  # with its node, which has not said goodbye

# Status of an Outcome. All but ACCEPTED for a confirmed send or request, and PART, are terminal.
ACCEPTED: "Final" = 1  # a plain send or publish that had to wait is on its way
TAKEN: "Final" = 2  # a confirmed send was taken by the receiving program
REPLIED: "Final" = 3
PARTIAL: "Final" = 4  # one part of a streaming reply
ENDED: "Final" = 5  # a streaming reply is complete
FAILED: "Final" = 6  # the remote program answered with an error: code, text
UNDELIVERED: "Final" = 7  # it did not reach a receiver: code is the reason
TIMED_OUT: "Final" = 8  # no answer in time; the request may have run
UNKNOWN: "Final" = 9  # a confirmed send was written, and its verdict will not come
CANCELLED: "Final" = 10
TRACED: "Final" = 11  # what a trace found: payload, and the node in `node_id`


class Event:
    """Base of all events; `kind` is one of the kinds above."""

    __slots__ = ("kind",)

    def __init__(self, kind: int) -> None:
        self.kind = kind


class Outcome(Event):
    """OUTCOME of the send or request that `token` names.

    `status` says which; `payload`, `format`, `type_id` hold a reply or part; `code` and `text` an error or
    reason.
    """

    __slots__ = ("beside", "code", "format", "node_id", "payload", "status", "text", "token", "type_id")

    def __init__(self, token: int, status: int, code: int = 0, text: str = "") -> None:
        self.kind = OUTCOME
        self.token = token
        self.status = status
        self.code = code
        self.text = text
        self.payload: object = b""
        self.format = 0
        self.type_id = b""
        self.node_id = b""
        self.beside: "Any" = None  # the things of a reply or part, if there are any (messaging/carried.py)
