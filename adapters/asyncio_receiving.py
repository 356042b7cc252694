"""The part of AsyncBus that receives and serves, with what type checkers know of it.

Knows nothing of links, and of sending only who answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack, overload

from busway.adapters import facade
from busway.adapters.asyncio_ends import Receiver, Service
from busway.adapters.asyncio_host import Host
from busway.adapters.checks import check_handler, check_served, check_whole
from busway.adapters.typed import (
    F,
    Handler,
    Kind,
    Name,
    Policy,
    R,
    Realm,
    RegisterOptions,
    Request,
    ServeOptions,
    SubscribeOptions,
    T,
    Target,
    U,
    V,
    W,
)
from busway.protocol import Node
from busway.protocol import Receiver as CoreReceiver


class Receiving:
    """Registers endpoints."""

    node: Node
    _host: Host

    @overload
    def register(
        self,
        endpoint: type[T],
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: None = None,
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U], type[V]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U | V]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U], type[V], type[W]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U | V | W]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type, ...] | None = None,
        **options: Unpack[RegisterOptions],
    ) -> Receiver[Any]: ...

    def register(
        self,
        endpoint: Target,
        kind: Kind = "unicast",
        realm: Realm = "localnet",
        *,
        types: tuple[type, ...] | None = None,
        queue: int = 4096,
        policy: Policy | None = None,
        cost: int = 0,
    ) -> Receiver[Any]:
        """Receive what is sent to `endpoint`: a name, a UUID, or a message class.

        Args:
            kind: "unicast" (one registrant), "anycast" (many, the cheapest gets it), "broadcast" (many, all
                get it).
            realm: who reaches it: "process", "userspace", "localnet", "global".
            types: message classes to accept; others are skipped and counted. By default anything.
            queue: messages that may wait; beyond it `policy` "refuse", "drop_oldest" (broadcast's default) or
                "drop_newest". "latest", for broadcast: of each origin only the newest waits.
            cost: 0 to 16383, prefers the cheapest of several anycast receivers.

        It answers no requests, `serve` does: who sends a request here hears so at once.

        Raises EndpointTaken, ValueError.
        """
        accepted = facade.types_of(endpoint, types)
        core = self._register(endpoint, kind, realm, queue, policy, cost)
        return Receiver(self, self._host, core, accepted)

    def _register(self, *words: Any) -> CoreReceiver:
        self._host.check()
        return facade.register(self.node, *words)

    @overload
    def subscribe(
        self, endpoint: type[T], *, types: None = None, **options: Unpack[SubscribeOptions]
    ) -> Receiver[T]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type[T]], **options: Unpack[SubscribeOptions]
    ) -> Receiver[T]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type[T], type[U]], **options: Unpack[SubscribeOptions]
    ) -> Receiver[T | U]: ...

    @overload
    def subscribe(
        self,
        endpoint: Target,
        *,
        types: tuple[type[T], type[U], type[V]],
        **options: Unpack[SubscribeOptions],
    ) -> Receiver[T | U | V]: ...

    @overload
    def subscribe(
        self,
        endpoint: Target,
        *,
        types: tuple[type[T], type[U], type[V], type[W]],
        **options: Unpack[SubscribeOptions],
    ) -> Receiver[T | U | V | W]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type, ...] | None = None, **options: Unpack[SubscribeOptions]
    ) -> Receiver[Any]: ...

    def subscribe(
        self,
        endpoint: Target,
        *,
        realm: Realm = "localnet",
        types: tuple[type, ...] | None = None,
        queue: int = 4096,
        policy: Policy | None = None,
    ) -> Receiver[Any]:
        """Receive a copy of everything published to `endpoint`. Arguments and errors as `register`."""
        return self.register(endpoint, "broadcast", realm, types=types, queue=queue, policy=policy)

    @overload
    def serve(
        self,
        endpoint: type[T],
        handler: Callable[[Request[T]], Any],
        *,
        types: None = None,
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: type[T],
        handler: None = None,
        *,
        types: None = None,
        **options: Unpack[ServeOptions],
    ) -> Callable[[Callable[[Request[T]], R]], Callable[[Request[T]], R]]: ...

    @overload
    def serve(
        self,
        endpoint: Target,
        handler: Callable[[Request[T]], Any],
        *,
        types: tuple[type[T]],
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: Target,
        handler: Handler,
        *,
        types: tuple[type, ...],
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: Name,
        handler: Handler,
        *,
        types: None = None,
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: Name,
        handler: None = None,
        *,
        types: tuple[type, ...] | None = None,
        **options: Unpack[ServeOptions],
    ) -> Callable[[F], F]: ...

    def serve(
        self,
        endpoint: Any,
        handler: Any = None,
        *,
        kind: Kind = "anycast",
        realm: Realm = "localnet",
        types: tuple[type, ...] | None = None,
        limit: int = 64,
        queue: int = 4096,
        cost: int = 0,
    ) -> Any:
        """Answer requests with `handler(request)`: a function, a coroutine function, or a generator function,
        async or plain (a stream).

        `serve(endpoint, handler)` returns a Service with `close()`; without a handler it is a decorator. At
        most `limit` handlers run at once. An exception is the caller's RemoteError and harms nobody else;
        raise RemoteError(code, message) to choose the code. The first of a kind is logged in full, those that
        follow as a count at growing intervals.
        """
        check_served(endpoint)
        if handler is None:

            def decorate(function: F) -> F:
                self.serve(
                    endpoint,
                    function,
                    kind=kind,
                    realm=realm,
                    types=types,
                    limit=limit,
                    queue=queue,
                    cost=cost,
                )
                return function

            return decorate
        check_handler(handler)
        check_whole("limit", limit, "the handlers that may run at once")
        if limit < 1:
            raise ValueError(f"limit must be at least 1 handler, not {limit!r}")
        accepted = facade.types_of(endpoint, types)
        core = self._register(endpoint, kind, realm, queue, None, cost, limit)
        return Service(self._host, core, handler, limit, accepted)
