"""The limit: a Unix stream socket and frames with their length before them, as a program would write it.

One `sendall` for each frame, and a buffered file to read from; with bulk calls as many frames as fill 64 KiB
go into one `sendall`, and as many are cut out of one `recv_into`.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from benchmarks.bench.proof import Job, Reader, found, take
from benchmarks.bench.systems.roles import Role

CHUNK = 65_536
LENGTH = struct.Struct("!I")


class _Stream(Role):
    def use(self, stream: socket.socket) -> None:
        self.stream = self.stack.enter_context(stream)
        self.file = self.stack.enter_context(stream.makefile("rb", CHUNK))

    def read(self) -> bytes:
        size: int
        (size,) = LENGTH.unpack(self.file.read(LENGTH.size))
        payload: bytes = self.file.read(size)
        return payload


class Near(_Stream):
    """Takes what is sent, and answers."""

    def open(self) -> None:
        listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(os.path.join(self.place, "raw"))
        listener.listen()
        self.listener, self.met = listener, False

    def meet(self) -> None:
        """The other side comes once this one has said that it is ready."""
        if not self.met:
            self.use(self.listener.accept()[0])
            self.met = True

    def way(self, job: Job) -> dict[str, Any]:
        self.meet()
        return take(job.count, self.read, job.reader())

    def bulk(self, job: Job) -> dict[str, Any]:
        self.meet()
        reader, left, kept = job.reader(), job.count, b""
        while left:
            data = kept + self.stream.recv(CHUNK)
            taken, kept = self._cut(data, reader)
            left -= taken
        return found(reader)

    def _cut(self, data: bytes, reader: Reader | None) -> tuple[int, bytes]:
        """How many frames were whole, and what is left."""
        begin, taken, end = 0, 0, len(data)
        while end - begin >= LENGTH.size:
            (size,) = LENGTH.unpack_from(data, begin)
            after = begin + LENGTH.size + size
            if after > end:
                break
            payload = data[begin + LENGTH.size : after]
            if reader is not None:
                reader(payload)
            begin, taken = after, taken + 1
        return taken, data[begin:]

    def trip(self, job: Job) -> None:
        self.meet()
        for _ in range(job.count):
            payload = self.read()
            self.stream.sendall(LENGTH.pack(len(payload)) + payload)


class Far(_Stream):
    """Sends, and asks."""

    def open(self) -> None:
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(os.path.join(self.place, "raw"))
        self.use(stream)

    def way(self, job: Job) -> None:
        sendall, pack = self.stream.sendall, LENGTH.pack
        for payload in job.payloads():
            sendall(pack(len(payload)) + payload)

    def bulk(self, job: Job) -> None:
        pack, size = LENGTH.pack, 0
        parts: list[bytes] = []
        for payload in job.payloads():
            parts += (pack(len(payload)), payload)
            size += len(payload) + LENGTH.size
            if size >= CHUNK:
                self.stream.sendall(b"".join(parts))
                parts, size = [], 0
        self.stream.sendall(b"".join(parts))

    def trip(self, job: Job) -> dict[str, Any]:
        reader, watch = job.reader(), job.watch()
        for payload in job.payloads():
            self.stream.sendall(LENGTH.pack(len(payload)) + payload)
            reply = self.read()
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)
