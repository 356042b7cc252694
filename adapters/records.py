"""Nodes, endpoints, links, ways and losses as users are shown them: values that print well.

Knows no bus and no node of the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from busway.adapters.literal import text_of
from busway.errors import Undeliverable
from busway.protocol import codes
from busway.protocol.messaging.replies import refusal

if TYPE_CHECKING:  # the same to a checker
    from dataclasses import dataclass
else:
    from busway.adapters.frozen import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class NodeInfo:
    """A node: `id` 16 bytes, `label` its program, `leaf` if it never forwards, `me` if it is this one."""

    id: bytes
    label: str
    leaf: bool
    me: bool = False

    def __repr__(self) -> str:
        what = ", this one" if self.me else ", a leaf" if self.leaf else ""
        return f"<node {named(self.label, self.id)}{what}>"


@dataclass(frozen=True, slots=True, repr=False)
class EndpointInfo:
    """An endpoint at a node: `id` 16 bytes, `node` the holder's id, `labels` in order."""

    id: bytes
    name: str
    kind: str
    realm: str
    node: bytes
    labels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        words = [self.kind, self.realm, f"at {short(self.node)}"]
        words += [f"labels {', '.join(self.labels)}"] if self.labels else []
        return f"<endpoint {named(self.name, self.id)}, {', '.join(words)}>"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The fate of one copy of a message that was sent to all that a selector means: `node` and `endpoint`,
    16 bytes each, say where it went, `name` is what that is called; `error` says why it came to nothing, or
    is None.
    """

    node: bytes
    endpoint: bytes
    name: str
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether it was accepted for transport; with `confirm` taken."""
        return self.error is None

    def shown(self) -> str:
        """For people."""
        return f"{named(self.name, self.endpoint)} at {short(self.node)}"


@dataclass(frozen=True, slots=True, repr=False)
class LinkInfo:
    """A link: `peer` the other node's id, `state` ("connecting", "connected", "reconnecting", "closing",
    "closed"), `realm`, `address`, `rtt` the last round trip of the keepalive in seconds (None: not measured);
    `id` its number in this process, the same as long as it is listed; `protection` what the other side has
    proved: "local" (it is a program of the same user, says the system), "key" (one of the trust file),
    "board key", "token", "open" (nothing), "" while the link is not open; `trusted` what that key or board is
    called in the trust file or folder; `key` the public key it has proved, trusted
    or not, if only one of its run.

    Of a link that this program dialled also `url`, `attempt` since it was last open, `next_try` in seconds
    (None: under way, or none to come) and `error`, what went wrong last.
    """

    peer: bytes
    label: str
    state: str
    realm: str
    address: str
    rtt: float | None
    bytes_in: int
    bytes_out: int
    url: str = ""
    attempt: int = 0
    next_try: float | None = None
    error: str = ""
    id: int = 0
    protection: str = ""
    trusted: str = ""
    key: str = ""

    def __repr__(self) -> str:
        how = f", {self.protection} {self.trusted}".rstrip() if self.protection else ""
        rtt = "" if self.rtt is None else f", {self.rtt * 1000:.2g} ms"
        error = f", {self.error}" if self.error else ""
        where = self.address or self.url
        return (
            f"<link to {named(self.label, self.peer)} over {where}, {self.state}, {self.realm}{how}{rtt}"
            f"{error}>"
        )


@dataclass(frozen=True, slots=True, repr=False)
class RouteInfo:
    """The way to a node: `via` the next hop's id (its own for a neighbour), `realm` the widest on the way,
    `cost` the sum of its links, `seqno` of the route, `offers` how many neighbours offer a way.
    """

    node: bytes
    label: str
    leaf: bool
    via: bytes
    realm: str
    cost: int
    seqno: int
    offers: int

    def __repr__(self) -> str:
        way = f"via {short(self.via)}, cost {self.cost}, {self.realm}"
        return f"<route to {named(self.label, self.node)} {way}>"


@dataclass(frozen=True, slots=True, repr=False)
class Hop:
    """A node on the way of a trace, and the link by which it was reached; `rtt` seconds, there and back."""

    node: bytes
    label: str
    realm: str
    cost: int
    medium: str
    rtt: float

    def __repr__(self) -> str:
        return f"<hop {named(self.label, self.node)} over {self.medium}, {self.rtt * 1000:.2g} ms>"


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """Something came, went or changed: `what` is "link-up", "link-down", "link-state" (a link is being made,
    or its LinkInfo's `state`, `attempt`, `next_try` or `error` is another), "node-up", "node-changed" (of
    one that is there, the label or `leaf` has become known), "node-down", "endpoint-up",
    "endpoint-changed" (of one that is there, its name, kind, cost or labels), "endpoint-down",
    "duplicate-node" (two live nodes have one id), "link-refused" (somebody came to a listener of this
    program with another token, bus name or version; told once for each machine: `address` and `text`).

    `subject` is the LinkInfo, NodeInfo or EndpointInfo as it is now; of a link that ended `code` and `text`
    say why, of "node-down" `text` is "goodbye" or "lost", as far as is known by then. Who takes in all of
    them knows what `nodes()`, `endpoints()` and `links()` say: a node goes by its `id`, an endpoint by `node`
    and `id`, a link by `id` and is listed until its `state` is "closed".
    """

    what: str
    subject: LinkInfo | NodeInfo | EndpointInfo
    code: int = 0
    text: str = ""

    def __repr__(self) -> str:
        return f"<{self.what} {self.subject!r}{f': {self.text}' if self.text else ''}>"


@dataclass(frozen=True, slots=True, repr=False)
class Sighting:
    """One endpoint as `presence()` tells of it. `what` is "present" (it was there when one began to look),
    "complete" (all of those have been told; nothing else is said), "arrived", "departed" or "changed"
    (then `former` is the endpoint as it was told before).

    `endpoint` is the EndpointInfo, `node` the NodeInfo of its holder. `reason` of a departure: "withdrawn"
    (it was closed, or is not shown here any more, and its node stays), "goodbye" (its node has left in order)
    or "lost" (its node has not said goodbye); `last_word` what it has left for that case (`gone=`).
    """

    what: str
    endpoint: EndpointInfo | None = None
    node: NodeInfo | None = None
    reason: str = ""
    last_word: object = None
    former: EndpointInfo | None = None

    @property
    def lost(self) -> bool:
        """Whether it departed because its node is lost."""
        return self.reason == "lost"

    def __repr__(self) -> str:
        if self.endpoint is None:
            return f"<{self.what}>"
        reason = f": {self.reason}" if self.reason else ""
        word = f", last word {self.last_word!r}" if self.last_word is not None else ""
        return f"<{self.what} {self.endpoint!r}{reason}{word}>"


@dataclass(frozen=True, slots=True, repr=False)
class Undelivered:
    """A message that had been accepted and was not delivered after all: `endpoint` and `node` are ids, `name`
    and `label` what they are called ("" if that is not known), `seq` its number, `reason` why.
    """

    endpoint: bytes
    name: str
    node: bytes
    label: str
    seq: int
    reason: int

    @property
    def reason_name(self) -> str:
        """As in docs/protocol.md, section 8."""
        return self.error.reason_name

    @property
    def error(self) -> Undeliverable:
        """The error that a sender that has gone on would have been told."""
        text = refusal(self.label, self.node) if self.reason == codes.NO_PERMISSION else ""
        return Undeliverable(self.reason, text, text_of(self.endpoint))

    def __repr__(self) -> str:
        to = named(self.name, self.endpoint)
        return f"<not delivered to {to} at {named(self.label, self.node)}: {self.reason_name}>"


def short(node: bytes) -> str:
    return node.hex()[:8]


def named(name: str, id: bytes) -> str:
    return f"{name!r} {short(id)}" if name else id.hex() or "nobody yet"
