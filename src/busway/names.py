"""How people name endpoints and buses. Knows nothing of who registered what.

An endpoint is a UUID. A human name stands for the UUID version 5 (RFC 9562 section 5.5) of its UTF-8 bytes in
Busway's own namespace. Names are compared byte for byte: no case folding, no Unicode normalisation.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import uuid  # which is slow to import: only who uses such objects waits for it

    NAMESPACE: uuid.UUID

# Drawn at random once, and part of the protocol since: changing it renames every endpoint.
_NAMESPACE = bytes.fromhex("f20665000bc64ea29d3a7801eb92bb6c")

NAME_SIZE_MAX = 64
"""Longest name of an endpoint or bus, in UTF-8 bytes."""

# As many as a link has numbers for: of fewer, who sends to all in turn would find none.
_CACHED_MAX = 16384


def endpoint_id(target: str | uuid.UUID | bytes | type) -> bytes:
    """The 16 bytes that address an endpoint.

    Args:
        target: a name (1 to 64 UTF-8 bytes); a string in the canonical form of a UUID
            ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"), taken as that UUID and not as a name; a UUID; its 16
            bytes; or a class declared with `busway.message`.

    Returns:
        16 bytes.

    Raises:
        ValueError: the name is empty, too long or not UTF-8, or the bytes are not 16.
        TypeError: anything else, such as an undeclared class or an instance of a message class.
    """
    if type(target) is str:  # every send comes through here
        return id_of_text(target)
    if isinstance(target, str):
        return id_of_text(str(target))
    if isinstance(target, bytes):
        return _id_of_bytes(target)
    found: Any = target
    return bytes(found.bytes) if is_uuid(found) else _declared(found).type_id


def endpoint_name(target: str | uuid.UUID | bytes | type) -> str:
    """The name to show to people for what `endpoint_id` takes; "" if there is none, as for a bare UUID.

    Raises:
        ValueError, TypeError: as `endpoint_id`.
    """
    if isinstance(target, str):
        endpoint_id(target)
        return "" if _canonical(target) else str(target)
    if isinstance(target, bytes) or is_uuid(target):
        endpoint_id(target)
        return ""
    return _declared(target).name


def check_name(name: str, what: str = "an endpoint's name") -> str:
    """Gives the name back if it may be one: 1 to 64 UTF-8 bytes.

    Raises:
        TypeError: not a string.
        ValueError: empty, too long, or not expressible in UTF-8.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, got {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} must be text that UTF-8 can carry: {error}") from None
    if not 1 <= size <= NAME_SIZE_MAX:
        raise ValueError(f"{what} must have 1 to {NAME_SIZE_MAX} UTF-8 bytes; {_shortened(name)} has {size}")
    return name


def check_bus_name(name: str) -> str:
    """Gives a bus's name back if it may be one: 1 to 64 UTF-8 bytes, no control characters.

    Raises:
        TypeError: not a string.
        ValueError: it says what is wrong.
    """
    check_name(name, "a bus name")
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in name):
        raise ValueError(f"a bus name must have no control characters, got {name!r}")
    return name


@lru_cache(maxsize=_CACHED_MAX)
def id_of_text(text: str) -> bytes:
    """`endpoint_id` of a str, remembered: without a Python call for one that has been asked for before."""
    return _canonical(text) or _version_5(check_name(text))


def _canonical(text: str) -> bytes:
    """The 16 bytes of a UUID in the canonical form; none of any other text. By hand, for `re` would compile
    its pattern at every import.
    """
    digits = text.replace("-", "")
    if len(text) != 36 or len(digits) != 32 or text[8] + text[13] + text[18] + text[23] != "----":
        return b""
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return b""
    return found if len(found) == 16 else b""  # spaces are passed over


def _version_5(name: str) -> bytes:
    """The UUID of the name: `uuid.uuid5(NAMESPACE, name).bytes`."""
    import hashlib

    found = bytearray(hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    found[6] = found[6] & 0x0F | 0x50  # the version
    found[8] = found[8] & 0x3F | 0x80  # the variant
    return bytes(found)


def is_uuid(value: Any) -> bool:
    """Whether it is a `uuid.UUID`; found out without importing that."""
    kind = getattr(sys.modules.get("uuid"), "UUID", None)
    return kind is not None and isinstance(value, kind)


def uuid_text(ident: bytes) -> str:
    """The canonical form of 16 bytes."""
    text = ident.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def __getattr__(name: str) -> Any:
    if name != "NAMESPACE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import uuid

    value = uuid.UUID(bytes=_NAMESPACE)
    globals()[name] = value
    return value


def _id_of_bytes(target: bytes) -> bytes:
    if len(target) != 16:
        raise ValueError(f"an endpoint given as bytes must be its 16-byte UUID, got {len(target)} bytes")
    return bytes(target)


class _Declared(Protocol):
    type_id: bytes
    name: str


def _declared(target: Any) -> _Declared:
    # The declaration hangs on the class itself (busway.messages), so this file needs no import of it.
    declaration = getattr(target, "__busway_message__", None)
    if isinstance(target, type):
        if declaration is not None and declaration.cls is target:
            found: _Declared = declaration
            return found
        raise TypeError(
            f"the class {target.__qualname__} names no endpoint: "
            'declare it with @busway.message(name="lab/it")'
        )
    if declaration is not None:
        raise TypeError(
            f"an endpoint is named by the class {type(target).__qualname__}, not by an instance of it"
        )
    raise TypeError(
        f"an endpoint is a name (str), a UUID, its 16 bytes or a message class, got {type(target).__name__}"
    )


def _shortened(name: str) -> str:
    return repr(name) if len(name) <= 24 else repr(name[:24])[:-1] + "…'"


def ascii_safe(text: str) -> str:
    """Nothing that could steer a terminal or begin a line of a log: what a stranger sent ends up there.

    Line ends, ESC and other control characters are escaped as in Python, and so is what turns the direction
    of writing or is not seen (Unicode's Cc, Cf, Zl, Zp, Co, Cn and spaces other than U+0020).
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
