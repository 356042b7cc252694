"""The workers of one arm, together: they begin a round at one word, and all tell their figures."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benchmarks.bench.brokers import Broker
from benchmarks.bench.proof import MASK, digest_of, lane_seed
from benchmarks.bench.variants import Variant
from benchmarks.bench.workers import Worker, WorkerFailed, cpu_seconds, end_all, pin

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
        self.far: list[Worker] = []
        self.others: list[Worker] = []
        self.broker: Broker | None = None

    def __enter__(self) -> Self:
        try:
            self.place = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bw"))
            if self.variant.broker:
                self.broker = Broker(self.variant.broker, self.place)
                self._stack.callback(self.broker.end)
            self._stack.callback(lambda: end_all(self.workers()))
            self.open()
            self._compare_core()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers. Twice is once."""
        self._stack.close()

    def open(self) -> None:
        """Near is up before far starts."""
        self.near = self.start("Near")
        self.far = self.start("Far")

    def start(self, role: str, module: str = "", count: int = 1) -> list[Worker]:
        """So many workers of that role, up."""
        package = self.variant.package(self.packages)
        name = f"{module or self.variant.module}:{role}"
        made: list[Worker] = []
        try:
            for _ in range(count):
                made.append(Worker(name, self.place, package, self.variant.environment()))  # noqa: PERF401
            for worker in made:
                worker.wait_ready()
        except BaseException:
            end_all(made)
            raise
        return made

    def _compare_core(self) -> None:
        """Each core is what it is called."""
        wanted = {"": "", "pure": "pure Python core", "compiled": "compiled core"}[self.variant.core]
        for worker in self.workers():
            if wanted not in worker.ready:
                raise WorkerFailed(f"{self.variant.key} runs {worker.ready}, not a {wanted}")

    def workers(self) -> list[Worker]:
        return [*self.near, *self.far, *self.others]

    def about(self) -> str:
        return self.near[0].ready

    def pin(self, how: str) -> None:
        """On which cores it runs: "one" for all, "two", one for each side, or "" as the system wants it."""
        every = sorted(os.sched_getaffinity(0))
        far, near = {"one": (every[:1], every[:1]), "two": (every[:1], every[1:2]), "": (every, every)}[how]
        for workers, cores in ((self.far, far), (self.near, near or every), (self.others, near or every)):
            for worker in workers:
                pin(worker.pid, set(cores))

    def whole(self, count: int) -> int:
        """The count nearest to this that it can do."""
        return count

    def prepare(self, job: dict[str, Any]) -> None:
        """All that a case needs before a round; once is enough."""

    def ask(self, do: str, job: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The answers of near and of far."""
        for worker in (*self.near, *self.far):
            worker.tell(do, **job)
        # Near first: who finds something wrong reads no more.
        return [worker.hear() for worker in self.near], [worker.hear() for worker in self.far]

    def run(self, do: str, job: dict[str, Any]) -> dict[str, Any]:
        """One round: seconds, processor seconds of each side, and what the workers tell."""
        before = self._cpu()
        near, far = self.ask(do, job)
        after = self._cpu()
        wall = max(told["ended"] for told in (*far, *near)) - min(told["began"] for told in far)
        spent = {side: after[side] - before[side] for side in after}
        return {"far": far, "near": near, "wall": wall, "cpu": spent}

    def _cpu(self) -> dict[str, float]:
        """Processor time so far, of each side."""
        sides = {"near": self.near, "far": self.far, "other": self.others}
        for workers in sides.values():
            for worker in workers:
                worker.tell("cpu")
        spent = {side: sum(one.hear()["cpu"] for one in workers) for side, workers in sides.items()}
        if self.broker is not None:
            spent["other"] += cpu_seconds(self.broker.pid)
        return spent

    def check(self, do: str, job: dict[str, Any]) -> dict[str, Any]:
        """A round in which each message has a number, of which the workers prove that all came, in order.

        Raises:
            WorkerFailed: they do not.
        """
        seed = secrets.randbelow(SEED_MAX)
        told = self.run(do, {**job, "seed": seed})
        digest, proofs = self.digest(seed, job["count"]), 0
        for one in (*told["far"], *told["near"]):
            if one.get("digest", digest) != digest or one.get("came", job["count"]) != job["count"]:
                raise WorkerFailed(
                    f"{self.variant.key}, {do}: not all {job['count']:,} messages came, once and in order"
                )
            proofs += "digest" in one or "came" in one
        if proofs < len(self.near):
            raise WorkerFailed(f"{self.variant.key}, {do}: not every worker proves what came")
        return told

    def digest(self, seed: int, count: int) -> int:
        """The digest of who has got all."""
        return digest_of(seed, count)


class Many(Team):
    """Several that send to one."""

    senders = 8

    def open(self) -> None:
        self.near = self.start("Near")
        self.far = self.start("Far", count=self.senders)

    def ask(self, do: str, job: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Each sends its part; `count` is a multiple of the senders."""
        seed, part = job.get("seed", -1), job["count"] // self.senders
        self.near[0].tell(do, **{**job, "lanes": 1})
        for number, worker in enumerate(self.far):
            worker.tell(do, **{**job, "count": part, "seed": seed if seed < 0 else lane_seed(seed, number)})
        return [self.near[0].hear()], [worker.hear() for worker in self.far]

    def digest(self, seed: int, count: int) -> int:
        part = count // self.senders
        return sum(digest_of(lane_seed(seed, number), part) for number in range(self.senders)) & MASK

    def whole(self, count: int) -> int:
        return max(1, count // self.senders) * self.senders


class FanOut(Team):
    """A publisher, and subscribers in processes of their own."""

    subscribers = 50

    def open(self) -> None:
        self.far = self.start("Publisher")
        self.near = self.start("Subscriber", count=self.subscribers)
        self.far[0].ask("meet", count=0, others=self.subscribers)


def fan_out(subscribers: int) -> type[FanOut]:
    return type("FanOut", (FanOut,), {"subscribers": subscribers})


class Line(Team):
    """Far has one link, to near."""

    module = "benchmarks.bench.systems.busway_lines"

    def open(self) -> None:
        self.near = self.start("Near", self.module)
        self.far = self.start("Far", self.module)


class Bridged(Line):
    """Far has one link, to a bridge."""

    def open(self) -> None:
        self.near = self.start("Near", self.module)
        self.others = self.start("Bridge", self.module)
        self.far = self.start("FarBehind", self.module)


class Turns(Team):
    """Near has many endpoints, to which far sends in turn."""

    module = "benchmarks.bench.systems.busway_turns"
    grown = 1  # endpoints that both know

    def open(self) -> None:
        self.near = self.start("Near", self.module)
        self.far = self.start("Far", self.module)

    def pin(self, how: str) -> None:
        """On which cores it runs: "one" for all, "two", one for each side, or "" as the system wants it."""
        every = sorted(os.sched_getaffinity(0))
        far, near = {"one": (every[:1], every[:1]), "two": (every[:1], every[1:2]), "": (every, every)}[how]
        for workers, cores in ((self.far, far), (self.near, near or every), (self.others, near or every)):
            for worker in workers:
                pin(worker.pid, set(cores))

    def prepare(self, job: dict[str, Any]) -> None:
        """Each endpoint is sent to once before: what is measured is not the first message of each."""
        others = job["others"]
        if others > self.grown:
            self.ask("grow", {"count": 0, "others": others})
            self.ask("turn", {"count": others, "others": others})
            self.grown = others


TEAMS: dict[str, type[Team]] = {
    "pair": Team,
    "line": Line,
    "bridge": Bridged,
    "turns": Turns,
    "many": Many,
    **{f"fan-{count}": fan_out(count) for count in (1, 10, 50)},
}
