"""Link-local IPv6 addresses between two machines, each a network namespace: the zone names the interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.rigs.netns import Machine, machines, obstacle
from tests.rigs.tree import ROOT

REASON = obstacle()
_SERVER = """
import busway, sys
with busway.Bus(ipc=False) as bus:
    bus.serve("echo", lambda request: request.payload, realm="global")
    for scheme in ("tcp", "ws"):
        print(bus.listen(f"{scheme}://[::]:0", token="sesame-h4k9w2x7q5m8z3t6r1v0").url, flush=True)
    sys.stdin.read()
"""
_CLIENT = """
import busway, sys
with busway.Bus(ipc=False) as bus:
    link = bus.connect(sys.argv[1], token="sesame-h4k9w2x7q5m8z3t6r1v0", wait=20)
    print(link.url, bus.request("echo", "hello"))
"""


@contextmanager
def running(machine: Machine, program: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [*machine.prefix(), sys.executable, "-W", "error", "-c", program, *words]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, env={**os.environ, "PYTHONPATH": path}, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def link_local(machine: Machine) -> str:
    words = [*machine.prefix(), "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"]
    found = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    return found.split("inet6 ")[1].partition("/")[0]


@pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces work")
def test_a_link_local_address_with_its_interface() -> None:
    with machines(2) as (here, there), running(there, _SERVER) as server:
        assert server.stdout is not None
        address = link_local(there)
        for _ in range(2):
            scheme, _, rest = server.stdout.readline().strip().partition("://")
            url = f"{scheme}://[{address.upper()}%25eth0]:{rest.rpartition(':')[2]}"
            with running(here, _CLIENT, url) as client:
                assert client.stdout is not None
                assert (
                    client.stdout.readline()
                    == f"{url.replace(address.upper(), address).replace('%25', '%')} hello\n"
                )
