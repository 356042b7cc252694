"""The identity of a bus beyond its machine, and whom it lets in: its key, its trust, and what a link's guard
makes of both.

When it is looked again, and how a link is ended, is the host's. What reads keys and trust is imported when
there are any: most programs have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from busway import ephemeral
from busway.adapters.protecting import LOCAL, NO_KEY
from busway.protocol import codes
from busway.protocol.errors import Refusal

if TYPE_CHECKING:
    from busway.adapters.permissions import Permissions
    from busway.board_keys import BoardKeys
    from busway.keys import Hold, Key
    from busway.protocol.secure.channel import Handshake
    from busway.trust import Trust, Trusted

LOOK_S = 1.0  # between two looks at the trust file
_ROLES = {"leaf": codes.ROLE_LEAF, "router": codes.ROLE_ROUTER}


class Identity:
    """Args: `key`, `trust`, `boards` and `policy` as users give them to a bus, None for what the environment
    says; `own_id` whether the node has an id that does not follow from the key. Raises TypeError, ValueError,
    KeyFileError, TrustFileError, PolicyFileError.
    """

    def __init__(
        self, key: object, trust: object, own_id: bool, boards: object = None, policy: object = None
    ) -> None:
        self.key = None if key is None else _key_of(key)
        self.trust = None if trust is None else _trust_of(trust)
        self.boards = None if boards is None else _boards_of(boards)
        self.bound = self.key is not None and not own_id
        # The pair of this run, if the node has no other: of a program whose key is the environment's the key
        # is that of several, and none of them is its node.
        self.ephemeral = None
        if self.key is None and not own_id and not os.environ.get("BUSWAY_KEY"):
            self.ephemeral = ephemeral.pair()
        self.warn: Callable[[str], object] = _nobody_hears
        self._hold: Hold | None = None
        self._ready = False
        self._version = 0
        self._trouble_with_boards = ""  # as it was last told
        wanted = policy is not None or os.environ.get("BUSWAY_POLICY")
        self.permissions = _permissions(policy, self) if wanted and policy is not False else None

    @property
    def static(self) -> tuple[bytes, bytes]:
        """The key pair for links; empty for one of the moment."""
        if self.key is not None:
            return self.key.pair
        return self.ephemeral or NO_KEY

    def node_id(self) -> bytes:
        """The node id, 16 bytes: that of the key, or of the one of this run; a random one, which says that it
        is no key's, where nothing can be proved, or the key is also that of others.
        """
        if self.ephemeral is not None:
            return ephemeral.id_of(self.ephemeral[1])
        return self.key.id if self.bound and self.key is not None else unbound_id()

    def boards_by(self, channel: Any) -> BoardsByLink | None:
        """Gives the keys of boards that come by this link; None where no boards are known, or none come."""
        if self.boards is None or scheme_of(channel.address) in LOCAL:
            return None
        return BoardsByLink(self)

    def key_of_board(self, board_id: bytes) -> bytes | None:
        """The key of the board with this node id; None of one that is not known (now)."""
        if self.boards is None:
            return None
        found = self.boards.find(board_id)
        trouble = "" if self.boards.trouble is None else str(self.boards.trouble)
        if trouble and trouble != self._trouble_with_boards:
            self.warn(f"{trouble}; until that is mended no board comes that was not known before")
        self._trouble_with_boards = trouble
        return found

    def board_names(self) -> dict[bytes, str]:
        """Names of the boards that are known, by node id."""
        return {} if self.boards is None else self.boards.names()

    def admission(self, channel: Any, open: bool, routers: bool) -> Admission | None:
        """Decides about a link that leaves the machine if there is trust; None for others. Args as of
        Admission.
        """
        if self.trust is None or scheme_of(channel.address) in LOCAL:
            return None
        return Admission(self, open, routers)

    def take(self) -> None:
        """The bus opens: no other of this machine may be the node of the key's file. Raises KeyFileError."""
        if self.bound and self.key is not None and self.key.path:
            from busway.keys import Hold

            self._hold = Hold(self.key.path)
        if self.permissions is not None:
            self.permissions.begin()

    def release(self) -> None:
        """Others may. Twice is once; also for a forked child, whose parent keeps it."""
        if self._hold is not None:
            self._hold.release()

    @property
    def is_ready(self) -> bool:
        """Whether `prepare` has been called for a link that leaves the machine."""
        return self._ready

    def prepare(self, url: str) -> None:
        """Before the first link that leaves the machine: what the environment says counts from now on. Raises
        KeyFileError, TrustFileError.
        """
        if self._ready or scheme_of(url) in LOCAL:
            return
        if self.key is None and self.ephemeral is None and os.environ.get("BUSWAY_KEY"):
            self.key = _key_of(None)
        self.read_names()
        self._version = 0 if self.trust is None else self.trust.version()
        self._ready = True

    def read_names(self) -> None:
        """Read the trust and the boards of the environment, which say what keys are called. Raises
        KeyFileError, TrustFileError.
        """
        if self.boards is None and os.environ.get("BUSWAY_BOARDS"):
            self.boards = _boards_of(os.environ["BUSWAY_BOARDS"])
        if self.trust is None and os.environ.get("BUSWAY_TRUST"):
            self.trust = _trust_of(None)

    def changed(self) -> bool:
        """Whether the trust says something else than at the last call; what is wrong with it is logged."""
        if self.trust is None or self.trust.version() == self._version:
            return False
        self._version = self.trust.version()
        if self.trust.trouble is not None:
            self.warn(f"{self.trust.trouble}; what it said before holds until that is mended")
        return True


def _key_of(given: object) -> Key | None:
    from busway.keys import key_of

    return key_of(given)


def _permissions(given: object, identity: Identity) -> Permissions:
    from busway.adapters.permissions import Permissions

    return Permissions(given, identity)


def _trust_of(given: object) -> Trust | None:
    from busway.trust import trust_of

    return trust_of(given)


def _boards_of(given: object) -> BoardKeys:
    from busway.board_keys import BoardKeys

    if isinstance(given, BoardKeys):
        return given
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"boards must be the path of a file or folder, not {type(given).__name__}")
    return BoardKeys(given)


def scheme_of(url: str) -> str:
    """The sort of link that a URL or address names."""
    return url.partition(":")[0]


def unbound_id() -> bytes:
    """A node id that is nobody's key's: random, its top bit clear (docs/protocol.md, section 3.2.6)."""
    first, *others = os.urandom(16)
    return bytes((first & ~codes.BOUND, *others))


def _nobody_hears(text: str) -> None:
    """Before there is a host."""


class BoardsByLink:
    """Gives the keys of boards by their node ids over one link, and remembers which."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._asked = b""

    def __call__(self, board_id: bytes) -> bytes | None:
        """The key of the board with this node id; None of one that is not known."""
        self._asked = board_id
        return self._identity.key_of_board(board_id)

    def holds(self) -> bool:
        """Whether the board that came, if one did, might still come."""
        return not self._asked or self._identity.key_of_board(self._asked) is not None


class Admission:
    """Decides who may come over one link, and remembers who did.

    Args: `open` whether it is a link of a listener that is open to all, and then `routers` whether to
    routers, too.
    """

    def __init__(self, identity: Identity, open: bool, routers: bool) -> None:
        self._identity = identity
        self._others = codes.ROLE_NONE if not open else codes.ROLE_ROUTER if routers else codes.ROLE_LEAF
        self._public = b""
        self._role = -1  # nobody has come yet
        self.name = ""  # of who came, in the trust
        self.refused = ""  # why somebody was not let in, for people at this side

    def __call__(self, handshake: Handshake | None) -> int:
        """The role in which the one may come who has shaken hands. Raises Refusal."""
        self._public = b"" if handshake is None else handshake.remote_key
        self._role = self._role_now()
        if self._role != codes.ROLE_NONE:
            return self._role
        raise Refusal(codes.UNTRUSTED, self._refuse())

    def _refuse(self) -> str:
        """Why, for the other side, who may not know where its key has to be entered."""
        trust = self._identity.trust
        if not self._public or trust is None:
            self.refused = "it has proved no key, and only keys that are trusted may come"
            return "only keys that are trusted may come, and none was proved"
        from busway.keys import public_text

        if ephemeral.is_ephemeral(self._public):
            self.refused = "its key is of one run, which nobody can trust: give its program one to keep"
            mend = "give its program one to keep (key=..., --key FILE) and run `busway pair` at both"
            return f"a key of one run is not trusted: {mend}"
        text = f"key {public_text(self._public)} is not trusted: run `busway pair` at both"
        self.refused = f"its {text}, or enter it in {trust.place}"
        return f"the {text}"

    def holds(self) -> bool:
        """Whether who came might still come, and in the same role."""
        return self._role < 0 or self._role == self._role_now()

    @property
    def trusted(self) -> Trusted | None:
        """The entry of who came; None of somebody who has none."""
        trust = self._identity.trust
        return None if trust is None or not self._public else trust.find(self._public)

    def _role_now(self) -> int:
        found = self.trusted
        if found is None:
            return self._others
        self.name = found.name
        return _ROLES[found.role]
