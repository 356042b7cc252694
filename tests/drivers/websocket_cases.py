"""Things tried with WebSocket links, each a function that returns what happened in a few words.

The words are compared with the table in docs/links/websocket.md, which is thereby what is expected.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from busway.drivers import websocket
from busway.drivers.websocket import WebSocketChannel
from busway.drivers.websocket_frames import FRAGMENTS_MAX, MESSAGE_SIZE_MAX
from tests.drivers import waiting
from tests.drivers.websocket_tools import KEY, UPGRADE, Raw, accept_of, header, masked, request_of, upgrade

Case = Callable[[], str]
CASES: dict[str, Case] = {}
BINARY, TEXT, CONTINUED, CLOSE, PING, PONG, FINAL = 2, 1, 0, 8, 9, 10, 0x80


def case(name: str) -> Callable[[Case], Case]:
    def keep(function: Case) -> Case:
        assert name not in CASES, name
        CASES[name] = function
        return function

    return keep


# ---- a server of ours, asked by a client that says what it likes


def asked(name: str, data: bytes) -> None:
    """A case of bytes in place of a proper request."""

    def run() -> str:
        with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Raw(listener) as raw:
            with contextlib.suppress(ConnectionError):
                raw.say(data)
            return f"HTTP {raw.answer()[0]}"

    CASES[name] = run


def without(*names: str) -> list[str]:
    return [line for line in UPGRADE if line.partition(":")[0] not in names]


BARE = request_of(*UPGRADE).replace(b"Host: 127.0.0.1\r\n", b"")
asked("a proper upgrade", request_of(*UPGRADE))
asked(
    "header names in capitals, `Connection: keep-alive, Upgrade`",
    request_of(
        *[line.upper() for line in without("Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Connection")],
        "CONNECTION: keep-alive, Upgrade",
        f"SEC-WEBSOCKET-KEY: {KEY}",
        "SEC-WEBSOCKET-PROTOCOL: x, busway.2",
    ),
)
asked(
    "an offer of compression, which is declined",
    request_of(*UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate"),
)
asked("a query behind the path", request_of(*UPGRADE, request="GET /?x=1 HTTP/1.1"))
asked("HTTP/1.0", request_of(*UPGRADE, request="GET / HTTP/1.0"))
asked("POST", request_of(*UPGRADE, request="POST / HTTP/1.1"))
asked("a request with a body", request_of(*UPGRADE, "Content-Length: 2") + b"xx")
asked("no Host", BARE)
asked("two Hosts", request_of(*UPGRADE, "Host: lab"))
asked("no `Connection: Upgrade`", request_of(*without("Connection")))
asked("WebSocket version 8", request_of(*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"))
asked("no key", request_of(*without("Sec-WebSocket-Key")))
asked("a key of 15 bytes", request_of(*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: " + "A" * 20))
asked("two keys", request_of(*UPGRADE, f"Sec-WebSocket-Key: {KEY}"))
asked("no subprotocol", request_of(*without("Sec-WebSocket-Protocol")))
asked("another subprotocol", request_of(*without("Sec-WebSocket-Protocol"), "Sec-WebSocket-Protocol: mqtt"))
asked("another path", request_of(*UPGRADE, request="GET /other HTTP/1.1"))
asked("a page of another origin", request_of(*UPGRADE, "Origin: https://evil.example"))
asked("a plain GET", request_of())
asked("headers of 9 KiB", request_of(*UPGRADE, "X: " + "x" * 9000))
asked("9 KiB without an end of line", b"GET /" + b"x" * 9000)
asked("bytes that are no HTTP", b"\x00\x01\x02 hello\r\n\r\n")
asked("TLS where there is none", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40))


@case("an upgrade of one byte at a time")
def _() -> str:
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Raw(listener) as raw:
        raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request_of(*UPGRADE):
            raw.say(bytes((byte,)))
            raw.turn()
        return f"HTTP {raw.answer()[0]}"


@case("messages right behind the request, before the answer")
def _() -> str:
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Raw(listener) as raw:
        raw.say(request_of(*UPGRADE) + masked(FINAL | BINARY, b"eager"))
        raw.answer()
        return "they arrive" if raw.channel.read() == b"eager" else "lost"


@case("the client gone after each byte of its request")
def _() -> str:
    request = request_of(*UPGRADE)
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener:
        for size in range(len(request)):
            raw = Raw(listener)
            raw.say(request[:size])
            raw.sock.close()
            waiting.until(lambda raw=raw: ended(raw), "the end")  # type: ignore[misc]
        return "nothing is left over" if listener.connections == 0 else f"{listener.connections} left"


def ended(raw: Raw) -> bool:
    raw.turn()
    return raw.failure is not None


# ---- frames that a client sends to a server of ours


def outcome(channel: WebSocketChannel) -> tuple[bytes, str]:
    """All that the stream brought, and how it ended."""
    data = b""
    try:
        while (part := channel.read()) != b"":
            data += part or b""
            if part is None:
                waiting.readable(channel)
    except OSError as error:
        return data, str(error).partition(": ")[2]
    return data, "the end"


def closes(name: str, *frames: bytes) -> None:
    """A case of frames that end the link, or do not: what the other side is told, and what ours says."""

    def run() -> str:
        with closing(websocket.listen("ws://127.0.0.1:0")) as listener, closing(upgrade(listener)) as raw:
            sending = threading.Thread(target=send, args=(raw.sock, b"".join(frames)))
            sending.start()
            found: list[str] = []
            reading = threading.Thread(target=lambda: found.append(outcome(raw.channel)[1]))
            reading.start()
            said = closing_of(raw)
            sending.join(60)
            raw.sock.shutdown(socket.SHUT_WR)
            reading.join(60)
            (how,) = found
            verdict = "" if how == "the end" else "; a failure"
            return f"{said}{verdict}"

    CASES[name] = run


def send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def closing_of(raw: Raw) -> str:
    first, payload = raw.frame()
    if first != FINAL | CLOSE:
        return f"frame {first:#x}"
    return f"Close {struct.unpack('!H', payload[:2])[0]}" if payload else "Close without a code"


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return masked(FINAL | CLOSE, struct.pack("!H", code) + reason)


closes("a text message", masked(FINAL | TEXT, b"hello"))
closes("a text message of bad UTF-8", masked(FINAL | TEXT, b"\xc3\x28"))
closes("a frame without mask", header(FINAL | BINARY, 1) + b"x")
for bit in (0x40, 0x20, 0x10):
    closes(f"reserved bit {bit:#x}", masked(FINAL | bit | BINARY, b"x"))
for opcode in (3, 7, 11, 15):
    closes(f"reserved opcode {opcode}", masked(FINAL | opcode, b"x"))
closes("a continuation of nothing", masked(FINAL | CONTINUED, b"x"))
closes("a message within a message", masked(BINARY, b"x"), masked(FINAL | BINARY, b"y"))
closes("a ping in fragments", masked(PING, b"x"))
closes("a ping of 126 bytes", masked(FINAL | PING, bytes(126)))
closes("a length of 2^63", b"\x82\xff" + b"\x80" + bytes(7) + bytes(4))
closes("a short length in eight bytes", b"\x82\xff" + bytes(7) + b"\x01" + bytes(4) + b"x")
MEBIBYTE = header(CONTINUED, 1 << 20, 0x80) + bytes(4) + bytes(1 << 20)
closes("a message of 16 MiB and a byte", masked(BINARY, b"x"), *[MEBIBYTE] * (MESSAGE_SIZE_MAX >> 20))
closes("a message of 1025 fragments", masked(BINARY, b""), *[masked(CONTINUED, b"x")] * FRAGMENTS_MAX)
for code in (1000, 1001):
    closes(f"Close {code}", close_frame(code))
for code in (1011, 3000, 4999):
    closes(f"Close {code}", close_frame(code, b"reason"))
closes("Close without a code", masked(FINAL | CLOSE, b""))
for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535):
    closes(f"Close with the impossible code {code}", close_frame(code))
closes("Close of one byte", masked(FINAL | CLOSE, b"x"))
closes("Close with a reason of bad UTF-8", close_frame(1000, b"\xff"))
closes("Close with a reason of 124 bytes", close_frame(1000, bytes(124)))
closes(
    "data and another Close behind a Close",
    close_frame(1000),
    masked(FINAL | BINARY, b"x"),
    close_frame(1002),
)


@case("fragments, with pings between them")
def _() -> str:
    frames = [masked(BINARY, b"0")]
    for number in range(1, 1000):
        frames += [masked(FINAL | PING, b"%d" % number), masked(CONTINUED, b"%d" % (number % 10))]
    frames.append(masked(FINAL | CONTINUED, b""))
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, closing(upgrade(listener)) as raw:
        raw.say(b"".join(frames))
        assert waiting.read(raw.channel, 1000) == b"0123456789" * 100
        raw.channel.write(b"end")
        pongs = []
        while (frame := raw.frame())[0] == FINAL | PONG:
            pongs.append(frame[1])
        assert pongs[-1] == b"999"
        assert frame == (FINAL | BINARY, b"end")
        return "all arrive in order; the last ping before each pause is answered"


@case("pings without end, from one who never reads")
def _() -> str:
    ping = masked(FINAL | PING, bytes(125))
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, closing(upgrade(listener)) as raw:
        waiting.fill(raw.channel)
        waiting_bytes = len(raw.channel._out)
        for _ in range(2000):  # each read alone, so that none stands for another
            raw.say(ping)
            waiting.readable(raw.channel)
            raw.channel.read()
        return "one answer waits" if len(raw.channel._out) <= waiting_bytes + len(ping) else "they pile up"


@case("pongs that nobody asked for, and empty messages")
def _() -> str:
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, closing(upgrade(listener)) as raw:
        raw.say(masked(FINAL | PONG, b"x") + masked(FINAL | BINARY, b"") + masked(FINAL | BINARY, b"data"))
        return "ignored" if waiting.read(raw.channel, 4) == b"data" else "?"


@case("the client gone after each byte of a frame")
def _() -> str:
    frame = masked(FINAL | BINARY, bytes(range(200)))
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener:
        for size in range(len(frame)):
            with closing(upgrade(listener)) as raw:
                raw.say(frame[:size])
                raw.sock.close()
                data, how = outcome(raw.channel)
                assert data == bytes(range(200))[: max(0, size - 8)]
                assert "without a goodbye (code 1006)" in how
        return "what came is delivered; a failure"


# ---- a client of ours, answered by a server that says what it likes


@contextlib.contextmanager
def answered(answer: Callable[[bytes], bytes], *, hang_up: bool = True) -> Iterator[WebSocketChannel]:
    """Our client at a server that reads the request, and sends what `answer` makes of its key."""

    def serve() -> None:
        sock, _ = server.accept()
        with sock, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(65536)
            key = next(
                line[19:] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: ")
            )
            sock.sendall(answer(key))
            if not hang_up:
                while sock.recv(65536):
                    pass  # until our client has said all it has to say

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        channel = websocket.dial(websocket.candidates(url)[0], url)
        try:
            yield channel
        finally:
            channel.close()
            thread.join(60)


def opening_of(channel: WebSocketChannel) -> str:
    try:
        while not channel.connected():
            waiting.writable(channel) if channel.wants_write else waiting.readable(channel)
    except OSError as error:
        return "refused" if isinstance(error, ConnectionRefusedError) else f"a failure: {error}"
    return "open"


def switched(key: bytes, *more: bytes, without: bytes = b"none", accept: bytes = b"") -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + (accept or accept_of(key)),
        b"Sec-WebSocket-Protocol: busway.2",
        *more,
    ]
    return b"\r\n".join([*(line for line in lines if not line.startswith(without)), b"", b""])


def offered(name: str, answer: Callable[[bytes], bytes]) -> None:
    def run() -> str:
        with answered(answer) as channel:
            return opening_of(channel)

    CASES[f"server: {name}"] = run


offered("a proper answer", switched)
offered("100 Continue before the answer", lambda key: b"HTTP/1.1 100 Continue\r\n\r\n" + switched(key))
offered("a wrong accept key", lambda key: switched(key, accept=accept_of(b"x")))
offered("no accept key", lambda key: switched(key, without=b"Sec-WebSocket-Accept"))
offered("no Upgrade", lambda key: switched(key, without=b"Upgrade"))
offered("no Connection", lambda key: switched(key, without=b"Connection"))
offered("no subprotocol", lambda key: switched(key, without=b"Sec-WebSocket-Protocol"))
offered("an extension not asked for", lambda key: switched(key, b"Sec-WebSocket-Extensions: x"))
offered("status 200 with a page", lambda key: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
offered("a redirection", lambda key: b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
offered("an endless refusal", lambda key: b"HTTP/1.1 500 No\r\n\r\n" + bytes(1 << 20))
offered("headers of 9 KiB", lambda key: switched(key, b"X: " + b"x" * 9000))
offered("bytes that are no HTTP", lambda key: b"220 mail.example ESMTP\r\n")


@case("server: gone after each byte of its answer")
def _() -> str:
    size = len(switched(bytes(24)))
    for cut in range(size):
        with answered(lambda key, cut=cut: switched(key)[:cut]) as channel:  # type: ignore[misc]
            found = opening_of(channel)
            assert found == "refused" or "reset" in found, (cut, found)
    return "refused"


def replied(name: str, *frames: bytes) -> None:
    def run() -> str:
        with answered(lambda key: switched(key) + b"".join(frames), hang_up=False) as channel:
            assert opening_of(channel) == "open"
            return outcome(channel)[1]

    CASES[f"server: {name}"] = run


replied("a frame with mask", masked(FINAL | BINARY, b"x"))
replied("a text message", header(FINAL | TEXT, 1) + b"x")
replied("a reserved bit", header(0xC2, 1) + b"x")
replied("Close with a reason of bad UTF-8", header(FINAL | CLOSE, 3) + b"\x03\xe8\xff")
replied("Close 1000", header(FINAL | CLOSE, 2) + b"\x03\xe8")
replied("Close 1012 with a reason", header(FINAL | CLOSE, 7) + b"\x03\xf4" + b"later")
