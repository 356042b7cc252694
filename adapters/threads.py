"""The bus for programs with threads: the same names and promises as AsyncBus, blocking.

Any thread may call, handlers may too. What messages mean, how they are ordered, retried, limited and timed
out is the core's; what runs it is threads_host.py's, and what it has in common with AsyncBus bus.py's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, cast, overload

from busway.adapters.arguments import (
    ANY_NODE,
    LAST_QUEUE,
    MOST,
    NO_TTL_S,
    TIMEOUT_S,
    check_flag,
    check_handler,
    check_node,
    check_seconds,
    check_stored,
    milliseconds,
    no_last,
    priority_of,
    realm_here,
    send_timeout_ms,
    several,
    timeout_ms,
    wanted_reply,
)
from busway.adapters.bus import BaseBus
from busway.adapters.carrying import attach, attached_to, sending, taken_apart
from busway.adapters.dialled import DialledLink
from busway.adapters.ends import CHANGES_MAX
from busway.adapters.host import check_settled
from busway.adapters.links import Listener
from busway.adapters.literal import id_of, id_of_name, id_taking
from busway.adapters.records import Delivery, Hop
from busway.adapters.results import error_of, replied
from busway.adapters.retrying import Retry
from busway.adapters.selected import check_alone, check_copies, others_of
from busway.adapters.threads_calls import Calls
from busway.adapters.threads_ends import PLAIN_ONLY, Changes, Items, Receiver, Service
from busway.adapters.threads_host import Count, Host
from busway.adapters.threads_signals import interrupt, raise_pending, shielded
from busway.adapters.typed import (
    CopyOptions,
    Kind,
    M,
    Message,
    Name,
    Policy,
    Priority,
    PublishOptions,
    R,
    Realm,
    RegisterOptions,
    RequestOptions,
    SendOptions,
    SubscribeOptions,
    T,
    Target,
    U,
    V,
    W,
    Whom,
)
from busway.payloads import encode_shared
from busway.protocol import events

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import TypeForm

    from busway.attached import Attached
    from busway.files import HasFileno
    from busway.memory.region import Region
    from busway.selectors import Selector

S = TypeVar("S")
_ANY = "any"


class Bus(BaseBus, Calls):
    """A program's place on the bus, for threads. Every method blocks, and any thread may call it.

    Its arguments are those of `AsyncBus`: `name` of the bus, by default what BUSWAY_BUS says; `ipc`: find
    this machine's other programs of the same user; `leaf`: join through one local node; `transit`: forward
    for others; `label` for people; `node_id` 16 bytes; `key` and `trust` beyond this machine; `boards` that
    may join; `policy`: who may do what; `seal` for sealed messages; `limits`; `tap`: let
    `busway listen --all` see it; `lan` and `token`: find others on the local network.

    Use it as `with Bus() as bus:`; that returns having joined the local nodes (at most 500 ms).
    """

    _host: Host
    _host_type = Host
    _service = Service
    _handlers_max = 16
    _lives = "busway.services.lives_threads"

    # Life

    def open(self) -> Self:
        """Join. `with` does this. Where it fails the bus is closed."""
        self._offer()
        self._host.open()
        return self

    def __enter__(self) -> Self:
        try:
            return self.open()
        except BaseException:
            self.close(0)
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float | None = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once.

        Handlers at work get half of that time to finish. Whoever waits in a call gets BusClosed. Ctrl-C ends
        the waiting, and everything is released all the same. Hosted objects end first, in up to nine tenths
        of that time.
        """
        left = check_seconds("timeout", timeout, endless=True)
        try:
            if self._store_client is not None and self._host.failure is None:
                self._store_client.finish(left / 5)
            if self._crowd is not None and self._host.failure is None:
                left = self._crowd.close(left)
        except BaseException:
            left = 0.0
            raise
        finally:
            self._host.close(left)

    # Sending

    @overload
    def send(self, target: type[M], payload: M, /, **options: Unpack[SendOptions]) -> None: ...

    @overload
    def send(self, target: Whom, /, payload: Any = None, **options: Unpack[SendOptions]) -> None: ...

    @overload
    def send(
        self, target: Selector, /, payload: Any = None, *, to: Literal["all"], **options: Unpack[CopyOptions]
    ) -> list[Delivery]: ...

    def send(
        self,
        target: Any,
        /,
        payload: Any = None,
        *,
        to: Any = _ANY,
        others_only: bool = False,
        confirm: bool = False,
        ttl: float = NO_TTL_S,
        timeout: float | None = TIMEOUT_S,
        node: bytes | None = ANY_NODE,
        sealed: bool | str = False,
        priority: Priority = "normal",
        store: bool = False,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
    ) -> Any:
        """Send to whoever holds `target`, or is meant by a selector; returns when the message is accepted for
        transport.

        Arguments and errors as `AsyncBus.send`. Waits while the receiver gives no credit, or for `timeout`
        seconds if that is given. What was accepted leaves within about a millisecond.
        """
        if (
            confirm is False
            and sealed is False
            and ttl is NO_TTL_S
            and node is ANY_NODE
            and timeout is TIMEOUT_S
            and priority == "normal"
            and not self._process_only
            and to is _ANY
            and others_only is False
            and store is False
            and files is None
            and regions is None
        ):
            endpoint = id_of_name(target) if type(target) is str else id_taking(target, payload)
            try:
                if type(payload) is bytes:
                    outcome = self._host.send_now(endpoint, payload)
                else:
                    outcome = self._host.send_now(endpoint, *encode_shared(payload, endpoint, self._host))
            finally:
                if interrupt.pending:
                    raise_pending()
            if outcome is not None:
                check_accepted(outcome, target)
            return None
        how = "stored" if store is not False else ""
        payload = attach(payload, files, regions, sealed=sealed, otherwise=how)
        if store is not False:
            copies = to is not _ANY or others_only is not False
            self._stored("send", target, payload, store, ttl, timeout, node, sealed, priority, copies)
        elif check_copies(to, target, others_only):
            check_alone(node, sealed)
            check_flag("confirm", confirm)
            return self._send_all(target, payload, confirm, ttl, timeout, priority, others_only)
        else:
            target = others_of(target, others_only)
            self._send_with(target, payload, confirm, ttl, timeout, node, sealed, priority)
        return None

    @shielded
    def _send_with(
        self,
        to: Target,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: float | None,
        node: bytes | None,
        sealed: bool | str,
        priority: Priority,
    ) -> None:
        if sealed is not False:
            check_flag("confirm", confirm)
            limit_ms = send_timeout_ms(timeout, confirm)
            call = self._sealed_call(to, payload, sealed, node, ttl, limit_ms, priority)
            self._steps(call.finding())
            token, promise = self._host.ask(call.send, confirm)
        else:
            token, promise = self._send(to, payload, confirm, ttl, timeout, node, priority)
        if token:
            check_accepted(self._host.outcome(token, promise), to)

    def send_many(self, to: Target, payloads: Iterable[Any]) -> int:
        """Send several in one call, in order, each as `send` does that is given no options: much quicker for
        small ones. Returns how many these were, when the last is accepted for transport. An iterator is read
        to its end before the first is sent. One that is a `busway.Attached` goes with its files and regions.

        If one fails, or Ctrl-C comes, those before it stay accepted, the others are not sent; the exception's
        `accepted` says how many were.
        """
        accepted = Count()
        try:
            given = several(payloads)
            self._host.check_open()
            while (first := accepted.value) < len(given):
                run = self._run_of(to, given, first, MOST)
                while (done := accepted.value - first) < len(run.payloads):
                    outcome = self._host.send_run(run, done, accepted)
                    if outcome is not None:
                        check_accepted(outcome, to)
        except BaseException as error:
            cast(Any, error).accepted = accepted.value
            raise
        return accepted.value

    @shielded
    def try_send(
        self,
        to: Target,
        payload: Any = None,
        *,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
    ) -> bool:
        """Send to whoever holds `to`, if that is accepted at once. False: nothing was sent, for it would have
        to wait, for credit, for room, or for word of where `to` is. For programs with a pace of their own;
        others wait in `send`. `files` and `regions` as for `send`. Raises as `send`.
        """
        send: Callable[..., int] = self._host.node.send
        if files is not None or regions is not None:
            payload, words = taken_apart(attach(payload, files, regions))
            send = sending(send, words)
        outcome = self._host.try_send(send, *self._message(to, payload))
        if outcome is None:
            return False
        check_accepted(outcome, to)
        return True

    @overload
    def publish(self, to: type[M], payload: M, **options: Unpack[PublishOptions]) -> None: ...

    @overload
    def publish(self, to: Name, payload: Any = None, **options: Unpack[PublishOptions]) -> None: ...

    @shielded
    def publish(
        self,
        to: Target,
        payload: Any = None,
        *,
        retain: bool | None = False,
        wait: bool = False,
        best_effort: bool = False,
        realm: Realm = "localnet",
        sealed: bool = False,
        priority: Priority = "normal",
        store: bool = False,
        ttl: float = NO_TTL_S,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
    ) -> None:
        """Give every subscriber of `to` a copy. Arguments and errors as `AsyncBus.publish`."""
        if files is not None or regions is not None:
            how = "stored" if store is not False else "retained" if retain is not False else ""
            payload = attach(payload, files, regions, sealed=sealed, otherwise=how)
        if store is not False:
            others = wait or best_effort or sealed or realm != "localnet" or retain is not False
            self._stored("publish", to, payload, store, others, priority, ttl)
            return
        check_stored(ttl)
        if retain is not False:
            token, promise = self._retain(to, payload, retain, wait, best_effort, realm, sealed, priority)
        elif sealed is not False:
            token, promise = self._publish_sealed(to, payload, wait, best_effort, realm, sealed, priority)
        else:
            token, promise = self._publish(to, payload, wait, best_effort, realm, priority)
        if token:
            check_settled(self._host.outcome(token, promise))

    @overload
    def request(
        self, to: type[M], payload: M, *, reply: TypeForm[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    def request(
        self, to: Whom, payload: Any = None, *, reply: TypeForm[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    def request(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @overload
    def request(
        self,
        to: Whom,
        payload: Any = None,
        *,
        reply: Any = None,
        **options: Unpack[RequestOptions],
    ) -> Any: ...

    @overload
    def request(
        self,
        to: Any,
        payload: Any = None,
        *,
        attached: Literal[True],
        reply: Any = None,
        **options: Unpack[RequestOptions],
    ) -> Attached: ...

    @shielded
    def request(
        self,
        to: Whom | type,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        ttl: float = 0.0,
        node: bytes | None = ANY_NODE,
        reply: Any = None,
        sealed: bool | str = False,
        priority: Priority = "normal",
        others_only: bool = False,
        store: bool = False,
        files: Iterable[int | HasFileno] | None = None,
        regions: Iterable[Region] | None = None,
        attached: bool = False,
    ) -> Any:
        """Ask; returns the reply's value. Arguments and errors as `AsyncBus.request`. Ctrl-C cancels it."""
        carries = files is not None or regions is not None or attached is not False
        if carries:
            how = "stored" if store is not False else ""
            payload = attach(payload, files, regions, attached, sealed=sealed, otherwise=how)
        if store is not False:
            words = (timeout, ttl, node, reply, sealed, priority, others_only)
            return self._stored("request", to, payload, store, *words)
        wanted = wanted_reply(reply)
        to = others_of(to, others_only)
        if sealed is not False:
            call = self._sealed_call(to, payload, sealed, node, ttl, timeout_ms(timeout), priority)
            self._steps(call.finding())
            token, promise = self._host.ask(call.request, 0)
            return replied(call.opened(self._host.outcome(token, promise)), wanted, to)
        if carries:
            outcome = self._host.outcome(*self._request(to, payload, timeout, ttl, node, priority=priority))
            value = replied(outcome, wanted, to)
            return attached_to(outcome, value) if attached else value
        outcome = self._host.outcome_of(
            self._host.node.request,
            *self._message(to, payload),
            node_id=check_node(node),
            ttl_ms=milliseconds("ttl", ttl),
            timeout_ms=timeout_ms(timeout),
            priority=priority_of(priority),
        )
        return replied(outcome, wanted, to)

    # Receiving

    @overload
    def register(
        self,
        endpoint: type[T],
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: None = None,
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U], type[V]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U | V]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type[T], type[U], type[V], type[W]],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T | U | V | W]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: tuple[type, ...] | None = None,
        **options: Unpack[RegisterOptions],
    ) -> Receiver[Any]: ...

    @overload
    def register(
        self,
        endpoint: Target,
        kind: Kind = ...,
        realm: Realm = ...,
        *,
        types: TypeForm[T],
        **options: Unpack[RegisterOptions],
    ) -> Receiver[T]: ...

    def register(
        self,
        endpoint: Target,
        kind: Kind = "unicast",
        realm: Realm = "localnet",
        *,
        types: Any = None,
        queue: int = 4096,
        policy: Policy | None = None,
        cost: int = 0,
        labels: Iterable[str] = (),
        gone: Any = None,
        sealed: bool = False,
        once: Any = None,
    ) -> Receiver[Any]:
        """Receive what is sent to `endpoint`: a name, a UUID, or a message class. Arguments and errors as
        `AsyncBus.register`. It answers no requests, `serve` does.
        """
        words = (kind, realm, queue, policy, cost)
        rest: dict[str, Any] = {"labels": labels, "gone": gone, "sealed": sealed}
        make: Callable[..., Receiver[Any]] = self._mailbox if once else self._register
        return make(once or partial(Receiver, self), endpoint, types, *words, **rest)

    @overload
    def subscribe(
        self, endpoint: type[T], *, types: None = None, **options: Unpack[SubscribeOptions]
    ) -> Receiver[T]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type[T]], **options: Unpack[SubscribeOptions]
    ) -> Receiver[T]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type[T], type[U]], **options: Unpack[SubscribeOptions]
    ) -> Receiver[T | U]: ...

    @overload
    def subscribe(
        self,
        endpoint: Target,
        *,
        types: tuple[type[T], type[U], type[V]],
        **options: Unpack[SubscribeOptions],
    ) -> Receiver[T | U | V]: ...

    @overload
    def subscribe(
        self,
        endpoint: Target,
        *,
        types: tuple[type[T], type[U], type[V], type[W]],
        **options: Unpack[SubscribeOptions],
    ) -> Receiver[T | U | V | W]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: tuple[type, ...] | None = None, **options: Unpack[SubscribeOptions]
    ) -> Receiver[Any]: ...

    @overload
    def subscribe(
        self, endpoint: Target, *, types: TypeForm[T], **options: Unpack[SubscribeOptions]
    ) -> Receiver[T]: ...

    def subscribe(
        self,
        endpoint: Target,
        *,
        realm: Realm = "localnet",
        types: Any = None,
        queue: int = 4096,
        policy: Policy | None = None,
        labels: Iterable[str] = (),
        gone: Any = None,
        sealed: bool = False,
        durable: Any = None,
    ) -> Receiver[Any]:
        """Receive a copy of everything published to `endpoint`, or, if that is a pattern, to any name that it
        means: `*` stands for one level, `**` for any number of them, as in "lab/*/temperature" and "lab/**".
        `message.name` is the name that each was published to. Other arguments and errors as `register`.
        """
        if durable is not None:
            found: Receiver[Any] = self._durable(
                endpoint, types, realm, queue, labels, (policy, gone, sealed), durable
            )
            return found
        rest: dict[str, Any] = {"queue": queue, "policy": policy, "labels": labels, "gone": gone}
        return self.register(endpoint, "broadcast", realm, types=types, sealed=sealed, **rest)

    def _check_handler(self, handler: Any) -> None:
        check_handler(handler)
        self._check_hook(handler)

    def _check_hook(self, handler: Any) -> None:
        if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
            raise TypeError(PLAIN_ONLY)

    @overload
    def last(self, to: type[T], *, timeout: float | None = ..., realm: Realm = ...) -> Message[T]: ...

    @overload
    def last(self, to: Name, *, timeout: float | None = ..., realm: Realm = ...) -> Message[Any]: ...

    @shielded
    def last(self, to: Any, *, timeout: float | None = 5.0, realm: Realm = "localnet") -> Message[Any]:
        """The last value of `to` that somebody keeps. Arguments and errors as `AsyncBus.last`."""
        with_id = id_of(to)
        with self.subscribe(to, realm=realm_here(self._host.node, with_id, realm), queue=LAST_QUEUE) as found:
            try:
                return found.receive(timeout)
            except TimeoutError:
                raise no_last(to, timeout) from None

    # Links

    def connect(
        self,
        url: str,
        *,
        token: str | None = None,
        weak: bool = False,
        realm: Realm | None = None,
        cost: int | None = None,
        retry: Retry | bool | None = True,
        wait: float | None = None,
        **options: Any,
    ) -> DialledLink:
        """Join a node at `url`; returns when it has told its endpoints. From then on the link heals.

        Arguments and errors as `AsyncBus.connect`: LinkRefused, OSError, ValueError, BusError.
        """
        dialling, ready, mine = self._dial(url, token, weak, options, realm, cost, retry, wait)
        try:
            ready.result()
        except BaseException:
            if mine and not ready.done():
                self._host.call(dialling.end, "connect was interrupted")
            raise
        return dialling.link

    def listen(
        self,
        url: str,
        *,
        token: str | None = None,
        weak: bool = False,
        open: bool = False,
        routers: bool = False,
        realm: Realm | None = None,
        cost: int | None = None,
        **options: Any,
    ) -> Listener:
        """Let others connect to `url`; the result's `.url` has the real port, `.close()` ends it.

        Arguments and errors as `AsyncBus.listen`, but that hooks are plain functions, each called in a thread
        of its own: ValueError, OSError, BusError.
        """
        begin, run = self._listening(url, token, weak, open, routers, options, realm, cost)
        return run(begin())

    # What it sees

    def changes(self) -> Changes:
        """Links, nodes and endpoints that come and go from now on. A reader 1,024 behind loses the oldest."""
        return Changes(self, self._host, Items(self._host.engine, CHANGES_MAX))

    def trace(
        self, to: str | bytes | UUID | type, *, timeout: float | None = 5.0, node: bytes | None = ANY_NODE
    ) -> list[Hop]:
        """The nodes on the way to `to` (or `node`), one by one. Arguments and errors as `AsyncBus.trace`."""
        return self._steps(self._tracing(to, timeout, node))

    def _steps(self, steps: Generator[int, events.Outcome, S]) -> S:
        """Run a generator that yields tokens, and is sent their outcomes; returns what it returns."""
        outcome: Any = None
        try:
            while True:
                token, promise = self._host.ask(steps.send, outcome)
                outcome = self._host.outcome(token, promise)
        except StopIteration as found:
            return cast(S, found.value)


def check_accepted(outcome: events.Outcome, to: Any) -> None:
    """Raises what became of a message instead."""
    if outcome.status not in (events.ACCEPTED, events.TAKEN):
        raise error_of(outcome, to)
