"""Makes the core's objects of what users and the environment say: a node, a link, a receiver."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from busway.adapters import opening
from busway.adapters.arguments import (
    KINDS,
    POLICIES,
    REALMS,
    check_label,
    check_labels,
    check_limits,
    check_node_id,
    check_token,
    check_whole,
    choice,
    for_users,
)
from busway.adapters.identity import Identity
from busway.adapters.literal import id_of, id_of_subscribed
from busway.adapters.protecting import NO_KEY, Admit, Guard, any_id, security_of
from busway.adapters.typed import Realm
from busway.errors import EndpointTaken
from busway.names import check_bus_name, endpoint_id, endpoint_name
from busway.payloads import encode
from busway.protocol import Limits, Link, Node, Receiver, codes, errors

if TYPE_CHECKING:
    from busway.adapters.clients import Server
    from busway.adapters.sharing import LinkSharing

BUILT_IN = "busway/"  # what names of Busway's own endpoints begin with
OFFERS_NAME = "busway/seal"  # where a bus says what it can be sent sealed with

# Cost in the route metric, and keepalive in ms, by sort of link (docs/guarantees.md). IPC relies on the end
# of the socket.
_LINK_DEFAULTS = {
    "ipc": (1, 0),
    "memory": (1, 0),
    "pipe": (1, 0),
    "tcp": (16, 5000),
    "nats": (48, 5000),
    "ws": (32, 5000),
    "wss": (32, 5000),
    "serial": (64, 5000),
    "ble": (256, 5000),
}


def make_node(
    name: str | None,
    leaf: bool,
    transit: bool | None,
    label: str | None,
    node_id: bytes | None,
    identity: Identity,
    limits: Limits | None,
    wake: Callable[[], None] | None = None,
) -> Node:
    """The core's node, as a bus's arguments say, else the environment. Raises TypeError, ValueError."""
    check_label(label)
    check_limits(limits, Limits)
    check_node_id(node_id)
    try:
        return Node(
            identity.node_id() if node_id is None else node_id,
            entropy=os.urandom,
            bus=check_bus_name(name if name is not None else os.environ.get("BUSWAY_BUS") or "default"),
            label=default_label() if label is None else label,
            leaf=leaf,
            transit=transit,
            limits=limits,
            encode=dump_cbor,
            wake=wake,
        )
    except errors.LocalError as error:
        raise for_users(error) from None


def default_label() -> str:
    """The program as people know it, with its process id: at most 64 bytes."""
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c") else "python"
    tail = f" ({os.getpid()})"
    return program.encode()[: codes.TEXT_SIZE_MAX - len(tail)].decode(errors="ignore") + tail


def dump_cbor(value: object) -> bytes:
    """CBOR of a value; cbor2 is imported at the first use, to keep `import busway` light."""
    import cbor2

    return cbor2.dumps(value)


def register(
    node: Node,
    endpoint: Any,
    kind: str,
    realm: str,
    queue: int,
    policy: str | None,
    cost: int,
    limit: int = codes.OPENING_CREDIT,
    *,
    labels: Iterable[str] = (),
    gone: bytes = b"",
) -> Receiver:
    """Register with the core, in users' words; `limit` messages are worked on at once, `gone` is a last word
    as the core takes it. Raises EndpointTaken, TypeError, ValueError.
    """
    check_whole("queue", queue, "the messages that may wait")
    if queue < 2:
        raise ValueError(f"queue must be at least 2, the messages that may wait, not {queue}")
    if gone and realm == "process":
        raise ValueError(
            'gone= is told by other nodes, and none sees what is registered with realm="process": '
            "choose a wider realm, or leave it out"
        )
    check_whole("cost", cost, "what is added to the way's cost")
    try:
        return node.register(
            id_of_subscribed(endpoint) if kind == "broadcast" else id_of(endpoint),
            choice("kind", kind, KINDS),
            choice("realm", realm, REALMS),
            name=endpoint_name(endpoint),
            cost=cost,
            queue_max=queue,
            policy=-1 if policy is None else choice("policy", policy, POLICIES),
            opening=min(limit, codes.OPENING_CREDIT),
            labels=labels,
            gone=gone,
        )
    except errors.EndpointTakenError as error:
        raise EndpointTaken(f"{endpoint_name(endpoint) or endpoint_id(endpoint).hex()}: {error}") from None
    except errors.LocalError as error:
        raise ValueError(str(error)) from None


def inherited(endpoint: Any, labels: Iterable[str], common: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of an endpoint, with those that it has from its node: what Busway itself registers has none
    of these. Raises TypeError, ValueError.
    """
    own = check_labels(labels)
    name = endpoint_name(endpoint)
    return own if name.startswith(BUILT_IN) else check_labels((*own, *common))


def last_word(endpoint: Any, payload: Any) -> bytes:
    """A payload as the last word of an endpoint: format, type and bytes. Raises ValueError."""
    data, format, type_id = encode(payload, id_of(endpoint))
    if len(data) > codes.GONE_SIZE_MAX:
        raise ValueError(f"a last word has at most {codes.GONE_SIZE_MAX} bytes, not {len(data)}")
    return bytes((format,)) + type_id + bytes(data)


def from_environment(
    url: str, token: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """A link's token and its driver's options, from BUSWAY_TOKEN, or the file BUSWAY_TOKEN_FILE, and
    BUSWAY_CAFILE where they say nothing,
    or None. Raises TypeError, ValueError for what is no token.
    """
    if token is None:
        from busway import tokens

        token = tokens.from_environment()
    check_token(token)
    options = opening.given(url, options)
    cafile = os.environ.get("BUSWAY_CAFILE")
    if cafile and opening.has_certificate(url) and not {"cafile", "tls"} & options.keys():
        options = {**options, "cafile": cafile}
    return token, options


class Terms(NamedTuple):
    """The terms of a link: the token that both sides have, realm and cost in place of those of its sort; of a
    listener, whether it is `open` to all, and then whether for `routers`, too, and the URLs that it is known
    by, as `listeners`, and the `server` that lets in its clients, if it has one.
    """

    token: str | None = None
    realm: Realm | None = None
    cost: int | None = None
    open: bool = False
    routers: bool = False
    listeners: tuple[str, ...] = ()
    server: Server | None = None

    def check(self) -> None:
        """Before anything is opened. Raises TypeError, ValueError."""
        check_token(self.token)
        if self.routers and not self.open:
            raise ValueError(
                "routers=True is for listeners with open=True: who has the token may be one anyhow"
            )
        if self.cost is not None:
            check_whole("cost", self.cost, "1 to 16382")
            Link(cost=self.cost)
        if self.realm is not None:
            choice("realm", self.realm, REALMS)


ANY_TERMS = Terms()


def make_link(
    channel: Any,
    terms: Terms,
    static: tuple[bytes, bytes] = NO_KEY,
    admit: Admit | None = None,
    board_key: Callable[[bytes], bytes | None] | None = None,
    aside: LinkSharing | None = None,
) -> Link:
    """A driver's channel as the core has to know it; `static`, `admit` and `board_key` as of Guard, `aside`
    as of Link. Raises TypeError, ValueError.
    """
    terms.check()
    scheme = channel.address.partition(":")[0]
    guard = Guard(terms.token, terms.open, terms.routers, static, board_key, admit)
    realm = choice("realm", channel.realm if terms.realm is None else terms.realm, REALMS)
    security = security_of(guard, scheme, channel.dialled, channel.sort == "packet", realm)
    usual, keepalive_ms = _LINK_DEFAULTS.get(scheme, (16, 5000))
    usual = getattr(channel, "cost", usual)  # a driver may know better, as of a slow line
    return Link(
        realm,
        channel.dialled,
        via=channel.via,
        cost=usual if terms.cost is None else terms.cost,
        keepalive_ms=keepalive_ms,
        security=security,
        any_id=security is None and any_id(scheme, realm),
        address=channel.address,
        medium=scheme,
        lookups=getattr(channel, "lookups", False),
        fabric=scheme == "nats",
        sort="packet" if channel.sort == "packet" else "stream",
        mtu=channel.mtu if channel.sort == "packet" else 0,
        aside=aside,
    )
