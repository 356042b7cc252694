"""Two places for one user's sockets, which come and go under running programs: real directories and locks."""

import os
import re
import shutil
import signal
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from busway.drivers import UnixListener, unix, unix_places
from tests.drivers import waiting

A = b"node-a-16-bytes."
B = b"node-b-16-bytes."
NOBODY = 65534


class Machine:
    """Where this machine has its users' directories, as a test has them."""

    def __init__(self, root: Path) -> None:
        self.runtime = root / "r" / str(os.geteuid())
        self.own = self.runtime / "busway"
        self.fallback = root / "t" / f"busway-{os.geteuid()}"
        self.runtime.parent.mkdir()
        self.fallback.parent.mkdir()

    def log_in(self) -> None:
        self.runtime.mkdir(0o700)

    def log_out(self) -> None:
        shutil.rmtree(self.runtime)


@pytest.fixture
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(home)
    monkeypatch.delenv("BUSWAY_DIR")
    monkeypatch.setattr(unix_places, "RUNTIME", str(found.runtime.parent))
    monkeypatch.setattr(unix_places, "TEMPORARY", str(found.fallback.parent))
    return found


def node_ids() -> list[bytes]:
    return [peer.node_id for peer in unix.peers("default")]


def test_the_places_follow_from_what_is_there(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    own, fallback = str(machine.own), str(machine.fallback)
    assert unix_places.places() == [fallback]
    machine.log_in()
    assert unix_places.places() == [own, fallback]
    assert not machine.own.exists()  # nothing was made
    monkeypatch.setattr(unix_places, "_is_writable", lambda path: False)  # as in a sandbox; root may write
    assert unix_places.places() == [fallback, own]
    monkeypatch.setenv("BUSWAY_DIR", "/elsewhere//deep")
    assert unix_places.places() == ["/elsewhere/deep"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_runtime_directory_of_another_is_not_looked_into(machine: Machine) -> None:
    machine.log_in()
    os.chown(machine.runtime, NOBODY, NOBODY)
    assert unix_places.places() == [str(machine.fallback)]


def test_programs_from_before_and_after_login_are_on_one_bus(machine: Machine) -> None:
    with closing(UnixListener.open("default", A)) as before:
        assert before.path.startswith(str(machine.fallback))
        machine.log_in()
        with closing(UnixListener.open("default", B)) as after:
            assert after.path.startswith(str(machine.own))
            assert node_ids() == [A, B]
            with pytest.raises(FileExistsError, match=f"node {A.hex()} is running already"):
                UnixListener.open("default", A)  # though its own place is another now
            assert not list(machine.own.rglob(A.hex() + "*"))
            assert unix.sweep("default") == []
            for listener in (before, after):
                unix.dial(listener.path).close()
    assert not list(machine.own.parent.rglob("*.*")) + list(machine.fallback.parent.rglob("*.*"))


def test_the_dead_are_swept_from_both_places(machine: Machine) -> None:
    child = os.fork()
    if child == 0:
        try:
            UnixListener.open("default", A)
            machine.log_in()
            UnixListener.open("default", B)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert node_ids() == [A, B]
    assert [peer.node_id for peer in unix.sweep("default")] == [A, B]
    assert node_ids() == []


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def by_link(path: Path) -> None:
    aside = path.with_name("aside")
    aside.mkdir(0o700)
    path.symlink_to(aside)


def by_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("squat", [open_to_all, by_link, by_file])
def test_what_others_put_into_the_second_place_harms_nobody(
    squat: Callable[[Path], None], machine: Machine
) -> None:
    squat(machine.fallback)
    with pytest.raises(PermissionError, match="set BUSWAY_DIR"):
        UnixListener.open("default", A)  # with no other place there is no safe one
    machine.log_in()
    if machine.fallback.is_dir():
        bus = Path(unix_places.bus_path(str(machine.fallback), "default"))
        bus.mkdir(0o700)
        (bus / (B.hex() + ".sock")).write_text("")
        (bus / (B.hex() + ".lock")).write_text("")
    with closing(UnixListener.open("default", A)):
        assert node_ids() == [A]
        assert unix.sweep("default") == []


# ---- the place in /tmp was made by another user


def their_directory(path: Path) -> None:
    path.mkdir(0o755)
    os.chown(path, NOBODY, NOBODY)


def their_directory_for_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)
    os.chown(path, NOBODY, NOBODY)


def their_link(path: Path) -> None:
    by_link(path)
    os.lchown(path, NOBODY, NOBODY)


def their_file(path: Path) -> None:
    path.write_text("")
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("squat", [their_directory, their_directory_for_all, their_link, their_file])
def test_who_finds_the_place_taken_by_another_user_takes_one_of_its_own(
    squat: Callable[[Path], None], machine: Machine
) -> None:
    squat(machine.fallback)
    theirs = machine.fallback.with_name(f"{machine.fallback.name}-{'0' * 16}")
    their_directory(theirs)  # nor does it help to make others
    (theirs / "anything").write_text("")
    assert unix.peers("default") == []
    assert [path.name for path in sorted(machine.fallback.parent.iterdir()) if "aside" not in path.name] == [
        machine.fallback.name,
        theirs.name,
    ]  # looking makes nothing
    with closing(UnixListener.open("default", A)) as one, closing(UnixListener.open("default", B)) as two:
        place = Path(one.path).parents[1]
        assert re.fullmatch(re.escape(machine.fallback.name) + "-[0-9a-f]{16}", place.name)
        assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_uid) == (0o700, os.geteuid())
        assert Path(two.path).parents[1] == place
        assert node_ids() == [A, B]
        unix.dial(one.path).close()
    with closing(UnixListener.open("default", A)) as again:
        assert Path(again.path).parents[1] == place  # and no more than one


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_those_in_a_place_of_their_own_are_found_from_everywhere(machine: Machine) -> None:
    their_directory(machine.fallback)
    with closing(UnixListener.open("default", A)) as early:
        machine.log_in()
        with closing(UnixListener.open("default", B)) as late:
            assert late.path.startswith(str(machine.own))
            assert node_ids() == [A, B]
            with pytest.raises(FileExistsError, match="is running already"):
                UnixListener.open("default", A)
        machine.log_out()
        machine.fallback.rmdir()
        with closing(UnixListener.open("default", B)) as late:
            assert Path(late.path).parents[1] == machine.fallback
            assert node_ids() == [A, B]
            with pytest.raises(FileExistsError, match="is running already"):
                UnixListener.open("default", A)
            assert early.in_place()


def test_a_place_of_ours_that_is_not_private_is_still_told(machine: Machine) -> None:
    open_to_all(machine.fallback)
    with pytest.raises(PermissionError, match="chmod 700"):
        UnixListener.open("default", A)


# ---- the directory is cleared away under a running program


def all_of_it(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


def the_bus(path: Path) -> None:
    shutil.rmtree(path.parent)


def the_socket(path: Path) -> None:
    path.unlink()


def the_lock(path: Path) -> None:
    path.with_suffix(".lock").unlink()


def the_socket_for_another(path: Path) -> None:
    path.unlink()
    path.write_text("")


@pytest.mark.parametrize("clear", [all_of_it, the_bus, the_socket, the_lock, the_socket_for_another])
def test_a_program_puts_back_what_was_cleared_away(clear: Callable[[Path], None], home: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with closing(UnixListener.open("default", A)) as listener:
        assert listener.in_place()
        waits = unix.dial(listener.path)
        clear(Path(listener.path))
        assert not listener.in_place()
        listener.restore()
        assert listener.in_place()
        assert unix.peers("default") == [unix.Peer(listener.path, A)]
        assert not unix.is_dead(listener.path)  # its lock is held
        assert unix.sweep("default") == []
        with pytest.raises(FileExistsError):
            UnixListener.open("default", A)
        former = listener.accept()  # who came before was kept
        assert former is not None
        with closing(waits), closing(former):
            assert waits.write(b"hello") == 5
            assert waiting.read(former, 5) == b"hello"
        with closing(unix.dial(listener.path)), closing(waiting.accept(listener)):
            pass
        for path in (listener.path, listener.path.replace(".sock", ".lock")):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o1600
    assert not list(home.iterdir())
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_after_logout_the_socket_is_in_the_other_place(machine: Machine) -> None:
    machine.log_in()
    with closing(UnixListener.open("default", A)) as listener:
        machine.log_out()
        assert not listener.in_place()
        listener.restore()
        assert listener.path.startswith(str(machine.fallback))
        assert listener.url == f"ipc://{listener.path}"
        machine.log_in()
        assert listener.in_place()  # where it is it is found, too
        assert node_ids() == [A]


def test_where_it_cannot_be_put_back_it_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = home / "sockets"
    monkeypatch.setenv("BUSWAY_DIR", str(place))
    with closing(UnixListener.open("default", A)) as listener:
        shutil.rmtree(place)
        place.write_text("")  # in its way
        fd = listener.fileno()
        with pytest.raises(PermissionError, match="is not a directory"):
            listener.restore()
        assert listener.fileno() == fd
        assert not listener.in_place()
        place.unlink()
        listener.restore()
        assert node_ids() == [A]


def test_a_successor_under_the_same_id_is_left_alone(home: Path) -> None:
    with closing(UnixListener.open("default", A)) as former:
        shutil.rmtree(home)
        home.mkdir(0o700)
        with closing(UnixListener.open("default", A)) as successor:
            assert not former.in_place()
            with pytest.raises(FileExistsError, match="is running already"):
                former.restore()
            former.close()
            assert successor.in_place()
            unix.dial(successor.path).close()


def test_neither_a_closed_one_nor_a_forked_child_puts_anything_back(home: Path) -> None:
    listener = UnixListener.open("default", A)
    Path(listener.path).unlink()
    child = os.fork()
    if child == 0:
        os._exit(0 if listener.in_place() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not listener.in_place()
    listener.close()
    assert listener.in_place()
    assert not list(home.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_that_became_another_user_puts_nothing_back(home: Path) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            listener = UnixListener.open("default", A)
            Path(listener.path).unlink()
            os.seteuid(NOBODY)
            listener.restore()
        except PermissionError as error:
            status = 0 if f"user {NOBODY} now" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
