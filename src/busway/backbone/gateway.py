"""A gateway: sees to links with those gateways that are needed, as asking.py finds out.

Knows of messages nothing; of a node what it is asked for (events), and what its side has.
"""

from __future__ import annotations

from functools import partial
from random import random
from typing import TYPE_CHECKING, Final, cast

from busway.adapters.links import LinkRunner, next_id
from busway.adapters.refusals import HOPELESS, text_of
from busway.backbone.asking import Asking
from busway.drivers.nats import NatsChannel
from busway.protocol import Connection, codes, events

if TYPE_CHECKING:
    from busway.adapters.dialled import Options
    from busway.adapters.host import BusHost

LINKS_MAX: Final = 1024  # with other gateways, at once
_OPENING_MAX: Final = 128  # ... of these such as are not open yet
_WANTED_MAX: Final = 4096  # what one gateway is asked for
_AGAIN_S: Final = (0.2, 1.0, 5.0, 15.0, 30.0)  # after these a link that was lost is made anew
_GONE_TRIES: Final = 2  # where NATS says that nobody is there
_BUSY_S: Final = 0.5  # where very many are being made already
_REST_S: Final = 10.0  # so long one that was refused is not
_LOOK_S: Final = 15.0
_YOUNG_S: Final = 60.0  # what was used for less is not given up for another
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
        self.waits = False  # for its turn
        self.rests_until = 0.0  # it has refused this side, or the other way round
        self.used = 0  # bytes, when it was looked at last
        self.used_at = 0.0
        self._backbone = backbone

    def ended(self, runner: LinkRunner) -> None:
        """The link is over."""
        self._backbone.link_ended(self, runner)

    def restarted(self, runner: LinkRunner) -> None:
        """Only boards do."""


class Backbone(Asking):
    """A gateway of this bus on a cluster of NATS servers."""

    def __init__(self, host: BusHost, url: str, options: Options) -> None:
        super().__init__(host, url, options)
        self._far: dict[bytes, Far] = {}

    def _first(self) -> None:
        self._offer_all()
        self._after(_LOOK_S, self._look)

    def noticed(self, event: events.Event) -> None:
        """The core says that something is other than it was."""
        super().noticed(event)
        if not self._over and event.kind in (events.LINK_OPEN, events.LINK_CLOSED):
            link = cast(events.LinkEvent, event)
            self._link_changed(link.connection, -1 if event.kind == events.LINK_OPEN else link.code)

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
        if self._lookups.found(node_id, what, self._host.now_ms()) or self._now() < far.rests_until:
            self._lookups.done(asked, self._host.now_ms())
        elif far.link is None:
            self._dial(far)

    def _make_room(self) -> bool:
        """Forget a gateway that there is no link with, or that was not used for longest."""
        without = [far for far in self._far.values() if far.link is None]
        far = without[0] if without else min(self._far.values(), key=lambda each: each.used_at)
        if far.link is not None:
            if self._now() - far.used_at < _YOUNG_S:
                return False
            far.link.connection.close(self._host.now_ms())
        del self._far[far.node_id]
        return True

    def _dial(self, far: Far) -> None:
        opening = sum(1 for each in self._far.values() if each.link is not None and each.link.is_stranger)
        if self._hub is None or self._over:
            return
        if opening >= _OPENING_MAX:
            if not far.waits:
                far.waits = True
                self._after(_BUSY_S * (0.5 + random() / 2), partial(self._again, far))
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
        if runner is far.link and runner.connection.close_code < 0:
            far.tries = 0
            self._ask_all(far)

    def _ask_all(self, far: Far) -> None:
        """There is a link with it: ask for all that it has said to have."""
        now = self._host.now_ms()
        for what in list(far.wanted):
            self._lookups.found(far.node_id, what, now)
            self._lookups.done(what, now)
        if codes.PATTERNS in far.wanted:
            for uuid in self._names.values():
                self._lookups.done(uuid, now)

    def link_ended(self, far: Far, runner: LinkRunner) -> None:
        """A link of ours is over."""
        if runner is far.link:
            far.link = None
            self._make_anew(far, runner.connection)

    def _link_changed(self, connection: Connection, code: int) -> None:
        """A link that another gateway made is open, or over; ours say so themselves."""
        peer = connection.peer
        far = None if peer is None else self._far.get(peer.node_id)
        if far is None or connection.link.dialled or not connection.link.fabric:
            return
        if code < 0:
            self._ask_all(far)
        elif far.link is None:
            self._make_anew(far, connection)

    def _make_anew(self, far: Far, connection: Connection) -> None:
        """A link was lost: it is made anew, as what it led to is in use. One that was refused is not, nor one
        in whose place there is another.
        """
        code = connection.close_code
        if self._over or self._far.get(far.node_id) is not far:
            return
        if code in (codes.DUPLICATE_LINK, codes.REPLACED):
            return
        if code in HOPELESS:
            far.rests_until = self._now() + _REST_S
            self._remark(f"{connection.link.address}: {connection.close_text}")
        elif code == codes.GOODBYE or far.tries >= (_GONE_TRIES if _is_nobody(connection) else len(_AGAIN_S)):
            del self._far[far.node_id]
        else:
            self.counters["lost"] += 1
            delay = _AGAIN_S[far.tries] * (0.5 + random() / 2)
            far.tries += 1
            self._after(delay, partial(self._again, far))

    def _again(self, far: Far) -> None:
        far.waits = False
        if self._far.get(far.node_id) is far and far.link is None:
            peer = self._node.routes.peers.get(far.node_id)
            if peer is None or not peer.connections:
                self._dial(far)

    def _look(self) -> None:
        """Now and then: give up links that nobody uses, and ask again for what was asked for of late."""
        now = self._now()
        for far in list(self._far.values()):
            channel = None if far.link is None else cast(NatsChannel, far.link.channel)
            if channel is not None and channel.used != far.used:
                far.used, far.used_at = channel.used, now
            elif channel is not None and far.link is not None and now - far.used_at >= IDLE_S:
                far.link.connection.close(self._host.now_ms())
        self._ask_recent()
        self._after(_LOOK_S, self._look)


def _is_nobody(connection: Connection) -> bool:
    """Whether a link ended since NATS says that nobody is there."""
    channel = getattr(connection.tag, "channel", None)
    return isinstance(channel, NatsChannel) and channel.nobody


def connect(host: BusHost, url: str, options: Options) -> Backbone:
    """The backbone at a URL: the one that there is, if it was asked for alike. Raises ValueError."""
    if host.node.leaf:
        raise ValueError("a leaf cannot be a gateway: open the bus without leaf=True")
    if options.terms.realm not in (None, "global"):
        raise ValueError(f'a backbone is of realm "global", not {options.terms.realm!r}')
    former = host.backbone
    if former is not None:
        if former.asked == url and former.options.same(options):
            return cast(Backbone, former)
        raise ValueError(f"this bus has a backbone, {former.place.name}: close it first")
    made = Backbone(host, url, options)
    made.begin()
    return made
