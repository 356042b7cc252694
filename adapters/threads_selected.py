"""The calls of a Bus that go to all that a selector means. What becomes of the copies is selected.py's."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from busway.adapters.arguments import send_timeout_ms, timeout_ms, wanted_reply
from busway.adapters.selected import Copies, check_selector, others_of
from busway.adapters.threads_ends import Items
from busway.adapters.threads_host import Host
from busway.adapters.threads_signals import shielded
from busway.adapters.typed import Priority

if TYPE_CHECKING:
    from busway.adapters.records import Delivery
    from busway.protocol import events
    from busway.selectors import Selector


class SelectedCalls:
    """The part of a Bus that sends copies."""

    _host: Host

    def _steps(self, steps: Generator[int, events.Outcome, Any]) -> Any:
        """Run a generator that yields tokens, and is sent their outcomes; returns what it returns."""
        raise NotImplementedError

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
        priority: Priority = "normal",
        others_only: bool = False,
    ) -> Generator[tuple[bytes, Any], None, None]:
        """Ask all that a selector means; an iterator over (node id, reply or exception). Closing it early
        cancels.

        Arguments and errors as `AsyncBus.request_all`.
        """
        check_selector(selector)
        wanted = wanted_reply(reply)
        limit_ms = timeout_ms(timeout)
        items = Items(self._host.engine)
        copies = Copies(self._host, others_of(selector, others_only), payload, items, priority)
        try:
            self._steps(copies.finding(ttl, limit_ms))
            copies.request(limit_ms)
            yield from copies.failures()
            while not copies.is_over:
                yield copies.answer(items.next(), wanted)
        finally:
            self._host.engine.finish(copies.cancel)
