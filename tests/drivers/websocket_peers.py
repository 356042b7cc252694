"""More cases: PyPI's `websockets`, which shares no code with what we use, as client and as server."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import connect as connect_sync
from websockets.typing import Origin, Subprotocol

from busway.drivers import websocket
from busway.drivers.websocket import WebSocketChannel, WebSocketListener
from busway.drivers.websocket_frames import MESSAGE_SIZE_MAX
from tests.drivers import waiting
from tests.drivers.websocket_cases import CASES as CASES
from tests.drivers.websocket_cases import case, opening_of, outcome

OURS = [Subprotocol("busway.2")]
_BOUND_S = 60


# ---- their client at our server


class Echo:
    """Runs a listener's links in a thread: all bytes go back, or with `silent` none. Stops when left."""

    def __init__(self, listener: WebSocketListener, *, silent: bool = False) -> None:
        self._listener = listener
        self._silent = silent
        self._selector = selectors.DefaultSelector()
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Echo:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(_BOUND_S)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, WebSocketChannel):
                key.fileobj.close()
        self._selector.close()

    def _run(self) -> None:
        rests: dict[WebSocketChannel, bytes] = {}
        while not self._stop:
            for key, _ in self._selector.select(0.01):
                if key.fileobj is self._listener:
                    channel = self._listener.accept()
                    if channel is not None:
                        rests[channel] = b""
                        self._selector.register(channel, selectors.EVENT_READ)
                else:
                    self._turn(key.fileobj, rests)

    def _turn(self, channel: Any, rests: dict[WebSocketChannel, bytes]) -> None:
        try:
            if not channel.connected():
                return
            data = b"" if rests[channel] else channel.read()
            if data == b"" and not rests[channel]:
                raise ConnectionError("the end")
            rest = b"" if self._silent else rests[channel] + (data or b"")
            rests[channel] = rest[channel.write(rest) :]
            busy = bool(rests[channel]) or channel.wants_write
            self._selector.modify(channel, selectors.EVENT_WRITE if busy else selectors.EVENT_READ)
        except OSError:
            self._selector.unregister(channel)
            channel.close()


def visited(
    name: str, **options: Any
) -> Callable[[Callable[[ClientConnection], Coroutine[Any, Any, str]]], None]:
    """A case of their asyncio client at our server."""

    def keep(visit: Callable[[ClientConnection], Coroutine[Any, Any, str]]) -> None:
        async def go(url: str) -> str:
            async with asyncio.timeout(_BOUND_S):
                try:
                    async with connect(url, subprotocols=OURS, **options) as client:
                        return await visit(client)
                except InvalidStatus as error:
                    return f"HTTP {error.response.status_code}"

        def run() -> str:
            with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Echo(listener):
                return asyncio.run(go(listener.url))

        CASES[f"websockets' client: {name}"] = run

    return keep


async def echoed(client: ClientConnection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await client.recv()
        assert isinstance(part, bytes)
        data += part
    return data


@visited("messages of 0 bytes to 1 MiB")
async def _(client: ClientConnection) -> str:
    for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
        data = bytes(index & 255 for index in range(size))
        await client.send(data)
        assert await echoed(client, size) == data
    return "come back the same"


@visited("a message in fragments, with pings in between")
async def _(client: ClientConnection) -> str:
    async def pieces() -> Any:
        for number in range(10):  # they read no more once 16 messages wait
            await (await client.ping(b"%d" % number))
            yield b"%d " % number

    await client.send(pieces())
    wanted = b"".join(b"%d " % number for number in range(10))
    assert await echoed(client, len(wanted)) == wanted
    return "comes back the same; each ping is answered"


@visited("an offer of compression", compression="deflate")
async def _(client: ClientConnection) -> str:
    await client.send(b"data")
    assert await echoed(client, 4) == b"data"
    return "works, uncompressed" if not client.protocol.extensions else "compressed"


@visited("leaves with 1000")
async def _(client: ClientConnection) -> str:
    await client.close()
    return f"answered with {client.close_code}"


@visited("leaves with 4000 and a reason")
async def _(client: ClientConnection) -> str:
    await client.close(4000, "bye")
    assert client.close_reason == "bye"
    return f"answered with {client.close_code}"


@visited("text")
async def _(client: ClientConnection) -> str:
    await client.send("hello")
    try:
        await client.recv()
    except ConnectionClosed as error:
        return verdict(error)
    return "open"


def verdict(error: ConnectionClosed) -> str:
    return f"closed with {error.rcvd.code}: {error.rcvd.reason}" if error.rcvd else "cut off"


@visited("a foreign origin", origin=Origin("https://evil.example"))
async def _(client: ClientConnection) -> str:
    return "open"


@case("websockets' blocking client: messages and goodbye")
def _() -> str:
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Echo(listener):
        with connect_sync(listener.url, subprotocols=OURS) as client:
            client.send(b"hello")
            assert client.recv(_BOUND_S) == b"hello"
            assert client.subprotocol == "busway.2"
        return f"answered with {client.protocol.close_code}"


@case("websockets' blocking client: a message of 16 MiB and a byte")
def _() -> str:
    # Silent, for this client reads nothing while it writes: with echoes in both directions both would wait.
    with closing(websocket.listen("ws://127.0.0.1:0")) as listener, Echo(listener, silent=True):
        with connect_sync(listener.url, subprotocols=OURS, compression=None) as client:
            client.send(bytes(MESSAGE_SIZE_MAX + 1))
            try:
                client.recv(_BOUND_S)
            except ConnectionClosed as end:
                return f"closed with {end.rcvd.code}: {end.rcvd.reason}" if end.rcvd else "cut off"
        return "nothing"


# ---- our client at their server


@contextlib.contextmanager
def hosted(handle: Callable[[ServerConnection], Coroutine[Any, Any, None]], **options: Any) -> Iterator[str]:
    """Runs their server in a thread; the URL."""
    ready: list[str] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        options.setdefault("subprotocols", OURS)
        async with serve(handle, "127.0.0.1", 0, **options) as server:
            ready.append(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(_BOUND_S)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_BOUND_S)
        loop.close()


def guest(name: str, visit: Callable[[WebSocketChannel], str], **options: Any) -> None:
    """A case of our client, once open, at their server, whose links send all back."""

    async def echo(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    handle = options.pop("handle", echo)

    def run() -> str:
        with hosted(handle, **options) as url:
            channel = websocket.dial(websocket.candidates(url)[0], url)
            try:
                found = opening_of(channel)
                return visit(channel) if found == "open" else found
            finally:
                channel.close()

    CASES[f"websockets' server: {name}"] = run


def back_and_forth(channel: WebSocketChannel) -> str:
    for size in (1, 125, 126, 65535, 65536, 1 << 20):
        data = bytes(index & 255 for index in range(size))
        sent, received = 0, b""
        while len(received) < size:
            sent += channel.write(data[sent:])
            received += channel.read() or b""
        assert received == data
    return "come back the same"


def goodbye(channel: WebSocketChannel) -> str:
    assert not channel.finish()
    return outcome(channel)[1]


async def in_pieces(connection: ServerConnection) -> None:
    async def pieces() -> Any:
        for number in range(50):
            await (await connection.ping(b"%d" % number))
            yield b"%02d" % number

    await connection.send(pieces())
    await connection.wait_closed()


def wait_pieces(channel: WebSocketChannel) -> str:
    wanted = b"".join(b"%02d" % number for number in range(50))
    assert waiting.read(channel, len(wanted)) == wanted
    return "all arrives; each ping is answered"


def leaving(code: int, reason: str = "") -> Callable[[ServerConnection], Coroutine[Any, Any, None]]:
    async def handle(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    return handle


def send_much(channel: WebSocketChannel) -> str:
    channel.write(bytes(2000))
    return outcome(channel)[1]


def busy(connection: ServerConnection, request: Request) -> Response:
    return connection.respond(503, "come back later\n")


guest("messages of 1 byte to 1 MiB", back_and_forth, max_size=None)
guest("our goodbye", goodbye)
guest("a message in fragments, with pings in between", wait_pieces, handle=in_pieces)
guest("closes with 1000", lambda channel: outcome(channel)[1], handle=leaving(1000))
guest("closes with 1011 and a reason", lambda channel: outcome(channel)[1], handle=leaving(1011, "broken"))
guest("takes messages of 1,000 bytes only", send_much, max_size=1000)
guest("knows another subprotocol only", lambda channel: "open", subprotocols=[Subprotocol("mqtt")])
guest("answers 503", lambda channel: "open", process_request=busy)
