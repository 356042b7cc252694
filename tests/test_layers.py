"""Dependencies point one way: adapters -> protocol, adapters -> drivers. The front door stands before all."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import pytest

from tests.rigs.tree import ROOT, SOURCE

CORE_MODULES = {"struct", "binascii"}
CORE_TYPE_MODULES = {"typing", "mypy_extensions"}
DRIVER_LIBRARIES = {"h11", "wsproto", "serial", "bleak", "nats"}


@dataclass(frozen=True)
class Import:
    """One imported thing: the module and, for `from module import name`, the name."""

    module: str
    name: str
    for_types: bool
    line: int

    @property
    def target(self) -> str:
        """The full dotted name: of `from busway import cli` it is busway.cli."""
        return f"{self.module}.{self.name}" if self.name else self.module

    def within(self, *packages: str) -> bool:
        return any(f"{self.target}.".startswith(f"{package}.") for package in packages)


def is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(node: ast.AST, package: str, *, for_types: bool = False) -> Iterator[Import]:
    """Walks every import statement, inside functions too. `package` is what relative imports start from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, "", for_types, node.lineno)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*base, *([module] if module else [])])
        for alias in node.names:
            yield Import(module, alias.name, for_types, node.lineno)
    elif is_type_checking(node):
        for statement in node.body:
            yield from imports_of(statement, package, for_types=True)
        for statement in node.orelse:
            yield from imports_of(statement, package, for_types=for_types)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports_of(child, package, for_types=for_types)


def core_objection(found: Import) -> bool:
    if found.within("busway.protocol") or found.module in CORE_MODULES:
        return False
    if found.module == "micropython":
        return found.name != "const"
    return not (found.for_types and found.module in CORE_TYPE_MODULES)


def driver_objection(found: Import) -> bool:
    if found.within("busway"):
        return not found.within("busway.drivers")
    return found.module.split(".")[0] not in sys.stdlib_module_names | DRIVER_LIBRARIES


def adapter_objection(found: Import) -> bool:
    return found.within("busway.cli", "busway.demo")


OBJECTIONS = {"protocol": core_objection, "drivers": driver_objection, "adapters": adapter_objection}


def objections(layer: str, source: str, package: str) -> list[str]:
    found = imports_of(ast.parse(source), package)
    return [f"line {one.line} imports {one.target}" for one in found if OBJECTIONS[layer](one)]


def package_of(path: Path, folder: Path, name: str) -> str:
    return ".".join([name, *path.relative_to(folder).parent.parts])


@pytest.mark.parametrize("layer", OBJECTIONS)
def test_layer_imports_only_what_it_may(layer: str) -> None:
    wrong = {}
    for path in sorted((ROOT / layer).rglob("*.py")):
        found = objections(layer, path.read_text(), package_of(path, ROOT / layer, f"busway.{layer}"))
        if found:
            wrong[str(path.relative_to(ROOT))] = found
    assert wrong == {}


def test_front_door_does_not_lead_through_the_command_line() -> None:
    wrong = []
    for path in sorted(SOURCE.glob("*.py")):
        if path.stem not in ("__main__", "demo"):
            found = imports_of(ast.parse(path.read_text()), "busway")
            wrong += [
                f"{path.name} line {one.line}" for one in found if one.within("busway.cli", "busway.demo")
            ]
    assert wrong == []


def test_services_stand_on_the_public_calls_of_a_bus() -> None:
    wrong = []
    paths = sorted((SOURCE / "services").glob("*.py"))
    for path in paths:
        found = imports_of(ast.parse(path.read_text()), "busway.services")
        wrong += [
            f"{path.name} line {one.line}"
            for one in found
            if one.within("busway.protocol", "busway.drivers", "busway.cli", "busway.demo")
        ]
    assert wrong == []
    assert len(paths) > 10


def test_who_is_dialled_on_the_network_is_decided_by_what_knows_no_socket() -> None:
    """And the library for announcements is imported in one place only."""
    pure = {
        "announced": set[str](),
        "neighbours": set[str](),
        "known": {"busway.lan.announced", "busway.lan.networks", "busway.lan.dialling"},
        "remembered": {"busway.lan.announced"},
    }
    knows_zeroconf = set()
    for path in sorted((SOURCE / "lan").glob("*.py")):
        found = list(imports_of(ast.parse(path.read_text()), "busway.lan"))
        if any(one.within("zeroconf") for one in found):
            knows_zeroconf.add(path.stem)
        if path.stem in pure:
            own = {one.module for one in found if one.within("busway")}
            assert own == pure[path.stem], path.name
            assert not [one for one in found if one.within("socket", "asyncio", "threading")], path.name
    assert knows_zeroconf == {"announcing"}


def test_memory_that_is_shared_knows_no_bus() -> None:
    own = ("busway.memory", "busway.drivers.descriptors")
    wrong = [
        f"{path.name} line {one.line} imports {one.target}"
        for path in sorted((SOURCE / "memory").glob("*.py"))
        for one in imports_of(ast.parse(path.read_text()), "busway.memory")
        if one.within("busway") and not one.within(*own)
    ]
    assert wrong == []


def test_what_carries_files_above_the_drivers_knows_no_system() -> None:
    """So files go over another system's links with a driver, and nothing else: what is done to a descriptor,
    drivers/descriptors.py does.
    """
    files = ("src/busway/files.py", "src/busway/attached.py", "adapters/carrying.py", "adapters/beside.py")
    for file in files:
        found = [
            one for one in imports_of(ast.parse((ROOT / file).read_text()), "busway") if not one.for_types
        ]
        assert [
            one for one in found if one.within("os", "socket", "fcntl", "mmap", "array", "errno")
        ] == [], file


def test_nano_applications_use_the_bus_as_any_program_does() -> None:
    """Nothing of the core, and of drivers and adapters what types are called."""
    wrong = []
    for path in sorted((SOURCE / "nano").glob("*.py")):
        for one in imports_of(ast.parse(path.read_text()), "busway.nano"):
            below = one.within("busway.drivers", "busway.adapters", "busway.cli", "busway.demo")
            if one.within("busway.protocol") or (below and not one.for_types):
                wrong.append(f"{path.name} line {one.line} imports {one.target}")
    assert wrong == []


def test_type_checking_has_no_else_in_the_core() -> None:
    """mypyc takes TYPE_CHECKING as true and compiles the other branch as unreachable."""
    wrong = []
    for path in sorted((ROOT / "protocol").rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if is_type_checking(node)]
        wrong += [f"{path.name} line {node.lineno}" for node in nodes if node.orelse]
    assert wrong == []


BELOW = ("errors", "timers", "fifo", "turns", "outcomes")
"""Modules of the core that stand below all rooms."""

ROOMS = {
    "wire": (),
    "secure": ("wire",),
    "link": ("wire", "secure"),
    "packet": ("wire", "link"),
    "routing": ("wire", "link"),
    "messaging": ("wire", "link", "routing"),
    "leaf": ("wire", "secure", "packet"),
}
"""The core's rooms, and which others each may know."""

SHARED = ("link.link",)
"""What is said of a link before its first byte: a leaf uses the same words."""


def core_imports() -> dict[str, set[str]]:
    """Of each module of the core, by its name below busway.protocol, those that it names, for types too."""
    folder = ROOT / "protocol"
    names = {
        ".".join(path.relative_to(folder).with_suffix("").parts): path
        for path in sorted(folder.rglob("*.py"))
    }
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = {
            one.target.removeprefix("busway.protocol.")
            for one in imports_of(ast.parse(path.read_text()), package_of(path, folder, "busway.protocol"))
            if one.within("busway.protocol")
        }
        graph[name] = {target if target in names else target.rpartition(".")[0] for target in targets} - {
            name
        }
    return graph


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """A way from a module back to it; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := walk(target, [*way, name]):
                return found
        done.add(name)
        return []

    for name in graph:
        if found := walk(name, []):
            return found
    return []


def test_no_module_of_the_core_leads_back_to_itself() -> None:
    graph = core_imports()
    assert len(graph) > 50
    assert cycle_in(graph) == []


def test_a_circle_would_be_seen() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_arrows_between_rooms_go_one_way() -> None:
    wrong = [
        f"{name} names {target}"
        for name, targets in core_imports().items()
        for target in sorted(targets)
        if (room := name.partition(".")[0]) in ROOMS
        and target.partition(".")[0] not in (room, *ROOMS[room], *BELOW)
        and not (room == "leaf" and target in SHARED)
    ]
    assert wrong == []


def test_what_stands_below_all_rooms_knows_none() -> None:
    graph = core_imports()
    assert {name: graph[name] for name in BELOW if graph[name]} == {}


LINES_MAX = 700


def test_no_file_that_is_shipped_is_longer_than_one_can_read_at_a_sitting() -> None:
    lengths = {
        path.relative_to(SOURCE): len(path.read_text().splitlines())
        for pattern in ("*.py", "*/*.py", "*/*/*.py", "web/*.js")
        for path in SOURCE.glob(pattern)
    }
    assert {path: count for path, count in lengths.items() if count > LINES_MAX} == {}
    assert len(lengths) > 100


@pytest.mark.parametrize(
    ("layer", "line", "allowed"),
    [
        ("protocol", "import struct", True),
        ("protocol", "import binascii, struct", True),
        ("protocol", "from struct import pack", True),
        ("protocol", "from micropython import const", True),
        ("protocol", "from micropython import native", False),
        ("protocol", "from busway.protocol import codes", True),
        ("protocol", "from busway.protocol.wire.codes import SIZE_MAX", True),
        ("protocol", "from . import codes", True),
        ("protocol", "from .codes import SIZE_MAX", True),
        ("protocol", "from .. import payloads", False),
        ("protocol", "from ..drivers import unix", False),
        ("protocol", "from busway import drivers", False),
        ("protocol", "import busway.drivers.unix", False),
        ("protocol", "import busway.protocols", False),
        ("protocol", "import time", False),
        ("protocol", "from typing import Final", False),
        ("protocol", "if TYPE_CHECKING:\n    from typing import Final", True),
        ("protocol", "if TYPE_CHECKING:\n    from mypy_extensions import i64", True),
        ("protocol", "if TYPE_CHECKING:\n    import asyncio", False),
        ("protocol", "if TYPE_CHECKING:\n    pass\nelse:\n    from typing import Final", False),
        ("protocol", "def late() -> None:\n    import os", False),
        ("drivers", "import socket, os", True),
        ("drivers", "from busway.drivers.channel import Channel", True),
        ("drivers", "import bleak.backends", True),
        ("drivers", "from busway.protocol import Node", False),
        ("drivers", "from busway import protocol", False),
        ("drivers", "from busway.adapters import asyncio", False),
        ("drivers", "if TYPE_CHECKING:\n    from busway.protocol import Node", False),
        ("drivers", "import cbor2", False),
        ("adapters", "from busway.protocol import Node", True),
        ("adapters", "from busway.drivers import unix", True),
        ("adapters", "from busway.cli import main", False),
        ("adapters", "from busway import cli", False),
    ],
)
def test_the_rules_themselves(layer: str, line: str, allowed: bool) -> None:
    assert (objections(layer, line, f"busway.{layer}") == []) is allowed
