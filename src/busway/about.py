"""Says what is installed, in a line: Busway's version, whether its core is compiled, and the Python."""

from __future__ import annotations

import importlib.util
import platform
from importlib.machinery import PathFinder

import busway


def core() -> str:
    """ "compiled core" or "pure Python core": which of them this program runs."""
    # Looked up, not imported: whoever asks need not run the core.
    package = importlib.util.find_spec("busway.protocol")
    found = package and PathFinder.find_spec("busway.protocol.node", package.submodule_search_locations)
    pure = not found or (found.origin or ".py").endswith((".py", ".pyc"))
    return "pure Python core" if pure else "compiled core"


def line() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"busway {busway.__version__}, {core()}, {python}"
