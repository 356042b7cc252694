"""Moves bytes between drivers' channels and the core's connections, in whatever style the host's loop runs.

Knows nothing of endpoints and messages, and of the loop only what opening.Loop says.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from busway.adapters import beside, board_logs, opening
from busway.adapters.audit import Trail
from busway.adapters.closing import Done
from busway.adapters.identity import Identity
from busway.adapters.incoming import Incoming, IncomingLinks
from busway.adapters.making import ANY_TERMS, Terms, make_link
from busway.adapters.opening import INCOMING_S, Connecting
from busway.adapters.protecting import Protection, protection_of
from busway.adapters.records import Change, LinkInfo
from busway.adapters.refusals import for_users, text_of
from busway.adapters.sampling import Sampler
from busway.adapters.typed import R
from busway.adapters.views import link_info
from busway.errors import BusError, LinkRefused
from busway.protocol import Connection, Link, Node, codes, events

_READ_SIZE = 65536  # where broadcasts are taken: more small ones at once would overrun the subscriber's queue
_READ_SIZE_LARGE = 262144  # of others, and amid a large message
_READ_SIZE_LEAST = 4096
_READ_SIZE_FIRST = 16384  # before it is known how small they are: more would overrun a subscriber's queue
# Messages to this program that a read is to bring: about as many as it takes in a turn of its loop. What is
# read sooner only leaves the processor's nearer memory again, and makes the garbage collector look at it.
_READ_COUNT = 256
_WRITE_SIZE = 65536
_WRITE_SIZE_AT_ONCE = 131072  # where what is large is written without a copy
_ACCEPT_BURST = 64
_ACCEPT_REST_S = 1.0  # after a failure
# What one channel is read before the others have their turn. A plain one is read once, see above.
_TURN_SIZE = _READ_SIZE
_TURN_READS = 4
_CROWDED_S = 60.0
_CROWDED = (
    "%s: too many come at once, or say nothing: %d have been turned away so far. What is a crowd of your own"
    " gets in as it tries again"
)
_TOLD_MAX = 64  # refusals that a listener remembers to have told
_TOLD_OF_ONE_MAX = (
    8  # of these, of one machine and trouble: whoever comes with ever new keys is told of so often
)
# Troubles that somebody has to mend at the client, or here; of others the client is told, and that is all.
_TROUBLES = {
    codes.TOKEN: "its token is wrong, or one side has none: give both sides the same",
    codes.BUS_NAME: "it is of a bus of another name: give both the same",
    codes.BAD_VERSION: "it speaks another version: update the older of both",
    codes.IDENTITY: "it claims a node id that follows from a key, and has proved another key, or none",
    codes.NOT_A_ROUTER: (
        "it would forward for others, and may not: have it join with leaf=True, or let it be a router"
        " (routers=True besides open=True, or its role in the trust file or policy)"
    ),
    codes.NAME_TAKEN: "another client has its name or node id, and it has not proved to be that one",
    codes.UNTRUSTED: "this side's key is not trusted by it: run `busway pair` at both",
}


_NO_BOARD = "this board's key is no longer among those that the gateway takes"
_NO_LONGER = (
    "the trust there has changed: this key is not in it any more, or in another role; `busway pair` enters it"
)


def _never() -> bool:
    return False


next_id = itertools.count(1).__next__  # of links, as users tell them apart


class Host(opening.Host, Protocol):
    """A bus as its links need it."""

    node: Node
    failure: BusError | None
    dialled: set[Any]
    identity: Identity
    incoming: IncomingLinks
    trail: Trail
    runners: set[LinkRunner]
    unsettled: set[LinkRunner]
    sharing: Any

    def now_ms(self) -> int: ...
    def soon(self, callback: Callable[[], object]) -> None: ...
    def call(self, function: Callable[..., R], /, *args: Any) -> R: ...
    def inside(self, function: Callable[..., R], /, *args: Any) -> R: ...
    def entry(self, callback: Callable[[], object]) -> Callable[[], object]: ...
    @property
    def followed(self) -> bool: ...
    def together(self, function: Callable[[], R]) -> R: ...
    def take_in(self, connection: Connection, data: bytes) -> None: ...
    def dispatch(self, happened: list[events.Event]) -> None: ...
    def tell(self, change: Change) -> None: ...
    def link_gone(self, runner: LinkRunner) -> None: ...
    def run_link(self, channel: Any, terms: Terms = ANY_TERMS, owner: Owner | None = None) -> LinkRunner: ...


class Owner(Protocol):
    """An object that is told that a link is over: at once, before its last bytes have left."""

    @property
    def id(self) -> int: ...
    def ended(self, runner: LinkRunner, /) -> None: ...
    def restarted(self, runner: LinkRunner, /) -> None: ...


class LinkRunner:
    """One channel and its connection: reads what there is, writes when there is room, closes when done."""

    def __init__(self, host: Host, channel: Any, terms: Terms, owner: Owner | None) -> None:
        self.channel = channel
        self.id = next_id() if owner is None else owner.id
        # Of the loop's own sort: done when the link is open and synced, or LinkRefused.
        self.ready = host.loop.create_future()
        self._terms = terms
        # Decides who may come; None where nobody has to prove a key that is trusted.
        self.admission = host.identity.admission(channel, terms.open, terms.routers)
        self._boards = host.identity.boards_by(channel)
        self._printed = board_logs.Lines()
        self._write_size: int = getattr(channel, "write_size", _WRITE_SIZE)
        self._is_paced: bool = getattr(channel, "paced", False)
        self._pausing = False
        # Of a driver that writes several buffers at once.
        self._write_buffers: Callable[[list[Any]], int] | None = getattr(channel, "write_buffers", None)
        self.connection = self._new_connection(host)
        self.owner = owner  # tells of the link itself
        self.on_settled: Callable[[], object] | None = None  # called once, when `ready` is done
        self.failure: Exception | None = None  # of the channel; a traceback would keep what it was writing
        # The client's address, the error, and what is known of it here.
        self.on_refused: Callable[[str, int, str], object] | None = None
        self._host = host
        self._rest: list[Any] = []  # what the channel has not taken yet
        self._closed = False
        self._failing = False  # nothing can be written any more
        self._read_size = _READ_SIZE_FIRST  # so that it is about as many messages as they should be
        self._receiving = host.node.receiving
        self._next_turn = False  # it is set, though nothing new may come
        # A driver with a layer of its own (TLS, WebSocket) may have bytes of its own to write, and may have
        # read more than it gave.
        self._layered = hasattr(channel, "wants_write")
        if channel.fileno() >= 0:
            host.loop.add_reader(channel.fileno(), self.on_readable)
            if self._layered:
                self._follow_channel()
                if getattr(channel, "has_data", False):
                    self._set_turn(host)
        else:
            channel.on_readable = host.entry(self.on_readable)
            channel.on_writable = host.entry(self.on_writable)
        self._tell_new()

    def _new_connection(self, host: Host) -> Connection:
        who = host.identity
        aside = beside.aside_of(host, self.channel)
        link = make_link(self.channel, self._terms, who.static, self.admission, self._boards, aside)
        connection = self._make(host, link)
        connection.tag = self
        beside.join(self.channel, connection, host.now_ms)
        return connection

    def _make(self, host: Host, link: Link) -> Connection:
        return host.node.connection(link, host.now_ms())

    @property
    def is_guarded(self) -> bool:
        """Whether who comes by it has to be known."""
        return self.admission is not None or self._boards is not None

    @property
    def listeners(self) -> tuple[str, ...]:
        """The URLs of the listener that the other side came to, the real one last; empty at who dialled."""
        return self._terms.listeners

    def check_trust(self, changed: bool) -> None:
        """End the link of one who may not come any more; `changed`: the trust says something else."""
        if changed and self.admission is not None and not self.admission.holds():
            self.connection.fail(codes.UNTRUSTED, _NO_LONGER, self._host.now_ms())
        elif self._boards is not None and not self._boards.holds():
            self.connection.fail(codes.UNTRUSTED, _NO_BOARD, self._host.now_ms())

    def check_policy(self) -> None:
        """The policy says something else. Without one there is nothing to do."""

    @property
    def protection(self) -> Protection:
        """The proof that the other side has given."""
        trusted = "" if self.admission is None else self.admission.name
        return protection_of(
            self.connection, self._terms.token is not None, trusted, self._host.identity.board_names
        )

    def _tell_new(self) -> None:
        """A link is being made; what becomes of it the core says."""
        if self.owner is None and self._host.followed:
            self._host.tell(Change("link-state", link_info(self.connection)))

    def on_readable(self) -> None:
        """The channel has bytes, its end, or a failure."""
        if not self._layered:
            sharing = self._host.sharing if self.connection.aside_on else None
            if sharing is not None and self._receiving.subscribed and sharing.wants_rest():
                return  # such a channel says again that there is something; others may say it once
            size = min(self._read_size, _READ_SIZE) if self._receiving.subscribed else self._read_size
            self._read(_READ_SIZE_LARGE if self.connection.piece_left else size)
            return
        left, turns = _TURN_SIZE, _TURN_READS
        while left > _TURN_SIZE // 2 and turns and (size := self._read()):
            left -= size
            turns -= 1
            if getattr(self.channel, "has_data", False):
                break  # the driver has had enough for one turn
        if self._closed:
            return
        self._follow_channel()
        if left <= _TURN_SIZE // 2 or not turns or getattr(self.channel, "has_data", False):
            self._set_turn(self._host)

    def _set_turn(self, host: Host) -> None:
        """Read on when the others have had their turn. Once: who floods has no more turns than they."""
        if not self._next_turn:
            self._next_turn = True
            host.loop.call_later(0.0, self._take_turn)

    def _take_turn(self) -> None:
        self._next_turn = False
        if not self._failing:
            self.on_readable()

    def _read(self, size_max: int = _READ_SIZE) -> int:
        """How many bytes there were: if any, there may be more."""
        if self._closed:
            return 0
        try:
            data = self.channel.read(size_max)
        except Exception as error:  # noqa: BLE001 - whatever it is, the link is over
            self.failure = error.with_traceback(None)
            self._host.dispatch(
                self.connection.receive_eof(self._host.now_ms(), f"the connection failed: {text_of(error)}")
            )
            self.close()
            return 0
        if data:
            counters = self._receiving.counters
            before = counters["received"]
            self._host.take_in(self.connection, data)
            self._fit(len(data), counters["received"] - before)
            if not self.ready.done():
                self.settle()
        elif data is not None:
            self._host.dispatch(self.connection.receive_eof(self._host.now_ms()))
            self.close()
        return len(data or b"")

    def _fit(self, size: int, count: int) -> None:
        """Read less at a time where so much brings more messages than are taken in a turn, or more again."""
        most = _READ_SIZE_LARGE if count else _READ_SIZE  # what is no message here may be dear to refuse
        if count > _READ_COUNT:
            self._read_size = max(_READ_SIZE_LEAST, size * _READ_COUNT // count)
        elif self._read_size > most:
            self._read_size = most
        elif self._read_size <= size < most and count * 2 < _READ_COUNT:
            self._read_size = min(most, self._read_size * 2)

    def _follow_channel(self) -> None:
        """The channel may have got something of its own to write."""
        if self.channel.wants_write and not self._rest:
            self._host.loop.add_writer(self.channel.fileno(), self.on_writable)

    def flush(self) -> None:
        """Write what the connection has, as far as the channel takes it."""
        if self._closed or self._rest or self._failing:
            return
        try:
            written = self._write_all() if self._write_buffers is None else self._write_all_at_once()
        except Exception as error:  # noqa: BLE001 - as when reading
            self._fail(error)
            return
        if not written:
            return
        if self._layered and self.channel.wants_write:  # also what it has taken and not yet written
            self._follow_channel()
        elif self.connection.done:
            self._finish()

    def _write_all(self) -> bool:
        """False: the channel is full, and what it has not taken waits."""
        if self._is_paced:
            return self._write_paced()
        connection = self.connection
        while data := connection.data_to_send(self._write_size, self._host.now_ms()):
            taken = self.channel.write(data)
            if taken < len(data):
                self._await_writable([memoryview(data)[taken:]])
                return False
            if not connection.wants_write:
                break
        return True

    def _write_paced(self) -> bool:
        """The same on a slow line, which is given only what is to leave next: what waits here can still be
        passed by something of higher priority.
        """
        connection = self.connection
        while connection.wants_write:
            room = self.channel.room()
            if not room:
                if not self._pausing:
                    self._pausing = True
                    self._host.loop.call_later(self.channel.pause_s, self._go_on)
                return False
            data = connection.data_to_send(room, self._host.now_ms())
            if not data:
                break
            taken = self.channel.write(data)
            if taken < len(data):
                self._await_writable([memoryview(data)[taken:]])
                return False
        return True

    def _go_on(self) -> None:
        self._pausing = False
        self.flush()

    def _write_all_at_once(self) -> bool:
        """The same where the driver writes several buffers at once."""
        connection = self.connection
        while buffers := connection.buffers_to_send(_WRITE_SIZE_AT_ONCE, self._host.now_ms()):
            rest = self._write(buffers)
            if rest:
                self._await_writable(rest)
                return False
            if not connection.wants_write:
                break
        return True

    def _write(self, buffers: list[Any]) -> list[Any]:
        """The part of these that the channel has not taken."""
        if self._write_buffers is None or len(buffers) == 1:
            data = buffers[0]
            taken = self.channel.write(data)
            return [memoryview(data)[taken:]] if taken < len(data) else []
        taken = self._write_buffers(buffers)
        for at, data in enumerate(buffers):
            if taken < len(data):
                return [memoryview(data)[taken:], *buffers[at + 1 :]]
            taken -= len(data)
        return []

    def _finish(self) -> None:
        """All is said. A channel with a goodbye of its own closes once it is answered, or `ended` does."""
        finish = getattr(self.channel, "finish", None)
        if finish is None or finish():
            self.close()
        else:
            self._follow_channel()

    def _await_writable(self, rest: list[Any]) -> None:
        self._rest = rest
        if (
            not beside.ask_later(self.channel, self._host.loop, self.on_writable)
            and self.channel.fileno() >= 0
        ):
            self._host.loop.add_writer(self.channel.fileno(), self.on_writable)

    def on_writable(self) -> None:
        """The channel takes bytes again."""
        if self._closed or self._failing:
            return
        if self._rest:
            try:
                self._rest = self._write(self._rest)
            except Exception as error:  # noqa: BLE001 - as when reading
                self._fail(error)
                return
            if self._rest:
                self._await_writable(self._rest)
                return
        if self._layered and not self._flush_channel():
            return
        if self.channel.fileno() >= 0:
            self._host.loop.remove_writer(self.channel.fileno())
        self.flush()

    def _flush_channel(self) -> bool:
        """Whether the channel has nothing of its own left to write."""
        try:
            if self.channel.wants_write:
                self.channel.write(b"")
        except Exception as error:  # noqa: BLE001 - as when reading
            self._fail(error)
            return False
        return not self.channel.wants_write

    def _fail(self, error: Exception) -> None:
        """Writing failed: what had arrived before is read first, for the reason may be in it."""
        self.failure = error.with_traceback(None)
        self._failing = True
        self._rest = []
        if self.channel.fileno() >= 0:
            self._host.loop.remove_reader(self.channel.fileno())
            self._host.loop.remove_writer(self.channel.fileno())
        self._read_rest()

    def _read_rest(self) -> None:
        """In turns, as ever: there may be megabytes of it."""
        if self._closed:
            return
        try:
            data = self.channel.read(_READ_SIZE)
        except Exception as more:  # noqa: BLE001 - it failed already
            self._host.remark(logging.DEBUG, "%s: %s", self.channel.address, text_of(more))
            data = b""
        if data:
            self._host.take_in(self.connection, data)
        if data or (data is None and getattr(self.channel, "has_data", False)):
            self._host.loop.call_later(0.0, self._read_rest)
            return
        assert self.failure is not None
        text = f"the connection failed: {text_of(self.failure)}"
        self._host.dispatch(self.connection.receive_eof(self._host.now_ms(), text))
        self.close()

    def close(self) -> Done:
        """Release the channel; whatever is still unsent is lost. With an AsyncBus it may be awaited."""
        if not self._closed:
            self._closed = True
            self._release()
        return Done()

    def _release(self) -> None:
        if self.channel.fileno() >= 0:
            self._host.loop.remove_reader(self.channel.fileno())
            self._host.loop.remove_writer(self.channel.fileno())
        try:
            self.channel.close()
        except Exception as error:  # noqa: BLE001 - the rest is released, and who waits is told, all the same
            self._host.remark(logging.WARNING, "%s: closing failed: %s", self.channel.address, text_of(error))
        self._host.dispatch(self.connection.receive_eof(self._host.now_ms()))
        self.settle()
        self._host.link_gone(self)

    def abandon(self) -> None:
        """In a forked child: the link is the parent's."""
        self._closed = True
        self.channel.abandon()

    def ended(self) -> None:
        """The connection is over: its last bytes may take 2 s to leave, then the channel is closed all the
        same. A board that was reset is still on its line, and goes on there.
        """
        if self.connection.close_code == codes.RESTARTED and not self._closed:
            self._start_again()
            return
        if self.on_refused is not None and self.connection.opened_at < 0:
            detail = "" if self.admission is None else self.admission.refused
            self.on_refused(self.channel.address, self.connection.close_code, detail)
        self.settle()
        if self.owner is not None:
            self.owner.ended(self)
        if not self._closed:
            self._host.loop.call_later(codes.CLOSING_MS / 1000, self.close)

    def printed(self, text: bytes) -> None:
        """The board at the other end has printed this."""
        lines = self._printed.feed(text)
        board_logs.publish(self._host.node, self.connection, lines, self._host.now_ms())

    def _start_again(self) -> None:
        """A new connection on the same channel: to open a serial port anew would reset many boards."""
        self.connection.tag = None
        self._rest = []
        if self.ready.done():
            self.ready = self._host.loop.create_future()
            self._host.unsettled.add(self)
        self.connection = self._new_connection(self._host)
        self._tell_new()
        if self.owner is not None:
            self.owner.restarted(self)

    @property
    def is_stranger(self) -> bool:
        """Whether the other side has yet to prove itself."""
        return not self._closed and self.connection.opened_at < 0

    def settle(self) -> None:
        """Tell who waits for the link that it is ready, or why it never will be."""
        if self.ready.done():
            return
        if self.connection.close_code >= 0:
            self.ready.set_exception(LinkRefused(self.connection.close_code, self.connection.close_text))
            self.ready.exception()  # nobody may be waiting
        elif self.connection.synced:
            self.ready.set_result(None)
        else:
            return
        told, self.on_settled = self.on_settled, None
        if told is not None:
            told()


class ListenerRunner:
    """Accepts what comes to a driver's listener."""

    def __init__(self, host: Host, listener: Any, terms: Terms = ANY_TERMS) -> None:
        self.listener = listener
        self._host = host
        self._abandoned = False
        self._complained = ""
        self._told: dict[tuple[str, int, str], None] = {}
        self._quiet_until = 0.0
        self._refusals, self._complaints = Sampler(), Sampler()
        self._terms = terms._replace(listeners=(*terms.listeners, self.url))
        self._connecting: set[Connecting] = set()
        self._watch()

    @property
    def url(self) -> str:
        """The address at which others can connect, with the real port."""
        return str(self.listener.url)

    def _on_readable(self) -> None:
        self._host.together(self._accept)

    def _accept(self) -> None:
        try:
            for _ in range(0 if self._abandoned else _ACCEPT_BURST):
                channel = self.listener.accept()
                if channel is None:
                    return
                self._let_in(channel)
        except Exception as error:  # noqa: BLE001 - those who come later are to be let in
            self._rest(error)

    def _let_in(self, channel: Any) -> None:
        incoming = None
        if channel.realm != "userspace":
            incoming = self._host.incoming.admit(channel.address, self._host.loop.time())
            if incoming is None:
                channel.close()
                self._crowded(channel.address)
                return
        done = partial(self._connected, incoming)
        connecting = Connecting(self._host.loop, channel, INCOMING_S, done)
        if not connecting.over:
            self._connecting.add(connecting)
            if incoming is not None:
                incoming.waits = lambda: not connecting.over
                incoming.turn_away = lambda: self._turn_away(connecting)

    def _turn_away(self, stranger: Connecting | LinkRunner) -> None:
        if isinstance(stranger, Connecting):
            self._connecting.discard(stranger)
        stranger.close()
        self._crowded(stranger.channel.address)

    def _crowded(self, address: str) -> None:
        """Told once a minute, however many come."""
        self._host.trail.exceeded("incoming", address, listener=self.url)
        self._host.node.counters["incoming_turned_away"] = self._host.incoming.turned_away
        now = self._host.loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _CROWDED_S
            count = self._host.incoming.turned_away
            self._host.remark(logging.WARNING, _CROWDED, self.url, count)

    def _rest(self, error: Exception) -> None:
        """A client or the listener failed: its socket may stay readable, and must not be asked endlessly."""
        self._complain(error)
        if self.listener.fileno() >= 0:
            self._host.loop.remove_reader(self.listener.fileno())
            self._host.loop.call_later(_ACCEPT_REST_S, self._watch)

    def _watch(self) -> None:
        if not self._abandoned and self.listener.fileno() >= 0:
            self._host.loop.add_reader(self.listener.fileno(), self._on_readable)

    def _connected(self, incoming: Incoming | None, connecting: Connecting, error: Exception | None) -> None:
        self._connecting.discard(connecting)
        if incoming is not None:
            incoming.waits = _never
        if error is not None:
            # Its own fault, and told to it; however it went then.
            refusal = for_users(error)
            self._note_turned_away(connecting.channel, error)
            if isinstance(refusal, LinkRefused):
                self._refused(connecting.channel.address, refusal.code)
            return
        if self._host.failure is not None:  # closed meanwhile
            connecting.channel.close()
            return
        try:
            runner = self._host.run_link(connecting.channel, self._terms)
            runner.on_refused = self._refused
            if incoming is not None:
                incoming.waits = lambda: runner.is_stranger
                incoming.turn_away = lambda: self._turn_away(runner)
        except Exception as failure:  # noqa: BLE001 - as above; the client is to hear the end
            connecting.channel.close()
            self._complain(failure)
            return
        runner.on_readable()  # who comes mostly has said HELLO by now: a turn of the loop less for each

    def _note_turned_away(self, channel: Any, error: Exception) -> None:
        """Note a refusal; who asked for a page of ours, and has had it, was not refused."""
        answer = getattr(channel, "answer", None)
        if answer != "":
            self._host.trail.refused(self.url, channel.address, answer or text_of(error))

    def _refused(self, address: str, code: int, detail: str = "") -> None:
        """A client was refused, or refuses us: counted, and told once for each machine and trouble."""
        text = detail or _TROUBLES.get(code)
        if text is None:
            return
        self._host.node.note_refused(self._host.now_ms())
        host = address.rpartition(":")[0] if address.count(":") > 1 else address  # ports change
        told = [each for each in self._told if each[:2] == (host, code)]
        if (host, code, detail) in self._told or len(told) >= _TOLD_OF_ONE_MAX:
            return
        if len(self._told) >= _TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._told[host, code, detail] = None
        behind = self._refusals.take(self._host.now_ms())
        if behind is None:  # strangers have as many addresses as they like
            return
        self._host.remark(logging.WARNING, "%s: %s cannot join: %s%s", self.url, address, text, behind)
        info = LinkInfo(b"", "", "closed", "", address, None, 0, 0, error=text)
        self._host.tell(Change("link-refused", info, code, text))

    def _complain(self, error: Exception) -> None:
        """Once for each trouble, however long it lasts."""
        text = text_of(error)
        if text != self._complained:
            self._complained = text
            behind = self._complaints.take(self._host.now_ms())
            if behind is not None:
                self._host.remark(logging.WARNING, "%s cannot accept: %s%s", self.url, text, behind)

    def restore(self) -> bool:
        """Put a node's own place back where others find it; whether that was needed. Raises OSError."""
        if self._abandoned or self.listener.in_place():
            return False
        self._host.loop.remove_reader(self.listener.fileno())
        try:
            self.listener.restore()
        finally:
            self._host.loop.add_reader(self.listener.fileno(), self._on_readable)
        self._on_readable()  # who came to the former socket is not told by the new one
        return True

    def close(self) -> None:
        """Stop listening; links that were accepted stay. Twice is once."""
        if self.listener.fileno() >= 0:
            self._host.loop.remove_reader(self.listener.fileno())
        try:
            self.listener.close()
        finally:
            for connecting in self._connecting:
                connecting.close()
            self._connecting.clear()

    def abandon(self) -> None:
        """In a forked child: the listener is the parent's."""
        self._abandoned = True
        self.listener.abandon()
        for connecting in self._connecting:
            connecting.abandon()


class Listener:
    """A place where others can connect. Made by `listen`."""

    def __init__(self, host: Host, runner: ListenerRunner) -> None:
        self._host = host
        self._runner = runner

    def __repr__(self) -> str:
        return f"<listener at {self.url}>"

    @property
    def url(self) -> str:
        """The address at which others can connect, with the real port."""
        return self._runner.url

    def close(self) -> Done:
        """Stop listening; links that were accepted stay. Twice is once. Of an AsyncBus it may be awaited."""
        self._host.inside(self._runner.close)
        return Done()
