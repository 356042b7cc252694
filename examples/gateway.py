"""One of two machines: takes in the other, over tcp:// or wss://, and joins it with all programs of this one.

python gateway.py tcp://0.0.0.0:7000 TOKEN
busway certificate --out certificates --name lab.example
python gateway.py wss://0.0.0.0:8443 TOKEN certificates
"""

import asyncio
import sys
from pathlib import Path

import busway


async def main(url: str, token: str, certificates: Path | None = None) -> None:
    async with busway.AsyncBus(label="gateway", transit=True) as bus:
        if certificates is None:
            listener = await bus.listen(url, token=token)
        else:
            chain, key = certificates / "chain.pem", certificates / "key.pem"
            listener = await bus.listen(url, token=token, certificate=str(chain), key=str(key))
        print(listener.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:])))
