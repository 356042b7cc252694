"""The bus for programs with threads: the same names and promises as AsyncBus, blocking.

Any thread may call, handlers may too. What messages mean, how they are ordered, retried, limited and timed
out is the core's; what runs it is threads_host.py's.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, Unpack, overload

from busway.adapters import facade
from busway.adapters.checks import ANY_NODE, TIMEOUT_S, check_flag, check_node, check_seconds, check_window
from busway.adapters.face import Face
from busway.adapters.links import now_ms
from busway.adapters.literal import id_taking
from busway.adapters.tap import consent
from busway.adapters.threads_callbacks import FutureReply
from busway.adapters.threads_ends import Parts
from busway.adapters.threads_host import WAY, Host
from busway.adapters.threads_links import Links
from busway.adapters.threads_receiving import Receiving
from busway.adapters.threads_signals import shielded
from busway.adapters.threads_views import Views
from busway.adapters.typed import (
    M,
    Name,
    PublishOptions,
    R,
    RequestOptions,
    SendOptions,
    StreamOptions,
    Target,
)
from busway.payloads import encode
from busway.protocol import Limits, codes, events


class Bus(Face, Receiving, Links, Views):
    """A program's place on the bus, for threads. Every method blocks, and any thread may call it.

    Its arguments are those of `AsyncBus`: `name` of the bus, by default what BUSWAY_BUS says; `ipc`: find
    this machine's other programs of the same user; `leaf`: join through one local node; `transit`: forward
    for others; `label` for people; `node_id` 16 bytes; `limits`; `tap`: let `busway listen --all` see it.

    Use it as `with Bus() as bus:`; that returns having joined the local nodes (at most 500 ms).
    """

    _host: Host
    _way = WAY

    def __init__(
        self,
        name: str | None = None,
        *,
        ipc: bool = True,
        leaf: bool = False,
        transit: bool | None = None,
        label: str | None = None,
        node_id: bytes | None = None,
        limits: Limits | None = None,
        tap: bool | None = None,
    ) -> None:
        self._host = Host(facade.make_node(name, leaf, transit, label, node_id, limits), ipc)
        self.node = self._host.node
        consent(self, self._host, tap)

    # Life

    def open(self) -> Self:
        """Join. `with` does this."""
        self._host.open()
        return self

    def __enter__(self) -> Self:
        try:
            return self.open()
        except BaseException:
            self.close(0)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout: float | None = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once.

        Handlers at work get half of that time to finish. Whoever waits in a call gets BusClosed. Ctrl-C ends
        the waiting, and everything is released all the same.
        """
        self._host.close(check_seconds("timeout", timeout, endless=True))

    # Sending

    @overload
    def send(self, to: type[M], payload: M, **options: Unpack[SendOptions]) -> None: ...

    @overload
    def send(self, to: Name, payload: Any = None, **options: Unpack[SendOptions]) -> None: ...

    @shielded
    def send(
        self,
        to: Target,
        payload: Any = None,
        *,
        confirm: bool = False,
        ttl: float = 0.0,
        timeout: float | None = TIMEOUT_S,
        node: bytes | None = ANY_NODE,
    ) -> None:
        """Send to whoever holds `to`; returns when the message is accepted for transport.

        Arguments and errors as `AsyncBus.send`. Waits while the receiver gives no credit, or for `timeout`
        seconds if that is given.
        """
        if confirm is not False:
            check_flag("confirm", confirm)
        endpoint, data, format, type_id = self._prepare(to, payload)
        token, promise = self._host.ask(
            self.node.send,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=check_node(node),
            confirm=confirm,
            ttl_ms=0 if ttl == 0 else facade.milliseconds("ttl", ttl),
            timeout_ms=facade.send_timeout_ms(timeout, confirm),
        )
        if promise is not None:
            outcome = self._host.outcome(token, promise)
            if outcome.status not in (events.ACCEPTED, events.TAKEN):
                raise facade.error_of(outcome, to)

    @overload
    def publish(self, to: type[M], payload: M, **options: Unpack[PublishOptions]) -> None: ...

    @overload
    def publish(self, to: Name, payload: Any = None, **options: Unpack[PublishOptions]) -> None: ...

    @shielded
    def publish(
        self, to: Target, payload: Any = None, *, wait: bool = False, best_effort: bool = False
    ) -> None:
        """Give every subscriber of `to` a copy. Arguments and errors as `AsyncBus.publish`."""
        endpoint, data, format, type_id = self._prepare(to, payload)
        token, promise = self._host.ask(
            self.node.publish,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            best_effort=best_effort,
            patience_ms=facade.patience_ms(wait, best_effort),
        )
        if promise is not None:
            self._host.settle(token, promise)

    @overload
    def request(self, to: type[M], payload: M, *, reply: type[R], **options: Unpack[RequestOptions]) -> R: ...

    @overload
    def request(
        self, to: Name, payload: Any = None, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    def request(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @overload
    def request(
        self, to: Name, payload: Any = None, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @shielded
    def request(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        reply: Any = None,
    ) -> Any:
        """Ask; returns the reply's value. Arguments and errors as `AsyncBus.request`. Ctrl-C cancels it."""
        wanted = facade.wanted_reply(reply)
        token, promise = self._request(to, payload, timeout, ttl, node, 0)
        outcome = self._host.outcome(token, promise)
        if outcome.status == events.REPLIED:
            return facade.decode_outcome(outcome, wanted, to)
        raise facade.error_of(outcome, to)

    @overload
    def request_future(
        self, to: type[M], payload: M, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> Future[R]: ...

    @overload
    def request_future(
        self, to: Name, payload: Any = None, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> Future[R]: ...

    @overload
    def request_future(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Future[Any]: ...

    @overload
    def request_future(
        self, to: Name, payload: Any = None, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Future[Any]: ...

    def request_future(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        reply: Any = None,
    ) -> Future[Any]:
        """Ask without waiting, for programs with a window: a `concurrent.futures.Future` of the reply.

        Its callbacks run in a thread of the bus; `cancel()` cancels the request. Arguments as `request`,
        whose errors it tells; what is wrong with the arguments is raised at once.
        """
        waiter = FutureReply(self._host, to, facade.wanted_reply(reply))
        token, _ = self._request(to, payload, timeout, ttl, node, 0, waiter)
        waiter.watch(token)
        return waiter.future

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> Generator[R, None, None]: ...

    @overload
    def request_stream(
        self, to: Name, payload: Any = None, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> Generator[R, None, None]: ...

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> Generator[Any, None, None]: ...

    @overload
    def request_stream(
        self, to: Name, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> Generator[Any, None, None]: ...

    def request_stream(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        window: int = codes.STREAM_WINDOW,
        reply: Any = None,
    ) -> Generator[Any, None, None]:
        """Ask a handler that answers in parts; an iterator over their values. Closing it early cancels.

        Arguments and errors as `AsyncBus.request_stream`.
        """
        wanted = facade.wanted_reply(reply)
        check_window(window)
        parts = Parts(self._host.engine)
        token, _ = self._request(to, payload, timeout, ttl, node, window, parts)
        try:
            while True:
                outcome = parts.get()
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise facade.error_of(outcome, to)
                self._host.engine.call(self.node.consume_part, token, now_ms())
                yield facade.decode_outcome(outcome, wanted, to)
                if outcome.status == events.REPLIED:
                    return
        finally:
            self._host.engine.finish(self._host.cancel, token)

    def _request(
        self,
        to: Any,
        payload: Any,
        timeout: float | None,
        ttl: float,
        node: bytes | None,
        window: int,
        parts: Parts | FutureReply | None = None,
    ) -> tuple[int, Any]:
        endpoint, data, format, type_id = self._prepare(to, payload)
        return self._host.ask(
            self.node.request,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            waiter=parts,
            node_id=check_node(node),
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.timeout_ms(timeout),
            window=window,
        )

    def _prepare(self, to: Any, payload: Any) -> tuple[bytes, Any, int, bytes]:
        """Without the lock: encoding may run code of the user's."""
        self._host.check_open()
        endpoint = id_taking(to, payload)
        if self.node.is_process_only(endpoint):
            return endpoint, payload, codes.OBJECT, b""
        return endpoint, *encode(payload, endpoint)
