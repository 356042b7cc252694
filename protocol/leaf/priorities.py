"""Priorities at a small leaf: their names, the order of what waits, pairs of their own (docs/protocol.md,
section 5.5).

Loaded with the first message that is not normal. Knows the leaf's queues and pairs, and no link.
"""

from busway.protocol.errors import LocalError
from busway.protocol.leaf.frames import Message
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.leaf.state import Flow, Target

_PASSED_MAX: "Final" = 16  # messages that may pass one of lower priority


def number_of(priority: "int | str") -> int:
    """A priority's number; it may have come by its name. Raises LocalError."""
    if isinstance(priority, str) and priority in codes.PRIORITY_NAMES:
        return codes.PRIORITY_NAMES.index(priority)
    if not isinstance(priority, int) or not codes.LOW <= priority <= codes.URGENT:
        raise LocalError("priority is one of low, normal, high, urgent")
    return priority


def put_in_order(items: "list[Message]", item: Message) -> None:
    """Put it before those of lower priority, but for one that has been passed often: none waits for ever."""
    at = len(items)
    while at and items[at - 1].lane & 3 < item.lane & 3 and items[at - 1].passed < _PASSED_MAX:
        at -= 1
        items[at].passed += 1
    items.insert(at, item)


def lowest(queue: "list[Message]") -> int:
    """The place of the oldest of the lowest priority."""
    found = 0
    for at in range(1, len(queue)):
        if queue[at].lane & 3 < queue[found].lane & 3:
            found = at
    return found


def flow_of(leaf: "Any", item: Message, target: "Target", flow: "Flow", link: "Any") -> "Flow":
    """The pair of a message with a priority of its own, made if it is new; `flow` is that of normal ones,
    which it is of where the router knows no others.
    """
    if link is None or not link.addressing:
        item.lane = codes.NORMAL
        return flow
    address = item.address()
    own: "Flow | None" = leaf._flow(leaf._out, flow.key, address)
    if own is None:
        own = leaf._new_flow(leaf._out, flow.key, address, leaf._past_number(flow.key, address))
        own.limit = own.last + target.credit
        own.realm = flow.realm
        own.in_doubt = True
    return own


def passing(leaf: "Any", link: "Any", now: int, behind: Message, size_max: int) -> "Message | None":
    """The next of higher priority than a message that is under way in pieces, of `size_max` bytes at the
    most.
    """
    above = behind.lane & 3
    for items in (leaf.answers, leaf._items):
        for item in items:
            if item.lane & 3 > above and len(item.payload) <= size_max:
                if items is leaf.answers or item.kind == codes.PUBLISH or leaf.may_go(item, link, now):
                    items.remove(item)
                    found: Message = item
                    return found
    return None
