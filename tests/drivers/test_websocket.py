"""WebSocket links over real loopback sockets: URLs, who may listen and come where, TLS, the end, limits."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from busway.drivers import tcp, websocket
from busway.drivers.channel import Refusal
from busway.drivers.websocket import WebSocketListener
from busway.drivers.websocket_frames import SEND_SIZE_MAX
from tests.drivers import waiting
from tests.drivers.websocket_tools import Raw, answer_to, join, opened, settle, upgrade

LOOPBACK = "ws://127.0.0.1:0"
HELLO = bytes.fromhex("2d01") + b"BSWY" + bytes(40)  # how a bus begins on its own


@pytest.fixture
def listener() -> Iterator[WebSocketListener]:
    with closing(websocket.listen(LOOPBACK)) as found:
        yield found


class Certificates:
    """Files of an authority, and of a certificate for this machine that it signed."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        self.ca, self.chain, self.key = (str(directory / name) for name in ("ca.pem", "chain.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        leaf.private_key_pem.write_to_path(self.key)
        for part in leaf.cert_chain_pems:
            part.write_to_path(self.chain, append=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


# ---- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765"),
        ("ws://127.0.0.1:8765/", "ws://127.0.0.1:8765"),
        ("ws://Lab-Pi.example", "ws://lab-pi.example"),
        ("ws://lab:80/bus", "ws://lab/bus"),
        ("wss://lab:443/bus?a=b:c/d", "wss://lab/bus?a=b:c/d"),
        ("wss://lab:80?x", "wss://lab:80/?x"),
        ("ws://[::1]", "ws://[::1]"),
        ("ws://[::1]:81/é", "ws://[::1]:81/%C3%A9"),
    ],
)
def test_urls(url: str, expected: str) -> None:
    assert websocket.parse(url).url == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ws:",
        "ws://",
        "ws:///path",
        "tcp://127.0.0.1:5000",
        "http://lab",
        "ws://::1",
        "ws://[::1",
        "ws://lab:99999",
        "ws://lab:port",
        "ws://user@lab",
        "ws://lab#part",
        "ws://lab/two words",
        "ws://lab/\r\nX: y",
    ],
)
def test_wrong_urls_are_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match="expected ws://host:port/path"):
        websocket.parse(url, listening=True)


def test_port_0_is_for_listening_only() -> None:
    with pytest.raises(ValueError, match="'ws://h:0'"):
        websocket.parse("ws://h:0")
    with pytest.raises(
        ValueError, match=r"^a port is a number from 1 to 65535: expected ws://host:port/path"
    ):
        websocket.parse("ws://h:70000")
    with pytest.raises(ValueError, match=r"^a port is a number from 0, for any that is free, to 65535: exp"):
        websocket.parse("wss://h:x/bus", listening=True)
    with pytest.raises(ValueError, match="can be listened on, but not dialled"):
        websocket.candidates(LOOPBACK)


# ---- what can be given


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_beyond_loopback_is_refused_with_both_ways_out(scheme: str, certificates: Certificates) -> None:
    url = f"{scheme}://0.0.0.0:0"
    options: dict[str, Any] = (
        {} if scheme == "ws" else {"certificate": certificates.chain, "key": certificates.key}
    )
    with pytest.raises(ValueError) as caught:
        websocket.listen(url, **options)
    for word in (url, "beyond this machine", "token=", "trust=", "open=True", "127.0.0.1"):
        assert word in str(caught.value)
    websocket.listen(url, open=True, **options).close()
    websocket.listen(url, token="secret", **options).close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token": ""}, "token is empty"),
        ({"certificate": "x"}, "for wss://"),
        ({"connections_max": 0}, "at least 1"),
        ({"origins": ["lab.example"]}, "an origin is such as"),
        ({"origins": ["https://lab.example/"]}, "an origin is such as"),
        ({"pages": {"x": ("text/plain", b"")}}, "a page is"),
        ({"pages": {"/x": ("text/plain", "text")}}, "a page is"),
        ({"pages": {"/x": ("text/plain\r\nX: y", b"")}}, "a page is"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        websocket.listen(LOOPBACK, **options)


def test_origins_are_a_list() -> None:
    with pytest.raises(TypeError, match="list of origins"):
        websocket.listen(LOOPBACK, origins="https://lab.example")


def test_wss_needs_a_certificate_and_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match="busway certificate"):
        websocket.listen("wss://127.0.0.1:0")


# ---- a stream


def test_a_stream_of_bytes_both_ways(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        assert (ours.sort, ours.mtu, ours.realm) == ("stream", 0, "global")
        assert (ours.address, ours.via, theirs.via) == (listener.url, listener.url, "")
        assert ours.dialled
        assert not theirs.dialled
        for size in (1, 125, 126, 65535, 65536, 65537, 1_000_000):
            data = bytes(range(256)) * (size // 256 + 1)
            join(ours, theirs, data[:size])
            join(theirs, ours, data[:size])


def test_what_is_written_in_one_go_is_one_message_up_to_64_kib(listener: WebSocketListener) -> None:
    with contextlib.closing(upgrade(listener)) as (raw):
        assert raw.channel.write(bytes(SEND_SIZE_MAX + 1)) == SEND_SIZE_MAX + 1
        assert raw.frame() == (0x82, bytes(SEND_SIZE_MAX))
        assert raw.frame() == (0x82, b"\0")


def test_a_busy_channel_takes_nothing_and_says_that_it_wants_to_write(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        total, _ = waiting.fill(ours)
        assert (ours.wants_write, ours.write(b"x")) == (True, 0)
        received = 0
        while received < total:
            received += len(theirs.read() or b"")
            ours.write(b"")
        assert not ours.wants_write
        assert (received, theirs.read()) == (total, None)


def test_reading_in_small_pieces_loses_nothing(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        ours.write(bytes(range(100)))
        waiting.readable(theirs)
        assert waiting.read(theirs, 100) == bytes(range(100))
        assert theirs.read(1) is None


# ---- the end


def test_a_goodbye_is_answered_and_is_an_end_at_both_sides(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        ours.write(b"last")
        assert not ours.finish()
        with pytest.raises(BrokenPipeError):
            ours.write(b"later")
        assert waiting.read(theirs, 4) == b"last"
        assert settle(theirs) == b""
        assert settle(ours) == b""
        assert ours.finish()


def test_a_closed_channel_is_an_end(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        ours.close()
        ours.close()
        assert settle(theirs) == b""
        assert listener.connections == 1
        theirs.close()
        theirs.close()
        assert listener.connections == 0


def test_an_end_without_goodbye_is_a_failure(listener: WebSocketListener) -> None:
    with opened(listener) as (ours, theirs):
        ours._inner.close()
        with pytest.raises(ConnectionAbortedError, match="1006"):
            settle(theirs)


# ---- who may come


def test_a_token_is_the_protocol_s_to_ask_for() -> None:
    """HTTP knows nothing of it: neither the request nor the answer is another."""
    with closing(websocket.listen(LOOPBACK, token="secret")) as listener:
        with opened(listener) as (ours, _):
            assert ours.connected()
        assert answer_to(listener, "Authorization: Bearer wrong")[0] == 101


ORIGINS = [
    ("http://{host}", (), 101),
    ("HTTP://{host}", (), 101),
    ("https://{host}", (), 403),
    ("http://localhost:3000", (), 403),
    ("http://evil.example", (), 403),
    ("null", (), 403),
    ("file://", (), 403),
    ("http://evil.example", ("http://lab.example",), 403),
    ("http://lab.example", ("http://Lab.example",), 101),
    ("http://anything.example", ("*",), 101),
    ("null", ("null",), 101),
]


@pytest.mark.parametrize(("origin", "origins", "status"), ORIGINS)
def test_pages_of_other_origins_are_refused(origin: str, origins: tuple[str, ...], status: int) -> None:
    with closing(websocket.listen(LOOPBACK, origins=origins)) as listener:
        host = listener.url.removeprefix("ws://")
        got, text = answer_to(listener, f"Origin: {origin.format(host=host)}")
        assert got == status
        assert ("origins=" in text) == (status == 403)


def test_a_page_whose_name_was_made_to_lead_here_is_refused(listener: WebSocketListener) -> None:
    """DNS rebinding: for the browser, the page and this listener are of one origin."""
    port = listener.url.rpartition(":")[2]
    answer = answer_to(listener, f"Origin: http://evil.example:{port}", host=f"evil.example:{port}")
    assert answer[0] == 403


def test_beyond_the_connections_there_is_a_polite_no(certificates: Certificates) -> None:
    with closing(websocket.listen(LOOPBACK, connections_max=1)) as listener, opened(listener):
        status, text = answer_to(listener)
        assert status == 503
        assert "connections_max" in text
        assert (listener.connections, listener.refused) == (1, 1)
    secure = {"certificate": certificates.chain, "key": certificates.key}
    with (
        closing(websocket.listen("wss://127.0.0.1:0", connections_max=1, **secure)) as listener,  # type: ignore[arg-type]
        opened(listener, cafile=certificates.ca),
        pytest.raises(OSError, match=r"TLS|goodbye|hung up|reset"),
        opened(listener, cafile=certificates.ca),
    ):
        pass


# ---- pages


def test_pages() -> None:
    pages = {"/": ("text/html", b"<p>hello"), "/bus.js": ("text/javascript", b"1")}
    with closing(websocket.listen(LOOPBACK, pages=pages)) as listener:
        for path, (content_type, body) in pages.items():
            status, text = answer_to(listener, request=f"GET {path}?query HTTP/1.1")
            assert status == 200
            assert f"\ncontent-type: {content_type}\r\n" in text.lower()
            assert text.endswith("\r\n\r\n" + body.decode())
        assert answer_to(listener)[0] == 101


def test_a_plain_get_is_told_what_this_is(listener: WebSocketListener) -> None:
    status, text = answer_to(listener, request="GET / HTTP/1.1")
    assert status == 426
    assert "bus.connect(" in text
    assert "busway.2" in text
    assert answer_to(listener, request="GET /favicon.ico HTTP/1.1")[0] == 404
    assert answer_to(listener, request="POST / HTTP/1.1")[0] == 405
    assert answer_to(listener, request="HEAD / HTTP/1.1")[1].endswith("\r\n\r\n")


def test_a_path_of_its_own() -> None:
    with closing(websocket.listen(LOOPBACK + "/bus")) as listener:
        assert listener.url.endswith("/bus")
        with opened(listener):
            pass
        assert answer_to(listener, request="GET / HTTP/1.1")[0] == 404


# ---- TLS


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[WebSocketListener]:
    with closing(
        websocket.listen("wss://127.0.0.1:0", certificate=certificates.chain, key=certificates.key)
    ) as found:
        yield found


def test_tls(secure: WebSocketListener, certificates: Certificates) -> None:
    with opened(secure, cafile=certificates.ca) as (ours, theirs):
        assert ours.address == secure.url
        assert secure.url.startswith("wss://127.0.0.1:")
        for size in (1, 16384, 16385, 70_000, 1_000_000):
            join(ours, theirs, bytes(size))
            join(theirs, ours, bytes(size))
        ours.write(b"last")
        ours.finish()
        assert waiting.read(theirs, 4) == b"last"
        assert settle(theirs) == b""


def test_a_context_of_ones_own(certificates: Certificates) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.chain, certificates.key)
    client = ssl.create_default_context(cafile=certificates.ca)
    with closing(websocket.listen("wss://127.0.0.1:0", tls=server)) as listener, opened(listener, tls=client):
        pass


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: WebSocketListener) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not trusted.*cafile="), opened(secure):
        pass


def test_ws_and_wss_mixed_up_are_told(secure: WebSocketListener, listener: WebSocketListener) -> None:
    with (
        pytest.raises(OSError, match="connect to ws://"),
        opened(listener, url=listener.url.replace("ws", "wss", 1)),
    ):
        pass
    with (
        pytest.raises(Refusal, match=r"HTTP status 400.*connect to wss://"),
        opened(secure, url=secure.url.replace("wss", "ws", 1)),
    ):
        pass


def test_who_comes_without_tls_is_told_without(secure: WebSocketListener) -> None:
    for begin, asked in ((HELLO, "tcp://"), (b"GET / HTTP/1.1\r\n", "ws://"), (b"\0", "ws://")):
        with Raw(secure) as raw:
            raw.say(begin)
            status, text = raw.answer()
            assert status == 400
            assert f"{asked} was asked for: connect to wss://" in text


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ([b"\x15\x03\x01\x00\x02\x02\x46"], "speaks TLS: connect to wss://"),
        ([b"\x15", b"\x03\x01\x00\x02\x02\x46"], "speaks TLS: connect to wss://"),
        ([b"\x15\x03"], "speaks TLS: connect to wss://"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "no WebSocket server: it says 'SSH-2.0-OpenSSH_9.6'"),
        ([b"+OK\r\n"], r"no WebSocket server: it says '\+OK'"),
        ([HELLO[:1], HELLO[1:]], "connect to tcp://"),
    ],
)
def test_who_is_no_web_server_is_refused_at_once(says: list[bytes], told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with (
            closing(websocket.dial(websocket.candidates(url)[0], url)) as channel,
            server.accept()[0] as theirs,
        ):
            waiting.until(lambda: channel.connected() or channel.joined, "the connection")
            for part in says[:-1]:
                theirs.sendall(part)
                waiting.readable(channel)
                assert not channel.connected()
            theirs.sendall(says[-1])
            if len(says[-1]) < 4:
                theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(Refusal, match=told):
                waiting.until(channel.connected, "the answer")


def test_who_hangs_up_without_a_word_may_come_back_or_expect_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with closing(websocket.dial(websocket.candidates(url)[0], url)) as channel:
            server.accept()[0].close()
            with pytest.raises(OSError, match=r"perhaps it expects wss://|reset") as caught:
                waiting.until(channel.connected, "the end")
        assert not isinstance(caught.value, Refusal)


def test_a_bus_without_websocket_is_told_apart(listener: WebSocketListener) -> None:
    with Raw(listener) as raw:
        raw.say(HELLO)
        status, text = raw.answer()
        assert status == 400
        assert "tcp://" in text
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with (
            closing(websocket.dial(websocket.candidates(url)[0], url)) as channel,
            server.accept()[0] as theirs,
        ):
            theirs.sendall(HELLO)
            with pytest.raises(ConnectionRefusedError, match="connect to tcp://"):
                waiting.until(channel.connected, "the answer")


@pytest.mark.parametrize(
    ("name", "until", "told"),
    [
        ("lab.example", None, "connect to a name that is in it"),
        ("127.0.0.1", datetime(2020, 1, 2, tzinfo=UTC), "has to renew it"),
    ],
)
def test_what_a_certificate_lacks(name: str, until: datetime | None, told: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert(name, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=until)
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "leaf.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        closing(websocket.listen("wss://127.0.0.1:0", certificate=str(tmp_path / "leaf.pem"))) as listener,
        pytest.raises(ssl.SSLCertVerificationError, match=told),
        opened(listener, cafile=str(tmp_path / "ca.pem")),
    ):
        pass


def test_files_that_are_none(certificates: Certificates, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        websocket.listen("wss://127.0.0.1:0", certificate=str(tmp_path / "missing"))
    with pytest.raises(OSError, match="no certificate with its key"):
        websocket.listen("wss://127.0.0.1:0", certificate=certificates.ca, key=certificates.key)
    (tmp_path / "empty.pem").write_text("nothing")
    address = tcp.look_up("127.0.0.1", 1)[0]
    with pytest.raises(OSError, match="no certificate"):
        websocket.dial(address, "wss://127.0.0.1:1", cafile=str(tmp_path / "empty.pem"))
    for options in ({"cafile": "x"}, {"tls": ssl.create_default_context()}):
        with pytest.raises(ValueError, match="for wss://"):
            websocket.dial(address, "ws://127.0.0.1:1", **options)


def test_nobody_there() -> None:
    with closing(websocket.listen(LOOPBACK)) as listener:
        url = listener.url
    with closing(websocket.dial(websocket.candidates(url)[0], url)) as channel:
        waiting.writable(channel)
        with pytest.raises(ConnectionRefusedError, match=url):
            channel.connected()


@pytest.mark.parametrize("zone", ["%lo", "%25lo"])
def test_a_zone_is_in_no_host_header(zone: str) -> None:
    url = f"ws://[::1{zone}]:7"
    place = websocket.parse(url)
    assert (place.host, place.authority, place.url) == ("::1%lo", "[::1]:7", "ws://[::1%lo]:7")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        url = f"ws://[::1{zone}]:{port}"
        with closing(websocket.dial(("::1", port, 0, 0), url)) as channel:
            client, _ = server.accept()
            with client:
                waiting.until(lambda: not channel.connected() and not channel.wants_write, "the request")
                sent = client.recv(65536).decode()
                assert f"host: [::1]:{port}\r\n" in sent.lower()
                assert "%" not in sent
