"""`busway audit`: what the programs of this user have noted that matters to security, and with --follow what
they note from now on.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, NamedTuple

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

SORTS = ("join", "leave", "refusal", "displaced", "conflict", "quota", "denial")
_PATIENCE_S = 2.0
_VALUES = (str, int, float)  # and bool, which is an int


@click.command(cls=Examples)
@click.option("-f", "--follow", is_flag=True, help="Show what happens from now on, until interrupted.")
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="With --follow: leave after N records."
)
@click.option(
    "--what",
    "sorts",
    multiple=True,
    type=click.Choice(list(SORTS)),
    metavar="WHAT",
    help="Only join, leave, refusal, displaced, conflict, quota or denial; may be repeated.",
)
@click.option(
    "--who",
    metavar="WHO",
    help="Only about this one: a label, key or name, or the beginning of one or an id.",
)
@click.option(
    "--since",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Only of the last S seconds; of what was kept.",
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
    place: Place,
    follow: bool,
    count: int | None,
    sorts: tuple[str, ...],
    who: str | None,
    since: float | None,
    node: str,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Examples:
      busway audit
      busway audit --what denial --who pump --since 3600
      busway audit --json | jq 'map(select(.what == "refusal"))'
      busway audit --follow >> audit.log

    Of this user's programs on this machine: time, program, what happened, and what is known of it.
      join       a link was opened: by whom, and what it has proved
      leave      it ended, and why
      refusal    somebody was not let in, or did not let this program in
      displaced  another session or program with the same id took a link's place
      conflict   two hold a name, or an id, that one may hold
      quota      more came than there is room for, or than a policy lets come: nodes, endpoints, strangers ...
      denial     a policy does not allow what somebody tried
    Each program keeps the latest 64, of each sort some; short commands of this user, which come and go, are
    counted together. Of many alike few are told, and now and then how
    many were left out. The same stands in a program's log: the logger is "busway.audit", the level INFO.

    Exit status 3 if a program gave no answer, or with --follow if --timeout passed before -c records (without
    -c: before any) had come; 1 if --node matches none.
    """
    if not follow:
        if count is not None:
            raise click.UsageError("-c is for --follow: without it there is one answer")
        patience = _PATIENCE_S if timeout is None else timeout
        after = -math.inf if since is None else time.time() - since
        show = partial(_show_kept, Filter(sorts, who or "", after))
        return look(place, "audit", node, patience, as_json, show, codes.ASK_AUDIT)
    if since is not None:
        raise click.UsageError("--since is for what was kept: --follow shows what happens from now on")

    async def job(bus: AsyncBus) -> int:
        receiver = bus.subscribe(AUDIT_NAME, realm="userspace")
        output.note(f"following all programs of this user on bus {place.bus!r}")
        records = _records(receiver, Labels(bus), node, Filter(sorts, who or "", -math.inf))
        return await session.follow(records, lambda told: _show(told, as_json), count, timeout)

    return session.run(place, "audit", job, leaf=False, endless=count is None)


class Filter(NamedTuple):
    """Which records are wanted: of these sorts (none: all), about whom ("": anybody), from when on."""

    sorts: tuple[str, ...]
    who: str
    after: float

    def takes(self, record: dict[str, Any]) -> bool:
        """Whether this one is."""
        fields = record["fields"]
        about = [str(fields.get(name, "")) for name in ("peer_label", "trusted", "key", "peer")]
        digits = self.who.replace("-", "")
        return (
            (not self.sorts or record["what"] in self.sorts)
            and record["time"] >= self.after
            and (
                any(each.startswith(self.who) for each in about)
                or about[-1].replace("-", "").startswith(digits)
            )
        )


def _show_kept(wanted: Filter, bus: AsyncBus, found: list[Found], _chosen: bool, as_json: bool) -> None:
    """Show what all of them have kept, by time."""
    told = [(each.id, each.label, record) for each in found for record in kept(each) if wanted.takes(record)]
    told.sort(key=lambda each: each[2]["time"])
    if as_json:
        output.say_json([_document(each) for each in told])
        return
    for row in told:
        _show(row, False)
    if not told:
        such = " of that" if wanted != _ALL else ""
        output.note(f"no program on bus {bus.node.bus!r} has anything to tell{such}")
    for each in found:
        if each.answer == OK and "audit" not in each.report:
            output.note(f"{output.node_text(each.id, each.label)} keeps no audit trail: it is older")


def kept(found: Found) -> list[dict[str, Any]]:
    """The records of a node that was asked for them."""
    rows: Any = found.report.get("audit")
    if not isinstance(rows, list):
        return []
    return [row for row in rows[:KEPT_MAX] if _well_formed(row)]


async def _records(
    receiver: Receiver[Any], labels: Labels, wanted: str, records: Filter
) -> AsyncGenerator[Told, None]:
    async for message in receiver:
        record: Any = message.payload
        if message.error or not _well_formed(record) or not records.takes(record):
            continue
        await labels.wait(message.source)
        who = NodeInfo(message.source, message.source_label, False)
        if not wanted or session.matching(wanted, [who]):
            yield who.id, who.label, record


_ALL = Filter((), "", -math.inf)


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
