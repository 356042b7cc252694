"""`busway bridge`: a program that does nothing but join the local bus to other nodes and forward."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

import click

from busway.adapters import refusals
from busway.adapters.asyncio import AsyncBus
from busway.adapters.bus import host_of
from busway.adapters.identity import LOOK_S
from busway.adapters.records import Change, LinkInfo
from busway.cli import failures, output, realms, session
from busway.cli.failures import Failure
from busway.cli.options import (
    Accept,
    Examples,
    Place,
    joins,
    json_option,
    links_realm,
    listens,
    nats_options,
    wait_option,
)
from busway.protocol import Connection, codes

_UNWANTED = (codes.NOT_A_ROUTER, codes.UNTRUSTED)


@click.command(cls=Examples)
@click.argument("targets", metavar="[URL]...", nargs=-1)
@click.option("--listen", "listen_urls", multiple=True, metavar="URL", help="Let others connect here, too.")
@click.option("--lan", is_flag=True, help="Find others of this bus on the local network, and be found.")
@listens
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Report what was forwarded as often, in seconds.",
)
@wait_option
@json_option("JSON lines.")
@joins
@nats_options
@links_realm
def bridge(
    place: Place,
    targets: tuple[str, ...],
    listen_urls: tuple[str, ...],
    lan: bool,
    accept: Accept,
    every: float,
    wait: float | None,
    as_json: bool,
) -> int:
    """Examples:
      busway bridge tcp://192.168.1.20:7000 --token-file token.txt
      busway bridge --listen tcp://0.0.0.0:7000 --token-file token.txt
      busway bridge --listen tcp://0.0.0.0:7000 --key key.pem --trust trust.toml      see busway pair
      busway bridge --lan --token-file token.txt        joins all machines of a local network that do so
      busway bridge tcp://10.0.0.1:7000 tcp://10.0.0.2:7000 --every 60
      busway bridge wss://lab.example --realm localnet       with the same at the other side
      busway bridge 'serial:///dev/ttyUSB0?baud=115200' --boards keys      see busway firmware --key

    Joins this user's programs on this machine to the nodes at the URLs, and these to each other. While one
    cannot be reached it is tried again after 0.5 to 30 seconds; a refusal at the start that another try would
    not mend, as of a wrong token, ends it with exit status 4; --wait bounds how long it tries before it was
    once joined. Ends with Ctrl-C, and then says what it forwarded. With --json one document a line: links
    that come and go, and counts.
    """
    urls = targets + place.urls
    if not urls and not listen_urls and not lan:
        raise Failure(failures.USAGE, "give a URL to join, or --listen URL, or --lan")
    return run_bridge(place, "bridge", urls, listen_urls, accept, every, as_json, wait, lan)


def run_bridge(
    place: Place,
    command: str,
    urls: tuple[str, ...],
    listen_urls: tuple[str, ...],
    accept: Accept | None,
    every: float | None,
    as_json: bool,
    wait: float | None = None,
    lan: bool = False,
) -> int:
    """Join the local bus to `urls` and `accept` links at `listen_urls`, until interrupted; `every` seconds
    (None: never) say what was forwarded. `wait` seconds (None: for ever) the `urls` may take to be there.
    `lan` joins it to the local network, too.
    """
    if accept is not None:
        accept.check(listen_urls)

    async def job(bus: AsyncBus) -> int:
        work = Bridge(bus, as_json)
        for url in listen_urls:
            assert accept is not None
            real = await session.listen(bus, url, place, accept)
            work.tell("listening", {"url": real}, f"listening at {real}")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work.watch())
                group.create_task(work.watch_settings())
                if every is not None:
                    group.create_task(work.report(every))
                for url in urls:
                    # The link heals by itself. What another try would not mend ends the bridge, unless the
                    # link has once been open.
                    patience = math.inf if wait is None else wait
                    group.create_task(session.connect(bus, url, place, work.has_told, wait=patience))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        raise AssertionError("it runs until it is interrupted")

    links = (*urls, *listen_urls)
    here = place._replace(urls=())
    return session.run(here, command, job, leaf=False, endless=True, transit=True, links=links, lan=lan)


@dataclass
class Count:
    """Counts of what one link has carried."""

    address: str
    peer: str
    forwarded: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, other: Count) -> None:
        self.forwarded += other.forwarded
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out


@dataclass
class Bridge:
    """The running bridge: its counts outlive the links."""

    bus: AsyncBus
    as_json: bool
    started: float = field(default_factory=time.monotonic)
    said: dict[str, str] = field(default_factory=dict)  # the trouble with each URL, as last told
    counts: dict[Connection, Count] = field(default_factory=dict)
    ended: Count = field(default_factory=lambda: Count("", "links that have ended"))
    brief: dict[str, LinkInfo] = field(
        default_factory=dict
    )  # dialled links of which it is not sure yet that they stay
    unwanted: dict[str, int] = field(default_factory=dict)  # URLs whose link was ended, and must not be

    def trouble(self, url: str, text: str) -> None:
        """Tell it once, not for each try, and not again if it is what the link that it was was ended for."""
        found = failures.REFUSAL.search(text)
        again = found is not None and int(found[1]) == self.unwanted.get(url)
        if text and not again and text != self.said.get(url):
            what = failures.with_remedy(failures.as_options(text if url in text else f"{url}: {text}"))
            self.tell("trouble", {"url": url, "text": text}, f"{what}; trying again")
        self.said[url] = text

    def has_told(self) -> bool:
        """Whether it has said why a link is not there."""
        return any(self.said.values())

    async def watch(self) -> None:
        """Tell of links that come and go."""
        for link in self.bus.links():
            self._tell_link("link-up", link, "")
        async for change in self.bus.changes():
            self.count_links()
            if not isinstance(change.subject, LinkInfo):
                continue
            if change.what == "link-refused":
                fields = {"address": change.subject.address, "code": change.code, "text": change.text}
                text = failures.as_options(change.text)
                self.tell("refused", fields, f"{change.subject.address} cannot join: {text}")
            elif change.what == "link-state":
                if not change.subject.url:
                    continue  # of one that was not dialled
                state = change.subject.state  # why one is closed is told by who called for it
                if state == "connected" and change.subject.address in self.brief:
                    self.unwanted.pop(change.subject.address, None)
                    self._tell_link("link-up", self.brief.pop(change.subject.address), "")
                if state != "closed" and (state != "reconnecting" or change.subject.attempt):
                    self.trouble(change.subject.url, change.subject.error)  # a loss is told as link-down
            elif change.subject.peer:
                self._on_link(change, change.subject)
        raise Failure(failures.NO_BUS, "the bus was closed")

    async def watch_settings(self) -> None:
        """Tell once of each thing that is wrong with the trust file or the policy: nobody reads the log of a
        command.
        """
        identity = host_of(self.bus).identity
        policy = None if identity.permissions is None else identity.permissions.policy
        said: dict[str, str] = {}
        while identity.trust is not None or policy is not None:
            for what, file in (("trust", identity.trust), ("policy", policy)):
                if file is None:
                    continue
                file.version()  # whether there are links or not
                trouble = "" if file.trouble is None else str(file.trouble)
                if trouble and trouble != said.get(what):
                    text = f"{trouble}; what it said before holds until that is mended"
                    self.tell(what, {"text": text}, text)
                said[what] = trouble
            await asyncio.sleep(LOOK_S)

    def _on_link(self, change: Change, link: LinkInfo) -> None:
        """A link came or went. Of one that was refused as it came its trouble is told, or nothing."""
        if change.what == "link-up" and link.url:
            self.brief[link.address] = link
            return
        brief = self.brief.pop(link.address, None)
        if brief is not None:
            if change.code in refusals.HOPELESS:
                return
            self._tell_link("link-up", brief, "")
        if change.code in _UNWANTED:
            self.unwanted[link.address] = change.code
        self._tell_link(change.what, link, change.text)

    def _tell_link(self, what: str, link: Any, text: str) -> None:
        if link.address.startswith("ipc:") and not self.as_json:
            return  # the programs here come and go all the time
        who = output.node_text(link.peer, link.label)
        fields = {"peer": output.uuid_text(link.peer), "label": link.label, "address": link.address}
        why = f": {failures.as_options(text)}" if text else ""
        self.said[link.address] = text  # a link that heals begins its first attempt with why it was lost
        self.tell(what, fields | {"realm": link.realm, "text": text}, f"{what}  {who}  {link.address}{why}")
        if what == "link-up" and (hint := self._hint(link.realm)):
            self.tell("hint", fields | {"realm": link.realm, "text": hint}, f"{link.address}: {hint}")

    def _hint(self, realm: str) -> str:
        """Which of what is registered here does not pass a link of this realm; "" if all of it does."""
        if not realms.is_narrower("localnet", realm):
            return ""
        away = {way.node for way in self.bus.routes() if realms.is_narrower("localnet", way.realm)}
        known = [found for found in self.bus.endpoints() if found.node not in away]
        kept = [found for found in known if realms.is_narrower(found.realm, realm)]
        passing = len(known) - len(kept)
        if passing and all(found.realm != "localnet" for found in kept):
            return ""
        here = output.counted(len(known), "endpoint")
        narrow = f"{'; there is ' if len(known) == 1 else '; there are '}{here} here, none of which passes"
        if passing:
            narrow = f"; {len(kept)} of the {here} here {'does' if len(kept) == 1 else 'do'} not pass"
        return (
            f"this link's realm is {realm}, and nothing passes that is registered for localnet, as by default"
            f"{narrow * bool(known)}: give both sides --realm localnet, or register with realm={realm!r}"
        )

    async def report(self, every: float) -> None:
        """Count now and then, and at the end."""
        try:
            while True:
                await asyncio.sleep(every)
                self.say_counts()
        finally:
            self.say_counts()

    def count_links(self) -> None:
        """Bring the counts up to date; those of links that have ended go into one."""
        for connection in self.bus.node.connections:
            if connection.peer is not None and connection not in self.counts:
                who = output.node_text(connection.peer.node_id, connection.peer.label)
                self.counts[connection] = Count(connection.link.address, who)
        for connection, count in list(self.counts.items()):
            count.forwarded = connection.transit.passed
            count.bytes_in = connection.bytes_in
            count.bytes_out = connection.bytes_out
            if connection not in self.bus.node.connections:
                self.ended.add(self.counts.pop(connection))

    def say_counts(self) -> None:
        self.count_links()
        counts = [*self.counts.values(), self.ended]
        forwarder = self.bus.node.forwarder.counters
        fields = {
            "seconds": round(time.monotonic() - self.started, 1),
            "forwarded": forwarder["forwarded"],
            "unroutable": forwarder["unroutable"],
            "nodes": len(self.bus.nodes()) - 1,
            "links": [vars(count) for count in counts],
        }
        text = (
            f"forwarded {forwarder['forwarded']:,} messages, {forwarder['unroutable']:,} had no way; "
            f"{output.counted(len(self.bus.nodes()) - 1, 'node')}"
        )
        self.tell("counts", fields, text)
        if not self.as_json:
            for count in counts:
                if count.forwarded:
                    sizes = f"{output.size_text(count.bytes_in)} in, {output.size_text(count.bytes_out)} out"
                    output.say(f"  to {output.printable(count.peer)}: {count.forwarded:,} messages, {sizes}")

    def tell(self, what: str, fields: dict[str, Any], text: str) -> None:
        if self.as_json:
            output.say_json({"what": what, "time": round(time.time(), 3)} | fields)
        else:
            output.say(f"{output.clock_text()}  {output.printable(text)}")


@click.command(cls=Examples)
@click.argument("target", metavar="URL")
@wait_option
@json_option("JSON lines.")
@joins
@nats_options
@links_realm
def connect(place: Place, target: str, wait: float | None, as_json: bool) -> int:
    """Examples:
      busway connect 192.168.1.20:7000 --token-file token.txt
      busway connect ws://lab.example/bus
      busway connect wss://lab.example --cafile ca.pem
      busway connect serial:///dev/ttyUSB0?baud=115200
      busway connect tls://n1:4222,n2:4222 --credentials site.creds --token-file token.txt     a NATS cluster
      busway connect 192.168.1.20:7000 --wait 30     gives up if nobody is there within 30 s

    Until it is interrupted, this user's programs on this machine and the nodes behind URL are one bus, as far
    as the link's realm lets pass: over ws:// and wss:// only what is registered with realm="global", unless
    both sides have --realm localnet. The link heals: `busway links --watch` shows its state. With --json one
    document a line.
    """
    return run_bridge(place, "connect", (target, *place.urls), (), None, None, as_json, wait)


@click.command("listen-on", cls=Examples)
@click.argument("target", metavar="URL")
@listens
@json_option("JSON lines.")
@joins
@links_realm
def listen_on(place: Place, target: str, accept: Accept, as_json: bool) -> int:
    """Examples:
      busway listen-on tcp://127.0.0.1:0              prints the real URL first
      busway listen-on tcp://0.0.0.0:7000 --token-file token.txt
      busway listen-on ws://127.0.0.1:8765
      busway listen-on wss://0.0.0.0:8765 --token-file t.txt --certificate chain.pem --certificate-key key.pem

    Until it is interrupted, others who connect there are on one bus with this user's programs on this
    machine, as far as the link's realm lets pass: over ws:// and wss:// only what is registered with
    realm="global", unless both sides have --realm localnet. Beyond loopback it wants --token, --trust, or
    --open to let in everybody. With --json one document a line.
    """
    return run_bridge(place, "listen-on", place.urls, (target,), accept, None, as_json)
