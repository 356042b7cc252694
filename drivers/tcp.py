"""TCP links. Beyond loopback a listener is opened only on purpose. Knows nothing of the protocol and checks no token."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from busway.drivers.channel import SocketChannel, SocketListener

_BACKLOG = 512
Address = tuple[int, Any]


def parse(url: str) -> tuple[str, int]:
    """Host and port of tcp://host:port, IPv6 in brackets. Raises ValueError that says what was expected."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: expected tcp://host:port ({error})") from None
    if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise ValueError(f"{url!r}: expected tcp://host:port, with an IPv6 address in brackets")
    return parts.hostname, port


def candidates(url: str) -> list[Address]:
    """The addresses of a URL, to be tried in turn. Blocks for the look-up. Raises ValueError, OSError."""
    host, port = parse(url)
    if not port:
        raise ValueError(f"{url!r}: port 0 can be listened on, not connected to")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), address) for family, _, _, _, address in found]


def dial(address: Address, url: str = "") -> SocketChannel:
    """Begin to connect; ask the channel's `connected()`. Raises OSError if it fails at once."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(where)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, f"connecting to {_text(where)} failed: {os.strerror(code)}")
        via = url.rstrip("/") or f"tcp://{_text(where)}"
        return SocketChannel(sock, realm="localnet", address=f"tcp://{_text(where)}", via=via, dialled=True)
    except BaseException:
        sock.close()
        raise


class TcpListener(SocketListener):
    """A listening TCP socket. Made by `listen`."""

    def _welcome(self, sock: socket.socket, address: object) -> SocketChannel | None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketChannel(
            sock, realm="localnet", address=f"tcp://{_text(address)}", via="", dialled=False
        )


def listen(url: str, *, token: str | None = None, open: bool = False) -> TcpListener:
    """Listen at a URL, port 0 for any free one; blocks for the look-up.

    Raises ValueError for an address beyond loopback without `token` or `open=True`, OSError if it is in use.
    """
    host, port = parse(url)
    family, _, _, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not (token or open or ipaddress.ip_address(where[0]).is_loopback):
        raise ValueError(
            f"{url} can be reached by other machines: give token=\"…\", which the other side must know, or open=True to let anyone in"
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
        return TcpListener(sock, f"tcp://{_text(sock.getsockname())}")
    except BaseException:
        sock.close()
        raise


def _text(address: Any) -> str:
    """host:port, IPv6 in brackets."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
