"""The orderly end of a small leaf, of its endpoints and of its link. Loaded when one comes."""

from busway.protocol.leaf.state import Receiver
from busway.protocol.wire import codes
from busway.protocol.wire.control import write_close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def close_leaf(leaf: "Any", now: int) -> None:
    """As `Leaf.close`."""
    for receiver in leaf.receivers + leaf._lost:
        close_receiver(leaf, receiver)
    leaf.closed = True
    for item in list(leaf._pending):
        leaf._lose(item, codes.BUS_CLOSED)
    if leaf.link is not None:
        close_link(leaf.link, now, codes.GOODBYE, "the node is closing")


def close_receiver(leaf: "Any", receiver: Receiver) -> None:
    """As `Leaf.deregister`."""
    if receiver.lost:
        leaf._lost.remove(receiver)
        receiver.closed = True
        receiver.lost = False
    elif not receiver.closed:
        leaf._withdraw(receiver)
    while receiver.queue:
        message = leaf._pull(receiver)
        if not message.id or message in leaf._serving:
            if message.id:
                leaf._end_request(message)
            leaf._refuse(message, codes.RECEIVER_CLOSED)


def close_link(connection: "Any", now: int, code: int, text: str) -> None:
    """As `LeafConnection.close`."""
    if connection.state == codes.OPEN and not connection._asleep:
        connection.state = codes.CLOSING
        connection.close_code = code
        connection.close_text = text
        connection._goodbye = write_close(code, text)
        connection.deadline = now + codes.CLOSING_MS
    elif connection.state <= codes.OPEN:
        connection._fail(code, text, now)
