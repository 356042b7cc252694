"""A contract whose annotations are texts, of which some are known to type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import busway

if TYPE_CHECKING:
    from elsewhere import Valve  # type: ignore[import-not-found]


@busway.service("lab/late")
class Late:
    """Names in it are as awkward as they may be."""

    class Part:
        """No type that can travel."""

    valve: Valve
    opened: busway.Signal[list[int]]

    async def list(self, of: int) -> list[int]:
        """Takes a name that a type has."""
        return [of]

    async def int(self) -> int:
        return 1
