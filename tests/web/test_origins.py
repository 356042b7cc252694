"""A page from elsewhere in a real Chromium: it imports the client from a listener that lets its origin
come.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

import busway
from busway import web
from tests.web.test_page import BOUND_MS, chromium

__all__ = ["chromium"]

_PAGE = """<!doctype html><title>elsewhere</title><link rel="icon" href="data:,"><p id="said">nothing yet</p>
<script type="module">
const said = document.getElementById("said");
try {
  const { connect } = await import("http://PLACE/busway/busway.js");
  const bus = await connect("ws://PLACE", { label: "page" });
  said.textContent = await bus.request("lab/upper", "hello");
} catch (error) {
  said.textContent = `failed: ${error}`;
}
</script>"""


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_of_another_origin(chromium: BrowserContext, allowed: bool) -> None:
    with busway.Bus(ipc=False) as elsewhere, busway.Bus(ipc=False) as bus:
        bus.serve("lab/upper", lambda request: request.payload.upper(), realm="global")
        pages: dict[str, tuple[str, bytes]] = {}
        host = elsewhere.listen("ws://127.0.0.1:0", pages=pages)
        host.close()
        origin = host.url.replace("ws:", "http:")
        origins = [origin] if allowed else ["http://127.0.0.1:1"]
        listener = bus.listen("ws://127.0.0.1:0", origins=origins, pages=web.client())
        place = listener.url.removeprefix("ws://")
        text = _PAGE.replace("PLACE", place).encode()
        elsewhere.listen(host.url, pages={"/page": ("text/html; charset=utf-8", text)})
        page = chromium.new_page()
        try:
            page.goto(f"{origin}/page")
            words = "HELLO" if allowed else "failed: TypeError"
            expect(page.locator("#said")).to_contain_text(words, timeout=BOUND_MS)
        finally:
            page.close()
