"""Links to what was found: one attempt each; who found it decides about another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from busway.adapters.attempts import Attempt
from busway.adapters.dialled import Dialling, Options
from busway.adapters.opening import normalise
from busway.adapters.refusals import is_hopeless
from busway.adapters.retrying import CONNECTED
from busway.drivers import tcp

Place = tuple[str, int]  # an address, of IPv6 with its zone, and a port


def url_of(place: Place) -> str:
    """A place as a link's URL."""
    host, port = place
    return normalise(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")


class FoundLink(Dialling):
    """A link to something that was found.

    Args: `options` without `retry`; `told(self, failure)` is called when it is open, with None, and when it
    is over, with why; then `end_code` says how it ended.
    """

    def __init__(
        self,
        host: Any,
        url: str,
        options: Options,
        told: Callable[[Any, BaseException | None], object],
    ) -> None:
        self.end_code = -1
        self.has_been_open = False
        self._told = told
        super().__init__(host, url, options)

    @property
    def is_open(self) -> bool:
        """Whether it stands now."""
        return self.reconnector.state == CONNECTED

    def _opened(self) -> None:
        self.has_been_open = True
        super()._opened()
        self._told(self, None)

    def ended(self, runner: Any) -> None:
        if runner is self.runner and runner is not None:
            self.end_code = runner.connection.close_code
        super().ended(runner)

    def _finish(self, failure: BaseException) -> None:
        was_dialled = self in self._host.dialled
        super()._finish(failure)
        if was_dialled:
            self._told(self, failure)


class ToPlaces(Attempt):
    """An attempt at places that are known, in their order, the next 250 ms after one that does not answer."""

    def __init__(self, host: Any, url: str, places: list[Place], done: Callable[..., object]) -> None:
        self._places = places
        super().__init__(host, url, {}, None, done)

    def go_on(self, error: BaseException) -> None:
        """As Attempt's; who answers and refuses is not asked again at another of its addresses."""
        if is_hopeless(error):
            self._host.loop.call_later(0.0, partial(self._give_up, error))
        else:
            super().go_on(error)

    def _look_up(self) -> tuple[Any, list[Any]]:
        found: list[Any] = []
        failure: Exception | None = None
        for host, port in self._places:
            try:
                found += tcp.look_up(host, port)  # numbers: nobody is asked
            except (OSError, ValueError) as error:  # its interface has gone
                failure = error
        if failure is not None and not found:
            raise failure
        return tcp, found


class Neighbour(FoundLink):
    """A link to a program of the local network, at any of the places where it may be."""

    def __init__(
        self,
        host: Any,
        places: list[Place],
        options: Options,
        told: Callable[[Neighbour, BaseException | None], object],
    ) -> None:
        self._places = places
        super().__init__(host, url_of(places[0]), options, told)

    @property
    def worked(self) -> Place | None:
        """The place at which it was open, as it was given: a socket's address is without its zone."""
        if self._preferred is None:
            return None
        there = (self._preferred[0].partition("%")[0], self._preferred[1])
        return next(
            (place for place in self._places if (place[0].partition("%")[0], place[1]) == there), None
        )

    def _try(self) -> None:
        self._timer = None
        self.reconnector.begin()
        self._tell()
        self._attempt = ToPlaces(self._host, self.url, self._places, self._attempted)
