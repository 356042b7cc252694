"""A socket directory for each test of the drivers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket directory of the test's own; short, unlike pytest's, for a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        monkeypatch.setenv("BUSWAY_DIR", directory)
        yield Path(directory)
