"""Boards on a network: tcp://, ws:// and wss:// with a token, right and wrong, and message types."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

import busway
from tests.adapters.test_micropython_station import port_of, running, secured
from tests.adapters.threads_tools import until

PROGRAM = """
import sys, time
from busway.adapters.micropython import Loop
from busway.adapters.micropython_net import tcp
from busway.adapters.micropython_types import MessageType
from busway.adapters.micropython_websocket import websocket

url, token = sys.argv[1], sys.argv[2]
if url.startswith("wss") or len(sys.argv) > 3 and url.startswith("tcp://localhost"):
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=open(sys.argv[3], "rb").read())
    opener = websocket(url, context) if url.startswith("wss") else tcp(url, context)
else:
    opener = tcp(url) if url.startswith("tcp") else websocket(url)
loop = Loop(opener, "networked", sort="stream", token=token)

Reading = MessageType("lab/reading", "celsius", "place")

@loop.serve("lab/echo")
def echo(value):
    return value

@loop.serve("lab/double")
def double(value):
    celsius, place = Reading.read(value)
    return Reading(celsius=2 * celsius, place=place)

@loop.every(50)
def measure():
    loop.publish("lab/reading", Reading(celsius=21.5, place="roof"))

end = time.ticks_add(time.ticks_ms(), 60000)
while time.ticks_diff(end, time.ticks_ms()) > 0:
    loop.step(100)
    if loop.last_error:
        print(loop.last_error)
        break
"""


TOKEN = "a secret-h4k9w2x7q5m8z3t6r1v0"


@busway.message(name="lab/reading")
@dataclass
class Reading:
    celsius: float
    place: str


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


def listening(bus: busway.Bus, scheme: str, folder: Path) -> tuple[str, str]:
    """The URL of a listener, and the file with its authority."""
    options: dict[str, Any] = {"token": TOKEN, "realm": "localnet"}
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    if scheme == "wss":
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
        key.write_bytes(certificate.private_key_pem.bytes())
        options.update(certificate=str(chain), key=str(key))
    (folder / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()))
    port = bus.listen(f"{scheme}://127.0.0.1:0", **options).url.rsplit(":", 1)[1]
    host = "localhost" if scheme == "wss" else "127.0.0.1"
    return f"{scheme}://{host}:{port}", str(folder / "ca.der")


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
def test_a_board_joins_over_a_network_and_sends_types(
    bus: busway.Bus, interpreter: str, board_files: Path, tmp_path: Path, scheme: str
) -> None:
    url, authority = listening(bus, scheme, tmp_path)
    readings = bus.subscribe(Reading)
    with running(interpreter, board_files, PROGRAM, url, TOKEN, authority):
        for size in (1, 120, 130, 700, 1000):
            assert bus.request("lab/echo", b"x" * size, ttl=30, timeout=60) == b"x" * size
        assert readings.receive(timeout=60).payload == Reading(21.5, "roof")
        assert bus.request("lab/double", Reading(1.5, "cellar"), reply=Reading) == Reading(3.0, "cellar")


def test_a_board_joins_by_tcp_within_tls(
    bus: busway.Bus, interpreter: str, board_files: Path, tmp_path: Path
) -> None:
    """As behind a gateway that ends TLS; a certificate of another authority is refused."""
    authority, other = trustme.CA(), trustme.CA()
    for number, one in enumerate((authority, other)):
        der = ssl.PEM_cert_to_DER_cert(one.cert_pem.bytes().decode())
        (tmp_path / f"{number}.der").write_bytes(der)
    port = port_of(bus, token=TOKEN)
    for trusted in (0, 1):
        with (
            secured(port, authority.issue_cert("localhost")) as outer,
            running(
                interpreter,
                board_files,
                PROGRAM,
                f"tcp://localhost:{outer}",
                TOKEN,
                str(tmp_path / f"{trusted}.der"),
            ) as board,
        ):
            if trusted == 0:
                for size in (1, 700, 1000):
                    assert bus.request("lab/echo", b"x" * size, ttl=30, timeout=60) == b"x" * size
            else:
                printed, _ = board.communicate(timeout=60)
                assert "CERT" in printed.upper() or "X509" in printed.upper()


@pytest.mark.parametrize(("scheme", "said"), [("tcp", "link error 7"), ("ws", "link error 7")])
def test_a_wrong_token_is_told_to_the_boards_program(
    bus: busway.Bus, interpreter: str, board_files: Path, tmp_path: Path, scheme: str, said: str
) -> None:
    url, _ = listening(bus, scheme, tmp_path)
    with running(interpreter, board_files, PROGRAM, url, "guessed") as board:
        printed, _ = board.communicate(timeout=60)
    assert said in printed


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_a_wrong_token_is_told_where_the_board_wants_to_join_and_once(
    bus: busway.Bus,
    interpreter: str,
    board_files: Path,
    tmp_path: Path,
    scheme: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, _ = listening(bus, scheme, tmp_path)
    changes = bus.changes()
    for _ in range(2):
        with running(interpreter, board_files, PROGRAM, url, "guessed") as board:
            board.communicate(timeout=60)
    found = next(change for change in changes if change.what == "link-refused")
    changes.close()
    assert found.code == 7
    assert isinstance(found.subject, busway.LinkInfo)
    assert found.subject.address.startswith(f"{scheme}://127.0.0.1:")
    until(lambda: bus.node.counters.get("incoming_refused") == 2)
    told = [record.getMessage() for record in caplog.records if "cannot join" in record.getMessage()]
    assert len(told) == 1
    assert url in told[0]
    assert "its token is wrong" in told[0]
