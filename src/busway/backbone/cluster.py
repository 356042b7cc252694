"""The connection of a backbone with its servers, as a link that heals: what the user holds, and what becomes
of it.

Everything here is called where the core may be, as in adapters/dialled.py, whose place it takes for NATS.
Trying again is nats-py's once it has been connected; before, and when servers have refused it, it is done
here.
"""

from __future__ import annotations

import hashlib
import logging
from random import random
from typing import TYPE_CHECKING, Any, Final, cast

from busway.adapters.closing import resolve
from busway.adapters.dialled import DialledLink, Options
from busway.adapters.links import next_id
from busway.adapters.records import Change, LinkInfo
from busway.adapters.refusals import is_hopeless, text_of
from busway.adapters.retrying import CONNECTED, Reconnector
from busway.drivers.nats import Hub, NatsChannel, parse
from busway.drivers.nats_session import NatsSession
from busway.errors import BusClosed, BusError

if TYPE_CHECKING:
    from busway.adapters.host import BusHost
    from busway.protocol.routing.fabric import GatewayLookups

_LEAVE_S: Final = 0.2
_TOLD_MAX: Final = 64  # troubles that are remembered to have been told


class Cluster:
    """One connection with a cluster of NATS servers."""

    runner = None  # it is no link of the core

    def __init__(self, host: BusHost, url: str, options: Options) -> None:
        self.place = parse(url)
        self.asked = url
        self.url = self.place.name  # for people and logs: without the name and password in it
        self.options = options
        self.id = next_id()
        self.link = DialledLink(cast(Any, self))
        self.reconnector = Reconnector(options.retry, options.wait, self._time(host))
        self.counters = {"asked": 0, "answered": 0, "news": 0, "refused": 0, "lost": 0}
        self._host = host
        self._name = f"nats://{self.place.name.partition('://')[2]}"
        self._session: NatsSession | None = None
        self._hub: Hub | None = None
        self._waiters: list[Any] = []
        self._timers: set[Any] = set()
        self._over = False
        self._failure: BaseException | None = None
        self._warned: dict[str, None] = {}
        terms = options.terms
        # Who may use the cluster's subjects may come, unless a token or keys are asked for.
        self._terms = terms._replace(realm="global", open=terms.token is None, routers=terms.token is None)
        host.dialled.add(cast(Any, self))
        host.backbone = self

    # What is made of it

    def _first(self) -> None:
        """The servers are reached for the first time."""
        raise NotImplementedError

    def _anew(self) -> None:
        """Servers were lost, and others are reached."""
        raise NotImplementedError

    def answered(self, number: int, data: bytes, nobody: bool) -> None:
        """An answer to a question of ours, or that nobody is there."""
        raise NotImplementedError

    def heard(self, where: str, data: bytes, reply: str) -> None:
        """A question, or news."""
        raise NotImplementedError

    def reached(self, channel: NatsChannel) -> None:
        """Another gateway makes a link with this one."""
        raise NotImplementedError

    # As adapters/dialled.py

    @property
    def _node(self) -> Any:
        return self._host.node

    @property
    def _lookups(self) -> GatewayLookups:
        found: GatewayLookups = self._host.node.mesh.lookups
        return found

    def info(self) -> LinkInfo:
        """The connection with the cluster, as links() lists it."""
        at = self.reconnector.next_at
        return LinkInfo(
            b"",
            "",
            self.reconnector.state,
            "global",
            self.place.name,
            None,
            0,
            0,
            url=self.url,
            attempt=self.reconnector.attempt,
            next_try=None if at < 0 else max(0.0, at - self._now()),
            error=self.reconnector.error,
            id=self.id,
        )

    def row(self) -> dict[str, object]:
        """For the introspection endpoint (docs/protocol.md, section 9)."""
        info = self.info()
        return {
            "url": self.place.name,
            "state": info.state,
            "peer": b"",
            "label": "",
            "attempt": info.attempt,
            "next_try_ms": -1 if info.next_try is None else round(info.next_try * 1000),
            "error": info.error,
            "losses": self.reconnector.losses,
        }

    def waiter(self) -> Any:
        """A future of the loop's: done when the cluster is reached, or with why it never will be."""
        future = self._host.loop.create_future()
        if self.reconnector.state == CONNECTED:
            future.set_result(None)
        elif self._over:
            future.set_exception(self._failure or BusClosed())
        else:
            self._waiters.append(future)
        return future

    def close(self) -> None:
        """Leave the cluster, from wherever that is called."""
        self._host.inside(self.end, "it was closed")

    def end(self, text: str) -> None:
        """Leave the cluster, in order."""
        for runner in list(self._host.runners):
            if isinstance(runner.channel, NatsChannel):
                runner.connection.close(self._host.now_ms())
        self._finish(BusError(f"{self.place.name}: {text} before the cluster was reached"))
        self._host.backbone = None
        # The last bytes of links leave first.
        self._host.loop.call_later(_LEAVE_S if self._host.runners else 0.0, self.release)

    def bus_closed(self) -> None:
        """The bus ends its links itself, and then calls `release`."""
        self._finish(BusClosed())

    def release(self) -> None:
        """Nothing of it stays open. Twice is once."""
        if self._session is not None:
            self._session.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._over = True
        if self._session is not None:
            self._session.abandon()

    def _finish(self, failure: BaseException) -> None:
        if self._over:
            return
        self._over = True
        self._failure = failure
        if self._hub is not None:
            self._hub.ends = True
        self._host.dialled.discard(cast(Any, self))
        self.reconnector.close()
        for timer in list(self._timers):
            timer.cancel()
        if self._node.mesh.fabric and not self._node.closed:
            self._node.mesh.set_fabric(False, self._host.now_ms())
        self._resolve(failure)
        self._tell()

    # The connection

    def begin(self) -> None:
        """Connect, for the first time or again."""
        self.reconnector.begin()
        self._tell()
        threads = self._host.asyncio_loop is None
        try:
            self._session = session = NatsSession(
                self.place,
                **self.options.driver,
                label=self._node.me.label,
                loop=self._host.asyncio_loop,
                post=self._host.loop.soon if threads else _now,
                soon=self._host.loop.soon if threads else self._host.loop.call_soon,
                on_state=self._turned,
                on_message=self._came,
            )
        except Exception as error:  # noqa: BLE001 - somebody waits to be told
            self._failed(error)
            return
        self._host.sessions = [each for each in self._host.sessions if not each.is_gone()] + [session]
        digest = hashlib.blake2b(self._node.bus.encode(), digest_size=9).digest()
        self._hub = Hub(session, digest, self._node.node_id, self._name, self)

    def _came(self, subject: str, data: bytes, reply: str, status: str) -> None:
        if self._hub is not None:  # also when it is over: links say goodbye
            self._hub.came(subject, data, reply, status)

    def _turned(self, state: str, error: Exception | None) -> None:
        """The connection says what became of it."""
        if self._over or self._hub is None or self._session is None:
            return
        if state == "connected":
            self._connected()
        elif state == "reconnecting":
            self._lost("the NATS server was lost")
        elif state == "failed":
            assert error is not None
            self.counters["refused"] += 1
            self._remark(text_of(error))
        else:
            self._failed(error or ConnectionError("the NATS servers have closed the connection"))

    def _connected(self) -> None:
        assert self._hub is not None
        assert self._session is not None
        first = not self._node.mesh.fabric
        self._hub.payload_max = min(self._session.payload_max, 1 << 20)
        self.reconnector.opened(self._now())
        self._warned.clear()
        if first:
            self._first()
            self._node.mesh.set_fabric(True, self._host.now_ms())
        else:
            self._anew()
        self._resolve(None)
        self._tell()

    def _lost(self, text: str) -> None:
        """nats-py goes on trying. Streams go on if nothing of them is lost: their numbers say so."""
        if self.reconnector.state == CONNECTED:
            self.reconnector.lost(text, self._now(), random())
            self._remark(f"{text}; it is tried again")
            if self.options.retry is None:
                self._end_streams()
                self._finish(BusError(f"{self.place.name}: {text}"))
                self._host.backbone = None
                self.release()
                return
            self._tell()

    def _failed(self, error: BaseException) -> None:
        self._end_streams()
        if self.reconnector.state == CONNECTED:
            delay = self.reconnector.lost(text_of(error), self._now(), random(), hopeless=is_hopeless(error))
        else:
            hopeless = is_hopeless(error)
            delay = self.reconnector.failed(text_of(error), self._now(), random(), hopeless=hopeless)
        self._session = self._hub = None
        if delay < 0:
            self._finish(error)
            self._host.backbone = None
            return
        self._remark(f"{text_of(error)}; it is tried again")
        self._after(delay, self.begin)
        self._tell()

    def _end_streams(self) -> None:
        if self._hub is not None:
            self._hub.lose_all("the NATS servers were lost")

    # Small things

    def _after(self, delay: float, function: Any) -> None:
        timer: Any = None

        def fire() -> None:
            self._timers.discard(timer)
            if not self._over:
                function()

        timer = self._host.loop.call_later(delay, fire)
        self._timers.add(timer)

    def _remark(self, text: str) -> None:
        """Each trouble once, until the cluster is reached anew."""
        if text not in self._warned:
            if len(self._warned) >= _TOLD_MAX:
                del self._warned[next(iter(self._warned))]
            self._warned[text] = None
            self._host.remark(logging.WARNING, "%s: %s", self.place.name, text)

    def _resolve(self, failure: BaseException | None) -> None:
        waiters, self._waiters = self._waiters, []
        resolve(waiters, failure)

    @staticmethod
    def _time(host: BusHost) -> float:
        return host.now_ms() / 1000

    def _now(self) -> float:
        return self._host.now_ms() / 1000

    def _tell(self) -> None:
        info = self.info()
        self._host.tell(Change("link-state", info, 0, info.error))


def _now(callback: Any) -> None:
    callback()
