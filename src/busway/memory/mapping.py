"""Memory of a file as this process sees it, and views of it that keep what they need.

The `mmap` module of the standard library is not enough: a view of it keeps the mapping, and nothing that
could say for how long a message's memory is held; and it keeps a descriptor for each.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from busway.drivers.descriptors import Sole

if os.name != "posix":
    raise ImportError("programs can have memory in common on POSIX systems only, as yet")

_libc: Final = ctypes.CDLL(None, use_errno=True)
_mmap: Final = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_munmap: Final = _libc.munmap
_munmap.restype = ctypes.c_int
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED: Final = ctypes.c_void_p(-1).value
_BASES_MAX: Final = 32  # arrays made of each other that are looked through


class _Shown(ctypes.Array):  # type: ignore[type-arg]
    """The bytes of a mapping, for a view to lie on. `keep` lives as long as the view."""

    _type_ = ctypes.c_char
    _length_ = 0
    mapping: Mapping
    keep: object


@lru_cache(maxsize=64)
def _shown(size: int) -> type[_Shown]:
    return type("Memory", (_Shown,), {"_length_": size, "_type_": ctypes.c_char})


class Mapping(Sole):
    """`size` bytes of a file, mapped until nobody holds this any more, nor a view of it.

    Raises OSError. The descriptor may be closed.
    """

    __slots__ = ("__weakref__", "address", "shown", "size", "writable")

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        self.address = 0
        self.size = size
        self.writable = writable
        reach = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        # To be written in, so with all pages at once: the time in the file's inode, which counts as a part of
        # its name (memfd.py), changes with each page that is first written.
        flags = mmap.MAP_SHARED | (getattr(mmap, "MAP_POPULATE", 0) if writable else 0)
        address = _mmap(None, size, reach, flags, fd, 0)
        if address == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, f"memory cannot be mapped: {os.strerror(number)}")
        self.address = address
        self.shown = _shown(size)

    def __del__(self, _munmap: Callable[[int, int], int] = _munmap) -> None:
        address, self.address = self.address, 0
        if address:
            _munmap(address, self.size)

    def view(self, keep: object = None) -> memoryview:
        """All of it; what is cut from the view keeps `keep` as well."""
        shown = self.shown.from_address(self.address)
        shown.mapping = self
        shown.keep = keep
        view = memoryview(shown).cast("B")
        return view if self.writable else view.toreadonly()


class _Buffer(ctypes.Structure):
    """Py_buffer, of Python's object.h."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("size", ctypes.c_ssize_t),
        ("item", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


class Place(NamedTuple):
    """The memory that a view lies on: `offset` is where in the mapping it begins, `keep` what the mapping's
    views were made to keep.
    """

    mapping: Mapping
    offset: int
    keep: object


def place_of(view: memoryview) -> Place | None:
    """Where a view lies that is contiguous, also one of an array of numpy that was made on the view of a
    mapping; None for a view of anything else, or in pieces.
    """
    shown = _shown_under(view)
    if shown is None or not view.c_contiguous or _api is None:
        return None
    if view.obj is shown and view.nbytes == shown.mapping.size:
        return Place(shown.mapping, 0, shown.keep)  # all of it: it need not be asked where that begins
    buffer: Any = _Buffer()
    _api.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    offset: int = (buffer.address or 0) - shown.mapping.address
    _api.PyBuffer_Release(ctypes.byref(buffer))
    # Of an array the base says only what it keeps.
    within = 0 <= offset <= shown.mapping.size - view.nbytes
    return Place(shown.mapping, offset, shown.keep) if within else None


def keeper_of(view: memoryview) -> object:
    """The object that the views of a mapping were made to keep, if this is such a view, in one piece; None of
    any other, also where `place_of` finds one further down.
    """
    shown = view.obj
    return shown.keep if isinstance(shown, _Shown) and view.c_contiguous else None


def _shown_under(view: memoryview) -> _Shown | None:
    owner = view.obj
    if isinstance(owner, _Shown):
        return owner
    kind: Any = getattr(sys.modules.get("numpy"), "ndarray", ())
    for _ in range(_BASES_MAX):
        if isinstance(owner, kind):
            owner = owner.base
        elif type(owner) is memoryview:
            owner = owner.obj
        else:
            break
    return owner if isinstance(owner, _Shown) else None


_api: Final = getattr(ctypes, "pythonapi", None)  # CPython's
