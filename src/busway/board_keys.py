"""Keys of boards: the files they are kept in, the node ids that follow from them, and which of them a gateway
has.

A board's key is 32 random bytes that the board and its gateways know: on both sides its file is a secret.
Knows nothing of links; needs the standard library only.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from busway.errors import KeyFileError
from busway.keys import read_private, write_private
from busway.protocol.wire import codes

KEY_SIZE: Final = 32
SUFFIX: Final = ".key"
KEYS_MAX: Final = 4096
_COMMAND = "busway firmware --out DIR --key"


def id_of_board(key: bytes) -> bytes:
    """The node id, 16 bytes, of the board that has this key (docs/protocol.md, section 3.2.6)."""
    found = hashlib.sha256(codes.BOARD_ID_CONTEXT + key).digest()[:16]
    return bytes((found[0] | codes.BOUND,)) + found[1:]


def load_board_key(path: str | os.PathLike[str]) -> bytes:
    """The 32 bytes in a file that `save_board_key` wrote: 64 hex digits. Raises KeyFileError with what to do
    if it cannot be read, others can read it, or it holds anything else.
    """
    name = os.fspath(path)
    try:
        key = bytes.fromhex(read_private(name, _COMMAND).decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise KeyFileError(f"{name} holds no board's key (64 hex digits): make one with `{_COMMAND} FILE`")
    return key


def save_board_key(path: str | os.PathLike[str], key: bytes) -> None:
    """Write a key to a new file that only its owner can read. Raises KeyFileError, also if there is one."""
    write_private(os.fspath(path), key.hex().encode() + b"\n")


def make_board_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file, which is made if it is not there. Raises KeyFileError."""
    if not os.path.lexists(path):
        save_board_key(path, secrets.token_bytes(KEY_SIZE))
    return load_board_key(path)


class _Kept(NamedTuple):
    """A key's file, as it was read."""

    seen: tuple[int, ...]
    name: str
    key: bytes


class BoardKeys:
    """The boards that may join: those whose key is in this file, or in one of the files NAME.key of this
    folder.

    What has changed is read again when somebody asks for a board: a key that is put there counts at once, one
    whose file is taken away, or holds another, does not any more. While a file is wrong, or the whole place
    gone, what it said before holds, and `trouble` says what is wrong. Raises KeyFileError when something is
    wrong with it at first.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.place = Path(place)
        self.trouble: KeyFileError | None = None
        self._files: dict[Path, _Kept] = {}
        self._wrong: dict[Path, tuple[int, ...]] = {}
        self._by_id: dict[bytes, Path] = {}
        self._seen: tuple[int, ...] = ()
        self._read()
        if self.trouble is not None:
            raise self.trouble

    def find(self, board_id: bytes) -> bytes | None:
        """The key of the board with this node id, 16 bytes; None of one that is not known."""
        if self._has_changed(board_id):
            self._read()
        path = self._by_id.get(board_id)
        return None if path is None else self._files[path].key

    def name_of(self, board_id: bytes) -> str:
        """The name of the board with this node id, which is that of its file; "" of one that is not known."""
        path = self._by_id.get(board_id)
        return "" if path is None else self._files[path].name

    def names(self) -> dict[bytes, str]:
        """The name of each board, which is that of its file, by its node id."""
        return {board_id: self._files[path].name for board_id, path in self._by_id.items()}

    def _has_changed(self, board_id: bytes) -> bool:
        """Whether the file is another: one that is being written, or whose mode is mended, changes no folder,
        nor does a key that another is written over.
        """
        path = self._by_id.get(board_id)
        if path is not None and path not in self._wrong and _look(path) != self._files[path].seen:
            return True
        return _look(self.place) != self._seen or any(
            _look(path) != self._wrong[path] for path in self._wrong
        )

    def _read(self) -> None:
        self._seen = _look(self.place)
        try:
            paths = self._paths()
        except KeyFileError as error:
            self.trouble = error
            return
        self.trouble = None
        self._wrong = {}
        former, self._files = self._files, {}
        for path in paths:
            seen = _look(path)  # before it is read: what is written meanwhile is another version
            try:
                self._files[path] = _Kept(seen, path.name.removesuffix(SUFFIX), load_board_key(path))
            except KeyFileError as error:
                self.trouble = self.trouble or error
                self._wrong[path] = seen
                if path in former:
                    self._files[path] = former[path]
        self._by_id = {id_of_board(kept.key): path for path, kept in self._files.items()}

    def _paths(self) -> list[Path]:
        if not self.place.is_dir():
            if not self._seen:
                load_board_key(self.place)  # says that it is not there, and what makes it
            return [self.place]
        files = sorted(self.place.glob("*" + SUFFIX))
        if len(files) > KEYS_MAX:
            raise KeyFileError(f"{self.place} holds {len(files)} keys of boards, and {KEYS_MAX} are the most")
        return files


def _look(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size, found.st_mode
