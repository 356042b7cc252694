"""The settings of a link, before its first byte, and what one over packets has beside its stream. No state,
no bytes.
"""

from busway.protocol.errors import LocalError
from busway.protocol.wire import codes
from busway.protocol.wire.fields import clip_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Link:
    """All that a node has to know of a link before the first byte.

    Args: `realm` as this side is configured (USERSPACE, LOCALNET, GLOBAL); `dialled` whether this side opened
    it; `via` the dialler's name for the address, at most 64 bytes, the same for both ends ("" at the side
    that was dialled, except "ipc"); `cost` of the link in the route metric, 1 to 16382; `keepalive_ms`, 0 to
    rely on the end of the connection; `security` what protects the link (secure/security.py, or of a leaf
    leaf/keyed.py), None: nothing; `any_id` whether the other side may have the id of a key unproved, as it
    may within USERSPACE: the system says who it is, or nobody can prove anything to this side; `address` for
    people; `medium` what it is ("ipc", "tcp"), at most 64 bytes: a node with links of two media joins them;
    `lookups` for a slow link: no directory is pushed over it; `sort` "stream" (ordered, reliable bytes) or
    "packet" (may lose, damage, double and reorder; then `keepalive_ms` 0 means 5000), and of that `mtu` bytes
    of a packet, 20 to 65535, or 0 for bytes without boundaries as of a serial line, and `window` packets
    under way, 1 to 31; `runs` whether messages that wait together may travel in one frame (RUN), if the other
    side takes that; `addressing` whether labels, priorities and what else older nodes do not know may be
    told, if the other side knows it; `fabric` for one to a gateway beyond the fabric, which is told little
    (routing/fabric.py): such a link has `lookups`, too; `aside` what the link can do beside its bytes
    (link/aside.py), None: nothing. That counts only for a stream of realm USERSPACE without `security`, if
    the other side has one, too (`Connection.aside_on`). Raises LocalError.
    """

    def __init__(
        self,
        realm: int = codes.USERSPACE,
        dialled: bool = False,
        *,
        via: str = "",
        cost: int = 1,
        keepalive_ms: int = 0,
        security: "Any" = None,
        address: str = "",
        medium: str = "",
        lookups: bool = False,
        sort: str = "stream",
        mtu: int = 0,
        window: int = 31,
        any_id: bool = False,
        runs: bool = True,
        addressing: bool = True,
        fabric: bool = False,
        aside: "Any" = None,
    ) -> None:
        if not codes.USERSPACE <= realm <= codes.GLOBAL:
            raise LocalError("a link's realm must be USERSPACE, LOCALNET or GLOBAL (1, 2, 3), not %r" % realm)
        if not 1 <= cost <= 16382:
            raise LocalError("a link's cost must be 1 to 16382, not %r" % cost)
        if not 0 <= keepalive_ms <= 86400000:
            raise LocalError("keepalive_ms must be 0 to 86400000, not %r" % keepalive_ms)
        if sort not in ("stream", "packet"):
            raise LocalError('sort must be "stream" or "packet", not %r' % sort)
        if not 1 <= window <= 31:
            raise LocalError("window must be 1 to 31 packets, not %r" % window)
        if mtu and (sort == "stream" or not 20 <= mtu <= 65535):
            raise LocalError("mtu must be 0, or of a packet link 20 to 65535 bytes, not %r" % mtu)
        self.sort = sort
        self.mtu = mtu
        self.window = window
        self.realm = realm
        self.dialled = dialled
        self.via = clip_text(via, codes.TEXT_SIZE_MAX)
        self.cost = cost
        self.keepalive_ms = keepalive_ms or (5000 if sort == "packet" else 0)
        self.security = security
        self.address = address
        self.medium = clip_text(medium, codes.TEXT_SIZE_MAX)
        self.lookups = lookups or fabric
        self.any_id = any_id
        self.runs = runs
        self.addressing = addressing
        self.fabric = fabric
        beside = sort == "stream" and realm == codes.USERSPACE and security is None
        self.aside = aside if beside else None


class Unrepeated:
    """The packets that carry what may be lost, beside a packet link's stream."""

    __slots__ = ()

    pulled: int  # bytes of the stream that have been taken, in all
    acked: int  # ... and of these those that have arrived for certain

    def body_max(self) -> int:
        """Bytes that one takes."""
        raise NotImplementedError

    def offer(self, frame: bytes) -> None:
        """Send a frame's body in one of its own, or drop it."""
        raise NotImplementedError
