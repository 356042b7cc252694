"""The part of AsyncBus that makes links: connect, listen, attach. What heals, opens and finds is shared with
threads (dialled.py, opening.py, local.py).

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from busway.adapters import facade, opening
from busway.adapters.dialled import DialledLink, dial, options_of
from busway.adapters.facade import Change, Realm
from busway.adapters.links import LinkRunner, ListenerRunner
from busway.adapters.retrying import Retry
from busway.errors import BusError
from busway.protocol import Node, events

_T = TypeVar("_T")
_log = logging.getLogger("busway")


class Links:
    """Makes links, on the bus's loop."""

    node: Node
    failure: BusError | None
    dialled: set[DialledLink]
    _runners: set[LinkRunner]
    _listeners: set[ListenerRunner]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the bus was opened on."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises BusClosed after `close`."""
        raise NotImplementedError

    def dispatch(self, happened: list[events.Event]) -> None:
        """Hand events to those who wait for them."""
        raise NotImplementedError

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        raise NotImplementedError

    def tell(self, change: Change) -> None:
        """To those who read `changes()`."""
        raise NotImplementedError

    async def connect(
        self,
        url: str,
        *,
        token: str | None = None,
        realm: Realm | None = None,
        cost: int | None = None,
        retry: Retry | bool | None = True,
        wait: float | None = None,
        **options: Any,
    ) -> DialledLink:
        """Join a node at `url`; returns when it has told its endpoints. From then on the link heals: whenever
        it is lost it is opened again, until its `close()` or the bus's.

        Args:
            url: tcp://host:port, host:port, ws://, wss://, serial://, ble://, ipc:///path.
            token: what the other side's `listen` was given.
            realm, cost: of the link, by default those of its sort; cost is 1 to 16382; of both sides' realms
                the wider one holds.
            retry: when it is tried again (`busway.Retry`); None: never.
            wait: how many seconds to go on trying while the other side is not there yet, at the intervals of
                `retry`; math.inf: for ever. By default the first failure is raised.
            options: of the driver's own, such as `cafile` for wss://.

        A second call with the same arguments returns the same link once it is connected. Raises LinkRefused
        with the reason: at once if another attempt would not mend it, such as the bus's name, the version or
        the token; OSError if nothing answers; ValueError for a URL that is none; BusError if the driver's
        library is missing.
        """
        self.check()
        wanted = options_of(token, realm, cost, retry, wait, options)
        loop = self.loop
        known = set(self.dialled)
        link = dial(self, opening.normalise(url), wanted)
        ready: asyncio.Future[None] = link.waiter()
        try:
            await asyncio.shield(ready)
        except asyncio.CancelledError:
            if link not in known and not loop.is_closed():
                link.end("connect was cancelled")
            raise
        return link

    async def listen(
        self,
        url: str,
        *,
        token: str | None = None,
        open: bool = False,
        realm: Realm | None = None,
        cost: int | None = None,
        **options: Any,
    ) -> ListenerRunner:
        """Let others connect to `url`, such as tcp://127.0.0.1:0 or ws://127.0.0.1:0; the result's `.url` has
        the real port, `.close()` ends it.

        Beyond loopback give `token`, which the other side must give too, or `open=True`. `realm` and `cost`
        as for `connect`. `options` are the driver's own: for ws:// and wss:// `certificate`, `key`,
        `origins`, `pages`, `connections_max`. Raises ValueError, OSError; BusError if the driver's library is
        missing.
        """
        self.check()
        facade.prover(token)
        if realm is not None:
            facade.realm_number(realm)
        where = opening.normalise(url)
        listener = await self.loop.run_in_executor(None, opening.listen, where, token, open, options)
        if self.failure is not None:  # closed meanwhile
            listener.close()
            self.check()
        runner = ListenerRunner(self, listener, token, partial(self.attach, realm=realm, cost=cost))
        self._listeners.add(runner)
        return runner

    def attach(
        self,
        channel: Any,
        token: str | None = None,
        *,
        realm: Realm | None = None,
        cost: int | None = None,
    ) -> LinkRunner:
        """Run a driver's open channel as a link of this bus, for drivers of your own. Raises ValueError."""
        self.check()
        runner = LinkRunner(self, channel, token, realm, cost)
        self._runners.add(runner)
        return runner

    # What links need of their bus

    run_link = attach
    welcome = attach

    def inside(self, function: Callable[[], _T]) -> _T:
        """The loop's callbacks are never in the midst of the core."""
        return function()

    def in_thread(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        """Call `function` in a thread, then `done(value, error)` on the loop."""

        def ended(future: asyncio.Future[Any]) -> None:
            if future.cancelled():  # the executor was shut down
                done(None, OSError("there is no thread to look it up in"))
                return
            error = future.exception()
            done(None if error is not None else future.result(), error)

        try:
            self.loop.run_in_executor(None, function).add_done_callback(ended)
        except RuntimeError as error:  # no thread to be had
            self.loop.call_soon(done, None, OSError(str(error)))

    def remark(self, level: int, text: str, *words: object) -> None:
        """Log it."""
        _log.log(level, text, *words)
