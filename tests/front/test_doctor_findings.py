"""What `busway doctor` makes of what nodes tell: shares that are used up, names that two hold."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from busway import AsyncBus, Key, Retry
from busway.adapters.records import NodeInfo
from busway.cli import output
from busway.cli.doctor import (
    Report,
    check_denials,
    check_dialled,
    check_ids,
    check_names,
    check_pair,
    check_shares,
    is_address,
)
from busway.cli.survey import OK, Found
from busway.errors import LinkRefused
from busway.protocol import codes
from tests.adapters.tools import until


def found(letter: str, **report: Any) -> Found:
    return Found(NodeInfo(letter.encode() * 16, letter, False), OK, report)


def row(kind: str, realm: str = "localnet", **more: Any) -> dict[str, Any]:
    return {"endpoint": b"e" * 16, "name": "lab/pump", "kind": kind, "realm": realm, **more}


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("tcp://desk", True),
        ("desk:7660", True),
        ("192.168.1.20", True),
        ("::1", True),
        ("[fe80::1]", True),
        ("desk", False),
        ("12", False),
        ("ab:cd", False),
    ],
)
def test_addresses_are_told_from_labels(target: str, address: bool) -> None:
    assert is_address(target) is address


def test_what_a_link_told_beyond_its_share_is_a_finding() -> None:
    report = Report()
    link = {"label": "gateway", "address": "10.0.0.9:7660"}
    check_shares(report, [found("a", links=[link | {"over": 7}, link | {"over": 0}, link])])
    [(text, advice)] = report.findings
    assert "has ignored 7 of the nodes and endpoints that gateway (10.0.0.9:7660) told" in text
    assert "end that link" in advice


@pytest.mark.parametrize(
    ("mine", "other", "told"),
    [
        (row("unicast"), row("unicast"), True),
        (row("anycast"), row("broadcast"), True),
        (row("anycast"), row("anycast"), False),
        (row("unicast"), row("unicast", "userspace"), False),
        (row("unicast", "process"), row("unicast", "process"), False),
    ],
)
def test_a_name_that_two_hold_is_a_finding(mine: dict[str, Any], other: dict[str, Any], told: bool) -> None:
    report = Report()
    nodes = [found("a", endpoints=[mine], seen=[other | {"node": b"b" * 16}]), found("b", endpoints=[other])]
    check_names(report, nodes)
    assert [text.split(":")[0] for text, _ in report.findings] == (
        [f"2 nodes hold lab/pump ({' and '.join(sorted({mine['kind'], other['kind']}))}, localnet)"]
        if told
        else []
    )


def test_links_that_are_tried_again_and_again() -> None:
    """Refused ones are findings, with what mends them; others may be of a machine that is away."""
    urls = ["tcp://10.0.0.1", "tcp://10.0.0.2", "tcp://10.0.0.3", "tcp://10.0.0.4"]
    errors = [str(LinkRefused(codes.UNTRUSTED, "not trusted")), "Connection refused", "", "was lost"]
    states = ["reconnecting", "connecting", "connecting", "connected"]
    rows = [
        {"url": url, "state": state, "error": error}
        for url, state, error in zip(urls, states, errors, strict=True)
    ]
    report = Report()
    check_dialled(report, [found("a", dialled=rows)])
    [(text, advice)] = report.findings
    assert "has no link to tcp://10.0.0.1: link refused: not trusted" in text
    assert "busway pair" in advice
    [(text, _)] = report.remarks
    assert "has no link to tcp://10.0.0.2: Connection refused" in text


def test_refusal_without_advice_of_its_own_is_a_finding_all_the_same() -> None:
    report = Report()
    error = str(LinkRefused(codes.MALFORMED, "nonsense"))
    check_dialled(report, [found("a", dialled=[{"url": "u", "state": "connecting", "error": error}])])
    assert [advice for _, advice in report.findings] == ["do as that says; it is tried again meanwhile"]


def test_what_every_node_has_is_none() -> None:
    report = Report()
    state = row("anycast", "userspace", endpoint=codes.INTROSPECTION)
    check_names(report, [found(letter, endpoints=[state]) for letter in "ab"])
    assert report.findings == []


def test_what_a_policy_denied_is_a_remark() -> None:
    fields = {
        "action": "call",
        "name": "lab/door",
        "peer": "3f2504e0-4f89",
        "peer_label": "pump",
        "trusted": "pump",
    }
    rows = [{"time": 1.0, "what": "denial", "fields": fields}] * 2
    behind = {"action": "send", "name": "lab/door", "peer": "4f2504e0-4f89", "trusted": "pump"}
    rows.append({"time": 1.5, "what": "denial", "fields": behind})
    rows.append({"time": 2.0, "what": "denial", "fields": {"action": "serve", "endpoint": "x", "peer": "ab"}})
    rows.append({"time": 3.0, "what": "join", "fields": {}})
    report = Report()
    quiet = [found("b", counters={}), found("c", counters={"denied": 0})]
    check_denials(report, [found("a", counters={"denied": 7}, audit=rows), *quiet])
    [(text, advice)] = report.remarks
    assert "has denied what others tried, 7 times, at last: pump may not call lab/door; " in text
    assert "; 4f2504e0 (over the link of pump) may not send lab/door; ab may not serve x" in text
    assert advice.startswith(
        "What may not be served or subscribed to is not there for others (NO_ENDPOINT). Who called or sent"
        " got NO_PERMISSION. If it is to be allowed: `busway policy explain"
    )
    report = Report()
    shown = {"action": "see", "name": "x", "peer_label": "tap", "why": "rule 2 (line 8) says so"}
    check_denials(
        report,
        [found("a", counters={"denied": 1}, audit=[{"time": 1.0, "what": "denial", "fields": shown}])],
    )
    [(text, advice)] = report.remarks
    assert text.endswith("at last: tap may not see x, for rule 2 (line 8) says so")
    assert advice.startswith("What may not be seen is not there for who asked (NO_ENDPOINT). If it")
    report = Report()
    check_denials(report, [found("a", counters={"denied": 1})])
    assert report.remarks[0][0].endswith("has denied what others tried, 1 time")


@pytest.mark.parametrize("guarded", [False, True])
def test_what_a_policy_hides_is_no_defect(guarded: bool) -> None:
    report = Report()
    one = found("a", seen=[], nodes=[{"node": b"b" * 16, "realm": "localnet"}])
    check_pair(report, one, found("b", endpoints=[row("anycast")]), guarded)
    assert bool(report.findings) is not guarded
    assert ("a policy may keep them apart" in str(report.remarks)) is guarded


async def answer(bus: AsyncBus) -> Found:
    """What a bus tells `busway doctor`, as that has it."""
    asked = await bus.request(codes.INTROSPECTION, codes.ASK_AUDIT, node=bus.id)
    return Found(NodeInfo(bus.id, bus.label, False), OK, asked)


def test_two_programs_with_one_key_are_a_finding_at_all_who_see_it() -> None:
    asyncio.run(two_with_one_key())


async def two_with_one_key() -> None:
    """As on two machines: in one process nothing but a file's lock keeps them apart."""
    key, token, again = Key.new(), "a token that all of them know", Retry(0.02, cap=0.02)
    async with AsyncBus(ipc=False, label="hub") as hub, AsyncBus(ipc=False, key=key, label="one") as one:
        url = (await hub.listen("tcp://127.0.0.1:0", token=token)).url
        await one.connect(url, token=token, retry=again)
        assert told_of_ids([await answer(hub), await answer(one)]) == []
        async with AsyncBus(ipc=False, key=key, label="copy") as copy:
            await copy.connect(url, token=token, retry=again)
            await until(lambda: hub.node.counters["links_opened"] > 8)
        for nodes in ([await answer(hub)], [await answer(one)], [await answer(hub), await answer(one)]):
            [(text, advice)] = told_of_ids(nodes)
            assert f"two programs are node {output.uuid_text(key.id)} at once" in text
            assert "one key file, on two machines" in advice
        assert told_of_ids([await answer(hub)], later=601) == []


def told_of_ids(nodes: list[Found], later: float = 0.0) -> list[tuple[str, str]]:
    report = Report()
    check_ids(report, nodes, time.time() + later)
    return report.findings


def test_two_live_nodes_with_one_id_are_a_finding() -> None:
    """Of which none ends the other's links: they are at different neighbours. Once displaced is none: a
    program was started again.
    """

    def row(what: str, **fields: Any) -> dict[str, Any]:
        return {"time": 1000.0, "what": what, "fields": {"peer": "a", **fields}}

    report = Report()
    once = row("displaced", text="a newer incarnation of this node took over", by="here")
    check_ids(
        report,
        [found("a", audit=[once, once]), found("b", audit=[once, row("conflict", about="name")])],
        1100,
    )
    assert report.findings == []
    check_ids(report, [found("a", audit=[row("conflict", about="id", text="two live nodes")])], 1100)
    [(text, _)] = report.findings
    assert "two programs are node a at once" in text
