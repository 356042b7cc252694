"""`busway host --reload`: the same command in a process of its own, begun anew whenever a file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from busway.cli import failures, output, session
from busway.cli.failures import Failure

LOOK_S = 0.5  # between two looks at the files
FILES_MAX = 10_000
END_S = session.LEAVE_S + 5.0  # from SIGTERM to SIGKILL
_PASSED_OVER = ("__pycache__", "node_modules")

Versions = dict[Path, tuple[int, int]]


def run(words: list[str], token: str | None) -> int:
    """Run `busway` with these words but --reload, and what it needs of the environment, until it ends by
    itself or is interrupted; returns the exit status. Raises Failure for too many files.
    """
    command = [sys.executable, "-m", "busway", *(word for word in words if word != "--reload")]
    # What is compiled of a file counts as current for a second, however often that changes.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if token is not None:
        environment["BUSWAY_TOKEN"] = token
    folder = Path.cwd()
    versions = versions_in(folder)
    with _Interrupted() as interrupted:
        while True:
            # In a group of its own: Ctrl-C is told to this one, which passes it on once.
            process = subprocess.Popen(command, env=environment, process_group=0)
            try:
                changed = _until_change(process, folder, versions, interrupted)
            finally:
                _end(process, interrupted.number or signal.SIGTERM)
            if changed is None:
                return failures.OK
            output.note(f"{output.printable(changed)} changed: beginning anew")
            versions = versions_in(folder)


class _Interrupted:
    """Ctrl-C and SIGTERM, noted."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> _Interrupted:
        self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _note(self, number: int, _: object) -> None:
        self.number = number


def _until_change(
    process: subprocess.Popen[bytes], folder: Path, versions: Versions, interrupted: _Interrupted
) -> str | None:
    """The name of a file that has changed; None if it was interrupted, or has ended and not failed."""
    told = False
    while not interrupted.number:
        status = process.poll()
        if status == 0:
            return None
        if status is not None and not told:
            output.note("it has ended, and begins anew when a file changes")
            told = True
        now = versions_in(folder)
        if now != versions:
            changed = min(
                path for path in now.keys() | versions.keys() if now.get(path) != versions.get(path)
            )
            return str(changed.relative_to(folder))
        time.sleep(LOOK_S)
    return None


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def versions_in(folder: Path) -> Versions:
    """The .py files in a folder and below, with what changes when they do; nothing of folders whose name
    begins with a dot, or that are virtual environments. Raises Failure for more than FILES_MAX.
    """
    found: Versions = {}
    for path in _files_in(folder):
        try:
            about = path.stat()
        except OSError:
            continue  # gone meanwhile
        found[path] = (about.st_mtime_ns, about.st_size)
        if len(found) > FILES_MAX:
            text = (
                f"there are more than {FILES_MAX:,} .py files below {folder}: run it in the program's folder"
            )
            raise Failure(failures.USAGE, text)
    return found


def _files_in(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".") and each not in _PASSED_OVER]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        yield from (Path(base, name) for name in files if name.endswith(".py"))
