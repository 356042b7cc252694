"""Memory of a file as this process sees it, and views of it that keep what they need.

The `mmap` module of the standard library is not enough: a view of it keeps the mapping, and nothing that
could say for how long a message's memory is held; and it keeps a descriptor for each.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

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


class _Shown(ctypes.Array):  # type: ignore[type-arg]
    """The bytes of a mapping, for a view to lie on. `keep` lives as long as the view."""

    _type_ = ctypes.c_char
    _length_ = 0
    mapping: Mapping
    keep: object


@lru_cache(maxsize=64)
def _shown(size: int) -> type[_Shown]:
    return type("Memory", (_Shown,), {"_length_": size, "_type_": ctypes.c_char})


class Mapping:
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


def keeper_of(view: memoryview) -> object:
    """The object that the views of a mapping were made to keep; None of any other view."""
    shown = view.obj
    return shown.keep if isinstance(shown, _Shown) else None


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


def offset_in(view: memoryview) -> int:
    """Where in its mapping a contiguous view begins; -1 for a view of anything else, or one in pieces."""
    shown = view.obj
    if not isinstance(shown, _Shown) or not view.c_contiguous or _api is None:
        return -1
    buffer: Any = _Buffer()
    _api.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    address: int = buffer.address
    _api.PyBuffer_Release(ctypes.byref(buffer))
    return address - shown.mapping.address


_api: Final = getattr(ctypes, "pythonapi", None)  # CPython's
