"""Endpoint names as callers give them, and patterns. One that looks like a pattern of other systems is a name
like any other: say so once, where it was written, before somebody waits for messages that never come.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from typing import Any

from busway.errors import LiteralName
from busway.messages import declaration_by_id, declaration_of
from busway.names import endpoint_id, id_of_text
from busway.protocol.errors import LocalError
from busway.protocol.wire.patterns import check_pattern
from busway.selectors import Selector

# A word of its own that other systems take for "any": MQTT's # and +, NATS's >. Looked for once a name has
# one of these marks.
_MARKS = "#+>"
_PATTERN = r"(?:^|[/.])[#+>](?:$|[/.])"

_NAMES_MAX = 16384  # as many as src/busway/names.py remembers
_names: dict[bytes, str] = {}
IDS: dict[str, bytes] = {}  # of the same names: who finds one here need not call `id_of_name`


def remark(name: object) -> str:
    """The warning of a name that looks like a pattern; "" for any other."""
    if not isinstance(name, str) or not any(mark in name for mark in _MARKS):
        return ""
    if not re.search(_PATTERN, name):
        return ""
    return (
        f"{name!r} is the name of one endpoint and means no others: in a pattern * stands for one level, "
        'and ** for any number of levels, as in "lab/**"'
    )


def check_single(name: str) -> None:
    """Raises ValueError for what is no name of one endpoint."""
    if "*" in name:
        _check_pattern(name)
        raise ValueError(
            f"{name!r} is a pattern, which stands for many names and is for subscribe: "
            "give the name of one endpoint here"
        )


def _check_pattern(name: str) -> None:
    try:
        check_pattern(name)
    except LocalError as error:
        raise ValueError(str(error)) from None


def id_of_subscribed(target: Any) -> bytes:
    """As `id_of`, of what may be a pattern. Raises ValueError."""
    if type(target) is not str or "*" not in target:
        return id_of(target)
    _check_pattern(target)
    return id_of_text(target)


def id_of_name(name: str) -> bytes:
    """The 16 bytes that a name stands for; warns of one that looks like a pattern of other systems, at its
    first use. Raises ValueError.
    """
    found = IDS.get(name)
    if found is not None:
        return found
    check_single(name)
    text = remark(name)
    if text:
        warnings.warn(text, LiteralName, stacklevel=_callers_level())
    found = id_of_text(name)
    if len(IDS) >= _NAMES_MAX:
        IDS.clear()
    if len(_names) >= _NAMES_MAX:
        with contextlib.suppress(KeyError, RuntimeError):  # another thread does the same
            del _names[next(iter(_names))]
    IDS[name] = found
    _names.pop(found, None)
    _names[found] = name  # as the last: the core asks for the name of whatever is in IDS
    return found


def name_of(endpoint: bytes) -> str:
    """The name by which this process has called an endpoint, or that of a message class which it declared;
    "" if by none, or long ago.
    """
    name = _names.get(endpoint)
    if name is None:
        declared = declaration_by_id(endpoint)
        name = declared.name if declared is not None else ""
    return name


def text_of(target: Any) -> str:
    """An endpoint for people: as it was called or declared, else the class that stands for it here, else the
    beginning of its UUID.
    """
    if isinstance(target, (str, Selector)):
        return str(target)
    found = endpoint_id(target)
    declared = declaration_by_id(found)
    return name_of(found) or (declared.cls.__qualname__ if declared is not None else found.hex()[:8])


def id_of(target: Any) -> bytes:
    """As `endpoint_id`, and warns as `id_of_name`."""
    return id_of_name(target) if type(target) is str else endpoint_id(target)


def id_taking(target: Any, payload: Any) -> bytes:
    """As `id_of`, of an endpoint that this payload may be sent to: a message class takes its own instances
    only. Of a selector its address. Raises TypeError.
    """
    if type(target) is str:
        return id_of_name(target)
    if type(target) is Selector:
        return target.address()
    found = endpoint_id(target)
    if isinstance(target, type) and type(payload) is not target:
        _check_instance(target, found, payload)
    return found


def _check_instance(target: type, endpoint: bytes, payload: Any) -> None:
    """A class declared under the same UUID, as after a reload, and an object of this process will do."""
    declared = declaration_of(type(payload))
    if isinstance(payload, target) if declared is None else declared.type_id == endpoint:
        return
    name = target.__qualname__
    got = "None" if payload is None else type(payload).__qualname__
    raise TypeError(
        f"endpoint {name} takes {name}, not {got}: write {name}(...), or give the endpoint's name for others"
    )


def _callers_level() -> int:
    """The distance to the first line that is not Busway's own, as `warnings.warn` counts for its caller."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("busway."):
        frame = frame.f_back
        level += 1
    return level
