"""The tap: what a program says, told to programs of the same user that ask for it, as `busway listen --all`.

Who asks holds the anycast endpoint "busway/tap" in realm userspace. Nothing is done while nobody does: then
the bus calls the core itself. While somebody does, it calls it by way of `Tapped`, which tells each watcher,
and never waits for one: what a watcher has no credit for is counted instead.
"""

from __future__ import annotations

import os
from typing import Any, cast

from busway.adapters.arguments import check_flag
from busway.adapters.literal import name_of
from busway.adapters.making import dump_cbor
from busway.protocol import Node, Peer, Request, codes, errors, events

TAP_NAME = "busway/tap"
TAP = bytes.fromhex("b213e0abeb5256cb8ac758333ebcdcaf")  # endpoint_id(TAP_NAME)
PAYLOAD_MAX = 4096
"""Bytes of a payload that a watcher is shown."""


def is_allowed(wanted: bool | None) -> bool:
    """Whether a bus may be tapped: as its program says, else unless BUSWAY_TAP is 0."""
    if wanted is None:
        return os.environ.get("BUSWAY_TAP", "") != "0"
    check_flag("tap", wanted)
    return wanted


def watchers(node: Node) -> list[Peer]:
    """The nodes that ask and may: programs of the same user, by a way that no other sees."""
    uplink = node.mesh.uplink
    if node.leaf and (uplink is None or uplink.realm > codes.USERSPACE):
        return []
    return [
        entry.peer
        for entry in node.directory.holders(TAP)
        if entry.kind == codes.ANYCAST
        and entry.realm == codes.USERSPACE
        and entry.peer.metric >> 14 <= codes.USERSPACE
    ]


def noticed(host: Any, event: events.Event) -> None:
    """Something changed in the directory: somebody may have begun to ask, or ended."""
    if not isinstance(event, events.EndpointEvent) or event.entry.uuid != TAP or not host.may_tap:
        return
    tapped = isinstance(host.node, Tapped)
    real = host.node.real if tapped else host.node
    if bool(watchers(real)) == tapped:
        return
    host.node = real if tapped else Tapped(real)


_NORMAL = codes.NORMAL


class Tapped:
    """A core's node, and a word to the watchers of each message that it has taken."""

    def __init__(self, real: Node) -> None:
        self.real = real
        self._lost: dict[bytes, int] = {}  # records that a watcher had no room for, by its node

    def __repr__(self) -> str:
        return repr(self.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def send(
        self, endpoint: bytes, payload: Any, now: int, format: int = 0, type_id: bytes = b"", **options: Any
    ) -> int:
        token = self.real.send(endpoint, payload, now, format, type_id, **options)
        what = "confirmed send" if options.get("confirm") else "send"
        to = self._holder(endpoint, options)
        self._tell(what, endpoint, payload, now, format, type_id, to, options.get("priority", _NORMAL))
        return token

    def publish(
        self, endpoint: bytes, payload: Any, now: int, format: int = 0, type_id: bytes = b"", **options: Any
    ) -> int:
        token = self.real.publish(endpoint, payload, now, format, type_id, **options)
        priority = options.get("priority", _NORMAL)
        self._tell("publish", endpoint, payload, now, format, type_id, b"", priority)
        return token

    def request(
        self, endpoint: bytes, payload: Any, now: int, format: int = 0, type_id: bytes = b"", **options: Any
    ) -> int:
        token = self.real.request(endpoint, payload, now, format, type_id, **options)
        to = self._holder(endpoint, options)
        self._tell("request", endpoint, payload, now, format, type_id, to, options.get("priority", _NORMAL))
        return token

    def respond(
        self, request: Request, payload: Any, now: int, format: int = 0, type_id: bytes = b"", **options: Any
    ) -> int:
        token = self.real.respond(request, payload, now, format, type_id, **options)
        self._tell(
            "reply", request.endpoint, payload, now, format, type_id, request.source, request.flow.lane()
        )
        return token

    def respond_part(
        self, request: Request, payload: Any, now: int, format: int = 0, type_id: bytes = b"", **options: Any
    ) -> int:
        token = self.real.respond_part(request, payload, now, format, type_id, **options)
        self._tell(
            "part", request.endpoint, payload, now, format, type_id, request.source, request.flow.lane()
        )
        return token

    def respond_end(self, request: Request, now: int) -> int:
        token = self.real.respond_end(request, now)
        self._tell("end", request.endpoint, b"", now, codes.RAW, b"", request.source, request.flow.lane())
        return token

    def respond_error(self, request: Request, code: int, text: str, now: int) -> int:
        token = self.real.respond_error(request, code, text, now)
        data, lane = text.encode(), request.flow.lane()
        self._tell(f"error {code}", request.endpoint, data, now, codes.RAW, b"", request.source, lane)
        return token

    def _holder(self, endpoint: bytes, options: dict[str, Any]) -> bytes:
        """The node it goes to, if that is known: of several holders one is chosen by the core."""
        holders = self.real.directory.holders(endpoint)
        mine = endpoint in self.real.receiving.endpoints
        if options.get("node_id") or mine or len(holders) != 1:
            return cast(bytes, options.get("node_id")) or (self.real.node_id if mine else b"")
        return holders[0].peer.node_id

    def _name(self, endpoint: bytes) -> str:
        mine = self.real.receiving.endpoints.get(endpoint)
        if mine is not None:
            return mine.name
        holders = self.real.directory.holders(endpoint)
        return (holders[0].name if holders else "") or name_of(endpoint)

    def _tell(
        self,
        what: str,
        endpoint: bytes,
        payload: Any,
        now: int,
        format: int,
        type_id: bytes,
        to: bytes,
        priority: int,
    ) -> None:
        asking = watchers(self.real)
        if not asking or format == codes.OBJECT or endpoint == codes.INTROSPECTION:
            return  # an object is for this process only
        peer = self.real.me if to == self.real.node_id else self.real.routes.peers.get(to)
        record: dict[str, object] = {
            "what": what,
            "endpoint": endpoint,
            "name": self._name(endpoint),
            "from_label": self.real.label,
            "to": to,
            "to_label": "" if peer is None else peer.label,
            "size": len(payload),
            "format": format,
            "type": type_id,
            "payload": bytes(payload[:PAYLOAD_MAX]),
            "priority": codes.PRIORITY_NAMES[priority & 3],
        }
        if len(self._lost) > len(asking):  # some have left
            there = {watcher.node_id for watcher in asking}
            self._lost = {id: count for id, count in self._lost.items() if id in there}
        for watcher in asking:
            id = watcher.node_id
            record["lost"] = self._lost.get(id, 0)
            try:
                self.real.send(TAP, dump_cbor(record), now, codes.CBOR, node_id=id, wait=False)
                self._lost.pop(id, None)
            except errors.LocalError:  # it reads too slowly, or goes just now
                self._lost[id] = self._lost.get(id, 0) + 1
