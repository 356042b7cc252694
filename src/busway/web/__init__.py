"""The JavaScript client, for a listener to hand to browsers, and a package for Node. Knows its files only."""

from importlib.resources import files
from pathlib import Path

__all__ = ["client", "folder", "read"]

CLIENT = (
    "busway.js",
    "bus.js",
    "errors.js",
    "latest.js",
    "leaf.js",
    "presence.js",
    "receiving.js",
    "origin.js",
    "lasts.js",
    "options.js",
    "selected.js",
    "selectors.js",
    "patterns.js",
    "crowd.js",
    "link.js",
    "channel.js",
    "noise.js",
    "x25519.js",
    "chacha20poly1305.js",
    "frames.js",
    "codes.js",
    "codec.js",
)
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def read(package: str, name: str) -> tuple[str, bytes]:
    """Content type and bytes of a file that lies in a package, as a listener's `pages` wants them.

    Raises KeyError for a kind of file that pages have no use for, FileNotFoundError if it is not there.
    """
    return CONTENT_TYPES[name.rpartition(".")[2]], files(package).joinpath(name).read_bytes()


def folder() -> Path:
    """The folder of the client, with the package.json by which Node knows it as `busway`."""
    return Path(__file__).parent


def client(folder: str = "/busway/") -> dict[str, tuple[str, bytes]]:
    """The client's ES modules, for `listen("ws://...", pages=...)`: path -> (content type, bytes).

    A page of that listener then has it by `import { Bus } from "/busway/busway.js"`.

    Args: `folder` where they are to be, with a slash at both ends. Raises ValueError for another.
    """
    if not folder.startswith("/") or not folder.endswith("/"):
        raise ValueError(f"a folder such as '/busway/' was expected, not {folder!r}")
    return {folder + name: read("busway.web", name) for name in CLIENT}
