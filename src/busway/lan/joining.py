"""Joins the programs of a bus on the local network: listens, has this program announced, takes what others
announce and what is remembered, and dials whom neighbours.py says.

For asyncio and threads alike: everything here is a callback of the loop and never blocks, but for `prepare`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from busway.adapters.dialled import Options
from busway.adapters.links import ListenerRunner
from busway.adapters.making import Terms
from busway.adapters.refusals import is_hopeless, text_of
from busway.drivers.tcp import TcpListener
from busway.errors import LinkRefused
from busway.lan import networks, remembered
from busway.lan.announced import ADDRESSES_MAX, Announced, bus_hash
from busway.lan.announcing import Announcer
from busway.lan.dialling import Neighbour, url_of
from busway.lan.found import Finds, Found
from busway.lan.known import Known, KnownOnes, OtherOnes
from busway.lan.neighbours import Candidate, Neighbours, Plan
from busway.protocol import codes

if TYPE_CHECKING:
    from busway.adapters.links import LinkRunner
    from busway.lan.dialling import Place
    from busway.protocol import Peer

LOOK_S: Final = 1.0  # between two looks at who is there
SOON_S: Final = 0.05  # after news: others are on their way
MANY: Final = 64  # programs that are known; of as many more it is looked so much later
NETWORKS_S: Final = 3.0  # between two looks at this machine's addresses
ASLEEP_S: Final = 10.0  # so much more has passed in the world than here: the machine has slept
DIALS_MAX: Final = 8  # at once
STRANGERS_BURST: Final = 16  # programs that no link was open to before, and that are dialled at once ...
STRANGERS_OF_ONE: Final = 2  # of one address, at once
STRANGERS_PER_S: Final = 2.0  # ... and in the long run
RECENT_S: Final = 3600.0  # a remembered program is written down again after so long
_BACKLOG: Final = 512
_TRIES: Final = 32  # for a port that is free in both families
_TRANSIENT: Final = (codes.DUPLICATE_LINK, codes.TOO_MANY)
_FAR = "none of its addresses is on a network of this machine"


class Prepared(NamedTuple):
    """All that was opened and read before the bus joins: the listening sockets, all of one port."""

    sockets: list[socket.socket]  # those of IPv4 and IPv6
    port: int
    memory: remembered.Memory
    trouble: str
    networks: tuple[networks.Network, ...]


def prepare(bus: str) -> Prepared:
    """Listen, and read what is remembered. Blocks. Raises OSError."""
    memory, trouble = remembered.Memory(), ""
    try:
        memory = remembered.load(remembered.path_of(bus), remembered.now())
    except (OSError, ValueError) as error:
        trouble = str(error)
    found = networks.look()
    for port in (*memory.ports, *[0] * _TRIES):
        sockets = _listen(port)
        if sockets:
            return Prepared(sockets, sockets[0].getsockname()[1], memory, trouble, found)
    raise OSError(errno.EADDRINUSE, "lan=True: no TCP port is free")


def _listen(port: int) -> list[socket.socket]:
    """Sockets for IPv4 and IPv6, as far as there are both; none if somebody has the port."""
    made: list[socket.socket] = []
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            made.append(socket.socket(family, socket.SOCK_STREAM))
        except OSError:
            continue  # there is no such family here
        try:
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[-1].bind((host, port))
            made[-1].listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6:
                made.pop().close()  # it is switched off
                continue
            for each in made:
                each.close()
            return []
        port = made[0].getsockname()[1]
    return made


class Joining:
    """Args: `host` the bus's, `finds` where it tells what it found, `token` that all on this bus have, or
    None where keys decide; `prepared` as above.
    """

    def __init__(self, host: Any, finds: Finds, token: str | None, prepared: Prepared) -> None:
        self._host = host
        self._finds = finds
        self._options = Options(token, {}, None, None, None, None)
        self._hash = bus_hash(host.node.bus)
        self._path = remembered.path_of(host.node.bus)
        self._networks = prepared.networks
        self._port = prepared.port
        self._known = KnownOnes(finds.gone)
        self._others = OtherOnes(finds.gone)
        self._neighbours = Neighbours(host.node.node_id)
        self._stopped = False
        self._timer: Any = None
        self._due = 0.0
        self._allowance = float(STRANGERS_BURST)
        self._looked_at = self._slept_at = host.loop.time()
        self._wall = time.time()
        self._saving = False
        self._trust_version = -1
        self._urls: set[str] = set()
        self._incoming: set[bytes] = set()
        self._remember(prepared)
        self._listen(prepared.sockets, token)
        self._announcer = Announcer(
            host.node.node_id,
            host.node.bus,
            self._port,
            lambda name, said: host.soon(partial(self._seen, name, said)),
            lambda text: host.soon(partial(self._mdns_trouble, text)),
        )
        self._announcer.update(self._networks)
        self._save()
        host.loop.call_later(NETWORKS_S, self._look_at_networks)
        self._look()

    # The beginning

    def _remember(self, prepared: Prepared) -> None:
        if prepared.trouble:
            self._host.remark(logging.WARNING, "what was remembered of the network: %s", prepared.trouble)
        now = self._host.loop.time()
        for place in prepared.memory.places:
            if place.node_id != self._host.node.node_id:
                places = [(address, place.port) for address in place.addresses]
                self._known.remember(place.node_id, places, place.worked, now)

    def _listen(self, sockets: list[socket.socket], token: str | None) -> None:
        for each in sockets:
            host, port = each.getsockname()[:2]
            url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
            runner = ListenerRunner(self._host, TcpListener(each, url), Terms(token))
            self._host.listeners.add(runner)
            self._urls.add(url)

    # News, from whatever thread

    def _seen(self, name: str, said: Announced | str | None) -> None:
        """An announcement came, changed or was taken back."""
        if self._stopped:
            return
        if isinstance(said, Announced) and said.bus == self._hash:
            if self._others.discard(name):
                self._finds.gone(name)
            if said.node_id != self._host.node.node_id:
                self._announced(said)
            return
        self._taken_back(name)
        if said is None:
            if self._others.discard(name):
                self._finds.gone(name)
            return
        self._others.add(name)
        if isinstance(said, str):
            self._finds.tell(name, Found("mdns", name, b"", "", "ignored", said))
        else:
            url = url_of((said.addresses[0], said.port))
            self._finds.tell(name, Found("mdns", url, said.node_id, "", "other bus", ""))

    def _announced(self, said: Announced) -> None:
        known = self._known.announce(said, self._host.loop.time(), self._is_kept)
        self._host.node.counters["lan_turned_away"] = self._known.turned_away
        if known is not None:
            self.look_soon()

    def _is_kept(self, known: Known) -> bool:
        return known.node_id in self._host.node.routes.peers

    def _taken_back(self, name: str) -> None:
        try:
            known = self._known.find(bytes.fromhex(name.partition(".")[0]))
        except ValueError:
            return
        if known is None or not known.announced:
            return
        known.announced = False
        if known.worked:
            known.how = "remembered"  # its announcement may be back, or anybody has said so
        elif known.dialling is None:
            self._forget(known)
        self.look_soon()

    def _forget(self, known: Known) -> None:
        self._known.forget(known)
        self._finds.gone(known.node_id)

    def _mdns_trouble(self, text: str) -> None:
        """Nothing can be announced now, or it can again."""
        if self._stopped:
            return
        if text:
            self._host.remark(
                logging.WARNING,
                "mDNS is not to be had: %s; remembered addresses are tried all the same",
                text,
            )
        else:
            self._host.remark(logging.INFO, "mDNS: this program is announced")

    # The networks of this machine

    def _look_at_networks(self) -> None:
        if self._stopped:
            return
        self._host.loop.call_later(NETWORKS_S, self._look_at_networks)
        self._host.in_thread(networks.look, self._looked)

    def _looked(self, found: Any, error: BaseException | None) -> None:
        now, wall = self._host.loop.time(), time.time()
        passed, passed_in_world = now - self._slept_at, wall - self._wall
        self._slept_at, self._wall = now, wall
        slept = max(passed, passed_in_world) > NETWORKS_S + ASLEEP_S
        if self._stopped or error is not None or (found == self._networks and not slept):
            return
        if found != self._networks:
            self._host.remark(logging.INFO, "the addresses of this machine are now: %s", _listed(found))
        self._networks = found
        self._known.try_anew()
        self._announcer.update(found)
        self.look_soon()

    # Who is there, and whom to dial

    def look_soon(self) -> None:
        """Something has changed."""
        # The more there are, the longer a look takes: who floods the network brings none about sooner.
        self._look_at(self._host.loop.time() + SOON_S * (1 + len(self._known) // MANY))

    def _look_at(self, due: float) -> None:
        if self._stopped or (self._timer is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._host.loop.call_later(max(0.0, due - self._host.loop.time()), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._stopped:
            return
        now = self._host.loop.time()
        passed, self._looked_at = now - self._looked_at, now
        self._allowance = min(float(STRANGERS_BURST), self._allowance + passed * STRANGERS_PER_S)
        self._look_at_trust()
        links = self._links()
        peers = self._host.node.routes.peers
        candidates = [self._candidate(known, peers.get(known.node_id), links, now) for known in self._known]
        unknown = [node_id for node_id in links if self._known.find(node_id) is None]
        candidates += [Candidate(node_id, True, False, True, False) for node_id in unknown]
        self._act(self._neighbours.decide(candidates, now), links, now)
        self._tell_incoming({node_id: links[node_id] for node_id in unknown})
        for known in self._known:
            self._judge(known, peers.get(known.node_id), links.get(known.node_id))
        self._look_at(now + LOOK_S)

    def _links(self) -> dict[bytes, LinkRunner]:
        """The links on the local network that others dialled, or this program did, by node."""
        found: dict[bytes, list[LinkRunner]] = {}
        for runner in self._host.runners:
            peer = runner.connection.peer
            if peer is None or runner.connection.opened_at < 0 or runner.connection.close_code >= 0:
                continue
            if isinstance(runner.owner, Neighbour) or self._urls.intersection(runner.listeners):
                found.setdefault(peer.node_id, []).append(runner)
        return {node_id: self._one_of(node_id, runners) for node_id, runners in found.items()}

    def _one_of(self, node_id: bytes, runners: list[LinkRunner]) -> LinkRunner:
        """The link that stays: where both have dialled at once that of the one with the smaller id; the other
        ends its own.
        """
        mine = [runner for runner in runners if runner.owner is not None]
        theirs = [runner for runner in runners if runner.owner is None]
        if not mine or not theirs:
            return runners[0]
        if self._host.node.node_id < node_id:
            return mine[0]
        for runner in mine:
            self._give_up(runner)
        return theirs[0]

    def _candidate(
        self, known: Known, peer: Peer | None, links: dict[bytes, LinkRunner], now: float
    ) -> Candidate:
        runner = links.get(known.node_id)
        given = runner is None and peer is not None and bool(peer.connections)
        return Candidate(
            known.node_id,
            linked=runner is not None or given,
            mine=runner is not None and runner.owner is not None,
            reachable=peer is not None,
            may_dial=known.dialling is not None or (now >= known.next_try and self._may_dial(known, now)),
            given=given,
            eager=not known.announced,
        )

    def _may_dial(self, known: Known, now: float) -> bool:
        if known.is_refused or not (known.announced or known.worked):
            return False
        return any(not self._known.is_resting(host, now) for host, _ in known.near_places(self._networks))

    def _tell_incoming(self, runners: dict[bytes, LinkRunner]) -> None:
        """Tell of those who came by themselves, and of whom nothing else is known."""
        for node_id in self._incoming - runners.keys():
            self._incoming.discard(node_id)
            self._finds.gone(("incoming", node_id))
        for node_id, runner in runners.items():
            self._incoming.add(node_id)
            peer = runner.connection.peer
            label = "" if peer is None else peer.label
            found = Found("incoming", runner.channel.address, node_id, label, "joined", "")
            self._finds.tell(("incoming", node_id), found)

    def _act(self, plan: Plan, links: dict[bytes, LinkRunner], now: float) -> None:
        under_way = sum(known.dialling is not None and not known.dialling.is_open for known in self._known)
        wanted = [known for known in map(self._known.find, plan.dial) if known and known.dialling is None]
        for known in sorted(wanted, key=lambda each: -each.worked_at):
            if under_way >= DIALS_MAX:
                break
            if known.worked or self._may_try(known):
                under_way += 1
                self._dial(known, now)
        for node_id in plan.close:
            self._give_up(links.get(node_id))

    def _may_try(self, stranger: Known) -> bool:
        """Whether one may be dialled now that no link was open to before; it is counted then."""
        hosts = {host for host, _ in stranger.places}
        beside = [
            known
            for known in self._known
            if known.dialling is not None
            and not known.dialling.is_open
            and not hosts.isdisjoint(host for host, _ in known.places)
        ]
        if self._allowance < 1 or len(beside) >= STRANGERS_OF_ONE:
            return False
        self._allowance -= 1
        return True

    def _dial(self, known: Known, now: float) -> None:
        near = known.first_places(self._networks)
        places = [place for place in near if not self._known.is_resting(place[0], now)] or near
        known.state, known.reason = "dialling", ""
        told = partial(self._told, known, places)
        known.dialling = Neighbour(self._host, places, self._options, told)

    def _give_up(self, runner: LinkRunner | None) -> None:
        """There are enough without this link."""
        if runner is None:
            return
        if isinstance(runner.owner, Neighbour):
            runner.owner.end("there are enough neighbours")
        else:
            runner.connection.close(self._host.now_ms())

    # What came of it

    def _told(self, known: Known, places: list[Any], link: Neighbour, failure: BaseException | None) -> None:
        """A dialled link is open, or over."""
        if self._stopped:
            return
        now = self._host.loop.time()
        if failure is None:
            self._opened(known, link)
        else:
            if known.dialling is link:
                known.dialling = None
            self._over(known, places, link, failure, now)
        self.look_soon()

    def _opened(self, known: Known, link: Neighbour) -> None:
        peer = link.info().peer
        if peer != known.node_id:
            known = self._another(known, link, peer)
        known.try_anew()
        known.refused.clear()
        if link.worked is not None:
            self._works(known, link.worked)

    def _works(self, known: Known, place: Place) -> None:
        """A link to there is open; that is written down now and then."""
        self._known.absolve(place[0])
        if known.worked != place or time.time() - known.worked_at > RECENT_S:
            known.worked, known.worked_at = place, time.time()
            self._save()

    def _another(self, known: Known, link: Neighbour, peer: bytes) -> Known:
        """A program of this bus answers where another one was: it has taken the other's place."""
        known.dialling = None
        if known.announced and known.worked != link.worked:
            known.refused.update(known.all_places())
            known.state, known.reason = "refused", "another program of this bus answers there"
        else:
            self._forget(known)
        places = [link.worked] if link.worked is not None else known.places
        found = self._known.find(peer) or self._known.remember(
            peer, places, time.time(), self._host.loop.time()
        )
        if found is None or found.dialling is not None:
            return known
        found.dialling = link
        return found

    def _over(
        self, known: Known, places: list[Any], link: Neighbour, failure: BaseException, now: float
    ) -> None:
        if link.has_been_open:
            if link.end_code == codes.GOODBYE:
                self._neighbours.given_up_by(known.node_id, now)
            return
        known.failed(now)
        known.reason = text_of(failure)
        known.state = "refused" if isinstance(failure, LinkRefused) else "unreachable"
        if isinstance(failure, LinkRefused) and is_hopeless(failure) and failure.code not in _TRANSIENT:
            known.refused.update(places)
        for host, _ in places:
            self._known.strike(host, now)
        if not known.announced and not known.worked:
            self._forget(known)

    def _look_at_trust(self) -> None:
        """Forget refusals once the trust has changed."""
        trust = self._host.identity.trust
        if trust is None or trust.version() == self._trust_version:
            return
        self._trust_version = trust.version()
        for known in self._known:
            known.refused.clear()

    def _note_place(self, known: Known, runner: LinkRunner) -> None:
        """Remember where one listens that has dialled this program, if it came from there."""
        if runner.owner is None:
            came_from = _plain(runner.connection.link.address.partition("://")[2].rpartition(":")[0])
            places = [place for place in known.places if _plain(place[0]) == came_from]
        else:
            places = [known.worked] if known.worked else []
        if places:
            self._works(known, places[0])

    def _judge(self, known: Known, peer: Peer | None, runner: LinkRunner | None) -> None:
        """Tell what has become of it."""
        if peer is not None and peer.connections:
            known.state, known.reason = "joined", ""
            if runner is not None:
                self._note_place(known, runner)
        elif known.dialling is not None:
            known.state, known.reason = "dialling", ""
        elif peer is not None:
            known.state, known.reason = "enough", ""
        elif not known.is_refused and not known.near_places(self._networks):
            known.state, known.reason = "ignored", _FAR
        elif known.state in ("joined", "enough", "dialling", "ignored"):
            known.state, known.reason = "seen", ""
        label = "" if peer is None else peer.label
        url = url_of(known.worked or known.places[0])
        found = Found(known.how, url, known.node_id, label, known.state, known.reason)
        self._finds.tell(known.node_id, found)

    # What is remembered

    def _save(self) -> None:
        """Soon, and all that has worked by then at once."""
        if not self._saving:
            self._saving = True
            self._host.loop.call_later(SOON_S, self._save_now)

    def _save_now(self) -> None:
        if self._saving:
            self._saving = False
            self._host.in_thread(self._writing(), self._saved)

    def _writing(self) -> Callable[[], None]:
        """A function that writes all that has worked, and blocks."""
        places = [
            remembered.Place(known.node_id, _named_zones(known), known.worked[1], known.worked_at)
            for known in self._known
            if known.worked and known.worked_at > 0
        ]
        return partial(remembered.worked, self._path, places, [self._port], remembered.now())

    def _saved(self, _: Any, error: BaseException | None) -> None:
        if error is not None and not self._stopped:
            self._host.remark(logging.WARNING, "addresses that worked are not remembered: %s", error)

    # The end

    def stop(self) -> None:
        """Nobody is dialled any more, and the announcement is taken back. Twice is once."""
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._announcer.close()
        if self._saving:
            self._saving = False
            with contextlib.suppress(RuntimeError):  # the interpreter ends, and starts no thread any more
                # The end of the program waits for that one.
                threading.Thread(target=_quietly, args=(self._writing(),), name="busway-remember").start()

    def abandon(self) -> None:
        """In a forked child: the announcer's threads are the parent's."""
        self._stopped = True


def _quietly(write: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        write()


def _plain(host: str) -> str:
    """An address without brackets and zone."""
    return host.removeprefix("[").removesuffix("]").partition("%")[0]


def _named_zones(known: Known) -> tuple[str, ...]:
    """Its addresses, the one that worked first, with interfaces by name: numbers change."""
    assert known.worked is not None
    hosts = [host for host, port in known.all_places() if port == known.worked[1]]
    found = []
    for host in hosts:
        plain, mark, zone = host.partition("%")
        if zone.isdigit():
            try:
                zone = socket.if_indextoname(int(zone))
            except OSError:
                continue
        found.append(plain + mark + zone)
    return tuple(dict.fromkeys(found))[:ADDRESSES_MAX]


def _listed(found: tuple[networks.Network, ...]) -> str:
    return ", ".join(f"{each.address}%{each.interface}" for each in found) or "none"
