"""FileBus: what was committed stays, whatever happens to the program or the file."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busway import nano
from busway.nano import blocks, file
from busway.nano.blocks import DATA_AT
from busway.nano.log import packed
from tests.nano import crash
from tests.nano.test_ring import messages_of, read_all, take_many, write
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

# From Python 3.12 on it warns of each fork of a program that has threads, as pytest has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

fork: Any = multiprocessing.get_context("fork")
SMALL = "64 KiB"


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[nano.FileBus]:
    with nano.FileBus(path, SMALL, **options) as bus:
        bus.declare([("bytes", "bytes")], ["test"])
        yield bus


def data_of(bus: nano.FileBus) -> list[bytes]:
    return [entry.data for entry in bus.entries()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.log"


def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    with opened(path) as bus:
        end = write(bus, b"one", b"two")
    with opened(path) as bus:
        assert bus.report == nano.FileReport(2, end, 0, 0, ())
        write(bus, b"three")
        assert data_of(bus) == [b"one", b"two", b"three"]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_reader_goes_on_where_it_was(path: Path) -> None:
    with opened(path) as bus:
        reader = bus.attach("a")
        write(bus, b"one")
        (block,) = reader.take()
        reader.keep(block.end)
        write(bus, b"two", b"three")
        reader.close()
    with opened(path) as bus:
        reader = bus.attach("a")
        (block,) = reader.take()
        reader.keep(block.position, 1)
        reader.close()
    with opened(path) as bus:
        reader = bus.attach("a")
        assert (reader.position, reader.done) == (block.position, 1)
        assert read_all(bus.attach("b")) == [b"one", b"two", b"three"]


def test_it_may_be_read_again_from_anywhere(path: Path) -> None:
    with opened(path) as bus:
        write(bus, b"one")
        here = write(bus, b"two")
        write(bus, b"three")
        reader = bus.attach("a", start=here)
        assert read_all(reader) == [b"three"]
        reader.close()
        assert read_all(bus.attach("a", start=0)) == [b"one", b"two", b"three"]
        entries = list(bus.entries(here))
        assert entries == [nano.Entry(here, 2, "test", "bytes", b"three")]


def test_reading_again_is_not_undone_by_what_was_committed_before(path: Path) -> None:
    """The cursor in a block counts only if nobody moved the reader since."""
    with opened(path) as bus:
        reader = bus.attach("a")
        end = write(bus, b"one")
        bus.commit(*packed([(0, b"answer")]), reader, end)
        reader.close()
        bus.attach("a", start=0).close()
    with opened(path) as bus:
        assert bus.attach("a").position == 0


def test_a_cursor_in_a_block_counts_even_if_nothing_else_was_kept(path: Path) -> None:
    with opened(path) as bus:
        reader = bus.attach("a")
        begin = bus.state().tail
        write(bus, b"one", b"two")
        bus.commit(*packed([(0, b"answer")]), reader, begin, 1)
        reader.close()
    with opened(path) as bus:
        reader = bus.attach("a")
        assert (reader.position, reader.done) == (begin, 1)


def test_a_cursor_in_a_block_counts_while_the_file_stays_open(path: Path) -> None:
    """As when a worker was killed before it kept its place, and the program starts it again."""
    with opened(path) as bus:
        reader = bus.attach("a")
        write(bus, b"one", b"two")
        other = bus.attach("b")
        bus.commit(*packed([(0, b"answer")]), reader, 0, 1)
        bus.commit(*packed([(0, b"of another")]), other, bus.state().tail)
        reader.close()
        reader = bus.attach("a")
        assert (reader.position, reader.done) == (0, 1)
        bus.commit(*packed([(0, b"answer")]), reader, here := bus.state().tail)
        reader.close()
        assert bus.attach("a").position == here


def test_a_cursor_in_a_block_behind_a_damaged_part_counts(path: Path) -> None:
    with opened(path) as bus:
        reader = bus.attach("a")
        here = write(bus, b"one")
        bus.commit(*packed([(0, b"answer")]), reader, here)
        mapped, at = bus.place(0)
        mapped[at + blocks.BLOCK + 8] ^= 1
        reader.close()
        assert bus.attach("a").position == here


def test_one_copy_of_a_cursor_is_whole_while_a_file_is_opened(path: Path) -> None:
    """The one that counts is not written over, though nothing is new."""
    with opened(path) as bus:
        reader = bus.attach("a")
        reader.keep(end := write(bus, b"one"))
        reader.close()
        at = blocks.READERS_AT + blocks.READER_SIZE * reader.row + blocks.CURSORS_AT
        before = [bus.map[at + slot : at + slot + 32] for slot in (0, 32)]
    with opened(path) as bus:
        after = [bus.map[at + slot : at + slot + 32] for slot in (0, 32)]
        assert sum(one == other for one, other in zip(before, after, strict=True)) == 1
        assert bus.attach("a").position == end


def test_it_grows_by_segments(path: Path) -> None:
    sent = [bytes([n % 251]) * 5000 for n in range(60)]
    with opened(path, growable=True) as bus:
        reader = bus.attach("a")
        for one in sent:
            write(bus, one)
        assert read_all(reader) == sent
    assert path.stat().st_size == DATA_AT + 5 * (64 << 10)
    with opened(path, growable=True) as bus:
        assert data_of(bus) == sent


def test_a_file_that_may_not_grow_says_when_it_is_full(path: Path) -> None:
    with opened(path) as bus:
        count = (64 << 10) // (1000 + 8 + blocks.BLOCK)
        for _ in range(count):
            write(bus, b"x" * 1000)
        with pytest.raises(nano.LogFull, match="growable=True"):
            write(bus, b"x" * 1000)
    with opened(path) as bus:
        assert len(data_of(bus)) == count
        assert bus.report.torn == 0
    with opened(path, growable=True) as bus:
        write(bus, b"more")
        assert data_of(bus)[-1] == b"more"


@pytest.mark.parametrize("left", range(0, 64, 8))
def test_a_segment_may_end_anywhere(path: Path, left: int) -> None:
    """Also where not even the header of a block has room, or nothing is left at all."""
    sent = [b"x" * 16328] * 3 + [b"y" * (16328 - left), b"next"]
    with opened(path, growable=True) as bus:
        reader = bus.attach("a")
        for one in sent:
            write(bus, one)
        assert bus.state().tail == (64 << 10) + 48 + 16
        assert read_all(reader) == sent
    with opened(path, growable=True) as bus:
        assert data_of(bus) == sent
        write(bus, b"more")
        assert data_of(bus)[-1] == b"more"


def test_another_process_sees_it_grow(path: Path) -> None:
    with opened(path, growable=True) as bus:
        reader = bus.attach("a")

        def work() -> None:
            with opened(path, growable=True) as mine:
                for n in range(100):
                    write(mine, bytes([n]) * 4000)

        child = fork.Process(target=work)
        child.start()
        assert take_many(reader, 100) == [bytes([n]) * 4000 for n in range(100)]
        child.join()


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    with opened(path) as bus:
        assert bus.report == nano.FileReport(0, 0, 0, 0, ())
    assert os.listdir(path.parent) == ["run.log"]


def test_two_that_make_it_at_once_get_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(scratch: str, target: str) -> None:
        monkeypatch.setattr(os, "link", link)
        with opened(path) as first:
            write(first, b"first")
        link(scratch, target)

    monkeypatch.setattr(os, "link", late)
    with opened(path) as bus:
        assert data_of(bus) == [b"first"]
    assert os.listdir(path.parent) == ["run.log"]


def test_sync_returns(path: Path) -> None:
    with opened(path) as bus:
        write(bus, b"one")
        bus.sync()


# ---- damage


def small_file(path: Path) -> list[tuple[int, bytes]]:
    """A file with a few messages in blocks. Returns the end of the block and the bytes of each."""
    found: list[tuple[int, bytes]] = []
    with opened(path) as bus:
        for sizes in ((3, 0), (17,), (8, 40, 1), (5,)):
            these = [bytes([65 + len(found) + n]) * size for n, size in enumerate(sizes)]
            end = write(bus, *these)
            found += [(end, one) for one in these]
    return found


def test_truncation_at_every_byte_loses_nothing_that_is_still_there(path: Path, tmp_path: Path) -> None:
    sent = small_file(path)
    whole = path.read_bytes()
    cut = tmp_path / "cut.log"
    for size in range(DATA_AT, DATA_AT + sent[-1][0] + 1):
        cut.write_bytes(whole[:size])
        left = [one for end, one in sent if not any(whole[size : DATA_AT + end])]  # zeros come back
        with nano.FileBus(cut, SMALL) as bus:
            assert data_of(bus) == left
            assert bus.report.messages == len(left)
            assert bus.report.lost == len(sent) - len(left)
            assert bus.report.gaps == ()
            write(bus, b"and on")
            assert data_of(bus) == [*left, b"and on"]
        with nano.FileBus(cut, SMALL) as bus:
            assert (bus.report.messages, bus.report.lost, bus.report.torn) == (len(left) + 1, 0, 0)


def test_truncation_within_the_header_is_told(path: Path, tmp_path: Path) -> None:
    small_file(path)
    whole = path.read_bytes()
    cut = tmp_path / "cut.log"
    for size in (1, 7, 8, 63, 200, 4096, 30000, DATA_AT - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(nano.Damaged, match="shorter than its header"):
            nano.FileBus(cut, SMALL)
        assert cut.read_bytes() == whole[:size]


def test_a_reader_behind_the_cut_goes_back_to_the_end(path: Path) -> None:
    sent = small_file(path)
    with opened(path) as bus:
        reader = bus.attach("a")
        blocks_read = reader.take()
        reader.keep(blocks_read[-1].end)
        reader.close()
    os.truncate(path, DATA_AT + sent[0][0])
    with opened(path) as bus:
        reader = bus.attach("a")
        assert reader.position == sent[0][0]
        write(bus, b"new")
        assert read_all(reader) == [b"new"]


def test_lost_messages_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = small_file(path)
    os.truncate(path, DATA_AT + sent[0][0])
    with caplog.at_level(logging.WARNING, "busway.nano"), opened(path):
        pass
    assert re.search("is damaged: 5 messages are gone, 2 are whole", caplog.text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_costs_one_block_and_is_told(data: st.DataObject, tmp_path: Path) -> None:
    path, hit = tmp_path / "run.log", tmp_path / "hit.log"
    if not path.exists():
        small_file(path)
    with opened(path) as bus:
        sent = [(entry.position, entry.data) for entry in bus.entries()]
        end = bus.report.end
    at = data.draw(st.integers(0, end - 1))
    shutil.copy(path, hit)
    raw = bytearray(hit.read_bytes())
    raw[DATA_AT + at] ^= 1 << data.draw(st.integers(0, 7))
    hit.write_bytes(raw)
    struck = max(position for position, _ in sent if position <= at)
    left = [one for position, one in sent if position != struck]
    spare = struck + 44 <= at < struck + 48  # four bytes of a header that mean nothing
    with nano.FileBus(hit, SMALL) as bus:
        if spare:
            assert bus.report.messages == len(sent)
            return
        assert bus.report.messages == len(left)
        reader = bus.attach("a")
        missed, problems = 0, 0
        got: list[bytes] = []
        while reader.position < bus.report.end:
            try:
                got += messages_of(reader.take())
            except nano.Damaged as error:
                missed += error.missed
                problems += 1
        assert got == left
        if bus.report.gaps:
            assert missed == len(sent) - len(left)
            with pytest.raises(nano.Damaged):
                list(bus.entries())
        else:  # it was the last
            assert bus.report.lost == len(sent) - len(left)
            assert not problems


def test_entries_go_on_behind_a_damaged_part(path: Path) -> None:
    sent = small_file(path)
    with open(path, "r+b") as raw:
        raw.seek(DATA_AT + sent[1][0] + 50)  # in the second block
        raw.write(b"\xff\xff\xff")
    with opened(path) as bus:
        (gap,) = bus.report.gaps
        assert gap == (sent[1][0], sent[2][0], 1)
        got = []
        with pytest.raises(nano.Damaged) as caught:
            got += [entry.data for entry in bus.entries()]
        assert (caught.value.missed, caught.value.position) == (1, sent[2][0])
        assert [entry.data for entry in bus.entries(caught.value.position)] == [one for _, one in sent[3:]]


def test_a_torn_end_is_cleared(path: Path) -> None:
    """What a killed writer left behind the end: half a header, half a body."""
    sent = small_file(path)
    end = sent[-1][0]
    with open(path, "r+b") as raw:
        raw.seek(DATA_AT + end + 8)
        raw.write(b"half of a block" * 5)
    with opened(path) as bus:
        assert bus.report.torn == 8 + 75
        assert bus.report.lost == 0
        write(bus, b"x")
    raw_bytes = path.read_bytes()
    assert b"half" not in raw_bytes


def test_what_is_no_file_of_a_bus_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"something else " * 10_000)
    before = path.read_bytes()
    with pytest.raises(nano.Damaged, match=r"^/.*no file of a bus"):
        nano.FileBus(path, SMALL)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder") as raised:
        nano.FileBus(path.parent / "runs" / "one.log", SMALL)
    assert raised.value.filename == str(path.parent / "runs")


def test_a_file_of_a_machine_with_another_byte_order_is_refused(path: Path) -> None:
    small_file(path)
    raw = bytearray(path.read_bytes())
    raw[8:12] = raw[8:12][::-1]
    path.write_bytes(raw)
    with pytest.raises(nano.SchemaMismatch, match="another byte order"):
        nano.FileBus(path, SMALL)


def test_the_end_is_found_though_the_header_says_nothing_of_it(path: Path) -> None:
    sent = small_file(path)
    with open(path, "r+b") as raw:
        raw.seek(blocks.STATES_AT)
        raw.write(b"\xaa" * 64)
    with opened(path) as bus:
        assert data_of(bus) == [one for _, one in sent]


# ---- types


def test_a_type_with_another_layout_is_refused(path: Path) -> None:
    with nano.FileBus(path, SMALL) as bus:
        assert bus.declare([("A", "layout <I"), ("B", "msgspec")], ["x"]) == ([0, 1], [0])
    with nano.FileBus(path, SMALL) as bus:
        assert bus.declare([("B", "msgspec"), ("C", "bytes")], ["y", "x"]) == ([1, 2], [1, 0])
        with pytest.raises(
            nano.SchemaMismatch, match=r"messages A as 'layout <I.*'; here they are 'layout <Q"
        ):
            bus.declare([("A", "layout <Q")], [])


def test_the_names_have_room_or_it_is_told(path: Path) -> None:
    with nano.FileBus(path, SMALL) as bus, pytest.raises(nano.LogFull, match="names of types and handlers"):
        bus.declare([("x" * 30_000, "bytes")], [])


def test_one_copy_of_the_names_is_whole_at_any_instant(path: Path) -> None:
    with nano.FileBus(path, SMALL) as bus:
        bus.declare([("A", "bytes")], ["x"])
        bus.declare([("B", "bytes")], ["x"])
        slot, _, _ = bus._schema()
        at = blocks.SCHEMAS_AT + slot * blocks.SCHEMA_SIZE
        bus.map[at + 20 : at + 24] = b"!!!!"
    with nano.FileBus(path, SMALL) as bus:
        assert [name for name, _ in bus.kinds] == ["A"]


# ---- processes


def test_a_reader_that_was_killed_gives_its_name_back(path: Path) -> None:
    with opened(path) as bus:

        def die() -> None:
            bus.attach("a")
            os.kill(os.getpid(), signal.SIGKILL)

        child = fork.Process(target=die)
        child.start()
        child.join()
        bus.attach("a")


def test_a_number_of_a_process_that_is_used_again_is_another_process(path: Path) -> None:
    with opened(path) as bus:
        reader = bus.attach("a")
        at = blocks.READERS_AT + blocks.READER_SIZE * reader.row + blocks.BEGAN_AT
        blocks.WORD.pack_into(bus.map, at, 1)
        bus.attach("a")


def test_it_may_be_deleted_while_it_is_used(path: Path) -> None:
    with opened(path) as bus:
        path.unlink()
        child = fork.Process(target=lambda: write(bus, b"still"))
        child.start()
        child.join()
        assert data_of(bus) == [b"still"]


def test_it_comes_without_fallocate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with opened(path, growable=True) as bus:
        for _ in range(20):
            write(bus, b"x" * 10_000)
    with opened(path, growable=True) as bus:
        assert len(data_of(bus)) == 20
    assert file._FILE == 2


# ---- kill -9


def test_kills_at_random_instants_lose_nothing() -> None:
    """A short campaign; `make soak` plays a thousand. A process of its own, for it forks."""
    printed = output_of([sys.executable, "-m", "tests.nano.crash", "--kills", "40"], cwd=ROOT)
    assert re.search(r"^40 kills, [\d,]+ messages: none lost", printed, re.MULTILINE)
    assert crash.LIVES > 1
