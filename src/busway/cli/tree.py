"""`busway nodes --tree`: who is reached through whom, as one node's ways and its neighbours' say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.failures import Failure
from busway.cli.options import Place
from busway.cli.survey import Found, survey


def show_tree(place: Place, wanted: str, timeout: float, as_json: bool) -> int:
    """The tree from the node that `wanted` names, else from the one that this command joined through."""

    async def job(bus: AsyncBus) -> int:
        found = {each.id: each for each in await survey(bus, timeout)}
        root = _root(bus, found, wanted)
        parents = _parents(bus, found, root)
        if as_json:
            output.say_json(_document(found, parents, root, None))
            return failures.OK
        for line in _lines(found, parents, root, "", ""):
            output.say(line)
        return failures.OK

    return session.run(place, "nodes", job)


def _root(bus: AsyncBus, found: dict[bytes, Found], wanted: str) -> bytes:
    if wanted:
        return session.one_node(bus, wanted)
    uplink = bus.node.mesh.uplink
    if uplink is not None and uplink.peer is not None:
        return uplink.peer.node_id
    for each in found.values():
        if each.report:
            return each.id
    raise Failure(failures.NEGATIVE, f"no programs on bus {bus.node.bus!r}", "NO_NODE")


def _parents(bus: AsyncBus, found: dict[bytes, Found], root: bytes) -> dict[bytes, tuple[bytes, str, int]]:
    """Of each node the one before it on the way from the root, with the way's realm and cost.

    A node knows its next hop only; who comes after that is asked of the next hop, as far as it answers.
    """
    rows = {each.id: {row["node"]: row for row in each.nodes(bus)} for each in found.values()}
    parents: dict[bytes, tuple[bytes, str, int]] = {}
    for node, row in rows.get(root, {}).items():
        parent = last = root
        while True:
            via = rows.get(last, {}).get(node, {}).get("via", b"")
            if not via or via in (node, last, root):
                parent = last
                break
            if via not in rows:
                parent = via
                break
            last = via
        parents[node] = (parent, row["realm"], row["cost"])
    return parents


def _children(parents: dict[bytes, tuple[bytes, str, int]], node: bytes) -> list[bytes]:
    return sorted(
        (child for child, (parent, _, _) in parents.items() if parent == node), key=lambda each: each.hex()
    )


def _label(found: dict[bytes, Found], node: bytes) -> str:
    return output.node_text(node, found[node].label) if node in found else node.hex()[:8]


def _lines(
    found: dict[bytes, Found],
    parents: dict[bytes, tuple[bytes, str, int]],
    node: bytes,
    first: str,
    rest: str,
) -> Iterator[str]:
    _, realm, cost = parents.get(node, (b"", "", 0))
    way = f"  ({realm}, cost {cost})" if realm else ""
    leaf = "  leaf" if node in found and found[node].info.leaf else ""
    yield f"{first}{_label(found, node)}{way}{leaf}"
    children = _children(parents, node)
    for child in children:
        end = child == children[-1]
        yield from _lines(
            found, parents, child, rest + ("└─ " if end else "├─ "), rest + ("   " if end else "│  ")
        )


def _document(
    found: dict[bytes, Found],
    parents: dict[bytes, tuple[bytes, str, int]],
    node: bytes,
    way: tuple[str, int] | None,
) -> dict[str, Any]:
    return {
        "node": output.uuid_text(node),
        "label": found[node].label if node in found else "",
        "leaf": node in found and found[node].info.leaf,
        "realm": way[0] if way else None,
        "cost": way[1] if way else 0,
        "children": [
            _document(found, parents, child, (parents[child][1], parents[child][2]))
            for child in _children(parents, node)
        ],
    }
