"""Buses with keys and trust at both ends of a serial line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Key
from busway.adapters.protecting import Guard, security_of
from busway.protocol import codes
from busway.protocol.secure.lines import ABLE, WANTS, LineSecurity
from tests.adapters.test_identity import bus, entered, nothing_from_the_environment, opened
from tests.adapters.tools import knows, until
from tests.drivers.lines import Line, crossed

__all__ = ["nothing_from_the_environment"]


@pytest.fixture
def cable() -> Iterator[tuple[Line, Line]]:
    with crossed() as ends:
        yield ends


async def join(cable: tuple[Line, Line], one: AsyncBus, two: AsyncBus, **options: Any) -> list[Any]:
    """Both open their end; returns what each got: its link, or the error."""
    calls = [each.connect(end.url, **options) for each, end in zip((one, two), cable, strict=True)]
    return await asyncio.gather(*calls, return_exceptions=True)


def connected(*buses: AsyncBus) -> bool:
    return all([link.state for link in each.links()] == ["connected"] for each in buses)


async def test_two_with_keys_join_over_a_line(cable: tuple[Line, Line]) -> None:
    async with opened(bus(key=Key.new()), bus(key=Key.new())) as (one, two):
        two.serve("echo", lambda request: request.payload)
        await join(cable, one, two)
        assert connected(one, two)
        assert await one.request("echo", b"hello", node=two.id, ttl=30) == b"hello"


async def test_one_with_a_key_joins_one_without(cable: tuple[Line, Line]) -> None:
    async with opened(bus(key=Key.new()), bus()) as (one, two):
        await join(cable, one, two)
        assert connected(one, two)
        assert knows(two, one.id)


async def test_two_without_keys_join_over_a_line_by_those_of_this_run(cable: tuple[Line, Line]) -> None:
    """So nobody who is on another line takes the id of one of them."""
    async with opened(bus(), bus()) as (one, two):
        await join(cable, one, two)
        assert connected(one, two)
        assert [link.protection for each in (one, two) for link in each.links()] == ["open"] * 2
        assert all(link.key for each in (one, two) for link in each.links())


async def test_trust_counts_on_lines(cable: tuple[Line, Line], tmp_path: Path) -> None:
    """Who is in it joins, who is taken out of it loses the link, and is told so."""
    path, key = tmp_path / "trust.toml", Key.new()
    entered(path, ("one", key, "router"))
    async with opened(bus(key=Key.new(), trust=path), bus(key=key)) as (trusting, one):
        (_, link) = await join(cable, trusting, one)
        assert connected(trusting, one)
        entered(path)
        await until(lambda: "not trusted" in link.error)
        assert not knows(trusting, one.id)


async def test_unknown_key_is_refused_on_a_line(
    cable: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment says whom to trust, there, too."""
    path = tmp_path / "trust.toml"
    entered(path, ("friend", Key.new(), "router"))
    async with opened(bus(), bus(key=Key.new())) as (trusting, stranger):
        monkeypatch.setenv("BUSWAY_TRUST", str(path))
        trusting._host.identity.prepare(cable[0].url)
        monkeypatch.delenv("BUSWAY_TRUST")
        errors = await join(cable, trusting, stranger)
        assert {type(error) for error in errors} == {busway.LinkRefused}
        assert {error.code for error in errors} == {codes.UNTRUSTED}
        assert "run `busway pair` at both" in str(errors[1])


@pytest.mark.parametrize(
    ("guard", "offers", "role"),
    [
        (Guard(), ABLE, codes.ROLE_ROUTER),
        (Guard(static=(b"k" * 32, b"k" * 32)), ABLE | WANTS, codes.ROLE_ROUTER),
        (Guard(token="t"), ABLE | WANTS, codes.ROLE_ROUTER),
        (Guard(admit=lambda handshake: codes.ROLE_NONE), ABLE | WANTS, codes.ROLE_LEAF),
    ],
)
def test_what_a_line_is_protected_by(guard: Guard, offers: int, role: int) -> None:
    line = security_of(guard, "serial", True, True)
    assert isinstance(line, LineSecurity)
    assert (line.offers, line.plain_role) == (offers, role)
    board = line.facing(0)
    assert (board is None) == (guard.token is None)
    if board is not None:
        assert (board.first, board.plain) == (codes.PSK_AES, False)
