"""Protection of a link, by its sort and terms: nothing where the system says who is there, else Noise, or a
board's handshake (docs/protocol.md, section 3).

The cryptography, and the core's part of it, are imported when the first link needs them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from busway.errors import MissingLibrary
from busway.protocol import Connection, codes

if TYPE_CHECKING:
    from busway.protocol.secure.channel import Handshake
    from busway.protocol.secure.lines import LineSecurity
    from busway.protocol.secure.security import Security

NETWORK = ("tcp", "ws", "wss", "nats")  # protected always
LOCAL = ("ipc", "memory", "pipe")  # never: the system says who is there
NO_KEY = (b"", b"")
_MISSING = "links with a token or a key need cryptography: pip install cryptography"

Admit = Callable[["Handshake | None"], int]


class Protection(NamedTuple):
    """The proof that the other side of a link has given to this one.

    `how`: "local" (the system says who is there), "key" (one that is trusted), "board key", "token", "open"
    (nothing), "" while it is not open; `trusted` what the trusted key or board is called here; `key`
    the public key it has proved, whether it is trusted or not.
    """

    how: str = ""
    trusted: str = ""
    key: str = ""


class Guard(NamedTuple):
    """The guard of a link: who may come over it.

    Args: `token` both sides have; `open` whether the listener is open to all, and then `routers` whether as
    routers, too; `static` this node's X25519 key, private and public, or empty for one of the moment;
    `board_key` and `admit` as of the core's Security.
    """

    token: str | None = None
    open: bool = False
    routers: bool = False
    static: tuple[bytes, bytes] = NO_KEY
    board_key: Callable[[bytes], bytes | None] | None = None
    admit: Admit | None = None

    def has_keys(self) -> bool:
        """Whether somebody has to prove a key."""
        return self.admit is not None or self.board_key is not None


def security_of(
    guard: Guard, scheme: str, dialled: bool, packets: bool = False, realm: int = codes.LOCALNET
) -> Security | LineSecurity | None:
    """The protection of a new link, `packets` if it is one of those; None: it is plain. Raises
    MissingLibrary.
    """
    if scheme in LOCAL:
        return None
    if packets:
        return _of_line(guard)
    if scheme not in NETWORK and realm == codes.USERSPACE and guard.token is None and not guard.has_keys():
        return None  # of a driver of the user's own
    primitives = _primitives()
    if primitives is None:
        if guard.token is not None or guard.has_keys() or (scheme in NETWORK and not dialled):
            raise MissingLibrary(_MISSING)
        return None  # as a board: a listener that is open to all takes that
    from busway.protocol.secure.security import Security

    taken = (codes.XXPSK3, codes.NNPSK0, codes.PSK_AES)
    nothing_asked = guard.token is None and (guard.open or guard.admit is None)
    return Security(
        primitives,
        os.urandom,
        takes=(codes.PLAIN, *taken) if nothing_asked else taken,
        token=(guard.token or "").encode(),
        static=guard.static,
        board_key=guard.board_key,
        admit=guard.admit or (_leaves_only if guard.open and not guard.routers else None),
        quick_aes=_quick_aes(),
    )


def _of_line(guard: Guard) -> LineSecurity | None:
    """Of a line, whose other end may be a node, which can prove a key, or a board, which is a leaf where
    somebody has to be trusted.
    """
    wants = guard.token is not None or guard.admit is not None or guard.static != NO_KEY
    boards = guard.token is not None or guard.board_key is not None
    only_boards = boards and guard.token is None and guard.admit is None  # the others would prove nothing
    primitives = _primitives()
    if primitives is None:
        if wants or boards:
            raise MissingLibrary(_MISSING)
        return None
    from busway.protocol.secure.lines import LineSecurity

    return LineSecurity(
        None if only_boards else _of_nodes(guard, primitives),
        _of_boards(guard, primitives) if boards else None,
        wants,
        codes.ROLE_ROUTER if guard.admit is None else codes.ROLE_LEAF,
    )


def _of_nodes(guard: Guard, primitives: Any) -> Security:
    from busway.protocol.secure.security import Security

    return Security(
        primitives,
        os.urandom,
        takes=(codes.XXPSK3,),
        token=(guard.token or "").encode(),
        static=guard.static,
        admit=guard.admit,
    )


def _of_boards(guard: Guard, primitives: Any) -> Security:
    from busway.protocol.secure.security import Security

    return Security(
        primitives,
        os.urandom,
        first=codes.PSK_AES,
        takes=(codes.PSK_AES,),
        token=(guard.token or "").encode(),
        board_key=guard.board_key,
        admit=_leaves_only if guard.admit else None,
    )


def _leaves_only(handshake: Handshake | None) -> int:
    return codes.ROLE_LEAF


def protection_of(
    connection: Connection, token: bool, trusted: str, boards: Callable[[], dict[bytes, str]]
) -> Protection:
    """The protection of a link as it is now: `token` whether its sides have one, `trusted` the name of the
    key that was let in, "" of one that is not known, `boards` gives the names of boards by node id.
    """
    found = proved_of(connection, token, trusted, boards)
    return found if connection.opened_at >= 0 else found._replace(how="")


def proved_of(
    connection: Connection, token: bool, trusted: str, boards: Callable[[], dict[bytes, str]]
) -> Protection:
    """The same of a link that need not be open yet."""
    if connection.link.security is None:
        return Protection("local" if connection.link.medium in LOCAL else "open")
    handshake = None if connection.channel is None else connection.channel.handshake
    if handshake is None or not handshake.finished:
        return Protection("open")  # it began with HELLO, and may
    if handshake.remote_id and handshake.pattern == codes.PSK_AES:
        return Protection("board key", boards().get(handshake.remote_id, ""))
    key = _text_of(handshake.remote_key) if handshake.remote_key else ""
    return Protection("key" if trusted else "token" if token else "open", trusted, key)


@functools.lru_cache(1024)  # it takes a digest, and whoever lists the links asks for each
def _text_of(public: bytes) -> str:
    from busway.keys import public_text

    return public_text(public)


def any_id(scheme: str, realm: int) -> bool:
    """Whether the other side of a plain link may have the id of a key: the system says who it is, or nobody
    can prove anything to this side.
    """
    return scheme in LOCAL or (realm > codes.USERSPACE and _primitives() is None)


@functools.cache
def _quick_aes() -> bool:
    from busway.primitives import has_quick_aes

    return has_quick_aes()


def _primitives() -> Any:
    """The library's, or None where it cannot be had."""
    try:
        from busway.primitives import PRIMITIVES
    except ImportError:
        return None
    return PRIMITIVES
