"""Message types: classes with a UUID of their own. Knows declared classes; nothing of bytes or endpoints.

@busway.message("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2d")
@dataclass
class Reading:
    celsius: float
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from busway.classes import is_own_dataclass, is_struct, label_of, members_of
from busway.names import check_name, endpoint_id, is_uuid, uuid_text

if TYPE_CHECKING:
    import uuid

    from busway.convert import Converter

T = TypeVar("T")


class Declaration:
    """Notes of `message` about a class; hang on it as `__busway_message__`.

    A subclass inherits the attribute but not the declaration: whoever reads it compares `cls`.
    """

    __slots__ = ("_converter", "cls", "name", "type_id")

    def __init__(self, cls: type, type_id: bytes, name: str) -> None:
        self.cls = cls
        self.type_id = type_id
        self.name = name
        self._converter: Converter | None = None

    def converter(self) -> Converter:
        """Builds, at first use since annotations may refer forward, what makes instances of plain values.

        Raises:
            TypeError: an annotation that cannot be resolved, or not be checked on arrival.
        """
        if self._converter is None:
            try:
                self._converter = converter_of(self.cls)
            except NameError as error:
                raise TypeError(
                    f"an annotation of {self.cls.__qualname__} cannot be resolved: {error}; "
                    "define what it mentions at the top level of the module"
                ) from error
        return self._converter

    def try_converter(self) -> None:
        """Builds the converter now unless an annotation refers forward; TypeError as `converter`."""
        with contextlib.suppress(NameError):
            self._converter = converter_of(self.cls)


_declared: dict[bytes, Declaration] = {}
_lock = threading.Lock()


def message(type_id: str | uuid.UUID = "", *, name: str = "") -> Callable[[type[T]], type[T]]:
    """Declares a dataclass or msgspec Struct as a message type. The decorator stands above `@dataclass`.

    Instances are sent as CBOR maps of their fields together with the type's UUID, and checked against the
    annotations on arrival: fields unknown to the receiver are ignored, missing ones take their default. The
    class also stands for the endpoint of that UUID.

    Args:
        type_id: the type's UUID, drawn at random once (`python -c "import uuid; print(uuid.uuid4())"`) and
            never reused for something else. By default it is made from the name, as an endpoint's is: then
            `name` stands for the endpoint as well as the class does, and whoever declares something else
            under the same name gets these messages, too.
        name: what people see as the endpoint's name, up to 64 UTF-8 bytes; none by default.

    Returns:
        The class itself.

    Raises:
        ValueError: neither UUID nor name, no UUID, an improper name, or a UUID that another class has. A
            class of the same module and qualified name, as after a reload, takes the place of the earlier
            one.
        TypeError: not a dataclass or Struct, or a field whose annotation cannot be checked on arrival.
    """
    if name:
        check_name(name, "a message type's name")
        if "*" in name:
            raise ValueError(f"a message type's name stands for one endpoint, not for several: {name!r}")
    identity = endpoint_id(name) if name and type_id == "" else _checked_uuid(type_id)

    def declare(cls: type[T]) -> type[T]:
        _check_class(cls)
        declaration = Declaration(cls, identity, name)
        declaration.try_converter()
        _note(declaration)
        return cls

    return declare


def declaration_of(cls: type) -> Declaration | None:
    """The declaration of exactly this class; None for any other, its subclasses included."""
    declaration = getattr(cls, "__busway_message__", None)
    return declaration if declaration is not None and declaration.cls is cls else None


def declaration_by_id(type_id: bytes) -> Declaration | None:
    """The latest declaration with this 16-byte UUID in this process; None if there is none."""
    return _declared.get(type_id)


def accepted_types(types: Iterable[Any]) -> tuple[type, ...] | None:
    """Checks what a receiver says it accepts: mistakes show at registration and not at the first message.

    Args:
        types: declared message classes, and unions of them; `bytes` among them lets raw bytes through as
            well.

    Returns:
        The classes for `busway.payloads.decode`; None if there are none, for a receiver of anything.

    Raises:
        TypeError: a class that is not declared, or whose annotations cannot be resolved.
    """
    found = tuple(cls for given in types for cls in members_of(given))
    for cls in found:
        declaration = declaration_of(cls)
        if declaration is not None:
            declaration.converter()
        elif cls is not bytes:
            raise TypeError(_undeclared(cls))
    return found or None


def _undeclared(given: Any) -> str:
    if isinstance(given, type) and given is not type(None):
        above = given.__qualname__
        return f'a receiver accepts declared types: put @busway.message(name="lab/it") above {above}'
    shown = repr(given) if isinstance(given, str) else label_of(given)
    return f"types takes message classes, as in types=Reading | Alarm or (Reading, Alarm), not {shown:.80}"


def converter_of(annotation: Any) -> Converter:
    """A new converter, by msgspec, which is not imported before one is wanted."""
    from busway.convert import Converter

    return Converter(annotation)


def _checked_uuid(type_id: Any) -> bytes:
    if is_uuid(type_id):
        found: bytes = type_id.bytes
        return found
    if not isinstance(type_id, str):
        raise TypeError(
            'message takes a UUID, or a name, as in @busway.message(name="lab/reading"), '
            f"got {type(type_id).__name__}"
        )
    import uuid  # slow, and a name needs none

    try:
        return uuid.UUID(type_id).bytes
    except ValueError:
        raise ValueError(
            f"a message type needs a UUID such as {str(uuid.uuid4())!r} (fresh, take it), or a name, "
            f'as in @busway.message(name="lab/reading"), got {type_id!r}'
        ) from None


def _check_class(cls: type) -> None:
    if not isinstance(cls, type):
        raise TypeError(f"message declares a class, got {type(cls).__name__}")
    if not is_struct(cls) and not is_own_dataclass(cls):
        raise TypeError(
            f"{cls.__qualname__} must be a dataclass or msgspec Struct: put @dataclass below @busway.message"
        )


def _note(declaration: Declaration) -> None:
    cls: Any = declaration.cls
    with _lock:
        earlier = declaration_of(cls)
        if earlier is not None and earlier.type_id != declaration.type_id:
            raise ValueError(f"{_full_name(cls)} is declared already, as {uuid_text(earlier.type_id)}")
        other = _declared.get(declaration.type_id)
        if other is not None and _full_name(other.cls) != _full_name(cls):
            raise ValueError(
                f"{_full_name(cls)} and {_full_name(other.cls)} have the same UUID "
                f"{uuid_text(declaration.type_id)}; " + _remedy(declaration, other)
            )
        cls.__busway_message__ = declaration
        _declared[declaration.type_id] = declaration


def _remedy(one: Declaration, other: Declaration) -> str:
    if one.name and one.name == other.name and endpoint_id(one.name) == one.type_id:
        return f"it is made from the name {one.name!r}: give one of them another name"
    return "draw a fresh one for one of them"


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
