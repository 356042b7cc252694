"""The bus for asyncio programs: what users call.

What messages mean, how they are ordered, retried, limited and timed out is the core's; what runs it is
asyncio_host.py's, and what it has in common with the bus for threads bus.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast, overload

from busway.adapters.arguments import (
    ANY_NODE,
    LAST_QUEUE,
    check_flag,
    check_seconds,
    no_last,
    realm_here,
    send_timeout_ms,
    timeout_ms,
)
from busway.adapters.asyncio_calls import Calls
from busway.adapters.asyncio_ends import Changes, Items, Receiver, Service
from busway.adapters.asyncio_host import Host
from busway.adapters.asyncio_many import ManyCalls
from busway.adapters.bus import BaseBus
from busway.adapters.compiling import warn_of_forgotten
from busway.adapters.ends import CHANGES_MAX
from busway.adapters.host import check_settled
from busway.adapters.literal import id_of
from busway.adapters.results import error_of
from busway.adapters.selected import (
    check_alone,
    check_copies,
    others_of,
)
from busway.adapters.typed import (
    Kind,
    Message,
    Name,
    Policy,
    Priority,
    Realm,
    RegisterOptions,
    SubscribeOptions,
    T,
    Target,
    U,
    V,
    W,
    Whom,
)
from busway.protocol import events

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import TypeForm

    from busway.adapters.asyncio_presence import Presence
    from busway.adapters.dialled import DialledLink
    from busway.adapters.links import Listener
    from busway.adapters.records import Hop
    from busway.adapters.retrying import Retry
    from busway.lan.found_asyncio import FoundStream

S = TypeVar("S")


class AsyncBus(Calls, BaseBus, ManyCalls):
    """A program's place on the bus.

    Args:
        name: the bus's name; only nodes of the same name meet. By default what the environment says in
            BUSWAY_BUS, else "default".
        ipc: find this machine's other programs of the same user, at once and with nothing configured.
        leaf: join through one local node, which forwards for this one, as short-lived commands do; such a
            node is told of what it asks for only.
        transit: forward for others. By default a node does so once it has links of two sorts, such as IPC and
            TCP.
        label: tells people which program this is; by default the script's name and process id.
        labels: what all endpoints of this program are: their labels, besides their own.
        node_id: 16 bytes; by default that of the key.
        key: who it is beyond this machine: the path of a key file (`busway key new`), or a `busway.Key`. By
            default what BUSWAY_KEY says, else a key of this run.
        trust: whose keys may join from beyond it, and as what, "leaf" or "router": the path of a trust file,
            or a dict of keys (or names) and roles. By default what BUSWAY_TRUST says, else nobody needs a
            key that is known.
        boards: which boards may join by a key of their own: the file of one (`busway firmware --key`), or a
            folder of them. By default what BUSWAY_BOARDS says, else none. A serial line or a radio then takes
            these, who knows its token or is trusted, and nobody else.
        policy: who may do what with which names, and how much of it: the path of a policy, or a dict of what
            stands in one. By default what BUSWAY_POLICY says, else the realms alone decide; False for none.
        seal: whose sealed messages are taken, and who may read what this program seals: the path of a trust
            file, or a list of keys and names. It needs `key`.
        limits: sizes that this node takes (`busway.Limits`).
        retained: how many last values it keeps of what it publishes with `retain=True`, and how many bytes.
        tap: let `busway listen --all` of the same user see what it says; by default unless BUSWAY_TAP is 0.
        lan: find the programs of this bus on the local network that say the same; it needs `token`, or `key`.
        token: of all these; by default what BUSWAY_TOKEN, or the file BUSWAY_TOKEN_FILE, says.

    Use it as `async with AsyncBus() as bus:`; that returns having joined the local nodes (at most 500 ms).
    """

    _host: Host
    _host_type = Host
    _service = Service
    _handlers_max = 64
    _lives = "busway.services.lives_asyncio"

    # Life

    async def open(self) -> Self:
        """Join. `async with` does this. From then on the bus belongs to this loop: any other call in another
        thread or on another loop raises BusError. Where it fails the bus is closed.
        """
        self._offer()
        await self._host.open()
        return self

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except BaseException:
            await self.close(0)
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, timeout: float | None = 5.0) -> None:
        """Leave: what was sent is written, a goodbye said, and everything released within `timeout` seconds.
        Twice is once. Hosted objects end first, in up to nine tenths of that time.
        """
        left = check_seconds("timeout", timeout, endless=True)
        if self._store_client is not None and self._host.failure is None:
            await self._store_client.finish(left / 5)
        if self._crowd is not None and self._host.failure is None:
            self._host.check()
            left = await self._crowd.close(left)
        await self._host.close(left)

    # Sending

    async def _send_as(
        self,
        to: Any,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: Any,
        node: Any,
        sealed: bool | str,
        priority: Priority,
        copies: Any,
        others_only: Any,
    ) -> Any:
        """`send` with options."""
        if check_copies(copies, to, others_only):
            check_alone(node, sealed)
            check_flag("confirm", confirm)
            return await self._send_all(to, payload, confirm, ttl, timeout, priority, others_only)
        to = others_of(to, others_only)
        if sealed is not False:
            check_flag("confirm", confirm)
            limit_ms = send_timeout_ms(timeout, confirm)
            call = self._sealed_call(to, payload, sealed, node, ttl, limit_ms, priority)
            await self._steps(call.finding())
            token, future = self._host.ask(call.send, confirm)
        else:
            token, future = self._send(to, payload, confirm, ttl, timeout, node, priority)
        if token:
            outcome = await self._host.outcome(token, future)
            if outcome.status not in (events.ACCEPTED, events.TAKEN):
                raise error_of(outcome, to)
        elif self._is_turn(1):
            await asyncio.sleep(0)
        return None

    async def _publish_as(
        self,
        to: Any,
        payload: Any,
        retain: bool | None,
        wait: bool,
        best_effort: bool,
        realm: Realm,
        sealed: bool,
        priority: Priority,
    ) -> None:
        """`publish` with options."""
        if retain is not False:
            token, future = self._retain(to, payload, retain, wait, best_effort, realm, sealed, priority)
        elif sealed is not False:
            token, future = self._publish_sealed(to, payload, wait, best_effort, realm, sealed, priority)
        else:
            token, future = self._publish(to, payload, wait, best_effort, realm, priority)
        if token:
            check_settled(await self._host.outcome(token, future))
        elif self._is_turn(1):
            await asyncio.sleep(0)

    async def _request_sealed(
        self,
        to: Any,
        payload: Any,
        timeout: Any,
        ttl: float,
        node: Any,
        sealed: bool | str,
        priority: Priority,
    ) -> events.Outcome:
        """The outcome of a sealed request."""
        call = self._sealed_call(to, payload, sealed, node, ttl, timeout_ms(timeout), priority)
        await self._steps(call.finding())
        token, future = self._host.ask(call.request, 0)
        return call.opened(await self._host.outcome(token, future))

    async def _steps(self, steps: Generator[int, events.Outcome, S]) -> S:
        """Run a generator that yields tokens, and is sent their outcomes; returns what it returns."""
        outcome: Any = None
        try:
            while True:
                token, future = self._host.ask(steps.send, outcome)
                outcome = await self._host.outcome(token, future)
        except StopIteration as found:
            return cast(S, found.value)

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
        """Receive what is sent to `endpoint`: a name, a UUID, or a message class.

        Args:
            kind: "unicast" (one registrant), "anycast" (many, the cheapest gets it), "broadcast" (many, all
                get it).
            realm: who reaches it: "process", "userspace", "localnet", "global".
            types: message classes to accept, as `A | B` or a tuple; others are skipped and counted in the
                receiver's `unknown`. By default anything.
            queue: messages that may wait; beyond it `policy` "refuse", "drop_oldest" (broadcast's default) or
                "drop_newest". "latest", for broadcast: of each origin only the newest waits.
            cost: 0 to 16383, prefers the cheapest of several anycast receivers.
            labels: texts that say what it is, of 1 to 32 bytes of UTF-8; with those of the bus at most 8.
            gone: its last word, a payload of at most 128 bytes that other nodes keep; None for none.
            sealed: take sealed messages only, of those whose keys are in the bus's `seal`; others are left
                out and counted (`refused`). Without, `message.verified` tells them apart.
            once: fetch mail from a store, once: True, or the file that remembers what was taken (`Once`).

        It answers no requests, `serve` does: who sends one here hears so. Raises EndpointTaken, ValueError.
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
        `durable`: from a store, first what was missed (a name, or `busway.Durable`).
        """
        if durable is not None:
            others = (policy, gone, sealed)
            found: Receiver[Any] = self._durable(endpoint, types, realm, queue, labels, others, durable)
            return found
        rest: dict[str, Any] = {"queue": queue, "policy": policy, "labels": labels, "gone": gone}
        return self.register(endpoint, "broadcast", realm, types=types, sealed=sealed, **rest)

    @overload
    async def last(self, to: type[T], *, timeout: float | None = ..., realm: Realm = ...) -> Message[T]: ...

    @overload
    async def last(self, to: Name, *, timeout: float | None = ..., realm: Realm = ...) -> Message[Any]: ...

    async def last(self, to: Any, *, timeout: float | None = 5.0, realm: Realm = "localnet") -> Message[Any]:
        """The last value of `to` that somebody keeps (`publish` with `retain`), as a message: of several
        publishers the one that comes first, or what is published in the meantime.

        It subscribes for as long as that takes; `realm` as for `subscribe`. Raises TimeoutError if nothing
        came within `timeout` seconds.
        """
        here = realm_here(self._host.node, id_of(to), realm)
        async with self.subscribe(to, realm=here, queue=LAST_QUEUE) as found:
            try:
                return await found.receive(timeout)
            except TimeoutError:
                raise no_last(to, timeout) from None

    # Links

    async def connect(
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
        """Join a node at `url`; returns when it has told its endpoints. From then on the link heals: whenever
        it is lost it is opened again, until its `close()` or the bus's.

        Args:
            url: tcp://host:port, host:port, ws://, wss://, serial://, ble://, ipc:///path; serial://* and ble://*
                for all boards, now and later: then it returns at once, and `links` of it are theirs; nats://
                makes this node a gateway on a NATS cluster.
            token: what the other side's `listen` was given; by default BUSWAY_TOKEN, or what is in the file
                BUSWAY_TOKEN_FILE.
            weak: take a token that is short or could be guessed; `busway token` makes one that is neither.
            realm: of the link, by default that of its sort; of both sides' the wider one holds.
            cost: of the link, 1 to 16382, by default that of its sort.
            retry: when it is tried again (`busway.Retry`); None: never.
            wait: how many seconds to go on trying while the other side is not there yet, at the intervals of
                `retry`; math.inf: for ever. By default the first failure is raised.
            options: of the driver's own: `cafile`, `tls`, `headers` and `proxy` for ws:// and wss://. None is
                as if it were not given; `proxy=None` is no proxy.

        A second call with the same arguments returns the same link once it is connected. Raises LinkRefused
        with the reason: at once if another attempt would not mend it, such as the bus's name, the version or
        the token, or that no Busway is there; OSError if nothing answers; ValueError for a URL that is none,
        TypeError for an option that is none; MissingLibrary, a BusError, if the driver's is not installed.
        """
        dialling, ready, mine = self._dial(url, token, weak, options, realm, cost, retry, wait)
        try:
            await asyncio.shield(ready)
        except asyncio.CancelledError:
            if mine and not self._host.loop.is_closed():
                dialling.end("connect was cancelled")
            raise
        return dialling.link

    async def listen(
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
        """Let others connect to `url`, such as tcp://127.0.0.1:0 or ws://127.0.0.1:0; the result's `.url` has
        the real port, `.close()` ends it.

        Beyond loopback give `token`, which the other side must give too, or the bus `trust`, or `open=True`:
        then whoever can reach it may come, as a leaf only unless `routers=True`. `weak`, `realm` and `cost`
        as for `connect`. `options` are the driver's own: for ws:// and wss:// `certificate`, `key`,
        `origins`, `pages`, `connections_max`. A server of named clients (docs/howto/clients.md) has `admit`,
        `max_connections`, `rate`, `on_message`, `on_disconnect`, `hook_timeout`. Raises ValueError, OSError.
        """
        begin, run = self._listening(url, token, weak, open, routers, options, realm, cost)
        return run(await self._host.loop.run_in_executor(None, begin))

    # What it sees

    def changes(self) -> Changes:
        """Links, nodes and endpoints that come and go from now on. A reader 1,024 behind loses the oldest."""
        return Changes(self, self._host, Items(CHANGES_MAX))

    def found(self) -> FoundStream:
        """Programs and boards that were found, then what becomes of each: an async iterator of `Found`."""
        from busway.lan.found_asyncio import FoundStream

        return FoundStream(self, self._host, Items())

    def presence(self, wanted: Whom | type) -> Presence:
        """All who are there, then who comes, goes or changes: an async iterator of `Sighting`.

        First come the endpoints that are there, each as "present", then "complete", and from then on each
        that has "arrived", "departed" or "changed". `wanted` is a name, a UUID, a message class, a pattern of
        names (`*` is one level of a name, `**` any number, as in "lab/**"), or a selector (`busway.where`).

        An endpoint whose node is gone without a goodbye has "departed" when that has not been found again
        within two seconds. A slow reader is told what holds in the end, not all that happened in between. It
        ends with the bus, or its `close()` or `async with`. Raises ValueError, TypeError, BusError.
        """
        from busway.adapters.asyncio_presence import Presence

        return Presence(self, self._host, Items(), wanted)

    async def trace(
        self, to: str | bytes | UUID | type, *, timeout: float | None = 5.0, node: bytes | None = ANY_NODE
    ) -> list[Hop]:
        """The nodes on the way to whoever holds `to` (or to `node`), the nearest first, that one last.

        Each has `timeout` seconds to answer. Raises RequestTimeout, Undeliverable.
        """
        return await self._steps(self._tracing(to, timeout, node))


warn_of_forgotten(AsyncBus, "send", "send_many", "publish", "request")
