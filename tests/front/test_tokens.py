"""Tokens: how they are made, which can be guessed, how they are read, and who else sees them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

import busway
from busway import AsyncBus, Bus, tokens
from busway.demo.processes import Processes
from tests.front.cli_rig import Running, busway_started, new_bus, started, until
from tests.front.cli_rig import busway as command

GOOD = "k8ZrjV0pQ3m5wX1cT6yB9u"
WEAK = {
    "secret": "has 6 characters, and fewer than 20 can be guessed",
    "a" * 19: "has 19 characters",
    "a" * 40: "repeats itself",
    "1234567890" * 3: "repeats itself",
    "password-password-password": "repeats itself",
}
STRONG = [
    GOOD,
    "0123456789abcdef0f1e2d3c4b5a6978",
    "48151623421088174305",
    "6f1d6e9c-0a2b-4a53-9f0e-6f1c2b7a9d3e",
    "correct horse battery staple",
    "vierundzwanzig Füße über dem Meer",
]
REMEDY = "make one with `busway token`, or say weak=True"


def test_a_token_that_is_made_has_128_bits_and_no_two_are_alike() -> None:
    made = [tokens.make() for _ in range(2000)]
    assert len(set(made)) == len(made)
    for token in made:
        assert re.fullmatch(r"[a-z2-7]{26}", token)
        tokens.check_strength(token)


@pytest.mark.parametrize("token", WEAK)
def test_what_can_be_guessed_is_refused_with_the_command_that_makes_one(token: str) -> None:
    with pytest.raises(ValueError, match=WEAK[token]) as caught:
        tokens.check_strength(token)
    assert str(caught.value).endswith(REMEDY)
    assert token not in str(caught.value)
    tokens.check_strength(token, weak=True)


@pytest.mark.parametrize("token", [*STRONG, None])
def test_what_cannot_be_guessed_is_taken(token: str | None) -> None:
    tokens.check_strength(token)


def test_neither_listener_nor_dialler_takes_a_weak_one() -> None:
    asyncio.run(_try_weak())


async def _try_weak() -> None:
    async with AsyncBus(ipc=False) as one, AsyncBus(ipc=False) as other:
        for url in ("tcp://127.0.0.1:0", "ws://127.0.0.1:0"):
            with pytest.raises(ValueError, match=re.escape(REMEDY)):
                await one.listen(url, token="sesame")
            listener = await one.listen(url, token="sesame", weak=True)
            with pytest.raises(ValueError, match=re.escape(REMEDY)):
                await other.connect(listener.url, token="sesame")
            link = await other.connect(listener.url, token="sesame", weak=True)
            assert link.state == "connected"
            await link.close()
        with pytest.raises(TypeError, match="weak must be True or False"):
            await one.listen("tcp://127.0.0.1:0", token=GOOD, weak="yes")  # type: ignore[arg-type]


def test_nor_with_threads() -> None:
    with Bus(ipc=False) as one:
        with pytest.raises(ValueError, match=re.escape(REMEDY)):
            one.listen("tcp://127.0.0.1:0", token="sesame")
        with pytest.raises(ValueError, match=re.escape(REMEDY)):
            one.connect("tcp://127.0.0.1:9", token="sesame")


def test_nor_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_TOKEN", "sesame")
    with Bus(ipc=False) as one, pytest.raises(ValueError, match=re.escape(REMEDY)):
        one.listen("tcp://127.0.0.1:0")


# Files --------------------


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_is_one_line(tmp_path: Path, end: bytes) -> None:
    assert tokens.read_file(str(written(tmp_path / "t", GOOD.encode() + end))) == GOOD


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe", b"one\ntwo\n", b"a" * 5000, b"a\x00b"])
def test_a_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="holds no token: expected one line of text"):
        tokens.read_file(str(written(tmp_path / "t", data)))


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_file_that_everybody_may_read_is_none(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match=r"every user of this machine may read or write .*chmod 600"):
        tokens.read_file(str(written(tmp_path / "t", GOOD.encode(), mode)))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_file_of_ours_or_a_groups_is_taken(tmp_path: Path, mode: int) -> None:
    assert tokens.read_file(str(written(tmp_path / "t", GOOD.encode(), mode))) == GOOD


def test_programs_read_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(_try_files(tmp_path, monkeypatch))


async def _try_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSWAY_TOKEN", raising=False)
    monkeypatch.setenv("BUSWAY_TOKEN_FILE", str(written(tmp_path / "t", GOOD.encode() + b"\n")))
    async with AsyncBus(ipc=False) as one, AsyncBus(ipc=False) as other:
        listener = await one.listen("tcp://127.0.0.1:0")
        assert (await other.connect(listener.url)).state == "connected"
        with pytest.raises(busway.LinkRefused, match="token"):
            await other.connect(listener.url, token=GOOD[::-1], retry=None)
        monkeypatch.setenv("BUSWAY_TOKEN", GOOD[::-1])  # which counts first
        with pytest.raises(busway.LinkRefused, match="token"):
            await other.connect(listener.url, retry=None)
        monkeypatch.delenv("BUSWAY_TOKEN")
        monkeypatch.setenv("BUSWAY_TOKEN_FILE", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError):
            await other.connect(listener.url)


# The commands --------------------


def test_busway_token(tmp_path: Path) -> None:
    one, two = command("token").ok().lines[0], command("token").ok().lines[0]
    assert one != two
    assert re.fullmatch(r"[a-z2-7]{26}", one)
    assert re.fullmatch(r"[a-z2-7]{26}", command("token", "--json").ok().document["token"])
    path = tmp_path / "token.txt"
    assert command("token", "--out", str(path)).ok().lines == []
    assert (path.stat().st_mode & 0o777, len(path.read_text())) == (0o600, 27)
    tokens.check_strength(tokens.read_file(str(path)))
    again = command("token", "--out", str(path)).failed(1)
    assert "never overwritten: name another file, or remove it" in again
    assert command("token", "--json", "--out", str(tmp_path / "2")).ok().document == {
        "file": str(tmp_path / "2")
    }


def test_commands_read_the_file(tmp_path: Path) -> None:
    path, bus = str(written(tmp_path / "t", GOOD.encode())), new_bus()
    listening = ("listen-on", "tcp://127.0.0.1:0", "--token-file", path)
    with (
        tempfile.TemporaryDirectory(prefix="bw-") as elsewhere,
        busway_started(*listening, bus=bus) as listener,
    ):
        url = url_of(listener)
        reach = ("nodes", "--connect", url)
        cases: list[tuple[tuple[str, ...], dict[str, str]]] = [
            (("--token-file", path), {}),
            (("--token", GOOD), {}),
            ((), {"BUSWAY_TOKEN_FILE": path}),
            ((), {"BUSWAY_TOKEN": GOOD}),
            (("--token-file", path), {"BUSWAY_TOKEN": GOOD[::-1]}),
            (("--token", GOOD), {"BUSWAY_TOKEN_FILE": str(tmp_path / "nowhere")}),
        ]
        for words, extra in cases:
            command(*reach, *words, bus=bus, stdin=b"", BUSWAY_DIR=elsewhere, **extra).ok()
        other = str(written(tmp_path / "o", GOOD[::-1].encode()))
        for words in (("--token-file", other), ()):
            told = command(*reach, *words, bus=bus, BUSWAY_DIR=elsewhere).failed(4)
            assert "token" in told


def url_of(listener: Running) -> str:
    found = re.search(r"tcp://[\d.:]+", listener.line())
    assert found
    return found[0]


def test_wrong_usage_of_token_files(tmp_path: Path) -> None:
    path = str(written(tmp_path / "t", GOOD.encode(), 0o644))
    assert "chmod 600" in command("nodes", "--token-file", path).failed(2)
    assert "No such file" in command("nodes", "--token-file", str(tmp_path / "n")).failed(2)
    both = command("nodes", "--token-file", path, "--token", GOOD).failed(2)
    assert "leave one of them out" in both
    assert GOOD not in both


def test_a_weak_token_is_refused_at_the_commands_unless_it_is_said() -> None:
    bus = new_bus()
    told = command("listen-on", "tcp://127.0.0.1:0", "--token", "sesame", bus=bus).failed(4)
    assert "make one with `busway token`, or say --weak" in told
    told = command("nodes", "--connect", "tcp://127.0.0.1:9", "--token", "sesame", bus=bus).failed(2)
    assert "make one with `busway token`, or say --weak" in told
    with busway_started("listen-on", "tcp://127.0.0.1:0", "--token", "sesame", "--weak", bus=bus) as running:
        url = url_of(running)
        command("nodes", "--connect", url, "--token", "sesame", "--weak", bus=bus).ok()


# Who sees it --------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a program hide its words")
def test_a_token_that_was_typed_does_not_stay_in_the_list_of_processes() -> None:
    words = [sys.executable, "-m", "busway", "listen-on", "tcp://127.0.0.1:0", "--token", GOOD]
    with started(*words, BUSWAY_BUS=new_bus()) as running:
        url_of(running)
        shown = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
        assert GOOD.encode() not in shown
        assert shown.split(b"\0")[3:7] == [b"listen-on", b"tcp://127.0.0.1:0", b"--token", b"*" * len(GOOD)]


def test_what_busway_serve_runs_does_not_get_it(tmp_path: Path) -> None:
    path, bus = str(written(tmp_path / "t", GOOD.encode())), new_bus()
    secrets = {"BUSWAY_TOKEN": GOOD, "BUSWAY_TOKEN_FILE": path, "BUSWAY_CAFILE": path}
    with busway_started("serve", "env", "--", "env", bus=bus, **secrets):
        shown = command("request", "env", bus=bus).ok().text
    assert "BUSWAY_ENDPOINT=env" in shown
    assert "BUSWAY_CAFILE" in shown
    assert "TOKEN" not in shown
    assert GOOD not in shown


def test_nor_does_any_other_program_that_a_command_starts(tmp_path: Path) -> None:
    """As what a library of ours runs: it is gone from the environment before the command begins."""
    text = (
        "import sys, subprocess\n"
        "from busway.cli import app, session\n"
        "session.run = lambda *words, **options: print(subprocess.check_output(['env'], text=True)) or 0\n"
        "sys.argv = ['busway', 'nodes']\n"
        "app.main()\n"
    )
    with started(sys.executable, "-c", text, BUSWAY_TOKEN=GOOD, BUSWAY_TOKEN_FILE="/nowhere") as running:
        lines: list[str] = []
        until(lambda: running.process.poll() is not None)
        while not running._out.empty() or not lines:
            lines.append(running.line())
    assert any(line.startswith("PATH=") for line in lines)
    assert not any("TOKEN" in line for line in lines)


def test_the_demos_programs_do_not_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_TOKEN", GOOD)
    asyncio.run(_start_one())


async def _start_one() -> None:
    processes = Processes(new_bus())
    try:
        await processes.start("answers")
        (running,) = processes._running.values()
        environment = b""
        while b"PATH=" not in environment:
            environment = await asyncio.to_thread(Path(f"/proc/{running.process.pid}/environ").read_bytes)
            await asyncio.sleep(0.01)
        assert GOOD.encode() not in environment
    finally:
        await processes.close()


def test_the_environment_of_others() -> None:
    found = tokens.without({"BUSWAY_TOKEN": GOOD, "BUSWAY_TOKEN_FILE": "x", "BUSWAY_BUS": "b", "PATH": "p"})
    assert found == {"BUSWAY_BUS": "b", "PATH": "p"}
    assert "BUSWAY_TOKEN" not in tokens.without(os.environ)
