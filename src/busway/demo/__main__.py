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
from busway.drivers import extras


def main() -> int:
    """The exit status: 0 if all went well or Ctrl-C ended it, 1 if something was missing."""
    arguments = _arguments()
    for library in ("psutil", "h11", "wsproto"):
        if importlib.util.find_spec(library) is None:
            return _fail(extras.missing("the demo needs", "demo"))
    logging.getLogger("busway").addHandler(logging.NullHandler())  # the screen is taken; figures tell it all
    try:
        return asyncio.run(_run(arguments.bus, arguments.duration, arguments.port))
    except BrokenPipeError:  # whoever read our lines has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DemoError, busway.BusError, OSError) as error:
        return _fail(str(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m busway.demo",
        description="Runs the bus for real: five programs, one of them killed again and again; a page for"
        " browsers, and a view.",
    )
    parser.add_argument(
        "--duration",
        type=_seconds,
        metavar="SECONDS",
        help="end this long after all have joined (default: at Ctrl-C)",
    )
    parser.add_argument("--bus", default="demo", metavar="NAME", help="the bus to use (default: demo)")
    parser.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="of the page on 127.0.0.1 (default: a free one)"
    )
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and up to 1000000, not {text}")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, not {text}")
    return port


async def _run(bus_name: str, duration: float | None, port: int) -> int:
    run = Run(bus_name, duration, port, shower(Console(), bus_name))
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
