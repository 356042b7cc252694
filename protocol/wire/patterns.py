"""Patterns of names, level by level between slashes: `*` is one level, `**` any number of them, none as well.
Pure functions; of a name of n levels and a pattern of m at most n times m are compared.
"""

from busway.protocol.errors import LocalError
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern: it has a star in it."""
    return "*" in name


def is_proper(name: str) -> bool:
    """Whether a name that others tell is a pattern, as far as its stars go. One with a star within a level is
    a name like any other: older versions have such.
    """
    if "*" not in name:
        return False
    for level in name.split("/"):
        if "*" in level and level != "*" and level != "**":
            return False
    return True


def check_pattern(pattern: str) -> None:
    """Raise LocalError for a text that is no pattern, nor a name."""
    size = len(pattern.encode())
    if not 1 <= size <= codes.TEXT_SIZE_MAX:
        raise LocalError("a pattern must have 1 to 64 bytes of UTF-8, not %d" % size)
    for level in pattern.split("/"):
        if "*" in level and level != "*" and level != "**":
            raise LocalError(
                "a * stands for a whole level of a name, and ** for any number of levels: "
                "%r in %r is neither" % (level, pattern)
            )


def matches(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern means; one without stars means itself."""
    if "*" not in pattern:
        return pattern == name
    return match_levels(pattern.split("/"), name.split("/"))


def match_levels(pattern: "Sequence[str]", name: "Sequence[str]") -> bool:
    """The same of both taken apart at their slashes, for who asks of one again and again.

    Only the last `**` is given more levels where what follows it does not fit: those before it need no
    others, for whatever they leave the last one could take as well.
    """
    at = place = 0
    again = -1  # behind the last **
    start = 0  # where what follows it was tried last
    while place < len(name):
        if at < len(pattern) and pattern[at] == "**":
            at += 1
            again = at
            start = place
        elif at < len(pattern) and (pattern[at] == "*" or pattern[at] == name[place]):
            at += 1
            place += 1
        elif again >= 0:
            at = again
            start += 1
            place = start
        else:
            return False
    while at < len(pattern) and pattern[at] == "**":
        at += 1
    return at == len(pattern)
