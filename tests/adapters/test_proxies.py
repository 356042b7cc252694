"""WebSocket links through HTTP proxies and past gateways: CONNECT, the environment, headers, redirections."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11
import pytest
import trustme

import busway
from busway import AsyncBus
from busway.drivers import tunnel
from busway.protocol import codes
from tests.adapters.tools import until
from tests.drivers.connect_proxy import ConnectProxy

SECRET = "sesame-h4k9w2x7q5m8z3t6r1v0"
NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine's own plays a part."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.asynccontextmanager
async def served(scheme: str = "ws", **options: Any) -> AsyncIterator[tuple[AsyncBus, int]]:
    """A bus that listens, and its port."""
    async with AsyncBus(ipc=False, label="server") as bus:
        bus.serve("echo", lambda request: request.payload, realm="global")
        listener = await bus.listen(f"{scheme}://127.0.0.1:0", **options)
        yield bus, int(listener.url.rpartition(":")[2])


async def check(url: str, server: AsyncBus, **options: Any) -> None:
    """That `url` leads there, and that it carries something."""
    async with AsyncBus(ipc=False) as bus, asyncio.timeout(60):
        link = await bus.connect(url, retry=None, **options)
        assert link.peer == server.id
        assert await bus.request("echo", bytes(300_000)) == bytes(300_000)


async def failure(url: str, **options: Any) -> BaseException:
    async with AsyncBus(ipc=False) as bus, asyncio.timeout(60):
        with pytest.raises((busway.BusError, OSError, ValueError)) as caught:
            await bus.connect(url, wait=math.inf, **options)
        return caught.value


@pytest.mark.parametrize("how", ["argument", "environment"])
async def test_the_proxy_is_asked_for_the_name(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(token=SECRET) as (server, port):
        with ConnectProxy({"lab.example:8080": port}) as proxy:
            options = {"proxy": proxy.url} if how == "argument" else {}
            if how == "environment":
                monkeypatch.setenv("http_proxy", proxy.address)
            await check("ws://lab.example:8080", server, token=SECRET, **options)
            assert proxy.asked == ["lab.example:8080"]
            assert b"proxy-authorization" not in proxy.seen_headers[0]


async def test_tls_passes_through_and_the_certificate_is_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("lab.example").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with served("wss", tls=context) as (server, port):
        with ConnectProxy({"lab.example:443": port}, password="p w") as proxy:
            monkeypatch.setenv("https_proxy", f"http://lab:p%20w@{proxy.address}")
            await check("wss://lab.example", server, tls=trusting)
            with ConnectProxy({"other.example:443": port}) as wrong:
                refused = await failure("wss://other.example", tls=trusting, proxy=wrong.url)
            assert isinstance(refused, ssl.SSLCertVerificationError)


def test_which_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, *, secure: bool = True) -> str:
        way = tunnel.proxy_for(host, 443, secure=secure, proxy=True)
        return "" if way is None else way.url

    assert found("lab.example") == ""
    monkeypatch.setenv("all_proxy", "http://all:1")
    assert found("lab.example") == "http://all:1"
    monkeypatch.setenv("https_proxy", "http://secure:2")
    monkeypatch.setenv("no_proxy", "near.example,10.0.0.1")
    assert found("lab.example") == "http://secure:2"
    assert found("lab.example", secure=False) == "http://all:1"
    for host in ("near.example", "a.near.example", "10.0.0.1", "localhost", "127.0.0.1", "::1", "127.9.9.9"):
        assert found(host) == "", host
    assert tunnel.proxy_for("lab.example", 443, secure=True, proxy=None) is None
    monkeypatch.setenv("https_proxy", "socks5://me:secret@secure:2")
    with pytest.raises(ValueError, match="from the environment") as caught:
        found("lab.example")
    assert "secret" not in str(caught.value)


async def test_the_own_machine_is_reached_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with served() as (server, port):
        await check(f"ws://127.0.0.1:{port}", server)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (407, PermissionError, "user:password"),
        (403, PermissionError, "403"),
        (404, busway.LinkRefused, "none that takes CONNECT"),
        (200, busway.LinkRefused, "no HTTP server|none that takes CONNECT|hung up"),
    ],
)
async def test_what_the_proxy_says_and_will_say_again_is_raised(
    status: int, error: type[Exception], says: str
) -> None:
    raw = b"SSH-2.0-lab\r\n\r\n" if status == 200 else b""
    with ConnectProxy(status=status, raw=raw) as proxy:
        caught = await failure("ws://lab.example", proxy=proxy.url)
    assert isinstance(caught, error)
    assert any(each in str(caught) for each in says.split("|"))


async def test_a_proxy_that_only_promises_an_answer_is_left() -> None:
    with ConnectProxy(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 3000) as proxy:
        caught = await failure("ws://lab.example", proxy=proxy.url)
    assert isinstance(caught, busway.LinkRefused)
    assert "there is no answer in 32768 bytes" in str(caught)


@pytest.mark.parametrize(
    "url", ["http://lab\udcff:7@PLACE", "http://lab:\udcff@PLACE", "http://lab\r\n@PLACE"]
)
@pytest.mark.parametrize("how", ["argument", "environment"])
async def test_a_proxy_that_cannot_be_told_who_comes_is_not_dialled(
    url: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(status=502) as proxy:
        url = url.replace("PLACE", proxy.address)
        options = {"proxy": url}
        if how == "environment":
            monkeypatch.setenv("HTTP_PROXY", url)
            options = {}
        caught = await failure("ws://lab.example", **options)
        assert type(caught) is ValueError
        assert str(caught).startswith("a proxy is http://host:port")
        assert not proxy.asked


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("host", ["lab..example", "x" * 64, "xn--\N{SNOWMAN}"])
async def test_a_host_that_cannot_be_is_not_asked_for(scheme: str, host: str) -> None:
    with ConnectProxy(status=502) as proxy:
        caught = await failure(f"{scheme}://{host}", proxy=proxy.url)
        assert type(caught) is ValueError
        assert str(caught).startswith(f"{host!r} cannot be the name of a host")
        assert not proxy.asked


async def test_a_proxy_whose_target_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    with ConnectProxy(status=502) as proxy:
        async with AsyncBus(ipc=False) as bus:
            with pytest.raises(ConnectionRefusedError, match="502"):
                await bus.connect("ws://lab.example", proxy=proxy.url, wait=3, retry=busway.Retry(first=0.05))
    assert len(proxy.asked) > 1
    assert [record.levelname for record in caplog.records if "502" in record.message] == ["WARNING"]


# ---- past gateways


class Gateway:
    """A web server that answers each request in the same way, and keeps what it was asked."""

    def __init__(self, status: int, *headers: tuple[str, str]) -> None:
        self.requests: list[h11.Request] = []
        self._status = status
        self._headers = headers
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
        except h11.RemoteProtocolError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        assert isinstance(event, h11.Request)
        self.requests.append(event)
        answer = h11.Response(status_code=self._status, headers=[*self._headers, ("Content-Length", "0")])
        writer.write(http.send(answer) or b"")
        writer.close()


async def test_headers_of_ones_own_are_sent() -> None:
    gateway = Gateway(404)
    async with gateway as place:
        headers = {"X-Lab": "7", "Authorization": "Basic bGFiOnB1bXA="}
        await failure(f"ws://{place}/bus", headers=headers)
    sent = dict(gateway.requests[0].headers)
    assert sent[b"x-lab"] == b"7"
    assert sent[b"authorization"] == b"Basic bGFiOnB1bXA="
    assert sent[b"host"].decode() == place


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://lab.example/bus", "wss://lab.example/bus"),
        ("http://lab.example:81/", "ws://lab.example:81/"),
        ("/elsewhere", "ws://PLACE/elsewhere"),
        ("wss://lab.example", "wss://lab.example"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_names_its_target(status: int, location: str, target: str) -> None:
    async with Gateway(status, ("Location", location)) as place:
        refused = await failure(f"ws://{place}/bus")
        assert isinstance(refused, busway.LinkRefused)
        assert refused.code == codes.NOT_BUSWAY
        assert f"status {status}" in str(refused)
        assert f"connect to {target.replace('PLACE', place)} " in f"{refused} "


@pytest.mark.parametrize("location", ["http://[", "//[::1", "javascript:alert(1)", "ftp://lab.example"])
async def test_a_redirection_to_no_web_address_is_told_as_it_is(location: str) -> None:
    async with Gateway(302, ("Location", location)) as place:
        refused = await failure(f"ws://{place}/bus")
    assert isinstance(refused, busway.LinkRefused)
    assert "status 302" in str(refused)
    assert f"it has moved to {location!r}" in str(refused)
    assert "connect to" not in str(refused)


async def test_a_redirection_without_end_is_cut() -> None:
    async with Gateway(301, ("Location", "http://lab.example/" + "x" * 7000)) as place:
        assert len(str(await failure(f"ws://{place}"))) < 1500


# ---- what cannot heal is raised


async def test_what_another_try_would_not_mend_is_raised_however_patient() -> None:
    async with Gateway(200) as place, served(token=SECRET) as (_, port):
        for url, code, says in (
            (f"ws://{place}", codes.NOT_BUSWAY, "status 200"),
            (f"wss://{place}", -1, "does not speak TLS"),
            (f"ws://127.0.0.1:{port}/wrong", codes.NOT_BUSWAY, "404"),
            (f"wss://127.0.0.1:{port}", -1, "does not speak TLS"),
            (f"tcp://127.0.0.1:{port}", codes.NOT_BUSWAY, "ws://"),
            (f"ws://127.0.0.1:{port}", codes.TOKEN, "the token is wrong, or one side has none"),
        ):
            caught = await failure(url)
            assert says in str(caught)
            assert getattr(caught, "code", -1) == code
        refused = await failure(f"ws://127.0.0.1:{port}", token="wrong-h4k9w2x7q5m8z3t6r1v0")
        assert isinstance(refused, busway.LinkRefused)
        assert refused.code == codes.TOKEN


async def test_one_error_for_a_wrong_token_whatever_the_scheme() -> None:
    async with AsyncBus(ipc=False) as server:
        errors = []
        for scheme in ("tcp", "ws"):
            listener = await server.listen(f"{scheme}://127.0.0.1:0", token=SECRET)
            for token in (None, "wrong-h4k9w2x7q5m8z3t6r1v0"):
                error = await failure(listener.url, token=token)
                assert isinstance(error, busway.LinkRefused)
                errors.append(error.code)
        assert errors == [codes.TOKEN] * 4


@pytest.mark.parametrize("connect", ["asyncio", "threads"])
async def test_what_may_heal_warns_once(connect: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "busway")
    gateway = Gateway(503)
    async with gateway as place:
        url, quick = f"ws://{place}", busway.Retry(first=0.02, cap=0.1)

        def told(word: str) -> list[str]:
            return [each.levelname for each in caplog.records if word in each.message]

        async def tried_often() -> None:
            await until(lambda: len(gateway.requests) > 3)

        if connect == "asyncio":
            async with AsyncBus(ipc=False) as bus:
                task: Any = asyncio.create_task(bus.connect(url, wait=math.inf, retry=quick))
                await tried_often()
                task.cancel()
        else:
            blocking = busway.Bus(ipc=False)
            await asyncio.to_thread(blocking.open)
            run: Callable[..., Any] = blocking.connect
            task = asyncio.create_task(asyncio.to_thread(run, url, wait=math.inf, retry=quick))
            await tried_often()
            await asyncio.to_thread(blocking.close)
            with pytest.raises(busway.BusClosed):
                await task
        assert told("503") == ["WARNING"]
