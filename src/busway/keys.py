"""Keys of nodes: X25519 pairs, the files they are kept in, and the text by which people pass public keys on.

Knows nothing of links. `cryptography` is imported when a pair is made or read, not before: the public half,
its text and the id that follows from it need the standard library only.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from typing import Any, Final, Self

from busway import ephemeral
from busway.errors import KeyFileError

PREFIX: Final = "busway1"
KEY_SIZE: Final = 32
_SUM_SIZE = 3  # with it the text has no padding: 35 bytes are 56 letters of base32
_TEXT_LENGTH = len(PREFIX) + (KEY_SIZE + _SUM_SIZE) * 8 // 5
_SUM_TAG = b"busway-key-2"
_FILE_SIZE_MAX = 16384  # of PEM; ours have 119 and 288 bytes
# A pipe in its place must not hold us up; and no child inherits it.
_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
Passphrase = str | Callable[[], str] | None


def public_text(public: bytes) -> str:
    """A public key, 32 bytes, as people copy it: "busway1" and 56 letters and digits, of which the last few
    are a checksum. Raises ValueError for another size.
    """
    if len(public) != KEY_SIZE:
        raise ValueError(f"a public key has {KEY_SIZE} bytes, not {len(public)}")
    return PREFIX + base64.b32encode(public + _checksum(public)).decode().lower()


def public_of(text: str) -> bytes:
    """The public key, 32 bytes, that `public_text` wrote; blanks around and inside it, and capitals, do not
    matter. Raises ValueError with what is wrong with it.
    """
    plain = "".join(text.split()).lower()
    if not plain.startswith(PREFIX):
        raise ValueError(
            f"{_shown(text)} is no public key: those begin with {PREFIX}, as `busway key show` prints them"
        )
    if len(plain) != _TEXT_LENGTH:
        raise ValueError(
            f"{_shown(text)} is no whole public key: it has {len(plain)} characters, and should have"
            f" {_TEXT_LENGTH}"
        )
    try:
        data = base64.b32decode(plain[len(PREFIX) :].upper())
    except binascii.Error:
        raise ValueError(
            f"{_shown(text)} is no public key: behind {PREFIX} stand a to z and 2 to 7 only"
        ) from None
    public, checksum = data[:KEY_SIZE], data[KEY_SIZE:]
    if checksum != _checksum(public):
        raise ValueError(f"{_shown(text)} is mistyped: its checksum does not fit; copy it once more")
    if ephemeral.is_ephemeral(public):
        raise ValueError(
            f"{_shown(text)} is the key of one run of a program that has none to keep: give that program one"
            " (`busway key new`, key=), and take the public half of that"
        )
    return public


def looks_like_key(text: str) -> bool:
    """Whether a text is meant as a public key, and not as a name."""
    return text.strip().lower().startswith(PREFIX)


def id_of_public(public: bytes) -> bytes:
    """The node id, 16 bytes, that nobody can have without the private half of this public key: SHA-256 over a
    tag and the key, with the top bit set (docs/protocol.md, section 3).
    """
    return ephemeral.id_of(public)


def _checksum(public: bytes) -> bytes:
    return hashlib.sha256(_SUM_TAG + public).digest()[:_SUM_SIZE]


def _shown(text: str) -> str:
    """Show in an error what somebody took for a key: a private one must not stand there whole."""
    return repr(text if len(text) <= 24 else f"{text[:20]}…")


class Key:
    """The key pair of a node. From it follow the node's id and what others write in their trust files.

    Make one with `Key.new()` or `Key.load(path)`, and give it to a bus: `AsyncBus(key=key)`.
    """

    __slots__ = ("_private", "path", "public")

    def __init__(self, private: bytes, public: bytes, path: str = "") -> None:
        self._private = private
        self.public: Final = public
        """The public half, 32 bytes."""
        self.path: Final = path
        """The file it was read from; "" for one that was made here."""

    def __repr__(self) -> str:
        return f"<Key {self.text}>"

    def __reduce__(self) -> str:
        raise TypeError(
            "a Key cannot be copied or pickled: its private half stays in this process; use its file"
        )

    @property
    def text(self) -> str:
        """The public half as text, which others write in their trust files: "busway1…"."""
        return public_text(self.public)

    @property
    def id(self) -> bytes:
        """The id of the node that has this key, 16 bytes."""
        return id_of_public(self.public)

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """The private and the public half, 32 bytes each, for what makes links."""
        return self._private, self.public

    @classmethod
    def new(cls) -> Self:
        """A new pair. Whoever does not `save` it has an identity that nobody can claim, for one run."""
        return cls._of(_x25519().X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: Passphrase = None) -> Self:
        """The pair in a file that `save` or `busway key new` wrote, or any X25519 key in PKCS #8 PEM.

        Args: `passphrase` of an encrypted file: text, or a function that asks for it and is only called then;
        by default what the environment says in BUSWAY_PASSPHRASE.
        Raises KeyFileError with what to do: no such file, one that others can read, no X25519 key in it, a
        passphrase that is wrong or missing.
        """
        name = os.fspath(path)
        pem = read_private(name)
        if _is_encrypted(pem):
            return cls._of(_decrypt(pem, name, _asked(passphrase, name)), name)
        return cls._of(_parse(pem, name, None), name)

    @classmethod
    def _of(cls, private: Any, path: str = "") -> Self:
        return cls(private.private_bytes_raw(), private.public_key().public_bytes_raw(), path)

    def save(self, path: str | os.PathLike[str], passphrase: str | None = None) -> None:
        """Write the pair to a new file that only its owner can read, encrypted if there is a passphrase.

        Raises KeyFileError if there is such a file (a key is never overwritten), or it cannot be written.
        """
        name = os.fspath(path)
        if passphrase == "":
            raise ValueError("the passphrase is empty: give None for a file that is not encrypted")
        from cryptography.hazmat.primitives import serialization

        how = (
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase.encode())
        )
        private = _x25519().X25519PrivateKey.from_private_bytes(self._private)
        write_private(
            name, private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        )


def _x25519() -> Any:
    from cryptography.hazmat.primitives.asymmetric import x25519

    return x25519


def _is_encrypted(pem: bytes) -> bool:
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem


def _asked(passphrase: Passphrase, path: str) -> str:
    if callable(passphrase):
        passphrase = passphrase()
    found = os.environ.get("BUSWAY_PASSPHRASE") if passphrase is None else passphrase
    if not found:
        raise KeyFileError(
            f"{path} is encrypted: give busway.Key.load(path, passphrase=...), or set BUSWAY_PASSPHRASE"
        )
    return found


def _decrypt(pem: bytes, path: str, passphrase: str) -> Any:
    try:
        return _parse(pem, path, passphrase.encode())
    except ValueError:
        raise KeyFileError(f"{path}: the passphrase is wrong, or the file is damaged") from None


def _parse(pem: bytes, path: str, passphrase: bytes | None) -> Any:
    """Raises KeyFileError for what is no X25519 key, ValueError for what cannot be decrypted."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase is not None:
            raise ValueError from None
        raise KeyFileError(f"{path} holds no key that can be read: make one with `busway key new`") from None
    if not isinstance(private, _x25519().X25519PrivateKey):
        what = type(private).__name__.lstrip("_").removesuffix("PrivateKey")
        raise KeyFileError(
            f"{path} holds a key for {what}, and a node needs one for X25519: make it with `busway key new`"
            " (the key of a certificate is another thing: --certificate-key FILE)"
        )
    return private


def read_private(path: str, command: str = "busway key new") -> bytes:
    """A key's file, which `command` makes, if nobody else can read it. Raises KeyFileError."""
    try:
        fd = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    except OSError as error:
        remedy = f": make it with `{command} {path}`" if error.errno == errno.ENOENT else ""
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}{remedy}") from error
    try:
        _check_private(os.fstat(fd), path, command)
        return os.read(fd, _FILE_SIZE_MAX)
    finally:
        os.close(fd)


def _check_private(found: os.stat_result, path: str, command: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"{path} is no file: name one that `{command}` made")
    if os.name != "posix":
        return  # its access lists say it, and they are inherited from the user's own directories
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"the key file {path} belongs to another user (uid {found.st_uid}), who can read it: use one of"
            " your own"
        )
    if found.st_mode & 0o077:
        raise KeyFileError(
            f"the key file {path} can be read or written by others (mode {stat.S_IMODE(found.st_mode):04o}):"
            f" `chmod 600 {path}`; and if somebody may have read it, make another with `{command}`"
        )


def write_private(path: str, data: bytes) -> None:
    """A new file with this, readable by its owner only from its first byte on. Raises KeyFileError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileExistsError:
        raise KeyFileError(
            f"{path} is there already, and a key is never overwritten: name another file, or remove that one"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from error
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError as error:
        os.unlink(path)
        raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from error


class Hold:
    """Holds a key file for one bus: two with one key have one node id, and would end each other's links.

    Raises KeyFileError if another bus on this machine holds it. Where files cannot be locked nothing is held.
    """

    def __init__(self, path: str) -> None:
        self._fd = -1
        try:
            import fcntl
        except ModuleNotFoundError:
            return
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise KeyFileError(
                f"the key file {path} is in use by another bus on this machine, and two with one key are one"
                " node: give each program its own, made with `busway key new`"
            ) from None
        except OSError:  # a file system without locks, or the file is gone: then as on Windows
            self.release()

    def release(self) -> None:
        """Let another have it. Twice is once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def key_of(given: object) -> Key | None:
    """The key that `key=` of a bus means: a Key, the path of one's file; None is what BUSWAY_KEY says, or no
    key.

    Raises TypeError, KeyFileError.
    """
    if isinstance(given, Key):
        return given
    if given is None:
        given = os.environ.get("BUSWAY_KEY") or None
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)):
        return Key.load(given)
    raise TypeError(f"key must be the path of a key file, or a busway.Key, not {type(given).__name__}")
