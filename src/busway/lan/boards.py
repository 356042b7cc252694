"""All Busway boards that show up at serial ports (`serial://*`) or in Bluetooth's range (`ble://*`): looks
for them again and again, and makes a link to each.

To open a serial port resets many boards, for it raises DTR. So a port is opened once: one at which no board
says HELLO is left alone until something else is plugged in there.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from busway.adapters import opening
from busway.adapters.dialled import DialledLink, Options
from busway.adapters.links import next_id
from busway.adapters.records import Change, LinkInfo
from busway.adapters.refusals import text_of
from busway.adapters.retrying import CLOSED, CONNECTED, CONNECTING, RECONNECTING, Retry
from busway.lan.dialling import FoundLink
from busway.lan.found import Finds, Found

BOARDS_MAX: Final = 64
LOOK_SERIAL_S: Final = 1.0  # between two looks at the ports: the list of them costs some milliseconds
LOOK_BLE_S: Final = 6.0  # between two scans, in which the radio serves its links
SCAN_S: Final = 4.0
BUSY_S: Final = 30.0  # a port of another program is looked at again
MISSED_MAX: Final = 3  # scans in which a device may be silent
_BY_PORT: Final = ("vid", "pid", "serial")
_NOT_USB = "it is not on USB, and what is there may take harm: connect it by its path"
_NO_BOARD = "no Busway board answered: it is left alone until it is plugged in again"


class Spot(NamedTuple):
    """A place where a board may be: `key` tells it from others, `url` is that of its link; `obstacle` says
    why it is not to be opened, and `lasts` whether that is so as long as it is there.
    """

    key: tuple[object, ...]
    url: str
    obstacle: str = ""
    lasts: bool = False


Scan = Callable[[frozenset[object]], list[Spot]]
"""A look at what is there; given the keys of spots of which nothing more has to be known."""


class Board:
    """A spot, and what came of it."""

    __slots__ = ("answered", "failures", "link", "missed", "next_try", "reason", "spot", "state")

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self.link: FoundLink | None = None
        self.answered = False  # a board has said HELLO there
        self.failures = 0
        self.missed = 0
        self.next_try = 0.0
        self.state = "seen"
        self.reason = ""


class _State:
    """The state of the whole as that of a link: what DialledLink shows of a Reconnector."""

    def __init__(self) -> None:
        self.state = CONNECTING
        self.attempt = 0
        self.next_at = -1.0
        self.error = ""
        self.losses = 0


def dial_all(host: Any, url: str, options: Options) -> tuple[Any, Any, bool]:
    """As `dial` of adapters/dialled.py, to all boards that a URL means: who looks for them already goes on,
    if it was asked for in the same way. Raises ValueError, TypeError, MissingLibrary.
    """
    if url.partition("?")[0] not in ("serial://*", "ble://*"):
        raise ValueError(f"{url!r}: * stands for all boards, and alone: serial://*?baud=115200 or ble://*")
    for link in list(host.dialled):
        if link.url == url:
            if link.options.same(options):
                return link, link.waiter(), False
            link.end("another connect to the same URL, with other options, took over")
    made = AllBoards(host, host.lan.finds, url, options)
    return made, made.waiter(), True


class AllBoards:
    """The keeper of what `connect("serial://*")` and `connect("ble://*")` make, with the face of Dialling:
    `link` is what users hold of it.
    """

    def __init__(self, host: Any, finds: Finds, url: str, options: Options) -> None:
        if options.retry is None:
            raise ValueError(f"{url} goes on looking: it cannot have retry=None")
        self.url = url
        self.options = options
        self.runner = None
        self.id = next_id()
        self.link = DialledLink(self)  # type: ignore[arg-type]  # it has the same face
        self.reconnector = _State()
        self._retry: Retry = options.retry
        self._host = host
        self._finds = finds
        self._boards: dict[object, Board] = {}
        self._warned = ""
        driver = opening.driver_of(url)
        opening.check_options(driver.dial, url, options.driver)
        scheme, _, rest = url.partition("://")
        self._how = scheme
        terms = options.terms
        self._each = Options(terms.token, options.driver, terms.realm, terms.cost, None, None)
        query = rest.partition("?")[2]
        if scheme == "serial":
            self._scan: Scan = partial(_scan_serial, _Asked(query))
            self._pause = LOOK_SERIAL_S
        elif query:
            raise ValueError(f"{url!r}: ble://* has no options")
        else:
            self._scan, self._pause = _scan_ble, LOOK_BLE_S
        host.dialled.add(self)
        self._look()

    # Called by the bus, as of Dialling

    def links(self) -> list[DialledLink]:
        """The links to boards that are there."""
        return [board.link.link for board in self._boards.values() if board.link is not None]

    def info(self) -> LinkInfo:
        """The whole as a link: it has none of its own."""
        known = self.reconnector
        return LinkInfo(
            b"", "", known.state, "localnet", self.url, None, 0, 0, self.url, error=known.error, id=self.id
        )

    def row(self) -> dict[str, object]:
        """For the introspection endpoint (docs/protocol.md, section 9)."""
        return {
            "url": self.url,
            "state": self.reconnector.state,
            "peer": b"",
            "label": "",
            "attempt": 0,
            "next_try_ms": -1,
            "error": self.reconnector.error,
            "losses": self.reconnector.losses,
        }

    def waiter(self) -> Any:
        """Done at once: boards come when they come."""
        future = self._host.loop.create_future()
        future.set_result(None)
        return future

    def close(self) -> None:
        """End it for good, from wherever that is called."""
        self._host.inside(self.end, "it was closed")

    def end(self, text: str) -> None:
        """Look no more, and end all links that came of it."""
        if self not in self._host.dialled:
            return
        self._host.dialled.discard(self)
        for board in list(self._boards.values()):
            self._drop(board, text)
        self._go(CLOSED)

    def bus_closed(self) -> None:
        """The bus ends the links itself."""
        self._host.dialled.discard(self)
        self.reconnector.state = CLOSED

    def abandon(self) -> None:
        """In a forked child: everything is the parent's."""

    # Looking

    def _look(self) -> None:
        if self not in self._host.dialled:
            return

        now = self._host.loop.time()
        settled = frozenset(
            key for key, board in self._boards.items() if board.link is not None or now < board.next_try
        )

        def look() -> None:
            found: list[Spot] | BaseException
            try:
                found = self._scan(settled)
            except Exception as error:  # noqa: BLE001 - told to the bus
                found = error
            self._host.soon(partial(self._looked, found))

        # Not in the bus's threads: its end does not wait for a scan.
        threading.Thread(target=look, name=f"busway-{self._how}", daemon=True).start()

    def _looked(self, found: list[Spot] | BaseException) -> None:
        if self not in self._host.dialled:
            return
        pause = self._pause
        if isinstance(found, BaseException):
            self._trouble(text_of(found))
            pause = BUSY_S
        else:
            self.reconnector.error = self._warned = ""
            self._take(found)
        self._host.loop.call_later(pause, self._look)

    def _trouble(self, text: str) -> None:
        self.reconnector.error = text
        if text != self._warned:
            self._warned = text
            self._host.remark(logging.WARNING, "%s: %s; it is tried again", self.url, text)

    def _take(self, spots: list[Spot]) -> None:
        """These are there now."""
        there = {spot.key: spot for spot in spots}
        for key, board in list(self._boards.items()):
            if key in there:
                board.missed = 0
                board.spot = there[key]
            elif board.link is None or self._how == "serial":
                board.missed += 1  # one that is linked is silent in Bluetooth's scans
                if self._how == "serial" or board.missed >= MISSED_MAX:
                    self._drop(board, "it is gone")
        for key, spot in there.items():
            if key not in self._boards and len(self._boards) < BOARDS_MAX:
                self._boards[key] = Board(spot)
        now = self._host.loop.time()
        for board in self._boards.values():
            self._try(board, now)
            self._tell(board)

    def _try(self, board: Board, now: float) -> None:
        if board.link is not None or board.missed or now < board.next_try:
            return
        if board.spot.obstacle:
            self._stop(board, "ignored", board.spot.obstacle, now, not board.spot.lasts)
        elif self._is_taken(board.spot.url):
            self._stop(board, "ignored", "another link of this program leads there", now, True)
        else:
            board.state, board.reason = "dialling", ""
            told = partial(self._told, board)
            board.link = FoundLink(self._host, board.spot.url, self._each, told)

    def _is_taken(self, url: str) -> bool:
        place = url.partition("?")[0]
        return any(place in (link.url.partition("?")[0], link.info().address) for link in self._host.dialled)

    def _stop(self, board: Board, state: str, reason: str, now: float, again: bool) -> None:
        board.state, board.reason = state, reason
        board.next_try = now + BUSY_S if again else float("inf")

    # What came of it

    def _told(self, board: Board, link: FoundLink, failure: BaseException | None) -> None:
        now = self._host.loop.time()
        if failure is None:
            board.answered, board.failures = True, 0
            board.state, board.reason = "joined", ""
        else:
            board.link = None
            self._over(board, link, failure, now)
        if board.spot.key in self._boards:
            self._tell(board)
        self._count()

    def _over(self, board: Board, link: FoundLink, failure: BaseException, now: float) -> None:
        if link.has_been_open:
            self.reconnector.losses += 1
        if board.answered or self._how == "ble":
            board.next_try = now + self._retry.length(board.failures)
            board.failures += 1
            board.state, board.reason = "unreachable", text_of(failure)
        elif isinstance(failure, TimeoutError):
            self._stop(board, "ignored", _NO_BOARD, now, False)
        elif isinstance(failure, OSError):  # it was not opened
            is_gone = failure.errno == errno.ENOENT
            self._stop(board, "unreachable", text_of(failure), now, True)
            board.next_try = now if is_gone else board.next_try
        else:
            self._stop(board, "refused", text_of(failure), now, False)

    def _drop(self, board: Board, text: str) -> None:
        del self._boards[board.spot.key]
        link, board.link = board.link, None
        if link is not None:
            link.end(text)
        self._finds.gone((self._how, board.spot.key))
        self._count()

    def _tell(self, board: Board) -> None:
        """Tell what has become of it."""
        info = None if board.link is None else board.link.info()
        known = info is not None and board.state == "joined"
        node = info.peer if info is not None and known else b""
        label = info.label if info is not None and known else ""
        found = Found(self._how, board.spot.url, node, label, board.state, board.reason)
        self._finds.tell((self._how, board.spot.key), found)

    def _count(self) -> None:
        if self.reconnector.state != CLOSED:
            joined = any(board.state == "joined" and board.link for board in self._boards.values())
            down = RECONNECTING if self.reconnector.losses else CONNECTING
            self._go(CONNECTED if joined else down)

    def _go(self, state: str) -> None:
        if state != self.reconnector.state:
            self.reconnector.state = state
            self._host.tell(Change("link-state", self.info(), 0, self.reconnector.error))


class _Asked:
    """The options of a serial:// URL that means all ports: those that say which ports, and those of each.
    Raises ValueError.
    """

    def __init__(self, query: str) -> None:
        from busway.drivers import serial_ports

        given = [part for part in query.split("&") if part]
        which = "&".join(part for part in given if part.partition("=")[0] in _BY_PORT)
        each = "&".join(part for part in given if part.partition("=")[0] not in _BY_PORT)
        self.of_each = f"?{each}" if each else ""
        self.wanted = serial_ports.parse(f"serial://?{which}") if which else serial_ports.Wanted()
        serial_ports.parse(f"serial:///port{self.of_each}")


def _scan_serial(asked: _Asked, settled: frozenset[object]) -> list[Spot]:
    """The ports that are meant, with what is in the way of opening those that are not `settled`."""
    from busway.drivers import serial_ports

    found = []
    for port in serial_ports.ports():
        if asked.wanted.matches(port):
            key = (port.device, port.vid, port.pid, port.serial_number)
            url = f"serial://{port.device}{asked.of_each}"
            if port.vid < 0:
                found.append(Spot(key, url, _NOT_USB, True))
                continue
            holder = "" if key in settled else serial_ports.holder(port.device)
            found.append(Spot(key, url, f"it is in use by {holder}" if holder else ""))
    return found


def _scan_ble(_settled: frozenset[object]) -> list[Spot]:
    """The devices that are heard within a scan. Raises OSError."""
    from busway.drivers import ble

    return [Spot((found.address,), f"ble://{found.address}") for found in ble.devices(SCAN_S)]
