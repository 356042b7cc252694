"""The cases that are measured, each with the variants that take part in it."""

from __future__ import annotations

from typing import Any

KIB = 1024
SIZES = (16, 64, KIB, 4 * KIB, 16 * KIB, KIB * KIB)
MEMORY_MOST = 256 * KIB * KIB  # bytes of one round: what goes through a broker waits there


class Case:
    """One row.

    Args:
        key: as in `--cases`, in the JSON and for the bars.
        title: for people.
        do: the method of the workers.
        unit: "rate", messages a second, or "time", seconds of one round trip.
        variants: keys of those that take part.
        team: which team plays it.
        count: messages of the first, short run.
        job: more for the workers, as the size.
    """

    def __init__(
        self,
        key: str,
        title: str,
        do: str,
        unit: str,
        variants: tuple[str, ...],
        *,
        team: str = "pair",
        count: int = 300,
        **job: Any,
    ) -> None:
        self.key, self.title, self.do, self.unit = key, title, do, unit
        self.variants, self.team, self.count, self.job = variants, team, count, {"size": 16, **job}

    @property
    def most(self) -> int:
        """Messages of one round, at the most."""
        return max(10, MEMORY_MOST // self.job["size"])


def size_of(size: int) -> str:
    if size >= KIB * KIB:
        return f"{size // KIB // KIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB else f"{size} B"


BUSWAY = ("busway-asyncio-compiled", "busway-asyncio-pure")
THREADS = ("busway-threads-compiled", "busway-threads-pure")
UVLOOP = ("busway-uvloop-compiled",)


def one_way() -> list[Case]:
    cases = []
    for size in SIZES:
        variants: tuple[str, ...] = (*BUSWAY, "pyzmq", "zenoh", "socket")
        if size in (64, 16 * KIB):
            variants += (*THREADS, "pyzmq-asyncio", "nats", "dbus")
        count = max(8, min(300, 4 * KIB * KIB // size))
        title = f"one way, {size_of(size)}"
        cases.append(Case(f"way-{size}", title, "way", "rate", variants, count=count, size=size))
    return cases


def bulk() -> list[Case]:
    return [
        Case(
            f"bulk-{size}",
            f"one way in bulk, {size_of(size)}",
            "bulk",
            "rate",
            (*BUSWAY, "socket"),
            size=size,
        )
        for size in SIZES[:4]
    ]


def round_trips() -> list[Case]:
    loops = (*BUSWAY, *UVLOOP, "pyzmq-asyncio", "pyzmq-uvloop", "nats", "dbus", "socket-asyncio")
    blocking = (*THREADS, "pyzmq", "zenoh", "socket")
    many = (*BUSWAY, "pyzmq", "pyzmq-asyncio")
    return [
        Case("trip-asyncio", "round trip asyncio, 16 B", "trip", "time", loops, count=50),
        Case("trip-blocking", "round trip blocking, 16 B", "trip", "time", blocking, count=50),
        Case("trips", "32 requests under way, 16 B", "trips", "rate", many, count=200, others=32),
    ]


def short() -> list[Case]:
    """The cases of `make bench`."""
    return [*one_way(), *round_trips()]
