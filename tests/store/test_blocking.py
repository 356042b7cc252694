"""The same with threads: a Bus sends, receives and keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busway
from tests.front.cli_rig import new_bus


@pytest.fixture
def buses(place: Path) -> Iterator[tuple[busway.Bus, busway.Bus]]:
    name = new_bus()
    with busway.Bus(name, label="sender") as sender, busway.Bus(name, label="receiver") as receiver:
        yield sender, receiver


def test_mail_between_threads(buses: tuple[busway.Bus, busway.Bus], tmp_path: Path) -> None:
    sender, receiver = buses
    with busway.Store(sender, tmp_path / "store") as store:
        assert store.active
        numbers = iter(range(40))

        def send() -> None:
            for number in numbers:
                sender.send("lab/pump", number, store=True)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        mail: Any = receiver.register("lab/pump", once=tmp_path / "taken.db")
        got = [mail.receive(20).payload for _ in range(30)]
        while len(got) < 40:
            got += [message.payload for message in mail.receive_many(5, 20)]
        assert sorted(got) == list(range(40))
        receiver.serve("lab/upper", lambda request: request.payload.upper())
        assert sender.request("lab/upper", "hello", store=True) == "HELLO"
        with pytest.raises(busway.StoreError, match="open"):
            busway.Store(receiver, tmp_path / "store").__enter__()
        mail.close()


def test_what_is_acknowledged_is_gone_when_its_bus_is_closed(
    buses: tuple[busway.Bus, busway.Bus], tmp_path: Path
) -> None:
    sender, receiver = buses
    with busway.Store(sender, tmp_path):
        for number in range(2):
            sender.send("lab/pump", number, store=True)
        with busway.Bus(sender.name, label="first") as first:
            mail: Any = first.register("lab/pump", once=True)
            mail.receive(20).ack()
        again: Any = receiver.register("lab/pump", once=True)
        assert again.receive(20).payload == 1


def test_durables_of_threads(buses: tuple[busway.Bus, busway.Bus], tmp_path: Path) -> None:
    sender, receiver = buses
    with busway.Store(sender, tmp_path):
        sender.publish("lab/level", 1, store=True)
        panel: Any = receiver.subscribe("lab/*", durable=busway.Durable("panel", start="first"))
        assert panel.receive(20).payload == 1
        sender.publish("lab/level", 2, store=True)
        got: list[int] = []
        done = threading.Event()

        def take(message: Any) -> None:
            got.append(message.payload)
            message.ack()
            done.set()

        panel.deliver(take)
        assert done.wait(20)
        assert got == [2]
        panel.close()
    with pytest.raises(TypeError, match="by `async with`"):
        busway.Store(busway.AsyncBus(ipc=False), tmp_path).__enter__()
