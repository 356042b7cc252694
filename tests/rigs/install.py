"""Installs Busway as users do: from a fresh checkout, an sdist or a wheel, into environments of their own."""

from __future__ import annotations

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
BUILD_TIMEOUT_S = 900
PIP = "#!{python}\nimport sys\nfrom pip._internal.cli.main import main\n\nsys.exit(main())\n"


def python_of(version: str) -> str | None:
    """A working interpreter of that version, on the path or kept by pyenv. None where there is none."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    kept = os.path.join(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv")), "versions")
    for candidate in (f"python{version}", *sorted(glob.glob(f"{kept}/{version}.*/bin/python"))):
        command = shutil.which(candidate)
        if (
            command
            and says(command, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])") == version
        ):
            return command
    return None


def says(*command: str) -> str:
    """The output of a command; nothing if it failed."""
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else ""


def checkout(target: Path) -> Path:
    """The contents of a fresh clone of the present files: links stay links, nothing built comes along."""
    listed = output_of(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT).split(
        "\n"
    )
    for name in filter(None, listed):
        source, copy = ROOT / name, target / name
        if source.is_symlink() or source.exists():  # not what is deleted, but not yet committed
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return target


class Environment:
    """A fresh virtual environment."""

    def __init__(self, directory: Path, python: str = sys.executable) -> None:
        self.directory = directory
        bare = python == sys.executable and os.name == "posix"
        words = ["-m", "venv", *(["--without-pip"] if bare else [])]
        output_of([python, *words, directory], cwd=directory.parent, timeout_s=120)
        if bare:
            self._bring_pip()

    def _bring_pip(self) -> None:
        """Copies the pip of this environment, compiled as it is: `ensurepip` would install it anew."""
        distribution = metadata.distribution("pip")
        here = Path(str(distribution.locate_file("")))
        for name in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            shutil.copytree(here / name, self.packages / name)
        script = self.bin / "pip"
        script.write_text(PIP.format(python=self.bin / "python"))
        script.chmod(0o755)

    @property
    def bin(self) -> Path:
        return self.directory / ("Scripts" if os.name == "nt" else "bin")

    @property
    def packages(self) -> Path:
        """Where what is installed lies."""
        scheme = {"base": str(self.directory), "platbase": str(self.directory)}
        purelib = sysconfig.get_path("purelib", vars=scheme)
        return (
            Path(purelib)
            if Path(purelib).exists()
            else next(self.directory.glob("lib/python*/site-packages"))
        )

    def run(self, *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
        """A command as if this environment were active. AssertionError, with what it printed, if it fails."""
        whole = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")
        }
        whole |= {"PATH": f"{self.bin}{os.pathsep}{whole['PATH']}", "VIRTUAL_ENV": str(self.directory)}
        # What few programs use once, among it all of mypy for each build, is not compiled beforehand.
        whole |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_COMPILE": "0", "NO_COLOR": "1", **(env or {})}
        return output_of([self.bin / words[0], *words[1:]], cwd=cwd, env=whole, timeout_s=BUILD_TIMEOUT_S)

    def install(self, what: str | Path, *, cwd: Path, **variables: str) -> str:
        return self.run("pip", "install", "-q", what, cwd=cwd, env=variables)

    def version(self, cwd: Path) -> str:
        """The output of `busway --version`: also of the core, whether it is compiled."""
        return self.run("busway", "--version", cwd=cwd).strip()


def terminals() -> dict[str, str]:
    """README's two first programs, by file name."""
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    return dict(blocks[:2])


def check_two_terminals(environment: Environment, directory: Path) -> None:
    """README's first example, run by what was installed and by nothing else."""
    for name, text in terminals().items():
        (directory / name).write_text(text.replace('rpm": 300}))', 'rpm": 300}, ttl=30))'))
    with tempfile.TemporaryDirectory(prefix="bw-") as sockets:
        env = {**os.environ, "BUSWAY_DIR": sockets}
        env.pop("PYTHONPATH", None)
        python = str(environment.bin / "python")
        with subprocess.Popen([python, "pump.py"], cwd=directory, env=env) as pump:
            try:
                said = environment.run("python", "ask.py", cwd=directory, env={"BUSWAY_DIR": sockets})
            finally:
                pump.send_signal(signal.SIGKILL)
    assert said.strip() == "{'ok': True, 'rpm': 300}"
