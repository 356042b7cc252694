"""One of two machines: takes in the other, over tcp:// or wss://, and joins it with all programs of this one.

busway token --out token.txt; export BUSWAY_TOKEN_FILE=token.txt      # the same file on both machines
python gateway.py tcp://0.0.0.0:7000
busway certificate --out certificates --name lab.example
python gateway.py wss://0.0.0.0:8443 certificates
"""

import asyncio
import sys
from pathlib import Path

import busway


async def main(url: str, certificates: Path | None = None) -> None:
    async with busway.AsyncBus(label="gateway", transit=True) as bus:
        if certificates is None:
            listener = await bus.listen(url)
        else:
            chain, key = certificates / "chain.pem", certificates / "key.pem"
            listener = await bus.listen(url, certificate=str(chain), key=str(key))
        print(listener.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(Path, sys.argv[2:])))
