"""pyzmq's blocking interface over ipc: PUSH/PULL, REQ/REP, DEALER/ROUTER.

From 64 KiB on nothing is copied, which its documents advise for large messages (`copy=False`).
"""

from __future__ import annotations

from typing import Any

import zmq

from benchmarks.bench.proof import Job, found, take
from benchmarks.bench.systems.roles import HIGH_WATER, Role

COPIED_BELOW = 65_536  # pyzmq's own COPY_THRESHOLD


class _Sockets(Role):
    def open(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = self.stack.enter_context(zmq.Context())

    def socket(self, kind: int, name: str, bind: bool) -> zmq.Socket[bytes]:
        socket = self.stack.enter_context(self.context.socket(kind))
        socket.set_hwm(HIGH_WATER)
        socket.linger = 0
        (socket.bind if bind else socket.connect)(f"ipc://{self.place}/{name}")
        return socket

    def about(self) -> str:
        return f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"


class Near(_Sockets):
    """Takes what is sent, and answers."""

    def open(self) -> None:
        super().open()
        self.pull = self.socket(zmq.PULL, "way", True)
        self.rep = self.socket(zmq.REP, "trip", True)
        self.router = self.socket(zmq.ROUTER, "route", True)

    def way(self, job: Job) -> dict[str, Any]:
        pull = self.pull
        if job.size >= COPIED_BELOW:
            return take(job.count, lambda: pull.recv(copy=False).buffer, job.reader())
        return take(job.count, pull.recv, job.reader())

    def trip(self, job: Job) -> None:
        rep = self.rep
        for _ in range(job.count):
            rep.send(rep.recv())

    def trips(self, job: Job) -> None:
        router = self.router
        for _ in range(job.count):
            router.send_multipart(router.recv_multipart())


class Far(_Sockets):
    """Sends, and asks."""

    def open(self) -> None:
        super().open()
        self.push = self.socket(zmq.PUSH, "way", False)
        self.req = self.socket(zmq.REQ, "trip", False)
        self.dealer = self.socket(zmq.DEALER, "route", False)

    def way(self, job: Job) -> None:
        send = self.push.send
        if job.size >= COPIED_BELOW:
            for payload in job.payloads():
                send(payload, copy=False)
        else:
            for payload in job.payloads():
                send(payload)

    def trip(self, job: Job) -> dict[str, Any]:
        req, reader, watch = self.req, job.reader(), job.watch()
        for payload in job.payloads():
            req.send(payload)
            reply = req.recv()
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)

    def trips(self, job: Job) -> dict[str, Any]:
        """Round trips of which `job.others` are under way at any time."""
        dealer, reader = self.dealer, job.reader()
        left = job.count
        for sent, payload in enumerate(job.payloads()):
            if sent >= job.others:
                left -= 1
                reply = dealer.recv()
                if reader is not None:
                    reader(reply)
            dealer.send(payload)
        take(left, dealer.recv, reader)
        return {"came": job.count, **found(reader)}


class Subscriber(_Sockets):
    """One of many that get a copy of all that is published."""

    def open(self) -> None:
        super().open()
        self.sub = self.socket(zmq.SUB, "feed", False)
        self.sub.subscribe(b"")

    def feed(self, job: Job) -> dict[str, Any]:
        return take(job.count, self.sub.recv, job.reader())


class Publisher(_Sockets):
    """PUB that hears of its subscribers (XPUB), and waits for one that is full instead of losing its copy
    (XPUB_NODROP).
    """

    def open(self) -> None:
        super().open()
        self.pub = self.socket(zmq.XPUB, "feed", True)
        self.pub.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.pub.setsockopt(zmq.XPUB_NODROP, 1)

    def meet(self, job: Job) -> None:
        for _ in range(job.others):
            self.pub.recv()

    def feed(self, job: Job) -> None:
        send = self.pub.send
        for payload in job.payloads():
            send(payload)
