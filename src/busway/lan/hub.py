"""What a bus has to do with finding others, in one place: its records, who joins the local network, and who
looks for boards. The host knows of it only this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from busway.lan.found import Finds

if TYPE_CHECKING:
    from busway.lan.joining import Joining


class Hub:
    """Args: `host` the bus's."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.finds = Finds()
        self.joining: Joining | None = None
        self.offering: Any = None  # the service that tells other programs of the user

    def join(self, token: str | None) -> None:
        """Join the local network. Raises OSError, KeyFileError, TrustFileError, ValueError."""
        from busway.lan.joining import Joining, prepare

        self.host.identity.prepare("tcp://")
        prepared = prepare(self.host.node.bus)
        try:
            self.joining = self.host.call(Joining, self.host, self.finds, token, prepared)
        except BaseException:
            for each in prepared.sockets:
                each.close()
            raise

    def rows(self) -> list[dict[str, Any]]:
        """All that was found, as other programs are told."""
        found: list[dict[str, Any]] = self.host.look(self.finds.rows)
        return found

    # What the host calls

    def link_changed(self) -> None:
        """A link has opened or ended."""
        if self.joining is not None:
            self.joining.look_soon()

    def stop(self) -> None:
        """Nobody is looked for any more."""
        if self.joining is not None:
            self.joining.stop()

    def release(self) -> None:
        """The bus is closed."""
        self.finds.end()

    def abandon(self) -> None:
        """In a forked child: everything is the parent's."""
        if self.joining is not None:
            self.joining.abandon()


def hub_of(bus: Any) -> Hub:
    """The hub of a bus: from the first time on it tells other programs of the user what was found."""
    host = bus._host
    if host.lan is None:
        host.lan = Hub(host)
    hub: Hub = host.lan
    if hub.offering is None:
        from busway.lan.found import FOUND_NAME

        answer: Callable[[Any], object] = lambda request: hub.rows()  # noqa: E731
        hub.offering = bus.serve(FOUND_NAME, answer, realm="userspace")
    return hub
