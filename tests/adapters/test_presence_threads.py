"""Who is there, for threads: the same records in the same order as of an AsyncBus, by calls that block."""

from __future__ import annotations

import threading

import pytest

from busway import Bus, BusClosed
from tests.adapters.tools import sockets


def joined(one: Bus, two: Bus) -> None:
    here, there = sockets()
    first, second = one.attach(here), two.attach(there)
    first.ready.result(10)
    second.ready.result(10)


def test_it_blocks_until_somebody_comes_or_goes() -> None:
    with Bus(ipc=False, label="a") as a, Bus(ipc=False, label="b") as b:
        joined(a, b)
        with a.presence("lab/**") as presence:
            assert next(presence).what == "complete"
            timer = threading.Timer(0.05, lambda: b.register("lab/pump"))
            timer.start()
            arrived = next(presence)
            timer.join()
            assert arrived.endpoint is not None
            assert (arrived.what, arrived.endpoint.name) == ("arrived", "lab/pump")
            with a.presence("lab/pump") as other:
                assert [next(other).what for _ in range(2)] == ["present", "complete"]
            b.close()
            departed = next(presence)
            assert (departed.what, departed.lost) == ("departed", False)
        assert list(presence) == []


def test_another_thread_ends_it_and_so_does_the_bus() -> None:
    with Bus(ipc=False) as bus:
        presence = bus.presence("lab/**")
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(each.what for each in presence))
        reader.start()
        while seen != ["complete"]:
            pass
        presence.close()
        reader.join(10)
        assert not reader.is_alive()
        last = bus.presence("lab/**")
    assert [each.what for each in last] == ["complete"]
    with pytest.raises(BusClosed):
        bus.presence("lab/**")
