"""The common part of Unix sockets and TCP, over real sockets: partial writes, end, failure, lack of
descriptors.
"""

import os
from contextlib import closing

import pytest

from busway.drivers import Channel, UnixChannel, UnixListener, sockets, unix
from tests.drivers import waiting
from tests.drivers.programs import Program

A = b"node-a-16-bytes."


def joined(listener: UnixListener) -> tuple[UnixChannel, Channel]:
    """A channel to the listener, and its own end of it."""
    ours = unix.dial(listener.path)
    return ours, waiting.accept(listener)


def test_a_partial_write_is_told_and_can_be_resumed() -> None:
    data = os.urandom(3_000_000)
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        with closing(ours), closing(theirs):
            rest, got, partial = memoryview(data), bytearray(), 0
            while rest:
                taken = ours.write(rest)
                partial += 0 < taken < len(rest)
                rest = rest[taken:]
                while part := theirs.read():
                    got += part
            assert bytes(got) == data
            assert partial > 1


@pytest.mark.parametrize("vectored", [True, False])
def test_buffers_are_written_as_if_they_were_one(vectored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not vectored:  # as on Windows
        monkeypatch.setattr(sockets, "_sendmsg", None)
    data = os.urandom(3_000_000)
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        with closing(ours), closing(theirs):
            sent, got, partial = 0, bytearray(), 0
            while sent < len(data):
                view = memoryview(data)[sent:]
                buffers: list[bytes | memoryview] = [bytes(view[:10]), view[10:9000], b"", view[9000:400_000]]
                taken = ours.write_buffers(buffers)
                partial += 0 < taken < sum(map(len, buffers))
                sent += taken
                if not taken:
                    got += theirs.read() or b""
            while len(got) < len(data):
                got += theirs.read() or b""
            assert bytes(got) == data
            assert partial


def test_a_busy_channel_takes_nothing_until_it_is_read() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        with closing(ours), closing(theirs):
            total, partial = waiting.fill(ours)
            assert partial
            assert ours.write(b"x") == 0
            assert waiting.read(theirs, total) == bytes(total)
            waiting.writable(ours)
            assert ours.write(b"x") == 1


def test_an_end_is_not_a_failure() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        with closing(ours):
            theirs.write(b"last words")
            theirs.close()
            assert waiting.read(ours, 10) == b"last words"
            assert ours.read() == b""
            assert ours.read() == b""
            with pytest.raises(BrokenPipeError):
                ours.write(b"x")


def test_a_failure_is_not_an_end() -> None:
    """Linux says ECONNRESET to those whose last bytes were never read."""
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        with closing(ours):
            ours.write(b"never read")
            theirs.close()
            with pytest.raises(ConnectionResetError):
                ours.read()


def test_a_closed_channel_is_of_no_more_use() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        ours, theirs = joined(listener)
        ours.close()
        ours.close()
        theirs.close()
        assert ours.fileno() == -1
        for use in (lambda: ours.read(), lambda: ours.write(b"x")):
            with pytest.raises(OSError, match="Bad file descriptor"):
                use()


LISTENER_WITHOUT_DESCRIPTORS = """
import os, resource, socket, sys
from busway.drivers import unix
listener = unix.UnixListener.open("default", bytes(16))
clients = [unix.dial(listener.path) for _ in range(3)]
highest = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
assert listener.accept() is None
assert listener.accept() is None
assert listener.refused == 2
ends = [client.read() for client in clients]
assert ends == [b"", b"", None], ends
os.close(highest)
last = listener.accept()
assert last is not None
assert clients[2].write(b"x") == 1
os._exit(0)
"""


def test_a_listener_without_descriptors_turns_clients_away_instead_of_spinning() -> None:
    with Program(LISTENER_WITHOUT_DESCRIPTORS) as program:
        assert program.status() == 0


WRITER_UNDER_DEFAULT_SIGPIPE = """
import os, signal
from busway.drivers import unix
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
listener = unix.UnixListener.open("default", bytes(16))
ours = unix.dial(listener.path)
listener.accept().close()
try:
    ours.write(b"x")
except BrokenPipeError:
    os._exit(7)
"""


def test_a_dead_peer_does_not_kill_a_command_in_a_pipeline() -> None:
    with Program(WRITER_UNDER_DEFAULT_SIGPIPE) as program:
        assert program.status() == 7


CHILD_THAT_KEEPS_COPIES = """
import os, sys
from busway.drivers import unix
listener = unix.UnixListener.open("default", bytes(16))
ours = unix.dial(listener.path)
theirs = listener.accept()
if not os.fork():
    sys.stdin.readline()
    os._exit(0)
ours.close()
print(theirs.read() == b"", flush=True)
listener.close()
print(unix.peers("default") == [], flush=True)
unix.UnixListener.open("default", bytes(16)).close()
print("again", flush=True)
"""


def test_closing_takes_effect_even_if_a_child_holds_copies() -> None:
    with Program(CHILD_THAT_KEEPS_COPIES) as program:
        assert [program.hear() for _ in range(3)] == ["True", "True", "again"]
        program.say("")


def test_lines_that_come_at_once_are_heard_one_by_one() -> None:
    with Program("print('one\\ntwo\\nthree', flush=True); input()") as program:
        assert [program.hear() for _ in range(3)] == ["one", "two", "three"]
