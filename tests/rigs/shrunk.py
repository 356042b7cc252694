"""A plugin of pytest: the leaf's modules as a board has them, shrunk and renamed, in their usual places.

Names that the tests at the command line use are kept; all else is as `python -m busway.firmware` makes it.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

from busway.firmware import MODULES, SOURCE, strip
from busway.shortening import shorten
from busway.shrinking import shrink, walk
from tests.rigs.tree import ROOT

_SHARED = (
    "protocol/errors.py",
    "protocol/wire/fields.py",
    "protocol/wire/aliases.py",
    "protocol/wire/headers.py",
    "protocol/wire/control.py",
    "protocol/wire/entries.py",
    "protocol/wire/hello.py",
    "protocol/wire/ascending.py",
    "protocol/wire/patterns.py",
    "protocol/link/link.py",
)  # with the routers of the tests


def _names(tree: ast.AST) -> set[str]:
    """All that a text could mean by its words."""
    found: set[str] = set()
    for node in walk(tree):
        for field in ("id", "attr", "arg", "name"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                found.add(word)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return found


def _tests() -> list[Path]:
    """The tests at the command line, and what they share with others."""
    asked = [ROOT / word for word in sys.argv if word.endswith(".py")]
    folders = {path.parent for path in asked} | {ROOT / "tests" / "vectors"}
    shared = [path for folder in folders for path in folder.glob("*.py") if not path.stem.startswith("test_")]
    return [*asked, *shared]


def _dotted(path: str) -> str:
    return f"busway.{path.removesuffix('.py').replace('/', '.')}"


def _home(name: str) -> str:
    """The module that files become. Its name on boards is that of a package here."""
    return f"shrunk.{name.removesuffix('.py').replace('/', '.')}"


def install() -> int:
    """Puts them into sys.modules; returns how many names are new. Whatever else there is of the core stands
    on the modules as they are written: it is imported before.
    """
    for path in sorted((SOURCE / "protocol").rglob("*.py")):
        importlib.import_module(_dotted(str(path.relative_to(SOURCE)).removesuffix("/__init__.py")))
    modules = {
        name: [part for part in parts if part not in _SHARED]
        for name, parts in MODULES.items()
        if name.startswith("protocol/")
    }
    homes = {_dotted(part): _home(name) for name, parts in modules.items() for part in parts}
    kept = {word for path in _tests() for word in _names(ast.parse(path.read_text(encoding="utf-8")))}
    kept |= {
        word for part in _SHARED for word in _names(ast.parse((SOURCE / part).read_text(encoding="utf-8")))
    }
    kept |= {f".{word}" for word in kept}
    trees = {
        name: strip([(SOURCE / part).read_text(encoding="utf-8") for part in parts], _home(name), homes)
        for name, parts in modules.items()
    }
    shrink(list(trees.values()), kept)
    names = shorten(list(trees.values()), kept)
    for name, parts in modules.items():
        module = ModuleType(_home(name))
        for part in parts:  # numbers with names, which boards have no more
            whole = vars(importlib.import_module(_dotted(part)))
            vars(module).update({word: value for word, value in whole.items() if isinstance(value, int)})
        sys.modules[_home(name)] = module
        for part in parts:
            sys.modules[_dotted(part)] = module
            parent, _, last = _dotted(part).rpartition(".")
            setattr(importlib.import_module(parent), last, module)
        exec(compile(ast.fix_missing_locations(trees[name]), name, "exec"), vars(module))
    return len(names)


_COUNT = install()


def pytest_report_header() -> str:
    """Says that the plugin is at work."""
    return f"shrunk: {_COUNT} names of the leaf are others"
