"""Runs a Leaf on a board without threads or asyncio: `Loop.step` moves bytes, fires what is due, calls
handlers.

Knows streams (UART, USB, sockets, whole packets) and payloads; what travels is the core's.
"""

import gc
import select
import time

from busway.adapters.micropython_cbor import dumps
from busway.adapters.micropython_names import uuid_of
from busway.adapters.micropython_results import Outcome as Outcome
from busway.adapters.micropython_results import RemoteError as RemoteError
from busway.adapters.micropython_results import decode as decode
from busway.adapters.micropython_results import describe as describe
from busway.adapters.micropython_results import encode as encode
from busway.protocol import codes, events
from busway.protocol.errors import FullError
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.state import Event, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from busway.adapters.micropython_where import Selector
    from busway.protocol.leaf.link import LeafConnection

_WRITE_SIZE: "Final" = 128  # bytes asked of the core at a time: what waits here cannot be overtaken
_PLENTY: "Final" = 8192  # bytes of heap; with less the pieces that are free soon are too small
_READ_SIZE: "Final" = 128  # more at a time would only lie about, some three times over
_SPARE_SIZE: "Final" = 768  # bytes of heap that are kept for the next session
_BUSY_MS: "Final" = 2  # after a write that was not taken
_BUSY = (11, 12, 35, 114, 115, 118, 119, 120, -26752, -26880)  # the last two: TLS wants to write, to read
_FAR_MS: "Final" = 268435456  # no timer is further away: fits ticks_diff
_RETRY_MS: "Final" = 1000
_RETRY_MAX_MS: "Final" = 30000


class Loop:
    """One board on the bus.

    Args: `stream`, or a function that opens it, again whenever it has failed: a UART, a socket, an open
    terminal, USB (`Usb()`), or with `mtu` an object of whole packets (`read()` gives one or None, `write`
    None if busy); `label` for people; `node_id` 16 bytes, None: from the board's own serial number;
    `sort` "stream" for reliable bytes, "packet" for lines that lose some; `key` the board's own, 32 bytes or
    the name of their file (`busway firmware --key`), from which `node_id` follows, or `token` the link's:
    then all that travels is encrypted, and a router without it refused; `message_size_max` bytes of the
    largest message either way, which the router is told: it refuses longer ones; `pending_max` messages of
    its own that may wait or be under way (besides, each published name has one place of its own);
    `peers_max` names that it publishes, names that it sends to, and pairs of node and endpoint that it
    remembers; `entropy` gives n random bytes, None: os.urandom, or micropython_entropy.py where a board has
    none; `clock` has ticks_ms, ticks_diff and sleep_ms, as MicroPython's time. Times are in ms. A
    `leaf` that is given has its own limits.

    What goes wrong and cannot be raised where it happens is in `last_error`, and on packet links shown to
    people (`busway monitor --log`). Without memory to go on the link ends with TOO_LARGE, and another
    session begins.
    """

    # What the core has to know of a link, besides what is given.
    dialled = True
    via = "board"
    cost = 1
    medium = "socket"
    security: "Any" = None  # of a link with a key
    addressing = True
    window = 8  # packets under way: what a board stores of each direction
    # What is not so yet
    connection: "LeafConnection | None" = None
    last_error: "Exception | None" = None  # of a handler, or what has ended a link
    refused = 0  # publishes that found no room
    message: "Message | None" = None  # that a handler was given last: name, key, missed, retained
    _tell_at = 1  # of these: the first is told, the tenth, and so on
    places = 1  # handlers that may begin now, where they may be tasks
    _now = 1000
    _tail = b""  # taken from the core
    _taken = 0  # bytes of it that the stream has taken
    _short = False  # memory has failed where only a new session helps
    _retry_ms = _RETRY_MS
    _retry_at = 0
    _stream: "Any" = None
    _poll: "Any" = None
    _spare: "bytes | bytearray" = b""
    _quiet = False  # about to sleep: no program is called

    if TYPE_CHECKING:
        leaf: Leaf
        sort: str
        mtu: int
        realm: int
        keepalive_ms: int
        handlers: "list[tuple[Receiver, Callable[[Any], Any]]]"
        _clock: Any
        _ticks: int
        _open: Any
        _waiting: "dict[int, Callable[[Outcome], Any]]"
        _timers: "list[list[Any]]"  # due, interval, function
        _news: "list[Event]"  # what happened and nobody was told
        _buffer: bytearray
        _due: int

        def __init__(
            self,
            stream: "Any",
            label: str = "",
            *,
            leaf: "Leaf | None" = None,
            node_id: "bytes | None" = None,
            bus: str = "default",
            sort: str = "packet",
            mtu: int = 0,
            realm: int = codes.LOCALNET,
            keepalive_ms: int = 5000,
            key: "bytes | str" = b"",
            token: str = "",
            message_size_max: int = 1024,
            pending_max: int = 8,
            peers_max: int = 16,
            entropy: "Callable[[int], bytes] | None" = None,
            clock: "Any" = time,
        ) -> None: ...

    else:

        def __init__(self, stream, label="", **options):
            if options.get("sort") != "stream":
                import busway.protocol.leaf.packets  # noqa: F401 - while the heap is in one piece
            from busway.adapters.micropython_start import start

            start(self, stream, label, **options)  # what is needed once need not stay
            self._buffer = bytearray(_READ_SIZE)
            self._keep_spare()
            if self._open is None:
                self._attach(stream)

    # What a program calls

    @property
    def connected(self) -> bool:
        """Whether a session with the router is open."""
        return self.connection is not None and self.connection.state == codes.OPEN

    def serve(
        self,
        name: "str | bytes",
        kind: int = codes.ANYCAST,
        realm: int = codes.LOCALNET,
        labels: "Any" = (),
        gone: "Any" = None,
    ) -> "Any":
        """Decorator: the function answers requests; what it returns is the reply, what it raises an error.
        `labels`, a list, say what it is. `gone`, a value of 128 bytes, is told to others if it is lost.
        """
        gc.collect()  # else what stays lies between what does not, and the heap is in pieces
        last = b"" if gone is None else b"\1" + dumps(gone)  # CBOR
        text = name if isinstance(name, str) else ""
        uuid = uuid_of(name, kind == codes.BROADCAST)
        receiver = self.leaf.register(uuid, kind, realm, name=text, labels=labels, gone=last)
        self._due = self._ticks

        def decorate(function: "Callable[[Any], Any]") -> "Callable[[Any], Any]":
            self.handlers.append((receiver, function))
            return function

        return decorate

    def receive(
        self, name: "str | bytes", kind: int = codes.UNICAST, realm: int = codes.LOCALNET, **traits: "Any"
    ) -> "Any":
        """Decorator: the function takes what is sent to this endpoint; `labels` and `gone` as for `serve`."""
        return self.serve(name, kind, realm, **traits)

    def subscribe(self, name: "str | bytes", realm: int = codes.LOCALNET, **traits: "Any") -> "Any":
        """Decorator: the function takes what is published to a name, or to all that a pattern means, and last
        values of them; `message` tells more. `labels` and `gone` as for `serve`."""
        return self.serve(name, codes.BROADCAST, realm, **traits)

    def every(self, interval_ms: int) -> "Any":
        """Decorator: the function is called by `step` that often, first at once."""

        def decorate(function: "Callable[[], Any]") -> "Callable[[], Any]":
            self._timers.append([self.now(), interval_ms, function])
            self._due = self._ticks
            return function

        return decorate

    def publish(
        self,
        name: "str | bytes",
        value: object,
        best_effort: bool = False,
        realm: int = codes.PROCESS,
        priority: str = "normal",
    ) -> bool:
        """Give every subscriber within `realm` a copy (0: within LOCALNET, or the link's if that is wider);
        False if the link has no room for it now: counted in `refused`, and in `missed` of its subscribers'
        next. With `best_effort` it may be lost, here or on its way, rather than keep others waiting: for
        readings that come often. `priority` as for `send`. Raises LocalError, "peers_max", for one name more
        than that.
        """
        payload, format = encode(value)
        try:
            realm = realm or max(codes.LOCALNET, self.realm)
            self.leaf.publish(
                uuid_of(name),
                payload,
                self.now(),
                format,
                best_effort=best_effort,
                realm=realm,
                priority=priority,
                name=name if isinstance(name, str) else "",
            )
        except FullError:
            self.refused += 1
            if self.refused >= self._tell_at:
                self._tell_at *= 10
                limit = self.leaf.pending_max
                text = "publish of %r refused (%d): pending_max=%d are waiting; Loop(pending_max=%d)"
                self._fault(FullError(text % (name, self.refused, limit, 2 * limit)))
            return False
        self._due = self._ticks
        return self.connected

    def send(
        self,
        name: "str | bytes | Selector",
        value: object,
        confirm: bool = False,
        then: "Callable[[Outcome], Any] | None" = None,
        timeout_ms: int = 30000,
        ttl_ms: int = 0,
        priority: str = "normal",
        to: str = "any",
    ) -> int:
        """Send to who holds the name, or is meant by a selector (micropython_where.py): to one of them, or
        `to` "all". `then(outcome)` is called when its fate is known, with "all" for each. `priority` "low" to
        "urgent": a higher one passes lower ones. Raises FullError.
        """
        kind = codes.CONFIRM if confirm else codes.SEND
        return self._submit(kind, name, value, then, timeout_ms, ttl_ms, priority, to)

    def request(
        self,
        name: "str | bytes | Selector",
        value: object = None,
        then: "Callable[[Outcome], Any] | None" = None,
        timeout_ms: int = 30000,
        ttl_ms: int = 0,
        priority: str = "normal",
        to: str = "any",
    ) -> int:
        """Ask; `then(outcome)` is called once, the rest is as for `send`. Raises FullError."""
        return self._submit(codes.REQUEST, name, value, then, timeout_ms, ttl_ms, priority, to)

    def _submit(
        self,
        kind: int,
        name: "str | bytes | Selector",
        value: object,
        then: "Callable[[Outcome], Any] | None",
        *options: "Any",
    ) -> int:
        timeout_ms, ttl_ms, priority, to = options
        payload, format = encode(value)
        now = self.now()
        if isinstance(name, (str, bytes)):
            token = self.leaf.submit(kind, uuid_of(name), payload, now, format, ttl_ms, timeout_ms, priority)
        else:
            token = name.submit(self.leaf, kind, payload, now, format, ttl_ms, timeout_ms, priority, to)
        if then is not None:
            self._waiting[token] = then
        self._due = self._ticks
        return token

    def ask(self, name: "str | bytes", value: object = None, timeout_ms: int = 5000) -> "Any":
        """Ask and step until the answer is there; returns it, or raises RemoteError. Not inside a handler."""
        found: "list[Outcome]" = []
        self.request(name, value, found.append, timeout_ms)
        while not found:
            self.step(timeout_ms)
        if not found[0].ok:
            raise RemoteError(found[0].code, found[0].text)
        return found[0].payload

    def sleep(self, ms: int) -> bool:
        """Write all that waits, and tell the router that this board sleeps for `ms`: it keeps what comes for
        it. Then sleep; awake again, call `sleep(0)`. False: nobody has heard it. Not inside a handler.
        """
        from busway.adapters.micropython_sleep import sleep

        return sleep(self, ms)

    def close(self) -> None:
        """Say goodbye for good, as before a deep sleep: this board's endpoints are gone, at once and
        everywhere. Takes 2 seconds at most. Not inside a handler.
        """
        self.leaf.close(self.now())
        self._due = self._ticks
        while self.connection is not None:
            self.step(50)

    def log(self, text: str) -> None:
        """Show a text to people at the other end (`busway monitor --log`), on packet links."""
        log = getattr(self.connection, "log", None)
        if log is not None:
            log(text.encode())
            self._due = self._ticks

    def run(self) -> None:
        """For ever."""
        while True:
            self.step(1000)

    # Turning

    def now(self) -> int:
        """Time in ms, unwrapped: must be called within half the period of ticks_ms (6 days on most
        boards)."""
        ticks = self._clock.ticks_ms()
        self._now += self._clock.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._now

    def step(self, timeout_ms: int = 0) -> bool:
        """One turn: waits at most `timeout_ms` for something to do. Returns whether there was. Idle, it
        allocates nothing.
        """
        clock = self._clock
        wait = clock.ticks_diff(self._due, clock.ticks_ms())
        if wait > timeout_ms:
            wait = timeout_ms
        if wait < 0:
            wait = 0
        if not self._wait(wait) and clock.ticks_diff(self._due, clock.ticks_ms()) > 0:
            return False
        try:
            self._turn()
        except MemoryError as error:
            self._exhausted(error)
        return True

    def _exhausted(self, error: MemoryError) -> None:
        """The core may have stopped half-way: its link is ended at the next turn, with more memory free."""
        gc.collect()
        self.last_error = error
        self._short = True
        self._due = self._ticks
        if self.connection is None:
            self._retry_at = self._now + _RETRY_MS

    def _wait(self, wait_ms: int) -> bool:
        """Whether there is something to read, at the latest after `wait_ms`."""
        poll = self._poll
        if poll is not None:
            for _ in poll(wait_ms):
                return True
            return False
        stream = self._stream
        clock = self._clock
        end = clock.ticks_ms()
        while True:
            if stream is not None and stream.any():
                return True
            if clock.ticks_diff(clock.ticks_ms(), end) >= wait_ms:
                return False
            clock.sleep_ms(1)

    def _turn(self) -> None:
        now = self.now()
        leaf = self.leaf
        if self._short:
            if self.connection is not None:
                self.connection.cut_off(now, codes.TOO_LARGE, "out of memory")
            self._short = False
        self._heed(self._news)
        if self.connection is None and now >= self._retry_at:
            self._start(now)
        try:
            self._read(now)
            self._heed(leaf.handle_timer(now))
            self._linger(now)
            if not self._quiet:
                self._tick(now)
                self._serve()
            self._write(now)
        except OSError as error:
            self._lost(str(error), now)
        self._heed(leaf.take_events())
        connection = self.connection
        if connection is not None and connection.done and not self._tail:
            self._lost("", now)
        self._plan(now)

    def _linger(self, now: int) -> None:
        """A session that is over may still have its last packets to repeat: the leaf has let go of it."""
        connection = self.connection
        if connection is not None and connection is not self.leaf.link:
            if 0 <= connection.next_deadline() <= now:
                connection.fire(now)

    def _plan(self, now: int) -> None:
        """The time when the next turn is due at the latest."""
        due = now + _FAR_MS
        leaf = self.leaf
        deadline = leaf.next_deadline()
        if deadline is not None:
            due = min(due, deadline)
        for timer in self._timers:
            due = min(due, timer[0])
        connection = self.connection
        if connection is None:
            due = min(due, self._retry_at)
        elif self._tail or connection.wants_write:
            due = min(due, now + _BUSY_MS)
        elif connection is not leaf.link and connection.next_deadline() >= 0:
            due = min(due, connection.next_deadline())
        self._due = self._clock.ticks_add(self._ticks, max(0, due - now))

    def _wake(self) -> None:
        """There is something to do: the next step does not wait."""
        self._due = self._ticks

    # The stream

    def _attach(self, stream: "Any") -> None:
        if hasattr(stream, "setblocking"):
            stream.setblocking(False)
        if hasattr(stream, "setsockopt"):
            try:
                stream.setsockopt(6, 1, 1)  # TCP_NODELAY: else a write waits for what the one before brings
            except (OSError, ValueError):
                pass  # not TCP, or a board that does not know it
        self._poll = None
        if not hasattr(stream, "any"):
            poller = select.poll()
            poller.register(getattr(stream, "polled", stream), select.POLLIN)
            self._poll = getattr(poller, "ipoll", poller.poll)
        self._stream = stream

    def _start(self, now: int) -> None:
        """A new session, on a stream that is opened where the last one failed."""
        try:
            if self._stream is None and self._open is not None:
                self._attach(self._open())
        except Exception as error:  # noqa: BLE001 - whatever it takes to open it: tried again
            self.last_error = error
            self._put_off(now)
            return
        self._spare = b""
        gc.collect()  # as in `serve`
        threshold = getattr(gc, "threshold", None)
        free = gc.mem_free() if hasattr(gc, "mem_free") else _PLENTY
        if threshold is not None and free < _PLENTY and threshold() < 0:  # the program has not said when
            threshold(free // 4)  # before what stays lies everywhere between what does not
        self.connection = self.leaf.link or self.leaf.connection(self, now)

    def _put_off(self, now: int) -> None:
        self._retry_at = now + self._retry_ms
        self._retry_ms = min(self._retry_ms * 2, _RETRY_MAX_MS)

    def _lost(self, text: str, now: int) -> None:
        """The session is over, or the stream has failed."""
        connection = self.connection
        self._tail = b""
        self._taken = 0
        restarted = False
        if connection is not None:
            restarted = connection.close_code == codes.RESTARTED
            self._heed(connection.receive_eof(now, text))
            self.connection = None
            self._keep_spare()
        if restarted:
            self._retry_at = now  # the same line, a new session, at once
            return
        if self._open is not None and self._stream is not None:
            stream = self._stream
            self._stream = self._poll = None
            try:
                stream.close()
            except OSError as error:
                self.last_error = error
        self._put_off(now)

    def _keep_spare(self) -> None:
        """A place in one piece for the next session, whose objects take some hundred bytes each."""
        gc.collect()
        try:
            self._spare = bytearray(_SPARE_SIZE)
        except MemoryError:
            pass  # it may find one without

    def _read(self, now: int) -> None:
        stream = self._stream
        connection = self.connection
        while stream is not None and connection is not None and self._wait(0):
            size = self._read_some(stream)
            if size <= 0:
                if size < 0:
                    raise OSError("the stream has ended")
                return
            self._heed(connection.receive_data(memoryview(self._buffer)[:size], now))
            if self.connection is not connection:
                return

    def _read_some(self, stream: "Any") -> int:
        """Bytes that were read into the buffer; 0: none now; -1: the end."""
        try:
            if self.mtu:
                data = stream.read() or None
            elif hasattr(stream, "any"):
                return stream.readinto(self._buffer, min(stream.any(), _READ_SIZE)) or 0
            elif hasattr(stream, "recv"):
                data = stream.recv(_READ_SIZE)
            elif hasattr(stream, "setblocking"):
                data = stream.read(_READ_SIZE)
            else:
                return self._collect(stream)
        except OSError as error:
            return _busy(error)
        if data is None:
            return 0
        self._buffer[: len(data)] = data
        return len(data) or -1

    def _collect(self, stream: "Any") -> int:
        """As `_read_some`, of a terminal, which would wait for all that it is asked for: byte by byte."""
        size = 0
        while size < _READ_SIZE and (not size or self._wait(0)):
            data = stream.read(1)
            if not data:
                return size or (0 if data is None else -1)
            self._buffer[size] = data[0]
            size += 1
        return size

    def _write(self, now: int) -> None:
        connection = self.connection
        stream = self._stream
        while connection is not None and stream is not None:
            if not self._tail:
                self._tail = connection.data_to_send(self.mtu or _WRITE_SIZE, now)
                if not self._tail:
                    return
            data = self._tail[
                self._taken :
            ]  # before it is written: else a lack of memory would write it twice
            try:
                size = stream.send(data) if hasattr(stream, "send") else stream.write(data)
            except OSError as error:
                size = _busy(error)
            if not size:
                return
            self._taken += size
            if self._taken >= len(self._tail):
                self._tail = b""
                self._taken = 0

    # Handlers

    def _heed(self, happened: "list[Event]") -> None:
        self._news = happened  # a lack of memory leaves the rest of them for the next turn
        while happened:
            event = happened[0]
            then = self._waiting.get(event.token)
            if event.kind == events.OUTCOME and then is not None:
                outcome = Outcome(event)
                if not outcome.left:
                    del self._waiting[event.token]
                happened.pop(0)
                self._call(then, outcome)
                continue
            if event.kind == events.LINK_OPEN:
                self._retry_ms = _RETRY_MS
            elif event.kind == events.LINK_CLOSED and event.code not in (codes.GOODBYE, codes.RESTARTED):
                if event.code != codes.TOO_LARGE or not isinstance(self.last_error, MemoryError):
                    self.last_error = OSError("link error %d. %s" % (event.code, event.text))
            elif event.kind == events.RECEIVER_TAKEN:
                self._fault(OSError("another node keeps " + event.receiver.name))  # type: ignore[union-attr]
            happened.pop(0)

    def _tick(self, now: int) -> None:
        for timer in self._timers:
            if timer[0] <= now:
                timer[0] = max(timer[0] + timer[1], now + 1)
                self._call(timer[2])

    def _call(self, function: "Callable[..., Any]", *arguments: object) -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - a program's own
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        """Nobody can be told but people."""
        if str(error) != str(self.last_error):
            self.log(describe(error)[1] + "\n")
        self.last_error = error

    def _serve(self) -> None:
        for receiver, function in self.handlers:
            while receiver.queue and self.places:
                message = self.leaf.take(receiver, self.now())
                if message is None:
                    break
                self._handle(message, function)

    def _handle(self, message: Message, function: "Callable[[Any], Any]") -> None:
        code = 0
        text = ""
        answer: object = None
        self.message = message
        try:
            answer = function(decode(message.payload, message.format))
        except Exception as error:  # noqa: BLE001 - a program's own: the asker hears of it
            self.last_error = error
            code, text = describe(error)
        if message.wants_answer:
            self.answer(message, answer, code, text)

    def answer(self, message: Message, value: object, code: int = 0, text: str = "") -> None:
        """Reply to a request, or with `code` answer with an error. A generator's values become the parts of a
        streaming reply."""
        if not code and hasattr(value, "send"):
            from busway.adapters.micropython_streams import Stream

            Stream(self, message, value)
            return
        now = self.now()
        try:
            payload, format = encode(None if code else value)
        except (TypeError, ValueError, MemoryError) as error:
            payload = b""
            format = codes.RAW
            code = codes.HANDLER_FAILED
            text = str(error)
        self._due = self._ticks  # a task may call this between two turns
        try:
            if code:
                self.leaf.respond_error(message, code, text, now)
            else:
                self.leaf.respond(message, payload, now, format)
        except MemoryError as error:
            self._exhausted(error)


def _busy(error: OSError) -> int:
    """0 for a stream that takes or has nothing now; any other error goes on. EAGAIN, ENOMEM, EINPROGRESS."""
    if error.args and error.args[0] in _BUSY:
        return 0
    raise error


def Usb() -> "Any":
    """The board's USB serial port, or whatever its program's standard input and output are, as a stream."""
    from busway.adapters.micropython_usb import Usb

    return Usb()
