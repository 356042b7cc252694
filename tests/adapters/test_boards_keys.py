"""Buses that know boards by their keys: over a pty as serial line, and over tcp://."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import busway
from busway.adapters.identity import Identity
from busway.adapters.protecting import Guard, security_of
from busway.board_keys import id_of_board, load_board_key, make_board_key
from busway.errors import KeyFileError
from busway.protocol import codes
from busway.protocol.secure.lines import ABLE, WANTS, LineSecurity
from busway.protocol.wire.fields import frame
from tests.adapters.test_micropython_keyed import PROGRAM
from tests.adapters.test_micropython_station import running
from tests.drivers.lines import Line, line

TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"


@pytest.fixture
def wire() -> Iterator[Line]:
    with line() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path, board_files: Path) -> Path:
    """The folder of the gateway; the board has the key of "pump"."""
    folder = tmp_path / "keys"
    folder.mkdir()
    make_board_key(folder / "pump.key")
    (board_files / "board.key").unlink(missing_ok=True)
    (board_files / "board.key").write_text((folder / "pump.key").read_text())
    return folder


@contextmanager
def board_at(
    interpreter: str, folder: Path, wire: Line, *, key: str = "board.key", token: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A board that runs PROGRAM with its UART at the other end of `wire`."""
    (folder / "keyed.py").write_text(PROGRAM.replace("open(place", "open(int(place)"))
    command = [interpreter, "-X", "heapsize=256k", "keyed.py", "packet", str(wire.board), key, token]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, pass_fds=[wire.board]
    ) as board:
        try:
            yield board
        finally:
            board.kill()


def echoes(bus: busway.Bus) -> None:
    assert bus.request("lab/echo", [1], ttl=60, timeout=60) == [1]
    (node,) = (node for node in bus.nodes() if node.label == "board")
    assert node.id[0] & codes.BOUND


def test_a_board_joins_over_tcp_by_its_key_where_others_have_the_token(
    interpreter: str, board_files: Path, keys: Path
) -> None:
    with busway.Bus(ipc=False, boards=keys) as bus:
        port = bus.listen("tcp://127.0.0.1:0", token=TOKEN).url.rsplit(":", 1)[1]
        with running(interpreter, board_files, PROGRAM, "stream", port, "board.key", ""):
            echoes(bus)
            (node,) = (node for node in bus.nodes() if node.label == "board")
            assert node.id == id_of_board(load_board_key(keys / "pump.key"))


@pytest.mark.parametrize("how", ["file", "folder", "environment"])
def test_a_board_joins_over_a_serial_line(
    interpreter: str, board_files: Path, keys: Path, wire: Line, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: dict[str, Path | str | None] = {"file": keys / "pump.key", "folder": str(keys)}
    place = places.get(how)
    if how == "environment":
        monkeypatch.setenv("BUSWAY_BOARDS", str(keys))
    with busway.Bus(ipc=False, boards=place) as bus, board_at(interpreter, board_files, wire):
        bus.connect(wire.url, wait=60)
        echoes(bus)


def test_a_key_that_is_put_there_or_taken_away_later_counts_at_once(
    interpreter: str, board_files: Path, keys: Path, wire: Line
) -> None:
    aside = keys.rename(keys.with_name("aside"))
    keys.mkdir()
    with busway.Bus(ipc=False, boards=keys) as bus, board_at(interpreter, board_files, wire) as board:
        with pytest.raises(busway.LinkRefused) as refused:
            bus.connect(wire.url, wait=60)
        assert refused.value.code == codes.TOKEN
        assert board.stdout is not None
        assert board.stdout.readline().startswith("link error 7. ")
        (aside / "pump.key").rename(keys / "pump.key")
        link = bus.connect(wire.url, wait=60)
        echoes(bus)
        (keys / "pump.key").rename(aside / "pump.key")  # the link that stands ends, and no other comes
        assert board.stdout.readline().startswith("link error 26. ")
        assert board.stdout.readline().startswith("link error 7. ")
        assert "no longer among those" in link.error or "no key is known here" in link.error
        (aside / "pump.key").rename(keys / "pump.key")
        echoes(bus)


def test_a_line_for_boards_with_keys_takes_no_other(
    interpreter: str, board_files: Path, keys: Path, wire: Line
) -> None:
    """Neither a board without a key, nor one with a token that this side does not have."""
    for token in ("", TOKEN):
        with (
            busway.Bus(ipc=False, boards=keys) as bus,
            board_at(interpreter, board_files, wire, key="", token=token),
        ):
            with pytest.raises(busway.LinkRefused) as refused:
                bus.connect(wire.url, wait=60)
            assert refused.value.code == codes.TOKEN


def test_a_board_with_a_key_takes_no_router_that_has_none(
    interpreter: str, board_files: Path, keys: Path, wire: Line
) -> None:
    with busway.Bus(ipc=False) as bus, board_at(interpreter, board_files, wire) as board:
        with pytest.raises(busway.LinkRefused) as refused:
            bus.connect(wire.url, wait=60)
        assert refused.value.code == codes.TOKEN
        assert board.stdout is not None
        assert board.stdout.readline().startswith("link error 7. ")


def test_a_wrong_file_in_the_folder_is_told_once(tmp_path: Path) -> None:
    """Else nobody knows why new boards are refused."""
    make_board_key(tmp_path / "pump.key")
    identity = Identity(None, None, False, tmp_path)
    told: list[str] = []
    identity.warn = told.append
    (tmp_path / "valve.key").touch(0o644)
    os.utime(tmp_path, ns=(10**9, 10**9))
    for _ in range(3):
        assert identity.key_of_board(bytes(16)) is None
    assert len(told) == 1
    assert "chmod 600" in told[0]


def unknown(board_id: bytes) -> bytes | None:
    return None


def nobody(handshake: object) -> int:
    return codes.ROLE_NONE


def test_who_proves_nothing_is_not_taken_where_boards_prove_a_key() -> None:
    """Pattern 1 with a psk of zeros is anybody."""
    for guard, offers, code in (
        (Guard(board_key=unknown), 0, codes.PATTERN),
        (Guard(board_key=unknown, static=(b"k", b"k")), 0, codes.PATTERN),
        (Guard(board_key=unknown, token=TOKEN), ABLE | WANTS, codes.BUS_NAME),  # taken, and found to be noise
        (Guard(board_key=unknown, admit=nobody), ABLE | WANTS, codes.BUS_NAME),
    ):
        line = security_of(guard, "serial", True, True)
        assert isinstance(line, LineSecurity)
        assert line.offers == offers
        security = line.facing(ABLE | WANTS)
        assert security is not None
        channel = security.channel(True, "default")
        channel.receive(frame(b"\2BSWY\2\1" + bytes(range(48))))
        assert channel.refusal is not None
        assert channel.refusal.code == code


def test_what_is_no_place_of_keys(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="boards must be the path of a file or folder, not int"):
        busway.Bus(boards=5)  # type: ignore[arg-type]
    with pytest.raises(KeyFileError, match=r"none\.key.*busway firmware --out DIR --key"):
        busway.Bus(boards=tmp_path / "none.key")
