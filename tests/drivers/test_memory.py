"""Pairs in memory: bytes, virtual time, loss by seed, backpressure, end and failure; and under asyncio."""

import asyncio
from collections.abc import Callable

import pytest

from busway.drivers import MemoryChannel, Pair, PushChannel, pair
from tests.rigs.aio import run


def settle(net: Pair, *, bound: int = 10_000) -> None:
    """Advances from deadline to deadline until nothing is due."""
    for _ in range(bound):
        due_ms = net.next_deadline()
        if due_ms is None:
            return
        net.advance(due_ms)
    raise AssertionError(f"still something due after {bound} steps")


def collect(channel: MemoryChannel, into: list[bytes | OSError]) -> None:
    """Reads as an adapter does: once for each callback."""

    def on_readable() -> None:
        try:
            data = channel.read()
        except OSError as error:
            into.append(error)
            return
        assert data is not None, "called with nothing to read"
        into.append(data)

    channel.on_readable = on_readable


def test_both_ends_are_channels_and_agree_on_the_link() -> None:
    a: PushChannel
    b: PushChannel
    a, b = pair(realm="global", name="cable")
    assert (a.sort, a.realm, a.mtu, a.fileno(), a.connected()) == ("stream", "global", 0, -1, True)
    assert (a.dialled, b.dialled) == (True, False)
    assert (a.via, b.via) == ("memory://cable", "")
    assert a.address == b.address == "memory://cable"


def test_bytes_cross_both_ways_and_join_into_a_stream() -> None:
    a, b = pair()
    assert b.read() is None
    assert a.write(b"ab") == 2
    assert a.write(memoryview(b"cde")) == 3
    assert b.write(b"back") == 4
    assert b.read(4) == b"abcd"
    assert b.read(4) == b"e"
    assert b.read() is None
    assert a.read() == b"back"


def test_what_was_written_does_not_change_afterwards() -> None:
    a, b = pair()
    data = bytearray(b"before")
    a.write(memoryview(data))
    data[:] = b"after!"
    assert b.read() == b"before"


def test_messages_keep_their_bounds_whatever_is_asked_for() -> None:
    a, b = pair(sort="message")
    a.write(b"one")
    a.write(b"three")
    assert b.read(1) == b"one"
    assert b.read(1) == b"three"


def test_bytes_arrive_after_the_delay_and_not_before() -> None:
    net = pair(delay_ms=20)
    got: list[bytes | OSError] = []
    collect(net.b, got)
    net.advance(100)
    net.a.write(b"x")
    assert net.b.read() is None
    assert net.next_deadline() == 120
    net.advance(119)
    assert got == []
    net.advance(120)
    assert got == [b"x"]
    assert net.next_deadline() is None


def test_time_runs_forwards_only() -> None:
    net = pair()
    net.advance(5)
    net.advance(5)
    with pytest.raises(ValueError, match="5 ms already, and 4 ms"):
        net.advance(4)


def test_write_never_calls_the_other_end() -> None:
    """An adapter writes in the middle of its own work; a call back into it there would find it half done."""
    net = pair()
    got: list[bytes | OSError] = []
    collect(net.b, got)
    net.a.write(b"x")
    assert got == []
    assert net.next_deadline() == 0
    net.advance(0)
    assert got == [b"x"]


def test_a_reader_that_takes_little_is_called_until_nothing_is_left() -> None:
    net = pair()
    got: list[bytes | None] = []
    net.b.on_readable = lambda: got.append(net.b.read(2))
    net.a.write(b"abcde")
    settle(net)
    assert got == [b"ab", b"cd", b"e"]


def test_a_callback_set_late_still_learns_of_what_waits() -> None:
    net = pair()
    net.a.write(b"early")
    got: list[bytes | OSError] = []
    collect(net.b, got)
    settle(net)
    assert got == [b"early"]


def test_a_full_stream_takes_a_part_and_says_when_there_is_room() -> None:
    net = pair(capacity=10)
    called: list[int] = []
    net.a.on_writable = lambda: called.append(net.now_ms())
    assert net.a.write(b"12345678") == 8
    settle(net)
    assert called == [], "a write that was taken whole waits for nothing"
    assert net.a.write(b"abcd") == 2
    assert net.a.write(b"cd") == 0
    settle(net)
    assert called == [], "still full"
    assert net.b.read(3) == b"123"
    settle(net)
    assert called == [0]
    assert net.a.write(b"cdef") == 3
    assert net.b.read() == b"45678abcde"


def test_bytes_under_way_count_towards_the_capacity() -> None:
    net = pair(capacity=4, delay_ms=50)
    assert net.a.write(b"abcdef") == 4
    assert net.a.write(b"ef") == 0
    assert net.b.write(b"other way") == 4


def test_a_message_is_taken_whole_or_not_at_all() -> None:
    net = pair(sort="message", capacity=10)
    assert net.a.write(b"123456") == 6
    assert net.a.write(b"abcde") == 0
    assert net.a.write(b"abcd") == 4
    assert net.b.read() == b"123456"
    assert net.b.read() == b"abcd"


def test_a_message_beyond_the_capacity_passes_alone() -> None:
    a, b = pair(sort="message", capacity=3)
    assert a.write(b"longer") == 6
    assert a.write(b"x") == 0
    assert b.read() == b"longer"
    assert a.write(b"x") == 1


def test_a_packet_over_the_mtu_is_an_error_of_the_writer() -> None:
    a, b = pair(sort="packet", mtu=20)
    assert a.write(bytes(20)) == 20
    with pytest.raises(ValueError, match="at most 20 bytes, not 21"):
        a.write(bytes(21))
    assert b.read() == bytes(20)
    assert b.read() is None


def packets_of(seed: int) -> tuple[list[bytes | OSError], int]:
    net = pair(sort="packet", loss=0.3, seed=seed, delay_ms=3)
    got: list[bytes | OSError] = []
    collect(net.b, got)
    for number in range(300):
        assert net.a.write(number.to_bytes(2)) == 2
        net.advance(number)
    settle(net)
    return got, net.lost


def test_the_same_seed_loses_the_same_packets() -> None:
    got, lost = packets_of(7)
    assert packets_of(7) == (got, lost)
    assert packets_of(8) != (got, lost)
    assert len(got) + lost == 300
    assert 60 <= lost <= 120  # 0.3 of 300; 5 standard deviations each way are 50..130


@pytest.mark.parametrize(("loss", "arriving"), [(0.0, 50), (1.0, 0)])
def test_loss_at_both_its_ends(loss: float, arriving: int) -> None:
    net = pair(sort="packet", loss=loss)
    for number in range(50):
        net.a.write(bytes([number]))
    assert sum(net.b.read() is not None for _ in range(50)) == arriving
    assert net.lost == 50 - arriving


def test_the_end_comes_after_what_was_sent_and_is_told_once() -> None:
    net = pair(delay_ms=10)
    got: list[bytes | OSError] = []
    collect(net.b, got)
    net.a.write(b"last")
    net.a.close()
    net.a.close()
    settle(net)
    assert got == [b"last", b""]
    assert net.b.read() == b""
    with pytest.raises(BrokenPipeError):
        net.b.write(b"too late")


def test_the_end_takes_as_long_as_bytes_do() -> None:
    net = pair(delay_ms=10)
    net.a.close()
    assert net.b.read() is None
    net.advance(9)
    assert net.b.read() is None
    assert net.b.write(b"not knowing") == 11
    net.advance(10)
    assert net.b.read() == b""


def test_a_failure_is_not_an_end() -> None:
    net = pair()
    got: list[bytes | OSError] = []
    collect(net.b, got)
    net.a.write(b"lost")
    net.fail()
    settle(net)
    assert [type(one) for one in got] == [ConnectionResetError]
    with pytest.raises(ConnectionResetError):
        net.a.read()
    with pytest.raises(ConnectionResetError):
        net.a.write(b"x")


def test_a_writer_that_waits_for_room_learns_of_the_failure() -> None:
    net = pair(capacity=1)
    called: list[bool] = []
    net.a.on_writable = lambda: called.append(True)
    assert net.a.write(b"ab") == 1
    net.fail()
    settle(net)
    assert called == [True]


def test_a_closed_end_is_of_no_more_use() -> None:
    a, b = pair()
    b.write(b"unread")
    a.close()
    for use in (lambda: a.read(), lambda: a.write(b"x")):
        with pytest.raises(OSError, match="closed"):
            use()


def test_an_abandoned_end_leaves_the_other_one_alone() -> None:
    net = pair()
    net.a.write(b"kept")
    net.a.abandon()
    assert net.b.read() == b"kept"
    assert net.b.read() is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"loss": 0.1}, 'give sort="packet"'),
        ({"loss": 0.1, "sort": "message"}, 'give sort="packet"'),
        ({"loss": 1.1, "sort": "packet"}, "0 to 1"),
        ({"loss": -0.1, "sort": "packet"}, "0 to 1"),
        ({"delay_ms": -1}, "delay_ms must be at least 0"),
        ({"sort": "pigeon"}, "stream, message, packet"),
        ({"realm": "process"}, "userspace, localnet, global"),
        ({"mtu": 20}, "a stream has no packets"),
        ({"mtu": -1, "sort": "packet"}, "not -1"),
        ({"capacity": 0}, "capacity must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pair(**wrong)  # type: ignore[arg-type]


def test_a_read_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        pair().a.read(0)


def test_under_asyncio_the_loop_delivers_in_real_time() -> None:
    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        net = pair(delay_ms=30, capacity=1000, clock=loop)
        got: list[bytes | OSError] = []
        collect(net.b, got)
        rest = memoryview(bytes(range(250)) * 10)
        ended = loop.create_future()

        def push() -> None:
            nonlocal rest
            rest = rest[net.a.write(rest) :]
            if not rest:
                net.a.close()

        def pull() -> None:
            data = net.b.read()
            assert data is not None
            got.append(data)
            if not data:
                ended.set_result(None)

        net.a.on_writable = push
        net.b.on_readable = pull
        begun = loop.time()
        push()
        await ended
        return b"".join(one for one in got if isinstance(one, bytes)), loop.time() - begun

    data, took_s = run(main())
    assert data == bytes(range(250)) * 10
    # 2,500 bytes, 1,000 at a time, are three rounds of at least a delay each; a loop may be 1 ms early.
    assert took_s >= 3 * 0.029


def test_under_asyncio_one_timer_serves_many_writes_and_none_outlives_the_pair() -> None:
    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        class Watched:
            def time(self) -> float:
                return loop.time()

            def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
                timers.append(loop.call_at(when, callback))
                return timers[-1]

        net = pair(delay_ms=60_000, clock=Watched())
        net.b.on_readable = lambda: net.b.read()
        for _ in range(100):
            net.a.write(b"x")
        assert [timer.cancelled() for timer in timers] == [False]
        net.b.close()
        net.a.close()
        return [timer.cancelled() for timer in timers]

    assert run(main()) == [True]
