"""Where the repository is, and copies of its source for tests that build or stage it elsewhere."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "busway"

PROTOCOL = SOURCE / "protocol"

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "*.egg-info")


def copy_folder(source: Path, target: Path, *, follow_links: bool = True) -> None:
    """Copies source text only: no caches, nothing compiled. `follow_links`: links become plain files. What is
    there already is written anew.
    """
    shutil.copytree(source, target, symlinks=not follow_links, ignore=_LEFT_OUT, dirs_exist_ok=True)


def remove(folder: Path) -> None:
    """Removes a folder with all in it at one instant: who puts something back there meanwhile does so in a
    new one, instead of keeping this one from going.
    """
    aside = folder.with_name(f"{folder.name}.removed")
    folder.rename(aside)
    shutil.rmtree(aside)
