"""Workers of the harness that tell what is not so, over a raw socket."""

from __future__ import annotations

from benchmarks.bench.proof import Job
from benchmarks.bench.systems import raw_blocking


class Near(raw_blocking.Near):
    """The job's `rest` says which lie."""

    def way(self, job: Job) -> dict[str, int]:
        return {"digest": 0} if job.rest.get("lie") == "count" else super().way(job)


class Far(raw_blocking.Far):
    def way(self, job: Job) -> None:
        payloads = list(job.payloads())
        lie = job.rest.get("lie")
        if lie == "order":
            payloads[3:5] = reversed(payloads[3:5])
        if lie == "loss":
            payloads[3:4] = []
            payloads.append(payloads[-1])
        for payload in payloads:
            self.stream.sendall(raw_blocking.LENGTH.pack(len(payload)) + payload)
