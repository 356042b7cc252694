"""The face of every driver to an adapter: a contract, which nobody needs to inherit. Opens nothing.

A driver's module has

    candidates(url, ...)           what to dial, best first; may block. Given those options of `dial` that it
                                   has, it raises TypeError or ValueError for what `dial` cannot take
    dial(candidate, url, ...)      starts connecting: a Channel
    listen(url, token=, open=, ...)  a Listener; not every driver has it
    STAGGER_S                      seconds after which the next candidate is tried beside those under way;
                                   without it each waits until the one before has failed
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from busway.drivers.descriptors import Descriptor

# glibc maps and unmaps memory at every call from 128 KiB on: with send, recv(262144) of 64 bytes takes 14 µs,
# recv(65536) 2.4 µs.
READ_SIZE: Final = 65536
_VIA_SIZE_MAX: Final = 64  # what HELLO carries


def short_via(via: str) -> str:
    """A name for `Channel.via`; of one too long a digest behind its scheme, so that two names stay two."""
    data = via.encode()
    if len(data) <= _VIA_SIZE_MAX:
        return via
    import hashlib

    return f"{via.partition(':')[0]}:{hashlib.sha256(data).hexdigest()[:32]}"


class Asked(NamedTuple):
    """The request by which somebody came over HTTP, as `asked` of a channel that has one: the query of its
    URL, and its headers, by names in lower case.
    """

    query: str = ""
    headers: Mapping[str, str] = {}


NOT_KEPT: Final = Asked()


class Refusal(ConnectionRefusedError):
    """A refusal: who answers there will not have this link, and would say the same at another try.

    text: what it said, for people.

    Any OSError of a driver may have an attribute `hopeless`: true if another try would fail alike.
    """

    hopeless = True

    def __init__(self, address: str, text: str) -> None:
        super().__init__(errno.ECONNREFUSED, f"{address}: {text}")
        self.text = text


class Channel(Protocol):
    """One open link. Nothing here blocks, and nothing here is safe to call from two threads at once.

    sort: "stream" (bytes in order), "message" (whole messages in order) or "packet" (may lose).
    realm: "userspace", "localnet" or "global": how far such a link reaches unless told otherwise.
    mtu: the largest message or packet in bytes; 0 for none.
    address: the link's far end, for people.
    via: the dialler's name for the address, at most 64 bytes, the same for each link to it; "ipc" at both
        ends of a Unix socket, and "" at an end that was dialled otherwise.
    dialled: whether this side opened the link.
    """

    sort: str
    realm: str
    mtu: int
    address: str
    via: str
    dialled: bool

    def fileno(self) -> int:
        """The descriptor to wait on; -1 once closed, and always for a channel that pushes."""
        ...

    def connected(self) -> bool:
        """False while connecting: wait until writable, then ask again. Raises OSError if it failed."""
        ...

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        """Up to `size_max` bytes, or one whole message or packet; b"" is the end, None is nothing now.

        Raises OSError if the link failed, which is not an end that the other side wanted.
        """
        ...

    def write(self, data: bytes | memoryview) -> int:
        """Hands over `data`; returns how many bytes were taken, 0 when busy.

        A message or packet is taken whole or not at all. Raises OSError if the link failed or is closed.
        """
        ...

    def close(self) -> None:
        """Ends the link for both sides. May be called again."""
        ...

    def abandon(self) -> None:
        """In a forked child: drop this process's copy and leave the parent's link as it is."""
        ...


class PacedChannel(Channel, Protocol):
    """A channel of a line so slow that it matters what is handed over before it has to be.

    paced: whether it is so slow.
    pause_s: seconds after which to ask for room again, where there was none.
    """

    paced: bool
    pause_s: float

    def room(self) -> int:
        """Bytes that it is to be given now; 0 if none."""
        ...


class VectoredChannel(Channel, Protocol):
    """A channel of a stream that writes several buffers at once, so that nobody has to join them."""

    def write_buffers(self, buffers: list[bytes | memoryview]) -> int:
        """As `write` of all of them, one behind the other; 64 buffers at the most."""
        ...


class DescriptorChannel(Channel, Protocol):
    """A channel between programs of one user on one machine that hands over open descriptors as well.

    hands_over: whether it can, on this system.
    resting: how many of the last writes took nothing because so many descriptors of this user are on their
        way that no more may be: the channel does not say when that is over, so try again in a moment.
    handed_over: how many writes had descriptors.
    """

    hands_over: bool
    resting: int
    handed_over: int

    def carry(
        self,
        came: Callable[[Sequence[Descriptor]], object],
        given: Callable[[], Sequence[Descriptor]],
    ) -> None:
        """From now on `read` calls `came` with the descriptors that belong to the bytes that it is about to
        return, or to later ones; and each write asks `given` for those, at most 253, that belong to its first
        byte, and keeps them until that has left. Before, descriptors that come are lost.

        Then `read` also raises OSError if this process may not have so many open.
        """
        ...

    def unread(self) -> int:
        """How many of the writes that had descriptors the other side has not read, at the most; 0 where the
        system does not tell.
        """
        ...


class PushChannel(Channel, Protocol):
    """A channel without a descriptor: it calls when there is something to do. Set both before waiting.

    on_readable: `read()` has something to say. Called again until nothing is left.
    on_writable: after `write()` took less than all, there is room.
    """

    on_readable: Callable[[], object] | None
    on_writable: Callable[[], object] | None


class Listener(Protocol):
    """A place where others can connect.

    url: where it is, with the real port.
    refused: how many incoming connections the driver itself has turned away.
    """

    url: str
    refused: int

    def fileno(self) -> int:
        """The descriptor to wait on until readable; -1 once closed."""
        ...

    def accept(self) -> Channel | None:
        """The next incoming connection; None if none is waiting, or that has been refused. Raises OSError."""
        ...

    def close(self) -> None:
        """Stops listening; channels that were accepted stay. May be called again."""
        ...

    def abandon(self) -> None:
        """In a forked child: drop this process's copy and leave the parent's listener as it is."""
        ...
