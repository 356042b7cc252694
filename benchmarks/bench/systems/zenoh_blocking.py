"""zenoh's Python interface, which blocks: two peers, joined over a Unix socket, without scouting.

As its own throughput example: a declared publisher that waits when a link is congested. The receiver takes
samples out of a channel; round trips are queries of a declared querier.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from typing import Any

import zenoh

from benchmarks.bench.proof import Job, found, take
from benchmarks.bench.systems.roles import HIGH_WATER, Role

WAY, TRIP = "bench/way", "bench/trip"
MATCH_S = 10.0


class _Session(Role):
    where = ""  # "listen" or "connect"

    def open(self) -> None:
        config = zenoh.Config()
        config.insert_json5("mode", '"peer"')
        config.insert_json5("scouting/multicast/enabled", "false")
        config.insert_json5("scouting/gossip/enabled", "false")
        config.insert_json5("listen/endpoints", "[]")
        config.insert_json5(f"{self.where}/endpoints", json.dumps([f"unixsock-stream/{self.place}/zenoh"]))
        self.session = self.stack.enter_context(zenoh.open(config))

    def about(self) -> str:
        return f"eclipse-zenoh {importlib.metadata.version('eclipse-zenoh')}"


class Near(_Session):
    """Takes what is sent, and answers."""

    where = "listen"

    def open(self) -> None:
        super().open()
        self.way_in = self.session.declare_subscriber(WAY, zenoh.handlers.FifoChannel(HIGH_WATER))
        self.queryable = self.session.declare_queryable(TRIP, self._echo)

    def _echo(self, query: zenoh.Query) -> None:
        assert query.payload is not None
        query.reply(TRIP, query.payload)

    def way(self, job: Job) -> dict[str, Any]:
        receive = self.way_in.recv
        return take(job.count, lambda: receive().payload.to_bytes(), job.reader())

    def trip(self, job: Job) -> None:
        """It answers whenever it is asked."""


class Far(_Session):
    """Sends, and asks."""

    where = "connect"

    def open(self) -> None:
        super().open()
        block = zenoh.CongestionControl.BLOCK
        self.way_out = self.session.declare_publisher(WAY, congestion_control=block)
        self.querier = self.session.declare_querier(TRIP)
        until = time.monotonic() + MATCH_S
        while not all(one.matching_status.matching for one in (self.way_out, self.querier)):  # type: ignore[attr-defined]
            if time.monotonic() > until:
                raise TimeoutError("the other peer was not found")
            time.sleep(0.01)

    def way(self, job: Job) -> None:
        put = self.way_out.put
        for payload in job.payloads():
            put(payload)

    def trip(self, job: Job) -> dict[str, Any]:
        get, reader, watch = self.querier.get, job.reader(), job.watch()
        for payload in job.payloads():
            for reply in get(payload=payload):
                assert reply.ok is not None
                came = reply.ok.payload.to_bytes()
                if reader is not None:
                    reader(came)
                if watch is not None:
                    watch.lap()
        return found(reader, watch)
