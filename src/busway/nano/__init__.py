"""Handlers that know nobody: small services that take messages and emit messages, and routes that link them.

Nothing of it is loaded before it is used. How it is used: docs/howto/nano.md.
"""

from busway.nano.app import App, Running
from busway.nano.bridge import Endpoint
from busway.nano.codecs import Codec
from busway.nano.control import Counters, WorkerInfo
from busway.nano.errors import (
    Damaged,
    Finished,
    Lapped,
    LogFull,
    Missed,
    SchemaMismatch,
    WiringError,
    WorkerFailed,
)
from busway.nano.file import FileBus, FileReport, Gap
from busway.nano.handlers import Emit, Handler, Route
from busway.nano.layouts import (
    Array,
    Layout,
    boolean,
    f32,
    f64,
    fixed,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
)
from busway.nano.log import Entry
from busway.nano.ring import BlockingBus, RingBus

__all__ = [
    "App",
    "Array",
    "BlockingBus",
    "Codec",
    "Counters",
    "Damaged",
    "Emit",
    "Endpoint",
    "Entry",
    "FileBus",
    "FileReport",
    "Finished",
    "Gap",
    "Handler",
    "Lapped",
    "Layout",
    "LogFull",
    "Missed",
    "RingBus",
    "Route",
    "Running",
    "SchemaMismatch",
    "WiringError",
    "WorkerFailed",
    "WorkerInfo",
    "boolean",
    "f32",
    "f64",
    "fixed",
    "i8",
    "i16",
    "i32",
    "i64",
    "u8",
    "u16",
    "u32",
    "u64",
]
