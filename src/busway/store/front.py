"""`busway.Store`: a store in a program."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from busway.adapters.asyncio import AsyncBus
from busway.adapters.opening import is_backbone
from busway.errors import BusError
from busway.protocol.errors import LocalError
from busway.protocol.wire.patterns import check_pattern
from busway.store.limits import DAY_MS, MIB, Keep
from busway.store.records import TRIES, StoreError
from busway.store.service import Service

if TYPE_CHECKING:
    from busway.adapters.threads import Bus
    from busway.adapters.typed import Realm

log = logging.getLogger("busway")
_AGAIN_S = 1.0


class Store:
    """A store: it keeps mail for programs that are away, and what is published, for a bus.

    Args:
        bus: an AsyncBus, which is to be open; or a Bus, beside which the store then has a node of its own.
        place: `sqlite:///path` of a folder on this machine (or the path alone), or `nats://host:port` of a
            NATS server with JetStream.
        keep: names, and patterns of names, that it is for.
        last: those of them whose last value stays when its publisher is gone: the store then retains it.
        realm: who reaches it.
        size: bytes that it keeps at the most, and `share` of them for any one sender.
        mail: messages that may wait for who is away, each for `mail_age` seconds at the most.
        history: bytes, `count` messages and `age` seconds of what was published.
        tries: after so many a message is dead.
        access: `credentials`, `nkey`, `cafile` and `tls` for NATS, as of `connect` to a backbone.

    Use it as `async with busway.Store(bus, …) as store:`; with a Bus as `with busway.Store(…):`.
    """

    def __init__(
        self,
        bus: AsyncBus | Bus,
        place: str | os.PathLike[str],
        *,
        keep: Iterable[str] = ("**",),
        last: Iterable[str] = (),
        realm: Realm = "localnet",
        size: int = 1024 * MIB,
        share: float = 0.25,
        mail: int = 1_000_000,
        mail_age: float = 7 * 86_400.0,
        history: int = 256 * MIB,
        count: int = 1_000_000,
        age: float = 86_400.0,
        tries: int = TRIES,
        **access: Any,
    ) -> None:
        self._bus = bus
        self._place = os.fspath(place)
        self._access = _checked(self._place, access)
        self._keep = _patterns(keep)
        self._last = _patterns(last) if last else ()
        self._realm: Realm = realm
        for what, limit, least in (
            ("size", size, 0),
            ("mail", mail, 0),
            ("mail_age", mail_age, 0),
            ("history", history, 0),
            ("count", count, 0),
            ("age", age, 0),
            ("tries", tries, 1),
        ):
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= least:
                raise ValueError(f"{what} is {least} or more, not {limit!r}")
        if not 0 < share <= 1:
            raise ValueError(f"share is a part of all, more than 0 and at most 1, not {share!r}")
        self._limits = Keep(
            size=size,
            share=share,
            mail=mail,
            age_mail=round(mail_age * 1000) if mail_age else DAY_MS * 36_500,
            history=history,
            count=count,
            age=round(age * 1000),
            tries=tries,
        )
        self._service: Service | None = None
        self._backend: Any = None
        self._task: asyncio.Task[None] | None = None
        self._apart: Apart | None = None

    def __repr__(self) -> str:
        state = "active" if self.active else "closed" if self._backend is None else "waiting"
        return f"<Store at {_shown(self._place)}, {state}, keeps {', '.join(self._keep)}>"

    @property
    def active(self) -> bool:
        """Whether it is the one that serves its names; of those at one JetStream one is."""
        return self._service is not None

    async def open(self) -> Self:
        """Begin. Raises busway.StoreError if another store has the folder, or keeps names of these on this
        bus; MissingLibrary.
        """
        if not isinstance(self._bus, AsyncBus):
            raise TypeError("the store of a Bus is opened by `with`, that of an AsyncBus by `async with`")
        await self._open(self._bus)
        return self

    async def _open(self, bus: AsyncBus) -> None:
        if self._backend is not None:
            raise BusError("the store is open already")
        backend = await asyncio.get_running_loop().run_in_executor(
            None, backend_of, self._place, self._access
        )
        self._backend = backend
        try:
            if backend.shared:
                await backend.connect()
                self._task = asyncio.ensure_future(self._take_turns(bus, backend))
            else:
                await self._serve(bus, backend)
                self._task = asyncio.ensure_future(self._give_way(bus, backend, asyncio.Event()))
        except BaseException:
            await self.aclose()
            raise

    async def _serve(self, bus: AsyncBus, backend: Any) -> None:
        service = Service(bus, backend, self._keep, self._limits, self._realm, self._last)
        try:
            await service.start()
        except BaseException:
            await service.close()
            raise
        self._service = service

    async def _give_way(self, bus: AsyncBus, backend: Any, lost: asyncio.Event) -> None:
        """Until it has `lost` its turn: stand by while there is another store for the same names that is
        older, which was met when two parts of a bus became one. What this one has is on its disk.
        """
        while not lost.is_set():
            service = self._service
            if service is not None:
                await _first_of(service.displaced.wait(), lost.wait())
                if service.displaced.is_set():
                    self._service = None
                    await service.close()
                    await _first_of(service.written(), lost.wait())  # the next one reads what there is
                continue
            await asyncio.sleep(_AGAIN_S)
            try:
                await self._serve(bus, backend)
            except BusError:
                pass  # the other one is still there
            except (OSError, sqlite3.Error) as error:
                log.warning("the store is not active: %s", error)

    async def _take_turns(self, bus: AsyncBus, backend: Any) -> None:
        """Be active whenever no other store at the same place is, until it is to end."""
        while self._task is not None:  # a cancellation may have been dropped: see JetStreamBackend.stop
            try:
                await backend.start()
                await self._serve(bus, backend)
                if self._task is not None:
                    await self._give_way(bus, backend, backend.lost)
            except StoreError as error:
                log.warning("the store is not active: %s", error)
                await asyncio.sleep(_AGAIN_S)
            finally:
                service, self._service = self._service, None
                if service is not None:
                    await service.close()
                await backend.stop()

    async def aclose(self) -> None:
        """End: what was confirmed stays, for the next. Twice is once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        service, self._service = self._service, None
        if service is not None:
            await service.close()
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Beside a Bus

    def __enter__(self) -> Self:
        """Begin beside a Bus, in a thread of its own. Raises as `open`."""
        if isinstance(self._bus, AsyncBus):
            raise TypeError("the store of an AsyncBus is opened by `async with`")
        self._apart = Apart(self, self._bus)
        self._apart.start()
        return self

    def __exit__(self, *_: object) -> None:
        apart, self._apart = self._apart, None
        if apart is not None:
            apart.stop()


async def _first_of(*works: Awaitable[object]) -> None:
    """Wait until one of them ends; the others are cancelled."""
    waiters = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


class Apart:
    """A store with a node and a thread of its own, linked to a Bus in the same program."""

    def __init__(self, store: Store, bus: Any) -> None:
        self._store = store
        self._bus = bus
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="busway store", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        if self._loop is not None and self._end is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - it is raised where the store was to begin
            self._failure = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        from busway.adapters.bus import host_of

        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        host = host_of(self._bus)
        permissions = host.identity.permissions
        policy: Any = False if permissions is None else permissions.policy
        label = f"store of {self._bus.label}"
        async with AsyncBus(self._bus.name, ipc=host._ipc, label=label, policy=policy) as bus:
            await self._store._open(bus)
            self._ready.set()
            try:
                await self._end.wait()
            finally:
                await self._store.aclose()


def _checked(place: str, access: dict[str, Any]) -> dict[str, Any]:
    """Raises TypeError for what says nothing about NATS servers, ValueError where there are none."""
    if unknown := access.keys() - {"credentials", "nkey", "cafile", "tls"}:
        raise TypeError(f"a store has no argument {min(unknown)!r}")
    if access and not is_backbone(place):
        raise ValueError(f"{min(access)}= is for a store at nats://host:port or tls://host:port")
    return access


def backend_of(place: str, access: dict[str, Any]) -> Any:
    """The keeper of the state at a place. Raises ValueError, OSError, StoreError, MissingLibrary."""
    scheme, colon, rest = place.partition("://")
    if not colon:
        rest = place
    elif is_backbone(place):
        from busway.store.jetstream import JetStreamBackend

        return JetStreamBackend(place, access)
    elif scheme != "sqlite":
        raise ValueError(f"a store is at sqlite:///path or nats://host:port, not at {place!r}")
    path = unquote(rest) if colon else rest
    if not path:
        raise ValueError("a store at sqlite:// needs a path, as in sqlite:///var/lib/busway")
    from busway.store.sqlite import SqliteBackend

    return SqliteBackend(path)


def _shown(place: str) -> str:
    """A place without the name and password in it."""
    scheme, colon, rest = place.partition("://")
    if not colon or "@" not in rest:
        return place
    hosts, slash, path = rest.partition("/")
    return f"{scheme}://{hosts.rpartition('@')[2]}{slash}{path}"


def _patterns(keep: Iterable[str]) -> tuple[str, ...]:
    """Raises ValueError, TypeError."""
    if isinstance(keep, str):
        raise TypeError(f"keep is a list of names and patterns: write [{keep!r}]")
    found = tuple(dict.fromkeys(keep))
    if not found:
        raise ValueError("a store keeps at least one name or pattern")
    for pattern in found:
        try:
            check_pattern(pattern)
        except LocalError as error:
            raise ValueError(str(error)) from None
    return found
