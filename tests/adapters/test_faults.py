"""Drivers may raise anything, and nobody waits for ever: who dialled is told, and who listens goes on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters import links, opening
from tests.adapters import odd_driver, threads_tools
from tests.adapters.tools import WAIT_S, until

ODD = "tcp://odd"
PLACES = ("candidates", "dial", "connected", "connected later", "read", "write", "close")
FAULTS = (KeyError("key"), AttributeError("no such thing"), RecursionError("too deep"), TypeError("type"))


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setitem(opening.DRIVERS, "tcp", opening.Driver("tests.adapters.odd_driver", "", "tcp://odd"))

    def fails(where: str, error: BaseException) -> None:
        monkeypatch.setattr(odd_driver, "fault", (where, error))

    return fails


async def connect_async(url: str, **options: Any) -> None:
    async with AsyncBus(ipc=False) as bus:
        async with asyncio.timeout(WAIT_S):
            await bus.connect(url, **options)


def connect_blocking(url: str, **options: Any) -> None:
    with Bus(ipc=False) as bus:
        threads_tools.Task(lambda: bus.connect(url, **options)).result(WAIT_S)


async def connect(style: str, url: str, **options: Any) -> None:
    if style == "asyncio":
        await connect_async(url, **options)
    else:
        await asyncio.to_thread(connect_blocking, url, **options)


both = pytest.mark.parametrize("style", ["asyncio", "threads"])


@both
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", PLACES)
async def test_whatever_a_driver_raises_ends_the_attempt(
    style: str, where: str, error: Exception, odd: Callable[..., None]
) -> None:
    odd(where, error)
    expected = type(error) if where in PLACES[:4] else busway.LinkRefused
    words = "error 1" if where == "close" else str(error).strip("'")
    with pytest.raises(expected, match=words):
        await connect(style, ODD, retry=None)


@both
@pytest.mark.parametrize(
    ("options", "error", "remedy"),
    [
        ({"tls": "ca.pem"}, TypeError, "cafile="),
        ({"tls": True}, TypeError, "SSLContext"),
        ({"cafile": 7}, TypeError, "PEM"),
        ({"headers": "X: y"}, TypeError, "dict"),
        ({"headers": {"X": 7}}, TypeError, "str"),
        ({"headers": {"Host": "lab"}}, ValueError, "leave it out"),
        ({"headers": {"X": "a\r\nEvil: b"}}, ValueError, "printable"),
        ({"headers": {"a b": "c"}}, ValueError, "name of a header"),
        ({"headers": {"X": "y" * 5000}}, ValueError, "4096"),
        ({"proxy": 7}, TypeError, "URL"),
        ({"proxy": "socks5://lab:1080"}, ValueError, "http://host:port"),
        ({"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, ValueError, "context for listening"),
        ({"certificate": "x"}, TypeError, "no option certificate=; it has cafile=, tls="),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_wrong_options_raise_before_anything_is_opened(
    style: str, options: dict[str, Any], error: type[Exception], remedy: str
) -> None:
    with pytest.raises(error, match=remedy):
        await connect(style, "wss://127.0.0.1:1", wait=3600, **options)


@both
async def test_a_context_of_the_other_side_is_refused_by_listen(style: str) -> None:
    wrong = {
        "for connecting": ssl.create_default_context(),
        "without a certificate": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    }
    async with AsyncBus(ipc=False) as bus:
        with Bus(ipc=False) as blocking:
            in_thread: Any = asyncio.to_thread
            listen: Any = bus.listen if style == "asyncio" else partial(in_thread, blocking.listen)
            for text, context in wrong.items():
                with pytest.raises(ValueError, match=text):
                    await listen("wss://127.0.0.1:0", tls=context)


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("wss", {"tls": "chain.pem"}),
        ("wss", {"certificate": 7}),
        ("wss", {"key": b"key"}),
        ("ws", {"connections_max": "7"}),
        ("ws", {"pages": "x"}),
        ("ws", {"origins": [7]}),
    ],
)
async def test_wrong_types_are_refused_by_listen(scheme: str, options: dict[str, Any]) -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(TypeError):
            await bus.listen(f"{scheme}://127.0.0.1:0", **options)
        with pytest.raises(TypeError, match="no option cafile="):
            await bus.listen("ws://127.0.0.1:0", cafile="x")


@both
async def test_a_listener_that_fails_is_asked_again_but_not_without_end(
    style: str, odd: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(links, "_ACCEPT_REST_S", 0.01)
    odd("accept", AttributeError("broken in a new way"))

    async def fails_then_works(inner: odd_driver.OddListener) -> None:
        await until(lambda: inner.asked > 2)
        assert [record.message.count("broken in a new way") for record in caplog.records] == [1]
        odd("", Exception())
        await until(lambda: inner.clients)

    if style == "asyncio":
        async with AsyncBus(ipc=False) as bus:
            await fails_then_works((await bus.listen(ODD))._runner.listener)
    else:
        with Bus(ipc=False) as blocking:
            await fails_then_works(blocking.listen(ODD)._runner.listener)


@both
async def test_a_client_that_cannot_be_run_hears_the_end(
    style: str, odd: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    odd("", Exception())

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("no room")

    monkeypatch.setattr(links, "make_link", broken)
    bus: Any = AsyncBus(ipc=False) if style == "asyncio" else Bus(ipc=False)
    if style == "asyncio":
        async with bus:
            await bus.listen(ODD)
            await until(lambda: "no room" in caplog.text)
    else:
        with bus:
            bus.listen(ODD)
            await until(lambda: "no room" in caplog.text)
    assert "Traceback" not in caplog.text
