"""The lives of hosted objects, as far as asyncio and threads have them alike: states, counts, and when one
begins anew. How one waits is told in lives_asyncio.py and lives_threads.py.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Self, TypeVar

from busway.adapters.arguments import check_flag, check_seconds
from busway.adapters.bus import host_of
from busway.adapters.retrying import Retry
from busway.adapters.typed import LifeOptions, Realm, Restart
from busway.errors import BusError
from busway.services.describing import text_of
from busway.services.hooks import Hooks, On

if TYPE_CHECKING:
    from busway.services.contracts import Outline
    from busway.services.serving import Server

State = Literal["starting", "running", "restarting", "stopping", "failed", "stopped"]
Handler = Callable[[Any], Any]

RESTARTS: Final = ("never", "on-error", "always")
OVER: Final = ("failed", "stopped")
SETTLED: Final = ("running", *OVER)
ENDED_MAX: Final = 64  # objects that are over and still listed by `hosted()`
STOP_S: Final = 5.0
# Parts of the time that an end may take: until then methods at work may go on; those that were cancelled have
# ended; on_stop is done; it has ended as well if it was cancelled.
SHARES: Final = (0.4, 0.5, 0.85, 0.95)
BELOW: Final = "./"  # begins the name of an endpoint below that of its object
NOTHING: Final = (
    "has nothing to run or to serve: no method with @busway.on or @busway.every, no on_start or on_run, and"
    " it is no service: derive it from a contract, declared with @busway.service, or give that as contract="
)


class Rules(NamedTuple):
    """How an object is hosted, checked."""

    serial: bool = False
    restart: Restart = "never"
    backoff: Retry = Retry()
    fatal: tuple[type[Exception], ...] = ()
    stop_timeout: float = STOP_S
    realm: Realm = "localnet"

    def again(self, error: BaseException | None) -> bool:
        """Whether another life follows one that ended with this error, None for without."""
        return self.restart == "always" or (self.restart == "on-error" and error is not None)


def rules_of(options: LifeOptions) -> Rules:
    """The rules that options of `host` say. Raises TypeError, ValueError."""
    given: Any = options
    rules = Rules(**given)
    check_flag("serial", rules.serial)
    if rules.restart not in RESTARTS:
        raise ValueError(f"restart must be one of {', '.join(RESTARTS)}, not {rules.restart!r}")
    if not isinstance(rules.backoff, Retry):
        raise TypeError(f"backoff must be a busway.Retry, not {rules.backoff!r}")
    fatal = rules.fatal if isinstance(rules.fatal, tuple) else (rules.fatal,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in fatal):
        raise TypeError(f"fatal must be one exception class or a tuple of several, not {rules.fatal!r}")
    return rules._replace(fatal=fatal, stop_timeout=check_seconds("stop_timeout", rules.stop_timeout))


class Contracted(NamedTuple):
    """The service that an object serves; `options` are those of the bus's `serve`."""

    outline: Outline
    where: Any
    version: int
    options: dict[str, Any]

    def server(self, bus: Any, obj: Any) -> Server:
        """An object as it serves. Raises TypeError for one that does not implement the contract."""
        from busway.services.serving import Server

        return Server(bus, obj, self.outline, self.where, self.version, self.options["realm"])


class Hosted:
    """An object that a bus hosts. Made by `host`; `close()` ends it, as leaving its `async with` or `with`
    does.

    Its `state` is "starting", "running", "restarting" (it waits for its next life), "stopping", or for good
    "failed" or "stopped". `handled` counts calls of its methods for messages and times; `errors` what its
    methods raised that was no answer (RemoteError), `last_error` being the last; `skipped` times that passed
    while a timer's method was at work; `restarts` its further lives.
    """

    def __init__(self, bus: Any, given: Any, name: Any, contracted: Contracted | None, rules: Rules) -> None:
        self._bus = bus
        self._make: Callable[[], Any] | None = given if is_factory(given) else None
        self._object: Any = None if self._make is not None else given
        self._given_name = name
        self._name = class_of(given).__name__ if name is None else text_of(name)
        self._contracted = contracted
        self._rules = rules
        self._hooks: Hooks
        self._handlers: list[tuple[Any, Handler, dict[str, Any]]] = []
        self._server: Server | None = None
        self._ends: list[Any] = []  # what is registered in this life
        self._is_due = False  # on_start is done, and on_stop is not
        self._step = 0  # restarts in close succession
        self._since: float | None = None  # when this life began to run
        self._is_stopping = False
        self.state: State = "starting"
        self.handled = 0
        self.errors = 0
        self.skipped = 0
        self.restarts = 0
        self.last_error: BaseException | None = None

    def __repr__(self) -> str:
        service = "" if self._contracted is None else f" version {self._contracted.version}"
        told = f"{self.state}, {self.handled} handled, {self.errors} errors, {self.restarts} restarts"
        return f"<Hosted {self._name}{service}, {told}>"

    @property
    def name(self) -> str:
        """The name that `host` was given, else that of its service, else that of its class."""
        return self._name

    @property
    def version(self) -> int:
        """The contract's version, as clients are told it; 0 if it serves none."""
        return 0 if self._contracted is None else self._contracted.version

    @property
    def object(self) -> Any:
        """The object; where a class was handed over that of this life, or of the last."""
        return self._object

    def ready(self) -> Awaitable[None]:
        """Wait until it runs, or is over; of an AsyncBus it is to be awaited. Raises what it failed with."""
        raise NotImplementedError

    def ended(self) -> Awaitable[None]:
        """Wait until it is over, and does not begin anew; of an AsyncBus it is to be awaited. Raises what it
        failed with.
        """
        raise NotImplementedError

    def close(self, timeout: float | None = None) -> Awaitable[None]:
        """End it: it takes no more messages, methods at work may end, then `on_stop` is called. All of that
        takes `timeout` seconds at the most, by default its `stop_timeout`: what has not ended by then is
        cancelled, or in threads left alone.

        Of an AsyncBus it begins at once, and may be awaited for its end; of a Bus it returns at its end.
        Called by one of its own methods it only begins. Twice is once.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # One life

    def _began(self) -> Any:
        """Make the object, if that is due, and call on_start; returns what that has given."""
        self._since = None
        if self._make is not None:
            self._object = self._make()
        try:
            self._hooks = Hooks(self._object)
            self._check_hooks(self._hooks)
            self._handlers = self._all_handlers()
        except (TypeError, ValueError):
            self._rules = self._rules._replace(restart="never")  # it would be the same again
            raise
        return None if self._hooks.on_start is None else self._hooks.on_start(self._bus)

    def _check_hooks(self, hooks: Hooks) -> None:
        """Raises TypeError for a hook of the wrong sort."""
        raise NotImplementedError

    def _all_handlers(self) -> list[tuple[Any, Handler, dict[str, Any]]]:
        """Endpoints, their handlers and options: those of its contract, whose signals it gets, and of its
        hooks. Raises TypeError, ValueError.
        """
        found = [
            (self._absolute(mark.endpoint), each, self._options(mark)) for each, mark in self._hooks.endpoints
        ]
        if self._contracted is not None:
            self._server = self._contracted.server(self._bus, self._object)
            found.insert(0, (self._contracted.where, self._server.handler, self._contracted.options))
        elif not self._hooks:
            raise TypeError(f"{type(self._object).__qualname__} {NOTHING}")
        return found

    def _options(self, mark: On) -> dict[str, Any]:
        options = dict(mark.options)
        if options["realm"] is None:
            options["realm"] = self._rules.realm
        return options

    def _absolute(self, endpoint: Any) -> Any:
        if not isinstance(endpoint, str) or not endpoint.startswith(BELOW):
            return endpoint
        if not isinstance(self._given_name, str):
            raise ValueError(f"{endpoint!r} is below the name of its object: give that to host, as name=")
        return self._name + endpoint[1:]

    def _register(self) -> None:
        """The object has started: take messages. Raises what `serve` raises."""
        self._is_due = True
        self._since = self._now()
        for endpoint, function, options in self._handlers:
            self._ends.append(self._bus.serve(endpoint, self._around(function), **options))

    def _deregister(self) -> list[Any]:
        """Take no more messages; returns what was registered."""
        ends, self._ends = self._ends, []
        for each in ends:
            each.close()
        return ends

    def _let_go(self) -> None:
        """The object's life is over: it may be hosted elsewhere."""
        server, self._server = self._server, None
        if server is not None:
            server.detach()

    def _now(self) -> float:
        raise NotImplementedError

    def _around(self, function: Handler) -> Handler:
        """A handler that counts, and takes its turn if the object is serial."""
        raise NotImplementedError

    def _end_life(self, error: BaseException | None) -> bool:
        """End this life with an error, or without; False if it is to end already."""
        raise NotImplementedError

    # What goes wrong

    def _raised(self, error: Exception) -> None:
        """A method has raised what is no answer: that harms nobody else, unless it is fatal."""
        if not isinstance(error, self._rules.fatal) or not self._end_life(error):
            self._count(error)

    def _count(self, error: BaseException) -> None:
        self.errors += 1
        self.last_error = error

    def _log(self, what: str, error: BaseException) -> None:
        """The first of a kind in full, then counts, as of handlers."""
        host = host_of(self._bus)
        if host.failure is None:
            with contextlib.suppress(BusError):  # it is closed in this very moment
                host.call(host.failures.add, what, error)

    def _failed(self, error: BaseException) -> None:
        """This life ends with an error."""
        self._count(error)
        self._log(self._name, error)

    def _hangs(self, count: int) -> None:
        """Methods have not ended in time, and are left alone."""
        if count:
            these = "1 method" if count == 1 else f"{count} methods"
            self._failed(TimeoutError(f"{these} of {self._name} did not end in time"))

    # From one life to the next

    def _delay(self, chance: float) -> float:
        """Another life is to follow: after how many seconds."""
        if self._since is not None and self._now() - self._since > self._rules.backoff.cap:
            self._step = 0
        wait = self._rules.backoff.delay(self._step, chance)
        self._step += 1
        return wait


def is_factory(given: Any) -> bool:
    """Whether it is called for an object at the beginning of each life: a class, or a partial of one."""
    return isinstance(given, (type, functools.partial))


def class_of(given: Any) -> Any:
    """The class of what is handed over, as far as that is known before it is made."""
    if isinstance(given, functools.partial):
        given = given.func
    return given if isinstance(given, type) else type(given)


H = TypeVar("H", bound=Hosted)


class Crowd(Generic[H]):
    """The objects that one bus hosts; `made` is their class."""

    made: type[H]

    def __init__(self) -> None:
        self._members: list[H] = []

    def listed(self) -> list[H]:
        """The objects in the order in which they came; of those that are over the last ones."""
        over = [each for each in self._members if each.state in OVER]
        for each in over[: max(0, len(over) - ENDED_MAX)]:
            self._members.remove(each)
        return list(self._members)

    def _add(self, hosted: H) -> None:
        self._members = [*self.listed(), hosted]

    def begin(self, hosted: H) -> H:
        """Host it. Raises what it fails with at once, if it is not to begin anew."""
        raise NotImplementedError

    def close(self, timeout: float) -> Any:
        """End them all within `timeout` seconds; gives what is left of these, a tenth at least."""
        raise NotImplementedError
