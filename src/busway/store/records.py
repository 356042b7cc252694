"""The words of the store: what clients ask and are answered, what is kept, and the numbers of its errors.

A question is a map in MessagePack (as bytes), or the same as a CBOR value; `op` says what is asked. Knows no
bus and no file.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta

from busway.errors import BusError
from busway.names import ascii_safe, endpoint_id

STORE_NAME = "busway/store"
ANSWERS_NAME = "busway/store/answers"
ONCE_LABEL = "busway:once"  # of a receiver that fetches its mail itself
BUILT_IN = "busway/"

MAIL, REQUEST, PUBLISHED = 0, 1, 2

ID_SIZE = 24  # of a message's id: the stream of its sender, and a number in it
BATCH_MAX = 512  # messages in one question or delivery
BATCH_SIZE = 262_144  # bytes of payload in one, unless a single message is larger
AHEAD_MAX = 4096  # messages that are on the way to one consumer
AHEAD = 256
_PAUSE_FIRST_MS = 500
_PAUSE_MAX_MS = 60_000
TRIES = 16
TRIES_MAX = 1000
VISIBILITY_S = 30.0
VISIBILITY_MAX_S = 86_400
LEASE_S = 15.0  # a consumer that is silent for so long is lost
SESSIONS_MAX = 4096
DURABLES_MAX = 1024
NAME_SIZE_MAX = 64
OVERHEAD = 256  # bytes that an entry counts for besides its payload
RUNS_MAX = 1024  # of acknowledgements in one question
NUMBER_MAX = (1 << 62) - 1
TIME_MAX_MS = (1 << 45) - 1  # a thousand years
TIMEOUT_MAX_MS = 7 * 86_400_000  # of a handler

NOT_KEPT = 512
STORE_FULL = 513
DISK_FULL = 514
NOT_ALLOWED = 515
MALFORMED = 516
TOO_LARGE = 517
NOT_ACTIVE = 518
NO_SESSION = 519
TOO_MANY = 520
NO_SUCH = 521
EXPIRED = 522
NAMES = {
    NOT_KEPT: "NOT_KEPT",
    STORE_FULL: "STORE_FULL",
    DISK_FULL: "DISK_FULL",
    NOT_ALLOWED: "NOT_ALLOWED",
    MALFORMED: "MALFORMED",
    TOO_LARGE: "TOO_LARGE",
    NOT_ACTIVE: "NOT_ACTIVE",
    NO_SESSION: "NO_SESSION",
    TOO_MANY: "TOO_MANY",
    NO_SUCH: "NO_SUCH",
    EXPIRED: "EXPIRED",
}


Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Time = Annotated[int, Meta(ge=0, le=TIME_MAX_MS)]
Text = Annotated[str, Meta(max_length=1024)]
Ident = Annotated[bytes, Meta(min_length=16, max_length=16)]


class StoreError(BusError):
    """A store refused something, or cannot be used.

    Args:
        code: the number of the reason, from 512 on, as docs/howto/store.md lists them.
        message: a sentence for people.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def reason_name(self) -> str:
        """The reason's name, such as STORE_FULL."""
        return NAMES.get(self.code, f"ERROR_{self.code}")

    def __str__(self) -> str:
        return ascii_safe(f"{self.message} ({self.reason_name})")


class Item(msgspec.Struct, array_like=True):
    """A message on its way into the store. Times in ms; `wait_ms` 0: as long as the store keeps such."""

    kind: int
    name: str  # "" for an endpoint that is only known by its UUID
    endpoint: bytes
    format: int
    type_id: bytes
    payload: bytes
    priority: int = 1
    wait_ms: Time = 0
    timeout_ms: Time = 0  # of a request: how long its handler may take


class Delivered(msgspec.Struct, array_like=True):
    """A message on its way out of the store, as a consumer gets it. `stored` in ms since 1970."""

    id: bytes
    name: str
    endpoint: bytes
    source: bytes
    label: str
    format: int
    type_id: bytes
    payload: bytes
    priority: int
    stored: int
    position: int
    tries: int


class Hello(msgspec.Struct, tag_field="op", tag="hello"):
    """Which store this is, and what it keeps; then the others that it knows of."""


class Put(msgspec.Struct, tag_field="op", tag="put"):
    """Keep these: numbered from `first` on in the sender's `stream`, each as often as it comes once.

    `numbers` says those of each, ascending.
    """

    stream: bytes
    numbers: Annotated[list[Number], Meta(max_length=BATCH_MAX)]
    items: Annotated[list[Item], Meta(max_length=BATCH_MAX)]


class Attach(msgspec.Struct, tag_field="op", tag="attach"):
    """Deliver from now on to the endpoint `to` of the asking node: the mail of a name, or a durable."""

    session: Ident
    to: Ident
    ahead: int = AHEAD
    name: Text = ""
    endpoint: bytes = b""
    durable: Text = ""
    pattern: Text = ""
    start: Text | Number | float = "new"
    visibility: float = VISIBILITY_S
    tries: int = TRIES
    alone: bool = False  # of mail: it has the name alone, so who had it before is gone


class Ack(msgspec.Struct, tag_field="op", tag="ack"):
    """The fate of deliveries: `done` are runs of numbers; `again` are those to be tried again, with the
    pause in ms, -1 for one that is given up; from `held` on none was given to the program yet; the next that
    is expected is `wanted`. An empty one keeps the session alive.
    """

    session: bytes
    done: Annotated[list[tuple[Number, Number]], Meta(max_length=RUNS_MAX)] = []
    again: Annotated[
        list[tuple[Number, Annotated[int, Meta(ge=-1, le=TIME_MAX_MS)]]], Meta(max_length=RUNS_MAX)
    ] = []
    held: Number = 0
    wanted: Annotated[int, Meta(ge=-1, le=NUMBER_MAX)] = -1


class Detach(msgspec.Struct, tag_field="op", tag="detach"):
    """The consumer ends."""

    session: bytes


class Answer(msgspec.Struct, tag_field="op", tag="answer"):
    """Wait a little for what became of a stored request; with `over` it is known and may be forgotten."""

    id: Annotated[bytes, Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
    over: bool = False


class History(msgspec.Struct, tag_field="op", tag="history"):
    """Messages that were published to names of a pattern, in order: behind `after`, from `since` (ms since
    1970) on.
    """

    pattern: Text
    after: Number = 0
    since: Time = 0
    until: Time = 0
    count: Number = 100
    newest: bool = False


class Last(msgspec.Struct, tag_field="op", tag="last"):
    """The newest value of a name."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_SIZE_MAX)]


class Jobs(msgspec.Struct, tag_field="op", tag="jobs"):
    """Queues, as they wait, and with `queue` the messages of one; `action` "retry" or "drop" for some."""

    queue: Text = ""
    action: Text = ""
    positions: list[Number] = []
    dead: bool = False
    count: Number = 100


class Status(msgspec.Struct, tag_field="op", tag="status"):
    """The state of the store."""


Question = Hello | Put | Attach | Ack | Detach | Answer | History | Last | Jobs | Status


class PutReply(msgspec.Struct, array_like=True):
    """`stored` of the items, from the first on, are kept durably. The one behind them was refused, if
    `code` is not 0.
    """

    stored: int
    code: int = 0
    text: str = ""


class Batch(msgspec.Struct, array_like=True):
    """Deliveries of a session, numbered from `first` on."""

    session: bytes
    first: int
    messages: list[Delivered]


def milliseconds(seconds: float) -> int:
    """Seconds in whole milliseconds, 1 at the least, and no more than a store takes."""
    return max(1, round(min(seconds * 1000, TIME_MAX_MS)))


def pause_ms(tries: int) -> int:
    """The pause before another try, when so many have failed."""
    doubled: int = _PAUSE_FIRST_MS << min(max(tries - 1, 0), 10)
    return min(_PAUSE_MAX_MS, doubled)


def own_stream(source: bytes, stream: bytes) -> bytes:
    """A sender's stream as it is known here: whatever it says, its numbers are nobody else's."""
    return blake2b(stream, key=source, digest_size=16).digest()


def name_problem(name: str, endpoint: bytes) -> str:
    """The fault of an endpoint and the name that is said to be its own; "" for nothing."""
    if len(endpoint) != 16:
        return "an endpoint has 16 bytes"
    if not name:
        return ""
    if "*" in name or not 1 <= len(name.encode()) <= NAME_SIZE_MAX:
        return "a name has 1 to 64 bytes, and no *"
    return "" if endpoint_id(name) == endpoint else f"{name!r} is not the name of that endpoint"
