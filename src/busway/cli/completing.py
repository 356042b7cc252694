"""What the shell offers when one presses Tab: endpoints and nodes that are there. Never fails, never waits
long.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus
    from busway.cli.session import Overview


def endpoints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of endpoints that begin so, with their kind."""
    seen = _look(context)
    if seen is None:
        return []
    found = {each.name: each.kind for each in seen.endpoints if each.name.startswith(begun) and each.name}
    return [CompletionItem(name, help=kind) for name, kind in sorted(found.items())]


def nodes(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Nodes whose label or id begins so: by label, or where a shell would cut that up, by the id."""
    seen = _look(context)
    if seen is None:
        return []
    items = []
    for node in sorted(seen.nodes, key=lambda each: each.label):
        if not node.me and (node.label.startswith(begun) or node.id.hex().startswith(begun)):
            plain = node.label.replace("-", "").replace("/", "").replace(".", "").isalnum()
            items.append(CompletionItem(node.label if plain else node.id.hex()[:8], help=node.label))
    return items


def either(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Both."""
    return endpoints(context, parameter, begun) + nodes(context, parameter, begun)


def _look(context: click.Context) -> Overview | None:
    """Who is on the bus of the command line so far."""
    from busway.cli import session
    from busway.cli.options import Place

    seen: list[Overview] = []

    async def job(bus: AsyncBus) -> int:
        seen.append(session.overview(bus))
        return 0

    name = context.params.get("bus") or os.environ.get("BUSWAY_BUS") or "default"
    with contextlib.suppress(Exception):  # there is nothing to offer, and nobody to tell
        session.run(Place(str(name), (), None, None), "complete", job)
    return seen[0] if seen else None
