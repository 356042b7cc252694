"""How a bus lets go of everything, whatever fails on the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable
from typing import Any


class Done:
    """What a `close` returns that is over at once: `await` may stand before it, as before that of a bus."""

    def __repr__(self) -> str:
        return "<done>"

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


UNCLOSED = "a bus was left open: use `{way}`, or its close()"
UNOPENED = "a bus was never opened, though something is registered with it: use `{way}`"


def release(steps: Iterable[Callable[[], object]], say: Callable[..., object]) -> None:
    """Take every step; what one raises is told with `say`, as logging takes words, and keeps none from being
    taken.
    """
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other steps come first
            say("closing the bus: %s: %s", type(error).__name__, error)


def steps_of(listeners: Iterable[Any], dialled: Iterable[Any], mesh: Any) -> list[Callable[[], object]]:
    """Nobody comes any more, and nothing is dialled again."""
    steps: list[Callable[[], object]] = [listener.close for listener in list(listeners)]
    steps += [link.bus_closed for link in list(dialled)]
    if mesh is not None:
        steps.append(mesh.close)
    return steps


def abandon(mesh: Any, dialled: Iterable[Any], runners: Iterable[Any], listeners: Iterable[Any]) -> None:
    """In a forked child: our copies of the parent's descriptors are closed, nothing else."""
    for held in (*dialled, *runners, *listeners):
        held.abandon()
    if mesh is not None and mesh.listener is not None:
        mesh.listener.abandon()


def wake_receivers(node: Any) -> list[Callable[[], object]]:
    """Who waits at the node's endpoints goes on, and hears that it is closed."""
    tags = [core.tag for endpoint in node.endpoints() for core in endpoint.receivers]
    return [tag._wake for tag in tags if tag is not None]  # None: the built-in endpoint's


def dropped(bus: object, host: Any, way: str) -> None:
    """The garbage collector has the bus: what is open is released, with a ResourceWarning, as of a file."""
    text = ""
    if host.left_open:
        text = UNCLOSED
    elif host.failure is None and is_in_use(host.node):
        text = UNOPENED
    try:
        if text:
            warnings.warn(f"{text.format(way=way)}: {bus!r}", ResourceWarning, stacklevel=3, source=bus)
    finally:
        if host.left_open:
            host.drop()


def is_in_use(node: Any) -> bool:
    """Whether the program has registered something."""
    return any(core.tag is not None for endpoint in node.endpoints() for core in endpoint.receivers)
