"""Registry and pool: what is used anew, and what never is."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from typing import Any
from weakref import ref

import pytest

from busway.memory.pool import Pool
from busway.memory.region import Region, given, received
from busway.memory.registry import Registry
from busway.memory.system import system
from tests.memory.conftest import Holder
from tests.memory.test_region import PAGE, no_descriptor_more, until
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there it is known who holds a region")


def number(region: Region) -> int:
    return os.fstat(region._fd).st_ino


def test_a_region_is_of_the_size_that_is_asked_for_or_less_than_twice_that() -> None:
    registry = Registry(1 << 30)
    for asked in [*range(1, 70), 4095, 4096, 4097, 65535, 65536, 65537, 1_000_000, (1 << 20) + 1]:
        with registry.take(asked) as region:
            assert asked <= region.size < max(2, 2 * asked)
            assert region.frozen


def test_a_region_that_nobody_has_is_used_anew() -> None:
    registry = Registry()
    with registry.take(5000) as region:
        first = number(region)
    with registry.take(8000) as region:
        assert number(region) == first
    assert registry.size == 8192


def test_after_a_backlog_the_one_that_was_used_last_is_used_again() -> None:
    """It is in the processor's caches."""
    registry = Registry()
    backlog = [registry.take(5000) for _ in range(10)]
    for region in backlog:
        region.close()
    del region, backlog
    used = []
    for _ in range(30):
        with registry.take(5000) as region:
            used.append(number(region))
    assert len(set(used[:10])) > 1
    assert len(set(used[10:])) == 1


def test_a_region_is_not_used_anew_while_this_program_has_a_view_of_it() -> None:
    registry = Registry()
    region = registry.take(5000)
    view = region.view[3:7]
    view[:] = b"abcd"
    kept, first = memoryview(view), number(region)
    region.close()
    del region, view
    gc.collect()
    other = registry.take(5000)
    assert number(other) != first
    other.view[:] = bytes(other.size)
    assert bytes(kept) == b"abcd"
    other.close()
    del kept
    taken = {number(region) for region in [registry.take(5000), registry.take(5000)]}
    assert first in taken


def test_other_tags_and_sizes_have_regions_of_their_own() -> None:
    registry = Registry()
    with registry.take(5000, "a") as region:
        first = number(region)
    for size, tag in [(5000, ""), (5000, "b"), (9000, "a"), (4000, "a")]:
        with registry.take(size, tag) as region:
            assert number(region) != first
    with registry.take(5000, "a") as region:
        assert number(region) == first


def test_a_region_is_not_used_anew_while_a_reader_has_it_until_that_is_killed(holder: Holder) -> None:
    registry = Registry()
    with registry.take(5000) as region:
        first = number(region)
        region.view[:5] = b"first"
        lease = given([region])[0]
        mine = received(given([region])[0])
        assert holder.tell("map", lease) == "mapped"
        lease.close()
    for _ in range(3):
        with registry.take(5000) as region:
            assert number(region) != first
            region.view[:5] = b"other"
    assert bytes(mine.view[:5]) == b"first"
    assert registry.held == 1
    mine.close()
    assert registry.held == 1
    holder.kill()
    until(lambda: registry.held == 0)
    found = {number(region) for region in [registry.take(5000), registry.take(5000)]}
    assert first in found


def test_the_bound_counts_what_readers_hold_and_others_are_given_back_for_it(holder: Holder) -> None:
    registry = Registry(4 * PAGE)
    with registry.take(2 * PAGE) as region:
        holder.tell("keep", given([region])[0])
    with registry.take(PAGE), registry.take(PAGE):
        assert registry.size == 4 * PAGE
        with pytest.raises(MemoryError, match=rf"no region of 1 bytes: {4 * PAGE} of {4 * PAGE} are in use"):
            registry.take(1)
    with registry.take(2 * PAGE) as region:  # in place of two small ones, which nobody has
        assert registry.size == 4 * PAGE
    holder.tell("drop")
    with registry.take(4 * PAGE):
        assert registry.size == 4 * PAGE
    with pytest.raises(MemoryError):
        registry.take(4 * PAGE + 1)


def test_who_asks_again_and_again_until_one_is_free_does_not_have_all_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = Registry(100 * PAGE)
    leases = [given([registry.take(PAGE)])[0] for _ in range(100)]
    asked: list[int] = []
    is_held = system.is_held

    def counted(fd: int) -> bool:
        asked.append(fd)
        return is_held(fd)

    monkeypatch.setattr(system, "is_held", counted)
    with pytest.raises(MemoryError, match=r"\(100 regions\)"):
        registry.take(PAGE)
    assert 0 < len(asked) < 20
    leases.pop(50).close()
    asked.clear()
    until(lambda: taken(registry))
    assert len(asked) < 150


def taken(registry: Registry) -> bool:
    """Whether there was a region to be taken."""
    try:
        return registry.take(PAGE).size == PAGE
    except MemoryError:
        return False


def test_a_small_region_counts_as_a_page() -> None:
    registry = Registry(PAGE)
    with registry.take(1), pytest.raises(MemoryError):
        registry.take(1)


def test_idle_regions_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with no_descriptor_more():
        pool = Pool(1 << 20, idle_s=10)
        assert pool.wants_sweep()
        assert not pool.wants_sweep()
        held = pool.take(PAGE)
        pool.take(PAGE)  # and let go of
        assert pool.sweep()
        now += 9.9
        assert pool.sweep()
        assert pool.count == 2
        now += 0.1
        assert pool.sweep()
        assert pool.count == 1
        del held
        assert pool.sweep()
        now += 10
        assert not pool.sweep()
        assert (pool.count, pool.size) == (0, 0)
        assert pool.wants_sweep()


def test_a_registry_gives_back_by_itself_what_is_idle() -> None:
    with no_descriptor_more():
        gone = idle_for_long(Registry(idle=0.01))
        gc.collect()
        assert gone() is None


def idle_for_long(registry: Registry) -> ref[Pool]:
    for _ in range(2):
        registry.take(PAGE).close()
        until(lambda: registry.size == 0)
    assert repr(registry) == f"<Registry of 0 regions, 0 of {1 << 28} bytes>"
    registry.take(PAGE).close()
    return ref(registry._pool)


def test_regions_outlive_their_registry() -> None:
    with no_descriptor_more():
        region = Registry().take(PAGE)
        gc.collect()
        region.view[:1] = b"x"
        assert bytes(region.view[:1]) == b"x"
        del region


@pytest.mark.parametrize(
    ("words", "options", "error"),
    [
        (("1",), {}, TypeError),
        ((True,), {}, TypeError),
        ((0,), {}, ValueError),
        ((10,), {"idle": "1"}, TypeError),
        ((10,), {"idle": 0}, ValueError),
        ((10,), {"idle": float("nan")}, ValueError),
    ],
)
def test_a_registry_says_what_is_wrong(words: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Registry(*words, **options)


@pytest.mark.parametrize(
    ("words", "error"), [((0,), ValueError), (("1",), TypeError), ((1.5,), TypeError), ((1, 2), TypeError)]
)
def test_take_says_what_is_wrong(words: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Registry().take(*words)


def test_threads_never_have_one_region_at_once() -> None:
    registry = Registry(64 * PAGE)
    failures: list[object] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        mark = bytes([seed])
        held: list[memoryview] = []
        for _ in range(400):
            try:
                view = registry.take(rng.choice([100, PAGE, 2 * PAGE])).view
            except MemoryError:
                held.clear()
                continue
            view[:100] = mark * 100
            held.append(view)
            if any(bytes(view[:100]) != mark * 100 for view in held):
                failures.append(seed)
            if rng.random() < 0.4:
                del held[rng.randrange(len(held))]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_of_many_regions_that_a_slow_reader_holds_a_few_are_looked_at_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And in turn all of them, so that one that comes free is found."""
    asked: list[int] = []
    is_held = system.is_held

    def counted(fd: int) -> bool:
        asked.append(fd)
        return is_held(fd)

    pool = Pool(1 << 30)

    def lent() -> object:
        use = pool.take(PAGE)
        assert use is not None
        return system.lease(use.block.fd, writable=False)

    uses = [pool.take(PAGE) for _ in range(100)]
    leases: list[object] = [system.lease(use.block.fd, writable=False) for use in uses if use is not None]
    while uses:
        uses.pop(0)
    monkeypatch.setattr(system, "is_held", counted)
    del leases[57]
    counts = []
    for _ in range(9):
        asked.clear()
        leases.append(lent())
        counts.append(pool.count)
        assert len(asked) <= 8
    assert counts == [101, 102, 103, 104, 105, 106, 107, 107, 108]


def test_a_new_tag_each_time_costs_no_search_through_all_former_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    real = Pool._make_room

    def make_room(pool: Pool, wanted: int) -> None:
        searched.append(len(pool._idle) + len(pool._lent))
        real(pool, wanted)

    monkeypatch.setattr(Pool, "_make_room", make_room)
    pool = Pool(256 * PAGE)
    for number in range(2000):
        assert pool.take(PAGE, str(number)) is not None
        assert len(pool._idle) + len(pool._lent) <= pool.count <= 256
    assert 50 < len(searched) < 100
    assert max(searched) <= 256
    pool = Pool(4 * PAGE)
    for number in range(40):  # few are given back one by one
        assert pool.take(PAGE, str(number)) is not None
        assert pool.count == min(4, number + 1)


FORKS = """
import os, sys
from busway.memory.registry import Registry

registry, other = Registry(), Registry()
for each in (registry, other):
    each.take(5000).view[:6] = b"former"
there = other.take(5000)
seen = registry.take(5000).view  # nothing else of the region is kept
seen[:6] = b"before"
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
if child := os.fork():
    del seen
    assert os.read(to_parent, 1) == b"x"
    taken = [registry.take(5000) for _ in range(4)]
    for region in taken:
        region.view[:6] = b"parent"
    os.write(from_parent, b"x")
    assert os.waitpid(child, 0)[1] == 0
    print(*{bytes(region.view[:6]).decode() for region in taken})
    del region, taken[:]
    print(registry.held, len({os.fstat(registry.take(5000)._fd).st_ino for _ in range(20)}) <= 5)
else:
    mine = [each.take(5000) for each in (registry, other) for _ in range(3)]
    for region in mine:
        region.view[:6] = b"child."
    os.write(from_child, b"x")
    assert os.read(to_child, 1) == b"x"
    print(bytes(seen[:6]).decode(), registry.size, *{bytes(r.view[:6]).decode() for r in mine}, flush=True)
    os._exit(0)
"""


def test_a_forked_child_keeps_what_it_sees_and_shares_nothing_else_with_its_parent() -> None:
    said = output_of([sys.executable, "-c", FORKS], cwd=ROOT)
    assert said == "before 24576 child.\nparent\n0 True\n"


LETS_GO = """
import os
from busway.memory.registry import Registry

registry = Registry()
region = registry.take(5000)
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
if child := os.fork():
    region = None
    held = [registry.held]
    for _ in range(2):
        os.write(from_parent, b"x")
        os.read(to_parent, 1)
        held.append(registry.held)
    print(*held)
    os.waitpid(child, 0)
else:
    os.read(to_child, 1)
    os.write(from_child, b"x")
    os.read(to_child, 1)
    region = None
    os.write(from_child, b"x")
"""


def test_a_child_that_lets_go_of_a_region_gives_it_back_to_its_parent() -> None:
    assert output_of([sys.executable, "-c", LETS_GO], cwd=ROOT) == "1 1 0\n"
