"""Fixtures that several test folders share."""

import gc
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.rigs import compiled, loops, micropython

# A shared machine makes single examples slow now and then, which is no failure.
hypothesis.settings.register_profile("busway", deadline=None, print_blob=True)
hypothesis.settings.load_profile("busway")


# Tests that fill tables make objects by the hundred thousand, and none of them garbage: to look through them
# as often as Python does by itself takes an eighth of the time of the core's tests. Compiled, where what is
# collected has to be found out, they are looked through more often than that.
CORE = importlib.util.find_spec("busway.protocol")
COMPILED = CORE is not None and CORE.origin is not None and CORE.origin.endswith(".so")
gc.set_threshold(*((300, 10, 10) if COMPILED else (10_000, 20, 30)))


# A shell that runs the tests in the background leaves SIGINT ignored; programs under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The files that take longest, longest first: begun last, one would run on when all others are through.
SLOWEST = (
    *("test_compiled", "test_scenarios", "test_boards_keys", "test_live", "test_micropython"),
    *(
        "test_cli_joining",
        "test_serial_links",
        "test_chaos",
        "test_app",
        "test_identity",
        "test_cli_monitor",
        "test_micropython_keyed",
    ),
    *("test_cli_boards", "test_demo", "test_ble", "test_timeouts", "test_cli_look", "test_ble_radio"),
    *("test_cli_talk", "test_page", "test_install", "test_wifi_board", "test_policy", "test_benchmarks"),
    *("test_ble_links", "test_threads", "test_everyone", "test_campaign_processes", "test_payloads"),
    *("test_docs", "test_micropython_terminal", "test_examples", "test_codec", "test_control", "test_joins"),
    *("test_bench", "test_bounds", "test_instructions", "test_lines", "test_cli_mesh", "test_site"),
    *("test_cli_firmware", "test_micropython_streams", "test_addresses", "test_line_keys", "test_order"),
    *("test_hostile", "test_nodes", "test_shrinking", "test_healing", "test_firmware_imports"),
    *("test_typing", "test_changes"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slowest files first."""
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_collection_finish() -> None:
    """Spares `gc.collect()`, which some tests call often, whatever there is already: a fifth of a second."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what a test printed fit to be sent by the processes of pytest-xdist: no lone surrogates."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Lets each line be measured once: pytest-cov starts twice in a process of pytest-xdist."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and plugin is not None and plugin.cov_controller is not None:
        plugin.cov_controller.cov.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    """On which sort of loop coroutine tests run (`python -m tests.rigs.loops` runs them on each)."""
    parser.addoption("--loop", choices=loops.SORTS, default=loops.PLAIN, help="sort of the asyncio loop")


def pytest_report_header() -> str:
    """Says which core is tested: the one beside this file, an installed one, or a compiled one."""
    return f"busway.protocol: {CORE.origin if CORE else 'not found'}"


@pytest.fixture(scope="session", autouse=True)
def socket_directory() -> Iterator[Path]:
    """Keeps the tests' buses apart from those that programs of this user run on this machine."""
    directory = tempfile.mkdtemp(prefix="bw-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUSWAY_DIR", directory)
        yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def real_micropython(tmp_path_factory: pytest.TempPathFactory) -> micropython.MicroPython:
    """A real MicroPython that can import busway.protocol. None here: skips, but fails on the CI machine."""
    command = micropython.find()
    if command is None:
        missing = "no MicroPython here: run `make setup`, or name one in BUSWAY_MICROPYTHON"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    directory = tmp_path_factory.mktemp("micropython")
    micropython.stage(directory)
    return micropython.MicroPython(command, directory)


@pytest.fixture(scope="session")
def compiled_core(pytestconfig: pytest.Config) -> compiled.CompiledCore:
    """The core as mypyc compiles it. Built once for the same sources: pytest's cache keeps it."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        missing = "no C compiler here: install gcc and Python's headers"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    assert pytestconfig.cache is not None
    return compiled.CompiledCore(compiled.build(pytestconfig.cache.mkdir("busway-compiled")))
