"""Threads for handlers: as many as are at work. Knows nothing of what they do."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("busway")
_IDLE_S = 10.0  # a thread that has had nothing to do for so long ends
Task = Callable[[], object]


class Pool:
    """Threads for handlers: as many as there are at work, so nobody's slow handler holds up another's. Its
    users bound what they submit. A thread whose task returned True calls `spare` before it takes the next.
    """

    def __init__(self, spare: Task) -> None:
        self._spare = spare
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._open = 0  # tasks that wait or run
        self._threads: set[threading.Thread] = set()

    def submit(self, task: Task) -> None:
        """Run it in a thread. Raises RuntimeError if there is none to be had."""
        with self._lock:
            if self._open >= len(self._threads):
                thread = threading.Thread(target=self._work, name="busway-handler", daemon=True)
                thread.start()
                self._threads.add(thread)
            self._open += 1
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._open < len(self._threads):
                        self._threads.discard(threading.current_thread())
                        return
                continue
            if task is None:
                return
            try:
                is_spare = task() is True
                del task  # with what it holds
                if is_spare:
                    self._spare()
            except BaseException as error:  # noqa: BLE001 - a thread that ends would still be counted
                _log.error("a task of the bus failed", exc_info=error)
            finally:
                with self._lock:
                    self._open -= 1

    def stop(self, timeout: float) -> None:
        """End the idle threads, and wait `timeout` seconds for the others."""
        end = time.monotonic() + timeout
        with self._lock:
            threads = self._threads - {threading.current_thread()}
        for _ in range(len(threads) + 1):
            self._tasks.put(None)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
