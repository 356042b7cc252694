"""The terms on which a WebSocket is let in, whoever reads the request: the subprotocol, and the web pages
that may open one. Opens nothing, and knows no HTTP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

SUBPROTOCOL: Final = "busway.2"


def check_origins(origins: Iterable[str]) -> frozenset[str]:
    """Origins of web pages, in lower case. Raises TypeError, ValueError."""
    if isinstance(origins, str):
        raise TypeError(f"origins is a list of origins, not one: origins=[{origins!r}]")
    found = list(origins)
    for origin in found:
        if not isinstance(origin, str):
            raise TypeError(f"an origin is a str, not {origin!r}")
        scheme, separator, rest = origin.partition("://")
        if origin not in ("*", "null") and (not scheme or not separator or not rest or "/" in rest):
            raise ValueError(f'an origin is such as "https://lab.example", without a path, not {origin!r}')
    return frozenset(origin.lower() for origin in found)


def objection(origin: str, host: str, *, secure: bool, own: str, allowed: Collection[str]) -> str:
    """The reason why a page may not come here; "" if it may, or if no browser is asking.

    Args: `origin` and `host` as the request's headers say; `secure` whether there is TLS; `own` the host name
    that we were given; `allowed` other origins, in lower case, "*" for all.
    """
    origin, host = origin.lower(), host.lower()
    if not origin or origin in allowed or "*" in allowed:
        return ""
    if origin == _origin_of(host, secure) and _is_ours(host, own):
        return ""
    return f"Pages of {origin} may not come here: let the listener have origins=[{origin!r}]."


def _is_ours(host: str, own: str) -> bool:
    """Whether nobody else can have this host name lead here. A page of any name can, once it has its name
    resolve to this address (DNS rebinding); only addresses and the name we were given are safe from that.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name in ("localhost", own):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _origin_of(host: str, secure: bool) -> str:
    """The origin of pages at `host`, a Host header; browsers leave out the usual port."""
    usual = ":443" if secure else ":80"
    return f"{'https' if secure else 'http'}://{host.removesuffix(usual)}"
