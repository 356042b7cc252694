"""Where the sockets are, and whose directory is refused: real directories, links and owners."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from busway.drivers import UnixListener, unix

A = b"node-a-16-bytes."
NOBODY = 65534


def test_busway_dir_overrides_and_is_made_private(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_DIR", str(home / "deeper"))
    assert unix.socket_directory() == str(home / "deeper")
    bus = unix.bus_directory("default")
    # The first 16 hexadecimal digits of `printf default | sha256sum`.
    assert bus == str(home / "deeper" / "37a8eec1ce19687d")
    for path in (home / "deeper", Path(bus)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_without_busway_dir_the_directory_follows_from_the_user_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service, a shell and a cron job of one user have different environments and must still meet."""
    monkeypatch.setenv("BUSWAY_DIR", "")
    for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
        monkeypatch.setenv(name, str(home))
    uid = os.geteuid()
    runtime = Path(f"/run/user/{uid}")
    ours = runtime.is_dir() and runtime.stat().st_uid == uid
    expected = runtime / "busway" if ours else Path(f"/tmp/busway-{uid}")
    existed = expected.exists()
    try:
        assert unix.socket_directory() == str(expected)
    finally:
        if not existed:
            expected.rmdir()


def test_a_relative_busway_dir_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_DIR", "here")
    with pytest.raises(ValueError, match="BUSWAY_DIR must be an absolute path, not 'here'"):
        unix.socket_directory()


def test_a_missing_parent_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_DIR", str(home / "no" / "such"))
    with pytest.raises(FileNotFoundError, match=f"{home}/no does not exist: make it, or set BUSWAY_DIR"):
        UnixListener.open("default", A)


def spoil_mode(path: Path) -> str:
    path.mkdir(0o700)
    path.chmod(0o755)
    return f"has mode 0755, expected 0700: run `chmod 700 {path}`"


def spoil_by_unsearchable_mode(path: Path) -> str:
    path.mkdir(0o700)
    path.chmod(0o600)
    return "has mode 0600, expected 0700"


def spoil_by_link(path: Path) -> str:
    target = path.with_name("target")
    target.mkdir(0o700)
    path.symlink_to(target)
    return f"is a symbolic link to '{target}': remove it"


def spoil_by_file(path: Path) -> str:
    path.write_text("")
    return "is not a directory: remove it"


def spoil_owner(path: Path) -> str:
    path.mkdir(0o700)
    os.chown(path, NOBODY, NOBODY)
    return f"belongs to user {NOBODY} and you are user 0: have it removed"


SPOILS = [spoil_mode, spoil_by_unsearchable_mode, spoil_by_link, spoil_by_file]
if os.geteuid() == 0:  # only root can give a directory away; everybody else meets root's own further down
    SPOILS.append(spoil_owner)


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("place", ["directory", "bus"])
def test_a_place_that_is_not_private_is_refused_with_a_way_out(
    spoil: Callable[[Path], str], place: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Path(unix.bus_directory("default"))
    bus.rmdir()
    path = bus
    if place == "directory":
        path = home / "spoilt"
        monkeypatch.setenv("BUSWAY_DIR", str(path))
    sentence = spoil(path)
    for use in (
        lambda: UnixListener.open("default", A),
        lambda: unix.bus_directory("default"),
        lambda: unix.peers("default"),
        lambda: unix.sweep("default"),
    ):
        with pytest.raises(PermissionError) as caught:
            use()
        assert str(path) in str(caught.value)
        if place == "directory" and "chmod" not in sentence and "mode" not in sentence:
            # It may be used for other things, too: nobody is told to remove what is not Busway's.
            objection = sentence.rpartition(":")[0]
            assert f"{objection}: set BUSWAY_DIR to a directory of your own" in str(caught.value)
            assert "remove" not in str(caught.value)
        else:
            assert sentence in str(caught.value)
            assert "or set BUSWAY_DIR to a directory of your own" in str(caught.value)


def test_another_users_directory_is_refused_whoever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = "/proc/1" if os.geteuid() != 0 else tempfile.mkdtemp(prefix="bw-")
    if os.geteuid() == 0:
        os.chown(theirs, NOBODY, NOBODY)
    monkeypatch.setenv("BUSWAY_DIR", theirs)
    try:
        with pytest.raises(PermissionError, match=f"belongs to user .* and you are user {os.geteuid()}"):
            unix.socket_directory()
    finally:
        if os.geteuid() == 0:
            os.rmdir(theirs)


def test_a_path_that_is_too_long_is_refused_before_anything_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = unix.PATH_SIZE_MAX - len("/37a8eec1ce19687d/") - 32 - len(".sock") - len(str(home)) - 1
    monkeypatch.setenv("BUSWAY_DIR", str(home / ("x" * (room + 1))))
    with pytest.raises(ValueError, match=r"path has 100 bytes and may have 99: set BUSWAY_DIR to a shorter"):
        UnixListener.open("default", A)
    assert list(home.iterdir()) == []
    monkeypatch.setenv("BUSWAY_DIR", str(home / ("x" * room)))
    with closing(UnixListener.open("default", A)) as listener:
        assert len(listener.path) == 99
        unix.dial(listener.path).close()
    with pytest.raises(ValueError, match="BUSWAY_DIR"):
        unix.dial("/" + "x" * 99)


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o700])
def test_nobody_is_told_to_change_a_directory_that_others_use(
    mode: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /tmp: it would be the end of many a program."""
    path = home / "shared"
    path.mkdir()
    (path / "notes.txt").write_text("")
    path.chmod(mode)
    monkeypatch.setenv("BUSWAY_DIR", str(path))
    if mode == 0o700:
        assert unix.socket_directory() == str(path)
        return
    with pytest.raises(PermissionError) as caught:
        unix.socket_directory()
    own = f"{path}/busway-{os.geteuid()}"
    assert str(caught.value) == (
        f"{path} has mode {mode:04o}, expected 0700: set BUSWAY_DIR to a directory of your own, for example"
        f" {own}, which is made if it is not there"
    )
    monkeypatch.setenv("BUSWAY_DIR", own)
    assert unix.socket_directory() == own


def test_an_empty_shared_directory_is_nobodys_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    monkeypatch.setenv("BUSWAY_DIR", str(path))
    with pytest.raises(PermissionError, match="expected 0700: set BUSWAY_DIR to"):
        unix.socket_directory()


def test_an_unsafe_directory_is_no_example(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "everybodys"
    path.mkdir()
    path.chmod(0o777)  # without the sticky bit others may replace what is in it
    monkeypatch.setenv("BUSWAY_DIR", str(path))
    with pytest.raises(PermissionError, match=r"directory of your own$"):
        unix.socket_directory()


def test_where_nothing_can_be_made_another_directory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_DIR", "/sys/busway-test")  # takes no directories, from root neither
    with pytest.raises(OSError, match=r"/sys/busway-test cannot be made \(.*set BUSWAY_DIR to") as caught:
        UnixListener.open("default", A)
    assert caught.value.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
