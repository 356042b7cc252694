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
from typing import Final

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


class BoardKeys:
    """The boards that may join: those whose key is in this file, or in one of the files NAME.key of this
    folder.

    A folder that has changed, or the file in it that was wrong, is read again when a board comes that was not
    known: a key that is put there counts at once, one that is taken away from the next start on. Raises
    KeyFileError when it is read first; what is wrong with it later is in `trouble`, and those that were known
    stay so.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.place = Path(place)
        self.trouble: KeyFileError | None = None
        self._known: dict[bytes, tuple[str, bytes]] = {}
        self._wrong: Path | None = None  # the file that the trouble is with
        self._wrong_seen: tuple[int, ...] = ()
        self._seen = _look(self.place)
        self._read()

    def find(self, board_id: bytes) -> bytes | None:
        """The key of the board with this node id, 16 bytes; None of one that is not known."""
        if board_id not in self._known and self._has_changed():
            self._seen = _look(self.place)
            self.trouble = None
            try:
                self._read()
            except KeyFileError as error:
                self.trouble = error
        found = self._known.get(board_id)
        return None if found is None else found[1]

    def names(self) -> dict[bytes, str]:
        """What each board is called, its file's name, by its node id."""
        return {board_id: name for board_id, (name, _) in self._known.items()}

    def _has_changed(self) -> bool:
        """What a copy is still being written to, or whose mode is mended, changes no folder."""
        if self._wrong is not None and _look(self._wrong) != self._wrong_seen:
            return True
        return _look(self.place) != self._seen

    def _read(self) -> None:
        self._wrong = None
        files = sorted(self.place.glob("*" + SUFFIX)) if self.place.is_dir() else [self.place]
        if len(files) > KEYS_MAX:
            raise KeyFileError(f"{self.place} holds {len(files)} keys of boards, and {KEYS_MAX} are the most")
        known = {}
        for file in files:
            self._wrong, self._wrong_seen = file, _look(file)
            key = load_board_key(file)
            known[id_of_board(key)] = (file.name.removesuffix(SUFFIX), key)
        self._known, self._wrong = known, None


def _look(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size, found.st_mode
