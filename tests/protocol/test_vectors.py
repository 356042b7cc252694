"""The golden vectors on CPython. The compiled core runs this test too; test_micropython.py runs the same program there."""

from pathlib import Path

from tests.vectors import program

FOLDER = Path(__file__).parent.parent / "vectors"


def test_golden_vectors() -> None:
    assert program.run(str(FOLDER)) >= 150
