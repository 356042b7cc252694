"""`busway store`, `jobs` and `history`: a store, and what is in it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.failures import Failure
from busway.cli.options import (
    Examples,
    Place,
    check_subscribed,
    joins,
    json_option,
    nats_options,
    policy_option,
)
from busway.cli.talk import REALMS
from busway.errors import BusError, RemoteError
from busway.protocol import codes
from busway.store import finding, records
from busway.store.records import StoreError

if TYPE_CHECKING:
    from busway.store.front import Store

_ENCODER = msgspec.msgpack.Encoder()
_UNITS = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SPANS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "": 1}
_ASK_S = 10.0
_LOOK_S = 0.2  # between looks whether a store is active
_TURN_S = 1.0  # one that is not by then waits for another


class Size(click.ParamType[int]):
    """Bytes, as in 64MiB."""

    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)\s*([kmg]?i?)b?", value.strip().lower())
        if found is None or found[2] not in _UNITS:
            self.fail(f"{value!r} is no size: write 64MiB, or 1GB", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class Span(click.ParamType[float]):
    """Seconds, as in 90s, 15min, 1h or 7d."""

    name = "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower())
        if found is None or found[2] not in _SPANS:
            self.fail(f"{value!r} is no span of time: write 90s, 15min, 1h or 7d", param, ctx)
        return float(found[1]) * _SPANS[found[2]]


class Server(click.ParamType[str]):
    """The URL of a NATS server."""

    name = "URL"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if not value.startswith(("nats://", "tls://")):
            self.fail(f"{value!r} is no NATS server: write nats://host:4222 or tls://host:4222", param, ctx)
        return str(value)


def default_place(bus: str) -> Path:
    """The folder of the store of a bus, if none is said."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    name = re.sub(r"[^\w.-]", "_", bus)
    return Path(state) / "busway" / f"store-{name}"


@click.command(cls=Examples)
@click.option(
    "--at",
    "folder",
    metavar="DIR",
    help="The folder that it keeps all in.  [default: ~/.local/state/busway/store-BUS]",
)
@click.option(
    "--nats",
    "url",
    type=Server(),
    metavar="URL",
    help="Keep all in the JetStream of this NATS server, nats://host:port/NAME of the stream, instead.",
)
@click.option(
    "--keep",
    "keep",
    multiple=True,
    metavar="PATTERN",
    callback=check_subscribed,
    help="A name or pattern that it is for; may be given several times.  [default: **]",
)
@click.option(
    "--last",
    "last",
    multiple=True,
    metavar="PATTERN",
    callback=check_subscribed,
    help="Names of these whose last value stays when its publisher is gone; may be given several times.",
)
@click.option("--realm", type=REALMS, default="localnet", show_default=True, help="From how far it is used.")
@click.option("--size", type=Size(), default=1 << 30, help="All that it keeps, at the most.  [default: 1GiB]")
@click.option("--history", type=Size(), default=1 << 28, help="... of what is published.  [default: 256MiB]")
@click.option(
    "--count", type=click.IntRange(1), default=1_000_000, show_default=True, metavar="N", help="... messages."
)
@click.option("--age", type=Span(), default=86_400.0, help="... for so long.  [default: 1d]")
@click.option(
    "--mail-age",
    type=Span(),
    default=604_800.0,
    help="How long a message waits for who is away.  [default: 7d]",
)
@click.option(
    "--tries",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    metavar="N",
    help="After so many a message is dead.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr at the start.")
@json_option("JSON lines: that it keeps, or waits while another is active.")
@joins
@nats_options
@policy_option
def store(
    place: Place,
    folder: str | None,
    url: str | None,
    keep: tuple[str, ...],
    last: tuple[str, ...],
    realm: Any,
    size: int,
    history: int,
    count: int,
    age: float,
    mail_age: float,
    tries: int,
    quiet: bool,
    as_json: bool,
) -> int:
    """Examples:
      busway store                                    in ~/.local/state/busway/store-BUS
      busway store --at /var/lib/busway --keep 'lab/**' --size 4GiB
      busway store --nats nats://10.0.0.5:4222        one of several: another takes over
      busway store --nats tls://n1:4222,n2:4222/plant?replicas=3 --credentials store.creds
      busway send lab/pump '{"rpm": 300}' --store     in another terminal

    Until it is interrupted it keeps mail for programs that are away (`send(…, store=True)`), and what is
    published, for durable subscriptions and `busway history`. What was confirmed outlives it. A second one
    with the same folder, or for the same names on this bus, is refused with exit status 1; of several at the
    same NATS one is active, and the others wait.
    """
    from busway.store.front import Store

    if folder and url:
        raise click.UsageError("--at and --nats are two places: leave one of them out")
    at = url or str(folder or default_place(place.bus))
    names = list(keep) or ["**"]
    shown = re.sub(r"//[^/]*@", "//", at) if url else at  # no password on a screen

    async def job(bus: AsyncBus) -> int:
        options: dict[str, Any] = {"size": size, "history": history, "count": count, "age": age}
        options |= {"mail_age": mail_age, "tries": tries, "last": last, **place.at_servers(at)}
        try:
            made = Store(bus, at, keep=names, realm=realm, **options)
            async with made:
                await _tell_turns(made, tell)
        except StoreError as error:
            raise Failure(failures.NEGATIVE, error.message, error.reason_name) from None
        except ValueError as error:
            raise Failure(failures.USAGE, str(error)) from None
        except OSError as error:
            raise Failure(failures.NEGATIVE, f"cannot keep anything in {at}: {error.strerror}") from None
        return failures.OK

    def tell(what: str) -> None:
        if as_json:
            output.say_json({"what": what, "place": shown, "keep": names, "bus": place.bus})
        elif not quiet:
            kept = f"until no other store at {shown} is active" if what == "waiting" else " ".join(names)
            output.note(f"{what} {kept}" + (f" of bus {place.bus!r} in {shown}" if what == "keeping" else ""))

    return session.run(place, "store", job, leaf=False, endless=True, transit=False)


async def _tell_turns(store: Store, tell: Callable[[str], None]) -> None:
    """Tell whether the store is active, as that changes."""
    told = ""
    patience = _TURN_S
    while True:
        now = "keeping" if store.active else "waiting"
        if now != told and (now == "keeping" or told or patience <= 0):
            tell(now)
            told = now
        await asyncio.sleep(_LOOK_S)
        patience -= _LOOK_S


async def stores_for(bus: AsyncBus, text: str = "") -> list[finding.Found]:
    """The stores that keep a name, or some that a pattern means; all for "". Raises Failure for none."""
    found = await finding.stores(bus)
    chosen = [each for each in found if not text or each.keeps(text)]
    if found and not chosen:
        raise Failure(failures.NEGATIVE, f"no store on bus {bus.name!r} keeps {text}", "NOT_KEPT")
    if not chosen:
        why = f"no store is on bus {bus.name!r}: start `busway store`"
        raise Failure(failures.NEGATIVE, why, "NO_ENDPOINT")
    return chosen


async def ask(bus: AsyncBus, store: finding.Found, question: Any) -> Any:
    """The answer of a store. Raises Failure, BusError."""
    try:
        reply = await bus.request(
            records.STORE_NAME, _ENCODER.encode(question), node=store.node, timeout=_ASK_S
        )
    except RemoteError as error:
        name = records.NAMES.get(error.code) or f"REMOTE_{error.code}"
        raise Failure(failures.NEGATIVE, error.message, name) from None
    return msgspec.msgpack.decode(reply)


async def ask_all(bus: AsyncBus, question: records.Jobs) -> list[Any]:
    """The answers of all stores, together: of a queue says the one that has it."""
    rows: list[Any] = []
    unknown: Failure | None = None
    found = False
    for store in await stores_for(bus):
        try:
            rows += await ask(bus, store, question)
            found = True
        except Failure as failure:
            if failure.name != records.NAMES[records.NO_SUCH]:
                raise
            unknown = failure
    if unknown is not None and not found:
        raise unknown
    return rows


@click.command(cls=Examples)
@click.argument("name", metavar="NAME", callback=check_subscribed)
@click.option("--since", type=Span(), metavar="TIME", help="Only of so long ago or later, as in 1h.")
@click.option("-c", "--count", type=click.IntRange(1, 1000), metavar="N", help="Only the newest N.")
@json_option("One JSON document a line for each message.")
@joins
def history(place: Place, name: str, since: float | None, count: int | None, as_json: bool) -> int:
    """Examples:
      busway history lab/temperature --since 1h
      busway history 'lab/**' -c 20 --json | jq .payload

    What was published to NAME, a name or a pattern, as the store has recorded it: time, name, source and
    payload, in order.
    """
    from busway.payloads import decode

    after_ms = round((time.time() - since) * 1000) if since is not None else 0

    def show(message: records.Delivered) -> None:
        try:
            value = decode(message.payload, message.format, message.type_id, message.endpoint, None)
        except BusError:
            value = message.payload
        when = message.stored / 1000
        if as_json:
            output.say_json(
                {
                    "time": round(when, 3),
                    "position": message.position,
                    "endpoint": message.name,
                    "endpoint_id": output.uuid_text(message.endpoint),
                    "source": output.uuid_text(message.source),
                    "source_label": message.label,
                    "format": "bytes" if isinstance(value, bytes) else "cbor",
                    "payload": value,
                    "priority": codes.PRIORITY_NAMES[message.priority & 3],
                }
            )
        else:
            who = output.printable(message.label) or message.source.hex()[:8]
            day = time.strftime("%Y-%m-%d", time.localtime(when))
            output.say(f"{day} {output.clock_text(when)}  {message.name}  {who}  {output.value_text(value)}")

    async def job(bus: AsyncBus) -> int:
        for store in await stores_for(bus, name):
            question = records.History(
                name, since=after_ms, count=min(count or 1000, 1000), newest=bool(count)
            )
            answer: dict[str, Any] = {"more": True}
            while answer["more"]:
                answer = await ask(bus, store, question)
                for row in answer["messages"]:
                    show(msgspec.convert(row, records.Delivered))
                question.after, question.newest = answer["reached"], False
        return failures.OK

    return session.run(place, "history", job, leaf=True)


_ACTIONS = ("retry", "drop")


@click.command(cls=Examples)
@click.argument("queue", metavar="[QUEUE]", required=False, default="")
@click.option("--dead", is_flag=True, help="Only what is given up.")
@click.option("--retry", "retry", is_flag=True, help="Try again what is given up.")
@click.option("--drop", "drop", is_flag=True, help="Remove messages.")
@click.option("--forget", is_flag=True, help="Remove QUEUE, a durable, itself.")
@click.option(
    "-p",
    "--position",
    "positions",
    multiple=True,
    type=int,
    metavar="N",
    help="Only this one; may be given several times.",
)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    metavar="N",
    help="At the most.",
)
@json_option("One JSON document.")
@joins
def jobs(
    place: Place,
    queue: str,
    dead: bool,
    retry: bool,
    drop: bool,
    forget: bool,
    positions: tuple[int, ...],
    count: int,
    as_json: bool,
) -> int:
    """Examples:
      busway jobs                         all queues: mail by name, and durable subscriptions
      busway jobs workers                 what waits in one, and what is dead and why
      busway jobs workers --dead --retry  try again what was given up
      busway jobs lab/pump --drop -p 17   remove one message
      busway jobs workers --forget        remove a durable that nobody needs

    Mail that waits for who is away, by name, and durable subscriptions, by theirs. What is dead was tried too
    often, or given up by its receiver; with --retry it is tried again, with --drop it is gone.
    What was tried again or dropped is printed. Times in JSON are seconds since 1970, or null.
    """
    chosen = [word for word, given in (("retry", retry), ("drop", drop), ("forget", forget)) if given]
    if len(chosen) > 1:
        raise click.UsageError(f"--{chosen[0]} and --{chosen[1]}: leave one of them out")
    if (chosen or dead or positions) and not queue:
        raise click.UsageError("say of which QUEUE: `busway jobs` lists them")
    action = chosen[0] if chosen else ""
    question = records.Jobs(
        queue, action, list(positions), dead or (action == "retry" and not positions), count
    )

    def show(rows: Any) -> None:
        if action == "forget":
            output.say_json([]) if as_json else output.note(f"{queue} is removed")
        elif queue:
            _show_messages(rows, as_json, action)
        else:
            _show_queues(rows, as_json)

    async def job(bus: AsyncBus) -> int:
        show(await ask_all(bus, question))
        return failures.OK

    return session.run(place, "jobs", job, leaf=True)


def _ago(stored: int) -> str:
    return output.duration_text(max(0.0, time.time() * 1000 - stored)) if stored else "-"


def _show_queues(rows: list[dict[str, Any]], as_json: bool) -> None:
    documents = [
        {key: value for key, value in row.items() if key != "endpoint"} | {"oldest": _seconds(row["oldest"])}
        for row in rows
    ]
    cells = [
        (
            row["queue"],
            row["sort"],
            row["pattern"],
            row["waiting"],
            row["dead"],
            row["consumers"],
            _ago(row["oldest"]),
        )
        for row in rows
    ]
    headings = ("QUEUE", "SORT", "OF", ">WAITING", ">DEAD", ">CONSUMERS", "OLDEST")
    output.listing(documents, as_json, "nothing waits in the store", headings, cells)


def _seconds(time_ms: int) -> float | None:
    return round(time_ms / 1000, 3) if time_ms else None


def _document(row: dict[str, Any]) -> dict[str, object]:
    """A message as other commands show one."""
    return {
        "position": row["position"],
        "endpoint": row["name"],
        "sort": row["sort"],
        "source": output.uuid_text(row["source"]),
        "source_label": row["label"],
        "stored": _seconds(row["stored"]),
        "expires": _seconds(row["expires"]),
        "due": _seconds(row["due"]),
        "tries": row["tries"],
        "dead": row["dead"],
        "bytes": row["bytes"],
    }


def _show_messages(rows: list[dict[str, Any]], as_json: bool, action: str) -> None:
    cells = [
        (
            row["position"],
            row["name"],
            row["label"] or row["source"].hex()[:8],
            _ago(row["stored"]),
            row["bytes"],
            row["tries"],
            row["dead"] or "-",
        )
        for row in rows
    ]
    headings = (">POSITION", "NAME", "SOURCE", "AGE", ">BYTES", ">TRIES", "DEAD")
    nothing = "there was nothing to be done" if action else "nothing waits there"
    output.listing([_document(row) for row in rows], as_json, nothing, headings, cells)
