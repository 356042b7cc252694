"""A WebSocket that a server for ASGI applications has accepted: a stream of bytes in binary messages.

The application's side is run by `AsgiChannel.run`, on the server's loop; the bus's, which may be in another
thread, is that of every channel without a descriptor. Opens nothing, and imports no server.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from busway.drivers.channel import READ_SIZE, Asked

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HIGH: Final = 1 << 18  # bytes that came and were not read, beyond which no more are asked for
LOW: Final = 1 << 16  # ... until no more than so many are left
OUT_MAX: Final = 1 << 18  # bytes that the server has not taken yet
SEND_SIZE_MAX: Final = 65536  # of one message
MESSAGE_SIZE_MAX: Final = 16 << 20  # of one that comes; servers have limits of their own
CLOSING_S: Final = 2.0  # for what is to be written, and the other side's goodbye
NORMAL: Final = 1000  # RFC 6455, 7.4.1
UNSUPPORTED: Final = 1003
TOO_BIG: Final = 1009
_IN_ORDER: Final = (1000, 1001, 1005)
_REASON_SIZE_MAX: Final = 123


class AsgiChannel:
    """One WebSocket, accepted. Made on the server's loop."""

    sort = "stream"
    realm = "global"
    mtu = 0
    via = ""
    dialled = False

    def __init__(self, address: str, asked: Asked, scope: Scope) -> None:
        self.address = address
        self.asked = asked
        self.scope: Scope | None = scope
        self.on_writable: Callable[[], object] | None = None
        self._on_readable: Callable[[], object] | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._parts: deque[bytes] = deque()  # that came
        self._size = 0
        self._room = asyncio.Event()
        self._out: deque[bytes] = deque()
        self._out_size = 0
        self._short = False  # the last write took less than all
        self._work = asyncio.Event()
        self._ended: OSError | bool = False  # nothing more comes: in good order, or the failure
        self._goodbye: tuple[int, str] | None = None  # this side leaves: code and reason
        self._limit: asyncio.Timeout | None = None

    # The bus's side

    def fileno(self) -> int:
        return -1

    def connected(self) -> bool:
        return True

    @property
    def on_readable(self) -> Callable[[], object] | None:
        return self._on_readable

    @on_readable.setter
    def on_readable(self, callback: Callable[[], object] | None) -> None:
        self._on_readable = callback
        if callback is not None and (self._parts or self._ended is not False):
            self._soon(self._announce)

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        with self._lock:
            data = self._take(size_max)
            if data and self._size <= LOW:
                self._at_loop(self._room.set)
            more = bool(self._parts) or self._ended is not False
        if data:
            if more:
                self._soon(self._announce)
            return data
        if isinstance(self._ended, OSError):
            raise self._ended
        return b"" if self._ended else None

    def _take(self, size_max: int) -> bytes:
        found: list[bytes] = []
        left = size_max
        while self._parts and left > 0:
            part = self._parts.popleft()
            if len(part) > left:
                self._parts.appendleft(part[left:])
                part = part[:left]
            found.append(part)
            left -= len(part)
        self._size -= size_max - left
        return found[0] if len(found) == 1 else b"".join(found)

    def write(self, data: bytes | memoryview) -> int:
        with self._lock:
            if isinstance(self._ended, OSError):
                raise self._ended
            if self._goodbye is not None or self._ended:
                raise BrokenPipeError(errno.EPIPE, f"{self.address}: the WebSocket is closed")
            part = bytes(data[: max(0, OUT_MAX - self._out_size)])
            if part:
                self._out.append(part)
                self._out_size += len(part)
            self._short = len(part) < len(data)
        if part:
            self._at_loop(self._work.set)
        return len(part)

    def close(self) -> None:
        self._leave(NORMAL, "")

    def abandon(self) -> None:
        """In a forked child: the server's sockets are its own affair."""

    # The application's side

    async def run(self, receive: Receive, send: Send, accept: dict[str, Any]) -> None:
        """Accept the WebSocket with that message, and carry messages until one of the sides has left. Raises
        nothing but cancellation.
        """
        writer = self._loop.create_task(self._write(send, accept))
        try:
            async with asyncio.timeout(None) as self._limit:
                if self._goodbye is not None:  # so soon
                    self._limit.reschedule(self._loop.time() + CLOSING_S)
                await self._read(receive)
                if self._goodbye is not None:
                    await asyncio.wait({writer})
        except TimeoutError:
            pass  # the other side does not read, or does not answer
        except Exception as error:  # noqa: BLE001 - of the server's own; the link is over
            self._end(ConnectionAbortedError(errno.ECONNABORTED, f"{self.address}: {error!r}"))
        finally:
            self._limit = None
            writer.cancel()
            self._end(ConnectionAbortedError(errno.ECONNABORTED, f"{self.address}: the server has ended"))
            await asyncio.wait({writer})

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._take_goodbye(message.get("code") or 1005, message.get("reason") or "")
                return
            if message["type"] != "websocket.receive":
                continue
            data = message.get("bytes")
            if data is None:
                self._refuse(UNSUPPORTED, "expected binary messages, not text")
                return
            if len(data) > MESSAGE_SIZE_MAX:
                self._refuse(TOO_BIG, f"a message may have {MESSAGE_SIZE_MAX} bytes")
                return
            self._feed(data)
            while self._size > HIGH and self._goodbye is None:
                self._room.clear()
                await self._room.wait()

    def _feed(self, data: bytes) -> None:
        if not data or self._goodbye is not None:  # nobody reads it any more
            return
        parts = [data]
        if len(data) > READ_SIZE:  # the rest of a large one is not copied at each read
            parts = [data[at : at + READ_SIZE] for at in range(0, len(data), READ_SIZE)]
        with self._lock:
            first = not self._parts
            self._parts += parts
            self._size += len(data)
        if first:
            self._announce()

    def _announce(self) -> None:
        callback = self._on_readable
        if callback is not None:
            callback()

    async def _write(self, send: Send, accept: dict[str, Any]) -> None:
        """Hand over what the bus writes, as fast as the server takes it, and say goodbye behind it."""
        try:
            await send(accept)
            while True:
                data = self._next()
                if data:
                    await send({"type": "websocket.send", "bytes": data})
                    self._sent(len(data))
                elif self._goodbye is not None:
                    code, reason = self._goodbye
                    await send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                else:
                    self._work.clear()
                    await self._work.wait()
        except Exception as error:  # noqa: BLE001 - each server has exceptions of its own for who has gone
            text = str(error) or type(error).__name__
            self._end(ConnectionAbortedError(errno.ECONNABORTED, f"{self.address}: {text}"))

    def _next(self) -> bytes:
        with self._lock:
            found: list[bytes] = []
            size = 0
            while self._out and size < SEND_SIZE_MAX:
                found.append(self._out.popleft())
                size += len(found[-1])
        return found[0] if len(found) == 1 else b"".join(found)

    def _sent(self, size: int) -> None:
        with self._lock:
            self._out_size -= size
            wake = self._short
            self._short = False
        if wake and self.on_writable is not None:
            self.on_writable()

    # The end

    def _take_goodbye(self, code: int, reason: str) -> None:
        if code in _IN_ORDER or self._goodbye is not None:
            self._end(True)
            return
        words = f": {reason}" if reason else ""
        text = f"{self.address}: closed with code {code}{words}"
        if code == 1006:
            text = f"{self.address}: the connection ended without a goodbye (code 1006)"
        self._end(ConnectionAbortedError(errno.ECONNABORTED, text))

    def _refuse(self, code: int, text: str) -> None:
        """The other side is at fault, and is told so."""
        self._leave(code, text)
        self._end(
            OSError(errno.EPROTO, f"{self.address}: no WebSocket as it should be: {text} (code {code})")
        )

    def _end(self, how: OSError | bool) -> None:
        """Nothing more comes."""
        with self._lock:
            if self._ended is not False:
                return
            self._ended = how
            if how is not True:
                self._out.clear()
        self._announce()

    def _leave(self, code: int, reason: str) -> None:
        with self._lock:
            if self._goodbye is not None:
                return
            self._goodbye = code, reason.encode()[:_REASON_SIZE_MAX].decode(errors="ignore")
        self._at_loop(self._leaving)

    def _leaving(self) -> None:
        self._work.set()
        self._room.set()
        if self._limit is not None:
            self._limit.reschedule(self._loop.time() + CLOSING_S)

    # Between them

    def _at_loop(self, callback: Callable[[], object]) -> None:
        """Now if this is the loop's thread, else soon."""
        if threading.get_ident() == self._thread:
            callback()
        else:
            self._soon(callback)

    def _soon(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the server's loop has ended, and all of its connections with it
