"""The ways to install of docs/howto/install.md, each in a fresh environment, on the Python that runs this.

The first of them, with a compiler, is in test_compiled.py; all on all Pythons that are here: install_soak.py.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import zipfile
from pathlib import Path

import pytest

from tests import install_soak, soak
from tests.rigs.install import BUILD_TIMEOUT_S, PYTHONS, Environment, check_two_terminals, checkout
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

pytestmark = pytest.mark.timeout(1800)  # pip makes an environment of its own for each build

NO_COMPILER = {"CC": "/bin/false", "LDSHARED": "/bin/false"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("install") / "checkout")


@pytest.fixture(scope="module")
def built(tree: Path) -> Path:
    """A folder with the sdist."""
    folder = tree.parent / "dist"
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    output_of([sys.executable, "-c", script, folder], cwd=tree)
    return folder


def test_the_sdist_installs_and_runs_without_a_compiler_the_core_pure(built: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    (sdist,) = built.glob("busway-*.tar.gz")
    said = environment.run("pip", "install", "-v", sdist, cwd=tmp_path, env=NO_COMPILER)
    assert "warning: busway.protocol stays pure Python: no C compiler" in said
    assert "mypy" not in said  # which only compiling takes
    assert re.fullmatch(
        rf"busway \S+, pure Python core, CPython {platform.python_version()}", environment.version(tmp_path)
    )
    check_two_terminals(environment, tmp_path)


def test_asked_to_compile_without_a_compiler_says_how_to_do_without(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"BUSWAY_COMPILE=1, but no C compiler.*\n?.*BUSWAY_COMPILE=0"):
        build_here(tree, tmp_path, BUSWAY_COMPILE="1", **NO_COMPILER)


@pytest.mark.parametrize(
    ("words", "compiled", "why"),
    [
        ("build_ext", "0", "BUSWAY_COMPILE=0"),
        ("editable_wheel", "", "what is edited is what runs"),
        ("--version", "0", ""),
    ],
)
def test_who_installs_hears_why_the_core_stays_pure(
    words: str, compiled: str, why: str, tree: Path, tmp_path: Path
) -> None:
    options = ("--dist-dir", tmp_path) if words == "editable_wheel" else ()
    command = [sys.executable, "setup.py", words, *options]
    said = output_of(command, cwd=tree, env=os.environ | {"BUSWAY_COMPILE": compiled})
    assert (f"busway.protocol stays pure Python: {why}" in said) is bool(why), said


def test_a_word_that_is_none_of_the_choices_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="BUSWAY_COMPILE is 'yes'; expected 1"):
        build_here(tree, tmp_path, BUSWAY_COMPILE="yes")


def test_the_soak_installs_on_every_python_that_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    promised = set(re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text()))
    assert {"3.11", "3.12", "3.13"} <= promised <= set(PYTHONS)
    asked: list[str] = []
    monkeypatch.setattr(install_soak, "python_of", asked.append)  # none: all are looked for, nothing is built
    (stage,) = (stage for name, _, stage in soak.STAGES if name == "installs")
    assert stage(0, 0.0) == (True, f"0 of 0 ways to install work; not tried: Python {', '.join(PYTHONS)}")
    assert asked == list(PYTHONS)


def build_here(tree: Path, target: Path, **variables: str) -> set[str]:
    """Builds a wheel with this environment's own tools, which is quicker; returns the names in it."""
    options = ("-q", "--no-deps", "--no-build-isolation", "-w")
    command: list[str | Path] = [sys.executable, "-m", "pip", "wheel", *options, target, tree]
    output_of(command, cwd=tree, env={**os.environ, **variables}, timeout_s=BUILD_TIMEOUT_S)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_second_build_brings_no_module_back_that_was_deleted(tree: Path, tmp_path: Path) -> None:
    extra = tree / "src" / "busway" / "gone.py"
    extra.write_text('"""Will be deleted."""\n')
    assert "busway/gone.py" in build_here(tree, tmp_path / "first", BUSWAY_COMPILE="0")
    extra.unlink()
    names = build_here(tree, tmp_path / "second", BUSWAY_COMPILE="0")
    assert "busway/about.py" in names
    assert "busway/gone.py" not in names
    assert not (tree / "build").exists()
