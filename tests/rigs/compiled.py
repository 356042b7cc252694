"""The core compiled with mypyc as users get it, by `pip install .`, and programs run against it.

The build takes long, so it is kept, under a name made from what went into the core. Nothing compiled ever
lies beside the sources.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.rigs.install import Environment, checkout
from tests.rigs.processes import output_of
from tests.rigs.tree import PROTOCOL, ROOT, SOURCE

# Tests that replace, or inherit from, what compiled classes do not let; that ask for docstrings and slots,
# which mypyc drops, for the source, or for Python's calls and frames; or for the checkout around the package,
# from which the demo has its board; a board's loop is never compiled.
PURE_ONLY = (
    "tests/adapters/test_micropython_station.py::test_what_a_terminal_has_is_collected_before_it_is_taken_apart",
    "tests/adapters/test_priorities.py::test_sealed_ones_too_and_nobody_on_the_way_can_change_it",
    "tests/adapters/test_sealed.py",
    "tests/adapters/test_sealed_hostile.py::test_what_arrives_is_what_was_sent_once_and_in_order",
    "tests/adapters/test_sealed_publish.py",
    "tests/adapters/test_threads_bulk.py::test_what_is_accepted_leaves_with_what_follows_and_values_as_bytes_do",
    "tests/adapters/test_faces.py::test_all_public_names_are_documented_and_the_same",
    "tests/front/test_demo.py::test_a_run_of_six_seconds",
    "tests/front/test_demo.py::test_the_board_is_gone_with_its_bridge_even_by_kill_9",
    "tests/front/test_jumping.py::test_where_all_wait_for_ever_is_said_at_once_and_what_is_open_is_closed",
    "tests/simulation/test_addressed.py::test_the_judge_sees",  # and what else begins so
    "tests/simulation/test_everyone.py::test_the_judge_sees",
    "tests/simulation/test_hostile.py::test_a_rule_left_out_is_found",
    "tests/simulation/test_lines.py::test_the_judge_sees",
    "tests/simulation/test_nodes.py::test_the_judge_sees",
    "tests/simulation/test_model.py",
    "tests/simulation/test_mutations.py",
    "tests/simulation/test_order.py::test_the_judge_sees",
    "tests/simulation/test_visitors.py::test_the_judge_sees",
    "tests/test_docs.py::test_limits_equal_the_code",
    "tests/test_docs.py::test_default_limits_equal_the_code",
    "tests/test_site.py::test_what_is_written_of_the_architecture_is_what_the_code_is",
    "tests/test_site.py::test_a_way_is_one_of_a_message",
    "tests/web/test_node.py::test_the_package_is_of_this_version",
)

# Of the core's own tests. Compiled classes take no interpreted subclasses, compiled code asks none of a list:
# these tests make some.
_CORE_PURE_ONLY = [f"tests/protocol/test_{name}.py" for name in ("timers", "campaign", "small_leaf_memory")]
# These make one, too, or set a method of an object.
_CORE_PURE_ONLY_TESTS = [
    f"tests/protocol/test_{name}"
    for name in (
        "ranks.py::test_where_none_of_the_highest_may_begin_a_lower_one_does",
        "retained.py::test_what_was_published_close_to_a_change_is_sent_once_more",
        "retained.py::test_a_restless_network_is_waited_for_so_long_and_no_longer",
        "retained_bounds.py::test_questions_are_cut_as_the_link_takes_them",
        "retained_losses.py::test_a_word_that_a_value_is_no_more_is_made_good_for_as_well",
        "retained_losses.py::test_one_that_was_kept_for_a_moment_only_is_no_more_either",
    )
]
CORE_LEFT_OUT = (
    *(f"--ignore={path}" for path in _CORE_PURE_ONLY),
    *(f"--deselect={test}" for test in _CORE_PURE_ONLY_TESTS),
)


def busy() -> list[Path]:
    """The adapters' modules that are compiled with the core."""
    named = re.search(r"^BUSY = \((.*?)\)", (ROOT / "setup.py").read_text(), re.MULTILINE | re.DOTALL)
    assert named is not None
    return [SOURCE / "adapters" / f"{name}.py" for name in re.findall(r'"(\w+)"', named[1])]


def modules() -> list[str]:
    """The names of all modules that are compiled."""
    files = [path.relative_to(SOURCE.parent).with_suffix("") for path in [*PROTOCOL.rglob("*.py"), *busy()]]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in files)


def fingerprint(optimise: str) -> str:
    """Names a build by all that decides it: the core, the recipe, the interpreter, the compiler."""
    digest = hashlib.sha256(f"{sys.version} {version('mypy')} {optimise}".encode())
    read = [SOURCE / "adapters" / "typed.py", SOURCE / "adapters" / "compiling.py", *busy()]
    recipe = [ROOT / "pyproject.toml", ROOT / "setup.py", ROOT / "building" / "busway_build.py"]
    for path in [*recipe, *sorted(PROTOCOL.rglob("*.py")), *read]:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def build(cache: Path, *, optimise: str = "0") -> Path:
    """Returns a folder with the installed package, compiled: made now or kept in `cache` from before.

    Raises:
        AssertionError: pip, mypyc or the C compiler refused; the text holds what they said.
    """
    kept = cache / fingerprint(optimise)
    if kept.exists():
        others = shutil.ignore_patterns("__pycache__", PROTOCOL.name)
        shutil.copytree(SOURCE, kept / "busway", ignore=others, dirs_exist_ok=True)
    else:
        _install(kept, optimise)
    return kept


def _install(kept: Path, optimise: str) -> None:
    """As docs/howto/install.md says in a fresh environment: `pip install .` in a fresh checkout."""
    with tempfile.TemporaryDirectory(prefix="busway-build-") as scratch:
        tree = checkout(Path(scratch, "tree"))
        environment = Environment(Path(scratch, "venv"))
        heard = environment.run("pip", "install", "-v", ".", cwd=tree, env={"BUSWAY_OPT_LEVEL": optimise})
        (environment.packages / "heard").write_text(heard)
        (environment.packages / "said").write_text(environment.version(tree))
        left = [path.name for path in tree.iterdir() if path.name in ("build", "dist")]
        assert left == [], "the build left something in the checkout"
        for old in kept.parent.iterdir():
            shutil.rmtree(old, ignore_errors=True)
        # Renamed into place: a build that was broken off must not be taken for one.
        partial = kept.with_suffix(".partial")
        partial.mkdir()
        for made in ("busway", "said", "heard", *(path.name for path in environment.packages.glob("*.so"))):
            shutil.move(environment.packages / made, partial / made)
        partial.rename(kept)


class CompiledCore:
    """The whole package as it is installed, with the compiled core."""

    def __init__(self, built: Path) -> None:
        self.directory = built
        self.version = (built / "said").read_text()
        self.heard = (built / "heard").read_text()  # of pip -v

    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.directory)}

    def run(self, source: str, *, timeout_s: float = 120) -> str:
        """Runs a program given as text and returns what it printed. AssertionError if it failed."""
        command = [sys.executable, "-W", "error", "-c", source]
        return output_of(command, cwd=self.directory, env=self._env(), timeout_s=timeout_s)

    def pytest(self, *arguments: str, timeout_s: float = 800) -> str:
        """Runs a part of the project's own tests on the compiled core and returns what pytest printed."""
        options = ["-p", "no:cacheprovider", "-o", "pythonpath=."]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        return output_of(command, cwd=ROOT, env=self._env(), timeout_s=timeout_s)


def main() -> int:
    """All tests on the compiled package, made where pytest keeps it; `make compiled`."""
    cache = ROOT / ".pytest_cache" / "d" / "busway-compiled"
    cache.mkdir(parents=True, exist_ok=True)
    core = CompiledCore(build(cache))
    print(core.version, flush=True)
    options = ["-o", "pythonpath=.", "--ignore=tests/test_compiled.py"]
    left_out = [*CORE_LEFT_OUT, *(f"--deselect={name}" for name in PURE_ONLY)]
    command = [sys.executable, "-m", "pytest", *options, *left_out, *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, env=core._env(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
