"""Three machines of real processes, each a network namespace: the gateway that the traffic crosses dies."""

from __future__ import annotations

import asyncio

import pytest

from tests.rigs.netns import obstacle
from tests.rigs.netns_site import LOAD, TIMEOUT_S, run

REASON = obstacle()
OUTAGE_MAX_S = 60.0  # far less than three keepalive intervals (KEEPALIVE_MS), after which silence tells


@pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces work")
def test_a_killed_gateway_is_replaced_and_no_request_ends_in_silence() -> None:
    # Without ttl it would be a matter of time who hears that nobody has the endpoint.
    outcome = asyncio.run(run(4.0, ttl=TIMEOUT_S))
    assert outcome.way_before == ["gateway", "gateway", "service/2"]
    assert outcome.way_after == ["gateway", "gateway", "gateway", "service/2"]
    assert outcome.silent == 0
    assert outcome.gap_s < OUTAGE_MAX_S
    failed = {kind: count for kind, count in outcome.kinds.items() if kind != "replied"}
    assert set(failed) <= {
        "undeliverable LOST_AFTER_SENDING",
        "undeliverable NO_ROUTE",
        "undeliverable OVERTAKEN",
        "RequestTimeout",
    }
    assert sum(failed.values()) <= 4 * LOAD
    assert outcome.kinds["replied"] > 10 * LOAD
