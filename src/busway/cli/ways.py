"""`busway routes` and `busway trace`: which way messages take."""

from __future__ import annotations

from typing import Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.records import Hop
from busway.cli import completing, failures, output, session
from busway.cli.failures import Failure
from busway.cli.look import look
from busway.cli.options import (
    Examples,
    Place,
    check_endpoint,
    joins,
    json_option,
    node_option,
    timeout_option,
)
from busway.cli.survey import Found
from busway.errors import RequestTimeout, Undeliverable


@click.command(cls=Examples)
@node_option("Only the ways of this node: a label, or the beginning of an id or label.")
@timeout_option(2.0, "How long to wait for the nodes' answers, in seconds.")
@json_option("One JSON document: a list of ways.")
@joins
def routes(place: Place, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway routes
      busway routes -n gateway
      busway routes --json | jq '.[] | select(.realm != "userspace")'

    For each program the ways it has to the others: VIA the neighbour it sends to, the widest REALM on the
    way, the sum of the links' COST, how many neighbours OFFER a way. Exit status 3 if a node gave no
    answer, 1 if --node matches none.
    """
    return look(place, "routes", node, timeout, as_json, _show_routes)


def _show_routes(bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool) -> None:
    labels = {each.id: each.label for each in found}
    documents = [_route_document(each, row, labels) for each in found for row in each.nodes(bus)]
    headings = ("FROM", "TO", "VIA", "REALM", ">COST", ">OFFERS")
    nothing = f"no ways are known on bus {bus.node.bus!r}"
    output.listing(documents, as_json, nothing, headings, map(_route_row, documents))


def _route_document(found: Found, row: dict[str, Any], labels: dict[bytes, str]) -> dict[str, Any]:
    via = row["via"]
    return {
        "node": output.uuid_text(found.id),
        "label": found.label,
        "to": output.uuid_text(row["node"]),
        "to_label": row["label"],
        "via": output.uuid_text(via) if via else None,
        "via_label": row["label"] if via == row["node"] else labels.get(via, ""),
        "realm": row["realm"],
        "cost": row["cost"],
        "seqno": row["seqno"],
        "offers": row["offers"],
        "children": [output.uuid_text(child) for child in row["children"]],
    }


def _route_row(route: dict[str, Any]) -> tuple[object, ...]:
    return (
        f"{route['label'] or '?'} {route['node'][:8]}",
        f"{route['to_label'] or '?'} {route['to'][:8]}",
        "direct"
        if route["via"] == route["to"]
        else f"{route['via_label'] or '?'} {(route['via'] or '-')[:8]}",
        route["realm"],
        route["cost"],
        route["offers"],
    )


@click.command(cls=Examples)
@click.argument("target", metavar="ENDPOINT|NODE", callback=check_endpoint, shell_complete=completing.either)
@timeout_option(2.0, "How long each node on the way may take to answer, in seconds.")
@json_option("One JSON document: a list of hops.")
@joins
def trace(place: Place, target: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway trace lab/temperature
      busway trace 8853538b                 a node, by the beginning of its id
      busway trace lab/pump --json

    Each line is a node on the way, the link by which a message comes to it, and the time there and back
    from here. Exit status 1 if nobody has the endpoint, 3 if a node on the way gave no answer.
    """

    async def job(bus: AsyncBus) -> int:
        hops = await _trace(bus, target, timeout)
        if as_json:
            output.say_json([_hop_document(number, hop) for number, hop in enumerate(hops, 1)])
        else:
            headings = (">HOP", "NODE", "ID", "OVER", "REALM", ">COST", ">RTT")
            output.table(headings, [_hop_row(number, hop) for number, hop in enumerate(hops, 1)])
        return failures.OK

    return session.run(place, "trace", job)


async def _trace(bus: AsyncBus, target: str, timeout: float) -> list[Hop]:
    node = b""
    if not session.holders(bus, target):
        found = session.matching(target, session.others(bus))
        node = session.one_node(bus, target) if found else b""
    try:
        return await bus.trace(session.target(bus, target), timeout=timeout, node=node)
    except RequestTimeout:
        raise Failure(
            failures.UNKNOWN, f"a node on the way to {target} gave no answer within {timeout:g} s"
        ) from None
    except Undeliverable as error:
        if not node and not session.holders(bus, target):
            raise session.nobody_has(bus, target) from None
        raise Failure(failures.NEGATIVE, f"no way to {target}: {error}", error.reason_name) from None


def _hop_document(number: int, hop: Hop) -> dict[str, object]:
    return {
        "hop": number,
        "node": output.uuid_text(hop.node),
        "label": hop.label,
        "medium": hop.medium,
        "realm": hop.realm,
        "cost": hop.cost,
        "rtt_ms": round(hop.rtt * 1000, 3),
    }


def _hop_row(number: int, hop: Hop) -> tuple[object, ...]:
    return (
        number,
        hop.label or "?",
        hop.node.hex()[:8],
        hop.medium or "-",
        hop.realm,
        hop.cost,
        f"{hop.rtt * 1000:.2f} ms",
    )
