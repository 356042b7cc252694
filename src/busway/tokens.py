"""Tokens, the secrets of links: makes them, reads them from files, keeps them from others. Knows no link.

Whoever hears one handshake can try guesses at home, as fast as that machine hashes. So a token is as good as
it is hard to guess: `busway token` makes one of 128 random bits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

LENGTH_MIN: Final = 20
"""Characters of a token that is not weak: of 128 random bits there are 22 in base 64, 26 in base 32."""

PAIRS_MIN: Final = 14
"""Different pairs of neighbours in it: a random text of that length has more, "1234567890" twice has 10."""

FILE_SIZE_MAX: Final = 4096
VARIABLES: Final = ("BUSWAY_TOKEN", "BUSWAY_TOKEN_FILE")


def make() -> str:
    """A new token: 128 random bits as 26 letters and digits that nobody mistakes for each other."""
    import base64
    import secrets

    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def check_strength(token: str | None, weak: object = False, remedy: str = ", or say weak=True") -> None:
    """Raises ValueError for a token that can be guessed, unless `weak`; the sentence does not tell it."""
    if not isinstance(weak, bool):
        raise TypeError(f"weak must be True or False, not {weak!r}")
    if token is None or weak:
        return
    if len(token) < LENGTH_MIN:
        fault = f"has {len(token)} characters, and fewer than {LENGTH_MIN} can be guessed"
    elif len(set(pairwise(token))) < PAIRS_MIN:
        fault = "repeats itself, and can be guessed"
    else:
        return
    raise ValueError(f"the token {fault}: make one with `busway token`{remedy}")


def read_file(path: str) -> str:
    """The token in a file, without the line end. Raises OSError, ValueError for a file that is none, or that
    every user of this machine may read.
    """
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        if (
            os.name == "posix"
            and stat.S_ISREG(found.st_mode)
            and found.st_mode & (stat.S_IROTH | stat.S_IWOTH)
        ):
            raise ValueError(f"every user of this machine may read or write {path}: run chmod 600 {path}")
        data = file.read(FILE_SIZE_MAX + 1)
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or len(data) > FILE_SIZE_MAX:
        raise ValueError(f"{path} holds no token: expected one line of text")
    return text


def from_environment() -> str | None:
    """The token that BUSWAY_TOKEN is, or that is in the file BUSWAY_TOKEN_FILE. Raises as `read_file`."""
    token = os.environ.get("BUSWAY_TOKEN")
    if token:
        return token
    path = os.environ.get("BUSWAY_TOKEN_FILE")
    return read_file(path) if path else None


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for another program, which need not know."""
    secrets = (*VARIABLES, "BUSWAY_PASSPHRASE")
    return {name: value for name, value in environment.items() if name not in secrets}
