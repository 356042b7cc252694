"""The key of a bus that was given none: an X25519 pair for one run, and the node id that follows from it.

Made with integers alone: a bus that never leaves its machine needs no cryptography for it, and whoever needs
that imports it with the first link. Knows nothing of buses.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from busway.protocol.wire import codes

_MARK: Final = 0x80  # in the last byte, which RFC 7748 has receivers mask: the key is of one run
_P: Final = 2**255 - 19
_A24: Final = 121665
_BASE: Final = 9
Pair = tuple[bytes, bytes]


def pair() -> Pair | None:
    """A new pair, private and public, 32 bytes each, marked as one of this run; None where nobody can prove
    a key, for `cryptography` is not installed.
    """
    if not _is_installed():
        return None
    library = sys.modules.get("busway.primitives")
    if library is None:
        private = os.urandom(32)
        public = public_of(private)
    else:  # it is there, and ten times as fast
        private, public = library.PRIMITIVES.keypair()
    return private, public[:-1] + bytes((public[-1] | _MARK,))


def is_ephemeral(public: bytes) -> bool:
    """Whether a public key says of itself that it is one of a single run, of no use in a trust file."""
    return public[-1] & _MARK != 0


def id_of(public: bytes) -> bytes:
    """The node id, 16 bytes, of who has the private half of this public key (docs/protocol.md, 3.2.6)."""
    import hashlib

    found = hashlib.sha256(codes.ID_CONTEXT + public).digest()[:16]
    return bytes((found[0] | codes.BOUND,)) + found[1:]


def public_of(private: bytes) -> bytes:
    """The public half of a private key, 32 bytes each: X25519 with the base point (RFC 7748, section 5).

    Its time depends on the key a little, as integers do. So it is for a key that is made once in a process,
    never for one that is kept, or for what a peer sent.
    """
    scalar = (int.from_bytes(private, "little") & ((1 << 254) - 8)) | 1 << 254
    x2, z2, x3, z3, swapped = 1, 0, _BASE, 1, 0
    for place in range(254, -1, -1):
        bit = scalar >> place & 1
        if bit != swapped:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % _P, b * b % _P
        e = aa - bb
        da, cb = (x3 - z3) * a % _P, (x3 + z3) * b % _P
        total, rest = da + cb, da - cb
        x3, z3 = total * total % _P, _BASE * rest * rest % _P
        x2, z2 = aa * bb % _P, e * (aa + _A24 * e) % _P
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")


def _is_installed() -> bool:
    """Whether `cryptography` can be imported, which takes a tenth of a second and is not done here."""
    if "cryptography" in sys.modules:
        return sys.modules["cryptography"] is not None
    finds = [getattr(finder, "find_spec", None) for finder in sys.meta_path]  # old import hooks have none
    return any(find is not None and find("cryptography", None) is not None for find in finds)
