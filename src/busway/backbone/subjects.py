"""Subjects of a backbone, behind the part that all sides share: where what is asked and told. Pure functions.

who.UUID         questions for a node or endpoint; subscribed to by sides that have it
new.UUID         told by a side that has it now; subscribed to by those who have asked
name.LEVEL.…     questions for patterns that mean a name; subscribed to by sides that have such patterns
pattern          told by a side that has a new one; subscribed to by those who have asked for any
"""

from __future__ import annotations

WHO = "who."
NEW = "new."
NAME = "name."
PATTERN = "pattern"
_END = "$"  # behind the last level, so that `**` may stand for none
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def who(uuid: bytes) -> str:
    return WHO + uuid.hex()


def new(uuid: bytes) -> str:
    return NEW + uuid.hex()


def uuid_in(where: str) -> bytes:
    """The uuid of a subject of the first two sorts; b"" for another."""
    text = where.partition(".")[2]
    try:
        return bytes.fromhex(text) if len(text) == 32 else b""
    except ValueError:
        return b""


def name(called: str) -> str:
    """The subject at which patterns are asked for that mean a name."""
    return NAME + ".".join([*map(_level, called.split("/")), _END])


def pattern(called: str) -> str:
    """The subjects of all names that a pattern means, and where `**` has levels behind it some more."""
    levels: list[str] = []
    for level in called.split("/"):
        if level == "**":
            return NAME + ".".join([*levels, ">"])
        levels.append("*" if level == "*" else _level(level))
    return NAME + ".".join([*levels, _END])


def _level(text: str) -> str:
    """A level of a name as a token: letters, digits, - and _ as they are."""
    return (
        "".join(
            each if each in _PLAIN else "".join(f"%{byte:02X}" for byte in each.encode()) for each in text
        )
        or "%"
    )
