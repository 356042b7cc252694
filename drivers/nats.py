"""NATS: one connection with a cluster of servers, and streams between those who share a name on it. What
nats-py does is in nats_session.py.

    nats://host:4222                        a server; nats://user:password@host, nats://token@host
    nats://one:4222,two:4222,three:4222     servers of one cluster: any that answers
    tls://host:4222, nats+tls://host:4222   the same with TLS

Subjects begin with "busway." and the name that is shared; ids stand in them as base64. A stream is made of
messages to the other side's own subject, each with its number: one that NATS has dropped is noticed with the
next, and is the end of the stream. Nothing is sent beyond a window that the reader opens. Nobody listening at
the other side is said by the server at once.
"""

from __future__ import annotations

import base64
import errno
import os
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

SCHEMES: Final = ("nats", "tls", "nats+tls")
PORT: Final = 4222
SERVERS_MAX: Final = 64
WINDOW: Final = 524288  # bytes under way in one direction of a stream
_ACK_AFTER: Final = WINDOW // 4
WRITE_SIZE: Final = 131072
_SMALL: Final = 64  # messages up to this size keep a stream alive, and are no use of it
_VERSION: Final = 1
_OPEN, _DATA, _ACK, _END, _LOST = 1, 2, 3, 4, 5
_HEAD: Final = Struct(
    ">BII"
)  # what it is, its number, and the bytes that its sender has read, both modulo 2^32
_MASK: Final = 0xFFFFFFFF
_ANSWER: Final = "="  # what the last token of a subject for answers begins with
STREAMS_MAX: Final = 4096
_NOBODY: Final = "503"  # the status of what comes back where nobody listens


class Place(NamedTuple):
    """Servers of one cluster: their URLs as nats-py takes them, whether TLS is asked for, and for people
    where that is, without secrets.
    """

    servers: tuple[str, ...]
    tls: bool
    name: str


def is_nats(url: str) -> bool:
    """Whether a URL is of NATS servers."""
    return isinstance(url, str) and url.partition("://")[0].lower() in SCHEMES and "://" in url


def parse(url: str) -> Place:
    """The servers that a URL names. Raises ValueError for one that cannot be."""
    servers, names = [], []
    first = url.partition("://")[0].lower()
    tls = False
    for part in url.split(","):
        whole = part.strip() if "://" in part else f"{first}://{part.strip()}"
        scheme, _, rest = whole.partition("://")
        if scheme.lower() not in SCHEMES:
            raise ValueError(
                f"{shown(url)!r}: all servers of a cluster are nats:// or tls://, not {scheme}://"
            )
        try:
            found = urlsplit(f"nats://{rest}")
            host, port = found.hostname, found.port or PORT
        except ValueError as error:
            raise ValueError(f"{shown(url)!r}: {error}") from None
        if not host or found.path.strip("/") or found.query or found.fragment:
            raise ValueError(f"{shown(url)!r}: expected nats://host:port, or several with commas between")
        tls = tls or scheme.lower() != "nats"
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        user = found.netloc.rpartition("@")[0]
        servers.append(
            f"{'nats' if scheme.lower() == 'nats' else 'tls'}://{user}{'@' if user else ''}{place}"
        )
        names.append(place)
    if len(servers) > SERVERS_MAX:
        raise ValueError(
            f"{shown(url)!r}: at most {SERVERS_MAX} servers; a cluster tells of its others itself"
        )
    return Place(tuple(servers), tls, f"{'tls' if tls else 'nats'}://{','.join(names)}")


def shown(url: str) -> str:
    """A URL for people, without names, passwords and tokens."""
    found = []
    for part in url.split(","):
        scheme, mark, rest = part.rpartition("://")
        found.append(f"{scheme}{mark}{rest.rpartition('@')[2]}")
    return ",".join(found)


def user_of(server: str) -> tuple[str, str]:
    """The user and password in a server's URL, decoded; both "" without."""
    user, _, password = urlsplit(server).netloc.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)


def token_of(data: bytes) -> str:
    """Bytes as a token of a subject."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(token: str) -> bytes:
    """The bytes of such a token; b"" for what is none."""
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return b""


class Session(Protocol):
    """A connection with a cluster, as the hub needs it (nats_session.py)."""

    def subscribe(self, subject: str) -> None: ...
    def unsubscribe(self, subject: str) -> None: ...
    def publish(self, subject: str, data: bytes, reply: str = "") -> None: ...
    def soon(self, callback: Callable[[], object]) -> None: ...


class Listening(Protocol):
    """The user of a hub, told what comes. `where` is a subject behind the shared part."""

    def answered(self, number: int, data: bytes, nobody: bool) -> None:
        """An answer to a question, or that nobody is there to answer."""

    def heard(self, where: str, data: bytes, reply: str) -> None:
        """Somebody has published there, and may want a reply."""

    def reached(self, channel: NatsChannel) -> None:
        """Another side has begun a stream."""


class Hub:
    """The streams, questions and news of one side.

    Args: `session` the connection; `shared` what all sides share, `mine` this side's id; `user` is told.
    """

    def __init__(self, session: Session, shared: bytes, mine: bytes, name: str, user: Listening) -> None:
        self.session = session
        self.name = name  # the cluster's, for people
        self.mine = mine
        self.ends = False  # another hub may have this id now, and streams that this one does not know
        self.payload_max = 65536  # bytes of a message, as the servers say
        self.dropped = 0  # messages of streams that nobody has here, or that there were too many of
        self._root = f"busway.{token_of(shared)}."
        self._inbox = f"{self._root}to.{token_of(mine)}."
        self._streams: dict[str, NatsChannel] = {}
        self._user = user
        session.subscribe(self._inbox + "*")

    def dial(self, other: bytes) -> NatsChannel:
        """A new stream to another side. Whether it is there is seen when something is written."""
        token = token_of(os.urandom(8))
        channel = NatsChannel(self, other, token, True)
        self._streams[token] = channel
        channel.open()
        return channel

    def ask(self, where: str, data: bytes, number: int) -> None:
        """Publish a question; answers come with that number, or that nobody listens there."""
        self.session.publish(self._root + where, data, f"{self._inbox}{_ANSWER}{number}")

    def tell(self, where: str, data: bytes) -> None:
        """Publish news."""
        self.session.publish(self._root + where, data)

    def reply(self, reply: str, data: bytes) -> None:
        """Answer a question, to where it wants it, if that is another side's own subject."""
        if reply.startswith(f"{self._root}to."):
            self.session.publish(reply, data)

    def listen(self, where: str) -> None:
        self.session.subscribe(self._root + where)

    def leave(self, where: str) -> None:
        self.session.unsubscribe(self._root + where)

    def came(self, subject: str, data: bytes, reply: str, status: str) -> None:
        """A message from NATS."""
        if not subject.startswith(self._inbox):
            if subject.startswith(self._root):
                self._user.heard(subject[len(self._root) :], data, reply)
            return
        token = subject[len(self._inbox) :]
        if token.startswith(_ANSWER):
            number = token.removeprefix(_ANSWER)
            if number.isascii() and number.isdecimal() and len(number) < 16:
                self._user.answered(int(number), data, status == _NOBODY)
            return
        channel = self._streams.get(token)
        if channel is not None:
            channel.take(data, status)
        elif self.ends:
            return
        elif not status and len(data) > _HEAD.size and data[0] == _OPEN:
            self._reached(token, data, reply)
        elif not status and data[:1] not in (bytes((_END,)), bytes((_LOST,))):
            self._refuse(reply)

    def _reached(self, token: str, data: bytes, reply: str) -> None:
        other = data[_HEAD.size + 1 :]
        whole = data[_HEAD.size] == _VERSION and len(other) == len(self.mine)
        if not whole or len(self._streams) >= STREAMS_MAX or len(token) != 11 or other == self.mine:
            self._refuse(reply)
            return
        channel = self._streams[token] = NatsChannel(self, other, token, False)
        channel.take(data, "")
        self._user.reached(channel)

    def _refuse(self, reply: str) -> None:
        """Tell who goes on with a stream that is none here."""
        self.dropped += 1
        self.reply(reply, _HEAD.pack(_LOST, 0, 0))

    def lose_all(self, text: str) -> None:
        """No stream goes on."""
        for channel in list(self._streams.values()):
            channel.fail(text)

    # Of streams

    def send(self, channel: NatsChannel, data: bytes) -> None:
        self.session.publish(channel.subject, data, self._inbox + channel.token)

    def subject_of(self, other: bytes, token: str) -> str:
        return f"{self._root}to.{token_of(other)}.{token}"

    def forget(self, channel: NatsChannel) -> None:
        self._streams.pop(channel.token, None)


class NatsChannel:
    """A stream to another side.

    other: its id.  used: bytes that went either way, but for what only keeps it alive.
    """

    sort = "stream"
    realm = "global"
    mtu = 0
    via = "nats"
    write_size = WRITE_SIZE

    def __init__(self, hub: Hub, other: bytes, token: str, dialled: bool) -> None:
        self.other = other
        self.token = token
        self.dialled = dialled
        self.address = f"{hub.name}/{token_of(other)}"
        self.subject = hub.subject_of(other, token)
        self.on_readable: Callable[[], object] | None = None
        self.on_writable: Callable[[], object] | None = None
        self.used = 0
        self.nobody = False  # NATS has said that nobody is there
        self._hub = hub
        self._inbox: deque[bytes] = deque()
        self._next = 0  # the number of the next message of ours
        self._awaited = 0  # ... and of theirs
        self._sent = 0  # bytes, modulo 2^32, as those below
        self._taken = 0  # of ours, by the other side
        self._read = 0
        self._told = 0  # ... as the other side has been told
        self._full = False
        self._due = False
        self._ended = False
        self._closed = False
        self._failure = ""

    def fileno(self) -> int:
        return -1

    def connected(self) -> bool:
        return True

    def open(self) -> None:
        """Say that it begins."""
        self._say(_OPEN, bytes((_VERSION,)) + self._hub.mine)

    def read(self, size_max: int = 65536) -> bytes | None:
        if not self._inbox:
            if self._failure:
                raise OSError(errno.ECONNRESET, f"{self.address}: {self._failure}")
            return b"" if self._ended else None
        data = self._inbox.popleft()
        if len(data) > size_max:
            self._inbox.appendleft(data[size_max:])
            data = data[:size_max]
        self._read = self._read + len(data) & _MASK
        if (self._read - self._told) & _MASK >= _ACK_AFTER and not self._ended and not self._failure:
            self._say(_ACK, b"")
        if self._inbox or self._ended or self._failure:
            self._go_on()
        return data

    def write(self, data: bytes | memoryview) -> int:
        if self._failure or self._ended or self._closed:
            raise OSError(
                errno.ECONNRESET, f"{self.address}: {self._failure or 'the other side has closed it'}"
            )
        taken = min(len(data), WINDOW - ((self._sent - self._taken) & _MASK))
        self._full = taken < len(data)
        most = self._hub.payload_max - _HEAD.size
        for at in range(0, taken, most):
            piece = bytes(data[at : min(at + most, taken)])
            self._sent = self._sent + len(piece) & _MASK
            self._say(_DATA, piece)
        if taken > _SMALL:
            self.used += taken
        return taken

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._ended and not self._failure:
                self._say(_END, b"")
            self._hub.forget(self)
            self._inbox.clear()

    def abandon(self) -> None:
        self._closed = True

    def fail(self, text: str) -> None:
        """It does not go on; what had come is read first."""
        if not self._failure and not self._ended and not self._closed:
            self._failure = text
            self._hub.forget(self)
            self._go_on()

    def _say(self, what: int, data: bytes) -> None:
        head = _HEAD.pack(what, self._next, self._read)
        if what != _ACK:
            self._next = self._next + 1 & _MASK
        self._told = self._read
        self._hub.send(self, head + data)

    # What comes

    def take(self, data: bytes, status: str) -> None:
        """A message of the other side, or what NATS says of one of ours."""
        if status:
            self.nobody = status == _NOBODY
            self.fail("nobody is there" if self.nobody else f"NATS says {status}")
            return
        if len(data) < _HEAD.size:
            self._break("it is not in order")
            return
        what, number, taken = _HEAD.unpack_from(data)
        if what == _LOST:
            self.fail("the other side has lost it")
            return
        if number != self._awaited:
            self._break("messages were lost on the way")
            return
        if what != _ACK:
            self._awaited = self._awaited + 1 & _MASK
        if (self._sent - taken) & _MASK > (self._sent - self._taken) & _MASK:
            self._break("more was read than sent")
            return
        self._taken = taken
        self._take(what, data)
        if self._full and (self._sent - taken) & _MASK <= WINDOW // 2:
            self._full = False
            self._writable()

    def _take(self, what: int, data: bytes) -> None:
        if what == _DATA and len(data) > _HEAD.size:
            size = len(data) - _HEAD.size
            if sum(map(len, self._inbox)) + size > WINDOW:
                self._break("more came than there was room for")
                return
            if size > _SMALL:
                self.used += size
            self._inbox.append(data[_HEAD.size :])
            self._readable()
        elif what == _END:
            self._ended = True
            self._hub.forget(self)
            self._readable()
        elif what not in (_OPEN, _ACK):
            self._break("it is not in order")

    def _break(self, text: str) -> None:
        """The other side is told that this one has lost it."""
        if not self._failure and not self._closed:
            self._hub.send(self, _HEAD.pack(_LOST, 0, 0))
        self.fail(text)

    def _readable(self) -> None:
        if self.on_readable is not None:
            self.on_readable()

    def _writable(self) -> None:
        if self.on_writable is not None and not self._closed:
            self.on_writable()

    def _go_on(self) -> None:
        """There is more to be read, in a turn of its own."""
        if not self._due:
            self._due = True
            self._hub.session.soon(self._again)

    def _again(self) -> None:
        self._due = False
        if not self._closed:
            self._readable()
