"""Sealed messages of a bus: for whom one is sealed, what is said to a node that asks for it, and what is
taken of what comes. The bytes are sealing.py's; what goes out is a `Call` of sealed_calls.py, or published
with a key of sealed_groups.py.

Imported by a bus that has `seal=` only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from busway import sealing
from busway.adapters.ends import Arrivals
from busway.adapters.identity import Identity
from busway.adapters.literal import text_of
from busway.adapters.replayed import Windows
from busway.adapters.results import error_of
from busway.adapters.sampling import Sampler
from busway.adapters.sealed_calls import LIFETIME_MS, bytes_of
from busway.adapters.sealed_groups import HELD_MAX, HELD_SIZE_MAX, OFFERS, Groups, Keyring, Latest, Wait
from busway.errors import RemoteError, SealError
from busway.keys import Key, id_of_public, looks_like_key, public_text
from busway.names import ascii_safe
from busway.payloads import SEALED, TYPED
from busway.protocol import Message, Request, codes, events
from busway.protocol import Receiver as CoreReceiver
from busway.sealing import Content, Offer, Other, Own
from busway.trust import Trust, Trusted, TrustFile, TrustTable, trust_of

OFFER_AGE_MS = 3_600_000  # after that the clock of the other side is asked for again
GRACE_MS = 2000  # by which clocks may have parted since
_LATEST_MS = LIFETIME_MS + 60_000  # what is to live longer than that is nothing that ours would seal


def trust_in(given: object, known: Trust | None = None) -> Trust:
    """The trust that `seal=` of a bus means: the path of a trust file; keys and names, in a list or as
    `trust=` has them, names of what is `known` by `trust=`, or of this user's trust file. What role they have
    does not matter. Raises TypeError, ValueError, TrustFileError.
    """
    if isinstance(given, (str, os.PathLike)) and not looks_like_key(str(given)):
        return TrustFile(given)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(
            "seal must be the path of a trust file, or a list of keys (busway1…) and names in it, not"
            f" {type(given).__name__ if not isinstance(given, str) else 'one key: write [key]'}"
        )
    roles = given if isinstance(given, Mapping) else dict.fromkeys(given, "leaf")
    table = trust_of(roles, known)
    assert isinstance(table, TrustTable)
    texts = {"".join(who.split()).lower() for who in roles if looks_like_key(who)}
    return TrustTable([_called(each, texts) for each in table.entries])


def _called(trusted: Trusted, texts: set[str]) -> Trusted:
    """Call one who was given by the key by all of it, not by its beginning."""
    text = public_text(trusted.public)
    return trusted._replace(name=text) if text in texts else trusted


class Circle:
    """The nodes that messages are sealed for, and taken from, by their ids. This one is of them. `warn` tells
    people what is wrong with the file since it was changed.
    """

    def __init__(self, key: Key, trust: Trust, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._own = Trusted(key.text, key.public, "")
        self._trust = trust
        self._version = -1
        self._known: dict[bytes, Trusted] = {}

    @property
    def place(self) -> str:
        """Where a key has to be entered, for people."""
        return "this program's seal=" if isinstance(self._trust, TrustTable) else self._trust.place

    def find(self, node_id: bytes) -> Trusted | None:
        """The key that has this id; None if it is not among them."""
        return self._now().get(node_id)

    def named(self, who: str) -> Trusted:
        """The key that has this name or text. Raises SealError."""
        wanted = "".join(who.split()).lower() if looks_like_key(who) else ""
        for each in self._now().values():
            if each.name == who or public_text(each.public) == wanted:
                return each
        raise SealError(f"there is no {who!r} in {self.place}: enter its key, which `busway key show` prints")

    def _now(self) -> dict[bytes, Trusted]:
        version = self._trust.version()
        if version != self._version:
            self._version = version
            if self._trust.trouble is not None:
                self._warn(f"{self._trust.trouble}; what it said before holds until that is mended")
            own = {id_of_public(self._own.public): self._own}
            self._known = own | {id_of_public(each.public): each for each in self._trust.entries}
        return self._known


class Seal(NamedTuple):
    """The seal of a message that came sealed: whose key it was, and what its answers are sealed with, if it
    wants any.
    """

    verified: str
    answers: sealing.Answers | None

    def error(self, code: int, text: str) -> bytes:
        """The payload of an error."""
        assert self.answers is not None
        return self.answers.seal(sealing.ERROR, sealing.pack_error(code, text))


class _Known(NamedTuple):
    """The offer of another node, in which incarnation, and when it showed its clock, ms: in the middle
    between question and answer, as near as can be known (RFC 5905, section 8).
    """

    offer: Offer
    incarnation: bytes
    at: int


class Sealing:
    """The sealed side of a bus. Args: `host` the bus's, `identity` with its key, `given` what `seal=` says.

    Raises TypeError, ValueError, TrustFileError, MissingLibrary.
    """

    def __init__(self, host: Any, identity: Identity, given: object) -> None:
        if identity.key is None or not identity.bound:
            raise ValueError(
                "seal= needs key=, by which others know this node: a file that `busway key new` made"
            )
        trust = trust_in(given, identity.trust)
        self.circle = Circle(identity.key, trust, partial(host.remark, logging.WARNING, "%s"))
        self.own = Own(*identity.key.pair)
        self.refused = 0  # messages that were not taken, for people
        self._host = host
        self._others: dict[bytes, Other] = {}
        self._offers: dict[bytes, _Known] = {}
        self.groups = Groups(host, self)
        self.keyring = Keyring(host, self)
        self._windows = Windows()
        self._recent: dict[bytes, None] = {}  # MACs of what was opened last
        self._numbers = 0
        self._turn = 0
        self._born: int | None = None  # when the clock was looked at first: a loop brings its own
        self._told = Sampler()
        self.end = object()  # what the parts of a sealed answer end with

    def other(self, trusted: Trusted) -> Other:
        """A node whose key is trusted, ready for use. Raises SealError."""
        found = self._others.get(trusted.public)
        if found is None:
            if len(self._others) >= 2 * _OTHERS_MAX:  # of a file that changes all the time
                self._others.clear()
            found = self._others[trusted.public] = Other(self.own, trusted.public)
        return found

    def now(self) -> int:
        """The clock that deadlines are on, ms: of this bus, for how long a machine runs is its own affair."""
        now: int = self._host.now_ms()
        if self._born is None:
            self._born = now
        return now - self._born

    # What is said to those who want to seal

    def answer(self, request: Message) -> bytes:
        """The handler of `busway/seal`: what to seal with, and to who asks sealed a key of what is published.
        Raises RemoteError.
        """
        if request.verified is not None:
            return self.groups.hand_over(request.source, bytes_of(request.payload))
        trusted = self.circle.find(request.source)
        nonce = request.payload
        if trusted is None:
            raise RemoteError(
                codes.HANDLER_FAILED,
                f"node {request.source.hex()} is not among those whose sealed messages are taken: enter its"
                " key in seal= there",
            )
        if not isinstance(nonce, bytes) or len(nonce) != sealing.NONCE_SIZE:
            raise RemoteError(codes.HANDLER_FAILED, f"expected {sealing.NONCE_SIZE} bytes")
        return self.own.offer(self.other(trusted), nonce, self.now())

    # For whom

    def holder(
        self, to: Any, endpoint: bytes, ttl_ms: int, timeout_ms: int
    ) -> Generator[int, events.Outcome, Trusted]:
        """The trusted node that a message to an endpoint goes to: the nearest, equally near ones in turn.
        Raises SealError, Undeliverable.
        """
        holders = self._holders(endpoint)
        if not holders:
            outcome = yield self._host.node.locate(
                endpoint, self._host.now_ms(), timeout_ms=timeout_ms, ttl_ms=ttl_ms
            )
            if outcome.status != events.TRACED:
                raise error_of(outcome, to)
            holders = self._holders(endpoint) or [(0, outcome.node_id)]
        found = [(cost, trusted) for cost, id in holders if (trusted := self.circle.find(id)) is not None]
        if not found:
            raise SealError(f"{text_of(to)}: {self._stranger(holders[0][1])}")
        nearest = [trusted for cost, trusted in found if cost == min(found)[0]]
        self._turn += 1
        return nearest[self._turn % len(nearest)]

    def _holders(self, endpoint: bytes) -> list[tuple[int, bytes]]:
        """The cost of the way to each, and its id."""
        node = self._host.node
        if endpoint in node.receiving.endpoints:
            return [(0, node.node_id)]
        return [
            (entry.peer.metric + entry.cost, entry.peer.node_id) for entry in node.directory.holders(endpoint)
        ]

    def node(self, node_id: bytes) -> Trusted:
        """The key of that node. Raises SealError."""
        trusted = self.circle.find(node_id)
        if trusted is None:
            raise SealError(self._stranger(node_id))
        return trusted

    def _stranger(self, node_id: bytes) -> str:
        peer = self._host.node.routes.peers.get(node_id)
        who = f"node {node_id.hex()}" + (f" ({ascii_safe(peer.label)})" if peer is not None else "")
        if not node_id[0] & codes.BOUND:
            return (
                f"{who} has no key of its own, so nothing can be sealed for it: give its bus key= and seal="
            )
        return (
            f"{who} has a key that is not in {self.circle.place}: enter it, if it may read this, as `busway"
            " key show` prints it there; if it has none to keep, give its bus key= and seal= first"
        )

    # What they offer

    def offer(
        self, to: Any, other: Other, ttl_ms: int, timeout_ms: int
    ) -> Generator[int, events.Outcome, Offer]:
        """The offer that is sealed with for a node, asked for if need be; its time is what its clock shows by
        now. Raises SealError, Undeliverable, RequestTimeout.
        """
        node, now = self._host.node, self._host.now_ms()
        if other.id == node.node_id:
            return self.own.itself(self.now())
        peer = node.routes.peers.get(other.id)
        known = self._offers.get(other.id)
        stale = known is None or now - known.at > OFFER_AGE_MS
        if known is None or stale or peer is None or known.incarnation != peer.incarnation:
            known = yield from self._asked(to, other, ttl_ms, timeout_ms)
        return known.offer._replace(time=known.offer.time + self._host.now_ms() - known.at)

    def _asked(
        self, to: Any, other: Other, ttl_ms: int, timeout_ms: int
    ) -> Generator[int, events.Outcome, _Known]:
        """Asked once more if the answer took long: it may have waited for the node to appear."""
        offer, at, took = yield from self._ask(to, other, ttl_ms, timeout_ms)
        if took > GRACE_MS:
            offer, at, took = yield from self._ask(to, other, 0, timeout_ms)
        peer = self._host.node.routes.peers.get(other.id)
        incarnation = b"" if peer is None else peer.incarnation
        known = self._offers[other.id] = _Known(offer, incarnation, at + took // 2)
        return known

    def _ask(
        self, to: Any, other: Other, ttl_ms: int, timeout_ms: int
    ) -> Generator[int, events.Outcome, tuple[Offer, int, int]]:
        """The offer, when it was asked for, and how long that took, ms."""
        nonce = os.urandom(sealing.NONCE_SIZE)
        now = self._host.now_ms()
        outcome = yield self._host.node.request(
            OFFERS, nonce, now, node_id=other.id, ttl_ms=ttl_ms, timeout_ms=timeout_ms
        )
        if outcome.status != events.REPLIED:
            raise self._no_offer(outcome, to, other)
        return other.read_offer(nonce, bytes_of(outcome.payload)), now, self._host.now_ms() - now

    def _no_offer(self, outcome: events.Outcome, to: Any, other: Other) -> Exception:
        if outcome.status == events.FAILED:
            return SealError(f"{text_of(to)}: {ascii_safe(outcome.text)}")
        if outcome.code == codes.NO_ENDPOINT:
            return SealError(
                f"{text_of(to)}: node {other.id.hex()} takes no sealed messages: give its bus seal="
            )
        return error_of(outcome, to)

    def forget(self, other: Other) -> None:
        """Forget what it offered: it may hold no longer."""
        self._offers.pop(other.id, None)

    def publish(self, endpoint: bytes, content: Content, **options: Any) -> int:
        """As the core's `publish`, sealed for those who read it; the token."""
        payload = self.groups.seal(endpoint, content)
        token: int = self._host.node.publish(endpoint, payload, self._host.now_ms(), TYPED, SEALED, **options)
        return token

    def arrivals(self, core: CoreReceiver) -> Arrivals:
        """The arrivals that wake who waits for a receiver's messages."""
        return SealedArrivals(core, self.keyring) if core.endpoint.kind == codes.BROADCAST else Arrivals(core)

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # What comes

    def is_sealed(self, request: Request) -> bool:
        """Whether its answers are."""
        seal = getattr(request, "seal", None)
        return seal is not None and seal.answers is not None

    def encode_answer(self, request: Request, value: Any) -> tuple[Any, int, bytes]:
        """As that of the host; sealed if the request was."""
        if not self.is_sealed(request):
            return self._host.encode_answer(request, value)  # type: ignore[no-any-return]
        seal = request.seal
        if value is self.end:
            return seal.answers.seal(sealing.END, b""), TYPED, SEALED
        data, format, type_id = self._host.encode_answer(request, value)
        packed = Content(bytes(data) if type(data) is memoryview else data, format, type_id).pack()
        what = sealing.PART if seal.answers.in_parts else sealing.VALUE
        return seal.answers.seal(what, packed), TYPED, SEALED

    def open(self, message: Message, core: CoreReceiver, had: dict[bytes, Latest]) -> None:
        """Put what was sealed in its place; `had` says what the receiver has had of each publisher. Raises
        SealError, with why it is not taken; Wait, if it may be taken later.
        """
        trusted = self.circle.find(message.source)
        if trusted is None:
            raise SealError("the key of its sender is not among those of seal=")  # it may be told: no path
        message.payload = bytes_of(message.payload)
        if core.endpoint.kind == codes.BROADCAST:
            self._open_published(message, core, had, trusted)
            return
        other = self.other(trusted)
        known = sealing.mac_of(message.payload)
        if known in self._recent:  # who repeats it pays more than this node
            raise SealError("it came before")
        address = message.flow.address()  # of each priority the numbers rise by themselves
        opened = self.own.open(other, address, message.payload)
        self._recent[known] = None
        if len(self._recent) > _RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        if opened.what != _wanted(message):
            raise SealError("it was sealed to be answered in another way")
        now = self.now()
        arrived = now - self._host.now_ms() + message.arrived
        if not arrived - GRACE_MS <= opened.deadline <= arrived + _LATEST_MS:
            late = opened.deadline < arrived
            raise SealError("its deadline had passed" if late else "its deadline is too far off")
        alone = len(core.endpoint.receivers) == 1
        where = (trusted.public, opened.session, address)
        if not self._windows.take(where, opened.number, opened.deadline + GRACE_MS, arrived, now, alone):
            raise SealError("it came before, or a later one did")
        answers = sealing.Answers(other.key_from, opened.secret) if opened.secret else None
        message.payload, message.format, message.type_id = opened.content
        message.seal = Seal(trusted.name, answers)

    def _open_published(
        self, message: Message, core: CoreReceiver, had: dict[bytes, Latest], trusted: Trusted
    ) -> None:
        """Each receiver has a copy of its own. Raises SealError, Wait."""
        if isinstance(message, Request):
            raise SealError("it was sealed to be published")
        content = self.keyring.open(message, trusted.public, core.tag, had)
        message.payload, message.format, message.type_id = content
        message.seal = Seal(trusted.name, None)

    def refuse(self, message: Message, why: str) -> None:
        """Tell people, now and then."""
        self.refused += 1
        behind = self._told.take(self._host.now_ms())
        if behind is not None:
            name = message.endpoint_name or message.endpoint.hex()
            who = f"node {message.source.hex()}"
            if (trusted := self.circle.find(message.source)) is not None:
                who += f" ({trusted.name})"
            text = f"a message to {name} that says it comes from {who} was refused: {why}{behind}"
            self._host.remark(logging.WARNING, "%s", text)


def _wanted(message: Message) -> int:
    """The sort that a sender must have sealed, for a message to be taken as what it came as."""
    if not isinstance(message, Request) or message.confirm:
        return sealing.SEND
    return sealing.REQUEST if message.stream is None else sealing.STREAM


class SealedArrivals(Arrivals):
    """As soon as something comes its key is asked for: it may be read when its publisher is gone."""

    def __init__(self, core: CoreReceiver, keyring: Keyring) -> None:
        super().__init__(core)
        self._keyring = keyring

    def _wake(self) -> None:
        queue = self.core.queue
        if queue.items and queue.items[queue.head].type_id == SEALED:
            self._keyring.expect(queue.items[queue.head], self)
        super()._wake()


class Taker:
    """Takes a receiver's messages: sealed ones opened, those that cannot be left out, and with `only` plain
    ones, too.
    """

    def __init__(self, host: Any, core: CoreReceiver, only: bool) -> None:
        self.refused = 0
        self.held: list[Message] = []  # that wait for their key
        self._sealing: Sealing = host.sealing
        self._had = self._sealing.keyring.taken(core.endpoint.uuid)
        self._host = host
        self._take = host.node.receiving.take
        self._core = core
        self._only = only

    def __call__(self, core: CoreReceiver) -> Message | None:
        """The next message of the receiver; None if there is none."""
        if self.held and (found := self._take_held()) is not None:
            return found
        while True:
            message: Message | None = self._take(core)
            if message is None or self._is_taken(message):
                return message

    def _take_held(self) -> Message | None:
        """One whose key has come; those whose key does not come are left out."""
        ready = [each for each in self.held if not self._sealing.keyring.is_asking(each)]
        for message in ready:
            self.held.remove(message)
            if self._is_taken(message):
                return message
        return None

    def _is_taken(self, message: Message) -> bool:
        if message.type_id != SEALED:
            if not self._only:
                return True
            why = "this endpoint takes sealed messages only: send with sealed=True"
        else:
            try:
                self._sealing.open(message, self._core, self._had)
                return True
            except Wait:
                if self._may_hold(message):
                    self.held.append(message)
                    return False
                why = "too much waits for its key"
            except SealError as error:
                why = str(error)
        self.refused += 1
        self._sealing.refuse(message, why)
        if isinstance(message, Request) and not message.confirm:
            self._host.node.respond_error(message, codes.UNREADABLE, why, self._host.now_ms())
        return False

    def _may_hold(self, message: Message) -> bool:
        size = sum(len(bytes_of(each.payload)) for each in [*self.held, message])
        return not self.held or (len(self.held) < HELD_MAX and size <= HELD_SIZE_MAX)


_OTHERS_MAX = 4096
_RECENT_MAX = 4096
