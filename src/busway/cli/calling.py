"""Services on the command line: asking a server for its contract, and offers of its methods and arguments for
the Tab key.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from busway.cli import failures
from busway.cli.failures import Failure

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus

_OFFER_S = 1.0  # who presses Tab waits no longer


def parted(what: str) -> tuple[str, str]:
    """Service and method in NAME.METHOD. Raises UsageError."""
    from busway.cli.options import check_endpoint

    name, dot, method = what.rpartition(".")
    if not dot or not method.isidentifier():
        raise click.UsageError(f"{what!r} is no method: give NAME.METHOD, as in lab/pump.set_speed")
    context = click.get_current_context()
    return str(check_endpoint(context, context.command.params[0], name)), method


async def described(
    bus: AsyncBus, name: str, *, ttl: float = 0.0, node: bytes = b"", timeout: float = 10.0
) -> dict[str, Any]:
    """The description that a service gives of itself. Raises Failure if it gives none, and as `request`."""
    from busway import RemoteError
    from busway.cli import session
    from busway.services.contracts import DESCRIBE
    from busway.services.describing import is_description

    text = f"{name} is no service with a contract: use `busway request`"
    none = Failure(failures.NEGATIVE, text, "NO_CONTRACT")
    try:
        whom = session.target(bus, name)
        told = await bus.request(whom, [DESCRIBE, {}], timeout=timeout, ttl=ttl, node=node)
    except RemoteError:
        raise none from None
    if not is_description(told):
        raise none
    found: dict[str, Any] = told
    return found


def pretty(document: Any) -> str:
    """JSON in lines, that any terminal takes."""
    from busway.cli import output

    return json.dumps(output.plain(document), indent=2)


def methods(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Methods of the service whose name begins so, as NAME.METHOD; of several the services, as NAME."""
    from busway.cli import completing

    name, dot, start = begun.rpartition(".")
    told = _told(context, name) if dot else None
    if told is None:
        services = [item.value for item in completing.endpoints(context, parameter, begun)]
        if len(services) != 1:
            return [CompletionItem(f"{each}.") for each in services]
        name, start, told = services[0], "", _told(context, services[0])
    return [
        CompletionItem(f"{name}.{method}", help=str(each.get("doc", "")).partition("\n")[0])
        for method, each in sorted((told or {"methods": {}})["methods"].items())
        if method.startswith(start) and method.isidentifier()
    ]


def arguments(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Arguments of the method that were not given yet, as NAME=."""
    what = str(context.params.get("what", ""))
    name, _, method = what.rpartition(".")
    told = _told(context, name)
    with contextlib.suppress(KeyError, TypeError):
        given = {word.partition("=")[0] for word in context.params.get("given") or ()}
        names = [each["name"] for each in told["methods"][method]["arguments"]] if told is not None else []
        return [
            CompletionItem(f"{each}=")
            for each in names
            if each.startswith(begun) and each not in given and each.isidentifier()
        ]
    return []


def _told(context: click.Context, name: str) -> dict[str, Any] | None:
    """The description of a service on the bus of the command line so far; None if there is none."""
    from busway.cli import session
    from busway.cli.options import Place

    found: list[dict[str, Any]] = []

    async def job(bus: AsyncBus) -> int:
        found.append(await described(bus, name, timeout=_OFFER_S))
        return 0

    bus_name = context.params.get("bus") or os.environ.get("BUSWAY_BUS") or "default"
    with contextlib.suppress(Exception):  # there is nothing to offer, and nobody to tell
        session.run(Place(str(bus_name), (), None, None), "complete", job)
    return found[0] if found else None
