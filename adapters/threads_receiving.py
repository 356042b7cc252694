"""The part of Bus that receives and serves, with what type checkers know of it.

Knows nothing of links, and of sending only who answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Unpack, overload

from busway.adapters import facade
from busway.adapters.checks import check_handler, check_served, check_whole
from busway.adapters.threads_ends import Receiver, Service
from busway.adapters.threads_host import Host
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


class Receiving:
    """Registers endpoints, from any thread."""

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
        """Receive what is sent to `endpoint`: a name, a UUID, or a message class. Arguments and errors as
        `AsyncBus.register`. It answers no requests, `serve` does.
        """
        accepted = facade.types_of(endpoint, types)
        core = self._register(endpoint, kind, realm, queue, policy, cost)
        return Receiver(self, self._host, core, accepted)

    def _register(self, *words: Any) -> Any:
        self._host.check()
        return self._host.engine.call(facade.register, self.node, *words)

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
        limit: int = 16,
        queue: int = 4096,
        cost: int = 0,
    ) -> Any:
        """Answer requests with `handler(request)`: a function, or a generator function (a stream), run in a
        thread of the bus.

        At most `limit` of its handlers run at once, each in a thread; services do not share that number, so a
        slow one holds up nobody else. Everything else as `AsyncBus.serve`.
        """
        check_served(endpoint)
        if handler is None:
            options: dict[str, Any] = {"kind": kind, "realm": realm, "types": types}
            options |= {"limit": limit, "queue": queue, "cost": cost}

            def decorate(function: F) -> F:
                self.serve(endpoint, function, **options)
                return function

            return decorate
        check_handler(handler)
        check_whole("limit", limit, "the handlers that may run at once")
        if limit < 1:
            raise ValueError(f"limit must be at least 1 handler, not {limit!r}")
        if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
            raise TypeError("a handler of a Bus must be a plain function: use AsyncBus for coroutines")
        accepted = facade.types_of(endpoint, types)
        self._host.check()
        words = (endpoint, kind, realm, queue, None, cost, limit)
        service: Service = self._host.engine.call(self._serve, words, handler, limit, accepted)
        return service

    def _serve(self, words: tuple[Any, ...], handler: Handler, limit: int, accepted: Any) -> Service:
        return Service(self._host, facade.register(self.node, *words), handler, limit, accepted)
