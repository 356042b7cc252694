"""Large payloads in memory: descriptions, what they lie in, and what strangers make of both."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import random
import sys
from pathlib import Path

import numpy
import pytest

from busway.drivers.descriptors import Descriptor
from busway.memory import large as larges
from busway.memory import memfd
from busway.memory.described import TooLarge, describe
from busway.memory.large import Large
from busway.memory.pool import Pool
from busway.memory.region import Region, given, received
from busway.memory.registry import Registry
from tests.memory.conftest import Holder
from tests.memory.test_region import PAGE, STRANGE, no_descriptor_more, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and seals are Linux's")
BLOCK = b"0123456789abcdef" * 8192


def put(large: Large, payload: bytes | memoryview) -> tuple[bytes, Descriptor]:
    found = large.put(payload)
    assert found is not None
    return found


def number(descriptor: Descriptor) -> int:
    return os.fstat(descriptor.fd).st_ino


def test_a_payload_is_seen_as_it_was_put() -> None:
    with no_descriptor_more():
        ours, theirs = Large(1 << 20), Large(1 << 20)
        view = None
        for payload in (BLOCK, b"x", memoryview(BLOCK)[5:100000]):
            view = theirs.look(*put(ours, payload))
            assert bytes(view) == payload
            assert view.readonly
            assert (view.format, view.ndim) == ("B", 1)
        del ours, theirs, view, payload


def test_a_payload_keeps_its_memory_until_the_last_view_of_it_has_gone() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    description, lease = put(ours, BLOCK)
    first = number(lease)
    view = theirs.look(description, lease)[7:9]
    del lease
    _, lease = put(ours, b"y" * len(BLOCK))
    assert number(lease) != first
    assert bytes(view) == BLOCK[7:9]
    del lease, view
    assert len(theirs.leases) == 0
    leases = [put(ours, byte * len(BLOCK))[1] for byte in (b"a", b"b")]
    assert first in map(number, leases)
    assert ours.pool.count == 2


def test_the_same_memory_is_mapped_once() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    for count in range(10):
        assert bytes(theirs.look(*put(ours, bytes([count]) * len(BLOCK)))[:1]) == bytes([count])
    assert (ours.pool.count, len(theirs.cache)) == (1, 1)


def test_a_view_of_a_region_is_not_copied() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    for region in (Region(200_000), Registry().take(200_000)):
        part = region.view[1000:150_000]
        part[:3] = b"abc"
        shown = ours.join([part])
        assert shown is not None
        assert shown.readonly
        view = theirs.look(*put(ours, shown))
        assert bytes(view[:3]) == b"abc"
        region.view[1000:1003] = b"xyz"
        assert bytes(view[:3]) == b"xyz"
    assert ours.pool.count == 0


def test_a_view_of_what_has_come_is_handed_on_as_it_is() -> None:
    first, second, third = Large(1 << 20), Large(1 << 20), Large(1 << 20)
    view = second.look(*put(first, BLOCK))
    again = third.look(*put(second, view[16:]))
    assert bytes(again) == BLOCK[16:]
    assert second.pool.count == 0
    del view
    assert first.held() == 1
    del again
    assert first.held() == 0
    region = Region(PAGE)
    theirs = received(given([region])[0])
    assert bytes(third.look(*put(second, theirs.view[5:]))[:1]) == b"\0"


@pytest.mark.parametrize("registered", [True, False])
def test_a_view_of_an_array_on_a_region_is_not_copied(registered: bool) -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    region = Registry().take(200_000) if registered else Region(200_000)
    pixels = numpy.ndarray((100, 1000), "u2", region.view)
    part = pixels[10:60]
    shown = ours.join([part.view("u1").reshape(-1).data])
    assert shown is not None
    description, lease = put(ours, shown)
    pixels[10, 0] = 7
    del region, pixels, part, shown
    gc.collect()
    assert bytes(theirs.look(description, lease)[:3]) == b"\7\0\0"
    assert ours.pool.count == 0


def test_what_came_in_pieces_is_handed_on_as_it_is_where_they_are_the_same() -> None:
    first, second, third = Large(1 << 22), Large(1 << 22), Large(1 << 22)
    other = bytes(reversed(BLOCK))
    came = second.look(*put(first, b"head" + BLOCK + b"between" + other + b"tail"))
    at, behind = 4 + len(BLOCK), 11 + len(BLOCK)
    one, two = came[4:at], came[behind : behind + len(other)]
    there: list[list[bytes | memoryview]] = [
        [b"head", one],
        [b"head", one, b"between", two, b"tail"],
        [one, b"bet"],
        [b"between", two],
        [came[:behind], two[:5]],
        [came[:-1], b"l"],
    ]
    for pieces in there:
        joined = second.join(pieces)
        assert joined is not None
        assert joined.readonly
        assert bytes(joined) == b"".join(pieces)
        assert bytes(third.look(*put(second, joined))) == joined
        assert second.pool.count == 0
    elsewhere: list[list[bytes | memoryview]] = [
        [b"Head", one],
        [b"another head", one],
        [one, b"between", two, b"Tail"],
        [one, b"between", BLOCK],
        [one, two],
        [two, b"tail and more"],
        [b"head", BLOCK],
        [came, bytes(5000)],
    ]
    for pieces in elsewhere:
        joined = second.join(pieces)
        assert joined is not None
        assert bytes(joined) == b"".join(pieces)
        assert second.pool.count
        del joined
        second = Large(1 << 22)


def test_views_in_pieces_and_of_closed_regions_are_copied() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    region = Region(200_000)
    view = region.view
    view[:4] = b"abcd"
    region.close()
    assert bytes(theirs.look(*put(ours, view))[:4]) == b"abcd"
    assert ours.pool.count == 1
    joined = ours.join([view])
    assert joined is not None
    view[:4] = b"wxyz"
    assert bytes(joined[:4]) == b"abcd"
    scattered = Registry().take(200_000).view[::2]
    assert len(theirs.look(*put(ours, scattered))) == len(scattered)


def test_pieces_are_joined_where_they_need_not_be_copied_again() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    joined = ours.join([b"head", memoryview(BLOCK), b"", b"tail"])
    assert joined is not None
    assert bytes(joined) == b"head" + BLOCK + b"tail"
    assert joined.readonly
    description, lease = put(ours, joined)
    assert ours.pool.count == 1
    assert bytes(theirs.look(description, lease)) == joined


def test_without_room_nothing_is_put() -> None:
    with no_descriptor_more():
        ours = Large(2 * len(BLOCK))
        kept = [put(ours, BLOCK), put(ours, BLOCK[:-1])]
        assert ours.put(BLOCK[1:]) is None
        assert ours.join([BLOCK]) is None
        assert ours.put(bytes(3 * len(BLOCK))) is None
        kept.pop()
        assert ours.put(BLOCK) is not None
        del ours, kept


def test_one_that_shares_nothing_copies_what_comes() -> None:
    ours, theirs = Large(1 << 20), Large(0)
    assert theirs.put(BLOCK) is None
    assert theirs.join([BLOCK]) is None
    assert theirs.look(*put(ours, BLOCK)) == BLOCK
    assert ours.held() == 0
    assert (len(theirs.cache), len(theirs.leases)) == (0, 0)


def test_with_many_views_about_what_comes_is_copied() -> None:
    ours, theirs = Large(1 << 24), Large(1 << 24)
    theirs.leases_max = 3
    views = [theirs.look(*put(ours, BLOCK[number:])) for number in range(5)]
    assert [view.readonly and bytes(view) == BLOCK[at:] for at, view in enumerate(views)] == [True] * 5
    assert (len(theirs.leases), ours.held()) == (3, 3)
    views.clear()
    theirs.look(*put(ours, BLOCK))
    assert ours.held() == 0


def test_where_memory_cannot_be_mapped_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Large(1 << 24), Large(1 << 24)

    def fails(*_: object, **__: object) -> int:
        raise OSError

    description, lease = put(ours, BLOCK * 20)
    monkeypatch.setattr(memfd, "reopen", fails)
    assert theirs.look(description, lease) == BLOCK * 20


def test_without_descriptors_or_memory_nothing_is_put(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Large(1 << 24)

    def fails(*_: object, **__: object) -> int:
        raise OSError

    for name in ("reopen", "make"):
        with monkeypatch.context() as patch:
            patch.setattr(memfd, name, fails)
            assert ours.put(BLOCK * (2 if name == "make" else 1)) is None
    with monkeypatch.context() as patch:
        patch.setattr(memfd, "make", fails)
        assert ours.join([BLOCK * 4]) is None
    assert ours.put(BLOCK) is not None


# What strangers say


@pytest.mark.parametrize(
    "description",
    [
        b"",
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x80",
        b"\x01\x00\x01\x00",
        b"\x02\x00\x01",
        b"\x01\x00\x82\x80\x08",  # 131074 of 131072
        b"\x01\x01\x80\x80\x08",  # 131072 from 1 on
        b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01",
        b"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01",
        b"\x01" + b"\x80" * 63,
    ],
)
@pytest.mark.parametrize("size_max", [0, 1 << 20])
def test_a_description_that_is_not_true_is_refused(description: bytes, size_max: int) -> None:
    ours, theirs = Large(1 << 20), Large(size_max)
    _, lease = put(ours, BLOCK)
    with pytest.raises(ValueError, match="shared memory"):
        theirs.look(description, lease)
    assert len(theirs.leases) == 0


def test_no_description_makes_it_raise_anything_else_or_read_beyond() -> None:
    rng = random.Random(16)
    ours, theirs = Large(1 << 20), Large(1 << 20)
    made, lease = put(ours, BLOCK)
    for _ in range(5000):
        words = bytearray(made)
        for _ in range(rng.randrange(4)):
            words[rng.randrange(len(words))] = rng.randrange(256)
        words += rng.randbytes(rng.randrange(3) if rng.random() < 0.3 else 0)
        try:
            view = theirs.look(bytes(words), lease)
        except ValueError:
            continue
        assert bytes(view) in BLOCK


@pytest.mark.parametrize("size_max", [0, 1 << 20])
def test_for_more_than_a_payload_may_have_no_room_is_made(size_max: int) -> None:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)  # as large as is said, and of no memory at all
    os.ftruncate(fd, 1 << 45)
    fcntl.fcntl(fd, 1033, 0x02 | 0x04)
    sparse = Descriptor(fd)
    for exponent in (17, 44):
        with pytest.raises(TooLarge, match=f"a payload of {1 << exponent} bytes .* at most 131071 are taken"):
            Large(size_max, (1 << 17) - 1).look(describe(0, 1 << exponent), sparse)
    assert len(Large(0, 1 << 17).look(describe(0, 1 << 17), sparse)) == 1 << 17


def test_memory_with_holes_is_read_and_not_mapped() -> None:
    """In a mapping each hole takes a page when it is read, or ends the program where there is none."""
    sent = Descriptor(os.memfd_create("x", os.MFD_ALLOW_SEALING))
    os.ftruncate(sent.fd, 1 << 20)
    os.pwrite(sent.fd, b"x" * PAGE, 1 << 17)
    fcntl.fcntl(sent.fd, 1033, 0x02 | 0x04)
    theirs = Large(1 << 20)
    view = theirs.look(describe(PAGE, 1 << 17), sent)
    assert bytes(view) == bytes((1 << 17) - PAGE) + b"x" * PAGE
    assert os.fstat(sent.fd).st_blocks * 512 == PAGE
    assert not theirs.cache.mapped()
    assert not theirs.leases


@pytest.mark.parametrize("size_max", [0, 1 << 20])
@pytest.mark.parametrize("sort", [sort for sort in STRANGE if "written" not in sort])
def test_what_is_no_sealed_memory_is_refused(sort: str, size_max: int) -> None:
    with pytest.raises(ValueError):
        Large(size_max).look(b"\x01\x00\x01", Descriptor(STRANGE[sort]()))


def test_a_descriptor_that_can_only_be_written_is_refused_where_it_is_read() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Large(0).look(b"\x01\x00\x01", Descriptor(STRANGE["memory that can only be written"]()))


def test_memory_that_its_maker_goes_on_writing_stays_readable(holder: Holder) -> None:
    """What is seen may change, if who sent it means harm; nothing fails for that."""
    ours, theirs = Large(1 << 20), Large(1 << 20)
    region = Region(len(BLOCK))
    lease = given([region])[0]
    view = theirs.look(b"\x01\x00\x80\x80\x08", lease)
    assert holder.tell("write", lease) == "written"
    assert bytes(view[:5]) == b"there"
    assert ours.pool.count == 0


# The ends


def test_a_reader_that_is_killed_gives_its_memory_back(holder: Holder) -> None:
    ours = Large(1 << 20)
    _, lease = put(ours, BLOCK)
    holder.tell("map", lease)
    del lease
    assert ours.held() == 1
    holder.kill()
    until(lambda: ours.held() == 0)


def test_what_is_idle_is_given_back_with_its_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with no_descriptor_more():
        ours, theirs = Large(1 << 20), Large(1 << 20)
        assert ours.wants_sweep()
        assert theirs.wants_sweep()
        theirs.look(*put(ours, BLOCK))
        assert ours.sweep()
        assert theirs.sweep()
        assert not theirs.wants_sweep()
        now += 10
        assert not ours.sweep()
        assert not theirs.sweep()
        assert (ours.pool.size, theirs.cache.size) == (0, 0)
        gc.collect()


def test_one_payload_for_several_is_put_once() -> None:
    ours, theirs = Large(1 << 20), Large(1 << 20)
    put_so_far = [put(ours, BLOCK) for _ in range(3)]
    assert ours.pool.count == 1
    for description, lease in put_so_far:
        assert bytes(theirs.look(description, lease)) == BLOCK
    put(ours, bytes(len(BLOCK)))
    del put_so_far, lease
    assert ours.pool.count == 2
    put(ours, BLOCK)
    assert ours.pool.count == 2
    ours.sweep()
    assert ours.held() == 0


def test_no_more_blocks_are_made_than_descriptors_are_to_be_had_for() -> None:
    ours = Large(1 << 30)
    ours.pool.count_max = 3
    kept = [ours.put(bytes(70_000 + number)) for number in range(5)]
    assert [found is None for found in kept] == [False, False, False, True, True]
    kept.clear()
    assert ours.put(bytes(300_000)) is not None  # in place of one that is idle
    assert ours.pool.count <= 3


def test_a_process_with_few_descriptors_holds_few_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    for soft, most in [(1024, 256), (256, 64), (1 << 20, 256), (resource.RLIM_INFINITY, 256)]:
        with monkeypatch.context() as patch:
            patch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
            large = Large(1 << 20)
            assert (large.leases_max, large.pool.count_max) == (most, most)


def test_where_the_system_has_no_memory_to_share_payloads_are_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(larges, "missing", lambda: "nothing")
    large = Large(1 << 20)
    assert large.put(BLOCK) is None
    assert large.look(*put_by_another()) == BLOCK


def test_a_want_of_descriptors_is_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "no descriptor is left")

    for name in ("make", "reopen"):
        with monkeypatch.context() as patch:
            patch.setattr(memfd, name, fails)
            assert memfd.missing() == ""


def put_by_another() -> tuple[bytes, Descriptor]:
    pool = Pool(1 << 20)
    use = pool.take(len(BLOCK))
    assert use is not None
    use.block.mapping.view()[:] = BLOCK
    return b"\x01\x00\x80\x80\x08", memfd.lease(use.block.fd, writable=False)


def test_no_file_is_left_anywhere() -> None:
    assert not list(Path("/dev/shm").glob("*busway*"))
