"""The base of AsyncBus and Bus: who they are, what they see, and how arguments become calls of the core.

How one waits for what comes of a call is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from busway.adapters import ends, opening, views
from busway.adapters.arguments import (
    REALMS,
    RETAINED,
    SERVER_OPTIONS,
    check_flag,
    check_handler,
    check_labels,
    check_limit,
    check_node,
    check_retain,
    check_retained,
    check_served,
    choice,
    milliseconds,
    patience_ms,
    priority_of,
    send_timeout_ms,
    timeout_ms,
    types_of,
)
from busway.adapters.carrying import given_apart, taken_apart
from busway.adapters.ends import Service
from busway.adapters.host import Asked, BusHost, Run
from busway.adapters.identity import Identity
from busway.adapters.links import LinkRunner, Listener, ListenerRunner
from busway.adapters.literal import id_of, id_taking
from busway.adapters.making import (
    OFFERS_NAME,
    Terms,
    from_environment,
    inherited,
    last_word,
    make_node,
    register,
)
from busway.adapters.records import Hop, named
from busway.adapters.seeing import Sight
from busway.adapters.selected import check_unsealed
from busway.adapters.tap import is_allowed
from busway.adapters.typed import (
    F,
    Handler,
    HostOptions,
    Kind,
    Name,
    Priority,
    R,
    Realm,
    Request,
    ServeOptions,
    T,
    Target,
)
from busway.payloads import encode_shared
from busway.protocol import Limits, codes, events
from busway.selectors import Selector

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from busway.adapters.clients import Server
    from busway.adapters.dialled import Dialling, Options
    from busway.adapters.sealed_calls import Call
    from busway.keys import Key
    from busway.sealing import Content
    from busway.services.lives import Crowd, Hosted


ALL_BOARDS = ("serial://*", "ble://*")  # what URLs begin with that mean all boards


class BaseBus(Sight):
    """A program's place on the bus, but for what waits."""

    _host: BusHost
    _host_type: Callable[..., Any]
    _service: type[ends.Service]
    _handlers_max: int  # at once, by default
    _lives: str  # the module that runs hosted objects
    _crowd: Crowd[Any] | None = None  # these, once there was one
    _store_client: Any = None  # what it knows of stores, once it has used one

    def __init__(
        self,
        name: str | None = None,
        *,
        ipc: bool = True,
        leaf: bool = False,
        transit: bool | None = None,
        label: str | None = None,
        labels: Iterable[str] = (),
        node_id: bytes | None = None,
        key: str | os.PathLike[str] | Key | None = None,
        trust: Mapping[str, str] | str | os.PathLike[str] | None = None,
        boards: str | os.PathLike[str] | None = None,
        policy: Mapping[str, Any] | str | os.PathLike[str] | Literal[False] | None = None,
        seal: Mapping[str, str] | Iterable[str] | str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        retained: tuple[int, int] = RETAINED,
        tap: bool | None = None,
        lan: bool = False,
        token: str | None = None,
    ) -> None:
        identity = Identity(key, trust, node_id is not None, boards, policy)
        check_flag("lan", lan)
        if lan:
            from busway.lan.asked import check_lan

            transit, token = check_lan(identity, token, leaf, transit)
        elif token is not None:
            raise ValueError("token= is for lan=True; the tokens of other links go to listen and connect")
        make = partial(make_node, name, leaf, transit, label, node_id, identity, limits)
        common = check_labels(labels)
        most = check_retained(retained)
        self._host = self._host_type(make, ipc, is_allowed(tap), identity)
        kept = self._host.node.origin.retained
        kept.count_max, kept.size_max = most
        self._labels = common  # of all endpoints of this program
        self._process_only = (
            self._host.node.receiving.process_only
        )  # empty for most: then no payload is an object
        self._offering: Service | None = None
        if seal is not None:
            from busway.adapters.sealed import Sealing

            self._host.sealing = Sealing(self._host, identity, seal)
        if lan:
            from busway.lan.hub import Hub

            self._host.lan = Hub(self._host, token)

    def __repr__(self) -> str:
        node, others = self._host.node, len(self._host.node.peers())
        seen = f"{self._host.state}, {others} other node{'' if others == 1 else 's'}"
        return f"<{type(self).__name__} {node.bus!r} as {named(node.label, node.node_id)}, {seen}>"

    def __del__(self) -> None:
        host = getattr(self, "_host", None)
        if host is not None:
            host.dropped(self)

    def _tracing(
        self, to: Any, timeout: float | None, node: bytes | None
    ) -> Generator[int, events.Outcome, list[Hop]]:
        self._host.check_open()
        return views.tracing(self._host.node, check_node(node) or to, timeout_ms(timeout), self._host.clock)

    # Sending

    def _message(self, to: Any, payload: Any) -> tuple[bytes, Any, int, int, bytes]:
        """A message in the core's words. Without the lock of threads: encoding may run the user's code."""
        self._host.check_open()
        endpoint = id_taking(to, payload)
        if self._process_only and endpoint in self._process_only:
            return endpoint, payload, self._host.now_ms(), codes.OBJECT, b""
        data, format, type_id = encode_shared(payload, endpoint, self._host)
        return endpoint, data, self._host.now_ms(), format, type_id

    def _run_of(self, to: Any, given: list[Any], first: int, most: int) -> Run:
        """The payloads from `first` on, `most` at the most, that go together. Raises what is wrong with the
        first.
        """
        words: dict[str, Any] = {}
        if type(given[first]) not in ends.VALUES:
            given[first], words = taken_apart(given[first])
        endpoint, data, _, format, type_id = self._message(to, given[first])
        last = first + (most if format < codes.TYPED and not words else 1)
        if data is given[first] and format == codes.RAW and not isinstance(to, type):
            run = given[first:last]
            if set(map(type, run)) != {bytes}:
                run = list(takewhile(lambda payload: type(payload) is bytes, run))
            return Run(endpoint, run, format, type_id, words)
        run = [data]
        checked = isinstance(to, type)
        for payload in given[first + 1 : last]:
            try:
                if checked:
                    id_taking(to, payload)
                data, like, _ = encode_shared(payload, endpoint, self._host)
            except Exception:  # noqa: BLE001 - it is raised when its turn has come
                break
            if like != format:
                break
            run.append(data)
        return Run(endpoint, run, format, type_id, words)

    def _send(
        self,
        to: Any,
        payload: Any,
        confirm: bool,
        ttl: float,
        timeout: float | None,
        node: bytes | None,
        priority: Priority,
    ) -> Asked:
        if confirm is not False:
            check_flag("confirm", confirm)
        payload, words = (payload, {}) if type(payload) in ends.VALUES else given_apart(payload)
        return self._host.ask(
            self._host.node.send,
            *self._message(to, payload),
            lazily=True,
            **words,
            node_id=check_node(node),
            confirm=confirm,
            ttl_ms=0 if ttl == 0 else milliseconds("ttl", ttl),
            timeout_ms=send_timeout_ms(timeout, confirm),
            priority=priority_of(priority),
        )

    def _publish(
        self, to: Any, payload: Any, wait: bool, best_effort: bool, realm: Realm, priority: Priority
    ) -> Asked:
        payload, words = (payload, {}) if type(payload) in ends.VALUES else given_apart(payload)
        return self._host.ask(
            self._host.node.publish,
            *self._message(to, payload),
            lazily=True,
            **words,
            best_effort=best_effort,
            patience_ms=patience_ms(wait, best_effort),
            realm=codes.LOCALNET if realm == "localnet" else choice("realm", realm, REALMS),
            priority=priority_of(priority),
        )

    def _retain(
        self,
        to: Any,
        payload: Any,
        retain: bool | None,
        wait: bool,
        best_effort: bool,
        realm: Realm,
        sealed: bool,
        priority: Priority,
    ) -> Asked:
        """Publish a last value, or that there is none any more."""
        check_retain(retain, payload, best_effort, sealed)
        node, patience = self._host.node, patience_ms(wait, best_effort)
        options: dict[str, Any] = {
            "patience_ms": patience,
            "realm": choice("realm", realm, REALMS),
            "priority": priority_of(priority),
        }
        if retain is None:
            self._host.check_open()
            return self._host.ask(node.clear, id_of(to), self._host.now_ms(), lazily=True, **options)
        return self._host.ask(node.retain, *self._message(to, payload), lazily=True, **options)

    def _request(
        self,
        to: Any,
        payload: Any,
        timeout: float | None,
        ttl: float,
        node: bytes | None,
        window: int = 0,
        waiter: Any = None,
        priority: Priority = "normal",
    ) -> Asked:
        payload, words = (payload, {}) if type(payload) in ends.VALUES else given_apart(payload)
        return self._host.ask(
            self._host.node.request,
            *self._message(to, payload),
            waiter=waiter,
            **words,
            node_id=check_node(node),
            ttl_ms=milliseconds("ttl", ttl),
            timeout_ms=timeout_ms(timeout),
            window=window,
            priority=priority_of(priority),
        )

    # Sealed

    def _offer(self) -> None:
        """Before the bus is opened: tell those who ask what to seal with, and what was found, if there is
        something.
        """
        if self._host.lan is not None:
            self._host.lan.offer(self)
        if self._host.sealing is not None and self._offering is None:
            self._offering = self.serve(OFFERS_NAME, self._host.sealing.answer, realm="global")

    def _sealed_call(
        self,
        to: Any,
        payload: Any,
        sealed: bool | str,
        node: bytes | None,
        ttl: float,
        limit_ms: int | None,
        priority: Priority,
    ) -> Call:
        """A sealed message that was not sent yet. Raises TypeError, ValueError, SealError."""
        from busway.adapters.sealed_calls import Call

        endpoint, content = self._content(to, payload)
        return Call(
            self._host,
            to,
            endpoint,
            content,
            sealed,
            check_node(node),
            milliseconds("ttl", ttl),
            limit_ms,
            priority_of(priority),
        )

    def _content(self, to: Any, payload: Any) -> tuple[bytes, Content]:
        """An endpoint, and what is sealed for it. Raises ValueError."""
        if isinstance(to, Selector):
            check_unsealed(True)
        self._need_seal()
        from busway.sealing import Content

        endpoint, data, _, format, type_id = self._message(to, payload)
        if format == codes.OBJECT:
            raise ValueError("what is sent to an endpoint of realm process stays in it: send it as it is")
        return endpoint, Content(bytes(data), format, type_id)

    def _publish_sealed(
        self,
        to: Any,
        payload: Any,
        wait: bool,
        best_effort: bool,
        realm: Realm,
        sealed: bool,
        priority: Priority,
    ) -> Asked:
        check_flag("sealed", sealed)
        if priority_of(priority) != codes.NORMAL:
            raise ValueError(
                "what is published sealed has normal priority: its keys change in the order of publishing"
            )
        endpoint, content = self._content(to, payload)
        return self._host.ask(
            self._host.sealing.publish,
            endpoint,
            content,
            lazily=True,
            best_effort=best_effort,
            patience_ms=patience_ms(wait, best_effort),
            realm=choice("realm", realm, REALMS),
        )

    def _need_seal(self) -> None:
        if self._host.sealing is None:
            raise ValueError("sealed= needs a bus with seal= and key=: those whose keys may read and send it")

    # Receiving

    def _register(
        self,
        make: Callable[..., R],
        endpoint: Any,
        types: Any,
        *words: Any,
        labels: Iterable[str],
        gone: Any,
        sealed: bool,
    ) -> R:
        """A receiver or service; `make` is given what it needs, and `words` are those of making.register.
        With `sealed` it takes nothing plain.
        """
        if sealed is not False:
            check_flag("sealed", sealed)
            self._need_seal()
        accepted = types_of(endpoint, types)
        own = inherited(endpoint, labels, self._labels) if labels or self._labels else ()
        last = b"" if gone is None else last_word(endpoint, gone)
        self._host.check()

        def registered() -> R:
            core = register(self._host.node, endpoint, *words, labels=own, gone=last)
            return make(self._host, core, accepted, sealed)

        return self._host.call(registered)

    def _mailbox(self, *words: Any, **options: Any) -> Any:
        from busway.store.receiving import mailbox

        return mailbox(self, *words, **options)

    def _durable(self, *words: Any) -> Any:
        from busway.store.receiving import subscription

        return subscription(self, *words)

    @overload
    def serve(
        self,
        endpoint: type[T],
        handler: Callable[[Request[T]], Any],
        *,
        types: None = None,
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self, endpoint: type[T], handler: None = None, *, types: None = None, **options: Unpack[ServeOptions]
    ) -> Callable[[Callable[[Request[T]], R]], Callable[[Request[T]], R]]: ...

    @overload
    def serve(
        self,
        endpoint: Target,
        handler: Callable[[Request[T]], Any],
        *,
        types: tuple[type[T]],
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self, endpoint: Target, handler: Handler, *, types: tuple[type, ...], **options: Unpack[ServeOptions]
    ) -> Service: ...

    @overload
    def serve(
        self, endpoint: Name, handler: Handler, *, types: None = None, **options: Unpack[ServeOptions]
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: Name,
        handler: None = None,
        *,
        types: tuple[type, ...] | None = None,
        **options: Unpack[ServeOptions],
    ) -> Callable[[F], F]: ...

    @overload
    def serve(
        self,
        endpoint: Target,
        handler: Callable[[Request[T]], Any],
        *,
        types: TypeForm[T],
        **options: Unpack[ServeOptions],
    ) -> Service: ...

    @overload
    def serve(
        self,
        endpoint: Target,
        handler: None = None,
        *,
        types: TypeForm[T],
        **options: Unpack[ServeOptions],
    ) -> Callable[[Callable[[Request[T]], R]], Callable[[Request[T]], R]]: ...

    def serve(
        self,
        endpoint: Any,
        handler: Any = None,
        *,
        kind: Kind = "anycast",
        realm: Realm = "localnet",
        types: Any = None,
        limit: int | None = None,
        queue: int = 4096,
        cost: int = 0,
        labels: Iterable[str] = (),
        gone: Any = None,
        sealed: bool = False,
    ) -> Any:
        """Answer requests with `handler(request)`: a function or a generator function (a stream), of an
        AsyncBus also a coroutine function or an async generator function. A Bus runs it in a thread.

        `serve(endpoint, handler)` returns a Service with `close()`; without a handler it is a decorator. At
        most `limit` of its handlers run at once, by default 64, of a Bus 16; services do not share that
        number, so a slow one holds up nobody else. An exception is the caller's RemoteError and harms nobody
        else; raise RemoteError(code, message) to choose the code. The first of a kind is logged in full,
        those that follow as a count at growing intervals. `labels` and `gone` as for `register`. With
        `sealed` it takes sealed requests only.
        """
        check_served(endpoint)
        limit = self._handlers_max if limit is None else check_limit(limit)

        def start(function: Handler) -> Service:
            self._check_handler(function)
            make = partial(self._service, function, limit)
            words = (kind, realm, queue, None, cost, limit)
            return self._register(make, endpoint, types, *words, labels=labels, gone=gone, sealed=sealed)

        def decorate(function: F) -> F:
            start(function)
            return function

        return decorate if handler is None else start(handler)

    def _check_handler(self, handler: Any) -> None:
        check_handler(handler)

    # Services

    def host(
        self,
        obj: object,
        contract: type | None = None,
        *,
        name: Name | None = None,
        version: int | None = None,
        realm: Realm = "localnet",
        **options: Unpack[HostOptions],
    ) -> Hosted:
        """Run an object: serve the contract that its class declares (`busway.service`) or is derived from, or
        `contract`, and call its hooks: methods with `@busway.on` for messages and `@busway.every` at times,
        `on_start(bus)` before the first of them, `on_run(bus)` beside them, `on_stop()` after the last.

        Args:
            obj: the object; or a class, or a `functools.partial` of one, of which each life gets a new one.
            name: of a service the endpoint's name or UUID, by default the contract's; of others a title.
                Endpoints that begin with "./", as in `@busway.on("./mode")`, are below it.
            version: what clients are told, by default the contract's.
            realm: who reaches the service, hears its signals, and reaches the endpoints of `@busway.on` that
                say nothing else.
            serial: its methods run one at a time, in the order in which they were called: an actor.
            restart: when it begins anew: "never", "on-error" if on_start or on_run raised or a `fatal` error
                came, "always" also when on_run has returned.
            backoff: how long it waits before it does (`busway.Retry`), by default 0.5 to 30 s.
            fatal: exceptions that end a life, whatever method raises them; others are counted, and harm
                nobody.
            stop_timeout: the time that its end may take, in seconds, 5 by default.
            options: of the service, as for `serve`: `kind`, `limit`, `queue`, `cost`, `labels`, `gone`,
                `sealed`.

        Of an AsyncBus it returns once a plain on_start has, and does not wait for one that is to be awaited:
        `await hosted.ready()` does. Raises what on_start raises, if it is not to begin anew; TypeError, which
        names all that the object lacks of its contract; EndpointTaken, ValueError as `serve`.
        """
        self._host.check_open()
        from busway.services.hosting import host

        return host(self, obj, contract, name, version, realm, **options)

    def hosted(self) -> list[Hosted]:
        """The objects that this bus hosts, in the order in which they came; of those that have failed or were
        stopped the last 64.
        """
        return [] if self._crowd is None else self._crowd.listed()

    def client(self, contract: TypeForm[T], *, name: Name | None = None, realm: Realm = "localnet") -> T:
        """A client of the service that a class declares (`busway.service`): its methods are the contract's,
        and call the server; of an AsyncBus they are awaited, of a Bus they block. Nothing is sent before one
        is called.

        Args:
            name: the endpoint's name or UUID, by default the contract's.
            realm: from how far signals are heard.

        `client.using(timeout=2.0, ttl=5.0, node=..., priority="high")` gives one whose calls have these
        options. Raises TypeError for a class that is no service.
        """
        from busway.services.clients import client

        found: T = client(self, contract, name, realm)
        return found

    # Links

    def attach(
        self, channel: Any, token: str | None = None, *, realm: Realm | None = None, cost: int | None = None
    ) -> LinkRunner:
        """Run a driver's open channel as a link of this bus, for drivers of your own. The future `ready` of
        the link is done when it is usable: `await` it, or with threads wait in its `result()`. Raises
        ValueError.
        """
        self._host.check_open()
        self._host.identity.prepare(channel.address)
        return self._host.call(self._host.run_link, channel, Terms(token, realm, cost))

    def _dial(
        self, url: str, token: str | None, weak: bool, options: dict[str, Any], *words: Any
    ) -> tuple[Dialling, Any, bool]:
        """The link that is made, a future of its being open, and whether it was made for this call; `words`
        are those of dialled.Options.
        """
        self._host.check_open()
        from busway import tokens
        from busway.adapters.dialled import Options

        token, options = from_environment(url, token, options)
        tokens.check_strength(token, weak)
        wanted = Options(token, options, *words)
        url = opening.normalise(url)
        self._host.identity.prepare(url)
        if url.startswith(ALL_BOARDS):
            from busway.lan.hub import hub_of

            hub_of(self)  # where found boards are told
        return self._host.call(self._dialled, url, wanted)

    def _dialled(self, url: str, options: Options) -> tuple[Dialling, Any, bool]:
        self._host.check()  # closed meanwhile?
        if url.startswith(ALL_BOARDS):
            from busway.lan.boards import dial_all

            return dial_all(self._host, url, options)
        from busway.adapters.dialled import dial

        known = set(self._host.dialled)
        dialling = dial(self._host, url, options)
        return dialling, dialling.waiter(), dialling not in known

    def _listening(
        self,
        url: str,
        token: str | None,
        weak: bool,
        is_open: bool,
        routers: bool,
        options: dict[str, Any],
        realm: Realm | None,
        cost: int | None,
    ) -> tuple[Callable[[], Any], Callable[[Any], Listener]]:
        """A function that opens the driver's listener, and may block; and one to be called with it then."""
        self._host.check_open()
        from busway import tokens

        token, _ = from_environment("", token, {})
        tokens.check_strength(token, weak)
        options, server = self._server_of(url, options)
        terms = Terms(token, realm, cost, is_open, routers, (url, opening.normalise(url)), server)
        terms.check()
        url = opening.normalise(url)
        identity = self._host.identity
        identity.prepare(url)
        begin = partial(opening.listen, url, token, is_open or identity.trust is not None, options)
        return begin, partial(self._host.call, self._listen, terms)

    def _server_of(self, url: str, options: dict[str, Any]) -> tuple[dict[str, Any], Server | None]:
        """The options of `listen` that are the driver's, and the server that the others make. Raises
        TypeError, ValueError.
        """
        if not SERVER_OPTIONS & options.keys():
            return options, None
        from busway.adapters.clients import serve_clients

        return serve_clients(self, url, options)

    def _check_hook(self, hook: Callable[..., Any]) -> None:
        """Raises TypeError for one that this sort of bus cannot call."""

    def _listen(self, terms: Terms, listener: Any) -> Listener:
        try:
            self._host.check()  # closed meanwhile?
            runner = ListenerRunner(self._host, listener, terms)
            self._host.listeners.add(runner)
            return Listener(self._host, runner)
        except BaseException:
            listener.close()
            raise


def host_of(bus: BaseBus) -> Any:
    """The host that runs a bus: for the package's own tools."""
    return bus._host
