"""What `busway doctor` makes of what nodes tell: shares that are used up, names that two hold."""

from __future__ import annotations

from typing import Any

import pytest

from busway.adapters.records import NodeInfo
from busway.cli.doctor import (
    Report,
    check_denials,
    check_dialled,
    check_names,
    check_pair,
    check_shares,
)
from busway.cli.survey import OK, Found
from busway.errors import LinkRefused
from busway.protocol import codes


def found(letter: str, **report: Any) -> Found:
    return Found(NodeInfo(letter.encode() * 16, letter, False), OK, report)


def row(kind: str, realm: str = "localnet", **more: Any) -> dict[str, Any]:
    return {"endpoint": b"e" * 16, "name": "lab/pump", "kind": kind, "realm": realm, **more}


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
    assert "NO_PERMISSION" in advice
    assert "busway policy explain" in advice
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
