"""The arguments of a bus that joins the local network: checked before anything is opened."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from busway import tokens
from busway.adapters.arguments import check_token
from busway.errors import MissingLibrary

if TYPE_CHECKING:
    from busway.adapters.identity import Identity

_NOBODY = (
    "lan=True listens on the network: give token=... that all of its programs know (`busway token` makes"
    " one), or trust=... with the keys that may join, and key=... (`busway key new`, `busway pair`)"
)
_NO_KEY = (
    "lan=True with trust=... needs key=...: a key of one run is in nobody's trust file (`busway key new`)"
)


def check_lan(
    identity: Identity, token: str | None, leaf: bool, transit: bool | None
) -> tuple[bool, str | None]:
    """Whether it forwards, and the token. Raises TypeError; ValueError for what would listen to strangers, or
    cannot join; MissingLibrary.
    """
    if leaf or transit is False:
        raise ValueError(
            "lan=True forwards for its neighbours: it goes neither with leaf=True nor transit=False"
        )
    if token is None:
        token = tokens.from_environment()
    check_token(token)
    tokens.check_strength(token, remedy="")  # there is no weak= for it
    trusts = identity.trust is not None or bool(os.environ.get("BUSWAY_TRUST"))
    if token is None and not trusts:
        raise ValueError(_NOBODY)
    if trusts and identity.key is None and not os.environ.get("BUSWAY_KEY"):
        raise ValueError(_NO_KEY)
    if find_spec("zeroconf") is None:
        from busway.drivers.extras import missing

        raise MissingLibrary(missing("lan=True needs", "lan"))
    return True, token
