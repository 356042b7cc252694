"""The cases that are measured, each with the variants that take part in it."""

from __future__ import annotations

from typing import Any

from benchmarks.bench.variants import Variant

KIB = 1024
SIZES = (16, 64, KIB, 4 * KIB, 16 * KIB, KIB * KIB)
BULK, BULK_MOST = "in bulk", 4 * KIB
BYTES_MOST = 256 * KIB * KIB  # of one round
BROKER_BYTES_MOST = 32 * KIB * KIB  # which has no flow control: what comes too fast waits there


class Arm:
    """One of those that are compared in a case.

    Args:
        variant: its key.
        label: tells it from others of the same variant.
        team: which team plays it.
        copies: of each message; figures are those of a copy.
        pin: on which cores the workers run: "one", "two", or "" where the system wants.
        load: whether as many programs as there are cores compute meanwhile.
        do: the method of the workers, where it is not the case's.
        job: more for the workers.
    """

    def __init__(
        self,
        variant: str,
        label: str = "",
        team: str = "pair",
        *,
        copies: int = 1,
        do: str = "",
        pin: str = "",
        load: bool = False,
        **job: Any,
    ) -> None:
        self.pin, self.load = pin, load
        self.variant, self.label, self.team, self.copies = variant, label, team, copies
        self.do, self.job = do, job
        self.key = f"{variant}@{label}" if label else variant


class Case:
    """One row.

    Args:
        key: as in `--cases`, in the JSON and for the bars.
        title: for people.
        do: the method of the workers.
        unit: "rate", messages a second, or "time", seconds of one round trip.
        arms: those that are compared; a variant's key stands for an arm without more.
        count: messages of the first, short run.
        job: more for the workers, as the size.
    """

    def __init__(
        self,
        key: str,
        title: str,
        do: str,
        unit: str,
        arms: tuple[str | Arm, ...],
        *,
        count: int = 300,
        **job: Any,
    ) -> None:
        self.key, self.title, self.do, self.unit = key, title, do, unit
        self.arms = [Arm(one) if isinstance(one, str) else one for one in arms]
        self.count, self.job = count, {"size": 16, **job}

    def most(self, variant: Variant) -> int:
        """Messages of one round, at the most."""
        return max(10, int((BROKER_BYTES_MOST if variant.broker else BYTES_MOST) // self.job["size"]))


def size_of(size: int) -> str:
    if size >= KIB * KIB:
        return f"{size // KIB // KIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB else f"{size} B"


BUSWAY = ("busway-asyncio-compiled", "busway-asyncio-pure")
THREADS = ("busway-threads-compiled", "busway-threads-pure")
UVLOOP = ("busway-uvloop-compiled",)


def one_way(sizes: tuple[int, ...], more: tuple[int, ...]) -> list[Case]:
    """All of `sizes`, up to 4 KiB also in bulk; for those of `more` other interfaces and brokers beside."""
    cases = []
    for size in sizes:
        arms: list[str | Arm] = [*BUSWAY, "pyzmq", "zenoh", "socket"]
        if size <= BULK_MOST:
            arms += [Arm(key, BULK, do="bulk") for key in (*BUSWAY, "socket")]
        if size in more:
            arms += [*THREADS, "pyzmq-asyncio", "nats", "dbus"]
        count, title = max(8, min(300, 4 * KIB * KIB // size)), f"one way, {size_of(size)}"
        cases.append(Case(f"way-{size}", title, "way", "rate", tuple(arms), count=count, size=size))
    return cases


def round_trips() -> list[Case]:
    loops = (*BUSWAY, *UVLOOP, "pyzmq-asyncio", "pyzmq-uvloop", "nats", "dbus", "socket-asyncio")
    blocking = (*THREADS, "pyzmq", "zenoh", "socket")
    many = (*BUSWAY, *THREADS, "pyzmq", "pyzmq-asyncio")
    return [
        Case("trip-asyncio", "round trip asyncio, 16 B", "trip", "time", loops, count=50),
        Case("trip-blocking", "round trip blocking, 16 B", "trip", "time", blocking, count=50),
        Case("trips", "32 requests under way, 16 B", "trips", "rate", many, count=200, others=32),
    ]


def fan_out(subscribers: int, keys: tuple[str, ...]) -> Case:
    arms = tuple(Arm(key, team=f"fan-{subscribers}", copies=subscribers) for key in keys)
    title = f"fan-out to {subscribers}, 64 B, copies"
    return Case(f"fan-{subscribers}", title, "feed", "rate", arms, size=64, others=subscribers, count=100)


def bridge(size: int) -> Case:
    """The same programs, with a link of their own or with one program between."""
    arms = [
        Arm(key, label, team) for key in BUSWAY for label, team in (("direct", "line"), ("bridge", "bridge"))
    ]
    return Case(
        f"bridge-{size}", f"through one bridge, {size_of(size)}", "way", "rate", tuple(arms), size=size
    )


def endpoints(counts: tuple[int, ...]) -> Case:
    arms = [Arm(key, f"{count}", "turns", others=count) for key in BUSWAY for count in counts]
    return Case("endpoints", "endpoints of one program in turn, 16 B", "turn", "rate", tuple(arms))


def websocket(size: int) -> Case:
    arms = ("busway-ws-compiled", "busway-ws-pure", "websockets")
    return Case(f"ws-{size}", f"over WebSocket, {size_of(size)}", "way", "rate", arms, count=50, size=size)


def short() -> list[Case]:
    """The cases of `make bench`."""
    return [
        *one_way(SIZES, (64,)),
        *round_trips(),
        fan_out(50, (*BUSWAY, "pyzmq", "nats")),
        bridge(KIB),
        endpoints((1, 10_000)),
        websocket(64 * KIB),
    ]


def latencies() -> list[Case]:
    """Single round trips, idle and beside busy programs."""
    keys = (*BUSWAY, *THREADS, *UVLOOP, "pyzmq", "pyzmq-asyncio", "zenoh", "nats", "dbus", "socket-asyncio")
    made = []
    for name, title, load in (("latency", "idle", False), ("latency-load", "under load", True)):
        arms = tuple(Arm(key, load=load, times=1) for key in keys)
        made.append(Case(name, f"round trip, each by itself, {title}", "trip", "time", arms, count=50))
    return made


def many_to_one() -> Case:
    arms = tuple(Arm(key, team="many") for key in (*BUSWAY, "pyzmq", "zenoh", "nats"))
    return Case("many-8", "many to one: 8 programs send, 64 B", "way", "rate", arms, size=64, count=400)


def pinned() -> list[Case]:
    """Headline cases on one core, on a core for each side, and free."""
    made = []
    for key, title, do, unit, size, variants in (
        ("way", "one way, 64 B", "way", "rate", 64, (*BUSWAY, "pyzmq", "zenoh")),
        ("large", "one way, 16 KiB", "way", "rate", 16 * KIB, (*BUSWAY, "pyzmq", "zenoh")),
        ("trip", "round trip asyncio", "trip", "time", 16, (*BUSWAY, "pyzmq-asyncio")),
        ("blocking", "round trip blocking", "trip", "time", 16, (*THREADS, "pyzmq")),
    ):
        hows = (("one core", "one"), ("a core each", "two"), ("free", ""))
        arms = tuple(Arm(variant, label, pin=pin) for variant in variants for label, pin in hows)
        made.append(Case(f"pin-{key}", title, do, unit, arms, count=50, size=size))
    return made


def full() -> list[Case]:
    """The cases that `make bench-full` adds."""
    return [
        *one_way((64, KIB, 16 * KIB), (64, KIB, 16 * KIB)),
        *latencies(),
        *(fan_out(count, (*BUSWAY, "pyzmq", "nats")) for count in (1, 10)),
        many_to_one(),
        bridge(16),
        bridge(16 * KIB),
        endpoints((1, 10, 100, 1_000, 10_000)),
        *pinned(),
    ]
