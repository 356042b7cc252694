"""Takes out of a board's program what it does not need: texts for people, what nobody uses, and calls to what
is called once.

A function costs some 80 bytes of a board's heap besides its code. Knows syntax trees, not what they do; what
is used from outside is told.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from busway.slots import share

__all__ = ["Function", "Transformer", "drop", "names_in", "own_attributes", "shrink", "strip_texts", "walk"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
_PURE_PARTS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.UnaryOp, ast.BinOp, ast.Compare, ast.BoolOp, ast.IfExp),
    *(ast.Tuple, ast.Subscript, ast.List, ast.Dict),
    *(ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop),
)
_PURE_CALLS = ("len", "min", "max")


_PLAIN = {"ctx", "op", "ops", "id", "attr", "arg", "kind", "type_comment", "asname", "module", "level"}
"""Fields of nodes without nodes, or only with what tells loads from stores and names an operator."""


class _Parts(dict[type, tuple[str, ...]]):
    """Of each sort of node the fields in which other nodes may be."""

    def __missing__(self, sort: type[ast.AST]) -> tuple[str, ...]:
        fields = () if sort is ast.Constant else sort._fields
        found = self[sort] = tuple(name for name in fields if name not in _PLAIN)
        return found


_PARTS = _Parts()
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")  # where statements are


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree in the order of `ast.walk`, but faster, and without operators and what tells loads
    and stores.
    """
    todo = [node]
    for one in todo:
        for name in _PARTS[type(one)]:
            part = getattr(one, name, None)
            if isinstance(part, ast.AST):
                todo.append(part)
            elif part and type(part) is list:
                todo += [item for item in part if isinstance(item, ast.AST)]
        yield one


class Transformer:
    """Does what `ast.NodeTransformer` does, but faster: it does not visit what `walk` leaves out."""

    _methods: Mapping[type, Callable[[Any, Any], Any]] = {}

    def __init_subclass__(cls) -> None:
        """Looks the methods up once, not at each node."""
        names = [name for name in dir(cls) if name.startswith("visit_")]
        cls._methods = {getattr(ast, name.removeprefix("visit_")): getattr(cls, name) for name in names}

    def visit(self, node: ast.AST) -> Any:
        """The replacement of the node: itself, another, several, or None."""
        method = self._methods.get(type(node))
        return self.generic_visit(node) if method is None else method(self, node)

    def parts(self, node: ast.AST) -> Collection[str]:
        """The fields in which it looks for nodes."""
        return _PARTS[type(node)]

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visits what is within the node."""
        for name in self.parts(node):
            old = getattr(node, name, None)
            if isinstance(old, ast.AST):
                new = self.visit(old)
                if new is None:
                    delattr(node, name)
                elif new is not old:
                    setattr(node, name, new)
            elif old and type(old) is list:
                old[:] = self._visited(old)
        return node

    def _visited(self, items: list[Any]) -> Iterator[Any]:
        for item in items:
            new = self.visit(item) if isinstance(item, ast.AST) else item
            if isinstance(new, ast.AST) or new is item:
                yield new
            elif new is not None:
                yield from new


def names_in(node: ast.AST, how: type[ast.expr_context] = ast.expr_context) -> set[str]:
    """The variables within a tree; `how` bounds it to those that are stored, or loaded."""
    return {one.id for one in walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, how)}


def own_attributes(node: ast.AST) -> set[str]:
    """The attributes of `self` within a tree."""
    return {one.attr for one in walk(node) if isinstance(one, ast.Attribute) and _is_self(one.value)}


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


class _Quiet(Transformer):
    """Texts for people become empty, but for the name of a limit at the end: "too many: pending_max"."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not (isinstance(node.value, str) and " " in node.value):
            return node
        last = node.value.rpartition(": ")[2]
        return ast.Constant(last if last.isidentifier() and "%" not in node.value else "")

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left = node.left
        gone = isinstance(node.op, ast.Mod) and isinstance(left, ast.Constant) and left.value == ""
        return left if gone else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        call = node.exc
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "TypeError":
            return node  # of a program's own value: it says what to do
        self.generic_visit(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            alone = len(call.args) == 1 or call.func.id == "Refusal"  # whose text is "" without it
            if alone and ast.dump(call.args[-1]) == ast.dump(ast.Constant("")):
                call.args.pop()
            if not call.args:
                node.exc = call.func
        return node


class _Plain(Transformer):
    """Arguments that must be named need not be any more: that took a dict."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        asked = node.args
        if asked.kwonlyargs and None not in asked.kw_defaults and asked.vararg is None:
            asked.args += asked.kwonlyargs
            asked.defaults += [default for default in asked.kw_defaults if default is not None]
            asked.kwonlyargs, asked.kw_defaults = [], []
        return node


def _reads(node: ast.AST) -> tuple[str, ...]:
    """The names that a node by itself reads, with a dot before it as well: of an object."""
    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Store) else (node.id,)
    if isinstance(node, ast.Attribute):
        return () if isinstance(node.ctx, ast.Store) else (node.attr, f".{node.attr}")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, f".{node.value}"  # perhaps of getattr
    return ()


def _counted_up(node: ast.AST) -> list[str]:
    """The attributes that are read only to change what is in them: that is no reading."""
    if not isinstance(node, (ast.Assign, ast.AugAssign)):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    places = [target.value for target in targets if isinstance(target, ast.Subscript)]
    return [place.attr for place in places if isinstance(place, ast.Attribute)]


class _Uses:
    """How often each name is read, `by` anybody, and `own`: by the definition that bears it, by identity."""

    def __init__(self, trees: Collection[ast.Module]) -> None:
        self.by: dict[str, int] = {}
        self.own: dict[int, int] = {}
        for tree in trees:
            self._count(tree)

    def _count(self, tree: ast.Module) -> None:
        todo: list[tuple[ast.AST, tuple[Definition, ...]]] = [(tree, ())]
        for node, within in todo:
            for name in _reads(node):
                self._add(name, 1, within)
            for name in _counted_up(node):
                self._add(name, -1, within)
                self._add(f".{name}", -1, within)
            if isinstance(node, Definition):
                within = (*within, node)
            for part in _PARTS[type(node)]:
                inner = getattr(node, part, None)
                if isinstance(inner, ast.AST):
                    todo.append((inner, within))
                elif inner and type(inner) is list:
                    todo += [(item, within) for item in inner if isinstance(item, ast.AST)]

    def _add(self, name: str, times: int, within: tuple[Definition, ...]) -> None:
        self.by[name] = self.by.get(name, 0) + times
        for one in within:
            if one.name == name:
                self.own[id(one)] = self.own.get(id(one), 0) + times


def _stored(target: ast.expr) -> str:
    """The attribute that an assignment changes, a dot before it, or ""."""
    if isinstance(target, ast.Subscript):
        target = target.value
    return f".{target.attr}" if isinstance(target, ast.Attribute) else ""


class _Drop(Transformer):
    """Definitions and attributes that nobody reads."""

    def __init__(self, uses: _Uses, kept: Collection[str]) -> None:
        self.uses = uses
        self.kept = kept
        self.dropped = 0

    def parts(self, node: ast.AST) -> Collection[str]:
        """Only what has statements in it: no expression is dropped."""
        return [name for name in _BLOCKS if name in _PARTS[type(node)]]

    def _idle(self, name: str, by_itself: int = 0) -> bool:
        """Whether nobody reads what bears this name, or with a dot before it an object's; its own definition
        may.
        """
        special = name.lstrip(".").startswith("__")
        return bool(name) and name not in self.kept and not special and self.uses.by.get(name, 0) <= by_itself

    def visit_FunctionDef(self, node: Definition) -> ast.AST | None:
        if self._idle(node.name, self.uses.own.get(id(node), 0)):
            self.dropped += 1
            return None
        if isinstance(node, ast.ClassDef):
            read = [one for one in node.body if not self._default(one) and not self._unasked(one)]
            self.dropped += len(node.body) - len(read)
            node.body = read
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def _default(self, statement: ast.stmt) -> bool:
        """Whether it gives an attribute a value that nobody reads."""
        return (
            isinstance(statement, ast.Assign)
            and all(
                isinstance(target, ast.Name) and self._idle(f".{target.id}") for target in statement.targets
            )
            and _pure(statement.value)
        )

    def _unasked(self, statement: ast.stmt) -> bool:
        """Whether it is a method that nobody asks an object for, though something else may bear its name."""
        return isinstance(statement, Function) and self._idle(f".{statement.name}")

    def visit_Assign(self, node: ast.Assign | ast.AugAssign) -> ast.AST | None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not all(self._idle(_stored(target)) for target in targets):
            return node
        self.dropped += 1
        return None if _pure(node.value) else ast.Expr(node.value)

    visit_AugAssign = visit_Assign

    def visit_If(self, node: ast.If) -> ast.AST | None:
        self.generic_visit(node)
        if not node.body and not node.orelse and _pure(node.test):
            return None
        node.body = node.body or [ast.Pass()]
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, (ast.Module, ast.If)):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if (node.module or "").startswith("busway"):
            node.names = [alias for alias in node.names if not self._idle(alias.name)]
        return node if node.names else None


def _pure(value: ast.expr) -> bool:
    """Whether computing it changes nothing."""
    for node in walk(value):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in _PURE_CALLS):
                return False
        elif not isinstance(node, _PURE_PARTS):
            return False
    return True


# ---- a class that only one other is derived from


def _merge(tree: ast.Module, uses: Mapping[str, int]) -> None:
    """Lets a class of a module that is named but once, as the base of another one there, become a part of
    that: a class takes some hundred bytes.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        base = node.bases[0] if len(node.bases) == 1 else None
        former = classes.get(base.id) if isinstance(base, ast.Name) else None
        if former is None or uses.get(former.name) != 1:
            continue
        own = {name for one in node.body for name in _members(one)}
        if any(isinstance(one, ast.Name) and one.id == "super" for one in walk(node)):
            continue
        node.bases = former.bases
        node.body[:0] = [one for one in former.body if not own.intersection(_members(one))]
        tree.body.remove(former)


def _members(statement: ast.stmt) -> set[str]:
    return {statement.name} if isinstance(statement, Function) else names_in(statement, ast.Store)


# ---- calls to what is called once


def _blocks(node: ast.AST) -> list[list[ast.stmt]]:
    """All lists of statements within a function, not those of functions in it."""
    found: list[list[ast.stmt]] = []
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            found.append(block)
            for inner in block:
                if not isinstance(inner, Function | ast.ClassDef):
                    found += _blocks(inner)
    for handler in getattr(node, "handlers", []):
        found += _blocks(handler)
    return found


def _tails(block: list[ast.stmt], found: list[int]) -> list[int]:
    """Identities of the statements with which a function ends."""
    if block:
        last = block[-1]
        found.append(id(last))
        if isinstance(last, ast.If):
            _tails(last.body, found)
            _tails(last.orelse, found)
    return found


def _locals(function: Function) -> set[str]:
    caught = {node.name for node in walk(function) if isinstance(node, ast.ExceptHandler) and node.name}
    return {arg.arg for arg in function.args.args} | caught | names_in(function, ast.Store)


# What has names of its own, or a meaning that depends on the function that it stands in.
_STAYING = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.DictComp),
    *(ast.Yield, ast.Import, ast.ImportFrom),
)


def _fits(function: ast.FunctionDef, uses: Mapping[str, int], counts: Mapping[str, int]) -> bool:
    """Whether a function may move into the one that calls it."""
    if function.decorator_list or function.name.startswith("__"):
        return False
    if uses.get(function.name) != 1 or counts[function.name] != 1:
        return False
    if function.args.vararg or function.args.kwarg or function.args.kwonlyargs:
        return False
    return not any(isinstance(node, _STAYING) for node in walk(function) if node is not function)


class _Substitute(Transformer):
    """Puts what was handed over in the places of arguments, and new names in those of locals."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self.values.get(node.id)
        if value is None:
            return node
        if isinstance(value, ast.Name):
            return ast.Name(value.id, node.ctx)
        return copy.deepcopy(value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        value = self.values.get(node.name or "")
        if isinstance(value, ast.Name):
            node.name = value.id
        return self.generic_visit(node)


class _Inline:
    """Moves functions that are called once to where they are called.

    That saves 2 KB of RAM and 0.9 KB of flash: without it a board needs 49 KiB over packets, one too many.
    """

    def __init__(
        self, tree: ast.Module, known: Mapping[str, ast.FunctionDef], methods: Collection[str]
    ) -> None:
        self.tree = tree
        self.known = known
        self.methods = methods
        self.moved: set[str] = set()
        self.begun: set[str] = set()
        self.done: set[str] = set()

    def callee(self, call: ast.expr | None, caller: Function) -> ast.FunctionDef | None:
        if not isinstance(call, ast.Call):
            return None
        name, is_method = "", isinstance(call.func, ast.Attribute)
        if isinstance(call.func, ast.Name):
            name = call.func.id
        elif isinstance(call.func, ast.Attribute) and _is_self(call.func.value):
            name = call.func.attr
        found = self.known.get(name)
        if found is None or found is caller or (name in self.methods) != is_method:
            return None
        spread = [one for one in call.args if isinstance(one, ast.Starred)]
        if spread or not all(word.arg for word in call.keywords):
            return None
        begun_only = (name in self.begun) != (name in self.done)
        return None if name in self.moved or begun_only else found

    def run(self) -> None:
        for caller in [node for node in walk(self.tree) if isinstance(node, Function)]:
            self._into(caller)

    def _into(self, caller: Function) -> None:
        """Lets a function take in what it calls before it moves itself."""
        if caller.name in self.begun and self.known.get(caller.name) is caller:
            return
        self.begun.add(caller.name)
        for node in list(walk(caller)):
            callee = self.callee(node, caller) if isinstance(node, ast.Call) else None
            if callee is not None:
                self._into(callee)
        self.done.add(caller.name)
        theirs = _locals(caller)
        for block in _blocks(caller):
            for statement in list(block):
                body = self._moved(statement, caller, theirs)
                if body is not None:
                    at = block.index(statement)
                    block[at : at + 1] = body

    def _moved(self, statement: ast.stmt, caller: Function, theirs: set[str]) -> list[ast.stmt] | None:
        """The statements that take the place of a statement that is such a call, or None."""
        call = getattr(statement, "value", None)
        callee = self.callee(call, caller)
        if callee is None or not isinstance(statement, (ast.Expr, ast.Return, ast.Assign)):
            return None
        returns = [node for node in walk(callee) if isinstance(node, ast.Return)]
        single = returns == [callee.body[-1]]
        if isinstance(statement, ast.Expr) and returns and not single:
            bare = all(one.value is None for one in returns)
            if not bare or id(statement) not in _tails(caller.body, []):
                return None
        if isinstance(statement, ast.Assign) and not (
            single and returns[0].value and not statement.targets[1:]
        ):
            return None
        assert isinstance(call, ast.Call)
        body = self._entered(call, callee, theirs)
        if body is None:
            return None
        if isinstance(statement, ast.Assign):
            assert isinstance(body[-1], ast.Return)
            assert body[-1].value is not None
            body[-1:] = _assigned(statement.targets[0], body[-1].value)
        elif isinstance(statement, ast.Expr) and single:
            ending = body.pop()
            assert isinstance(ending, ast.Return)
            body += [] if ending.value is None or _pure(ending.value) else [ast.Expr(ending.value)]
        elif isinstance(statement, ast.Return) and not _ends(callee.body):
            body.append(ast.Return(None))
        self.moved.add(callee.name)
        return body

    def _entered(self, call: ast.Call, callee: ast.FunctionDef, theirs: set[str]) -> list[ast.stmt] | None:
        """The callee's statements for this call, what is handed over before them."""
        given = _given(call, callee)
        own = _locals(callee)
        if given is None or (names_in(callee) - own) & theirs:
            return None
        changed = names_in(callee, ast.Store)
        values: dict[str, ast.expr] = {}
        first: list[ast.stmt] = []
        renamed: dict[str, str] = {}
        for name in own:
            value = given.get(name)
            if value is not None and name not in changed and _plain(value, theirs):
                values[name] = value
                continue
            renamed[name] = name
            while renamed[name] in theirs:
                renamed[name] += "_"
            values[name] = ast.Name(renamed[name], ast.Load())
        for name, value in given.items():
            if name in renamed:
                first.append(_assign(ast.Name(renamed[name], ast.Store()), value))
        body: list[ast.stmt] = [_Substitute(values).visit(one) for one in copy.deepcopy(callee.body)]
        return [*first, *body]


def _assign(target: ast.expr, value: ast.expr) -> ast.Assign:
    return ast.Assign([target], value, lineno=1)  # for which `ast.unparse` asks


def _assigned(target: ast.expr, value: ast.expr) -> list[ast.stmt]:
    """Lets what a function returned go to its place; a tuple part by part, but for those called `_`."""
    apart = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and _pure(value)
    reads = any(isinstance(one, (ast.Attribute, ast.Subscript)) for one in walk(value))
    if not apart or reads or names_in(target, ast.Store) & names_in(value):
        return [_assign(target, value)]
    assert isinstance(target, ast.Tuple)
    assert isinstance(value, ast.Tuple)
    pairs = zip(target.elts, value.elts, strict=True)
    return [_assign(one, part) for one, part in pairs if ast.unparse(one) != "_"]


def _plain(value: ast.expr, theirs: Collection[str]) -> bool:
    """Whether a value may stand wherever the argument stood."""
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id in theirs)


def _given(call: ast.Call, callee: ast.FunctionDef) -> dict[str, ast.expr] | None:
    """The value of each argument, in the order of evaluation; None if that is not known."""
    asked = [arg.arg for arg in callee.args.args]
    given: dict[str, ast.expr] = {}
    if isinstance(call.func, ast.Attribute):
        given["self"] = call.func.value
        asked = asked[1:]
    given.update(zip(asked, call.args, strict=False))
    given.update({word.arg: word.value for word in call.keywords if word.arg})
    for name, value in zip(reversed(asked), reversed(callee.args.defaults), strict=False):
        given.setdefault(name, value)
    return given if set(asked) <= set(given) else None


def _ends(block: list[ast.stmt]) -> bool:
    last = block[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and _ends(last.body) and _ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Raise))


class _Unread(Transformer):
    """Takes away locals of one function that nobody reads, such as what one that moved into it found out
    besides: each takes memory at every call.
    """

    def __init__(self, function: Function) -> None:
        read = {
            one.id
            for one in walk(function)
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Store)
        }
        shared = {name for one in walk(function) if isinstance(one, ast.Global) for name in one.names}
        self.idle = names_in(function, ast.Store) - read - shared
        self.changed = False
        self.visit(function)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Name) or target.id not in self.idle:
            return node
        self.changed = True
        return None if _pure(node.value) else ast.Expr(node.value)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def strip_texts(tree: ast.Module) -> None:
    """Takes away the texts for people of a module, in place: what has a blank in it."""
    _Quiet().visit(tree)


def drop(trees: Collection[ast.Module], kept: Collection[str]) -> None:
    """Takes away what nobody uses, in place; arguments as of `shrink`."""
    while True:
        dropper = _Drop(_Uses(trees), kept)
        for tree in trees:
            dropper.visit(tree)
        if not dropper.dropped:
            break


def shrink(trees: Collection[ast.Module], kept: Collection[str]) -> None:
    """Makes modules smaller, in place.

    Args:
        trees: all modules of a program that know one another.
        kept: what is used from outside: names of functions and classes; those of members with and without a
            dot before them.
    """
    for tree in trees:
        _Plain().visit(tree)
    drop(trees, kept)
    counts = Counter(node.name for tree in trees for node in walk(tree) if isinstance(node, Function))
    uses = _Uses(trees).by
    for tree in trees:
        _merge(tree, uses)
    for tree in trees:
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        methods = {one.name: one for node in classes for one in _functions(node)}
        functions = {one.name: one for one in _functions(tree)}
        known = {
            name: one
            for name, one in {**methods, **functions}.items()
            if name not in kept and _fits(one, uses, counts)
        }
        inline = _Inline(tree, known, methods)
        inline.run()
        gone = [known[name] for name in inline.moved]
        for body in [tree.body, *(one.body for one in classes)]:
            body[:] = [one for one in body if one not in gone] or [ast.Pass()]
        for function in [node for node in walk(tree) if isinstance(node, Function)]:
            while _Unread(function).changed:
                pass
            if isinstance(function, ast.FunctionDef):
                share(function)


def _functions(block: ast.Module | ast.ClassDef) -> list[ast.FunctionDef]:
    return [one for one in block.body if isinstance(one, ast.FunctionDef)]
