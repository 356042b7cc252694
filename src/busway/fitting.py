"""Whether what is about to be sent plainly fits its class's annotations. Knows annotations, and no bytes.

Says yes quickly where the types are those of the annotation, and no where it cannot tell: then whoever asks
has to look at what would arrive.
"""

from __future__ import annotations

import collections.abc
import decimal
import enum
import types
import typing
from collections.abc import Callable
from typing import Any

from busway.convert import (
    CBOR_NATIVE,
    Mismatch,
    aliased,
    field_names,
    is_own_dataclass,
    is_stamp,
    is_struct,
    struct_converter,
)

Fits = Callable[[Any], bool]

_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.MutableSequence)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_FLOAT_LIMIT = 1 << 1023  # integers below it are within what a float takes


class _Test(typing.NamedTuple):
    """Of values: these types fit as they are; another value if `fits` says so."""

    kinds: frozenset[type]
    fits: Fits

    def one(self, value: Any) -> bool:
        return type(value) in self.kinds or self.fits(value)

    def all(self, values: Any) -> bool:
        return self.kinds.issuperset(map(type, values)) or all(map(self.one, values))


def _never(_value: Any) -> bool:
    return False


def _kinds(*kinds: type) -> _Test:
    return _Test(frozenset(kinds), _never)


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and -_FLOAT_LIMIT < value < _FLOAT_LIMIT)


_PLAIN: dict[Any, _Test] = {
    Any: _Test(frozenset(), lambda _: True),
    object: _Test(frozenset(), lambda _: True),
    None: _kinds(type(None)),
    float: _Test(frozenset((float,)), _is_float),
    bytes: _kinds(bytes, bytearray),
    **{kind: _kinds(kind) for kind in (int, str, bool, type(None), complex, decimal.Decimal)},
}


def fits_of(cls: type) -> Fits:
    """What tells quickly whether an instance of a declared class fits its own annotations.

    Returns:
        A callable: True if the instance fits, False if that takes a look at what would arrive.

    Raises:
        NameError, TypeError: an annotation cannot be resolved.
    """
    return _Builder().record(cls) if is_own_dataclass(cls) else _struct(cls)


class _Builder:
    """Builds the tests of one class; remembers its records, since they may mention each other."""

    def __init__(self) -> None:
        self._records: dict[type, Fits] = {}

    def record(self, cls: type) -> Fits:
        if cls in self._records:
            return self._records[cls]
        tests: list[tuple[str, frozenset[type], Fits]] = []

        def fits(value: Any) -> bool:
            if type(value) is not cls:
                return False
            for name, kinds, other in tests:
                member = getattr(value, name)
                if type(member) not in kinds and not other(member):
                    return False
            return True

        self._records[cls] = fits
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
        tests.extend((name, *self.build(hints[name])) for name in field_names(cls))
        return fits

    def build(self, annotation: Any) -> _Test:
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin in _LISTS and not (origin is tuple and arguments and arguments[1:] != (...,)):
            return self._members((list, tuple), arguments)
        if origin is tuple:
            return _fixed([self.build(argument) for argument in arguments])
        if origin in _SETS:
            return self._members((set, frozenset), arguments)
        if origin in _MAPS:
            return _mapping(*(self.build(argument) for argument in arguments or (Any, Any)))
        if origin is typing.Union or origin is types.UnionType:
            tests = [self.build(argument) for argument in arguments]
            others = [test.fits for test in tests if test.fits is not _never]
            return _Test(
                frozenset().union(*(test.kinds for test in tests)),
                (lambda value: any(fits(value) for fits in others)) if others else _never,
            )
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (typing.Final, typing.Annotated):
            return self.build((arguments or (Any,))[0])
        return self._plain(annotation)

    def _plain(self, annotation: Any) -> _Test:
        inner = aliased(annotation)
        if inner is not None:
            return self.build(inner)
        if isinstance(annotation, type):
            if issubclass(annotation, enum.Enum) or is_stamp(annotation):
                return _kinds(annotation)
            if is_struct(annotation):
                return _Test(frozenset(), _struct(annotation))
            if is_own_dataclass(annotation):
                return _Test(frozenset(), self.record(annotation))
        return _PLAIN.get(annotation, _kinds())

    def _members(self, came: tuple[type, ...], arguments: tuple[Any, ...]) -> _Test:
        item = self.build(arguments[0] if arguments else Any)
        return _Test(frozenset(), lambda value: type(value) in came and item.all(value))


def _fixed(items: list[_Test]) -> _Test:
    def fits(value: Any) -> bool:
        return (
            type(value) in (list, tuple)
            and len(value) == len(items)
            and all(item.one(member) for item, member in zip(items, value, strict=True))
        )

    return _Test(frozenset(), fits)


def _mapping(key: _Test, item: _Test) -> _Test:
    return _Test(
        frozenset(), lambda value: type(value) is dict and key.all(value) and item.all(value.values())
    )


def _literal(choices: tuple[Any, ...]) -> _Test:
    wanted = {(type(choice), choice) for choice in choices}
    kinds = frozenset(type(choice) for choice in choices)
    return _Test(frozenset(), lambda value: type(value) in kinds and (type(value), value) in wanted)


def _struct(cls: type) -> Fits:
    import msgspec

    convert = struct_converter(cls)

    def fits(value: Any) -> bool:
        try:
            convert(msgspec.to_builtins(value, builtin_types=CBOR_NATIVE))
        except (Mismatch, TypeError, ValueError):
            return False
        return type(value) is cls

    return fits
