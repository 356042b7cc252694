"""Keys of boards: their files, the ids that follow, and the folder of a gateway."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from busway.board_keys import BoardKeys, id_of_board, load_board_key, make_board_key, save_board_key
from busway.errors import KeyFileError
from tests.rigs.tree import ROOT

KEY = bytes(range(64, 96))


def test_the_id_of_a_board_is_that_of_the_golden_vectors() -> None:
    vectors = json.loads((ROOT / "tests" / "vectors" / "handshakes.json").read_text())["handshakes"]
    vector = next(vector for vector in vectors if int(vector["initiator"].get("key_id", "0"), 16))
    assert id_of_board(bytes.fromhex(vector["key"])).hex() == vector["initiator"]["id"]


def test_a_key_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "pump.key"
    key = make_board_key(file)
    assert len(key) == 32
    assert make_board_key(file) == load_board_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == key.hex() + "\n"
    assert make_board_key(tmp_path / "valve.key") != key
    with pytest.raises(KeyFileError, match="never overwritten"):
        save_board_key(file, KEY)
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*make another with `busway firmware"):
        make_board_key(file)


@pytest.mark.parametrize(
    "text", ["", "41" * 31, "41" * 33, "41" * 31 + "4", "zz" * 32, "é" * 32, "41 " * 5000]
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pump.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"pump\.key holds no board's key \(64 hex digits\)"):
        make_board_key(file)


def test_a_missing_file_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"make it with `busway firmware --out DIR --key .*pump\.key`"):
        BoardKeys(tmp_path / "pump.key")


def test_a_folder_is_read_again_when_a_board_comes_that_is_not_known(tmp_path: Path) -> None:
    first, second = make_board_key(tmp_path / "pump.key"), bytes(32)
    (tmp_path / "README").write_text("no key")
    keys = BoardKeys(tmp_path)
    assert keys.find(id_of_board(first)) == first
    assert keys.find(id_of_board(second)) is None
    save_board_key(tmp_path / "valve.key", second)
    touch(tmp_path, 1)
    assert keys.find(id_of_board(second)) == second
    assert keys.names() == {id_of_board(first): "pump", id_of_board(second): "valve"}
    (tmp_path / "bad.key").write_text("no key")
    touch(tmp_path, 2)
    assert keys.find(id_of_board(KEY)) is None
    assert "bad.key" in str(keys.trouble)
    assert keys.find(id_of_board(second)) == second
    (tmp_path / "bad.key").unlink()
    touch(tmp_path, 3)
    assert keys.find(id_of_board(KEY)) is None
    assert keys.trouble is None


def test_a_key_whose_file_is_taken_away_or_holds_another_counts_no_more(tmp_path: Path) -> None:
    first, second = make_board_key(tmp_path / "pump.key"), make_board_key(tmp_path / "valve.key")
    keys = BoardKeys(tmp_path)
    assert (keys.find(id_of_board(first)), keys.find(id_of_board(second))) == (first, second)
    (tmp_path / "pump.key").unlink()
    touch(tmp_path, 1)
    assert (keys.find(id_of_board(first)), keys.find(id_of_board(second))) == (None, second)
    (tmp_path / "valve.key").write_text(KEY.hex() + " ")  # another length: some clocks tick seldom
    assert (keys.find(id_of_board(second)), keys.find(id_of_board(KEY))) == (None, KEY)
    assert keys.trouble is None


def test_a_wrong_file_keeps_nobody_elses_key(tmp_path: Path) -> None:
    """What it said itself holds until it is mended."""
    first, second = make_board_key(tmp_path / "pump.key"), make_board_key(tmp_path / "valve.key")
    keys = BoardKeys(tmp_path)
    (tmp_path / "valve.key").write_text("no key")
    (tmp_path / "pump.key").unlink()
    touch(tmp_path, 1)
    assert (keys.find(id_of_board(first)), keys.find(id_of_board(second))) == (None, second)
    assert "valve.key" in str(keys.trouble)


def test_a_file_whose_trouble_is_mended_is_read_again(tmp_path: Path) -> None:
    """Neither the mode of a file nor what is written to it later changes the folder."""
    make_board_key(tmp_path / "pump.key")
    keys = BoardKeys(tmp_path)
    copy = tmp_path / "valve.key"
    copy.touch(0o644)
    touch(tmp_path, 1)
    assert keys.find(id_of_board(KEY)) is None
    assert "chmod 600" in str(keys.trouble)
    copy.chmod(0o600)
    touch(tmp_path, 1)
    assert keys.find(id_of_board(KEY)) is None
    assert "holds no board's key" in str(keys.trouble)
    copy.write_text(KEY.hex())
    touch(tmp_path, 1)
    assert keys.find(id_of_board(KEY)) == KEY
    assert keys.trouble is None


def touch(folder: Path, seconds: int) -> None:
    """Changes follow one another faster than some file systems' clocks tick."""
    os.utime(folder, ns=(seconds * 10**9, seconds * 10**9))


def test_one_file_is_one_board(tmp_path: Path) -> None:
    key = make_board_key(tmp_path / "pump.key")
    keys = BoardKeys(tmp_path / "pump.key")
    assert keys.names() == {id_of_board(key): "pump"}
    assert keys.find(bytes(16)) is None


def test_a_folder_that_has_gone_leaves_the_boards_that_were_known(tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    folder.mkdir()
    key = make_board_key(folder / "pump.key")
    keys = BoardKeys(folder)
    (folder / "pump.key").unlink()
    folder.rmdir()
    assert keys.find(bytes(16)) is None
    assert isinstance(keys.trouble, KeyFileError)
    assert keys.find(id_of_board(key)) == key
