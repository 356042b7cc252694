"""The JavaScript client for Node, over Unix sockets, beside real Python programs."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import busway
from busway import web
from busway.drivers import unix
from busway.protocol import codes
from tests.front.cli_rig import busway as busway_command
from tests.rigs import aio, browser, forks
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT
from tests.web import test_live

CLIENT = Path(__file__).parent / "node_client.mjs"
PAGE = (ROOT / "docs" / "howto" / "node.md").read_text()
BOUND_S = 60.0


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets are: nobody else's programs."""
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        monkeypatch.setenv("BUSWAY_DIR", directory)
        monkeypatch.delenv("BUSWAY_BUS", raising=False)
        yield Path(directory)


class Node:
    """A program under Node as it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.complaints = ""
        self.complained = asyncio.Condition()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self.complained:
                self.complaints += line.decode()
                self.complained.notify_all()

    async def complains(self, words: str) -> None:
        async with asyncio.timeout(BOUND_S), self.complained:
            await self.complained.wait_for(lambda: words in self.complaints)

    async def line(self) -> str:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), BOUND_S)
        assert line, self.complaints
        return line.decode().strip()

    async def said(self, words: str) -> None:
        assert await self.line() == words

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n".encode())

    async def end(self) -> int:
        """Its status, once it has ended: it reads no more."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.reading, BOUND_S)
        return await asyncio.wait_for(self.process.wait(), BOUND_S)


@contextlib.asynccontextmanager
async def started(*words: str | Path, status: int = 0) -> AsyncIterator[Node]:
    """A program under Node, which ends with this status by itself when the block is left."""
    process = await asyncio.create_subprocess_exec(
        browser.node(),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = Node(process)
    try:
        yield running
        assert await running.end() == status, running.complaints
    except BaseException as error:
        error.add_note(f"it said: {running.complaints}")
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def client(scenario: str, *words: str, status: int = 0) -> Any:
    return started(CLIENT, scenario, *words, status=status)


@contextlib.contextmanager
def peer(label: str) -> Iterator[forks.Program]:
    """A Python program, once it is there; killed in the end, if it still is."""
    program = forks.Program(["-m", "tests.web.node_peer", label], os.environ)
    try:
        assert program.stdout.readline() == b"ready\n"
        yield program
    finally:
        program.close()


# ---- what pages do as well


@pytest.mark.parametrize("story", [test_live.sends, test_live.listens, test_live.serves])
def test_as_a_page(story: Callable[..., Coroutine[Any, Any, None]]) -> None:
    aio.run(story(behind=True, ipc=True))


# ---- beside Python programs


async def both_ways() -> None:
    async with busway.AsyncBus(label="py") as bus, client("both ways") as program:
        blob = bytes((at * 7 + (at >> 8)) & 0xFF for at in range(3 << 20))
        log = bus.register("py/log")
        ups = bus.subscribe("js/up")
        bus.serve("py/count", count)
        bus.serve("py/echo", lambda request: request.payload)
        bus.serve("py/upper", lambda request: request.payload.upper())
        bus.serve("py/file", lambda request: busway.Attached("a file", files=[0]))
        assert [(await log.receive(BOUND_S)).payload for _ in range(2)] == ["first", "last"]
        await program.said("asked")
        for number in (1, 2, 3):
            await bus.publish("py/down", number)
        for value in (None, 2**70, "ö℃", [1.5, {"a": b"\0"}], b"\0", array.array("h", [1, -2])):
            found = await bus.request("js/echo", value)
            assert (type(found), found) == (type(value), value)
        for frame in (numpy.arange(6, dtype="f4").reshape(2, 3), numpy.ones((2, 4, 3), "u1")):
            found = await bus.request("js/echo", frame)
            assert (found.dtype, found.tolist()) == (frame.dtype, frame.tolist())
        pixels = numpy.arange(1080 * 1920 * 3, dtype="u4").astype("u1").reshape(1080, 1920, 3)
        found = await bus.request("js/echo", {"a": [pixels, 1], "b": blob[:5000], "ö": "ö" * 5000})
        assert (found["a"][0].shape, found["a"][0].tobytes()) == (pixels.shape, pixels.tobytes())
        assert (found["a"][1], found["b"], found["ö"]) == (1, blob[:5000], "ö" * 5000)
        assert [part async for part in bus.request_stream("js/count", 1000)] == list(range(1000))
        await bus.send("js/blob", blob, confirm=True)
        with pytest.raises(busway.Undeliverable, match="same user on this machine") as refused:
            await bus.send("js/echo", "a file", files=[0], confirm=True)
        assert refused.value.reason == codes.NO_FILES
        program.tell("asked")
        await program.said("published")
        assert [(await ups.receive(BOUND_S)).payload for _ in range(3)] == [1, 2, 3]
        labels = {node.label for node in bus.nodes()}
        assert "js" in labels
        program.tell("end")


async def count(request: busway.Request[int]) -> AsyncIterator[int]:
    for number in range(request.payload):
        yield number


def test_both_ways() -> None:
    aio.run(both_ways())


async def floods() -> None:
    async with busway.AsyncBus() as bus:
        flood = bus.subscribe("js/flood", queue=4000)
        bus.serve("py/upper", lambda request: request.payload)
        async with client("floods"):
            for number in range(3000):
                message = await flood.receive(BOUND_S)
                assert (message.payload[0], message.missed) == (number, 0)


def test_a_publisher_waits_until_the_socket_has_room() -> None:
    aio.run(floods())


async def outlives() -> None:
    with peer("one") as one, peer("two") as two:
        programs = {"one": one, "two": two}
        async with client("outlives its neighbour") as program:
            _, label = (await program.line()).split()
            async with busway.AsyncBus() as bus:
                assert await bus.request("js/echo", 1, ttl=BOUND_S) == 1
                programs.pop(label).kill()
                await program.said("reconnecting")
                (other,) = programs
                states = [await program.line()]
                while states[-1] == "reconnecting":
                    states.append(await program.line())
                assert states[-1].startswith("connected ")
                await program.said("again")
                assert await bus.request("js/echo", 2, ttl=BOUND_S) == 2
            assert other in ("one", "two")
            program.tell("end")
            rest = [await program.line()]
            while rest[-1] != "closed":
                rest.append(await program.line())


def test_the_program_at_the_other_end_is_killed() -> None:
    aio.run(outlives())


@pytest.mark.parametrize(
    ("handled", "status", "reason"), [("handled", 0, "goodbye"), ("not", -signal.SIGINT, "lost")]
)
def test_ctrl_c(handled: str, status: int, reason: str) -> None:
    async def main() -> None:
        async with (
            busway.AsyncBus() as bus,
            client("is interrupted", handled, status=status) as program,
            bus.presence("js/*") as seen,
        ):
            asking = asyncio.create_task(bus.request("js/here", ttl=BOUND_S))
            await program.said("asked")
            async for each in seen:
                if each.what in ("present", "arrived"):
                    break
            program.process.send_signal(signal.SIGINT)
            with pytest.raises(busway.Undeliverable):
                await asking
            async for each in seen:
                if each.what == "departed":
                    assert each.reason == reason
                    break

    aio.run(main())


async def how_far() -> None:
    async with (
        busway.AsyncBus() as bus,
        busway.AsyncBus(ipc=False) as beside,
        busway.AsyncBus(ipc=False) as beyond,
        client("how far") as program,
    ):
        await program.said("there")
        await beside.connect((await bus.listen("tcp://127.0.0.1:0")).url)
        await beyond.connect((await bus.listen("ws://127.0.0.1:0")).url)
        for name, reaches in (("near", [bus]), ("usual", [bus, beside]), ("wide", [bus, beside, beyond])):
            for other in (bus, beside, beyond):
                if other in reaches:
                    assert await other.request(f"js/{name}", ttl=BOUND_S) == name
                else:
                    with pytest.raises(busway.Undeliverable):
                        await other.request(f"js/{name}")
        news = [other.subscribe("js/news", realm="global") for other in (bus, beside, beyond)]
        seen: list[list[str]] = [[], [], []]
        async with asyncio.TaskGroup() as reading:
            for receiver, payloads in zip(news, seen, strict=True):
                reading.create_task(until_wide(receiver, payloads))
            while not all(seen):  # before the subscription was known there some went nowhere
                program.tell("publish")
                await asyncio.sleep(0.05)
            for _ in range(8):
                program.tell("publish")
        assert [set(payloads) for payloads in seen] == [
            {"usual", "near", "wide"},
            {"usual", "wide"},
            {"wide"},
        ]
        (hop,) = await bus.trace("js/usual")
        assert (hop.medium, hop.cost, hop.realm) == ("ipc", 1, "userspace")
        program.tell("end")


async def until_wide(receiver: busway.Receiver[str], payloads: list[str]) -> None:
    while payloads.count("wide") < 8:
        payloads.append((await receiver.receive(BOUND_S)).payload)


def test_realms() -> None:
    aio.run(how_far())


# ---- finding them


async def finds_past_the_silent() -> None:
    silent = [unix.UnixListener.open("default", bytes([number]) * 16) for number in range(4)]
    with contextlib.ExitStack() as opened:
        for listener in silent:  # as programs that were stopped: they are there, and say nothing
            opened.callback(listener.close)
        with peer("speaks"):
            async with client("finds") as program:
                await program.said("connected speaks")
                program.tell("end")


def test_programs_that_are_stopped_are_passed_over() -> None:
    aio.run(finds_past_the_silent())


async def finds_past_another_version() -> None:
    other = forks.Program(["-m", "tests.front.other_version", "default"], os.environ)
    try:
        assert other.stdout.readline().startswith(b"ready")
        (path,) = (each.path for each in unix.peers("default"))
        async with client("is refused", f"ipc://{path}") as program:
            pass
        reason = "this side speaks protocol version 2, the other 3: update the older one"
        assert reason in program.complaints
        async with client("finds") as program:
            await program.complains(f"a program on this machine cannot be joined: {reason}")
            with peer("speaks"):
                await program.said("connected speaks")
                program.tell("end")
                assert await program.end() == 0
        assert program.complaints.count(reason) == 1
    finally:
        other.close()


def test_a_program_of_another_version_is_told_of_once() -> None:
    aio.run(finds_past_another_version())


async def nobody(pattern: str) -> None:
    async with client("nobody there", pattern):
        pass


def test_the_reason_why_nobody_is_found(home: Path) -> None:
    pattern = f'no program of this user is on bus "default" .{home}.'
    aio.run(nobody(pattern))
    home.chmod(0o750)
    aio.run(nobody(f"{pattern}; {home} has mode 0750, expected 0700: run .chmod 700 {home}."))


def test_options_that_are_none() -> None:
    async def main() -> None:
        async with client("options that are none"):
            pass

    aio.run(main())


@pytest.mark.parametrize(("script", "count"), [("places.test.mjs", 4), ("realms.test.mjs", 5)])
def test_under_node(script: str, count: int) -> None:
    words: list[str | Path] = [
        browser.node(),
        "--test",
        "--test-reporter=tap",
        Path(__file__).parent / script,
    ]
    assert f"# pass {count}" in output_of(words, cwd=ROOT)


# ---- the page docs/howto/node.md, as it is written


def nodes() -> list[Path]:
    """Each Node that is here and new enough; playwright's always is."""
    others = {Path(found) for name in ("node", "nodejs") if (found := shutil.which(name))}
    return [browser.node(), *(path for path in {each.resolve() for each in others} if _major(path) >= 18)]


def _major(path: Path) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.fullmatch(r"v(\d+)\..*\n", said)[1])  # type: ignore[index]


@pytest.mark.parametrize("path", nodes(), ids=str)
def test_the_page_as_it_is_written(tmp_path: Path, path: Path) -> None:
    (program,) = re.findall(r"^```js\n(// panel\.mjs\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "panel.mjs").write_text(program)
    prints = f'"{sys.executable}" -m busway javascript'
    install = re.findall(r"^    (mkdir.*|ln .*)$", PAGE, re.MULTILINE)
    assert len(install) == 2
    for line in install:
        output_of(["sh", "-ec", line.replace("busway javascript", prints)], cwd=tmp_path)
    assert (tmp_path / "node_modules" / "busway").resolve() == web.folder().resolve()

    async def main() -> None:
        async with busway.AsyncBus() as bus:
            bus.serve("lab/pump", lambda request: {"ok": True, "rpm": request.payload["rpm"]})
            process = await asyncio.create_subprocess_exec(
                path, tmp_path / "panel.mjs", stdout=asyncio.subprocess.PIPE, cwd=tmp_path
            )
            try:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"{ ok: true, rpm: 300 }\n"
                assert await bus.request("lab/panel", {"text": "hello"}) == "shown: hello"
                assert {node.label for node in bus.nodes()} >= {"panel.mjs"}
                await bus.publish("lab/temperature", {"celsius": 21.5})
                assert await process.stdout.readline() == "21.5 °C\n".encode()
                process.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
            finally:
                if process.returncode is None:
                    process.kill()

    aio.run(main())


def test_the_package_is_of_this_version() -> None:
    assert busway_command("javascript", "--json").ok().document == {"folder": str(web.folder())}
    package = json.loads((web.folder() / "package.json").read_text())
    assert package["version"] == busway.__version__
    files = [package["exports"][name]["default"] for name in (".", "./node")]
    assert all((web.folder() / file).is_file() for file in files)
