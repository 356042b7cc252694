"""Opens links for threads, and finds the local nodes. Blocks; never called with the engine's lock held.

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import random
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from busway.adapters.links import CONNECT_S, LinkRunner, ListenerRunner, now_ms, websocket_driver
from busway.adapters.threads_engine import Promise
from busway.drivers import tcp, unix
from busway.errors import BusError, LinkRefused
from busway.protocol import Connection, codes

if TYPE_CHECKING:
    from busway.adapters.threads import Bus

_ASK_S = 0.25  # how long a leaf waits for one local node before it tries the next
_JOIN_S = 0.5  # how long opening a bus waits for the local nodes it found
_BUSY_RETRY_S = 0.01  # a full backlog is asked again after this
_RETRY_S = 0.5  # a leaf that found nobody looks again after this
_REJOIN_S = 0.25  # after a local link was lost without a goodbye
_ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED, codes.BUS_NAME)


def open_channel(url: str, token: str | None = None, options: dict[str, Any] | None = None) -> Any:
    """A connected channel to `url`. Raises OSError, ValueError."""
    scheme = url.partition(":")[0]
    if scheme == "tcp":
        return _dial(tcp, url, options or {})
    if scheme in ("ws", "wss"):
        return _dial(websocket_driver(), url, {"token": token, **(options or {})})
    if scheme == "ipc":
        return unix.dial(url.removeprefix("ipc://"))
    raise ValueError(f"{url!r}: expected tcp://host:port, ws://host:port, wss://host:port or ipc:///path")


def _dial(driver: Any, url: str, options: dict[str, Any]) -> Any:
    """Each address of the name is tried in turn."""
    failure = OSError(f"{url} has no address")
    for address in driver.candidates(url):
        channel: Any = None
        try:
            channel = driver.dial(address, url, **options)
            _wait_connected(channel, url)
            return channel
        except OSError as error:
            failure = error
            if channel is not None:
                channel.close()
        except BaseException:
            if channel is not None:
                channel.close()
            raise
    raise failure


def _wait_connected(channel: Any, url: str) -> None:
    end = time.monotonic() + CONNECT_S
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_WRITE)
        while not channel.connected():
            writes = getattr(channel, "wants_write", True)
            selector.modify(channel.fileno(), selectors.EVENT_WRITE if writes else selectors.EVENT_READ)
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError(f"{url}: no answer within {CONNECT_S:g} s")


class Listener:
    """A place where others can connect. Made by `listen`."""

    def __init__(self, bus: Bus, runner: ListenerRunner) -> None:
        self._bus = bus
        self._runner = runner

    @property
    def url(self) -> str:
        """Where others can connect, with the real port."""
        return self._runner.url

    def close(self) -> None:
        """Stop listening; links that were accepted stay. Twice is once."""
        self._bus.engine.call(self._runner.close)


class LocalMesh:
    """Finds this machine's other nodes of the bus by their sockets, without a master (design: IPC without a
    master).
    """

    def __init__(self, bus: Bus, attach: Callable[[Any, str | None], LinkRunner], listen: bool) -> None:
        self._bus = bus
        self._attach = attach
        self._closed = False
        self.listener: ListenerRunner | None = None
        if listen:
            listener = unix.UnixListener.open(bus.node.bus, bus.node.node_id)
            self.listener = bus.engine.call(ListenerRunner, bus, listener, None, bus.welcome)

    def join(self) -> None:
        """Connect to all that are there, a leaf to one; return when they have told their endpoints, or after
        500 ms.
        """
        end = time.monotonic() + _JOIN_S
        unix.sweep(self._bus.node.bus)
        peers = [peer for peer in unix.peers(self._bus.node.bus) if not self._is_known(peer.node_id)]
        if self._bus.node.leaf:
            self._join_any(peers)
            return
        runners = [self._dial(peer, end) for peer in peers]
        for runner in runners:  # those who are late go on
            if runner is not None:
                self._bus.engine.wait(_ready(runner), max(0.0, end - time.monotonic()))

    def _is_known(self, node_id: bytes) -> bool:
        with self._bus.engine.lock:
            known = self._bus.node.routes.peers.get(node_id)
            return node_id == self._bus.id or (known is not None and bool(known.connections))

    def _join_any(self, peers: list[unix.Peer]) -> None:
        """A leaf's one link: to the first that answers, in no particular order, so that they share the
        leaves.
        """
        random.shuffle(peers)
        for peer in peers:
            end = time.monotonic() + _ASK_S
            runner = self._dial(peer, end)
            if runner is None:
                continue
            try:
                _ready(runner).result(max(0.0, end - time.monotonic()))
                return
            except LinkRefused:
                pass  # its event has told
            except TimeoutError:
                self._bus.engine.call(runner.connection.close, now_ms())
        self._bus.engine.call(self._bus.engine.call_later, _RETRY_S, self._rejoin)

    def _dial(self, peer: unix.Peer, end: float) -> LinkRunner | None:
        while True:
            try:
                channel = unix.dial(peer.path)
            except BlockingIOError:
                if time.monotonic() > end:
                    return None
                time.sleep(_BUSY_RETRY_S)
                continue
            except OSError:
                return None  # gone, or not ours: sweep() sees to the former, the driver counts the latter
            try:
                return self._attach(channel, None)
            except BaseException:
                channel.close()
                raise

    def link_lost(self, connection: Connection) -> None:
        """A local link ended without a goodbye: its node is dead, or must be found again. A leaf needs
        another whatever the end.
        """
        if connection.opened_at < 0 or self._closed:
            return
        if self._bus.node.leaf:
            self._bus.engine.call_later(0.0, self._rejoin)
        elif connection.close_code not in _ORDERLY:
            self._bus.engine.call_later(_REJOIN_S, self._rejoin)

    def _rejoin(self) -> None:
        if self._bus.node.leaf and self._bus.node.mesh.uplink is not None:
            return
        if not self._closed:
            self._bus.pool.submit(self._join_again)

    def _join_again(self) -> None:
        """In a thread of the pool. The socket directory may have gone; the next loss tries again."""
        try:
            self.join()
        except (OSError, ValueError, BusError):
            pass

    def close(self) -> None:
        self._closed = True
        if self.listener is not None:
            self.listener.close()


def _ready(runner: LinkRunner) -> Promise:
    promise: Promise = runner.ready
    return promise
