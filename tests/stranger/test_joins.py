"""A stranger's client among real programs of the bus: TCP, WebSocket, a Unix socket, a serial line."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rigs import forks
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT
from tests.stranger import carriers, places
from tests.stranger.carriers import Carrier, SerialCarrier
from tests.stranger.leaf import Failed, Leaf, now_ms

CLIENT = ("wire", "wall", "session", "packets", "places", "carriers", "conversation", "leaf")
TOKEN = "a token: \u00fc-h4k9w2x7q5m8z3t6r1v0"
WAYS = ("tcp", "tcp+token", "ws", "ws+token", "unix", "serial", "serial+token")


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the programs of one test meet, and no others."""
    directory = Path("/tmp") / f"bws-{os.getpid()}-{threading.get_native_id()}"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("BUSWAY_DIR", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def neighbour(where: str, token: str = "") -> Iterator[str]:
    """A program of Busway's; what it listens on."""
    words = ["-m", "tests.stranger.neighbour", where, token]
    with closing(forks.Program(words, os.environ, complaints=2, directory=ROOT)) as program:
        yield program.stdout.readline().decode().strip()
        program.stdin.close()
        assert program.wait(30) == 0


@contextmanager
def met(way: str) -> Iterator[tuple[Carrier, str | None]]:
    """A way to a program of Busway's."""
    sort, _, extra = way.partition("+")
    token = TOKEN if extra else None
    if sort == "serial":
        far, near = os.openpty()
        tty.setraw(near)
        with neighbour(f"serial://{os.ttyname(near)}", token or ""):
            yield SerialCarrier(far, now_ms()), token
        os.close(near)
        return
    where = {"tcp": "tcp://127.0.0.1:0", "ws": "ws://127.0.0.1:0/there", "unix": "unix"}[sort]
    with neighbour(where, token or "") as url:
        if sort == "tcp":
            yield carriers.tcp(url), token
        elif sort == "ws":
            yield carriers.websocket(url), token
        else:
            (path,) = places.others("default", "")
            yield carriers.unix(path), token


@contextmanager
def joined(carrier: Carrier, token: str | None = None) -> Iterator[tuple[Leaf, list[Any], list[Any]]]:
    """A leaf with something to be asked for; what came to its inbox, and of news."""
    inbox: list[Any] = []
    news: list[Any] = []
    leaf = Leaf("stranger", token=token)
    leaf.serve("stranger/inbox", inbox.append, window=1)  # the least that a destination may give
    leaf.serve("stranger/double", lambda value: value * 2)
    leaf.serve("stranger/count", lambda most: iter(range(most)))
    leaf.serve("stranger/fail", fail)
    leaf.subscribe("near/news", news.append)
    leaf.join(carrier)
    try:
        yield leaf, inbox, news
    finally:
        leaf.close()


def fail(value: Any) -> Any:
    raise KeyError(value)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def calls(leaf: Leaf) -> None:
    """All that a client does."""
    assert leaf.request("near/double", 21) == 42
    assert leaf.request("near/double", b"\0x" * 20000) == b"\0x" * 40000
    assert list(leaf.stream("near/count", 50)) == list(range(50))
    with pytest.raises(Failed) as caught:
        leaf.request("near/fail", None)
    assert caught.value.code == 64
    for number in range(40):
        leaf.send("near/inbox", number)
    leaf.confirm("near/inbox", "the last")
    for number in range(20):
        leaf.publish("stranger/news", {"number": number})
    until(lambda: len(leaf.request("near/heard", None)) == 61)
    heard = leaf.request("near/heard", None)
    assert [each for each in heard if not isinstance(each, dict)] == [*range(40), "the last"]
    assert [each["number"] for each in heard if isinstance(each, dict)] == list(range(20))


def is_called(leaf: Leaf, inbox: list[Any], news: list[Any]) -> None:
    """All that a client is asked for."""
    doubled, parts, text = leaf.request("near/ask", None, timeout=60)
    assert (doubled, parts) == (b"x" * 60000, list(range(30)))
    assert "KeyError" in text
    assert inbox == [*range(40), "the last"]
    until(lambda: len(news) == 20)
    assert news == list(range(20))
    assert not leaf.conversation.undeliverable
    assert not leaf.missed("near/news")


@pytest.mark.parametrize("way", WAYS)
def test_a_stranger_joins(way: str) -> None:
    with met(way) as (carrier, token), joined(carrier, token) as (leaf, inbox, news):
        calls(leaf)
        is_called(leaf, inbox, news)
        assert leaf.session.theirs["label"] == "neighbour"


def test_through_a_router_to_programs_behind_it() -> None:
    """Over TCP to a program that serves nothing, and on by its Unix socket: routing headers both ways."""
    router = "import asyncio, sys, busway\n" + ROUTER
    with neighbour("unix"):
        command = [sys.executable, "-c", router]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            try:
                url = program.stdout.readline().strip()
                with joined(carriers.tcp(url)) as (leaf, inbox, news):
                    calls(leaf)
                    is_called(leaf, inbox, news)
                    assert leaf.session.theirs["label"] == "router"
                program.stdin.close()
                assert program.wait(30) == 0
            finally:
                program.kill()


ROUTER = """
async def main():
    async with busway.AsyncBus(label="router") as bus:
        print((await bus.listen("tcp://127.0.0.1:0")).url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def test_a_wrong_token_is_refused() -> None:
    for scheme, dial in (("tcp", carriers.tcp), ("ws", carriers.websocket)):
        with neighbour(f"{scheme}://127.0.0.1:0", TOKEN) as url:
            for token in ("wrong", None):
                leaf = Leaf("stranger", token=token)
                with pytest.raises(ConnectionError) as caught:
                    leaf.join(dial(url))
                assert caught.value.args[0] == 7
                leaf.close()


@pytest.mark.parametrize("same", [False, True], ids=["another incarnation", "the same"])
def test_of_two_links_over_one_address_the_newer_stays(same: bool) -> None:
    """If the dialler does not end the older one, the other side does, after 2 seconds."""
    with neighbour("tcp://127.0.0.1:0") as url, joined(carriers.tcp(url)) as (older, _, _):
        leaf = Leaf("stranger")
        leaf.node = older.node
        if same:
            leaf.incarnation = older.incarnation
        leaf.join(carriers.tcp(url))
        until(lambda: older.session.code == 19)
        assert leaf.request("near/double", 4) == 8
        leaf.close()


def test_who_comes_later_finds_the_stranger() -> None:
    """With a socket of its own, which is put back when it was cleared away."""
    leaf = Leaf("stranger")
    leaf.serve("stranger/double", lambda value: value * 2)
    with ExitStack() as stack:
        seat = places.Seat("default", leaf.node.hex())
        stack.callback(seat.close)
        assert not seat.look_after()
        shutil.rmtree(os.environ["BUSWAY_DIR"])
        assert seat.look_after()
        assert not seat.look_after()
        code = "import busway\nwith busway.Bus(label='late') as bus:\n    "
        code += "print(bus.request('stranger/double', 4, ttl=30))"
        command = [sys.executable, "-c", code]
        program = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        stack.callback(program.kill)
        leaf.join(carriers.UnixCarrier(seat.accept(), dialled=False))
        stack.callback(leaf.close)
        assert program.communicate(timeout=60)[0].strip() == "8"
        assert leaf.session.theirs["label"] == "late"


def test_both_tell_the_living_from_the_dead() -> None:
    """A stranger's socket is living, and swept when it is dead, to Busway's programs; and the reverse."""
    seat = places.Seat("default", "ab" * 16)
    with pytest.raises(FileExistsError):
        places.Seat("default", "ab" * 16)
    program = "import os, signal, busway\nbus = busway.Bus().open()\nos.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    (dead,) = places.others("default", seat.node)
    assert places.is_dead(dead)
    assert not places.is_dead(seat.stem.with_suffix(".sock"))
    look = "import busway\nwith busway.Bus(): pass"
    output_of([sys.executable, "-c", look], cwd=ROOT)
    assert places.others("default", "") == [seat.stem.with_suffix(".sock")], (
        "the dead are swept, the living are not"
    )
    seat.listener.close()
    os.close(seat.lock)  # as when a process is killed: the files stay
    output_of([sys.executable, "-c", look], cwd=ROOT)
    assert places.others("default", "") == []
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    places.sweep("default")
    assert places.others("default", "") == []


def test_the_client_imports_nothing_of_the_bus() -> None:
    for name in CLIENT:
        for node in ast.walk(ast.parse((ROOT / "tests" / "stranger" / f"{name}.py").read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                outer = module.partition(".")[0]
                assert (
                    outer in sys.stdlib_module_names
                    or outer in ("h11", "wsproto", "cbor2", "cryptography", "noise")
                    or (module == "tests.stranger" or module.removeprefix("tests.stranger.") in CLIENT)
                ), f"{name}.py imports {module}"
    found = "import sys, tests.stranger.leaf\nprint([name for name in sys.modules if name[:6] == 'busway'])"
    assert output_of([sys.executable, "-c", found], cwd=ROOT).strip() == "[]"
