"""`busway watch`: who is there, and who comes, goes or changes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.presence import meaning_of
from busway.adapters.records import Sighting
from busway.cli import completing, output, selecting, session
from busway.cli.labels import Labels
from busway.cli.options import Examples, Place, joins, json_option, timeout_option

if TYPE_CHECKING:
    from busway.selectors import Selector

_COLOURS = {"here": "", "came": "green", "left": "", "lost": "red", "changed": "yellow"}
_REASONS = {"goodbye": "said goodbye", "withdrawn": "closed it"}


def _check(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if (value is None) == (context.params.get("where") is None):
        raise click.UsageError("give a PATTERN, or --where in its place")
    try:
        if value is not None:
            meaning_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command(cls=Examples)
@click.argument(
    "pattern", metavar="[PATTERN]", required=False, callback=_check, shell_complete=completing.endpoints
)
@selecting.where_option("What has these labels, in place of PATTERN, such as 'renderer and not codec'.")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Leave after N lines.")
@click.option("-q", "--quiet", is_flag=True, help="Don't say on stderr how many are there.")
@timeout_option(None, "Leave after so many seconds.")
@json_option("One JSON document a line.")
@joins
def watch(
    place: Place,
    pattern: str | None,
    where: Selector | None,
    count: int | None,
    quiet: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Examples:
      busway watch 'lab/**'                 all whose name begins with lab/, and lab itself
      busway watch lab/pump                 the holders of one name
      busway watch --where 'renderer and not codec'
      busway watch '**' --json | jq .what

    First the endpoints that are there ("here"), then each that came, left or changed: time, what, endpoint,
    kind, realm, node. Whose program has said goodbye has left, and so has what was closed; whose program or
    link broke is lost, two seconds later, with its last word, if it left one. PATTERN is a name, or has * for
    one level of it and ** for any number: in quotes, for the shell has patterns, too. Ctrl-C ends it.

    With --json `what` is "present", "complete" (all that were there have been told), "arrived", "departed" or
    "changed", and `reason` "withdrawn", "goodbye" or "lost".

    Exit status 3: --timeout passed before -c lines (without -c: before any) had come. So a script waits for
    somebody: busway watch lab/pump -c 1 --timeout 60
    """

    wanted: Any = pattern if where is None else where

    async def job(bus: AsyncBus) -> int:
        def show(sighting: Sighting) -> bool:
            if not as_json and sighting.endpoint is None:
                return False  # that all were told is no line
            if as_json:
                output.say_json(_document(sighting))
            else:
                output.say(_line(sighting))
            return True

        return await session.follow(_sightings(bus, wanted, quiet or as_json), show, count, timeout)

    return session.run(place, "watch", job, leaf=False, endless=count is None)


async def _sightings(bus: AsyncBus, wanted: Any, quiet: bool) -> AsyncGenerator[Sighting, None]:
    """All that is told, but of this command itself; labels of nodes that come with it are waited for."""
    labels = Labels(bus)
    await labels.wait()
    there = 0
    async with bus.presence(wanted) as presence:
        async for sighting in presence:
            there += sighting.what == "present"
            if sighting.what == "complete" and not quiet:
                output.note(f"{there or 'nobody'} there now; Ctrl-C ends this")
            if sighting.what == "arrived" and sighting.node is not None and not sighting.node.label:
                await labels.wait(sighting.node.id)
            yield sighting


def _line(sighting: Sighting) -> str:
    endpoint, node = sighting.endpoint, sighting.node
    assert endpoint is not None
    assert node is not None
    what = {"present": "here", "arrived": "came", "departed": "left"}.get(sighting.what, sighting.what)
    what = "lost" if sighting.lost else what
    notes = [_REASONS[sighting.reason]] if sighting.reason in _REASONS else []
    if sighting.last_word is not None:
        notes.append(f"last word: {output.value_text(sighting.last_word)}")
    name = output.printable(endpoint.name) or output.uuid_text(endpoint.id)
    cells = (
        click.style(output.clock_text(), dim=True),
        click.style(f"{what:7}", fg=_COLOURS[what] or None),
        click.style(name, fg="cyan"),
        endpoint.kind,
        endpoint.realm,
        click.style(output.node_text(node.id, node.label), fg="green"),
        *([output.printable(", ".join(endpoint.labels))] if endpoint.labels else []),
        *(click.style(f"({note})", dim=True) for note in notes),
    )
    return "  ".join(cells)


def _document(sighting: Sighting) -> dict[str, object]:
    found: dict[str, object] = {"time": round(time.time(), 3), "what": sighting.what}
    endpoint, node = sighting.endpoint, sighting.node
    if endpoint is None or node is None:
        return found
    found |= {
        "endpoint": endpoint.name,
        "endpoint_id": output.uuid_text(endpoint.id),
        "kind": endpoint.kind,
        "realm": endpoint.realm,
        "labels": list(endpoint.labels),
        "node": output.uuid_text(node.id),
        "node_label": node.label,
        "leaf": node.leaf,
    }
    if sighting.reason:
        found |= {"reason": sighting.reason}
    if sighting.last_word is not None:
        found |= {"last_word": sighting.last_word}
    return found
