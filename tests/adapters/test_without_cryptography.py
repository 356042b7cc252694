"""Buses where `cryptography` is not installed: nobody proves anything to them, they join in the open."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from busway.protocol import codes
from tests.adapters.test_identity import LOOPBACK, bus, nothing_from_the_environment, opened
from tests.adapters.tools import until
from tests.rigs.tree import ROOT

__all__ = ["nothing_from_the_environment"]

_BARE = """
import asyncio, sys
sys.modules["cryptography"] = None
import busway
async def main():
    async with busway.AsyncBus(ipc=False) as bus:
        print(bus.id.hex(), flush=True)
        await bus.connect(sys.argv[1])
        print(await bus.request("lab/where", ttl=30), flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


async def test_joins_a_listener_that_is_open_though_that_has_the_id_of_a_key() -> None:
    async with opened(bus()) as (here,):
        here.serve("lab/where", lambda request: "here")
        url = (await here.listen(LOOPBACK, open=True, routers=True)).url
        bare = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _BARE, url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT / "src")},
        )
        try:
            assert bare.stdin is not None
            assert bare.stdout is not None
            node_id = bytes.fromhex((await bare.stdout.readline()).decode())
            assert not node_id[0] & codes.BOUND
            assert await bare.stdout.readline() == b"here\n"
            await until(lambda: [link.peer for link in here.links()] == [node_id])
            bare.stdin.close()
            assert await bare.wait() == 0
        finally:
            if bare.returncode is None:
                bare.kill()
                await bare.wait()
