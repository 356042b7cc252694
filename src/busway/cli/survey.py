"""Asks every node of the bus for its state (docs/protocol.md, section 9). Prints nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import busway
from busway.adapters.asyncio import AsyncBus
from busway.adapters.records import NodeInfo
from busway.cli import session
from busway.cli.greeting import other_version
from busway.drivers import ipc
from busway.protocol import codes

# What became of the question.
OK = "ok"
SILENT = "no answer"
REFUSED = "refused"
BEYOND = "beyond introspection's realm"
BOARD = "leaf, answers no introspection"
UNREADABLE = "unreadable"
UNREACHED = "not reached"
OTHER_VERSION = "other version"
HARMLESS = (BEYOND, BOARD, UNREACHED)  # nothing is wrong with a node that answers so
PUBLISHER = "publisher"  # the kind of what is published to, wherever somebody subscribes to it, or nowhere

_LOOK_S = 0.02  # between looks for nodes that have not taken our link yet
_WIDER = ("localnet", "global")  # than that of the introspection endpoint
_STRANGE_S = 0.1  # who has not taken it after this is asked why

_ENDPOINT: dict[str, type] = {"endpoint": bytes, "name": str, "kind": str, "realm": str}
_COUNTS: dict[str, type] = dict.fromkeys(
    ("cost", "receivers", "origins", "queued", "taken", "dropped", "refused"), int
)
_LINK_TEXTS: dict[str, type] = dict.fromkeys(("label", "state", "realm", "address", "via"), str)
_LINK_NUMBERS: dict[str, type] = dict.fromkeys(
    ("rtt_ms", "age_ms", "bytes_in", "bytes_out", "queued_bytes"), int
)
_TABLES = {
    "links": {"peer": bytes, "dialled": bool} | _LINK_TEXTS | _LINK_NUMBERS,
    "endpoints": _ENDPOINT | _COUNTS,
    "seen": _ENDPOINT | {"node": bytes},
    "nodes": {"node": bytes, "label": str, "leaf": bool, "via": bytes, "realm": str, "children": list}
    | dict.fromkeys(("cost", "seqno", "offers"), int),
}
# What came later: a node may be older.
_OPTIONAL: dict[str, dict[str, type]] = {
    "dialled": {"peer": bytes}
    | dict[str, type].fromkeys(("url", "state", "label", "error"), str)
    | dict[str, type].fromkeys(("attempt", "next_try_ms", "losses"), int),
    "published": {"endpoint": bytes, "name": str, "sent": int},
}


def colour_of(answer: str) -> str | None:
    """How an answer is painted: red is trouble, a mere fact has no colour."""
    return "green" if answer == OK else None if answer in HARMLESS else "red"


@dataclass
class Found:
    """A node: `answer` is one of the words above, `report` what it said of itself ({} unless OK); `reason`
    a sentence about one of another version; `missed` its messages that never came to a program that listens,
    where most are missing.
    """

    info: NodeInfo
    answer: str
    report: dict[str, Any] = field(default_factory=dict)
    seconds: float = -1.0
    reason: str = ""
    missed: int = 0

    @property
    def id(self) -> bytes:
        return self.info.id

    @property
    def label(self) -> str:
        return self.info.label

    def table(self, name: str) -> list[dict[str, Any]]:
        """One of the report's lists; empty without a report."""
        rows: list[dict[str, Any]] = self.report.get(name, [])
        return rows

    def links(self, bus: AsyncBus) -> list[dict[str, Any]]:
        """The node's links, the one to this command left out."""
        return [link for link in self.table("links") if link["peer"] != bus.id]

    def nodes(self, bus: AsyncBus) -> list[dict[str, Any]]:
        """The nodes it can reach, this command left out."""
        return [row for row in self.table("nodes") if row["node"] != bus.id]

    def endpoints(self) -> list[dict[str, Any]]:
        """The node's endpoints, the built-in one left out."""
        return [row for row in self.table("endpoints") if row["endpoint"] != codes.INTROSPECTION]


async def survey(bus: AsyncBus, timeout: float, what: bytes | None = None) -> list[Found]:
    """Every node but our own, by label. Takes at most `timeout` seconds, and less if all answer. `what` is
    the payload of the question (docs/protocol.md, section 9).
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadline = began + timeout
    asked: dict[bytes, asyncio.Task[Found | None]] = {}
    async with asyncio.TaskGroup() as group:
        while True:
            for node in session.others(bus):
                if node.id not in asked:
                    asked[node.id] = group.create_task(
                        ask(bus, node, max(0.001, deadline - loop.time()), what)
                    )
            strange = {peer.node_id: peer for peer in strangers(bus) if peer.node_id not in asked}
            late = loop.time() >= min(began + _STRANGE_S, deadline)
            reasons = await _reasons(bus, strange.values()) if late else {}
            if not strange.keys() - reasons.keys() or loop.time() >= deadline:
                break
            await asyncio.sleep(_LOOK_S)
    found = [task.result() for task in asked.values()]
    known = [each for each in found if each is not None]
    others = mentioned(bus, known)
    for ident in strange:
        info = others[ident].info if ident in others else NodeInfo(ident, "", False)
        reason = reasons.get(ident, "")
        others[ident] = Found(info, OTHER_VERSION if reason else SILENT, reason=reason)
    known += others.values()
    _count_missed(known)
    return sorted(known, key=lambda each: (each.label, each.id))


def chosen(found: list[Found], wanted: str) -> list[Found]:
    """The ones that `wanted` names; all if it is ""."""
    infos = session.matching(wanted, [each.info for each in found]) if wanted else []
    return [each for each in found if not wanted or each.info in infos]


def _count_missed(found: list[Found]) -> None:
    by_id = {each.id: each for each in found}
    for row in [row for each in found for row in each.table("nodes")]:
        count = row.get("missed")  # older nodes do not say it
        if isinstance(count, int) and row["node"] in by_id:
            by_id[row["node"]].missed = max(count, by_id[row["node"]].missed)


async def ask(bus: AsyncBus, node: NodeInfo, timeout: float, what: bytes | None = None) -> Found | None:
    """One node's answer; None if it has left in the meantime. Whom the question cannot reach is not asked."""
    if session.realm_of(bus, node.id) in _WIDER:
        return Found(node, BEYOND)
    began = asyncio.get_running_loop().time()
    try:
        report = await bus.request(codes.INTROSPECTION, what, node=node.id, timeout=timeout)
    except busway.RequestTimeout:
        return Found(node, SILENT)
    except busway.PayloadError:
        return Found(node, UNREADABLE)
    except (busway.Undeliverable, busway.RemoteError):
        answer = BOARD if node.leaf else REFUSED
        return Found(node, answer) if any(node.id == each.id for each in session.others(bus)) else None
    if not well_formed(report):
        return Found(node, UNREADABLE)
    leave_out_lost(report)
    return Found(node, OK, report, asyncio.get_running_loop().time() - began)


def well_formed(report: object) -> bool:
    """Whether a report has what we read, as section 9 says. More may come."""
    if not isinstance(report, dict):
        return False
    tables = all(
        isinstance(report.get(name), list) and all(_has(row, shape) for row in report[name])
        for name, shape in (_TABLES | {name: _OPTIONAL[name] for name in _OPTIONAL if name in report}).items()
    )
    return tables and _has(report, {"counters": dict, "outstanding": int, "incarnation": bytes})


def labels_in(row: dict[str, Any]) -> list[str]:
    """The labels in a row about an endpoint; none where it has none, or its node is older."""
    labels = row.get("labels")
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []


def leave_out_lost(report: dict[str, Any]) -> None:
    """A node that has just lost its way to another one lists it for a while, as another way may be found."""
    report["nodes"] = [row for row in report["nodes"] if row["via"]]


def _has(row: object, shape: dict[str, type]) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in shape.items())


def strangers(bus: AsyncBus) -> list[ipc.Peer]:
    """Live programs on this machine that have not taken our link: stopped, busy, or of another version."""
    known = {node.id for node in session.others(bus)} | {bus.id}
    return [peer for peer in ipc.peers(bus.node.bus) if peer.node_id not in known and not _is_dead(peer.path)]


# Each is asked once: the queue of incoming connections of one that is stopped is not to be filled.
_asked_why: WeakKeyDictionary[AsyncBus, dict[bytes, str]] = WeakKeyDictionary()


async def _reasons(bus: AsyncBus, strange: Iterable[ipc.Peer]) -> dict[bytes, str]:
    """Why they cannot be joined, by node id, of those that have another version."""
    known = _asked_why.setdefault(bus, {})
    for peer in strange:
        if peer.node_id not in known:
            known[peer.node_id] = await asyncio.to_thread(other_version, peer.path)
    return {ident: reason for ident, reason in known.items() if reason}


def _is_dead(path: str) -> bool:
    try:
        return ipc.is_dead(path)
    except OSError:
        return True  # it left between two looks


def mentioned(bus: AsyncBus, found: list[Found]) -> dict[bytes, Found]:
    """Nodes that others see and we have no link to: leaves, and what is connected elsewhere."""
    known = {each.id for each in found} | {bus.id}
    more: dict[bytes, Found] = {}
    for each in found:
        for row in each.table("nodes"):
            if row["node"] not in known:
                info = NodeInfo(row["node"], row["label"], row["leaf"])
                more[info.id] = Found(info, UNREACHED)
    return more
