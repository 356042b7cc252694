"""Shared by the demo's programs: a `--bus` option, and an end. Knows nothing of what they do."""

import argparse
import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Callable[..., Coroutine[Any, Any, None]], *options: str) -> None:
    """Run `main(bus name, the value of each option)`.

    It ends at Ctrl-C, SIGTERM, or, started by the demo, when the demo is gone.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--bus", default="demo", metavar="NAME", help="the bus to join (default: demo)")
    for option in options:
        parser.add_argument(option, required=True)
    given = vars(parser.parse_args())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_until_told(main(given["bus"], *(given[option.lstrip("-")] for option in options))))


async def _until_told(program: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(program)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        # The demo holds the other end and writes nothing: end of file means that it is gone, even by kill -9.
        loop.add_reader(0, _on_end, loop, task)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _on_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.remove_reader(0)  # or it would be called for ever, and leaving cancelled too
    task.cancel()
