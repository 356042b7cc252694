"""From a URL to a driver, and from its channel to an open one: which driver a scheme has, how addresses are
written, waiting for a handshake.

Knows of a driver only its module's `candidates`, `dial` and `listen` (busway/drivers/channel.py), and of the
loop only what `Loop` says, so asyncio and threads open everything alike. Which address is tried when is
racing.py's and attempts.py's.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from busway.errors import BusError, MissingLibrary

TCP_PORT = 7660  # where no port is given
_BACKBONES = ("nats", "tls", "nats+tls")
_CERTIFIED = ("wss", "tls", "nats+tls")
_WEB_PORTS = {"ws": "80", "wss": "443"}  # which are left out
CONNECT_S = 10.0  # for one candidate: a machine that is off answers nothing
HANDSHAKE_S = 5.0  # for the driver's handshake with who was reached, as much as the core gives its own
INCOMING_S = 5.0  # for who comes to end its driver's handshake


class Driver(NamedTuple):
    """A row of the table: where the driver is, the extra with its library, and what its URLs look like."""

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


Told = Callable[[Any, BaseException | None], object]  # something, or why it is not to be had


class Loop(Protocol):
    """A loop as links need it; asyncio's is one. Callbacks are never called from two threads at once."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...
    def create_future(self) -> Any: ...
    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any: ...


class Host(Protocol):
    """A bus as opening a channel needs it."""

    @property
    def loop(self) -> Loop: ...
    def in_thread(self, function: Callable[[], Any], done: Told) -> None:
        """Call `function`, which may block, elsewhere; then `done(value, error)` as a callback."""

    def remark(self, level: int, text: str, *words: object) -> None: ...


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
    if is_backbone(text):
        return text
    scheme = scheme.lower()
    if scheme not in DRIVERS:
        raise ValueError(f"{text!r}: there is no driver for {scheme}://; expected {known_urls()}")
    if scheme == "tcp":
        return _tcp_url(rest.removesuffix("/"), text, bare=False)
    return f"{scheme}://{_web_place(scheme, rest) if scheme in _WEB_PORTS else rest}"


def is_backbone(url: str) -> bool:
    """Whether a URL leads to a backbone's servers, and to no node."""
    return isinstance(url, str) and url.partition("://")[0].lower() in _BACKBONES and "://" in url


def has_certificate(url: str) -> bool:
    """Whether who is dialled there shows a certificate."""
    return str(url).partition("://")[0].lower() in _CERTIFIED


def backbone() -> Any:
    """Makes a bus a gateway (busway/backbone). Raises MissingLibrary."""
    try:
        from busway.backbone.gateway import connect
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("nats"):
            raise
        from busway.drivers.extras import missing

        raise MissingLibrary(missing("nats:// needs", "nats")) from None
    return connect


def known_urls() -> str:
    """Examples of all sorts of URLs, for error messages."""
    *most, last = (driver.example for driver in DRIVERS.values())
    return f"{', '.join(most)} or {last}"


def _tcp_url(text: str, whole: str, *, bare: bool) -> str:
    from busway.drivers.tcp import plain_host

    if not text or any(found in text for found in "/\\@?# "):
        raise ValueError(f"{whole!r} is no address; expected host:port, {known_urls()}")
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{whole!r}: expected tcp://[IPv6 address]:port")
        return f"tcp://[{_short_ipv6(host)}]:{port.removeprefix(':') or TCP_PORT}"
    if text.count(":") > 1:
        if not bare or not _is_ipv6(plain_host(text)):
            raise ValueError(
                f"{whole!r}: an IPv6 address with a port needs brackets: tcp://[::1]:{TCP_PORT}; expected"
                " tcp://host:port"
            )
        return f"tcp://[{_short_ipv6(text)}]:{TCP_PORT}"
    host, _, port = text.partition(":")
    if not host or (text.endswith(":")):
        raise ValueError(f"{whole!r}: expected tcp://host:port")
    return f"tcp://{host.lower()}:{port or TCP_PORT}"


def _web_place(scheme: str, rest: str) -> str:
    """So that one place has one name; what is wrong with it is said by the driver."""
    cut = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, target = rest[:cut], rest[cut:]
    host, _, port = authority.rpartition(":")
    if host and port == _WEB_PORTS[scheme] and (host.endswith("]") or ":" not in host):
        authority = host
    if authority.startswith("["):
        address, bracket, port = authority[1:].partition("]")
        authority = f"[{_short_ipv6(address)}{bracket}{port}"
    else:
        authority = authority.lower()
    return authority + ("" if target == "/" else target)


def _is_ipv6(text: str) -> bool:
    if ":" not in text:
        return False
    import ipaddress  # only here, for it is slow to import

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _short_ipv6(text: str) -> str:
    """As it is usually written, a zone as it is; what is none in lower case."""
    from busway.drivers.tcp import plain_host

    text = plain_host(text)
    if not _is_ipv6(text):
        return text.lower()
    import ipaddress

    return str(ipaddress.IPv6Address(text))


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
        from busway.drivers.extras import missing

        raise MissingLibrary(missing(f"{scheme}:// links need", driver.extra)) from None


def check_options(function: Callable[..., Any], url: str, options: dict[str, Any]) -> None:
    """Raises TypeError for an option that a driver's `dial` or `listen` does not have."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            scheme, there = url.partition(":")[0], ", ".join(f"{each}=" for each in known)
            raise TypeError(f"{scheme}:// has no option {name}=; it has {there}")


def given(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a driver that say something: None is as if it were not given, but for a proxy on
    the way to a web address, where it says that there is none.
    """
    web = str(url).partition(":")[0].lower() in _WEB_PORTS
    return {name: value for name, value in options.items() if value is not None or (web and name == "proxy")}


def listen(url: str, token: str | None, is_open: bool, options: dict[str, Any]) -> Any:
    """A driver's listener at a normalised URL, with `options` of its own. May block: run it in a thread.

    Raises ValueError for a URL that cannot be listened on, or beyond loopback without token, trust or
    open=True; TypeError for an option that is none, OSError, BusError.
    """
    driver: Any = None if is_backbone(url) else driver_of(url)
    if not hasattr(driver, "listen"):
        raise ValueError(f"{url!r} cannot be listened on: expected tcp://host:port or ws://host:port")
    options = given(url, options)
    check_options(driver.listen, url, options)
    return driver.listen(url, token=token, open=is_open, **options)


class Connecting:
    """Waits until a channel is open: connected, and through the handshake that its driver may have.

    Args: `done(self, error)` is called once, later or now, unless it is closed before. After an error, or
    `limit_s` seconds, or HANDSHAKE_S from when the far end was reached, the channel is closed.
    """

    def __init__(
        self, loop: Loop, channel: Any, limit_s: float, done: Callable[[Connecting, Exception | None], object]
    ) -> None:
        self.channel = channel
        self._loop = loop
        self._limit_s = limit_s
        self._until = loop.time() + limit_s
        self._joined = False
        self._done: Callable[[Connecting, Exception | None], object] | None = done
        self._waits_for = ""
        self._fd = -1  # that is waited on: a channel that fails may have none any more
        self._timers: list[Any] = []
        self._step()
        if not self.over:
            self._timers.append(loop.call_later(limit_s, self._late))

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
            if not self._joined and getattr(self.channel, "joined", False):
                self._limit_handshake()
            self._wait_for("writer" if getattr(self.channel, "wants_write", True) else "reader")
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
            self._tell(error)

    def _limit_handshake(self) -> None:
        """Wait no longer for one who was reached and is silent as for one who may be far."""
        self._joined = True
        if self._loop.time() + HANDSHAKE_S < self._until:
            self._limit_s = HANDSHAKE_S
            self._timers.append(self._loop.call_later(HANDSHAKE_S, self._late))

    def _wait_for(self, what: str) -> None:
        if what == self._waits_for:
            return
        if self._waits_for == "writer":
            self._loop.remove_writer(self._fd)
        elif self._waits_for == "reader":
            self._loop.remove_reader(self._fd)
        self._waits_for, self._fd = what, self.channel.fileno()
        if what == "writer":
            self._loop.add_writer(self._fd, self._step)
        elif what == "reader":
            self._loop.add_reader(self._fd, self._step)

    def _late(self) -> None:
        if self._done is not None:
            text = f"{self.channel.address}: no answer within {self._limit_s:g} s"
            self._tell(TimeoutError(errno.ETIMEDOUT, text))

    def _tell(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        self._wait_for("")
        for timer in self._timers:
            timer.cancel()
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
