"""A gateway: asks on NATS for what nobody on its side has, answers what others ask, and sees to links with
those gateways that are needed.

Everything here is called where the core may be, as adapters/dialled.py, whose place it takes for NATS: a user
holds the same sort of object. Knows of messages nothing; of a node what it is asked for (events), and what
its side has.
"""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any, Final, cast

from busway.adapters.dialled import DialledLink, Options
from busway.adapters.links import LinkRunner, next_id
from busway.adapters.records import Change, LinkInfo
from busway.adapters.refusals import is_hopeless, text_of
from busway.adapters.retrying import CONNECTED, Reconnector
from busway.backbone import subjects
from busway.drivers.nats import Hub, NatsChannel, parse
from busway.drivers.nats_session import NatsSession
from busway.errors import BusClosed, BusError
from busway.protocol import codes, events
from busway.protocol.wire.patterns import is_proper, matches

if TYPE_CHECKING:
    from busway.adapters.host import BusHost
    from busway.protocol.routing.fabric import GatewayLookups

_ID_SIZE: Final = codes.ID_SIZE
LINKS_MAX: Final = 1024  # with other gateways, at once
_OPENING_MAX: Final = 128  # ... of these such as are not open yet
_ASKED_MAX: Final = 4096  # questions that are still open, and uuids of which news are heard
_WANTED_MAX: Final = 4096  # what one gateway is asked for
_NAMES_MAX: Final = 4096  # that are published by on this side
_SILENT_S: Final = 10.0  # so long nobody is asked again who was not there; who comes says so at once
_QUESTION_S: Final = 5.0  # so long answers to one are taken
_PATIENCE_S: Final = 1.0  # so long it is not asked again that nobody has answered
_ANEW_MAX: Final = 1024  # of these as many are asked again when servers were lost
_AGAIN_S: Final = (0.2, 1.0, 5.0)  # after these a link that was lost is made anew
_LOOK_S: Final = 60.0
_LEAVE_S: Final = 0.2
IDLE_S: Final = 3600.0  # then a link is given up that nobody has used


class Far:
    """Another gateway, and the link with it: that of this side, if it made it."""

    runner = None  # links() shows the links themselves

    def __init__(self, backbone: Backbone, node_id: bytes) -> None:
        self.id = next_id()
        self.node_id = node_id
        self.wanted: dict[bytes, None] = {}  # what it says it has, of what was asked for here
        self.link: LinkRunner | None = None
        self.tries = 0
        self.used = 0  # bytes, when it was looked at last
        self.used_at = 0.0
        self._backbone = backbone

    def ended(self, runner: LinkRunner) -> None:
        """The link is over."""
        self._backbone.link_ended(self, runner)

    def restarted(self, runner: LinkRunner) -> None:
        """Only boards do."""


class Backbone:
    """One connection with a cluster of NATS servers, by which this bus is a gateway."""

    runner = None  # it is no link of the core

    def __init__(self, host: BusHost, url: str, options: Options) -> None:
        self.place = parse(url)
        self.url = url
        self.options = options
        self.id = next_id()
        self.link = DialledLink(cast(Any, self))
        self.reconnector = Reconnector(options.retry, options.wait, self._time(host))
        self.counters = {"asked": 0, "answered": 0, "news": 0, "refused": 0, "lost": 0}
        self._host = host
        self._name = f"nats://{self.place.name.partition('://')[2]}"
        self._session: NatsSession | None = None
        self._hub: Hub | None = None
        self._waiters: list[Any] = []
        self._timers: set[Any] = set()
        self._over = False
        self._failure: BaseException | None = None
        self._warned: dict[str, None] = {}
        terms = options.terms
        # Who may use the cluster's subjects may come, unless a token or keys are asked for.
        self._terms = terms._replace(realm="global", open=terms.token is None, routers=terms.token is None)
        self._far: dict[bytes, Far] = {}
        self._offered: dict[bytes, str] = {}  # what this side has, and the subject of a pattern
        self._patterns: dict[bytes, str] = {}  # ... of these what is a pattern
        self._heard: dict[
            bytes, float
        ] = {}  # what was asked for, whose news are heard: since when nobody is there
        self._names: dict[str, bytes] = {}  # names by which this side publishes
        self._questions: dict[int, tuple[bytes, float]] = {}
        self._open: dict[bytes, set[int]] = {}  # of each uuid those that nobody has answered yet
        self._number = 0
        host.dialled.add(cast(Any, self))
        host.backbone = self
        self._try()

    # As adapters/dialled.py

    @property
    def _node(self) -> Any:
        return self._host.node

    @property
    def _lookups(self) -> GatewayLookups:
        found: GatewayLookups = self._host.node.mesh.lookups
        return found

    def info(self) -> LinkInfo:
        """The connection with the cluster, as links() lists it."""
        at = self.reconnector.next_at
        return LinkInfo(
            b"",
            "",
            self.reconnector.state,
            "global",
            self.place.name,
            None,
            0,
            0,
            url=self.url,
            attempt=self.reconnector.attempt,
            next_try=None if at < 0 else max(0.0, at - self._now()),
            error=self.reconnector.error,
            id=self.id,
        )

    def row(self) -> dict[str, object]:
        """For the introspection endpoint (docs/protocol.md, section 9)."""
        info = self.info()
        return {
            "url": self.place.name,
            "state": info.state,
            "peer": b"",
            "label": "",
            "attempt": info.attempt,
            "next_try_ms": -1 if info.next_try is None else round(info.next_try * 1000),
            "error": info.error,
            "losses": self.reconnector.losses,
        }

    def waiter(self) -> Any:
        """A future of the loop's: done when the cluster is reached, or with why it never will be."""
        future = self._host.loop.create_future()
        if self.reconnector.state == CONNECTED:
            future.set_result(None)
        elif self._over:
            future.set_exception(self._failure or BusClosed())
        else:
            self._waiters.append(future)
        return future

    def close(self) -> None:
        """Leave the cluster, from wherever that is called."""
        self._host.inside(self.end, "it was closed")

    def end(self, text: str) -> None:
        """Leave the cluster, in order."""
        for far in list(self._far.values()):
            if far.link is not None:
                far.link.connection.close(self._host.now_ms())
        for runner in list(self._host.runners):
            if isinstance(runner.channel, NatsChannel):
                runner.connection.close(self._host.now_ms())
        self._finish(BusError(f"{self.place.name}: {text} before the cluster was reached"))
        self._host.backbone = None
        # The last bytes of links leave first.
        self._host.loop.call_later(_LEAVE_S if self._host.runners else 0.0, self.release)

    def bus_closed(self) -> None:
        """The bus ends its links itself, and then calls `release`."""
        self._finish(BusClosed())

    def release(self) -> None:
        """Nothing of it stays open. Twice is once."""
        if self._session is not None:
            self._session.close()

    async def gone(self) -> None:
        """Wait until that is so, where the connection is on asyncio's loop."""
        if self._session is not None:
            await self._session.gone()

    def join(self) -> None:
        """... and where it has a thread."""
        if self._session is not None:
            self._session.join()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._over = True
        if self._session is not None:
            self._session.abandon()

    def _finish(self, failure: BaseException) -> None:
        if self._over:
            return
        self._over = True
        self._failure = failure
        self._host.dialled.discard(cast(Any, self))
        self.reconnector.close()
        for timer in list(self._timers):
            timer.cancel()
        if self._node.mesh.fabric and not self._node.closed:
            self._node.mesh.set_fabric(False, self._host.now_ms())
        self._resolve(failure)
        self._tell()

    # The connection

    def _try(self) -> None:
        self.reconnector.begin()
        self._tell()
        threads = self._host.asyncio_loop is None
        try:
            self._session = session = NatsSession(
                self.place,
                **self.options.driver,
                label=self._node.me.label,
                loop=self._host.asyncio_loop,
                post=self._host.loop.soon if threads else _now,
                soon=self._host.loop.soon if threads else self._host.loop.call_soon,
                on_state=self._turned,
                on_message=self._came,
            )
        except Exception as error:  # noqa: BLE001 - somebody waits to be told
            self._failed(error)
            return
        digest = hashlib.blake2b(self._node.bus.encode(), digest_size=9).digest()
        self._hub = Hub(session, digest, self._node.node_id, self._name, self)

    def _came(self, subject: str, data: bytes, reply: str, status: str) -> None:
        if self._hub is not None:  # also when it is over: links say goodbye
            self._hub.came(subject, data, reply, status)

    def _turned(self, state: str, error: Exception | None) -> None:
        """The connection says what became of it."""
        if self._over or self._hub is None or self._session is None:
            return
        if state == "connected":
            self._connected()
        elif state == "reconnecting":
            self._lost("the NATS server was lost")
        elif state == "failed":
            assert error is not None
            self.counters["refused"] += 1
            self._remark(text_of(error))
        else:
            self._failed(error or ConnectionError("the NATS servers have closed the connection"))

    def _connected(self) -> None:
        assert self._hub is not None
        assert self._session is not None
        first = not self._node.mesh.fabric
        self._hub.payload_max = min(self._session.payload_max, 1 << 20)
        self.reconnector.opened(self._now())
        self._warned.clear()
        if first:
            self._offer_all()
            self._node.mesh.set_fabric(True, self._host.now_ms())
            self._after(_LOOK_S, self._look)
        else:
            self._ask_again()
        self._resolve(None)
        self._tell()

    def _lost(self, text: str) -> None:
        """nats-py goes on trying. Streams go on if nothing of them is lost: their numbers say so."""
        if self.reconnector.state == CONNECTED:
            self.reconnector.lost(text, self._now(), random())
            self._remark(f"{text}; it is tried again")
            if self.options.retry is None:
                self._end_streams()
                self._finish(BusError(f"{self.place.name}: {text}"))
                self._host.backbone = None
                self.release()
                return
            self._tell()

    def _failed(self, error: BaseException) -> None:
        self._end_streams()
        if self.reconnector.state == CONNECTED:
            delay = self.reconnector.lost(text_of(error), self._now(), random(), hopeless=is_hopeless(error))
        else:
            hopeless = is_hopeless(error)
            delay = self.reconnector.failed(text_of(error), self._now(), random(), hopeless=hopeless)
        self._session = self._hub = None
        if delay < 0:
            self._finish(error)
            self._host.backbone = None
            return
        self._remark(f"{text_of(error)}; it is tried again")
        self._after(delay, self._try)
        self._tell()

    def _end_streams(self) -> None:
        if self._hub is not None:
            self._hub.lose_all("the NATS servers were lost")

    # What this side has

    def noticed(self, event: events.Event) -> None:
        """The core says that something is other than it was."""
        if self._over:
            return
        kind = event.kind
        if kind == events.FABRIC_ASKED:
            asked = cast(events.FabricEvent, event)
            self._asked(asked.uuid, asked.name)
        elif kind in (events.ENDPOINT_UP, events.ENDPOINT_DOWN):
            entry = cast(events.EndpointEvent, event).entry
            self._offer(entry.uuid, entry.name)
        elif kind in (events.NODE_UP, events.NODE_DOWN):
            self._offer(cast(events.NodeEvent, event).peer.node_id, "")

    def _offer_all(self) -> None:
        """All that there is, said on a connection that is new."""
        self._offered.clear()
        self._patterns.clear()
        for entry in [*self._node.own_entries(), *self._node.entries()]:
            self._offer(entry.uuid, entry.name)
        for peer in [self._node.me, *self._node.peers()]:
            self._offer(peer.node_id, "")

    def _has(self, uuid: bytes) -> bool:
        if uuid in (codes.INTROSPECTION, codes.LOOKUP, codes.PATTERNS):
            return False
        if self._lookups.held(uuid):
            return True
        known = uuid == self._node.node_id or uuid in self._node.routes.peers
        return known and self._lookups.is_inside(uuid)

    def _offer(self, uuid: bytes, name: str) -> None:
        """Answer questions for it from now on, if this side has it; or no longer."""
        hub = self._hub
        if hub is None or not self._node_is_gateway():
            return
        has = self._has(uuid)
        if has == (uuid in self._offered):
            return
        if not has:
            hub.leave(subjects.who(uuid))
            self._withdraw_pattern(hub, self._offered.pop(uuid))
            self._patterns.pop(uuid, None)
            return
        hub.listen(subjects.who(uuid))
        hub.tell(subjects.new(uuid), self._node.node_id)
        where = ""
        if is_proper(name):
            where = subjects.pattern(name)
            if where not in self._offered.values():
                hub.listen(where)
            self._patterns[uuid] = name
            hub.tell(subjects.PATTERN, self._node.node_id + name.encode())
        self._offered[uuid] = where

    def _withdraw_pattern(self, hub: Hub, where: str) -> None:
        if where and where not in self._offered.values():
            hub.leave(where)

    def _node_is_gateway(self) -> bool:
        return self.reconnector.attempt > 0 and not self._over

    # Questions of this side

    def _asked(self, uuid: bytes, name: str) -> None:
        """Somebody here asks for what nobody here has."""
        hub = self._hub
        if hub is None or self.reconnector.state != CONNECTED:
            return  # it waits as long as for anybody who does not answer
        if name:
            self._note_name(hub, name, uuid)
        now = self._now()
        silent_until = self._heard.pop(uuid, -1.0)
        if silent_until < 0:
            hub.listen(subjects.new(uuid))
            if len(self._heard) >= _ASKED_MAX:
                oldest = next(iter(self._heard))
                del self._heard[oldest]
                hub.leave(subjects.new(oldest))
        self._heard[uuid] = max(0.0, silent_until)
        if silent_until > now:
            self._lookups.done(uuid, self._host.now_ms())
            return
        if not self._is_open(uuid):
            self._ask(hub, uuid, name)

    def _note_name(self, hub: Hub, name: str, uuid: bytes) -> None:
        if not self._names:
            hub.listen(subjects.PATTERN)
        if name not in self._names and len(self._names) >= _NAMES_MAX:
            del self._names[next(iter(self._names))]
        self._names[name] = uuid

    def _is_open(self, uuid: bytes) -> bool:
        """Whether it has just been asked for, and nobody has said anything."""
        return any(
            self._now() - self._questions[number][1] < _PATIENCE_S
            for number in self._open.get(uuid, ())
            if number in self._questions
        )

    def _ask(self, hub: Hub, uuid: bytes, name: str) -> None:
        """Ask who has it, and of an endpoint with a name who has patterns that mean it."""
        self._open[uuid] = set()
        node_id = self._node.node_id
        self._ask_at(hub, subjects.who(uuid), uuid, node_id)
        if name:
            self._ask_at(hub, subjects.name(name), uuid, node_id + name.encode())

    def _ask_at(self, hub: Hub, where: str, uuid: bytes, data: bytes) -> None:
        self._number += 1
        self.counters["asked"] += 1
        now = self._now()
        while self._questions:  # too old ones
            number, (other, since) = next(iter(self._questions.items()))
            if len(self._questions) < _ASKED_MAX and now - since < _QUESTION_S:
                break
            del self._questions[number]
            self._is_last(other, number)
        self._questions[self._number] = (uuid, now)
        self._open[uuid].add(self._number)
        hub.ask(where, data, self._number)

    def _is_last(self, uuid: bytes, number: int) -> bool:
        """A question is over; whether it was the last that is open for what it asks."""
        numbers = self._open.get(uuid, set())
        if number not in numbers:
            return False
        numbers.discard(number)
        if not numbers:
            del self._open[uuid]
        return not numbers

    def answered(self, number: int, data: bytes, nobody: bool) -> None:
        """An answer: a gateway's id, and what it is to be asked for; or nobody is there."""
        if number not in self._questions or self._over:
            return
        uuid = self._questions[number][0]
        if nobody:
            del self._questions[number]
            if self._is_last(uuid, number):
                if uuid in self._heard:
                    self._heard[uuid] = self._now() + _SILENT_S
                self._lookups.done(uuid, self._host.now_ms())
            return
        self._open.pop(uuid, None)
        if len(data) == 2 * _ID_SIZE and data[_ID_SIZE:] in (uuid, codes.PATTERNS):
            self._meet(data[:_ID_SIZE], data[_ID_SIZE:], uuid)

    def _ask_again(self) -> None:
        """Servers were lost: news may have been, too."""
        hub = self._hub
        assert hub is not None
        for uuid in self._heard:
            self._heard[uuid] = 0.0
        names = {uuid: name for name, uuid in self._names.items()}
        for uuid in [*self._heard][-_ANEW_MAX:]:
            self._ask(hub, uuid, names.get(uuid, ""))
        for uuid in self._offered:
            hub.tell(subjects.new(uuid), self._node.node_id)

    # Questions of others

    def heard(self, where: str, data: bytes, reply: str) -> None:
        """A question, or news."""
        other = data[:_ID_SIZE]
        if len(other) < _ID_SIZE or self._hub is None or self._over or other == self._node.node_id:
            return
        if where.startswith(subjects.WHO):
            uuid = subjects.uuid_in(where)
            if uuid in self._offered:
                self._answer(reply, uuid)
        elif where.startswith(subjects.NAME):
            name = data[_ID_SIZE:].decode(errors="replace")
            if any(matches(pattern, name) for pattern in self._patterns.values()):
                self._answer(reply, codes.PATTERNS)
        elif where.startswith(subjects.NEW):
            uuid = subjects.uuid_in(where)
            if uuid in self._heard:
                self.counters["news"] += 1
                self._heard[uuid] = 0.0
                self._meet(other, uuid, uuid)
        elif where == subjects.PATTERN:
            self._heard_pattern(other, data[_ID_SIZE:])

    def _heard_pattern(self, other: bytes, data: bytes) -> None:
        pattern = data.decode(errors="replace")
        proper = len(data) <= codes.TEXT_SIZE_MAX and is_proper(pattern)
        if proper and any(matches(pattern, name) for name in self._names):
            self.counters["news"] += 1
            self._meet(other, codes.PATTERNS, codes.PATTERNS)

    def _answer(self, reply: str, what: bytes) -> None:
        assert self._hub is not None
        self.counters["answered"] += 1
        self._hub.reply(reply, self._node.node_id + what)

    # Other gateways

    def _meet(self, node_id: bytes, what: bytes, asked: bytes) -> None:
        """A gateway has something: ask it over its link, which is made if there is none."""
        if self._lookups.is_inside(node_id):
            self._lookups.done(asked, self._host.now_ms())
            return
        far = self._far.get(node_id)
        if far is None:
            if len(self._far) >= LINKS_MAX and not self._make_room():
                self._remark(f"links with {LINKS_MAX} gateways are open: no more are made")
                return
            far = self._far[node_id] = Far(self, node_id)
            far.used_at = self._now()
        if what not in far.wanted and len(far.wanted) >= _WANTED_MAX:
            del far.wanted[next(iter(far.wanted))]
        far.wanted[what] = None
        if self._lookups.found(node_id, what, self._host.now_ms()):
            self._lookups.done(asked, self._host.now_ms())
        elif far.link is None:
            self._dial(far)

    def _make_room(self) -> bool:
        """Forget a gateway that there is no link with, or that was not used for longest."""
        without = [far for far in self._far.values() if far.link is None]
        far = without[0] if without else min(self._far.values(), key=lambda each: each.used_at)
        if far.link is not None:
            if self._now() - far.used_at < _LOOK_S:
                return False
            far.link.connection.close(self._host.now_ms())
        del self._far[far.node_id]
        return True

    def _dial(self, far: Far) -> None:
        opening = sum(1 for each in self._far.values() if each.link is not None and each.link.is_stranger)
        if self._hub is None or self._over or opening >= _OPENING_MAX:
            return
        self._run(self._hub.dial(far.node_id), far)

    def _run(self, channel: NatsChannel, far: Far) -> None:
        try:
            runner = self._host.run_link(channel, self._terms, far)
        except Exception as error:  # noqa: BLE001 - the others go on
            channel.close()
            self._remark(text_of(error))
            return
        far.link = runner
        runner.on_settled = partial(self._settled, far, runner)

    def reached(self, channel: NatsChannel) -> None:
        """Another gateway makes a link with this one."""
        incoming = self._host.incoming.admit(channel.address, self._host.loop.time())
        if incoming is None or self._over:
            channel.close()
            return
        try:
            runner = self._host.run_link(channel, self._terms)
        except Exception as error:  # noqa: BLE001 - the others go on
            channel.close()
            self._remark(text_of(error))
            return
        incoming.waits = lambda: runner.is_stranger
        incoming.turn_away = runner.close

    def _settled(self, far: Far, runner: LinkRunner) -> None:
        """The link is open, or never will be."""
        if runner is not far.link:
            return
        if runner.connection.close_code >= 0:
            return
        far.tries = 0
        now = self._host.now_ms()
        for what in list(far.wanted):
            self._lookups.found(far.node_id, what, now)
            self._lookups.done(what, now)
        if codes.PATTERNS in far.wanted:
            for uuid in self._names.values():
                self._lookups.done(uuid, now)

    def link_ended(self, far: Far, runner: LinkRunner) -> None:
        """A link of ours is over: it is made anew if it was lost, as what it led to is in use."""
        if runner is not far.link:
            return
        far.link = None
        code = runner.connection.close_code
        if self._over or self._far.get(far.node_id) is not far:
            return
        if code in (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED) or far.tries >= len(_AGAIN_S):
            if code == codes.GOODBYE or far.tries >= len(_AGAIN_S):
                del self._far[far.node_id]
            return
        self.counters["lost"] += 1
        if code != codes.LOST:
            self._remark(f"{runner.connection.link.address}: {runner.connection.close_text}")
        delay = _AGAIN_S[far.tries] * (0.5 + random() / 2)
        far.tries += 1
        self._after(delay, partial(self._again, far))

    def _again(self, far: Far) -> None:
        if self._far.get(far.node_id) is far and far.link is None:
            self._dial(far)

    def _look(self) -> None:
        """Once a minute: give up links that nobody uses."""
        now = self._now()
        for far in list(self._far.values()):
            channel = None if far.link is None else cast(NatsChannel, far.link.channel)
            if channel is not None and channel.used != far.used:
                far.used, far.used_at = channel.used, now
            elif channel is not None and far.link is not None and now - far.used_at >= IDLE_S:
                far.link.connection.close(self._host.now_ms())
        self._after(_LOOK_S, self._look)

    # Small things

    def _after(self, delay: float, function: Any) -> None:
        timer: Any = None

        def fire() -> None:
            self._timers.discard(timer)
            if not self._over:
                function()

        timer = self._host.loop.call_later(delay, fire)
        self._timers.add(timer)

    def _remark(self, text: str) -> None:
        """Each trouble once, until the cluster is reached anew."""
        if text not in self._warned:
            if len(self._warned) >= 64:
                del self._warned[next(iter(self._warned))]
            self._warned[text] = None
            self._host.remark(logging.WARNING, "%s: %s", self.place.name, text)

    def _resolve(self, failure: BaseException | None) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
                future.exception()  # whoever waited may have been cancelled

    @staticmethod
    def _time(host: BusHost) -> float:
        return host.now_ms() / 1000

    def _now(self) -> float:
        return self._host.now_ms() / 1000

    def _tell(self) -> None:
        info = self.info()
        self._host.tell(Change("link-state", info, 0, info.error))


def _now(callback: Any) -> None:
    callback()


def connect(host: BusHost, url: str, options: Options) -> Backbone:
    """The backbone at a URL: the one that there is, if it was asked for alike. Raises ValueError."""
    if host.node.leaf:
        raise ValueError("a leaf cannot be a gateway: open the bus without leaf=True")
    if options.terms.realm not in (None, "global"):
        raise ValueError(f'a backbone is of realm "global", not {options.terms.realm!r}')
    former = host.backbone
    if former is not None:
        if former.url == url and former.options.same(options):
            return cast(Backbone, former)
        raise ValueError(f"this bus has a backbone, {former.place.name}: close it first")
    return Backbone(host, url, options)
