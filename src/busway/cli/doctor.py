"""`busway doctor`: why two nodes do not see each other. Looks at sockets, handshakes, both sides' state."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import click

import busway
from busway import about
from busway.adapters.asyncio import AsyncBus
from busway.adapters.opening import is_backbone
from busway.cli import completing, failures, output, session
from busway.cli.auditing import kept
from busway.cli.machine import check_directory
from busway.cli.options import Examples, Place, joins, json_option, nats_options, timeout_option
from busway.cli.realms import is_narrower
from busway.cli.survey import BEYOND, OK, OTHER_VERSION, REFUSED, SILENT, Found, survey
from busway.protocol import codes

STORE_NAME = "busway/store"  # as busway.store.records has it
_OF_LATE_MS = 600_000  # who was refused longer ago may have been mended since

# What a refusal means to whoever has to mend it, by the number in CLOSE.
_ADVICE = {
    1: "something else listens there: check host and port",
    2: "update the older of both programs",
    3: "give both the same bus name (--bus, BUSWAY_BUS, AsyncBus(NAME))",
    4: "that is this very node: name another address",
    7: (
        "give both sides the same token (--token-file, BUSWAY_TOKEN_FILE, token=), or this one the key of a"
        " board (--boards)"
    ),
    8: "raise the limit that the message names",
    16: "it took the connection and said nothing: is the program stopped, or is it no Busway node?",
    18: "it has as many links as it takes, or its policy grants you: join through another node",
    19: "another node has its id: two programs with one key file? Make another at one (busway key new)",
    24: "its node id is not that of its key: has it the key file that belongs to the id? (key=, node_id=)",
    25: "join as a leaf (leaf=True), or have the other side let routers in (trust, policy; routers=True)",
    26: (
        "let both sides trust each other: busway pair, or the trust file of the side that refuses; and give"
        " the same key each time (--key, BUSWAY_KEY, key=): without, each run has one of its own"
    ),
    27: "one side proves a token, the other a key: give both sides the same (--token, --trust)",
}


_EXPLAIN = "`busway policy explain FILE WHO ACTION NAME` says which rule decides, `busway audit` who it was"
_DENIALS_SHOWN = 3
_TAKEN_OVER = "a newer incarnation of this node took over"  # what the core says to the older one
_DISPLACED_MIN = 3  # within _OF_LATE_MS: once is a program that was started again while its former link stood
_SENT = "Who called or sent got NO_PERMISSION"
_ABSENT = "What may not be served or subscribed to is not there for others (NO_ENDPOINT)"
_EFFECTS = {
    "serve": _ABSENT,
    "subscribe": _ABSENT,
    "call": _SENT,
    "send": _SENT,
    "publish": "What may not be published was dropped",
    "see": "What may not be seen is not there for who asked (NO_ENDPOINT)",
}
_LOCALNET = "give the link realm localnet at both sides (--realm localnet, realm='localnet')"


@dataclass
class Report:
    """Facts that are well; and with what to do, remarks on what may be meant so, and findings."""

    facts: list[str] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    findings: list[tuple[str, str]] = field(default_factory=list)
    unsafe: bool = False  # the socket directory cannot be used

    def well(self, text: str) -> None:
        self.facts.append(text)

    def remark(self, text: str, advice: str) -> None:
        self.remarks.append((text, advice))

    def find(self, text: str, advice: str) -> None:
        self.findings.append((text, advice))


@click.command(cls=Examples)
@click.argument("targets", metavar="[URL|NODE]...", nargs=-1, shell_complete=completing.nodes)
@timeout_option(2.0, "How long to wait for each answer, in seconds.")
@json_option("One JSON document: what is well, and the findings.")
@joins
@nats_options
def doctor(place: Place, targets: tuple[str, ...], timeout: float, as_json: bool) -> int:
    """Examples:
      busway doctor                                    this machine and this bus
      busway doctor tcp://192.168.1.20:7000            can that node be joined, and why not
      busway doctor nats://n1:4222,n2:4222             can gateways meet there, and why not
      busway doctor pump gateway                       why these two do not see each other
      busway doctor --bus plant --json

    Checked are the socket directories and their permissions, sockets that nobody answers, programs on this
    machine that are on buses of other names, in other directories or other users', handshakes (bus name,
    version, token, keys), ways, and what each program sees of the others. Each finding (!!), and each remark
    (!) on what may be meant so, says what to do. Exit status 0 without findings, 1 with, 4 if the bus cannot
    be joined.
    """
    report = Report()
    report.well(about.line())
    urls = [target for target in targets if is_address(target)]
    check_directory(report, place.bus, by_url=bool(urls))
    names = [target for target in targets if not is_address(target)]
    if report.unsafe:
        return _conclude(report, as_json, failures.NO_BUS)  # the bus cannot be joined before that

    async def job(bus: AsyncBus) -> int:
        for url in urls:
            if is_backbone(url):
                from busway.cli.doctor_backbone import check_servers

                await check_servers(report, url, timeout, **place.at_servers(url))
                continue
            await check_url(report, bus, url, place, timeout)
        await check_nodes(report, bus, names, timeout)
        stores = [found.node for found in session.overview(bus).endpoints if found.name == STORE_NAME]
        if stores:
            from busway.cli.doctor_store import check_stores

            await check_stores(report, bus, stores, timeout)
        return _conclude(report, as_json, failures.NEGATIVE)

    return session.run(place, "doctor", job, links=urls)


def is_address(target: str) -> bool:
    """A URL, host:port or an IP address, as `busway connect` takes them; all else may be a node's label."""
    host, colon, port = target.rpartition(":")
    if "://" in target or (host and colon and port.isdecimal()):
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(target.strip("[]"))
        return True
    return False


def _conclude(report: Report, as_json: bool, bad: int) -> int:
    if as_json:
        findings = [{"finding": text, "advice": advice} for text, advice in report.findings]
        remarks = [{"remark": text, "advice": advice} for text, advice in report.remarks]
        output.say_json({"well": report.facts, "remarks": remarks, "findings": findings})
    else:
        for text in report.facts:
            output.say(f"{click.style('ok', fg='green')}   {output.printable(text)}")
        for text, advice in report.remarks:
            output.say(f"{click.style('!', fg='yellow')}    {output.printable(text)}")
            output.say(f"     {output.printable(advice)}")
        for text, advice in report.findings:
            output.say(f"{click.style('!!', fg='red', bold=True)}   {output.printable(text)}")
            output.say(f"     {output.printable(advice)}")
        if not report.findings:
            output.say("nothing is wrong as far as can be seen from here")
    return bad if report.findings else failures.OK


# A link


async def check_url(report: Report, bus: AsyncBus, url: str, place: Place, timeout: float) -> None:
    """Whether the node at a URL can be joined from here, and what it then shows."""
    try:
        async with asyncio.timeout(timeout + 5):  # the handshake itself takes 5 s at the most
            link = await bus.connect(url, **place.dialling(url))
    except busway.LinkRefused as error:
        report.find(f"{url} refuses: {error}", _ADVICE.get(error.code, "see the other program's own log"))
    except TimeoutError:
        report.find(f"{url} does not answer", "is the program stopped, or a firewall on the way?")
    except OSError as error:
        report.find(
            failures.cannot_connect(url, error).message,
            "start one (busway listen-on, bus.listen), or do as the answer says",
        )
    except ValueError as error:
        report.find(str(error), "give a URL such as tcp://host:port")
    else:
        realm = next((one.realm for one in bus.links() if one.address == link.address), "localnet")
        report.well(f"{url} is node {output.node_text(link.peer, link.label)}; the link's realm is {realm}")
        await _check_report(report, bus, link.peer, url, realm, timeout)
        _check_joined(report, bus, link.peer, url)
        _check_realm(report, f"a link to {url}", realm, _rows(bus))


async def _check_report(
    report: Report, bus: AsyncBus, node: bytes, name: str, realm: str, timeout: float
) -> None:
    try:
        await bus.request(codes.INTROSPECTION, None, node=node, timeout=timeout)
        report.well(f"{name} tells its state")
    except busway.RequestTimeout:
        report.find(f"{name} takes connections and does not answer", "is its program stopped, or busy?")
    except busway.Undeliverable:
        report.well(
            f"{name} keeps its state to programs of its own user on its own machine: from here only"
            f" endpoints of realm {realm} or wider can be seen"
        )


def _check_joined(report: Report, bus: AsyncBus, node: bytes, url: str) -> None:
    """Whether the programs here have a way to the node, too: this command's own link ends with it."""
    here = [each for each in session.others(bus) if each.id != node]
    if not here:
        return
    if any(each.id == node for each in session.others(bus)):
        report.well(f"the programs here have a way to {url}")
    else:
        report.find(
            f"the programs here have no way to {url}, though it can be joined",
            f"run `busway bridge {url}`, or have one of them connect to it",
        )


def _rows(bus: AsyncBus) -> list[tuple[str, str]]:
    """Name and realm of what the programs here have."""
    return [(found.name or found.id.hex()[:8], found.realm) for found in session.overview(bus).endpoints]


def _check_realm(report: Report, what: str, realm: str, known: list[tuple[str, str]]) -> bool:
    """Whether what is registered passes a link of that realm; whether there was something to say."""
    passing = [name for name, own in known if not is_narrower(own, realm)]
    kept = sorted({name for name, own in known if is_narrower(own, realm) and own == "localnet"})
    advice = f"{_LOCALNET}, or register them with realm={realm!r}"
    names = ", ".join(kept[:5])
    if kept and not passing:
        report.find(f"{what} has realm {realm}, and none of the endpoints here passes it: {names}", advice)
    elif kept:
        report.remark(
            f"{what} has realm {realm}, and of the endpoints here these do not pass: {names}", advice
        )
    return bool(kept)


def _check_beyond(report: Report, what: str, realm: str, found: Found) -> None:
    """Whether anything is seen of the nodes to which the way is as wide as that."""
    beyond = {row["node"] for row in found.table("nodes") if is_narrower("localnet", row["realm"])}
    seen = [row for row in found.table("seen") if row["endpoint"] not in (codes.INTROSPECTION, codes.LOOKUP)]
    if not any(row["node"] in beyond for row in seen):
        report.remark(
            f"{what} has realm {realm}, and nothing is seen behind it",
            f"if there should be: {_LOCALNET}, or register with realm={realm!r} there",
        )


# Nodes


async def check_nodes(report: Report, bus: AsyncBus, names: list[str], timeout: float) -> None:
    """Looks at what the programs see of each other; of two named ones, why they do not."""
    found = await survey(bus, timeout, codes.ASK_AUDIT)
    for each in found:
        if each.answer == SILENT:
            report.find(
                f"{_name(each)} does not answer", "is its program stopped (SIGSTOP, a debugger), or busy?"
            )
        elif each.answer == OTHER_VERSION:
            report.find(f"{_name(each)} {each.reason}", "the two cannot be on one bus before that")
        elif each.answer in (BEYOND, REFUSED):
            report.well(
                f"{_name(each)} keeps its state to its own machine: if an endpoint of it is missing here, its"
                " realm may be narrower than a link on the way, or a policy there hides it (each a"
                " possible cause, not visible from here)"
            )
    told = [each for each in found if each.answer == OK]
    report.well(f"{output.counted(len(found), 'node')} known, {len(told)} of them tell their state")
    chosen = []
    for name in names:
        matching = session.matching(name, [each.info for each in found])
        if not matching:
            report.find(
                f"no node matches {name!r}",
                "it is not running, on a bus of another name, another user's, or no node here has a way to"
                " it: try `busway doctor URL` with its address",
            )
        chosen += [each for each in found if each.info in matching[:1]]
    guarded = any(each.report.get("guarded") for each in told)
    _check_pairs(report, chosen if len(chosen) > 1 else told, guarded)
    _check_links(report, told)
    check_dialled(report, told)
    _count_refused(report, told)
    check_shares(report, told)
    check_denials(report, told)
    check_names(report, told)
    check_ids(report, told, time.time())
    for each in chosen:
        with contextlib.suppress(Exception):
            hops = await bus.trace("", node=each.id, timeout=timeout)
            way = " - ".join(f"{hop.label or hop.node.hex()[:8]} ({hop.realm})" for hop in hops)
            report.well(f"the way from here to {_name(each)}: {way or 'direct'}")


def _name(found: Found) -> str:
    return output.node_text(found.id, found.label)


def _check_pairs(report: Report, nodes: list[Found], guarded: bool) -> None:
    for one in nodes:
        for other in nodes:
            if one is not other and one.report and not one.info.leaf:
                check_pair(report, one, other, guarded)


def _check_links(report: Report, told: list[Found]) -> None:
    """Whether the links that lead away from here let pass what the programs here have."""
    known = [
        (entry["name"] or entry["endpoint"].hex()[:8], entry["realm"])
        for each in told
        for entry in each.endpoints()
    ]
    for each in told:
        for link in each.table("links"):
            if is_narrower("localnet", link["realm"]):
                what = f"the link of {_name(each)} to {link['label'] or 'a node'} ({link['address']})"
                if not _check_realm(report, what, link["realm"], known):
                    _check_beyond(report, what, link["realm"], each)


def check_dialled(report: Report, told: list[Found]) -> None:
    """Tells of links that are tried again and again: a finding where the other side has refused them."""
    for each in told:
        for link in each.table("dialled"):
            if link["state"] not in ("connecting", "reconnecting") or not link["error"]:
                continue
            text = f"{_name(each)} has no link to {link['url']}: {link['error']}"
            refusal = failures.REFUSAL.search(link["error"])
            if refusal is not None:
                advice = _ADVICE.get(int(refusal[1]), "do as that says; it is tried again meanwhile")
                report.find(text, advice)
            else:
                report.remark(text, "if the other side is there: check its address; it is tried again")


def _count_refused(report: Report, told: list[Found]) -> None:
    """Tells who came to these nodes' listeners in vain: a finding if it was of late."""
    for each in told:
        crowd = each.report["counters"].get("incoming_turned_away")
        if isinstance(crowd, int) and crowd > 0:
            report.well(
                f"{_name(each)} has turned away {output.counted(crowd, 'client')}: too many came at once"
            )
        refused = each.report["counters"].get("incoming_refused")
        if not isinstance(refused, int) or refused <= 0:
            continue
        age = each.report.get("incoming_refused_ms")
        age = age if isinstance(age, int) else -1  # older nodes do not say it
        known = age >= 0
        last = f", the last {output.duration_text(age)} ago" if known else ""
        text = f"{_name(each)} has refused {output.counted(refused, 'client')} since it started{last}"
        where = "its log, or what `busway listen-on` prints, says whom and why"
        if known and age < _OF_LATE_MS:
            report.find(
                f"{text}: another token, bus name or version, a key that is not trusted, or a router that"
                " may only be a leaf",
                f"give both sides the same, or let them trust each other: {where}",
            )
        else:
            report.well(f"{text}, for its token, key, role, bus name or version: {where}")


def check_shares(report: Report, told: list[Found]) -> None:
    """Tells of links over which more nodes and endpoints are told than there is room for."""
    for each in told:
        for link in each.table("links"):
            over = link.get("over", 0)  # older nodes do not say it
            if isinstance(over, int) and over > 0:
                report.find(
                    f"{_name(each)} has ignored {over} of the nodes and endpoints that"
                    f" {link['label'] or 'a node'} ({link['address']}) told it: they are more than its share",
                    "if so many are not meant to be there, its program is faulty or hostile: end that link",
                )


def check_denials(report: Report, told: list[Found]) -> None:
    """Tells what the policies of these nodes have denied: it may be meant so."""
    for each in told:
        denied = each.report["counters"].get("denied", 0)  # older nodes do not say it
        if isinstance(denied, int) and denied > 0:
            last = "; ".join(_denials(each)[-_DENIALS_SHOWN:])
            report.remark(
                f"the policy of {_name(each)} has denied what others tried, {output.counted(denied, 'time')}"
                f"{f', at last: {last}' if last else ''}",
                f"{_effects(each)}If it is to be allowed: {_EXPLAIN}",
            )


def _denials(found: Found) -> list[str]:
    """Denials that a node has noted, the oldest first."""
    rows = [row["fields"] for row in kept(found) if row["what"] == "denial"]
    told = []
    for row in rows:
        who = row.get("peer_label") or str(row.get("peer", ""))[:8]
        key = row.get("trusted")  # of the link's other side, and this may be a node behind it
        who += f" (over the link of {key})" if key and key != who else ""
        why = f", for {row['why']}" if row.get("why") else ""  # older nodes do not say it
        told.append(f"{who} may not {row.get('action')} {row.get('name') or row.get('endpoint')}{why}")
    return list(dict.fromkeys(told))


def _effects(found: Found) -> str:
    """The effects of what was denied, by what it was."""
    actions = {row["fields"].get("action") for row in kept(found) if row["what"] == "denial"}
    said = dict.fromkeys(_EFFECTS[each] for each in codes.MAY_NAMES if each in actions)
    return "".join(f"{each}. " for each in said)


def check_names(report: Report, told: list[Found]) -> None:
    """Tells of names that several nodes hold, though one at the most can be meant."""
    holders: dict[tuple[bytes, str], dict[bytes, dict[str, Any]]] = {}
    for each in told:
        rows = [(each.id, row) for row in each.endpoints()]
        rows += [(row["node"], row) for row in each.table("seen")]
        for node, row in rows:
            holders.setdefault((row["endpoint"], row["realm"]), {})[node] = row
    for (id, realm), rows_of in holders.items():
        kinds = sorted({row["kind"] for row in rows_of.values()})
        if realm == "process" or len(rows_of) < 2 or (len(kinds) < 2 and "unicast" not in kinds):
            continue
        name = next((row["name"] for row in rows_of.values() if row["name"]), "") or id.hex()[:8]
        nodes = ", ".join(sorted(node.hex()[:8] for node in rows_of))
        report.find(
            f"{output.counted(len(rows_of), 'node')} hold {name} ({' and '.join(kinds)}, {realm}): {nodes}",
            "each is used by those who are nearer: keep one, and give the others another name",
        )


def check_ids(report: Report, told: list[Found], now: float) -> None:
    """Tells of node ids that two programs have at once, so that each ends the links of the other; `now` in
    seconds since 1970. Both ends of such a link note it, so the most that one node has noted counts.
    """
    worst: dict[str, tuple[int, str]] = {}
    for each in told:
        for who, count in _doubles(each, now).items():
            worst[who] = max(worst.get(who, (0, "")), (count, _name(each)))
    for who, (count, by) in worst.items():
        if count >= _DISPLACED_MIN:
            report.find(
                f"two programs are node {who} at once, as {by} has noted: each ends the other's links",
                "they have one key file, on two machines, or one node_id=: make another key at one (`busway"
                " key new`), and let it be trusted; if one of them is not yours somebody has your key",
            )


def _doubles(found: Found, now: float) -> Counter[str]:
    """How often a node has noted of late that another took the place of a node, by that node's id."""
    noted: Counter[str] = Counter()
    for row in kept(found):
        fields = row["fields"]
        if now - row["time"] > _OF_LATE_MS / 1000:
            continue
        if row["what"] == "displaced" and fields.get("text") == _TAKEN_OVER:
            noted[output.uuid_text(found.id) if fields.get("by") == "peer" else str(fields.get("peer"))] += 1
        elif row["what"] == "conflict" and fields.get("about") == "id":
            noted[str(fields.get("peer"))] += _DISPLACED_MIN
    return noted


def check_pair(report: Report, one: Found, other: Found, guarded: bool) -> None:
    """Whether the first has a way to the second, and sees the endpoints that it may see; `guarded`: some node
    has a policy.
    """
    row = next((row for row in one.table("nodes") if row["node"] == other.id), None)
    if row is None:
        report.find(
            f"{_name(one)} has no way to {_name(other)}",
            "no node between them forwards: give one of those with links to both transit=True, or run"
            " `busway bridge`",
        )
        return
    if not other.report:
        return
    seen = {entry["endpoint"] for entry in one.table("seen") if entry["node"] == other.id}
    hidden = [
        entry for entry in other.endpoints() if entry["endpoint"] not in seen and entry["realm"] != "process"
    ]
    narrow = [entry for entry in hidden if is_narrower(entry["realm"], row["realm"])]
    if narrow:
        names = ", ".join(entry["name"] or entry["endpoint"].hex()[:8] for entry in narrow[:5])
        report.find(
            f"{_name(one)} cannot see {output.counted(len(narrow), 'endpoint')} of {_name(other)}: {names}",
            f"the way between them crosses a link of realm {row['realm']}: register them with that realm or"
            " a wider one",
        )
    if len(hidden) > len(narrow):
        count = output.counted(len(hidden) - len(narrow), "endpoint")
        text = f"{_name(one)} has not heard of {count} of {_name(other)}"
        if guarded:
            report.remark(text, f"a policy may keep them apart: {_EXPLAIN}")
            return
        report.find(
            text,
            "if this stays so for more than a few seconds it is a defect of Busway: please report it with"
            " what `busway nodes --json` says",
        )
