"""pyzmq's asyncio interface over ipc: PUSH/PULL, REQ/REP, DEALER/ROUTER."""

from __future__ import annotations

from typing import Any

import zmq
import zmq.asyncio

from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.roles import HIGH_WATER, AsyncRole


class _Sockets(AsyncRole):
    async def open(self) -> None:
        self.context = self.stack.enter_context(zmq.asyncio.Context())

    def socket(self, kind: int, name: str, bind: bool) -> zmq.asyncio.Socket:
        socket = self.stack.enter_context(self.context.socket(kind))
        socket.set_hwm(HIGH_WATER)
        socket.linger = 0
        (socket.bind if bind else socket.connect)(f"ipc://{self.place}/{name}")
        return socket

    def about(self) -> str:
        return f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"


class Near(_Sockets):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        await super().open()
        self.pull = self.socket(zmq.PULL, "way", True)
        self.rep = self.socket(zmq.REP, "trip", True)
        self.router = self.socket(zmq.ROUTER, "route", True)

    async def way(self, job: Job) -> dict[str, Any]:
        receive, reader = self.pull.recv, job.reader()
        for _ in range(job.count):
            payload = await receive()
            if reader is not None:
                reader(payload)
        return found(reader)

    async def trip(self, job: Job) -> None:
        rep = self.rep
        for _ in range(job.count):
            await rep.send(await rep.recv())

    async def trips(self, job: Job) -> None:
        router = self.router
        for _ in range(job.count):
            await router.send_multipart(await router.recv_multipart())


class Far(_Sockets):
    """Sends, and asks."""

    async def open(self) -> None:
        await super().open()
        self.push = self.socket(zmq.PUSH, "way", False)
        self.req = self.socket(zmq.REQ, "trip", False)
        self.dealer = self.socket(zmq.DEALER, "route", False)

    async def way(self, job: Job) -> None:
        send = self.push.send
        for payload in job.payloads():
            await send(payload)

    async def trip(self, job: Job) -> dict[str, Any]:
        req, reader, watch = self.req, job.reader(), job.watch()
        for payload in job.payloads():
            await req.send(payload)
            reply = await req.recv()
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)

    async def trips(self, job: Job) -> dict[str, Any]:
        """Round trips of which `job.others` are under way at any time."""
        dealer, reader = self.dealer, job.reader()
        came = 0
        for sent, payload in enumerate(job.payloads()):
            if sent >= job.others:
                reply = await dealer.recv()
                came += 1
                if reader is not None:
                    reader(reply)
            await dealer.send(payload)
        while came < job.count:
            reply = await dealer.recv()
            came += 1
            if reader is not None:
                reader(reply)
        return {"came": came, **found(reader)}
