"""Named pipes with the system calls replaced by Unix sockets: names, who is there, channels, threads, ends.

What Windows itself does is not shown here: access rights, and the calls in windows_pipes.py.
"""

import errno
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from busway.drivers import Channel, Listener, named_pipe
from busway.drivers.named_pipe import PipeListener, dial, peers
from tests.drivers import waiting
from tests.drivers.pipe_system import UnixSystem

A = b"a" * 16
B = b"b" * 16


@pytest.fixture
def system() -> Iterator[UnixSystem]:
    before = threading.active_count()
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        found = UnixSystem(Path(directory))
        yield found
        waiting.until(lambda: threading.active_count() == before, "all threads to end")
        assert found.opened == found.closed
        assert found.names() == ["InitShutdown", "busway-mojo.1"]


@pytest.fixture
def listener(system: UnixSystem) -> Iterator[PipeListener]:
    with closing(PipeListener.open("lab", A, system=system)) as found:
        yield found


@pytest.fixture
def both(system: UnixSystem, listener: PipeListener) -> Iterator[tuple[Channel, Channel]]:
    ours = dial(listener.path, system=system)
    theirs = waiting.accept(listener)
    with closing(ours), closing(theirs):
        yield ours, theirs


# ---- names


def test_names_tell_user_bus_and_node(system: UnixSystem) -> None:
    name = named_pipe.pipe_name(system, "lab", A)
    assert name == f"busway-{named_pipe._digest('S-1-5-21-1')}-{named_pipe._digest('lab')}-{A.hex()}"
    assert len(name) < 240
    other = UnixSystem(system.directory, "S-1-5-21-2")
    assert named_pipe.pipe_name(other, "lab", A) != name != named_pipe.pipe_name(system, "default", A)
    with pytest.raises(ValueError, match="16 bytes, not 3"):
        named_pipe.pipe_name(system, "lab", b"abc")


@pytest.mark.parametrize(
    "url", ["", "pipe:", "pipe://", "ipc://x", "pipe://a/b", "pipe://a\\b", "pipe://" + "x" * 241]
)
def test_wrong_urls_are_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match="expected pipe://NAME"):
        named_pipe.candidates(url)


def test_candidates_are_the_one_name() -> None:
    assert named_pipe.candidates("pipe://busway-1-2-3") == ["busway-1-2-3"]


def test_elsewhere_it_names_what_to_use() -> None:
    assert not named_pipe.available()
    with pytest.raises(NotImplementedError, match="ipc://"):
        named_pipe.peers("lab")


# ---- who is there


def test_peers_are_this_users_on_this_bus(system: UnixSystem) -> None:
    stranger = UnixSystem(system.directory, "S-1-5-21-2")
    with (
        closing(PipeListener.open("lab", B, system=system)) as two,
        closing(PipeListener.open("lab", A, system=system)) as one,
        closing(PipeListener.open("other", A, system=system)),
        closing(PipeListener.open("lab", A, system=stranger)),
    ):
        (system.directory / (one.path[:-1] + "g")).touch()
        (system.directory / (one.path + "0")).touch()
        assert peers("lab", system=system) == [(one.path, A), (two.path, B)]
        for extra in (one.path[:-1] + "g", one.path + "0"):
            (system.directory / extra).unlink()
    assert peers("lab", system=system) == []
    assert named_pipe.sweep("lab") == []


def test_a_node_runs_once(system: UnixSystem, listener: PipeListener) -> None:
    with pytest.raises(FileExistsError, match="is running already on bus 'lab'"):
        PipeListener.open("lab", A, system=system)


def test_a_full_bus_is_refused(
    system: UnixSystem, monkeypatch: pytest.MonkeyPatch, listener: PipeListener
) -> None:
    monkeypatch.setattr(named_pipe, "NODES_MAX", 1)
    with pytest.raises(OSError, match="no more can join") as caught:
        PipeListener.open("lab", B, system=system)
    assert caught.value.errno == errno.EUSERS


def test_nobody_is_there(system: UnixSystem) -> None:
    with pytest.raises(FileNotFoundError):
        dial("busway-gone", system=system)


# ---- channels


def test_both_ends_say_what_they_are(both: tuple[Channel, Channel], listener: PipeListener) -> None:
    ours, theirs = both
    found: Listener = listener
    assert found.url == f"pipe://{listener.path}" == ours.address == theirs.address
    assert (ours.sort, ours.realm, ours.via, ours.dialled) == ("stream", "userspace", "ipc", True)
    assert (theirs.realm, theirs.via, theirs.dialled) == ("userspace", "ipc", False)
    assert ours.connected()
    assert theirs.connected()


def test_bytes_both_ways(both: tuple[Channel, Channel]) -> None:
    for one, other in (both, both[::-1]):
        assert one.read() is None
        assert other.write(b"hello") == 5
        assert waiting.read(one, 5) == b"hello"


def test_more_than_any_buffer_and_backpressure(both: tuple[Channel, Channel]) -> None:
    ours, theirs = both
    sent, _ = waiting.fill(ours)
    assert ours.write(b"x") == 0 or sent > 0
    assert waiting.read(theirs, sent) == bytes(sent)
    waiting.writable(ours)


def test_both_directions_at_once(both: tuple[Channel, Channel]) -> None:
    """Each waits for nothing of the other: a pipe must not serve one thread at a time."""
    size = 1 << 20
    came: dict[int, int] = {0: 0, 1: 0}
    left = {0: size, 1: size}
    while min(came.values()) < size:
        for number, channel in enumerate(both):
            if left[number]:
                left[number] -= channel.write(bytes(min(left[number], 65536)))
            came[number] += len(channel.read() or b"")
    assert came == {0: size, 1: size}


def test_many_clients(system: UnixSystem, listener: PipeListener) -> None:
    made = [dial(listener.path, system=system) for _ in range(5)]
    for channel in made:
        assert channel.write(b"x") == 1
    clients = [waiting.accept(listener) for _ in made]
    assert [waiting.read(client, 1) for client in clients] == [b"x"] * 5
    everyone: list[Channel] = [*made, *clients]
    for each in everyone:
        each.close()


# ---- ends


def test_close_carries_what_was_written_then_the_end(both: tuple[Channel, Channel]) -> None:
    ours, theirs = both
    assert ours.write(bytes(10_000)) == 10_000
    ours.close()
    ours.close()
    assert ours.fileno() == -1
    assert waiting.read(theirs, 10_000) == bytes(10_000)
    waiting.readable(theirs)
    assert theirs.read() == b""


def test_what_came_is_read_though_writing_fails(both: tuple[Channel, Channel]) -> None:
    ours, theirs = both
    assert ours.write(b"reason") == 6
    ours.close()
    for _ in range(3):
        try:
            theirs.write(b"into the void")
        except OSError:
            break
    assert waiting.read(theirs, 6) == b"reason"
    waiting.readable(theirs)
    assert theirs.read() == b""


def test_a_failure_is_no_end(
    both: tuple[Channel, Channel],
) -> None:
    ours, _ = both
    assert isinstance(ours, named_pipe.PipeChannel)
    ours._carrier._system.cancel(ours._carrier._handle)
    waiting.readable(ours)
    with pytest.raises(OSError, match="cancelled") as caught:
        ours.read()
    assert caught.value.errno == errno.ECONNRESET


def test_another_users_process_is_refused_at_both_ends(system: UnixSystem, listener: PipeListener) -> None:
    system.owners["server"] = "S-1-5-21-666"
    with pytest.raises(PermissionError, match="another user's"):
        dial(listener.path, system=system)
    waiting.accept(listener).close()
    system.owners = {"client": "S-1-5-21-666"}
    ours = dial(listener.path, system=system)
    waiting.readable(listener)
    assert listener.accept() is None
    assert listener.refused == 1
    waiting.readable(ours)
    assert ours.read() == b""
    ours.close()


def test_closing_the_listener_leaves_channels(system: UnixSystem) -> None:
    listener = PipeListener.open("lab", A, system=system)
    ours = dial(listener.path, system=system)
    theirs = waiting.accept(listener)
    waiting_for_nobody = dial(listener.path, system=system)
    waiting.readable(listener)
    listener.close()
    listener.close()
    waiting.readable(waiting_for_nobody)
    assert waiting_for_nobody.read() == b""
    assert ours.write(b"still") == 5
    assert waiting.read(theirs, 5) == b"still"
    everyone: list[Channel] = [ours, theirs, waiting_for_nobody]
    for each in everyone:
        each.close()


def test_a_broken_listener_says_so(system: UnixSystem) -> None:
    listener = PipeListener.open("lab", A, system=system)
    system.cancel(listener._waiting)
    waiting.readable(listener)
    with pytest.raises(OSError, match="cancelled"):
        listener.accept()
    listener.close()


def test_the_programs_end_stops_all_threads(system: UnixSystem, both: tuple[Channel, Channel]) -> None:
    named_pipe._stop_all()
    assert isinstance(both[0], named_pipe.PipeChannel)
    assert not any(thread.is_alive() for thread in both[0]._carrier.threads)
