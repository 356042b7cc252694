"""An ASGI application that joins its clients to a bus by WebSocket: `app.mount("/bus", busway.asgi(bus))`.

Knows of servers and frameworks only the ASGI specification (version 3), and imports none of them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from busway import tokens
from busway.adapters.bus import BaseBus, host_of
from busway.adapters.clients import SPARE_MAX, Server, server_of
from busway.adapters.making import Terms, from_environment
from busway.adapters.typed import Realm
from busway.drivers.asgi import AsgiChannel, Receive, Scope, Send
from busway.drivers.channel import Asked
from busway.drivers.upgrades import SUBPROTOCOL, check_origins, objection
from busway.errors import BusError

if TYPE_CHECKING:
    from busway.adapters.client_records import Client
    from busway.adapters.links import LinkRunner

LISTENER: Final = "asgi"  # what a policy calls it
_LOOPBACK = "beyond this machine this application needs token=, open=True, or a bus with trust="
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")  # the first is never an address alone
_PLAIN: Final = "text/plain; charset=utf-8"
_ABOUT: Final = (
    "This is a WebSocket of a Busway node. Programs join its bus with "
    f'bus.connect("ws://HOST:PORT/PATH/"), others by a WebSocket of subprotocol {SUBPROTOCOL}.'
)
_GUARD: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
Refused = tuple[int, str]  # an HTTP status, and a sentence


class BusApp:
    """The application that `busway.asgi` returns."""

    def __init__(
        self,
        bus: BaseBus,
        terms: Terms,
        origins: frozenset[str],
        pages: Mapping[str, tuple[str, bytes]] | None,
    ) -> None:
        assert terms.server is not None
        self._bus = bus
        self._host: Any = host_of(bus)
        self._terms = terms
        self._server: Server = terms.server
        self._origins = origins
        self._pages = pages
        self._is_closed = False
        self._open = 0  # connections, those included that are still opening
        self._complained = ""

    def __repr__(self) -> str:
        return f"<ASGI application of {self._bus!r}>"

    def clients(self) -> list[Client]:
        """The clients that are there, in the order in which they came."""
        found: list[Client] = self._host.look(self._server.clients)
        return found

    @property
    def refused(self) -> int:
        """How many were refused once they had said who they are: by `admit`, for their name, for there were
        too many.
        """
        return self._server.refused

    def close(self) -> None:
        """Let in nobody any more; who is there stays. Twice is once."""
        self._is_closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the server calls it. Raises nothing for what a client did; ValueError for a protocol that is
        none of ASGI 3's.
        """
        kind = scope["type"]
        if kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "http":
            await self._http(scope, send)
        elif kind == "lifespan":
            await _live(receive, send)
        else:
            raise ValueError(f"busway.asgi knows websocket, http and lifespan, not {kind!r}")

    # WebSockets

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        headers = _headers(scope)
        refused = self._objection(scope, headers)
        if refused is not None:
            await _deny(scope, send, *refused)
            return
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        channel = AsgiChannel(_address(scope), Asked(query, headers), scope)
        self._open += 1
        try:
            refused = await self._join(channel)
            if refused is not None:
                await _deny(scope, send, *refused)
                return
            await channel.run(receive, send, {"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        finally:
            self._open -= 1

    def _objection(self, scope: Scope, headers: Mapping[str, str]) -> Refused | None:
        """The reason why somebody may not come, before anything is made for it."""
        if self._is_closed or not self._host.left_open:
            return 503, "The bus is not open."
        secure = scope.get("scheme") in ("wss", "https")
        origin, host = headers.get("origin", ""), headers.get("host", "")
        wrong = objection(origin, host, secure=secure, own="", allowed=self._origins)
        if wrong:
            return 403, wrong
        if SUBPROTOCOL not in (scope.get("subprotocols") or ()):
            return 400, f"Sec-WebSocket-Protocol must offer {SUBPROTOCOL}."
        if not self._may_come_from(scope, headers):
            return 403, f"From another machine nobody may come: {_LOOPBACK}."
        most = self._server.rules.max_connections
        if most is not None and self._open >= most + SPARE_MAX:
            return 503, "This server has as many clients as it may (max_connections)."
        return None

    def _may_come_from(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        terms = self._terms
        if terms.token is not None or terms.open or self._host.identity.trust is not None:
            return True
        # A proxy on this machine names those from elsewhere, whether or not the server believes it.
        named = [text for key in _FORWARDED if key in headers for text in headers[key].split(",")]
        hosts = [(scope.get("client") or ("",))[0], *(text.strip() for text in named)]
        return all(map(_is_loopback, hosts))

    async def _join(self, channel: AsgiChannel) -> Refused | None:
        """Make it a link of the bus; why not, if that cannot be."""
        import asyncio

        try:
            if not self._host.identity.is_ready:  # files are read
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self._host.identity.prepare, "ws://")
            let_in: bool = self._host.inside(self._let_in, channel)
        except (BusError, OSError, ValueError) as error:
            self._complain(str(error))
            return 503, "The bus cannot take a link now: its program's log says why."
        return None if let_in else (503, "Too many come at once: try again.")

    def _let_in(self, channel: AsgiChannel) -> bool:
        """With the bus's lock, if it has one."""
        host = self._host
        host.check()
        incoming = host.incoming.admit(channel.address, host.loop.time())
        if incoming is None:
            host.trail.exceeded("incoming", channel.address, listener=LISTENER)
            return False
        runner: LinkRunner = host.run_link(channel, self._terms)
        incoming.waits = lambda: runner.is_stranger
        incoming.turn_away = runner.close
        return True

    def _complain(self, text: str) -> None:
        """Once for each trouble."""
        if text != self._complained:
            self._complained = text
            logging.getLogger("busway").error("busway.asgi cannot take clients: %s", text)

    # Pages

    async def _http(self, scope: Scope, send: Send) -> None:
        method, path = scope["method"], _path(scope)
        if method not in ("GET", "HEAD"):
            await _answer(send, 405, _PLAIN, b"Only GET is possible here.\n", ((b"allow", b"GET, HEAD"),))
            return
        page = self._all_pages().get(path)
        if page is not None:
            await _answer(send, 200, page[0], page[1], ((b"cache-control", b"no-cache"),), method == "HEAD")
            return
        status, more = (426, ((b"upgrade", b"websocket"),)) if path == "/" else (404, ())
        await _answer(send, status, _PLAIN, f"{_ABOUT}\n".encode(), more, method == "HEAD")

    def _all_pages(self) -> Mapping[str, tuple[str, bytes]]:
        if self._pages is None:
            from busway.web import client

            self._pages = client("/")
        return self._pages


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan of an application that is the server's own: its program opens and closes the bus."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _deny(scope: Scope, send: Send, status: int, text: str) -> None:
    """Refuse a WebSocket that was not accepted; servers that can send an answer of ours do."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": text[:120]})  # which is HTTP 403
        return
    await _answer(send, status, _PLAIN, f"{text}\n".encode(), (), kind="websocket.http.response")


async def _answer(
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    more: Iterable[tuple[bytes, bytes]],
    head: bool = False,
    kind: str = "http.response",
) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *_GUARD,
        *more,
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if head else body})


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name; what comes more than once joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key, text = bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _path(scope: Scope) -> str:
    """The path below where the application is mounted."""
    path = str(scope.get("path", ""))
    return path.removeprefix(str(scope.get("root_path", ""))) or "/"


def _address(scope: Scope) -> str:
    """The address that somebody comes from, as links name it."""
    scheme = "wss" if scope.get("scheme") == "wss" else "ws"
    client = scope.get("client")
    if not client:
        return f"{scheme}://?"
    host = f"[{client[0]}]" if ":" in client[0] else client[0]
    return f"{scheme}://{host}:{client[1]}"


def _is_loopback(host: object) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def asgi(
    bus: BaseBus,
    *,
    token: str | None = None,
    weak: bool = False,
    open: bool = False,
    routers: bool = False,
    realm: Realm | None = None,
    cost: int | None = None,
    origins: Iterable[str] = (),
    pages: Mapping[str, tuple[str, bytes]] | None = None,
    max_connections: int | None = None,
    admit: Callable[[Any], Any] | None = None,
    rate: Mapping[str, int] | None = None,
    on_message: Callable[[Any, Any], Any] | None = None,
    on_disconnect: Callable[[Any], Any] | None = None,
    hook_timeout: float = 5.0,
) -> BusApp:
    """An ASGI application whose clients join `bus`, an AsyncBus that is opened on the server's loop, or a
    Bus: `app.mount("/bus", busway.asgi(bus))`, and its address is then ws://host/bus/, with the slash.

    Args:
        token, weak, open, routers, realm, cost: as for `listen`. From another machine nobody comes without
            `token`, `open=True` or a bus with `trust`; with `open=True` whoever the application in front of
            it lets through, as leaves only.
        origins: of web pages that may come, such as "https://lab.example", besides those that the same
            address has handed out; "*" is any.
        pages: that a GET gets, by path below the mount: (content type, bytes). By default the JavaScript
            client: `import { connect } from "/bus/busway.js"`.
        max_connections, admit, rate, on_message, on_disconnect, hook_timeout: as for `listen`
            (docs/howto/clients.md). `admit` finds what the application says of a client in `client.scope`.

    The bus need not be open yet; while it is not, clients get HTTP 503. Raises TypeError, ValueError.
    """
    if not isinstance(bus, BaseBus):
        raise TypeError(f"busway.asgi takes a Bus or an AsyncBus, not {bus!r}")
    token, _ = from_environment("", token, {})
    tokens.check_strength(token, weak)
    allowed = check_origins(origins)
    server = server_of(
        bus,
        max_connections=max_connections,
        admit=admit,
        rate=rate,
        on_message=on_message,
        on_disconnect=on_disconnect,
        hook_timeout=hook_timeout,
    )
    terms = Terms(token, realm, cost, open, routers, (LISTENER,), server)
    terms.check()
    return BusApp(bus, terms, allowed, pages)


class _Callable(ModuleType):
    """This module: whoever has imported it finds it where the function was to be, `busway.asgi`."""

    def __call__(self, *args: Any, **options: Any) -> BusApp:
        return asgi(*args, **options)


sys.modules[__name__].__class__ = _Callable
