"""Types of messages for checkers, beyond the core: of which type a payload is. Runs nothing.

The core's classes run on MicroPython and compiled, where there are no generic classes; to a type checker
`Message[Reading]` has a `payload` of type Reading, and a bare `Message` one of type Any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypedDict

from busway import protocol

Kind = Literal["unicast", "anycast", "broadcast"]
Realm = Literal["process", "userspace", "localnet", "global"]
Policy = Literal["refuse", "drop_oldest", "drop_newest", "latest"]
Priority = Literal["low", "normal", "high", "urgent"]
Restart = Literal["never", "on-error", "always"]

if TYPE_CHECKING:
    from os import PathLike
    from uuid import UUID

    from typing_extensions import TypeVar

    from busway.adapters.retrying import Retry
    from busway.errors import PayloadError
    from busway.files import File, HasFileno
    from busway.memory.region import Region
    from busway.selectors import Selector
    from busway.store.intake import Durable, Once

    Name = str | bytes | UUID
    Target = Name | type
    Whom: TypeAlias = Name | Selector  # said so, for where the core is compiled `Selector` is unknown
    T = TypeVar("T", default=Any)
    U = TypeVar("U", default=Any)
    V = TypeVar("V", default=Any)
    W = TypeVar("W", default=Any)
    R = TypeVar("R", default=Any)
    T_co = TypeVar("T_co", default=Any, covariant=True)

    class _Dataclass(Protocol):
        __dataclass_fields__: ClassVar[dict[str, Any]]

    class _Struct(Protocol):
        __struct_fields__: ClassVar[tuple[str, ...]]

    # Without the bound the checkers would find that any two types are both `object`.
    M = TypeVar("M", bound=_Dataclass | _Struct)

    class Message(protocol.Message, Generic[T_co]):
        """A message whose payload is of type `T_co`, unless `error` says why it is not."""

        payload: T_co
        error: PayloadError | None

        @property
        def files(self) -> list[File]: ...
        @property
        def regions(self) -> list[Region]: ...

    class Request(Message[T_co], protocol.Request):
        """A message that wants an answer."""

        payload: T_co
        error: PayloadError | None

else:
    from typing import TypeVar

    M = T = U = V = W = R = Name = Target = Whom = Any  # which stand in annotations only
    T_co = TypeVar("T_co", covariant=True)
    Message = protocol.Message
    Request = protocol.Request

Handler = Callable[[Request[Any]], Any]
F = TypeVar("F", bound=Handler)


# The options of the calls that have overloads; what they mean stands at the call. Only checkers look at them.

if TYPE_CHECKING:

    class QueueOptions(TypedDict, total=False):
        queue: int
        policy: Policy | None

    class RegisterOptions(QueueOptions, total=False):
        labels: Iterable[str]
        gone: Any
        cost: int
        sealed: bool
        once: str | PathLike[str] | bool | Once | None

    class SubscribeOptions(QueueOptions, total=False):
        labels: Iterable[str]
        gone: Any
        realm: Realm
        sealed: bool
        durable: str | Durable | None

    class LifeOptions(TypedDict, total=False):
        serial: bool
        restart: Restart
        backoff: Retry
        fatal: type[Exception] | tuple[type[Exception], ...]
        stop_timeout: float

    class EndOptions(TypedDict, total=False):
        kind: Kind
        limit: int
        queue: int
        cost: int
        labels: Iterable[str]
        gone: Any
        sealed: bool

    class HostOptions(EndOptions, LifeOptions, total=False):
        pass

    class ServeOptions(EndOptions, total=False):
        realm: Realm

    class AttachOptions(TypedDict, total=False):
        files: Iterable[int | HasFileno] | None
        regions: Iterable[Region] | None

    class SendOptions(AttachOptions, total=False):
        confirm: bool
        ttl: float
        timeout: float | None
        node: bytes | None
        sealed: bool | str
        priority: Priority
        to: Literal["any"]
        others_only: bool
        store: bool

    class CopyOptions(AttachOptions, total=False):
        confirm: bool
        ttl: float
        timeout: float | None
        priority: Priority
        others_only: bool

    class PublishOptions(AttachOptions, total=False):
        retain: bool | None
        wait: bool
        best_effort: bool
        realm: Realm
        sealed: bool
        priority: Priority
        store: bool
        ttl: float

    class FutureOptions(AttachOptions, total=False):
        timeout: float | None
        ttl: float
        node: bytes | None
        priority: Priority
        others_only: bool

    class RequestOptions(FutureOptions, total=False):
        sealed: bool | str
        store: bool

    class StreamOptions(FutureOptions, total=False):
        sealed: bool | str
        window: int

else:
    QueueOptions = RegisterOptions = SubscribeOptions = ServeOptions = dict[str, Any]
    LifeOptions = EndOptions = HostOptions = dict[str, Any]
    SendOptions = CopyOptions = PublishOptions = FutureOptions = RequestOptions = dict[str, Any]
    StreamOptions = dict[str, Any]
