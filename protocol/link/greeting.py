"""The words of a link for its node in HELLO, and who may be at its other end, by what that one says.

Knows no state of a link, and nothing of what comes after HELLO.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkHost
from busway.protocol.link.link import Link
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.hello import (
    ADDRESSING,
    FLAG_DIALLED,
    FLAG_LEAF,
    FLAG_LOOKUPS,
    Hello,
    Limits,
    check_board,
    check_bound,
    check_identity,
    check_role,
    check_version,
    write_hello,
)
from busway.protocol.wire.runs import FEATURE
from busway.protocol.wire.things import ASIDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.secure.channel import Handshake


def hello_of(host: LinkHost, link: Link, limits: Limits) -> bytes:
    """The body of HELLO."""
    identity = host.identity
    flags = link.realm << 1
    flags |= FLAG_LEAF if identity.leaf else 0
    flags |= FLAG_DIALLED if link.dialled else 0
    flags |= FLAG_LOOKUPS if link.lookups else 0
    return write_hello(
        flags,
        identity.key,
        _features(link),
        limits.values(),
        link.keepalive_ms,
        host.bus,
        identity.label,
        link.via,
    )


def _features(link: Link) -> int:
    features = 0 if link.security is None else link.security.features
    features |= FEATURE if link.runs else 0
    features |= ASIDE if link.aside is not None else 0
    return features | (ADDRESSING if link.addressing else 0)


def agree_features(link: Link, theirs: Hello) -> "tuple[bool, bool]":
    """Whether both sides take RUN, and whether both know labels and what came with them."""
    features = theirs.features
    return link.runs and features & FEATURE != 0, link.addressing and features & ADDRESSING != 0


def agree_aside(link: Link, theirs: Hello) -> bool:
    """Whether things may go beside the bytes: both sides take them, and are programs of one machine."""
    both = link.aside is not None and theirs.features & ASIDE != 0
    return both and theirs.realm == codes.USERSPACE


def check_who(host: LinkHost, link: Link, realm: int, handshake: "Handshake | None", theirs: Hello) -> None:
    """Whether the other side may be who it says, on a link of that realm. Raises Refusal."""
    check_identity(host.bus, host.identity.key, theirs.bus, theirs.key)
    if link.sort != "packet":
        check_role(link.dialled, theirs.dialled)
    node_id, any_id = theirs.key[: codes.ID_SIZE], link.any_id or host.identity.leaf
    if handshake is not None and handshake.pattern == codes.PSK_AES and handshake.remote_id:
        check_board(node_id, handshake.remote_id)
    elif max(realm, theirs.realm) > codes.USERSPACE and not any_id:
        check_bound(node_id, b"" if handshake is None else handshake.remote_id)


def check_leaf(leaf: bool) -> None:
    """Raise Refusal for a router where only leaves are let in."""
    if not leaf:
        how = "join with leaf=True, or have routers let in (routers=True, trust, policy)"
        raise Refusal(codes.NOT_A_ROUTER, "only leaves may come: " + how)


def refuse_handshake(reader: Reader) -> None:
    """The other side would protect what is plain here. Raises Refusal."""
    check_version(reader)
    text = "the other side has a token or a key and protects this link, this side has none: give it the same"
    raise Refusal(codes.TOKEN, text)
