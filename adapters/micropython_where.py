"""Selectors on boards, as `busway.where` makes them on computers: for `Loop.send` and `Loop.request`.

Loaded by programs that use them. Knows only how an expression is written (docs/protocol.md, section 4.4).
"""

from busway.protocol import codes
from busway.protocol.leaf.selecting import submit_selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_LABEL: "Final" = 1
_NAME: "Final" = 2


class Selector:
    """A choice of receivers; `&`, `|` and `~` join them. `expression` are its bytes on the wire."""

    def __init__(self, expression: bytes, terms: int) -> None:
        if len(expression) > codes.SELECTOR_SIZE_MAX or terms > codes.SELECTOR_TERMS_MAX:
            raise ValueError("a selector has 64 labels, names and operators and 512 bytes at most")
        self.expression = expression
        self.terms = terms

    def submit(self, leaf: "Any", kind: int, *options: "Any") -> int:
        """As `Leaf.submit`, to those that it means."""
        return submit_selected(leaf, kind, self.expression, *options)

    def __and__(self, other: "Selector") -> "Selector":
        return Selector(self.expression + other.expression + b"\3", self.terms + other.terms + 1)

    def __or__(self, other: "Selector") -> "Selector":
        return Selector(self.expression + other.expression + b"\4", self.terms + other.terms + 1)

    def __invert__(self) -> "Selector":
        return Selector(self.expression + b"\5", self.terms + 1)


class Where:
    """Makes selectors: `where("renderer", "gpu")` means what has these labels, `where.name("render/*")` what
    has that name, or one that the pattern means."""

    def __call__(self, label: str, *labels: str) -> Selector:
        """All that has these labels. Raises ValueError."""
        selector = _term(_LABEL, label, codes.LABEL_SIZE_MAX)
        for other in labels:
            selector = selector & _term(_LABEL, other, codes.LABEL_SIZE_MAX)
        return selector

    def name(self, pattern: str) -> Selector:
        """All that has that name, or one that the pattern means. Raises ValueError."""
        return _term(_NAME, pattern, codes.TEXT_SIZE_MAX)


def _term(kind: int, text: str, size_max: int) -> Selector:
    raw = text.encode()
    if not 1 <= len(raw) <= size_max:
        raise ValueError("a label has 1 to 32 bytes of UTF-8, a name or pattern 1 to 64")
    return Selector(bytes((kind, len(raw))) + raw, 1)


where = Where()
