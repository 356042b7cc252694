"""The loop for boards beside other asyncio tasks: handlers may be coroutines, requests are awaited.

Knows the loop of micropython.py, and of asyncio what MicroPython has of it.
"""

import asyncio

from busway.adapters.micropython import Loop, Outcome, RemoteError, decode, describe
from busway.protocol.leaf_frames import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class AsyncLoop(Loop):
    """As `Loop`, with `run` as a task. It looks at its stream every 5 ms, and lets others work in between."""

    interval_ms = 5

    async def run(self) -> None:  # type: ignore[override]
        """For ever."""
        while True:
            self.step(0)
            await asyncio.sleep(self.interval_ms / 1000)

    async def call(self, name: "str | bytes", value: object = None, timeout_ms: int = 5000) -> "Any":
        """Ask and await the reply. Raises RemoteError, FullError."""
        answered = asyncio.Event()
        found: "list[Outcome]" = []

        def then(outcome: Outcome) -> None:
            found.append(outcome)
            answered.set()

        self.request(name, value, then, timeout_ms)
        await answered.wait()
        if not found[0].ok:
            raise RemoteError(found[0].code, found[0].text)
        return found[0].payload

    def _handle(self, message: Message, function: "Callable[[Any], Any]") -> None:
        asyncio.create_task(self._run(message, function))  # noqa: RUF006 - MicroPython keeps its tasks itself

    async def _run(self, message: Message, function: "Callable[[Any], Any]") -> None:
        code = 0
        text = ""
        answer: "Any" = None
        try:
            answer = function(decode(message.payload, message.format))
            if hasattr(answer, "send"):
                answer = await answer
        except Exception as error:  # noqa: BLE001 - a program's own: the asker hears of it
            self.last_error = error
            code, text = describe(error)
        if message.wants_answer:
            self.answer(message, answer, code, text)
