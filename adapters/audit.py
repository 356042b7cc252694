"""The audit trail of a bus: who came, went and was refused, what was denied, and whose share was exceeded, as
records that are kept, logged ("busway.audit") and told to those who watch.

What is in a record others have chosen in part: all of it is escaped and cut. They may also cause records
without end: so of those alike only so many are told, and now and then how many were not.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, cast

from busway.adapters.audit_records import LOGGER, Fields, Line, Record, Value, safe
from busway.adapters.identity import Identity
from busway.adapters.incoming import origin_of
from busway.adapters.making import dump_cbor
from busway.adapters.protecting import LOCAL
from busway.adapters.sampling import FairSampler
from busway.adapters.views import protection
from busway.names import ascii_safe, uuid_text
from busway.protocol import Connection, Node, codes, errors, events
from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.routing.directory import conflict
from busway.protocol.routing.peers import Entry, Peer

AUDIT_NAME: Final = "busway/audit"
"""Broadcast, of realm userspace: {"time": seconds, "what": text, "fields": map}, as in section 9 of
docs/protocol.md."""

KEPT_MAX: Final = 64
VISIT_MS: Final = 60_000
"""Programs of this user that came as leaves and left within this time, as commands do, are counted together
among what is kept."""
LEFT_OUT_S: Final = 600.0
# How many alike are told at once, and how long after that the next one, in ms: of what programs of this user
# and those who have proved something do, and of what strangers do. These fill no disk (docs/howto/audit.md).
KNOWN: Final = (200, 6_000)
STRANGERS: Final = (50, 60_000)
_ENDPOINT = bytes.fromhex("d1fbfe36640f504fa2f673c7f0246481")  # endpoint_id(AUDIT_NAME)

Sort = tuple[str, str, str]  # what happened, what of it (one of few words), and whose doing it was


class Host(Protocol):
    """A bus as its trail needs it."""

    node: Node
    identity: Identity

    @property
    def loop(self) -> Any: ...
    def now_ms(self) -> int: ...
    def say(self, line: Callable[[], object]) -> None: ...


class Trail:
    """The records of one bus. `kept` are the latest, of each sort some."""

    def __init__(self, host: Host) -> None:
        self.kept: list[tuple[Sort, Record]] = []
        self._counts: dict[Sort, int] = {}  # of those
        self._visits = 0
        self._host = host
        self._samplers: dict[Sort, FairSampler] = {}
        self._left_out: dict[Sort, int] = {}
        self._armed = False
        self._over = False

    def rows(self) -> list[dict[str, object]]:
        """All that is kept, the oldest first."""
        return [record.row() for _, record in self.kept]

    # What happens

    def noticed(self, event: events.Event) -> None:
        """The core tells something: it may be one of those that matter here."""
        note = _NOTES.get(event.kind)
        if note is not None:
            note(self, event)

    def refused(self, listener: str, address: str, text: str) -> None:
        """Note that one who came to a listener did not get as far as a link of the bus: TLS or WebSocket was
        in the way.
        """
        error = "OPENING"
        fields: Fields = {"address": address, "listener": listener, "error": error, "text": text}
        self._note("refusal", error, fields, address=address)

    def exceeded(self, quota: str, address: str, connection: Connection | None = None, **more: Value) -> None:
        """More than there is room for came: of that quota, from there, over that link if it is one."""
        fields: Fields = {"quota": quota, "address": address, **_link(connection), **more}
        self._note("quota", quota, fields, connection, address)

    def _link_opened(self, event: Any) -> None:
        connection = cast(events.LinkEvent, event).connection
        assert connection.peer is not None
        role = "leaf" if connection.peer.leaf else "router"
        self._note("join", "", {}, connection, late=lambda: {**_link(connection), "role": role})

    def _link_closed(self, event: Any) -> None:
        """It ended, or it never was open."""
        happened = cast(events.LinkEvent, event)
        connection, code = happened.connection, happened.code
        late = partial(self._end_of, happened)
        if connection.opened_at >= 0:
            what = "displaced" if code == codes.REPLACED else "leave"
            visit = code == codes.GOODBYE and self._is_visit(connection)
            if visit:
                self._count_visit(_number_of(connection))
            self._note(what, _name_of(code), {}, connection, kept=not visit, late=late)
        elif code == codes.MESH_FULL and not happened.by_peer:
            self.exceeded("links", connection.link.address, connection)
        elif code != codes.GOODBYE:
            self._note("refusal", _name_of(code), {}, connection, late=late)

    def _end_of(self, happened: events.LinkEvent) -> Fields:
        """How a link ended, and what there was of it if it was open."""
        connection, code = happened.connection, happened.code
        by = "" if code == codes.LOST else "peer" if happened.by_peer else "here"
        fields: Fields = {**_link(connection), **_error(code, happened.text), "by": by}
        if connection.opened_at >= 0:
            fields["seconds"] = round((self._host.now_ms() - connection.opened_at) / 1000, 3)
            fields |= {"bytes_in": connection.bytes_in, "bytes_out": connection.bytes_out}
        return fields

    def _is_visit(self, connection: Connection) -> bool:
        """Whether it was a command of this user's, or a program as short."""
        peer, lasted = connection.peer, self._host.now_ms() - connection.opened_at
        return connection.link.medium in LOCAL and peer is not None and peer.leaf and lasted < VISIT_MS

    def _count_visit(self, link: object) -> None:
        """One more: in place of its coming and its going."""
        self._visits += 1
        self.kept = [
            each
            for each in self.kept
            if each[0] != _VISITS and (each[1].what != "join" or each[1].fields.get("link") != link)
        ]
        self._counts = dict(Counter(sort for sort, _ in self.kept))
        fields: Fields = {"visits": self._visits, "whose": "local", "text": _VISITS_TEXT}
        self._keep(_VISITS, Record(round(time.time(), 3), "leave", fields))

    def _exceeded(self, event: Any) -> None:
        happened = cast(events.ExceededEvent, event)
        connection = cast(Connection, happened.link)
        self.exceeded(codes.QUOTA_NAMES[happened.which], connection.link.address, connection)

    def _denied(self, event: Any) -> None:
        happened = cast(events.DeniedEvent, event)
        connection, action = cast(Connection, happened.link), codes.MAY_NAMES[happened.what]
        peer = self._host.node.routes.peers.get(happened.node_id)
        realm = codes.REALM_NAMES[happened.realm]
        fields: Fields = {
            "action": action,
            "name": happened.name,
            "endpoint": uuid_text(happened.uuid),
            "realm": realm,
            **_link(connection),
        }
        neighbour, label = fields.pop("peer", ""), fields.pop("peer_label", "")  # may be others than it
        known = "" if peer is None else peer.label
        if neighbour == uuid_text(happened.node_id):
            known = known or str(label)  # it may have left right behind its message
        fields |= _of(happened.node_id, known)
        self._note("denial", action, fields, connection, peer=peer, late=lambda: self._why(happened))

    def _why(self, denied: events.DeniedEvent) -> Fields:
        """The rule that decided, which takes long to find where there are many."""
        permissions = self._host.identity.permissions
        if permissions is None:
            return {}
        link, node_id, what = denied.link, denied.node_id, denied.what
        return {"why": permissions.why(link, node_id, what, denied.uuid, denied.name, denied.realm)}

    def _endpoint_up(self, event: Any) -> None:
        """Another node may have a name of ours, which we keep."""
        entry = cast(events.EndpointEvent, event).entry
        mine = self._host.node.receiving.endpoints.get(entry.uuid)
        if mine is None or entry.peer is self._host.node.me or mine.realm != entry.realm:
            return
        if conflict(mine.kind, entry.kind):
            self._conflict(mine, entry.peer, "here")

    def _receiver_taken(self, event: Any) -> None:
        endpoint = cast(events.ReceiverEvent, event).receiver.endpoint
        holders: list[Entry] = self._host.node.directory.holders(endpoint.uuid)
        self._conflict(endpoint, holders[0].peer if holders else None, "peer")

    def _receiver_back(self, event: Any) -> None:
        self._conflict(cast(events.ReceiverEvent, event).receiver.endpoint, None, "here")

    def _conflict(self, endpoint: Endpoint, peer: Peer | None, keeper: str) -> None:
        """Two hold a name that one may hold; `keeper` does."""
        connection = None if peer is None else peer.hop
        fields: Fields = {
            "about": "name",
            "name": endpoint.name,
            "endpoint": uuid_text(endpoint.uuid),
            "realm": codes.REALM_NAMES[endpoint.realm],
            "keeper": keeper,
            **({} if peer is None else _of(peer.node_id, peer.label)),
        }
        self._note("conflict", "name", fields, cast("Connection | None", connection), peer=peer)

    def _duplicate(self, event: Any) -> None:
        fields: Fields = {
            "about": "id",
            "peer": uuid_text(event.node_id),
            "text": "two live nodes have this id",
        }
        self._note("conflict", "id", fields)

    # What becomes of it

    def _note(
        self,
        what: str,
        detail: str,
        fields: Fields,
        connection: Connection | None = None,
        address: str = "",
        peer: Peer | None = None,
        kept: bool = True,
        late: Callable[[], Fields] | None = None,
    ) -> None:
        """One more record, if there are not too many alike: `detail` is one of few words; `address` is where
        it comes from, if that is not the link's; `peer` the node that causes it, if that may be another than
        the neighbour; `kept` whether it is among the latest; `late` gives more fields if it is told.
        """
        if connection is not None:
            address = connection.link.address
        whose, source = _whose(connection, address, peer)
        key = (what, detail, whose)
        sampler = self._samplers.get(key)
        if sampler is None:
            sampler = self._samplers[key] = FairSampler(*(STRANGERS if whose == "strangers" else KNOWN))
        if sampler.take(source, self._host.now_ms()):
            self._tell(key, fields if late is None else fields | late(), kept)
            return
        self._left_out[key] = self._left_out.get(key, 0) + 1
        if not self._armed and not self._over:
            self._armed = True
            self._host.loop.call_later(LEFT_OUT_S, self.tell_left_out)

    def tell_left_out(self) -> None:
        """How many were not told of late."""
        self._armed = False
        left_out, self._left_out = self._left_out, {}
        for (what, detail, whose), count in left_out.items():
            about: Fields = {_DETAILS[what]: detail} if detail else {}
            self._tell((what, detail, whose), about | {"whose": whose, "left_out": count})

    def close(self) -> None:
        """Nothing more will happen."""
        self._over = True
        self.tell_left_out()

    def _tell(self, key: Sort, fields: Fields, kept: bool = True) -> None:
        record = Record(round(time.time(), 3), key[0], {name: safe(fields[name]) for name in fields})
        if kept:
            self._keep(key, record)
        node = self._host.node
        if LOGGER.isEnabledFor(logging.INFO):
            self._host.say(Line(record, uuid_text(node.node_id), ascii_safe(node.label)))
        if any(map(_watches, node.directory.holders(_ENDPOINT))):
            now = self._host.now_ms()
            try:
                node.publish(
                    _ENDPOINT, dump_cbor(record.row()), now, codes.CBOR, wait=False, realm=codes.USERSPACE
                )
            except errors.LocalError:  # it reads too slowly, or this node is closed
                pass

    def _keep(self, key: Sort, record: Record) -> None:
        """The sort of which there are most gives way: a flood takes no place from others."""
        counts = self._counts
        if len(self.kept) >= KEPT_MAX:
            most = max(counts.values())
            sort, _ = self.kept.pop(
                next(at for at, (each, _) in enumerate(self.kept) if counts[each] == most)
            )
            counts[sort] -= 1
            if not counts[sort]:
                del counts[sort]
        counts[key] = counts.get(key, 0) + 1
        self.kept.append((key, record))


_VISITS: Final = ("leave", "visits", "local")
_VISITS_TEXT: Final = "short commands of this user have come and gone: so many since this program started"
_NOTES: dict[int, Callable[[Trail, Any], None]] = {
    events.LINK_OPEN: Trail._link_opened,
    events.LINK_CLOSED: Trail._link_closed,
    events.EXCEEDED: Trail._exceeded,
    events.DENIED: Trail._denied,
    events.ENDPOINT_UP: Trail._endpoint_up,
    events.RECEIVER_TAKEN: Trail._receiver_taken,
    events.RECEIVER_BACK: Trail._receiver_back,
    events.DUPLICATE_NODE: Trail._duplicate,
}
# What a record's detail is called in its fields.
_DETAILS = {
    "leave": "error",
    "refusal": "error",
    "displaced": "error",
    "quota": "quota",
    "denial": "action",
    "conflict": "about",
}


def _whose(connection: Connection | None, address: str, peer: Peer | None) -> tuple[str, str]:
    """The cause of it: programs of this user ("local"), those who have proved a key or token of this side
    ("known"), or others ("strangers"); and which of them.
    """
    if peer is not None and connection is not None and peer.metric >> 14 > connection.realm:
        return "strangers", uuid_text(peer.node_id)  # of another machine, behind a program of this one
    medium = address.partition(":")[0] if connection is None else connection.link.medium
    if medium in LOCAL:
        return "local", ""
    if connection is None:
        return "strangers", origin_of(address)
    proved = protection(connection)
    known = bool(proved.trusted) or proved.how in ("board key", "token")
    return "known" if known else "strangers", proved.trusted or origin_of(address)


def _link(connection: Connection | None) -> Fields:
    """A link as records have it; what is not known is left out."""
    if connection is None:
        return {}
    peer, proved = connection.peer, protection(connection)
    found: Fields = {
        "link": _number_of(connection),
        "address": connection.link.address,
        "dialled": connection.link.dialled,
    }
    listeners = getattr(connection.tag, "listeners", ())
    if listeners and connection.link.medium not in LOCAL:
        found["listener"] = listeners[-1]
    if peer is not None:
        found |= _of(peer.node_id, peer.label)
    if connection.opened_at >= 0:
        found |= {"realm": codes.REALM_NAMES[connection.realm], "protection": proved.how}
    found |= {name: value for name, value in (("trusted", proved.trusted), ("key", proved.key)) if value}
    return found


def _number_of(connection: Connection) -> int:
    """Of the link, as users tell links apart; 0 of one that was given up."""
    found: int = getattr(connection.tag, "id", 0)
    return found


def _of(node_id: bytes, label: str) -> Fields:
    """A node as records have it."""
    return {"peer": uuid_text(node_id), "peer_label": label} if label else {"peer": uuid_text(node_id)}


def _error(code: int, text: str) -> Fields:
    return {"code": code, "error": _name_of(code), "text": text}


def _name_of(code: int) -> str:
    """One of few names: a peer may end a link with any number."""
    return codes.LINK_ERROR_NAMES.get(code, "OTHER")


def _watches(entry: Entry) -> bool:
    """Whether it is a program of the same user that has subscribed, by a way that no other sees."""
    way = entry.peer.metric >> 14
    return entry.kind == codes.BROADCAST and entry.realm == codes.USERSPACE and way <= codes.USERSPACE
