"""The meaning of a policy for the nodes and links of a bus: who is who there, and what that one may.

When it is looked at again is the host's. Imported by programs that have a policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from busway.adapters.audit import AUDIT_NAME
from busway.adapters.making import OFFERS_NAME
from busway.errors import BusError
from busway.keys import id_of_public
from busway.names import endpoint_id
from busway.policy import BEYOND, FAMILIES, Policy, Rights, Who, policy_of, text_of
from busway.protocol import Connection, Guard, Node, codes
from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.wire.patterns import is_proper

if TYPE_CHECKING:
    from busway.adapters.identity import Identity

# How nodes work together, and whom they tell of it: the state and the audit trail within userspace only; what
# routers look up, and the public keys with which messages are sealed.
ALWAYS_ALLOWED = (codes.INTROSPECTION, codes.LOOKUP, endpoint_id(AUDIT_NAME), endpoint_id(OFFERS_NAME))
_NODES_MAX = codes.ROUTES_MAX  # of one link, whose rights are remembered
_ROLES = {"leaf": codes.ROLE_LEAF, "router": codes.ROLE_ROUTER}
_NO_TRUST = "this program has no trust file that says whose key that is: give it trust=, or BUSWAY_TRUST"
_NOT_IN = "no board has that name, and {} has no such entry: mend the name, or `busway pair` enters it"


class Neighbour(Protocol):
    """Somebody at the other end of a link (guarded.py)."""

    channel: Any
    connection: Connection
    uid: int

    @property
    def listeners(self) -> tuple[str, ...]: ...


class Permissions:
    """Args: `given` as `policy=` of a bus; `identity` knows the names of keys and boards. Raises TypeError,
    PolicyFileError.
    """

    def __init__(self, given: object, identity: Identity) -> None:
        policy = policy_of(given)
        assert policy is not None
        self.policy: Policy = policy
        self.guard = Guard(self.may, self.quota)
        self.version = 0  # another number when somebody may have other rights
        self._identity = identity
        self._seen = self._look()
        self._names: dict[bytes, set[str]] | None = None  # of trusted keys, by the node id that follows
        self._trust: object = None  # they are of this one
        self._known: dict[LinkFace, dict[bytes, Rights]] = {}
        self._told: set[str] = set()  # of whom nobody knows

    def begin(self) -> None:
        """The bus opens: what its policy says of somebody whom nobody knows is logged."""
        self._warn()

    # The core's guard

    def may(self, link: LinkFace, node_id: bytes, what: int, endpoint: bytes, name: str, realm: int) -> bool:
        """As of the core's Guard."""
        if endpoint in ALWAYS_ALLOWED:
            return True
        rights = self.rights(link, node_id)
        if rights.unbounded:
            return True
        text = text_of(endpoint, name) if endpoint else name
        allow = rights.allow_some if what in FAMILIES and is_proper(text) else rights.allow
        return allow(what, text, realm)

    def quota(self, link: LinkFace, which: int) -> int:
        """As of the core's Guard."""
        return self.most(link, codes.QUOTA_NAMES[which])

    # What it says of whom

    def most(self, link: LinkFace, quota: str) -> int:
        """How much of something the neighbour at a link may have; -1: that is not said."""
        peer = link.peer
        return -1 if peer is None else self.rights(link, peer.node_id).quota.get(quota, -1)

    def rights(self, link: LinkFace, node_id: bytes) -> Rights:
        """The rights of a node: the neighbour at this link, or one behind it."""
        known = self._known.get(link)
        if known is None:
            known = {}
            if link.state != codes.CLOSED:  # else nobody would forget it
                self._known[link] = known
        beyond = is_beyond(link, node_id)
        key = node_id + b"\1" if beyond else node_id
        found = known.get(key)
        if found is None:
            if len(known) >= _NODES_MAX:
                known.clear()
            found = known[key] = self.policy.ruleset.rights(self._who_at(link, node_id, beyond))
        return found

    def why(self, link: LinkFace, node_id: bytes, what: int, endpoint: bytes, name: str, realm: int) -> str:
        """The rule that decides, for people; as of `may`."""
        who = self._who_at(link, node_id, is_beyond(link, node_id))
        return self.policy.ruleset.explain(who, what, text_of(endpoint, name), realm).why

    def _who_at(self, link: LinkFace, node_id: bytes, beyond: bool) -> Who:
        """The neighbour at a link, or one behind it, and whether that is `beyond` the machine."""
        is_neighbour = link.peer is None or link.peer.node_id == node_id
        who = self._who(link.tag, node_id, is_neighbour)
        return who._replace(link=BEYOND, uid=-1) if beyond else who

    def _who(self, neighbour: Any, node_id: bytes, is_neighbour: bool) -> Who:
        """Somebody, as the policy looks at them. Of one behind a neighbour that one's word is taken."""
        if neighbour is None:  # a link that was given up
            return Who(frozenset({node_id}))
        ids = {node_id}
        if is_neighbour and (key := proved(neighbour)):
            ids.add(key)
        names: set[str] = set()
        for each in ids:
            names |= self._names_of(each)
        link = neighbour.channel.address.partition(":")[0]
        return Who(frozenset(ids), frozenset(names), link, neighbour.uid, neighbour.listeners)

    def _names_of(self, node_id: bytes) -> set[str]:
        boards = self._identity.boards
        board = "" if boards is None else boards.name_of(node_id)
        return self._all_names().get(node_id, set()) | ({board} if board else set())

    def _all_names(self) -> dict[bytes, set[str]]:
        """All names of the trust."""
        trust = self._identity.trust
        if self._names is None or self._trust is not trust:  # the environment's may be read later
            self._names = {}
            self._trust = trust
            for each in () if trust is None else trust.entries:
                self._names.setdefault(id_of_public(each.public), set()).add(each.name)
        return self._names

    def accept(self, neighbour: Neighbour, node_id: bytes, via: str, others: Iterable[Neighbour]) -> int:
        """In which role somebody may come, who would be this node; `others` are at the other links there are.
        Raises Refusal for one link too many.
        """
        who = self._who(neighbour, node_id, True)
        rights = self.policy.ruleset.rights(who)
        most = rights.quota.get("links", -1)
        if most >= 0 and not neighbour.connection.link.dialled:
            key = proved(neighbour)
            key = key if self._is_known(key, rights) else b""
            held = [each for each in others if self._is_same(key, rights, each, node_id, via)]
            if len(held) >= most:
                raise Refusal(codes.MESH_FULL, _too_many(most))
        return _ROLES[rights.role]

    def _is_same(self, key: bytes, rights: Rights, other: Neighbour, node_id: bytes, via: str) -> bool:
        """Whether a link is another one of who comes. One whose key is known is who has that key; all others
        for whom the same rules are count as one: they have as many keys as they like.
        """
        connection = other.connection
        if connection.state != codes.OPEN or connection.peer is None:
            return False
        if connection.peer.node_id == node_id and connection.via == via:
            return False  # it takes its place
        theirs = proved(other)
        if key:
            return theirs == key
        found = self.rights(connection, connection.peer.node_id)
        return (found is rights or found.rules == rights.rules) and not self._is_known(theirs, found)

    def _is_known(self, key: bytes, rights: Rights) -> bool:
        """Whether the node id of a key is in the trust file or among the boards, or a rule names it."""
        named = any(rule.whom.members for rule in rights.rules)
        return bool(key) and (named or bool(self._names_of(key)))

    # Time that passes

    def changed(self) -> bool:
        """Whether somebody may have other rights than at the last call; what is wrong with it is logged."""
        seen = self._look()
        if seen == self._seen:
            return False
        if seen[0] != self._seen[0] and self.policy.trouble is not None:
            self._identity.warn(f"{self.policy.trouble}; what it said before holds until that is mended")
        self._seen = seen
        self._names = None
        self._known.clear()
        self.version += 1
        self._warn()
        return True

    def _warn(self) -> None:
        """Once of each: without it rules are silently for nobody."""
        found = self.strangers()
        for name, text in found.items():
            if name not in self._told:
                self._identity.warn(text)
        self._told = set(found)

    def strangers(self) -> dict[str, str]:
        """A sentence on each name in the policy that neither the trust nor the boards have, by the name."""
        named = self.policy.ruleset.named
        texts: dict[str, str] = {}
        if not named:
            return texts
        try:
            self._identity.read_names()
        except BusError as error:  # whoever comes over a network hears it, too
            texts[""] = str(error)
        known = {name for names in self._all_names().values() for name in names}
        known |= set(self._identity.board_names().values())
        trust = self._identity.trust
        why = _NO_TRUST if trust is None else _NOT_IN.format(trust.place)
        for name, line in named.items():
            if name not in known:
                where = f"{self.policy.place}:{line}" if line else self.policy.place
                texts[name] = f"{where}: what the policy says of {name!r} is for nobody: {why}"
        return texts

    def _look(self) -> tuple[int, int]:
        trust = self._identity.trust
        return self.policy.version(), -1 if trust is None else trust.version()

    def ended(self, link: LinkFace) -> None:
        """A link is gone."""
        self._known.pop(link, None)


def _too_many(most: int) -> str:
    if most == 0:
        return "the policy there grants no link"
    return f"the policy there grants {most} link{'s' * (most != 1)}, and so many are open"


def proved(neighbour: Neighbour) -> bytes:
    """The node id that follows from the key that somebody has proved, of a node or a board; else b""."""
    channel = neighbour.connection.channel
    handshake = None if channel is None else channel.handshake
    return handshake.remote_id if handshake is not None and handshake.finished else b""


def is_beyond(link: LinkFace, node_id: bytes) -> bool:
    """Whether somebody comes by a link within this machine, and from beyond it: through a router. What a node
    has sent may come when the way to it is lost already: nobody knows then from where.
    """
    if link.realm > codes.USERSPACE or link.peer is None or link.peer.node_id == node_id:
        return False
    peer = cast(Node, link.host).routes.peers.get(node_id)
    return peer is None or peer.metric >> 14 > codes.USERSPACE
