"""The inside of a bus, as asyncio and threads have it alike: hands its node's events to who waits for them,
and keeps account of what is open.

How one waits, and where timers and handlers run, is asyncio_host.py's and threads_host.py's. Only those and
what is open refer to a host, and a host never to its AsyncBus or Bus: one that a program has dropped is
noticed, and everything released.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakSet

from busway.adapters import tap
from busway.adapters.audit import Trail
from busway.adapters.ends import Arrivals, BaseChanges, Items
from busway.adapters.failures import Failures
from busway.adapters.identity import LOOK_S, Identity
from busway.adapters.incoming import IncomingLinks
from busway.adapters.links import LinkRunner, ListenerRunner, Owner
from busway.adapters.literal import name_of
from busway.adapters.local import LocalMesh
from busway.adapters.making import ANY_TERMS, Terms
from busway.adapters.opening import Told
from busway.adapters.records import Change, Undelivered
from busway.adapters.results import undelivered
from busway.adapters.sampling import Sampler
from busway.adapters.typed import R
from busway.adapters.views import ORDERLY, change_of, protection_row
from busway.errors import BusClosed, BusError
from busway.names import ascii_safe
from busway.payloads import encode_shared
from busway.protocol import Connection, Message, Node, Receiver, Request, codes, events

if TYPE_CHECKING:
    from busway.adapters.clients import Registry
    from busway.adapters.dialled import Dialling
    from busway.adapters.hooks import Done
    from busway.adapters.sharing import Sharing

_log = logging.getLogger("busway")
UNCLOSED = "a bus was left open: use `{way}`, or its close()"
_UNOPENED = "a bus was never opened, though something is registered with it: use `{way}`"
live: WeakSet[BusHost] = WeakSet()
Asked = tuple[int, Any]  # a token and the future of its outcome; 0 and None where nothing has to be awaited


class Run(NamedTuple):
    """Payloads that go to one endpoint in one format, ready to be sent; one with files is alone."""

    endpoint: bytes
    payloads: list[Any]
    format: int
    type_id: bytes
    words: dict[str, Any]  # the core's arguments behind: files and regions


class BusHost:
    """A bus, but for what users call.

    Args: `node` the core's, `ipc` whether it joins the local ones, `may_tap` whether others may see what it
    says (tap.py), `identity` who it is beyond its machine.
    """

    way = ""  # how such a bus is used
    failures: Failures
    sealing: Any = None  # the sealed side of the bus (sealed.py), if it has one
    sharing: Sharing | None = None  # what it shares with others of this machine, once it could
    lan: Any = None  # what it finds by itself (busway.lan.hub), once it does

    def __init__(self, node: Node, ipc: bool, may_tap: bool, identity: Identity) -> None:
        self.node = node
        self.identity = identity
        identity.warn = lambda text: self.remark(logging.WARNING, "%s", text)
        self._watching = False  # the trust and the policy
        self.may_tap = may_tap
        self.clock: Callable[[], int] = time.monotonic_ns
        self.failure: BusError | None = None  # why it can no longer be used
        self.undeliverable: deque[Undelivered] = deque(maxlen=1024)
        self.dialled: set[Dialling] = set()
        self.backbone: Any = None  # by which this node is a gateway (busway/backbone)
        self.sessions: list[Any] = []  # its connections, also those that are about to end
        self.runners: set[LinkRunner] = set()
        self.unsettled: set[LinkRunner] = set()  # those whose `ready` may not be done yet
        self.listeners: set[ListenerRunner] = set()
        self.incoming = IncomingLinks()
        self.registry: Registry | None = None  # the clients of its servers, once it has had one
        self._ends = Sampler()
        self.trail = Trail(self)
        self.handlers: dict[Message, Any] = {}  # at work, by the message they answer
        self.waiters: dict[int, Any] = {}  # futures and Items, by token
        self.changes: WeakSet[BaseChanges] = WeakSet()
        self.presences: WeakSet[Any] | None = None  # those who look who is there; None: nobody of late
        self._ipc = ipc
        self._mesh: LocalMesh | None = None
        self._opened = False
        self._released = False
        self._idle: Any = None  # the future of who waits for the last link to end
        self._quiet_until_ms = 0
        self._pid = os.getpid()
        node.supplements.dialled = lambda: [link.row() for link in self.dialled]
        node.supplements.name_of = name_of
        node.supplements.protection_of = protection_row
        node.supplements.audit = self.trail.rows
        node.supplements.memory = lambda: {} if self.sharing is None else self.sharing.report()
        if identity.permissions is not None:
            node.guard = identity.permissions.guard
        live.add(self)

    def now_ms(self) -> int:
        """The node's clock."""
        return self.clock() // 1_000_000

    # What differs

    @property
    def loop(self) -> Any:
        """The loop that runs the links (opening.Loop)."""
        raise NotImplementedError

    @property
    def asyncio_loop(self) -> Any:
        """The same if it is asyncio's; None: another."""
        return None

    def in_thread(self, function: Callable[[], Any], done: Told) -> None:
        """Call `function`, which may block, elsewhere; then `done(value, error)` as a callback."""
        raise NotImplementedError

    def soon(self, callback: Callable[[], object]) -> None:
        """Have it called as a callback of the loop, from any thread; after the loop's end nothing is."""
        raise NotImplementedError

    def run_hook(self, hook: Callable[..., Any], args: tuple[Any, ...], done: Done) -> Callable[[], object]:
        """Call a hook of the program's, then `done(value, error)` as a callback, later. Returns what gives it
        up, as far as that can be.
        """
        raise NotImplementedError

    def together(self, function: Callable[[], R]) -> R:
        """Call it from a callback of the loop; whatever the core has to write then is written at once, in one
        go.
        """
        raise NotImplementedError

    def call(self, function: Callable[..., R], /, *args: Any) -> R:
        """Call something of the core's; what comes of it is written and told soon."""
        raise NotImplementedError

    def ask(self, function: Callable[..., int], /, *args: Any, **options: Any) -> Asked:
        """Call something of the core's that may have to wait. Options `waiter`, who gets its outcome instead
        of a future, and `lazily`, whether it may be written together with what follows; the others are the
        core's. Raises users' errors.
        """
        raise NotImplementedError

    def look(self, function: Callable[..., R], /, *args: Any) -> R:
        """Call what changes nothing in the core."""
        raise NotImplementedError

    def say(self, line: Callable[[], object]) -> None:
        """Call what logs a line, where a logging handler may do what it likes."""
        raise NotImplementedError

    def remark(self, level: int, text: str, *words: object) -> None:
        """Log it. Whatever is in `words` stays in its line."""
        self.say(partial(_log.log, level, text, *map(_one_line, words)))

    def drop(self) -> None:
        """Nobody holds the bus any more: for any thread and any instant, also amid the core."""
        raise NotImplementedError

    # Who may call

    @property
    def state(self) -> str:
        """For people."""
        if self.failure is not None:
            return "closed"
        return "open" if self._opened else "not open yet"

    @property
    def left_open(self) -> bool:
        return self._opened and self.failure is None

    def check(self) -> None:
        """Raises BusClosed after `close`, BusError in a forked child."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)  # a new one for each caller

    def check_here(self) -> None:
        """Raises BusError where this bus may not be called."""

    def check_open(self) -> None:
        """Raises as `check`, and BusError before `open`."""
        self.check()
        if not self._opened:
            raise BusError(f"the bus is not open: use it inside `{self.way}`")

    def inside(self, function: Callable[..., R], /, *args: Any) -> R:
        """As `call`, for users."""
        self.check_here()
        return self.call(function, *args)

    def join_pieces(self, pieces: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """A payload that is to be sent, in memory that others see if it is large and some link allows that.
        Any thread may call it.
        """
        found = None if self.sharing is None else self.sharing.join(pieces)
        return b"".join(pieces) if found is None else found

    def encode_answer(self, request: Request, value: Any) -> tuple[Any, int, bytes]:
        """As a payload; what a PROCESS endpoint answers stays the object it is."""
        if request.flow.endpoint.realm == codes.PROCESS:
            return value, codes.OBJECT, b""
        return encode_shared(value, b"", self)

    # The end

    def _take_steps(self, steps: Iterable[Callable[[], object]]) -> None:
        """Every one, whatever another raises: that is logged."""
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever it is, the other steps come first
                self.remark(logging.ERROR, "closing the bus: %s: %s", type(error).__name__, error)

    def _stop_listening(self) -> None:
        """Nobody comes any more, and nothing is dialled again."""
        steps: list[Callable[[], object]] = [listener.close for listener in list(self.listeners)]
        steps += [] if self.lan is None else [self.lan.stop]
        steps += [link.bus_closed for link in list(self.dialled)]
        self._take_steps([*steps, *([] if self._mesh is None else [self._mesh.close])])

    def _leave(self) -> None:
        """End everything outstanding, and say goodbye; who waits at the endpoints hears that it is closed."""
        waking = [core.tag._wake for core in self._receivers()]
        self._take_steps([partial(self.node.close, self.now_ms()), *waking])

    def _receivers(self) -> list[Any]:
        """All that the program has registered."""
        found = [core for endpoint in self.node.endpoints() for core in endpoint.receivers]
        return [core for core in found if core.tag is not None]  # None: the built-in endpoint's

    def _release(self) -> None:
        """Nothing stays open, however far `close` got."""
        if self._released:
            return
        self._released = True
        self._leave()
        steps: list[Callable[[], object]] = [runner.close for runner in list(self.runners)]
        steps += [] if self.backbone is None else [self.backbone.release]
        self._take_steps([*steps, self._tell_last, self.trail.close, self.identity.release])
        looking = [*self.changes, *(self.presences or ())]
        found = [] if self.lan is None else [self.lan.release]
        self._take_steps([*(each._finish for each in looking), *found, self.failures.close])

    def _tell_last(self) -> None:
        """Before nobody is told anything any more."""

    def _all_listeners(self) -> list[ListenerRunner]:
        mine = None if self._mesh is None else self._mesh.listener
        return [*self.listeners, *([] if mine is None else [mine])]

    def dropped(self, bus: object) -> None:
        """The garbage collector has it: what is open is released, with a ResourceWarning, as of a file."""
        text = ""
        if self.left_open:
            text = UNCLOSED
        elif self.failure is None and self._receivers():
            text = _UNOPENED
        try:
            if text:
                text = f"{text.format(way=self.way)}: {bus!r}"
                warnings.warn(text, ResourceWarning, stacklevel=3, source=bus)
        finally:
            if self.left_open:
                self.drop()

    def abandon(self) -> None:
        """In a forked child the bus is the parent's: our copies of descriptors are closed, nothing else."""
        if self.failure is None:
            self.failure = BusError(
                f"this bus was opened by process {self._pid} before fork: open one of your own in the child"
            )
        held: list[Any] = [*self.dialled, *self.runners, *self._all_listeners()]
        if self.lan is not None:
            held.append(self.lan)
        for each in held:
            each.abandon()
        self.identity.release()

    # Outcomes

    def await_outcome(self, token: int, waiter: Any = None) -> Any:
        """Have the outcome of `token` given to `waiter`, or to a future, which is returned."""
        if _log.isEnabledFor(logging.DEBUG):
            from busway.adapters import remarks

            self.remark(logging.DEBUG, "%s", remarks.waiting(self.node, token))
        found = self.waiters[token] = self.loop.create_future() if waiter is None else waiter
        return found

    def cancel(self, token: int) -> None:
        """Nobody wants its outcome any more."""
        self.waiters.pop(token, None)
        self.node.cancel(token, self.now_ms())

    # Events

    def dispatch(self, happened: list[events.Event]) -> None:
        """Hand events to those who wait for them."""
        for event in happened:
            kind = event.kind
            if kind == events.MESSAGES:
                cast(Arrivals, cast(events.MessagesEvent, event).receiver.tag)._wake()
            elif kind == events.OUTCOME:
                self._on_outcome(cast(events.Outcome, event))
            else:
                self._on_event(event)

    def _on_event(self, event: events.Event) -> None:
        """Any event but the commonest."""
        kind = event.kind
        if kind == events.UNDELIVERABLE:
            self._on_undeliverable(cast(events.UndeliverableEvent, event))
        elif kind == events.REQUEST_CANCELLED:
            request = cast(events.RequestEvent, event).request
            if request in self.handlers:
                self.handlers[request].cancel()
        elif kind in _KEPT:
            receiver = cast(events.ReceiverEvent, event).receiver
            self.remark(logging.WARNING, _KEPT[kind], _named(receiver))
            self.trail.noticed(event)
            cast(Arrivals, receiver.tag)._kept(kind == events.RECEIVER_TAKEN)
        elif kind == events.RECEIVER_ASKED:
            receiver = cast(events.ReceiverEvent, event).receiver
            self.remark(logging.WARNING, _ASKED, _named(receiver))
        else:
            self._on_change(event)

    def _on_outcome(self, outcome: events.Outcome) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            self._remark_outcome(outcome)
        waiter = self.waiters.get(outcome.token)
        if isinstance(waiter, Items):
            waiter.put(outcome)
        elif waiter is not None:
            del self.waiters[outcome.token]
            if not waiter.done():
                waiter.set_result(outcome)

    def _remark_outcome(self, outcome: events.Outcome) -> None:
        from busway.adapters import remarks

        self.remark(logging.DEBUG, "%s", remarks.outcome(outcome))

    def _on_undeliverable(self, event: events.UndeliverableEvent) -> None:
        if event.endpoint == tap.TAP:
            return  # who watched has gone
        lost = undelivered(self.node, event)
        self.undeliverable.append(lost)
        if self.now_ms() >= self._quiet_until_ms:  # one line a second tells as much as a thousand
            self._quiet_until_ms = self.now_ms() + 1000
            self.remark(logging.WARNING, "a message was %s", lost.error)

    def _on_change(self, event: events.Event) -> None:
        tap.noticed(self, event)
        self.trail.noticed(event)
        if event.kind == events.LOG:
            log = cast(events.LogEvent, event)
            if log.connection.tag is not None:
                cast(LinkRunner, log.connection.tag).printed(log.text)
            return
        if self.backbone is not None:
            self.backbone.noticed(event)
        if self.presences is not None:
            from busway.adapters import presence

            presence.notice(self, event)
        if self.followed:  # before what follows from it
            change = change_of(event)
            if change is not None:
                self.tell(change)
        if self.lan is not None and event.kind in (events.LINK_OPEN, events.LINK_CLOSED):
            self.lan.link_changed()
        if event.kind == events.LINK_CLOSED:
            self._on_link_closed(cast(events.LinkEvent, event).connection)

    def _on_link_closed(self, connection: Connection) -> None:
        if connection.beside is not None:
            connection.beside.aside.ended()
        if connection.tag is not None:
            cast(LinkRunner, connection.tag).ended()
        if self.identity.permissions is not None:
            self.identity.permissions.ended(connection)
        if connection.close_code not in ORDERLY and not self.node.closed:
            self._remark_end(connection)
        if self._mesh is not None and connection.via == "ipc":
            self._mesh.link_lost(connection)
        for runner in list(self.unsettled):  # one that had to wait for the end of this link is read on now
            runner.settle()
            if runner.ready.done():
                self.unsettled.discard(runner)

    def _remark_end(self, connection: Connection) -> None:
        """Remark the end of a link, not of each: whoever can reach a listener can have links end."""
        link, behind = connection.link, ""
        if not link.dialled and link.realm > codes.USERSPACE:
            told = self._ends.take(self.now_ms())
            if told is None:
                return
            behind = told
        self.remark(logging.INFO, "a link ended: %s: %s%s", link.address, connection.close_text, behind)

    @property
    def followed(self) -> bool:
        """Whether anybody is told of changes: a program with hundreds of links makes none for nobody."""
        return bool(self.changes) or _log.isEnabledFor(logging.DEBUG)

    def tell(self, change: Change) -> None:
        """To those who read `changes()`, and the log."""
        if _log.isEnabledFor(logging.DEBUG):
            from busway.adapters import remarks

            self.remark(logging.DEBUG, "%s", remarks.change(change))
        for changes in self.changes:
            changes._put(change)

    # What links need of their bus

    def run_link(self, channel: Any, terms: Terms = ANY_TERMS, owner: Owner | None = None) -> LinkRunner:
        """Run a driver's open channel as a link; `owner` has it as a link that heals."""
        self.check()
        runner = self._runner(channel, terms, owner)
        self.runners.add(runner)
        self.unsettled.add(runner)
        if runner.is_guarded and not self._watching:
            self._look_at_trust()  # what has changed while there were no links counts for this one
        return runner

    def _runner(self, channel: Any, terms: Terms, owner: Owner | None) -> LinkRunner:
        if terms.server is not None:
            from busway.adapters.client_links import ClientRunner

            return ClientRunner(self, channel, terms, owner)
        if self.identity.permissions is None:
            return LinkRunner(self, channel, terms, owner)
        from busway.adapters.guarded import GuardedRunner

        return GuardedRunner(self, channel, terms, owner)

    def _look_at_trust(self) -> None:
        """Links of those who may not come any more are ended, soon after the trust, or the boards' folder,
        says so; what those who are there may do is as the policy says.
        """
        guarded = [runner for runner in self.runners if runner.is_guarded]
        changed = self.identity.changed()
        for runner in guarded:
            runner.check_trust(changed)
        permissions = self.identity.permissions
        if permissions is not None and permissions.changed():
            for runner in guarded:
                runner.check_policy()
            self.node.guard_changed(self.now_ms())
        self._watching = bool(guarded) and self.failure is None
        if self._watching:
            self.loop.call_later(LOOK_S, self._look_at_trust)

    def entry(self, callback: Callable[[], object]) -> Callable[[], object]:
        """A function for drivers without descriptor: called from any thread, it has `callback` called."""
        return callback

    def take_in(self, connection: Connection, data: bytes) -> None:
        """A link has read this."""
        self.dispatch(connection.receive_data(data, self.now_ms()))

    def link_gone(self, runner: LinkRunner) -> None:
        """A channel has been closed."""
        self.runners.discard(runner)
        self.unsettled.discard(runner)
        if not self.runners and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


_KEPT = {
    events.RECEIVER_TAKEN: "another node has %s, too, and keeps it until it goes",
    events.RECEIVER_BACK: "%s, which another node kept, is this program's again",
}


def _named(receiver: Receiver) -> str:
    """An endpoint of ours, for the log."""
    return ascii_safe(receiver.endpoint.name or receiver.endpoint.uuid.hex())


_ASKED = "a request came to %s, which was made with register: only what serve makes answers requests"


def _one_line(word: object) -> object:
    """A word of a line of the log, which another program may have chosen."""
    return word if isinstance(word, (int, float)) else ascii_safe(str(word))


def check_settled(outcome: events.Outcome) -> None:
    """Raises BusClosed if what had to wait was not sent for that."""
    if outcome.code == codes.BUS_CLOSED:
        raise BusClosed()


def _after_fork() -> None:
    for host in list(live):
        host.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
