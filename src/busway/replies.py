"""Types that a caller wants a reply to be: a message type, a union of some, or what a field may be."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

from busway.classes import label_of, members_of
from busway.errors import PayloadError
from busway.messages import converter_of, declaration_by_id, declaration_of
from busway.names import uuid_text
from busway.payloads import TYPED, converted

if TYPE_CHECKING:
    from busway.convert import Converter


class ReplyType:
    """The type that a caller wants a reply to be; made by `reply_type`.

    Of a union a reply of a message type is the member of that type, and one without a type any other member;
    where only one is a message type, such a reply may be that one as well.
    """

    __slots__ = ("converter", "declared", "label", "members")

    def __init__(self, wanted: Any) -> None:
        self.members = tuple(members_of(wanted))
        self.label = " | ".join(map(label_of, self.members))
        found = [declaration_of(member) for member in self.members if isinstance(member, type)]
        self.declared = {each.type_id: each for each in found if each is not None}
        for each in self.declared.values():
            each.converter()  # its annotations are looked at now, and not at the first reply
        self.converter = self._untyped(wanted)

    def _untyped(self, wanted: Any) -> Converter | None:
        """Of what comes without a type; None if it has to have one."""
        if _is_declared(wanted):
            return next(iter(self.declared.values())).converter()
        if len(self.declared) < 2:
            return converter_of(wanted)
        others = tuple(member for member in self.members if not _is_declared(member))
        return converter_of(Union[others]) if others else None  # noqa: UP007 - their number varies

    def check(self, value: Any) -> Any:
        """A value that never was bytes, of an endpoint of realm "process". Raises PayloadError."""
        plain = all(isinstance(member, type) and member is not Any for member in self.members)
        if plain and not isinstance(value, self.members):
            raise PayloadError(f"expected {self.label}, got {type(value).__qualname__}")
        return value

    def decode(self, payload: bytes | memoryview, format: int, type_id: bytes) -> Any:
        """A reply as it came to the value that is wanted. Raises PayloadError and nothing else.

        A reply of a message type must be of a type that is wanted; one without a type is converted.
        """
        label, converter = self.label, self.converter
        if format == TYPED:
            declaration = self.declared.get(type_id)
            converter = declaration.converter() if declaration is not None else None
            label = declaration.cls.__name__ if declaration is not None else label
        if converter is None:
            raise PayloadError(f"expected {label}, got {_came(format, type_id)}", bytes(payload))
        return converted(payload, format, converter, label)


def _is_declared(kind: Any) -> bool:
    return isinstance(kind, type) and declaration_of(kind) is not None


def _came(format: int, type_id: bytes) -> str:
    if format != TYPED:
        return "a value without a type"
    came = declaration_by_id(type_id)
    return came.cls.__qualname__ if came else f"the message type {uuid_text(type_id)}"


def reply_type(wanted: Any) -> ReplyType:
    """The type that `request(reply=...)` asks for: a class declared with `message`, a union of such classes,
    or any annotation that a field may have, such as `float`, `list[int]`, `bytes` or a dataclass.

    Raises:
        TypeError: something that cannot be checked on arrival.
    """
    try:
        return _cached_reply_type(wanted) if _is_hashable(wanted) else ReplyType(wanted)
    except TypeError as error:
        raise TypeError(f"reply: {error}") from None


def _is_hashable(wanted: Any) -> bool:
    """`Annotated` with a list, for one, is not."""
    try:
        hash(wanted)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=1024)
def _cached_reply_type(wanted: Any) -> ReplyType:
    return ReplyType(wanted)
