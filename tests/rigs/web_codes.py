"""Writes the core's numbers and names for the JavaScript client: `python -m tests.rigs.web_codes`."""

from __future__ import annotations

import json
import re

from busway.protocol.wire import codes
from tests.rigs.tree import SOURCE

TARGET = SOURCE / "web" / "codes.js"
_HEAD = """\
/* Numbers of the wire format, limits and names, of protocol/wire/codes.py.

   Written by python -m tests.rigs.web_codes: change them there. */

"""


def script() -> str:
    """The text of codes.js: what the client's other files use of the core's numbers and names."""
    used = {
        word
        for path in TARGET.parent.rglob("*.js")
        if path != TARGET
        for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", path.read_text())
    }
    found = [(name, value) for name, value in vars(codes).items() if name in used]
    return _HEAD + "".join(f"export const {name} = {_literal(value)};\n" for name, value in found)


def _literal(value: object) -> str:
    if isinstance(value, dict):
        rows = "".join(f"  {number}: {json.dumps(name)},\n" for number, name in value.items())
        return f"{{\n{rows}}}"
    if not isinstance(value, int):
        raise TypeError(f"no number and no table: {value!r}")
    return str(value)


if __name__ == "__main__":
    TARGET.write_text(script(), encoding="utf-8")
