"""Opens links under asyncio, and finds the local nodes.

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from busway.adapters.links import CONNECT_S, Host, LinkRunner, ListenerRunner, now_ms, websocket_driver
from busway.drivers import tcp, unix
from busway.errors import LinkRefused
from busway.protocol import Connection, codes

__all__ = ["LinkRunner", "ListenerRunner", "LocalMesh", "now_ms", "open_channel"]

_ASK_S = 0.25  # how long a leaf waits for one local node before it tries the next
_JOIN_S = 0.5  # how long opening a bus waits for the local nodes it found
_BUSY_RETRY_S = 0.01  # a full backlog is asked again after this
_RETRY_S = 0.5  # a leaf that found nobody looks again after this
_REJOIN_S = 0.25  # after a local link was lost without a goodbye


class AsyncHost(Host, Protocol):
    """What the local mesh needs of its bus."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...


async def wait_connected(loop: asyncio.AbstractEventLoop, channel: Any) -> None:
    """Wait for a non-blocking connect to end. Raises OSError if it failed."""
    while not channel.connected():
        ready: asyncio.Future[None] = loop.create_future()
        writes = getattr(channel, "wants_write", True)
        (loop.add_writer if writes else loop.add_reader)(channel.fileno(), _resolve, ready)
        try:
            await ready
        finally:
            (loop.remove_writer if writes else loop.remove_reader)(channel.fileno())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _dial(loop: asyncio.AbstractEventLoop, driver: Any, url: str, options: dict[str, Any]) -> Any:
    """A connected channel: each address of the name is tried in turn. Raises OSError, ValueError."""
    failure: OSError = OSError(f"{url} has no address")
    for address in await loop.run_in_executor(None, driver.candidates, url):
        channel: Any = None
        try:
            channel = driver.dial(address, url, **options)
            async with asyncio.timeout(CONNECT_S):
                await wait_connected(loop, channel)
            return channel
        except TimeoutError:
            failure = TimeoutError(f"{url}: no answer within {CONNECT_S:g} s")
            if channel is not None:
                channel.close()
        except OSError as error:
            failure = error
            if channel is not None:
                channel.close()
        except asyncio.CancelledError:
            if channel is not None:
                channel.close()
            raise
    raise failure


async def open_channel(
    loop: asyncio.AbstractEventLoop, url: str, token: str | None = None, options: dict[str, Any] | None = None
) -> Any:
    """A connected channel to `url`. Raises OSError, ValueError."""
    scheme = url.partition(":")[0]
    if scheme == "tcp":
        return await _dial(loop, tcp, url, options or {})
    if scheme in ("ws", "wss"):
        return await _dial(loop, websocket_driver(), url, {"token": token, **(options or {})})
    if scheme == "ipc":
        return unix.dial(url.removeprefix("ipc://"))
    raise ValueError(f"{url!r}: expected tcp://host:port, ws://host:port, wss://host:port or ipc:///path")


class LocalMesh:
    """Finds this machine's other nodes of the bus by their sockets, without a master (design: IPC without a
    master).
    """

    def __init__(
        self, host: AsyncHost, attach: Callable[[Any, str | None], LinkRunner], listen: bool
    ) -> None:
        self._host = host
        self._attach = attach
        self._closed = False
        self._joining: set[asyncio.Task[None]] = set()
        self.listener: ListenerRunner | None = None
        if listen:
            listener = unix.UnixListener.open(host.node.bus, host.node.node_id)
            self.listener = ListenerRunner(host, listener, None, attach)

    async def join(self) -> None:
        """Connect to all that are there, a leaf to one; return when they have told their endpoints, or after
        500 ms.
        """
        unix.sweep(self._host.node.bus)
        if self._host.node.leaf:
            await self._join_any()
            return
        joining = [
            self._host.loop.create_task(self._join_one(peer)) for peer in unix.peers(self._host.node.bus)
        ]
        for task in joining:
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)
        if joining:
            await asyncio.wait(joining, timeout=_JOIN_S)  # those who are late go on

    async def _join_any(self) -> None:
        """A leaf's one link: to the first that answers, in no particular order, so that they share the
        leaves.
        """
        peers = unix.peers(self._host.node.bus)
        random.shuffle(peers)
        for peer in peers:
            if peer.node_id == self._host.node.node_id:
                continue
            runner = await self._dial(peer)
            if runner is None:
                continue
            try:
                async with asyncio.timeout(_ASK_S):
                    await asyncio.shield(runner.ready)
                return
            except LinkRefused:
                pass  # its event has told
            except TimeoutError:
                runner.connection.close(now_ms())
        self._host.loop.call_later(_RETRY_S, self._rejoin)

    async def _join_one(self, peer: unix.Peer) -> None:
        known = self._host.node.routes.peers.get(peer.node_id)
        if peer.node_id == self._host.node.node_id or (known is not None and known.connections):
            return
        runner = await self._dial(peer)
        if runner is None:
            return
        try:
            await asyncio.shield(runner.ready)
        except LinkRefused:
            pass  # its event has told

    async def _dial(self, peer: unix.Peer) -> LinkRunner | None:
        while True:
            try:
                channel = unix.dial(peer.path)
            except BlockingIOError:
                await asyncio.sleep(_BUSY_RETRY_S)
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
        if self._host.node.leaf:
            if connection.opened_at >= 0:
                self._host.loop.call_soon(self._rejoin)
            return
        orderly = connection.close_code in (
            codes.GOODBYE,
            codes.DUPLICATE_LINK,
            codes.REPLACED,
            codes.BUS_NAME,
        )
        if not orderly and not self._closed and connection.opened_at >= 0:
            self._host.loop.call_later(_REJOIN_S, self._rejoin)

    def _rejoin(self) -> None:
        if self._host.node.leaf and self._host.node.mesh.uplink is not None:
            return
        if not self._closed:
            task = self._host.loop.create_task(self.join())
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)
            task.add_done_callback(_swallow)

    def close(self) -> None:
        self._closed = True
        for task in self._joining:
            task.cancel()
        if self.listener is not None:
            self.listener.close()


def _swallow(task: asyncio.Task[None]) -> None:
    """The socket directory may have gone meanwhile; the next loss tries again."""
    if not task.cancelled():
        task.exception()
