"""The loop for boards beside other asyncio tasks: handlers and timed functions may be coroutines, requests
are awaited.

Knows the loop of micropython.py, and of asyncio what MicroPython has of it; runs on nothing else.
"""

import asyncio

from busway.adapters.micropython import Loop, Outcome, RemoteError, decode, describe
from busway.protocol.leaf.frames import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any


class AsyncLoop(Loop):
    """As `Loop`, with `run` as a task. It looks at its stream every 5 ms, and lets others work in between.

    `places` handlers are at work at once; what comes meanwhile waits in the queues of its endpoints, and at
    its senders. A handler that yields gives the parts of a streaming reply (anything but None). A coroutine
    of `every` that takes longer than its interval skips its next turn.
    """

    interval_ms = 5
    places = 4

    def __init__(self, stream: "Any", label: str = "", **options: "Any") -> None:
        super().__init__(stream, label, **options)
        self._at_work: "list[Any]" = []  # functions of `every` whose coroutines have not ended

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

    def _call(self, function: "Callable[..., Any]", *arguments: object) -> None:
        """A function of `every`, or what is told an outcome."""
        if not arguments and function in self._at_work:  # an outcome comes but once
            return
        try:
            running = function(*arguments)
            if hasattr(running, "send"):
                asyncio.create_task(self._finish(function, running))  # noqa: RUF006 - as below
        except Exception as error:  # noqa: BLE001 - a program's own
            self._fault(error)

    async def _finish(self, function: "Callable[..., Any]", running: "Any") -> None:
        self._at_work.append(function)
        try:
            await running
        except Exception as error:  # noqa: BLE001 - a program's own
            self._fault(error)
        finally:
            self._at_work.remove(function)

    def _handle(self, message: Message, function: "Callable[[Any], Any]") -> None:
        asyncio.create_task(self._run(message, function))  # noqa: RUF006 - MicroPython keeps its tasks itself
        self.places -= 1  # a task for which there is no memory would never give it back

    async def _run(self, message: Message, function: "Callable[[Any], Any]") -> None:
        code = 0
        text = ""
        answer: "Any" = None
        self.message = message
        try:
            answer = function(decode(message.payload, message.format))
            if hasattr(answer, "send"):
                answer = await self._drive(message, answer)
        except Exception as error:  # noqa: BLE001 - a program's own: the asker hears of it
            self.last_error = error
            code, text = describe(error)
        finally:
            self.places += 1
        self._wake()
        if message.parts and not code:
            from busway.adapters.micropython_streams import finish

            finish(self, message)
        elif message.wants_answer:
            self.answer(message, answer, code, text)

    def _drive(self, message: Message, running: "Any") -> "Any":
        """Runs a coroutine. MicroPython makes no difference between it and a generator, nor between `await`
        and `yield`; but asyncio's own yields are all of None, so what else comes is a part."""
        error: "BaseException | None" = None
        while True:
            try:
                part = running.send(None) if error is None else running.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                if part is None:
                    yield
                else:
                    yield from self._offer(message, part)
                    if not message.wants_answer:  # nobody waits for more
                        running.close()
                        return None
            except BaseException as thrown:  # noqa: BLE001 - asyncio's cancelling: for the coroutine to hear
                error = thrown

    def _offer(self, message: Message, part: object) -> "Generator[None, None, None]":
        from busway.adapters.micropython_streams import offer

        while not offer(self, message, part):
            yield from asyncio.sleep_ms(self.interval_ms)  # type: ignore[attr-defined]
