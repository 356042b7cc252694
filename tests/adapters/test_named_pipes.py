"""Programs of one user find each other through named pipes, with Unix sockets for what Windows would do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from busway import AsyncBus, Bus
from busway.cli import doctor, machine, survey
from busway.drivers import ipc, named_pipe
from tests.adapters.tools import until
from tests.drivers.pipe_system import UnixSystem


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnixSystem]:
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        found = UnixSystem(Path(directory))
        monkeypatch.setattr(ipc, "has_pipes", lambda: True)
        monkeypatch.setattr(named_pipe, "the_system", lambda: found)
        yield found


async def test_three_nodes_find_each_other(system: UnixSystem) -> None:
    async with AsyncBus("pipes") as one, AsyncBus("pipes") as two, AsyncBus("pipes", leaf=True) as leaf:
        one.serve("echo", lambda request: request.payload)
        assert await two.request("echo", bytes(300_000), ttl=30) == bytes(300_000)
        assert await leaf.request("echo", b"leaf", ttl=30) == b"leaf"
        assert len(system.names()) == 4  # two of nodes, a leaf listens nowhere, and two of others
        assert {link.realm for link in one.links()} == {"userspace"}
    await until(lambda: len(system.names()) == 2)


def test_threads_find_each_other(system: UnixSystem) -> None:
    with Bus("pipes") as one, Bus("pipes") as two:
        one.serve("echo", lambda request: request.payload)
        assert two.request("echo", b"hello", ttl=30) == b"hello"


async def test_the_command_line_looks_for_pipes(system: UnixSystem) -> None:
    """Not in the socket directory, which Windows has not."""
    async with AsyncBus("pipes", ipc=False) as bus, AsyncBus("pipes") as other:
        report = doctor.Report()
        machine.check_directory(report, "pipes")
        assert report.facts == ["1 program of this user on bus 'pipes' on this machine"]
        assert [peer.node_id for peer in survey.strangers(bus)] == [other.id]
