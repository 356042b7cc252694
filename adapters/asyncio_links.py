"""The part of AsyncBus that makes links: connect, listen, attach. What heals, opens and finds is shared with
threads (dialled.py, opening.py, local.py).

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from busway.adapters import facade, opening
from busway.adapters.asyncio_host import Host
from busway.adapters.dialled import DialledLink, dial, options_of
from busway.adapters.facade import Realm
from busway.adapters.links import LinkRunner, Listener, ListenerRunner
from busway.adapters.retrying import Retry


class Links:
    """Makes links, on the bus's loop."""

    _host: Host

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
            realm: of the link, by default that of its sort; of both sides' the wider one holds.
            cost: of the link, 1 to 16382, by default that of its sort.
            retry: when it is tried again (`busway.Retry`); None: never.
            wait: how many seconds to go on trying while the other side is not there yet, at the intervals of
                `retry`; math.inf: for ever. By default the first failure is raised.
            options: of the driver's own: `cafile`, `tls`, `headers` and `proxy` for ws:// and wss://. None is
                as if it were not given; `proxy=None` is no proxy.

        A second call with the same arguments returns the same link once it is connected. Raises LinkRefused
        with the reason: at once if another attempt would not mend it, such as the bus's name, the version or
        the token, or that no Busway is there; OSError if nothing answers; ValueError for a URL that is none,
        TypeError for an option that is none; MissingLibrary, a BusError, if the driver's is not installed.
        """
        host = self._host
        host.check_open()
        token, options = facade.from_environment(url, token, options)
        wanted = options_of(token, realm, cost, retry, wait, options)
        known = set(host.dialled)
        dialling = dial(host, opening.normalise(url), wanted)
        ready: asyncio.Future[None] = dialling.waiter()
        try:
            await asyncio.shield(ready)
        except asyncio.CancelledError:
            if dialling not in known and not host.loop.is_closed():
                dialling.end("connect was cancelled")
            raise
        return dialling.link

    async def listen(
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

        Beyond loopback give `token`, which the other side must give too, or `open=True`. `realm` and `cost`
        as for `connect`. `options` are the driver's own: for ws:// and wss:// `certificate`, `key`,
        `origins`, `pages`, `connections_max`. Raises ValueError, OSError; BusError if the driver's library is
        missing.
        """
        host = self._host
        host.check_open()
        token, _ = facade.from_environment("", token, {})
        facade.check_link(token, realm, cost)
        where = opening.normalise(url)
        listener = await host.loop.run_in_executor(None, opening.listen, where, token, open, options)
        if host.failure is not None:  # closed meanwhile
            listener.close()
            host.check()
        runner = ListenerRunner(host, listener, token, partial(host.run_link, realm=realm, cost=cost))
        host.listeners.add(runner)
        return Listener(host, runner)

    def attach(
        self,
        channel: Any,
        token: str | None = None,
        *,
        realm: Realm | None = None,
        cost: int | None = None,
    ) -> LinkRunner:
        """Run a driver's open channel as a link of this bus, for drivers of your own. Raises ValueError."""
        self._host.check_open()
        return self._host.run_link(channel, token, realm=realm, cost=cost)
