"""The files that are shipped: plain files in the sdist and the wheel, though the source tree has links."""

import os
import posixpath
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.rigs.install import checkout
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT, SOURCE

BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
BUILD_WHEEL = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
IMPORT_FROM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import busway.protocol as core; print(core.__file__)"
)


def build(script: str, tree: Path, target: Path) -> Path:
    """Runs the build backend as pip does without isolation: offline, with this environment's setuptools."""
    target.mkdir()
    output_of([sys.executable, "-c", script, target], cwd=tree, env={**os.environ, "BUSWAY_COMPILE": "0"})
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = checkout(tmp_path_factory.mktemp("tree"))
    return build(BUILD_SDIST, tree, tree / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (tree,) = directory.iterdir()
    return build(BUILD_WHEEL, tree, directory / "wheel")


def module_files() -> set[str]:
    """Every module, of Python or JavaScript, and types of these, as it should be shipped.

    Path.rglob does not follow links below its start.
    """
    folders = [SOURCE, *(path for path in SOURCE.iterdir() if path.is_dir())]
    kinds = {".py", ".js", ".ts", ".json", ".html", ".css"}
    files = {path for folder in folders for path in folder.rglob("*") if path.suffix in kinds}
    return {f"busway/{path.relative_to(SOURCE)}" for path in files}


def test_sdist_holds_plain_files(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    names = {member.name.split("/", 1)[1] for member in members if member.isfile()}
    assert {f"src/{name}" for name in module_files()} <= names
    assert {"pyproject.toml", "setup.py", "building/busway_build.py", "LICENSE"} <= names


def test_sdist_holds_documents_and_examples_but_no_loose_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    programs = {
        str(path.relative_to(ROOT))
        for folder in ("examples", "firmware_examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".html"}
    }
    assert written | programs | {"CHANGELOG.md", "README.md"} <= names
    assert [name for name in names if name.startswith(("tests/", "benchmarks/"))] == []


def test_what_the_documents_of_the_sdist_link_to_is_in_it(sdist: Path) -> None:
    missing = []
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
        documents = [member for member in archive.getmembers() if member.name.endswith(".md")]
        for member in documents:
            opened = archive.extractfile(member)
            assert opened is not None
            place = posixpath.dirname(member.name.partition("/")[2])
            for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", opened.read().decode()):
                target = posixpath.normpath(posixpath.join(place, link))
                if target not in names:
                    missing.append((member.name, link))
    assert len(documents) > 10
    assert missing == []


def test_the_readme_has_no_links_to_files_that_are_not_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    assert "`docs/guarantees.md`" in text
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []


def test_wheel_made_from_the_sdist_holds_every_module_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = [name for name in names if ".dist-info/" not in name]
    assert sorted(package) == sorted(module_files() | {"busway/py.typed"})
    assert "busway/protocol/__init__.py" in package


def test_wheel_is_pure_if_asked(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_wheel_carries_license_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
        assert "busway = busway.cli:main" in archive.read(info["entry_points.txt"]).decode()
        assert "Busway contributors" in archive.read(info["licenses/LICENSE"]).decode()


def test_core_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    printed = output_of([sys.executable, "-I", "-c", IMPORT_FROM, wheel], cwd=tmp_path)
    assert printed.strip() == str(wheel / "busway" / "protocol" / "__init__.py")
