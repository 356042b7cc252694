"""The golden vectors on CPython and, compiled, on mypyc; test_micropython.py runs the same program there."""

from pathlib import Path

from busway.primitives import PRIMITIVES
from tests.vectors import program

from .board_crypto import Crypto

FOLDER = Path(__file__).parent.parent / "vectors"


def test_golden_vectors() -> None:
    assert program.run(str(FOLDER), PRIMITIVES, Crypto()) >= 150
