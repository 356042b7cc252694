"""`busway clients`: who is at the servers of named clients, and what has passed."""

from __future__ import annotations

from typing import Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.cli import output
from busway.cli.look import link_documents, look
from busway.cli.options import Examples, Place, joins, json_option, node_option, timeout_option
from busway.cli.survey import Found

_COUNTS = ("messages_in", "messages_out", "refused", "dropped", "unheard")


@click.command(cls=Examples)
@node_option("Only those of this server: a label, or the beginning of an id or label.")
@timeout_option(2.0, "How long to wait for the nodes' answers, in seconds.")
@json_option("One JSON document: a list of clients.")
@joins
def clients(place: Place, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway clients
      busway clients -n hall
      busway clients --json | jq -r '.[] | select(.dropped > 0) | .name'

    Listed are the clients of the programs on this machine that are servers (`listen` with max_connections=,
    admit= or rate=, `busway.asgi`): how long each has been there, the messages IN from it and OUT to it, and
    their bytes, RECEIVED and SENT. REFUSED are attempts of others to come under its name, DROPPED what it did
    not get for it reads too slowly. Exit status 3 if a node gave no answer, 1 if --node matches none.
    """
    return look(place, "clients", node, timeout, as_json, _show_clients)


def _show_clients(bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool) -> None:
    documents = [
        document
        for link in link_documents(bus, found, True)
        if (document := _document(link, link.get("client"))) is not None
    ]
    headings = (
        *("NAME", "SERVER", "ADDRESS", ">SINCE", ">IN", ">OUT", ">RECEIVED", ">SENT"),
        *(">REFUSED", ">DROPPED"),
    )
    nothing = f"no clients of a server are known on bus {bus.node.bus!r}"
    output.listing(documents, as_json, nothing, headings, map(_row, documents))


def _document(link: dict[str, Any], client: object) -> dict[str, Any] | None:
    """A client of a link; None for one that has none, or whose node says something else."""
    if not isinstance(client, dict) or not isinstance(client.get("name"), str):
        return None
    counts = {name: client.get(name) for name in _COUNTS}
    if not all(isinstance(count, int) for count in counts.values()):
        return None
    return {
        "name": client["name"],
        "node": link["peer"],
        "server": link["node"],
        "server_label": link["label"],
        "address": link["address"],
        "since": client.get("since"),
        "age_ms": link["age_ms"],
        **counts,
        "bytes_in": link["bytes_in"],
        "bytes_out": link["bytes_out"],
        "protection": link.get("protection", ""),
    }


def _row(client: dict[str, Any]) -> tuple[object, ...]:
    return (
        client["name"] or "-",
        f"{client['server_label'] or '?'} {client['server'][:8]}",
        client["address"],
        output.duration_text(client["age_ms"]),
        client["messages_in"],
        client["messages_out"],
        output.size_text(client["bytes_in"]),
        output.size_text(client["bytes_out"]),
        client["refused"],
        client["dropped"],
    )
