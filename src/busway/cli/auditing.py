"""`busway audit`: what the programs of this user have noted that matters to security, and with --follow what
they note from now on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.asyncio_ends import Receiver
from busway.adapters.audit import AUDIT_NAME, KEPT_MAX
from busway.adapters.audit_records import line
from busway.adapters.records import NodeInfo
from busway.cli import output, session
from busway.cli.labels import Labels
from busway.cli.look import look
from busway.cli.options import Examples, Place, joins, json_option, node_option, timeout_option
from busway.cli.survey import OK, Found
from busway.protocol import codes

Told = tuple[bytes, str, dict[str, Any]]  # the program that says it, its label, and the record

_PATIENCE_S = 2.0
_VALUES = (str, int, float)  # and bool, which is an int


@click.command(cls=Examples)
@click.option("-f", "--follow", is_flag=True, help="Show what happens from now on, until interrupted.")
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="With --follow: leave after N records."
)
@node_option("Only of this program: a label, or the beginning of an id or label.")
@timeout_option(
    None,
    "How long to wait for the programs' answers, in seconds; with --follow: leave after so many."
    "  [default: 2; with --follow never]",
)
@json_option("One JSON document: a list of records; with --follow one a line.")
@joins
def audit(
    place: Place, follow: bool, count: int | None, node: str, timeout: float | None, as_json: bool
) -> int:
    """Examples:
      busway audit
      busway audit --json | jq 'map(select(.what == "refusal"))'
      busway audit --follow >> audit.log

    Of this user's programs on this machine: time, program, what happened, and what is known of it.
      join       a link was opened: by whom, and what it has proved
      leave      it ended, and why
      refusal    somebody was not let in, or did not let this program in
      displaced  another session or program with the same id took a link's place
      conflict   two hold a name, or an id, that one may hold
      quota      more came than there is room for, or than a policy lets come: nodes, endpoints, comers ...
      denial     a policy does not allow what somebody tried
    Each program keeps the latest 64, of each sort some. Of many alike few are told, and now and then how
    many were left out. The same stands in a program's log: the logger is "busway.audit", the level INFO.

    Exit status 3 if a program gave no answer, or with --follow if --timeout passed before -c records (without
    -c: before any) had come; 1 if --node matches none.
    """
    if not follow:
        if count is not None:
            raise click.UsageError("-c is for --follow: without it there is one answer")
        patience = _PATIENCE_S if timeout is None else timeout
        return look(place, "audit", node, patience, as_json, _show_kept, codes.ASK_AUDIT)

    async def job(bus: AsyncBus) -> int:
        receiver = bus.subscribe(AUDIT_NAME, realm="userspace")
        output.note(f"following all programs of this user on bus {place.bus!r}")
        records = _records(receiver, Labels(bus), node)
        return await session.follow(records, lambda told: _show(told, as_json), count, timeout)

    return session.run(place, "audit", job, leaf=False, endless=count is None)


def _show_kept(bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool) -> None:
    """What all of them have kept, by time."""
    told = [(each.id, each.label, record) for each in found for record in kept(each)]
    told.sort(key=lambda each: each[2]["time"])
    if as_json:
        output.say_json([_document(each) for each in told])
        return
    for row in told:
        _show(row, False)
    if not told:
        output.note(f"no program on bus {bus.node.bus!r} has anything to tell")
    for each in found:
        if each.answer == OK and "audit" not in each.report:
            output.note(f"{output.node_text(each.id, each.label)} keeps no audit trail: it is older")


def kept(found: Found) -> list[dict[str, Any]]:
    """The records of a node that was asked for them."""
    rows: Any = found.report.get("audit")
    if not isinstance(rows, list):
        return []
    return [row for row in rows[:KEPT_MAX] if _well_formed(row)]


async def _records(receiver: Receiver[Any], labels: Labels, wanted: str) -> AsyncGenerator[Told, None]:
    async for message in receiver:
        record: Any = message.payload
        if message.error or not _well_formed(record):
            continue
        await labels.wait(message.source)
        who = NodeInfo(message.source, message.source_label, False)
        if not wanted or session.matching(wanted, [who]):
            yield who.id, who.label, record


def _well_formed(record: object) -> bool:
    if not isinstance(record, dict):
        return False
    fields = record.get("fields")
    if not isinstance(record.get("time"), (int, float)) or not isinstance(record.get("what"), str):
        return False
    return isinstance(fields, dict) and all(
        isinstance(name, str) and isinstance(value, _VALUES) for name, value in fields.items()
    )


def _show(told: Told, as_json: bool) -> None:
    if as_json:
        output.say_json(_document(told))
        return
    node, label, record = told
    when = click.style(_when(record["time"]), dim=True)
    who = click.style(output.node_text(node, label), fg="green")
    output.say(f"{when}  {who}  {output.printable(line(record['what'], record['fields']))}")


def _when(seconds: float) -> str:
    """The day and time; of what is none, as a program may say, the number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _document(told: Told) -> dict[str, Any]:
    node, label, record = told
    here = {"time": record["time"], "node": output.uuid_text(node), "label": label, "what": record["what"]}
    return {**record["fields"], **here}
