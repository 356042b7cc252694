"""How readers sleep until there is something: a condition among threads, a futex among processes.

Each is a bell: a number that changes with every message, and sleepers that wait while it is the one that they
saw. Where there is no futex (macOS), or nobody rings (RingBus), they sleep in steps that grow to 3 ms.

Nobody sleeps longer than NAP_MAX_S without looking again, so that a wake-up that is lost, as it may be on a
processor that reorders a write behind a later read, costs that much and no more.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
import threading
import time
from typing import Protocol

NAP_MAX_S = 0.25
_FIRST_NAP_S = 50e-6
_DOUBLINGS = 6

_FUTEX_WAIT, _FUTEX_WAKE, _ALL = 0, 1, 0x7FFFFFFF
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
"""The number of the system call, of Linux on 64-bit processors."""


class Bell(Protocol):
    """The face of all bells."""

    kind: str

    def value(self) -> int:
        """A number to compare with later."""

    def touch(self, number: int) -> None:
        """Something happened; `number` differs from the last one."""

    def ring(self) -> None:
        """Wake who sleeps."""

    def wait(self, seen: int, timeout: float, times: int) -> None:
        """Sleep while the value is `seen`, at most `timeout` seconds; `times` it was for nothing before."""

    def close(self) -> None:
        """Let go of the memory."""


class ConditionBell:
    """For threads of one process."""

    kind = "condition"

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._value = 0

    def value(self) -> int:
        return self._value

    def touch(self, number: int) -> None:
        self._value = number

    def ring(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float, times: int) -> None:
        with self._condition:
            if self._value == seen:
                self._condition.wait(timeout)

    def close(self) -> None:
        pass


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _futex_number() -> int:
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return 0
    return _FUTEX_NUMBERS.get(platform.machine(), 0)


class FutexBell:
    """For processes that map the same word, on Linux."""

    kind = "futex"

    def __init__(self, mapped: mmap.mmap, at: int, number: int) -> None:
        self._number = number
        self._word = ctypes.c_uint32.from_buffer(mapped, at)
        self._address = ctypes.addressof(self._word)
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._call.argtypes = (
            *(ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32),
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32),
        )

    def value(self) -> int:
        return self._word.value

    def touch(self, number: int) -> None:
        self._word.value = number & 0xFFFFFFFF

    def ring(self) -> None:
        self._call(self._number, self._address, _FUTEX_WAKE, _ALL, None, None, 0)

    def wait(self, seen: int, timeout: float, times: int) -> None:
        whole = int(timeout)
        span = _Timespec(whole, int((timeout - whole) * 1e9))
        self._call(self._number, self._address, _FUTEX_WAIT, seen, ctypes.addressof(span), None, 0)

    def close(self) -> None:
        self._address = 0
        del self._word


class SleepBell:
    """Nobody rings: who waits looks again after a while, which grows."""

    kind = "sleep"

    def value(self) -> int:
        return 0

    def touch(self, number: int) -> None:
        pass

    def ring(self) -> None:
        pass

    def wait(self, seen: int, timeout: float, times: int) -> None:
        time.sleep(min(timeout, _FIRST_NAP_S * (1 << min(times, _DOUBLINGS))))

    def close(self) -> None:
        pass


def bell(mapped: mmap.mmap, at: int, *, shared: bool) -> Bell:
    """The best there is here for a word of 4 bytes in shared memory."""
    if not shared:
        return ConditionBell()
    number = _futex_number()
    return FutexBell(mapped, at, number) if number else SleepBell()
