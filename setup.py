"""Adds the compiled core to the build when BUSWAY_COMPILE=1 is set. Everything else is in pyproject.toml.

Without a C compiler the build warns and goes on: the pure core is the same program, only slower.
"""

import glob
import os
import sys
import tempfile

from setuptools import Distribution, Extension, setup
from setuptools.errors import BaseError, CompileError, LinkError


def wanted() -> bool:
    return os.environ.get("BUSWAY_COMPILE", "") == "1"


def compiler_works() -> bool:
    """Builds an empty extension: a compiler without Python's headers is no use either."""
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(directory, "probe.c")
        with open(source, "w", encoding="ascii") as file:
            file.write("#include <Python.h>\n")
        command = Distribution({"ext_modules": [Extension("probe", [source])]}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = directory
        command.ensure_finalized()
        try:
            command.run()
        except (BaseError, CompileError, LinkError) as error:
            print(f"warning: {error}", file=sys.stderr)
            return False
    return True


def extensions() -> list[Extension]:
    if not wanted():
        return []
    if not compiler_works():
        print(
            "warning: busway.protocol stays pure Python: no C compiler with Python's headers was found",
            file=sys.stderr,
        )
        return []
    from mypyc.build import mypycify

    modules = sorted(glob.glob("src/busway/protocol/*.py"))
    return mypycify(
        ["--config-file=", *modules], opt_level=os.environ.get("BUSWAY_OPT_LEVEL", "3"), group_name="busway"
    )


setup(ext_modules=extensions())
