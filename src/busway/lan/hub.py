"""All that a bus has to do with finding others, in one place: its records, what joins the local network, and
what tells other programs of the user. The host knows of it only this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from busway.lan.found import FOUND_NAME, Finds

if TYPE_CHECKING:
    from busway.lan.joining import Joining


JOINS_NOTHING: Final = ""  # which is no token


class Hub:
    """Args: `host` the bus's; `token` that of all who join the local network, None where keys decide, and
    JOINS_NOTHING for a bus that does not.
    """

    def __init__(self, host: Any, token: str | None) -> None:
        self.host = host
        self.finds = Finds()
        self.joining: Joining | None = None
        self._token = token
        self._offering: Any = None

    def offer(self, bus: Any) -> None:
        """Tell other programs of the user what was found, from now on."""
        if self._offering is None:
            self._offering = bus.serve(FOUND_NAME, self._answer, realm="userspace")

    def _answer(self, request: Any) -> object:
        return self.host.look(self.finds.rows)

    def begin(self) -> None:
        """The bus is open. Raises OSError, KeyFileError, TrustFileError, ValueError."""
        if self._token == JOINS_NOTHING:
            return
        from busway.lan.joining import Joining, prepare

        self.host.identity.prepare("tcp://")
        prepared = prepare(self.host.node.bus)
        try:
            self.joining = self.host.call(Joining, self.host, self.finds, self._token, prepared)
        except BaseException:
            for each in prepared.sockets:
                each.close()
            raise

    # Called by the host

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
    """The hub of a bus, which has one from the first time on."""
    host = bus._host
    if host.lan is None:
        host.lan = Hub(host, JOINS_NOTHING)
    hub: Hub = host.lan
    hub.offer(bus)
    return hub
