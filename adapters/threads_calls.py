"""Calls of a Bus with several outcomes, or one that nobody waits for: to all that a selector means (what
becomes of the copies is selected.py's), and requests that are answered in parts, or as futures.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from busway.adapters.arguments import ANY_NODE, check_window, send_timeout_ms, timeout_ms, wanted_reply
from busway.adapters.carrying import attach, attached_to
from busway.adapters.host import Asked
from busway.adapters.results import decode_outcome, error_of
from busway.adapters.selected import Copies, check_selector, check_unsealed, others_of
from busway.adapters.threads_callbacks import FutureReply
from busway.adapters.threads_ends import Items
from busway.adapters.threads_host import Host
from busway.adapters.threads_signals import shielded
from busway.adapters.typed import FutureOptions, M, Priority, R, StreamOptions, Whom
from busway.protocol import codes, events

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from busway.adapters.records import Delivery
    from busway.adapters.sealed_calls import Call
    from busway.adapters.threads_presence import Presence
    from busway.attached import Attached
    from busway.files import HasFileno
    from busway.lan.found_threads import FoundStream
    from busway.memory.region import Region
    from busway.selectors import Selector


class Calls:
    """A part of Bus."""

    _host: Host

    def _steps(self, steps: Generator[int, events.Outcome, Any]) -> Any:
        """Run a generator that yields tokens, and is sent their outcomes; returns what it returns."""
        raise NotImplementedError

    def _request(self, *words: Any) -> Asked:
        """A request in the core's words."""
        raise NotImplementedError

    def _sealed_call(self, *words: Any) -> Call:
        """A sealed message that was not sent yet."""
        raise NotImplementedError

    def _stored(self, call: str, *words: Any) -> Any:
        """A call with store=True."""
        from busway.store import client

        return getattr(client, f"{call}_stored")(self, *words)

    @shielded
    def _send_all(
        self,
        selector: Selector,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: float | None,
        priority: Priority,
        others_only: bool,
    ) -> list[Delivery]:
        items = Items(self._host.engine)
        copies = Copies(self._host, others_of(selector, others_only), payload, items, priority)
        limit_ms = send_timeout_ms(timeout, confirm)
        try:
            self._steps(copies.finding(ttl, limit_ms))
            copies.send(confirm, limit_ms)
            while not copies.is_over:
                copies.settle(items.next())
        finally:
            self._host.engine.finish(copies.cancel)
        return copies.deliveries

    def request_all(
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
    ) -> Generator[tuple[bytes, Any], None, None]:
        """Ask all that a selector means; an iterator over (node id, reply or exception). Closing it early
        cancels.

        Arguments and errors as `AsyncBus.request_all`.
        """
        check_selector(selector)
        check_unsealed(sealed)
        payload = attach(payload, files, regions)
        wanted = wanted_reply(reply)
        limit_ms = timeout_ms(timeout)
        items = Items(self._host.engine)
        copies = Copies(self._host, others_of(selector, others_only), payload, items, priority)
        try:
            self._steps(copies.finding(ttl, limit_ms))
            copies.request(limit_ms)
            for delivery, error in copies.failures():
                yield delivery.node, error
            while not copies.is_over:
                delivery, answer = copies.answer(items.next(), wanted, attached)
                yield delivery.node, answer
        finally:
            self._host.engine.finish(copies.cancel)

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: TypeForm[R], **options: Unpack[StreamOptions]
    ) -> Generator[R, None, None]: ...

    @overload
    def request_stream(
        self, to: Whom, payload: Any = None, *, reply: TypeForm[R], **options: Unpack[StreamOptions]
    ) -> Generator[R, None, None]: ...

    @overload
    def request_stream(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> Generator[Any, None, None]: ...

    @overload
    def request_stream(
        self, to: Whom, payload: Any = None, *, reply: Any = None, **options: Unpack[StreamOptions]
    ) -> Generator[Any, None, None]: ...

    @overload
    def request_stream(
        self,
        to: Any,
        payload: Any = None,
        *,
        attached: Literal[True],
        reply: Any = None,
        **options: Unpack[StreamOptions],
    ) -> Generator[Attached, None, None]: ...

    def request_stream(
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
    ) -> Generator[Any, None, None]:
        """Ask a handler that answers in parts; an iterator over their values. Closing it early cancels.

        Arguments and errors as `AsyncBus.request_stream`.
        """
        payload = attach(payload, files, regions, attached, sealed=sealed)
        wanted = wanted_reply(reply)
        to = others_of(to, others_only)
        check_window(window)
        parts = Items(self._host.engine)
        call: Call | None = None
        if sealed is not False:
            call = self._sealed_call(to, payload, sealed, node, ttl, timeout_ms(timeout), priority)
            self._steps(call.finding())
            token, _ = self._host.ask(call.request, window, waiter=parts)
        else:
            token, _ = self._request(to, payload, timeout, ttl, node, window, parts, priority)
        try:
            while True:
                outcome: events.Outcome = parts.next()
                if call is not None:
                    outcome = call.opened(outcome)
                if outcome.status == events.ENDED:
                    return
                if outcome.status not in (events.PARTIAL, events.REPLIED):
                    raise error_of(outcome, to)
                self._host.call(self._host.node.consume_part, token, self._host.now_ms())
                value = decode_outcome(outcome, wanted, to)
                yield attached_to(outcome, value) if attached else value
                if outcome.status == events.REPLIED:
                    return
        finally:
            self._host.engine.finish(self._host.cancel, token)

    @overload
    def request_future(
        self, to: type[M], payload: M, *, reply: TypeForm[R], **options: Unpack[FutureOptions]
    ) -> Future[R]: ...

    @overload
    def request_future(
        self, to: Whom, payload: Any = None, *, reply: TypeForm[R], **options: Unpack[FutureOptions]
    ) -> Future[R]: ...

    @overload
    def request_future(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[FutureOptions]
    ) -> Future[Any]: ...

    @overload
    def request_future(
        self, to: Whom, payload: Any = None, *, reply: Any = None, **options: Unpack[FutureOptions]
    ) -> Future[Any]: ...

    @overload
    def request_future(
        self,
        to: Any,
        payload: Any = None,
        *,
        attached: Literal[True],
        reply: Any = None,
        **options: Unpack[FutureOptions],
    ) -> Future[Attached]: ...

    def request_future(
        self,
        to: Whom | type,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        reply: Any = None,
        priority: Priority = "normal",
        others_only: bool = False,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
        attached: bool = False,
    ) -> Future[Any]:
        """Ask without waiting, for programs with a window: a `concurrent.futures.Future` of the reply.

        Its callbacks run in a thread of the bus; `cancel()` cancels the request. Arguments as `request`,
        whose errors it tells; what is wrong with the arguments is raised at once.
        """
        to = others_of(to, others_only)
        payload = attach(payload, files, regions)
        waiter = FutureReply(self._host, to, wanted_reply(reply), attached)
        token, _ = self._request(to, payload, timeout, ttl, node, 0, waiter, priority)
        waiter.watch(token)
        return waiter.future

    def presence(self, wanted: Whom | type) -> Presence:
        """All who are there, then who comes, goes or changes: an iterator that blocks. Argument,
        order and errors as `AsyncBus.presence`.
        """
        from busway.adapters.threads_presence import Presence

        return Presence(self, self._host, Items(self._host.engine), wanted)

    def found(self) -> FoundStream:
        """Programs of the local network and boards that were found, then what becomes of each: an iterator of
        `Found` that blocks. Errors as `AsyncBus.found`.
        """
        from busway.lan.found_threads import FoundStream

        return FoundStream(self, self._host, Items(self._host.engine))
