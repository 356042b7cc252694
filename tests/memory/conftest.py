"""Processes that hold regions."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from busway.drivers.descriptors import Descriptor
from tests.rigs.tree import ROOT


class Holder:
    """A process that takes what it is handed."""

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-m", "tests.memory.holder", str(theirs.fileno())]
            self.process = subprocess.Popen(words, pass_fds=[theirs.fileno()], cwd=ROOT)
        self.line.settimeout(60)

    def tell(self, word: str, *descriptors: Descriptor) -> str:
        """Hand over, with a word that says what for; returns the answer."""
        self.post(word, *descriptors)
        return self.answer()

    def answer(self) -> str:
        """The answer to the word that was posted longest ago."""
        return self.line.recv(64).decode()

    def post(self, word: str, *descriptors: Descriptor) -> None:
        socket.send_fds(self.line, [word.encode()], [each.fd for each in descriptors])

    def kill(self) -> None:
        """As kill -9 does; returns once it is gone."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.line.close()


@pytest.fixture
def holder() -> Iterator[Holder]:
    found = Holder()
    yield found
    found.close()


@pytest.fixture
def another(holder: Holder) -> Iterator[Holder]:
    """A second one."""
    found = Holder()
    yield found
    found.close()
