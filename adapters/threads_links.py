"""The part of Bus that makes links: connect, listen, attach. What heals, opens and finds is shared with
asyncio (dialled.py, opening.py, local.py).

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from busway.adapters import facade, opening
from busway.adapters.dialled import DialledLink, Options, dial, options_of
from busway.adapters.facade import Change, Realm
from busway.adapters.links import LinkRunner, ListenerRunner
from busway.adapters.retrying import Retry
from busway.adapters.threads_engine import Engine, Pool
from busway.errors import BusError
from busway.protocol import Node, events

_log = logging.getLogger("busway")


class Listener:
    """A place where others can connect. Made by `listen`."""

    def __init__(self, engine: Engine, runner: ListenerRunner) -> None:
        self._engine = engine
        self._runner = runner

    @property
    def url(self) -> str:
        """Where others can connect, with the real port."""
        return self._runner.url

    def close(self) -> None:
        """Stop listening; links that were accepted stay. Twice is once."""
        self._engine.call(self._runner.close)


class Links:
    """Makes links, from any thread."""

    node: Node
    engine: Engine
    pool: Pool
    failure: BusError | None
    dialled: set[DialledLink]
    _runners: set[LinkRunner]
    _listeners: set[ListenerRunner]

    @property
    def loop(self) -> Engine:
        """What runs the links."""
        return self.engine

    def check(self) -> None:
        """Raises BusClosed after `close`."""
        raise NotImplementedError

    def check_open(self) -> None:
        """Raises as `check`, and before `open`."""
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

    def connect(
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
        """Join a node at `url`; returns when it has told its endpoints. From then on the link heals.

        Arguments and errors as `AsyncBus.connect`: LinkRefused, OSError, ValueError, BusError.
        """
        self.check_open()
        wanted = options_of(token, realm, cost, retry, wait, options)
        link, ready, mine = self.engine.call(self._dial, opening.normalise(url), wanted)
        try:
            ready.result()
        except BaseException:
            if mine and not ready.done():
                self.engine.call(link.end, "connect was interrupted")
            raise
        found: DialledLink = link
        return found

    def _dial(self, url: str, options: Options) -> tuple[DialledLink, Any, bool]:
        self.check()  # closed meanwhile?
        known = set(self.dialled)
        link = dial(self, url, options)
        return link, link.waiter(), link not in known

    def listen(
        self,
        url: str,
        *,
        token: str | None = None,
        open: bool = False,
        realm: Realm | None = None,
        cost: int | None = None,
        **options: Any,
    ) -> Listener:
        """Let others connect to `url`, such as tcp://127.0.0.1:0 or ws://127.0.0.1:0; the result's `.url` has
        the real port, `.close()` ends it.

        Beyond loopback give `token`, which the other side must give too, or `open=True`. Raises ValueError,
        OSError; BusError if the driver's library is missing.
        """
        self.check_open()
        if realm is not None:
            facade.realm_number(realm)
        facade.prover(token)
        listener = opening.listen(opening.normalise(url), token, open, options)
        try:
            return Listener(self.engine, self.engine.call(self._listen, listener, token, realm, cost))
        except BaseException:
            listener.close()
            raise

    def _listen(self, listener: Any, token: str | None, realm: Any, cost: int | None) -> ListenerRunner:
        self.check()  # closed meanwhile?
        runner = ListenerRunner(self, listener, token, partial(self.welcome, realm=realm, cost=cost))
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
        """Run a driver's open channel as a link of this bus, for drivers of your own; its `ready.result()`
        waits until it is usable. Raises ValueError.
        """
        self.check_open()
        runner: LinkRunner = self.engine.call(self.run_link, channel, token, realm=realm, cost=cost)
        return runner

    # What links need of their bus; called with the lock held

    def run_link(
        self,
        channel: Any,
        token: str | None = None,
        *,
        realm: Realm | None = None,
        cost: int | None = None,
    ) -> LinkRunner:
        """As `attach`."""
        self.check()
        runner = LinkRunner(self, channel, token, realm, cost)
        self._runners.add(runner)
        if channel.fileno() < 0:  # it calls, from any thread
            channel.on_readable = partial(self.engine.soon, runner.on_readable)
            channel.on_writable = partial(self.engine.soon, runner.on_writable)
        return runner

    def welcome(
        self, channel: Any, token: str | None, realm: Realm | None = None, cost: int | None = None
    ) -> None:
        """A listener has a comer."""
        if self.failure is not None:
            channel.close()
        else:
            self.run_link(channel, token, realm=realm, cost=cost)

    def inside(self, function: Callable[[], Any]) -> Any:
        """Call it with the lock held."""
        return self.engine.call(function)

    def in_thread(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        """Call `function` in a thread of the pool, then `done(value, error)` with the lock held."""

        def work() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001 - told to who asked
                self.engine.soon(partial(done, None, error))
            else:
                self.engine.soon(partial(done, value, None))

        try:
            self.pool.submit(work)
        except RuntimeError as error:  # no thread to be had
            self.engine.call_later(0.0, partial(done, None, OSError(str(error))))

    def remark(self, level: int, text: str, *words: object) -> None:
        """Log it, once the lock is released."""
        self.engine.remarks.append(partial(_log.log, level, text, *words))
