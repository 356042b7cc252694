"""`busway listen`, `send`, `publish`, `last` and `request`: messages in and out of the shell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.asyncio_ends import Receiver
from busway.adapters.bus import host_of
from busway.adapters.typed import Policy, Priority, Realm
from busway.cli import completing, failures, output, selecting, session
from busway.cli import payload as payloads
from busway.cli.failures import Failure
from busway.cli.labels import Labels
from busway.cli.options import (
    Examples,
    Place,
    check_endpoint,
    check_subscribed,
    is_given,
    joins,
    json_option,
    node_option,
    refuse_beside,
    timeout_option,
)
from busway.cli.payload import payload_options
from busway.cli.tapping import follow
from busway.errors import EndpointTaken, Undeliverable
from busway.names import endpoint_id
from busway.protocol import Message, Request, codes

if TYPE_CHECKING:
    from busway.selectors import Selector

KINDS = click.Choice(["unicast", "anycast", "broadcast"])
POLICIES = click.Choice(["refuse", "drop_oldest", "drop_newest", "latest"])
REALMS = click.Choice(["userspace", "localnet", "global"])
_LINGER_S = 0.2  # beyond a backbone nobody believes what is of a program whose way was never told
NOT_ANSWERED = 256  # the error that `listen` answers requests with

_HOLDER = "The holder to take, of several: a node's label, or the beginning of its id or label."
_NAME = click.argument("name", metavar="NAME", callback=check_endpoint, shell_complete=completing.endpoints)
_NAME_OR = click.argument(
    "name",
    metavar="[NAME]",
    required=False,
    callback=selecting.check_name,
    shell_complete=completing.endpoints,
)
TTL = click.option(
    "--ttl",
    type=click.FloatRange(min=0, max=2_000_000),
    default=0.0,
    metavar="S",
    help="Wait so many seconds for somebody to hold NAME.",
)
PRIORITY = click.option(
    "--priority",
    type=click.Choice(codes.PRIORITY_NAMES),
    default="normal",
    show_default=True,
    help="A higher one passes lower ones on its way.",
)


@click.command(cls=Examples)
@click.argument(
    "names",
    metavar="[NAME]...",
    nargs=-1,
    callback=check_subscribed,
    shell_complete=completing.endpoints,
)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="All that this user's programs say, instead of NAMEs."
)
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Leave after N messages.")
@click.option("--kind", type=KINDS, help="What to register as.")
@click.option(
    "--realm", type=REALMS, default="localnet", show_default=True, help="From how far it can be reached."
)
@click.option(
    "--policy",
    type=POLICIES,
    help="What to do when more comes than is printed. latest: of each sender only the newest.",
)
@click.option("-q", "--quiet", is_flag=True, help="Don't say on stderr that it listens.")
@timeout_option(None, "Leave after so many seconds.")
@json_option("One JSON document a line for each message.")
@joins
def listen(
    place: Place,
    names: tuple[str, ...],
    everything: bool,
    count: int | None,
    kind: str | None,
    realm: str,
    policy: Policy | None,
    quiet: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Examples:
      busway listen lab/temperature
      busway listen lab/temperature lab/pressure --json | jq .payload
      busway listen 'lab/*/temperature' 'hall/**'   patterns, in quotes: * one level, ** any number
      busway listen lab/log --kind unicast -c 1 --timeout 10
      busway listen --all                          what all programs of this user say, and to whom

    With --all: time, endpoint, send, publish, request, reply and so on, from whom, to whom, size, payload.
    That is what programs of this user on this machine say, unless they were started with BUSWAY_TAP=0 or
    tap=False, or their policy does not let it serve busway/tap. They never wait for a listener: what it was
    too slow for is counted. Programs that join as leaves are not shown, but for commands.

    One line a message: time, name, source, payload, and in parentheses what else there is to it, such as how
    many files and regions it brought (which are closed). Without --kind the endpoint has the kind that the
    others on the bus know it by, else broadcast. Of an anycast endpoint only a share of the messages comes
    here. Requests are shown and answered with an error. Ctrl-C ends it, with exit status 0 unless -c was
    given; 3 means that --timeout passed before -c messages (without -c: before any) had come.
    """
    if everything == bool(names):
        raise click.UsageError("name the endpoints to listen to, or give --all")
    if everything:
        refuse_beside("--all", "kind", "realm", "policy")

    async def watch(bus: AsyncBus) -> int:
        if not quiet:
            output.note(f"listening to all programs of this user on bus {place.bus!r}")
        return await follow(bus, count, timeout, as_json)

    async def job(bus: AsyncBus) -> int:
        receivers = {name: _register(bus, name, kind, realm, policy) for name in dict.fromkeys(names)}
        if not quiet:
            output.note(f"listening to {', '.join(receivers)} on bus {place.bus!r}")
        messages = _merged(receivers, Labels(bus))
        return await session.follow(messages, lambda told: _show(bus, *told, as_json), count, timeout)

    chosen = watch if everything else job
    return session.run(place, "listen", chosen, leaf=False, endless=count is None)


def _register(bus: AsyncBus, name: str, kind: str | None, realm: str, policy: Policy | None) -> Receiver:
    chosen: Any = kind or session.kind_of(bus, name) or "broadcast"
    far: Any = realm
    try:
        receiver = bus.register(session.target(bus, name), chosen, far, policy=policy)
        receiver._core.decline = ""  # `_decline` says more
        return receiver
    except ValueError as error:
        raise Failure(failures.USAGE, str(error)) from None
    except EndpointTaken:
        there = session.kind_of(bus, name)
        why = "and can have only one receiver" if there == chosen else f"as {there}; try --kind {there}"
        holder = session.holders_text(bus, name)
        raise Failure(failures.NEGATIVE, f"{name} is held by {holder} {why}", "ENDPOINT_TAKEN") from None


async def _merged(
    receivers: dict[str, Receiver], labels: Labels
) -> AsyncGenerator[tuple[str, Message], None]:
    """The messages of all receivers as they come."""
    waiting = {asyncio.ensure_future(receiver.receive()): name for name, receiver in receivers.items()}
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                name = waiting.pop(task)
                message = task.result()
                waiting[asyncio.ensure_future(receivers[name].receive())] = name
                if not message.source_label:
                    await labels.wait(message.source)
                yield name, message
    finally:
        for task in waiting:
            task.cancel()


def _show(bus: AsyncBus, name: str, message: Message, as_json: bool) -> None:
    source = message.source
    asked = _decline(bus, message)
    if as_json:
        output.say_json(_document(message.name or name, message, asked))
        return
    remarks = [] if message.priority == "normal" else [message.priority]
    remarks += ["retained"] if message.retained else []
    remarks += [_count_text(name, count) for name, count in _beside(message).items()]
    remarks += [f"missed {message.missed}"] if message.missed else []
    remarks += ["a request, declined"] if asked else []
    remarks += [f"unreadable: {output.printable(str(message.error))}"] if message.error else []
    cells = (
        click.style(output.clock_text(), dim=True),
        click.style(output.printable(message.name or name), fg="cyan"),
        click.style(output.node_text(source, message.source_label), fg="green"),
        output.value_text(message.payload),
        *(click.style(f"({remark})", fg="yellow") for remark in remarks),
    )
    output.say("  ".join(cells))


def _beside(message: Message) -> dict[str, int]:
    """How many files and regions came with a message, where some did; nobody opens them here."""
    carried = getattr(message, "beside", None)
    regions = 0 if carried is None else carried.region_count
    counts = {"files": len(message.things) - regions, "regions": regions}
    return {name: count for name, count in counts.items() if count}


def _count_text(name: str, count: int) -> str:
    return f"{count} {name if count > 1 else name[:-1]}"


def _decline(bus: AsyncBus, message: Message) -> bool:
    """Whether it was a request. Nobody would answer it: better an error now than a timeout later."""
    if not isinstance(message, Request) or message.confirm:
        return False
    text = "only `busway listen` is there, which does not answer; use `busway serve`"
    bus.node.respond_error(message, NOT_ANSWERED, text, host_of(bus).now_ms())
    return True


def _document(name: str, message: Message, asked: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "time": round(time.time(), 3),
        "endpoint": name,
        "endpoint_id": output.uuid_text(message.endpoint),
        "source": output.uuid_text(message.source),
        "source_label": message.source_label,
        "what": "request" if asked else "message",
        "format": ("bytes", "cbor", "typed", "typed")[message.format],
        "payload": message.payload,
        "missed": message.missed,
        "priority": message.priority,
    }
    if message.retained:
        document["retained"] = True
    document.update(_beside(message))
    if message.format >= 2:
        document["type"] = output.uuid_text(message.type_id or message.endpoint)
    if message.error:
        document["error"] = str(message.error)
    return document


# Sending


@click.command(cls=Examples)
@_NAME_OR
@selecting.where_option("To what has these labels, in place of NAME, such as 'renderer and not codec'.")
@selecting.payload_first
@payload_options
@click.option(
    "--to",
    "copies",
    type=click.Choice(["any", "all"]),
    default="any",
    show_default=True,
    help="With --where: one that is meant, or all.",
)
@click.option("--confirm", is_flag=True, help="Wait until the receiving program has taken it.")
@click.option("--store", is_flag=True, help="Into a store, for who is away; --ttl says for how long.")
@TTL
@PRIORITY
@node_option(_HOLDER)
@timeout_option(30.0, "How long to wait for the verdict, in seconds.")
@json_option("The outcome as one JSON document.")
@joins
def send(
    place: Place,
    name: str,
    where: Selector | None,
    payload: object,
    copies: str,
    confirm: bool,
    store: bool,
    ttl: float,
    priority: Priority,
    node: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Examples:
      busway send lab/log '{"celsius": 21.5}'
      busway send lab/log "pump started" --confirm
      busway send lab/log 21.5 --ttl 60            waits for somebody to hold lab/log
      busway send lab/log 21.5 --store             kept by `busway store` until somebody holds lab/log
      busway send lab/stop now --priority urgent   passes what waits with normal priority
      tail -n 1 log | busway send lab/log -
      busway send lab/log --hex 0a:ff
      busway send lab/log '{"celsius": 21.5}' --type lab/reading
      busway send --where 'renderer and not codec' '"stop"' --to all

    {payload}

    Says nothing when it worked; with --to all a line for each copy that came to nothing. Exit status 0:
    accepted for transport, with --confirm: taken by the program there; 1: nobody has the endpoint, or it was
    not taken; 3: no verdict within --timeout.
    """

    if where is not None:
        refuse_beside("--where", "node", "store")
    else:
        refuse_beside("NAME", "copies")
    if store:
        refuse_beside("--store", "confirm", "node")
        options = (
            {"timeout": timeout} if is_given("timeout") else {}
        )  # else it is soon told that none is there
        return run_storing(
            place, "send", name, payload, ttl=ttl, priority=priority, as_json=as_json, **options
        )

    async def selected(bus: AsyncBus, selector: Selector) -> int:
        value = _value(bus, payload)
        return await selecting.send(bus, selector, value, copies, confirm, ttl, timeout, priority, as_json)

    async def job(bus: AsyncBus) -> int:
        if where is not None:
            return await selected(bus, where)
        _check_sendable(bus, name)
        to = session.one_node(bus, node)
        try:
            async with asyncio.timeout(None if confirm else timeout + ttl):
                whom = session.target(bus, name)
                value = _value(bus, payload)
                await bus.send(
                    whom, value, confirm=confirm, ttl=ttl, timeout=timeout, node=to, priority=priority
                )
        except TimeoutError:
            raise Failure(failures.UNKNOWN, f"{name} takes nothing: not sent within {timeout:g} s") from None
        await bus.close(timeout)  # what comes back until then is still heard
        if bus.undeliverable:
            raise Undeliverable(bus.undeliverable[0].reason, endpoint=name)
        if as_json:
            output.say_json(_sent(name) | {"verdict": "taken" if confirm else "accepted"})
        return failures.OK

    # A leaf is not found by those who come later, and knows no labels of those that answer.
    return run_asking(place, "send", name, job, leaf=not ttl and copies != "all", where=where)


def run_storing(
    place: Place, command: str, name: str, payload: object, *, as_json: bool, **options: Any
) -> int:
    """Bring a message into a store; print the reply to a request."""

    async def job(bus: AsyncBus) -> int:
        call: Any = getattr(bus, command)
        began = time.perf_counter()
        try:
            reply = await call(session.target(bus, name), _value(bus, payload), store=True, **options)
        except Undeliverable as error:  # mostly it is the store that is not there, not the receiver
            raise Failure(failures.NEGATIVE, error.message or str(error), error.reason_name) from None
        if command == "request":
            _show_reply(_sent(name), reply, began, as_json)
        elif as_json:
            output.say_json(_sent(name) | {"verdict": "kept"})
        return failures.OK

    return session.run(place, command, job, leaf=True)


def _value(bus: AsyncBus, payload: object) -> object:
    """The payload: with --type a message of that type, which the bus may know under a name of its own."""
    if not isinstance(payload, payloads.Typed):
        return payload
    return payload.instance(endpoint_id(session.target(bus, payload.name)))


def _sent(name: str, where: Selector | None = None) -> dict[str, object]:
    if where is not None:
        return {"where": str(where)}
    return {"endpoint": name, "endpoint_id": output.uuid_text(endpoint_id(name))}


def _check_sendable(bus: AsyncBus, name: str) -> None:
    if session.kind_of(bus, name) == "broadcast":
        raise Failure(failures.USAGE, f"{name} is a broadcast endpoint: use `busway publish`", "WRONG_KIND")


def run_asking(
    place: Place,
    command: str,
    name: str,
    job: Any,
    *,
    leaf: bool,
    endless: bool = False,
    where: Selector | None = None,
) -> int:
    """Run a job that is about one endpoint; that nobody has it is told with names that look like it."""

    async def asking(bus: AsyncBus) -> int:
        try:
            status: int = await job(bus)
            return status
        except Undeliverable as error:
            alone = error.reason == codes.NO_ROUTE and len(bus.nodes()) == 1  # no program to ask at all
            if error.reason == codes.NO_ENDPOINT or alone:
                if where is not None:
                    raise selecting.nobody_meant(bus, where) from None
                raise session.nobody_has(bus, name) from None
            if error.reason == codes.NOT_A_STREAM:
                text = f"{name} answers in parts: ask it with --stream"
                raise Failure(failures.NEGATIVE, text, error.reason_name) from None
            if error.reason == codes.UNREADABLE and "without a type" in error.message:
                text = f"{error}: say which message type PAYLOAD is, by name or UUID, such as --type {name}"
                raise Failure(failures.NEGATIVE, text, error.reason_name) from None
            raise
        except ValueError as error:
            raise Failure(failures.USAGE, str(error)) from None

    return session.run(place, command, asking, leaf=leaf, endless=endless)


@click.command(cls=Examples)
@_NAME
@payload_options
@click.option(
    "--realm", type=REALMS, help="How far it gets: localnet, or where this joins over a wider link global."
)
@PRIORITY
@click.option(
    "--retain", is_flag=True, help="Keep it for who subscribes later, until this command is interrupted."
)
@click.option("--store", is_flag=True, help="Into a store, which publishes it once it has it.")
@click.option(
    "--ttl",
    type=click.FloatRange(min=0, max=2_000_000),
    default=0.0,
    metavar="S",
    help="With --store, for how long it is of use, in seconds.  [default: any time]",
)
@timeout_option(30.0, "How long to wait for room on the links, in seconds.")
@json_option("The outcome as one JSON document.")
@joins
def publish(
    place: Place,
    name: str,
    payload: object,
    realm: Realm | None,
    priority: Priority,
    retain: bool,
    store: bool,
    ttl: float,
    timeout: float,
    as_json: bool,
) -> int:
    """Examples:
      busway publish lab/temperature 21.5
      busway publish lab/temperature '{"celsius": 21.5}' --bus plant
      busway publish lab/reading '{"celsius": 21.5}' --type lab/reading
      busway publish lab/temperature 21.5 --realm global
      busway publish lab/mode idle --retain        and stays there, with the value
      busway publish lab/level 7.5 --store         and `busway history lab/level` shows it

    {payload}

    Says nothing when it worked. That nobody subscribes is no error. With --retain whoever subscribes later
    gets it, too, and `busway last` prints it; it goes with its program, so this one stays until Ctrl-C.
    """
    if store:
        refuse_beside("--store", "realm", "retain", "timeout")
        return run_storing(place, "publish", name, payload, ttl=ttl, priority=priority, as_json=as_json)
    if ttl:
        raise click.UsageError("--ttl is for --store: who is there gets a copy now, or none")

    async def job(bus: AsyncBus) -> int:
        kind = session.kind_of(bus, name)
        if kind not in ("", "broadcast"):
            raise Failure(failures.USAGE, f"{name} is of kind {kind}: use `busway send`", "WRONG_KIND")
        subscribers = session.holders(bus, name)
        try:
            async with asyncio.timeout(timeout):
                wide = any(link.realm == "global" for link in bus.links())
                reach: Realm = realm or ("global" if wide else "localnet")
                whom, value = session.target(bus, name), _value(bus, payload)
                await bus.publish(whom, value, realm=reach, priority=priority, retain=retain)
        except TimeoutError:
            raise Failure(failures.UNKNOWN, f"no link had room within {timeout:g} s") from None
        if not retain:
            if reach == "global":
                await asyncio.sleep(_LINGER_S)
            await bus.close(timeout)
        if as_json:
            output.say_json(_sent(name) | {"nodes": [output.uuid_text(node) for node in subscribers]})
        if retain:
            output.note(f"keeping the value of {name} on bus {place.bus!r}")
            await asyncio.Event().wait()
        return failures.OK

    return run_asking(place, "publish", name, job, leaf=not retain, endless=retain)


@click.command(cls=Examples)
@_NAME
@click.option("--realm", type=REALMS, default="localnet", show_default=True, help="From how far it may come.")
@timeout_option(5.0, "How long to wait for it, in seconds.")
@json_option("The value in a JSON document.")
@joins
def last(place: Place, name: str, realm: Realm, timeout: float, as_json: bool) -> int:
    """Examples:
      busway last lab/mode
      busway last lab/mode --json | jq .source_label
      busway last lab/mode --timeout 1

    Prints the value that a program has published to NAME to be kept (`publish --retain`): text and bytes as
    they are, anything else as JSON. Of several programs that of the one that answers first. Exit status 3:
    none came within --timeout.
    """

    async def job(bus: AsyncBus) -> int:
        to: Any = session.target(bus, name)
        try:
            message = await bus.last(to, timeout=timeout, realm=realm)
        except TimeoutError:
            text = f"no last value of {name} came within {timeout:g} s"
            raise Failure(failures.UNKNOWN, text, "TIMEOUT") from None
        if as_json:
            output.say_json(_document(message.name or name, message, False))
        else:
            output.write_value(message.payload)
        return failures.OK

    return run_asking(place, "last", name, job, leaf=True)


# Asking


@click.command(cls=Examples)
@_NAME_OR
@selecting.where_option("Ask what has these labels, in place of NAME, such as 'renderer and not codec'.")
@selecting.payload_first
@payload_options
@click.option("-a", "--all", "everyone", is_flag=True, help="With --where: ask all, a line for each answer.")
@click.option(
    "--stream", is_flag=True, help="Take a reply in parts, one a line; --timeout counts from part to part."
)
@click.option("--store", is_flag=True, help="By way of a store, of who may be away; --ttl says for how long.")
@TTL
@PRIORITY
@node_option(_HOLDER)
@timeout_option(30.0, "How long to wait for the reply, in seconds.")
@json_option("The reply in a JSON document.")
@joins
def request(
    place: Place,
    name: str,
    where: Selector | None,
    payload: object,
    everyone: bool,
    stream: bool,
    store: bool,
    ttl: float,
    priority: Priority,
    node: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Examples:
      busway request lab/pump '{"rpm": 300}'
      busway request lab/pump '{"rpm": 300}' --timeout 2 --json
      busway request lab/pump '{"rpm": 300}' --type lab/speed
      busway request lab/camera > picture.jpg
      busway request lab/scan --stream
      busway request --where renderer --all --timeout 2
      busway request lab/pump '{"rpm": 300}' --store --timeout 3600    asked once somebody serves lab/pump

    {payload}

    The reply is printed: text and bytes as they are (on a terminal bytes that are no text as Python writes
    them), anything else as JSON. --json prints a document with the reply as "payload", bytes in hexadecimal;
    with --stream one a line for each part. Exit status 1: nobody has the endpoint, or its handler failed; 3:
    no reply within --timeout.
    """

    if where is not None:
        refuse_beside("--where", "node", "store")
    else:
        refuse_beside("NAME", "everyone")
    if everyone:
        refuse_beside("--all", "stream")
    if store:
        refuse_beside("--store", "stream", "node")
        options: dict[str, Any] = {"ttl": ttl, "timeout": timeout, "priority": priority}
        return run_storing(place, "request", name, payload, as_json=as_json, **options)

    async def job(bus: AsyncBus) -> int:
        value = _value(bus, payload)
        if where is not None and everyone:
            return await selecting.request_all(bus, where, value, ttl, timeout, priority, as_json)
        whom: Any = where
        to = b""
        if where is None:
            _check_sendable(bus, name)
            to = session.one_node(bus, node)
            whom = session.target(bus, name)
        if stream:
            parts = bus.request_stream(whom, value, timeout=timeout, ttl=ttl, node=to, priority=priority)
            await print_parts(_sent(name, where), parts, as_json)
            return failures.OK
        began = time.perf_counter()
        reply = await bus.request(whom, value, timeout=timeout, ttl=ttl, node=to, priority=priority)
        _show_reply(_sent(name, where), reply, began, as_json)
        return failures.OK

    return run_asking(place, "request", name, job, leaf=not ttl and not everyone, where=where)


def _show_reply(asked: dict[str, object], reply: object, began: float, as_json: bool) -> None:
    if as_json:
        output.say_json(_replied(asked, reply) | {"ms": round((time.perf_counter() - began) * 1000, 3)})
    else:
        output.write_value(reply)


def _replied(asked: dict[str, object], reply: object) -> dict[str, object]:
    return asked | {"format": "bytes" if isinstance(reply, bytes) else "cbor", "payload": reply}


async def print_parts(asked: dict[str, object], parts: AsyncIterator[Any], as_json: bool) -> None:
    """A line for each part of a reply."""
    index = 0
    async for part in parts:
        if as_json:
            output.say_json(_replied(asked, part) | {"part": index})
        else:
            output.write_value(part)
        index += 1
