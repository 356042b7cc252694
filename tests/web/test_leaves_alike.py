"""The three leaves (core, boards, JavaScript) in the same sessions: the same outcomes, errors and bytes."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.rigs.alike import ScriptLeaf, Sessions, compare

SESSIONS = 400
SEED = 7


@pytest.fixture(scope="module")
def script() -> Iterator[ScriptLeaf]:
    made = ScriptLeaf()
    yield made
    made.close()


def test_all_leaves_make_the_same_of_a_session(script: ScriptLeaf) -> None:
    """A failure is replayed by its seed: `compare(Sessions(random.Random(seed)).draw(), ScriptLeaf())`."""
    ends: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    for seed in range(SEED, SEED + SESSIONS):
        (_, core), *others = compare(Sessions(random.Random(seed)).draw(), script)
        for name, other in others:
            assert other == core, f"the {name} differs from the core in the session of seed {seed}"
        ends[core["closed"]] += 1
        outcomes.update(status for status, *_ in core["outcomes"].values())
    # That these sessions come far enough to tell something: links that end in many ways, and some that live.
    assert {-1, 0, 1, 9, 11, 12, 13, 20} <= set(ends), ends
    every = {"accepted", "taken", "replied", "failed", "undelivered", "timeout", "unknown", "cancelled"}
    assert every <= set(outcomes), outcomes
