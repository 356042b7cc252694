"""One stay of a command on the bus: joining, leaving, Ctrl-C and SIGTERM, and finding whom it was told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import busway
from busway.adapters.asyncio import AsyncBus
from busway.adapters.bus import host_of
from busway.adapters.dialled import DialledLink
from busway.adapters.records import Change, EndpointInfo, LinkInfo, NodeInfo
from busway.adapters.refusals import text_of
from busway.adapters.tap import TAP
from busway.adapters.views import ORDERLY
from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.labels import Labels
from busway.cli.options import Accept, Place
from busway.names import endpoint_id
from busway.protocol import codes

_OVERVIEW_S = 2.0  # how long a leaf's router may take to say who is there
_overviews: weakref.WeakKeyDictionary[AsyncBus, Overview] = weakref.WeakKeyDictionary()

T = TypeVar("T")
Job = Callable[[AsyncBus], Awaitable[int]]

LEAVE_S = 5.0
# Ends of a link that say nothing against us.
_ORDINARY = (*ORDERLY, codes.LOST)


@dataclass
class Overview:
    """The nodes on the bus and what they have: a leaf is not told by itself, so its router has said."""

    nodes: list[NodeInfo]
    endpoints: list[EndpointInfo]
    realms: dict[bytes, str]  # of the way to each node: the widest on it
    guarded: bool = False  # the router has a policy


def run(
    place: Place,
    command: str,
    job: Job,
    *,
    leaf: bool = True,
    endless: bool = False,
    transit: bool = False,
    alone: bool = False,
    links: Sequence[str] = (),
    lan: bool = False,
) -> int:
    """Join, do the job, leave; returns the exit status.

    Args:
        command: for the node's label.
        leaf: for short commands; those that latecomers have to find join as full nodes.
        endless: being interrupted is this command's normal end.
        transit: forward for others.
        alone: join nobody here, only what the job itself does.
        links: URLs at which the job opens links, or lets others come.
        lan: find the programs of this bus on the local network, too.
    """
    who = place.identity((*place.urls, *links, *(["tcp://"] if lan else [])), lasting=transit)
    if lan:
        who |= {"lan": True, "token": place.token}
    logging.getLogger("busway").addHandler(logging.NullHandler())  # we tell it ourselves
    return asyncio.run(_stay(place, command, job, leaf, endless, transit, alone, who))


async def _stay(
    place: Place,
    command: str,
    job: Job,
    leaf: bool,
    endless: bool,
    transit: bool,
    alone: bool,
    who: dict[str, Any],
) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    told: list[int] = []

    def stop(number: int) -> None:
        told.append(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)  # a second one ends it at once
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        async with _joined(place, command, leaf, transit, alone, who) as bus:
            permissions = host_of(bus).identity.permissions
            if permissions is not None and endless:
                for text in permissions.strangers().values():
                    output.note(text)
            return await job(bus)
    except asyncio.CancelledError:
        if not told:
            raise
        return failures.OK if endless else 128 + told[0]


async def follow(
    items: AsyncGenerator[T, None], show: Callable[[T], bool | None], count: int | None, timeout: float | None
) -> int:
    """Show each as it comes, until `count` of them were shown or `timeout` seconds are over; returns the exit
    status. `show` returns False for what it shows nothing of.
    """
    shown = 0
    try:
        async with asyncio.timeout(timeout), contextlib.aclosing(items):
            async for item in items:
                shown += show(item) is not False
                if shown == count:
                    break
    except TimeoutError:
        return failures.UNKNOWN if count is not None or not shown else failures.OK
    return failures.OK


@contextlib.asynccontextmanager
async def _joined(
    place: Place, command: str, leaf: bool, transit: bool, alone: bool, who: dict[str, Any]
) -> AsyncIterator[AsyncBus]:
    label = f"busway {command} ({os.getpid()})"
    # A leaf has one link. Who is to join others, too, is told everything by all of them.
    leaf = leaf and not place.urls
    forwards = None if leaf else transit
    try:
        bus = AsyncBus(place.bus, ipc=not alone, leaf=leaf, transit=forwards, label=label, **who)
    except ValueError as error:
        if "lan" not in who:
            raise
        raise Failure(failures.USAGE, str(error)) from None
    refusals: list[Change] = []
    watching = asyncio.create_task(_note_refusals(bus, refusals))
    await asyncio.sleep(0)  # it listens from here on
    try:
        try:
            await bus.open()
        except (OSError, ValueError, NotImplementedError) as error:
            why = text_of(error)
            raise Failure(failures.NO_BUS, f"cannot join the bus {place.bus!r}: {why}") from None
        for url in place.urls:
            await connect(bus, url, place)
        if refusals and len(bus.nodes()) == 1:
            refusal = refusals[0]
            raise Failure(
                failures.NO_BUS, f"link refused: {refusal.text} (error {refusal.code})", "LINK_REFUSED"
            )
        if leaf:
            await _look_around(bus)
            await _be_seen(bus)
        else:
            await Labels(bus).wait()
        yield bus
    finally:
        watching.cancel()
        await bus.close(LEAVE_S)


async def _be_seen(bus: AsyncBus) -> None:
    """Lets this command be seen by whoever watches all traffic: a leaf is told of what it asks for only."""
    if bus in _overviews and any(info.id == TAP for info in _overviews[bus].endpoints):
        host = host_of(bus)
        await host.outcome(*host.ask(bus.node.locate, TAP, host.now_ms(), timeout_ms=500))


async def _look_around(bus: AsyncBus) -> None:
    """Ask the router of a leaf for all that it knows."""
    from busway.cli.survey import labels_in, leave_out_lost, well_formed

    uplink = bus.node.mesh.uplink
    if uplink is None or uplink.peer is None:
        return
    router = uplink.peer
    try:
        report = await bus.request(codes.INTROSPECTION, None, node=router.node_id, timeout=_OVERVIEW_S)
    except busway.BusError:
        return  # it is silent, or keeps its state to itself: then what this node has asked for must do
    if not well_formed(report):
        return
    leave_out_lost(report)
    nodes = [NodeInfo(router.node_id, router.label, False)]
    nodes += [NodeInfo(row["node"], row["label"], row["leaf"]) for row in report["nodes"]]
    rows = [row | {"node": router.node_id} for row in report["endpoints"]] + report["seen"]
    hidden = (codes.INTROSPECTION, codes.LOOKUP)
    _overviews[bus] = Overview(
        [node for node in bus.nodes() if node.me] + [node for node in nodes if node.id != bus.id],
        [
            EndpointInfo(
                row["endpoint"], row["name"], row["kind"], row["realm"], row["node"], tuple(labels_in(row))
            )
            for row in rows
            if row["endpoint"] not in hidden and row["realm"] != "process"
        ],
        {row["node"]: row["realm"] for row in report["nodes"]},
        report.get("guarded") is True,
    )


def overview(bus: AsyncBus) -> Overview:
    """The nodes that are there and what they have, as far as this command knows."""
    return _overviews.get(bus) or Overview(
        bus.nodes(), bus.endpoints(), {route.node: route.realm for route in bus.routes()}
    )


def realm_of(bus: AsyncBus, node: bytes) -> str:
    """The widest realm on the way to a node, as far as this command knows; "" if it does not."""
    return overview(bus).realms.get(node, "")


async def _note_refusals(bus: AsyncBus, refusals: list[Change]) -> None:
    async for change in bus.changes():
        # Commands tell of programs of other versions on this machine themselves: they know which it is.
        local = isinstance(change.subject, LinkInfo) and change.subject.address.startswith("ipc:")
        if local and change.code == codes.BAD_VERSION:
            continue
        if change.what == "link-down" and change.code not in _ORDINARY:
            refusals.append(change)


async def connect(
    bus: AsyncBus, url: str, place: Place, told: Callable[[], bool] = lambda: False, **options: Any
) -> DialledLink:
    """Opens a link as `place` and the `options` say. If that takes long, and people have not been `told` why,
    it says so. Raises Failure.
    """
    try:
        with output.noted_if_slow(f"waiting for {_shown(url)} to answer", told):
            return await bus.connect(url, **options, **place.dialling(url))
    except (OSError, ValueError, TypeError, busway.BusError) as error:
        raise failures.cannot_connect(_shown(url), error) from None


def _shown(url: str) -> str:
    """A URL without the name and password that one of NATS servers may have."""
    from busway.drivers import nats

    return nats.shown(url) if nats.is_nats(url) else url


async def listen(bus: AsyncBus, url: str, place: Place, accept: Accept) -> str:
    """Let others connect at a URL; returns the real one. Raises Failure."""
    try:
        return (await bus.listen(url, **accept.listening(url, place))).url
    except (OSError, ValueError, busway.BusError) as error:
        raise failures.cannot_listen(url, error) from None


# Whom


def matching(wanted: str, nodes: Iterable[NodeInfo]) -> list[NodeInfo]:
    """The nodes that `wanted` names: by label or id, else by the beginning of an id, else of a label."""
    nodes = list(nodes)
    digits = wanted.replace("-", "").lower()
    tests: tuple[Callable[[NodeInfo], bool], ...] = (
        lambda node: node.label == wanted or node.id.hex() == digits,
        lambda node: bool(digits) and node.id.hex().startswith(digits),
        lambda node: bool(wanted) and node.label.startswith(wanted),
    )
    for test in tests:
        found = [node for node in nodes if test(node)]
        if found:
            return found
    return []


def others(bus: AsyncBus) -> list[NodeInfo]:
    """All nodes but the command's own."""
    return [node for node in overview(bus).nodes if not node.me]


def no_such_node(wanted: str, nodes: Iterable[NodeInfo]) -> Failure:
    there = ", ".join(output.node_text(node.id, node.label) for node in nodes) or "nobody"
    return Failure(failures.NEGATIVE, f"no node matches {wanted!r}; there are: {there}", "NO_NODE")


def one_node(bus: AsyncBus, wanted: str) -> bytes:
    """The id of the node that --node names, b"" if it names none. Raises Failure if it is not exactly one."""
    if not wanted:
        return b""
    found = matching(wanted, others(bus))
    if not found:
        raise no_such_node(wanted, others(bus))
    if len(found) > 1:
        shown = ", ".join(output.node_text(node.id, node.label) for node in found)
        raise Failure(failures.USAGE, f"several nodes match {wanted!r}: {shown}; give more of the id")
    return found[0].id


def target(bus: AsyncBus, name: str) -> str:
    """Finds what a name stands for: a message type shows a name of its own, but is addressed by its UUID."""
    known = overview(bus).endpoints
    named = {found.id for found in known if found.name == name}
    if len(named) == 1 and endpoint_id(name) not in named:
        return output.uuid_text(named.pop())
    return name


def kind_of(bus: AsyncBus, endpoint: str) -> str:
    """The kind of an endpoint that somebody has; "" if nobody is known to."""
    ident = endpoint_id(target(bus, endpoint))
    return next((found.kind for found in overview(bus).endpoints if found.id == ident), "")


def holders(bus: AsyncBus, endpoint: str) -> list[bytes]:
    """The ids of the nodes that are known to hold an endpoint."""
    ident = endpoint_id(target(bus, endpoint))
    return [found.node for found in overview(bus).endpoints if found.id == ident]


def holders_text(bus: AsyncBus, endpoint: str) -> str:
    """The holders of an endpoint, for people."""
    held = holders(bus, endpoint)
    return ", ".join(output.node_text(node.id, node.label) for node in overview(bus).nodes if node.id in held)


def nobody_has(bus: AsyncBus, endpoint: str) -> Failure:
    """The Failure for an endpoint that nobody has, with names that look like it."""
    import difflib

    from busway.cli.greeting import other_version
    from busway.cli.survey import strangers

    names = {found.name for found in overview(bus).endpoints if found.name}
    similar = difflib.get_close_matches(endpoint, sorted(names), n=3)
    hint = f"known similar: {', '.join(similar)}" if similar else "`busway endpoints` lists what there is"
    if endpoint in names:
        hint = (
            "`busway endpoints` lists it, but it is not there for this command: its realm or a policy says so"
        )
    silent = "".join(
        f"; node {peer.node_id.hex()[:8]} {other_version(peer.path) or 'has not answered'}"
        for peer in strangers(bus)
    )
    wide = "global" in overview(bus).realms.values()
    barrier = "; a link on the way there has realm global: what is behind it needs realm='global'" * wide
    policy = "; a policy may hide it: `busway doctor` says who has one" * overview(bus).guarded
    text = f"nobody has the endpoint {endpoint!r} on bus {bus.node.bus!r}; {hint}{silent}{barrier}{policy}"
    return Failure(failures.NEGATIVE, text, "NO_ENDPOINT")
