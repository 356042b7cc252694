"""Buses in memory: order, wrapping, laps, room, sleeping; among threads and processes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway import nano
from busway.nano import blocks, reading, waiting
from busway.nano.control import Control, Counters
from busway.nano.log import Log, packed
from busway.nano.reading import Reader

# From Python 3.12 on it warns of each fork of a program that has threads, as pytest has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

fork: Any = multiprocessing.get_context("fork")

RINGS: dict[str, Callable[[], Log]] = {
    "ring": lambda: nano.RingBus(4096),
    "blocking": lambda: nano.BlockingBus(4096, patience=0.0),
}


def write(bus: Log, *messages: bytes, reader: Reader | None = None) -> int:
    return bus.commit(*packed([(0, message) for message in messages]), reader)


def messages_of(found: list[blocks.Block]) -> list[bytes]:
    """The bytes of all messages in blocks."""
    out = []
    for block in found:
        at = 0
        for _ in range(block.messages):
            size, _ = blocks.MESSAGE.unpack_from(block.body, at)
            out.append(bytes(block.body[at + 8 : at + 8 + size]))
            at += 8 + size + -size % 8
    return out


def read_all(reader: Reader) -> list[bytes]:
    found = []
    while some := reader.take():
        found += messages_of(some)
    return found


@pytest.fixture(params=[True, False], ids=["ordered", "not-ordered"])
def _order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on x86, and as where others do not see writes in their order: there blocks have checksums."""
    monkeypatch.setattr(blocks, "ORDERED", request.param)


@pytest.fixture(params=RINGS)
def ring(_order: None, request: pytest.FixtureRequest) -> Iterator[Log]:
    with RINGS[request.param]() as bus:
        yield bus


def test_messages_come_in_order_and_whole(ring: Log) -> None:
    reader = ring.attach("a")
    write(ring, b"one", b"", b"three and more")
    write(ring, b"x" * 100)
    assert read_all(reader) == [b"one", b"", b"three and more", b"x" * 100]
    assert reader.take() == []


def test_who_attaches_later_begins_with_what_comes_later(ring: Log) -> None:
    write(ring, b"before")
    reader = ring.attach("a")
    write(ring, b"after")
    assert read_all(reader) == [b"after"]


def test_it_goes_round_and_round(ring: Log) -> None:
    reader = ring.attach("a")
    sent = [bytes([n % 251]) * (n % 700) for n in range(400)]
    got = []
    for message in sent:
        write(ring, message)
        got += read_all(reader)
    assert got == sent
    assert ring.state().tail > 20 * ring.lap


def test_a_reader_that_was_lapped_is_told_how_many_it_missed(ring: Log) -> None:
    reader = ring.attach("a")
    sent = [b"%06d" % n for n in range(500)]
    for message in sent:
        write(ring, message)
    with pytest.raises(nano.Lapped) as caught:
        reader.take()
    got = read_all(reader)
    assert caught.value.missed + len(got) == len(sent)
    assert got == sent[caught.value.missed :]
    assert f"{caught.value.missed} messages missed" in str(caught.value)


@given(data=st.data())
def test_never_garbage_and_every_message_counted(data: st.DataObject) -> None:
    """Whatever is written and read in whatever order: what comes is what was sent, or counted as missed."""
    sizes = st.lists(st.integers(0, 75), min_size=1, max_size=3)
    with nano.RingBus(4096) as bus:
        bus.summed = data.draw(st.booleans())
        reader = bus.attach("a")
        sent: list[bytes] = []
        place = 0
        for turn in data.draw(st.lists(st.one_of(sizes, st.none()), max_size=60)):
            if turn is not None:
                these = [len(sent).to_bytes(4, "big") * size for size in turn]
                sent += these
                write(bus, *these)
                continue
            try:
                found = messages_of(reader.take())
            except nano.Lapped as error:
                place += error.missed
                continue
            assert found == sent[place : place + len(found)]
            place += len(found)
        with contextlib.suppress(nano.Lapped):
            assert read_all(reader) == sent[place:]


def test_a_block_has_a_quarter_of_the_ring_and_no_more(ring: Log) -> None:
    most = ring.block_max - blocks.MESSAGE_SIZE
    reader = ring.attach("a")
    write(ring, b"x" * most)
    assert read_all(reader) == [b"x" * most]
    with pytest.raises(ValueError, match=f"at most {ring.block_max} bytes"):
        write(ring, b"x" * (most + 1))


@pytest.mark.parametrize(
    ("size", "wrong"),
    [(0, "above 0"), ("5 parsecs", "64 MiB"), ("MiB", "64 MiB"), (-1, "above 0"), ("0", "above 0")],
)
def test_sizes_that_are_none_are_refused(size: int | str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        nano.RingBus(size)


@pytest.mark.parametrize(
    ("size", "lap"), [("8 KiB", 8192), ("1.5MiB", 3 << 19), (4097, 8192), ("8 kB", 8192)]
)
def test_sizes_are_numbers_and_texts(size: int | str, lap: int) -> None:
    with nano.RingBus(size) as bus:
        assert bus.lap == lap


def test_a_view_says_whether_it_still_is_what_it_was() -> None:
    with nano.RingBus(4096) as bus:
        reader = bus.attach("a")
        reader.as_view = True
        write(bus, b"first")
        (block,) = reader.take()
        assert reader.whole(block)
        for _ in range(8):
            write(bus, b"x" * 600)
        assert not reader.whole(block)
        assert not isinstance(block.body, bytes)
        block.body.release()


def test_what_lies_there_from_an_earlier_lap_is_no_block() -> None:
    """Even a message that is the copy of a block: its stamp is of another position."""
    with nano.RingBus(4096) as bus:
        reader = bus.attach("a")
        write(bus, b"honest")
        copy = bytes(bus.map[blocks.DATA_AT : blocks.DATA_AT + blocks.BLOCK + 16])
        assert read_all(reader) == [b"honest"]
        for _ in range(40):
            write(bus, copy * 8)
            assert read_all(reader) == [copy * 8]


@pytest.mark.usefixtures("_order")
def test_what_is_written_over_while_it_is_read_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writers come round in the middle of a read, at whatever byte of it."""
    with nano.RingBus(4096) as bus:
        reader = bus.attach("a")
        sent = [b"%03d" % n * 250 for n in range(40)]
        write(bus, sent[0])
        place: Callable[[int], tuple[Any, int]] = bus.place
        left = iter(sent[1:])

        def written_meanwhile(position: int) -> tuple[Any, int]:
            found = place(position)
            monkeypatch.setattr(bus, "place", place)
            header = found[0][found[1] : found[1] + blocks.BLOCK]
            for _ in range(8):
                write(bus, next(left))
            found[0][found[1] : found[1] + blocks.BLOCK] = header  # it was read before
            return found

        monkeypatch.setattr(bus, "place", written_meanwhile)
        with pytest.raises(nano.Lapped) as caught:
            reader.take()
        assert caught.value.missed > 0


def test_a_block_that_is_seen_before_all_of_it_is_there_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on ARM: its stamp is there, and some of its bytes are not yet."""
    monkeypatch.setattr(blocks, "ORDERED", False)
    with nano.RingBus(4096) as bus:
        reader = bus.attach("a")
        write(bus, b"it comes late")
        at = blocks.DATA_AT + blocks.BLOCK + 8
        late = bytes(bus.map[at : at + 4])
        bus.map[at : at + 4] = bytes(4)
        sleeps: list[float] = []

        def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            if len(sleeps) == 3:
                bus.map[at : at + 4] = late

        monkeypatch.setattr(time, "sleep", sleep)
        assert read_all(reader) == [b"it comes late"]
        assert len(sleeps) == 3


# ---- several readers and writers


def test_each_reader_has_all(ring: Log) -> None:
    readers = [ring.attach(f"r{n}") for n in range(5)]
    write(ring, b"for all")
    assert [read_all(reader) for reader in readers] == [[b"for all"]] * 5


def test_a_name_is_of_one_living_reader(ring: Log) -> None:
    first = ring.attach("a")
    with pytest.raises(ValueError, match="reads as 'a' already"):
        ring.attach("a")
    first.close()
    ring.attach("a")


def test_names_and_readers_have_limits(ring: Log) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        ring.attach("")
    with pytest.raises(ValueError, match="1 to 64"):
        ring.attach("x" * 65)
    readers = [ring.attach("x" * 63 + chr(256 - n) if n < 0 else f"{n}") for n in range(blocks.READERS_MAX)]
    with pytest.raises(ValueError, match="at most 64 readers"):
        ring.attach("one more")
    readers[0].close()
    ring.attach("one more")


def test_a_place_that_another_reader_had_says_nothing_of_that_one() -> None:
    with nano.RingBus(4096) as bus:
        first = bus.attach("first")
        for _ in range(3):
            first.keep(write(bus, b"before"))
        first.close()
        end = write(bus, b"after")
        second = bus.attach("second")
        assert second.row == first.row
        assert second.kept() == second.position == end


def test_a_position_may_be_asked_for(ring: Log) -> None:
    write(ring, b"one")
    here = write(ring, b"two")
    write(ring, b"three")
    assert read_all(ring.attach("a", start=here)) == [b"three"]
    assert [entry.data for entry in nano_entries(ring, 0)] == [b"one", b"two", b"three"]
    with pytest.raises(ValueError, match="a position is 0 to"):
        ring.attach("b", start=1 << 40)


def nano_entries(bus: Log, start: int) -> list[nano.Entry]:
    bus.declare([("bytes", "bytes")], ["test"])
    return list(bus.entries(start))


def test_many_threads_write_at_once() -> None:
    with nano.BlockingBus("16 KiB", patience=60.0) as bus:
        reader = bus.attach("a")
        sent = {n: [b"%d:%05d" % (n, i) for i in range(1500)] for n in range(4)}

        def work(number: int) -> None:
            for message in sent[number]:
                write(bus, message)

        threads = [threading.Thread(target=work, args=(number,)) for number in sent]
        for thread in threads:
            thread.start()
        got = take_many(reader, 6000)
        for thread in threads:
            thread.join()
    for number, messages in sent.items():
        assert [one for one in got if one.startswith(b"%d:" % number)] == messages


def take_many(reader: Reader, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        assert reader.wait(60.0), f"{len(got)} came"
        got += messages_of(reader.take())
    return got


def test_many_processes_write_at_once() -> None:
    with nano.BlockingBus("16 KiB", patience=60.0) as bus:
        bus.share()
        reader = bus.attach("a")

        def work(number: int) -> None:
            for i in range(1500):
                write(bus, b"%d:%05d" % (number, i))

        children = [fork.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        got = take_many(reader, 4500)
        for child in children:
            child.join()
    for number in range(3):
        assert [one for one in got if one.startswith(b"%d:" % number)] == [
            b"%d:%05d" % (number, i) for i in range(1500)
        ]


def test_a_writer_that_is_killed_holds_nobody_up() -> None:
    """It is killed with the lock, in the middle of a block."""
    with nano.BlockingBus("16 KiB") as bus:
        bus.share()
        reader = bus.attach("a")

        def die() -> None:
            def write_half(*_: object) -> None:
                mapped, at = bus.place(bus.state().tail)
                mapped[at + 8 : at + 40] = b"half of a block, and then no more"[:32]
                os.kill(os.getpid(), signal.SIGKILL)

            bus._write = write_half
            write(bus, b"never")

        child = fork.Process(target=die)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        write(bus, b"on it goes")
        assert read_all(reader) == [b"on it goes"]


def test_what_a_killed_writer_committed_and_did_not_tell_is_there() -> None:
    with nano.RingBus("16 KiB") as bus:
        bus.share()
        reader = bus.attach("a")

        def die() -> None:
            bus._say = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            write(bus, b"committed")

        child = fork.Process(target=die)
        child.start()
        child.join()
        assert reader.take() == []
        write(bus, b"next")
        assert read_all(reader) == [b"committed", b"next"]


def test_one_copy_of_the_state_is_whole_at_any_instant() -> None:
    """Each word of the copy that is being written may be the last one."""
    for cut in range(5):
        with nano.RingBus(4096) as bus:
            reader = bus.attach("a")
            write(bus, b"one")
            write(bus, b"two")
            state = bus.state()
            at = blocks.STATES_AT + 32 * (1 - state.slot)
            fresh = bytearray(32)
            blocks.pack_state(fresh, 0, state.tail + 64, state.total + 1, 0)
            bus.map[at : at + 8 * cut] = bytes(fresh[: 8 * cut])
            assert bus.state()[:3] == ((state.tail + 64, state.total + 1, 0) if cut == 4 else state[:3])
            if cut < 4:
                write(bus, b"three")
                assert read_all(reader) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("what", ["counts", "head"])
def test_no_zeros_are_read_of_numbers_that_are_being_written(what: str) -> None:
    with nano.RingBus(4096) as ring:
        control = Control(1, 1)

        def write_on() -> None:
            for number in itertools.count(1):
                if what == "counts":
                    control.count(0, Counters(number, number, number, number))
                else:
                    blocks.pack_state(ring.map, blocks.STATES_AT, number, number, number)

        def read() -> int:
            if what == "counts":
                return control.counters(0).handled
            return int(blocks.STATES.unpack_from(ring.map, blocks.STATES_AT)[2])

        child = fork.Process(target=write_on)
        child.start()
        try:
            while not read():
                assert child.is_alive()
            assert all(read() for _ in range(300_000))
        finally:
            child.kill()
            child.join()


def test_half_a_number_of_a_killed_writer_keeps_nobody_awake() -> None:
    with nano.BlockingBus(4096) as bus:
        reader = bus.attach("a")
        write(bus, b"one")
        assert read_all(reader) == [b"one"]
        at = blocks.STATES_AT + 32 * (1 - bus.state().slot)
        blocks.WORD.pack_into(bus.map, at, bus.state().tail + 64)
        assert bus.grown(reader.position)
        assert not reader.wait(0.0)
        write(bus, b"two")
        assert reader.wait(0.0)
        assert read_all(reader) == [b"two"]


def test_a_header_that_nobody_can_read_is_told() -> None:
    with nano.RingBus(4096) as bus:
        write(bus, b"one")
        bus.map[blocks.STATES_AT : blocks.STATES_AT + 64] = b"\xaa" * 64
        with pytest.raises(nano.Damaged, match="how far it is"):
            bus.state()


# ---- room


def test_a_place_that_a_reader_is_just_writing_is_waited_for_as_it_was() -> None:
    with nano.BlockingBus(4096, patience=60.0) as ring:
        reader = ring.attach("near")
        at = blocks.READERS_AT + blocks.READER_SIZE * reader.row + blocks.FREED_AT
        position, flipped = blocks.PAIR.unpack_from(ring.map, at)
        blocks.PAIR.pack_into(ring.map, at, position + 8, flipped)
        write(ring, b"it")
        state = ring.state()
        end = position + ring.lap + 8
        assert ring.make_room(state, end, 0.0) == -1
        blocks.PAIR.pack_into(ring.map, at, position + 8, position + 8 ^ blocks.FLIPPED)
        assert ring.make_room(state, end, 0.0) >= 0


def test_a_writer_waits_for_the_slowest_reader() -> None:
    with nano.BlockingBus(4096, patience=60.0) as bus:
        slow, quick = bus.attach("slow"), bus.attach("quick")
        sent = [b"%04d" % n * 30 for n in range(300)]
        writer = threading.Thread(target=lambda: [write(bus, one) for one in sent])
        writer.start()
        assert len(take_many(quick, 15)) >= 15
        assert writer.is_alive()
        got: list[bytes] = []
        while len(got) < len(sent):
            quick.wait(0.001)
            quick.take()
            got += messages_of(slow.take())
        writer.join()
    assert got == sent


def test_a_writer_that_reads_nothing_has_patience_as_others_have() -> None:
    """Though room came between its two looks: another writer may have taken it since."""
    with nano.BlockingBus(4096, patience=60.0) as bus:
        bus.attach("near")
        deaf = Reader(bus, -1, 0, None)
        assert bus.wait_for_room(4096, deaf, 0.0) < 60.0


def test_a_writer_that_has_waited_long_enough_goes_on() -> None:
    with nano.BlockingBus(4096, patience=0.01) as bus:
        reader = bus.attach("slow")
        for n in range(100):
            write(bus, b"%04d" % n * 30)
        with pytest.raises(nano.Lapped) as caught:
            reader.take()
        assert caught.value.missed + len(read_all(reader)) == 100


def test_nobody_waits_for_a_reader_that_was_killed() -> None:
    with nano.BlockingBus(4096, patience=1e9) as bus:
        bus.share()
        reader = bus.attach("gone")

        def die() -> None:
            reader.adopt(os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)

        child = fork.Process(target=die)
        child.start()
        child.join()
        for n in range(100):
            write(bus, b"%04d" % n * 30)


def test_a_reader_that_is_handed_over_is_waited_for_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever instant a writer looks at: some living process has the row."""
    with nano.BlockingBus(4096, patience=1e9) as bus:
        reader = bus.attach("a")
        write(bus, b"not to be lost")
        looked = 0

        class Watching:
            @staticmethod
            def pack_into(*arguments: Any) -> None:
                nonlocal looked
                pack_into(*arguments)
                looked += 1
                assert [pid for _, _, pid in bus.rows()] != [0]

        pack_into = blocks.WORD.pack_into
        watching: Any = Watching()
        watching.unpack_from = blocks.WORD.unpack_from
        monkeypatch.setattr(blocks, "WORD", watching)
        reader.adopt(os.getppid())
        assert looked == 3


def test_two_that_write_to_each_other_do_not_stand_still() -> None:
    """Each takes what waits for it out of the ring while it waits for room."""
    with nano.BlockingBus(4096, patience=1e9) as bus:
        readers = [bus.attach("a"), bus.attach("b")]
        got: list[list[bytes]] = [[], []]

        def work(mine: int) -> None:
            for n in range(200):
                write(bus, b"%d:%03d" % (mine, n) * 20, reader=readers[mine])
            while len(got[mine]) < 400:
                readers[mine].wait(60.0)
                got[mine] += messages_of(readers[mine].take())

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got[0] == got[1]
    assert len(got[0]) == 400


def test_what_is_set_aside_is_bounded() -> None:
    """A worker that floods itself is lapped in the end, and told so."""
    with nano.BlockingBus(4096, patience=1e9) as bus:
        reader = bus.attach("self")
        count = 2 * reading.ASIDE_LAPS * 4096 // 200
        for n in range(count):
            write(bus, b"%05d" % n * 30, reader=reader)
        got = messages_of(reader.take())
        assert got == [b"%05d" % n * 30 for n in range(len(got))]
        with pytest.raises(nano.Lapped) as caught:
            reader.take()
        assert len(got) + caught.value.missed + len(read_all(reader)) == count


# ---- sleeping


def test_what_was_lost_meanwhile_is_told_behind_what_was_set_aside() -> None:
    with nano.RingBus(4096) as bus:
        reader = bus.attach("a")
        write(bus, b"first")
        assert reader.set_aside()
        for n in range(100):
            write(bus, b"%04d" % n * 30)
        assert not reader.set_aside()
        assert reader.wait(0.0)
        assert messages_of(reader.take()) == [b"first"]
        with pytest.raises(nano.Lapped) as caught:
            reader.take()
        assert caught.value.missed + len(read_all(reader)) == 100


@pytest.mark.parametrize("patience", [-1.0, float("nan")])
def test_patience_is_a_time(patience: float) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        nano.BlockingBus(patience=patience)


@pytest.mark.parametrize("left", range(0, 64, 8))
def test_a_lap_may_end_anywhere(left: int) -> None:
    with nano.BlockingBus(4096) as bus:
        reader = bus.attach("a")
        sent = [b"x" * 968] * 3 + [b"y" * (968 - left), b"next"]
        got = []
        for one in sent:
            write(bus, one)
            got += read_all(reader)
        assert bus.state().tail == 4096 + 48 + 16
        assert got == sent


def test_the_sort_of_sleep_is_known() -> None:
    with nano.BlockingBus(4096) as bus:
        assert bus.bell.kind == "condition"
        bus.share()
        assert bus.bell.kind == ("futex" if waiting._futex_number() else "sleep")
    with nano.RingBus(4096) as ring:
        assert ring.bell.kind == "sleep"


def test_where_there_is_no_futex_readers_look_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FUTEX_NUMBERS", {})
    with nano.BlockingBus(4096) as bus:
        bus.share()
        assert bus.bell.kind == "sleep"
        reader = bus.attach("a")
        child = fork.Process(target=lambda: write(bus, b"hello"))
        child.start()
        assert take_many(reader, 1) == [b"hello"]
        child.join()


@pytest.mark.parametrize("shared", [False, True], ids=["threads", "processes"])
def test_who_waits_sleeps_and_is_woken(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks a few times for each second that passes, however slow the machine is; a message ends it."""
    with nano.BlockingBus(4096) as bus:
        if shared:
            bus.share()
        reader = bus.attach("a")
        waits = 0
        wait = bus.bell.wait

        def counted(seen: int, timeout: float, times: int) -> None:
            nonlocal waits
            waits += 1
            wait(seen, timeout, times)

        monkeypatch.setattr(bus.bell, "wait", counted)
        began = time.monotonic()
        assert not reader.wait(0.6)
        writer = threading.Timer(0.1, lambda: write(bus, b"wake up"))
        writer.start()
        assert reader.wait(60.0)
        writer.join()
        assert waits <= 4 + 2 * (time.monotonic() - began) / waiting.NAP_MAX_S
        assert read_all(reader) == [b"wake up"]


def test_a_message_between_the_look_and_the_sleep_is_not_slept_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with nano.BlockingBus(4096) as bus:
        bus.share()
        reader = bus.attach("a")
        value: Callable[[], int] = bus.bell.value
        told: list[float] = []
        wait = bus.bell.wait

        def value_then_message() -> int:
            seen = value()
            if not told:
                write(bus, b"just now")
            return seen

        def watched(seen: int, timeout: float, times: int) -> None:
            told.append(timeout)
            wait(seen, timeout, times)

        grown: Callable[[int], bool] = bus.grown
        looks = [False, False]

        def late(position: int) -> bool:
            return looks.pop() if looks else grown(position)

        monkeypatch.setattr(bus, "grown", late)
        monkeypatch.setattr(bus.bell, "value", value_then_message)
        monkeypatch.setattr(bus.bell, "wait", watched)
        assert reader.wait(60.0)
        assert len(told) == 1


# ---- processes that are spawned


def _written_by_another(bus: Log) -> None:
    write(bus, b"from afar", bus.sources[0].encode())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("make", [nano.RingBus, nano.BlockingBus], ids=["ring", "blocking"])
def test_processes_that_are_spawned_share_it(make: Callable[[], Log], method: str) -> None:
    with make() as bus:
        bus.declare([("bytes", "bytes")], ["somebody"])
        bus.share()
        reader = bus.attach("a")
        child: Any = multiprocessing.get_context(method)
        process = child.Process(target=_written_by_another, args=(bus,))
        process.start()
        assert take_many(reader, 2) == [b"from afar", b"somebody"]
        process.join()
        assert process.exitcode == 0


def test_close_twice_is_once(ring: Log) -> None:
    reader = ring.attach("a")
    reader.as_view = True
    write(ring, b"held")
    held = reader.take()
    ring.close()
    ring.close()
    assert bytes(held[0].body[8:12]) == b"held"
