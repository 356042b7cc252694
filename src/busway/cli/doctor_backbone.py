"""The part of `busway doctor` that looks at NATS servers: whether they let a gateway do its work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from busway.drivers.nats import parse, shown
from busway.errors import BusError

if TYPE_CHECKING:
    from busway.cli.doctor import Report

# What a refusal of NATS's means to whoever has to mend it, by what is in its words.
_ADVICE = {
    "authorization": "give its user and password (nats://user:password@host), credentials= or nkey=",
    "permissions violation": 'let this user publish and subscribe to "busway.>"',
    "secure connection": "the server wants TLS: tls:// for nats://, and cafile= for an authority of your own",
    "offers no tls": "configure TLS there, or write nats:// where nobody can be in between",
    "certificate": "give cafile=, the authority that made the server's certificate",
    "maximum connections": "the server takes no more clients: raise max_connections",
    "account": "this user's account may not do that: see the server's accounts",
}
_OTHERS = "start a server (nats-server), or mend the address; a firewall may be on the way"
SMALL = 65536  # a server that takes less cuts what gateways write into more messages


async def check_servers(report: Report, url: str, timeout: float, **options: Any) -> None:
    """Whether gateways can meet on these servers."""
    try:
        from busway.drivers.nats_session import look

        place = parse(url)
    except ModuleNotFoundError:
        from busway.drivers.extras import missing

        report.find(f"{shown(url)}: nats-py is not installed", missing("nats:// needs", "nats"))
        return
    except ValueError as error:
        report.find(str(error), "give a URL such as nats://host:4222")
        return
    try:
        async with asyncio.timeout(timeout + 5):
            found = await look(place, **options)
    except (OSError, BusError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error) or "no answer"
        report.find(f"{place.name}: {text}", advice_for(text))
        return
    report.well(f"{place.name} answers: {found.server}; servers known there: {found.servers}")
    for text in found.refusals:
        report.find(f"{place.name} refuses: {text}", advice_for(text))
    if found.payload_max < SMALL:
        report.remark(
            f"{place.name} takes messages of {found.payload_max} bytes at most",
            f"raise max_payload to {SMALL} or more: large messages then go faster",
        )
    if not found.refusals:
        report.well(f"{place.name} lets gateways ask and answer")


def advice_for(text: str) -> str:
    """The remedy for a refusal in NATS's words."""
    return next((advice for words, advice in _ADVICE.items() if words in text.lower()), _OTHERS)
