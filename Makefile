# The few commands of the project. Nothing outside this folder is written; `make clean` removes what was.
PYTHON ?= python3
PYTHONS ?= $(PYTHON)
SEED ?=
DURATION ?=
JOBS ?= 2

venv := .venv
bin := $(venv)/bin
stamp := $(venv)/.setup-done

# Images of containers set it, and then each of the many programs that tests start would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run quick test check bare core others loops compiled docs bench bench-full soak wheels clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
	  || grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)
	@echo "Options: PYTHON=python3.12 (setup), DURATION=10 in seconds (run, soak), SEED=7 (soak), JOBS=4 processors (quick, test, core)."

setup: $(stamp)  ## virtual environment in .venv with everything, and a real MicroPython for the tests

$(stamp): pyproject.toml setup.py tests/rigs/get_micropython.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Busway needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	       "Name a newer one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(venv) || { \
	  echo "Python's venv module does not work; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(bin)/python -m pip install -qq --disable-pip-version-check -e '.[all,dev]'
	@tests/rigs/get_micropython.sh $(bin)
	@touch $@

run: setup  ## the bus for real: readings of this machine, requests, joins, a kill -9, and a live view of it all
	@$(bin)/python -m busway.demo $(if $(DURATION),--duration $(DURATION))

quick: setup  ## for daily work: format, lint, types and the tests of the core, without coverage and not compiled
	@$(MAKE) --no-print-directory -j2 check bare

bare: setup
	$(bin)/python -m pytest -q -n $(JOBS) tests/protocol

# Two parts at a time, so that no processor idles; a part that fails does not keep the one beside it from ending.
test: setup  ## format, lint, types, 100 % branch coverage of the core, then all other tests
	@$(MAKE) --no-print-directory -j2 check core
	@$(MAKE) --no-print-directory -j2 others loops

check: setup
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

# Apart from the rest: only the core's own tests count towards its coverage. The lines that are missing are looked
# up if there are some: it takes seconds.
core: setup
	$(bin)/python -m pytest -q -n $(JOBS) tests/protocol --cov --cov-report= --cov-fail-under=100 \
	  || { $(bin)/python -m coverage report; exit 1; }

# Three times as many processes as compute: most of these tests wait for programs, lines and timers. The longest files
# come first, in the order that tests/conftest.py gives.
others: setup
	$(bin)/python -m pytest -n $$((3 * $(JOBS))) --dist loadfile --no-loadscope-reorder --ignore=tests/protocol

loops: setup
	$(bin)/python -m tests.rigs.loops

# What compiled classes do not allow is left out, as tests/rigs/compiled.py says.
compiled: setup  ## all tests on the package as it is installed, compiled (`make test` runs some of them so)
	$(bin)/python -m tests.rigs.compiled -q -n $$((3 * $(JOBS))) --dist loadfile --no-loadscope-reorder

docs: setup  ## the documentation as a site, site/index.html: nothing in it asks for a network
	$(bin)/python -m tests.rigs.architecture
	NO_MKDOCS_2_WARNING=1 $(bin)/python -m mkdocs build --strict -q

bench: setup  ## Busway, compiled and pure, beside its rivals, in one run; all figures in .benchmarks/bench.json
	$(bin)/python -m benchmarks --json .benchmarks/bench.json

bench-full: setup  ## everything else that is measured, a quarter of an hour or more, into .benchmarks/bench-full.json
	$(bin)/python -m benchmarks --full --json .benchmarks/bench-full.json

soak: setup  ## the long tests: random runs of many nodes; SEED repeats one, DURATION bounds it
	$(bin)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(DURATION),--duration $(DURATION))

# Each is built as pip builds what it installs: from the sdist, in an environment of its own.
wheels: setup  ## dist/: the sdist, a pure wheel, and a compiled one for each of PYTHONS="python3.11 python3.12"
	rm -rf dist
	$(bin)/python -m build -q --sdist --outdir dist .
	BUSWAY_COMPILE=0 $(bin)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist dist/busway-*.tar.gz
	@for python in $(PYTHONS); do echo "compiling for $$python, a minute or two"; \
	  BUSWAY_COMPILE=1 $$python -m pip wheel -q --disable-pip-version-check --no-deps -w dist dist/busway-*.tar.gz || exit 1; \
	done
	@ls -l dist

clean:  ## removes everything that was made here, the virtual environment too
	rm -rf $(venv) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks htmlcov .coverage .coverage.* src/*.egg-info src/*.so protocol/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
