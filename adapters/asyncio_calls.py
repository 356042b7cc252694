"""The calls that a program makes for each message: sending, publishing, asking. Compiled with the core where
that is.

The commonest uses go straight to the core; all others by way of bus.py, which means the same.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # documented for those who run loops
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, cast, overload

from busway.adapters.arguments import (
    ANY_NODE,
    NO_TTL_S,
    TIMEOUT_S,
    check_node,
    check_stored,
    for_users,
    milliseconds,
    patience_ms,
    several,
    timeout_ms,
    wanted_reply,
)
from busway.adapters.asyncio_pump import GET_IDENT, TURN, Pump
from busway.adapters.carrying import attach, attached_to, sending, taken_apart
from busway.adapters.compiling import mypyc_attr
from busway.adapters.host import check_settled
from busway.adapters.literal import IDS, id_of_name, id_taking
from busway.adapters.results import error_of, replied
from busway.adapters.selected import others_of
from busway.payloads import encode_shared
from busway.protocol import codes, errors, events

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from busway.adapters.records import Delivery
    from busway.adapters.typed import (
        CopyOptions,
        M,
        Name,
        PublishOptions,
        R,
        RequestOptions,
        SendOptions,
        Target,
        Whom,
    )
    from busway.attached import Attached
    from busway.files import HasFileno
    from busway.memory.region import Region
    from busway.selectors import Selector

_ACCEPTED: Final = events.ACCEPTED
_OBJECT: Final = codes.OBJECT
_RAW: Final = codes.RAW
_REPLIED: Final = events.REPLIED
_TAKEN: Final = events.TAKEN
_TYPED: Final = codes.TYPED
# What comes from modules that are not compiled is looked up by name each time, unless it has one of its own.
_IDS: Final[dict[str, bytes]] = IDS
_get_ident: Final[Any] = GET_IDENT
_running_loop: Final[Any] = _get_running_loop
# What became of a call at once: nothing yet, or all; or all, and the loop is to have a turn.
_NOT: Final = 0
_DONE: Final = 1
_DONE_IN_TURN: Final = 2
# The defaults, which a call that is given others does not have: compared by identity.
_ANY_NODE: Final = ANY_NODE
_NO_TTL_S: Final = NO_TTL_S
_TIMEOUT_S: Final = TIMEOUT_S
_ANY: Final = "any"


@mypyc_attr(allow_interpreted_subclasses=True)
class Calls:
    """The busy part of an AsyncBus."""

    _host: Pump
    _process_only: Any  # ids of endpoints; empty for most: then no payload is an object
    _calls: int = 0  # messages since the loop had a turn
    _begun: Any = None  # what the short way has encoded and left to the long way, which takes it at once

    # Sending

    @overload
    async def send(self, target: type[M], payload: M, /, **options: Unpack[SendOptions]) -> None: ...

    @overload
    async def send(self, target: Whom, /, payload: Any = None, **options: Unpack[SendOptions]) -> None: ...

    @overload
    async def send(
        self, target: Selector, /, payload: Any = None, *, to: Literal["all"], **options: Unpack[CopyOptions]
    ) -> list[Delivery]: ...

    async def send(
        self,
        target: Any,
        /,
        payload: Any = None,
        *,
        to: Any = _ANY,
        others_only: Any = False,
        confirm: Any = False,
        ttl: Any = NO_TTL_S,
        timeout: Any = TIMEOUT_S,
        node: Any = ANY_NODE,
        sealed: Any = False,
        priority: Any = "normal",
        store: Any = False,
        files: Any = None,
        regions: Any = None,
    ) -> Any:
        """Send to whoever holds `target`: a name, a UUID, a message class, or what a selector means; returns
        when the message is accepted for transport.

        With `confirm` it returns when the receiving program has taken it, within `timeout` seconds. Without,
        it waits for credit as long as it takes, or for `timeout` seconds if that is given. `ttl` seconds wait
        for the endpoint to appear; `node` picks one of several holders. Raises Undeliverable, with `confirm`
        also DeliveryUnknown; ValueError for a broadcast endpoint.

        Of what a selector means the cheapest gets it, equally cheap ones in turn, and the next one if the
        first is gone before it was written; with `to="all"` each gets a copy, and the list that is returned
        says to whom, and what became of it (`Delivery`). Endpoints of this program count, unless
        `others_only`. `ttl` waits for the first that is meant.

        With `sealed` nobody on the way can read or change it, and it goes to a node only whose key is in the
        bus's `seal`: True for any of these, or the name or key of the one who is meant. Raises SealError.

        `priority`, "low", "normal", "high" or "urgent": on every link and in every queue a higher one passes
        lower ones; those of one priority stay in order.

        With `store` it goes into a store (`busway.Store`), which gives it to who has the name then, or later,
        within `ttl` seconds; it returns when the store has it durably, within `timeout`. Raises StoreError.

        `files` (open files, sockets, descriptors' numbers, `busway.File`s) and `regions` (`busway.Region`s),
        at most 64 in all, go along to a program of the same user on this machine, which has them in
        `message.files` and `message.regions`; files are copied before this waits. To others it raises
        Undeliverable NO_FILES. Raises TypeError, OSError for what cannot be sent.
        """
        if (
            to is not _ANY
            or others_only is not False
            or confirm is not False
            or sealed is not False
            or ttl is not _NO_TTL_S
            or node is not _ANY_NODE
            or timeout is not _TIMEOUT_S
            or priority != "normal"
            or store is not False
            or files is not None
            or regions is not None
        ):
            how = "stored" if store is not False else ""
            payload = attach(payload, files, regions, sealed=sealed, otherwise=how)
            if store is not False:
                from busway.store.client import send_stored

                copies = to is not _ANY or others_only is not False
                return await send_stored(
                    self, target, payload, store, ttl, timeout, node, sealed, priority, copies
                )
            return await cast(Any, self)._send_as(
                target, payload, confirm, ttl, timeout, node, sealed, priority, to, others_only
            )
        done = _post(self, target, payload)
        if done == _DONE_IN_TURN:
            await asyncio.sleep(0)
        elif done == _NOT:
            await self._send_later(target, payload)
        return None

    async def _send_later(self, to: Any, payload: Any) -> None:
        """`send` where it needs more than `_post` does."""
        endpoint, data, format, type_id = self._message_of(to, payload)
        token = self._token(self._host.node.send, endpoint, data, format, type_id)
        if token:
            await self._accepted(token, to)
        elif self._is_turn(1):
            await asyncio.sleep(0)

    async def send_many(self, to: Target, payloads: Iterable[Any]) -> int:
        """Send several in one call, in order, each as `send` does that is given no options: much quicker for
        small ones. Returns how many these were, when the last is accepted for transport. An iterator is read
        to its end before the first is sent. One that is a `busway.Attached` goes with its files and regions.

        If one fails, or the caller is cancelled, those before it stay accepted, the others are not sent; the
        exception's `accepted` says how many were (of `asyncio.timeout` that of its `__cause__`).
        """
        host = self._host
        accepted = 0
        try:
            given = several(payloads)
            while True:
                cast(Any, host).check_open()
                if accepted >= len(given):
                    break
                endpoint, run, format, type_id, words = cast(Any, self)._run_of(to, given, accepted, TURN)
                done = 0
                while done < len(run):
                    sent = 0
                    if format < _TYPED and host.node is host.core and not words:
                        rest = run[done:] if done else run
                        sent = host.core.send_many(endpoint, rest, host.now_ms(), format)
                    if not sent:  # it has to wait, or is wrong
                        send = sending(host.node.send, words)
                        token = self._token(send, endpoint, run[done], format, type_id)
                        if token:
                            future: Any = cast(Any, host).await_outcome(token)
                            try:
                                outcome = await asyncio.shield(future)
                            except asyncio.CancelledError:
                                accepted += host.give_up(token, future)
                                raise
                            _check_accepted(outcome, to)
                        sent = 1
                    done += sent
                    accepted += sent
                if self._is_turn(len(run)):
                    await asyncio.sleep(0)
        except BaseException as error:
            cast(Any, error).accepted = accepted
            raise
        return accepted

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
        host = self._host
        words: dict[str, Any] = {}
        if files is None and regions is None:
            done = _post(self, to, payload)
            if done == _DONE_IN_TURN:
                self._calls = host.turn_sends  # the next call that can wait gives the loop its turn
            if done != _NOT:
                return True
        else:
            cast(Any, host).check_open()
            payload, words = taken_apart(attach(payload, files, regions))
        endpoint, data, format, type_id = self._message_of(to, payload)
        found: list[events.Outcome] = []
        failure: Exception | None = None
        token = 0
        try:
            send = sending(host.node.send, words)
            token = send(endpoint, data, host.now_ms(), format, type_id, wait=False)
            if token:
                found = host.settle_now(token)
        except errors.FullError:
            return False
        except errors.LocalError as error:
            failure = for_users(error)
        if failure is not None:
            raise failure
        if not token:
            return True
        if found and found[0].status != events.CANCELLED:
            if found[0].status != _ACCEPTED:
                raise error_of(found[0], to)
            return True
        return False

    @overload
    async def publish(self, to: type[M], payload: M, **options: Unpack[PublishOptions]) -> None: ...

    @overload
    async def publish(self, to: Name, payload: Any = None, **options: Unpack[PublishOptions]) -> None: ...

    async def publish(
        self,
        to: Any,
        payload: Any = None,
        *,
        retain: Any = False,
        wait: Any = False,
        best_effort: Any = False,
        realm: Any = "localnet",
        sealed: Any = False,
        priority: Any = "normal",
        store: Any = False,
        ttl: Any = NO_TTL_S,
        files: Any = None,
        regions: Any = None,
    ) -> None:
        """Give every subscriber of `to` a copy. Nobody listening is no error. Raises ValueError for another
        kind of endpoint.

        It waits a little, at most 0.5 s, for a link whose queue is full, and not at all for one that others
        have waited for in vain: that link misses the copy, or keeps it as the newest. With `wait` it waits
        until each link concerned has room, however long that takes.
        `best_effort` never waits: serial and BLE links may lose this copy, and leave it out when they are
        busy; the subscriber's `missed` counts it. For readings of which the next comes soon.
        It gets as far as `realm`, whatever the subscribers'; "global" for pages in browsers. With `sealed`
        only subscribers whose keys are in the bus's `seal` can read it. `priority` as for `send`.

        With `retain` this program keeps it as the last value of `to`: whoever subscribes later gets it, once,
        and `last` asks for it. `retain=None`, without a payload, keeps it no longer. Raises BusError where as
        many are kept as may be (`retained` of the bus).

        With `store` it goes into a store, which publishes it; returns when the store has it durably. Whoever
        has not had it from there after `ttl` seconds, 0 for any time, does not get it any more.

        `files` and `regions` as for `send`: subscribers of the same user on this machine get them, each its
        own; others miss this message.
        """
        if files is not None or regions is not None:
            how = "stored" if store is not False else "retained" if retain is not False else ""
            payload = attach(payload, files, regions, sealed=sealed, otherwise=how)
        others = wait is not False or best_effort is not False or sealed is not False
        if store is not False:
            from busway.store.client import publish_stored

            others = others or realm != "localnet" or retain is not False
            await publish_stored(self, to, payload, store, others, priority, ttl)
            return
        others = others or files is not None or regions is not None
        if others or realm != "localnet" or priority != "normal" or retain is not False or ttl:
            check_stored(ttl)
            await cast(Any, self)._publish_as(to, payload, retain, wait, best_effort, realm, sealed, priority)
            return
        done = _post_copies(self, to, payload)
        if done == _DONE_IN_TURN:
            await asyncio.sleep(0)
        elif done == _NOT:
            await self._publish_later(to, payload)

    async def _publish_later(self, to: Any, payload: Any) -> None:
        """`publish` where it needs more than `_post_copies` does."""
        endpoint, data, format, type_id = self._message_of(to, payload)
        token = self._publish_token(endpoint, data, format, type_id)
        if token:
            check_settled(await cast(Any, self._host).awaited(token))
        elif self._is_turn(1):
            await asyncio.sleep(0)

    @overload
    async def request(
        self, to: type[M], payload: M, *, reply: TypeForm[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    async def request(
        self, to: Whom, payload: Any = None, *, reply: TypeForm[R], **options: Unpack[RequestOptions]
    ) -> R: ...

    @overload
    async def request(
        self, to: type[M], payload: M, *, reply: Any = None, **options: Unpack[RequestOptions]
    ) -> Any: ...

    @overload
    async def request(
        self,
        to: Whom,
        payload: Any = None,
        *,
        reply: Any = None,
        **options: Unpack[RequestOptions],
    ) -> Any: ...

    @overload
    async def request(
        self,
        to: Any,
        payload: Any = None,
        *,
        attached: Literal[True],
        reply: Any = None,
        **options: Unpack[RequestOptions],
    ) -> Attached: ...

    async def request(
        self,
        to: Any,
        payload: Any = None,
        *,
        timeout: Any = 30.0,
        ttl: Any = NO_TTL_S,
        node: Any = ANY_NODE,
        reply: Any = None,
        sealed: Any = False,
        priority: Any = "normal",
        others_only: Any = False,
        store: Any = False,
        files: Any = None,
        regions: Any = None,
        attached: Any = False,
    ) -> Any:
        """Ask, and return the reply's value.

        `reply` is what the reply has to be: a message class, a union of them, or what a field's annotation
        may say (`float`, `list[int]`, a dataclass); it is checked and converted, and PayloadError says what
        does not fit. By default any value.

        Raises RemoteError (the handler failed), RequestTimeout after `timeout` seconds (it may have run),
        Undeliverable, PayloadError, ValueError for a broadcast endpoint. Cancelling the caller cancels it.
        `sealed` as for `send`; the reply is sealed, too. `priority` as for `send`; the reply has it, too.
        Of what a selector means one is asked, as for `send`; `others_only` leaves out what this program
        serves itself. With `store` a store asks, when somebody serves it, within `ttl` seconds, by default
        `timeout`: at least once. `files` and `regions` as for `send`; with `attached` it returns a
        `busway.Attached`: the value, and what files and regions came with it, which are closed otherwise.
        """
        if files is not None or regions is not None or attached is not False:
            how = "stored" if store is not False else ""
            payload = attach(payload, files, regions, attached, sealed=sealed, otherwise=how)
        if store is not False:
            from busway.store.client import request_stored

            words = (timeout, ttl, node, reply, sealed, priority, others_only)
            return await request_stored(self, to, payload, store, *words)
        host = self._host
        wanted = None if reply is None else wanted_reply(reply)
        if others_only is not False:
            to = others_of(to, others_only)
        if sealed is not False:
            outcome = await cast(Any, self)._request_sealed(to, payload, timeout, ttl, node, sealed, priority)
            return replied(outcome, wanted, to)
        if priority != "normal" or files is not None or regions is not None or attached is not False:
            asked = cast(Any, self)._request(to, payload, timeout, ttl, node, priority=priority)
            outcome = await cast(Any, host).outcome(*asked)
            value = replied(outcome, wanted, to)
            return attached_to(outcome, value) if attached else value
        if host.failure is not None or _running_loop() is not host._loop:
            cast(Any, host).check_open()  # before anything is held: another thread must not touch it
        held = host.hold()
        try:
            token = self._request_token(to, payload, timeout, ttl, node)
            future = cast(Any, host).expect(token)
        except BaseException:
            host.leave(held, False)
            raise
        host.leave(held)
        try:
            outcome = await future
        finally:
            if token in host.waiters:
                cast(Any, host).cancel(token)
        if wanted is None and outcome.status == _REPLIED and outcome.format == _RAW:
            return outcome.payload
        return replied(outcome, wanted, to)

    # In the core's words

    def _message_of(self, to: Any, payload: Any) -> tuple[bytes, Any, int, bytes]:
        """Endpoint, payload, format and type for the long way: as the short way has left them, if it has."""
        begun = self._begun
        self._begun = None
        if begun is not None:
            return cast(tuple[bytes, Any, int, bytes], begun)
        endpoint: bytes = id_of_name(to) if type(to) is str else id_taking(to, payload)
        data, format, type_id = self._encoded(endpoint, payload)
        return endpoint, data, format, type_id

    def _encoded(self, endpoint: bytes, payload: Any) -> tuple[Any, int, bytes]:
        if self._process_only and endpoint in self._process_only:
            return payload, _OBJECT, b""
        if type(payload) is bytes:
            return payload, _RAW, b""
        return cast(tuple[Any, int, bytes], encode_shared(payload, endpoint, cast(Any, self._host)))

    def _token(self, function: Any, endpoint: bytes, data: Any, format: int, type_id: bytes) -> int:
        """The token of a call of the core, 0 where nothing has to be awaited. Raises users' errors."""
        failure: Exception | None = None
        token = 0
        try:
            token = function(endpoint, data, self._host.now_ms(), format, type_id)
        except errors.LocalError as error:
            failure = for_users(error)
        if failure is not None:
            raise failure
        return token

    def _publish_token(self, endpoint: bytes, data: Any, format: int, type_id: bytes) -> int:
        host = self._host
        patience: int = patience_ms(False, False)
        failure: Exception | None = None
        token = 0
        try:
            if host.node is host.core:
                token = host.core.publish(
                    endpoint, data, host.now_ms(), format, type_id, patience_ms=patience
                )
            else:
                token = host.node.publish(
                    endpoint, data, host.now_ms(), format, type_id, patience_ms=patience
                )
        except errors.LocalError as error:
            failure = for_users(error)
        if failure is not None:
            raise failure
        return token

    def _request_token(self, to: Any, payload: Any, timeout: Any, ttl: Any, node: Any) -> int:
        host = self._host
        endpoint: bytes = id_of_name(to) if type(to) is str else id_taking(to, payload)
        data, format, type_id = self._encoded(endpoint, payload)
        node_id: bytes = b"" if node is _ANY_NODE else check_node(node)
        ttl_ms: int = 0 if type(ttl) is float and ttl == 0.0 else milliseconds("ttl", ttl)
        limit_ms: int = 30_000 if type(timeout) is float and timeout == 30.0 else timeout_ms(timeout)
        failure: Exception | None = None
        token = 0
        try:
            if host.node is host.core:
                token = host.core.request(
                    endpoint,
                    data,
                    host.now_ms(),
                    format,
                    type_id,
                    node_id=node_id,
                    ttl_ms=ttl_ms,
                    timeout_ms=limit_ms,
                )
            else:
                token = host.node.request(
                    endpoint,
                    data,
                    host.now_ms(),
                    format,
                    type_id,
                    node_id=node_id,
                    ttl_ms=ttl_ms,
                    timeout_ms=limit_ms,
                )
        except errors.LocalError as error:
            failure = for_users(error)
        if failure is not None:
            raise failure
        return token

    async def _accepted(self, token: int, to: Any) -> None:
        """Wait until what `token` stands for is accepted. Raises what became of it instead."""
        _check_accepted(await cast(Any, self._host).awaited(token), to)

    def _is_turn(self, count: int) -> bool:
        """Whether the loop is to breathe now, after `count` more messages."""
        self._calls += count
        if self._calls < TURN:
            return False
        self._calls = 0
        return True


# The short ways of the commonest calls, outside of their coroutines: what a coroutine knows lies in memory of
# its own, which is made and freed with each call.


def _post(calls: Calls, to: Any, payload: Any) -> int:
    """Send, if nothing has to be decided or awaited. Raises as `send`."""
    host = calls._host
    ident: int = _get_ident()
    # Who runs which loop costs a system call in Python 3.11: asked once in a turn; the thread, each time.
    elsewhere = ident != host._ident or (not host._pumping and _running_loop() is not host._loop)
    if elsewhere or host.failure is not None:
        cast(Any, host).check_open()
    endpoint = _IDS.get(to) if type(to) is str else None
    if endpoint is None:
        endpoint = id_taking(to, payload)
    format = _RAW
    type_id = b""
    data: Any = payload
    if type(payload) is not bytes or calls._process_only:
        data, format, type_id = calls._encoded(endpoint, payload)
        if type(data) is memoryview:
            calls._begun = (endpoint, data, format, type_id)
            return _NOT
    now = host.turn_ms if host._pumping else host.clock() // 1_000_000
    if format >= _TYPED or host.node is not host.core or not host.core.post(endpoint, data, now, format):
        calls._begun = (endpoint, data, format, type_id)
        return _NOT
    calls._calls += 1
    if calls._calls < host.turn_sends:
        return _DONE
    calls._calls = 0
    return _DONE_IN_TURN


def _post_copies(calls: Calls, to: Any, payload: Any) -> int:
    """Publish, as `_post`."""
    host = calls._host
    ident: int = _get_ident()
    elsewhere = ident != host._ident or (not host._pumping and _running_loop() is not host._loop)
    if elsewhere or host.failure is not None:
        cast(Any, host).check_open()
    endpoint = _IDS.get(to) if type(to) is str else None
    if endpoint is None:
        endpoint = id_taking(to, payload)
    format = _RAW
    type_id = b""
    data: Any = payload
    if type(payload) is not bytes or calls._process_only:
        data, format, type_id = calls._encoded(endpoint, payload)
        if type(data) is memoryview:
            calls._begun = (endpoint, data, format, type_id)
            return _NOT
    now = host.turn_ms if host._pumping else host.clock() // 1_000_000
    short = format < _TYPED and host.node is host.core
    if not short or not host.core.publish_on(endpoint, data, now, format, type_id):
        calls._begun = (endpoint, data, format, type_id)
        return _NOT
    calls._calls += 1
    if calls._calls < TURN:
        return _DONE
    calls._calls = 0
    return _DONE_IN_TURN


def _check_accepted(outcome: events.Outcome, to: Any) -> None:
    """Raises what became of it instead."""
    if outcome.status not in (_ACCEPTED, _TAKEN):
        raise error_of(outcome, to)
