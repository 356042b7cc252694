"""Deliveries to consumers that acknowledge them: of the mail of one name, or of a durable subscription, which
several consumers share.

What a consumer is sent is numbered in its session; it takes the numbers in order, and says which are done.
What it has when it is lost is delivered again, in order; the first of it, at which it may have been lost,
counts a try. Sans-IO: changes of the state are returned, and made by the service.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Protocol

from busway.store.records import BATCH_MAX, BATCH_SIZE, MAIL, Delivered, pause_ms
from busway.store.tables import Change, Durable, Entry, Mark, Tables

LOAD_MAX = 1024  # messages of a queue that are in memory, at the least those that are on their way
LOAD_SIZE = 64 << 20  # bytes of payload of all queues that are in memory; each has one message all the same
_DONE_MAX = 4096  # of a durable, done while one before them is not
_LATE_MAX = 1024  # deliveries of a session whose time is over, and which may be done all the same
GIVE_UP = -1


class Budget:
    """The bytes that all queues of a store have in memory."""

    def __init__(self, most: int = LOAD_SIZE) -> None:
        self.most = most
        self.used = 0


class Source(Protocol):
    """The place where the messages of a queue are, and the changes that are made there."""

    title: str
    tries: int
    first: list[Entry]  # from before where it begins, to be tried again

    def read(self, tables: Tables, after: int, count: int) -> tuple[list[Entry], int]: ...

    def done(self, queue: Queue, positions: list[int]) -> list[Change]: ...

    def trouble(self, entry: Entry, tries: int, due: int, dead: str) -> Change: ...


class MailSource:
    """The mail of one name: what is done is removed."""

    def __init__(self, endpoint: bytes, title: str, tries: int) -> None:
        self.endpoint = endpoint
        self.title = title
        self.tries = tries
        self.first: list[Entry] = []

    def read(self, tables: Tables, after: int, count: int) -> tuple[list[Entry], int]:
        found = tables.mail(self.endpoint, (MAIL, MAIL), after, count)
        return found, found[-1].pos if found else after

    def done(self, queue: Queue, positions: list[int]) -> list[Change]:
        return [("remove", positions)]

    def trouble(self, entry: Entry, tries: int, due: int, dead: str) -> Change:
        return ("trouble", entry.pos, tries, due, dead)


class DurableSource:
    """A durable subscription: what is done is told by a position, and marks behind it."""

    def __init__(self, tables: Tables, durable: Durable) -> None:
        self.durable = durable
        self.title = durable.name
        self.tries = durable.tries
        self._marks = {mark.pos: mark for mark in tables.marks(durable.name)}
        self.ahead_done = {mark.pos for mark in self._marks.values() if mark.done or mark.dead}
        self._marked = {mark.pos for mark in self._marks.values() if not mark.done}
        again = [m.pos for m in self._marks.values() if m.pos <= durable.floor and not (m.done or m.dead)]
        found = [tables.entry(pos) for pos in again]
        self.first = [entry for entry in found if entry is not None]

    def read(self, tables: Tables, after: int, count: int) -> tuple[list[Entry], int]:
        if len(self.ahead_done) >= _DONE_MAX:
            return [], after
        found, reached = tables.published(self.durable.pattern, after, count, scan=LOAD_MAX)
        fresh = []
        for entry in found:
            mark = self._marks.pop(entry.pos, None)
            if mark is None:
                fresh.append(entry)
            elif not (mark.done or mark.dead):
                fresh.append(entry._replace(tries=mark.tries, due=mark.due))
        return fresh, reached

    def done(self, queue: Queue, positions: list[int]) -> list[Change]:
        floor = queue.floor()
        said = self._marked | queue.revived
        marks = [Mark(pos, 1, 0, 0, "") for pos in positions if pos > floor or pos in said]
        self._marked.difference_update(positions)
        self.ahead_done.update(positions)
        self.ahead_done = {pos for pos in self.ahead_done if pos > floor}
        queue.revived.difference_update(positions)
        return [("progress", self.durable.name, floor, marks)]

    def trouble(self, entry: Entry, tries: int, due: int, dead: str) -> Change:
        self._marked.add(entry.pos)
        if dead:
            self.ahead_done.add(entry.pos)
        return ("progress", self.durable.name, 0, [Mark(entry.pos, 0, tries, due, dead)])


class Delivery:
    """A message that a consumer has, or is to have."""

    __slots__ = ("deadline", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.deadline = 0.0  # of the time that its program has for it; 0: it was not given it yet


class Session:
    """A consumer. `node` and `to` say where it is."""

    def __init__(self, queue: Queue, ident: bytes, node: bytes, to: bytes, ahead: int) -> None:
        self.queue = queue
        self.id = ident
        self.node = node
        self.to = to
        self.ahead = ahead
        self.visibility = 0.0  # seconds that its program has for a message; 0: as long as it takes
        self.heard = 0.0  # when it was heard last
        self.lost = False
        self.turn = 0  # when it was given the last: who has waited longest is next
        self.next = 0  # the number of the next delivery
        self.sent = 0  # up to which they were sent
        self.has: dict[int, Delivery] = {}
        self.late: dict[int, int] = {}  # places of those that its program had for too long

    def room(self) -> int:
        return 0 if self.lost else self.ahead - len(self.has)

    def give(self, entry: Entry) -> None:
        self.has[self.next] = Delivery(entry)
        self.next += 1

    def batch(self) -> tuple[int, list[Delivered]]:
        """The next deliveries to be sent, and the number of the first."""
        while self.sent < self.next and self.sent not in self.has:
            self.sent += 1
        first, size = self.sent, 0
        found: list[Delivered] = []
        while self.sent in self.has and len(found) < BATCH_MAX:
            entry = self.has[self.sent].entry
            size += len(entry.payload)
            if found and size > BATCH_SIZE:
                break
            found.append(delivered(entry))
            self.sent += 1
        return first, found

    def again_from(self, number: int) -> None:
        """It has missed what was sent from there on."""
        if 0 <= number < self.sent:
            self.sent = number


def delivered(entry: Entry) -> Delivered:
    return Delivered(
        entry.id,
        entry.name,
        entry.endpoint,
        entry.source,
        entry.label,
        entry.format,
        entry.type_id,
        entry.payload,
        entry.priority,
        entry.stored,
        entry.pos,
        entry.tries,
    )


class Queue:
    """The messages of a source, and the consumers that share them. Times in seconds, `due` of entries in ms
    since 1970.
    """

    def __init__(self, source: Source, tables: Tables, budget: Budget, after: int = 0) -> None:
        self.source = source
        self.sessions: list[Session] = []
        self._tables = tables
        self._budget = budget
        self._ready: list[tuple[int, int]] = []  # priority, lower first, and place
        self._waiting: list[tuple[int, int]] = []  # until when in ms, and place
        self._known: dict[int, Entry] = {}  # all that is in memory and not done
        self._given: set[int] = set()  # of these, what consumers have
        self._after = after
        self._turn = 0
        self._behind = True  # there may be more that is not in memory
        self.revived: set[int] = set()  # places at which it was before, that are tried again
        for entry in source.first:
            self.revive(entry)

    # State

    def floor(self) -> int:
        """The place up to which all is done."""
        open_now = self._known.keys() - self.revived if self.revived else self._known.keys()
        return min(open_now) - 1 if open_now else self._after

    @property
    def loaded(self) -> int:
        return len(self._known)

    def next_due(self) -> int:
        """The time at which the next is tried again, in ms; 0 for none."""
        return self._waiting[0][0] if self._waiting else 0

    # Messages

    def arrived(self) -> None:
        """There may be new ones."""
        self._behind = True

    def pump(self, now_ms: int) -> list[Session]:
        """Give consumers what there is; returns those that have something to be sent."""
        self._fill(now_ms)
        found: dict[int, Session] = {}
        while self._ready:
            open_to = [each for each in self.sessions if each.room() > 0]
            if not open_to:
                break
            _, pos = heapq.heappop(self._ready)
            entry = self._known.get(pos)
            if entry is None or pos in self._given:
                continue
            if entry.is_over(now_ms):
                self.gone(pos)  # it is removed soon
                continue
            session = min(open_to, key=lambda each: (len(each.has), each.turn))
            self._turn += 1
            session.turn = self._turn
            session.give(entry)
            self._given.add(pos)
            found[id(session)] = session
            if not self._ready:
                self._fill(now_ms)
        return [*found.values()]

    def _fill(self, now_ms: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ms:
            pos = heapq.heappop(self._waiting)[1]
            if pos in self._known:
                heapq.heappush(self._ready, (-self._known[pos].priority, pos))
        while self._behind and self.sessions and self._has_room():
            entries, reached = self.source.read(self._tables, self._after, LOAD_MAX // 4)
            if not entries and reached == self._after:
                self._behind = False
            for entry in entries:
                self._add(entry, now_ms)
                if not self._has_room():
                    self._after = entry.pos
                    return
            self._after = max(self._after, reached)

    def _has_room(self) -> bool:
        within = len(self._known) < max(LOAD_MAX, sum(each.ahead for each in self.sessions))
        return within and (not self._known or self._budget.used < self._budget.most)

    def _add(self, entry: Entry, now_ms: int) -> None:
        if entry.pos in self._known:
            return
        self._known[entry.pos] = entry
        self._budget.used += entry.size
        if entry.due > now_ms:
            heapq.heappush(self._waiting, (entry.due, entry.pos))
        else:
            heapq.heappush(self._ready, (-entry.priority, entry.pos))

    def revive(self, entry: Entry) -> None:
        """One that was dead, or done with, is to be tried again."""
        if entry.pos <= self._after:
            self.revived.add(entry.pos)
            self._add(entry, 0)

    def gone(self, pos: int) -> None:
        """It was removed, or is done."""
        entry = self._known.pop(pos, None)
        self._given.discard(pos)
        if entry is not None:
            self._budget.used -= entry.size

    def release(self) -> None:
        """Forget all that is in memory: nobody consumes it."""
        for pos in list(self._known):
            self.gone(pos)

    # Consumers

    def done(self, session: Session, runs: Iterable[tuple[int, int]]) -> list[Change]:
        """Numbers from the first to the last of each run are done."""
        positions: list[int] = []
        numbers = sorted({*session.has, *session.late})
        for first, last in runs:
            for number in numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]:
                delivery = session.has.pop(number, None)
                pos = session.late.pop(number, 0) if delivery is None else delivery.entry.pos
                if pos in self._known:
                    positions.append(pos)
                    self.gone(pos)
        return self.source.done(self, positions) if positions else []

    def again(self, session: Session, number: int, pause: int, now_ms: int) -> list[Change]:
        """A consumer could not do one: after `pause` ms it is tried again, or given up."""
        delivery = session.has.pop(number, None)
        if delivery is None or delivery.entry.pos not in self._known:
            return []
        why = "given up by its receiver" if pause == GIVE_UP else ""
        return self._failed(delivery.entry, now_ms, pause, why)

    def held(self, session: Session, number: int, now: float) -> None:
        """The program of a consumer has all before that number: its time for them begins."""
        if session.visibility <= 0:
            return
        for each, delivery in session.has.items():
            if each < number and delivery.deadline == 0:
                delivery.deadline = now + session.visibility

    def overdue(self, session: Session, now: float, now_ms: int) -> list[Change]:
        """Give to another what a program has had for too long."""
        changes: list[Change] = []
        for number in [n for n, each in session.has.items() if 0 < each.deadline <= now]:
            delivery = session.has.pop(number)
            if len(session.late) >= _LATE_MAX:
                del session.late[next(iter(session.late))]
            session.late[number] = delivery.entry.pos
            entry = delivery.entry
            if entry.pos in self._known:  # the first time at once, for it may be this consumer's fault
                changes += self._failed(entry, now_ms, pause_ms(entry.tries) if entry.tries else 0, "")
        return changes

    def lose(self, session: Session, orderly: bool, now_ms: int) -> list[Change]:
        """A consumer is gone: what it has is delivered again. Unless it left in order, the first of it counts
        a try.
        """
        session.lost = True
        if session in self.sessions:
            self.sessions.remove(session)
        left = sorted(each.entry.pos for each in session.has.values() if each.entry.pos in self._known)
        session.has.clear()
        changes: list[Change] = []
        for index, pos in enumerate(left):
            entry = self._known[pos]
            if index == 0 and not orderly:
                changes = self._failed(entry, now_ms, 0, "")
            else:
                self._given.discard(pos)
                heapq.heappush(self._ready, (-entry.priority, pos))
        return changes

    def _failed(self, entry: Entry, now_ms: int, pause: int, dead: str) -> list[Change]:
        tries = entry.tries + 1
        self._given.discard(entry.pos)
        if not dead and tries >= self.source.tries:
            dead = f"tried {tries} times"
        if dead:
            change = self.source.trouble(entry, tries, 0, dead)
            self.gone(entry.pos)
            return [change]
        due = now_ms + pause if pause > 0 else 0
        entry = entry._replace(tries=tries, due=due)
        self._known[entry.pos] = entry
        if due:
            heapq.heappush(self._waiting, (due, entry.pos))
        else:
            heapq.heappush(self._ready, (-entry.priority, entry.pos))
        return [self.source.trouble(entry, tries, due, "")]
