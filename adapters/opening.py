"""From a URL to an open channel: which driver a scheme has, how addresses are written, trying each of them.

Knows of a driver only its module's `candidates`, `dial` and `listen` (busway/drivers/channel.py), and of the
loop only what `Loop` says, so asyncio and threads open everything alike.
"""

from __future__ import annotations

import errno
import ipaddress
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from busway.drivers.extras import missing
from busway.errors import BusError

TCP_PORT = 7660  # where no port is given
_WEB_PORTS = {"ws": "80", "wss": "443"}  # which are left out
CONNECT_S = 10.0  # for one candidate: a machine that is off answers nothing
COMER_S = 5.0  # for a comer to end its driver's handshake
_BUSY_S = 0.01  # a full backlog is asked again after this
_BUSY_MAX = 100  # ... so often, then it counts as a failure


class Driver(NamedTuple):
    """A row of the table: where the driver is, the extra that brings its library, and what its URLs look
    like.
    """

    module: str
    extra: str
    example: str


# The one table of schemes. A driver is imported when such a URL is used, not before.
DRIVERS = {
    "tcp": Driver("busway.drivers.tcp", "", "tcp://host:port"),
    "ipc": Driver("busway.drivers.unix", "", "ipc:///path"),
    "pipe": Driver("busway.drivers.named_pipe", "", "pipe://name"),
    "ws": Driver("busway.drivers.websocket", "websocket", "ws://host:port"),
    "wss": Driver("busway.drivers.websocket", "websocket", "wss://host:port"),
    "serial": Driver("busway.drivers.serial", "serial", "serial:///dev/ttyUSB0?baud=115200"),
    "ble": Driver("busway.drivers.ble", "ble", "ble://name"),
}


class Loop(Protocol):
    """What opening a channel needs of a loop. Callbacks are never called from two threads at once."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...
    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any: ...


class Host(Protocol):
    """What opening a channel needs of its bus."""

    @property
    def loop(self) -> Loop: ...
    def in_thread(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        """Call `function`, which may block, elsewhere; then `done(value, error)` as a callback."""


def normalise(text: str) -> str:
    """An address as people write it, as the URL that drivers take.

    Args: `text` is a URL of one of DRIVERS, or a host for TCP: `host`, `host:port`, `192.0.2.1`,
    `[::1]:7000`, `::1` (without brackets all of it is the address). The default port of TCP is 7660, of ws
    80, of wss 443.
    Raises ValueError for another scheme, with those there are, or for what is no address.
    """
    if not isinstance(text, str):
        raise TypeError(f"a link's address is a str such as 'tcp://host:port', not {text!r}")
    scheme, marks, rest = text.partition("://")
    if not marks:
        return _tcp_url(text.strip(), text, bare=True)
    scheme = scheme.lower()
    if scheme not in DRIVERS:
        raise ValueError(f"{text!r}: there is no driver for {scheme}://; expected {known_urls()}")
    if scheme == "tcp":
        return _tcp_url(rest.removesuffix("/"), text, bare=False)
    return f"{scheme}://{_web_place(scheme, rest) if scheme in _WEB_PORTS else rest}"


def known_urls() -> str:
    """What URLs look like, for error messages."""
    *most, last = (driver.example for driver in DRIVERS.values())
    return f"{', '.join(most)} or {last}"


def _tcp_url(text: str, whole: str, *, bare: bool) -> str:
    if not text or any(found in text for found in "/\\@?# "):
        raise ValueError(f"{whole!r} is no address; expected host:port, {known_urls()}")
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{whole!r}: expected tcp://[IPv6 address]:port")
        return f"tcp://[{_short_ipv6(host.lower())}]:{port.removeprefix(':') or TCP_PORT}"
    if text.count(":") > 1:
        if not bare or not _is_ipv6(text):
            raise ValueError(
                f"{whole!r}: an IPv6 address with a port needs brackets: tcp://[::1]:{TCP_PORT}; expected"
                " tcp://host:port"
            )
        return f"tcp://[{_short_ipv6(text.lower())}]:{TCP_PORT}"
    host, _, port = text.partition(":")
    if not host or (text.endswith(":")):
        raise ValueError(f"{whole!r}: expected tcp://host:port")
    return f"tcp://{host.lower()}:{port or TCP_PORT}"


def _web_place(scheme: str, rest: str) -> str:
    """So that one place has one name; what is wrong with it is said by the driver."""
    cut = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, target = rest[:cut].lower(), rest[cut:]
    host, _, port = authority.rpartition(":")
    if host and port == _WEB_PORTS[scheme] and (host.endswith("]") or ":" not in host):
        authority = host
    if authority.startswith("["):
        address, bracket, port = authority[1:].partition("]")
        authority = f"[{_short_ipv6(address)}{bracket}{port}"
    return authority + ("" if target == "/" else target)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _short_ipv6(text: str) -> str:
    """As it is usually written; what is none as it is."""
    return str(ipaddress.IPv6Address(text)) if _is_ipv6(text) else text


def driver_of(url: str) -> Any:
    """The driver's module for a normalised URL, imported now. Raises BusError if its library is missing."""
    scheme = url.partition(":")[0]
    driver = DRIVERS[scheme]
    try:
        return import_module(driver.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("busway"):
            raise BusError(f"this version of Busway has no {scheme}:// links on this platform") from None
        if not driver.extra:
            raise
        raise BusError(missing(f"{scheme}:// links need", driver.extra)) from None


def listen(url: str, token: str | None, is_open: bool, options: dict[str, Any]) -> Any:
    """A driver's listener at a normalised URL, with `options` of its own. May block: run it in a thread.

    Raises ValueError for a URL that cannot be listened on, or beyond loopback without token or open=True;
    OSError, BusError.
    """
    driver = driver_of(url)
    if not hasattr(driver, "listen"):
        raise ValueError(f"{url!r} cannot be listened on: expected tcp://host:port or ws://host:port")
    return driver.listen(url, token=token, open=is_open, **options)


class Connecting:
    """Waits until a channel is open: connected, and through the handshake that its driver may have.

    Args: `done(self, error)` is called once, later or now, unless it is closed before. After an error, or
    `limit_s` seconds, the channel is closed.
    """

    def __init__(
        self,
        loop: Loop,
        channel: Any,
        limit_s: float,
        done: Callable[[Connecting, Exception | None], object],
    ) -> None:
        self.channel = channel
        self._loop = loop
        self._limit_s = limit_s
        self._done: Callable[[Connecting, Exception | None], object] | None = done
        self._waits_for = ""
        self._timer = loop.call_later(limit_s, self._late)
        self._step()

    @property
    def over(self) -> bool:
        """Whether `done` has been called, or will not be."""
        return self._done is None

    def _step(self) -> None:
        """The channel may have got further."""
        if self._done is None:
            return
        try:
            if self.channel.connected():
                self._tell(None)
                return
        except (OSError, ValueError) as error:
            self._tell(error)
            return
        self._wait_for("writer" if getattr(self.channel, "wants_write", True) else "reader")

    def _wait_for(self, what: str) -> None:
        if what == self._waits_for:
            return
        if self._waits_for == "writer":
            self._loop.remove_writer(self.channel.fileno())
        elif self._waits_for == "reader":
            self._loop.remove_reader(self.channel.fileno())
        self._waits_for = what
        if what == "writer":
            self._loop.add_writer(self.channel.fileno(), self._step)
        elif what == "reader":
            self._loop.add_reader(self.channel.fileno(), self._step)

    def _late(self) -> None:
        self._timer = None
        if self._done is not None:
            text = f"{self.channel.address}: no answer within {self._limit_s:g} s"
            self._tell(TimeoutError(errno.ETIMEDOUT, text))

    def _tell(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        self._wait_for("")
        if self._timer is not None:
            self._timer.cancel()
        if error is not None:
            self.channel.close()
        if done is not None:
            done(self, error)

    def close(self) -> None:
        """Nobody waits for it any more. Twice is once."""
        if self._done is not None:
            self._done = None
            self._tell(ConnectionAbortedError())

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._done = None
        self.channel.abandon()


class Attempt:
    """One attempt to open a channel: every candidate in turn, until one is connected.

    Args: `options` of the driver's own. `done(channel, error)` is called once, later, as a callback of the
    loop: with an open channel, or with what the last candidate said: OSError, ValueError for a URL that is
    none, BusError.
    """

    def __init__(
        self,
        host: Host,
        url: str,
        options: dict[str, Any],
        done: Callable[[Any, BaseException | None], object],
    ) -> None:
        self._host = host
        self._url = url
        self._options = options
        self._done: Callable[[Any, BaseException | None], object] | None = done
        self._driver: Any = None
        self._candidates: deque[Any] = deque()
        self._failure: BaseException = OSError(f"{url} has no address")
        self._connecting: Connecting | None = None
        self._busy = 0
        host.in_thread(self._look_up, self._looked_up)

    def cancel(self) -> None:
        """Nobody wants it any more: nothing stays open. Twice is once."""
        self._done = None
        if self._connecting is not None:
            self._connecting.close()

    def abandon(self) -> None:
        """In a forked child: the parent's loop and channel are left as they are."""
        self._done = None
        if self._connecting is not None:
            self._connecting.abandon()

    def _look_up(self) -> tuple[Any, list[Any]]:
        driver = driver_of(self._url)
        return driver, list(driver.candidates(self._url))

    def _looked_up(self, found: Any, error: BaseException | None) -> None:
        if error is not None:
            self._finish(None, error)
            return
        self._driver = found[0]
        self._candidates.extend(found[1])
        self._next()

    def _next(self) -> None:
        """The next candidate; a call for each, for one may fail at once."""
        if self._done is None:
            return
        if not self._candidates:
            self._finish(None, self._failure)
            return
        candidate = self._candidates.popleft()
        try:
            channel = self._driver.dial(candidate, self._url, **self._options)
        except BlockingIOError as error:
            self._failure = error
            self._busy += 1
            if self._busy < _BUSY_MAX:
                self._candidates.appendleft(candidate)
                self._host.loop.call_later(_BUSY_S, self._next)
                return
            self._next()
        except TypeError as error:  # an option that this driver does not know
            self._finish(None, error)
        except (OSError, ValueError, BusError) as error:
            self._failure = error
            self._next()
        else:
            connecting = Connecting(self._host.loop, channel, CONNECT_S, self._connected)
            if not connecting.over:
                self._connecting = connecting

    def _connected(self, connecting: Connecting, error: Exception | None) -> None:
        self._connecting = None
        if error is None:
            self._finish(connecting.channel, None)
        else:
            self._failure = error
            self._next()

    def _finish(self, channel: Any, error: BaseException | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(channel, error)
        elif channel is not None:
            channel.close()
