"""The times when a dialled link is tried again: a state machine without clock, randomness, socket or loop.

Times are seconds of any origin, and chances numbers from 0 to 1: both are given. What is done about it is
dialled.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the same to a checker
    from dataclasses import dataclass
else:
    from busway.adapters.frozen import dataclass

CONNECTING: Final = "connecting"  # it has never been open
CONNECTED: Final = "connected"
RECONNECTING: Final = "reconnecting"  # it was open, and is tried again
CLOSED: Final = "closed"  # for good

_OPENED: Final = 0
_FAILED: Final = 1  # an attempt, to be followed by another
_LOST: Final = 2
_ENDED: Final = 3  # by its owner, or because another attempt would not help

# (state, what happened) -> the next state. What is not here does not happen.
_NEXT: Final = {
    (CONNECTING, _OPENED): CONNECTED,
    (CONNECTING, _FAILED): CONNECTING,
    (CONNECTING, _ENDED): CLOSED,
    (CONNECTED, _LOST): RECONNECTING,
    (CONNECTED, _ENDED): CLOSED,
    (RECONNECTING, _OPENED): CONNECTED,
    (RECONNECTING, _FAILED): RECONNECTING,
    (RECONNECTING, _ENDED): CLOSED,
    (CLOSED, _ENDED): CLOSED,
}

_STEPS_MAX: Final = 64  # 10.0 ** 64 is a float still


@dataclass(frozen=True, slots=True)
class Retry:
    """The way a dialled link is tried again, with exponential backoff and jitter.

    Args:
        first: the longest wait before the first attempt after a loss, in seconds, above 0.
        factor: by how much the next one is longer, 1 to 10.
        cap: the longest wait of all, in seconds, at least `first`.
        jitter: 0 to 1: each wait is drawn evenly from the last `jitter` part of its length, so that many
            clients of one server that restarts do not all come at once. 0.5: between half and the whole.

    Raises ValueError.
    """

    first: float = 0.5
    factor: float = 2.0
    cap: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        limits = {"first": (0.001, 86400.0), "factor": (1.0, 10.0), "jitter": (0.0, 1.0)}
        for name, (least, most) in {**limits, "cap": (self.first, 86400.0)}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")

    def length(self, step: int) -> float:
        """The wait before attempt number `step` (0 is the first), without jitter, in seconds."""
        return min(self.cap, self.first * self.factor ** min(step, _STEPS_MAX))

    def delay(self, step: int, chance: float) -> float:
        """The wait before attempt number `step`, in seconds; `chance` from 0 to 1 draws the jitter."""
        return self.length(step) * (1.0 - self.jitter * chance)

    def bound(self, down: float) -> float:
        """The longest that a client waits once its server is back, if that was away for `down` seconds and
        each attempt failed at once.

        The waits before that one sum up to `down` at the most, so it is no longer than what follows from the
        shortest of such sums.
        """
        waited, step = 0.0, 0
        while self.length(step) < self.cap and step < _STEPS_MAX:
            waited += self.length(step) * (1.0 - self.jitter)
            if waited > down:
                break
            step += 1
        return self.length(step)


class Reconnector:
    """The state of one dialled link.

    `state` is one of the words above, `attempt` counts the attempts since it was last open, `next_at` is when
    the next one begins (-1: it is under way, or none will), `error` what went wrong last, `losses` how often
    it was lost.

    Args: `retry` None: one attempt only, and none after a loss. `patience` seconds from `now` in which the
    first opening is tried again: 0 for one attempt.
    """

    def __init__(self, retry: Retry | None, patience: float, now: float) -> None:
        self.state = CONNECTING
        self.attempt = 0
        self.next_at = -1.0
        self.error = ""
        self.losses = 0
        self._retry = retry
        self._give_up_at = now + patience
        self._step = 0
        self._waited = 0.0  # the last wait, without jitter
        self._opened_at = -1.0

    def begin(self) -> None:
        """An attempt is under way."""
        self.attempt += 1
        self.next_at = -1.0

    def opened(self, now: float) -> None:
        """The attempt succeeded: the link is usable."""
        self._go(_OPENED)
        self._opened_at = now
        self.error = ""

    def failed(self, text: str, now: float, chance: float, *, hopeless: bool = False) -> float:
        """The attempt failed; `hopeless` if another would fail in the same way as far as one can tell.

        Returns the seconds to wait before the next one; -1: there is none, the link is closed. A link that
        was open before is never given up: then a hopeless one is tried again at the longest interval.
        """
        self.error = text
        if self.state == CONNECTING and (hopeless or self._retry is None or now >= self._give_up_at):
            self.close()
            return -1.0
        self._go(_FAILED)
        delay = self._wait(chance, hopeless)
        if self.state == CONNECTING:
            delay = min(delay, self._give_up_at - now)
        self.next_at = now + delay
        return delay

    def lost(self, text: str, now: float, chance: float, *, hopeless: bool = False) -> float:
        """The open link ended without this side's wish. Returns as `failed`."""
        self.losses += 1
        self.error = text
        if self._retry is None:
            self.close()
            return -1.0
        if now - self._opened_at >= self._waited:  # else it came up only to go down: the waits go on growing
            self._step = 0
        self._go(_LOST)
        self.attempt = 0
        delay = self._wait(chance, hopeless)
        self.next_at = now + delay
        return delay

    def close(self) -> None:
        """No more attempts. Twice is once."""
        self._go(_ENDED)
        self.next_at = -1.0

    def _go(self, happened: int) -> None:
        self.state = _NEXT[self.state, happened]

    def _wait(self, chance: float, longest: bool) -> float:
        assert self._retry is not None
        step = _STEPS_MAX if longest else self._step
        self._step += 1
        self._waited = self._retry.length(step)
        return self._retry.delay(step, chance)
