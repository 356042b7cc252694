"""First contact: from constructing the bus to the first reply, another program being up, nothing configured.

Usage: python -m benchmarks.first_contact [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from tests.rigs.tree import ROOT

SERVER = """
import asyncio, busway
async def main():
    async with busway.AsyncBus() as bus:
        @bus.serve("lab/temperature")
        async def temperature(request): return {"celsius": 21.5}
        await asyncio.Event().wait()
asyncio.run(main())
"""

CLIENT = """
import asyncio, busway
async def main():
    async with busway.AsyncBus() as bus:
        print(await bus.request("lab/temperature", ttl=5))
asyncio.run(main())
"""

TIMEOUT_S = 20


def environment() -> dict[str, str]:
    """So that the programs import what this one would."""
    paths = [os.environ.get("PYTHONPATH", ""), str(ROOT / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def timed_client(name: str) -> str:
    """The client's program, which prints seconds instead of the reply. Imports are not counted."""
    text = CLIENT.replace("AsyncBus()", f"AsyncBus({name!r})").replace("print(", "reply = (")
    before = "import time, busway.adapters.asyncio\nstarted = time.perf_counter()\nasync def main"
    return text.replace("async def main", before, 1) + "print(time.perf_counter() - started)\n"


def measure(name: str = "default") -> float:
    """Seconds of one run: the server is up and says so, then the client starts."""
    server_text = SERVER.replace("AsyncBus()", f"AsyncBus({name!r})")
    ready = server_text.replace(
        "        await asyncio.Event", "        print('up', flush=True)\n        await asyncio.Event"
    )
    command = [sys.executable, "-c"]
    with subprocess.Popen([*command, ready], env=environment(), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            client = subprocess.run(
                [*command, timed_client(name)],
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT_S,
                check=True,
            )
            return float(client.stdout)
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=20, help="runs, each with two new processes (default 20)"
    )
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bw") as folder:
        os.environ["BUSWAY_DIR"] = folder
        found = sorted(measure() * 1000 for _ in range(rounds))
    middle = statistics.median(found)
    print(f"first contact, {rounds} runs, ms: min {found[0]:.1f}, median {middle:.1f}, max {found[-1]:.1f}")
    print(" ".join(f"{milliseconds:.1f}" for milliseconds in found))


if __name__ == "__main__":
    main()
