"""What a node has to know of a link before its first byte. No state, no bytes."""

from busway.protocol import codes
from busway.protocol.errors import LocalError
from busway.protocol.wire import clip_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Link:
    """What a node has to know of a link before the first byte.

    Args: `realm` as this side is configured (USERSPACE, LOCALNET, GLOBAL); `dialled` whether this side opened
    it; `via`
    the dialler's name for the address, at most 64 bytes, the same for both ends ("" at the side that was
    dialled, except "ipc");
    `cost` of the link in the route metric, 1 to 16382; `keepalive_ms`, 0 to rely on the end of the
    connection; `prove`
    computes HMAC-SHA-256 of its argument with the link's token, None if the link needs no token; `address`
    for people; `medium` what it is ("ipc", "tcp"), at most 64 bytes: a node with links of two media joins
    them; `lookups` for a slow link: no directory is pushed over it. Raises LocalError.
    """

    __slots__ = (
        "address",
        "cost",
        "dialled",
        "keepalive_ms",
        "lookups",
        "medium",
        "prove",
        "realm",
        "via",
    )

    def __init__(
        self,
        realm: int = codes.USERSPACE,
        dialled: bool = False,
        *,
        via: str = "",
        cost: int = 1,
        keepalive_ms: int = 0,
        prove: "Callable[[bytes], bytes] | None" = None,
        address: str = "",
        medium: str = "",
        lookups: bool = False,
    ) -> None:
        if not codes.USERSPACE <= realm <= codes.GLOBAL:
            raise LocalError("a link's realm must be USERSPACE, LOCALNET or GLOBAL (1, 2, 3), not %r" % realm)
        if not 1 <= cost <= 16382:
            raise LocalError("a link's cost must be 1 to 16382, not %r" % cost)
        if not 0 <= keepalive_ms <= 86400000:
            raise LocalError("keepalive_ms must be 0 to 86400000, not %r" % keepalive_ms)
        self.realm = realm
        self.dialled = dialled
        self.via = clip_text(via, codes.TEXT_SIZE_MAX)
        self.cost = cost
        self.keepalive_ms = keepalive_ms
        self.prove = prove
        self.address = address
        self.medium = clip_text(medium, codes.TEXT_SIZE_MAX)
        self.lookups = lookups
