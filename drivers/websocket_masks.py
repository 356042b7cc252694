"""Masks what a WebSocket's client sends (RFC 6455, 5.3): with the compiled function of PyPI's websockets
where that is installed, which nobody needs, else in Python. Knows no frame.
For 64 KiB the former takes 1.3 µs, Python 75; integers, which are quicker for what is short, would take 180.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any, Final

from wsproto.frame_protocol import XorMaskerSimple

Masker = Callable[[bytes | memoryview, bytes], bytes]

_MODULE: Final = "websockets.speedups"
_INTEGERS_MAX: Final = 1024  # bytes up to which integers are quicker than tables
_found: list[Masker] = []


def masker() -> Masker:
    """The function that masks, and unmasks: given data and a key of 4 bytes. Looked for once."""
    if not _found:
        _found.append(compiled() or in_python)
    return _found[0]


def in_python(data: bytes | memoryview, key: bytes) -> bytes:
    """As `masker`'s, without anything compiled."""
    size = len(data)
    if size > _INTEGERS_MAX:
        return bytes(XorMaskerSimple(key).process(bytearray(data)))
    keys = (key * ((size >> 2) + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")


def compiled() -> Masker | None:
    """That of websockets; None if it is not there. Only its compiled file is loaded: the package takes tens
    of milliseconds to import.
    """
    try:
        module: Any = sys.modules.get(_MODULE)
        if module is None:
            package = PathFinder.find_spec(_MODULE.partition(".")[0])
            places = None if package is None else package.submodule_search_locations
            spec = None if places is None else PathFinder.find_spec(_MODULE, places)
            if spec is None or spec.loader is None:
                return None
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
        apply_mask: Masker = module.apply_mask
        return (
            apply_mask
            if apply_mask(b"\x01\x02\x03\x04\x05", b"\x05\x06\x07\x08") == b"\4\4\4\x0c\0"
            else None
        )
    except Exception:  # noqa: BLE001 - of another version, or damaged: it is done without
        return None
