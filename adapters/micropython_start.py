"""The beginning of a board's loop: what its arguments mean, its id, its key and its leaf.

Loaded for each `Loop` that is made, and let go of then: on a board this memory is free again. Knows what a
loop has, and nothing of how it runs.
"""

import gc
import os
import sys
import time
from binascii import unhexlify

from busway.protocol import codes
from busway.protocol.leaf.leaf import Leaf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final

    from busway.adapters.micropython import Loop

_KEY_SIZE: "Final" = 32


def start(
    loop: "Loop",
    stream: "Any",
    label: str,
    leaf: "Leaf | None" = None,
    node_id: "bytes | None" = None,
    bus: str = "default",
    sort: str = "packet",
    mtu: int = 0,
    realm: int = codes.LOCALNET,
    keepalive_ms: int = 5000,
    key: "bytes | str" = b"",
    token: str = "",
    message_size_max: int = 1024,
    pending_max: int = 8,
    peers_max: int = 16,
    entropy: "Callable[[int], bytes] | None" = None,
    clock: "Any" = time,
) -> None:
    """Sets all that a `Loop` has from its beginning; the arguments are those of `Loop`. Raises ValueError."""
    if sort not in ("stream", "packet") or not codes.USERSPACE <= realm <= codes.GLOBAL:
        raise ValueError('sort is "stream" or "packet", realm 1 to 3')
    if sort == "packet":
        loop.medium, loop.cost = ("ble", 256) if mtu else ("serial", 64)  # as a trace tells it
        keepalive_ms = keepalive_ms or 5000
    entropy = entropy or _board_entropy()
    if key or token:
        loop.security = _secret_of(entropy, key, token)
        if key:
            node_id = node_id or loop.security.id
    loop.leaf = leaf or Leaf(
        node_id or _board_id(entropy),
        entropy=entropy,
        bus=bus,
        label=label,
        limits=(256, message_size_max, 16, 1),
        pending_max=pending_max,
        peers_max=peers_max,
    )
    if key and loop.leaf.node_id != loop.security.id:
        raise ValueError("with a key the node id follows from it")
    loop.sort = sort
    loop.mtu = mtu
    loop.realm = realm
    loop.keepalive_ms = keepalive_ms
    loop._clock = clock
    loop._due = loop._ticks = clock.ticks_ms()
    loop._open = None if hasattr(stream, "write") else stream
    loop.handlers = []
    loop._waiting = {}
    loop._timers = []
    loop._news = []
    # These now, while the heap is in one piece: the values of an object lie in one.
    loop._tail = b""
    loop._taken = loop._retry_at = loop.refused = 0
    loop._now, loop._retry_ms = loop._now, loop._retry_ms  # those of all loops
    loop.connection = loop.last_error = loop.message = loop._stream = loop._poll = None
    if hasattr(gc, "mem_free"):  # a board
        del sys.modules[__name__]
        delattr(sys.modules["busway.adapters"], "micropython_start")


def _secret_of(entropy: "Callable[[int], bytes]", key: "bytes | str", token: str) -> "Any":
    """The secret that `key` and `token` of a `Loop` mean: a key's 32 bytes, or the name of its file as
    `busway firmware --key` writes it. Raises ValueError, OSError.
    """
    from busway.adapters.micropython_crypto import Crypto, Secret

    if isinstance(key, str) and key:
        with open(key) as file:
            key = unhexlify(file.read().strip())
    if len(key) != (0 if token else _KEY_SIZE):
        raise ValueError("a key has 32 bytes, or is the name of its file; and a link has a key or a token")
    return Secret(Crypto(), entropy, bytes(key) if key else b"", token.encode())


def _board_id(entropy: "Callable[[int], bytes]") -> bytes:
    """A node id of this board's own: the same at every start if it has a serial number."""
    try:
        from hashlib import sha256

        from machine import unique_id  # type: ignore[import-not-found]

        drawn = sha256(b"busway" + unique_id()).digest()
    except ImportError:
        drawn = entropy(codes.ID_SIZE)
    return bytes((drawn[0] & 0x7F,)) + drawn[1 : codes.ID_SIZE]  # the top bit: it follows from a key


def _board_entropy() -> "Callable[[int], bytes]":
    """Where the board has random bytes from."""
    if hasattr(os, "urandom"):
        return os.urandom
    from busway.adapters.micropython_entropy import urandom

    return urandom
