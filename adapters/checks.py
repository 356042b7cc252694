"""Arguments of a bus that would fail late or with a riddle: each is refused with what was expected."""

from __future__ import annotations

from typing import Any


def check_token(token: object) -> None:
    """None or text. Raises TypeError, ValueError, neither of which tells the token itself."""
    if token is None:
        return
    if not isinstance(token, str):
        how = ": write token.decode() or token.hex()" if isinstance(token, (bytes, bytearray)) else ""
        raise TypeError(f"a token is text (str), or None for none; got {type(token).__name__}{how}")
    if not token:
        raise ValueError("token must not be empty: give a text that is hard to guess, or None for none")
    if not _is_utf8(token):
        raise ValueError("a token is text in UTF-8, and this one has characters that have no place there")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_label(label: object) -> None:
    """None or text. Raises TypeError, ValueError."""
    if label is not None and not isinstance(label, str):
        raise TypeError(f"a label is text (str), or None for the program's name; got {type(label).__name__}")
    if label is not None and not _is_utf8(label):
        raise ValueError("a label is text in UTF-8, and this one has characters that have no place there")


def check_whole(name: str, value: object, expected: str) -> None:
    """A whole number; which ones is the core's to say. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be {expected}, a whole number (int), not {value!r}")


def check_handler(handler: Any) -> None:
    """Something to call with a request. Raises TypeError."""
    if not callable(handler):
        raise TypeError(f"a handler is a function that takes a request, not {handler!r}")


def check_served(endpoint: Any) -> None:
    """An endpoint, not the handler that `@bus.serve` without parentheses hands over. Raises TypeError."""
    if callable(endpoint) and not isinstance(endpoint, type):
        raise TypeError(f'serve takes an endpoint first, as in @bus.serve("lab/pump"), not {endpoint!r}')


def check_wait(timeout: object) -> None:
    """None or seconds. Raises TypeError."""
    if timeout is not None and not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a number of seconds, or None for as long as it takes, not {timeout!r}")


def check_limits(limits: object, kind: type) -> None:
    """None or of this class. Raises TypeError."""
    if limits is not None and not isinstance(limits, kind):
        raise TypeError(f"limits must be a busway.Limits, not {limits!r}")


def check_node(node: Any) -> bytes:
    """A node's id. Raises ValueError."""
    if not isinstance(node, bytes) or len(node) != 16:
        raise ValueError(f"node must be a node's id, 16 bytes, as in NodeInfo.id; not {node!r}")
    return node
