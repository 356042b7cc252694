"""Files and regions of messages, between the calls of a bus and those of the core. What has none passes by
here without loading anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from busway.protocol import Request, events

if TYPE_CHECKING:
    from busway.attached import Attached


def attach(
    payload: Any,
    files: Any,
    regions: Any,
    attached: Any = False,
    *,
    sealed: Any = False,
    otherwise: str = "",
) -> Any:
    """A payload, with `files` and `regions` if they are not None; `attached`: the answer may have some.
    Raises TypeError, OSError; ValueError, also where it is to be sealed, or go `otherwise` than from program
    to program.
    """
    if files is None and regions is None and attached is False:
        return payload
    if sealed is not False:
        otherwise = "sealed"
    if otherwise:
        raise ValueError(f"what is {otherwise} has no files or regions: they go from program to program")
    if files is None and regions is None:
        return payload
    from busway.attached import Attached

    return Attached.once(payload, () if files is None else files, () if regions is None else regions)


def is_attached(value: Any) -> bool:
    """Whether it is a `busway.Attached`, found out without loading that."""
    loaded = sys.modules.get("busway.attached")
    return loaded is not None and isinstance(value, loaded.Attached)


def taken_apart(payload: Any) -> tuple[Any, dict[str, Any]]:
    """A payload alone, and what goes with it as arguments of the core. Raises ValueError, OSError."""
    return (payload.payload, payload.words()) if is_attached(payload) else (payload, {})


def given_apart(payload: Any) -> tuple[Any, dict[str, Any]]:
    """The same of what `attach` gave. An Attached that the program gave itself stays whole: what encodes it
    says what to send instead.
    """
    return taken_apart(payload) if is_attached(payload) and payload.goes_once else (payload, {})


def sending(send: Callable[..., Any], words: dict[str, Any]) -> Callable[..., Any]:
    """A call of the core that is given these arguments, which most have none of, too."""
    return partial(send, **words) if words else send


def answer_apart(asked: Request, value: Any) -> tuple[Any, dict[str, Any]]:
    """As `taken_apart` of an answer. Raises ValueError also for one that is to be sealed."""
    value, words = taken_apart(value)
    if words and getattr(asked, "seal", None) is not None:
        raise ValueError("an answer to what came sealed has no files or regions: nobody could seal them")
    return value, words


def answering(asked: Request, respond: Callable[..., int], value: Any) -> tuple[Callable[..., int], Any]:
    """A call of the core for an answer, which is given what goes with a value; and the value. Raises as
    `answer_apart`.
    """
    value, words = answer_apart(asked, value)
    return sending(respond, words), value


def attached_to(outcome: events.Outcome, value: Any) -> Attached:
    """The value of an answer, with what came with it."""
    from busway.attached import Attached

    brought = getattr(outcome, "beside", None)
    if brought is None:
        return Attached(value)
    return Attached.came(value, brought.items, brought.region_count)
