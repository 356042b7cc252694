"""Protected links of the JavaScript client: in a real Chromium, at an address where browsers have no
cryptography of their own, and with somebody on the way who changes bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

import busway
from busway import web
from tests.rigs import aio, browser
from tests.web.test_live import TOKEN, node, site

VECTORS = Path(__file__).parent.parent / "vectors" / "handshakes.json"
ELSEWHERE = (
    "elsewhere.test"  # no loopback, as far as the browser knows, so no `crypto.subtle` over plain http
)


class Middle:
    """A proxy that now and then changes one byte of what comes after the WebSocket's first lines."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._draw = random.Random(seed)
        self.changed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pass(reader, back))
            both.create_task(self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(await reader.readuntil(b"\r\n\r\n"))
            left = self._draw.randrange(200, 20_000)  # bytes until the next is changed
            while data := bytearray(await reader.read(65536)):
                if left < len(data):
                    data[left] ^= 1 << self._draw.randrange(8)
                    self.changed += 1
                    left += self._draw.randrange(200, 20_000)
                left -= len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def middle(url: str, seed: int) -> AsyncIterator[tuple[Middle, str]]:
    made = Middle(int(url.rpartition(":")[2]), seed)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield made, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def through_the_middle() -> None:
    async with (
        site(token=TOKEN) as (_, url),
        middle(url, seed=11) as (between, through),
        node("through the middle", through),
    ):
        pass
    assert between.changed >= 9


def test_who_changes_bytes_on_the_way_ends_links_and_nothing_else() -> None:
    aio.run(through_the_middle())


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=browser.chromium(),
            headless=True,
            args=[*browser.CHROMIUM_FLAGS, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"],
        )
        yield context
        context.close()


_ASK = """async ([url, token]) => {
  const { connect } = await import("/busway/busway.js");
  try {
    const bus = await connect(url, { label: "page", token });
    const answer = await bus.request("lab/upper", "hello");
    bus.close();
    return answer;
  } catch (error) {
    return `${error.name} ${error.code}`;
  }
}"""

_SHAKE = """async (vector) => {
  const { hex, unhex } = await import("/busway/codec.js");
  const { Channel } = await import("/busway/channel.js");
  const secret = { token: vector.token, ephemeral: unhex(vector.initiator.ephemeral) };
  const channel = new Channel(vector.bus, secret);
  const said = hex(channel.begin());
  channel.agree(unhex(vector.handshake[1].frame).subarray(2));
  const records = vector.records.map(({ from, plaintext, record }) =>
    from === "initiator" ? channel.seal([unhex(plaintext)], 4096) : channel.open(unhex(record).subarray(1)));
  return [said, ...[channel.handshake.hash, ...records].map(hex)];
}"""


def test_a_page_without_cryptography_of_its_browser(chromium: BrowserContext) -> None:
    vectors: list[dict[str, Any]] = json.loads(VECTORS.read_text())["handshakes"]
    vector = next(made for made in vectors if made["name"] == "pattern 2")
    with busway.Bus(ipc=False) as bus:
        bus.serve("lab/upper", lambda request: request.payload.upper(), realm="global")
        pages = {"/page": ("text/html; charset=utf-8", b"<!doctype html><title>page</title>")}
        listener = bus.listen("ws://127.0.0.1:0", token=TOKEN, origins=["*"], pages=pages | web.client())
        place = listener.url.removeprefix("ws://").replace("127.0.0.1", ELSEWHERE)
        page = chromium.new_page()
        try:
            page.goto(f"http://{place}/page")
            assert page.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
            first, handshake_hash, *records = page.evaluate(_SHAKE, vector)
            assert vector["handshake"][0]["frame"].endswith(first)
            assert handshake_hash == vector["hash"]
            assert records == [
                made["record" if made["from"] == "initiator" else "plaintext"] for made in vector["records"]
            ]
            url = f"ws://{place}"
            assert page.evaluate(_ASK, [url, TOKEN]) == "HELLO"
            for wrong in (TOKEN[::-1], None):
                assert page.evaluate(_ASK, [url, wrong]) == "LinkRefused 7"
        finally:
            page.close()
