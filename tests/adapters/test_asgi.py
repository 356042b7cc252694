"""The ASGI application by itself, called as servers call it (tests/web/test_asgi.py has real ones)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import MutableMapping
from typing import Any

import pytest

import busway
import busway.asgi as module
from busway import AsyncBus
from busway.drivers.asgi import AsgiChannel
from busway.drivers.channel import READ_SIZE, Asked
from busway.drivers.upgrades import SUBPROTOCOL
from tests.adapters.tools import until

Message = MutableMapping[str, Any]


def scope(**more: Any) -> Message:
    return {
        "type": "websocket",
        "scheme": "ws",
        "path": "/bus/",
        "root_path": "/bus",
        "query_string": b"",
        "headers": [(b"Host", b"127.0.0.1"), (b"X", b"1"), (b"x", b"2")],
        "client": ("127.0.0.1", 5),
        "subprotocols": [SUBPROTOCOL],
        "extensions": {"websocket.http.response": {}},
        **more,
    }


async def answered(app: Any, asked: Message, *come: Message) -> list[dict[str, Any]]:
    """All that the application sends, and after what came nothing more comes."""
    waiting = list(come or ({"type": "websocket.connect"},))
    sent: list[dict[str, Any]] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(app(asked, receive, send), 30)
    return sent


async def refused(app: Any, asked: Message) -> tuple[int, str]:
    start, body = await answered(app, asked)
    assert start["type"] == "websocket.http.response.start"
    return start["status"], body["body"].decode().strip()


async def test_without_an_open_bus_there_is_nothing() -> None:
    bus = AsyncBus(ipc=False)
    app = busway.asgi(bus)
    assert repr(app).startswith("<ASGI application of <AsyncBus")
    assert await refused(app, scope()) == (503, "The bus is not open.")
    async with bus:
        app.close()
        assert (await refused(app, scope()))[0] == 503
        assert app.clients() == []


async def test_a_bus_of_another_loop_is_said_to_be_so(caplog: pytest.LogCaptureFixture) -> None:
    opened, over = threading.Event(), threading.Event()
    buses: list[AsyncBus] = []

    async def elsewhere() -> None:
        async with AsyncBus(ipc=False) as bus:
            buses.append(bus)
            opened.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    assert await asyncio.to_thread(opened.wait, 30)
    try:
        app = busway.asgi(buses[0])
        for _ in range(2):
            assert (await refused(app, scope()))[0] == 503
        assert caplog.text.count("busway.asgi cannot take clients: this bus was opened in thread") == 1
    finally:
        over.set()
        await asyncio.to_thread(thread.join)


@pytest.mark.parametrize("client", [("192.0.2.7", 5), None, ("odd", 1)])
async def test_from_elsewhere_nobody_comes_without_more(client: Any) -> None:
    async with AsyncBus(ipc=False) as bus:
        status, text = await refused(busway.asgi(bus), scope(client=client))
        assert (status, "open=True" in text) == (403, True)
        come = ({"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006})
        for options in ({"open": True}, {"token": "secret-h4k9w2x7q5m8z3t6r1v0"}):
            sent = await answered(busway.asgi(bus, **options), scope(client=client), *come)
            assert sent[:1] in ([{"type": "websocket.accept", "subprotocol": SUBPROTOCOL}], [])


@pytest.mark.parametrize(
    ("named", "comes"),
    [
        ((b"X-Forwarded-For", b"192.0.2.7"), False),
        ((b"X-Forwarded-For", b"127.0.0.1, 192.0.2.7"), False),
        ((b"X-Forwarded-For", b"127.0.0.1"), True),
        ((b"X-Real-IP", b"2001:db8::7"), False),
        ((b"Forwarded", b"for=192.0.2.7"), False),
        ((b"X-Forwarded-For", b""), False),
    ],
)
async def test_who_comes_by_a_proxy_on_this_machine_comes_from_elsewhere(
    named: tuple[bytes, bytes], comes: bool
) -> None:
    here = scope(client=("127.0.0.1", 5))
    headers = [*here["headers"], named]
    come = ({"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006})
    async with AsyncBus(ipc=False) as bus:
        sent = await answered(busway.asgi(bus), {**here, "headers": headers}, *come)
        assert (sent == [] or sent[0]["type"] == "websocket.accept") is comes
        if not comes:
            assert sent[0]["status"] == 403


async def test_what_comes_behind_the_goodbye_is_not_kept_and_large_messages_come_in_parts() -> None:
    channel = AsgiChannel("ws://here", Asked("", {}), scope())
    come: asyncio.Queue[Message] = asyncio.Queue()

    async def send(message: dict[str, Any]) -> None:
        pass

    running = asyncio.create_task(channel.run(come.get, send, {"type": "websocket.accept"}))
    large = bytes(range(256)) * 1000
    come.put_nowait({"type": "websocket.receive", "bytes": large})
    await until(lambda: channel._size)
    assert max(map(len, channel._parts)) <= READ_SIZE
    assert b"".join(iter(lambda: channel.read(50_001) or b"", b"")) == large
    channel.close()
    for _ in range(100):
        come.put_nowait({"type": "websocket.receive", "bytes": large})
    come.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(running, 30)
    assert channel._size == 0


async def test_a_server_that_sends_no_answer_of_ours_sends_its_own() -> None:
    async with AsyncBus(ipc=False) as bus:
        (sent,) = await answered(busway.asgi(bus), scope(extensions=None, subprotocols=[]))
        assert (sent["type"], sent["code"]) == ("websocket.close", 1008)
        assert await answered(busway.asgi(bus), scope(), {"type": "websocket.disconnect"}) == []


async def test_who_says_nothing_is_sent_away_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bus, as on any link, however the server is: and the application ends in bounded time."""
    monkeypatch.setattr("busway.drivers.asgi.CLOSING_S", 0.1)
    async with AsyncBus(ipc=False) as bus:
        app = busway.asgi(bus)
        task = asyncio.create_task(answered(app, scope()))
        await until(lambda: bus.node.connections)
        bus.node.connections[0].fail(16, "as if five seconds had passed", bus._host.now_ms())
        bus._host.wake()
        sent = await task
        assert (sent[0]["type"], sent[-1]["type"]) == ("websocket.accept", "websocket.close")


async def test_lifespan_and_what_is_unknown() -> None:
    app = busway.asgi(AsyncBus(ipc=False))
    come = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    sent = await answered(app, {"type": "lifespan"}, *come)
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="not 'smtp'"):
        await answered(app, {"type": "smtp"})


def test_the_module_can_be_called_as_the_function() -> None:
    assert isinstance(module(AsyncBus(ipc=False)), module.BusApp)  # type: ignore[operator]
    with pytest.raises(TypeError, match="a Bus or an AsyncBus"):
        busway.asgi("bus")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        busway.asgi(AsyncBus(ipc=False), origins="https://lab.example")
