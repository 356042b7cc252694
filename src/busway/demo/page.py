"""The demo's page and the listener that has it and its WebSocket. Knows nothing of what it shows."""

from __future__ import annotations

from html import escape

import busway
from busway import web

FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}


def pages(bus_name: str) -> dict[str, tuple[str, bytes]]:
    """Everything of the page, by path; the page joins that bus."""
    found = {path: web.read("busway.demo", name) for path, name in FILES.items()}
    kind, body = found["/"]
    found["/"] = kind, body.replace(b"<html ", f'<html data-bus="{escape(bus_name)}" '.encode(), 1)
    return found | web.client()


async def listen(bus: busway.AsyncBus, bus_name: str, port: int = 0) -> str:
    """Let browsers of this machine in; returns the link's URL. Raises OSError if the port is taken."""
    listener = await bus.listen(f"ws://127.0.0.1:{port}", pages=pages(bus_name))
    return listener.url
