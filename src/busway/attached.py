"""Open files and regions of memory that go with a payload between programs of one user on one machine.

Knows no bus. Loaded when a program first sends or gets some.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic

from busway.files import FILES_MAX, File, given
from busway.protocol.messaging import carried

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from busway.drivers.descriptors import Descriptor
    from busway.files import HasFileno
    from busway.memory.region import Region
    from busway.protocol.messaging.carried import Carrier

    T_co = TypeVar("T_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

Things = tuple["Descriptor", ...]
Opened = tuple[list[File], list["Region"]]


_NONE: Final[Any] = None  # of whatever type is wanted


class Attached(Generic[T_co]):
    """A value with open files and regions: what a handler answers that gives some, what `send_many` takes
    among its payloads, and what `request`, `request_stream` and `request_all` give of an answer with
    `attached=True`. In contracts of services `Attached[str]` annotates an argument or a result with some.

    Args:
        payload: the value.
        files: open files, sockets, descriptors' numbers or `busway.File`s; copied at once, so that the caller
            may close its own.
        regions: `busway.Region`s.

    At most 64 in all. Raises TypeError; ValueError: one is closed, or they are too many; OSError.
    """

    __slots__ = ("_opened", "_region_count", "_things", "goes_once", "payload")

    payload: T_co
    _things: Things  # until they are opened
    _region_count: int
    _opened: Opened | None
    goes_once: bool

    def __init__(
        self,
        payload: T_co = _NONE,
        *,
        files: Iterable[int | HasFileno] = (),
        regions: Iterable[Region] = (),
    ) -> None:
        self.payload = payload
        self._things, self._region_count = gathered(files, regions)
        self._opened = None
        self.goes_once = False

    @classmethod
    def once(cls, payload: Any, files: Any, regions: Any) -> Attached[Any]:
        """One that is to be sent once: it keeps nothing open that has left."""
        made = cls(payload, files=files, regions=regions)
        made.goes_once = True
        return made

    @classmethod
    def came(cls, payload: Any, things: Things, region_count: int) -> Attached[Any]:
        """A value, and what came with it."""
        made = cls.__new__(cls)
        made.payload = payload
        made._things, made._region_count = things, region_count
        made._opened = None
        made.goes_once = False
        return made

    @classmethod
    def brought(cls, message: Carrier, payload: Any) -> Attached[Any]:
        """A value, and what came with a message, which has that no longer."""
        carried = getattr(message, "beside", None)
        if carried is None:
            return cls.came(payload, (), 0)
        things, carried.items = carried.items, ()
        return cls.came(payload, things, carried.region_count)

    def around(self, payload: Any, *, once: bool = False) -> Attached[Any]:
        """The same files and regions with another value; `once`: it is to be sent once."""
        made = self.came(payload, self._things, self._region_count)
        made._opened = self._opened
        made.goes_once = once
        return made

    def __repr__(self) -> str:
        return f"<Attached {self.payload!r:.60}>"

    @property
    def files(self) -> list[File]:
        """The files, the same each time: close them, as `File` says. Raises OSError: there are no descriptors
        left to open them.
        """
        return self._open()[0]

    @property
    def regions(self) -> list[Region]:
        """The regions, the same each time. Raises ValueError: what came is none; OSError."""
        return self._open()[1]

    def _open(self) -> Opened:
        if self._opened is None:
            self._opened = opened(self._things, self._region_count)
            self._things = ()
        return self._opened

    def words(self) -> dict[str, Any]:
        """All that goes along, as arguments of the core. Raises ValueError: a file was closed meanwhile."""
        things, count = self._things, self._region_count
        if self._opened is not None:
            things, count = gathered(*self._opened)
        if self.goes_once:
            self._things = ()
        return {"things": things, "regions": count} if things else {}


def gathered(files: Iterable[int | HasFileno] | None, regions: Iterable[Region] | None) -> tuple[Things, int]:
    """Descriptors of regions and files, in this order, which are closed when nobody holds them any more; and
    how many are regions. Raises as Attached.
    """
    memory: Things = ()
    if regions is not None and regions != ():
        from busway.memory import region

        memory = region.given(regions, FILES_MAX + 1)
    found = () if files is None else given(files)
    if len(memory) + len(found) > FILES_MAX:
        raise ValueError(
            f"a message carries at most {FILES_MAX} files and regions,"
            f" not {len(memory) + len(found)} or more: send several"
        )
    return memory + found, len(memory)


def opened(things: Things, region_count: int) -> Opened:
    """Files and regions of what came, for the program that it came to: copies, for others of the same program
    may have been given the same. Raises ValueError, OSError.
    """
    regions: list[Region] = []
    if region_count:
        from busway.memory import region

        regions = [region.received(each) for each in things[:region_count]]
    copies = [each.copy() for each in things[region_count:]]
    return [File.owning(each) for each in copies], regions


carried.open_with(opened)
