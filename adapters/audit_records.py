"""The records of the audit trail, and how they stand in a log: one line each, in which nothing that others
have chosen does any harm. Knows no bus.
"""

from __future__ import annotations

import logging
import re
from typing import Final, NamedTuple

from busway.names import ascii_safe

LOGGER: Final = logging.getLogger("busway.audit")
TEXT_MAX: Final = 256  # characters of a field
_BARE = r"[\w.:/@+%\[\]-]+"  # compiled at first use

Value = str | int | float | bool
Fields = dict[str, Value]


class Record(NamedTuple):
    """Something that happened: `time` in seconds since 1970; `what` "join", "leave", "refusal", "displaced",
    "conflict", "quota" or "denial"; `fields` without anything that a terminal might obey.
    """

    time: float
    what: str
    fields: Fields

    def row(self) -> dict[str, object]:
        """For the introspection endpoint, and those who watch."""
        return {"time": self.time, "what": self.what, "fields": self.fields}


class Line:
    """A record on its way to the log: the line is made if somebody wants it."""

    def __init__(self, record: Record, node: str, label: str) -> None:
        self._record = record
        self._here: Fields = {"node": node, "label": label}

    def __call__(self) -> None:
        record = self._record
        whole = {"time": record.time, "what": record.what, **self._here, **record.fields}
        LOGGER.info("%s", line(record.what, record.fields | self._here), extra={"busway": whole})


def line(what: str, fields: Fields) -> str:
    """A record as one line: `what key=value ...`. A value with blanks or quotes in it is a JSON string."""
    return " ".join([what, *(f"{name}={_quoted(value)}" for name, value in fields.items())])


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if re.fullmatch(_BARE, text, re.ASCII):
        return text
    import json  # most programs have no use for it

    return json.dumps(ascii_safe(text), ensure_ascii=False)


def safe(value: Value) -> Value:
    """Nothing that could steer a terminal, begin a line, or fill a disk."""
    if not isinstance(value, str):
        return value
    if len(value) <= TEXT_MAX and value.isprintable():
        return value
    text = ascii_safe(value[:TEXT_MAX])
    return text if len(text) <= TEXT_MAX and len(value) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
