"""The build for boards refuses what would fail only there: an import of what stripping has taken away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from busway import firmware


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a board carries, which a test may change."""
    copy = tmp_path / "source"
    for part in [part for parts in firmware.MODULES.values() for part in parts]:
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(firmware.SOURCE / part, copy / part)
    monkeypatch.setattr(firmware, "SOURCE", copy)
    return copy


def begin(file: Path, line: str) -> None:
    file.write_text(f"{line}\n{file.read_text()}")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("line", "name"),
    [
        (
            "from busway.adapters.micropython import _RETRY_MS",
            "_RETRY_MS",
        ),  # becomes a number where it is used
        ("from busway.adapters.micropython import Callable", "Callable"),  # for types only
        ("from busway.adapters.micropython import __all__", "__all__"),
        ("from busway.adapters.micropython import stream", "stream"),  # a local name there
        ("from busway.adapters.micropython import Lop as L", "Lop"),
    ],
)
def test_an_import_of_what_is_stripped_is_refused(
    source: Path, tmp_path: Path, line: str, name: str, compiled: bool
) -> None:
    begin(source / "adapters/micropython_sleep.py", line)
    with pytest.raises(RuntimeError) as caught:
        firmware.build(tmp_path / "out", compiled=compiled)
    said = str(caught.value)
    assert said.startswith("adapters/micropython_sleep.py takes ")
    assert name in said
    assert "busway.adapters.micropython, where it is stripped" in said


@pytest.mark.parametrize("compiled", [True, False])
def test_an_import_of_what_stays_is_built(source: Path, tmp_path: Path, compiled: bool) -> None:
    begin(
        source / "adapters/micropython_sleep.py", "from busway.adapters.micropython import Loop, RemoteError"
    )
    assert "adapters/micropython_sleep.py" in firmware.build(tmp_path / "out", compiled=compiled)
