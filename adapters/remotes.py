"""Programs of the bus by their names: `bus.node("panel-7")` and `bus.nodes(where)`.

Knows of a bus its public calls, and what is in reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from busway.adapters.records import NodeInfo, short
from busway.adapters.selected import check_selector
from busway.adapters.views import all_nodes
from busway.errors import Undeliverable
from busway.protocol import Node, codes

if TYPE_CHECKING:
    from busway.adapters.seeing import Sight
    from busway.selectors import Selector


def id_by_name(bus: Sight, name: str) -> bytes:
    """The node id, 16 bytes, of the program of that name: a client of this bus's servers, else whoever has
    that label. Raises Undeliverable if nobody has it, or several have.
    """
    host = bus._host
    if host.registry is not None:
        found = host.look(host.registry.called, host.node, name)
    else:
        found = [each.id for each in host.look(all_nodes, host.node) if each.label == name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Undeliverable(codes.NO_ROUTE, f"nobody who can be reached is called {name!r}")
    ids = ", ".join(short(each) for each in found[:4])
    raise Undeliverable(
        codes.NO_ROUTE, f"{len(found)} programs are called {name!r} ({ids}): choose one by its id (node=)"
    )


class Remote:
    """One program of the bus by its `name`. Made by `bus.node(name)`; it is looked for anew by each call, so
    that it may go and come back as another node.
    """

    __slots__ = ("_bus", "name")

    def __init__(self, bus: Any, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"bus.node takes the name of a program (str), not {name!r}")
        self._bus = bus
        self.name = name

    def __repr__(self) -> str:
        return f"<whoever is called {self.name!r}>"

    @property
    def id(self) -> bytes:
        """Its node id now, 16 bytes. Raises Undeliverable if nobody has that name, or several have."""
        return id_by_name(self._bus, self.name)

    def send(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `send` of the bus, to its endpoint `to`; of an AsyncBus it is to be awaited."""
        return self._bus.send(to, payload, node=self.id, **options)

    def request(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `request` of the bus, to its endpoint `to`; of an AsyncBus it is to be awaited."""
        return self._bus.request(to, payload, node=self.id, **options)

    def request_stream(self, to: Any, payload: Any = None, **options: Any) -> Any:
        """As `request_stream` of the bus, to its endpoint `to`."""
        return self._bus.request_stream(to, payload, node=self.id, **options)


if TYPE_CHECKING:

    class NodeFace(Node):
        """The core's node; called, a program of that name."""

        def __init__(self, bus: object) -> None: ...
        def __call__(self, name: str) -> Remote: ...

else:

    class NodeFace:
        """The core's node, to look at; called, a program of that name."""

        __slots__ = ("_bus",)

        def __init__(self, bus):
            object.__setattr__(self, "_bus", bus)

        def __call__(self, name):
            return Remote(self._bus, name)

        def __getattr__(self, name):
            return getattr(self._bus._host.node, name)

        def __setattr__(self, name, value):
            setattr(self._bus._host.node, name, value)

        def __repr__(self):
            return repr(self._bus._host.node)


def nodes_of(bus: Sight, meant: Selector | None) -> list[NodeInfo]:
    """This node first, then those in reach; with a selector those that have an endpoint it means."""
    host = bus._host
    found = host.look(all_nodes, host.node)
    if meant is None:
        return found
    check_selector(meant)
    ids = {node for _, node in host.look(host.node.matches, meant.address())}
    return [each for each in found if each.id in ids]
