"""Regions: who may write, how long they last, what cannot be done to those who have one."""

from __future__ import annotations

import copy
import fcntl
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from busway.drivers.descriptors import Descriptor
from busway.memory import memfd
from busway.memory.region import Region, given, received
from busway.memory.registry import Registry
from busway.memory.seen import Seen
from tests.memory.conftest import Holder
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and seals are Linux's")
PAGE = os.sysconf("SC_PAGE_SIZE")


def handed(region: Region) -> Descriptor:
    return given([region])[0]


@contextmanager
def no_descriptor_more() -> Iterator[None]:
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


def until(true: Callable[[], bool]) -> None:
    """A killed process lets go of what it had a moment after its end is told."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# What it is


def test_a_region_is_memory_that_can_be_written() -> None:
    with no_descriptor_more(), Region(10) as region:
        assert bytes(region.view) == bytes(10)
        region.view[2:5] = b"abc"
        assert bytes(region.view) == b"\0\0abc\0\0\0\0\0"
        assert region.size == len(region.view) == 10
        assert repr(region) == "<Region of 10 bytes>"
        assert not region.held


@pytest.mark.parametrize("size", [0, -1, (1 << 40) + 1])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with no_descriptor_more(), pytest.raises(ValueError, match="1 to 2\\^40 bytes"):
        Region(size)


@pytest.mark.parametrize("size", ["10", 1.5, True, None])
def test_a_size_that_is_no_number_is_refused(size: object) -> None:
    with pytest.raises(TypeError, match="a number of bytes"):
        Region(size)  # type: ignore[arg-type]


def test_memory_that_is_not_there_is_an_error_when_it_is_made_not_when_it_is_written() -> None:
    with no_descriptor_more(), pytest.raises(OSError):
        Region(1 << 40)


def test_views_outlive_a_region_that_is_closed() -> None:
    with no_descriptor_more():
        region = Region(PAGE)
        view = region.view
        view[:3] = b"abc"
        part = view[1:3]
        del view
        region.close()
        region.close()
        gc.collect()
        assert bytes(part) == b"bc"
        assert repr(region) == f"<Region of {PAGE} bytes, closed>"
        for use in (lambda: region.view, lambda: region.held, region.freeze, lambda: handed(region)):
            with pytest.raises(ValueError, match="this region is closed"):
                use()


def test_a_dropped_region_is_closed() -> None:
    with no_descriptor_more():
        Region(PAGE)
        view = Region(PAGE).view
        view[0] = 1
        del view


def test_only_regions_can_be_given_as_such() -> None:
    with pytest.raises(TypeError, match=r"expected a busway\.Region, not 7"):
        given([7])  # type: ignore[list-item]
    with Region(1) as region, pytest.raises(TypeError, match="takes several"):
        given(region)  # type: ignore[arg-type]
    with pytest.raises(TypeError) as refused:
        given([bytearray(1000)])  # type: ignore[list-item]
    assert len(str(refused.value)) < 100


def test_who_freezes_it_first_has_frozen_it_for_all() -> None:
    with Region(PAGE) as region, received(handed(region)) as theirs, received(handed(region)) as third:
        assert [each.frozen for each in (region, theirs, third)] == [False] * 3
        theirs.freeze()
        assert [each.frozen for each in (region, theirs, third)] == [True] * 3
        region.freeze()
        region.view[:2] = b"ok"  # as it had it before
        with received(handed(region)) as late:
            assert late.view.readonly
            assert bytes(late.view[:2]) == b"ok"


# Between processes


def test_two_programs_that_freeze_it_at_the_same_instant_both_have_frozen_it(
    holder: Holder, another: Holder
) -> None:
    last = time.monotonic() + 3
    for round in range(200):
        region = Region(PAGE)
        view = region.view
        for place, each in enumerate((holder, another), 1):
            each.post(f"freeze {place}", handed(region))
        until(lambda view=view: view[1] and view[2])  # type: ignore[misc]
        view[0] = 1
        region.freeze()  # and a third, which is this one
        assert [holder.answer(), another.answer()] == ["frozen", "frozen"]
        assert region.frozen
        assert fcntl.fcntl(region._fd, 1034) & 0x11 == 0x11  # F_GET_SEALS: FUTURE_WRITE, and no other ever
        if round and time.monotonic() > last:
            break


def test_both_sides_see_the_same_bytes_at_the_same_time(holder: Holder) -> None:
    with Region(PAGE) as region:
        assert holder.tell("write", handed(region)) == "written"
        assert bytes(region.view[:5]) == b"there"


def test_what_is_frozen_can_be_read_only_and_its_maker_goes_on_writing(holder: Holder) -> None:
    with Region(PAGE) as region:
        view = region.view
        region.freeze()
        region.freeze()
        assert region.frozen
        assert repr(region) == f"<Region of {PAGE} bytes, frozen>"
        assert holder.tell("write", handed(region)) == "read only"
        assert holder.tell("force", handed(region)) == "refused"
        view[:3] = b"abc"
        assert bytes(region.view[:3]) == b"abc"


def test_a_region_cannot_be_cut_short_by_those_who_may_write_in_it() -> None:
    with Region(2 * PAGE) as region:
        lease = handed(region)
        for change in (0, PAGE, 3 * PAGE):
            with pytest.raises(PermissionError):
                os.ftruncate(lease.fd, change)


def test_a_region_is_held_from_the_moment_it_is_handed_over_to_the_last_view(holder: Holder) -> None:
    with Region(PAGE) as region:
        lease = handed(region)
        assert region.held
        holder.post("map", lease)  # on its way
        lease.close()
        assert region.held
        assert holder.line.recv(64) == b"mapped"
        assert region.held
        assert holder.tell("drop") == "dropped"
        assert not region.held


@pytest.mark.parametrize("how", ["keep", "map"])
def test_a_reader_that_is_killed_holds_nothing(holder: Holder, how: str) -> None:
    with Region(PAGE) as region:
        lease = handed(region)
        holder.tell(how, lease)
        lease.close()
        assert region.held
        holder.process.send_signal(signal.SIGSTOP)
        assert region.held
        holder.kill()
        until(lambda: not region.held)


def test_what_is_on_its_way_to_one_who_is_killed_is_not_held(holder: Holder) -> None:
    with Region(PAGE) as region:
        holder.process.send_signal(signal.SIGSTOP)
        lease = handed(region)
        holder.post("keep", lease)
        lease.close()
        assert region.held
        holder.kill()
        holder.line.close()
        until(lambda: not region.held)


def test_one_of_several_readers_is_enough(holder: Holder) -> None:
    with Region(PAGE) as region:
        mine = received(handed(region))
        lease = handed(region)
        holder.tell("map", lease)
        lease.close()
        view = mine.view
        mine.close()
        gc.collect()
        assert region.held
        holder.tell("drop")
        assert region.held  # by the view
        del view
        assert not region.held


OWNER = """
import os, signal, socket, sys
from busway.memory.region import Region, given
from busway.memory.seen import Seen
line = socket.socket(fileno=int(sys.argv[1]))
region = Region(100000)
region.view[:] = b"x" * 100000
lease = given([region])[0]
socket.send_fds(line, [b"x"], [lease.fd])
line.recv(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_memory_stays_when_its_maker_is_killed_and_goes_with_the_last_reader() -> None:
    with no_descriptor_more():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = [sys.executable, "-c", OWNER, str(theirs.fileno())]
            owner = subprocess.Popen(words, pass_fds=[theirs.fileno()], cwd=ROOT)
            theirs.close()
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
            region = received(Descriptor(fds[0]))
            view = region.view
            ours.sendall(b"x")
            assert owner.wait() == -signal.SIGKILL
        assert bytes(view) == b"x" * 100000
        inode = os.fstat(region._fd).st_ino
        region.close()
        del region, view
        assert not [fd for fd in os.listdir("/proc/self/fd") if _inode(fd) == inode]


def _inode(fd: str) -> int:
    try:
        return os.stat(f"/proc/self/fd/{fd}").st_ino
    except OSError:
        return -1


# What strangers send


def _no_seals() -> int:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, PAGE)
    return fd


def _only(seals: int) -> Callable[[], int]:
    def made() -> int:
        fd = _no_seals()
        fcntl.fcntl(fd, 1033, seals)
        return fd

    return made


def _file() -> int:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.ftruncate(fd, PAGE)
    return fd


def _in_shm() -> int:
    fd, path = tempfile.mkstemp(dir="/dev/shm")
    os.unlink(path)
    os.ftruncate(fd, PAGE)
    return fd


def _path_only() -> int:
    fd = memfd.make(PAGE)
    found = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    os.close(fd)
    return found


def _written_only() -> int:
    fd = memfd.make(PAGE)
    found = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    os.close(fd)
    return found


def _empty() -> int:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, 1033, 6)
    return fd


STRANGE: dict[str, Callable[[], int]] = {
    "memory without seals": _no_seals,
    "memory sealed against growing only": _only(4),
    "a file": _file,
    "a file in /dev/shm": _in_shm,
    "a pipe": lambda: os.pipe()[0],
    "a socket": lambda: socket.socket().detach(),
    "a folder": lambda: os.open("/", os.O_RDONLY),
    "a device": lambda: os.open("/dev/zero", os.O_RDWR),
    "no more than a path": _path_only,
    "memory that can only be written": _written_only,
    "memory of no size": _empty,
    "a number that is no descriptor": lambda: 999_999,
}


@pytest.mark.parametrize("sort", STRANGE)
def test_what_is_no_sealed_memory_is_refused(sort: str) -> None:
    descriptor = Descriptor(STRANGE[sort]())
    with pytest.raises((ValueError, OSError)):
        received(descriptor)


def test_huge_pages_which_may_be_missing_when_they_are_read_are_refused() -> None:
    sizes = Path("/sys/kernel/mm/hugepages")
    if not (sizes.exists() and any(sizes.iterdir())):
        pytest.skip("this kernel has no huge pages")
    try:
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
    except OSError as error:
        pytest.skip(f"no huge pages: {error}")
    os.ftruncate(fd, 1 << 21)
    fcntl.fcntl(fd, 1033, 6)
    with pytest.raises(ValueError, match="huge pages"):
        received(Descriptor(fd))


def test_holes_in_sealed_memory_are_zeros_and_no_signal() -> None:
    """Who may write can take pages out, not bytes away."""
    with Region(16 * PAGE) as region:
        region.view[:] = b"x" * (16 * PAGE)
        theirs = received(handed(region))
        view = theirs.view
        import ctypes

        punch = ctypes.CDLL(None).fallocate(theirs._fd, 3, ctypes.c_long(0), ctypes.c_long(8 * PAGE))
        assert punch == 0
        assert bytes(view) == bytes(8 * PAGE) + b"x" * (8 * PAGE)


@pytest.mark.parametrize("seals", [0x06, 0x16])
def test_memory_that_is_not_all_there_is_refused_and_none_is_made_for_it(seals: int) -> None:
    """Else anybody could have a terabyte filled, by sending a number."""
    size = 1 << 26
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, b"x" * PAGE, 0)
    fcntl.fcntl(fd, 1033, seals)
    sent = Descriptor(fd)
    with pytest.raises(ValueError, match=f"a region of {size} bytes came whose memory is not all there"):
        received(sent)
    assert os.fstat(fd).st_blocks * 512 == PAGE


def test_what_nobody_at_all_may_write_came_frozen() -> None:
    sent = Descriptor(os.memfd_create("x", os.MFD_ALLOW_SEALING))
    os.pwrite(sent.fd, b"x" * PAGE, 0)
    fcntl.fcntl(sent.fd, 1033, 0x0E)  # F_SEAL_WRITE, not F_SEAL_FUTURE_WRITE
    with received(sent) as region:
        assert region.frozen
        assert region.view.readonly
        assert bytes(region.view[:1]) == b"x"


def test_what_is_received_can_be_handed_on() -> None:
    with Region(PAGE) as region:
        region.freeze()
        first = received(handed(region))
        second = received(handed(first))
        first.close()
        region.view[:2] = b"ab"
        assert second.frozen
        assert bytes(second.view[:2]) == b"ab"
        assert region.held
        second.close()
        assert not region.held


def test_a_region_that_comes_again_is_mapped_once_until_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with no_descriptor_more(), Region(PAGE) as region, Region(PAGE) as other:
        region.freeze()
        found = Seen(idle_s=3600)
        monkeypatch.setattr("busway.memory.region.seen", found)
        first, second = received(handed(region)), received(handed(region))
        assert first._mapping is second._mapping
        assert first._fd != second._fd  # each holds it by itself
        writable = received(handed(other))
        assert (len(found.cache), writable._mapping.writable) == (1, True)  # type: ignore[union-attr]
        view = first.view
        first.close()
        second.close()
        held = [region.held]
        del view
        held.append(region.held)
        assert held == [True, False]
        timer = found._timer
        assert timer is not None
        assert timer.daemon
        now += 9
        timer.function()
        assert len(found.cache) == 1
        assert found._timer not in (None, timer)  # it looks again
        timer.cancel()
        now += 2
        timer = found._timer
        assert timer is not None
        timer.function()
        assert len(found.cache) == 0
        assert [found._timer] == [None]
        timer.cancel()
        writable.close()
        del first, second, writable


def test_another_system_has_regions_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What macOS would do, as far as Linux can: it has shm_open, too."""
    from busway.memory import pool, region, shm

    assert shm.missing() == ""
    for module in (region, pool):
        monkeypatch.setattr(module, "system", shm)
    with no_descriptor_more(), region.Region(PAGE) as made:
        with pytest.raises(OSError, match="cannot keep others from writing"):
            made.freeze()
        theirs = region.received(region.given([made])[0])
        theirs.view[:3] = b"abc"
        assert bytes(made.view[:3]) == b"abc"
        assert made.held  # for all it knows
        theirs.close()
        blocks = pool.Pool(2 * PAGE)
        for _ in range(5):  # each is used once, and counts no longer than that
            assert blocks.take(PAGE) is not None
        del blocks, theirs
        assert not [name for name in os.listdir("/dev/shm") if name.startswith("busway-")]


ELSEWHERE = """
import ctypes, os
os.name = "nt"
import busway
try:
    busway.Region
except ImportError as error:
    print(error)
"""


def test_on_windows_there_is_a_sentence_instead() -> None:
    said = output_of([sys.executable, "-c", ELSEWHERE], cwd=ROOT)
    assert said == "programs can have memory in common on POSIX systems only, as yet\n"


def test_no_copy_of_a_region_unmaps_it_again() -> None:
    kept = Region(PAGE)
    from_registry = Registry(PAGE).take(PAGE)
    for region in (kept, from_registry):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="Region cannot be copied or pickled"):
                copied({"region": [region]} if copied is not copy.copy else region)
        region.view[:1] = b"x"
