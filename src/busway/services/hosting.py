"""Hosting: a bus is handed an object, and serves what it says of itself. `bus.host` leads here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from busway.adapters.closing import Done
from busway.services.contracts import Outline, check_service_name, needed_outline, outline_of
from busway.services.describing import text_of
from busway.services.serving import Server

if TYPE_CHECKING:
    from busway.adapters.ends import Service


class Hosted:
    """An object that a bus hosts. Made by `host`; `close()` ends it, as leaving its `async with` or `with`
    does.
    """

    def __init__(self, obj: Any, server: Server, service: Service) -> None:
        self.object = obj
        self.server = server
        self.service = service

    def __repr__(self) -> str:
        return f"<Hosted {type(self.object).__qualname__} as {self.server.title}>"

    @property
    def name(self) -> str:
        """The endpoint's name, or its UUID."""
        return text_of(self.server.name)

    @property
    def version(self) -> int:
        """The contract's version, as clients are told it."""
        return self.server.version

    def close(self) -> Done:
        """Serve it no longer: calls at work go on, those that wait are answered as not taken. Twice is once.
        Of an AsyncBus it may be awaited.
        """
        self.service.close()
        self.server.detach()
        return Done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def host(bus: Any, obj: Any, contract: Any, name: Any, version: int | None, **options: Any) -> Hosted:
    """An object that is hosted; `AsyncBus.host` and `Bus.host` say what is what."""
    if isinstance(obj, type):
        raise TypeError(f"host takes an object, not its class: write bus.host({obj.__qualname__}())")
    outline = _outline(obj, contract)
    if name is not None:
        check_service_name(name)
    where = outline.name if name is None else name
    number = outline.version if version is None else version
    server = Server(bus, obj, outline, where, number, options["realm"])
    return Hosted(obj, server, bus.serve(where, server.handler, **options))


def _outline(obj: Any, contract: Any) -> Outline:
    if contract is not None:
        return needed_outline(contract)
    found = outline_of(type(obj))
    if found is None:
        raise TypeError(
            f"{type(obj).__qualname__} is no service: derive it from a contract, declared with"
            " @busway.service, or give that as contract="
        )
    return found
