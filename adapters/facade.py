"""What every adapter shares: users' words to the core's numbers and back, outcomes to exceptions, payloads to
values.

Runs nothing: no loop, no thread, no link.
"""

from __future__ import annotations

import hmac
import math
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, cast

from busway.adapters import opening
from busway.adapters.checks import (
    TIMEOUT_S,
    check_flag,
    check_label,
    check_limits,
    check_node_id,
    check_seconds,
    check_token,
    check_types,
    check_whole,
)
from busway.adapters.failures import describe
from busway.adapters.literal import id_of, name_of, text_of
from busway.adapters.records import (
    Change,
    EndpointInfo,
    Hop,
    LinkInfo,
    NodeInfo,
    RouteInfo,
    Undelivered,
    named,
)
from busway.adapters.typed import Kind as Kind
from busway.adapters.typed import Policy as Policy
from busway.adapters.typed import Realm as Realm
from busway.errors import (
    BusClosed,
    BusError,
    DeliveryUnknown,
    EndpointTaken,
    PayloadError,
    RemoteError,
    RequestTimeout,
    Undeliverable,
    UnknownType,
)
from busway.names import ascii_safe, check_bus_name, endpoint_name
from busway.payloads import ReplyType, accepted_types, decode, encode, reply_type
from busway.protocol import (
    Connection,
    Limits,
    Link,
    Message,
    Node,
    Peer,
    Receiver,
    Request,
    codes,
    errors,
    events,
)
from busway.protocol.routing.peers import Entry
from busway.protocol.wire.fields import Reader

_KINDS = {"unicast": codes.UNICAST, "anycast": codes.ANYCAST, "broadcast": codes.BROADCAST}
_REALMS = {
    "process": codes.PROCESS,
    "userspace": codes.USERSPACE,
    "localnet": codes.LOCALNET,
    "global": codes.GLOBAL,
}
_POLICIES = {
    "refuse": codes.REFUSE,
    "drop_oldest": codes.DROP_OLDEST,
    "drop_newest": codes.DROP_NEWEST,
    "latest": codes.LATEST,
}
# How long a publish waits for a link that is full: a subscriber that reads makes room long before, also on a
# busy machine; one that does not holds the publisher up once, and then misses what it has no room for.
_PUBLISH_PATIENCE_MS = 500
# How links end that nobody has to hear of.
ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED)
_STATES = {
    codes.GREETING: "connecting",
    codes.AUTHENTICATING: "connecting",
    codes.OPEN: "connected",
    codes.CLOSING: "closing",
    codes.CLOSED: "closed",
}
# Cost in the route metric, and keepalive in ms, by sort of link (docs/guarantees.md). IPC relies on the end
# of the socket.
_LINK_DEFAULTS = {
    "ipc": (1, 0),
    "memory": (1, 0),
    "pipe": (1, 0),
    "tcp": (16, 5000),
    "ws": (32, 5000),
    "wss": (32, 5000),
    "serial": (64, 5000),
    "ble": (256, 5000),
}


def describe_bus(bus: object, node: Node, state: str) -> str:
    """The repr of an AsyncBus or Bus."""
    others = len(node.peers())
    seen = f", {others} other node{'' if others == 1 else 's'}"
    return f"<{type(bus).__name__} {node.bus!r} as {named(node.label, node.node_id)}, {state}{seen}>"


def describe_receiver(end: object, core: Receiver) -> str:
    """The repr of a Receiver or Service."""
    endpoint = core.endpoint
    words = [codes.KIND_NAMES[endpoint.kind], codes.REALM_NAMES[endpoint.realm], f"{len(core.queue)} queued"]
    words += ["closed"] if core.closed else []
    return f"<{type(end).__name__} of {named(endpoint.name, endpoint.uuid)}, {', '.join(words)}>"


def nothing_came(core: Receiver, timeout: float | None) -> str:
    """What a `receive` says that ran out of time."""
    return f"nothing came to {core.endpoint.name or core.endpoint.uuid.hex()!r} within {timeout:g} s"


def describe_changes(waiting: int, missed: int, ended: bool) -> str:
    """The repr of Changes."""
    return f"<Changes, {waiting} to be read, {missed} missed{', closed' if ended else ''}>"


def choice(name: str, value: str, table: dict[str, int]) -> int:
    try:
        return table[value]
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be one of {', '.join(table)}, not {value!r}") from None


def kind_number(kind: str) -> int:
    return choice("kind", kind, _KINDS)


def realm_number(realm: str) -> int:
    return choice("realm", realm, _REALMS)


def policy_number(policy: str | None) -> int:
    return -1 if policy is None else choice("policy", policy, _POLICIES)


def milliseconds(name: str, value: float | None, *, endless: bool = False) -> int:
    """Seconds as users give them to the core's whole milliseconds, never rounded down to 0; with `endless`
    None is as long as it takes, which are 24 days. Raises TypeError, ValueError.
    """
    return math.ceil(check_seconds(name, value, endless=endless) * 1000)


def timeout_ms(timeout: float | None) -> int:
    """A call's `timeout` in the core's milliseconds."""
    return milliseconds("timeout", timeout, endless=True)


def send_timeout_ms(timeout: float | None, confirm: bool) -> int | None:
    """As `timeout_ms`; None, no limit, for a plain send that was given none."""
    if not confirm and (timeout is None or timeout is TIMEOUT_S):
        return None
    return timeout_ms(timeout)


def patience_ms(wait: bool, best_effort: bool) -> int:
    """How long a publish waits for links that are full; -1: as long as it takes. Raises TypeError."""
    if wait is False and best_effort is False:
        return _PUBLISH_PATIENCE_MS
    check_flag("wait", wait)
    check_flag("best_effort", best_effort)
    return -1 if wait else _PUBLISH_PATIENCE_MS


def make_node(
    name: str | None,
    leaf: bool,
    transit: bool | None,
    label: str | None,
    node_id: bytes | None,
    limits: Limits | None,
    wake: Callable[[], None] | None = None,
) -> Node:
    """The core's node, as the arguments of a bus say and the environment where they say nothing. Raises
    TypeError, ValueError.
    """
    check_label(label)
    check_limits(limits, Limits)
    check_node_id(node_id)
    try:
        return Node(
            os.urandom(16) if node_id is None else node_id,
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


def from_environment(
    url: str, token: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """A link's token and its driver's options, from BUSWAY_TOKEN and BUSWAY_CAFILE where they say nothing,
    or None. Raises TypeError, ValueError for what is no token.
    """
    if token is None:
        token = os.environ.get("BUSWAY_TOKEN") or None
    check_token(token)
    options = opening.given(url, options)
    cafile = os.environ.get("BUSWAY_CAFILE")
    if cafile and str(url).lower().startswith("wss:") and not {"cafile", "tls"} & options.keys():
        options = {**options, "cafile": cafile}
    return token, options


def default_label() -> str:
    """The program as people know it, with its process id: at most 64 bytes."""
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c") else "python"
    tail = f" ({os.getpid()})"
    return program.encode()[: codes.TEXT_SIZE_MAX - len(tail)].decode(errors="ignore") + tail


def for_users(error: errors.LocalError) -> Exception:
    """Misuse as users know it: bad arguments are ValueErrors."""
    return BusError(str(error)) if isinstance(error, errors.FullError) else ValueError(str(error))


def types_of(endpoint: Any, types: tuple[type, ...] | None) -> tuple[type, ...] | None:
    """What a receiver accepts: a message class as endpoint declares its own type. Raises TypeError."""
    check_types(types)
    if types is None and isinstance(endpoint, type):
        types = (endpoint,)
    return None if types is None else accepted_types(types)


def register(
    node: Node,
    endpoint: Any,
    kind: str,
    realm: str,
    queue: int,
    policy: str | None,
    cost: int,
    limit: int = codes.OPENING_CREDIT,
) -> Receiver:
    """Register with the core, in users' words; `limit` messages are worked on at once. Raises EndpointTaken,
    TypeError, ValueError.
    """
    check_whole("queue", queue, "the messages that may wait")
    if queue < 2:
        raise ValueError(f"queue must be at least 2, the messages that may wait, not {queue}")
    check_whole("cost", cost, "what is added to the way's cost")
    try:
        return node.register(
            id_of(endpoint),
            kind_number(kind),
            realm_number(realm),
            name=endpoint_name(endpoint),
            cost=cost,
            queue_max=queue,
            policy=policy_number(policy),
            opening=min(limit, codes.OPENING_CREDIT),
        )
    except errors.EndpointTakenError as error:
        raise EndpointTaken(f"{endpoint_name(endpoint) or id_of(endpoint).hex()}: {error}") from None
    except errors.LocalError as error:
        raise ValueError(str(error)) from None


NO_ANSWERS = (
    "this endpoint takes messages and answers no requests: its program made it with register, not serve"
)


def log_asked(core: Receiver) -> str:
    """What to log, once for each receiver that is sent requests and answers none."""
    name = ascii_safe(core.endpoint.name or core.endpoint.uuid.hex())
    return f"a request came to {name}, which was made with register: only what serve makes answers requests"


def encode_answer(request: Request, value: Any) -> tuple[Any, int, bytes]:
    """As a payload; what a PROCESS endpoint answers stays the object it is."""
    if request.flow.endpoint.realm == codes.PROCESS:
        return value, codes.OBJECT, b""
    return encode(value, b"")


def wants_answer(message: Message) -> Request | None:
    """The request that a message is; None for one that nobody waits for."""
    return message if isinstance(message, Request) and not message.confirm else None


def unreadable(core: Receiver, error: PayloadError) -> tuple[str, PayloadError]:
    """What a service logs of a message that its handler does not get. What came may be in the text."""
    name = ascii_safe(core.endpoint.name or core.endpoint.uuid.hex())
    return f"reading a message for {name}", PayloadError(ascii_safe(error.reason))


def answer_unreadable(node: Node, message: Message, now: int) -> None:
    """Tell who asked that the handler cannot read it."""
    if asked := wants_answer(message):
        why = str(message.error) if message.error else "a message type that this handler does not know"
        node.respond_error(asked, codes.UNREADABLE, why, now)


def answer_failure(node: Node, message: Message, error: BaseException, now: int) -> None:
    """Tell who asked what the handler raised."""
    if isinstance(error, RemoteError):  # codes below are the bus's own
        own = isinstance(error.code, int) and codes.HANDLER_FAILED <= error.code <= 0xFFFFFFFF
        answer_error(node, message, error.code if own else codes.HANDLER_FAILED, error.message, now)
    else:
        answer_error(node, message, codes.HANDLER_FAILED, describe(error), now)


def answer_error(node: Node, message: Message, code: int, text: str, now: int) -> None:
    """Answer with an error; parts that wait for the reader are thrown away."""
    if asked := wants_answer(message):
        if asked.stream is not None:
            for item in asked.stream.waiting.drain():
                node.origin.finish_parked(item)
        try:
            text = str(text)
        except Exception:  # noqa: BLE001 - a RemoteError may be given anything, whose text may fail
            text = "the error's text cannot be shown"
        # The text of an exception may hold what UTF-8 does not carry, such as a file's name.
        node.respond_error(asked, code, text.encode(errors="backslashreplace").decode(), now)


def tracing(
    node: Node, wanted: Any, timeout_ms: int, clock: Callable[[], int]
) -> Generator[int, events.Outcome, list[Hop]]:
    """The steps of a trace: yields tokens, takes their outcomes, returns the nodes on the way.

    Raises RequestTimeout, Undeliverable.
    """
    outcome = yield node.locate(id_of(wanted), clock(), timeout_ms=timeout_ms)
    if outcome.status != events.TRACED:
        raise error_of(outcome, wanted)
    target = outcome.node_id
    hops: list[Hop] = []
    while target != node.node_id and not (hops and hops[-1].node == target):
        if len(hops) > codes.HOPS_MAX:
            raise Undeliverable(codes.NO_ROUTE, "the way has more than 256 hops", text_of(wanted))
        started = time.monotonic()
        outcome = yield node.trace(target, len(hops), clock(), timeout_ms=timeout_ms)
        if outcome.status != events.TRACED:
            raise error_of(outcome, wanted)
        hops.append(_as_seen_here(node, hop_of(outcome, time.monotonic() - started)))
    return hops


def _as_seen_here(node: Node, hop: Hop) -> Hop:
    """A leaf next door knows less about the link than this side, which chose it and reckons with its cost."""
    peer = node.routes.peers.get(hop.node)
    link = None if peer is None or not peer.leaf else peer.hop
    if link is None or link.peer is not peer:
        return hop
    return replace(
        hop,
        realm=codes.REALM_NAMES[link.realm],
        cost=link.cost,
        medium=link.link.medium or hop.medium,
    )


def dump_cbor(value: object) -> bytes:
    """CBOR of a value; cbor2 is imported at the first use, to keep `import busway` light."""
    import cbor2

    return cbor2.dumps(value)


def prover(token: str | None) -> Callable[[bytes], bytes] | None:
    """What proves knowledge of a token (docs/protocol.md, section 3.2); None without one."""
    check_token(token)
    if token is None:
        return None
    key = token.encode()
    return lambda message: hmac.digest(key, message, "sha256")


def check_cost(cost: int | None) -> None:
    """Of a link. Raises TypeError, ValueError."""
    if cost is not None:
        check_whole("cost", cost, "1 to 16382")
        Link(cost=cost)


def check_link(token: str | None, realm: Realm | None, cost: int | None) -> None:
    """What a link is asked for with, before anything is opened. Raises TypeError, ValueError."""
    check_token(token)
    check_cost(cost)
    if realm is not None:
        realm_number(realm)


def make_link(channel: Any, token: str | None, realm: Realm | None = None, cost: int | None = None) -> Link:
    """What the core has to know of a driver's channel. Raises ValueError."""
    check_cost(cost)
    scheme = channel.address.partition(":")[0]
    usual, keepalive_ms = _LINK_DEFAULTS.get(scheme, (16, 5000))
    usual = getattr(channel, "cost", usual)  # a driver may know better, as of a slow line
    return Link(
        realm_number(channel.realm if realm is None else realm),
        channel.dialled,
        via=channel.via,
        cost=usual if cost is None else cost,
        keepalive_ms=keepalive_ms,
        prove=prover(token),
        address=channel.address,
        medium=scheme,
        lookups=getattr(channel, "lookups", False),
        sort="packet" if channel.sort == "packet" else "stream",
        mtu=channel.mtu if channel.sort == "packet" else 0,
    )


def decode_message(message: Message, accept: tuple[type, ...] | None) -> bool:
    """Turn a message's payload into its value, in place; an error goes to `message.error`. False: an unknown
    type, skip it.
    """
    if message.format == codes.OBJECT or (message.format == codes.RAW and accept is None):
        return True
    payload = message.payload
    assert isinstance(payload, bytes)
    try:
        message.payload = decode(payload, message.format, message.type_id, message.endpoint, accept)
    except UnknownType:
        return False
    except PayloadError as error:
        message.error = error
    return True


def wanted_reply(reply: Any) -> ReplyType | None:
    """What `reply=` says; None for anything. Raises TypeError."""
    return None if reply is None else reply_type(reply)


def decode_outcome(outcome: events.Outcome, wanted: ReplyType | None, to: Any) -> Any:
    """The value of a reply or part of that endpoint, of the type that is wanted. Raises PayloadError."""
    try:
        return _decode_outcome(outcome, wanted)
    except PayloadError as error:
        raise PayloadError(f"the reply of {text_of(to)}: {error.reason}", error.payload) from error


def _decode_outcome(outcome: events.Outcome, wanted: ReplyType | None) -> Any:
    payload = outcome.payload
    if wanted is not None:
        if outcome.format == codes.OBJECT:
            return wanted.check(payload)
        return wanted.decode(cast(bytes, payload), outcome.format, outcome.type_id)
    if outcome.format in (codes.RAW, codes.OBJECT) or not isinstance(payload, bytes):
        return payload
    return decode(payload, outcome.format, outcome.type_id, b"", None)


def error_of(outcome: events.Outcome, to: Any) -> BusError:
    """The exception for the outcome, which is no success, of a message to that endpoint."""
    status = outcome.status
    if status == events.FAILED:
        return RemoteError._received(outcome.code, outcome.text)
    if status == events.TIMED_OUT:
        return RequestTimeout(f"{text_of(to)}: {RequestTimeout()}")
    if outcome.code == codes.BUS_CLOSED and not outcome.text:
        return BusClosed()
    if status == events.UNKNOWN:
        return DeliveryUnknown(f"{text_of(to)}: {DeliveryUnknown()}")
    return Undeliverable(outcome.code, outcome.text, text_of(to))


def undelivered(node: Node, event: events.UndeliverableEvent) -> Undelivered:
    """A message that was lost later, as users see it."""
    peer = node.me if event.node_id == node.node_id else node.routes.peers.get(event.node_id)
    label = "" if peer is None else peer.label
    return Undelivered(event.endpoint, name_of(event.endpoint), event.node_id, label, event.seq, event.reason)


def node_info(peer: Peer, me: bool = False) -> NodeInfo:
    return NodeInfo(peer.node_id, peer.label, peer.leaf, me)


def link_info(connection: Connection) -> LinkInfo:
    peer = connection.peer
    return LinkInfo(
        peer.node_id if peer is not None else b"",
        peer.label if peer is not None else "",
        _STATES[connection.state],
        codes.REALM_NAMES[connection.realm],
        connection.link.address,
        connection.rtt_ms / 1000 if connection.rtt_ms >= 0 else None,
        connection.bytes_in,
        connection.bytes_out,
        id=getattr(connection.tag, "id", 0),
    )


def listed_link(connection: Connection) -> LinkInfo:
    """A connection as `links()` lists it: one that was dialled as the link that heals."""
    owner = getattr(connection.tag, "owner", None)
    if owner is None or owner.runner is not connection.tag:
        return link_info(connection)
    info: LinkInfo = owner.info()
    return info


def entry_info(entry: Entry) -> EndpointInfo:
    kind, realm = codes.KIND_NAMES[entry.kind], codes.REALM_NAMES[entry.realm]
    return EndpointInfo(entry.uuid, entry.name, kind, realm, entry.peer.node_id)


_CHANGES = {
    events.LINK_OPEN: "link-up",
    events.LINK_STATE: "link-state",
    events.LINK_CLOSED: "link-down",
    events.NODE_UP: "node-up",
    events.NODE_CHANGED: "node-changed",
    events.NODE_DOWN: "node-down",
    events.ENDPOINT_UP: "endpoint-up",
    events.ENDPOINT_DOWN: "endpoint-down",
    events.DUPLICATE_NODE: "duplicate-node",
}


def change_of(event: events.Event) -> Change | None:
    """An event of the core as users see it; None for one that is not about links, nodes and endpoints."""
    what = _CHANGES.get(event.kind, "")
    if isinstance(event, events.LinkEvent):
        ended = event.kind == events.LINK_CLOSED
        info = link_info(event.connection) if ended else listed_link(event.connection)
        return Change(what, info, event.code, event.text)
    if isinstance(event, events.NodeEvent):
        return Change(what, node_info(event.peer))
    if isinstance(event, events.EndpointEvent):
        return Change(what, entry_info(event.entry)) if event.entry.uuid != codes.LOOKUP else None
    if isinstance(event, events.DuplicateNodeEvent):
        return Change(what, NodeInfo(event.node_id, "", False))
    return None


def all_routes(node: Node) -> list[RouteInfo]:
    """The ways to all nodes that can be reached."""
    found = []
    for peer in node.peers():
        route, hop = peer.route, peer.hop
        found.append(
            RouteInfo(
                peer.node_id,
                peer.label,
                peer.leaf,
                hop.peer.node_id if hop is not None and hop.peer is not None else b"",
                codes.REALM_NAMES[peer.metric >> 14],
                peer.metric & 0x3FFF,
                route.distance >> 16 if route is not None and route.distance >= 0 else 0,
                len(route.offers) if route is not None else 0,
            )
        )
    return found


def hop_of(outcome: events.Outcome, rtt: float) -> Hop:
    """What one step of a trace found. Raises PayloadError for what is not the payload of TRACED."""
    payload = outcome.payload
    assert isinstance(payload, bytes)
    reader = Reader(payload, 0, len(payload))
    try:
        realm, cost, medium, label = reader.u8(), reader.varint(), reader.text8(), reader.text8()
        return Hop(outcome.node_id, label, codes.REALM_NAMES[realm], cost, medium, rtt)
    except (errors.Refusal, IndexError) as error:
        raise PayloadError(f"node {outcome.node_id.hex()} answered a trace with nonsense: {error}") from None


def all_nodes(node: Node) -> list[NodeInfo]:
    """This node first, then those that can be reached."""
    return [node_info(node.me, True)] + [node_info(peer) for peer in node.peers()]


def all_endpoints(node: Node) -> list[EndpointInfo]:
    """This node's own endpoints first, the built-in one left out, then the others'."""
    mine = [
        EndpointInfo(
            endpoint.uuid,
            endpoint.name,
            codes.KIND_NAMES[endpoint.kind],
            codes.REALM_NAMES[endpoint.realm],
            node.node_id,
        )
        for endpoint in node.endpoints()
        if endpoint.uuid != codes.INTROSPECTION
    ]
    theirs = [entry_info(entry) for entry in node.entries() if entry.uuid != codes.LOOKUP]
    return mine + theirs
