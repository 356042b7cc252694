"""Offers for the Tab key in the shell: endpoints and nodes that are there. Never fails, never waits
long.

A shell puts what is offered into the command line as it is, and would run a name such as `$(reboot)`. So of
what others have named only plain words are offered, and ids in place of the rest.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from busway.cli.output import printable

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus
    from busway.cli.session import Overview

_PLAIN = "-/._"  # what a plain word may have beside letters and digits


def endpoints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Endpoints whose name begins so, with their kind: by name, or if that is no plain word, by UUID."""
    seen = _look(context)
    if seen is None:
        return []
    found = {
        each.name if _is_plain(each.name) else str(uuid.UUID(bytes=each.id)): each.kind
        for each in seen.endpoints
        if each.name.startswith(begun) and each.name
    }
    return [CompletionItem(name, help=kind) for name, kind in sorted(found.items())]


def nodes(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Nodes whose label or id begins so: by label, or where that is no plain word, by the id."""
    seen = _look(context)
    if seen is None:
        return []
    items = []
    for node in sorted(seen.nodes, key=lambda each: each.label):
        if not node.me and (node.label.startswith(begun) or node.id.hex().startswith(begun)):
            word = node.label if _is_plain(node.label) else node.id.hex()[:8]
            items.append(CompletionItem(word, help=printable(node.label)))
    return items


def either(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Both."""
    return endpoints(context, parameter, begun) + nodes(context, parameter, begun)


def _is_plain(text: str) -> bool:
    """Whether it is one word to every shell, and no option."""
    return (
        not text.startswith("-")
        and text.strip(_PLAIN) != ""
        and all(c.isalnum() or c in _PLAIN for c in text)
    )


def _look(context: click.Context) -> Overview | None:
    """The nodes on the bus of the command line so far."""
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
