"""The sorts of asyncio loops that programs use: plain, with eager tasks, uvloop, in debug mode.

`python -m tests.rigs.loops` runs the asyncio adapter's tests once on each sort but the plain one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.rigs.tree import ROOT

PLAIN = "plain"
EAGER = "eager"  # asyncio.eager_task_factory: a task runs at once, up to its first wait
UVLOOP = "uvloop"
DEBUG = "debug"
SORTS = (PLAIN, EAGER, UVLOOP, DEBUG)

# The campaign is left out: its buses run in programs of their own.
_TESTS = ("tests/adapters", "--ignore=tests/adapters/test_campaign_processes.py")
_NEWER = (14, 13, 12)  # Python 3.x: those with eager tasks, the one to be preferred first
_PACKAGES = (
    *("pytest", "pytest-timeout", "pytest-xdist", "hypothesis"),
    *("cbor2", "click", "rich", "construct", "msgspec"),
    *("pyserial", "bleak", "h11", "wsproto", "trustme", "bumble", "websockets"),
)


def runner(sort: str) -> asyncio.Runner:
    """What runs a coroutine on a loop of that sort."""
    if sort == UVLOOP:
        import uvloop

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    if sort == EAGER:
        return asyncio.Runner(loop_factory=_eager_loop)
    return asyncio.Runner(debug=sort == DEBUG)


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to Python 3.11
    return loop


def eager_python() -> Path | None:
    """A Python with eager tasks that has what the tests need; None if there is none on this machine.

    Its environment is made at the first use, inside that of `make setup`.
    """
    if sys.version_info >= (3, 12):
        return Path(sys.executable)
    made = Path(sys.prefix, "eager")
    python = made / "bin" / "python"
    if (made / ".done").exists():
        return python
    found = next(filter(_runs, _newer_pythons()), None)
    if found is None:
        return None
    subprocess.run([found, "-m", "venv", "--clear", made], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *_PACKAGES], check=True)
    (made / ".done").touch()
    return python


def _newer_pythons() -> list[Path | str]:
    """Where they may be: on the path, or among those that pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found: list[Path | str] = []
    for minor in _NEWER:
        found.append(f"python3.{minor}")
        found += sorted(pyenv.glob(f"3.{minor}.*/bin/python3.{minor}"))
    return found


def _runs(python: Path | str) -> bool:
    try:
        return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Returns the exit status: 0 if all that could run passed."""
    failed = []
    # Commands that tests start have to find the package, also in an environment without it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for sort in SORTS[1:]:
        python = eager_python() if sort == EAGER else Path(sys.executable)
        if python is None:
            print(f"{sort}: SKIPPED: no Python 3.12 or later with venv on this machine", flush=True)
            continue
        print(f"{sort}:", flush=True)
        # Its own cache: two Pythons must not share one.
        words: list[str | Path] = [
            python,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "-p",
            "no:cacheprovider",
        ]
        words += [f"--loop={sort}", *_TESTS, *sys.argv[1:]]
        if subprocess.run(words, cwd=ROOT, env=environment).returncode:
            failed.append(sort)
    if failed:
        print(f"FAILED on: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
