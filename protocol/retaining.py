"""The part of a node's face that publishes what stays: the last value of a name, for who subscribes later."""

from busway.protocol.errors import LocalError
from busway.protocol.exchange import Exchange
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, address_of
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.things import beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


class Retaining(Exchange):
    """A node that keeps last values."""

    def message(
        self,
        kind: int,
        endpoint: bytes,
        payload: object,
        format: int,
        type_id: bytes,
        node_id: bytes,
        now: int,
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> Frame:
        """A message that may be sent, as far as its caller says of it."""
        raise NotImplementedError

    def retain(
        self,
        endpoint: Address,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        *,
        wait: bool = True,
        patience_ms: int = 0,
        realm: int = codes.LOCALNET,
        priority: int = codes.NORMAL,
    ) -> int:
        """Publish, and keep it as the last value of its endpoint: whoever subscribes later, by name or
        pattern, as far as `realm`, gets it as well. Arguments and result as of `publish`. Raises FullError
        also where as many values are kept as may be (`retained_max`, `retained_size_max`).
        """
        out = self.message(codes.PUBLISH, endpoint, payload, format, type_id, b"", now)
        number = self.origin.retained.number(endpoint, payload)
        return self._publish_retained(out, number, wait, patience_ms, realm, priority, now)

    def clear(
        self,
        endpoint: Address,
        now: int,
        *,
        wait: bool = True,
        patience_ms: int = 0,
        realm: int = codes.LOCALNET,
        priority: int = codes.NORMAL,
    ) -> int:
        """Keep the last value of an endpoint no longer; those who have it are told, and their programs are
        not. Arguments and result as of `publish`; 0 if there was none.
        """
        retained = self.origin.retained
        if endpoint not in retained.values:
            return 0
        out = self.message(codes.PUBLISH, endpoint, b"", codes.RAW, b"", b"", now)
        return self._publish_retained(out, retained.clearing(), wait, patience_ms, realm, priority, now)

    def _publish_retained(
        self, out: Frame, number: int, wait: bool, patience_ms: int, realm: int, priority: int, now: int
    ) -> int:
        if not -1 <= patience_ms <= 0x7FFFFFFF:
            raise LocalError("patience_ms must be -1 to 2147483647 ms, not %r" % patience_ms)
        if not codes.PROCESS <= realm <= codes.GLOBAL:
            raise LocalError("realm must be PROCESS, USERSPACE, LOCALNET or GLOBAL (0 to 3), not %r" % realm)
        uuid = out.endpoint
        out.options = out.options or Options()
        out.options.reach = realm if realm != codes.LOCALNET else 0
        out.options.retain = number
        if priority != codes.NORMAL:
            rank(out, priority)
        if not self.me.leaf:  # else its router knows them
            self.lookups.ask_for_subscribers(uuid, now)  # who comes later has to be known, whoever is near
        token = self.origin.publisher.publish(out, realm, wait, patience_ms, now)
        self.origin.retained.published(uuid, out, self.name_of(uuid), realm, now)
        return token


def rank(out: Frame, priority: int) -> None:
    """Give a message a priority that is not the usual one."""
    if not codes.LOW <= priority <= codes.URGENT:
        raise LocalError("priority must be LOW, NORMAL, HIGH or URGENT (0 to 3), not %r" % priority)
    out.endpoint = address_of(out.endpoint, priority)
    out.mark(priority)


def bring(out: Frame, things: "Sequence[Any]", regions: int) -> None:
    """Let things go beside a message, the first of which are regions."""
    given = beside(out.payload, things, regions)
    if given is not None:
        out.options = out.options or Options()
        out.options.things = given
