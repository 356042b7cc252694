"""The part of Bus that makes links: connect, listen, attach. What heals, opens and finds is shared with
asyncio (dialled.py, opening.py, local.py).

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from busway.adapters import facade, opening
from busway.adapters.dialled import DialledLink, Dialling, Options, dial, options_of
from busway.adapters.facade import Realm
from busway.adapters.links import LinkRunner, Listener, ListenerRunner
from busway.adapters.retrying import Retry
from busway.adapters.threads_host import Host


class Links:
    """Makes links, from any thread."""

    _host: Host

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
        host = self._host
        host.check_open()
        token, options = facade.from_environment(url, token, options)
        wanted = options_of(token, realm, cost, retry, wait, options)
        dialling, ready, mine = host.engine.call(self._dial, opening.normalise(url), wanted)
        try:
            ready.result()
        except BaseException:
            if mine and not ready.done():
                host.engine.call(dialling.end, "connect was interrupted")
            raise
        found: DialledLink = dialling.link
        return found

    def _dial(self, url: str, options: Options) -> tuple[Dialling, Any, bool]:
        self._host.check()  # closed meanwhile?
        known = set(self._host.dialled)
        dialling = dial(self._host, url, options)
        return dialling, dialling.waiter(), dialling not in known

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
        host = self._host
        host.check_open()
        token, _ = facade.from_environment("", token, {})
        facade.check_link(token, realm, cost)
        listener = opening.listen(opening.normalise(url), token, open, options)
        try:
            return Listener(host, host.engine.call(self._listen, listener, token, realm, cost))
        except BaseException:
            listener.close()
            raise

    def _listen(self, listener: Any, token: str | None, realm: Any, cost: int | None) -> ListenerRunner:
        host = self._host
        host.check()  # closed meanwhile?
        runner = ListenerRunner(host, listener, token, partial(host.welcome, realm=realm, cost=cost))
        host.listeners.add(runner)
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
        self._host.check_open()
        runner: LinkRunner = self._host.engine.call(
            self._host.run_link, channel, token, realm=realm, cost=cost
        )
        return runner
