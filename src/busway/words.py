"""Words that two people compare: six of a list of 256 that is computed here, 48 bits.

How few bits suffice is pairing.py's: whoever is in between has one guess.
"""

from __future__ import annotations

from typing import Final

COUNT: Final = 6
"""Words, and bytes that they stand for."""

# Each byte is two syllables. No two of a list sound alike, and none is in both lists.
_FIRST = ("ba", "de", "fi", "go", "hu", "ja", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "vu", "za")
_SECOND = (
    "bel",
    "dan",
    "fur",
    "gon",
    "kim",
    "lap",
    "mer",
    "nit",
    "pok",
    "rus",
    "sal",
    "tem",
    "vin",
    "wob",
    "yas",
    "zud",
)


def words_of(data: bytes) -> str:
    """Six bytes as six words. Raises ValueError for another number of bytes."""
    if len(data) != COUNT:
        raise ValueError(f"expected {COUNT} bytes, not {len(data)}")
    return " ".join(_FIRST[byte >> 4] + _SECOND[byte & 15] for byte in data)
