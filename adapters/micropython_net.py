"""Ways for boards on a network: `tcp://` and, where TLS is wanted, `tls=` around it.

Loaded by boards that use it. Knows sockets; nothing of what travels. WebSocket: micropython_websocket.py.
"""

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def split(url: str, port: int) -> "tuple[str, str, int, str]":
    """Scheme, host, port and path of a URL; `port` where it names none. Raises ValueError."""
    scheme, found, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, colon, number = place.rpartition(":")
    if not colon:
        host, number = place, str(port)
    if host.startswith("["):
        host = host[1:-1]
    if not found or not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise ValueError("expected tcp://HOST:PORT, ws://HOST:PORT or wss://HOST:PORT, got " + url)
    return scheme, host, int(number), "/" + path


def dial(host: str, port: int, tls: "Any" = None) -> "Any":
    """A connected socket; with `tls`, an ssl.SSLContext, the certificate and the name in it are checked as
    that says. Raises OSError."""
    place = socket.getaddrinfo(host, port)[0][-1]
    line: "Any" = socket.socket()
    try:
        line.connect(place)
        return line if tls is None else tls.wrap_socket(line, server_hostname=host)
    except Exception:
        line.close()
        raise


def tcp(url: str, tls: "Any" = None) -> "Callable[[], Any]":
    """Opens `tcp://HOST:PORT`: what `Loop(tcp(url), sort="stream")` opens again whenever it is lost. Raises
    ValueError at once for what is no such URL.
    """
    scheme, host, port, _ = split(url, 0)
    if scheme != "tcp":
        raise ValueError("expected tcp://HOST:PORT, got " + url)
    return lambda: dial(host, port, tls)
