"""How long opening a bus waits for local nodes that say nothing, in the loop's own time."""

from __future__ import annotations

import asyncio
import errno

import pytest

from busway import AsyncBus
from busway.adapters import local
from busway.drivers import memory
from busway.drivers.ipc import Peer
from busway.protocol import codes
from busway.testing import JumpingLoop

pytestmark = pytest.mark.jumps


class Silent:
    """Nodes that can be dialled and never answer, in the place of `drivers/ipc.py`."""

    def __init__(self, count: int) -> None:
        self._peers = [Peer(str(number), bytes([number]) * 16) for number in range(1, count + 1)]
        self.dialled: list[memory.MemoryChannel] = []

    def sweep(self, bus: str) -> list[Peer]:
        return []

    def peers(self, bus: str) -> list[Peer]:
        return self._peers

    def dial(self, path: str) -> memory.MemoryChannel:
        channel = memory.pair(name=path, clock=asyncio.get_running_loop()).a
        channel.via = "ipc"
        self.dialled.append(channel)
        return channel


@pytest.mark.parametrize(("leaf", "waits_s"), [(False, 0.5), (True, 3 * 0.25)])
async def test_local_nodes_that_say_nothing_are_waited_for_so_long(
    leaf: bool, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router asks all at once, a leaf one after the other."""
    silent = Silent(3)
    monkeypatch.setattr(local, "ipc", silent)
    loop = asyncio.get_running_loop()
    async with AsyncBus(ipc=False, leaf=leaf) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        began = loop.time()
        await mesh.join()
        if isinstance(loop, JumpingLoop):
            assert loop.time() - began == pytest.approx(waits_s)
        mesh.close()
        assert len(silent.dialled) == 3
        await bus.close(0)


class Gone(Silent):
    """Nodes that go before anything is written to them."""

    def dial(self, path: str) -> memory.MemoryChannel:
        channel = super().dial(path)

        def write(data: object) -> int:
            raise BrokenPipeError

        channel.write = write  # type: ignore[method-assign]
        return channel


@pytest.mark.parametrize("leaf", [False, True])
async def test_local_nodes_that_go_while_they_are_dialled_hold_up_nobody(
    leaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Gone(3)
    monkeypatch.setattr(local, "ipc", gone)
    loop = asyncio.get_running_loop()
    async with AsyncBus(ipc=False, leaf=leaf) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        await asyncio.sleep(0.01)  # nothing else waits to be written: HELLO leaves at once
        began = loop.time()
        await asyncio.wait_for(mesh.join(), 60)
        if isinstance(loop, JumpingLoop):
            assert loop.time() - began < 0.1
        assert len(gone.dialled) == 3
        mesh.close()
        await bus.close(0)


async def test_a_local_node_that_is_late_is_dialled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hundreds that start at once some take longer to answer than a handshake may."""
    silent = Silent(2)
    monkeypatch.setattr(local, "ipc", silent)
    async with AsyncBus(ipc=False) as bus:
        bus._host._mesh = mesh = local.LocalMesh(bus._host, listen=False)
        await mesh.join()
        assert len(silent.dialled) == 2
        await asyncio.sleep(codes.HELLO_TIMEOUT_MS / 1000 + 2.5)
        assert len(silent.dialled) == 4  # each once more
        mesh.close()
        await bus.close(0)


class Busy(Silent):
    """Nodes whose sockets take no more for now."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.tried = 0

    def dial(self, path: str) -> memory.MemoryChannel:
        self.tried += 1
        raise BlockingIOError


async def test_who_is_looked_for_again_is_dialled_though_the_former_dial_never_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Busy(2)
    monkeypatch.setattr(local, "ipc", busy)
    async with AsyncBus(ipc=False) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        for known in (False, True):
            before = busy.tried
            mesh.join()
            assert busy.tried - before == (0 if known else 2)
        await asyncio.sleep(local._OVER_S)
        before = busy.tried
        mesh.join()
        assert busy.tried - before == 2
        mesh.close()
        await bus.close(0)


async def test_many_local_nodes_are_dialled_a_few_at_a_time_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that say nothing hold up nobody for long, and who is being dialled is not dialled beside that."""
    silent = Silent(40)
    monkeypatch.setattr(local, "ipc", silent)
    async with AsyncBus(ipc=False) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        counts = []
        mesh.join()
        mesh.join()
        for _ in range(4):
            counts.append(len(silent.dialled))
            await asyncio.sleep(0.3)
        assert counts == [16, 32, 40, 40]
        mesh.close()
        await bus.close(0)


async def test_who_is_dialled_has_hello_before_the_loop_comes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is there when the other side has accepted; and one timer does for all that are dialled."""
    silent = Silent(40)
    monkeypatch.setattr(local, "ipc", silent)
    async with AsyncBus(ipc=False) as bus:
        await asyncio.sleep(0.01)  # all is written that came of its opening
        mesh = local.LocalMesh(bus._host, listen=False)
        mesh.join()
        assert len(silent.dialled) == 16
        assert silent.dialled[0]._lane_out.items  # the others' follows: the loop's clock stands still
        assert len(mesh._timers) <= 2  # besides it that of who waits for the join
        mesh.close()
        await bus.close(0)


async def test_who_has_dialled_us_meanwhile_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that start together each sees the other: one link is enough."""
    silent = Silent(20)
    monkeypatch.setattr(local, "ipc", silent)
    async with AsyncBus(ipc=False) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        mesh.join()
        known = bus.node.routes.peers
        for number in range(17, 20):
            linked = bus.node.make_peer(bytes([number]) * 16, bytes(4))
            linked.connections.append(next(iter(bus.node.connections)))
            known[linked.node_id] = linked
        await asyncio.sleep(0.6)
        assert len(silent.dialled) == 17  # 20 was not linked
        known.clear()
        mesh.close()
        await bus.close(0)


async def test_hundreds_that_cannot_be_dialled_are_over_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the system gives a program 256 descriptors."""

    class Full(Silent):
        tries = 0

        def dial(self, path: str) -> memory.MemoryChannel:
            self.tries += 1
            raise OSError(errno.EMFILE, "too many open files")

    full = Full(250)
    monkeypatch.setattr(local, "ipc", full)
    async with AsyncBus(ipc=False) as bus:
        mesh = local.LocalMesh(bus._host, listen=False)
        await mesh.join()
        assert full.tries == 250
        mesh.close()
        await bus.close(0)
