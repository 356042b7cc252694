"""A stranger on the local network: `python attacker.py COUNT VICTIM-ADDRESS`. Announces COUNT programs of the
bus at an address of its own, which all are a port where it takes in what comes; one at a port of the
victim's; and one beyond the network. Says, when its input ends, how many connections came to each, and what.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

from zeroconf import ServiceInfo, Zeroconf

from busway.lan.announced import SERVICE, host_name, instance_name, text_record
from busway.lan.networks import look
from tests.lan.program import BUS, say

BEYOND = "203.0.113.5"


class Trap:
    """A port that says nothing, or whatever is not Busway."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("0.0.0.0", 0))
        self.port: int = self.socket.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            client, _ = self.socket.accept()
            with client:
                client.settimeout(1)
                try:
                    self.heard.append(client.recv(65536))
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                except OSError:
                    self.heard.append(b"")


def info(address: str, port: int) -> ServiceInfo:
    node_id = os.urandom(16)
    return ServiceInfo(
        SERVICE,
        instance_name(node_id),
        port=port,
        properties=text_record(node_id, BUS, port),
        server=host_name(node_id),
        addresses=[socket.inet_aton(address)],
    )


def main(count: int, victim: str, victim_port: int) -> None:
    (own,) = (each.address for each in look() if ":" not in each.address)
    trap = Trap()
    made: list[Any] = [info(own, trap.port) for _ in range(count)]
    made += [info(victim, victim_port), info(BEYOND, trap.port)]
    zeroconf = Zeroconf([own])
    assert zeroconf.loop is not None
    for each in made:
        zeroconf.loop.call_soon_threadsafe(zeroconf.registry.async_add, each)  # no pauses between them
    for each in made:
        zeroconf.send(zeroconf.generate_service_broadcast(each, None))
    say(open="attacker")
    sys.stdin.read()
    say(dials=len(trap.heard), heard=b"".join(trap.heard).hex())
    zeroconf.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
