"""Moves bytes between drivers' channels and the core's connections under asyncio, and finds the local nodes.

Knows nothing of endpoints and messages.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from busway.adapters.facade import Realm, make_link
from busway.drivers import tcp, unix
from busway.errors import LinkRefused
from busway.protocol import Connection, Node, codes, events

_READ_SIZE = 65536  # from 128 KiB on, malloc maps and unmaps memory at every read: five times slower
_WRITE_SIZE = 65536
_ASK_S = 0.25  # how long a leaf waits for one local node before it tries the next
_JOIN_S = 0.5  # how long opening a bus waits for the local nodes it found
_BUSY_RETRY_S = 0.01  # a full backlog is asked again after this
_RETRY_S = 0.5  # a leaf that found nobody looks again after this
_REJOIN_S = 0.25  # after a local link was lost without a goodbye
_ACCEPT_BURST = 64


def now_ms() -> int:
    """The clock of every node in this process."""
    return time.monotonic_ns() // 1_000_000


class Host(Protocol):
    """What a link needs of its bus."""

    node: Node

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def dispatch(self, happened: list[events.Event]) -> None: ...
    def link_gone(self, runner: LinkRunner) -> None: ...


class LinkRunner:
    """One channel and its connection: reads when there is something, writes when there is room, closes when
    done.
    """

    def __init__(
        self,
        host: Host,
        channel: Any,
        token: str | None,
        realm: Realm | None = None,
        cost: int | None = None,
    ) -> None:
        self.channel = channel
        self.ready: asyncio.Future[None] = host.loop.create_future()  # open and synced, or LinkRefused
        self.connection: Connection = host.node.connection(make_link(channel, token, realm, cost), now_ms())
        self.connection.tag = self
        self._host = host
        self._rest = memoryview(b"")
        self._closed = False
        if channel.fileno() >= 0:
            host.loop.add_reader(channel.fileno(), self.on_readable)
        else:
            channel.on_readable = self.on_readable
            channel.on_writable = self.on_writable

    def on_readable(self) -> None:
        """The channel has bytes, its end, or a failure."""
        if self._closed:
            return
        try:
            data = self.channel.read(_READ_SIZE)
        except OSError as error:
            self._host.dispatch(self.connection.receive_eof(now_ms(), f"the connection failed: {error}"))
            self.close()
            return
        if data:
            self._host.dispatch(self.connection.receive_data(data, now_ms()))
            if not self.ready.done():
                self.settle()
        elif data is not None:
            self._host.dispatch(self.connection.receive_eof(now_ms()))
            self.close()

    def flush(self) -> None:
        """Write what the connection has, as far as the channel takes it."""
        if self._closed or self._rest:
            return
        try:
            while data := self.connection.data_to_send(_WRITE_SIZE, now_ms()):
                taken = self.channel.write(data)
                if taken < len(data):
                    self._await_writable(memoryview(data)[taken:])
                    return
        except OSError as error:
            self._fail(error)
            return
        if self.connection.done:
            self.close()

    def _await_writable(self, rest: memoryview) -> None:
        self._rest = rest
        if self.channel.fileno() >= 0:
            self._host.loop.add_writer(self.channel.fileno(), self.on_writable)

    def on_writable(self) -> None:
        """The channel takes bytes again."""
        if self._closed:
            return
        if self._rest:
            try:
                taken = self.channel.write(self._rest)
            except OSError as error:
                self._fail(error)
                return
            self._rest = self._rest[taken:]
            if self._rest:
                return
        if self.channel.fileno() >= 0:
            self._host.loop.remove_writer(self.channel.fileno())
        self.flush()
        self._host.dispatch(self._host.node.take_events())

    def _fail(self, error: OSError) -> None:
        """Writing failed: what had arrived before is read first, for the reason may be in it."""
        self._rest = memoryview(b"")
        try:
            while data := self.channel.read(_READ_SIZE):
                self._host.dispatch(self.connection.receive_data(data, now_ms()))
        except OSError:
            pass
        self._host.dispatch(self.connection.receive_eof(now_ms(), f"the connection failed: {error}"))
        self.close()

    def close(self) -> None:
        """Release the channel; whatever is still unsent is lost."""
        if self._closed:
            return
        self._closed = True
        if self.channel.fileno() >= 0:
            self._host.loop.remove_reader(self.channel.fileno())
            self._host.loop.remove_writer(self.channel.fileno())
        self.channel.close()
        self._host.dispatch(self.connection.receive_eof(now_ms()))
        self.settle()
        self._host.link_gone(self)

    def abandon(self) -> None:
        """In a forked child: the link is the parent's."""
        self._closed = True
        self.channel.abandon()

    def ended(self) -> None:
        """The connection is over: its last bytes may take 2 s to leave, then the channel is closed all the
        same.
        """
        self.settle()
        if not self._closed:
            self._host.loop.call_later(codes.CLOSING_MS / 1000, self.close)

    def settle(self) -> None:
        """Tell who waits for the link that it is ready, or why it never will be."""
        if self.ready.done():
            return
        if self.connection.close_code >= 0:
            self.ready.set_exception(LinkRefused(self.connection.close_code, self.connection.close_text))
            self.ready.exception()  # nobody may be waiting
        elif self.connection.synced:
            self.ready.set_result(None)


class ListenerRunner:
    """Accepts what comes to a driver's listener."""

    def __init__(
        self, host: Host, listener: Any, token: str | None, welcome: Callable[[Any, str | None], object]
    ) -> None:
        self.listener = listener
        self._host = host
        self._abandoned = False
        self._token = token
        self._welcome = welcome
        host.loop.add_reader(listener.fileno(), self._on_readable)

    @property
    def url(self) -> str:
        """Where others can connect, with the real port."""
        return str(self.listener.url)

    def _on_readable(self) -> None:
        for _ in range(0 if self._abandoned else _ACCEPT_BURST):
            channel = self.listener.accept()
            if channel is None:
                return
            self._welcome(channel, self._token)

    def close(self) -> None:
        """Stop listening; links that were accepted stay. Twice is once."""
        if self.listener.fileno() >= 0:
            self._host.loop.remove_reader(self.listener.fileno())
        self.listener.close()

    def abandon(self) -> None:
        """In a forked child: the listener is the parent's."""
        self._abandoned = True
        self.listener.abandon()


async def wait_connected(loop: asyncio.AbstractEventLoop, channel: Any) -> None:
    """Wait for a non-blocking connect to end. Raises OSError if it failed."""
    while not channel.connected():
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(channel.fileno(), _resolve, writable)
        try:
            await writable
        finally:
            loop.remove_writer(channel.fileno())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def dial_tcp(loop: asyncio.AbstractEventLoop, url: str) -> Any:
    """A connected TCP channel: each address of the name is tried in turn. Raises OSError, ValueError."""
    failure: OSError = OSError(f"{url} has no address")
    for address in await loop.run_in_executor(None, tcp.candidates, url):
        channel: Any = None
        try:
            channel = tcp.dial(address, url)
            await wait_connected(loop, channel)
            return channel
        except OSError as error:
            failure = error
            if channel is not None:
                channel.close()
        except asyncio.CancelledError:
            if channel is not None:
                channel.close()
            raise
    raise failure


async def open_channel(loop: asyncio.AbstractEventLoop, url: str) -> Any:
    """A connected channel to `url`. Raises OSError, ValueError."""
    scheme = url.partition(":")[0]
    if scheme == "tcp":
        return await dial_tcp(loop, url)
    if scheme == "ipc":
        return unix.dial(url.removeprefix("ipc://"))
    raise ValueError(f"{url!r}: expected tcp://host:port or ipc:///path")


class LocalMesh:
    """Finds this machine's other nodes of the bus by their sockets, without a master (design: IPC without a
    master).
    """

    def __init__(self, host: Host, attach: Callable[[Any, str | None], LinkRunner], listen: bool) -> None:
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
