"""Keys that are made of a source and a uuid, by either: there may be thousands, and who asks for those of one
source or uuid pays for these alone. Knows nothing of what they stand for.
"""

from busway.protocol.wire import codes

# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NO_KEYS: "dict[bytes, bool]" = {}
_NO_GROUPS: "dict[bytes, dict[bytes, bool]]" = {}


class Grouped:
    """A set of keys of 36 bytes."""

    __slots__ = (
        "_sources",
        "_uuids",
        "keys",
    )

    def __init__(self) -> None:
        self.keys = _NO_KEYS  # all, the oldest first
        self._sources = _NO_GROUPS
        self._uuids = _NO_GROUPS

    def add(self, key: bytes) -> None:
        """One more; one that is there is left alone."""
        if not self.keys:
            self.keys = {}
            self._sources = {}
            self._uuids = {}
        self.keys[key] = True
        self._sources.setdefault(key[: codes.KEY_SIZE], {})[key] = True
        self._uuids.setdefault(key[codes.KEY_SIZE :], {})[key] = True

    def remove(self, key: bytes) -> None:
        """One less, if it is there."""
        if not self.keys or not self.keys.pop(key, False):
            return
        _drop(self._sources, key[: codes.KEY_SIZE], key)
        _drop(self._uuids, key[codes.KEY_SIZE :], key)

    def of_source(self, source: bytes) -> "list[bytes]":
        """The keys that begin with it."""
        return list(self._sources.get(source, ()))

    def of_uuid(self, uuid: bytes) -> "list[bytes]":
        """The keys that end with it."""
        return list(self._uuids.get(uuid, ()))


def _drop(groups: "dict[bytes, dict[bytes, bool]]", part: bytes, key: bytes) -> None:
    group = groups[part]
    del group[key]
    if not group:
        del groups[part]
