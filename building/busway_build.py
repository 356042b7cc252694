"""The build backend (PEP 517): setuptools, which is asked for mypy as well where the core will be compiled.

So who has no compiler, or wants the core pure, does not download what only compiling takes. setup.py decides
in the same way once it runs.
"""

import os
import sys
import tempfile

from setuptools import Distribution, Extension, build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.errors import BaseError, CompileError, LinkError

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "compiler_works",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

COMPILING = ["mypy[mypyc]>=1.19"]


def get_requires_for_build_wheel(config_settings=None):
    asked = os.environ.get("BUSWAY_COMPILE")
    wanted = asked == "1" or (asked != "0" and sys.implementation.name == "cpython")
    return build_meta.get_requires_for_build_wheel(config_settings) + _compiling(wanted)


def get_requires_for_build_editable(config_settings=None):
    wanted = os.environ.get("BUSWAY_COMPILE") == "1"  # else what is edited would not be what runs
    return build_meta.get_requires_for_build_editable(config_settings) + _compiling(wanted)


def _compiling(wanted):
    return COMPILING if wanted and compiler_works() else []


def compiler_works():
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
