"""Memory of an idle link and of an endpoint: what a program grows by when it gets many of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.bench.workers import Worker, end_all

SYSTEM = "benchmarks.bench.systems.busway_memory"
WARM, LINKS, ENDPOINTS = 80, 100, 10_000  # beyond 64 the audit trail, which is no link's, grows no more


def measure(package: Path) -> dict[str, float]:
    """Bytes: "link"; "endpoint", of one that another program has; "endpoint-own" of one with its receiver."""
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(prefix="bw") as place:

        def start(role: str) -> Worker:
            workers.append(Worker(f"{SYSTEM}:{role}", place, package, {}))
            workers[-1].wait_ready()
            return workers[-1]

        try:
            hub, leaves = start("Hub"), start("Leaves")
            leaves.ask("join", count=WARM)
            before = hub.ask("look")
            leaves.ask("join", count=LINKS)
            after = hub.ask("look")
            link = (after["private"] - before["private"]) / (after["links"] - before["links"])
            leaves.end()
            workers.remove(leaves)
            return {"link": link, **_endpoints(hub, start("Hub"))}
        finally:
            end_all(workers)


def _endpoints(hub: Worker, other: Worker) -> dict[str, float]:
    hub.ask("register", count=WARM)
    other.ask("learn", count=WARM)
    before = [worker.ask("look")["private"] for worker in (hub, other)]
    hub.ask("register", count=ENDPOINTS)
    other.ask("learn", count=WARM + ENDPOINTS)
    after = [worker.ask("look")["private"] for worker in (hub, other)]
    own, known = ((b - a) / ENDPOINTS for a, b in zip(before, after, strict=True))
    return {"endpoint": known, "endpoint-own": own}
