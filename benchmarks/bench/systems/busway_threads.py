"""Busway's blocking interface. Both sides find each other by themselves, over a Unix socket."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

import busway
from benchmarks.bench.proof import Job, found, take
from benchmarks.bench.systems.busway_asyncio import FOUND_S, TRIP, WAY
from benchmarks.bench.systems.roles import Role
from busway import about


class _Bus(Role):
    def open(self) -> None:
        self.bus = self.stack.enter_context(busway.Bus("bench"))

    def about(self) -> str:
        return about.line()


class Near(_Bus):
    """Takes what is sent, and answers."""

    def open(self) -> None:
        super().open()
        self.receiver = self.bus.register(WAY)
        self.bus.serve(TRIP, self._echo)

    def _echo(self, request: busway.Request) -> object:
        return request.payload

    def way(self, job: Job) -> dict[str, Any]:
        receive = self.receiver.receive
        return take(job.count, lambda: receive().payload, job.reader())

    def bulk(self, job: Job) -> dict[str, Any]:
        receive_many, reader = self.receiver.receive_many, job.reader()
        left = job.count
        while left:
            messages = receive_many(min(job.batch, left))
            left -= len(messages)
            if reader is not None:
                for message in messages:
                    reader(message.payload)
        return found(reader)

    def trip(self, job: Job) -> None:
        """It answers whenever it is asked."""

    trips = trip


class Far(_Bus):
    """Sends, and asks."""

    def open(self) -> None:
        super().open()
        self.bus.request(TRIP, bytes(16), ttl=FOUND_S)

    def way(self, job: Job) -> None:
        send = self.bus.send
        for payload in job.payloads():
            send(WAY, payload)

    def bulk(self, job: Job) -> None:
        send_many, payloads = self.bus.send_many, job.payloads()
        while batch := list(islice(payloads, job.batch)):
            send_many(WAY, batch)

    def trip(self, job: Job) -> dict[str, Any]:
        request, reader, watch = self.bus.request, job.reader(), job.watch()
        for payload in job.payloads():
            reply = request(TRIP, payload)
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)

    def trips(self, job: Job) -> dict[str, Any]:
        """Round trips of which `job.others` are under way at any time, each in a thread of its own."""
        payloads, request, came = job.payloads(), self.bus.request, [0] * job.others
        lock = threading.Lock()

        def ask(number: int) -> None:
            while True:
                with lock:
                    payload = next(payloads, None)
                if payload is None or request(TRIP, payload) != payload:
                    return
                came[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(job.others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if sum(came) != job.count:
            raise ValueError(f"{job.count - sum(came)} answers are not those of their own questions")
        return {"came": sum(came)}
