"""Busway: one message bus across processes, machines, browsers and microcontrollers.

Nothing is imported before it is used: `import busway` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # that of `typing`, which takes five times as long as all of this

if TYPE_CHECKING:
    from busway import nano as nano
    from busway import testing as testing
    from busway.adapters.asyncio import AsyncBus
    from busway.adapters.asyncio_ends import Receiver
    from busway.adapters.client_records import Client, ClientMessage
    from busway.adapters.dialled import DialledLink
    from busway.adapters.ends import Service
    from busway.adapters.records import (
        Change,
        Delivery,
        EndpointInfo,
        Hop,
        LinkInfo,
        NodeInfo,
        RouteInfo,
        Sighting,
        Undelivered,
    )
    from busway.adapters.remotes import Remote
    from busway.adapters.retrying import Retry
    from busway.adapters.threads import Bus
    from busway.adapters.typed import Message, Request
    from busway.asgi import asgi as asgi
    from busway.attached import Attached
    from busway.errors import (
        BusClosed,
        BusError,
        DeliveryUnknown,
        EndpointTaken,
        KeyFileError,
        LinkRefused,
        LiteralName,
        MissingLibrary,
        PayloadError,
        PolicyFileError,
        RemoteError,
        RequestTimeout,
        SealError,
        TrustFileError,
        Undeliverable,
        UnknownType,
    )
    from busway.files import File
    from busway.keys import Key
    from busway.lan.found import Found
    from busway.memory.region import Region
    from busway.memory.registry import Registry
    from busway.messages import message
    from busway.names import NAMESPACE, endpoint_id
    from busway.protocol import Connection, Limits, Link, Node
    from busway.selectors import Selector, where
    from busway.services.clients import using
    from busway.services.contracts import Contract, service
    from busway.services.faults import ContractError, ServiceError
    from busway.services.hooks import every, on
    from busway.services.lives import Hosted
    from busway.services.signals import Signal
    from busway.store.front import Store
    from busway.store.intake import Durable, Once, StoredMessage
    from busway.store.records import StoreError

__version__ = "0.1.0"

_HOME = {
    "AsyncBus": "busway.adapters.asyncio",
    "Attached": "busway.attached",
    "Bus": "busway.adapters.threads",
    "BusClosed": "busway.errors",
    "BusError": "busway.errors",
    "Change": "busway.adapters.records",
    "Client": "busway.adapters.client_records",
    "ClientMessage": "busway.adapters.client_records",
    "Connection": "busway.protocol",
    "Contract": "busway.services.contracts",
    "ContractError": "busway.services.faults",
    "Delivery": "busway.adapters.records",
    "DeliveryUnknown": "busway.errors",
    "DialledLink": "busway.adapters.dialled",
    "Durable": "busway.store.intake",
    "EndpointInfo": "busway.adapters.records",
    "EndpointTaken": "busway.errors",
    "File": "busway.files",
    "Found": "busway.lan.found",
    "Hop": "busway.adapters.records",
    "Hosted": "busway.services.lives",
    "Key": "busway.keys",
    "KeyFileError": "busway.errors",
    "Limits": "busway.protocol",
    "Link": "busway.protocol",
    "LinkInfo": "busway.adapters.records",
    "LinkRefused": "busway.errors",
    "LiteralName": "busway.errors",
    "Message": "busway.protocol",
    "MissingLibrary": "busway.errors",
    "NAMESPACE": "busway.names",
    "Node": "busway.protocol",
    "NodeInfo": "busway.adapters.records",
    "Once": "busway.store.intake",
    "PayloadError": "busway.errors",
    "PolicyFileError": "busway.errors",
    "Receiver": "busway.adapters.asyncio_ends",
    "Region": "busway.memory.region",
    "Registry": "busway.memory.registry",
    "Remote": "busway.adapters.remotes",
    "RemoteError": "busway.errors",
    "Request": "busway.protocol",
    "RequestTimeout": "busway.errors",
    "Retry": "busway.adapters.retrying",
    "RouteInfo": "busway.adapters.records",
    "SealError": "busway.errors",
    "Selector": "busway.selectors",
    "Service": "busway.adapters.ends",
    "ServiceError": "busway.services.faults",
    "Sighting": "busway.adapters.records",
    "Signal": "busway.services.signals",
    "Store": "busway.store.front",
    "StoreError": "busway.store.records",
    "StoredMessage": "busway.store.intake",
    "TrustFileError": "busway.errors",
    "Undeliverable": "busway.errors",
    "Undelivered": "busway.adapters.records",
    "UnknownType": "busway.errors",
    "asgi": "busway.asgi",
    "endpoint_id": "busway.names",
    "every": "busway.services.hooks",
    "message": "busway.messages",
    "on": "busway.services.hooks",
    "service": "busway.services.contracts",
    "using": "busway.services.clients",
    "where": "busway.selectors",
}

__all__ = [
    "NAMESPACE",
    "AsyncBus",
    "Attached",
    "Bus",
    "BusClosed",
    "BusError",
    "Change",
    "Client",
    "ClientMessage",
    "Connection",
    "Contract",
    "ContractError",
    "Delivery",
    "DeliveryUnknown",
    "DialledLink",
    "Durable",
    "EndpointInfo",
    "EndpointTaken",
    "File",
    "Found",
    "Hop",
    "Hosted",
    "Key",
    "KeyFileError",
    "Limits",
    "Link",
    "LinkInfo",
    "LinkRefused",
    "LiteralName",
    "Message",
    "MissingLibrary",
    "Node",
    "NodeInfo",
    "Once",
    "PayloadError",
    "PolicyFileError",
    "Receiver",
    "Region",
    "Registry",
    "Remote",
    "RemoteError",
    "Request",
    "RequestTimeout",
    "Retry",
    "RouteInfo",
    "SealError",
    "Selector",
    "Service",
    "ServiceError",
    "Sighting",
    "Signal",
    "Store",
    "StoreError",
    "StoredMessage",
    "TrustFileError",
    "Undeliverable",
    "Undelivered",
    "UnknownType",
    "asgi",
    "endpoint_id",
    "every",
    "message",
    "on",
    "service",
    "using",
    "where",
]


def __getattr__(name: str) -> object:
    if name in ("nano", "testing"):
        return import_module(f"busway.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'busway' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
