"""The meaning of a failed attempt: whether another would fail alike, which of several tells the most, and
what a driver's error is to users.

Knows of drivers' errors only those that busway/drivers/channel.py names.
"""

from __future__ import annotations

from busway.drivers.channel import Refusal
from busway.errors import LinkRefused
from busway.names import ascii_safe
from busway.protocol import codes

# Refusals that another attempt would hear again, as far as one can tell.
HOPELESS = (
    codes.NOT_BUSWAY,
    codes.BAD_VERSION,
    codes.BUS_NAME,
    codes.SELF,
    codes.DUPLICATE_LINK,
    codes.TOKEN,
    codes.LIMITS,
    codes.SAME_ROLE,
    codes.IDENTITY,
    codes.NOT_A_ROUTER,
    codes.UNTRUSTED,
    codes.PATTERN,
    codes.NOT_ADMITTED,
)


def text_of(error: BaseException) -> str:
    """The reason, for people: without the number that str() puts before it."""
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return ascii_safe(text)  # who answered may have chosen it


def for_users(error: BaseException) -> BaseException:
    """One sort of error for each sort of refusal, whatever the driver: LinkRefused for what was answered."""
    if not isinstance(error, Refusal):
        return error
    refused = LinkRefused(codes.NOT_BUSWAY, error.text or text_of(error))
    refused.__cause__ = error
    return refused


def is_hopeless(error: BaseException) -> bool:
    """Whether another attempt would fail in the same way as far as one can tell: a refusal of certain kinds,
    bad arguments, a library that is missing. Networks, names and programs come back.
    """
    if isinstance(error, LinkRefused):
        return error.code in HOPELESS or isinstance(error.__cause__, PermissionError)
    if isinstance(error, OSError):
        return isinstance(error, PermissionError) or bool(getattr(error, "hopeless", False))
    return True


def more_telling(former: BaseException | None, error: BaseException) -> BaseException:
    """Of the failures of two addresses the one that is told: who answered and refused says more than one that
    did not answer; else the later.
    """
    if former is None or _rank(error) >= _rank(former):
        return error
    return former


def _rank(error: BaseException) -> int:
    return 2 if is_hopeless(error) else int(isinstance(error, LinkRefused))
