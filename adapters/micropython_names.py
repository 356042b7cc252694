"""Names to numbers, on boards: of endpoints to their uuids, UUID version 5 (docs/protocol.md, section 1), of
priorities, and the board's own id. Knows nothing else."""

import os

try:
    from hashlib import sha1
except ImportError:  # boards without TLS have no SHA-1
    from busway.adapters.micropython_sha1 import sha1  # type: ignore[assignment]

from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_NAMESPACE = b"\xf2\x06\x65\x00\x0b\xc6\x4e\xa2\x9d\x3a\x78\x01\xeb\x92\xbb\x6c"


def uuid_of(name: "str | bytes") -> bytes:
    """The 16 bytes that a name stands for; bytes are taken as the uuid itself. Raises ValueError."""
    if isinstance(name, bytes):
        if len(name) != 16:
            raise ValueError("an endpoint is a name, or a uuid of 16 bytes")
        return name
    raw = name.encode()
    if not 1 <= len(raw) <= 64:
        raise ValueError("a name has 1 to 64 bytes of UTF-8")
    digest = bytearray(sha1(_NAMESPACE + raw).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest[:16])


def number_of(priority: str) -> int:
    """A priority as the leaf's number. Raises ValueError."""
    if priority not in codes.PRIORITY_NAMES:
        raise ValueError("priority is one of low, normal, high, urgent")
    return codes.PRIORITY_NAMES.index(priority)


def board_id(entropy: "Callable[[int], bytes]") -> bytes:
    """A node id of this board's own: the same at every start if it has a serial number."""
    try:
        from hashlib import sha256

        from machine import unique_id  # type: ignore[import-not-found]

        drawn = sha256(b"busway" + unique_id()).digest()
    except ImportError:
        drawn = entropy(codes.ID_SIZE)
    return bytes((drawn[0] & 0x7F,)) + drawn[1 : codes.ID_SIZE]  # the top bit: it follows from a key


def board_entropy() -> "Callable[[int], bytes]":
    """Where the board has random bytes from."""
    if hasattr(os, "urandom"):
        return os.urandom
    from busway.adapters.micropython_entropy import urandom

    return urandom
