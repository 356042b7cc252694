"""A board's program made small: it still does the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from busway.firmware import strip
from busway.shortening import ROM, shorten
from busway.shrinking import Transformer, shrink, strip_texts, walk
from tests.rigs.tree import ROOT

PROGRAM = """
class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text

class Base:
    def __init__(self, *, size=3):
        self.size = size
        self._seen = []
        self.unread = 0

    def _note(self, what, times=1):
        for _ in range(times):
            self._seen.append(what)

    def _deep(self, what):
        total = what + 1
        self._deeper(total * 2)
        return total

    def _deeper(self, what):
        total = what
        if total > 100:
            self._seen.append(-1)
            return
        self._seen.append(total)

class Counter(Base):
    def _big(self, value):
        if value < 4:
            return False
        return value != 5

    def _sum(self, values):
        total = 0
        for value in values:
            total += value
        return total

    def _sign(self, value):
        if value < 0:
            return "-"
        return "+"

    def _known(self, value):
        for seen in self._seen:
            if seen == value:
                return True
        return False

    def run(self, values):
        self.unread += len(values)
        total = self._sum(values)
        rest = list(values)
        self._skipped(rest)
        self._seen.append(len(rest))
        if not self._big(total) or total > 1000:
            self._note("small")
        if self._known(total):
            self._note("known")
        self._note("sum", times=2)
        self._deep(total)
        half, self.rest, day, _ = self._parts(total)
        self._seen.append(half * 1000 + self.rest * 10 + day)
        try:
            _check(total, self.size)
        except Refused as refusal:
            self._seen.append(refusal.code)
            self._seen.append(refusal.text)
        self._seen.append(_half(total))
        return self._sign(total)

    def total(self):  # only locals are called so
        return 0

    def _parts(self, value):
        half = value // 2
        rest = value - half
        return half, rest, value % 7, "unasked"

    def _skipped(self, values):
        unheard = len(values)
        unused = values.pop(0)

    def _never(self):
        return self._nor_this()

    def _nor_this(self):
        return 0

def _half(value):
    return value // 2

def _check(total, limit):
    refusal = total > limit
    if refusal:
        raise Refused(7, "more than %d in all" % limit)

def main(values):
    counter = Counter(size=5)
    sign = counter.run(values)
    return [sign] + counter._seen
"""


def result(tree: ast.Module, name: str, values: list[int]) -> list[object]:
    space: dict[str, object] = {}
    exec(compile(ast.fix_missing_locations(tree), "program", "exec"), space)
    main = space[name]
    assert callable(main)
    found = main(values)
    assert isinstance(found, list)
    return found


def functions(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 3], [-4], [200]])
def test_a_small_program_does_the_same(values: list[int]) -> None:
    wanted = result(ast.parse(PROGRAM), "main", values)
    tree = ast.parse(PROGRAM)
    shrink([tree], {"main"})
    assert result(tree, "main", values) == wanted
    assert functions(tree) == {
        "__init__",
        "run",
        "main",
        "_note",
        "_big",
        "_known",
        "_deeper",
        "_half",
    }  # the others were called once
    assert "unread" not in ast.unparse(tree)
    assert not [word for word in ("unasked", "unheard", "unused") if word in ast.unparse(tree)]
    names = shorten([tree], {"main"})
    assert result(tree, "main", values) == wanted
    assert set(names.values()) <= set(ROM)
    assert "main" not in names
    assert not {"Counter", "_seen", "size", "values"} & set(ast.unparse(tree).replace(".", " ").split())


def test_a_walk_leaves_out_only_operators_and_contexts() -> None:
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    sorts = (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)
    assert list(walk(tree)) == [node for node in ast.walk(tree) if not isinstance(node, sorts)]


def test_a_transformer_does_what_that_of_ast_does() -> None:
    def of(base: type) -> type:
        def visit_arg(self: object, node: ast.arg) -> ast.arg | None:
            return None if node.arg == "what" else node

        def visit_Expr(self: object, node: ast.Expr) -> list[ast.stmt]:
            return [node, ast.Pass()]

        def visit_Return(self: Transformer, node: ast.Return) -> ast.AST:
            self.generic_visit(node)
            return node

        def visit_Constant(self: object, node: ast.Constant) -> ast.AST | None:
            return None if node.value == 0 else ast.Name("constant", ast.Load())

        methods = [visit_arg, visit_Expr, visit_Return, visit_Constant]
        return type("Some", (base,), {method.__name__: method for method in methods})

    done = [of(base)().visit(ast.parse(PROGRAM)) for base in (Transformer, ast.NodeTransformer)]
    assert ast.dump(done[0]) == ast.dump(done[1]) != ast.dump(ast.parse(PROGRAM))


def test_texts_for_people_go_where_asked() -> None:
    tree = ast.parse(PROGRAM)
    strip_texts(tree)
    shrink([tree], {"main"})
    assert result(tree, "main", [200])[-2:] == ["", 100]
    assert "in all" not in ast.unparse(tree)


def test_modules_keep_to_one_another() -> None:
    sources = {
        "busway.one": "class Thing:\n    def __init__(self, width):\n        self.width = width\n"
        "def area(thing, *, height=2):\n    for _ in range(1):\n        pass\n"
        "    return thing.width * height\n",
        "busway.two": "from busway.one import Thing, area\nclass Wide(Thing):\n    def twice(self):\n"
        "        return area(self, height=2 * self.width) + area(self)\n"
        "def main(widths):\n    return [Wide(widths[0]).twice()]\n",
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    shrink(list(trees.values()), {"main"})
    names = shorten(list(trees.values()), {"main"})
    assert names["area"] in ROM
    whole = ast.Module([*trees["busway.one"].body, *trees["busway.two"].body[1:]], [])
    assert result(whole, "main", [3]) == [3 * 6 + 3 * 2]


def test_an_attribute_that_only_others_set_is_refused() -> None:
    """Nobody would know which class it belongs to: two attributes of one object got the same name."""
    source = "class Message:\n    number = 0\n    seq: int\ndef mark(message):\n    message.seq = 1\n"
    with pytest.raises(RuntimeError, match=r"Message: \['seq'\] have no value"):
        strip([source], "busway.one", {})
    strip([source.replace("seq: int", "seq: int = 0")], "busway.one", {})
    own = "class Message:\n    seq: int\n    def mark(self):\n        self.seq = 1\n"
    assert "seq: int" not in ast.unparse(strip([own], "busway.one", {}))


@pytest.mark.parametrize("expression", ["6 * 7", "-1", "b'x'"])
def test_constants_that_are_no_sum_of_numbers_keep_their_names(expression: str) -> None:
    """As what wire codes are made of become numbers, nothing else does."""
    source = "_SOME: 'Final' = {}\ndef main():\n    return _SOME\n"
    assert ast.unparse(strip([source.format("1 << 6 | 2")], "busway.one", {})) == "def main():\n    return 66"
    kept = ast.unparse(strip([source.format(expression)], "busway.one", {}))
    assert kept == f"_SOME = {expression}\n\ndef main():\n    return _SOME"


_LEAF = ("", "_sending", "_links", "_limits", "_packets", "_priorities", "_patterns", "_lasts", "_selectors")


def test_the_leaf_keeps_its_promises_when_it_is_small() -> None:
    """Its own tests, and those of its packets, with the shrunk modules in the places of the whole ones."""
    parts = [f"test_small_leaf{part}.py" for part in _LEAF]
    files = [*parts, "test_packets.py", "test_vectors.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.rigs.shrunk", "-p", "no:cacheprovider"]
        + [f"tests/protocol/{file}" for file in files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "shrunk" in run.stdout
