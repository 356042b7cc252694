"""Descriptors beside the bytes of Unix sockets: real sockets, real processes, real limits."""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from busway.drivers import Pair, UnixChannel, UnixListener, descriptors, unix
from busway.drivers.descriptors import Descriptor
from tests.drivers import waiting
from tests.drivers.programs import Program
from tests.rigs import held

A = b"node-a-16-bytes."
IO_URING_SETUP = 425


@pytest.fixture(name="ends")
def two_ends() -> Iterator[tuple[UnixChannel, UnixChannel]]:
    """Both ends of a link; nothing is left open once the test is over."""
    before = held.descriptors()
    with closing(UnixListener.open("default", A)) as listener:
        ours = unix.dial(listener.path)
        theirs = waiting.accept(listener)
        assert isinstance(theirs, UnixChannel)
        with closing(ours), closing(theirs):
            yield ours, theirs
    assert held.descriptors().keys() == before.keys()


def opened(text: str) -> Descriptor:
    """A file in memory of this content, at its beginning."""
    fd = os.memfd_create("busway-test")
    os.write(fd, text.encode())
    return Descriptor(fd)


def content(descriptor: Descriptor) -> str:
    return os.pread(descriptor.fd, 100, 0).decode()


def inode(descriptor: Descriptor) -> tuple[int, int]:
    found = os.fstat(descriptor.fd)
    return found.st_dev, found.st_ino


def read_all(channel: UnixChannel, size: int, most: int = 65536) -> tuple[bytes, list[Descriptor]]:
    """Exactly so many bytes, and what came with them."""
    data = b""
    came: list[Descriptor] = []
    while len(data) < size:
        waiting.readable(channel)
        part, with_it = channel.read_with(min(most, size - len(data)))
        data += part or b""
        came += with_it
    return data, came


def test_a_descriptor_comes_with_the_bytes_that_it_was_written_with(
    ends: tuple[UnixChannel, UnixChannel],
) -> None:
    ours, theirs = ends
    assert theirs.reads_descriptors
    assert theirs.read_with() == (None, ())
    given = [opened("one"), opened("two")]
    assert ours.write(b"before") == 6
    assert ours.write_with([b"he", memoryview(b"re")], given) == 4
    assert ours.write(b"behind") == 6
    data, came = read_all(theirs, 16)
    assert data == b"beforeherebehind"
    assert [content(each) for each in came] == ["one", "two"]
    assert [inode(each) for each in came] == [inode(each) for each in given]
    assert not any(os.get_inheritable(each.fd) for each in came)
    ours.close()
    assert theirs.read_with() == (b"", ())


def test_bytes_read_one_by_one_bring_it_with_the_first_of_its_own(
    ends: tuple[UnixChannel, UnixChannel],
) -> None:
    ours, theirs = ends
    ours.write(b"ab")
    ours.write_with([b"cd"], [opened("x")])
    ours.write_with([b"ef"], [opened("y")])
    seen = []
    for _ in range(6):
        data, came = read_all(theirs, 1)
        seen.append((data, [content(each) for each in came]))
    assert seen == [(b"a", []), (b"b", []), (b"c", ["x"]), (b"d", []), (b"e", ["y"]), (b"f", [])]


def test_a_full_channel_takes_none_and_of_a_part_all(ends: tuple[UnixChannel, UnixChannel]) -> None:
    ours, theirs = ends
    given = [opened("kept")]
    size = 4 << 20
    taken = ours.write_with([bytes(size)], given)
    assert 0 < taken < size
    while more := ours.write(bytes(size)):
        taken += more
    assert ours.write_with([b"more"], [opened("not taken")]) == 0
    data, came = read_all(theirs, taken)
    assert len(data) == taken
    assert [content(each) for each in came] == ["kept"]


def test_as_many_as_the_kernel_takes_come_in_one_read(ends: tuple[UnixChannel, UnixChannel]) -> None:
    ours, theirs = ends
    given = [opened(str(number)) for number in range(descriptors.AT_ONCE_MAX)]
    assert ours.write_with([b"x"], given) == 1
    data, came = read_all(theirs, 1)
    assert data == b"x"
    assert [content(each) for each in came] == [str(number) for number in range(descriptors.AT_ONCE_MAX)]
    with pytest.raises(OSError):
        ours.write_with([b"x"], [*given, given[0]])


def test_the_sender_may_close_its_own_and_end(ends: tuple[UnixChannel, UnixChannel]) -> None:
    """What is on its way is kept by the kernel."""
    ours, theirs = ends
    given = opened("still there")
    ours.write_with([b"x"], [given])
    given.close()
    given.close()
    assert repr(given) == "<descriptor, closed>"
    ours.close()
    _, came = read_all(theirs, 1)
    assert content(came[0]) == "still there"
    assert repr(came[0]) == f"<descriptor {came[0].fd}>"


def test_what_was_never_read_is_closed_with_the_link(ends: tuple[UnixChannel, UnixChannel]) -> None:
    """Seen at a pipe: its reader has the end when the last writer is closed."""
    ours, theirs = ends
    reader, writer = os.pipe()
    try:
        ours.write_with([b"x"], [Descriptor(writer)])
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        theirs.close()
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


RECEIVER = """
import resource, sys
from busway.drivers import unix
from tests.drivers import waiting
from tests.rigs import held
channel = unix.dial(sys.argv[1])
before = held.count()
resource.setrlimit(resource.RLIMIT_NOFILE, (before + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print("ready", flush=True)
waiting.readable(channel)
try:
    channel.read_with()
except OSError as error:
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(error.errno, held.count() - before, error.strerror, flush=True)
"""


@pytest.mark.parametrize("count", [4, 40])
def test_one_more_than_a_process_may_have_open_ends_in_a_sentence(count: int) -> None:
    with closing(UnixListener.open("default", A)) as listener, Program(RECEIVER, listener.path) as program:
        channel = waiting.accept(listener)
        assert isinstance(channel, UnixChannel)
        with closing(channel):
            assert program.hear() == "ready"
            before = held.descriptors()
            channel.write_with([b"x"], [opened("x") for _ in range(count)])
            number, left, text = program.hear().split(" ", 2)
            assert (int(number), int(left)) == (errno.EMFILE, 0)
            assert "ulimit -n" in text
            assert held.descriptors().keys() == before.keys()


FLOODER = """
import os, resource, socket, sys
from busway.drivers import descriptors
from busway.drivers.descriptors import Descriptor
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
os.setgroups([]) if os.geteuid() == 0 else None
os.setresuid(61234, 61234, 61234) if os.geteuid() == 0 else None
ours, theirs = socket.socketpair()
given = [Descriptor(os.dup(0)) for _ in range(16)]
taken = []
while not taken or taken[-1] > 0:
    taken.append(descriptors.send(ours, [b"x"], given))
print(taken[-1] == descriptors.TOO_MANY, len(taken) > 2, flush=True)
while True:
    data, came = descriptors.receive(theirs.recvmsg, 1)
    del came
    if descriptors.send(ours, [b"x"], given) == 1:
        break
print("goes on", flush=True)
"""


def test_too_many_on_their_way_is_told_and_goes_on_once_they_are_read() -> None:
    """The limit is one of users who are not root."""
    with Program(FLOODER) as program:
        assert program.hear() == "True True"
        assert program.hear() == "goes on"


def test_a_killed_receiver_closes_what_it_had() -> None:
    script = """
import sys, time
from busway.drivers import unix
from tests.drivers import waiting
channel = unix.dial(sys.argv[1])
waiting.readable(channel)
came = channel.read_with()
print(len(came[1]), flush=True)
time.sleep(1000)
"""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with closing(UnixListener.open("other", A)) as listener, Program(script, listener.path) as program:
        channel = waiting.accept(listener)
        assert isinstance(channel, UnixChannel)
        with closing(channel):
            channel.write_with([b"x"], [Descriptor(writer), opened("x")])
            assert program.hear() == "2"
            with pytest.raises(BlockingIOError):
                os.read(reader, 1)
            program.kill()
            waiting.until(lambda: os.read(reader, 1) == b"", "the end of the pipe")
    os.close(reader)


def test_what_the_kernel_hands_over_to_nobody_is_known() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(256))
    if fd < 0:
        pytest.skip(f"no io_uring here: {os.strerror(ctypes.get_errno())}")
    ring, plain, event = Descriptor(fd), opened("x"), Descriptor(os.eventfd(0))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert [descriptors.passable(each.fd) for each in (ring, plain, event)] == [False, True, True]
        assert descriptors.passable(ours.fileno())
        with pytest.raises(OSError) as refused:
            descriptors.send(ours, [b"x"], [ring])
        assert refused.value.errno == errno.EINVAL
    for each in (ring, plain, event):
        each.close()


def test_a_writer_whose_reader_is_gone_is_told_without_a_signal(
    ends: tuple[UnixChannel, UnixChannel],
) -> None:
    ours, theirs = ends
    theirs.close()
    former = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with pytest.raises(BrokenPipeError):
            ours.write_with([b"x"], [opened("x")])
    finally:
        signal.signal(signal.SIGPIPE, former)


# ---- in memory


def test_pairs_in_memory_hand_over_copies_with_the_first_byte() -> None:
    before = held.descriptors()
    net = Pair(delay_ms=5)
    given = [opened("one"), opened("two")]
    assert net.a.reads_descriptors
    assert net.a.write(b"ab") == 2
    assert net.a.write_with([b"c", b"d"], given) == 2
    for each in given:
        each.close()
    assert net.b.read_with() == (None, ())
    net.advance(5)
    assert net.b.read_with(2) == (b"ab", [])
    data, came = net.b.read_with(1)
    assert (data, [content(each) for each in came]) == (b"c", ["one", "two"])
    assert net.b.read_with(10) == (b"d", [])
    for each in came:
        each.close()
    assert held.descriptors().keys() == before.keys()


@pytest.mark.parametrize("how", ["fail", "close", "drop"])
def test_pairs_in_memory_close_what_was_never_read(how: str) -> None:
    before = held.descriptors()
    net = Pair()
    net.a.write_with([b"x"], [opened("one")])
    if how == "fail":
        net.fail()
    elif how == "close":
        net.b.close()
    del net
    assert held.descriptors().keys() == before.keys()


def test_a_full_pair_takes_none() -> None:
    before = held.descriptors()
    net = Pair(capacity=4)
    assert net.a.write_with([b"abcdef"], [opened("x")]) == 4
    assert net.a.write_with([b"ef"], [opened("y")]) == 0
    data, came = net.b.read_with()
    assert (data, [content(each) for each in came]) == (b"abcd", ["x"])
    assert not Pair(sort="packet").a.reads_descriptors
    del net, came
    assert held.descriptors().keys() == before.keys()
