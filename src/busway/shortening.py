"""Gives what a board carries names that cost nothing there: those that every MicroPython has in its ROM.

A name of a program takes 10 to 30 bytes of a board's heap. Members of classes that never meet share a name,
and so do the locals of functions. Knows syntax trees, not what they do; what must keep its name is told.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import io
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = ["ROM", "members", "shorten"]

_ROM = """
append args bytecode clear close const copy count end endswith extend find format from_bytes get index
insert isalpha isdigit islower isspace isupper items join key keys little lower lstrip main micropython
pop popitem read readinto readline remove replace rfind rindex rsplit rstrip send sep setdefault sort
split start startswith step stop strip throw to_bytes update upper value values write classmethod divmod
eval exec globals locals pow round sum setattr staticmethod builtins callable chr delattr dir hash hex
issubclass map object open ord reversed zip all abs any bin bool bytearray bytes dict getattr hasattr id
int isinstance iter len list max min next print range repr set sorted str super tuple type
ArithmeticError AssertionError AttributeError EOFError GeneratorExit ImportError IndentationError
IndexError KeyError KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError
OverflowError RuntimeError StopIteration SyntaxError SystemExit TypeError ValueError ZeroDivisionError
"""

ROM = tuple(_ROM.split())
"""Names that every MicroPython since 1.20 has: the static ones of its py/makeqstrdata.py, and builtins."""

_KINDS = (bytes, bytearray, memoryview, str, int, float, list, tuple, dict, set, BaseException, OSError)
_KINDS_OF_BOARDS = (socket.socket, io.RawIOBase, io.BytesIO, asyncio.Event, asyncio.Task)
_NATIVE = {name for kind in _KINDS for name in dir(kind)} | {
    name for kind in _KINDS_OF_BOARDS for name in dir(kind) if callable(getattr(kind, name))
}
_NATIVE |= {
    "value",
    "any",
    "register",
    "unregister",
    "modify",
    "ipoll",
    "poll",
    "irq",
    "init",
    "deinit",
    "txdone",
    "flush",
    "config",
    "active",
}
"""Names that objects have which are not ours."""


class _Classes(ast.NodeVisitor):
    """The members of each family of classes: a class, its bases and what is derived from it."""

    def __init__(self) -> None:
        self.families: dict[str, set[str]] = {}
        self.inside: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        family: set[str] = set()
        for name in [node.name, *(base.id for base in node.bases if isinstance(base, ast.Name))]:
            if name in vars(builtins):
                family |= {*dir(vars(builtins)[name]), "value", "errno"}
            family |= self.families.get(name, set())
        for member in node.body:
            if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
                family.add(member.name)
            elif isinstance(member, ast.Assign):
                family |= {target.id for target in member.targets if isinstance(target, ast.Name)}
        for inner in ast.walk(node):
            if (
                isinstance(inner, ast.Attribute)
                and isinstance(inner.value, ast.Name)
                and inner.value.id == "self"
            ):
                family.add(inner.attr)
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        joined = [self.families[base] for base in bases if base in self.families]
        for known, other in list(self.families.items()):
            if any(other is one for one in joined):
                self.families[known] = family
        self.families[node.name] = family


def members(trees: Collection[ast.Module]) -> list[set[str]]:
    """Names of members, a set for each family of classes."""
    classes = _Classes()
    for tree in trees:
        classes.visit(tree)
    found: list[set[str]] = []
    for family in classes.families.values():
        if not any(family is other for other in found):
            found.append(family)
    return found


def _paint(
    groups: Sequence[Collection[str]], kept: Collection[str], palette: Sequence[str]
) -> dict[str, str]:
    """New names, different within each group; `kept` ones stay, and are given to nobody in their groups."""
    names = sorted({name for group in groups for name in group if name not in kept})
    homes = {name: [group for group in groups if name in group] for name in names}
    given: dict[str, str] = {name: name for name in kept}
    painted: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (-sum(map(len, homes[name])), name)):
        taken = {given[other] for group in homes[name] for other in group if other in given}
        given[name] = painted[name] = next(new for new in _endless(palette) if new not in taken)
    return painted


def _endless(palette: Sequence[str]) -> Iterator[str]:
    yield from palette
    number = 0
    while True:
        yield f"_{chr(97 + number % 26)}{number // 26 or ''}"
        number += 1


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _bound(function: ast.AST) -> tuple[list[str], set[str]]:
    """Names of arguments, and of other locals, of a function and those within it."""
    arguments: list[str] = []
    others: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.arg not in arguments:
            arguments.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            others.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            others.add(node.name)
        elif isinstance(node, ast.alias):
            others.add(node.asname or node.name)
        elif isinstance(node, _FUNCTIONS) and node is not function:
            others.add(node.name)
    return arguments, others - set(arguments)


class _Rename(ast.NodeTransformer):
    """Writes the new names: those of members, of globals, and within each function those of its locals."""

    def __init__(
        self,
        attributes: Mapping[str, str],
        globals: Mapping[str, str],
        keywords: Mapping[str, str],
        kept: Collection[str],
    ) -> None:
        self.attributes = attributes
        self.globals = globals
        self.keywords = keywords
        self.kept = kept
        self.locals: dict[str, str] | None = None

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self.attributes.get(node.attr, node.attr)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._name(node.id)
        return node

    def _name(self, name: str) -> str:
        if self.locals is not None and name in self.locals:
            return self.locals[name]
        return self.globals.get(name, name)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        node.arg = self.keywords.get(node.arg or "", node.arg)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        assert self.locals is not None
        node.arg = self.locals[node.arg]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = self._name(node.name) if node.name else None
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        if self.locals is not None:
            node.names = [
                ast.alias(alias.name, self.locals[alias.asname or alias.name]) for alias in node.names
            ]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        ours = (node.module or "").startswith("busway")
        for alias in node.names:
            shown = self._name(alias.asname or alias.name)
            alias.name = self.globals.get(alias.name, alias.name) if ours else alias.name
            alias.asname = None if shown == alias.name else shown
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [self.visit(base) for base in node.bases]
        node.name = self.globals.get(node.name, node.name)
        for member in node.body:
            if isinstance(member, ast.Assign):
                member.value = self.visit(member.value)
                for target in member.targets:
                    assert isinstance(target, ast.Name)
                    target.id = self.attributes.get(target.id, target.id)
            elif isinstance(member, _FUNCTIONS):
                member.name = self.attributes.get(member.name, member.name)
                self._function(member)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._named(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._named(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self.generic_visit(node) if self.locals is not None else self._function(node)

    def _named(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.name = self._name(node.name)
        return self.generic_visit(node) if self.locals is not None else self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> ast.AST:
        arguments, others = _bound(node)
        free = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)} - set(arguments) - others
        taken = {self.globals.get(name, name) for name in free} | {"self"}
        self.locals = {}
        for name in arguments:
            if name in self.kept:
                self.locals[name] = name
            elif name in self.keywords:
                self.locals[name] = self.keywords[name]
        taken |= set(self.locals.values())
        for name in arguments:
            if name not in self.locals:
                self.locals[name] = next(new for new in _endless(ROM) if new not in taken)
                taken.add(self.locals[name])
        for number, name in enumerate(sorted(others)):
            self.locals[name] = f"_{number}"  # names of locals are not part of what a board loads
        self.generic_visit(node)
        self.locals = None
        return node


def _keywords(trees: Collection[ast.Module], kept: Collection[str]) -> set[str]:
    found = {
        node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg
    }
    arguments = {node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return (found & arguments) - set(kept)


def _globals(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names that a module has at its top, and of these what is not ours."""
    ours: set[str] = set()
    foreign: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.asname or alias.name for alias in node.names}
            (ours if (getattr(node, "module", "") or "").startswith("busway") else foreign).update(names)
    for node in ast.walk(
        ast.Module([n for n in tree.body if not isinstance(n, (ast.ClassDef, *_FUNCTIONS))], [])
    ):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            ours.add(node.id)
    ours |= {node.name for node in tree.body if isinstance(node, (ast.ClassDef, *_FUNCTIONS))}
    return ours - foreign, foreign


def shorten(trees: Collection[ast.Module], kept: Collection[str]) -> dict[str, str]:
    """Renames in place what the modules define, all of them consistently.

    Args:
        trees: all modules of a program that know one another, each behind those that it imports.
        kept: names of members, globals and arguments that others use.

    Returns:
        What each attribute and global is called now.
    """
    literals = {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    stay = set(kept) | literals | _NATIVE
    palette = [name for name in ROM if name not in literals]
    families = members(trees)
    attributes = _paint(
        families, {n for family in families for n in family if n in stay or n.startswith("__")}, palette
    )
    groups: list[set[str]] = []
    foreign: set[str] = set()
    used: set[str] = set()
    for tree in trees:
        ours, others = _globals(tree)
        loads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        groups.append(ours | others)
        foreign |= others
        used |= loads & set(dir(builtins)) - ours
    fixed = {
        name for group in groups for name in group if name in kept or name in foreign or name in literals
    }
    free = [name for name in palette if name not in used and name not in kept]
    keywords = {name: free.pop() for name in sorted(_keywords(trees, kept))}
    free = free[10:]  # the first ones are for arguments
    globals = _paint(groups, fixed, free)
    for tree in trees:
        _Rename(attributes, globals, keywords, kept).visit(tree)
        ast.fix_missing_locations(tree)
    return {**attributes, **globals}
