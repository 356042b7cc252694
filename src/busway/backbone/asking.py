"""Questions of a gateway on NATS, and its answers: what its side has is offered there; what nobody on its
side has is asked for, and news of it are heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from busway.adapters.retrying import CONNECTED
from busway.backbone import subjects
from busway.backbone.cluster import Cluster
from busway.protocol import codes, events
from busway.protocol.wire.patterns import is_proper, matches

if TYPE_CHECKING:
    from busway.adapters.dialled import Options
    from busway.adapters.host import BusHost
    from busway.drivers.nats import Hub

ID_SIZE: Final = codes.ID_SIZE
_ASKED_MAX: Final = 4096  # questions that are still open, and uuids of which news are heard
_NAMES_MAX: Final = 4096  # that are published by on this side
_SILENT_S: Final = 10.0  # so long nobody is asked again who was not there; who comes says so at once
_QUESTION_S: Final = 5.0  # so long answers to one are taken
_PATIENCE_S: Final = 1.0  # so long it is not asked again that nobody has answered
_RECENT_S: Final = 60.0
_ANEW_MAX: Final = 1024  # of these as many are asked again when servers were lost


class Asking(Cluster):
    """A side of a backbone that asks and answers."""

    def __init__(self, host: BusHost, url: str, options: Options) -> None:
        super().__init__(host, url, options)
        self._offered: dict[bytes, str] = {}  # what this side has, and the subject of a pattern
        self._patterns: dict[bytes, str] = {}  # ... of these what is a pattern
        # What was asked for, whose news are heard: until when it is known that nobody has it.
        self._heard: dict[bytes, float] = {}
        self._asked_at: dict[bytes, float] = {}  # ... and when it was asked for last
        self._names: dict[str, bytes] = {}  # names by which this side publishes
        self._questions: dict[int, tuple[bytes, float]] = {}
        self._open: dict[bytes, set[int]] = {}  # of each uuid those that nobody has answered yet
        self._number = 0

    def _meet(self, node_id: bytes, what: bytes, asked: bytes) -> None:
        """A gateway has something."""
        raise NotImplementedError

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
                self._asked_at.pop(oldest, None)
                hub.leave(subjects.new(oldest))
        self._heard[uuid] = max(0.0, silent_until)
        self._asked_at[uuid] = now
        if silent_until > now:
            self._lookups.done(uuid, self._host.now_ms())
            return
        if not self._is_open(uuid):
            self._ask(hub, uuid, name)

    def _ask_recent(self) -> None:
        """Somebody may wait for what was asked for a while ago; an answer, or news, may have been lost."""
        since = self._now() - _RECENT_S
        known = self._node.directory.is_known
        names = {uuid: name for name, uuid in self._names.items()}
        for uuid, at in list(self._asked_at.items()):
            if at < since or uuid not in self._heard:
                del self._asked_at[uuid]
            elif not known(uuid) and self._hub is not None and not self._is_open(uuid):
                self._ask(self._hub, uuid, names.get(uuid, ""))

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
        if (
            nobody
        ):  # which anybody may say who has seen the question: who does have it is believed all the same
            if self._is_last(uuid, number):
                if uuid in self._heard:
                    self._heard[uuid] = self._now() + _SILENT_S
                self._lookups.done(uuid, self._host.now_ms())
            return
        self._open.pop(uuid, None)
        if uuid in self._heard:
            self._heard[uuid] = 0.0
        if len(data) == 2 * ID_SIZE and data[ID_SIZE:] in (uuid, codes.PATTERNS):
            self._meet(data[:ID_SIZE], data[ID_SIZE:], uuid)

    def _anew(self) -> None:
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
        other = data[:ID_SIZE]
        if len(other) < ID_SIZE or self._hub is None or self._over or other == self._node.node_id:
            return
        if where.startswith(subjects.WHO):
            uuid = subjects.uuid_in(where)
            if uuid in self._offered:
                self._answer(reply, uuid)
        elif where.startswith(subjects.NAME):
            if len(data) > ID_SIZE + codes.TEXT_SIZE_MAX:  # no name: to compare it could take seconds
                return
            name = data[ID_SIZE:].decode(errors="replace")
            if any(matches(pattern, name) for pattern in self._patterns.values()):
                self._answer(reply, codes.PATTERNS)
        elif where.startswith(subjects.NEW):
            uuid = subjects.uuid_in(where)
            if uuid in self._heard:
                self.counters["news"] += 1
                self._heard[uuid] = 0.0
                self._meet(other, uuid, uuid)
        elif where == subjects.PATTERN:
            self._heard_pattern(other, data[ID_SIZE:])

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
