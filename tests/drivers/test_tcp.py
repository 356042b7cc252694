"""TCP links over real loopback sockets: who may listen where, names, IPv6, failures told by connected()."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NoReturn

import pytest

from busway.drivers import Channel, Listener, TcpChannel, TcpListener, tcp
from tests.drivers import waiting


@pytest.fixture
def listener() -> Iterator[TcpListener]:
    with closing(tcp.listen("tcp://127.0.0.1:0")) as found:
        yield found


def dialled(url: str) -> TcpChannel:
    """Dials the first candidate and waits for its outcome."""
    channel = tcp.dial(tcp.candidates(url)[0], url)
    try:
        while not channel.connected():
            waiting.writable(channel)
    except BaseException:
        channel.close()
        raise
    return channel


def joined(listener: TcpListener) -> tuple[TcpChannel, Channel]:
    ours = dialled(listener.url)
    return ours, waiting.accept(listener)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# ---- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("tcp://127.0.0.1:5000/", ("127.0.0.1", 5000)),
        ("tcp://Lab-Pi.example:65535", ("lab-pi.example", 65535)),
        ("tcp://[::1]:1", ("::1", 1)),
        ("tcp://[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_urls(url: str, expected: tuple[str, int]) -> None:
    assert tcp.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:5000",
        "ws://127.0.0.1:5000",
        "tcp:127.0.0.1:5000",
        "tcp://127.0.0.1",
        "tcp://:5000",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:" + "9" * 5000,
        "tcp://127.0.0.1:٣",
        "tcp://127.0.0.1:http",
        "tcp://::1:5000",
        "tcp://[127.0.0.1]:5000",
        "tcp://[::1:5000",
        "tcp://[]:5000",
        "tcp://user@host:5000",
        "tcp://host/path:5000",
        "tcp://host:5000/path",
        "tcp://host:5000?token=x",
        "tcp://two words:5000",
    ],
)
def test_wrong_urls_are_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match="expected tcp://host:port"):
        tcp.parse(url, listening=True)


def test_port_0_is_for_listening_only() -> None:
    assert tcp.parse("tcp://127.0.0.1:0", listening=True) == ("127.0.0.1", 0)
    with pytest.raises(ValueError, match="can be listened on, but not dialled"):
        tcp.candidates("tcp://127.0.0.1:0")


# ---- who may listen where


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://127.8.9.10:0", "tcp://localhost:0"])
def test_loopback_needs_nothing(url: str) -> None:
    with closing(tcp.listen(url)) as listener:
        found: Listener = listener
        assert int(found.url.rpartition(":")[2]) > 0
        ours, theirs = joined(listener)
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    "url", ["tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://192.0.2.1:0", "tcp://[2001:db8::1]:0"]
)
def test_beyond_loopback_is_refused_with_both_ways_out(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        tcp.listen(url)
    for word in (url, "beyond this machine", "token=", "trust=", "open=True", "127.0.0.1"):
        assert word in str(caught.value)


def test_beyond_loopback_with_a_token_or_on_purpose() -> None:
    for listener in (tcp.listen("tcp://0.0.0.0:0", token="secret"), tcp.listen("tcp://0.0.0.0:0", open=True)):
        with closing(listener):
            assert listener.url.startswith("tcp://0.0.0.0:")
            port = listener.url.rpartition(":")[2]
            dialled(f"tcp://127.0.0.1:{port}").close()


def test_an_empty_token_is_no_token() -> None:
    """As it comes from a variable that was never set."""
    for url in ("tcp://0.0.0.0:0", "tcp://127.0.0.1:0"):
        with pytest.raises(ValueError, match="the token is empty"):
            tcp.listen(url, token="")


def test_a_port_in_use_is_named(listener: TcpListener) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {listener.url}: .*in use; .*take another port"):
        tcp.listen(listener.url)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(
        OSError, match=r"cannot listen on tcp://192\.0\.2\.1:5000: .*no address of this machine"
    ):
        tcp.listen("tcp://192.0.2.1:5000", open=True)


def test_a_port_is_free_again_at_once() -> None:
    with closing(tcp.listen("tcp://127.0.0.1:0")) as first:
        ours, theirs = joined(first)
        theirs.close()  # the side that closes first keeps the port in TIME_WAIT
        waiting.readable(ours)
        assert ours.read() == b""
        ours.close()
        url = first.url
    tcp.listen(url).close()


# ---- links


def test_both_ends_agree_on_the_link(listener: TcpListener) -> None:
    ours, theirs = joined(listener)
    with closing(ours), closing(theirs):
        assert (ours.sort, ours.realm, ours.mtu, ours.dialled) == ("stream", "localnet", 0, True)
        assert (theirs.sort, theirs.realm, theirs.mtu, theirs.dialled) == ("stream", "localnet", 0, False)
        assert (ours.via, theirs.via) == (listener.url, "")
        assert ours.address == listener.url
        assert theirs.address.startswith("tcp://127.0.0.1:")
        assert theirs.address != listener.url, "the far end's"
        assert theirs.connected()
        assert ours.read() is None
        assert ours.write(b"there") == 5
        assert waiting.read(theirs, 5) == b"there"
        assert theirs.write(memoryview(b"back")) == 4
        assert waiting.read(ours, 4) == b"back"


def test_small_writes_are_not_held_back(listener: TcpListener) -> None:
    ours, theirs = joined(listener)
    with closing(ours), closing(theirs):
        for channel in (ours, theirs):
            with socket.socket(fileno=os.dup(channel.fileno())) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_name_stays_the_links_name_whatever_it_resolves_to(listener: TcpListener) -> None:
    port = listener.url.rpartition(":")[2]
    url = f"tcp://LocalHost:{port}"
    address = next(one for one in tcp.candidates(url) if one[0] == "127.0.0.1")
    with closing(tcp.dial(address, url + "/")) as channel:
        assert channel.via == f"tcp://localhost:{port}"
        assert channel.address == f"tcp://127.0.0.1:{port}"
    with closing(tcp.dial(address)) as channel:
        assert channel.via == channel.address


def test_long_names_stay_apart_within_64_bytes(listener: TcpListener) -> None:
    address = tcp.candidates(listener.url)[0]
    names = [f"{'sub.' * 20}{letter}.example" for letter in "ab"]
    with ExitStack() as stack:
        vias = [stack.enter_context(closing(tcp.dial(address, f"tcp://{name}:5000"))).via for name in names]
    assert len(set(vias)) == 2
    assert all(len(via.encode()) <= 64 for via in vias)


def test_ipv6() -> None:
    with closing(tcp.listen("tcp://[::1]:0")) as listener:
        assert listener.url.startswith("tcp://[::1]:")
        ours, theirs = joined(listener)
        with closing(ours), closing(theirs):
            assert ours.via == ours.address == listener.url
            assert theirs.address.startswith("tcp://[::1]:")


def test_candidates_are_numeric() -> None:
    found = tcp.candidates("tcp://localhost:5000")
    assert found
    assert {address[0] for address in found} <= {"127.0.0.1", "::1"}
    assert all(address[1] == 5000 for address in found)


def test_a_name_without_an_address_is_named() -> None:
    with pytest.raises(socket.gaierror, match=r"no address for 'nowhere\.invalid'"):
        tcp.candidates("tcp://nowhere.invalid:5000")


def test_a_name_that_cannot_be_one_is_a_wrong_url() -> None:
    with pytest.raises(ValueError, match="cannot be the name of a host"):
        tcp.candidates("tcp://two..dots:5000")


# ---- failures


def test_a_refused_connection_is_told_by_connected() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionRefusedError, match=url):
        dialled(url)


def test_a_port_that_connects_to_itself_counts_as_refused() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        channel = TcpChannel(sock, "tcp://127.0.0.1:9", via="", dialled=True)
        with pytest.raises(ConnectionRefusedError, match="nobody listens there"):
            channel.connected()


def test_connecting_takes_time_and_is_told_so() -> None:
    """A listener whose queue is full answers no more, so connecting stays under way."""
    with socket.socket() as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        address = tcp.candidates(url)[0]
        channels = [stack.enter_context(closing(tcp.dial(address, url))) for _ in range(6)]
        late = channels[-1]
        assert not late.connected()
        assert late.read() is None
        assert late.write(b"early") == 0
        accepted = []
        while not late.connected():
            server.settimeout(20)
            accepted.append(stack.enter_context(server.accept()[0]))
        assert late.connected()
        assert late.write(b"now") == 3


def test_an_end_is_not_a_failure(listener: TcpListener) -> None:
    ours, theirs = joined(listener)
    with closing(ours):
        theirs.write(b"last words")
        theirs.close()
        assert waiting.read(ours, 10) == b"last words"
        waiting.readable(ours)
        assert ours.read() == b""


def reset(sock: socket.socket) -> None:
    """Ends a connection as a crashed machine or a firewall does, with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_failure_is_not_an_end(listener: TcpListener) -> None:
    client = socket.create_connection(tcp.candidates(listener.url)[0][:2])
    with closing(waiting.accept(listener)) as theirs:
        reset(client)
        waiting.readable(theirs)
        with pytest.raises(ConnectionResetError):
            theirs.read()


def test_a_busy_link_takes_a_part_then_nothing(listener: TcpListener) -> None:
    ours, theirs = joined(listener)
    with closing(ours), closing(theirs):
        total, partial = waiting.fill(ours)
        assert partial
        while True:  # what the kernel moved on meanwhile has made room
            more, _ = waiting.fill(ours)
            total += more
            if not more:
                break
        assert waiting.read(theirs, total) == bytes(total)
        waiting.writable(ours)
        assert ours.write(b"x") == 1


def test_a_client_that_has_gone_already_is_no_error(listener: TcpListener) -> None:
    reset(socket.create_connection(tcp.candidates(listener.url)[0][:2]))
    channel = listener.accept()
    if channel is not None:
        channel.close()
    with closing(dialled(listener.url)), closing(waiting.accept(listener)):
        pass


class FailedClient(socket.socket):
    """BSD's accept reports a client that has gone; Linux hands it over and cannot be made to do the same."""

    failure = errno.ECONNABORTED

    def accept(self) -> NoReturn:
        raise OSError(self.failure, os.strerror(self.failure))


def test_the_failure_of_a_client_is_not_that_of_the_listener() -> None:
    with FailedClient() as sock, closing(TcpListener(sock, "tcp://127.0.0.1:1")) as listener:
        assert listener.accept() is None
        sock.failure = errno.EINVAL
        with pytest.raises(OSError, match="Invalid argument"):
            listener.accept()


def test_closing_twice_is_closing_once(listener: TcpListener) -> None:
    ours, theirs = joined(listener)
    for one in (ours, theirs, listener):
        one.close()
        one.close()
        assert one.fileno() == -1


# ---- link-local addresses


@pytest.mark.parametrize("host", ["fe80::1", "FE80::1", "febf::7"])
def test_a_link_local_address_needs_an_interface(host: str) -> None:
    names = [name for _, name in socket.if_nameindex()]
    with pytest.raises(ValueError, match="name the interface, as in") as caught:
        tcp.candidates(f"tcp://[{host}]:7660")
    assert any(name in str(caught.value) for name in names)


def test_an_interface_that_is_none_is_told_with_those_there_are() -> None:
    names = [name for _, name in socket.if_nameindex()]
    with pytest.raises(socket.gaierror, match="the interfaces here are") as caught:
        tcp.candidates("tcp://[fe80::1%enP8p1s0]:7660")
    assert "enP8p1s0" in str(caught.value), "as it was written"
    assert any(name in str(caught.value) for name in names)


def test_the_zone_is_looked_up_as_it_is_written() -> None:
    index, name = socket.if_nameindex()[0]
    for written in (f"fe80::1%{name}", f"FE80::1%25{name}"):
        (address,) = tcp.candidates(f"tcp://[{written}]:7660")
        assert address[3:] == (index,)


def test_a_port_to_listen_on_may_be_any_free_one() -> None:
    with pytest.raises(ValueError, match="from 0, for any that is free, to 65535"):
        tcp.parse("tcp://127.0.0.1:65536", listening=True)
    with pytest.raises(ValueError, match="from 1 to 65535"):
        tcp.parse("tcp://127.0.0.1:65536")
