"""`busway nodes`, `endpoints` and `links`: what the running programs say of themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.options import Examples, Place, joins, json_option, node_option, timeout_option
from busway.cli.selecting import is_meant, where_option
from busway.cli.survey import (
    OTHER_VERSION,
    PUBLISHER,
    SILENT,
    Found,
    chosen,
    colour_of,
    labels_in,
    survey,
)
from busway.cli.tree import show_tree

if TYPE_CHECKING:
    from busway.selectors import Selector

Show = Callable[["AsyncBus", "list[Found]", bool, bool], None]  # the last two: everything wanted, as JSON

_ONLY = "Only this node: a label, or the beginning of an id or label."
_PATIENCE = "How long to wait for the nodes' answers, in seconds; those without are listed as such."


@click.command(cls=Examples)
@click.option("--tree", is_flag=True, help="As a tree: who is reached through whom, from one node.")
@node_option(_ONLY + " With --tree: where it begins.")
@timeout_option(2.0, _PATIENCE)
@json_option("One JSON document: a list of nodes.")
@joins
def nodes(place: Place, tree: bool, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway nodes
      busway nodes --bus plant --json | jq -r '.[].label'
      busway nodes -n readings
      busway nodes --tree

    Listed are the running programs, this command not among them. ANSWER is "ok"; "no answer" (stopped, or
    too busy); "other version" (of the protocol: update the older one); "beyond introspection's realm" (a link
    on the way leaves this machine, and state is told to programs on it only); "leaf, answers no
    introspection" (a board); "refused" (another program that tells none); "not reached" (another node sees
    it, this command does not: short-lived programs, or nodes connected elsewhere).
    SHARED, where a node shares memory with others of this machine, is how much, that of its registries too;
    HELD how many pieces of it others have (--json has more of it, as memory, and as things how many open
    files and regions wait there).
    MISSED counts messages of the node that never came to a program which listens (the most at any one): lost
    on the way, or for want of room never sent, as a board's when `publish` returns False.
    Exit status 3 if a node gave no answer or has another version, 1 if --node matches none.
    """
    if tree:
        return show_tree(place, node, timeout, as_json)
    return look(place, "nodes", node, timeout, as_json, _show_nodes)


@click.command(cls=Examples)
@where_option("Only what a selector means, such as 'renderer and not codec'.")
@node_option(_ONLY)
@timeout_option(2.0, _PATIENCE)
@json_option("One JSON document: a list of endpoints.")
@joins
def endpoints(place: Place, where: Selector | None, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway endpoints
      busway endpoints -n readings --json
      busway endpoints --where 'renderer or name:render/*'

    Counted since each node started: TAKEN by the program, DROPPED by the queue's policy.
    LABELS says what endpoints are, where some have labels.
    Exit status 3 if a node gave no answer, 1 if --node matches none.
    """
    return look(place, "endpoints", node, timeout, as_json, partial(_show_endpoints, where))


@click.command(cls=Examples)
@click.option("-a", "--all", "both", is_flag=True, help="Both ends of every link.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and tell what changes.")
@node_option(_ONLY)
@timeout_option(2.0, _PATIENCE)
@json_option("One JSON document: a list of links.")
@joins
def links(place: Place, both: bool, watch: bool, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway links
      busway links --all --json
      busway links -n readings
      busway links --watch

    A link is listed once, as the node sees it that opened it; with --all or --node once for each end.
    One that a program dials again and again is listed as connecting or reconnecting, with the next attempt
    and the last error. With --watch the links are listed once, then each that comes, goes or changes its
    state, until interrupted (with --json one document a line).
    PROVED is what the other side has proved to NODE: "local" (a program of the same user: the system says
    so), "key NAME" (one of the trust file), "board key NAME", "token", or "open" (nothing; --json has the key
    also of one that is not trusted).
    SHARED, where there are links within this machine, says of what NODE sends over it: "yes" (open files, and
    large payloads in memory that both sides see), "files" (open files, and payloads as bytes: it shares no
    memory, by shared_memory=False or for want of any), or "no" (bytes alone); --all tells what PEER sends.
    THINGS counts the files and regions that came so and that NODE's program has not taken yet.
    This command's own links are left out. Exit status 3 if a node gave no answer, 1 if --node matches none.
    """
    if watch:
        return watch_links(place, node, timeout, both, as_json)

    def show(bus: AsyncBus, found: list[Found], chosen: bool, as_json: bool) -> None:
        _show_links(bus, found, chosen or both, as_json)

    return look(place, "links", node, timeout, as_json, show)


def look(
    place: Place,
    command: str,
    wanted: str,
    timeout: float,
    as_json: bool,
    show: Show,
    what: bytes | None = None,
) -> int:
    """Ask all nodes, and show those that are wanted; `what` as of survey."""

    async def job(bus: AsyncBus) -> int:
        everyone = await survey(bus, timeout, what)
        found = chosen(everyone, wanted)
        if wanted and not found:
            raise session.no_such_node(wanted, [each.info for each in everyone])
        show(bus, found, bool(wanted), as_json)
        silent = [output.node_text(each.id, each.label) for each in found if each.answer == SILENT]
        if silent:
            output.note(f"no answer within {timeout:g} s from {', '.join(silent)}")
        strange = [each for each in found if each.answer == OTHER_VERSION]
        for each in strange:
            output.note(f"node {output.node_text(each.id, each.label)} {each.reason}")
        return failures.UNKNOWN if silent or strange else failures.OK

    return session.run(place, command, job)


# Nodes


def _show_nodes(bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool) -> None:
    documents = [_node_document(bus, each) for each in found]
    headings = ["NODE", "ID", "ROLE", ">LINKS", ">ENDPOINTS", ">MISSED", ">RTT", "ANSWER"]
    rows = [_node_row(bus, each) for each in found]
    if any(_shares(each) for each in found):
        headings += [">SHARED", ">HELD"]
        rows = [(*row, *_memory_row(each)) for row, each in zip(rows, found, strict=True)]
    output.listing(documents, as_json, f"no programs on bus {bus.node.bus!r}", headings, rows, colour_of)


def _shares(found: Found) -> bool:
    """Whether a node has memory in which others see something of it."""
    return _shared_memory(found)[0] > 0


def _memory_row(found: Found) -> tuple[object, ...]:
    size, held = _shared_memory(found)
    return ("-", "-") if size < 0 else (output.size_text(size), held)


def _shared_memory(found: Found) -> tuple[int, int]:
    """Bytes of what a node put payloads into and of its process's registries, and how many pieces of that
    others have; -1: it does not say.
    """
    memory = found.report.get("memory") if found.report else None  # older nodes do not say it
    if not isinstance(memory, dict) or "size" not in memory:
        return -1, 0
    return memory["size"] + memory.get("registries", 0), memory["held"] + memory.get("registries_held", 0)


def _node_row(bus: AsyncBus, found: Found) -> tuple[object, ...]:
    known = bool(found.report)
    return (
        found.label or "?",
        found.id.hex()[:8],
        "leaf" if found.info.leaf else "router",
        len(found.links(bus)) if known else "-",
        len(found.endpoints()) if known else "-",
        found.missed,
        f"{found.seconds * 1000:.2f} ms" if known else "-",
        found.answer,
    )


def _node_document(bus: AsyncBus, found: Found) -> dict[str, object]:
    report = found.report
    document: dict[str, object] = {
        "id": output.uuid_text(found.id),
        "label": found.label,
        "leaf": found.info.leaf,
        "answer": found.answer,
        "missed": found.missed,
    }
    if report:
        document |= {
            "incarnation": report["incarnation"],
            "links": len(found.links(bus)),
            "endpoints": len(found.endpoints()),
            "outstanding": report["outstanding"],
            "rtt_ms": round(found.seconds * 1000, 3),
            "counters": report["counters"],
            "memory": report.get("memory"),  # older nodes do not say these two
            "things": report.get("things"),
        }
    return document


# Endpoints

_COUNTS = ("cost", "receivers", "origins", "queued", "taken", "dropped", "refused")


def _show_endpoints(
    where: Selector | None, bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool
) -> None:
    documents = [document for each in found for document in _endpoint_documents(bus, found, each)]
    if where is not None:
        documents = [document for document in documents if is_meant(where, document)]
    documents.sort(key=lambda row: (row["name"] or row["id"], row["label"], row["node"]))
    meant = "" if where is None else f" that {str(where)!r} means"
    nothing = f"no endpoints are known{meant} on bus {bus.node.bus!r}"
    headings = ["ENDPOINT", "KIND", "REALM", "NODE", ">RECEIVERS", ">QUEUED", ">TAKEN", ">DROPPED"]
    rows = [_endpoint_row(document) for document in documents]
    labels = [", ".join(document.get("labels", ())) for document in documents]
    if any(labels):
        headings.append("LABELS")
        rows = [(*row, text) for row, text in zip(rows, labels, strict=True)]
    output.listing(documents, as_json, nothing, headings, rows)


def _endpoint_documents(bus: AsyncBus, everyone: list[Found], found: Found) -> list[dict[str, Any]]:
    """From the node itself; of one that does not answer, what others know of it."""
    rows = found.endpoints() if found.report else _known_endpoints(bus, everyone, found)
    return [
        {
            "id": output.uuid_text(row["endpoint"]),
            "name": row["name"],
            "kind": row["kind"],
            "realm": row["realm"],
            "node": output.uuid_text(found.id),
            "label": found.label,
            **{name: row[name] for name in (*_COUNTS, "sent") if name in row},
            **({"labels": labels} if (labels := labels_in(row)) else {}),
        }
        for row in [*rows, *_published(found)]
    ]


def _published(found: Found) -> list[dict[str, Any]]:
    """The rows of what a node publishes."""
    return [row | {"kind": PUBLISHER, "realm": "-"} for row in found.table("published")]


def _known_endpoints(bus: AsyncBus, everyone: list[Found], found: Found) -> list[dict[str, Any]]:
    rows = {
        row["endpoint"]: row for each in everyone for row in each.table("seen") if row["node"] == found.id
    }
    for info in session.overview(bus).endpoints:
        if info.node == found.id:
            rows[info.id] = {
                "endpoint": info.id,
                "name": info.name,
                "kind": info.kind,
                "realm": info.realm,
                "labels": list(info.labels),
            }
    return list(rows.values())


def _endpoint_row(row: dict[str, Any]) -> tuple[object, ...]:
    who = f"{row['label'] or '?'} {row['node'][:8]}"
    counts = (row.get(name, "-") for name in ("receivers", "queued", "taken", "dropped"))
    return (row["name"] or row["id"], row["kind"], row["realm"], who, *counts)


# Links


def _show_links(bus: AsyncBus, found: list[Found], both: bool, as_json: bool) -> None:
    documents = link_documents(bus, found, both)
    headings = [
        "NODE",
        "PEER",
        "STATE",
        "REALM",
        "PROVED",
        "OVER",
        ">RTT",
        ">AGE",
        ">SENT",
        ">RECEIVED",
        ">QUEUED",
    ]
    rows = [_link_row(link) for link in documents]
    if any(link.get("aside") for link in documents):
        headings += ["SHARED", ">THINGS"]
        rows = [(*row, *_aside_row(link)) for row, link in zip(rows, documents, strict=True)]
    notes = [link_note(link) for link in documents]
    if any(notes):
        headings.append("NOTE")
        rows = [(*row, note) for row, note in zip(rows, notes, strict=True)]
    output.listing(documents, as_json, f"no links are known on bus {bus.node.bus!r}", headings, rows)


def link_documents(bus: AsyncBus, found: list[Found], both: bool) -> list[dict[str, Any]]:
    """Every link once, or with `both` from each end; those that are dialled and not connected at the end."""
    answered = {each.id for each in found if each.report}
    documents = [
        _link_document(each, link)
        for each in found
        for link in each.links(bus)
        if both or link["dialled"] or link["peer"] not in answered
    ]
    return documents + [
        _link_document(each, _NOT_CONNECTED | link | {"address": link["url"]})
        for each in found
        for link in each.table("dialled")
        if link["state"] != "connected"
    ]


_NOT_CONNECTED = {"realm": "-", "via": "", "dialled": True, "rtt_ms": -1, "age_ms": -1} | dict.fromkeys(
    ("bytes_in", "bytes_out", "queued_bytes"), 0
)


def link_note(link: dict[str, Any]) -> str:
    """Of a link that is dialled again: which attempt, when the next one begins, and what went wrong; of one
    that stands what was lost for want of room.
    """
    if "attempt" not in link:
        dropped = link.get("dropped_answers")  # older nodes do not say it
        return f"{dropped:,} answers dropped" if isinstance(dropped, int) and dropped else ""
    wait = link["next_try_ms"]
    when = "under way" if wait < 0 else f"next in {wait / 1000:.1f} s"
    error = f": {link['error']}" if link["error"] else ""
    return f"attempt {link['attempt']}, {when}{error}"


def _aside_row(link: dict[str, Any]) -> tuple[object, ...]:
    """Word for what goes over it beside bytes, and how many files and regions wait here that came so."""
    if "shared" not in link:  # of older nodes, and of a link that is not there
        return "-", "-"
    return link["shared"], link["things"] if link["aside"] else "-"


def _shared(found: Found, link: dict[str, Any]) -> str:
    """Word for what a node sends over a link beside bytes, by what it says of itself."""
    if not link["aside"]:
        return "no"
    memory = found.report.get("memory")
    return "yes" if isinstance(memory, dict) and memory.get("size_max") else "files"


def _link_document(found: Found, link: dict[str, Any]) -> dict[str, Any]:
    ends = {
        "node": output.uuid_text(found.id),
        "label": found.label,
        "peer": output.uuid_text(link["peer"]),
        "peer_label": link["label"],
    }
    shared = {"shared": _shared(found, link)} if "aside" in link else {}
    return ends | {name: value for name, value in link.items() if name not in ends} | shared


def proved_text(link: dict[str, Any]) -> str:
    """The proof of the other side, in a word: a trusted key or board by its name, a token, or nothing."""
    words = [link.get(name) for name in ("protection", "trusted")]  # older nodes do not say it
    return " ".join(word for word in words if isinstance(word, str) and word) or "-"


def _state_text(link: dict[str, Any]) -> str:
    """A board that announced a sleep does not answer, and is not gone."""
    asleep = link.get("asleep_ms")  # older nodes do not say it
    if isinstance(asleep, int) and asleep >= 0:
        return f"asleep for {output.duration_text(asleep)}"
    return str(link["state"])


def _link_row(link: dict[str, Any]) -> tuple[object, ...]:
    return (
        f"{link['label'] or '?'} {link['node'][:8]}",
        f"{link['peer_label'] or '?'} {link['peer'][:8]}",
        _state_text(link),
        link["realm"],
        proved_text(link),
        link["via"] or link["address"],
        output.duration_text(link["rtt_ms"]),
        output.duration_text(link["age_ms"]),
        output.size_text(link["bytes_out"]),
        output.size_text(link["bytes_in"]),
        output.size_text(link["queued_bytes"]),
    )


_EVERY_S = 0.5  # between two looks; a state that lasts less may not be seen
_GONE = "gone"


def watch_links(place: Place, wanted: str, timeout: float, both: bool, as_json: bool) -> int:
    """List the links, then each that changes. Joins as a full node, so as to see who comes."""

    async def job(bus: AsyncBus) -> int:
        before: dict[tuple[str, ...], dict[str, Any]] = {}
        while True:
            found = chosen(await survey(bus, timeout), wanted)
            now = {_key(link): link for link in link_documents(bus, found, both or bool(wanted))}
            for key, link in now.items():
                if key not in before or _looks(before[key]) != _looks(link):
                    _tell(link, as_json)
            for key, link in before.items():
                if key not in now:
                    _tell(link | {"state": _GONE}, as_json)
            before = now
            await asyncio.sleep(_EVERY_S)

    return session.run(place, "links", job, leaf=False, endless=True)


def _key(link: dict[str, Any]) -> tuple[str, ...]:
    """The part of a link that stays while it is lost and comes back."""
    return (link["node"], link["address"], link["peer"] if not link["address"] else "", str(link["dialled"]))


def _looks(link: dict[str, Any]) -> tuple[object, ...]:
    return (link["state"], link["peer"], link.get("attempt"), link.get("error"))


def _tell(link: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.say_json({"time": round(time.time(), 3)} | link)
        return
    ends = f"{link['label'] or '?'} {link['node'][:8]}  {link['peer_label'] or '?'} {link['peer'][:8]}"
    rtt = f"  rtt {output.duration_text(link['rtt_ms'])}" if link["rtt_ms"] >= 0 else ""
    note = link_note(link) if link["state"] != _GONE else ""
    line = f"{output.clock_text()}  {link['state']:12}  {ends}  {link['address']}{rtt}  {note}"
    output.say(output.printable(line.rstrip()))
