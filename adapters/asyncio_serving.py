"""Running the handlers of an asyncio program: plain functions by the loop itself, all others in tasks.
Compiled with the core where that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, cast

from busway.adapters.asyncio_pump import Pump
from busway.adapters.carrying import answer_apart
from busway.adapters.compiling import mypyc_attr
from busway.adapters.ends import VALUES
from busway.adapters.host import check_settled
from busway.adapters.results import answer_error, answer_failure, wants_answer
from busway.protocol import Crew, Message, Request, codes
from busway.protocol import Receiver as CoreReceiver

# A plain handler is called so often, then the loop has a turn.
_AT_ONCE: Final = 64
_VALUES: Final = VALUES


@mypyc_attr(allow_interpreted_subclasses=True)
class Serving:
    """The busy part of a Service."""

    _host: Pump
    _core: CoreReceiver
    _crew: Crew
    _handler: Any
    _take: Any
    _held: Any
    _encode: Any
    _is_plain: bool = False  # the handler is a function that gives its answer at once, as far as is known
    _at_once: int = 0  # calls of it since the loop had a turn
    _resting: bool = False  # until the loop has one

    def _look_at_handler(self) -> None:
        """Before the first message."""
        handler = self._handler
        self._is_plain = not (
            inspect.iscoroutinefunction(handler)
            or inspect.isgeneratorfunction(handler)
            or inspect.isasyncgenfunction(handler)
        )

    def _wake(self) -> None:
        """Start handlers for what is queued, as far as the limit allows."""
        queue = self._core.queue
        crew = self._crew
        while not self._resting and queue.items and len(crew) < crew.limit and crew.arrange():
            message = self._take(self._core)
            if message is not None:
                self._start(message)
        if self._resting:
            return
        if self._held:
            cast(Any, self)._wake_held()
        if queue.items and crew.deadline < 0:
            crew.press(self._host.now_ms())
            self._host.wake()

    def _go_on(self) -> None:
        self._at_once = 0
        self._resting = False
        self._wake()

    def _start(self, message: Message) -> None:
        if not cast(Any, self)._accept(message):
            return
        if self._is_plain and not len(self._crew):  # else those before it would be overtaken
            self._answer_at_once(message)
        else:
            self._start_task(message, None, None)

    def _answer_at_once(self, message: Message) -> None:
        """Call a plain handler, in a context of its own as in a task."""
        self._at_once += 1
        if self._at_once >= _AT_ONCE:
            self._resting = True
            self._host._loop.call_soon(self._go_on)
        context = copy_context()
        try:
            result = context.run(self._handler, message)
            if type(result) not in _VALUES and _is_to_run(result):
                self._is_plain = False
                self._start_task(message, context, result)
                return
            asked = wants_answer(message)
            token = 0 if asked is None else self._respond(asked, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to know
            cast(Any, self)._raised(message, error)
            return
        except BaseException as error:  # noqa: BLE001 - as in a task: it is the loop's, if it is an exit
            self._gave_up(message, error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                self._host._loop.call_soon(_raise, error)
            return
        if token:
            self._start_task(message, context, None, token)

    def _start_task(self, message: Message, context: Context | None, result: Any, token: int = 0) -> None:
        """Run the handler in a task; with `context` it was called in that, and has given `result`, or with
        `token` an answer that waits for its link.

        Counts up here what is counted down when the task is done: one that is cancelled before its first step
        runs nothing of its own, and an eager one may have ended already.
        """
        self._crew.began(message)
        loop = self._host._loop
        run = self._settle(token) if token else self._run(message, context is not None, result)
        try:
            task = loop.create_task(run) if context is None else loop.create_task(run, context=context)
        except BaseException:
            self._crew.ended(message)
            raise
        self._host.handlers[message] = task
        task.add_done_callback(partial(self._ended, message))

    def _ended(self, message: Message, task: asyncio.Task[None]) -> None:
        self._crew.ended(message)
        del self._host.handlers[message]
        if task.cancelled():
            self._gave_up(message, asyncio.CancelledError())
        elif (error := task.exception()) is not None:  # SystemExit, KeyboardInterrupt: the loop has raised it
            self._gave_up(message, error)
        self._wake()

    def _gave_up(self, message: Message, error: BaseException) -> None:
        """The handler raised what is no Exception."""
        host = self._host
        if isinstance(error, asyncio.CancelledError):
            code = codes.HANDLER_FAILED if host.failure is None else codes.BUS_CLOSED
            why = ": its node is closing" if host.failure is not None else ""
            answer_error(host.node, message, code, f"the handler was cancelled{why}", host.now_ms())
        else:
            answer_failure(host.node, message, error, host.now_ms())

    async def _run(self, message: Message, is_called: bool, result: Any) -> None:
        """In a task: from the message, or what the handler has given, to the answer."""
        try:
            if not is_called:
                result = self._handler(message)
            if type(result) not in _VALUES:
                if inspect.isawaitable(result):
                    result = await result
                elif inspect.isgenerator(result):
                    result = cast(Any, self)._each(result)
            asked = wants_answer(message)
            if type(result) not in _VALUES and inspect.isasyncgen(result):
                async with contextlib.aclosing(result):
                    await cast(Any, self)._answer_parts(asked, result)
            elif asked is not None:
                token = self._respond(asked, result)
                if token:
                    await self._settle(token)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to know
            cast(Any, self)._raised(message, error)

    def _respond(self, asked: Request, value: Any) -> int:
        """Answer; the token of an answer that has to wait."""
        host = self._host
        words: Any = None
        if type(value) not in _VALUES:
            value, words = answer_apart(asked, value)
        payload, format, type_id = self._encode(asked, value)
        held = host.hold()
        try:
            if not words and cast(object, host.node) is host.core:
                return host.core.respond(asked, payload, host.now_ms(), format, type_id)
            words = words or {}
            token: int = host.node.respond(asked, payload, host.now_ms(), format, type_id, **words)
            return token
        finally:
            host.leave(held)

    async def _settle(self, token: int) -> None:
        check_settled(await cast(Any, self._host).awaited(token))


def _is_to_run(result: Any) -> bool:
    """Whether a handler has given what has to be awaited or iterated first."""
    return inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)


def _raise(error: BaseException) -> None:
    raise error
