"""Mappings that are kept, and what comes to them from strangers."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import Any

import numpy
import pytest

from busway.drivers.descriptors import Descriptor
from busway.memory import cache as caches
from busway.memory import mapping as mappings
from busway.memory.cache import Cache
from busway.memory.mapping import Mapping
from busway.memory.memfd import is_held, lease
from busway.memory.pool import Pool, Use
from tests.memory.test_region import PAGE, STRANGE, no_descriptor_more

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and seals are Linux's")


def block(pool: Pool, size: int = PAGE) -> Use:
    use = pool.take(size)
    assert use is not None
    return use


def seen(cache: Cache, use: Use) -> Mapping:
    """The memory as it comes to another process."""
    handed = lease(use.block.fd, writable=False)
    return cache.mapping_of(handed.fd)


def test_memory_that_comes_again_is_not_mapped_again() -> None:
    with no_descriptor_more():
        cache, use = Cache(1 << 20), block(Pool(1 << 20))
        first = seen(cache, use)
        use.block.mapping.view()[:3] = b"abc"
        again = seen(cache, use)
        assert again is first
        assert bytes(again.view()[:3]) == b"abc"
        assert again.view().readonly
        del use


def test_a_mapping_holds_nothing_and_a_view_what_it_keeps() -> None:
    cache, use = Cache(1 << 20), block(Pool(1 << 20))
    held = lease(use.block.fd, writable=False)
    mapping = cache.mapping_of(held.fd)
    view = mapping.view(held)[5:8]
    del held
    assert is_held(use.block.fd)
    del view
    assert not is_held(use.block.fd)
    assert len(cache) == 1


def test_a_view_says_where_it_lies_also_through_arrays() -> None:
    pool = Pool(1 << 20)
    use = block(pool, 2 * PAGE)
    mapping = use.block.mapping
    view = mapping.view("kept")
    array: Any = numpy.frombuffer(view[8:], "u4")
    for found, offset in [
        (view, 0),
        (view[7:9], 7),
        (view[8:12].cast("I"), 8),
        (memoryview(view[7:9]), 7),
        (array.data, 8),
        (array[3:9][1:].data, 24),
        (array[:100].reshape(10, 10)[2:].data, 88),
        (numpy.frombuffer(array[2:].data, "u1").data, 16),
        (numpy.ndarray((4, 8), "f8", view, 64).view("u1").data, 64),
        (array[:0].data, 8),
    ]:
        assert mappings.place_of(found) == (mapping, offset, "kept")
    for other in (
        view[::2],
        array[:100].reshape(10, 10)[:, 1:].data,
        array.copy().data,
        memoryview(b"abc"),
        memoryview(array.astype("u1")),
    ):
        assert mappings.place_of(other) is None


class Odd(numpy.ndarray):
    """An array that says it was made of something else than it was."""

    told: Any = None

    @property
    def base(self) -> Any:
        return self.told


def test_an_array_that_lies_elsewhere_is_not_taken_for_what_it_keeps() -> None:
    use = block(Pool(1 << 20))
    array = numpy.zeros(8, "u1").view(Odd)
    array.told = use.block.mapping.view()
    assert mappings.place_of(array.data) is None
    array.told = array
    assert mappings.place_of(array.data) is None


def test_a_mapping_stays_as_long_as_a_view_of_it() -> None:
    cache, use = Cache(1 << 20), block(Pool(1 << 20))
    use.block.mapping.view()[:3] = b"abc"
    view = seen(cache, use).view()
    cache.clear()
    del use
    gc.collect()
    assert bytes(view[:3]) == b"abc"
    assert (cache.size, cache.mapped()) == (0, PAGE)  # forgotten, and told of as long as it is there
    del view
    assert cache.mapped() == 0


def test_what_was_seen_longest_ago_goes_first() -> None:
    cache, pool = Cache(4 * PAGE), Pool(1 << 20)
    uses = [block(pool) for _ in range(5)]
    first = [cache.mapping_of(use.block.fd) for use in uses[:4]]
    assert cache.mapping_of(uses[0].block.fd) is first[0]
    cache.mapping_of(uses[4].block.fd)
    assert (len(cache), cache.size) == (4, 4 * PAGE)
    assert cache.mapping_of(uses[0].block.fd) is first[0]
    assert cache.mapping_of(uses[1].block.fd) is not first[1]


def test_what_comes_in_turn_is_mapped_once_however_much_is_on_the_way() -> None:
    """A sender uses what was lent longest, so that what has come last is what comes again last."""
    cache, pool = Cache(1 << 30), Pool(1 << 30)
    uses = [block(pool) for _ in range(1000)]
    first = [cache.mapping_of(use.block.fd) for use in uses]
    assert [cache.mapping_of(use.block.fd) for use in uses] == first


def test_what_one_source_has_sent_last_is_forgotten_with_it_and_nothing_else() -> None:
    cache, pool = Cache(8 * PAGE), Pool(1 << 20)
    one, other = object(), object()
    uses = [block(pool) for _ in range(3)]
    ones, both, others = [
        cache.mapping_of(use.block.fd, source) for use, source in zip(uses, [one, one, other], strict=True)
    ]
    assert cache.mapping_of(uses[1].block.fd, other) is both
    cache.clear(one)
    assert (len(cache), cache.size) == (2, 2 * PAGE)
    assert cache.mapping_of(uses[1].block.fd, one) is both
    assert cache.mapping_of(uses[2].block.fd, other) is others
    assert cache.mapping_of(uses[0].block.fd, one) is not ones
    cache.clear(one)
    cache.clear(other)
    assert (len(cache), cache.size) == (0, 0)


def test_no_more_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, pool = Cache(1 << 30), Pool(1 << 30)
    monkeypatch.setattr(caches, "COUNT_MAX", 3)
    uses = [block(pool) for _ in range(5)]
    for use, count in zip(uses, [1, 2, 3, 3, 3], strict=True):
        seen(cache, use)
        assert len(cache) == count
    small = Cache(PAGE - 1)
    assert bytes(seen(small, uses[0]).view()) == bytes(PAGE)
    assert (len(small), small.size) == (0, 0)


def test_what_is_not_seen_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cache, pool = Cache(1 << 20), Pool(1 << 20)
    uses = [block(pool), block(pool)]
    for use in uses:
        cache.mapping_of(use.block.fd)
    now += 5
    cache.mapping_of(uses[1].block.fd)
    now += 5
    assert cache.sweep()
    assert (len(cache), cache.size) == (1, PAGE)
    now += 5
    assert not cache.sweep()
    assert (len(cache), cache.size) == (0, 0)


@pytest.mark.parametrize("sort", [sort for sort in STRANGE if "written" not in sort])
def test_what_is_no_sealed_memory_is_refused(sort: str) -> None:
    cache = Cache(1 << 20)
    descriptor = Descriptor(STRANGE[sort]())
    with pytest.raises((ValueError, OSError)):
        cache.mapping_of(descriptor.fd)
    assert (len(cache), cache.size) == (0, 0)


def test_another_file_with_the_same_number_is_not_taken_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel counts files without a name to 2^32, and begins anew."""
    cache, pool = Cache(1 << 20), Pool(1 << 20)
    real = os.fstat
    uses = [block(pool), block(pool)]
    while real(uses[0].block.fd).st_ctime_ns == real(uses[1].block.fd).st_ctime_ns:
        uses[1] = block(Pool(1 << 20))  # the clock of files has ticks

    def same_number(fd: int) -> os.stat_result:
        found: Any = real(fd)
        _, (plain, more) = found.__reduce__()
        return os.stat_result((plain[0], 7, *plain[2:]), more)

    monkeypatch.setattr(os, "fstat", same_number)
    first, second = (cache.mapping_of(use.block.fd) for use in uses)
    assert first is not second


def test_memory_in_pieces_of_other_sizes_is_mapped_whole() -> None:
    fd = Descriptor(os.memfd_create("x", os.MFD_ALLOW_SEALING))
    os.pwrite(fd.fd, b"abc", 5000)
    import fcntl

    fcntl.fcntl(fd.fd, 1033, 2)  # it may grow
    cache = Cache(1 << 20)
    assert bytes(cache.mapping_of(fd.fd).view()[5000:]) == b"abc"
    os.ftruncate(fd.fd, 20000)
    assert len(cache.mapping_of(fd.fd).view()) == 20000
