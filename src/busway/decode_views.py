"""Frames as `busway.decode` explains them, and how to show them: text, rich, JSON. Knows no format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from busway.wire_names import ERROR_NAMES

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Field", "Frame", "render_rich", "render_text", "to_json"]

_HEX_SHOWN_MAX = 8  # bytes


@dataclass(frozen=True, slots=True)
class Field:
    """A few bytes of a frame and what they mean.

    Attributes:
        offset: of the first byte, in the stream.
        length: in bytes; 0 for what follows from others, such as a message put together.
        name: as docs/protocol.md calls it.
        value: as people read it.
    """

    offset: int
    length: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame with its length in front. Its fields cover `raw` without gap or overlap.

    Attributes:
        direction: the label of the direction.
        offset: of the first byte, in the stream.
        raw: its bytes.
        name: "SEND", "SIGNAL CREDIT" and so on; "error", "incomplete" or "not read" where it is no frame.
        fields: in order.
        problem: what was expected where; "" if nothing is wrong.
        code: the link error (section 8 of docs/protocol.md) that it leads to; None if none.
    """

    direction: str
    offset: int
    raw: bytes
    name: str
    fields: tuple[Field, ...]
    problem: str = ""
    code: int | None = None

    def bytes_of(self, field: Field) -> bytes:
        start = field.offset - self.offset
        return self.raw[start : start + field.length]


def to_json(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    """The frames as dicts that JSON can carry; bytes as hex."""
    return [_frame_dict(frame) for frame in frames]


def _frame_dict(frame: Frame) -> dict[str, Any]:
    error = None if frame.code is None else {"code": frame.code, "name": ERROR_NAMES[frame.code]}
    return {
        "direction": frame.direction,
        "offset": frame.offset,
        "length": len(frame.raw),
        "name": frame.name,
        "hex": frame.raw.hex(),
        "fields": [asdict(field) for field in frame.fields],
        "problem": frame.problem,
        "error": error,
    }


def render_text(frames: Iterable[Frame]) -> str:
    """The frames as lines of plain text, each with a line end; nothing in it can steer a terminal."""
    return "".join(text + "\n" for text, _ in _lines(frames))


def render_rich(frames: Iterable[Frame]) -> Text:
    """The frames as text with colours for the library rich."""
    from rich.text import Text

    whole = Text()
    for text, style in _lines(frames):
        whole.append(text + "\n", style=style)
    return whole


def _lines(frames: Iterable[Frame]) -> Iterator[tuple[str, str]]:
    for frame in frames:
        label = f"{_safe(frame.direction)}  " if frame.direction else ""
        size = f"{len(frame.raw)} byte{'s' if len(frame.raw) != 1 else ''}"
        yield f"{label}{frame.name}  {size} at {frame.offset}", "bold red" if frame.problem else "bold"
        yield from _field_lines(frame)
        if frame.problem:
            yield f"  ! {_problem(frame)}", "red"


def _field_lines(frame: Frame) -> Iterator[tuple[str, str]]:
    name_width = max((len(field.name) for field in frame.fields), default=0)
    for field in frame.fields:
        data = frame.bytes_of(field)
        digits = data[:_HEX_SHOWN_MAX].hex() + (".." if len(data) > _HEX_SHOWN_MAX else "")
        yield f"  {field.offset:>6}  {digits:<18}  {field.name:<{name_width}}  {field.value}", ""


def _problem(frame: Frame) -> str:
    if frame.code is None:
        return frame.problem
    return f"{frame.problem}: error {ERROR_NAMES[frame.code]} ({frame.code})"


def _safe(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
