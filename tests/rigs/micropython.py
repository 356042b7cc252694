"""A real MicroPython for tests: finds one and runs scripts that can import busway.protocol.

`make setup` puts one into the virtual environment; BUSWAY_MICROPYTHON names another.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT, SOURCE, copy_folder

_ASK = "import sys; print(sys.implementation.name)"


def _is_micropython(command: str) -> bool:
    try:
        run = subprocess.run([command, "-c", _ASK], capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return False
    return run.stdout.strip() == "micropython"


@functools.cache
def find() -> str | None:
    """Returns the command of a MicroPython, or None. One that is named but does not run is an error."""
    named = os.environ.get("BUSWAY_MICROPYTHON")
    if named:
        if not _is_micropython(named):
            raise RuntimeError(f"BUSWAY_MICROPYTHON={named} does not run as a MicroPython; mend or unset it")
        return named
    places = [Path(sys.prefix, "bin", "micropython"), ROOT / ".venv" / "bin" / "micropython"]
    commands = [str(place) for place in places if place.exists()]
    on_path = shutil.which("micropython")
    return next(
        (command for command in [*commands, *([on_path] if on_path else [])] if _is_micropython(command)),
        None,
    )


@functools.cache
def find_32() -> str | None:
    """Returns the command of a MicroPython of 32-bit words, as boards have them, or None."""
    places = [Path(sys.prefix, "bin", "micropython32"), ROOT / ".venv" / "bin" / "micropython32"]
    return next((str(place) for place in places if _is_micropython(str(place))), None)


def stage(directory: Path) -> None:
    """Lays out what a board has: an empty busway/__init__.py and the core, no front door."""
    (directory / "busway").mkdir()
    (directory / "busway" / "__init__.py").touch()
    copy_folder(SOURCE / "protocol", directory / "busway" / "protocol")


class MicroPython:
    """Runs scripts in a staged directory under the real interpreter."""

    def __init__(self, command: str, directory: Path) -> None:
        self.command = command
        self.directory = directory

    def run(self, source: str, *arguments: str, heap: str = "8m", timeout_s: float = 120) -> str:
        """Runs a program given as text and returns what it printed. AssertionError if it failed."""
        script = self.directory / "script.py"
        script.write_text(source)
        return self.run_file(script, *arguments, heap=heap, timeout_s=timeout_s)

    def run_file(self, script: Path, *arguments: str, heap: str = "8m", timeout_s: float = 120) -> str:
        """Runs a program given as a file, with the staged directory on its path. `heap` as in 64k or 8m."""
        command: list[str | Path] = [self.command, "-X", f"heapsize={heap}", script, *arguments]
        env = {**os.environ, "MICROPYPATH": str(self.directory)}
        return output_of(command, cwd=self.directory, env=env, timeout_s=timeout_s)
