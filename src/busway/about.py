"""Says what is installed, in a line: Busway's version, whether its core is compiled, and the Python."""

from __future__ import annotations

import importlib.util
import platform

import busway


def core() -> str:
    """ "compiled core" or "pure Python core": which of them this program runs."""
    found = importlib.util.find_spec("busway.protocol.node")
    pure = found is None or (found.origin or ".py").endswith((".py", ".pyc"))
    return "pure Python core" if pure else "compiled core"


def line() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"busway {busway.__version__}, {core()}, {python}"
