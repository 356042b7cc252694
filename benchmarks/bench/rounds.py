"""Measures cases: a checked run, how many messages fill a round, then rounds of all variants in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench.brokers import BrokerFailed
from benchmarks.bench.cases import Arm, Case
from benchmarks.bench.machine import Pace
from benchmarks.bench.progress import Progress
from benchmarks.bench.teams import Team
from benchmarks.bench.variants import Variant
from benchmarks.bench.workers import Busy, WorkerFailed

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
        self.failed: dict[str, str] = {}  # variants that were left out of a case, and why
        self.about: dict[str, str] = {}
        self._teams: dict[tuple[str, str], Team | Exception] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def steps(self, cases: Iterable[Case]) -> int:
        return sum(
            1 + self.settings.rounds for case in cases for arm in case.arms if arm.variant in self.variants
        )

    def measure(self, case: Case) -> dict[str, Any]:
        """All arms of a case: their rounds, by key."""
        found: dict[str, dict[str, Any]] = {}
        for arm in case.arms:
            if arm.variant not in self.variants:
                continue
            self.progress.step(f"{case.title}: {self._title(arm)}, a checked run")
            try:
                count = self._filling(self._team(case, arm), case, arm)
            except (WorkerFailed, BrokerFailed, OSError) as error:
                self.progress.skip(self.settings.rounds)
                self._lost(case, arm, error)
                continue
            found[arm.key] = {"variant": arm.variant, "label": arm.label, "count": count, "rounds": []}
        for number in range(self.settings.rounds):
            for arm in [arm for arm in case.arms if arm.key in found]:
                count = found[arm.key]["count"]
                text = f"round {number + 1} of {self.settings.rounds}, {count:,}"
                self.progress.step(f"{case.title}: {self._title(arm)}, {text}")
                one = self._round_or_again(case, arm, count)
                if one is None:
                    self.progress.skip(self.settings.rounds - 1 - number)
                    del found[arm.key]
                else:
                    found[arm.key]["rounds"].append(one)
        return found

    def retire(self, coming: Iterable[Case]) -> None:
        """Ends the workers that none of the cases to come needs: some teams are many programs."""
        needed = {(arm.team, arm.variant) for case in coming for arm in case.arms}
        for place, team in list(self._teams.items()):
            if place not in needed and isinstance(team, Team):
                team.close()
                del self._teams[place]

    def _title(self, arm: Arm) -> str:
        return f"{self.variants[arm.variant].title} {arm.label}".rstrip()

    def _team(self, case: Case, arm: Arm) -> Team:
        """The arm's workers, which stay for other arms and cases. Raises what kept them from starting."""
        place = (arm.team, arm.variant)
        if place not in self._teams:
            self.progress.note(f"{self._title(arm)}: starting")
            try:
                team = self.kinds[arm.team](self.variants[arm.variant], self.packages)
                self._teams[place] = self.stack.enter_context(team)
                self.about[arm.variant] = team.about()
            except (WorkerFailed, BrokerFailed, OSError) as error:
                self._teams[place] = error
        team_or_error = self._teams[place]
        if isinstance(team_or_error, Exception):
            raise team_or_error
        team_or_error.prepare(self._job(case, arm, 0))
        return team_or_error

    def _lost(self, case: Case, arm: Arm, error: Exception) -> None:
        """Whatever fails is left out of this case, and its workers are not used again."""
        place = (arm.team, arm.variant)
        team = self._teams.get(place)
        if isinstance(team, Team):
            team.close()
            # What did not even start fails in each case; what fails in one starts anew for the next.
            del self._teams[place]
        self.failed[arm.variant] = f"{case.title}: {error}"

    def _job(self, case: Case, arm: Arm, count: int) -> dict[str, Any]:
        return {**case.job, **arm.job, "count": count}

    def _filling(self, team: Team, case: Case, arm: Arm) -> int:
        """How many messages fill the time of a round, after a first run whose messages are looked at."""
        do = arm.do or case.do
        count, wanted, most = team.whole(case.count), self.settings.seconds, case.most(team.variant)
        team.check(do, self._job(case, arm, count))
        while True:
            took = max(1e-6, team.run(do, self._job(case, arm, count))["wall"])
            if took >= wanted * TRIAL_PART or count >= most:
                return team.whole(max(1, case.count // 4, min(most, int(count * wanted / took))))
            count = team.whole(min(most, int(count * min(GROW, 1 + wanted * 0.5 / took))))

    def _round_or_again(self, case: Case, arm: Arm, count: int) -> dict[str, Any] | None:
        """A round, with new workers if these fail, which is told in the end; None if these fail, too."""
        for _ in range(2):
            try:
                return self._round(self._team(case, arm), case, arm, count)
            except (WorkerFailed, BrokerFailed, OSError) as error:
                self._lost(case, arm, error)
        return None

    def _round(self, team: Team, case: Case, arm: Arm, count: int) -> dict[str, Any]:
        """A round while the machine is as fast as ever; if it never is, that is said."""
        run = team.check if self.settings.checked else team.run
        while True:
            calm = self._wait_calm()
            began = time.monotonic()
            with self._conditions(team, arm):
                told = run(arm.do or case.do, self._job(case, arm, count))
            calm = calm and self.pace.calm()
            if calm or self.patience <= 0:
                break
            self.patience -= time.monotonic() - began
        each = count * arm.copies
        figures = {"wall": told["wall"] / each, **{side: cpu / each for side, cpu in told["cpu"].items()}}
        figures |= told["far"][0].get("figures", {})
        return {**{what: float(f"{seconds:.4g}") for what, seconds in figures.items()}, "calm": calm}

    @contextmanager
    def _conditions(self, team: Team, arm: Arm) -> Iterator[None]:
        """The cores and the other programs of the arm."""
        if arm.pin:
            team.pin(arm.pin)
        try:
            with Busy(len(os.sched_getaffinity(0)) if arm.load else 0):
                yield
        finally:
            if arm.pin:
                team.pin("")

    def _wait_calm(self) -> bool:
        """Waits while there is patience left."""
        while not self.pace.calm():
            if self.patience <= 0:
                return False
            self.patience -= CALM_WAIT_S
            time.sleep(CALM_WAIT_S)
        return True
