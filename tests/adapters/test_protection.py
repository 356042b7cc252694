"""What a link says of itself: what the other side has proved, and what that is called here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

import busway
from busway import AsyncBus, Key, LinkInfo, keys
from busway.adapters import protecting
from busway.board_keys import id_of_board, make_board_key
from busway.primitives import has_quick_aes
from busway.protocol import Link, codes
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.secure.cipher import AesState
from tests.adapters.test_identity import LOOPBACK, SORTS, bus, nothing_from_the_environment, opened
from tests.adapters.tools import join, until
from tests.protocol.board_crypto import Crypto

__all__ = ["nothing_from_the_environment"]

TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"


def said(of: AsyncBus | busway.Bus) -> tuple[str, str, str]:
    """What its one link says; the introspection says the same."""
    (link,) = of.links()
    (row,) = cast(list[dict[str, str]], of.node.report(0)["links"])
    assert (row["protection"], row["trusted"], row["key"]) == (link.protection, link.trusted, link.key)
    return link.protection, link.trusted, link.key


@pytest.mark.parametrize("url", SORTS)
async def test_a_trusted_key_is_told_with_its_name(url: str, tmp_path: Path) -> None:
    here, there = Key.new(), Key.new()
    (tmp_path / "trust.toml").write_text(f'["Lab PC"]\nkey = "{there.text}"\nrole = "router"\n')
    (tmp_path / "trust.toml").chmod(0o600)
    async with opened(bus(key=here, trust=tmp_path / "trust.toml"), bus(key=there)) as (one, two):
        await two.connect((await one.listen(url)).url)
        assert said(one) == ("key", "Lab PC", there.text)
        assert said(two) == ("open", "", here.text)  # nobody asked it to be known: any key had done
        assert ", key Lab PC" in repr(one.links()[0])


@pytest.mark.parametrize("url", SORTS)
async def test_a_token_and_nothing_are_told_apart(url: str) -> None:
    async with opened(bus(), bus()) as (one, two):
        link = await two.connect((await one.listen(url, token=TOKEN)).url, token=TOKEN)
        assert said(one)[:2] == said(two)[:2] == ("token", "")
        assert said(two)[2].startswith("busway1")
        await link.close()
    async with opened(bus(), bus()) as (one, two):
        await two.connect((await one.listen(url)).url)
        assert said(one)[:2] == said(two)[:2] == ("open", "")


async def test_who_is_let_in_without_being_known_has_proved_nothing() -> None:
    known = Key.new()
    async with opened(bus(trust={known.text: "router"}), bus(leaf=True)) as (one, two):
        await two.connect((await one.listen(LOOPBACK, open=True)).url)
        assert said(one)[:2] == ("open", "")


async def test_programs_of_the_user_are_local() -> None:
    async with opened(bus(), bus()) as (one, two):
        await join(one, two)
        assert said(one) == said(two) == ("local", "", "")
        assert ", local" in repr(one.links()[0])


async def test_the_text_of_a_key_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the links each second does not pay a digest for each of them."""
    made: list[bytes] = []
    public_text = keys.public_text

    def counted(public: bytes) -> str:
        made.append(public)
        return public_text(public)

    monkeypatch.setattr(keys, "public_text", counted)
    async with opened(bus(), bus()) as (one, two):
        await two.connect((await one.listen(LOOPBACK, token=TOKEN)).url, token=TOKEN)
        assert {link.key for _ in range(5) for link in one.links()} == {said(one)[2]}
    assert len(made) == len(set(made))


def test_threads_say_the_same() -> None:
    key = Key.new()
    with (
        busway.Bus(ipc=False, trust={key.text: "router"}) as one,
        busway.Bus(ipc=False, key=key) as two,
    ):
        two.connect(one.listen(LOOPBACK).url)
        assert said(one) == ("key", key.text[:15], key.text)


@contextlib.asynccontextmanager
async def board_at(url: str, secret: Secret, node_id: bytes) -> AsyncIterator[None]:
    """A leaf that talks to a listener as a board does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    leaf = Leaf(node_id, entropy=os.urandom)
    link = leaf.connection(Link(codes.LOCALNET, True, via=url, security=secret), 0)

    async def run() -> None:
        while True:
            writer.write(link.data_to_send(4096, time.monotonic_ns() // 1_000_000))
            link.receive_data(await reader.read(4096), time.monotonic_ns() // 1_000_000)

    running = asyncio.create_task(run())
    yield
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    writer.close()


async def test_boards_have_the_name_of_their_file_or_the_token(tmp_path: Path) -> None:
    key = make_board_key(tmp_path / "pump.key")
    async with opened(bus(boards=tmp_path)) as (one,):
        url = (await one.listen(LOOPBACK, token=TOKEN)).url
        async with board_at(url, Secret(Crypto(), os.urandom, key), id_of_board(key)):
            await until(lambda: [link.state for link in one.links()] == ["connected"])
            assert said(one) == ("board key", "pump", "")
    async with opened(bus()) as (one,):
        url = (await one.listen(LOOPBACK, token=TOKEN)).url
        async with board_at(url, Secret(Crypto(), os.urandom, b"", TOKEN.encode()), bytes(16)):
            await until(lambda: [link.state for link in one.links()] == ["connected"])
            assert said(one) == ("token", "", "")


async def test_a_link_that_is_not_open_has_proved_nothing_yet() -> None:
    """The name and key of who was refused are known all the same."""
    key = Key.new()
    async with opened(bus(trust={key.text: "leaf"}), bus(key=key)) as (one, two):
        changes = one.changes()
        url = (await one.listen(LOOPBACK)).url
        with pytest.raises(busway.LinkRefused):
            await two.connect(url)
        seen: list[LinkInfo] = []
        async for change in changes:
            if isinstance(change.subject, LinkInfo):
                seen.append(change.subject)
                if change.what == "link-down":
                    break
        assert {link.protection for link in seen} == {""}
        assert (seen[-1].trusted, seen[-1].key) == (key.text[:15], key.text)


# The cipher


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("url", SORTS)
async def test_a_machine_with_instructions_for_aes_uses_them(
    url: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protecting, "_quick_aes", lambda: quick)
    async with opened(bus(), bus()) as (one, two):
        await two.connect((await one.listen(url)).url)
        for each in (one, two):
            (runner,) = each._host.runners
            channel = runner.connection.channel
            assert channel is not None
            assert (type(channel._sender) is AesState) == quick
        one.serve("echo", lambda request: request.payload, realm="global")
        assert await two.request("echo", bytes(100_000), ttl=20.0) == bytes(100_000)


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 pclmulqdq aes avx\n", True),
        ("processor\t: 0\nflags\t\t: fpu sse2 vaes\n", False),
        ("processor\t: 0\nflags\t\t: fpu aes\n", False),
        ("Features\t: fp asimd evtstrm aes pmull sha1\n", True),
        ("Features\t: fp asimd evtstrm crc32 cpuid\n", False),  # a Raspberry Pi 4
    ],
)
def test_what_linux_says_of_its_processor_tells_whether_aes_is_quick(
    text: str, quick: bool, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_quick_aes("linux", str(tmp_path / "cpuinfo")) == quick


def test_where_it_is_not_known_aes_is_not_quick(tmp_path: Path) -> None:
    for place in (tmp_path / "missing", tmp_path):
        assert [has_quick_aes(name, str(place)) for name in ("linux", "freebsd14")] == [False, False]
    assert [has_quick_aes(name, "/nowhere") for name in ("win32", "darwin")] == [True, True]
