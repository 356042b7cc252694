"""WebSocket links, ws://host:port and wss://host:port: a stream of bytes in binary messages, over TCP.

Joins the parts that know no socket: websocket_tls, websocket_http and websocket_frames. Opening a link, TLS
and the HTTP upgrade included, is over once `connected()` says so, at both sides; who waits for it sees to
the time.

Beyond what every channel has, there are, because a WebSocket has bytes of its own to read and write:

    wants_write   wait until writable, then `write(b"")`; while connecting, ask `connected()` then
    has_data      `read()` has something to say although nothing new may come
    finish()      says goodbye, before `close()`
"""

from __future__ import annotations

import contextlib
import errno
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin

from busway.drivers import tcp, tunnel
from busway.drivers.channel import NOT_KEPT, READ_SIZE, Asked, Refusal, short_via
from busway.drivers.sockets import SocketChannel
from busway.drivers.upgrades import check_origins
from busway.drivers.websocket_frames import GOING_AWAY, NO_STATUS, NORMAL, SEND_SIZE_MAX, Frames
from busway.drivers.websocket_http import ClientOpening, ServerOpening, Site
from busway.drivers.websocket_options import (
    File,
    Headers,
    check_client,
    check_count,
    check_headers,
    check_pages,
    context_for_server,
)
from busway.drivers.websocket_tls import HANDSHAKE as TLS_HANDSHAKE
from busway.drivers.websocket_tls import Tls, client_context, fault_of

STAGGER_S: Final = tcp.STAGGER_S
CONNECTIONS_MAX: Final = 4096  # of one listener, those included that are still opening
_PORTS: Final = {"ws": 80, "wss": 443}
_OK: Final = 200  # the status of an answer that is a page
_DRAIN_SIZE_MAX: Final = 1 << 18  # bytes that are read and dropped of one whose request was refused
_LINGER_SIZE_MAX: Final = 32 << 20  # ... and of one whose messages were
_TLS_RECORD_SIZE: Final = 16384 + 2048
_BUSY_TEXT: Final = b"This listener has as many links as it may (connections_max=, or max_connections=).\n"
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_BUSY_TEXT), _BUSY_TEXT)
)


class Place(NamedTuple):
    """A parsed URL: `target` is the path with its query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """As short as it can be written, so that one place has one name."""
        target = "" if self.target == "/" else self.target
        return f"{self.scheme}://{self._joined(self.host)}{target}"

    @property
    def authority(self) -> str:
        """The value of a Host header: no zone, which means something on this machine only (RFC 6874, 4)."""
        return self._joined(self.bare_host)

    @property
    def bare_host(self) -> str:
        """The host without a zone, as others know it."""
        return self.host.partition("%")[0]

    def _joined(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str, *, listening: bool = False) -> Place:
    """Splits ws://host:port/path?query or wss://..., with IPv6 addresses in brackets. The port is 80, or 443
    for wss, unless given.

    Args: `listening` allows port 0, which takes a free one. Raises ValueError for anything else.
    """
    scheme, separator, rest = url.partition("://")
    fault = f"expected ws://host:port/path or wss://host:port/path (IPv6 addresses in brackets), not {url!r}"
    if scheme not in _PORTS or not separator or not rest.isprintable() or "#" in rest or " " in rest:
        raise ValueError(fault)
    cut = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, target = rest[:cut], rest[cut:]
    has_port = authority.rpartition("]")[2].count(":") == 1
    full = authority if has_port else f"{authority}:{_PORTS[scheme]}"
    try:
        host, port = tcp.parse(f"tcp://{full}", listening=listening)
    except ValueError as error:
        text = str(error).replace(f"tcp://{full}", url)
        reason, expected, _ = text.partition("expected tcp://")
        raise ValueError(reason + fault if expected else text) from None
    target = target if target.startswith("/") else "/" + target
    return Place(scheme, host, port, quote(target, safe="/?=&%:@!$'()*+,;-._~"))


class WebSocketChannel:
    """A WebSocket over a TCP connection, perhaps still being opened: ask `connected()`. See the module."""

    sort = "stream"
    realm = "global"
    mtu = 0

    def __init__(
        self,
        inner: SocketChannel,
        opening: ClientOpening | ServerOpening,
        tls: Tls | None,
        address: str,
        *,
        via: str,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self.address = address
        self.via = via
        self.dialled = inner.dialled
        self._inner = inner
        self._opening: ClientOpening | ServerOpening | None = opening
        self._tls = tls
        self._frames: Frames | None = None
        self._out = bytearray()
        self._decoded = b""  # for read(), out of turn
        self.joined = False  # the far end is reached: what is waited for then is its part of the handshake
        self._ended: OSError | bool = False  # nothing more comes: in good order, or the failure
        self._drained = -1  # bytes read and dropped since the other side was refused; -1 before
        self._on_close = on_close
        self.asked: Asked = NOT_KEPT  # at the side that was dialled

    def fileno(self) -> int:
        return self._inner.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether to wait until writable, for `write(b"")`, or for `connected()` while connecting."""
        if self.joined:
            return bool(self._out)
        return bool(getattr(self._inner, "wants_write", True))

    @property
    def has_data(self) -> bool:
        """Whether `read()` has something to say that no event of the socket may announce."""
        if self._ended is not False:
            return bool(self._decoded) or self._inner.fileno() >= 0
        return bool(self._decoded) or (self._frames is not None and self._frames.pending)

    # ---- opening

    @property
    def answer(self) -> str | None:
        """The answer that a client got instead of a link; "" if it asked for a page, and None if nothing was
        answered.
        """
        opening = self._opening
        if opening is None or not opening.status:
            return None
        return "" if opening.status == _OK else opening.fault

    def connected(self) -> bool:
        """False while opening: wait until writable if `wants_write`, else until readable, then ask again.

        Raises OSError if it failed, with the other side's reason where it gave one; ssl.SSLError is one.
        """
        if self._frames is not None:
            return True
        if not self.joined:
            if not self._inner.connected():
                return False
            self.joined = True
            self._begin()
        if self._drained >= 0:
            self._drain()
        elif self._flush() and self._advance():
            return self._open()
        return False

    def _begin(self) -> None:
        if self._tls is None:
            self._say()
        elif self.dialled:
            self._decrypt(b"")

    def _advance(self) -> bool:
        """Goes on with what has come; whether the opening is over and all its bytes are written."""
        exchange = self._opening
        assert exchange is not None
        if not exchange.done:
            data = self._pull(READ_SIZE)
            if data == b"":
                exchange.receive_eof()
            elif data:
                exchange.receive_data(data)
            self._say()
        if not exchange.done or not self._flush():
            return False
        if not exchange.open:
            self._turn_away(exchange)
        return exchange.open

    def _say(self) -> None:
        assert self._opening is not None
        if self._tls is None or self._tls.open:
            self._push(self._opening.data_to_send())

    def _turn_away(self, exchange: ClientOpening | ServerOpening) -> None:
        """An answer that was no, given or taken."""
        if isinstance(exchange, ClientOpening):
            text = f"{exchange.fault}{_elsewhere(self.address, exchange.location)}"
            if exchange.may_heal:
                raise ConnectionRefusedError(errno.ECONNREFUSED, f"{self.address}: {text}")
            raise Refusal(self.address, text)
        # Closing with bytes unread would reset the connection, and the answer might be lost over it.
        self._inner.end_writing()
        self._drained = 0

    def _drain(self) -> None:
        assert self._opening is not None
        data = self._inner.read()
        self._drained += len(data or b"")
        if data == b"" or self._drained > _DRAIN_SIZE_MAX:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"{self.address}: {self._opening.fault}")

    def _open(self) -> bool:
        assert self._opening is not None
        frames = self._frames = Frames(client=self.dialled)
        if isinstance(self._opening, ServerOpening):
            self.asked = self._opening.asked
        trailing = self._opening.trailing
        self._opening = None
        self._decoded = self._unwrap(frames, trailing) if trailing else b""
        return True

    # ---- reading

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        """As every channel's; what does not fit into `size_max`, 32 KiB or less, is had by asking again."""
        frames = self._frames
        assert frames is not None, "not connected yet"
        if not self._decoded:
            if self._ended is not False:
                return self._tell_end()
            if frames.fault is not None:
                return self._linger(frames.fault)
            data = b"" if frames.pending else self._pull_some(size_max)
            if data is None:
                return None
            if data == b"" and not frames.pending:
                self._end_of_file(frames)
                return self._tell_end()
            self._decoded = self._unwrap(frames, data)
        data, self._decoded = self._decoded[:size_max], self._decoded[size_max:]
        if data:
            return data
        if frames.fault is not None:
            return self._linger(frames.fault)
        return self._tell_end() if self._ended is not False else None

    def _pull_some(self, size_max: int) -> bytes | None:
        # Decrypting one more record may bring more bytes than were read.
        return self._pull(size_max if self._tls is None else max(1, size_max - _TLS_RECORD_SIZE))

    def _unwrap(self, frames: Frames, data: bytes) -> bytes:
        """The stream's bytes among those of the WebSocket; answers what has to be answered."""
        found = frames.receive_data(data)
        self._flush()
        if frames.closed is not None and self._ended is False:
            self._ended = self._judge(frames, *frames.closed)
        return found

    def _linger(self, fault: tuple[int, str]) -> bytes | None:
        """The other side is at fault and has been told so: None until it goes, then raises.

        Closing with bytes unread would reset the connection, and what it was told might be lost over it.
        """
        if self._flush() and self._drained < 0:
            self._inner.end_writing()
            self._drained = 0
        data = self._inner.read()
        self._drained += len(data or b"")
        if data == b"" or self._drained > _LINGER_SIZE_MAX:
            code, text = fault
            self._ended = OSError(
                errno.EPROTO, f"{self.address}: no WebSocket as it should be: {text} (code {code})"
            )
            raise self._ended
        return None

    def _judge(self, frames: Frames, code: int, text: str) -> OSError | bool:
        """Judge the other side's Close: True if it was in good order."""
        if code in (NORMAL, GOING_AWAY, NO_STATUS) or frames.left_first:
            return True
        words = f": {text}" if text else ""
        return ConnectionAbortedError(errno.ECONNABORTED, f"{self.address}: closed with code {code}{words}")

    def _end_of_file(self, frames: Frames) -> None:
        """The socket's end, without a Close before it."""
        self._ended = frames.left_first or ConnectionAbortedError(
            errno.ECONNABORTED, f"{self.address}: the connection ended without a goodbye (code 1006)"
        )

    def _tell_end(self) -> bytes:
        if isinstance(self._ended, OSError):
            raise self._ended
        return b""

    def _pull(self, size: int) -> bytes | None:
        """Plain bytes of the socket; None for none now, b"" for the end. Raises OSError."""
        data = self._inner.read(size)
        tls = self._tls
        if tls is None or not data:
            return data
        if not tls.begun and not self.dialled and data[0] != TLS_HANDSHAKE:
            assert isinstance(self._opening, ServerOpening)
            self._tls = None  # who came without TLS understands no answer that has it
            self._opening.receive_plain(data)
            return None
        plain = self._decrypt(data)
        if plain:
            return plain
        return b"" if tls.ended else None

    def _decrypt(self, data: bytes) -> bytes:
        assert self._tls is not None
        was_open = self._tls.open
        try:
            plain = self._tls.receive_data(data)
        except ssl.SSLError as error:
            self._send_alert()
            raise fault_of(error, self.address, dialled=self.dialled) from error
        if self._tls.open and not was_open and self._opening is not None:
            self._say()
        self._out += self._tls.data_to_send()
        return plain

    def _send_alert(self) -> None:
        assert self._tls is not None
        self._out += self._tls.data_to_send()
        with contextlib.suppress(OSError):  # the other side has gone
            self._flush()

    # ---- writing

    def write(self, data: bytes | memoryview) -> int:
        """As every channel's; b"" writes what the channel has of its own. What was taken may still have to be
        written, as `wants_write` says.
        """
        frames = self._frames
        if frames is not None and frames.fault is not None:
            self._flush()
            return len(data)  # lost, as in the buffers of a link that dies; `read()` will say why
        if frames is not None and frames.left and data:
            raise BrokenPipeError(errno.EPIPE, f"{self.address}: the WebSocket is closed")
        if not self._flush() or frames is None:
            return 0
        view = memoryview(data)
        taken = 0
        while taken < len(view) and not self._out:
            part = view[taken : taken + SEND_SIZE_MAX]
            self._send(frames.send([part]))
            taken += len(part)
        return taken

    def write_buffers(self, buffers: list[bytes | memoryview]) -> int:
        """As every channel's: in one message."""
        frames = self._frames
        if frames is None or frames.fault is not None or frames.left or not self._flush():
            return self.write(b"".join(buffers))
        self._send(frames.send(buffers))
        return sum(map(len, buffers))

    def _send(self, buffers: list[bytes | memoryview]) -> None:
        """Writes these now, as far as the socket takes them: nothing else is waiting."""
        if self._tls is not None:
            self._push(b"".join(buffers))
        else:
            taken = self._inner.write_buffers(buffers)
            for buffer in buffers:
                if taken < len(buffer):
                    self._out += memoryview(buffer)[taken:]
                taken = max(0, taken - len(buffer))
        self._flush()

    def _push(self, data: bytes | bytearray) -> None:
        if not data:
            return
        if self._tls is None:
            self._out += data
        else:
            self._tls.send(data)
            self._out += self._tls.data_to_send()

    def _flush(self) -> bool:
        """Writes what is waiting; whether all is written. Raises OSError."""
        out = self._out
        while True:
            while out:
                taken = self._inner.write(out)
                if not taken:
                    return False
                del out[:taken]
            # Only now: whoever never reads has one pong waiting, however many pings it sends.
            control = b"" if self._frames is None else self._frames.control_to_send()
            if not control:
                return True
            self._push(control)

    # ---- the end

    def finish(self) -> bool:
        """Says goodbye; False if its answer is to be awaited: `read()` on until the end, but not for long."""
        frames = self._frames
        if frames is None or self._ended is not False or self.fileno() < 0:
            return True
        try:
            self._push(frames.close(NORMAL))
            self._flush()
        except OSError:
            return True
        return False

    def close(self) -> None:
        if self.fileno() >= 0 and self._frames is not None:
            with contextlib.suppress(OSError):  # the other side has gone
                self._push(self._frames.close(GOING_AWAY))
                if self._tls is not None:
                    self._tls.close()
                    self._out += self._tls.data_to_send()
                self._flush()
        self._inner.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def abandon(self) -> None:
        self._inner.abandon()


class WebSocketListener:
    """A listening TCP socket whose clients are to open a WebSocket, from `listen()`."""

    def __init__(
        self,
        inner: tcp.TcpListener,
        url: str,
        site: Site,
        context: ssl.SSLContext | None,
        connections_max: int,
    ) -> None:
        self._inner = inner
        self._site = site
        self._context = context
        self._connections_max = connections_max
        self.connections = 0  # open or opening
        self.refused = 0
        self.url = url

    def fileno(self) -> int:
        return self._inner.fileno()

    def accept(self) -> WebSocketChannel | None:
        """The next client, which still has to open the WebSocket: `connected()` tells. None if nobody is
        waiting, or the one that was has been refused. Raises OSError.
        """
        inner = self._inner.accept()
        if inner is None:
            return None
        if self.connections >= self._connections_max:
            self.refused += 1
            _turn_away(inner, _BUSY if self._context is None else b"")
            return None
        try:
            tls = None if self._context is None else Tls(self._context, server_side=True)
        except BaseException:
            inner.close()
            raise
        self.connections += 1
        scheme = "ws" if tls is None else "wss"
        address = f"{scheme}://{inner.address.removeprefix('tcp://')}"
        return WebSocketChannel(inner, ServerOpening(self._site), tls, address, via="", on_close=self._forget)

    def _forget(self) -> None:
        self.connections -= 1

    def close(self) -> None:
        self._inner.close()

    def abandon(self) -> None:
        self._inner.abandon()


def _turn_away(inner: SocketChannel, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # gone already
        if answer:
            inner.write(answer)
    inner.close()


def candidates(
    url: str,
    *,
    cafile: File | None = None,
    tls: ssl.SSLContext | None = None,
    headers: Headers = (),
    proxy: str | bool | None = True,
) -> list[tcp.Address | tunnel.Through]:
    """The addresses to dial for `url`, or those of the proxy on the way, best first. Looks names up and so
    may block: run it in a thread.

    Args: as for `dial`. Raises TypeError or ValueError for what that cannot take, socket.gaierror (an
    OSError) for a name without an address.
    """
    place = parse(url)
    check_client(url, place.scheme, cafile, tls, proxy)
    check_headers(headers)
    tcp.check_name(place.bare_host)  # of which a proxy would be asked
    way = tunnel.proxy_for(place.host, place.port, secure=place.scheme == "wss", proxy=proxy)
    if way is not None:
        return [*tunnel.candidates(way)]
    return [*tcp.look_up(place.host, place.port)]


def dial(
    address: tcp.Address | tunnel.Through,
    url: str,
    *,
    cafile: File | None = None,
    tls: ssl.SSLContext | None = None,
    headers: Headers = (),
    proxy: str | bool | None = True,
) -> WebSocketChannel:
    """Starts connecting to one of `candidates(url)`; the channel's `connected()` tells what came of it.

    Args: `cafile` with the authorities (PEM) to trust for wss:// instead of the system's; `tls` a context of
    your own instead. `headers` for the request, such as what a gateway on the way wants. `proxy` an HTTP
    proxy, http://user:password@host:port; None for none, True for what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
    NO_PROXY say (`candidates` has seen to it).
    Raises OSError if connecting fails at once or `cafile` cannot be read, ValueError for a malformed URL,
    TypeError.
    """
    place = parse(url)
    check_client(url, place.scheme, cafile, tls, proxy)
    secure = None
    if place.scheme == "wss":
        context = tls or client_context(None if cafile is None else str(cafile))
        secure = Tls(context, server_side=False, hostname=place.bare_host)
    host = place.authority if place.host.isascii() else place.authority.encode("idna").decode()
    opening = ClientOpening(host, place.target, check_headers(headers))
    inner: tcp.TcpChannel
    if isinstance(address, tunnel.Through):
        target = host if place.port != _PORTS[place.scheme] else f"{host}:{place.port}"
        inner = tunnel.dial(address, target)
    else:
        inner = tcp.dial(address)
    inner.address = place.url  # for what it may have to say
    return WebSocketChannel(inner, opening, secure, place.url, via=short_via(place.url))


def listen(
    url: str,
    *,
    token: str | None = None,
    open: bool = False,
    certificate: File | None = None,
    key: File | None = None,
    tls: ssl.SSLContext | None = None,
    origins: Iterable[str] = (),
    pages: Mapping[str, tuple[str, bytes]] | None = None,
    connections_max: int = CONNECTIONS_MAX,
    keep_requests: bool = False,
) -> WebSocketListener:
    """Listens on `url`. Looks names up and so may block.

    Args: `token` that clients will have to prove they know (checked by the protocol, not here), or `open` to
    let in anyone who can reach the address: beyond loopback one of them is needed. For wss:// a `certificate`
    chain with its `key`, files in PEM format, or `tls`, a context of your own. `origins` of web pages that
    may come besides our own, such as "https://lab.example"; "*" is any page. `pages` that a browser gets:
    path to (content type, bytes). `connections_max` of links at a time. `keep_requests`: each channel has its
    own as `asked`. Port 0 takes a free one; the result's
    `url` has it.
    Raises ValueError for a malformed URL, an empty token, an address beyond loopback without token or open,
    wss:// without a certificate or with a context for connecting; TypeError; OSError if the address cannot be
    had or a file not be read.
    """
    place = parse(url, listening=True)
    if "?" in place.target:
        raise ValueError(f"a listener has a path, but no query: {url!r}")
    check_count("connections_max", connections_max)
    context = context_for_server(place.url, place.scheme, certificate, key, tls)
    site = Site(
        place.host,
        place.target,
        context is not None,
        check_origins(origins),
        check_pages({} if pages is None else pages),
        keep_requests,
    )
    inner = tcp.bind(place.host, place.port, url, token=token, open=open)
    host, port = tcp.parse(inner.url)
    return WebSocketListener(inner, place._replace(host=host, port=port).url, site, context, connections_max)


def _elsewhere(url: str, location: str) -> str:
    """The place a redirection leads to, as a URL to connect to. It is not followed: who wants that says so,
    for it may be another's, or without TLS.
    """
    if not location:
        return ""
    try:
        target = urljoin(f"http{url.removeprefix('ws')}", location)
        if target.startswith("http"):
            target = f"ws{target.removeprefix('http')}"
        parse(target)
    except ValueError:  # it says what it likes
        return f"; it has moved to {location!r}"
    return f"; it has moved: connect to {target}"
