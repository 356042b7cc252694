"""How far endpoints and links reach, as the commands compare it. Knows no bus."""

from __future__ import annotations

from typing import Any

_REALMS = ("process", "userspace", "localnet", "global")


def is_narrower(realm: Any, than: Any) -> bool:
    """Whether an endpoint of the first does not pass a link of the second; never for words that are none."""
    return realm in _REALMS and than in _REALMS and _REALMS.index(realm) < _REALMS.index(than)
