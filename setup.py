"""Compiles the core where that can be done; makes the README a page of its own. Else see pyproject.toml.

BUSWAY_COMPILE says what is wanted: nothing, and the core is compiled if there is a C compiler with Python's
headers; 1, it must be; 0, it stays pure Python, which is the same program, only slower. An editable
install stays pure unless told 1, or what is edited would not be what runs.
"""

import glob
import os
import re
import sys
import tempfile

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "building"))

from busway_build import compiler_works

COMPILING = {"bdist", "bdist_wheel", "build", "build_ext", "install"}  # commands that want extensions
EDITABLE = {"develop", "editable_wheel"}
# The adapters' modules that every message passes: compiled, too, so that their calls of the core are native.
BUSY = ("asyncio_calls", "asyncio_pump", "asyncio_serving", "asyncio_taking")
SETTINGS = """[mypy]
follow_imports = skip
[mypy-busway.adapters.compiling,busway.adapters.typed]
follow_imports = silent
"""
WAY_OUT = "BUSWAY_COMPILE=0 in the environment installs the core as pure Python, which does the same."


def wanted() -> str:
    """ "must", "may" or "no"."""
    asked = os.environ.get("BUSWAY_COMPILE", "")
    if asked not in ("", "0", "1"):
        sys.exit(
            f"BUSWAY_COMPILE is {asked!r}; expected 1 (compile), 0 (pure Python), or nothing (if possible)"
        )
    commands = set(sys.argv[1:])
    if not commands & (COMPILING | EDITABLE):
        return "no"
    if asked == "0":
        return pure("BUSWAY_COMPILE=0")
    if asked == "1":
        return "must"
    if commands & EDITABLE:
        return pure("what is edited is what runs; BUSWAY_COMPILE=1 compiles it all the same")
    return "may" if sys.implementation.name == "cpython" else pure("only CPython runs what is compiled")


def pure(why: str) -> str:
    """Says that the core is not compiled; "no"."""
    print(f"busway.protocol stays pure Python: {why}", file=sys.stderr)
    return "no"


def extensions(scratch: str) -> list[Extension]:
    """The core as C, below `scratch`; none if it is to stay pure."""
    how = wanted()
    if how == "no":
        return []
    if not compiler_works():
        missing = "no C compiler with Python's headers was found (on Debian: apt-get install gcc python3-dev)"
        if how == "must":
            sys.exit(f"BUSWAY_COMPILE=1, but {missing}. {WAY_OUT}")
        print(f"warning: busway.protocol stays pure Python: {missing}", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    # All that is compiled is named: whatever it imports besides would only ask for packages that are not
    # there while this is built.
    settings = os.path.join(scratch, "mypy.ini")
    with open(settings, "w", encoding="ascii") as file:
        file.write(SETTINGS)
    options = [f"--config-file={settings}"]
    modules = sorted(glob.glob("src/busway/protocol/**/*.py", recursive=True))
    modules += [f"src/busway/adapters/{name}.py" for name in BUSY]
    level = os.environ.get("BUSWAY_OPT_LEVEL", "3")
    print("busway.protocol is compiled, which takes a minute or two", file=sys.stderr)
    made = mypycify([*options, *modules], opt_level=level, group_name="busway", target_dir=scratch)
    for one in made:
        if "-Werror" in one.extra_compile_args:
            # What mypyc writes is indented ever more: to look for what misleads there takes gcc a minute.
            one.extra_compile_args.append("-Wno-misleading-indentation")
    return made


class Build(build_ext):
    """Says what to do where the compiler is there and fails all the same."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CompileError, LinkError) as error:
            sys.exit(f"busway.protocol could not be compiled: {error}. {WAY_OUT}")


def page() -> str:
    """The README for places where its files do not lie beside it: links to them become their names."""
    with open("README.md", encoding="utf-8") as file:
        text = file.read()
    return re.sub(r"\[([^]]+)\]\((?!https?:|#)([^)\s]+)\)", r"\1 (`\2` in the source)", text)


with tempfile.TemporaryDirectory(prefix="busway-build-") as scratch:
    # Built elsewhere: what an earlier build left in the source tree would be installed again.
    setup(
        ext_modules=extensions(scratch),
        cmdclass={"build_ext": Build},
        long_description=page(),
        long_description_content_type="text/markdown",
        options={
            "build": {"build_base": scratch},
            "bdist_wheel": {"bdist_dir": os.path.join(scratch, "wheel")},
        },
    )
