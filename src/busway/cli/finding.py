"""`busway found`: what the programs of this user have found by themselves, how, and why something was not
joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import click

import busway
from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.options import Examples, Place, joins, json_option, node_option, timeout_option
from busway.lan.found import FOUND_NAME, read_rows

Row = dict[str, Any]

_AGAIN_S = 1.0  # between two looks with --watch
_NOBODY = 'no program on bus {!r} looks for others: AsyncBus(lan=True, token=...), or connect("serial://*")'
_COLOURS = {"joined": "green", "enough": "green", "refused": "red", "unreachable": "red"}
_HEADINGS = ("PROGRAM", "HOW", "ADDRESS", "NODE", "STATE", "WHY")


@click.command(cls=Examples)
@click.option("-w", "--watch", is_flag=True, help="Go on, and tell what changes.")
@node_option("Only what this program has found: a label, or the beginning of an id or label.")
@timeout_option(2.0, "How long to wait for the programs' answers, in seconds.")
@json_option("One JSON document: a list of what was found; with --watch one a line.")
@joins
def found(place: Place, watch: bool, node: str, timeout: float, as_json: bool) -> int:
    """Examples:
      busway found
      busway found --json | jq 'map(select(.state == "refused"))'
      busway found --watch

    Programs of the local network, found by those with lan=True, and boards, found by those that have joined
    serial://* or ble://*; each as the PROGRAM of this user sees it that has found it.
      HOW    mdns: it is announced; remembered: a link to it was open before; incoming: it came by itself;
             serial, ble: a board
      STATE  seen, dialling, joined (there is a link), enough (reached through others, no link is needed),
             other bus, refused, unreachable, ignored, gone; WHY says more
    With --watch all is listed once, then what changes, until interrupted.
    Exit status 3 if a program gave no answer, 1 if --node matches none.
    """

    async def job(bus: AsyncBus) -> int:
        if watch:
            if not session.holders(bus, FOUND_NAME):
                output.note(f"{_NOBODY.format(bus.node.bus)}; waiting for one")
            changes = _changes(bus, node, timeout)
            return await session.follow(changes, lambda row: _show(row, as_json), None, None)
        rows, silent = await _ask_all(bus, node, timeout)
        documents = [_document(row) for row in rows]
        nothing = (
            "nothing was found" if rows or session.holders(bus, FOUND_NAME) else _NOBODY.format(bus.node.bus)
        )
        output.listing(documents, as_json, nothing, _HEADINGS, map(_cells, rows))
        if silent:
            output.note(f"no answer within {timeout:g} s from {', '.join(silent)}")
        return failures.UNKNOWN if silent else failures.OK

    return session.run(place, "found", job, leaf=not watch, endless=watch)


async def _ask_all(bus: AsyncBus, wanted: str, timeout: float) -> tuple[list[Row], list[str]]:
    """All that is told, with the program that tells it, and who tells nothing."""
    nodes = {node.id: node for node in session.others(bus)}
    chosen = session.matching(wanted, nodes.values()) if wanted else list(nodes.values())
    if not chosen and wanted:
        raise session.no_such_node(wanted, nodes.values())
    asked = [node for node in chosen if node.id in session.holders(bus, FOUND_NAME)]
    answers = await asyncio.gather(*(_ask(bus, node, timeout) for node in asked))
    silent = [
        output.node_text(node.id, node.label)
        for node, rows in zip(asked, answers, strict=True)
        if rows is None
    ]
    return [row for rows in answers for row in rows or ()], silent


async def _ask(bus: AsyncBus, node: busway.NodeInfo, timeout: float) -> list[Row] | None:
    """All that one program tells; None if it does not."""
    try:
        told = list(read_rows(await bus.request(FOUND_NAME, None, node=node.id, timeout=timeout)))
    except (busway.BusError, ValueError):
        return None
    program = output.node_text(node.id, node.label)
    return [{"program": program, "by": node.id, **row} for row in told]


async def _changes(bus: AsyncBus, wanted: str, timeout: float) -> AsyncGenerator[Row, None]:
    """All that is found, then what changes."""
    before: dict[tuple[Any, ...], Row] = {}
    while True:
        rows, _ = await _ask_all(bus, wanted, timeout)
        now: dict[tuple[Any, ...], Row] = {
            (row["by"], row["how"], row["address"], row["node"]): row for row in rows
        }
        for key, row in now.items():
            if before.get(key) != row:
                yield row
        for key in before.keys() - now.keys():
            yield {**before[key], "state": "gone", "reason": ""}
        before = now
        await asyncio.sleep(_AGAIN_S)


def _show(row: Row, as_json: bool) -> None:
    if as_json:
        output.say_json(_document(row))
        return
    program, how, address, node, state, why = _cells(row)
    words = [
        output.clock_text(),
        program,
        how,
        address,
        node,
        click.style(state, fg=_COLOURS.get(state)),
        why,
    ]
    output.say("  ".join(word for word in words if word))


def _cells(row: Row) -> tuple[str, ...]:
    node = output.node_text(row["node"], row["label"]) if row["node"] else "-"
    return (
        row["program"],
        *(output.printable(row[name]) for name in ("how", "address")),
        node,
        *(output.printable(row[name]) for name in ("state", "reason")),
    )


def _document(row: Row) -> dict[str, object]:
    document = {name: row[name] for name in ("program", "how", "address", "label", "state", "reason")}
    return {**document, "node": output.uuid_text(row["node"]) if row["node"] else ""}
