"""Endpoints of the bus at the ends of routes: what comes to them is emitted, what is routed to them is sent.

Uses nothing but what any program uses: `busway.Bus`. Each endpoint has a thread for each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from busway.nano import layouts
from busway.nano.handlers import Half, Method, name_of

if TYPE_CHECKING:
    from busway.adapters.threads import Bus
    from busway.adapters.threads_ends import Receiver
    from busway.adapters.typed import Realm

_WAIT_S = 0.2
_KINDS = ("anycast", "unicast", "broadcast")
_REALMS = ("process", "userspace", "localnet", "global")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of the bus, as the source or a receiver in routes.

    As a source it is registered there; what is taken from it and fits the type that the route names goes into
    the application. As a receiver it is sent to. A declared message type travels as that, `bytes` and types
    that lie in memory as bytes, others as plain values.

    Args:
        name: the endpoint's name.
        kind: "anycast" or "unicast": messages are sent to one that has it; "broadcast": they are published.
        realm: how far it, or what is published, reaches.
        ttl: seconds that what is sent waits for somebody who has the name.
        confirm: whether sending waits until the receiver has taken it.
    """

    name: str
    kind: Literal["anycast", "unicast", "broadcast"] = "anycast"
    realm: Realm = "localnet"
    ttl: float = 0.0
    confirm: bool = False

    def __rshift__(self, message: Any) -> Half:
        return Half(self, message)


class Sender:
    """A handler that sends all it is given to an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.bus: Bus | None = None

    def method(self) -> Method:
        """The function to call with each message, of any type."""
        return Method(self._send, False)

    def _send(self, message: Any) -> None:
        assert self.bus is not None
        payload, to = _payload_of(message), self._endpoint
        if to.kind == "broadcast":
            self.bus.publish(to.name, payload, realm=to.realm)
        else:
            self.bus.send(to.name, payload, confirm=to.confirm, ttl=to.ttl)


def _payload_of(message: Any) -> Any:
    from busway.messages import declaration_of

    kind = type(message)
    if kind is bytes or declaration_of(kind) is not None:
        return message
    if isinstance(message, layouts.Layout):
        return bytes(message.data)
    if isinstance(message, layouts.Array):
        return message.array.tobytes()
    if layouts.lies_in_memory(kind):
        return bytes(message)
    import msgspec

    from busway.convert import CBOR_NATIVE

    return msgspec.to_builtins(message, builtin_types=CBOR_NATIVE)


class Taker:
    """A handler that emits what comes to an endpoint."""

    def __init__(self, endpoint: Endpoint, kinds: tuple[Any, ...]) -> None:
        self._endpoint = endpoint
        self._kinds = kinds
        self._receiver: Receiver[Any] | None = None
        self._left: list[Any] = []  # taken, and not emitted yet
        self.bus: Bus | None = None

    def on_start(self) -> None:
        """Registers it."""
        from busway.messages import declaration_of

        assert self.bus is not None
        declared = tuple(kind for kind in self._kinds if declaration_of(kind) is not None)
        types: Any = (*declared, *(kind for kind in self._kinds if kind is bytes)) if declared else None
        to = self._endpoint
        self._receiver = self.bus.register(to.name, to.kind, to.realm, types=types)

    def on_loop(self, out: Any) -> float:
        """Waits a moment for messages."""
        assert self._receiver is not None
        if not self._left:
            try:
                self._left += self._receiver.receive_many(timeout=_WAIT_S)
            except TimeoutError:
                return 0.0
        for count, message in enumerate(self._left):
            try:
                out(self._fitting(message))
            except Exception:
                if count:  # those before it leave first; it is the first one of the next call
                    del self._left[:count]
                    return 0.0
                del self._left[0]
                raise
        self._left.clear()
        return 0.0

    def _fitting(self, message: Any) -> Any:
        if message.error is not None:
            raise message.error
        payload = message.payload
        if type(payload) in self._kinds:
            return payload
        kind = self._kinds[0]
        if layouts.lies_in_memory(kind):
            if not isinstance(payload, bytes):
                raise TypeError(f"{self._endpoint.name} takes the bytes of {name_of(kind)}")
            if issubclass(kind, (layouts.Layout, layouts.Array)):
                return kind.at(payload)
            return kind.from_buffer_copy(payload)
        import msgspec

        from busway.convert import CBOR_NATIVE

        return msgspec.convert(payload, kind, builtin_types=CBOR_NATIVE)

    def on_stop(self) -> None:
        """Deregisters it."""
        if self._receiver is not None:
            self._receiver.close()


def complaint(endpoint: Endpoint, *, source: bool) -> str:
    """Why nothing can be taken from, or sent to, such an endpoint; "" if it can."""
    from busway.names import check_name

    name, wrong = endpoint.name, ""
    if endpoint.kind not in _KINDS:
        wrong = f"kind must be one of {', '.join(_KINDS)}, not {endpoint.kind!r}"
    elif endpoint.realm not in _REALMS:
        wrong = f"realm must be one of {', '.join(_REALMS)}, not {endpoint.realm!r}"
    elif "*" in name and not (source and endpoint.kind == "broadcast"):
        wrong = 'it is a pattern, and may only be a source, with kind="broadcast"'
    else:
        try:
            check_name(name)
        except ValueError as error:
            wrong = str(error)
    return wrong and f"Endpoint({name!r}): {wrong}"


def objection(endpoint: Endpoint, kinds: tuple[Any, ...]) -> str:
    """Why these types cannot be told apart at an endpoint; "" if they can."""
    from busway.messages import declaration_of

    plain = [kind for kind in kinds if kind is not bytes and declaration_of(kind) is None]
    if len(kinds) > 1 and plain:
        return (
            f"Endpoint({endpoint.name!r}) is the source of {len(kinds)} types; declare {name_of(plain[0])} "
            "with @busway.message, so that they can be told apart"
        )
    return ""
