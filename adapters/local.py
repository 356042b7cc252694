"""Finds this machine's other nodes of the bus by their sockets, without a master (design: IPC without a
master).

For asyncio and threads alike: everything here is a callback of the loop and never blocks.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from busway.adapters.links import Host, LinkRunner, ListenerRunner
from busway.drivers import ipc
from busway.errors import BusError
from busway.protocol import Connection, codes

_ASK_S = 0.25  # how long a local node is waited for until the next is tried, too
_AT_ONCE = 16  # local nodes that are dialled and have not answered yet
_JOIN_S = 0.5  # how long opening a bus waits for the local nodes it found
_BUSY_S = 0.01  # a full backlog is asked again after this
_BUSY_MAX = 50  # ... so often, then it is a program that was stopped: every _REJOIN_S
_RETRY_S = 0.5  # a leaf that found nobody looks again after this
_REJOIN_S = 0.25  # after a local link was lost without a goodbye
_OVER_S = 10.0  # after that a local node may be dialled again, whatever has become of it
_LATE_S = 2.0  # after a local link was not answered in time
_TOLD_MAX = 256
_WATCH_S = 5.0  # between looks whether others still find our socket: two lstat calls
# Nobody is looked for after these ends. Not so after REPLACED: who claims the id of a program that lives must
# not keep it away.
_ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.BUS_NAME)
# How links end that were not answered in time; who is dialled may be the one that gave up.
_LATE = (codes.HELLO_TIMEOUT, codes.LOST)


class Crowd:
    """Nodes that are dialled, a few at a time: hundreds of programs that start at once would each be dialled
    by so many others that nobody is answered in time, and all of them try again. Who does not answer, as it
    was stopped, holds up the others for a moment only.

    Args: `joined` is called once all are linked or known not to be had.
    """

    def __init__(self, mesh: LocalMesh, peers: list[ipc.Peer], joined: Callable[[], object]) -> None:
        self.left = {peer.node_id for peer in peers}
        self._mesh = mesh
        self._joined = joined
        self._waiting = deque(peers)
        self._asked: dict[bytes, float] = {}  # who holds up others, until when; in that order
        self._going_on = False  # it is, or will be in this turn of the loop
        self._timed = False
        mesh.dials |= dict.fromkeys(self.left, math.inf)

    def go_on(self) -> None:
        """Dial as many as may be."""
        self._going_on = True
        while self._waiting and len(self._asked) < _AT_ONCE:
            peer = self._waiting.popleft()
            if self._mesh.is_linked(peer.node_id):  # it has dialled us meanwhile
                self._over(peer.node_id)
                continue
            now = self._mesh.now()
            self._asked[peer.node_id] = now + _ASK_S
            self._mesh.dials[peer.node_id] = now + _OVER_S
            self._mesh.dial(peer, partial(self._dialled, peer.node_id))
        self._going_on = False
        self._watch()
        if not self.left:
            self._joined()

    def _dialled(self, node_id: bytes, runner: LinkRunner | None) -> None:
        over = partial(self._over, node_id)
        if runner is None:
            over()
        else:
            self._mesh.when_settled(runner, over)  # open, or refused: then its event has told

    def _over(self, node_id: bytes) -> None:
        self._asked.pop(node_id, None)
        self._mesh.dials.pop(node_id, None)
        self.left.discard(node_id)
        if not self._going_on and (self._waiting or not self.left):
            self._going_on = True
            self._mesh.later(0.0, self.go_on)  # once for all that settle now

    def _watch(self) -> None:
        """One timer for all: it looks who has had its time."""
        if self._waiting and not self._timed:
            self._timed = True
            self._mesh.later(next(iter(self._asked.values())) - self._mesh.now(), self._due)

    def _due(self) -> None:
        self._timed = False
        now = self._mesh.now()
        for node_id, until in list(self._asked.items()):
            if until <= now:
                del self._asked[node_id]
        if not self._going_on:
            self.go_on()


class LocalMesh:
    """A bus's links to the local nodes: to all of them, a leaf to one."""

    def __init__(self, host: Host, listen: bool) -> None:
        self._host = host
        self._closed = False
        self._timers: set[Any] = set()
        self._joins: dict[Any, None] = {}  # futures of those who wait for a join
        self._told: set[str] = set()  # where a program of another version is
        self._trouble = ""  # why the socket could not be put back, as it was told last
        self.dials: dict[bytes, float] = {}  # nodes that are being dialled, or about to be: until when, s
        self._joins_late = False
        self.listener: ListenerRunner | None = None
        if listen:
            listener = ipc.open_listener(host.node.bus, host.node.node_id)
            self.listener = ListenerRunner(host, listener)
            self.later(_WATCH_S, self._watch)

    def join(self) -> Any:
        """Connect to all that are there, a leaf to one.

        Returns a future of the loop's: done when they have told their endpoints, or after 500 ms.
        Raises OSError, ValueError if the directory is not to be had.
        """
        node = self._host.node
        ipc.sweep(node.bus)
        peers = [peer for peer in ipc.peers(node.bus) if not self._is_known(peer.node_id)]
        joined = self._host.loop.create_future()
        self._joins[joined] = None
        if node.leaf:
            import random  # only here, for it is slow to import

            random.shuffle(peers)  # so that the routers share the leaves
            self._ask(deque(peers), joined)
        else:
            self._join_all(peers, joined)
        return joined

    def _is_known(self, node_id: bytes) -> bool:
        if node_id == self._host.node.node_id or self.now() < self.dials.get(node_id, 0.0):
            return True
        return self.is_linked(node_id) and not self._host.node.leaf

    def now(self) -> float:
        """Seconds of the loop's."""
        return self._host.loop.time()

    def is_linked(self, node_id: bytes) -> bool:
        known = self._host.node.routes.peers.get(node_id)
        return known is not None and bool(known.connections)

    def _join_all(self, peers: list[ipc.Peer], joined: Any) -> None:
        crowd = Crowd(self, peers, partial(self._resolve, joined))
        crowd.go_on()
        if crowd.left:
            self.later(_JOIN_S, partial(self._resolve, joined))  # those who are late go on

    def _ask(self, peers: deque[ipc.Peer], joined: Any) -> None:
        """A leaf's one link: to the first that answers."""
        if peers:
            self.dial(peers.popleft(), partial(self._asked, peers, joined))
        else:
            self.later(_RETRY_S, self._rejoin)
            self._resolve(joined)

    def _asked(self, peers: deque[ipc.Peer], joined: Any, runner: LinkRunner | None) -> None:
        if runner is None:
            self._ask(peers, joined)
            return

        def settled() -> None:
            if runner.connection.close_code < 0:
                self._resolve(joined)
            else:
                self._ask(peers, joined)

        def late() -> None:
            if not runner.ready.done():
                runner.connection.close(self._host.now_ms())  # which settles it

        self.when_settled(runner, settled)
        self.later(_ASK_S, late)

    def dial(self, peer: ipc.Peer, then: Callable[[LinkRunner | None], object], tries: int = 0) -> None:
        """Make a link; `then` is told it, or None if there is nobody, once that is known."""
        if self._closed:
            return
        try:
            channel = ipc.dial(peer.path)
        except BlockingIOError:
            delay = _BUSY_S if tries < _BUSY_MAX else _REJOIN_S
            self.later(delay, partial(self.dial, peer, then, tries + 1))
            return
        except Exception:  # noqa: BLE001 - `joined` is to be told whatever it is
            then(None)  # gone, or not ours: sweep() sees to the former, the driver counts the latter
            return
        try:
            # HELLO leaves now: it is there when the other side has accepted.
            runner = self._host.together(partial(self._host.run_link, channel))
        except Exception:  # noqa: BLE001 - as above; the bus was closed
            channel.close()
            then(None)
            return
        then(runner)

    def when_settled(self, runner: LinkRunner, then: Callable[[], object]) -> None:
        """Call it once a link is open, or known not to be had: who is dialled may have gone before HELLO was
        written.
        """
        if runner.ready.done():
            self.later(0.0, then)
        else:
            runner.on_settled = then

    def link_lost(self, connection: Connection) -> None:
        """A local link ended: without a goodbye its node is looked for again; a leaf needs another anyway."""
        if self._closed:
            return
        if connection.opened_at < 0:
            self._refused(connection)
            return
        if self._host.node.leaf:
            self.later(0.0, self._rejoin)
        elif connection.close_code not in _ORDERLY:
            self.later(_REJOIN_S, self._rejoin)

    def _refused(self, connection: Connection) -> None:
        """Nobody waits for these links. Once for each address: a leaf without a router tries again. Who is
        only late, since hundreds start at once or it was stopped, is dialled again.
        """
        address = connection.link.address
        late = connection.link.dialled and connection.close_code in _LATE
        if late and not self._host.node.leaf and not self._joins_late:
            self._joins_late = True
            self.later(_LATE_S, self._join_late)
        if connection.close_code == codes.BAD_VERSION and address not in self._told:
            if len(self._told) >= _TOLD_MAX:
                self._told.clear()
            self._told.add(address)
            text = "a program on this machine cannot be joined: %s (%s)"
            self._host.remark(logging.WARNING, text, connection.close_text, address)

    def _join_late(self) -> None:
        self._joins_late = False
        self._rejoin()

    def _rejoin(self) -> None:
        leaf = self._host.node.leaf
        if self._closed or (leaf and self._host.node.mesh.uplink is not None):
            return
        try:
            self.join()
        except (OSError, ValueError, BusError):  # the directory may have gone meanwhile
            if leaf:
                self.later(_RETRY_S, self._rejoin)

    def _watch(self) -> None:
        """The directory may be cleared away under us, as at the end of a login session: then nobody who comes
        later would find us, nor would we have heard of those who came meanwhile.
        """
        assert self.listener is not None
        self.later(_WATCH_S, self._watch)
        try:
            restored = self.listener.restore()
        except (OSError, ValueError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._host.remark(logging.WARNING, "new programs cannot find this one: %s", error)
            return
        self._trouble = ""
        if restored:
            text = "this bus's socket was removed from under it, and is put back: %s"
            self._host.remark(logging.WARNING, text, self.listener.url)
            self._rejoin()

    def later(self, delay: float, callback: Callable[[], object]) -> None:
        """Call it after so many seconds, unless nothing is joined any more."""

        def due() -> None:
            self._timers.discard(timer)
            callback()

        timer = self._host.loop.call_later(delay, due)
        self._timers.add(timer)

    def _resolve(self, joined: Any) -> None:
        self._joins.pop(joined, None)
        if not joined.done():
            joined.set_result(None)

    def close(self) -> None:
        """No more links are made; those there are stay."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for joined in list(self._joins):
            self._resolve(joined)
        if self.listener is not None:
            self.listener.close()
