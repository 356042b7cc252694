"""Programs of one user that have their sockets in different places, or have them removed under them."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import busway
from busway.adapters import local
from tests.adapters import threads_tools
from tests.adapters.tools import knows, until
from tests.rigs import login_session
from tests.rigs.tree import ROOT, remove


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buses look after their sockets without much delay."""
    monkeypatch.setattr(local, "_WATCH_S", 0.02)


def sockets(place: Path) -> list[str]:
    return sorted(path.stem for path in place.glob("*/*.sock"))


@pytest.mark.usefixtures("often", "patient")
async def test_a_bus_puts_its_socket_back_and_finds_who_came_meanwhile(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with busway.AsyncBus() as one, busway.AsyncBus() as two:
        one.serve("who", lambda request: "one")
        remove(place)
        async with busway.AsyncBus() as meanwhile:
            await until(lambda: knows(meanwhile, one.id, two.id))
            assert await meanwhile.request("who", ttl=30) == "one"
            await until(lambda: sockets(place) == sorted(bus.id.hex() for bus in (one, two, meanwhile)))
            async with busway.AsyncBus() as later:  # at once
                assert knows(later, one.id, two.id, meanwhile.id)
                assert await later.request("who") == "one"
        assert knows(one, two.id) or knows(one, two.id, meanwhile.id)  # nobody was lost by it
    assert sockets(place) == []
    told = [record for record in caplog.records if "put back" in record.getMessage()]
    assert {record.levelno for record in told} == {logging.WARNING}
    assert len(told) == 2  # once each


@pytest.mark.usefixtures("often", "patient")
def test_a_bus_for_threads_puts_its_socket_back(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with busway.Bus() as one:
        one.serve("who", lambda request: "one")
        remove(place)
        with busway.Bus() as meanwhile:
            assert meanwhile.request("who", ttl=30) == "one"
            threads_tools.until(lambda: len(sockets(place)) == 2)
        with busway.Bus() as later:
            assert later.request("who") == "one"
    assert not list(place.glob("*/*"))
    assert sum("put back" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.usefixtures("often", "patient")
async def test_what_keeps_a_socket_away_is_told_once(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with busway.AsyncBus() as bus:
        remove(place)
        os.mkdir(place)
        os.chmod(place, 0o755)
        await until(lambda: "cannot find this one" in caplog.text)
        await asyncio.sleep(0.1)  # looks again, and again
        (told,) = caplog.records
        assert "chmod 700" in told.getMessage()
        os.chmod(place, 0o700)
        await until(lambda: sockets(place) == [bus.id.hex()])
        async with busway.AsyncBus() as later:
            assert knows(later, bus.id)


@pytest.mark.usefixtures("often")
async def test_a_leaf_finds_its_router_again_where_that_is_now(place: Path) -> None:
    async with busway.AsyncBus() as router, busway.AsyncBus(leaf=True) as leaf:
        remove(place)
        await until(lambda: sockets(place) == [router.id.hex()])
        (link,) = router._host.runners
        link.close()  # no goodbye
        await until(
            lambda: router._host.runners and link not in router._host.runners and knows(leaf, router.id)
        )


# A machine on which a program runs before its user logs in, and after the user has logged out

PROGRAM = """
import sys, busway
with busway.{kind} as bus:
    bus.serve("{name}", lambda request: "{name}")
    print("ready", *sorted(found.name for found in bus.endpoints() if found.node != bus.id), flush=True)
    for line in sys.stdin:
        try:
            print(bus.request(line.strip(), ttl=30), flush=True)
        except busway.BusError as error:
            print(repr(error), flush=True)
"""


class Life:
    """One program: what it served and saw when it had joined."""

    def __init__(self, name: str, kind: str = "Bus()") -> None:
        self.process = login_session.python(PROGRAM.format(name=name, kind=kind))
        self.seen = self._line().split()[1:]

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def asks(self, name: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self._line()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def busway_doctor() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "busway", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def session() -> None:
    """The program that runs on that machine."""
    places = [login_session.runtime() / "busway", Path(f"/tmp/busway-{os.geteuid()}")]
    boot = Life("boot")
    assert [len(sockets(place)) for place in places] == [0, 1]
    login_session.log_in()
    shell = Life("shell")
    assert [len(sockets(place)) for place in places] == [1, 1]
    assert shell.seen == ["boot"]
    assert (shell.asks("boot"), boot.asks("shell")) == ("boot", "shell")
    doctor = busway_doctor()
    assert doctor.returncode == 0, doctor.stdout
    assert "2 programs of this user on bus 'default'" in doctor.stdout
    assert all(str(place) in doctor.stdout for place in places), doctor.stdout
    places[1].chmod(0o755)
    doctor = busway_doctor()
    places[1].chmod(0o700)
    assert doctor.returncode == 1
    assert f"cannot be joined: {places[1]} has mode 0755" in doctor.stdout
    assert f"run `chmod 700 {places[1]}`" in doctor.stdout  # it is Busway's own
    login_session.log_out()
    assert (shell.asks("boot"), boot.asks("shell")) == ("boot", "shell")  # links stand
    deadline = time.monotonic() + 60
    while len(sockets(places[1])) < 2:
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.05)
    nohup = Life("nohup")
    assert nohup.seen == ["boot", "shell"]
    login_session.log_in()
    again = Life("again")
    assert again.seen == ["boot", "nohup", "shell"]
    for life in (again, nohup, shell, boot):
        life.end()
    assert not [file for place in places for file in place.glob("*/*")]


@pytest.mark.skipif(bool(login_session.obstacle()), reason=login_session.obstacle())
def test_boot_login_and_logout() -> None:
    run = subprocess.run(
        login_session.command(sys.executable, "-m", "tests.adapters.test_ipc_places"),
        env={name: value for name, value in os.environ.items() if name != "BUSWAY_DIR"}
        | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr


if __name__ == "__main__":
    session()
