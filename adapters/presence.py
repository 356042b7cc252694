"""Presence: who is there, comes, goes or changes, by name, pattern or selector, from the core's events.

How it is waited for is the adapters' (asyncio_presence.py, threads_presence.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from busway.adapters.closing import Done
from busway.adapters.ends import Items
from busway.adapters.literal import id_of
from busway.adapters.sightings import Seen, Sightings
from busway.adapters.views import endpoint_info, node_info
from busway.errors import PayloadError
from busway.payloads import decode
from busway.protocol import codes, errors, events
from busway.protocol.routing.peers import Entry
from busway.protocol.wire.address import Address, expression_of, sought
from busway.protocol.wire.patterns import check_pattern, is_pattern, match_levels
from busway.protocol.wire.selectors import Selector as WireSelector
from busway.protocol.wire.traits import gone_of, labels_of
from busway.selectors import Selector, where

if TYPE_CHECKING:
    from busway.adapters.host import BusHost

_REASONS = {events.WITHDRAWN: "withdrawn", events.SAID_GOODBYE: "goodbye", events.LOST: "lost"}
_BUILT_IN = "busway/"  # begins the names of Busway's own endpoints
_HIDDEN = (codes.INTROSPECTION, codes.LOOKUP)


class Meaning(NamedTuple):
    """Which endpoints are meant, and the `address` by which they are asked for."""

    fits: Callable[[Entry], bool]
    address: Address


def meaning_of(wanted: Any) -> Meaning:
    """The endpoints that a name, a UUID, a message class, a pattern or a selector means. Raises TypeError,
    ValueError.
    """
    if isinstance(wanted, Selector):
        expression = WireSelector(expression_of(wanted.address()))
        return Meaning(
            lambda entry: expression.fits(labels_of(entry.traits), entry.name), sought(wanted.address())
        )
    if not isinstance(wanted, str) or not is_pattern(wanted):
        uuid = id_of(wanted)
        return Meaning(lambda entry: entry.uuid == uuid, uuid)
    try:
        check_pattern(wanted)
    except errors.LocalError as error:
        raise ValueError(str(error)) from None
    levels = wanted.split("/")
    own = wanted.startswith(_BUILT_IN)

    def fits(entry: Entry) -> bool:
        name = entry.name
        if not name or is_pattern(name) or (name.startswith(_BUILT_IN) and not own):
            return False
        return match_levels(levels, name.split("/"))

    return Meaning(fits, sought(where.name(wanted).address()))


def _last_word(entry: Entry) -> Any:
    """The value that an endpoint has left; the bytes, if they are no value, None if there are none."""
    word = gone_of(entry.traits)
    if not word:
        return None
    at = 1 + (codes.ID_SIZE if word[0] == codes.TYPED else 0)
    try:
        return decode(word[at:], word[0], word[1:at], entry.uuid, None)
    except PayloadError:
        return word[at:]


class BasePresence:
    """Endpoints that are there, then those that come, go or change. Made by `presence`; `close()` ends it."""

    _host: BusHost

    def __init__(self, keep: object, host: Any, items: Items, wanted: Any) -> None:
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._meaning = meaning_of(wanted)
        self._wanted = wanted
        self._sightings = Sightings()
        items.queue = self._sightings  # type: ignore[assignment] # which is read like one
        self._items = items
        host.check()
        host.call(self._start)

    def __repr__(self) -> str:
        closed = ", closed" if self._items.ended else ""
        return f"<Presence of {self._wanted!r}, {len(self._sightings.here)} there{closed}>"

    def _start(self) -> None:
        host = self._host
        if host.presences is None:
            host.presences = WeakSet()
        host.presences.add(self)
        node = host.node
        node.watch_departures(True)
        for entry in [*node.own_entries(), *node.entries()]:
            self._come(entry)
        node.seek(self._meaning.address, host.now_ms())
        self._look_whole()

    def _look_whole(self) -> None:
        if self._host.node.knows_all(self._meaning.address):
            self._sightings.complete()

    def _come(self, entry: Entry) -> None:
        """An endpoint is there, or another than before."""
        peer = entry.peer
        key = (peer.node_id, entry.uuid)
        if entry.uuid in _HIDDEN or not self._meaning.fits(entry):
            self._sightings.drop(key, _REASONS[events.WITHDRAWN])
            return
        me = peer is self._host.node.me
        seen = Seen(endpoint_info(entry, peer.node_id), node_info(peer, me), peer.incarnation)
        self._sightings.put(key, seen)

    def _go(self, event: events.EndpointEvent) -> None:
        entry, how = event.entry, event.how
        key = (entry.peer.node_id, entry.uuid)
        seen = self._sightings.here.get(key)
        if seen is None or seen.incarnation != entry.peer.incarnation:
            return  # another incarnation has it by now
        if event.kind == events.ENDPOINT_GONE or how != events.LOST:
            word = _last_word(entry) if how == events.LOST else None
            self._sightings.drop(key, _REASONS[how], word)

    def _take(self, event: events.Event) -> None:
        """Something happened."""
        if isinstance(event, events.EndpointEvent):
            if event.kind == events.ENDPOINT_UP:
                self._come(event.entry)
            else:
                self._go(event)
        elif event.kind == events.NODE_CHANGED:
            assert isinstance(event, events.NodeEvent)
            for entry in event.peer.entries.values():
                self._come(entry)
        elif event.kind == events.SYNCED:
            self._look_whole()
        if self._sightings:
            self._items.rouse()

    def _finish(self) -> None:
        presences = self._host.presences
        if presences is not None:
            presences.discard(self)
            self._host.node.seek_only([other._meaning.address for other in presences])
        self._items.end()

    def _close(self) -> None:
        self._sightings.clear()
        self._finish()

    def close(self) -> Done:
        """Look no more. Twice is once. Of an AsyncBus it may be awaited."""
        self._host.look(self._close)
        return Done()


def notice(host: BusHost, event: events.Event) -> None:
    """Tell those who look; if nobody does any more, not even the core is to care."""
    looking = list(host.presences or ())
    if not looking:
        host.presences = None
        host.node.seek_only([])
        host.node.watch_departures(False)
    for presence in looking:
        presence._take(event)
