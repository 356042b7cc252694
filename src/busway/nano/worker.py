"""A worker: takes what is for its handlers off the bus, calls them, and commits what they emit.

    take blocks -> call handlers -> commit what they emitted, and how far it has read, in one block

At most a millisecond of work is committed together: a quick handler's messages share blocks, a slow one's
leave as soon as it returns.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from busway.nano.blocks import FILL, MESSAGE, MESSAGE_SIZE, Block
from busway.nano.codecs import Carried, Codec, as_it_is, carried
from busway.nano.control import Control, Counters
from busway.nano.errors import Finished, Missed
from busway.nano.handlers import Method, name_of, shape_of
from busway.nano.log import Log
from busway.nano.reading import Reader
from busway.nano.waiting import NAP_MAX_S
from busway.nano.wiring import Part, method_for

_log = logging.getLogger("busway.nano")
_BATCH = 64 << 10
_TOGETHER_S = 0.001
_TOLD_S = 1.0  # between two lines of the log about one handler
_TELL_S = 0.05  # until what is counted is told though nothing is emitted
_BACKOFF_S = 0.1  # after on_loop raised
_DEAF_NAP_S = 0.05  # of a worker that no message comes for


class Outgoing(NamedTuple):
    """A type that a part emits to others."""

    kind: Any
    key: int


class Incoming(NamedTuple):
    """Messages with this key go to these parts, by number."""

    kind: Any
    key: int
    targets: tuple[int, ...]


class Plan(NamedTuple):
    """All that a worker has to know; it may travel to a process of its own."""

    name: str
    number: int
    parts: Mapping[int, Part]
    incoming: Sequence[Incoming]
    outgoing: Mapping[int, Sequence[Outgoing]]
    codec: Codec | str
    codecs: Mapping[Any, Codec | str]


class _Out:
    """`out` of one handler."""

    __slots__ = ("_extend", "_kinds", "_most", "_worker", "emitted", "unrouted")

    def __init__(
        self, worker: Worker, kinds: dict[Any, tuple[int, Callable[[Any], bytes]]], size_max: int
    ) -> None:
        self._worker = worker
        self._extend = worker.pending.extend
        self._most = size_max
        self._kinds = kinds
        self.emitted = 0
        self.unrouted = 0

    def __call__(self, message: Any, /) -> None:
        found = self._kinds.get(type(message))
        if found is None:
            self.unrouted += 1
            return
        key, encode = found
        data = message if encode is as_it_is else encode(message)
        size = len(data)
        if size > self._most:
            raise ValueError(
                f"this {name_of(type(message))} has {size} bytes, the bus takes {self._most}; enlarge it"
            )
        if size & 7:
            self._extend((MESSAGE.pack(size, key), data, FILL[size & 7]))
        else:
            self._extend((MESSAGE.pack(size, key), data))
        self._worker.size += size + 16
        self.emitted += 1


class _Call:
    """A handler's method for one type, or one of its hooks."""

    __slots__ = ("call", "part")

    def __init__(self, method: Method, part: _Working) -> None:
        function, out = method.call, part.out
        self.part = part
        self.call: Callable[[Any], Any] = (
            (lambda message: function(message, out)) if method.with_out else function
        )


class _Calm:
    """Lets through what is to be logged once a second, and counts the rest."""

    def __init__(self) -> None:
        self._held = 0
        self._next = 0.0

    def passed(self) -> int:
        """How many were held back since the last that passed; -1: this one is held back, too."""
        now = time.monotonic()
        if now < self._next:
            self._held += 1
            return -1
        held, self._held, self._next = self._held, 0, now + _TOLD_S
        return held


class _Working:
    """A handler at work: its counts, and when it wants to be called again."""

    __slots__ = ("backoff", "calm", "errors", "handled", "hooks", "loop_at", "name", "number", "out")

    def __init__(self, number: int, part: Part, out: _Out, hooks: Mapping[str, Method]) -> None:
        self.number = number
        self.name = part.name
        self.backoff = _BACKOFF_S if part.endpoint is None else 0.0
        self.out = out
        self.hooks = hooks
        self.calm = _Calm()
        self.handled = 0
        self.errors = 0
        self.loop_at = 0.0 if "on_loop" in hooks else math.inf

    def hook(self, name: str) -> Any:
        """Calls one, if it is there."""
        method = self.hooks.get(name)
        if method is None:
            return None
        return method.call(self.out) if method.with_out else method.call()


class Worker:
    """Runs in a thread, or in a process of its own.

    Args:
        plan: what to do.
        log: the bus.
        reader: its place there.
        control: where it says how it is.
    """

    def __init__(self, plan: Plan, log: Log, reader: Reader, control: Control) -> None:
        self._plan = plan
        self._log = log
        self._reader = reader
        self._control = control
        self.pending: list[bytes] = []
        self.size = 0
        self._missed = 0
        self._calm = _Calm()
        self._flushed = 0  # messages, of those that were emitted
        self._finished = False  # a handler said that the application is through
        self._watchful = False  # whether there is more to look at after each message
        self._written = -1  # the end of what it wrote itself
        self._place = (reader.position, reader.done)  # all before it is handled
        self._kept = self._place
        self._last = 0.0
        self._parent = 0  # of a process of its own
        self._look_at = 0.0  # for the parent, next
        self._batch = min(_BATCH, log.block_max)
        reader.hurried = control.stopping
        own = {one.key for mine in plan.outgoing.values() for one in mine}
        self._deaf_to = (
            -1 if own & {one.key for one in plan.incoming} else reader.row + 1
        )  # what it wrote itself

    # Life

    def in_process(self) -> None:
        """The whole life of a process: Ctrl-C is the parent's business, and without a parent it ends."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._parent = os.getppid()
        self._reader.adopt(os.getpid())
        self.run()

    def run(self) -> None:
        """Works until all are to stop. Raises nothing: what went wrong stands in the control page."""
        try:
            self._prepare()
            self._start()
            self._say("running")
            self._work()
            self._end()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this worker and is told
            _log.exception("the worker %s failed", self._plan.name)
            self._say("failed", f"{type(error).__name__}: {error}")
        else:
            self._say("ended")
        finally:
            self._reader.close()

    def _say(self, state: Any, reason: str = "") -> None:
        self._control.say(self._plan.number, state, os.getpid(), self._missed, reason)

    def _prepare(self) -> None:
        plan = self._plan
        self._parts: dict[int, _Working] = {}
        methods: dict[int, Any] = {}
        most = self._log.block_max - MESSAGE_SIZE - 8
        for number, part in plan.parts.items():
            kinds = {
                one.kind: (one.key, carried(one.kind, plan.codec, plan.codecs).encode)
                for one in plan.outgoing.get(number, ())
            }
            shape = None if part.shape is None else shape_of(part.handler)
            hooks = {} if shape is None else shape.hooks
            methods[number] = shape
            self._parts[number] = _Working(number, part, _Out(self, kinds, most), hooks)
        how = {one.kind: carried(one.kind, plan.codec, plan.codecs) for one in plan.incoming}
        self._reader.as_view = any(one.as_view for one in how.values())
        self._watchful = self._reader.as_view
        self._table: dict[int, tuple[Callable[[Any], Any], tuple[_Call, ...]]] = {}
        for one in plan.incoming:
            calls = tuple(
                _Call(self._method(number, methods[number], one.kind), self._parts[number])
                for number in one.targets
            )
            self._table[one.key] = (self._decoder(how[one.kind]), calls)

    def _method(self, number: int, shape: Any, kind: Any) -> Method:
        if shape is None:
            method: Method = self._plan.parts[number].handler.method()
            return method
        found: Method = method_for(shape, kind)
        return found

    def _decoder(self, how: Carried) -> Callable[[Any], Any]:
        if how.as_view or not self._reader.as_view:
            return how.decode
        decode = how.decode
        return lambda view: decode(bytes(view))

    def _start(self) -> None:
        try:
            for part in self._parts.values():
                part.hook("on_start")
        except Finished:
            self._control.stop()
        self._flush()

    def _end(self) -> None:
        for part in self._parts.values():
            try:
                part.hook("on_stop")
            except Exception:  # noqa: BLE001 - of one handler; the others stop, too
                self._failed(part, "on_stop", 0)
        self._flush()

    def _work(self) -> None:
        self._last = time.monotonic()
        try:
            while not self._through():
                worked = self._take()
                delay = self._loop()
                if delay <= 0 and not worked:
                    if time.monotonic() - self._last > (_TOGETHER_S if self.pending else _TELL_S):
                        self._flush()
                    continue
                if worked:
                    continue
                self._flush()
                self._wait(delay)
        except Finished:
            self._control.stop()
            self._flush()
            self._log.wake()

    def _wait(self, delay: float) -> None:
        if self._plan.incoming:
            self._reader.wait(min(delay, NAP_MAX_S))
        else:
            time.sleep(min(delay, _DEAF_NAP_S))

    def _through(self) -> bool:
        """Whether all are to stop; also if the process that started this one is gone."""
        if self._parent and time.monotonic() > self._look_at:
            self._look_at = time.monotonic() + NAP_MAX_S
            if os.getppid() != self._parent:
                self._control.stop()
        return self._control.stopping()

    # Messages

    def _take(self) -> bool:
        """Handles what is there. Returns whether there was something."""
        if not self._plan.incoming:
            return False
        try:
            found = self._reader.take()
        except Missed as error:
            self._lost(error.missed, error.reason)
            self._place = (self._reader.position, 0)
            return True
        for block in found:
            if not self._handle(block) or self._control.stopping():
                break
        return bool(found)

    def _handle(self, block: Block) -> bool:
        """Returns False if the block was overwritten meanwhile, or all are to stop."""
        if block.reader and block.reader == self._deaf_to:
            self._place = (block.end, 0)
            return True
        body, at = block.body, 0
        skip = self._reader.done if block.position == self._place[0] else 0
        table, pending, now, unpack = self._table, self.pending, time.monotonic, MESSAGE.unpack_from
        for number in range(block.messages):
            size, key = unpack(body, at)
            at += MESSAGE_SIZE
            found = table.get(key)
            if found is not None and number >= skip:
                before = mark = len(pending)
                decode, calls = found
                try:
                    message = decode(body[at : at + size])
                except Exception:  # noqa: BLE001 - whatever a codec raises
                    self._unreadable(calls)
                else:
                    for one in calls:
                        try:
                            one.call(message)
                        except Exception as error:  # noqa: BLE001 - of one handler; the others go on
                            self._raised(one.part, error, mark)
                        one.part.handled += 1
                        mark = len(pending)
                if self._watchful and not self._still(block, number, before):
                    return False
                if self.size >= self._batch or now() - self._last > _TOGETHER_S:
                    self._place = (block.position, number + 1)
                    self._flush()
                    if self._control.stopping():
                        return False
            at += size + -size % 8
        self._reader.done = 0
        self._place = (block.end, 0)
        return True

    def _still(self, block: Block, number: int, mark: int) -> bool:
        """After a message that may lie on the bus itself, or end the application: whether work goes on."""
        if self._reader.as_view and not self._reader.whole(block):
            self._flushed += self._drop(mark)
            self._lost(block.messages - number, "overwritten while they were handled; enlarge the ring")
            self._place = (block.end, 0)
            return False
        if self._finished:
            self._place = (block.position, number + 1)
            raise Finished
        return True

    def _unreadable(self, calls: tuple[_Call, ...]) -> None:
        """In an except clause: counts a message that cannot be decoded at all that wanted it."""
        for one in calls:
            self._failed(one.part, "decoding", len(self.pending))

    def _raised(self, part: _Working, error: Exception, mark: int) -> None:
        """In an except clause, of a handler."""
        if isinstance(error, Finished):
            self._finished = self._watchful = True
        else:
            self._failed(part, "handling", mark)

    def _failed(self, part: _Working, doing: str, mark: int) -> None:
        """In an except clause: counts it, and drops what was emitted since the mark."""
        part.errors += 1
        part.out.emitted -= self._drop(mark)
        if (more := part.calm.passed()) >= 0:
            _log.exception(
                "%s in worker %s failed in %s%s",
                *(part.name, self._plan.name, doing),
                f", and {more} times since the last time it was told" if more else "",
            )

    def _drop(self, mark: int) -> int:
        """Forgets what was emitted since the mark. Returns how many messages these were."""
        at, count = mark, 0
        while at < len(self.pending):
            size, _ = MESSAGE.unpack(self.pending[at])
            at += 3 if size & 7 else 2
            count += 1
        del self.pending[mark:]
        return count

    def _lost(self, count: int, reason: str) -> None:
        self._missed += count
        if self._calm.passed() >= 0:
            _log.warning("worker %s missed %d messages: %s", self._plan.name, self._missed, reason)
        self._say("running")
        for part in self._parts.values():
            method = getattr(self._plan.parts[part.number].handler, "on_missed", None)
            if callable(method):
                try:
                    method(count)
                except Exception:  # noqa: BLE001 - of one handler; the others go on
                    self._failed(part, "on_missed", len(self.pending))

    def _loop(self) -> float:
        """Calls each `on_loop` whose time has come. Returns the seconds until the next."""
        soonest = math.inf
        for part in self._parts.values():
            if "on_loop" not in part.hooks:
                continue
            now = time.monotonic()
            if part.loop_at <= now:
                part.loop_at = now + self._call_loop(part)
            soonest = min(soonest, part.loop_at - now)
            if self.size >= self._batch:
                self._flush()
        return soonest

    def _call_loop(self, part: _Working) -> float:
        mark = len(self.pending)
        try:
            delay = part.hook("on_loop")
            if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not delay >= 0:
                raise TypeError(
                    f"on_loop of {part.name} returns the seconds until it is to be called again, math.inf for"
                    f" never; got {delay!r}"
                )
        except Finished:
            raise
        except Exception:  # noqa: BLE001 - of one handler; the others go on
            self._failed(part, "on_loop", mark)
            return part.backoff
        return float(delay)

    # Writing

    def _flush(self) -> None:
        """Commits what was emitted together with how far it has read, and tells the counts."""
        place = self._place
        if self.pending:
            emitted = sum(part.out.emitted for part in self._parts.values())
            bodies = _bodies(self.pending, emitted - self._flushed, self._log.block_max)
            self.pending.clear()
            self.size, self._flushed = 0, emitted
            for body, count, last in bodies:
                where = place if last else ()
                self._written = self._log.commit(body, count, self._reader, *where)
        if place != self._kept:
            self._reader.keep(*place, as_of=self._written)
            self._kept = place
        for part in self._parts.values():
            counters = Counters(part.handled, part.errors, part.out.emitted, part.out.unrouted)
            self._control.count(part.number, counters)
        self._last = time.monotonic()


def _bodies(pending: list[bytes], count: int, size_max: int) -> list[tuple[bytes, int, bool]]:
    """Blocks of messages: body, count, and whether it is the last. One, if all fits into it."""
    whole = b"".join(pending)
    if len(whole) <= size_max:
        return [(whole, count, True)]
    found: list[tuple[bytes, int, bool]] = []
    begin = end = count = 0
    while end < len(whole):
        (length, _) = MESSAGE.unpack_from(whole, end)
        length += MESSAGE_SIZE + -length % 8
        if end + length - begin > size_max:
            found.append((whole[begin:end], count, False))
            begin, count = end, 0
        end, count = end + length, count + 1
    return [*found, (whole[begin:], count, True)]
