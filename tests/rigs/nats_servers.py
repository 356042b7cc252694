"""Real NATS servers on free ports of the loopback: one, or a cluster; ended by their process ids."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_START_S = 20.0


def server_program() -> str:
    """The path of nats-server; "" if there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server") or ""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """One nats-server; `more` are lines of its configuration."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self._folder = folder
        self._config = folder / f"{port}.conf"
        self._config.write_text(f'listen: "127.0.0.1:{port}"\n{more}\n')
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        with (self._folder / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [server_program(), "-c", str(self._config)], stdout=log, stderr=log, start_new_session=True
            )

    def await_ready(self) -> None:
        """Wait until it takes connections."""
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as made:
                made.settimeout(1)
                if made.recv(5):
                    return
            time.sleep(0.02)
        raise AssertionError(self.log())

    def log(self) -> str:
        """All that it has said."""
        return (self._folder / f"{self.port}.log").read_text()

    def kill(self) -> None:
        """As a machine that fails."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stand still, as a machine that is paused."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(which)
            self.process.wait(10)
            self.process = None

    def end(self) -> None:
        self._signal(signal.SIGKILL)


@contextlib.contextmanager
def one(more: str = "") -> Iterator[Server]:
    """One server, ready."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), free_ports(1)[0], more)
        try:
            server.await_ready()
            yield server
        finally:
            server.end()


@contextlib.contextmanager
def cluster(count: int = 3, more: str = "") -> Iterator[list[Server]]:
    """A cluster, as docs/howto/backbone.md says, ready."""
    ports = free_ports(2 * count)
    clients, routes = ports[:count], ports[count:]
    peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    servers: list[Server] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, (client, route) in enumerate(zip(clients, routes, strict=True)):
                text = (
                    f"server_name: s{number}\n"
                    f'cluster {{ name: test, listen: "127.0.0.1:{route}", routes: [{peers}] }}\n{more}'
                )
                servers.append(Server(Path(folder), client, text))
            for server in servers:
                server.await_ready()
            _await_routes(Path(folder), clients)
            yield servers
        finally:
            for server in servers:
                server.end()


def _await_routes(folder: Path, clients: list[int]) -> None:
    """Wait until each knows the others."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        logs = [(folder / f"{port}.log").read_text() for port in clients]
        if all("Route connection created" in log for log in logs):
            return
        time.sleep(0.02)
    raise AssertionError("the servers do not find each other")


async def subscribed(client: Any) -> None:
    """Returns when the server knows what has been subscribed to. nats-py's `flush` sends its PING before what
    is still to be written: once the first has come back, that has been.
    """
    await client.flush()
    await client.flush()


def url_of(servers: list[Server]) -> str:
    """The URL of a cluster."""
    return "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
