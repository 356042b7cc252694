"""The options of WebSocket links, checked before anything is opened. Opens nothing."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from busway.drivers.websocket_http import HEADERS_SIZE_MAX, Page
from busway.drivers.websocket_tls import server_context, shows_a_certificate

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
File: TypeAlias = str | os.PathLike[str]

# What the upgrade itself consists of.
_OURS: Final = (
    "host",
    "upgrade",
    "connection",
    "content-length",
    "transfer-encoding",
)
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def check_file(name: str, value: Any) -> None:
    """Raises TypeError for what is no path."""
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}= is the name of a file in PEM format, not {value!r}")


def check_client(
    url: str, scheme: str, cafile: File | None, tls: ssl.SSLContext | None, proxy: str | bool | None
) -> None:
    """Check what `dial` is given. Raises TypeError, ValueError."""
    check_file("cafile", cafile)
    _check_context(tls, "cafile")
    if proxy is not None and not isinstance(proxy, (str, bool)):
        raise TypeError(f"proxy= is a URL, None for none, or True for the environment's, not {proxy!r}")
    if scheme == "ws" and (cafile is not None or tls is not None):
        raise ValueError(f"cafile= and tls= are for wss://, not for {url!r}")
    if cafile is not None and tls is not None:
        raise ValueError("give cafile= or tls=, not both: a context knows its authorities already")
    if tls is not None and tls.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ValueError(
            "tls= is a context for listening; to connect take one of ssl.create_default_context(), or cafile="
        )


def _check_context(tls: Any, name: str) -> None:
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"tls= is an ssl.SSLContext, not {tls!r}; a file in PEM format goes to {name}=")


def context_for_server(
    url: str, scheme: str, certificate: File | None, key: File | None, tls: ssl.SSLContext | None
) -> ssl.SSLContext | None:
    """The arguments of `listen` as a context; None for ws://. Raises TypeError, ValueError, OSError."""
    check_file("certificate", certificate)
    check_file("key", key)
    _check_context(tls, "certificate")
    if scheme == "ws":
        if certificate is not None or key is not None or tls is not None:
            raise ValueError(f"certificate=, key= and tls= are for wss://, not for {url!r}")
        return None
    if tls is not None and (certificate is not None or key is not None):
        raise ValueError("give certificate= and key=, or tls=, not both")
    if tls is not None:
        return _checked_server(tls)
    if certificate is None:
        raise ValueError(
            f"{url} needs certificate= and key=, files in PEM format;"
            " `busway certificate --out DIR` makes some for tests"
        )
    return server_context(certificate, key)


def _checked_server(tls: ssl.SSLContext) -> ssl.SSLContext:
    remedy = "take ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) with load_cert_chain(), or certificate= and key="
    if tls.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(f"tls= is a context for connecting; to listen {remedy}")
    if not shows_a_certificate(tls):
        raise ValueError(f"tls= is a context without a certificate, so nobody could come; {remedy}")
    return tls


def check_headers(headers: Headers) -> list[tuple[str, str]]:
    """More headers for the upgrade's request, as pairs. Raises TypeError, ValueError."""
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f'headers= is a dict such as {{"X-Lab": "7"}}, not {headers!r}')
    found = list(pairs)
    for pair in found:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(x, str) for x in pair):
            raise TypeError(f"headers= has names and values that are str, not {pair!r}")
        name, value = pair
        if not name or not set(name) <= _TOKEN:
            raise ValueError(f"{name!r} cannot be the name of a header")
        if not value.isprintable() or not value.isascii() or value != value.strip():
            raise ValueError(f"the value of the header {name} has to be printable ASCII: {value!r}")
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"the header {name} is the WebSocket's own: leave it out")
    size = sum(len(name) + len(value) + 4 for name, value in found)
    if size > HEADERS_SIZE_MAX // 2:
        raise ValueError(f"headers= has {size} bytes, and may have {HEADERS_SIZE_MAX // 2}")
    return [(name, value) for name, value in found]


def check_pages(pages: Mapping[str, tuple[str, bytes]]) -> dict[str, Page]:
    """Raises TypeError, ValueError."""
    if not isinstance(pages, Mapping):
        raise TypeError(f'pages is a dict such as {{"/": ("text/html", b"...")}}, not {pages!r}')
    found = {}
    for path, (content_type, body) in pages.items():
        if not path.startswith("/") or not isinstance(body, bytes) or not content_type.isprintable():
            raise ValueError(
                'a page is "/path": (content type, bytes),'
                f" not {path!r}: ({content_type!r}, {type(body).__name__})"
            )
        found[path] = Page(content_type, body)
    return found


def check_count(name: str, value: Any) -> None:
    """Raises TypeError, ValueError for what is no whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
