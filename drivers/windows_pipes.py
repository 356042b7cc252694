"""The system calls of named_pipe.py: Windows' own, through ctypes. Decides nothing. Runs on Windows only.

Handles are overlapped, for on others a thread that reads keeps one that writes waiting.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from ctypes import wintypes
from typing import Any, Final

_ERROR_ACCESS_DENIED: Final = 5
_ERROR_HANDLE_EOF: Final = 38
_ERROR_BROKEN_PIPE: Final = 109
_ERROR_PIPE_BUSY: Final = 231
_ERROR_NO_DATA: Final = 232
_ERROR_PIPE_NOT_CONNECTED: Final = 233
_ERROR_PIPE_CONNECTED: Final = 535
_ERROR_IO_PENDING: Final = 997

_ENDS: Final = (_ERROR_HANDLE_EOF, _ERROR_BROKEN_PIPE, _ERROR_NO_DATA, _ERROR_PIPE_NOT_CONNECTED)

_PIPE_ACCESS_DUPLEX: Final = 0x3
_FILE_FLAG_FIRST_PIPE_INSTANCE: Final = 0x00080000
_FILE_FLAG_OVERLAPPED: Final = 0x40000000
_PIPE_REJECT_REMOTE_CLIENTS: Final = 0x8  # with byte type, byte reads and waiting, which are 0
_PIPE_UNLIMITED_INSTANCES: Final = 255
_BUFFER: Final = 65536
_GENERIC_READ_WRITE: Final = 0xC0000000
_OPEN_EXISTING: Final = 3
_SECURITY_SQOS_PRESENT: Final = 0x00100000
_SECURITY_IDENTIFICATION: Final = 0x00010000  # the other end may know who we are, not act as us
_PROCESS_QUERY_LIMITED_INFORMATION: Final = 0x1000
_TOKEN_QUERY: Final = 0x8
_TOKEN_USER: Final = 1
_SDDL_REVISION_1: Final = 1
_INVALID: Final = ctypes.c_void_p(-1).value
_ROOT: Final = "\\\\.\\pipe\\"


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", wintypes.DWORD),
        ("offset_high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    )


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (
        ("length", wintypes.DWORD),
        ("descriptor", ctypes.c_void_p),
        ("inherit", wintypes.BOOL),
    )


class Pipe:
    """A handle, and whether it was cancelled."""

    __slots__ = ("cancelled", "lock", "number")

    def __init__(self, number: int) -> None:
        self.number: int | None = number
        self.cancelled = False
        self.lock = threading.Lock()


def _library(name: str, calls: dict[str, tuple[Any, ...]]) -> Any:
    """A system library; `calls` maps a function to its argument types, and the type of its result first."""
    library = vars(ctypes)["WinDLL"](name, use_last_error=True)
    for function, (result, *arguments) in calls.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


_P = ctypes.c_void_p
_D = wintypes.DWORD
_B = wintypes.BOOL
_H = wintypes.HANDLE
_W = wintypes.LPCWSTR

_KERNEL32: Final[dict[str, tuple[Any, ...]]] = {
    "CreateNamedPipeW": (_H, _W, _D, _D, _D, _D, _D, _D, _P),
    "ConnectNamedPipe": (_B, _H, _P),
    "CreateFileW": (_H, _W, _D, _D, _P, _D, _D, _H),
    "ReadFile": (_B, _H, _P, _D, _P, _P),
    "WriteFile": (_B, _H, _P, _D, _P, _P),
    "GetOverlappedResult": (_B, _H, _P, _P, _B),
    "CancelIoEx": (_B, _H, _P),
    "CreateEventW": (_H, _P, _B, _B, _W),
    "CloseHandle": (_B, _H),
    "GetNamedPipeServerProcessId": (_B, _H, _P),
    "GetNamedPipeClientProcessId": (_B, _H, _P),
    "OpenProcess": (_H, _D, _B, _D),
    "LocalFree": (_P, _P),
}
_ADVAPI32: Final[dict[str, tuple[Any, ...]]] = {
    "OpenProcessToken": (_B, _H, _D, _P),
    "GetTokenInformation": (_B, _H, ctypes.c_int, _P, _D, _P),
    "ConvertSidToStringSidW": (_B, _P, _P),
    "ConvertStringSecurityDescriptorToSecurityDescriptorW": (_B, _W, _D, _P, _P),
}


class Windows:
    """See `busway.drivers.named_pipe.System`."""

    def __init__(self) -> None:
        self._kernel = _library("kernel32", _KERNEL32)
        self._advapi = _library("advapi32", _ADVAPI32)
        self._user = self._user_of(os.getpid())

    def user(self) -> str:
        return self._user

    def names(self) -> list[str]:
        return os.listdir(_ROOT)

    def create(self, name: str, *, first: bool) -> Pipe:
        # Full access for this user and nobody else, and none over the network.
        descriptor = self._descriptor(f"D:P(D;;FA;;;NU)(A;;FA;;;{self._user})")
        try:
            attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
            number = self._kernel.CreateNamedPipeW(
                _ROOT + name,
                _PIPE_ACCESS_DUPLEX
                | _FILE_FLAG_OVERLAPPED
                | (_FILE_FLAG_FIRST_PIPE_INSTANCE if first else 0),
                _PIPE_REJECT_REMOTE_CLIENTS,
                _PIPE_UNLIMITED_INSTANCES,
                _BUFFER,
                _BUFFER,
                0,
                ctypes.byref(attributes),
            )
            code = _last_error()
        finally:
            self._kernel.LocalFree(descriptor)
        if number == _INVALID:
            if first and code in (_ERROR_ACCESS_DENIED, _ERROR_PIPE_BUSY):
                raise FileExistsError(errno.EEXIST, f"there is a pipe {name} already")
            raise _error(code, name)
        return Pipe(number)

    def wait_for_client(self, handle: Pipe) -> None:
        self._overlapped(
            handle,
            lambda waiting: self._kernel.ConnectNamedPipe(handle.number, waiting),
            _ERROR_PIPE_CONNECTED,
        )

    def open(self, name: str) -> Pipe:
        number = self._kernel.CreateFileW(
            _ROOT + name,
            _GENERIC_READ_WRITE,
            0,
            None,
            _OPEN_EXISTING,
            _FILE_FLAG_OVERLAPPED | _SECURITY_SQOS_PRESENT | _SECURITY_IDENTIFICATION,
            None,
        )
        if number == _INVALID:
            code = _last_error()
            if code == _ERROR_PIPE_BUSY:
                raise BlockingIOError(errno.EAGAIN, f"pipe {name}: all places are taken at the moment")
            raise _error(code, name)
        return Pipe(number)

    def peer_user(self, handle: Pipe, *, server: bool) -> str:
        process = wintypes.DWORD()
        ask = self._kernel.GetNamedPipeClientProcessId if server else self._kernel.GetNamedPipeServerProcessId
        if not ask(handle.number, ctypes.byref(process)):
            raise _error(_last_error(), "the process at the other end")
        return self._user_of(process.value)

    def read(self, handle: Pipe, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        try:
            count = self._overlapped(
                handle, lambda waiting: self._kernel.ReadFile(handle.number, buffer, size, None, waiting)
            )
        except OSError as error:
            if getattr(error, "winerror", None) in _ENDS:
                return b""
            raise
        return buffer.raw[:count]

    def write(self, handle: Pipe, data: bytes) -> int:
        return self._overlapped(
            handle, lambda waiting: self._kernel.WriteFile(handle.number, data, len(data), None, waiting)
        )

    def cancel(self, handle: Pipe) -> None:
        with handle.lock:
            handle.cancelled = True
            if handle.number is not None:
                self._kernel.CancelIoEx(handle.number, None)

    def close(self, handle: Pipe) -> None:
        with handle.lock:
            if handle.number is not None:
                self._kernel.CloseHandle(handle.number)
                handle.number = None

    # ---- helpers

    def _overlapped(self, handle: Pipe, start: Any, fine: int = 0) -> int:
        """Starts an operation and waits for its end; the bytes it moved. Raises OSError."""
        event = self._kernel.CreateEventW(None, True, False, None)
        if not event:
            raise _error(_last_error(), "an event")
        try:
            waiting = _Overlapped(event=event)
            with handle.lock:
                if handle.cancelled or handle.number is None:
                    raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
                code = 0 if start(ctypes.byref(waiting)) else _last_error()
            if fine and code == fine:
                return 0
            if code not in (0, _ERROR_IO_PENDING):
                raise _error(code, "the pipe")
            count = wintypes.DWORD()
            if not self._kernel.GetOverlappedResult(
                handle.number, ctypes.byref(waiting), ctypes.byref(count), True
            ):
                raise _error(_last_error(), "the pipe")
            return count.value
        finally:
            self._kernel.CloseHandle(event)

    def _descriptor(self, sddl: str) -> Any:
        descriptor = ctypes.c_void_p()
        if not self._advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, _SDDL_REVISION_1, ctypes.byref(descriptor), None
        ):
            raise _error(_last_error(), f"a security descriptor from {sddl}")
        return descriptor

    def _user_of(self, process_id: int) -> str:
        process = self._kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, process_id)
        if not process:
            raise _error(_last_error(), f"process {process_id}")
        token = wintypes.HANDLE()
        try:
            if not self._advapi.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)):
                raise _error(_last_error(), f"the token of process {process_id}")
            return self._sid_of(token)
        finally:
            if token.value:
                self._kernel.CloseHandle(token)
            self._kernel.CloseHandle(process)

    def _sid_of(self, token: Any) -> str:
        size = wintypes.DWORD()
        self._advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        if not self._advapi.GetTokenInformation(token, _TOKEN_USER, buffer, size, ctypes.byref(size)):
            raise _error(_last_error(), "the token's user")
        # struct TOKEN_USER begins with a pointer to the SID.
        sid = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_void_p))[0]
        text = wintypes.LPWSTR()
        if not self._advapi.ConvertSidToStringSidW(sid, ctypes.byref(text)):
            raise _error(_last_error(), "the user's SID")
        try:
            return str(text.value)
        finally:
            self._kernel.LocalFree(ctypes.cast(text, ctypes.c_void_p))


def _last_error() -> int:
    return int(vars(ctypes)["get_last_error"]())


def _error(code: int, what: str) -> OSError:
    """As Python knows it: FileNotFoundError, PermissionError, BrokenPipeError by the code."""
    return OSError(0, f"{what}: {vars(ctypes)['FormatError'](code)}", None, code)
