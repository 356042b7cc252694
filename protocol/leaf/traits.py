"""Labels and last words of a small leaf's endpoints, as they travel. Loaded by boards that have some."""

from busway.protocol.errors import LocalError
from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable


def pack_traits(labels: "Iterable[str]", gone: bytes) -> bytes:
    """Labels and a last word as an entry's extension (docs/protocol.md, section 4). Raises LocalError."""
    items = b""
    count = 0
    for label in sorted(set(labels)):
        raw = label.encode()
        count += 1
        if not 1 <= len(raw) <= codes.LABEL_SIZE_MAX or count > codes.LABELS_MAX or isinstance(labels, str):
            raise LocalError("labels are a set of at most 8 texts, each of 1 to 32 bytes of UTF-8")
        items += bytes((1, len(raw))) + raw
    if gone:
        if len(gone) > 1 + codes.GONE_SIZE_MAX:
            raise LocalError("a last word has at most 128 bytes")
        items += bytes((2, len(gone))) + gone
    return varint(len(items)) + items if items else b""
