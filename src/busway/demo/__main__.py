"""`python -m busway.demo`: the command's arguments, its exit status and its last words."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import signal
import sys

from rich.console import Console

import busway
from busway.demo.errors import DemoError
from busway.demo.report import missing, summary
from busway.demo.run import Run
from busway.demo.view import shower


def main() -> int:
    """The exit status: 0 if all went well or Ctrl-C ended it, 1 if something was missing."""
    arguments = _arguments()
    if importlib.util.find_spec("psutil") is None:
        return _fail(
            "the demo reads this machine through psutil, which is missing: pip install 'busway[demo]'"
        )
    logging.getLogger("busway").addHandler(logging.NullHandler())  # the screen is taken; figures tell it all
    try:
        return asyncio.run(_run(arguments.bus, arguments.duration))
    except BrokenPipeError:  # whoever read our lines has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DemoError, busway.BusError, OSError) as error:
        return _fail(str(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m busway.demo",
        description="Runs the bus for real: four programs, one of them killed again and again, and a view.",
    )
    parser.add_argument(
        "--duration",
        type=_seconds,
        metavar="SECONDS",
        help="end this long after all have joined (default: at Ctrl-C)",
    )
    parser.add_argument("--bus", default="demo", metavar="NAME", help="the bus to use (default: demo)")
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and up to 1000000, not {text}")
    return seconds


async def _run(bus_name: str, duration: float | None) -> int:
    run = Run(bus_name, duration, shower(Console(), bus_name))
    await run.run()
    print(summary(run.figures, bus_name), flush=True)
    if run.signal == signal.SIGINT:
        return 0
    if run.signal:
        return 128 + run.signal
    assert duration is not None
    absent = missing(run.figures, duration)
    return _fail("; ".join(absent)) if absent else 0


def _fail(sentence: str) -> int:
    print(f"busway.demo: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
