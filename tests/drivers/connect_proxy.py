"""An HTTP proxy that takes CONNECT, written with h11: the peer of the tests of tunnels. Runs in a thread."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from typing import Self

import h11


class ConnectProxy:
    """Passes on whoever asks by CONNECT, to `places` ({"host:port": port of this machine}) or to wherever it
    is.

    Args: `password` that it wants to have, for the user "lab"; `status` that it answers everybody with
    instead; `raw` bytes, too.
    asked: the targets it was asked for.
    """

    def __init__(
        self, places: dict[str, int] | None = None, password: str = "", status: int = 0, *, raw: bytes = b""
    ) -> None:
        self.asked: list[str] = []
        self.seen_headers: list[dict[bytes, bytes]] = []
        self._places = places or {}
        self._wanted = b"Basic " + base64.b64encode(f"lab:{password}".encode()) if password else b""
        self._status = status
        self._raw = raw
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._run)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._server, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(60)

    def _start(self, function: object, *words: object) -> None:
        thread = threading.Thread(target=function, args=words, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._raw:
                client.recv(65536)
                client.sendall(self._raw)
                client.shutdown(socket.SHUT_RDWR)
                return
            http = h11.Connection(h11.SERVER)
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(client.recv(65536))
            assert isinstance(event, h11.Request)
            target = event.target.decode()
            self.asked.append(target)
            self.seen_headers.append(dict(event.headers))
            status = self._judge(event)
            answer = h11.Response(
                status_code=status, headers=[("Content-Length", "0")] if status > 299 else []
            )
            client.sendall(http.send(answer) or b"")
            if status > 299:
                client.shutdown(socket.SHUT_WR)
                return
            self._join(client, target)

    def _judge(self, request: h11.Request) -> int:
        if self._status:
            return self._status
        if request.method != b"CONNECT":
            return 405
        if self._wanted and dict(request.headers).get(b"proxy-authorization") != self._wanted:
            return 407
        return 200

    def _join(self, client: socket.socket, target: str) -> None:
        host, _, port = target.rpartition(":")
        place = ("127.0.0.1", self._places[target]) if target in self._places else (host, int(port))
        far = socket.create_connection(place)
        self._open.append(far)
        self._start(self._copy, far, client)
        self._copy(client, far)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
