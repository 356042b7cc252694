"""One sealed message on its way out, from the question for whom it is to what comes back. Whom a bus seals
for, and with what, sealed.py knows.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from busway import sealing
from busway.adapters.literal import text_of
from busway.errors import SealError
from busway.keys import id_of_public
from busway.names import ascii_safe
from busway.payloads import SEALED, TYPED
from busway.protocol import codes, events
from busway.protocol.wire.address import address_of
from busway.sealing import Content, Offer, Opened, Other
from busway.trust import Trusted

if TYPE_CHECKING:
    from busway.adapters.sealed import Sealing

LIFETIME_MS = 3_600_000  # of a message without a timeout
OFFER_TIMEOUT_MS = 10_000


def bytes_of(payload: object) -> bytes:
    """A payload as it came, out of memory that others could change; nothing of an object, which only this
    process could have given.
    """
    if isinstance(payload, memoryview):
        return bytes(payload)
    return payload if isinstance(payload, bytes) else b""


class Call:
    """One sealed message on its way out, and what comes back.

    Args: `to` as the program says it, `content` what is sealed, `sealed` True or for whom, `node_id` b"" for
    any; times in ms, `timeout_ms` None: as long as it takes.
    """

    def __init__(
        self,
        host: Any,
        to: Any,
        endpoint: bytes,
        content: Content,
        sealed: bool | str,
        node_id: bytes,
        ttl_ms: int,
        timeout_ms: int | None,
        priority: int = codes.NORMAL,
    ) -> None:
        self._host = host
        self._sealing: Sealing = host.sealing
        self._to = to
        self._endpoint = endpoint
        self._content = content
        self._ttl_ms = ttl_ms
        self._timeout_ms = timeout_ms
        self._priority = priority
        self._end = None if timeout_ms is None else host.now_ms() + timeout_ms
        self._trusted = self._meant(sealed, node_id)
        self._answers: sealing.Answers | None = None
        self._other: Other
        self._offer: Offer
        self._complete = False

    def _meant(self, sealed: bool | str, node_id: bytes) -> Trusted | None:
        if sealed is True:
            return self._sealing.node(node_id) if node_id else None
        if not isinstance(sealed, str):
            raise TypeError(f"sealed must be True, or the name or key of who is to read it, not {sealed!r}")
        trusted = self._sealing.circle.named(sealed)
        if node_id and id_of_public(trusted.public) != node_id:
            raise ValueError(f"node= is another node than that of {sealed!r}: leave one of them out")
        return trusted

    def finding(self) -> Generator[int, events.Outcome, None]:
        """Find out for whom and with what it is sealed: yields tokens, takes their outcomes. Raises
        SealError, Undeliverable, RequestTimeout.
        """
        trusted = self._trusted
        if trusted is None:
            trusted = yield from self._sealing.holder(self._to, self._endpoint, self._ttl_ms, self._left())
        self._other = self._sealing.other(trusted)
        self._offer = yield from self._sealing.offer(self._to, self._other, self._ttl_ms, self._left())

    def _left(self) -> int:
        """The time for what comes before it, ms."""
        wait = max(OFFER_TIMEOUT_MS, self._ttl_ms)
        return wait if self._end is None else max(0, min(wait, self._end - self._host.now_ms()))

    def send(self, confirm: bool) -> int:
        """Hand it to the core, with its arguments of `send`; the token."""
        left = None if self._end is None else max(0, self._end - self._host.now_ms())
        payload = self._seal(sealing.SEND, left)
        token: int = self._host.node.send(
            self._endpoint,
            payload,
            self._host.now_ms(),
            TYPED,
            SEALED,
            node_id=self._other.id,
            confirm=confirm,
            ttl_ms=self._ttl_ms,
            timeout_ms=left,
            priority=self._priority,
        )
        return token

    def request(self, window: int) -> int:
        """... of `request`."""
        assert self._end is not None
        assert self._timeout_ms is not None
        left = max(0, self._end - self._host.now_ms())
        payload = self._seal(sealing.STREAM if window else sealing.REQUEST, left)
        token: int = self._host.node.request(
            self._endpoint,
            payload,
            self._host.now_ms(),
            TYPED,
            SEALED,
            node_id=self._other.id,
            ttl_ms=self._ttl_ms,
            timeout_ms=self._timeout_ms if window else left,
            window=window,
            priority=self._priority,
        )
        return token

    def _seal(self, what: int, left: int | None) -> bytes:
        """Here and not before, for numbers count in the order in which messages go."""
        lifetime = LIFETIME_MS if left is None else min(left, LIFETIME_MS)
        secret = sealing.new_secret(what)
        number = self._sealing.next_number()
        opened = Opened(
            what, self._sealing.own.session, number, self._offer.time + lifetime, secret, self._content
        )
        if secret:
            self._answers = sealing.Answers(self._other.key_to, secret)
        bound = address_of(self._endpoint, self._priority)  # or one on the way could change its order
        return self._other.seal(self._sealing.own, self._offer, bound, opened)

    def opened(self, outcome: events.Outcome) -> events.Outcome:
        """An outcome with what was sealed in its place. Raises SealError for what was not."""
        if outcome.status in (events.REPLIED, events.PARTIAL):
            self._open(outcome)
        elif outcome.status == events.ENDED and not self._complete:
            raise SealError(f"{text_of(self._to)}: the answer was cut off: its sealed end is missing")
        elif outcome.status == events.FAILED:
            text = ascii_safe(outcome.text)
            raise SealError(f"{text_of(self._to)}: {text} (error {outcome.code}), but that was not sealed")
        elif outcome.status == events.UNDELIVERED:
            self._sealing.forget(self._other)
        return outcome

    def _open(self, outcome: events.Outcome) -> None:
        if outcome.type_id != SEALED or self._complete or self._answers is None:
            raise SealError(f"{text_of(self._to)}: an answer came that was not sealed")
        try:
            what, data = self._answers.open(bytes_of(outcome.payload))
            if (what in (sealing.PART, sealing.END)) != (outcome.status == events.PARTIAL):
                raise SealError("an answer came as another sort of answer: somebody on the way changes them")
            if what == sealing.ERROR:
                outcome.code, outcome.text = sealing.unpack_error(data)
                few = outcome.code <= codes.REASON_LAST
                outcome.status = events.UNDELIVERED if few else events.FAILED
            elif what != sealing.END:
                outcome.payload, outcome.format, outcome.type_id = sealing.unpack(data)
            else:
                self._complete = True
                outcome.status = events.ENDED
        except SealError as error:
            raise SealError(f"{text_of(self._to)}: {error}") from None
