"""Links that carry more than bytes, as an adapter sees them: what of that a channel can do, and how things
get from it to the core's connection and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from busway.protocol import Connection

if TYPE_CHECKING:
    from busway.adapters.opening import Loop
    from busway.adapters.sharing import Host, LinkSharing

_REST_S = 0.01  # twice as long each time, up to 16 times that


def aside_of(host: Host, channel: Any) -> LinkSharing | None:
    """The abilities of a link over a driver's channel beside its bytes; None: it has none."""
    if not getattr(channel, "hands_over", False):
        return None
    from busway.adapters.sharing import sharing_over_link
    from busway.drivers.descriptors import open_max

    pool = host.node.receiving.pool
    pool.most = min(pool.most, open_max() // 2)  # in receivers' queues: the program needs some for itself
    return sharing_over_link(host, channel)


def join(channel: Any, connection: Connection, now_ms: Callable[[], int]) -> None:
    """Let pass what goes beside the bytes of a channel that carries it, if the connection may take any."""
    beside = connection.beside
    if beside is None:
        return

    def came(things: Sequence[Any]) -> None:
        import busway.attached  # noqa: F401 - opens them

        connection.receive_things(list(things), now_ms())

    channel.carry(came, beside.leave)  # what `connection.things_to_send` calls, for each write


def ask_later(channel: Any, loop: Loop, callback: Callable[[], object]) -> bool:
    """Whether a full channel does not say when it takes more; then `callback` is called after a while."""
    resting: int = getattr(channel, "resting", 0)
    if not resting:
        return False
    if channel.fileno() >= 0:
        loop.remove_writer(channel.fileno())
    loop.call_later(_REST_S * (1 << min(resting - 1, 4)), callback)
    return True
