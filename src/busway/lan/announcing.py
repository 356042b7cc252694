"""Announces this program by mDNS, and tells what others announce, through zeroconf, which runs in a thread of
its own. Decides nothing. Imported, and with it zeroconf, in the thread that it makes.

All calls of zeroconf that wait are made in that thread, in the order in which they were asked for: what
starts, changes or ends an announcement never holds up a bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from busway.lan.announced import SERVICE, Announced, host_name, instance_name, parse, text_record
from busway.lan.networks import Network, own_addresses

RESOLVING_MAX: Final = 64  # announcements whose address is asked for at once
_RESOLVE_MS: Final = 3000
_END_S: Final = 3.0
_AGAIN_S: Final = 10.0  # where mDNS is not to be had now

Seen = Callable[[str, "Announced | str | None"], object]
"""Called with the name of an announcement and what it says; with a sentence if that is wrong, None if it is
taken back. In zeroconf's thread.
"""


class Announcer:
    """Args: `seen` as above; `trouble` is called with why nothing can be announced, "" once it can; both in
    any thread.
    """

    def __init__(
        self, node_id: bytes, bus: str, port: int, seen: Seen, trouble: Callable[[str], object]
    ) -> None:
        self._node_id = node_id
        self._bus = bus
        self._port = port
        self._seen = seen
        self._trouble = trouble
        self._asked: queue.SimpleQueue[tuple[Network, ...] | None] = queue.SimpleQueue()
        self._zeroconf: Any = None
        self._browser: Any = None
        self._resolving: set[str] = set()
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="busway-mdns", daemon=True)
        self._thread.start()

    def update(self, networks: tuple[Network, ...]) -> None:
        """Announce on these networks, anew if it was done before, and ask who is there."""
        self._asked.put(networks)

    def close(self) -> None:
        """Take the announcement back. Returns at once; the program's end waits for it, some seconds at the
        most.
        """
        self._asked.put(None)
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and starts no thread any more
            waiting = partial(self._thread.join, _END_S)
            threading.Thread(target=waiting, name="busway-mdns-end", daemon=False).start()

    # In the announcer's thread

    def _run(self) -> None:
        networks: tuple[Network, ...] = ()
        patience: float | None = None
        while True:
            try:
                asked = self._asked.get(timeout=patience)
            except queue.Empty:
                asked = networks
            while asked is not None and not self._asked.empty():  # the last one counts
                asked = self._asked.get()
            if asked is None:
                break
            networks = asked
            patience = None if self._announce(networks) else _AGAIN_S
        if self._zeroconf is not None:
            self._zeroconf.close()

    def _announce(self, networks: tuple[Network, ...]) -> bool:
        """Whether it worked."""
        try:
            if self._zeroconf is None:
                self._start(networks)
            else:
                self._refresh(networks)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            self._tell(f"{type(error).__name__}: {error}")
            return False
        self._tell("")
        return True

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._trouble(text)

    def _start(self, networks: tuple[Network, ...]) -> None:
        from zeroconf import Zeroconf

        log = logging.getLogger("zeroconf")
        if log.level == logging.NOTSET:  # else a network that is down is told with a traceback
            log.setLevel(logging.ERROR)
        if not networks:
            raise OSError("no network interface is up")
        made = Zeroconf(_interfaces(networks))
        browser = self._browser_of(made)  # at once, for to register takes half a second
        try:
            # Its name is this node's alone: to ask whether somebody has it would take 0.7 s.
            made.register_service(self._info(networks), cooperating_responders=True)
        except BaseException:
            browser.cancel()
            made.close()
            raise
        self._zeroconf, self._browser = made, browser

    def _refresh(self, networks: tuple[Network, ...]) -> None:
        if not networks:
            return  # nobody can be told; what comes up again is announced on
        self._zeroconf.update_interfaces(_interfaces(networks), _versions(networks))
        self._zeroconf.update_service(self._info(networks))
        self._browser.cancel()
        # A new one asks at once, and not at the interval that the former one has come to.
        self._browser = self._browser_of(self._zeroconf)

    def _browser_of(self, zeroconf: Any) -> Any:
        from zeroconf import ServiceBrowser

        return ServiceBrowser(zeroconf, SERVICE, handlers=[self._on_change])

    def _info(self, networks: tuple[Network, ...]) -> Any:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            SERVICE,
            instance_name(self._node_id),
            port=self._port,
            properties=text_record(self._node_id, self._bus, self._port),
            server=host_name(self._node_id),
            addresses=own_addresses(networks),
        )

    # In zeroconf's threads

    def _on_change(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        from zeroconf import ServiceInfo, ServiceStateChange

        if name.lower() == instance_name(self._node_id):
            return
        if state_change is ServiceStateChange.Removed:
            self._seen(name, None)
            return
        info = ServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._take(name, info)
        elif name not in self._resolving and len(self._resolving) < RESOLVING_MAX:
            self._resolving.add(name)
            asyncio.run_coroutine_threadsafe(self._resolve(zeroconf, name, info), zeroconf.loop)

    async def _resolve(self, zeroconf: Any, name: str, info: Any) -> None:
        try:
            if await info.async_request(zeroconf, _RESOLVE_MS):
                self._take(name, info)
        finally:
            self._resolving.discard(name)

    def _take(self, name: str, info: Any) -> None:
        try:
            self._seen(name, parse(name, info.decoded_properties, info.parsed_scoped_addresses(), info.port))
        except ValueError as error:
            self._seen(name, str(error))


def _interfaces(networks: tuple[Network, ...]) -> list[str | int]:
    """The interfaces as zeroconf takes them: by their addresses, and those with IPv6 by their number, too."""
    four = [each.address for each in networks if ":" not in each.address]
    return [*dict.fromkeys(four), *dict.fromkeys(each.number for each in networks if ":" in each.address)]


def _versions(networks: tuple[Network, ...]) -> Any:
    """Which versions of IP there are."""
    from zeroconf import IPVersion

    six = any(":" in each.address for each in networks)
    four = any(":" not in each.address for each in networks)
    return IPVersion.All if six and four else IPVersion.V6Only if six else IPVersion.V4Only
