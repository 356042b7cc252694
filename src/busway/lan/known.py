"""The programs that are known on the local network: announced or remembered, within bounds, and what came of
dialling each. Reads no clock, opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from busway.lan.announced import Announced
from busway.lan.networks import Network, near

if TYPE_CHECKING:
    from busway.lan.dialling import Neighbour, Place

KNOWN_MAX: Final = 1024
OTHERS_MAX: Final = 256  # of other buses, or wrong
STRIKES_MAX: Final = 1024  # addresses at which dials failed
_AGAIN_S: Final = 2.0
_AGAIN_WORKED_S: Final = 0.25  # where a link was open before, which may be just about to start
_AGAIN_MAX_S: Final = 600.0
_FREE_STRIKES: Final = 4  # of one address: several programs of a machine may have ended at once
_STRIKE_S: Final = 1.0
_STRIKE_MAX_S: Final = 600.0
_STEPS_MAX: Final = 16


class Known:
    """A program of this bus, as far as is known."""

    __slots__ = (
        *("_near", "announced", "dialling", "failures", "how", "next_try", "node_id", "places", "reason"),
        *("refused", "since", "state", "unannounced", "worked", "worked_at"),
    )

    def __init__(self, node_id: bytes, how: str, places: list[Place], since: float) -> None:
        self.node_id = node_id
        self.how = how
        self.places = places
        self.since = since
        self.announced = how == "mdns"
        self.dialling: Neighbour | None = None
        self.failures = 0
        self.next_try = 0.0
        self.refused: set[Place] = set()  # at which it, or somebody else, does not let this one in
        self.state = "seen"
        self.reason = ""
        self.worked: Place | None = None
        self.worked_at = 0.0  # seconds since 1970
        # On which networks, of all places, which are near.
        self._near: tuple[tuple[Network, ...], list[Place], list[Place]] = ((), [], [])

    def all_places(self) -> list[Place]:
        """All to dial, the one that worked first."""
        return list(dict.fromkeys([*([self.worked] if self.worked else []), *self.places]))

    def first_places(self, networks: tuple[Network, ...]) -> list[Place]:
        """The ones to dial now: of one that is remembered at first what worked, alone, for others that do not
        answer take long.
        """
        near_ones = self.near_places(networks)
        alone = not self.failures and not self.announced and near_ones[:1] == [self.worked]
        return near_ones[:1] if alone else near_ones

    def near_places(self, networks: tuple[Network, ...]) -> list[Place]:
        """Of these, those on networks of this machine. Several machines may have one address on networks of
        their own, as of virtual machines: one that is this machine's, too, counts where there is no other.
        """
        places = self.all_places()
        if self._near[0] is not networks or self._near[1] != places:  # hundreds are looked at each second
            self._near = (networks, places, [place for place in places if near(place[0], networks)])
        found = [place for place in self._near[2] if place not in self.refused]
        if not found:
            return found
        own = {each.address for each in networks}
        return [place for place in found if place[0].partition("%")[0] not in own] or found

    @property
    def is_refused(self) -> bool:
        """Whether it was told, or has told, that it may not join, and has announced nothing else since."""
        return self.refused.issuperset(self.all_places())

    def failed(self, now: float) -> None:
        """A dial came to nothing: the next one waits ever longer."""
        first = _AGAIN_WORKED_S if self.worked else _AGAIN_S
        wait = min(first * 2 ** min(self.failures, _STEPS_MAX), _AGAIN_MAX_S)
        self.failures += 1
        self.next_try = now + wait

    def try_anew(self) -> None:
        """The network is another one: what failed before may work now."""
        self.failures = 0
        self.next_try = 0.0


class KnownOnes:
    """All programs that are known, at most KNOWN_MAX; those that never worked make room. Args: `gone` is told
    each that did.
    """

    def __init__(self, gone: Callable[[bytes], object]) -> None:
        self._gone = gone
        self._all: dict[bytes, Known] = {}
        self._strikes: dict[str, tuple[int, float]] = {}
        self.turned_away = 0

    def __iter__(self) -> Iterator[Known]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def find(self, node_id: bytes) -> Known | None:
        """That one, if it is known."""
        return self._all.get(node_id)

    def remember(self, node_id: bytes, places: list[Place], worked_at: float, now: float) -> Known | None:
        """One of the file."""
        found = self._add(node_id, "remembered", places, now, lambda known: False)
        if found is not None:
            found.worked, found.worked_at = places[0], worked_at
        return found

    def announce(self, said: Announced, now: float, is_kept: Callable[[Known], bool]) -> Known | None:
        """It is announced, or says something new; None if there is no room. `is_kept` tells who must not make
        room for it.
        """
        places = [(address, said.port) for address in said.addresses]
        found = self._all.get(said.node_id)
        if found is None:
            return self._add(said.node_id, "mdns", places, now, is_kept)
        if found.places != places:
            found.places = places
            found.refused.clear()
            found.try_anew()
        found.how, found.announced = "mdns", True
        return found

    def _add(
        self, node_id: bytes, how: str, places: list[Place], now: float, is_kept: Callable[[Known], bool]
    ) -> Known | None:
        if len(self._all) >= KNOWN_MAX:
            idle = [
                each
                for each in self._all.values()
                if each.dialling is None and not each.worked and not is_kept(each)
            ]
            if not idle:
                self.turned_away += 1
                return None
            # Of those that came to nothing, else of all, the one that is longest known.
            least = min(idle, key=lambda each: (not each.failures and not each.is_refused, each.since))
            self.forget(least)
            self._gone(least.node_id)
        made = self._all[node_id] = Known(node_id, how, places, now)
        return made

    def forget(self, known: Known) -> None:
        """It is gone."""
        self._all.pop(known.node_id, None)

    # Addresses at which nobody answers, or somebody else

    def strike(self, address: str, now: float) -> None:
        """A dial at this address came to nothing. Whoever announces others' addresses has them dialled ever
        more seldom.
        """
        count = self._strikes.pop(address, (0, 0.0))[0] + 1
        over = count - _FREE_STRIKES
        wait = 0.0 if over <= 0 else min(_STRIKE_S * 2 ** min(over, _STEPS_MAX), _STRIKE_MAX_S)
        if len(self._strikes) >= STRIKES_MAX:
            del self._strikes[next(iter(self._strikes))]
        self._strikes[address] = (count, now + wait)

    def is_resting(self, address: str, now: float) -> bool:
        """Whether nobody is to be dialled there now."""
        return self._strikes.get(address, (0, 0.0))[1] > now

    def absolve(self, address: str) -> None:
        """A link to there is open."""
        self._strikes.pop(address, None)

    def try_anew(self) -> None:
        """The network is another one."""
        self._strikes.clear()
        for known in self._all.values():
            known.try_anew()


class OtherOnes:
    """Announcements that are none of this bus's: kept to be shown, and bounded. Args: `gone` is told those
    that make room.
    """

    def __init__(self, gone: Callable[[str], object]) -> None:
        self._names: dict[str, Any] = {}
        self._gone = gone

    def add(self, name: str) -> None:
        """It is there."""
        if name not in self._names and len(self._names) >= OTHERS_MAX:
            oldest = next(iter(self._names))
            del self._names[oldest]
            self._gone(oldest)
        self._names[name] = None

    def discard(self, name: str) -> bool:
        """Whether it was there."""
        return self._names.pop(name, self) is None
