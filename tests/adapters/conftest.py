"""Lets tests be coroutines, bounded in time, on a loop of the wanted sort, and gives each a socket directory
of its own.

Coroutine tests with the mark `jumps` run on a loop whose time jumps, if there is one of that sort; with
`jumps(needed=True)` on no other, for they wait for minutes.
"""

import asyncio
import inspect
import shutil
import tempfile
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from busway.adapters import local
from busway.firmware import build
from busway.testing import JumpingLoop
from tests.rigs import loops
from tests.rigs.micropython import MicroPython

TEST_TIMEOUT_S = 240  # for what hangs: nothing waits longer than it has to, on a busy machine either
SAY_S = 60  # less than pytest grants, in which it is said where a test stood


def pytest_configure(config: pytest.Config) -> None:
    """Keeps debug mode from noting the stack wherever a callback, a future or a task is made.

    That is only shown with them, and takes half of the time. What debug mode refuses, which tests are after,
    needs no stack.
    """
    if config.getoption("loop") == loops.UVLOOP:
        traceback.walk_stack = _no_stack  # before uvloop is imported, which keeps the function


def _no_stack(f: types.FrameType | None) -> Iterator[tuple[types.FrameType, int]]:
    return iter(())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test in a loop of its own; what a callback of the loop raises fails the test, too."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    mark = pyfuncitem.get_closest_marker("jumps")
    jumps = mark is not None and mark.args != (False,)
    with loops.runner(pyfuncitem.config.getoption("loop"), jumps=jumps) as runner:
        limit_s = None if isinstance(runner.get_loop(), JumpingLoop) else _limit_s(pyfuncitem)
        runner.run(_bounded(pyfuncitem.obj, arguments, limit_s))
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With another sort of loop only the tests that run on one are of interest."""
    if config.getoption("loop") == loops.PLAIN:
        return
    sort = config.getoption("loop")
    asyncs = [item for item in items if inspect.iscoroutinefunction(getattr(item, "obj", None))]
    if sort == loops.UVLOOP:
        asyncs = [item for item in asyncs if not _takes_hours(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in asyncs])
    items[:] = asyncs


def _takes_hours(item: pytest.Item) -> bool:
    """Whether time has to jump for it: `jumps(needed=True)`."""
    mark = item.get_closest_marker("jumps")
    return mark is not None and bool(mark.kwargs.get("needed"))


def _limit_s(item: pytest.Function) -> float:
    """The time of its mark `timeout`, less what it takes to say where it stood; for most the usual."""
    mark = item.get_closest_marker("timeout")
    return max(TEST_TIMEOUT_S, mark.args[0] - SAY_S if mark and mark.args else 0)


async def _bounded(test: Any, arguments: dict[str, Any], limit_s: float | None) -> None:
    mishaps: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mishaps.append(context))
    async with asyncio.timeout(limit_s):
        await test(**arguments)
    assert mishaps == []


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket directory of one test: short, private, and nobody else's."""
    directory = Path(tempfile.mkdtemp(prefix="bw-"))
    monkeypatch.setenv("BUSWAY_DIR", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buses that open wait for the local nodes that they found, however slow the machine is."""
    monkeypatch.setattr(local, "_JOIN_S", TEST_TIMEOUT_S)
    monkeypatch.setattr(local, "_ASK_S", TEST_TIMEOUT_S)


@pytest.fixture(scope="session")
def board_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a board: the shrunk modules, compiled."""
    out = tmp_path_factory.mktemp("board")
    build(out)
    return out


@pytest.fixture
def interpreter(real_micropython: MicroPython) -> str:
    """The command of a real MicroPython."""
    return real_micropython.command
