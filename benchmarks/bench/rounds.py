"""Measures cases: a checked run, how many messages fill a round, then rounds of all variants in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.bench.cases import Case
from benchmarks.bench.machine import Pace
from benchmarks.bench.progress import Progress
from benchmarks.bench.teams import Team
from benchmarks.bench.variants import Variant
from benchmarks.bench.workers import WorkerFailed

CALM_WAIT_S = 0.1
GROW = 12  # times more messages in the next trial run, at the most
TRIAL_PART = 0.3  # of a round: a trial run that takes as long tells how many fill one


class Settings:
    """How much is measured.

    Args:
        rounds: of each variant of each case.
        seconds: of each round, about.
        checked: every round is a checked one.
        patience: seconds that rounds on a slow machine may cost in all: waiting, and rounds thrown away.
    """

    def __init__(
        self, rounds: int = 5, seconds: float = 1 / 3, checked: bool = False, patience: float = 30.0
    ) -> None:
        self.rounds, self.seconds, self.checked, self.patience = rounds, seconds, checked, patience


class Bench:
    """Teams that are started when they are first needed, and what they measured.

    Args:
        variants: by key, those that may take part.
        teams: the kinds of teams, by name.
        packages: the folders of `busway`, pure and compiled.
    """

    def __init__(
        self,
        variants: dict[str, Variant],
        teams: Mapping[str, Callable[[Variant, dict[str, Path]], Team]],
        packages: dict[str, Path],
        settings: Settings,
        progress: Progress,
    ) -> None:
        self.variants, self.kinds, self.packages = variants, teams, packages
        self.settings, self.progress = settings, progress
        self.stack = ExitStack()
        self.pace, self.patience = Pace(), settings.patience
        self.absent: dict[str, str] = {}  # variants that cannot take part, and why
        self.about: dict[str, str] = {}
        self._teams: dict[tuple[str, str], Team | None] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def steps(self, cases: Iterable[Case]) -> int:
        return sum(
            1 + self.settings.rounds for case in cases for key in case.variants if key in self.variants
        )

    def measure(self, case: Case) -> dict[str, Any]:
        """All variants of a case: their rounds, by key."""
        found: dict[str, dict[str, Any]] = {}
        teams: dict[str, Team] = {}
        for key in case.variants:
            team = self._team(case, key)
            if team is None:
                self.progress.skip((1 + self.settings.rounds) * (key in self.variants))
                continue
            self.progress.step(f"{case.title}: {team.variant.title}, a checked run")
            try:
                count = self._filling(team, case)
            except WorkerFailed as error:
                self._lost(case, key, error)
                continue
            teams[key], found[key] = team, {"count": count, "rounds": []}
        for number in range(self.settings.rounds):
            for key, team in list(teams.items()):
                count = found[key]["count"]
                text = f"round {number + 1} of {self.settings.rounds}, {count:,}"
                self.progress.step(f"{case.title}: {team.variant.title}, {text}")
                try:
                    found[key]["rounds"].append(self._round(team, case, count))
                except WorkerFailed as error:
                    self._lost(case, key, error, number)
                    del teams[key], found[key]
        return found

    def _team(self, case: Case, key: str) -> Team | None:
        place = (case.team, key)
        if key not in self.variants or key in self.absent:
            return None
        if place not in self._teams:
            self.progress.note(f"{self.variants[key].title}: starting")
            try:
                team = self.kinds[case.team](self.variants[key], self.packages)
                self._teams[place] = self.stack.enter_context(team)
                self.about[key] = team.about()
            except (WorkerFailed, OSError) as error:
                self._teams[place] = None
                self.absent[key] = f"cannot start: {error}"
        return self._teams[place]

    def _lost(self, case: Case, key: str, error: WorkerFailed, rounds: int = -1) -> None:
        """A rival that fails is left out from then on; Busway must not fail."""
        if key.startswith("busway"):
            raise error
        self.progress.skip(
            self.settings.rounds - 1 - max(rounds, -1) if rounds >= 0 else self.settings.rounds
        )
        self.absent[key] = f"failed at {case.title}: {error}"

    def _job(self, case: Case, count: int) -> dict[str, Any]:
        return {**case.job, "count": count}

    def _filling(self, team: Team, case: Case) -> int:
        """How many messages fill the time of a round, after a first run whose messages are looked at."""
        team.check(case.do, self._job(case, case.count))
        count, wanted = case.count, self.settings.seconds
        while True:
            took = max(1e-6, team.run(case.do, self._job(case, count))["wall"])
            if took >= wanted * TRIAL_PART or count >= case.most:
                return max(1, min(case.most, int(count * wanted / took)))
            count = min(case.most, int(count * min(GROW, 1 + wanted * 0.5 / took)))

    def _round(self, team: Team, case: Case, count: int) -> dict[str, Any]:
        """A round while the machine is as fast as ever; if it never is, that is said."""
        run = team.check if self.settings.checked else team.run
        while True:
            calm = self._wait_calm()
            began = time.monotonic()
            told = run(case.do, self._job(case, count))
            calm = calm and self.pace.calm()
            if calm or self.patience <= 0:
                break
            self.patience -= time.monotonic() - began
        figures = {"wall": told["wall"] / count, **{side: cpu / count for side, cpu in told["cpu"].items()}}
        return {**figures, **told["far"].get("figures", {}), "calm": calm}

    def _wait_calm(self) -> bool:
        """Waits while there is patience left."""
        while not self.pace.calm():
            if self.patience <= 0:
                return False
            self.patience -= CALM_WAIT_S
            time.sleep(CALM_WAIT_S)
        return True
