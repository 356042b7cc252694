"""A link that this program dialled, and that heals: what the user holds, and what does the state machine's
will.

When to try is retrying.py's, how to open a channel attempts.py's, what a failure means refusals.py's. For
asyncio and threads alike: everything here is called where the core may be (in threads: with the engine's lock
held), but for what users call.
"""

from __future__ import annotations

import errno
import logging
from functools import partial
from typing import Any

from busway.adapters import opening, refusals
from busway.adapters.attempts import Attempt
from busway.adapters.closing import Done, resolve
from busway.adapters.frozen import replace
from busway.adapters.links import Host, LinkRunner, next_id
from busway.adapters.making import Terms
from busway.adapters.records import Change, LinkInfo
from busway.adapters.retrying import CONNECTED, CONNECTING, Reconnector, Retry
from busway.adapters.typed import Realm
from busway.adapters.views import link_info, listed_link
from busway.errors import BusClosed, BusError, LinkRefused
from busway.names import ascii_safe
from busway.protocol import Node, codes, errors

_FOR_EVER_S = 86400.0  # a patience of a day or more has no timer


class Options:
    """How a link was asked for: two calls that ask alike share one link. Raises ValueError, TypeError."""

    def __init__(
        self,
        token: str | None,
        driver: dict[str, Any],
        realm: Realm | None,
        cost: int | None,
        retry: Retry | bool | None,
        wait: float | None,
    ) -> None:
        if isinstance(retry, bool):
            retry = Retry() if retry else None
        elif retry is not None and not isinstance(retry, Retry):
            raise TypeError(
                f"retry must be a busway.Retry, True, or None for one attempt only, not {retry!r}"
            )
        self.terms = Terms(token, realm, cost)
        try:
            self.terms.check()
        except errors.LocalError as error:
            raise ValueError(str(error)) from None
        if wait is not None and (
            isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait >= 0
        ):
            raise ValueError(f"wait must be None, 0 or more seconds, or math.inf, not {wait!r}")
        if wait and retry is None:
            raise ValueError("wait needs retry: without it there is one attempt only")
        self.retry = retry
        self.wait = wait or 0.0
        self.driver = driver

    def same(self, other: Options) -> bool:
        return (self.driver, self.terms, self.retry) == (other.driver, other.terms, other.retry)


def dial(host: Host, url: str, options: Options) -> Dialling:
    """The link to a normalised URL: the one that heals already, if it was asked for in the same way; else a
    new one, which takes the place of a former one.
    """
    if opening.is_backbone(url):
        found: Dialling = opening.backbone()(host, url, options)
        return found
    link: Dialling
    for link in list(host.dialled):
        if link.url == url and options.retry is not None and link.options.retry is not None:
            if link.options.same(options):
                return link
            link.end("another connect to the same URL, with other options, took over")
    return Dialling(host, url, options)


class DialledLink:
    """A link made by `connect`: it is opened again whenever it is lost, until it or the bus is closed.

    All attributes may be read at any time. `bus.links()` and `bus.changes()` tell of it, too.
    """

    def __init__(self, dialling: Dialling) -> None:
        self._dialling = dialling

    def __repr__(self) -> str:
        return f"<link to {self.url}: {self.state}>"

    @property
    def url(self) -> str:
        """The address it leads to, as `connect` was told, with the port, and without a password."""
        return self._dialling.url

    @property
    def links(self) -> list[DialledLink]:
        """The links that it stands for: itself; of `serial://*` and `ble://*` one for each board."""
        return self._dialling.links()

    @property
    def id(self) -> int:
        """The number of the link in `bus.links()`, which tells links apart."""
        return self._dialling.id

    @property
    def state(self) -> str:
        """ "connecting", "connected", "reconnecting" or "closed"."""
        return self._dialling.reconnector.state

    @property
    def attempt(self) -> int:
        """The number of the attempt since the link was last open, 0 before the first."""
        return self._dialling.reconnector.attempt

    @property
    def next_try(self) -> float | None:
        """Seconds until the next attempt begins; None if it is under way, or none will."""
        return self.info.next_try

    @property
    def error(self) -> str:
        """The last failure; "" while connected."""
        return self._dialling.reconnector.error

    @property
    def losses(self) -> int:
        """The number of times that the link was lost."""
        return self._dialling.reconnector.losses

    @property
    def info(self) -> LinkInfo:
        """Everything about it at this moment; while it is down, of its last peer what is known."""
        return self._dialling.info()

    @property
    def peer(self) -> bytes:
        """The other node's id; of the last one while the link is down, b"" before it was first open."""
        return self._dialling.info().peer

    @property
    def label(self) -> str:
        """The other program's label."""
        return self._dialling.info().label

    @property
    def realm(self) -> str:
        """The realm of this link: the wider of both sides' realms."""
        return self._dialling.info().realm

    @property
    def address(self) -> str:
        """The far end."""
        return self._dialling.info().address

    @property
    def rtt(self) -> float | None:
        """The last round trip of the keepalive, in seconds; None while there is none."""
        return self._dialling.info().rtt

    def close(self) -> Done:
        """End the link for good: what is queued is written, a goodbye said, and it is not tried again. Twice
        is once. With an AsyncBus it may be awaited.
        """
        self._dialling.close()
        return Done()


class Dialling:
    """The keeper of a link that `connect` made; `link` is what users hold of it."""

    def __init__(self, host: Host, url: str, options: Options) -> None:
        self.url = url
        self.options = options
        self.runner: LinkRunner | None = None  # that of the present connection
        self.id = next_id()
        self.link = DialledLink(self)
        self._host = host
        self.reconnector = Reconnector(options.retry, options.wait, self._now())
        self._attempt: Attempt | None = None
        self._timer: Any = None
        self._waiters: list[Any] = []
        self._last = LinkInfo(b"", "", "", "", url, None, 0, 0)
        self._preferred: Any = None  # the candidate that it was open with last
        self._warned = ""  # the last trouble that was logged
        host.dialled.add(self)
        self._try()

    def info(self) -> LinkInfo:
        """Everything about it at this moment; while it is down, of its last peer what is known."""
        last, at = self._look(), self.reconnector.next_at
        return replace(
            last,
            state=self.reconnector.state,
            rtt=last.rtt if self.runner is not None else None,
            url=self.url,
            attempt=self.reconnector.attempt,
            next_try=None if at < 0 else max(0.0, at - self._now()),
            error=self.reconnector.error,
            id=self.id,
        )

    def _look(self) -> LinkInfo:
        """The present connection, else the last one. A new one does not know yet whose it is."""
        if self.runner is not None:
            now, before = link_info(self.runner.connection), self._last
            self._last = now if now.peer else replace(now, peer=before.peer, label=before.label)
        return self._last

    def links(self) -> list[DialledLink]:
        """As DialledLink's."""
        return [self.link]

    def close(self) -> None:
        """End the link for good, from wherever that is called."""
        self._host.inside(self.end, "it was closed")

    # What the bus calls

    def waiter(self) -> Any:
        """A future of the loop's: done when the link is open, or with why it never will be."""
        future = self._host.loop.create_future()
        if self.reconnector.state == CONNECTED:
            future.set_result(None)
        else:
            self._waiters.append(future)
        return future

    def end(self, text: str) -> None:
        """Close it, in order."""
        runner = self.runner
        self._finish(BusError(f"{self.url}: {text} before the link was open"))
        if runner is not None:
            runner.connection.close(self._host.now_ms())

    def bus_closed(self) -> None:
        """The bus ends its connection itself."""
        self._finish(BusClosed())

    def abandon(self) -> None:
        """In a forked child: the link is the parent's."""
        if self._attempt is not None:
            self._attempt.abandon()
        self._attempt = None
        self._stop_timer()

    def row(self) -> dict[str, object]:
        """For the introspection endpoint (docs/protocol.md, section 9)."""
        info = self.info()
        return {
            "url": self.url,
            "state": self.reconnector.state,
            "peer": info.peer,
            "label": info.label,
            "attempt": self.reconnector.attempt,
            "next_try_ms": -1 if info.next_try is None else round(info.next_try * 1000),
            "error": self.reconnector.error,
            "losses": self.reconnector.losses,
        }

    # Attempts

    def _try(self) -> None:
        self._timer = None
        self.reconnector.begin()
        self._tell()
        self._attempt = Attempt(self._host, self.url, self.options.driver, self._preferred, self._attempted)

    def _attempted(self, channel: Any, error: BaseException | None) -> None:
        if error is None:
            error = self._run(channel)
            if error is None:
                return
        self._drop_attempt()
        self._failed(error)

    def _run(self, channel: Any) -> BaseException | None:
        """Run an open channel as a link; the failure if it cannot be."""
        options = self.options
        try:
            self.runner = runner = self._host.run_link(channel, options.terms, self)
        except Exception as refusal:  # noqa: BLE001 - whatever it is, somebody waits to be told
            channel.close()
            return refusal
        runner.on_settled = partial(self._settled, runner)
        self._tell()
        others = self._attempt is not None and self._attempt.has_more
        if channel.sort == "packet" and (others or options.wait < _FOR_EVER_S):
            patience = opening.CONNECT_S if others else max(options.wait, opening.CONNECT_S)
            self._timer = self._host.loop.call_later(patience, partial(self._nobody, runner))
        return None

    def _nobody(self, runner: LinkRunner) -> None:
        """Nobody is at a line's other end: another device may be meant; else the first time it is told."""
        if runner is not self.runner or self.reconnector.state == CONNECTED or runner.ready.done():
            return
        error = TimeoutError(errno.ETIMEDOUT, f"{self.url}: nobody answers on the line")
        if self._attempt is not None and self._attempt.has_more:
            self._drop_runner()
            runner.close()
            self._tell()
            self._attempt.go_on(error)
        elif self.reconnector.state == CONNECTING:
            self._finish(error)
            runner.close()

    def _settled(self, runner: LinkRunner) -> None:
        """The connection is usable, or will never be."""
        if runner is not self.runner:
            return
        if runner.connection.close_code < 0:
            self._opened()
            return
        self._drop_runner()
        refusal = self._refusal(runner)
        if self._attempt is not None:
            self._tell()
            self._attempt.go_on(refusal)  # the next address may be another program's
        else:
            self._failed(refusal)

    def _opened(self) -> None:
        if self._attempt is not None:
            self._preferred = self._attempt.candidate
        self._drop_attempt()
        self.reconnector.opened(self._now())
        if self._warned:
            self._host.remark(logging.INFO, "%s is connected", self.url)
        self._warned = ""
        self._resolve(None)
        self._tell()

    def _refusal(self, runner: LinkRunner) -> LinkRefused:
        code, text = runner.connection.close_code, runner.connection.close_text
        if code == codes.NOT_BUSWAY and self.url.startswith("tcp:"):
            text += "; a WebSocket listener is connected to by ws://"
        if runner.admission is not None and runner.admission.refused:
            text = runner.admission.refused  # it is this side that does not let the other in
        refused = LinkRefused(code, text)
        refused.__cause__ = runner.failure
        return refused

    def ended(self, runner: LinkRunner) -> None:
        """The connection, if it is the present one, is over; the next does not wait for its last bytes."""
        if runner is not self.runner or self.reconnector.state != CONNECTED:
            return
        connection = runner.connection
        self._drop_runner()
        text = ascii_safe(connection.close_text) or "the other side closed the link"
        if connection.close_code == codes.REPLACED and self._is_twice(connection.via):
            self.reconnector.error = "another link of this program leads to the same place, and is newer"
            self._finish(BusError(f"{self.url}: {self.reconnector.error}"))
            return
        hopeless = connection.close_code == codes.DUPLICATE_LINK  # the other side's own link stands
        self._wait(self.reconnector.lost(text, self._now(), _chance(), hopeless=hopeless))

    def _is_twice(self, via: str) -> bool:
        """Whether another link goes there under another name: each would take the other's place for ever."""
        runners = [link.runner for link in self._host.dialled if link is not self]
        return any(runner is not None and runner.connection.via == via for runner in runners)

    def restarted(self, runner: LinkRunner) -> None:
        """The other side began anew on the same channel: there is nothing to dial or to wait for."""
        if runner is not self.runner:
            return
        if self.reconnector.state == CONNECTED and self.options.retry is not None:
            self.reconnector.lost("the other side started anew", self._now(), 0.0)
            self.reconnector.begin()
            runner.on_settled = partial(self._settled, runner)
        self._tell()

    def _drop_runner(self) -> None:
        self._look()
        self.runner = None

    def _drop_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _failed(self, error: BaseException) -> None:
        text, hopeless = refusals.text_of(error), refusals.is_hopeless(error)
        self._wait(self.reconnector.failed(text, self._now(), _chance(), hopeless=hopeless), error)

    def _wait(self, delay: float, error: BaseException | None = None) -> None:
        if delay < 0:
            self._finish(error or BusError(f"{self.url}: the link was lost"))
            return
        self._warn()
        self._stop_timer()  # of a line on which nobody has answered
        self._timer = self._host.loop.call_later(delay, self._try)
        self._tell()

    def _warn(self) -> None:
        """Trying goes on, so nobody is told by an exception: each trouble is logged once."""
        if self.reconnector.error and self.reconnector.error != self._warned:
            self._warned = self.reconnector.error
            where = "" if self.url in self._warned else f"{self.url}: "
            self._host.remark(logging.WARNING, "%s%s; it is tried again", where, self._warned)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # The end

    def _finish(self, failure: BaseException) -> None:
        """No more attempts. Whoever still waits for it hears why."""
        if self not in self._host.dialled:
            return
        self._host.dialled.discard(self)
        self.reconnector.close()
        self._stop_timer()
        self._drop_attempt()
        self._drop_runner()
        self._resolve(failure)
        self._tell()

    def _resolve(self, failure: BaseException | None) -> None:
        waiters, self._waiters = self._waiters, []
        resolve(waiters, failure)

    def _now(self) -> float:
        return self._host.now_ms() / 1000

    def _tell(self) -> None:
        info = self.info()
        self._host.tell(Change("link-state", info, 0, info.error))


def links_of(node: Node, dialled: set[Dialling]) -> list[LinkInfo]:
    """The links of a bus: each connection, and what was dialled and is not connected now."""
    found = [listed_link(connection) for connection in node.connections]
    return found + [each.info() for each in dialled if each.runner is None]


def _chance() -> float:
    """From 0 to 1, for the jitter. Only who has lost a link waits for the module, which is slow to import."""
    from random import random

    return random()
