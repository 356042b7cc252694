"""Lets locals of a function that are never in use at the same time share one variable.

A board keeps the frame of a function with many variables in its heap, a word for each, for as long as it
runs. Knows syntax trees, not what they do.
"""

from __future__ import annotations

import ast

__all__ = ["share"]

_FIELDS = ("body", "orelse", "handlers", "finalbody")  # where statements are
_INNER = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


class _Block:
    """A list of statements in a function, at a `place` of another one."""

    def __init__(self, parent: _Block | None, place: int, repeats: bool) -> None:
        self.parent = parent
        self.place = place
        self.repeats = repeats  # it is in a loop

    def path(self) -> list[tuple[_Block, int]]:
        """The blocks that it is in, and where, the outermost first."""
        found: list[tuple[_Block, int]] = []
        block: _Block = self
        while block.parent is not None:
            found.append((block.parent, block.place))
            block = block.parent
        return found[::-1]


class _Span:
    """All occurrences of a variable: from statement `first` to `last` of a block."""

    def __init__(self, block: _Block, place: int) -> None:
        self.block = block
        self.first = self.last = place

    def add(self, block: _Block, place: int) -> None:
        """Another occurrence: what holds both is a block that both are in."""
        mine = [*self.block.path(), (self.block, self.first)]
        last = {id(one): at for one, at in [*self.block.path(), (self.block, self.last)]}
        theirs = {id(one): at for one, at in [*block.path(), (block, place)]}
        shared, first = [(one, at) for one, at in mine if id(one) in theirs][-1]
        at = theirs[id(shared)]
        self.block, self.first, self.last = shared, min(first, at), max(last[id(shared)], at)

    def widen(self) -> None:
        """To all of the outermost loop that it is in: what one turn leaves the next one may read."""
        block = self.block
        while block.repeats:
            assert block.parent is not None
            self.first = self.last = block.place
            block = block.parent
        self.block = block

    def meets(self, other: _Span) -> bool:
        """Whether both may be in use at once."""
        for one, two in ((self, other), (other, self)):
            for block, place in [*two.block.path(), (two.block, two.first)]:
                if block is one.block:
                    last = two.last if block is two.block else place
                    return one.first <= last and place <= one.last
        return False


class _Spans:
    """Where each variable of a function occurs."""

    def __init__(self, function: ast.FunctionDef) -> None:
        self.spans: dict[str, _Span] = {}
        self.names: dict[str, list[ast.Name]] = {}
        self.staying = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
        self.statements: dict[int, list[ast.stmt]] = {}
        self._block(function.body, _Block(None, 0, False))

    def _block(self, statements: list[ast.stmt], block: _Block) -> None:
        self.statements[id(block)] = statements
        for place, statement in enumerate(statements):
            self._statement(statement, block, place)

    def _statement(self, node: ast.AST, block: _Block, place: int) -> None:
        """A statement, or what handles an exception, with the blocks in it."""
        repeats = block.repeats or isinstance(node, (ast.For, ast.AsyncFor, ast.While))
        if isinstance(node, ast.ExceptHandler) and node.name:
            self.staying.add(node.name)
        for field, value in ast.iter_fields(node):
            if field == "handlers":
                for handler in value:
                    self._statement(handler, block, place)
            elif field in _FIELDS and isinstance(value, list):
                self._block(value, _Block(block, place, repeats))
            else:
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        self._expression(part, block, place)

    def _expression(self, node: ast.AST, block: _Block, place: int) -> None:
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                self._note(one, block, place)
            elif isinstance(one, ast.alias):
                self.staying.add(one.asname or one.name)

    def _note(self, name: ast.Name, block: _Block, place: int) -> None:
        if isinstance(name.ctx, ast.Del):
            self.staying.add(name.id)
        self.names.setdefault(name.id, []).append(name)
        if name.id in self.spans:
            self.spans[name.id].add(block, place)
        else:
            self.spans[name.id] = _Span(block, place)

    def begins(self, name: str) -> bool:
        """Whether the first statement with a variable gives it a value in any case, without reading it."""
        span = self.spans[name]
        statement = self.statements[id(span.block)][span.first]
        if not isinstance(statement, ast.Assign):
            return False
        read = [one for one in ast.walk(statement.value) if isinstance(one, ast.Name) and one.id == name]
        targets = statement.targets[0]
        parts = targets.elts if isinstance(targets, ast.Tuple) else [targets]
        return not read and any(isinstance(part, ast.Name) and part.id == name for part in parts)


def share(function: ast.FunctionDef) -> None:
    """Gives variables of a function that are never in use at once one name, in place. One with functions of
    its own stays as it is.
    """
    inner = [node for node in ast.walk(function) if node is not function]
    if any(isinstance(node, (*_INNER, ast.Global, ast.Nonlocal)) for node in inner):
        return
    found = _Spans(function)
    stored = {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    variables: list[tuple[str, list[_Span]]] = []
    for name, span in found.spans.items():
        if name not in stored or name in found.staying:
            continue
        if span.block.repeats and not found.begins(name):
            span.widen()
        for shown, spans in variables:
            if not any(span.meets(other) for other in spans):
                spans.append(span)
                for node in found.names[name]:
                    node.id = shown
                break
        else:
            variables.append((name, [span]))
