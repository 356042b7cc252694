"""A TCP connection through an HTTP proxy (CONNECT, RFC 9110, 9.3.6), and which proxy that is.

Knows nothing of what passes through.
"""

from __future__ import annotations

import base64
import errno
import ipaddress
import socket
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import h11

from busway.drivers import tcp
from busway.drivers.channel import Refusal
from busway.drivers.tcp import TcpChannel

_HEADERS_SIZE_MAX: Final = 8192
_ANSWER_SIZE_MAX: Final = 4 * _HEADERS_SIZE_MAX  # with all interim answers (1xx): h11 takes any number
_READ_SIZE: Final = 4096
_NOT_ALLOWED: Final = (401, 403, 407)
_LATER: Final = (408, 425, 429)  # and all from 500 on but 501: another time it may be let through


class Proxy(NamedTuple):
    """A proxy: where it is, and who we are to it."""

    host: str
    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        """For people: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Through(NamedTuple):
    """A proxy's address, to be dialled instead of the target's."""

    address: tcp.Address
    proxy: Proxy


def parse(url: str) -> Proxy:
    """Splits http://user:password@host:port; the port is 80 unless given. Raises ValueError."""
    fault = f"a proxy is http://host:port or http://user:password@host:port, not {_without_password(url)!r}"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = 80 if parts.port is None else parts.port
    except ValueError:
        raise ValueError(fault) from None
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or not port:
        raise ValueError(fault)
    if not url.isprintable():  # what no text can be made of, or urlsplit leaves out
        raise ValueError(fault)
    return Proxy(parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))


def _without_password(url: str) -> str:
    return url.rpartition("@")[2]


def proxy_for(host: str, port: int, *, secure: bool, proxy: str | bool | None) -> Proxy | None:
    """The proxy on the way to a host; None for none.

    Args: `proxy` is its URL, None or False for none, True for what the environment says: HTTPS_PROXY if
    `secure`, else HTTP_PROXY, then ALL_PROXY, unless the host is in NO_PROXY or is this very machine.
    Raises ValueError for one that is none, or of a sort that is not known, such as SOCKS.
    """
    if isinstance(proxy, str):
        return parse(proxy)
    if not proxy or _is_here(host):
        return None
    from urllib.request import getproxies, proxy_bypass  # 20 ms, for those alone who connect this way

    known = getproxies()
    found = next((known[name] for name in ("https" if secure else "http", "all") if known.get(name)), "")
    if not found or proxy_bypass(f"{host}:{port}"):
        return None
    try:
        return parse(found)
    except ValueError as error:
        raise ValueError(f"{error} (from the environment: give proxy= another, or None for none)") from None


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Tunnel(TcpChannel):
    """A connection to a proxy, and through it to the target: ask `connected()`.

    wants_write: while connecting, whether to wait until writable.
    """

    def ask(self, proxy: Proxy, target: str) -> None:
        """The words to say once the proxy is reached; `target` is host:port."""
        headers = [("Host", target)]
        if proxy.user:
            word = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
            headers.append(("Proxy-Authorization", f"Basic {word}"))
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS_SIZE_MAX)
        self._proxy = proxy
        self._came = 0
        self._out = http.send(h11.Request(method="CONNECT", target=target, headers=headers)) or b""
        self._out += http.send(h11.EndOfMessage()) or b""
        self._http: h11.Connection | None = http

    @property
    def wants_write(self) -> bool:
        return self._connecting or bool(self._out)

    def connected(self) -> bool:
        """As every channel's. Raises also Refusal and PermissionError, with what the proxy said."""
        if not super().connected():
            return False
        if self._out:
            self._out = self._out[self.write(self._out) :]
        if self._http is None:
            return True
        data = self.read(_READ_SIZE)
        if data is not None and not self._out:
            self._take(self._http, data)
        return self._http is None

    def _take(self, http: h11.Connection, data: bytes) -> None:
        try:
            http.receive_data(data)
            self._came += len(data)
            while (event := http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._judge(event)
                    self._http = None
                    if http.trailing_data[0]:
                        raise self._stranger("it said something before it was asked")
                    return
                if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    raise OSError(errno.ECONNRESET, f"{self._proxy.url}: the proxy hung up")
        except h11.RemoteProtocolError as error:
            if not data:
                raise OSError(errno.ECONNRESET, f"{self._proxy.url}: the proxy hung up") from None
            raise self._stranger(str(error)) from None
        if self._came > _ANSWER_SIZE_MAX:
            raise self._stranger(f"there is no answer in {_ANSWER_SIZE_MAX} bytes")

    def _judge(self, answer: h11.Response) -> None:
        """Raises unless the proxy lets us through."""
        status = answer.status_code
        if 200 <= status < 300:
            return
        reason = "".join(letter for letter in answer.reason.decode("latin-1")[:80] if letter.isprintable())
        text = f"{self._proxy.url}: the proxy refuses: HTTP status {status} {reason}".rstrip()
        if status in _NOT_ALLOWED:
            raise PermissionError(
                errno.EACCES,
                f"{text}; give proxy='http://user:password@host:port' if it wants to know who comes",
            )
        if status in _LATER or (status >= 500 and status != 501):
            raise ConnectionRefusedError(errno.ECONNREFUSED, text)
        raise self._stranger(f"HTTP status {status} {reason}".rstrip())

    def _stranger(self, text: str) -> Refusal:
        text = f"the proxy {self._proxy.url} is none that takes CONNECT: {text}"
        return Refusal(self.address, text)


def dial(way: Through, target: str) -> Tunnel:
    """Starts connecting to the proxy and asks it for `target`, host:port. Raises OSError."""
    tunnel = tcp.start(Tunnel, way.address, f"tcp://{target}")
    try:
        tunnel.ask(way.proxy, target)
    except BaseException:
        tunnel.close()
        raise
    return tunnel


def candidates(proxy: Proxy) -> list[Through]:
    """The proxy's addresses, best first. May block. Raises socket.gaierror, ValueError."""
    try:
        return [Through(address, proxy) for address in tcp.look_up(proxy.host, proxy.port)]
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"of the proxy: {error.strerror}") from error
