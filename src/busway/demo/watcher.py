"""The demo's own node: it asks, listens, and writes down what it finds. Knows no processes and screens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import busway
from busway.demo.errors import DemoError
from busway.demo.figures import Figures
from busway.demo.messages import Readings, Visit

LABEL = "watcher"
PATIENCE_S = 2.0  # for one request
SURVEY_S = 1.0
INTROSPECTION = "busway/introspection"  # every node answers it


class Watcher:
    """Watches `bus` and fills `figures`, as long as `jobs()` run."""

    def __init__(self, bus: busway.AsyncBus, figures: Figures) -> None:
        self.bus = bus
        self.figures = figures
        self._stopping = asyncio.Event()
        self._came_or_went = asyncio.Condition()
        for node in bus.nodes():
            figures.node_up(node.id, node.label, node.me)

    def listeners(self) -> list[Coroutine[Any, Any, None]]:
        """Coroutines that listen, to be run until they are cancelled."""
        return [
            self._follow(),
            self._read(),
            self._hear_beats(),
            self._keep_guestbook(),
            self._hear_remote(),
            self._hear_board(),
            self._survey(),
        ]

    def askers(self) -> list[Coroutine[Any, Any, None]]:
        """Coroutines that ask, until `stop_asking`: then each ends with the outcome of what it asked last."""
        return [
            self._again(self._ask_sum, 0.005),
            self._again(self._ask_nonsense, 0.5),
            self._again(self._ask_clock, 0.05),
            self._again(self._ask_count, 0.25),
            self._again(self._ask_victim, 0.02),
            *([self._again(self._ask_board, 1.0)] if self.figures.board_expected else []),
        ]

    def stop_asking(self) -> None:
        """No new requests."""
        self._stopping.set()

    async def until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until it holds; looks whenever a node comes, changes or goes. TimeoutError after so many
        seconds.
        """
        async with asyncio.timeout(timeout), self._came_or_went:
            await self._came_or_went.wait_for(condition)

    # Listening

    async def _follow(self) -> None:
        async for change in self.bus.changes():
            if isinstance(change.subject, busway.NodeInfo):
                await self._note_node(change.what, change.subject)

    async def _note_node(self, what: str, node: busway.NodeInfo) -> None:
        short = node.id.hex()[:8]
        if what == "node-up":
            self.figures.node_up(node.id, node.label)
            self.figures.note(f"{node.label or short} joined")
        elif what == "node-changed":  # another node told of it before it told of itself
            self.figures.node_changed(node.id, node.label)
            self.figures.note(f"{short} is {node.label}")
        elif what == "node-down":
            self.figures.node_down(node.id)
            self.figures.note(f"{node.label or short} gone")
        async with self._came_or_went:
            self._came_or_went.notify_all()

    async def _read(self) -> None:
        async for message in self.bus.subscribe("demo/readings", types=(Readings,)):
            if isinstance(message.payload, Readings):
                self.figures.readings = message.payload
                self.figures.readings_count += 1
            self.figures.readings_missed += message.missed

    async def _hear_beats(self) -> None:
        async for _ in self.bus.subscribe("demo/heartbeat"):
            pass  # the survey counts them

    async def _hear_board(self) -> None:
        async for message in self.bus.subscribe("lab/pump/state"):
            if isinstance(message.payload, dict):
                self.figures.board = message.payload
                self.figures.board_count += 1

    async def _keep_guestbook(self) -> None:
        async for message in self.bus.register("demo/guestbook", types=(Visit,)):
            if isinstance(message.payload, Visit):
                self.figures.visits += 1
                self.figures.visits_asked += message.payload.asked
                self.figures.visits_replied += message.payload.replied

    async def _hear_remote(self) -> None:
        """Asks what the program at the other end of a WebSocket has got."""
        async for message in self.bus.register("demo/remote", realm="global"):
            if isinstance(message.payload, dict):
                self.figures.remote_readings = message.payload["readings"]
                self.figures.remote_answers = message.payload["answers"]

    async def _survey(self) -> None:
        while True:
            # Leaves are the browsers and "remote", and introspection does not reach over a WebSocket.
            questions = [
                self._ask(INTROSPECTION, None, node.id) for node in self.bus.nodes() if not node.leaf
            ]
            reports = await asyncio.gather(*questions)
            self.figures.survey(report for report in reports if report is not None)
            await self.bus.publish("demo/overview", self.figures.overview(), realm="global")
            await asyncio.sleep(SURVEY_S)

    # Asking

    async def _ask(self, endpoint: str, payload: object, node: bytes = b"") -> Any:
        """The reply; None without one."""
        with self.figures.request(endpoint):
            return await self.bus.request(endpoint, payload, timeout=PATIENCE_S, node=node)

    async def _again(self, ask: Callable[[int], Coroutine[Any, Any, None]], pause_s: float) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            await ask(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _ask_sum(self, number: int) -> None:
        reply = await self._ask("demo/sum", [number, number])
        self._expect("demo/sum", reply, 2 * number)

    async def _ask_nonsense(self, number: int) -> None:
        await self._ask("demo/sum", "nonsense")  # a remote error

    async def _ask_clock(self, number: int) -> None:
        await self._ask("demo/clock", None)

    async def _ask_victim(self, number: int) -> None:
        reply = await self._ask("demo/echo", {"number": number})
        self._expect("demo/echo", reply, {"number": number})

    async def _ask_board(self, number: int) -> None:
        order = {"on": number % 2 == 1, "seconds": number % 2}
        reply = await self._ask("lab/pump", order)  # without water a remote error
        self._expect("lab/pump", reply, order)

    async def _ask_count(self, number: int) -> None:
        with self.figures.request("demo/count"):
            parts = [part async for part in self.bus.request_stream("demo/count", 10, timeout=PATIENCE_S)]
            self._expect("demo/count", parts, list(range(10)))

    def _expect(self, endpoint: str, reply: object, right: object) -> None:
        if reply is not None and reply != right:
            raise DemoError(f"{endpoint} answered {reply!r} where {right!r} was right")
