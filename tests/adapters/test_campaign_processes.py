"""A seeded random run of real programs that join, leave, stop and are killed with kill -9."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.adapters.campaign import SLOTS, Campaign, judge
from tests.adapters.tools import until
from tests.rigs.tree import ROOT

DURATION_S = 8.0  # at least; a busy machine takes as long as it needs
LIVES, KILLED, ASKED = 7, 2, 1000
SEED = 20


@pytest.mark.timeout(480)
async def test_programs_that_come_and_go(place: Path) -> None:
    verdict = await Campaign(place, SEED).run(DURATION_S, LIVES, KILLED, ASKED)
    assert verdict.faults == [], f"seed {SEED}: {verdict}"
    assert verdict.killed >= KILLED
    assert verdict.lives >= LIVES
    assert verdict.asked > ASKED
    assert verdict.delivered > ASKED
    assert verdict.outcomes["done"] > verdict.asked / 4


async def test_its_programs_end_with_whoever_started_them(place: Path) -> None:
    """However that ends: here with kill -9."""
    program = "import sys; from tests.adapters.test_campaign_processes import play; play(sys.argv[1])"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(place)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await until(lambda: len(list(place.glob("*.notes"))) >= SLOTS, 60)
    process.kill()
    await process.stdout.read()  # which all its programs inherited: the last of them is gone


class Standing(Campaign):
    """A campaign in which everybody stays."""

    async def step(self) -> None:
        pass


def play(directory: str) -> None:
    asyncio.run(Standing(Path(directory), SEED).run(3600))


GOOD = """
asked 1.pool.1
ran 1.pool.1
outcome 1.pool.1 done
got inbox 1.inbox0.1
got inbox 1.inbox0.3
end
"""


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("", ""),
        ("ran 1.pool.1", "ran 2 times"),
        ("outcome 1.pool.1 done", "two outcomes"),
        ("got inbox 1.inbox0.2", "after"),
        ("got inbox 1.inbox0.3", "delivered 2 times"),
        ("asked 1.pool.2", "no outcome"),
        ("asked 1.pool.2\noutcome 1.pool.2 done", "nobody took it"),
        ("asked 1.pool.2\nran 1.pool.2\noutcome 1.pool.2 undeliverable 4", "its sender was told"),
        ("fault 1 out of order", "out of order"),
    ],
)
def test_the_judge_sees_each_fault(tmp_path: Path, more: str, fault: str) -> None:
    (tmp_path / "1.notes").write_text(GOOD.lstrip() + more)
    faults = judge(tmp_path, 1, set(), []).faults
    assert any(fault in text for text in faults) if fault else faults == []
