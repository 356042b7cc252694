"""One attempt to open a link: looks up what a URL leads to, tries the candidates as racing.py says, and goes
on with the rest if the one that connected turns out to be no good.

For asyncio and threads alike: everything here is a callback of the loop and never blocks.
"""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import Any

from busway.adapters import opening, refusals, remarks
from busway.adapters.opening import Connecting, Host, Told
from busway.adapters.racing import Race

_BUSY_S = 0.01  # a full backlog is asked again after this
_BUSY_MAX = 100  # ... so often, then it counts as a failure


class Attempt:
    """One attempt to open a channel: every candidate, until one is connected.

    Args: `options` of the driver's own; `preferred` the candidate that was good the last time.
    `done(channel, error)` is called later, as a callback of the loop: with an open channel, and again after
    `go_on`; or once, at the end, with the failure that tells the most: OSError, LinkRefused, ValueError for a
    URL that is none, TypeError for an option that is none, BusError, or whatever else a driver raised.
    """

    def __init__(self, host: Host, url: str, options: dict[str, Any], preferred: Any, done: Told) -> None:
        self.candidate: Any = None  # that of the channel which `done` was called with
        self._host = host
        self._url = url
        self._options = options
        self._preferred = preferred
        self._done: Told | None = done
        self._driver: Any = None
        self._candidates: list[Any] = []
        self._race = Race(0, 0.0)
        self._resting = True  # while looking up, and while a connected channel is being judged
        self._failure: BaseException | None = None
        self._connecting: dict[int, Connecting] = {}
        self._busy = 0
        host.in_thread(self._look_up, self._looked_up)

    @property
    def has_more(self) -> bool:
        """Whether there are other candidates, should this one be no good."""
        return not self._race.over

    def go_on(self, error: BaseException) -> None:
        """The channel that was connected is no good, for `error`: try the rest."""
        if self._done is None:
            return
        self._note(error)
        self._host.loop.call_later(0.0, self._resume)

    def cancel(self) -> None:
        """Nobody wants more of it: nothing stays open. Twice is once."""
        self._done = None
        for connecting in self._take_connecting():
            connecting.close()

    def abandon(self) -> None:
        """In a forked child: the parent's loop and channels are left as they are."""
        self._done = None
        for connecting in self._take_connecting():
            connecting.abandon()

    def _take_connecting(self) -> list[Connecting]:
        taken, self._connecting = list(self._connecting.values()), {}
        return taken

    # Looking up

    def _look_up(self) -> tuple[Any, list[Any]]:
        driver = opening.driver_of(self._url)
        opening.check_options(driver.dial, self._url, self._options)
        taken = inspect.signature(driver.candidates).parameters
        wanted = {name: value for name, value in self._options.items() if name in taken}
        return driver, list(driver.candidates(self._url, **wanted))

    def _looked_up(self, found: Any, error: BaseException | None) -> None:
        if self._done is None:
            return
        if error is not None:
            self._give_up(error)
            return
        self._driver, self._candidates = found
        if self._preferred in self._candidates:
            self._candidates.remove(self._preferred)
            self._candidates.insert(0, self._preferred)
        self._host.remark(logging.DEBUG, "%s", remarks.candidates(self._url, self._candidates))
        self._race = Race(len(self._candidates), getattr(self._driver, "STAGGER_S", 0.0))
        self._resume()

    # Trying

    def _resume(self) -> None:
        self._resting = False
        self._advance()

    def _advance(self) -> None:
        """Start what is due. Called too often it does no harm."""
        while self._done is not None and not self._resting:
            if self._race.over:
                self._give_up(self._failure or OSError(f"{self._url} has no address"))
                return
            wait = self._race.next_in(self._host.loop.time())
            if wait < 0:
                return
            if wait > 0:
                self._host.loop.call_later(wait, self._advance)
                return
            self._dial(self._race.start(self._host.loop.time()))

    def _dial(self, number: int) -> None:
        if self._done is None or not self._race.is_running(number) or number in self._connecting:
            return
        try:
            channel = self._driver.dial(self._candidates[number], self._url, **self._options)
        except BlockingIOError as error:
            self._busy += 1
            if self._busy < _BUSY_MAX:
                self._host.loop.call_later(_BUSY_S, partial(self._dial, number))
            else:
                self._failed(number, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
            self._failed(number, error)
        else:
            done = partial(self._connected, number)
            connecting = Connecting(self._host.loop, channel, opening.CONNECT_S, done)
            if not connecting.over:
                self._connecting[number] = connecting

    def _connected(self, number: int, connecting: Connecting, error: Exception | None) -> None:
        self._connecting.pop(number, None)
        if error is not None:
            self._failed(number, error)
            return
        self._race.won(number)
        for other in self._take_connecting():
            other.close()
        if self._done is None:
            connecting.channel.close()
            return
        self._resting = True
        self.candidate = self._candidates[number]
        self._done(connecting.channel, None)

    def _failed(self, number: int, error: BaseException) -> None:
        self._note(error)
        self._race.failed(number, self._host.loop.time())
        self._host.loop.call_later(0.0, self._advance)

    def _note(self, error: BaseException) -> None:
        self._failure = refusals.more_telling(self._failure, refusals.for_users(error))

    def _give_up(self, error: BaseException) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(None, error)
