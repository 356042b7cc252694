"""dbus-fast and a private dbus-daemon over a Unix socket: method calls, one way without a reply.

Its connection breaks where more is written than the socket takes, so one way a call with a reply, which is
waited for, comes after each 64 messages or 64 KiB.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import Any

from dbus_fast import Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus

from benchmarks.bench.brokers import version_of
from benchmarks.bench.proof import Job, Reader, found
from benchmarks.bench.systems.roles import AsyncRole

NAME, PATH = "org.busway.bench", "/bench"
UNANSWERED, UNANSWERED_SIZE = 64, 65_536


class _Client(AsyncRole):
    async def open(self) -> None:
        self.bus = await MessageBus(f"unix:path={self.place}/dbus").connect()
        self.stack.callback(self.bus.disconnect)

    def about(self) -> str:
        return f"dbus-fast {importlib.metadata.version('dbus-fast')}, {version_of('dbus-daemon')}"


class Near(_Client):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        await super().open()
        self.left, self.done = 0, asyncio.Event()
        self.reader: Reader | None = None
        self.early: list[bytes] = []
        self.bus.add_message_handler(self._handle)
        await self.bus.request_name(NAME)

    def _handle(self, message: Message) -> Message | bool:
        if message.message_type is not MessageType.METHOD_CALL or message.path != PATH:
            return False
        if message.member == "Trip":
            return Message.new_method_return(message, "ay", message.body)
        if self.left:
            self._take(message.body[0])
        else:
            self.early.append(message.body[0])  # before this side was told of the round
        if message.flags & MessageFlag.NO_REPLY_EXPECTED:
            return True
        return Message.new_method_return(message)

    def _take(self, payload: bytes) -> None:
        if self.reader is not None:
            self.reader(payload)
        self.left -= 1
        if not self.left:
            self.done.set()

    async def way(self, job: Job) -> dict[str, Any]:
        self.left, self.reader = job.count, job.reader()
        self.done.clear()
        early, self.early = self.early, []
        for payload in early:
            self._take(payload)
        await self.done.wait()
        return found(self.reader)

    async def trip(self, job: Job) -> None:
        """It answers whenever it is asked."""


class Far(_Client):
    """Sends, and asks."""

    def call(self, member: str, payload: bytes, flags: MessageFlag = MessageFlag.NONE) -> Message:
        return Message(
            destination=NAME,
            path=PATH,
            interface=NAME,
            member=member,
            signature="ay",
            body=[payload],
            flags=flags,
        )

    async def way(self, job: Job) -> None:
        send, call, flags = self.bus.send, self.call, MessageFlag.NO_REPLY_EXPECTED
        most = max(1, min(UNANSWERED, UNANSWERED_SIZE // job.size))
        for number, payload in enumerate(job.payloads(), 1):
            if number % most:
                await send(call("Way", payload, flags))
            else:
                await self.bus.call(call("Way", payload))

    async def trip(self, job: Job) -> dict[str, Any]:
        reader, watch = job.reader(), job.watch()
        for payload in job.payloads():
            reply = await self.bus.call(self.call("Trip", payload))
            if reader is not None:
                reader(reply.body[0])
            if watch is not None:
                watch.lap()
        return found(reader, watch)
