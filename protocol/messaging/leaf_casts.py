"""Broadcasts of this node's leaves, as those get them who have subscribed by a pattern: a leaf knows no
directory, so its router makes the copies, in its name. The leaf says the name of an endpoint with the first
that it publishes to it (docs/protocol.md, section 11.1).
"""

from busway.protocol.messaging.correspondent import Correspondent
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.wire import codes
from busway.protocol.wire.address import address_of, uuid_of
from busway.protocol.wire.messages import Frame, with_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_NAMES_MAX: "Final" = 1024  # of one leaf, besides those of endpoints that have a number on its link


class LeafCasts:
    """The names that leaves have told, and the numbers of their copies."""

    def __init__(self, origin: SenderSide) -> None:
        self._directory = origin.directory
        self._lookups = origin.lookups
        self._names: "dict[LinkFace, dict[bytes, str]]" = {}

    def came(self, link: "LinkFace", frame: Frame, now: int) -> "list[bytes]":
        """A broadcast came from a leaf: the patterns that mean its name, which it need not say again. Who
        subscribes behind slow links, and beyond a fabric, is asked for in the leaf's place.
        """
        uuid = uuid_of(frame.endpoint)
        options = frame.options
        if options is not None and options.name:
            self._note(link, uuid, options.name)
            self._lookups.patterns.want(now)
            frame.options = with_name(options, "")
        self._lookups.ask_gateways(uuid, now)
        return self.patterns_of(link, uuid)

    def patterns_of(self, link: "LinkFace", uuid: bytes) -> "list[bytes]":
        """The patterns that mean the name of an endpoint, as the leaf at that link has told it."""
        patterns = self._directory.patterns
        if not patterns.size:
            return []
        return [each for each in patterns.find(self.name_of(link, uuid)) if each != uuid]

    def name_of(self, link: "LinkFace", uuid: bytes) -> str:
        """The name of an endpoint, as the leaf at that link has told it; "" if it has not."""
        names = self._names.get(link)
        return "" if names is None else names.get(uuid, "")

    def called(self, uuid: bytes) -> str:
        """The name by which a leaf calls an endpoint; "" if none does."""
        for names in self._names.values():
            if uuid in names:
                return names[uuid]
        return ""

    def _note(self, link: "LinkFace", uuid: bytes, name: str) -> None:
        names = self._names.get(link)
        if names is None:
            names = self._names[link] = {}
        if len(names) >= _NAMES_MAX and uuid not in names:
            bound = dict.fromkeys(link.aliases.ids)
            for other in list(names):
                if other not in bound:
                    del names[other]
        names[uuid] = name

    def ended(self, link: "LinkFace") -> None:
        """A link is gone."""
        self._names.pop(link, None)

    def copy(self, root: bytes, source: Correspondent, frame: Frame, pattern: bytes, name: str) -> Frame:
        """The copy of a leaf's broadcast for a pattern, along the tree of this node, `root`."""
        address = address_of(pattern, frame.lane())
        if not source.casts:
            source.casts = {}
        number = source.casts[address] = source.casts.get(address, 0) + 1
        format, type_id = frame.format, frame.type_id
        if format == codes.TYPED_AS_ENDPOINT:
            format, type_id = codes.TYPED, uuid_of(frame.endpoint)
        copy = Frame(codes.PUBLISH, root, address, number & 0xFFFF, frame.payload, format, type_id)
        copy.options = with_name(frame.options, name)
        copy.route = frame.route
        return copy
