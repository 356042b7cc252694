"""Keys and trust of running buses: who is let in, as what, and what becomes of who is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Key
from busway.adapters import identity, making, protecting
from busway.adapters.protecting import Guard
from busway.keys import public_text
from busway.primitives import PRIMITIVES
from busway.protocol import codes
from busway.protocol.secure.security import Security
from busway.trust import Trusted, append
from tests.adapters.tools import knows, sees, until
from tests.rigs.tree import ROOT

LOOPBACK = "tcp://127.0.0.1:0"
SORTS = [LOOPBACK, "ws://127.0.0.1:0"]


@pytest.fixture(autouse=True)
def nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUSWAY_KEY", "BUSWAY_TRUST", "BUSWAY_TOKEN", "BUSWAY_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


@contextlib.asynccontextmanager
async def opened(*buses: AsyncBus) -> AsyncIterator[tuple[AsyncBus, ...]]:
    async with contextlib.AsyncExitStack() as stack:
        for bus in buses:
            await stack.enter_async_context(bus)
        yield buses


def bus(**options: Any) -> AsyncBus:
    return AsyncBus(ipc=False, **options)


async def refusal(of: AsyncBus, url: str, **options: Any) -> busway.LinkRefused:
    with pytest.raises(busway.LinkRefused) as caught:
        await of.connect(url, **options)
    return caught.value


# The id


async def test_id_follows_from_the_key(tmp_path: Path) -> None:
    key = Key.new()
    key.save(tmp_path / "key.pem")
    for given in (key, tmp_path / "key.pem", str(tmp_path / "key.pem")):
        async with bus(key=given) as one:
            assert one.id == key.id
            assert one.id[0] & codes.BOUND
    async with bus() as other:
        assert other.id[0] & codes.BOUND  # by a key of one run


def test_bus_with_threads_has_the_same() -> None:
    key, other = Key.new(), Key.new()
    with (
        busway.Bus(ipc=False, key=key, trust={other.text: "router"}) as one,
        busway.Bus(ipc=False, key=other) as two,
        busway.Bus(ipc=False) as three,
    ):
        assert one.id == key.id
        url = one.listen(LOOPBACK).url
        one.serve("echo", lambda request: request.payload)
        two.connect(url)
        assert two.request("echo", b"hello", node=key.id) == b"hello"
        with pytest.raises(busway.LinkRefused) as caught:
            three.connect(url)
        assert caught.value.code == codes.UNTRUSTED


@pytest.mark.parametrize("url", SORTS)
async def test_claimed_id_is_refused_without_its_key(url: str) -> None:
    """Over a listener whose token is known: the attack of whoever has it."""
    victim, thief = Key.new(), Key.new()
    async with opened(
        bus(key=victim), bus(), bus(node_id=victim.id, key=thief), bus(node_id=victim.id)
    ) as all_of_them:
        real, router, *thieves = all_of_them
        listener = await router.listen(url, token="a token that all of them know")
        await real.connect(listener.url, token="a token that all of them know")
        for other in thieves:
            refused = await refusal(other, listener.url, token="a token that all of them know")
            assert refused.code == codes.IDENTITY
        assert knows(router, victim.id)
        assert [link.state for link in real.links()] == ["connected"]


@pytest.mark.parametrize("url", SORTS)
async def test_id_of_a_program_without_key_is_claimed_by_nobody(url: str) -> None:
    """Nor by who knows the token, at a third node, in whichever way it shakes hands."""
    token = "a token that all of them know"
    async with opened(bus(), bus()) as (third, victim):
        listener = await third.listen(url, token=token)
        await victim.connect(listener.url, token=token)
        victim.serve("lab/door", lambda request: "mine", realm="global")
        assert await third.request("lab/door", ttl=30) == "mine"
        thieves = [
            bus(node_id=victim.id),
            bus(node_id=victim.id, key=Key.new()),
            bus(node_id=victim.id, leaf=True),
        ]
        async with opened(*thieves):
            for thief in thieves:
                thief.serve("lab/door", lambda request: "stolen")
                assert (await refusal(thief, listener.url, token=token)).code == codes.IDENTITY
        assert await third.request("lab/door", node=victim.id) == "mine"
        assert [link.state for link in victim.links()] == ["connected"]


async def test_its_id_is_of_one_key_over_all_its_links() -> None:
    async with opened(bus(), bus(), bus()) as (one, two, three):
        told = []
        for other in (two, three):
            await one.connect((await other.listen(LOOPBACK, open=True, routers=True)).url)
            told += [link.key for link in other.links() if link.peer == one.id]
        assert len(told) == 2
        assert len(set(told)) == 1
        with pytest.raises(ValueError, match="the key of one run"):
            bus(trust={told[0]: "router"})


async def test_stranger_that_has_no_key_to_keep_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(bus(trust={Key.new().text: "router"}), bus()) as (one, other):
        refused = await refusal(other, (await one.listen(LOOPBACK)).url)
        assert refused.code == codes.UNTRUSTED
        assert "a key of one run is not trusted: give its program one to keep (key=..., --key FILE)" in str(
            refused
        )
        assert "run `busway pair` at both" in str(refused)
    (told,) = [text for text in caplog.messages if "cannot join" in text]
    assert "its key is of one run, which nobody can trust" in told
    assert "busway1" not in told  # so that nobody enters it


async def test_claimed_id_is_refused_by_who_dials() -> None:
    victim = Key.new()
    async with opened(bus(node_id=victim.id), bus()) as (impostor, dialler):
        listener = await impostor.listen(LOOPBACK, open=True)
        assert (await refusal(dialler, listener.url)).code == codes.IDENTITY


async def test_several_with_ids_of_their_own_share_a_key() -> None:
    shared, key = Key.new(), Key.new()
    ids = [bytes([number]) * 16 for number in (1, 2)]
    async with opened(
        bus(key=key, trust={shared.text: "router"}), *(bus(key=shared, node_id=each) for each in ids)
    ) as (router, *others):
        listener = await router.listen(LOOPBACK)
        for each in others:
            await each.connect(listener.url)
        assert knows(router, *ids)


# Trust


@pytest.mark.parametrize("url", SORTS)
async def test_unknown_key_is_refused_with_what_to_do(url: str, caplog: pytest.LogCaptureFixture) -> None:
    friend, stranger = Key.new(), Key.new()
    async with opened(
        bus(key=Key.new(), trust={friend.text: "router"}), bus(key=friend), bus(key=stranger), bus()
    ) as (one, known, *others):
        listener = await one.listen(url)
        await known.connect(listener.url)
        for other in others:
            refused = await refusal(other, listener.url)
            assert refused.code == codes.UNTRUSTED
            assert "run `busway pair` at both" in str(refused)
        assert stranger.text in str(await refusal(others[0], listener.url))
        assert knows(one, known.id)
    # The one who decides is told, once, however often it comes.
    (told,) = [text for text in caplog.messages if "cannot join" in text and stranger.text in text]
    assert "or enter it in this program's trust=" in told


async def test_who_dials_looks_at_the_listener_too() -> None:
    right, wrong = Key.new(), Key.new()
    async with opened(
        bus(key=right), bus(trust={right.text: "router"}), bus(trust={wrong.text: "router"})
    ) as (
        listening,
        sure,
        doubting,
    ):
        listener = await listening.listen(LOOPBACK)
        await sure.connect(listener.url)
        refused = await refusal(doubting, listener.url)
        assert refused.code == codes.UNTRUSTED
        assert f"its key {right.text} is not trusted" in str(refused)
        assert "or enter it in this program's trust=" in str(refused)  # here, and not at the other side


async def test_token_alone_does_not_pass_by_the_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows it, and shakes hands as pages do, has proved no key."""
    real = protecting.security_of

    def as_a_page(guard: Guard, scheme: str, dialled: bool, packets: bool, realm: int) -> Any:
        if not dialled:
            return real(guard, scheme, dialled, packets, realm)
        return Security(PRIMITIVES, os.urandom, first=codes.NNPSK0, token=(guard.token or "").encode())

    monkeypatch.setattr(making, "security_of", as_a_page)
    token = "a token that all of them know"
    async with opened(bus(), bus(trust={Key.new().text: "router"}), bus(node_id=bytes(16), leaf=True)) as (
        plain,
        trusting,
        page,
    ):
        await page.connect(
            (await plain.listen(LOOPBACK, token=token)).url, token=token
        )  # as a page, it works
        refused = await refusal(page, (await trusting.listen(LOOPBACK, token=token)).url, token=token)
        assert refused.code == codes.UNTRUSTED
        assert "none was proved" in str(refused)


async def test_key_alone_does_not_pass_by_the_token() -> None:
    friend = Key.new()
    async with opened(bus(trust={friend.text: "router"}), bus(key=friend)) as (one, other):
        listener = await one.listen(LOOPBACK, token="a token that one of them knows")
        assert (await refusal(other, listener.url)).code == codes.TOKEN
        await other.connect(listener.url, token="a token that one of them knows")


async def test_hello_in_the_open_is_refused() -> None:
    async with bus(trust={Key.new().text: "router"}) as one:
        listener = await one.listen(LOOPBACK)
        host, _, port = listener.url.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        hello = b"\x01BSWY\x02\x04" + bytes(16) + bytes(4) + b"\0" * 8
        writer.write(bytes((len(hello),)) + hello)
        answer = await reader.read()
        writer.close()
        assert answer[1:3] == bytes((codes.CLOSE, codes.TOKEN))  # and nothing of who is there


async def test_trust_lets_listen_beyond_loopback() -> None:
    async with opened(bus(trust={Key.new().text: "leaf"}), bus()) as (one, other):
        assert (await one.listen("tcp://0.0.0.0:0")).url
        with pytest.raises(ValueError, match="token"):
            await other.listen("tcp://0.0.0.0:0")


async def test_open_listener_takes_strangers_as_leaves_and_friends_as_they_are() -> None:
    friend = Key.new()
    async with opened(
        bus(trust={friend.text: "router"}), bus(key=friend), bus(), bus(leaf=True, label="leaf")
    ) as (one, known, router, leaf):
        listener = await one.listen(LOOPBACK, open=True)
        await known.connect(listener.url)
        await leaf.connect(listener.url)
        assert (await refusal(router, listener.url)).code == codes.NOT_A_ROUTER
        assert knows(one, known.id, leaf.id)


async def test_local_programs_need_no_key(place: Path) -> None:
    async with AsyncBus(trust={Key.new().text: "router"}) as one, AsyncBus() as other:
        await until(lambda: knows(one, other.id))


# Roles


async def test_leaf_passes_nothing_on() -> None:
    """A key that is trusted as a leaf: as a router it is refused, as a leaf nothing behind it is seen."""
    key = Key.new()
    async with opened(
        bus(trust={key.text: "leaf"}), bus(key=key), bus(key=key, leaf=True, node_id=bytes(15) + b"\1"), bus()
    ) as (
        one,
        as_router,
        as_leaf,
        behind,
    ):
        one.serve("echo", lambda request: request.payload)
        behind.serve("lab/behind", lambda request: None)
        listener = await one.listen(LOOPBACK)
        await behind.connect((await as_router.listen(LOOPBACK)).url)
        refused = await refusal(as_router, listener.url)
        assert refused.code == codes.NOT_A_ROUTER
        assert "leaf=True" in str(refused)
        await as_leaf.connect(listener.url)
        assert await as_leaf.request("echo", b"by itself") == b"by itself"
        assert knows(one, as_leaf.id)
        assert not sees(one, "lab/behind")
        with pytest.raises(busway.Undeliverable):
            await behind.request("echo", b"through it", timeout=5.0)


# A trust file that changes


def entered(path: Path, *who: tuple[str, Key, str]) -> None:
    """The file with these entries and no others, in one step."""
    beside = path.with_name("new.toml")
    for name, key, role in who:
        append(beside, Trusted(name, key.public, role))
    if not who:
        beside.write_text("# nobody\n")
    beside.replace(path)


async def test_trust_file_is_read_again(tmp_path: Path) -> None:
    path, one_key, two_key = tmp_path / "trust.toml", Key.new(), Key.new()
    entered(path, ("one", one_key, "router"))
    async with opened(bus(trust=path), bus(key=one_key), bus(key=two_key)) as (router, one, two):
        listener = await router.listen(LOOPBACK)
        link = await one.connect(listener.url)
        assert (await refusal(two, listener.url)).code == codes.UNTRUSTED
        entered(path, ("one", one_key, "router"), ("two", two_key, "router"))
        await two.connect(listener.url)
        assert link.losses == 0
        entered(path, ("two", two_key, "router"))  # the first one is thrown out, the second stays
        await until(lambda: knows(router, two.id))
        await until(lambda: "not trusted" in link.error)
        entered(path, ("one", one_key, "router"), ("two", two_key, "router"))
        await until(lambda: knows(router, one.id, two.id))  # and is back by itself
        assert link.losses == 1


async def test_another_role_counts_at_once(tmp_path: Path) -> None:
    path, key = tmp_path / "trust.toml", Key.new()
    entered(path, ("one", key, "router"))
    async with opened(bus(trust=path), bus(key=key)) as (router, one):
        listener = await router.listen(LOOPBACK)
        link = await one.connect(listener.url)
        entered(path, ("one", key, "leaf"))
        await until(lambda: "only leaves" in link.error)
        assert knows(router)


async def test_who_dialled_ends_the_link_too(tmp_path: Path) -> None:
    path, key = tmp_path / "trust.toml", Key.new()
    entered(path, ("one", key, "router"))
    async with opened(bus(key=key), bus(trust=path)) as (listening, dialler):
        link = await dialler.connect((await listening.listen(LOOPBACK)).url)
        entered(path)
        await until(lambda: link.state != "connected")
        await until(lambda: "not trusted" in link.error)


async def test_mistake_in_the_file_is_told_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, key = tmp_path / "trust.toml", Key.new()
    entered(path, ("one", key, "router"))
    async with opened(bus(trust=path), bus(key=key), bus(key=key, node_id=bytes(15) + b"\1")) as (
        router,
        one,
        again,
    ):
        listener = await router.listen(LOOPBACK)
        link = await one.connect(listener.url)
        path.write_text("[one]\nrole = 1\n")
        await until(lambda: f"{path}: line 1: one needs key" in caplog.text)
        await again.connect(listener.url)
        assert link.losses == 0
    with pytest.raises(busway.TrustFileError, match="line 1"):
        bus(trust=path)


async def test_nobody_looks_where_there_is_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "LOOK_S", 0.0)
    async with opened(bus(key=Key.new()), bus()) as (one, other):
        await other.connect((await one.listen(LOOPBACK)).url)
        assert not one._host._watching
        assert not other._host._watching


async def test_ever_new_strangers_are_told_of_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with bus(trust={Key.new().text: "leaf"}) as one:
        listener = await one.listen(LOOPBACK)
        for _ in range(12):
            async with bus(key=Key.new()) as stranger:
                await refusal(stranger, listener.url)
        assert caplog.text.count("cannot join: its key busway1") == 8


# Key files


async def test_file_is_one_buss(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    Key.new().save(path)
    async with bus(key=path):
        with pytest.raises(busway.KeyFileError, match="in use by another bus on this machine"):
            await bus(key=path).open()
        second = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "busway", "bridge", "--listen", LOOPBACK, "--key", str(path)],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            timeout=60,
            check=False,
        )
        assert second.returncode != 0
        assert b"in use by another bus on this machine" in second.stderr
    async with bus(key=path):
        pass
    with busway.Bus(ipc=False, key=path), pytest.raises(busway.KeyFileError), busway.Bus(ipc=False, key=path):
        pass


async def test_copied_key_is_one_node_twice(tmp_path: Path) -> None:
    """On another machine nobody can hold the file: the newer takes over, and the older is told so."""
    Key.new().save(tmp_path / "key.pem")
    shutil.copy(tmp_path / "key.pem", tmp_path / "copy.pem")
    async with opened(bus(), bus(key=tmp_path / "key.pem"), bus(key=tmp_path / "copy.pem")) as (
        router,
        one,
        two,
    ):
        listener = await router.listen(LOOPBACK)
        older = await one.connect(listener.url)
        await two.connect(listener.url)
        await until(lambda: "a newer incarnation of this node took over" in older.error)
        assert knows(router, one.id)


async def test_what_is_wrong_is_told_when_the_bus_is_made(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(busway.KeyFileError, match="busway key new"):
        bus(key=path)
    Key.new().save(path)
    path.chmod(0o644)
    with pytest.raises(busway.KeyFileError, match="chmod 600"):
        bus(key=path)
    with pytest.raises(TypeError, match="key must be the path"):
        bus(key=b"key")
    with pytest.raises(TypeError, match="trust must be the path"):
        bus(trust=[public_text(bytes(32))])
    with pytest.raises(ValueError, match="the role must be"):
        bus(trust={public_text(bytes(32)): "boss"})


# The environment


async def test_environment_says_it_when_the_first_link_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, friend = Key.new(), Key.new()
    key.save(tmp_path / "key.pem")
    entered(tmp_path / "trust.toml", ("friend", friend, "router"))
    monkeypatch.setenv("BUSWAY_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("BUSWAY_TRUST", str(tmp_path / "trust.toml"))
    async with opened(bus(), bus(), bus(key=friend, trust={key.text: "router"})) as (one, other, known):
        assert not one.id[0] & codes.BOUND  # so that all of a terminal's programs may have it
        listener = await one.listen(LOOPBACK)
        await known.connect(listener.url)
        refused = await refusal(other, listener.url)
        assert refused.code == codes.UNTRUSTED
        assert key.text in str(refused)
    monkeypatch.setenv("BUSWAY_KEY", str(tmp_path / "nothing.pem"))
    async with bus() as one:
        with pytest.raises(busway.KeyFileError, match=r"nothing\.pem"):
            await one.connect("tcp://127.0.0.1:1")
        with pytest.raises(busway.KeyFileError, match=r"nothing\.pem"):
            await one.listen(LOOPBACK)


_LOCAL = """
import asyncio, sys, busway
async def main():
    async with busway.AsyncBus() as one, busway.AsyncBus() as two:
        one.serve("echo", lambda request: request.payload)
        print(await two.request("echo", 1, ttl=20.0))
    with busway.Bus() as three:
        pass
asyncio.run(main())
print([name for name in ("cryptography", "tomllib", "busway.keys", "busway.trust") if name in sys.modules])
"""


def test_local_program_pays_nothing(place: Path, tmp_path: Path) -> None:
    """Not even if the environment speaks of a key."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "BUSWAY_DIR": str(place)}
    for more in ({}, {"BUSWAY_KEY": str(tmp_path / "nothing.pem"), "BUSWAY_TRUST": "/nowhere"}):
        ended = subprocess.run(
            [sys.executable, "-c", _LOCAL],
            capture_output=True,
            env=environment | more,
            timeout=120,
            check=True,
        )
        assert ended.stdout == b"1\n[]\n"
