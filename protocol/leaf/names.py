"""Names of a small leaf that another node has, too. Loaded when a router says so of one."""

from busway.protocol import outcomes
from busway.protocol.leaf.state import Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def settle_name(leaf: "Any", receiver: Receiver, rival: bool, first: bool) -> None:
    """The router says whether a name of ours has a `rival`: one that was there when we came, as the `first`
    answer tells, keeps it. It is ours again when there is none.
    """
    if receiver.lost and not rival:
        regain(leaf, receiver)
        leaf.note(outcomes.RECEIVER_BACK).receiver = receiver
    elif rival and first and not receiver.lost:
        leaf._lost.append(receiver)
        leaf._withdraw(receiver)
        receiver.closed = False
        receiver.lost = True
        leaf.note(outcomes.RECEIVER_TAKEN).receiver = receiver


def regain(leaf: "Any", receiver: Receiver) -> None:
    """It is told again."""
    leaf._lost.remove(receiver)
    receiver.lost = False
    leaf.receivers.append(receiver)
    leaf._versions[receiver.realm] += 1
    leaf.write_pending = True
