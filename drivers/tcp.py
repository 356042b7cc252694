"""TCP links, tcp://host:port: loopback only, unless given a token or open=True. Checks no token itself."""

from __future__ import annotations

import errno
import os
import socket
from itertools import chain, zip_longest
from typing import Final, TypeAlias, TypeVar

from busway.drivers.channel import short_via
from busway.drivers.sockets import SocketChannel, SocketListener

# (host, port) for IPv4, (host, port, flow, scope) for IPv6; the length tells the family.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

STAGGER_S: Final = 0.25  # RFC 8305, section 8: Connection Attempt Delay
_SCHEME: Final = "tcp://"
_BACKLOG: Final = 512


class TcpChannel(SocketChannel):
    """A TCP connection, perhaps still being made: ask `connected()`."""

    def __init__(self, sock: socket.socket, address: str, *, via: str, dialled: bool) -> None:
        super().__init__(sock, address, via=via, dialled=dialled)
        self._connecting = dialled
        # Writes are batched above, so waiting for more would only delay them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connected(self) -> bool:
        if self._connecting:
            self._connecting = not self._has_connected()
        return not self._connecting

    def _has_connected(self) -> bool:
        failure = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, f"{self.address}: {os.strerror(failure)}")
        try:
            peer = self._sock.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            return False
        # Dialling a free port of this host may draw that very port as ours: TCP joins the socket to itself.
        if peer == self._sock.getsockname():
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{self.address}: nobody listens there")
        return True


class TcpListener(SocketListener):
    """A listening TCP socket, from `listen()`."""

    def accept(self) -> TcpChannel | None:
        sock = self._next_client()
        if sock is None:
            return None
        try:
            return TcpChannel(sock, _url_of(sock.getpeername()), via="", dialled=False)
        except OSError:  # gone already
            sock.close()
            return None


def parse(url: str, *, listening: bool = False) -> tuple[str, int]:
    """Splits tcp://host:port, with IPv6 addresses in brackets, into host and port.

    Args: `listening` allows port 0, which takes a free one. Raises ValueError for anything else.
    """
    fault = f"expected tcp://host:port (IPv6 addresses in brackets), not {url!r}"
    if not url.startswith(_SCHEME):
        raise ValueError(fault)
    host, colon, port = url.removeprefix(_SCHEME).removesuffix("/").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or any(found in host for found in "/@?#[] ") or bracketed != (":" in host):
        raise ValueError(fault)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        least = "0, for any that is free," if listening else "1"
        raise ValueError(f"a port is a number from {least} to 65535: {fault}")
    if int(port) == 0 and not listening:
        raise ValueError(f"port 0 can be listened on, but not dialled: {url!r}")
    return plain_host(host), int(port)


def plain_host(host: str) -> str:
    """A host as it is looked up: in lower case but for an IPv6 zone, which is the name of an interface and is
    written behind % or, as in RFC 6874, %25.
    """
    address, mark, zone = host.partition("%")
    if ":" in address and zone != "25":
        zone = zone.removeprefix("25")
    return address.lower() + mark + zone


def candidates(url: str) -> list[Address]:
    """The addresses to dial for `url`, best first. Looks names up and so may block: run it in a thread.

    Raises ValueError for a malformed URL, socket.gaierror (an OSError) for a name without an address.
    """
    host, port = parse(url)
    return look_up(host, port)


def dial(address: Address, url: str = "") -> TcpChannel:
    """Starts connecting to one of `candidates(url)`; the channel's `connected()` tells what came of it.

    Args: `url` as the user wrote it, which names the link in `via`.
    Raises OSError if connecting fails at once, ValueError for a malformed URL.
    """
    return start(TcpChannel, address, _join(*parse(url)) if url else _url_of(address))


_Tcp = TypeVar("_Tcp", bound=TcpChannel)


def start(sort: type[_Tcp], address: Address, via: str) -> _Tcp:
    """As `dial`, for whatever is built upon TCP: a channel of that sort."""
    sock = socket.socket(_family_of(address), socket.SOCK_STREAM)
    try:
        channel = sort(sock, _url_of(address), via=short_via(via), dialled=True)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass  # under way
        except OSError as error:
            raise OSError(error.errno, f"{channel.address}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return channel


def listen(url: str, *, token: str | None = None, open: bool = False) -> TcpListener:
    """Listens on `url`. Looks names up and so may block.

    Args: `token` that clients will have to prove they know (checked by the protocol, not here), or `open` to
    let in anyone who can reach the address: beyond loopback one of them is needed. Port 0 takes a free one;
    the result's `url` has it.
    Raises ValueError for a malformed URL, an empty token, or an address beyond loopback without either;
    OSError if it cannot be had.
    """
    host, port = parse(url, listening=True)
    return bind(host, port, url, token=token, open=open)


def bind(host: str, port: int, url: str, *, token: str | None = None, open: bool = False) -> TcpListener:
    """As `listen`, for whatever is built upon TCP: `url` is the one that complaints name."""
    if token is not None and not token:
        raise ValueError("the token is empty: make one with `busway token`, or say None for no token")
    addresses = look_up(host, port)
    beyond = [address[0] for address in addresses if not _is_loopback(address[0])]
    if beyond and token is None and not open:
        raise ValueError(
            f"{url} can be reached from beyond this machine ({beyond[0]}): give token=... so that only those"
            " who know it get in, or trust=... (of the bus) with the keys that may, or open=True to let in"
            " everybody, or listen on 127.0.0.1"
        )
    return _listen_on_first(addresses, url)


_REMEDIES: Final = {
    errno.EADDRINUSE: "; another program listens there: take another port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "; it is no address of this machine: take one that is, or 0.0.0.0 for all of them",
    errno.EACCES: "; this port is the system's: take one from 1024 up",
}


def _listen_on_first(addresses: list[Address], url: str) -> TcpListener:
    failure = OSError(f"{url} has no address")
    for address in addresses:
        sock = socket.socket(_family_of(address), socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two listeners share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
            return TcpListener(sock, _url_of(sock.getsockname()))
        except OSError as error:
            sock.close()
            remedy = _REMEDIES.get(error.errno or 0, "")
            failure = OSError(error.errno, f"cannot listen on {url}: {error.strerror}{remedy}")
    raise failure


def look_up(host: str, port: int) -> list[Address]:
    """A host's addresses, best first, the families in turn. May block. Raises socket.gaierror, ValueError."""
    _check_zone(host)
    check_name(host.partition("%")[0])
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        hint = f"; the interfaces here are {_interfaces()}" if "%" in host else ""
        raise socket.gaierror(error.errno, f"no address for {host!r} ({error.strerror}){hint}") from error
    families = (socket.AF_INET, socket.AF_INET6)
    return _in_turn([address for family, _, _, _, address in found if family in families])  # type: ignore[misc]


def check_name(host: str) -> None:
    """Raises ValueError for what can be no host's name, nor an address."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{host!r} cannot be the name of a host: {error}") from error


def _in_turn(addresses: list[Address]) -> list[Address]:
    """The families alternate, the best one's first (RFC 8305, section 4)."""
    first = [address for address in addresses if len(address) == len(addresses[0])]
    others = [address for address in addresses if len(address) != len(addresses[0])]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]


def _check_zone(host: str) -> None:
    """Each interface has its own addresses of that sort, so one of them alone leads nowhere."""
    if ":" not in host:
        return
    import ipaddress  # only here, for it is slow to import

    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return
    if address.is_link_local and not address.scope_id:
        names = _interfaces()
        raise ValueError(
            f"{host} is a link-local address: name the interface, as in [{host}%{names.split(',')[0]}]; the"
            f" interfaces here are {names}"
        )


def _interfaces() -> str:
    names = [name for _, name in socket.if_nameindex()]
    return ", ".join([name for name in names if name != "lo"] or names)


def _family_of(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if len(address) == 2 else socket.AF_INET6


def _is_loopback(host: str) -> bool:
    """Of an address as getaddrinfo writes it: canonical, never a name."""
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"


def _url_of(address: Address) -> str:
    host = address[0]
    if len(address) == 4 and address[3] and "%" not in host:
        host = f"{host}%{address[3]}"
    return _join(host, address[1])


def _join(host: str, port: int) -> str:
    return f"{_SCHEME}[{host}]:{port}" if ":" in host else f"{_SCHEME}{host}:{port}"
