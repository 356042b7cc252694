"""Traits of an endpoint, what it says of itself besides its name: labels and a last word (docs/protocol.md,
section 4). A reader keeps them as the bytes that it would write, so that what thousands of entries have costs
no more than that; knows nothing of entries.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Iterable

_LABEL: "Final" = 1
_GONE: "Final" = 2


def check_labels(labels: "Iterable[object]") -> "list[str]":
    """Labels in their order on the wire, each once. Raises LocalError for those that no endpoint may have."""
    if isinstance(labels, str):
        raise LocalError("labels are a set of texts, not one text: labels={%r}" % labels)
    found: "dict[bytes, str]" = {}
    for label in labels:
        if not isinstance(label, str):
            raise LocalError("a label must be a text, not %r" % (label,))
        try:
            raw = label.encode()
        except UnicodeError:
            raise LocalError("a label must be text that UTF-8 can say, not %r" % label) from None
        if not 1 <= len(raw) <= codes.LABEL_SIZE_MAX:
            raise LocalError("a label must have 1 to 32 bytes of UTF-8: %r has %d" % (label, len(raw)))
        found[raw] = label
    if len(found) > codes.LABELS_MAX:
        raise LocalError("an endpoint has at most 8 labels, with those of its node; not %d" % len(found))
    return [found[raw] for raw in sorted(found)]


def pack_traits(labels: "Iterable[str]", gone: bytes) -> bytes:
    """The items of an extension: labels, and of a last word format, type and payload, b"" for none; b"" if
    there is neither. Raises LocalError.
    """
    items = b""
    for label in check_labels(labels):
        raw = label.encode()
        items += bytes((_LABEL, len(raw))) + raw
    if gone:
        _check_gone(gone)
        items += bytes((_GONE, len(gone))) + gone
    return items


def _check_gone(gone: bytes) -> None:
    before = 1 + (codes.ID_SIZE if gone[0] == codes.TYPED else 0)
    if len(gone) - before > codes.GONE_SIZE_MAX:
        raise LocalError(
            "a last word has at most %d bytes, not %d" % (codes.GONE_SIZE_MAX, len(gone) - before)
        )


def fit_traits(items: bytes, room: int) -> bytes:
    """As many items of an extension, from the first on, as fit into `room` bytes with its length."""
    stop = len(items)
    if stop + len(varint(stop)) <= room:
        return items
    at = stop = 0
    while at < len(items):
        at += 2 + items[at + 1]
        if at + len(varint(at)) <= room:
            stop = at
    return items[:stop]


def write_traits(items: bytes) -> bytes:
    """The extension of an entry: its items with their length before them; b"" if there are none."""
    return varint(len(items)) + items if items else b""


def read_traits(extension: bytes) -> bytes:
    """The items of an extension, its length not before them, as `pack_traits` has them; unknown ones are
    skipped. Raises Refusal.
    """
    if not extension:
        return extension
    within = Reader(extension, 0, len(extension))
    labels: "list[bytes]" = []
    gone = b""
    while within.left():
        which = within.u8()
        value = within.take(within.u8())
        if which == _LABEL:
            labels.append(_read_label(value, len(labels)))
        elif which == _GONE:
            if gone:
                raise Refusal(codes.MALFORMED, "two last words")
            gone = _read_gone(value)
    items = b""
    last = b""
    for raw in sorted(labels):
        if raw != last:  # twice is once
            items += bytes((_LABEL, len(raw))) + raw
        last = raw
    return items + bytes((_GONE, len(gone))) + gone if gone else items


def _read_label(raw: bytes, before: int) -> bytes:
    if not 1 <= len(raw) <= codes.LABEL_SIZE_MAX or before == codes.LABELS_MAX:
        raise Refusal(codes.MALFORMED, "a label has not 1 to 32 bytes, or it is the ninth")
    text(raw)
    return raw


def _read_gone(raw: bytes) -> bytes:
    before = 1
    if raw and raw[0] == codes.TYPED:
        before += codes.ID_SIZE
    if not before <= len(raw) <= before + codes.GONE_SIZE_MAX or raw[0] > codes.TYPED:
        raise Refusal(codes.MALFORMED, "a last word without format or type, or longer than 128 bytes")
    return raw


def labels_of(items: bytes) -> "list[bytes]":
    """The labels in what `read_traits` and `pack_traits` return, in UTF-8."""
    found: "list[bytes]" = []
    at = 0
    while at < len(items) and items[at] == _LABEL:
        stop = at + 2 + items[at + 1]
        found.append(items[at + 2 : stop])
        at = stop
    return found


def without_gone(items: bytes) -> bytes:
    """The same without a last word, which stands last."""
    gone = gone_of(items)
    return items[: len(items) - len(gone) - 2] if gone else items


def gone_of(items: bytes) -> bytes:
    """The last word in it: format, type and payload; b"" for none."""
    at = 0
    while at < len(items):
        stop = at + 2 + items[at + 1]
        if items[at] == _GONE:
            return items[at + 2 : stop]
        at = stop
    return b""
