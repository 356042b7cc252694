"""The bus for asyncio programs: what users call.

What messages mean, how they are ordered, retried, limited and timed out is the core's; what runs it is
asyncio_host.py's.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # documented for those who run loops; a few ns
from collections.abc import AsyncGenerator, Callable
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self, Unpack, overload

from busway.adapters import facade
from busway.adapters.asyncio_ends import YIELD_MASK, Parts
from busway.adapters.asyncio_host import WAY, Host
from busway.adapters.asyncio_links import Links
from busway.adapters.asyncio_receiving import Receiving
from busway.adapters.asyncio_views import Views
from busway.adapters.checks import ANY_NODE, TIMEOUT_S, check_flag, check_node, check_seconds, check_window
from busway.adapters.face import Face
from busway.adapters.links import now_ms
from busway.adapters.literal import id_of_name, id_taking
from busway.adapters.tap import consent
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
from busway.protocol import Limits, Node, codes, errors, events


class AsyncBus(Face, Receiving, Links, Views):
    """A program's place on the bus.

    Args:
        name: the bus's name; only nodes of the same name meet. By default what the environment says in
            BUSWAY_BUS, else "default".
        ipc: find this machine's other programs of the same user, at once and with nothing configured.
        leaf: join through one local node, which forwards for this one, as short-lived commands do; such a
            node is told of what it asks for only.
        transit: forward for others. By default a node does so once it has links of two sorts, such as IPC and
            TCP.
        label: tells people which program this is; by default the script's name and process id.
        node_id: 16 bytes; by default random.
        limits: sizes that this node takes (`busway.Limits`).
        tap: let `busway listen --all` of the same user see what this program sends and answers. By default it
            may, unless BUSWAY_TAP is 0 in the environment.

    Use it as `async with AsyncBus() as bus:`; that returns having joined the local nodes (at most 500 ms).
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
        def node(wake: Callable[[], None]) -> Node:
            return facade.make_node(name, leaf, transit, label, node_id, limits, wake)

        self._host = Host(node, ipc)
        self.node = self._host.node
        consent(self, self._host, tap)
        self._process_only = self.node.receiving.process_only  # empty for most: then no payload is an object
        self._calls = 0

    # Life

    async def open(self) -> Self:
        """Join. `async with` does this. From then on the bus belongs to this loop: any other call in another
        thread or on another loop raises BusError.
        """
        await self._host.open()
        return self

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except BaseException:
            await self.close(0)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, timeout: float | None = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once.
        """
        await self._host.close(check_seconds("timeout", timeout, endless=True))

    # Sending

    @overload
    async def send(self, to: type[M], payload: M, **options: Unpack[SendOptions]) -> None: ...

    @overload
    async def send(self, to: Name, payload: Any = None, **options: Unpack[SendOptions]) -> None: ...

    async def send(
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

        With `confirm` it returns when the receiving program has taken it, within `timeout` seconds. Without,
        it waits for credit as long as it takes, or for `timeout` seconds if that is given. `ttl` seconds wait
        for the endpoint to appear; `node` picks one of several holders. Raises Undeliverable, with `confirm`
        also DeliveryUnknown; ValueError for a broadcast endpoint.
        """
        host = self._host
        if host.failure is not None or _get_running_loop() is not host._loop:
            host.check_open()
        endpoint = id_of_name(to) if type(to) is str else id_taking(to, payload)
        if (
            type(payload) is bytes
            and confirm is False
            and ttl == 0.0
            and node is ANY_NODE
            and timeout is TIMEOUT_S
            and not self._process_only
        ):
            try:
                token = self.node.send(endpoint, payload, monotonic_ns() // 1_000_000)
            except errors.LocalError as error:
                raise facade.for_users(error) from None
            if not token:
                self._calls += 1
                if self._calls & YIELD_MASK == 0:
                    await asyncio.sleep(0)
                return
        else:
            token = self._send(endpoint, payload, confirm, ttl, timeout, node)
        if token:
            outcome = await self._host.outcome(token)
            if outcome.status not in (events.ACCEPTED, events.TAKEN):
                raise facade.error_of(outcome, to)
        else:
            await self._turn()

    def _send(
        self,
        endpoint: bytes,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: float | None,
        node: bytes | None,
    ) -> int:
        check_flag("confirm", confirm)
        data, format, type_id = self._encode(payload, endpoint)
        return self._host.call(
            self.node.send,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=check_node(node),
            confirm=confirm,
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.send_timeout_ms(timeout, confirm),
        )

    @overload
    async def publish(self, to: type[M], payload: M, **options: Unpack[PublishOptions]) -> None: ...

    @overload
    async def publish(self, to: Name, payload: Any = None, **options: Unpack[PublishOptions]) -> None: ...

    async def publish(
        self, to: Target, payload: Any = None, *, wait: bool = False, best_effort: bool = False
    ) -> None:
        """Give every subscriber of `to` a copy. Nobody listening is no error. Raises ValueError for another
        kind of endpoint.

        It waits a little, at most 0.5 s, for a link whose queue is full, and not at all for one that others
        have waited for in vain: that link misses the copy, or keeps it as the newest. With `wait` it waits
        until each link concerned has room, however long that takes.
        `best_effort` never waits: serial and BLE links may lose this copy, and leave it out when they are
        busy; the subscriber's `missed` counts it. For readings of which the next comes soon.
        """
        self._host.check_open()
        endpoint = id_taking(to, payload)
        data, format, type_id = self._encode(payload, endpoint)
        token = self._host.call(
            self.node.publish,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            best_effort=best_effort,
            patience_ms=facade.patience_ms(wait, best_effort),
        )
        if token:
            await self._host.settled(token)
        else:
            await self._turn()

    @overload
    async def request(
        self, to: type[M], payload: M, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    async def request(
        self, to: Name, payload: Any = None, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    async def request(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @overload
    async def request(
        self, to: Name, payload: Any = None, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    async def request(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        reply: Any = None,
    ) -> Any:
        """Ask, and return the reply's value.

        `reply` is what the reply has to be: a message class, or what a field's annotation may say (`float`,
        `list[int]`, a dataclass); it is checked and converted, and PayloadError says what does not fit. By
        default any value.

        Raises RemoteError (the handler failed), RequestTimeout after `timeout` seconds (it may have run),
        Undeliverable, PayloadError, ValueError for a broadcast endpoint. Cancelling the caller cancels it.
        """
        wanted = facade.wanted_reply(reply)
        outcome = await self._host.outcome(self._request(to, payload, timeout, ttl, node, 0))
        if outcome.status == events.REPLIED:
            return facade.decode_outcome(outcome, wanted, to)
        raise facade.error_of(outcome, to)

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def request_stream(
        self, to: Name, payload: Any = None, *, reply: type[R], **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Any, None]: ...

    @overload
    def request_stream(
        self, to: Name, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Any, None]: ...

    async def request_stream(
        self,
        to: Target,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        window: int = codes.STREAM_WINDOW,
        reply: Any = None,
    ) -> AsyncGenerator[Any, None]:
        """Ask a handler that answers in parts; an async iterator over their values.

        `timeout` counts from the last part; `window` parts may be under way. Errors as `request`; a lost part
        raises Undeliverable. Leave the iteration early with `contextlib.aclosing` to cancel at once.
        """
        wanted = facade.wanted_reply(reply)
        check_window(window)
        token = self._request(to, payload, timeout, ttl, node, window)
        parts = Parts(self._host.loop)
        self._host.waiters[token] = parts
        try:
            while True:
                outcome = await parts.get()
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise facade.error_of(outcome, to)
                self.node.consume_part(token, now_ms())
                yield facade.decode_outcome(outcome, wanted, to)
                if outcome.status == events.REPLIED:
                    return
        finally:
            self._host.waiters.pop(token, None)
            self.node.cancel(token, now_ms())
            self._host.wake()

    def _request(
        self, to: Any, payload: Any, timeout: float | None, ttl: float, node: bytes | None, window: int
    ) -> int:
        self._host.check_open()
        endpoint = id_taking(to, payload)
        data, format, type_id = self._encode(payload, endpoint)
        token = self._host.call(
            self.node.request,
            endpoint,
            data,
            now_ms(),
            format,
            type_id,
            node_id=check_node(node),
            ttl_ms=facade.milliseconds("ttl", ttl),
            timeout_ms=facade.timeout_ms(timeout),
            window=window,
        )
        self._host.wake()
        return token

    def _encode(self, payload: Any, endpoint: bytes) -> tuple[Any, int, bytes]:
        if self._process_only and self.node.is_process_only(endpoint):
            return payload, codes.OBJECT, b""
        return encode(payload, endpoint)

    async def _turn(self) -> None:
        """Now and then let the loop breathe: a caller that never has to wait would starve everyone else."""
        self._calls += 1
        if self._calls & YIELD_MASK == 0:
            await asyncio.sleep(0)
