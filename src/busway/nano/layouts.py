"""Types of messages that lie in memory as they are: read on the bus itself, without being decoded.

`Layout` has fields of fixed size, `Array` is a numpy array of fixed type, and a `ctypes.Structure` is what it
is. All three are handed out as views; what they see of a ring is good until `handle` returns.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import struct
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Self,
    TypeVar,
    dataclass_transform,
    get_type_hints,
)

if TYPE_CHECKING:
    import numpy

i8 = Annotated[int, "b"]
i16 = Annotated[int, "h"]
i32 = Annotated[int, "i"]
i64 = Annotated[int, "q"]
u8 = Annotated[int, "B"]
u16 = Annotated[int, "H"]
u32 = Annotated[int, "I"]
u64 = Annotated[int, "Q"]
f32 = Annotated[float, "f"]
f64 = Annotated[float, "d"]
boolean = Annotated[bool, "?"]

T = TypeVar("T")


def fixed(size: int) -> Any:
    """The code of a field of so many bytes: `tag: Annotated[bytes, fixed(16)]`. Shorter ones are filled up.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"a field of bytes has at least one, not {size}")
    return f"{size}s"


class _Field(Generic[T]):
    """Reads one field where it lies."""

    def __init__(self, code: str, at: int) -> None:
        self.code = code
        self.at = at
        self.read = struct.Struct(f"<{code}").unpack_from

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self.read(instance.data, self.at)[0]


@dataclass_transform()
class Layout:
    """A message with fields of fixed size, little-endian, one behind the other in their order.

    Its subclass annotates each with one of `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, `boolean`, or
    `Annotated[bytes, fixed(16)]`. An instance is made of all its fields, in order or by name, and cannot be
    changed.

        class Celsius(nano.Layout):
            sensor: nano.u16
            value: nano.f64
    """

    __slots__ = ("data",)
    layout: ClassVar[struct.Struct] = struct.Struct("<")
    """Of the whole."""
    fields: ClassVar[tuple[str, ...]] = ()
    """The names of all fields."""
    _sized: ClassVar[tuple[tuple[int, int], ...]] = ()  # of bytes: number and size; struct would cut them off
    data: bytes | memoryview
    """Its bytes, perhaps on the bus."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        codes: dict[str, str] = {}
        for name, hint in get_type_hints(cls, include_extras=True).items():
            if name in ("layout", "fields", "data") or name.startswith("_"):
                continue
            code = next(iter(getattr(hint, "__metadata__", ())), None)
            if not isinstance(code, str):
                raise TypeError(
                    f"{cls.__qualname__}.{name} must be annotated with nano.u16, nano.f64 and the like"
                )
            codes[name] = code
        at = 0
        for name, code in codes.items():
            setattr(cls, name, _Field[Any](code, at))
            at += struct.calcsize(f"<{code}")
        cls.layout = struct.Struct("<" + "".join(codes.values()))
        cls.fields = tuple(codes)
        sized = [(at, int(code[:-1])) for at, code in enumerate(codes.values()) if code.endswith("s")]
        cls._sized = tuple(sized)

    def __init__(self, *values: Any, **named: Any) -> None:
        if named:
            try:
                values += tuple(named.pop(name) for name in self.fields[len(values) :])
            except KeyError as error:
                raise TypeError(f"{type(self).__qualname__} needs {error.args[0]}") from None
        if named or len(values) != len(self.fields):
            raise TypeError(f"{type(self).__qualname__} takes {', '.join(self.fields)}")
        try:
            self.data = self.layout.pack(*values)
        except (struct.error, OverflowError):
            raise ValueError(self._misfit(values)) from None
        for at, size in self._sized:
            if len(values[at]) > size:
                given = f"{size} bytes at most, not {len(values[at])}"
                raise ValueError(f"{type(self).__qualname__}.{self.fields[at]} has {given}")

    def _misfit(self, values: tuple[Any, ...]) -> str:
        for name, value in zip(self.fields, values, strict=True):
            try:
                struct.pack(f"<{getattr(type(self), name).code}", value)
            except (struct.error, OverflowError) as error:
                return f"{type(self).__qualname__}.{name}: {error}, got {value!r:.60}"
        return f"{type(self).__qualname__}: its values do not fit"

    @classmethod
    def at(cls, data: bytes | memoryview) -> Self:
        """The message that lies in these bytes.

        Raises:
            ValueError: they are more or fewer than the layout's.
        """
        if len(data) != cls.layout.size:
            raise ValueError(f"{cls.__qualname__} has {cls.layout.size} bytes, not {len(data)}")
        made = cls.__new__(cls)
        made.data = data
        return made

    def values(self) -> tuple[Any, ...]:
        """All fields, at once."""
        return self.layout.unpack(self.data)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash(self.values())

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in zip(self.fields, self.values(), strict=True))
        return f"{type(self).__qualname__}({inner})"


class Array:
    """A message that is a numpy array. Its subclass says of which type, and perhaps of which shape.

        class Frame(nano.Array):
            dtype = "uint8"
            shape = (480, 640, 3)

    `dtype` is anything that numpy.dtype takes but objects, also fields: `[("x", "<f4"), ("y", "<f4")]`. One
    number of `shape` may be -1, for as many as there are. What arrives is read-only and lies on the bus.

    Args:
        array: is brought to that type and shape, if numpy can.

    Raises:
        ValueError, TypeError: it cannot.
    """

    __slots__ = ("array",)
    dtype: ClassVar[Any] = "uint8"
    shape: ClassVar[tuple[int, ...]] = (-1,)

    def __init__(self, array: Any) -> None:
        import numpy

        self.array: numpy.ndarray[Any, Any] = numpy.ascontiguousarray(array, dtype=self.dtype).reshape(
            self.shape
        )

    @classmethod
    def at(cls, data: bytes | memoryview) -> Self:
        """The array that lies in these bytes."""
        import numpy

        made = cls.__new__(cls)
        made.array = numpy.frombuffer(data, dtype=cls.dtype).reshape(cls.shape)
        made.array.flags.writeable = False
        return made


def check(kind: type) -> None:
    """Looks at a type of this sort before the first message comes.

    Raises:
        TypeError: it cannot lie in memory as it is.
    """
    if issubclass(kind, Array):
        import numpy

        if numpy.dtype(kind.dtype).hasobject:
            raise TypeError(
                f"{kind.__qualname__}.dtype has Python objects, which other processes cannot read"
            )
        if list(kind.shape).count(-1) > 1:
            raise TypeError(f"{kind.__qualname__}.shape has more than one -1")
    elif issubclass(kind, Layout) and not kind.fields:
        raise TypeError(f"{kind.__qualname__} has no fields")


def lies_in_memory(kind: Any) -> bool:
    """Whether it is a type that is handed out as a view."""
    return inspect.isclass(kind) and issubclass(kind, (Layout, Array, ctypes.Structure, ctypes.Union))


def text_of(kind: Any) -> str:
    """Says the layout of such a type: equal texts, equal bytes. Long ones end in a hash."""
    if issubclass(kind, Layout):
        text = f"layout {kind.layout.format} {','.join(kind.fields)}"
    elif issubclass(kind, Array):
        import numpy

        dtype = numpy.dtype(kind.dtype)
        text = f"array {dtype.descr if dtype.names else dtype.str} {tuple(kind.shape)}"
    else:
        text = f"ctypes {_ctypes_text(kind)}"
    if len(text) <= 96:
        return text
    return f"{text[:60]}… sha256:{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _ctypes_text(kind: Any) -> str:
    """Fields with their places, of structures within structures, too."""
    if hasattr(kind, "_fields_"):
        inner = ",".join(
            f"{name}@{getattr(kind, name).offset}:{getattr(kind, name).size}:{_ctypes_text(field)}"
            for base in reversed(kind.__mro__)
            for name, field, *_ in vars(base).get("_fields_", ())
        )
        return f"{{{inner}}}{ctypes.sizeof(kind)}"
    if hasattr(kind, "_length_"):
        return f"{kind._length_}*{_ctypes_text(kind._type_)}"
    return f"{kind.__name__}{ctypes.sizeof(kind)}"
