"""Runs nats-py, which knows only asyncio: on the loop of who asks, or on one in a thread of its own.

Publishes and subscribes in the order in which it was asked to. nats-py connects again by itself, to whichever
server of the cluster answers, and subscribes anew; what was published meanwhile waits, up to a bound. Imports
nats-py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, SlowConsumerError

from busway.drivers.nats import Place, user_of

CONNECT_S: Final = 5.0
_AGAIN_S: Final = 0.2  # between two servers that are tried
_CLOSE_S: Final = 1.0
_PENDING_MAX: Final = 16 << 20  # bytes that wait while no server is there
_COMMANDS_MAX: Final = 65536
_INBOX_MESSAGES: Final = 65536  # that have come and were not taken yet: beyond these they are dropped
_INBOX_BYTES: Final = 64 << 20
_REFUSED: Final = ("authorization", "authentication", "user authentication", "permissions", "account")

_NO_TLS: Final = "the server offers no TLS, so it was not told who this is"

Post = Callable[[Callable[[], object]], object]


class Refused(ConnectionRefusedError):
    """A refusal of the servers: another try would end alike."""

    hopeless = True


class SafeClient(Client):
    """nats-py's client, which says over TLS only who it is where that is asked for. By itself it leaves it to
    the server whether there is TLS, and to whoever is between: they would be told passwords.

    Args: `tls` whether it is asked for.
    """

    def __init__(self, tls: bool) -> None:
        super().__init__()
        self._tls_only = tls

    def _connect_command(self) -> bytes:
        """The first words of a connection, and of each that takes its place."""
        if self._tls_only and not self._server_info.get("tls_required"):
            raise Refused(errno.ECONNREFUSED, _NO_TLS)
        command: bytes = super()._connect_command()
        return command


class NatsSession:
    """One connection with a cluster.

    Args:
        place: its servers.
        credentials, nkey: files, as NATS has them: a JWT with its seed, or a seed.
        tls: a context; cafile: the authority of the servers' certificates.
        loop: asyncio's that the caller runs on; None: one in a thread of its own.
        post: called on that loop with what the others are to hear: calls it where they may be called.
        soon: has something called there, in a turn of its own.
        on_state: told "connected", "reconnecting" or "closed", and why.
        on_message: told of each message: subject, data, reply, status.
    """

    def __init__(
        self,
        place: Place,
        *,
        credentials: str | None = None,
        nkey: str | None = None,
        tls: ssl.SSLContext | None = None,
        cafile: str | None = None,
        label: str = "",
        loop: asyncio.AbstractEventLoop | None,
        post: Post,
        soon: Post,
        on_state: Callable[[str, Exception | None], object],
        on_message: Callable[[str, bytes, str, str], object],
    ) -> None:
        self.payload_max = 65536
        self._soon = soon
        self._post = post
        self._on_state = on_state
        self._on_message = on_message
        self._commands: deque[Callable[[], Coroutine[Any, Any, object]]] = deque()
        self._subscriptions: dict[str, Subscription] = {}
        self._client = SafeClient(place.tls or tls is not None or cafile is not None)
        self._closed = False
        self._options = _options(place, credentials, nkey, tls, cafile, label)
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        if loop is None:
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name="busway-nats", daemon=True)
        self._loop = loop
        self._work = asyncio.Event()
        self._refused: asyncio.Future[None] = loop.create_future()
        self._error: Exception | None = None  # the most telling one before it was connected
        self._connected = False
        if self._thread is None:
            self._start()
        else:
            self._thread.start()
            loop.call_soon_threadsafe(self._start)

    # From where the others are

    def soon(self, callback: Callable[[], object]) -> None:
        self._soon(callback)

    def subscribe(self, subject: str) -> None:
        """Messages on it come from now on."""
        self._do(partial(self._subscribe, subject))

    def unsubscribe(self, subject: str) -> None:
        """... and no longer."""
        self._do(partial(self._unsubscribe, subject))

    def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Publish. While no server is there it waits, or is dropped where too much does."""
        if len(self._commands) < _COMMANDS_MAX:
            self._do(partial(self._client.publish, subject, data, reply))

    def close(self) -> None:
        """Write what there is, and end the connection."""
        if not self._closed:
            self._closed = True
            self._call(self._work.set)

    async def gone(self) -> None:
        """Wait until it has ended, on its loop."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=2 * _CLOSE_S)

    def join(self) -> None:
        """The same from another thread than its own."""
        if self._thread is not None:
            self._thread.join(2 * _CLOSE_S)

    def is_gone(self) -> bool:
        """Whether it has ended."""
        if self._thread is not None:
            return not self._thread.is_alive()
        return self._task is not None and self._task.done()

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._closed = True

    def _do(self, command: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if not self._closed:
            self._commands.append(command)
            if len(self._commands) == 1 or self._thread is None:
                self._call(self._work.set)

    def _call(self, function: Callable[[], object]) -> None:
        if self._thread is None:
            function()
        else:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(function)

    # On the loop

    def _start(self) -> None:
        self._task = self._loop.create_task(self._live())

    async def _live(self) -> None:
        try:
            await self._connect()
            while not (self._closed and not self._commands):
                await self._work.wait()
                self._work.clear()
                await self._write()
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is over
            self._tell("closed", error)
        finally:
            self._closed = True
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    if self._client.is_connected:
                        await self._client.flush()
                    await self._client.close()
            if self._thread is not None:
                self._loop.stop()

    async def _connect(self) -> None:
        """nats-py would try for ever. A refusal is the end, as is a certificate that does not hold (nats-py
        waits without end for a connection to close that TLS did not begin); what else went wrong is told in
        the end.
        """
        connecting = self._loop.create_task(
            self._client.connect(
                **self._options,
                error_cb=self._failed,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
                closed_cb=self._ended,
            )
        )
        try:
            await asyncio.wait(
                (connecting, self._refused), timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not connecting.done():
                text = f"no NATS server has answered within {CONNECT_S:g} s"
                raise self._error or TimeoutError(errno.ETIMEDOUT, text)
            connecting.result()
        except Error as error:
            raise self._error or _told(error) from error
        finally:
            connecting.cancel()
        self._connected = True
        self._client.options["max_reconnect_attempts"] = -1
        self.payload_max = self._client.max_payload
        self._tell("connected", None)

    async def _write(self) -> None:
        while self._commands:
            command = self._commands.popleft()
            try:
                await command()
            except Exception as error:  # noqa: BLE001 - what is lost of streams their numbers show
                self._tell("failed", error)

    async def _subscribe(self, subject: str) -> None:
        if subject not in self._subscriptions:
            self._subscriptions[subject] = await self._client.subscribe(
                subject, cb=self._came, pending_msgs_limit=_INBOX_MESSAGES, pending_bytes_limit=_INBOX_BYTES
            )

    async def _unsubscribe(self, subject: str) -> None:
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:
            await subscription.unsubscribe()

    async def _came(self, message: Msg) -> None:
        headers = message.headers
        status = "" if headers is None else headers.get("Status", "")
        if self._thread is None:
            self._on_message(message.subject, message.data, message.reply, status)
        else:
            self._post(partial(self._on_message, message.subject, message.data, message.reply, status))

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            error = BufferError(
                f"messages on {error.subject} came faster than they were taken: some are lost"
            )
        error = _told(error)
        if self._connected:
            self._tell("failed", error)
            return
        if not _is_telling(self._error) or _is_telling(error):  # to end what was refused may fail, too
            self._error = error
        if _is_telling(error) and not self._refused.done():
            self._refused.set_result(None)

    async def _ended(self) -> None:
        """nats-py has given up: a server has refused it."""
        if not self._closed and self._connected:
            self._closed = True
            self._commands.clear()
            self._work.set()
            last = self._client.last_error
            self._tell("closed", None if last is None else _told(last))

    async def _disconnected(self) -> None:
        if not self._closed:
            self._tell("reconnecting", None)

    async def _reconnected(self) -> None:
        self._tell("connected", None)

    def _tell(self, state: str, error: Exception | None) -> None:
        self._post(partial(self._on_state, state, error))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def access_of(
    place: Place, credentials: str | None, nkey: str | None, tls: ssl.SSLContext | None, cafile: str | None
) -> dict[str, Any]:
    """The options of nats-py that say where the servers are, and who comes. Raises OSError for files that
    cannot be read, ValueError.
    """
    if credentials is not None and nkey is not None:
        raise ValueError("credentials= has a key of its own: give it or nkey=, not both")
    for file in (credentials, nkey, cafile):
        if file is not None:
            os.stat(file)
    if tls is None and (place.tls or cafile is not None):
        tls = ssl.create_default_context(cafile=cafile)
    options: dict[str, Any] = {"servers": list(place.servers)}
    options |= {"user_credentials": credentials} if credentials is not None else {}
    options |= {"nkeys_seed": nkey} if nkey is not None else {}
    options |= {"tls": tls} if tls is not None else {}
    user, password = user_of(place.servers[0])
    if user and password:
        options |= {"user": user, "password": password}
    elif user:
        options |= {"token": user}
    return options


def _options(
    place: Place,
    credentials: str | None,
    nkey: str | None,
    tls: ssl.SSLContext | None,
    cafile: str | None,
    label: str,
) -> dict[str, Any]:
    """The options of nats-py. Raises as `access_of`."""
    return {
        **access_of(place, credentials, nkey, tls, cafile),
        "name": label,
        "connect_timeout": 2,
        "reconnect_time_wait": _AGAIN_S,
        "max_reconnect_attempts": 1,  # until it has been connected
        "no_echo": True,
        "pending_size": _PENDING_MAX,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "skip_subject_validation": True,
    }


def is_refusal(error: Exception) -> bool:
    """Whether the servers, or their certificate, have to be looked to: another try would end alike."""
    return _is_telling(_told(error))


def _is_telling(error: Exception | None) -> bool:
    """Whether an error says what has to be mended."""
    return isinstance(error, (Refused, ssl.SSLError))


def _told(error: Exception) -> Exception:
    """An error of nats-py as others have them: a refusal that another try would not mend is told from those
    that it may.
    """
    text = str(error)
    if any(word in text.lower() for word in _REFUSED):
        return Refused(errno.ECONNREFUSED, text)
    if isinstance(error, OSError):
        return error
    return ConnectionError(errno.ECONNREFUSED, text or type(error).__name__)


class Look(NamedTuple):
    """The findings of a look at servers: the one that answered, how many are known, the largest message it
    takes in bytes, and what it refuses, in its words.
    """

    server: str
    servers: int
    payload_max: int
    refusals: tuple[str, ...]


async def look(
    place: Place,
    *,
    credentials: str | None = None,
    nkey: str | None = None,
    tls: ssl.SSLContext | None = None,
    cafile: str | None = None,
) -> Look:
    """Connect, do what gateways do, and leave. Raises OSError, ValueError."""
    refusals: dict[str, None] = {}
    client = SafeClient(place.tls or tls is not None or cafile is not None)

    async def failed(error: Exception) -> None:
        refusals[str(error)] = None

    options = _options(place, credentials, nkey, tls, cafile, "busway doctor")
    options["allow_reconnect"] = False
    try:
        await client.connect(**options, error_cb=failed)
        await client.subscribe("busway.doctor.>", cb=_ignore)
        await client.publish("busway.doctor.look", b"", reply="busway.doctor.answer")
        for _ in range(2):  # the first ping may overtake what was asked before it
            await client.flush(round(CONNECT_S))
        return Look(
            f"nats-server {client.connected_server_version}".replace("<nats server v", "").rstrip(">"),
            1 + len(client.discovered_servers),
            client.max_payload,
            tuple(refusals),
        )
    except Error as error:
        text = next(reversed(refusals), "") or str(error)
        raise _told(Error(text)) from error
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):  # one that TLS did not begin never closes
                await client.close()


async def _ignore(message: Msg) -> None:
    """Nobody is to answer."""
