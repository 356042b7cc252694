"""Links that carry more than bytes, as an adapter sees them: what of that a channel can do, and how things
get from it to the core's connection and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from busway.protocol import Connection, errors
from busway.protocol.link.aside import Aside

if TYPE_CHECKING:
    from busway.adapters.opening import Loop

_REST_S = 0.01


class FilesOnly(Aside):
    """A link that carries open files and regions; payloads go as bytes."""

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        return None

    def take(self, description: bytes, thing: Any) -> Any:
        raise errors.LocalError(
            "a payload in shared memory came, and none is taken here (shared_memory=False)"
        )


def aside_of(channel: Any) -> Aside | None:
    """The things that a driver's channel can carry beside its bytes; None: none."""
    return FilesOnly() if getattr(channel, "hands_over", False) else None


def join(channel: Any, connection: Connection, now_ms: Callable[[], int]) -> None:
    """Let pass what goes beside the bytes of a channel that carries it, if the connection may take any."""
    if not connection.takes_things:
        return

    def came(things: Sequence[Any]) -> None:
        import busway.attached  # noqa: F401 - opens them

        connection.receive_things(list(things), now_ms())

    channel.carry(came, connection.things_to_send)


def ask_later(channel: Any, loop: Loop, callback: Callable[[], object]) -> bool:
    """Whether a full channel does not say when it takes more; then `callback` is called after a while."""
    if not getattr(channel, "resting", False):
        return False
    if channel.fileno() >= 0:
        loop.remove_writer(channel.fileno())
    loop.call_later(_REST_S, callback)
    return True
