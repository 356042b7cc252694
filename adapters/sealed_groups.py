"""Keys of what is published sealed: those of this bus, handed over to its readers, and those that it was
handed. A key is for the readers of one endpoint of one publisher; it ends when one leaves, and is stepped on
when one joins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from busway.adapters.making import OFFERS_NAME
from busway.adapters.results import error_of
from busway.adapters.sealed_calls import Call, bytes_of
from busway.errors import BusError, RemoteError, SealError
from busway.names import endpoint_id
from busway.protocol import Message, codes, errors, events
from busway.sealing import SESSION_SIZE, STEPS_MAX, Content, GroupKey, Published, published

if TYPE_CHECKING:
    from busway.adapters.sealed import Sealing

OFFERS = endpoint_id(OFFERS_NAME)
RENEW_MS = 600_000  # who subscribes is not seen from everywhere, so keys of those end by themselves
ASK_AGAIN_MS = 1000
KEYS_MAX = 4096  # that were handed to this bus
FORMER_MAX = 8  # of one publisher and endpoint, for receivers that lag behind
HELD_MAX = 64  # messages of one receiver that wait for a key
HELD_SIZE_MAX = 4 * 1024 * 1024  # ... and what they have together, in bytes, if it is more than one
_STRIDE = 32  # generations between the keys that are kept on the way to the one that is wanted
_ASK_TIMEOUT_MS = 10_000


Reader = tuple[bytes, bytes]
"""A node in one incarnation: one that starts anew has left, and joins."""


class Group:
    """The readers of what this bus publishes to one endpoint, each with the key from when it joined; `unseen`
    are those that asked, and are not seen to subscribe: a leaf sees nobody, and a slow link tells of nobody.
    """

    def __init__(self, key: GroupKey, now: int) -> None:
        self.key = key
        self.first = self.key
        self.members: dict[Reader, GroupKey] = {}
        self.unseen: dict[Reader, GroupKey] = {}
        self.used = False  # in this generation
        self.renew_at = now + RENEW_MS

    def admit(self, readers: set[Reader]) -> None:
        """These are the readers now, and none of the former is missing."""
        joined = readers - self.members.keys()
        if joined:
            self.step()
        for reader in joined:
            self.members[reader] = self.key

    def step(self) -> None:
        """Go on to the next key: who joins now reads nothing of before."""
        if self.used and self.key.generation < STEPS_MAX:
            self.key = self.key.at(self.key.generation + 1)
            self.used = False

    def of(self, reader: Reader) -> GroupKey | None:
        """The key that a reader has or may have already."""
        return self.members.get(reader) or self.unseen.get(reader)


class Groups:
    """The publisher's side."""

    def __init__(self, host: Any, sealing: Sealing) -> None:
        self._host = host
        self._sealing = sealing
        self._groups: dict[bytes, Group] = {}
        self._former: dict[bytes, list[Group]] = {}  # whose messages may not have been read yet
        self._left: dict[bytes, set[Reader]] = {}  # those that were seen to subscribe, and no more
        self._count = 0

    def seal(self, endpoint: bytes, content: Content) -> bytes:
        """The payload for those who read it now."""
        group = self._current(endpoint)
        group.used = True
        own = self._sealing.own
        return group.key.seal(own.public, endpoint, self._sealing.next_number(), content)

    def _current(self, endpoint: bytes) -> Group:
        now = self._host.now_ms()
        readers = self._readers(endpoint)
        group = self._groups.get(endpoint)
        if group is None or self._is_over(group, readers, now):
            if group is not None:
                former = self._former.setdefault(endpoint, [])
                former[:] = [*former[1 - FORMER_MAX :], group]
                self._note_left(endpoint, group.members.keys() - readers)
            self._count += 1
            key = GroupKey.new(self._sealing.own.session, self._count)
            group = self._groups[endpoint] = Group(key, now)
        group.admit(readers)
        return group

    def _note_left(self, endpoint: bytes, readers: set[Reader]) -> None:
        """... and are still there: of who is gone nothing needs to be known."""
        left = self._left.pop(endpoint, set()) | readers
        still = {reader for reader in left if reader == self._reader(reader[0])}
        if still:
            self._left[endpoint] = still

    def _readers(self, endpoint: bytes) -> set[Reader]:
        """The trusted ones among those who subscribe, as far as that is seen here."""
        holders = self._host.node.directory.holders(endpoint)
        found = {(entry.peer.node_id, entry.peer.incarnation) for entry in holders}
        return {reader for reader in found if self._sealing.circle.find(reader[0]) is not None}

    def _reader(self, node_id: bytes) -> Reader:
        peer = self._host.node.routes.peers.get(node_id)
        return node_id, b"" if peer is None else peer.incarnation

    def _is_seen(self, reader: Reader) -> bool:
        """Whether its endpoints are seen here: who seals has one."""
        return any(entry.peer.node_id == reader[0] for entry in self._host.node.directory.holders(OFFERS))

    def _is_over(self, group: Group, readers: set[Reader], now: int) -> bool:
        if group.key.generation >= STEPS_MAX:
            return True
        if group.unseen and now >= group.renew_at:
            return True
        if any(self._sealing.circle.find(id) is None for id, _ in group.unseen):
            return True
        return not group.members.keys() <= readers

    def hand_over(self, node_id: bytes, wanted: bytes) -> bytes:
        """The key that a reader asks for by endpoint and id, as it may have it; the latest if there is no
        such key, for anybody may have told it of that. Raises RemoteError.
        """
        endpoint, key_id = wanted[:16], wanted[16:]
        group, reader = self._find(endpoint, key_id) or self._groups.get(endpoint), self._reader(node_id)
        key = None if group is None else group.of(reader)
        if key is None and group is not None and group is self._groups.get(endpoint):
            key = self._join(endpoint, group, reader)
        if key is None:
            raise RemoteError(codes.HANDLER_FAILED, "there is no such key any more, or not for this node")
        return key.pack()

    def _join(self, endpoint: bytes, group: Group, reader: Reader) -> GroupKey | None:
        """The key of who has not had it yet, None if it may not have it: from now on if it is seen when it
        subscribes, else of what was published last, for that is what it asks for.
        """
        readers = self._readers(endpoint)
        if reader in readers:
            if self._is_over(group, readers, self._host.now_ms()):
                return None  # it gets that of the next message
            group.admit(readers)
            return group.members[reader]
        if self._is_seen(reader):
            if reader in self._left.get(endpoint, ()):
                return None
            if not any(reader in former.unseen for former in self._former.get(endpoint, ())):
                group.step()  # its subscription is on its way, or kept from this node
        group.unseen[reader] = group.key
        return group.key

    def own_key(self, endpoint: bytes, key_id: bytes, generation: int) -> GroupKey | None:
        """The key for this bus's own receivers."""
        group = self._find(endpoint, key_id)
        if group is None:
            return None
        return (group.key if generation >= group.key.generation else group.first).at(generation)

    def _find(self, endpoint: bytes, key_id: bytes) -> Group | None:
        current = self._groups.get(endpoint)
        known = [*self._former.get(endpoint, []), *([] if current is None else [current])]
        return next((group for group in known if group.key.id == key_id), None)


Latest = dict[bytes, int]
"""Of each run of a publisher the number that came last."""


_ENDED = "has ended, or there is no way to it any more"
_ANOTHER = "has another by now: it has started anew, or readers have come and gone since"


class Wait(Exception):
    """The key is being asked for."""


class _Chain:
    """A key as it was handed over, as it was used last, and some between: anybody may claim any generation,
    and that shall cost no more than a few steps.
    """

    __slots__ = ("_rungs", "first", "latest")

    def __init__(self, first: GroupKey) -> None:
        self.first = self.latest = first
        self._rungs = [first]

    def at(self, generation: int) -> GroupKey:
        """In that generation. Raises SealError."""
        if generation == self.latest.generation:
            return self.latest
        ahead = generation - self.first.generation
        if ahead < 0 or generation > STEPS_MAX:
            return self.first.at(generation)
        while ahead // _STRIDE >= len(self._rungs):
            rung = self._rungs[-1]
            self._rungs.append(rung.at(rung.generation + _STRIDE))
        return self._rungs[ahead // _STRIDE].at(generation)


class _Held:
    """The keys of one publisher for one endpoint, as far as they are known."""

    __slots__ = ("asking", "failed", "failed_at", "keys", "taken", "waiting", "why")

    def __init__(self) -> None:
        self.keys: dict[bytes, _Chain] = {}
        self.taken: Latest = {}  # by any receiver
        self.asking = False  # or was, in vain, so short ago that nothing else is asked for yet
        self.failed = b""  # the key that was asked for last in vain, and when that was known
        self.failed_at = 0
        self.why = ""  # it was in vain, for people
        self.waiting: dict[Any, bool] = {}  # what to wake

    def add(self, key: GroupKey) -> None:
        """One was handed over."""
        if key.id in self.keys:
            return
        if len(self.keys) > FORMER_MAX:
            del self.keys[next(iter(self.keys))]
        self.keys[key.id] = _Chain(key)

    def is_vain(self, key_id: bytes, arrived: int) -> bool:
        """Whether a key was not to be had when a message that had arrived by then needed it."""
        return key_id == self.failed and arrived <= self.failed_at

    def took(self, latest: Latest, head: Published) -> None:
        """A receiver, that has had `latest`, has taken a message. Runs that are over are kept while there are
        keys of theirs.
        """
        for known in (self.taken, latest):
            known[head.session] = max(head.number, known.get(head.session, 0))
            if len(known) > 1:
                runs = {key_id[:SESSION_SIZE] for key_id in self.keys}
                for session in known.keys() - runs:
                    del known[session]


class Keyring:
    """The reader's side: keys of others, each with its publisher's id and the endpoint."""

    def __init__(self, host: Any, sealing: Sealing) -> None:
        self._host = host
        self._sealing = sealing
        self._keys: dict[tuple[bytes, bytes], _Held] = {}

    def open(self, message: Message, public: bytes, tag: Any, had: dict[bytes, Latest]) -> Content:
        """Open a published message for a receiver that has `had` others. Raises SealError; Wait if its key
        was asked for, and `tag` is to be woken.
        """
        head = published(message.payload)
        latest = had.get(message.source, {})
        if head.number <= latest.get(head.session, 0):
            raise SealError("it came before, or a later one did")
        key = self._find(message, head, tag)
        content = key.open(public, message.endpoint, message.payload)
        held = self._keys.get((message.source, message.endpoint))
        had[message.source] = latest
        if held is None:  # its own
            latest[head.session] = head.number
        else:
            held.took(latest, head)
            held.keys[head.key_id].latest = key
        return content

    def taken(self, endpoint: bytes) -> dict[bytes, Latest]:
        """The latest that receivers of an endpoint have had so far: for another none of that is new."""
        return {source: dict(held.taken) for (source, of), held in self._keys.items() if of == endpoint}

    def _find(self, message: Message, head: Published, tag: Any) -> GroupKey:
        source, endpoint = message.source, message.endpoint
        if source == self._host.node.node_id:
            own = self._sealing.groups.own_key(endpoint, head.key_id, head.generation)
            if own is None:
                raise SealError("it is of a key that this program has no more")
            return own
        held = self._keys.get((source, endpoint)) or self._new(source, endpoint)
        if head.key_id in held.keys:
            return held.keys[head.key_id].at(head.generation)
        if held.is_vain(head.key_id, message.arrived):
            raise SealError(f"its key is not to be had: {self._whose(source)} {held.why}")
        if not held.asking:
            self._ask(held, source, endpoint, head.key_id)
            if not held.asking:
                raise SealError(f"its key cannot be asked for: {self._whose(source)} {held.why}")
        held.waiting[tag] = True
        raise Wait

    def _new(self, source: bytes, endpoint: bytes) -> _Held:
        if len(self._keys) >= KEYS_MAX:
            idle = [where for where, held in self._keys.items() if not held.asking]
            if not idle:
                raise SealError("too many keys are being asked for")
            # Anybody may claim keys that there are not: those do not take the place of others.
            del self._keys[next((where for where in idle if not self._keys[where].keys), idle[0])]
        held = self._keys[source, endpoint] = _Held()
        return held

    def _ask(self, held: _Held, source: bytes, endpoint: bytes, key_id: bytes) -> None:
        held.asking = True

        def ended(key: GroupKey | None, why: str) -> None:
            """Anybody between may claim keys that there are not. So they are asked for slowly, and what waits
            for another goes on waiting, unless that came instead.
            """
            if key is not None:
                held.add(key)
            if key is None or key.id != key_id:
                held.failed, held.failed_at = key_id, self._host.now_ms()
                peer = self._host.node.routes.peers.get(source)
                held.why = why if peer is not None and peer.reachable else _ENDED
                if self._host.failure is None:
                    self._host.loop.call_later(ASK_AGAIN_MS / 1000, free)
                    self._awake(held)
                    return
            free()

        def free() -> None:
            held.asking = False
            self._awake(held)

        _Driven(self._host, self._asking(source, endpoint + key_id), ended).go(None)

    def _whose(self, source: bytes) -> str:
        """The publisher, for people."""
        trusted = self._sealing.circle.find(source)
        return "who published it" if trusted is None else f"{trusted.name}, who published it,"

    def _awake(self, held: _Held) -> None:
        waiting, held.waiting = held.waiting, {}
        for tag in waiting:
            tag._wake()

    def _asking(self, source: bytes, wanted: bytes) -> Generator[int, events.Outcome, GroupKey]:
        content = Content(wanted, codes.RAW, b"")
        call = Call(self._host, OFFERS_NAME, OFFERS, content, True, source, 0, _ASK_TIMEOUT_MS)
        yield from call.finding()
        outcome = call.opened((yield call.request(0)))
        if outcome.status != events.REPLIED:
            raise error_of(outcome, OFFERS_NAME)
        return GroupKey.unpack(bytes_of(outcome.payload))

    def expect(self, message: Message, tag: Any) -> None:
        """Ask for the key of a message that will be read."""
        with contextlib.suppress(SealError, Wait):
            if self._sealing.circle.find(message.source) is not None:
                self._find(message, published(message.payload), tag)

    def is_asking(self, message: Message) -> bool:
        """Whether the key of a message may be on its way."""
        held = self._keys.get((message.source, message.endpoint))
        key_id = published(message.payload).key_id
        if held is None or not held.asking or key_id in held.keys:
            return False
        return not held.is_vain(key_id, message.arrived)


class _Driven:
    """Runs a generator that yields tokens, where nobody waits for it: the waiter for each outcome."""

    def __init__(
        self,
        host: Any,
        steps: Generator[int, events.Outcome, GroupKey],
        ended: Callable[[GroupKey | None, str], None],
    ) -> None:
        self._host = host
        self._steps = steps
        self._ended = ended

    def go(self, outcome: Any) -> None:
        try:
            token = self._steps.send(outcome)
        except StopIteration as found:
            self._ended(found.value, _ANOTHER)
        except RemoteError as error:
            self._ended(None, f"says: {error.message}")
        except (BusError, errors.LocalError) as error:
            self._ended(None, f"was asked in vain: {error}")
        else:
            self._host.await_outcome(token, self)

    def done(self) -> bool:
        """It takes what comes."""
        return False

    set_result = go
