"""The beginning of a WebSocket, sans-IO: the HTTP upgrade of both sides, and what who asks for a page gets.

Knows no socket, no TLS and no WebSocket frame (RFC 6455, 4; RFC 9110; with h11).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import h11
from wsproto.utilities import generate_accept_token, generate_nonce

from busway.drivers.channel import NOT_KEPT, Asked
from busway.drivers.upgrades import SUBPROTOCOL, objection

HEADERS_SIZE_MAX: Final = 8192  # bytes of a request or an answer up to its empty line
_BODY_SIZE_MAX: Final = 1024  # of a refusal, for people
_ANSWER_SIZE_MAX: Final = 4 * HEADERS_SIZE_MAX  # to us, before the last of its headers
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_NOT_THERE: Final = (403, 404)  # what frameworks answer where nothing is
_LATER: Final = (408, 425, 429)  # another time it may be answered otherwise
_KEY_SIZE: Final = 16
_TLS_RECORD: Final = b"\x16\x03"  # how a TLS ClientHello begins
_TLS_ALERT: Final = b"\x15\x03"  # ... and how a TLS server complains of what is no TLS
_HTTP: Final = b"HTTP/"
_SAID_SIZE_MAX: Final = 60  # bytes of what a stranger says, for people
_BEGIN_SIZE: Final = 7  # bytes that tell who is there
_BUSWAY: Final = b"BSWY"  # how a bus without a WebSocket begins, behind 2 or 3 bytes
_NOT_BUSWAY: Final = b"\x03\x01"  # ... and how it refuses a request of HTTP, behind a length of 1 byte

_NO_WEBSOCKET: Final = "a Busway node answers there, but without a WebSocket: connect to tcp:// instead"


class Page(NamedTuple):
    """The answer to a GET."""

    content_type: str
    body: bytes


class Site(NamedTuple):
    """A listener as its clients see it.

    `host` as in its URL, `path` where the WebSocket is, `secure` whether there is TLS, `origins` of other
    pages that may come, "*" for all, `pages` by path, `keeps` whether the requests are of interest.
    """

    host: str
    path: str
    secure: bool
    origins: frozenset[str]
    pages: Mapping[str, Page]
    keeps: bool = False


class _Opening:
    """One side of the upgrade.

    done: the answer is complete; open: and it was yes. status: of one that was no. trailing: what came after
    it. fault: why not, for people; "" if there was nothing wrong.
    """

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=HEADERS_SIZE_MAX)
        self._out = b""
        self.done = False
        self.open = False
        self.status = 0
        self.trailing = b""
        self.fault = ""

    def data_to_send(self) -> bytes:
        out, self._out = self._out, b""
        return out


# ---- the side that listens


class ServerOpening(_Opening):
    """Reads one request and answers it."""

    def __init__(self, site: Site) -> None:
        super().__init__(h11.SERVER)
        self._site = site
        self._started = False
        self.asked = NOT_KEPT  # of the upgrade, once it is accepted

    def receive_data(self, data: bytes) -> None:
        """Never raises for what came."""
        if self.done or not data:
            return
        try:
            if not self._started and data.startswith(_TLS_RECORD):
                self._refuse(400, "This listener speaks ws:// without TLS, and wss:// was asked for.")
                return
            if not self._started and _BUSWAY in data[:_BEGIN_SIZE]:
                self._refuse(400, "This listener speaks ws://, and tcp:// was asked for.")
                return
            self._started = True
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, f"This is no HTTP request: {error}.")
            return
        if isinstance(event, h11.Request):
            if _size_of(event.headers) > HEADERS_SIZE_MAX:  # h11 minds only what is not complete yet
                self._refuse(431, f"The headers may have {HEADERS_SIZE_MAX} bytes.")
            elif len(event.target) > HEADERS_SIZE_MAX:
                self._refuse(414, f"A path with its query may have {HEADERS_SIZE_MAX} bytes.")
            else:
                self._take(event)

    def receive_plain(self, data: bytes) -> None:
        """Refuse who begins without TLS where there has to be some: told so, without TLS."""
        asked = "tcp" if _BUSWAY in data[:_BEGIN_SIZE] else "ws"
        self._refuse(
            400, f"This listener is wss://, and {asked}:// was asked for: connect to wss:// instead."
        )

    def receive_eof(self) -> None:
        if not self.done:
            self.done = True
            self.fault = "the other side hung up before its request was complete"

    def _take(self, request: h11.Request) -> None:
        headers = _joined(request.headers)
        path = request.target.decode("latin-1").partition("?")[0]
        if b"websocket" in _tokens(headers, b"upgrade"):
            self._take_upgrade(request, headers, path)
        elif request.method not in (b"GET", b"HEAD"):
            self._refuse(405, "Only GET is possible here.", [("Allow", "GET, HEAD")])
        else:
            self._take_get(path, headers, request.method == b"HEAD")

    def _take_get(self, path: str, headers: dict[bytes, bytes], head: bool) -> None:
        page = self._site.pages.get(path)
        if page is not None:
            self._answer(200, page, [("Cache-Control", "no-cache"), *self._sharing(headers)], head)
            self.fault = f"a page was asked for: {path}"
        elif path == self._site.path:
            self._refuse(426, self._about(), [("Upgrade", "websocket")], head)
        else:
            self._refuse(404, f"There is nothing at {path}. {self._about()}", [], head)

    def _sharing(self, headers: dict[bytes, bytes]) -> list[tuple[str, str]]:
        """Pages of origins that may come may use ours, as by importing a script (Fetch Standard, 3.2)."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not self._site.origins:
            return []
        vary = [("Vary", "Origin")]
        if origin and not self._objection_to_origin(headers):
            return [("Access-Control-Allow-Origin", origin), *vary]
        return vary

    def _about(self) -> str:
        scheme = "wss" if self._site.secure else "ws"
        path = "" if self._site.path == "/" else self._site.path
        return (
            "This is a WebSocket listener of a Busway node. Programs join its bus with "
            f'bus.connect("{scheme}://HOST:PORT{path}"), others by a WebSocket of subprotocol {SUBPROTOCOL}.'
        )

    def _take_upgrade(self, request: h11.Request, headers: dict[bytes, bytes], path: str) -> None:
        """The checks of RFC 6455, 4.2.1 and 4.2.2, and ours."""
        offers = _listed(headers, b"sec-websocket-protocol")
        if path != self._site.path:
            self._refuse(404, f"There is no WebSocket at {path}. {self._about()}")
        elif request.method != b"GET" or request.http_version == b"1.0" or _has_body(headers):
            self._refuse(400, "A WebSocket begins with a GET of HTTP/1.1 without a body.")
        elif b"upgrade" not in _tokens(headers, b"connection") or b"host" not in headers:
            self._refuse(400, "A WebSocket begins with the headers Host and Connection: Upgrade.")
        elif headers.get(b"sec-websocket-version") != b"13":
            text = "Only version 13 of WebSocket is possible here."
            self._refuse(426, text, [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")])
        elif not _is_key(headers.get(b"sec-websocket-key", b"")):
            self._refuse(400, "Sec-WebSocket-Key must be the base64 of 16 bytes, once.")
        elif objection := self._objection_to_origin(headers):
            self._refuse(403, objection)
        elif SUBPROTOCOL not in offers:
            self._refuse(400, f"Sec-WebSocket-Protocol must offer {SUBPROTOCOL}.")
        else:
            if self._site.keeps:
                query = request.target.decode("latin-1").partition("?")[2]
                words = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
                self.asked = Asked(query, words)
            self._accept(headers[b"sec-websocket-key"])

    def _objection_to_origin(self, headers: dict[bytes, bytes]) -> str:
        """The reason why the page that comes here may not; "" if it may, or if no browser is asking."""
        return objection(
            headers.get(b"origin", b"").decode("latin-1"),
            headers.get(b"host", b"").decode("latin-1"),
            secure=self._site.secure,
            own=self._site.host,
            allowed=self._site.origins,
        )

    def _accept(self, key: bytes) -> None:
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", generate_accept_token(key).decode()),
            ("Sec-WebSocket-Protocol", SUBPROTOCOL),
        ]
        answer = h11.InformationalResponse(status_code=101, headers=headers, reason="Switching Protocols")
        self._out = self._http.send(answer) or b""
        self.trailing = self._http.trailing_data[0]
        self.done = self.open = True

    def _refuse(
        self, status: int, text: str, headers: list[tuple[str, str]] | None = None, head: bool = False
    ) -> None:
        self.fault = text
        page = Page("text/plain; charset=utf-8", text.encode() + b"\n")
        self._answer(status, page, headers or [], head)

    def _answer(self, status: int, page: Page, headers: list[tuple[str, str]], head: bool) -> None:
        self.done = True
        self.status = status
        all_headers = [
            *headers,
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),  # no page elsewhere may put ours under its visitors' clicks
            ("Connection", "close"),
        ]
        try:
            self._out = self._http.send(h11.Response(status_code=status, headers=all_headers)) or b""
            if not head:
                self._out += self._http.send(h11.Data(data=page.body)) or b""
            self._http.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            pass  # h11 answers no more after some of the faults; the connection ends all the same


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By lower-case name; what comes more than once joined by commas (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + b", " + value if name in found else bytes(value)
    return found


def _size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)


def _tokens(headers: dict[bytes, bytes], name: bytes) -> list[bytes]:
    return [part.strip().lower() for part in headers.get(name, b"").split(b",")]


def _listed(headers: dict[bytes, bytes], name: bytes) -> list[str]:
    return [part.strip() for part in headers.get(name, b"").decode("latin-1").split(",")]


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_SIZE
    except binascii.Error:
        return False


# ---- the side that dials


class ClientOpening(_Opening):
    """Asks for the upgrade and reads the answer.

    may_heal: whether another try may be answered otherwise; location: of a redirection.
    """

    def __init__(self, host: str, target: str, more: Iterable[tuple[str, str]] = ()) -> None:
        """`host` as the Host header has it, `target` path and query, `more` headers of the user's."""
        super().__init__(h11.CLIENT)
        self._key = generate_nonce()
        headers = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key.decode()),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", SUBPROTOCOL),
            *more,
        ]
        self._out = self._http.send(h11.Request(method="GET", target=target, headers=headers)) or b""
        self._path = target.partition("?")[0]
        self.may_heal = False
        self.location = ""  # that it sent us to
        self._began = False
        self._begin = b""  # of the answer, while it is too short to judge
        self._came = 0
        self._body = b""

    def receive_data(self, data: bytes) -> None:
        """Never raises for what came."""
        if self.done or not data:
            return
        if not self._began:
            data = self._begin + data
            self._begin = b""
            if len(data) < _BEGIN_SIZE and b"\n" not in data:
                self._begin = data
                return
            self._began = True
            if fault := _stranger(data):
                self._fail(fault)
                return
        try:
            self._came += len(data)
            self._http.receive_data(data)
            while not self.done:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    self._mind_size()
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            if self.status:
                self._finish()
            else:
                self._fail(f"what answers there is no HTTP server ({error}); perhaps it expects wss://")

    def _mind_size(self) -> None:
        # h11 takes any number of interim answers (1xx); the body of the final one has its own limit
        if not self.status and self._came > _ANSWER_SIZE_MAX:
            self._fail(f"there is no answer in {_ANSWER_SIZE_MAX} bytes")

    def receive_eof(self) -> None:
        if self.status:
            self._finish()
        elif not self.done:
            fault = _stranger(self._begin) if self._begin else ""
            self.may_heal = not fault
            hint = "" if self._began else "; perhaps it expects wss://"
            self._fail(fault or f"the other side hung up in the midst of the handshake{hint}")

    def _take(self, event: object) -> None:
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                self._take_switch(_joined(event.headers))
        elif isinstance(event, h11.Response):
            self.status = event.status_code
            self.may_heal = self.status >= 500 or self.status in _LATER
            if self.status in _REDIRECTIONS:
                self.location = _printable(_joined(event.headers).get(b"location", b""))
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
            if len(self._body) >= _BODY_SIZE_MAX:
                self._finish()
        else:  # the end of the answer, or of the connection
            self._finish()

    def _finish(self) -> None:
        words = _printable(self._body)
        fault = f"HTTP status {self.status} instead of a WebSocket: {words}".removesuffix(": ")
        if self.status in _NOT_THERE and not self._path.endswith("/") and not words:
            fault += f"; an application that is mounted at {self._path} is reached at {self._path}/"
        self._fail(fault)

    def _take_switch(self, headers: dict[bytes, bytes]) -> None:
        """The checks of RFC 6455, 4.1, on the server's answer."""
        if _size_of(headers.items()) > HEADERS_SIZE_MAX:
            self._fail(f"the answer's headers have more than {HEADERS_SIZE_MAX} bytes")
        elif b"websocket" not in _tokens(headers, b"upgrade"):
            self._fail("the answer lacks Upgrade: websocket")
        elif b"upgrade" not in _tokens(headers, b"connection"):
            self._fail("the answer lacks Connection: Upgrade")
        elif headers.get(b"sec-websocket-accept") != generate_accept_token(self._key):
            self._fail("Sec-WebSocket-Accept is not the answer to our key: a cache may stand in between")
        elif headers.get(b"sec-websocket-extensions"):
            self._fail("an extension was chosen that was not offered")
        elif headers.get(b"sec-websocket-protocol", b"").decode("latin-1") != SUBPROTOCOL:
            self._fail(f"that server does not speak the subprotocol {SUBPROTOCOL}: it is no Busway node")
        else:
            self.trailing = self._http.trailing_data[0]
            self.done = self.open = True

    def _fail(self, fault: str) -> None:
        self.done = True
        self.fault = fault


def _stranger(begin: bytes) -> str:
    """A guess from the first bytes of an answer who is there, if it is no web server; "" if it is one."""
    if begin.startswith(_TLS_ALERT):
        return "what answers there speaks TLS: connect to wss:// instead, if that is meant"
    if _BUSWAY in begin[:_BEGIN_SIZE] or begin[1:3] == _NOT_BUSWAY:
        return _NO_WEBSOCKET
    if begin.startswith(_HTTP):
        return ""
    said = _printable(begin[:_SAID_SIZE_MAX].partition(b"\n")[0])
    return f"what answers there is no WebSocket server: it says {said!r}"


def _printable(data: bytes) -> str:
    words = " ".join(data[:_BODY_SIZE_MAX].decode("utf-8", "replace").split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)
