"""Descriptors beside the bytes of Unix sockets: real sockets, real processes, real limits."""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from busway.drivers import MemoryChannel, Pair, UnixChannel, UnixListener, descriptors, unix
from busway.drivers.descriptors import Descriptor
from tests.drivers import waiting
from tests.drivers.programs import Program
from tests.rigs import held

A = b"node-a-16-bytes."
IO_URING_SETUP = 425


Ends = tuple[UnixChannel, UnixChannel]


def pair_of_sockets() -> Ends:
    """Both ends of a link, without a listener."""
    ours, theirs = socket.socketpair()
    return UnixChannel(ours, "ipc://ours", dialled=True), UnixChannel(theirs, "ipc://theirs", dialled=False)


@pytest.fixture(name="ends")
def two_ends() -> Iterator[Ends]:
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


class Given:
    """What is given to a channel to be handed over, and what came by it."""

    def __init__(self, channel: UnixChannel | MemoryChannel) -> None:
        self.next: list[Descriptor] = []
        self.came: list[Descriptor] = []
        channel.carry(self.came.extend, self.take)

    def take(self) -> Sequence[Descriptor]:
        """As the core does: an empty list is filled later on."""
        found = self.next
        if found:
            self.next = []
        return found


def read_all(channel: UnixChannel, size: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        waiting.readable(channel)
        data += channel.read(size - len(data)) or b""
    return data


def test_a_descriptor_comes_with_the_bytes_that_it_was_written_with(ends: Ends) -> None:
    ours, theirs = ends
    assert theirs.hands_over
    out, back = Given(ours), Given(theirs)
    assert theirs.read() is None
    given = [opened("one"), opened("two")]
    assert ours.write(b"before") == 6
    out.next += given
    assert ours.write_buffers([b"he", memoryview(b"re")]) == 4
    out.next = [opened("three")]
    assert ours.write(b"behind") == 6
    assert read_all(theirs, 16) == b"beforeherebehind"
    assert [content(each) for each in back.came] == ["one", "two", "three"]
    assert [inode(each) for each in back.came[:2]] == [inode(each) for each in given]
    assert not any(os.get_inheritable(each.fd) for each in back.came)
    ours.close()
    assert theirs.read() == b""


def test_bytes_read_one_by_one_bring_it_with_the_first_of_its_own(ends: Ends) -> None:
    ours, theirs = ends
    out, back = Given(ours), Given(theirs)
    ours.write(b"ab")
    out.next = [opened("x")]
    ours.write(b"cd")
    out.next = [opened("y")]
    ours.write(b"ef")
    seen = []
    for _ in range(6):
        seen.append((read_all(theirs, 1), [content(each) for each in back.came]))
        back.came.clear()
    assert seen == [(b"a", []), (b"b", []), (b"c", ["x"]), (b"d", []), (b"e", ["y"]), (b"f", [])]


@pytest.mark.parametrize("vectored", [True, False])
def test_a_full_channel_takes_none_and_of_a_part_all(ends: Ends, vectored: bool) -> None:
    ours, theirs = ends
    out, back = Given(ours), Given(theirs)
    size = 4 << 20
    out.next = [opened("kept")]
    taken = ours.write_buffers([bytes(10), bytes(size)]) if vectored else ours.write(bytes(size))
    assert 0 < taken < size
    while more := ours.write(bytes(size)):
        taken += more
    out.next = [opened("later")]
    for _ in range(3):  # they are asked for once
        assert (ours.write_buffers([b"mo", b"re"]) if vectored else ours.write(b"more")) == 0
        assert not ours.resting
    assert not len(out.next)
    assert not read_all(theirs, taken).strip(b"\0")
    assert ours.write(b"more") == 4
    assert read_all(theirs, 4) == b"more"
    assert [content(each) for each in back.came] == ["kept", "later"]


def test_as_many_as_the_kernel_takes_come_in_one_read(ends: Ends) -> None:
    ours, theirs = ends
    out, back = Given(ours), Given(theirs)
    out.next = [opened(str(number)) for number in range(descriptors.AT_ONCE_MAX)]
    one_more = [*out.next, out.next[0]]
    assert ours.write(b"x") == 1
    assert theirs.read() == b"x"
    assert [content(each) for each in back.came] == [str(number) for number in range(descriptors.AT_ONCE_MAX)]
    out.next = one_more
    with pytest.raises(OSError):
        ours.write(b"x")


def test_the_sender_may_close_its_own_and_end(ends: Ends) -> None:
    """What is on its way is kept by the kernel."""
    ours, theirs = ends
    out, back = Given(ours), Given(theirs)
    given = opened("still there")
    out.next = [given]
    ours.write(b"x")
    given.close()
    given.close()
    assert repr(given) == "<descriptor, closed>"
    ours.close()
    read_all(theirs, 1)
    assert content(back.came[0]) == "still there"
    assert repr(back.came[0]) == f"<descriptor {back.came[0].fd}>"


@pytest.mark.parametrize("end", ["reader", "writer", "plain"])
def test_what_was_never_taken_is_closed_with_the_link(ends: Ends, end: str) -> None:
    """Seen at a pipe: its reader has the end when the last writer is closed."""
    ours, theirs = ends
    out = Given(ours)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        if end == "writer":
            waiting.fill(ours)
        out.next = [Descriptor(writer)]
        assert ours.write(b"x") == (end != "writer")
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        if end == "reader":
            theirs.close()
        elif end == "writer":
            ours.close()
        else:  # a side that carries none
            assert theirs.read() == b"x"
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


RECEIVER = """
import resource, sys
from busway.drivers import unix
from tests.drivers import waiting
from tests.rigs import held
channel = unix.dial(sys.argv[1])
channel.carry(lambda came: None, tuple)
before = held.count()
resource.setrlimit(resource.RLIMIT_NOFILE, (before + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print("ready", flush=True)
waiting.readable(channel)
try:
    channel.read()
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
            out = Given(channel)
            assert program.hear() == "ready"
            before = held.descriptors()
            out.next = [opened("x") for _ in range(count)]
            channel.write(b"x")
            number, left, text = program.hear().split(" ", 2)
            assert (int(number), int(left)) == (errno.EMFILE, 0)
            assert "ulimit -n" in text
            assert held.descriptors().keys() == before.keys()


FLOODER = """
import os, resource
from tests.drivers.test_descriptors import Given, opened, pair_of_sockets
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresuid(*[60000 + os.getpid() % 5000] * 3)  # a user of whom nothing else is on its way
ours, theirs = pair_of_sockets()
out, back = Given(ours), Given(theirs)
given = [opened("x") for _ in range(16)]
while not ours.resting:
    out.next = given
    ours.write(b"x")
ours.write(b"x")
print(ours.resting, flush=True)
while not ours.write(b"x"):
    theirs.read(1)
    back.came.clear()
print(ours.resting, flush=True)
"""


def test_it_is_known_how_many_writes_are_still_to_be_read(ends: Ends) -> None:
    ours, theirs = ends
    out, back = Given(ours), Given(theirs)
    for number in range(1, 41):
        out.next = [opened("x"), opened("y")]
        assert ours.write(b"z") == 1
        assert ours.handed_over == number
        assert number <= ours.unread() <= 3 * number
    assert ours.write(b"z") == 1
    assert ours.handed_over == 40
    assert read_all(theirs, 41) == b"z" * 41
    assert ours.unread() == 0
    assert len(back.came) == 80
    ours.close()
    assert ours.unread() == 0


def test_so_it_is_in_one_process() -> None:
    link = Pair()
    ours, theirs = link
    out, back = Given(ours), Given(theirs)
    assert ours.write(b"without") == 7
    for _ in range(3):
        out.next = [opened("x")]
        assert ours.write(b"with") == 4
    assert (ours.handed_over, ours.unread()) == (3, 3)
    link.advance(1)
    assert theirs.read() == b"withoutwith"
    assert (ours.unread(), len(back.came)) == (2, 1)


def test_too_many_on_their_way_is_told_and_goes_on_once_they_are_read() -> None:
    """The limit is one of users who are not root."""
    with Program(FLOODER) as program:
        assert program.hear() == "2"
        assert program.hear() == "0"


def test_a_killed_receiver_closes_what_it_had() -> None:
    script = """
import sys, time
from busway.drivers import unix
from tests.drivers import waiting
channel = unix.dial(sys.argv[1])
came = []
channel.carry(came.extend, tuple)
waiting.readable(channel)
channel.read()
print(len(came), flush=True)
time.sleep(1000)
"""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with closing(UnixListener.open("other", A)) as listener, Program(script, listener.path) as program:
        channel = waiting.accept(listener)
        assert isinstance(channel, UnixChannel)
        with closing(channel):
            out = Given(channel)
            out.next = [Descriptor(writer), opened("x")]
            channel.write(b"x")
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


def test_a_writer_whose_reader_is_gone_is_told_without_a_signal(ends: Ends) -> None:
    ours, theirs = ends
    out = Given(ours)
    theirs.close()
    former = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        out.next = [opened("x")]
        with pytest.raises(BrokenPipeError):
            ours.write(b"x")
    finally:
        signal.signal(signal.SIGPIPE, former)


# ---- in memory


def test_pairs_in_memory_hand_over_copies_with_the_first_byte() -> None:
    before = held.descriptors()
    net = Pair(delay_ms=5)
    out, back = Given(net.a), Given(net.b)
    given = [opened("one"), opened("two")]
    assert net.a.hands_over
    assert net.a.write(b"ab") == 2
    out.next = given
    assert net.a.write(b"cd") == 2
    assert net.a.write(b"ef") == 2
    for each in given:
        each.close()
    assert net.b.read() is None
    net.advance(5)
    assert (net.b.read(2), back.came) == (b"ab", [])
    assert net.b.read(1) == b"c"
    assert [content(each) for each in back.came] == ["one", "two"]
    assert net.b.read() == b"def"
    assert len(back.came) == 2
    for each in back.came:
        each.close()
    assert held.descriptors().keys() == before.keys()


@pytest.mark.parametrize("how", ["fail", "close", "drop", "plain"])
def test_pairs_in_memory_close_what_nobody_takes(how: str) -> None:
    before = held.descriptors()
    net = Pair()
    out = Given(net.a)
    out.next = [opened("one")]
    net.a.write(b"x")
    if how == "fail":
        net.fail()
    elif how == "close":
        net.b.close()
    elif how == "plain":
        assert net.b.read() == b"x"
    del net, out
    assert held.descriptors().keys() == before.keys()


def test_a_full_pair_takes_none_and_ends_a_read_behind_them() -> None:
    before = held.descriptors()
    net = Pair(capacity=4)
    out, back = Given(net.a), Given(net.b)
    out.next = [opened("x")]
    assert net.a.write(b"abcdef") == 4
    out.next = [opened("y")]
    assert net.a.write(b"ef") == 0
    assert net.b.read(2) == b"ab"
    assert net.a.write(b"ef") == 2
    assert net.b.read() == b"cdef"
    assert [content(each) for each in back.came] == ["x", "y"]
    out.next = [opened("z")]
    net.a.write(b"1")
    net.a.write(b"2")
    assert net.b.read() == b"1"
    assert not Pair(sort="packet").a.hands_over
    del net, out, back
    assert held.descriptors().keys() == before.keys()
