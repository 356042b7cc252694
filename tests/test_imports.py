"""Imports that must not happen: whoever does not use a thing does not wait for its modules."""

from __future__ import annotations

import sys

from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

LOADED = "import sys\nbefore = set(sys.modules)\n{}\nprint(*sorted(set(sys.modules) - before))"

# None of these is used by a bus that sends bytes to programs of the same machine.
RARE = {
    *("bleak", "bumble", "cbor2", "click", "cryptography", "h11", "msgspec", "rich", "serial", "wsproto"),
    *("busway.adapters.attempts", "busway.adapters.dialled", "busway.adapters.guarded"),
    *("busway.adapters.racing", "busway.adapters.remarks", "busway.adapters.retrying"),
    *("busway.adapters.sealed", "busway.adapters.threads"),
    *("busway.convert", "busway.decode", "busway.testing", "busway.tokens"),
    *("busway.drivers.ble", "busway.drivers.memory", "busway.drivers.named_pipe", "busway.drivers.serial"),
    *("busway.drivers.tcp", "busway.drivers.tunnel", "busway.drivers.unix_census"),
    "busway.drivers.websocket",
    *("busway.lan", "busway.lan.hub", "zeroconf", "ifaddr"),
    *("busway.memory", "ctypes", "mmap"),
    *("busway.nano", "busway.nano.app", "numpy"),
    *("busway.pairing", "busway.policy", "busway.sealing", "busway.trust"),
    *("busway.protocol.packet", "busway.protocol.packet.packets", "busway.protocol.report"),
    *("busway.protocol.secure", "busway.protocol.secure.channel", "busway.protocol.secure.security"),
    *(
        "dataclasses",
        "datetime",
        "decimal",
        "getpass",
        "html",
        "http",
        "ipaddress",
        "json",
        "multiprocessing",
        "platform",
        "random",
        "shlex",
        "tempfile",
        "unittest",
        "urllib.request",
        "uuid",
        "zipfile",
    ),
}

OPENED = """
import asyncio, busway
async def main():
    async with busway.AsyncBus(ipc=False) as bus:
        inbox = bus.register("lab/log")
        await bus.send("lab/log", b"hello")
        await inbox.receive()
asyncio.run(main())
"""


def loaded(program: str) -> set[str]:
    """The modules that a program loads besides those that Python starts with."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(ROOT / 'src')!r}]\n"]
    command[-1] += LOADED.format(program)
    return set(output_of(command, cwd=ROOT, timeout_s=60).split())


def test_the_package_alone_loads_nothing() -> None:
    own = {"__future__", "busway", "importlib", "importlib._bootstrap", "importlib._bootstrap_external"}
    assert loaded("import busway") <= own | {"warnings", "_warnings"}


def test_an_asyncio_bus_loads_only_what_it_uses() -> None:
    """Besides what asyncio itself loads, which differs from one Python to the next."""
    assert (loaded(OPENED) & RARE) - loaded("import asyncio") == set()


def test_to_import_it_computes_nothing() -> None:
    """What hashes names is loaded with the first name."""
    named = loaded("import busway; busway.AsyncBus") - loaded("import asyncio")
    assert "busway.adapters.bus" in named
    assert "hashlib" not in named


def test_what_is_named_here_exists() -> None:
    """Or nobody would notice that it is imported under another name."""
    found = {name for name in RARE if name.startswith("busway.")}
    assert loaded("\n".join(f"import {name}" for name in sorted(found))) >= found
