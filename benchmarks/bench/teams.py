"""The workers of one variant, together: they begin a round at one word, and all tell their figures."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benchmarks.bench.proof import digest_of
from benchmarks.bench.variants import Variant
from benchmarks.bench.workers import Worker, WorkerFailed, end_all

SEED_MAX = 1 << 62


class Team:
    """Near and far of one variant, in processes of their own. `far` begins a round, and its clock.

    Args:
        packages: the folder of `busway` for "pure" and for "compiled".
    """

    def __init__(self, variant: Variant, packages: dict[str, Path]) -> None:
        self.variant, self.packages = variant, packages
        self._stack = ExitStack()
        self.near: list[Worker] = []
        self.others: list[Worker] = []

    def __enter__(self) -> Self:
        try:
            self.place = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bw"))
            self._stack.callback(lambda: end_all(self.workers()))
            self.far: Worker | None = None
            self.open()
            self._compare_core()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self) -> None:
        """Near is up before far starts."""
        self.near = [self.start("Near")]
        self.near[0].wait_ready()
        self.far = self.start("Far")
        self.far.wait_ready()

    def _compare_core(self) -> None:
        """Each core is what it is called."""
        wanted = {"": "", "pure": "pure Python core", "compiled": "compiled core"}[self.variant.core]
        for worker in self.workers():
            if wanted not in worker.ready:
                raise WorkerFailed(f"{self.variant.key} runs {worker.ready}, not a {wanted}")

    def start(self, role: str, place: str = "") -> Worker:
        package = self.variant.package(self.packages)
        name = f"{self.variant.module}:{role}"
        return Worker(name, place or self.place, package, self.variant.environment())

    def workers(self) -> list[Worker]:
        return [*self.near, *([self.far] if self.far is not None else []), *self.others]

    def about(self) -> str:
        return self.near[0].ready

    def run(self, do: str, job: dict[str, Any]) -> dict[str, Any]:
        """One round: seconds, processor seconds of each side, and what else far tells."""
        before = self._cpu()
        for worker in self.near:
            worker.tell(do, **job)
        assert self.far is not None
        self.far.tell(do, **job)
        near = [worker.hear() for worker in self.near]  # first: who finds something wrong reads no more
        far = self.far.hear()
        after = self._cpu()
        ended = max(told["ended"] for told in (far, *near))
        spent = {side: after[side] - before[side] for side in after}
        return {"far": far, "near": near, "wall": ended - far["began"], "cpu": spent}

    def _cpu(self) -> dict[str, float]:
        """Processor time so far, of each side."""
        sides = {"near": self.near, "far": [self.far] if self.far else [], "other": self.others}
        for workers in sides.values():
            for worker in workers:
                worker.tell("cpu")
        return {side: sum(worker.hear()["cpu"] for worker in workers) for side, workers in sides.items()}

    def check(self, do: str, job: dict[str, Any]) -> dict[str, Any]:
        """A round in which each message has a number, of which the workers prove that all came, in order.

        Raises:
            WorkerFailed: they do not.
        """
        seed = secrets.randbelow(SEED_MAX)
        told = self.run(do, {**job, "seed": seed})
        digest, proofs = digest_of(seed, job["count"]), 0
        for one in (told["far"], *told["near"]):
            if one.get("digest", digest) != digest or one.get("came", job["count"]) != job["count"]:
                raise WorkerFailed(
                    f"{self.variant.key}, {do}: not all {job['count']:,} messages came, once and in order"
                )
            proofs += "digest" in one or "came" in one
        if not proofs:
            raise WorkerFailed(f"{self.variant.key}, {do}: no worker proves what came")
        return told
