"""An application of handlers that know nobody: made of workers and routes, run in threads or processes.

app = nano.App(
    bus=nano.RingBus("1 MiB"),
    workers={"fast": [Blink(), Lamp()], "slow": [Logger()]},
    routes=[Blink >> Switched >> (Lamp, Logger), Lamp >> Failed >> Blink],
)
with app as running:
    running.join()
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from busway.nano import blocks
from busway.nano.bridge import Sender, Taker
from busway.nano.codecs import Codec
from busway.nano.control import Control, Counters, WorkerInfo
from busway.nano.errors import WorkerFailed
from busway.nano.handlers import Route, name_of
from busway.nano.log import Log
from busway.nano.reading import Reader
from busway.nano.wiring import Wiring
from busway.nano.worker import Incoming, Outgoing, Plan, Worker

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from busway.adapters.threads import Bus

_log = logging.getLogger("busway.nano")
_START_S = 30.0
_TICK_S = 0.01
_LAST_WAIT_S = 1.0  # for a process that was killed
_KILLED = "its process was killed, or ended itself"


class App:
    """Handlers, who runs them, and who sends what to whom. All of it is checked here.

    Args:
        bus: what messages go over: a RingBus, BlockingBus or FileBus. It stays open when the application
            ends.
        workers: handlers by the name of the worker that runs them, one call at a time.
        routes: `Source >> Message >> Receiver` or `>> (Receiver, Receiver)`. A class means all handlers of
            it; a handler means itself; an `Endpoint` is one of the bus.
        processes: False: workers are threads. True: each is a process, made as this machine's Python makes
            them; or "fork", "spawn" or "forkserver". For the latter two handlers must be picklable.
        codec: how messages become bytes that do not lie in memory as they are: "msgspec", "cbor", "pickle"
            (which runs what is in the file: never with files of others), or a `Codec`.
        codecs: the same for single types.
        joined: the Bus that endpoints are on; by default one is opened with the application.

    Raises:
        WiringError: handlers and routes do not fit together: a route to a handler that does not take the
            type, a handler that nobody reaches, and what else there is, with a picture.
        SchemaMismatch: a file has one of the types with another layout.
        TypeError: `bus` is none of nano's, or `joined` no `busway.Bus`.
        ValueError: there is no such way to make processes.
    """

    def __init__(
        self,
        *,
        bus: Log,
        workers: Mapping[str, Sequence[object]],
        routes: Sequence[Route],
        processes: bool | Literal["fork", "spawn", "forkserver"] = False,
        codec: Codec | str = "msgspec",
        codecs: Mapping[Any, Codec | str] | None = None,
        joined: Bus | None = None,
    ) -> None:
        if not isinstance(bus, Log):
            raise TypeError(f"bus= takes a RingBus, a BlockingBus or a FileBus, got {_said(bus)}")
        if joined is not None:
            _check_joined(joined)
        if processes not in (False, True, "fork", "spawn", "forkserver"):
            raise ValueError(f"processes is a bool, 'fork', 'spawn' or 'forkserver', got {processes!r}")
        self._bus = bus
        self._processes = processes
        self._joined = joined
        self._codec = codec
        self._codecs = codecs or {}
        self._wiring = wiring = Wiring(workers, routes, codec, self._codecs)
        self._running: Running | None = None
        kinds = [(name_of(kind), text) for kind, text in zip(wiring.kinds, wiring.texts, strict=True)]
        numbers, sources = bus.declare(kinds, [part.name for part in wiring.parts])
        self._kind_of = dict(zip(wiring.kinds, numbers, strict=True))
        self._source_of = sources

    def graph(self, form: Literal["mermaid", "svg"] = "mermaid") -> str:
        """The application as a drawing, Mermaid text or SVG.

        Raises:
            ValueError: another form.
        """
        if form not in ("mermaid", "svg"):
            raise ValueError(f"a graph is 'mermaid' or 'svg', got {form!r}")
        return self._wiring.svg() if form == "svg" else self._wiring.mermaid()

    def run(self) -> Running:
        """Starts all workers; returns when each has called its `on_start` handlers.

        Raises:
            WorkerFailed: one could not start; the others have been stopped.
            ValueError: it runs already, or another process reads the file by the name of a worker.
        """
        if self._running is not None and not self._running.ended:
            raise ValueError("this application runs already")
        self._running = Running(self._bus, self._plans(), self._processes, self._joined)
        return self._running

    def __enter__(self) -> Running:
        return self.run()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.stop()

    def _plans(self) -> list[Plan]:
        wiring = self._wiring
        names = list(dict.fromkeys(part.worker for part in wiring.parts))
        return [self._plan(number, name) for number, name in enumerate(names)]

    def _plan(self, number: int, name: str) -> Plan:
        wiring = self._wiring
        mine = {n: part for n, part in enumerate(wiring.parts) if part.worker == name}
        targets: dict[tuple[int, Any], list[int]] = {}
        outgoing: dict[int, dict[Any, Outgoing]] = {}
        for edge in wiring.edges:
            key = self._source_of[edge.source] << 16 | self._kind_of[edge.kind]
            if edge.target in mine:
                targets.setdefault((key, edge.kind), []).append(edge.target)
            if edge.source in mine:
                outgoing.setdefault(edge.source, {})[edge.kind] = Outgoing(edge.kind, key)
        incoming = [Incoming(kind, key, tuple(those)) for (key, kind), those in targets.items()]
        sent = {source: tuple(those.values()) for source, those in outgoing.items()}
        return Plan(name, number, mine, incoming, sent, self._codec, self._codecs)


def _said(value: object) -> str:
    return f"the class {name_of(value)}" if isinstance(value, type) else f"a {name_of(type(value))}"


def _check_joined(joined: object) -> None:
    import busway

    if not isinstance(joined, busway.Bus):
        raise TypeError(f"joined= takes a busway.Bus, whose calls block, got {_said(joined)}")


class _Thread:
    """A thread that is waited for by an event: Thread.join takes it for ended once Ctrl-C came meanwhile."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run = run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._all, name=name, daemon=True)
        self._thread.start()

    def _all(self) -> None:
        try:
            self._run()
        finally:
            self._over.set()

    def is_alive(self) -> bool:
        return not self._over.is_set()

    def join(self, timeout: float) -> None:
        if self._over.wait(timeout):
            self._thread.join()


class Running:
    """An application at work. Made by `App.run`.

    `with app as running:` and `with app.run() as running:` stop it at the end.
    """

    def __init__(self, bus: Log, plans: list[Plan], processes: bool | str, joined: Bus | None) -> None:
        self._bus = bus
        self._plans = plans
        self._control = Control(len(plans), sum(len(plan.parts) for plan in plans))
        self._threads: list[_Thread] = []
        self._children: dict[int, BaseProcess] = {}
        self._own = contextlib.ExitStack()
        self._watch: threading.Thread | None = None
        self._readers = self._attached()
        try:
            self._start(processes, joined)
        except BaseException:
            self.stop()
            raise

    # Starting

    def _attached(self) -> dict[int, Reader]:
        """The places of all workers, before any of them writes: nothing is missed."""
        found: dict[int, Reader] = {}
        try:
            for plan in self._plans:
                if plan.incoming:
                    found[plan.number] = self._bus.attach(plan.name)
                else:
                    found[plan.number] = Reader(self._bus, -1, 0, None)
        except BaseException:
            for reader in found.values():
                reader.close()
            raise
        return found

    def _start(self, processes: bool | str, joined: Bus | None) -> None:
        bridges = [plan for plan in self._plans if _bridges(plan)]
        others = [plan for plan in self._plans if not _bridges(plan)]
        if processes:
            self._bus.share()
            self._start_processes(others, None if processes is True else str(processes))
        else:
            self._start_threads(others)
        if bridges:
            self._join_bus(bridges, joined)
            self._start_threads(bridges)
        self._wait_until_up()

    def _worker(self, plan: Plan) -> Worker:
        return Worker(plan, self._bus, self._readers[plan.number], self._control)

    def _start_threads(self, plans: list[Plan]) -> None:
        for plan in plans:
            run = self._worker(plan).run
            self._threads.append(_Thread(run, f"busway.nano {plan.name}"))

    def _start_processes(self, plans: list[Plan], method: str | None) -> None:
        import multiprocessing
        import multiprocessing.connection  # what Ctrl-C interrupts while it imports keeps others from it

        context: Any = multiprocessing.get_context(method)
        for plan in plans:
            target = self._worker(plan).in_process
            child = context.Process(target=target, name=f"busway.nano {plan.name}", daemon=True)
            try:
                child.start()
            except (AttributeError, TypeError, pickle.PicklingError) as error:
                raise WorkerFailed(
                    f"the worker {plan.name} cannot be handed to a process, for which its handlers must be "
                    f"picklable: {error}"
                ) from error
            self._children[plan.number] = child
            self._readers[plan.number].adopt(child.pid or 0)
        self._watch = threading.Thread(target=self._watched, name="busway.nano watch", daemon=True)
        self._watch.start()

    def _join_bus(self, plans: list[Plan], joined: Bus | None) -> None:
        if joined is None:
            import busway

            joined = self._own.enter_context(busway.Bus())
        for plan in plans:
            for part in plan.parts.values():
                part.handler.bus = joined

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_S
        while any(self._info(plan).state == "starting" for plan in self._plans):
            if time.monotonic() > deadline:
                slow = [plan.name for plan in self._plans if self._info(plan).state == "starting"]
                raise WorkerFailed(f"not started within {_START_S:.0f} s: {', '.join(slow)}")
            time.sleep(0.001)
        for plan in self._plans:
            found = self._info(plan)
            if found.state in ("failed", "died") and not self._control.started(plan.number):
                raise WorkerFailed(f"the worker {plan.name} could not start: {found.reason or found.state}")

    def _watched(self) -> None:
        """Says of processes that were killed that they were, and frees what they held."""
        from multiprocessing import connection

        left = dict(self._children)
        while left:
            done = connection.wait([child.sentinel for child in left.values()])
            for number, child in list(left.items()):
                if child.sentinel not in done:
                    continue
                del left[number]
                if self._control.worker(number).state in ("starting", "running"):
                    missed = self._control.worker(number).missed
                    self._control.say(number, "died", child.pid or 0, missed, _KILLED)
                    _log.error("the worker %s died", self._plans[number].name)
                self._readers[number].close()

    # Life

    @property
    def ended(self) -> bool:
        """Whether no worker is at work any more."""
        return not any(thread.is_alive() for thread in self._threads) and not any(
            child.is_alive() for child in self._children.values()
        )

    def stop(self, timeout: float = 5.0) -> bool:
        """Ends all workers: each finishes the message in hand and calls its `on_stop`. Twice is once.

        Args:
            timeout: seconds; processes that take longer are killed, threads are left to themselves.

        Returns:
            Whether all ended by themselves.
        """
        self._control.stop()
        self._rouse()
        clean = self._waited(timeout)
        for child in self._children.values():
            if child.is_alive():
                child.kill()
                child.join(_LAST_WAIT_S)
        if self._watch is not None:
            self._watch.join(_LAST_WAIT_S)
        for plan in self._plans:
            if clean or plan.number in self._children:
                self._readers[plan.number].close()
        self._own.close()
        return clean

    def _rouse(self) -> None:
        state = self._bus.state()
        self._bus.bell.touch((state.tail >> 3) ^ 0x55555555)
        self._bus.bell.ring()
        self._bus.freed(blocks.FLIPPED)

    def join(self, timeout: float | None = None) -> bool:
        """Waits until all workers have ended, as when a handler raised `Finished`.

        Args:
            timeout: seconds; None for as long as it takes. Ctrl-C ends the waiting.

        Returns:
            Whether they have.
        """
        done = self._waited(timeout)
        if done:
            self.stop()
        return done

    def _waited(self, timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        those: list[Any] = [*self._threads, *self._children.values()]
        for one in those:
            while one.is_alive():
                left = 0.25 if end is None else min(0.25, end - time.monotonic())
                if left <= 0:
                    return False
                one.join(left)
            one.join(0.0)
        return True

    def settle(self, timeout: float | None = None) -> bool:
        """Waits until every message that was emitted is handled. Sources that go on emitting keep it waiting.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            Whether it came to that; False also if workers have ended before.
        """
        end = None if timeout is None else time.monotonic() + timeout
        readers = [self._readers[plan.number] for plan in self._plans if plan.incoming]
        while True:
            tail = self._bus.state().tail
            if all(reader.kept() >= tail for reader in readers) and self._bus.state().tail == tail:
                return True
            if (end is not None and time.monotonic() >= end) or self.ended:
                return False
            time.sleep(_TICK_S)

    def counters(self) -> dict[str, Counters]:
        """The counts of each handler, by its name; a second one of a class is called `Lamp#2`.

        They are told now and then, every 50 ms at least but during a long call, and at the end.
        """
        found = {}
        for plan in self._plans:
            for number, part in plan.parts.items():
                found[part.worker if part.endpoint else part.name] = self._control.counters(number)
        return found

    def workers(self) -> dict[str, WorkerInfo]:
        """The state of each worker, by its name."""
        return {plan.name: self._info(plan) for plan in self._plans}

    def _info(self, plan: Plan) -> WorkerInfo:
        return self._control.worker(plan.number)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _bridges(plan: Plan) -> bool:
    return any(isinstance(part.handler, (Sender, Taker)) for part in plan.parts.values())
