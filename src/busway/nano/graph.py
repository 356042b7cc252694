"""Draws an application: who sends what to whom, as Mermaid text and as SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

_COLUMN, _ROW, _WIDTH, _HEIGHT = 240, 80, 150, 40
_MARGIN = 20


class Node(NamedTuple):
    """A handler or an endpoint."""

    name: str
    group: str  # its worker; "" for an endpoint, and for whoever has none
    wrong: bool = False


class Arrow(NamedTuple):
    """Messages of one type from one node to another, both by their number."""

    source: int
    label: str
    target: int
    wrong: bool = False


def mermaid(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> str:
    """The drawing as Mermaid text; what is wrong is red."""
    lines = ["flowchart LR"]
    groups: dict[str, list[int]] = {}
    for number, node in enumerate(nodes):
        groups.setdefault(node.group, []).append(number)
    for number, (group, members) in enumerate(groups.items()):
        indent = "    " if group else "  "
        lines += [f'  subgraph w{number}["{_quoted(group)}"]'] if group else []
        lines += [f"{indent}{_shape(member, nodes[member])}" for member in members]
        lines += ["  end"] if group else []
    for arrow in arrows:
        lines.append(f'  n{arrow.source} -- "{_quoted(arrow.label)}" --> n{arrow.target}')
    wrong = [f"n{number}" for number, node in enumerate(nodes) if node.wrong]
    if wrong:
        lines.append(f"  style {','.join(wrong)} stroke:#d33,stroke-width:3px")
    edges = [str(number) for number, arrow in enumerate(arrows) if arrow.wrong]
    if edges:
        lines.append(f"  linkStyle {','.join(edges)} stroke:#d33,stroke-width:3px")
    return "\n".join(lines) + "\n"


def _shape(number: int, node: Node) -> str:
    text = f'"{_quoted(node.name)}"'
    return f"n{number}[{text}]" if node.group else f"n{number}([{text}])"


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")


def columns(count: int, arrows: Sequence[Arrow]) -> list[int]:
    """The column of each node: right of all that send to it, where that is no circle."""
    ways: dict[int, list[int]] = {number: [] for number in range(count)}
    for arrow in arrows:
        ways[arrow.source].append(arrow.target)
    forward: dict[int, list[int]] = {number: [] for number in range(count)}
    state = [0] * count  # 1: being walked, 2: done

    def walk(number: int) -> None:
        state[number] = 1
        for target in ways[number]:
            if state[target] != 1:  # else it leads back
                forward[number].append(target)
            if not state[target]:
                walk(target)
        state[number] = 2
        order.append(number)

    order: list[int] = []
    for number in range(count):
        if not state[number]:
            walk(number)
    found = [0] * count
    for number in reversed(order):
        for target in forward[number]:
            found[target] = max(found[target], found[number] + 1)
    return found


def svg(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> str:
    """The drawing as SVG, from left to right."""
    column = columns(len(nodes), arrows)
    rows: dict[int, int] = {}
    place: list[tuple[int, int]] = []
    for number in range(len(nodes)):
        row = rows.get(column[number], 0)
        rows[column[number]] = row + 1
        place.append((_MARGIN + _COLUMN * column[number], _MARGIN + _ROW * row + 20 * (column[number] % 2)))
    width = _COLUMN * max(column, default=0) + _WIDTH + 2 * _MARGIN
    height = _ROW * max(rows.values(), default=1) + 2 * _MARGIN
    parts = [_HEAD.format(width=width, height=height)]
    drawn: dict[tuple[int, int], list[Arrow]] = {}
    for arrow in arrows:
        drawn.setdefault((arrow.source, arrow.target), []).append(arrow)
    parts += [_arrow(place, column, those) for those in drawn.values()]
    parts += [_box(node, place[number]) for number, node in enumerate(nodes)]
    return "\n".join([*parts, "</svg>"]) + "\n"


_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  font-family="sans-serif" font-size="14" text-anchor="middle">
<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>"""


def _arrow(place: Sequence[tuple[int, int]], column: Sequence[int], those: Sequence[Arrow]) -> str:
    """All types that go from one to another: one line. One that leads back passes below."""
    source, target = those[0].source, those[0].target
    (x, y), (to_x, to_y) = place[source], place[target]
    color = "#d33" if any(arrow.wrong for arrow in those) else "#777"
    label = html.escape(", ".join(arrow.label for arrow in those))
    if column[target] > column[source]:
        x, y, to_y = x + _WIDTH, y + _HEIGHT // 2, to_y + _HEIGHT // 2
        path, text = f"M{x} {y}L{to_x} {to_y}", ((x + to_x) // 2, (y + to_y) // 2 - 6)
    else:
        x, y, to_x, to_y = x + _WIDTH // 2, y + _HEIGHT, to_x + _WIDTH // 2, to_y + _HEIGHT
        low = max(y, to_y) + 30
        path, text = f"M{x} {y}C{x} {low} {to_x} {low} {to_x} {to_y}", ((x + to_x) // 2, low - 2)
    return (
        f'<path d="{path}" stroke="{color}" fill="none" marker-end="url(#a)"/>'
        f'<text x="{text[0]}" y="{text[1]}" fill="{color}" font-size="12">{label}</text>'
    )


def _box(node: Node, at: tuple[int, int]) -> str:
    x, y = at
    stroke, radius = "#d33" if node.wrong else "#3f51b5", 6 if node.group else 20
    title = f"<title>{html.escape(node.group)}</title>" if node.group else ""
    return (
        f'<g>{title}<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}" fill="#e8ebf7"'
        f' stroke="{stroke}"/><text x="{x + _WIDTH // 2}" y="{y + 25}" fill="#222">'
        f"{html.escape(node.name)}</text></g>"
    )
