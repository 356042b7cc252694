"""Calls of an AsyncBus with several outcomes: to all that a selector means (what becomes of the copies is
selected.py's), and requests that are answered in parts.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from busway.adapters.arguments import ANY_NODE, check_window, send_timeout_ms, timeout_ms, wanted_reply
from busway.adapters.asyncio_ends import Items
from busway.adapters.asyncio_host import Host
from busway.adapters.carrying import attach, attached_to
from busway.adapters.host import Asked
from busway.adapters.results import decode_outcome, error_of
from busway.adapters.selected import Copies, check_selector, check_unsealed, others_of
from busway.adapters.typed import M, Priority, R, StreamOptions, Whom
from busway.protocol import codes, events

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from busway.adapters.records import Delivery
    from busway.adapters.sealed_calls import Call
    from busway.attached import Attached
    from busway.files import HasFileno
    from busway.memory.region import Region
    from busway.selectors import Selector


class ManyCalls:
    """A part of AsyncBus."""

    _host: Host

    async def _steps(self, steps: Generator[int, events.Outcome, Any]) -> Any:
        """Run a generator that yields tokens, and is sent their outcomes; returns what it returns."""
        raise NotImplementedError

    def _request(self, *words: Any) -> Asked:
        """A request in the core's words."""
        raise NotImplementedError

    def _sealed_call(self, *words: Any) -> Call:
        """A sealed message that was not sent yet."""
        raise NotImplementedError

    async def _send_all(
        self,
        selector: Selector,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: Any,
        priority: Priority,
        others_only: bool,
    ) -> list[Delivery]:
        items = Items()
        copies = Copies(self._host, others_of(selector, others_only), payload, items, priority)
        limit_ms = send_timeout_ms(timeout, confirm)
        try:
            await self._steps(copies.finding(ttl, limit_ms))
            copies.send(confirm, limit_ms)
            self._host.wake()
            while not copies.is_over:
                copies.settle(await items.next())
        finally:
            copies.cancel()
            self._host.wake()
        return copies.deliveries

    async def request_all(
        self,
        selector: Selector,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        reply: Any = None,
        sealed: bool | str = False,
        priority: Priority = "normal",
        others_only: bool = False,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
        attached: bool = False,
    ) -> AsyncGenerator[tuple[bytes, Any], None]:
        """Ask all that a selector means: an async iterator over (node id, reply or exception), in the order
        in which the answers come. It ends when each has answered, or could not, at the latest after `timeout`
        seconds: those that had not answered are RequestTimeout then.

        Leave the iteration early with `contextlib.aclosing` to cancel the others at once. Raises
        Undeliverable if nothing is meant, within `ttl` seconds; ValueError for `sealed`, which is for one
        node; other arguments as for `request`. All are given the same `files` and `regions`, each its own
        descriptors; who is where none can go is Undeliverable NO_FILES.
        """
        check_unsealed(sealed)
        payload = attach(payload, files, regions)
        answers = self._answers(selector, payload, timeout, ttl, reply, priority, others_only, attached)
        async with contextlib.aclosing(answers):
            async for delivery, answer in answers:
                yield delivery.node, answer

    async def _answers(
        self,
        selector: Selector,
        payload: Any,
        timeout: float | None,
        ttl: float,
        reply: Any,
        priority: Priority,
        others_only: bool,
        attached: bool = False,
    ) -> AsyncGenerator[tuple[Delivery, Any], None]:
        """As `request_all`, with the endpoint of each."""
        check_selector(selector)
        wanted = wanted_reply(reply)
        limit_ms = timeout_ms(timeout)
        items = Items()
        copies = Copies(self._host, others_of(selector, others_only), payload, items, priority)
        try:
            await self._steps(copies.finding(ttl, limit_ms))
            copies.request(limit_ms)
            self._host.wake()
            for failure in copies.failures():
                yield failure
            while not copies.is_over:
                yield copies.answer(await items.next(), wanted, attached)
        finally:
            copies.cancel()
            self._host.wake()

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: TypeForm[R], **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def request_stream(
        self, to: Whom, payload: Any = None, *, reply: TypeForm[R], **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Any, None]: ...

    @overload
    def request_stream(
        self, to: Whom, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Any, None]: ...

    @overload
    def request_stream(
        self,
        to: Any,
        payload: Any = None,
        *,
        attached: Literal[True],
        reply: Any = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Attached, None]: ...

    async def request_stream(
        self,
        to: Whom | type,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        window: int = codes.STREAM_WINDOW,
        reply: Any = None,
        sealed: bool | str = False,
        priority: Priority = "normal",
        others_only: bool = False,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
        attached: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Ask a handler that answers in parts; an async iterator over their values.

        `timeout` counts from the last part; `window` parts may be under way. Errors as `request`; a lost part
        raises Undeliverable. Leave the iteration early with `contextlib.aclosing` to cancel at once.
        `sealed`, `others_only` and `priority` as for `request`: its parts have that, too. So `files`,
        `regions` and `attached`, which is of each part.
        """
        payload = attach(payload, files, regions, attached, sealed=sealed)
        wanted = wanted_reply(reply)
        to = others_of(to, others_only)
        check_window(window)
        parts = Items()
        call: Call | None = None
        if sealed is not False:
            call = self._sealed_call(to, payload, sealed, node, ttl, timeout_ms(timeout), priority)
            await self._steps(call.finding())
            token, _ = self._host.ask(call.request, window, waiter=parts)
        else:
            token, _ = self._request(to, payload, timeout, ttl, node, window, parts, priority)
        try:
            while True:
                outcome: events.Outcome = await parts.next()
                if call is not None:
                    outcome = call.opened(outcome)
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise error_of(outcome, to)
                self._host.node.consume_part(token, self._host.now_ms())
                value = decode_outcome(outcome, wanted, to)
                yield attached_to(outcome, value) if attached else value
                if outcome.status == events.REPLIED:
                    return
        finally:
            self._host.cancel(token)
            self._host.wake()
