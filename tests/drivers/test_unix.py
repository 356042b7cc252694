"""Unix sockets without a master: real sockets, real processes, real kill -9."""

import os
import resource
import signal
import socket
import stat
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from busway.drivers import Channel, Listener, UnixChannel, UnixListener, unix
from tests.drivers import waiting
from tests.drivers.programs import Program

A = b"node-a-16-bytes."
B = b"node-b-16-bytes."
NOBODY = 65534


def files(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if not path.is_dir())


def joined(listener: UnixListener) -> tuple[UnixChannel, Channel]:
    """A channel to the listener, and its own end of it."""
    ours = unix.dial(listener.path)
    return ours, waiting.accept(listener)


# ---- finding each other


def test_two_nodes_find_each_other_and_talk() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        as_listener: Listener = listener
        assert as_listener.url == f"ipc://{listener.path}"
        assert listener.accept() is None
        assert unix.peers("default") == [unix.Peer(listener.path, A)]
        ours, theirs = joined(listener)
        with closing(ours), closing(theirs):
            for channel, dialled in ((ours, True), (theirs, False)):
                assert (channel.sort, channel.realm, channel.mtu, channel.via, channel.dialled) == (
                    "stream",
                    "userspace",
                    0,
                    "ipc",
                    dialled,
                )
                assert channel.address == f"ipc://{listener.path}"
                assert channel.connected()
                assert channel.read() is None
            assert ours.write(b"there") == 5
            assert waiting.read(theirs, 5) == b"there"
            assert theirs.write(memoryview(b"back")) == 4
            assert waiting.read(ours, 4) == b"back"


def test_nobody_is_found_where_nobody_is_and_nothing_is_made(home: Path) -> None:
    assert unix.peers("default") == []
    assert unix.sweep("default") == []
    assert list(home.iterdir()) == []


def test_buses_are_apart() -> None:
    with closing(UnixListener.open("one", A)) as one, closing(UnixListener.open("two", A)) as two:
        assert unix.peers("one") == [unix.Peer(one.path, A)]
        assert unix.peers("two") == [unix.Peer(two.path, A)]
        assert unix.sweep("one") == []


def test_a_bus_has_a_directory_in_the_one_that_is_chosen(home: Path) -> None:
    with closing(UnixListener.open("default", A)) as listener:
        assert listener.path.startswith(str(home))
        assert unix.bus_directory("default") == os.path.dirname(listener.path)


def test_other_files_in_the_directory_are_nobody() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        bus = Path(listener.path).parent
        for name in ("notes.txt", "x.sock", "g" * 32 + ".sock", "ab" * 17 + ".sock", "cd" * 16 + ".tmp"):
            (bus / name).write_text("")
        (bus / "y.lock").write_text("")
        try:
            assert [peer.node_id for peer in unix.peers("default")] == [A]
            assert unix.sweep("default") == []
            assert (bus / "y.lock").exists()
        finally:
            for path in bus.iterdir():
                if path.stem != A.hex():
                    path.unlink()


def test_leaving_takes_everything_along(home: Path) -> None:
    first, last = UnixListener.open("default", A), UnixListener.open("default", B)
    assert files(home) == sorted(node.hex() + end for node in (A, B) for end in (".lock", ".sock"))
    first.close()
    first.close()
    assert files(home) == [B.hex() + ".lock", B.hex() + ".sock"]
    assert first.fileno() == -1
    last.close()
    assert list(home.iterdir()) == []


def test_what_cannot_be_removed_fails_one_node_and_keeps_nobody_from_joining(home: Path) -> None:
    blocker = Path(unix.bus_directory("default")) / (A.hex() + ".tmp")
    blocker.mkdir()
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=blocker.name):
        UnixListener.open("default", A)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with closing(UnixListener.open("default", B)):
        assert unix.sweep("default") == []
        blocker.rmdir()
        age(blocker.with_suffix(".lock"))
        assert [peer.node_id for peer in unix.sweep("default")] == [A]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("what", ["directory", "link", "socket"])
def test_what_is_no_lock_keeps_nobody_from_joining(home: Path, what: str) -> None:
    odd = Path(unix.bus_directory("default")) / (A.hex() + ".lock")
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        if what == "directory":
            odd.mkdir()
        elif what == "link":
            odd.symlink_to("/dev/zero")
        else:
            sock.bind(str(odd))
    assert unix.sweep("default") == []
    with closing(UnixListener.open("default", B)):
        assert [peer.node_id for peer in unix.peers("default")] == [B]
    assert files(home) == ([] if what == "directory" else [odd.name])


def test_closing_after_another_took_the_directorys_name(home: Path) -> None:
    """As it may happen in /tmp, once somebody has cleared it: there is nothing of ours to remove."""
    listener = UnixListener.open("default", A)
    bus = Path(listener.path).parent
    bus.rename(home / "cleared")
    bus.touch()
    listener.close()
    assert listener.fileno() == -1
    assert bus.exists()


def test_the_files_are_private_and_kept_from_cleaners() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        for path in (listener.path, listener.path.replace(".sock", ".lock")):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o1600


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_node_id_has_16_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 bytes, not {size}"):
        UnixListener.open("default", bytes(size))


def test_a_node_runs_once() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        with pytest.raises(FileExistsError, match=f"node {A.hex()} is running already on bus 'default'"):
            UnixListener.open("default", A)
        unix.dial(listener.path).close()
    UnixListener.open("default", A).close()


def test_a_bus_has_room_for_256_nodes_and_tells_the_next_one(home: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3 * unix.NODES_MAX + 200
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(closing(UnixListener.open("default", bytes(14) + number.to_bytes(2))))
            for number in range(256)
        ]
        with pytest.raises(OSError, match="has 256 nodes on this machine, and no more can join"):
            UnixListener.open("default", A)
        assert len(files(home)) == 512, "the refused one left nothing"
        nodes[0].abandon()  # as dead as after kill -9: its files stay, its lock is free
        stack.enter_context(closing(UnixListener.open("default", A)))


# ---- two at once

STARTER = """
import sys, time
from busway.drivers import unix
me = bytes.fromhex(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    bus, at_ns = line.split()
    while time.monotonic_ns() < int(at_ns):
        pass
    listener = unix.UnixListener.open(bus, me)
    seen = 0
    for peer in unix.peers(bus):
        if peer.node_id != me:
            try:
                unix.dial(peer.path).close()
                seen += 1
            except ConnectionRefusedError:
                pass
    print(seen, flush=True)
    sys.stdin.readline()
    listener.close()
    print("left", flush=True)
"""


def test_of_two_that_start_together_at_least_one_reaches_the_other(home: Path) -> None:
    counts = {1: 0, 2: 0}
    with Program(STARTER, A.hex()) as first, Program(STARTER, B.hex()) as second:
        assert (first.hear(), second.hear()) == ("ready", "ready")
        for number in range(300):
            # A little apart and in both orders, so that each step of one meets each step of the other.
            at_ns = time.monotonic_ns() + 1_000_000
            shift_ns = (number % 31 - 15) * 10_000
            first.say(f"bus-{number} {at_ns}")
            second.say(f"bus-{number} {at_ns + shift_ns}")
            seen = int(first.hear()) + int(second.hear())
            assert seen >= 1, f"round {number}, {shift_ns} ns apart: neither reached the other"
            counts[seen] += 1
            first.say("leave")
            second.say("leave")
            assert (first.hear(), second.hear()) == ("left", "left")
    assert counts[1] > 0
    assert list(home.iterdir()) == []


PUBLISHING = """
import os, sys
from busway.drivers import unix
renamed = []
def watch(event, arguments):
    if event == "os.rename":
        # Just before its name appears connecting must succeed, or it would look dead to those who see it.
        unix.dial(arguments[0]).close()
        assert unix.peers("default") == []
        renamed.append(arguments[1])
sys.addaudithook(watch)
listener = unix.UnixListener.open("default", bytes(16))
assert renamed == [listener.path]
os._exit(7)
"""


def test_a_socket_can_be_connected_to_from_the_moment_it_appears() -> None:
    with Program(PUBLISHING) as program:
        assert program.status() == 7


SHORT_LIVED = """
import sys
from busway.drivers import unix
me = bytes.fromhex(sys.argv[1])
for _ in range(400):
    listener = unix.UnixListener.open("default", me)
    unix.dial(listener.path).close()
    listener.close()
print("done", flush=True)
"""


def test_joining_while_the_last_one_leaves_with_the_directory(home: Path) -> None:
    with Program(SHORT_LIVED, A.hex()) as first, Program(SHORT_LIVED, B.hex()) as second:
        assert (first.hear(), second.hear()) == ("done", "done")
    assert list(home.iterdir()) == []


# ---- death

OWNER = """
import sys
from busway.drivers import unix
listener = unix.UnixListener.open("default", bytes.fromhex(sys.argv[1]))
print(listener.path, flush=True)
sys.stdin.readline()
"""


def test_a_killed_owner_leaves_a_stale_socket_that_sweep_removes_while_live_ones_stay(home: Path) -> None:
    with closing(UnixListener.open("default", B)) as live, Program(OWNER, A.hex()) as owner:
        path = owner.hear()
        assert not unix.is_dead(path)
        assert unix.sweep("default") == []
        unix.dial(path).close()
        owner.kill()
        assert os.path.exists(path)
        with pytest.raises(ConnectionRefusedError):
            unix.dial(path)
        assert unix.is_dead(path)
        assert not unix.is_dead(live.path)
        assert [peer.node_id for peer in unix.peers("default")] == [A, B]
        assert unix.sweep("default") == [unix.Peer(path, A)]
        assert unix.sweep("default") == []
        assert files(home) == [B.hex() + ".lock", B.hex() + ".sock"]
        with pytest.raises(FileNotFoundError):
            unix.dial(path)
        unix.dial(live.path).close()


def test_a_stopped_owner_is_not_dead() -> None:
    """Nor is one that is too busy to accept: only the lock counts, never a connection that fails."""
    with Program(OWNER, A.hex()) as owner:
        path = owner.hear()
        os.kill(owner._process.pid, signal.SIGSTOP)
        assert not unix.is_dead(path)
        assert unix.sweep("default") == []
        assert os.path.exists(path)


def test_a_node_that_is_killed_and_starts_again_needs_no_sweep() -> None:
    paths = set()
    for _ in range(3):
        with Program(OWNER, A.hex()) as owner:
            paths.add(owner.hear())
    with closing(UnixListener.open("default", A)) as listener:
        assert paths == {listener.path}
        unix.dial(listener.path).close()


def test_the_last_dead_node_is_swept_with_the_directory(home: Path) -> None:
    with Program(OWNER, A.hex()) as owner:
        path = owner.hear()
    Path(path).rename(path.replace(".sock", ".tmp"))  # killed between bind and rename
    age(Path(path).with_suffix(".lock"))
    assert [peer.node_id for peer in unix.sweep("default")] == [A]
    assert list(home.iterdir()) == []


def age(path: Path) -> None:
    """As if it had been made long ago."""
    os.utime(path, (0, 0))


def test_a_lock_that_its_node_is_about_to_take_is_left_alone(home: Path) -> None:
    """Of hundreds that join each sweeps: who starts would find its new lock held, or gone, every time."""
    lock = Path(unix.bus_directory("default")) / (A.hex() + ".lock")
    lock.touch()
    assert unix.sweep("default") == []
    assert lock.exists()
    age(lock)
    assert [peer.node_id for peer in unix.sweep("default")] == [A]
    assert list(home.iterdir()) == []


def test_without_its_lock_file_nobody_can_tell_that_a_node_is_dead() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        os.unlink(listener.path.replace(".sock", ".lock"))
        assert not unix.is_dead(listener.path)
        assert unix.sweep("default") == []
        unix.dial(listener.path).close()
        os.unlink(listener.path)


def test_a_node_whose_files_were_cleared_away_leaves_its_successor_alone() -> None:
    first = UnixListener.open("default", A)
    for end in (".lock", ".sock"):
        os.unlink(first.path.replace(".sock", end))
    with closing(UnixListener.open("default", A)) as second:
        first.close()
        unix.dial(second.path).close()
        assert not unix.is_dead(second.path)


SWEEPER = """
import sys
from busway.drivers import unix
print("ready", flush=True)
swept = 0
while True:
    found = unix.sweep("default")
    for peer in unix.peers("default"):
        unix.is_dead(peer.path)
    swept += len(found)
    if found:
        print(swept, flush=True)
"""


def test_sweepers_never_take_the_files_of_a_node_that_starts_anew_under_the_same_id() -> None:
    with Program(SWEEPER) as one, Program(SWEEPER) as other:
        assert (one.hear(), other.hear()) == ("ready", "ready")
        for number in range(400):
            listener = UnixListener.open("default", A)
            try:
                # Three looks, for a sweeper that was late.
                for _ in range(3):
                    unix.dial(listener.path).close()
                    assert not unix.is_dead(listener.path), f"round {number}"
            finally:
                listener.abandon()  # as kill -9 leaves it
            if number % 2:
                waiting.until(lambda: not unix.peers("default"), "the sweepers")


INTERPOSED = """
import fcntl, os, sys
from busway.drivers import unix
me = bytes(16)

def before_next_lock(act):
    # CPython announces fcntl.flock before it is called: what another program might do right then, happens.
    armed.append(act)

def watch(event, arguments):
    if event == "fcntl.flock" and armed:
        armed.pop()()

armed = []
sys.addaudithook(watch)
unix.UnixListener.open("default", me).abandon()
{script}
assert not unix.is_dead(listener.path)
assert os.path.exists(listener.path.replace(".sock", ".lock"))
unix.dial(listener.path).close()
assert unix.sweep("default") == []
listener.close()
assert unix.peers("default") == []
os._exit(7)
"""

SWEPT_WHILE_STARTING = """
swept = []
before_next_lock(lambda: swept.extend(unix.sweep("default")))
listener = unix.UnixListener.open("default", me)
assert [peer.node_id for peer in swept] == [me]
"""

STARTED_WHILE_SWEPT = """
started = []
def restart():
    assert [peer.node_id for peer in unix.sweep("default")] == [me]
    first = unix.UnixListener.open("default", me)
    first.abandon()
    started.append(unix.UnixListener.open("default", me))
    # The lock that the outer sweep is about to take is that of a file that is no more.
before_next_lock(restart)
assert unix.sweep("default") == []
listener = started[0]
"""


@pytest.mark.parametrize("script", [SWEPT_WHILE_STARTING, STARTED_WHILE_SWEPT], ids=["start", "sweep"])
def test_a_lock_counts_only_if_its_file_is_still_there(script: str) -> None:
    with Program(INTERPOSED.format(script=script)) as program:
        assert program.status() == 7


# ---- whose process


def another_user(listener: UnixListener) -> str:
    """The first steps of a program so that the listener sees another user's process."""
    if os.geteuid() == 0:
        bus = Path(listener.path).parent
        for path, mode in ((bus.parent, 0o711), (bus, 0o711), (Path(listener.path), 0o666)):
            path.chmod(mode)
        return f"os.setuid({NOBODY})"
    # Without root nobody else can be had: then it is the listener that takes us for another.
    listener._uid += 1
    return "pass"


CLIENT = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
{become}
sock.settimeout(20)
sock.connect(sys.argv[1])
print("connected", flush=True)
try:
    print(sock.recv(1) == b"", flush=True)
except ConnectionResetError:
    print(True, flush=True)
"""


def test_another_users_process_is_refused_and_counted() -> None:
    with closing(UnixListener.open("default", A)) as listener:
        become = another_user(listener)
        with Program(CLIENT.format(become=become), listener.path) as client:
            assert client.hear() == "connected"
            waiting.readable(listener)
            assert listener.accept() is None
            assert listener.refused == 1
            assert client.hear() == "True"


def test_our_own_process_is_not() -> None:
    with (
        closing(UnixListener.open("default", A)) as listener,
        Program(CLIENT.format(become="pass"), listener.path) as client,
    ):
        assert client.hear() == "connected"
        with closing(waiting.accept(listener)):
            assert listener.refused == 0


FOREIGN_OWNER = """
import os, socket, sys
os.setuid({uid})
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
sock.listen()
print("listening", flush=True)
sys.stdin.readline()
"""


def test_a_socket_that_another_user_put_there_is_not_talked_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(home / "theirs.sock")
    ours = os.geteuid()
    theirs = NOBODY if ours == 0 else ours
    home.chmod(0o777 if ours == 0 else 0o700)
    with Program(FOREIGN_OWNER.format(uid=theirs), path) as owner:
        assert owner.hear() == "listening"
        if ours != 0:
            # Without root nobody else can be had: then it is we who are another user from here on.
            monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
        expected = os.geteuid()
        sentence = f"{path}: the process at the other end is of user {theirs}, expected user {expected}"
        with pytest.raises(PermissionError, match=sentence):
            unix.dial(path)


def test_credentials_are_the_kernels() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert unix.peer_uid(one) == os.geteuid()
        assert unix._objection(one, os.geteuid()) == ""
        assert f"expected user {os.geteuid() + 1}" in unix._objection(one, os.geteuid() + 1)
    assert "does not say whose process" in unix._objection(one, os.geteuid())


# ---- a full queue


def test_a_queue_of_incoming_connections_that_is_full_is_not_a_dead_node(home: Path) -> None:
    path = str(home / "full.sock")
    with socket.socket(socket.AF_UNIX) as owner, ExitStack() as stack:
        owner.bind(path)
        owner.listen(0)
        stack.enter_context(closing(unix.dial(path)))
        with pytest.raises(BlockingIOError):
            unix.dial(path)
        accepted, _ = owner.accept()
        accepted.close()
        stack.enter_context(closing(unix.dial(path)))


# ---- fork

FORKING = """
import os, select, sys
from busway.drivers import unix
listener = unix.UnixListener.open("default", bytes(16))
ours = unix.dial(listener.path)
theirs = listener.accept()
child = os.fork()
if not child:
    {in_child}
    assert (listener.fileno(), ours.fileno(), theirs.fileno()) == (-1, -1, -1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not unix.is_dead(listener.path)
assert unix.sweep("default") == []
ours.write(b"still here")
assert theirs.read() == b"still here"
unix.dial(listener.path).close()
listener.close()
assert unix.peers("default") == []
os._exit(7)
"""


def test_a_forked_child_abandons_without_any_effect_on_its_parent() -> None:
    with Program(FORKING.format(in_child="[one.abandon() for one in (listener, ours, theirs)]")) as program:
        assert program.status() == 7


def test_closing_a_listener_in_a_forked_child_is_no_more_than_abandoning_it() -> None:
    in_child = "listener.close(); ours.abandon(); theirs.abandon()"
    with Program(FORKING.format(in_child=in_child)) as program:
        assert program.status() == 7


# ---- elsewhere

WITHOUT_UNIX_SOCKETS = """
import os, socket, sys
sys.modules["fcntl"] = None
del socket.AF_UNIX
import busway.drivers
from busway.drivers import unix
assert not unix.available()
for use in (
    unix.socket_directory, lambda: unix.peers("x"), lambda: unix.sweep("x"), lambda: unix.dial("/x"),
    lambda: unix.UnixListener.open("x", bytes(16)),
):
    try:
        use()
    except NotImplementedError as error:
        assert "tcp://127.0.0.1" in str(error)
    else:
        raise AssertionError(use)
print("fine", flush=True)
"""


def test_a_system_without_unix_sockets_can_import_the_drivers_and_is_told_what_to_use() -> None:
    with Program(WITHOUT_UNIX_SOCKETS) as program:
        assert program.hear() == "fine"
    assert unix.available()
