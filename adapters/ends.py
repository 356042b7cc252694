"""The objects that a program is given, as far as asyncio and threads have them alike: receivers, services
with their handlers, changes, parts of a reply.

Knows nothing of links, nor how one waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, cast
from weakref import WeakSet

from busway.adapters.closing import Done
from busway.adapters.failures import Failures
from busway.adapters.links import Host as LinkHost
from busway.adapters.records import Change, named
from busway.adapters.results import (
    NO_ANSWERS,
    answer_error,
    answer_failure,
    answer_unreadable,
    decode_message,
    unreadable,
)
from busway.adapters.typed import Handler, R, T_co
from busway.errors import BusClosed, EndpointTaken, RemoteError
from busway.protocol import Crew, Message, Request, codes
from busway.protocol import Receiver as CoreReceiver

# Types that many handlers give: nothing to be awaited, and no parts.
VALUES = frozenset({bytes, str, int, float, bool, list, tuple, dict, type(None)})
CHANGES_MAX = 1024  # changes that a slow reader of `changes()` may be behind


class Host(LinkHost, Protocol):
    """The bus as they need it."""

    failures: Failures
    changes: WeakSet[Any]
    sealing: Any

    def look(self, function: Callable[..., R], /, *args: Any) -> R: ...


def describe(end: object, core: CoreReceiver) -> str:
    """The repr of a Receiver or Service."""
    endpoint = core.endpoint
    words = [codes.KIND_NAMES[endpoint.kind], codes.REALM_NAMES[endpoint.realm], f"{len(core.queue)} queued"]
    words += ["closed"] if core.closed else []
    return f"<{type(end).__name__} of {named(endpoint.name, endpoint.uuid)}, {', '.join(words)}>"


def taking(host: Host, core: CoreReceiver, sealed: bool) -> Callable[[CoreReceiver], Any]:
    """How a receiver's messages are taken; with `sealed` no plain ones."""
    if host.sealing is None:
        return host.node.receiving.take
    from busway.adapters.sealed import Taker

    return Taker(host, core, sealed)


class Arrivals:
    """Futures, of the loop's own sort, of who waits for one registration's messages. The core knows it, and
    it knows nothing of the bus.
    """

    always = True  # it is told of messages though nobody waits for them

    def __init__(self, core: CoreReceiver) -> None:
        self.core = core
        self.lost = False  # another node keeps the name
        self.waiting: deque[Any] = deque()
        core.tag = self
        core.decline = NO_ANSWERS

    def forget(self, future: Any) -> None:
        """One who waited is served or gives up; what came in the meantime is the next one's."""
        if future in self.waiting:
            self.waiting.remove(future)
        if self.waiting and len(self.core.queue):
            self._wake()

    def _wake(self) -> None:
        """There is a message, or there will be none any more."""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                if not (self.core.closed or self.lost):
                    return
        self.core.told = self.always

    def _kept(self, lost: bool) -> None:
        """Another node keeps the name, and what is queued can still be read; or it is ours again."""
        self.lost = lost
        self._wake()


class BaseReceiver(Generic[T_co]):
    """Messages for one registration."""

    _host: Host

    def __init__(
        self, keep: object, host: Any, core: CoreReceiver, types: tuple[type, ...] | None, sealed: bool
    ) -> None:
        self.unknown = 0  # messages of a type that was not declared: skipped
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._core = core
        self._types = types
        self._taken = taking(host, core, sealed)
        self._arrivals = Arrivals(core) if host.sealing is None else host.sealing.arrivals(core)
        self._waits_on = False  # also while another node keeps the name: there is nobody to tell

    def __repr__(self) -> str:
        return describe(self, self._core)

    @property
    def dropped(self) -> int:
        """Messages that the queue policy threw out."""
        return self._core.dropped

    @property
    def refused(self) -> int:
        """Messages that were left out: plain ones where only sealed ones are taken, and sealed ones that
        could not be opened, or came before.
        """
        return getattr(self._taken, "refused", 0)

    @property
    def missed(self) -> int:
        """Messages that are lost and that no message has shown yet as its `missed`."""
        return self._host.call(self._core.missed)

    def _accept(self, message: Message) -> bool:
        """Decode a message; one of an unknown type is counted, and skipped."""
        known = decode_message(message, self._types)
        self.unknown += not known
        return known

    def _check_more(self) -> None:
        """The queue is empty: raises if it stays so."""
        if self._core.closed:
            raise BusClosed("this receiver is closed")
        if self._arrivals.lost and not self._waits_on:
            raise EndpointTaken()

    def _nothing_came(self, timeout: float | None) -> TimeoutError:
        endpoint = self._core.endpoint
        return TimeoutError(f"nothing came to {endpoint.name or endpoint.uuid.hex()!r} within {timeout:g} s")

    def _close(self) -> None:
        self._host.node.deregister(self._core, self._host.now_ms())
        self._arrivals._wake()

    def close(self) -> Done:
        """Deregister. What was not read is answered as not taken. Twice is once. Of an AsyncBus it may be
        awaited.
        """
        self._host.inside(self._close)
        return Done()


class Service:
    """A handler at an endpoint. Made by `serve`; `close()` ends it."""

    _host: Host

    def __init__(
        self,
        handler: Handler,
        limit: int,
        host: Any,
        core: CoreReceiver,
        types: tuple[type, ...] | None,
        sealed: bool,
    ) -> None:
        self.unknown = 0
        self.failed = 0  # handlers that raised
        self._host = host
        self._core = core
        self._handler = handler
        self._types = types
        self._crew = Crew(host.node.receiving, core, limit)
        self._take = taking(host, core, sealed)
        self._held = getattr(self._take, "held", ())  # what waits for the key that it is sealed with
        self._encode = host.encode_answer if host.sealing is None else host.sealing.encode_answer
        core.tag = self

    def __repr__(self) -> str:
        return describe(self, self._core)

    @property
    def refused(self) -> int:
        """As `Receiver.refused`."""
        return getattr(self._take, "refused", 0)

    @property
    def at_work(self) -> int:
        """Messages that were taken and whose handlers have not ended."""
        return len(self._crew)

    def _wake(self) -> None:
        """Start handlers for what is queued, as far as the limit allows."""
        queue, crew = self._core.queue, self._crew
        while len(crew) < crew.limit and queue.items and crew.arrange():
            message = self._take(self._core)
            if message is not None:
                self._start(message)
        if self._held:
            self._wake_held()
        if queue.items and crew.deadline < 0:
            crew.press(self._host.now_ms())
            self._pressed()

    def _wake_held(self) -> None:
        while len(self._crew) < self._crew.limit:
            message = self._take(self._core)
            if message is None:
                return
            self._start(message)

    def _start(self, message: Message) -> None:
        raise NotImplementedError

    def _pressed(self) -> None:
        """The core has a time to be woken at."""

    def _accept(self, message: Message) -> bool:
        """Whether the handler gets it."""
        known = decode_message(message, self._types)
        if known and message.error is None:
            return True
        self.unknown += not known
        self._host.call(self._refuse, message)
        return False

    def _refuse(self, message: Message) -> None:
        if message.error is not None:
            self._host.failures.add(*unreadable(self._core, message.error))
        answer_unreadable(self._host.node, message, self._host.now_ms())

    def _gave_parts(self, asked: Request) -> bool:
        """Whether they are wanted; else who asked is told."""
        if self._host.sealing is not None and self._host.sealing.is_sealed(asked):
            cast(Any, asked).seal.answers.in_parts = True
        if asked.stream is None:
            text = "this handler answers in parts: use request_stream"
            self._host.call(
                answer_error, self._host.node, asked, codes.NOT_A_STREAM, text, self._host.now_ms()
            )
        return asked.stream is not None

    def _raised(self, message: Message, error: BaseException) -> None:
        """Passes any error on: it is the caller's to know."""
        if not isinstance(error, RemoteError):
            self.failed += 1
            name = self._core.endpoint.name or message.endpoint.hex()
            self._host.failures.add(f"a handler of {name}", error)
        answer_failure(self._host.node, message, error, self._host.now_ms())

    def _kept(self, lost: bool) -> None:
        """Another node keeps the name, or it is ours again: what is queued is served all the same."""

    def close(self) -> Done:
        """Deregister. Handlers at work go on; what is queued is answered as not taken. Twice is once. Of an
        AsyncBus it may be awaited.
        """
        self._host.inside(self._host.node.deregister, self._core, self._host.now_ms())
        return Done()


class Items:
    """Items that come one by one, until they are read: parts of a streaming reply, changes."""

    def __init__(self, most: int | None = None) -> None:
        self.queue: deque[Any] = deque(maxlen=most)  # a full one loses its oldest
        self.ended = False  # no more will come: what is queued can still be read

    def put(self, item: Any) -> None:
        self.queue.append(item)
        self.rouse()

    def end(self) -> None:
        self.ended = True
        self.rouse()

    def rouse(self) -> None:
        """Wake who waits for the next."""
        raise NotImplementedError


class BaseChanges:
    """All that comes and goes. Made by `changes`; `close()` ends it."""

    _host: Host

    def __init__(self, keep: object, host: Any, items: Items) -> None:
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._items = items
        self.missed = 0  # that were lost so far, for this reader was too slow: look around anew
        host.check()
        host.look(host.changes.add, self)

    def __repr__(self) -> str:
        closed = ", closed" if self._items.ended else ""
        return f"<Changes, {len(self._items.queue)} to be read, {self.missed} missed{closed}>"

    def _put(self, change: Change) -> None:
        self.missed += len(self._items.queue) == CHANGES_MAX
        self._items.put(change)

    def _finish(self) -> None:
        self._host.changes.discard(self)
        self._items.end()

    def _close(self) -> None:
        self._items.queue.clear()
        self._finish()

    def close(self) -> Done:
        """Read no more. Twice is once. Of an AsyncBus it may be awaited."""
        self._host.look(self._close)
        return Done()
