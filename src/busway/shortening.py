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

from busway.shrinking import Function, Transformer, names_in, own_attributes, walk

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
_OF_BOARDS = "value any register unregister modify ipoll poll irq init deinit txdone flush config active"
_NATIVE |= set(_OF_BOARDS.split())
"""Names that objects have which are not ours."""


def members(trees: Collection[ast.Module]) -> list[set[str]]:
    """Names of members, a set for each family of classes: a class, its bases and what is derived from it."""
    families: dict[str, set[str]] = {}
    for node in [one for tree in trees for one in walk(tree) if isinstance(one, ast.ClassDef)]:
        family = own_attributes(node)
        for member in node.body:
            if isinstance(member, Function):
                family.add(member.name)
            elif isinstance(member, ast.Assign):
                family |= {target.id for target in member.targets if isinstance(target, ast.Name)}
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        for name in [node.name, *bases]:
            if name in vars(builtins):
                family |= {*dir(vars(builtins)[name]), "value", "errno"}
            family |= families.get(name, set())
        joined = {id(families[base]) for base in bases if base in families}
        families |= {name: family for name, other in families.items() if id(other) in joined}
        families[node.name] = family
    return list({id(family): family for family in families.values()}.values())


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


def _bound(function: ast.AST) -> tuple[list[str], set[str]]:
    """Names of arguments, and of other locals, of a function and those within it."""
    inner = [node for node in walk(function) if node is not function]
    arguments = list(dict.fromkeys(node.arg for node in inner if isinstance(node, ast.arg)))
    others = names_in(function, ast.Store)
    others |= {node.name for node in inner if isinstance(node, ast.ExceptHandler | Function) and node.name}
    others |= {node.asname or node.name for node in inner if isinstance(node, ast.alias)}
    return arguments, others - set(arguments)


class _Rename(Transformer):
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
            elif isinstance(member, Function):
                member.name = self.attributes.get(member.name, member.name)
                self._function(member)
        return node

    def visit_Lambda(self, node: Function | ast.Lambda) -> ast.AST:
        return self.generic_visit(node) if self.locals is not None else self._function(node)

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        node.name = self._name(node.name)
        return self.visit_Lambda(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _function(self, node: Function | ast.Lambda) -> ast.AST:
        arguments, others = _bound(node)
        free = names_in(node) - set(arguments) - others
        known = {**self.keywords, **{name: name for name in self.kept}}
        self.locals = {name: known[name] for name in arguments if name in known}
        taken = {"self", *(self.globals.get(name, name) for name in free), *self.locals.values()}
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
    found = {node.arg for tree in trees for node in walk(tree) if isinstance(node, ast.keyword) and node.arg}
    arguments = {node.arg for tree in trees for node in walk(tree) if isinstance(node, ast.arg)}
    return (found & arguments) - set(kept)


def _globals(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names that a module has at its top, and of these what is not ours."""
    ours: set[str] = set()
    foreign: set[str] = set()
    for node in walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.asname or alias.name for alias in node.names}
            (ours if (getattr(node, "module", "") or "").startswith("busway") else foreign).update(names)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | Function):
            ours.add(statement.name)
        else:
            ours |= names_in(statement, ast.Store)
    return ours - foreign, foreign


def shorten(trees: Collection[ast.Module], kept: Collection[str]) -> dict[str, str]:
    """Renames in place what the modules define, all of them consistently.

    Args:
        trees: all modules of a program that know one another, each behind those that it imports.
        kept: names of members, globals and arguments that others use.

    Returns:
        What each attribute and global is called now.
    """
    strings = {node.value for tree in trees for node in walk(tree) if isinstance(node, ast.Constant)}
    literals = {value for value in strings if isinstance(value, str)}
    stay = {*kept, *literals, *_NATIVE}
    palette = [name for name in ROM if name not in literals]
    families = members(trees)
    attributes = _paint(
        families, {n for family in families for n in family if n in stay or n.startswith("__")}, palette
    )
    groups: list[set[str]] = []
    fixed = {*kept, *literals}
    used: set[str] = set()
    for tree in trees:
        ours, foreign = _globals(tree)
        groups.append(ours | foreign)
        fixed |= foreign
        used |= names_in(tree) & set(dir(builtins)) - ours
    free = [name for name in palette if name not in used and name not in kept]
    keywords = {name: free.pop() for name in sorted(_keywords(trees, kept))}
    free = free[10:]  # the first ones are for arguments
    globals = _paint(groups, fixed & set().union(*groups), free)
    for tree in trees:
        _Rename(attributes, globals, keywords, kept).visit(tree)
    return {**attributes, **globals}
