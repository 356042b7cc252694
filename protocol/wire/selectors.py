"""Selectors on the wire: an expression over the labels and names of endpoints, in postfix (docs/protocol.md,
section 4.4). Reads and evaluates it in one pass without nesting, so what it costs follows from its length.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text
from busway.protocol.wire.patterns import match_levels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Sequence

LABEL: "Final" = 1  # is true of endpoints with that label
NAME: "Final" = 2  # ... whose name fits that pattern
AND: "Final" = 3  # of the two results before it
OR: "Final" = 4
NOT: "Final" = 5  # of the one before it

BUILT_IN: "Final" = "busway/"  # begins the names of Busway's own endpoints, which no selector means


def write_operand(kind: int, value: str) -> bytes:
    """LABEL or NAME; the caller has checked that it fits."""
    raw = value.encode()
    return bytes((kind, len(raw))) + raw


class Selector:
    """An expression that has been read. Raises Refusal for bytes that are none."""

    __slots__ = ("_kinds", "_labels", "_patterns", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._kinds: "list[int]" = []
        self._labels: "list[bytes]" = []  # in the order in which they are asked for
        self._patterns: "list[list[str]]" = []
        self._read()

    def _read(self) -> None:
        if not 0 < len(self.data) <= codes.SELECTOR_SIZE_MAX:
            raise _refusal("has 1 to 512 bytes, not %d" % len(self.data))
        reader = Reader(self.data, 0, len(self.data))
        depth = 0  # results that wait for an operator
        while reader.left():
            kind = reader.u8()
            if kind == LABEL or kind == NAME:
                self._read_operand(kind, reader)
                depth += 1
            elif kind == NOT or kind == AND or kind == OR:
                depth -= kind != NOT
            else:
                raise _refusal("has an operator that nobody knows: %d" % kind)
            if depth < 1:
                raise _refusal("lacks what an operator joins")
            self._kinds.append(kind)
        if depth != 1 or len(self._kinds) > codes.SELECTOR_TERMS_MAX:
            raise _refusal("is one expression of at most 64 terms")

    def _read_operand(self, kind: int, reader: Reader) -> None:
        raw = reader.take(reader.u8())
        most = codes.LABEL_SIZE_MAX if kind == LABEL else codes.TEXT_SIZE_MAX
        if not 0 < len(raw) <= most:
            raise _refusal("has a label of 1 to 32 bytes, a name of 1 to 64")
        value = text(raw)
        if kind == LABEL:
            self._labels.append(raw)
        else:
            self._patterns.append(value.split("/"))

    def fits(self, labels: "Sequence[bytes]", name: str) -> bool:
        """Whether an endpoint with these labels, in UTF-8, and that name is meant."""
        levels: "list[str]" = []
        results: "list[bool]" = []
        label = pattern = 0
        for kind in self._kinds:
            if kind == LABEL:
                results.append(self._labels[label] in labels)
                label += 1
            elif kind == NAME:
                if not levels:
                    levels = name.split("/")
                results.append(name != "" and match_levels(self._patterns[pattern], levels))
                pattern += 1
            elif kind == NOT:
                results[-1] = not results[-1]
            else:
                last = results.pop()
                results[-1] = (results[-1] and last) if kind == AND else (results[-1] or last)
        return results[0] and not name.startswith(BUILT_IN)

    def work(self) -> int:
        """The steps that one endpoint costs at the most, about."""
        return len(self._kinds) + 8 * sum([len(pattern) for pattern in self._patterns])


def _refusal(what: str) -> Refusal:
    return Refusal(codes.MALFORMED, "a selector " + what)
