"""The core compiled with mypyc, built outside the source tree, and programs run against it.

The build takes long, so it is kept, under a name made from what went into it. Nothing compiled ever lies
beside the sources.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT, SOURCE, copy_build_files, copy_folder

_BUILD_TIMEOUT_S = 600


def fingerprint(optimise: str) -> str:
    """Names a build by all that decides it: the sources, the recipe, the interpreter, the compiler."""
    digest = hashlib.sha256(f"{sys.version} {version('mypy')} {optimise}".encode())
    for path in [ROOT / "setup.py", *sorted((SOURCE / "protocol").glob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_setup(directory: Path, target: Path, environment: dict[str, str]) -> str:
    """Runs the project's own setup.py on a copy of the core made in `directory`; returns what it printed."""
    package = directory / "src" / "busway"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    copy_folder(SOURCE / "protocol", package / "protocol")
    copy_build_files(directory)
    command: list[str | Path] = [sys.executable, "setup.py", "build_ext", "--build-lib", target]
    env = {**os.environ, "BUSWAY_COMPILE": "1", **environment}
    return output_of(command, cwd=directory, env=env, timeout_s=_BUILD_TIMEOUT_S)


def build(cache: Path, *, optimise: str = "0") -> Path:
    """Returns a folder with the compiled modules, made now or kept in `cache` from before.

    Raises:
        AssertionError: mypyc or the C compiler refused; the text holds what they said.
    """
    kept = cache / fingerprint(optimise)
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory(prefix="busway-build-") as scratch:
        made = Path(scratch, "made")
        run_setup(Path(scratch, "tree"), made, {"BUSWAY_OPT_LEVEL": optimise})
        for old in cache.iterdir():
            shutil.rmtree(old, ignore_errors=True)
        # Renamed into place: a build that was broken off must not be taken for one.
        shutil.move(made, cache / f"{kept.name}.partial")
        (cache / f"{kept.name}.partial").rename(kept)
    return kept


class CompiledCore:
    """A copy of the whole package whose core is the compiled one."""

    def __init__(self, built: Path, directory: Path) -> None:
        self.directory = directory
        copy_folder(SOURCE, directory / "busway")
        for extension in built.rglob("*.so"):
            (directory / extension.relative_to(built)).symlink_to(extension)

    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, source: str, *, timeout_s: float = 60) -> str:
        """Runs a program given as text and returns what it printed. AssertionError if it failed."""
        command = [sys.executable, "-W", "error", "-c", source]
        return output_of(command, cwd=self.directory, env=self._env(), timeout_s=timeout_s)

    def pytest(self, *arguments: str, timeout_s: float = 300) -> str:
        """Runs a part of the project's own tests on the compiled core and returns what pytest printed."""
        options = ["-p", "no:cacheprovider", "-o", "pythonpath=."]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        return output_of(command, cwd=ROOT, env=self._env(), timeout_s=timeout_s)
