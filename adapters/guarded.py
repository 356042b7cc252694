"""A link of a bus that has a policy, or a server of clients: in which role somebody may come over it and how
often, and how fast it is read. What is over the rate stays unread until it is its time: nothing is lost, and
nothing piles up.

Imported by programs that have one of these.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, cast

from busway.adapters.links import Host, LinkRunner, Owner
from busway.adapters.making import Terms
from busway.adapters.permissions import Permissions
from busway.protocol import Connection, Link, codes
from busway.protocol.packet.guarded import GuardedConnection, guarded

_READ_SIZE = 65536
_READ_MIN = 512  # bytes read at once, however few messages are left for now
_MESSAGE_SIZE = 16  # bytes that a message is taken for, before it is known how many came
_LOOK_S = 1.0  # the longest pause without a sign of life
_AUDIT_S = 60.0
_BEHIND_S = 0.01  # between looks whether who has to catch up has
_NO_LONGER = (
    "by its policy now only leaves may come: join with leaf=True, or have routers let in (trust, policy)"
)
_SLOW = "%s: %s sends more than it may: it is read more slowly%s"


class Bucket:
    """A bucket of something granted at a rate: what may be had now, at most as much as of a second."""

    __slots__ = ("_at", "level", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self.level = float(rate)  # below 0 after too much
        self._at = now

    def fill(self, now: float) -> None:
        """Time has passed."""
        self.level = min(float(self.rate), self.level + (now - self._at) * self.rate)
        self._at = now

    def wait(self) -> float:
        """Seconds until there is some again."""
        return max(0.0, -self.level / self.rate)


class Pace:
    """How fast a link is read: `messages` and `bytes` a second, -1 for any number. Times in seconds."""

    def __init__(self, messages: int, size: int, now: float) -> None:
        self.short = ""  # of what there was less than was read
        self._messages = Bucket(messages, now) if messages > 0 else None
        self._bytes = Bucket(size, now) if size > 0 else None

    def allowance(self, now: float) -> int:
        """The bytes to read now at the most."""
        most = float(_READ_SIZE)
        if self._bytes is not None:
            self._bytes.fill(now)
            most = min(most, self._bytes.level)
        if self._messages is not None:
            self._messages.fill(now)
            most = min(most, self._messages.level * _MESSAGE_SIZE)
        return max(_READ_MIN, int(most))

    def spend(self, size: int, messages: int) -> float:
        """So much was read. Returns how many seconds to wait before more is."""
        wait = 0.0
        if self._bytes is not None:
            self._bytes.level -= size
            wait = self._bytes.wait()
            self.short = "bytes"
        if self._messages is not None:
            self._messages.level -= messages
            if self._messages.wait() >= wait:
                wait = self._messages.wait()
                self.short = "messages"
        return wait


class GuardedRunner(LinkRunner):
    """As LinkRunner, and does what the policy says of whoever is at the other end."""

    def __init__(self, host: Host, channel: Any, terms: Terms, owner: Owner | None) -> None:
        self._permissions: Permissions | None = host.identity.permissions
        self.uid = _uid_of(channel)
        self._pace: Pace | None = None
        self._paced = (-1, -1)
        self._judged = -1  # the version of the permissions by which the pace is
        self._counts = False  # the messages that come
        self._counted = 0  # of these
        self._resting = False
        self._told = False
        self._audit_at = 0.0  # when it is noted again
        super().__init__(host, channel, terms, owner)

    @property
    def is_guarded(self) -> bool:
        """Whether who comes has to be known, or the policy counts for it."""
        return self._permissions is not None or super().is_guarded

    def _make(self, host: Host, link: Link) -> Connection:
        connection = host.node.connection(link, host.now_ms(), guarded)
        cast(GuardedConnection, connection).accept = self._accept
        self._judged = -1
        self._counted = 0
        return connection

    def _accept(self, node_id: bytes, via: str) -> int:
        if self._permissions is None:
            return codes.ROLE_ROUTER
        others = [each for each in self._host.runners if each is not self]
        return self._permissions.accept(self, node_id, via, cast(list[GuardedRunner], others))

    def check_policy(self) -> None:
        """The policy says something else: a router that may only be a leaf loses the link."""
        peer = self.connection.peer
        if peer is None or peer.leaf or self.connection.state != codes.OPEN or self._permissions is None:
            return
        if self._permissions.rights(self.connection, peer.node_id).role == "leaf":
            self.connection.fail(codes.NOT_A_ROUTER, _NO_LONGER, self._host.now_ms())

    # How fast it is read

    def on_readable(self) -> None:
        if not self._resting:
            super().on_readable()

    def _read(self, size_max: int = _READ_SIZE) -> int:
        if self._resting:
            return 0
        pace = self._pace_now()
        if pace is None:
            return super()._read(size_max)
        size = super()._read(min(size_max, pace.allowance(self._host.loop.time())))
        count = self._count()
        wait = pace.spend(size, count - self._counted)
        self._counted = count
        if wait > 0 and not self._closed:
            self._note_rest(pace.short)
            self._rest_for(wait)
        return size

    def _pace_now(self) -> Pace | None:
        """How fast to read, by what the policy says now of who is there; None: as fast as it comes, as on a
        link that this side has left, for the other side's goodbye is behind what it has sent.
        """
        if self.connection.state >= codes.CLOSING:
            return None
        version = 0 if self._permissions is None else self._permissions.version
        if self._judged == version or self.connection.peer is None:
            return self._pace
        self._judged = version
        paced = self._most("messages"), self._most("bytes")
        if paced != self._paced:
            self._paced = paced
            self._counts = paced[0] > 0
            self._counted = self._count()
            self._pace = Pace(*paced, self._host.loop.time()) if paced != (-1, -1) else None
        return self._pace

    def _most(self, quota: str) -> int:
        """How much of something may come in a second; -1: any number."""
        return -1 if self._permissions is None else self._permissions.most(self.connection, quota)

    def _count(self) -> int:
        """The messages that have come, as far as they are of interest."""
        return cast(GuardedConnection, self.connection).count().messages if self._counts else 0

    def _note_rest(self, quota: str) -> None:
        """It comes faster than it may: logged once, and in the audit trail once in a while."""
        if not self._told:
            self._told = True
            self._remark_rest()
        if self._host.loop.time() >= self._audit_at:
            self._audit_at = self._host.loop.time() + _AUDIT_S
            self._host.trail.exceeded(quota, self.channel.address, self.connection)

    def _remark_rest(self, behind: str = "") -> None:
        label = "" if self.connection.peer is None else self.connection.peer.label
        self._host.remark(logging.WARNING, _SLOW, self.channel.address, label, behind)

    def _rest_for(self, wait: float) -> None:
        """Read nothing for so many seconds."""
        self._stop_reading()
        self._wait(self._host.loop.time() + wait)

    def _stop_reading(self) -> None:
        self._resting = True
        if self.channel.fileno() >= 0:
            self._host.loop.remove_reader(self.channel.fileno())
        else:
            self.channel.on_readable = None

    def _wait(self, until: float) -> None:
        cast(GuardedConnection, self.connection).unread(self._host.now_ms())
        pause = min(until - self._host.loop.time(), _LOOK_S)
        self._host.loop.call_later(pause, partial(self._look_up, until))

    def _look_up(self, until: float) -> None:
        if self._closed or self._failing:
            return
        if self._is_behind() and self.connection.state < codes.CLOSING:
            until = self._host.loop.time() + _BEHIND_S
        if self.connection.state >= codes.CLOSING or self._host.loop.time() >= until:
            self._read_on()
        else:
            self._wait(until)

    def _is_behind(self) -> bool:
        """Whether somebody has yet to catch up with what was read."""
        return False

    def _read_on(self) -> None:
        self._resting = False
        if self.channel.fileno() >= 0:
            self._host.loop.add_reader(self.channel.fileno(), self.on_readable)
        else:
            self.channel.on_readable = self._host.entry(self.on_readable)
        self.on_readable()


def _uid_of(channel: Any) -> int:
    """The user at the other end, as far as the system says; -1 if it does not."""
    try:
        return int(getattr(channel, "uid", -1))
    except OSError:
        return -1  # it has gone already
