"""Finds node and Chromium for the tests of the JavaScript client. Knows nothing of what they run."""

import shutil
from pathlib import Path

import playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Without these it asks its maker for news and updates, and wants a GPU and a sandbox, which containers lack.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def node() -> Path:
    """The node that PyPI's playwright brings along: new enough to have a WebSocket of its own."""
    found = Path(playwright.__file__).parent / "driver" / "node"
    assert found.exists(), (
        "playwright has no node here: run `make setup` again, it is in the extra busway[dev]"
    )
    return found


def chromium() -> str:
    """Chromium as the system's package manager installs it."""
    for name in CHROMIUM_NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    raise AssertionError(
        "no Chromium on the PATH, which the tests of the page need; on Debian: apt-get install chromium"
    )
