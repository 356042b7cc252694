"""`busway host --threads`: the object is run on a Bus, whose methods are plain functions and may block."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import busway
from busway.adapters.refusals import text_of
from busway.adapters.threads import Bus
from busway.cli import failures, session
from busway.cli.failures import Failure
from busway.cli.hosting import begun, failed, tell_systemd
from busway.cli.options import Place
from busway.cli.targets import Target


def run(place: Place, target: Target, options: dict[str, Any], tell: Callable[[Any], None]) -> int:
    """Run it until it is interrupted or has ended, and `tell` when it runs; returns the exit status."""
    over = threading.Event()

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    logging.getLogger("busway").addHandler(logging.NullHandler())
    identity = place.identity(place.urls, lasting=False)
    bus = Bus(place.bus, label=f"busway host {target.text} ({os.getpid()})", **identity)
    try:
        _join(bus, place)
        hosted = begun(bus, target, options)
        threading.Thread(target=_watch, args=(hosted, tell, over), daemon=True).start()
        over.wait()
        if hosted.state == "failed":
            raise failed(hosted.name, hosted.last_error)
    finally:
        tell_systemd("STOPPING=1")
        bus.close(session.LEAVE_S)
    return failures.OK


def _join(bus: Bus, place: Place) -> None:
    """Join, and open the links. Raises Failure."""
    try:
        bus.open()
    except (OSError, ValueError, NotImplementedError) as error:
        raise Failure(failures.NO_BUS, f"cannot join the bus {place.bus!r}: {text_of(error)}") from None
    for url in place.urls:
        try:
            bus.connect(url, **place.dialling(url))
        except (OSError, ValueError, TypeError, busway.BusError) as error:
            raise failures.cannot_connect(url, error) from None


def _watch(hosted: Any, tell: Callable[[Any], None], over: threading.Event) -> None:
    """In a thread: tell when it runs, and when it has ended set `over`."""
    with contextlib.suppress(Exception):  # its state says with what it has failed
        hosted.ready()
        tell(hosted)
        hosted.ended()
    over.set()
