"""The log at level DEBUG: what joins and goes, what a call waits for, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from busway.adapters.literal import text_of
from busway.adapters.records import Change, EndpointInfo, LinkInfo, NodeInfo
from busway.names import ascii_safe
from busway.protocol import Node, codes, events
from busway.protocol.messaging import flows

_STATUSES = {
    events.ACCEPTED: "accepted",
    events.TAKEN: "taken",
    events.REPLIED: "answered",
    events.FAILED: "its handler failed",
    events.UNDELIVERED: "not delivered",
    events.TIMED_OUT: "no answer in time",
    events.UNKNOWN: "unknown",
    events.CANCELLED: "cancelled",
    events.TRACED: "found",
}


def change(what: Change) -> str:
    """Something came or went."""
    subject = what.subject
    if isinstance(subject, NodeInfo):
        about = f"{subject.label or '?'} {subject.id.hex()[:8]}"
    elif isinstance(subject, EndpointInfo):
        name = subject.name or subject.id.hex()
        about = f"{name} ({subject.kind}, {subject.realm}) at {subject.node.hex()[:8]}"
    else:
        about = f"{subject.url or subject.address} to {subject.label or '?'}, {subject.state}"
        if subject.attempt and subject.next_try is not None:
            about += f", attempt {subject.attempt}, next in {subject.next_try:.1f} s"
        if subject.error:
            about += f": {subject.error}"
    told = isinstance(subject, LinkInfo) and subject.error == what.text
    why = f": {what.text} ({what.code})" if what.text and not told else ""
    return ascii_safe(f"{what.what}: {about}{why}")


def candidates(url: str, found: Iterable[Any]) -> str:
    """The places that a URL has turned out to lead to, in the order in which they are tried."""
    places = (getattr(each, "address", each) for each in found)
    texts = (f"{each[0]} port {each[1]}" if isinstance(each, tuple) else str(each) for each in places)
    return ascii_safe(f"{url} leads to {', '.join(texts)}")


def waiting(node: Node, token: int) -> str:
    """The thing that a call waits for."""
    return ascii_safe(_waiting(node, token))


def _waiting(node: Node, token: int) -> str:
    pending = node.origin.pending.get(token)
    if pending is None:
        return f"message {token} need not wait"
    about = f"message {token} to {text_of(pending.out.endpoint)}"
    if pending.state == flows.UNRESOLVED:
        return f"{about} waits: nobody is known to have the endpoint yet"
    flow = pending.flow
    if pending.state == flows.SENT and flow is not None:
        return f"{about} is on its way to {flow.peer.label or '?'} {flow.peer.node_id.hex()[:8]}"
    if flow is None:
        return f"{about} waits: all its holders are busy"
    if flow.sent < flow.limit:
        return f"{about} waits: the link is full"
    return f"{about} waits: {flow.peer.label or '?'} {flow.peer.node_id.hex()[:8]} gives no credit yet"


def outcome(event: events.Outcome) -> str:
    """The fate of a message."""
    reason = codes.REASON_NAMES.get(event.code, str(event.code)) if event.code else ""
    return f"message {event.token}: {_STATUSES.get(event.status, event.status)} {reason}".rstrip()
