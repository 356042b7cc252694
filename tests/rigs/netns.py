"""Machines that are network namespaces on one wire, each with a socket directory of its own.

Needs root and `ip`. Everything is taken down at the end, also after a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

SUBNET = "10.77.9"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def obstacle() -> str:
    """Why namespaces cannot be made here; "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: iproute2)"
    name = f"bw{os.getpid()}t"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except (subprocess.SubprocessError, OSError) as error:
        return f"this system makes no network namespaces: {error}"
    return ""


@dataclass
class Machine:
    """One namespace: how to run something in it, and its address for the others."""

    name: str
    address: str  # unless there is none of IPv4
    directory: str

    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def environment(self) -> dict[str, str]:
        return {"BUSWAY_DIR": self.directory}

    def set_link(self, state: str) -> None:
        """Its network card: "up" or "down"."""
        ip("-n", self.name, "link", "set", "eth0", state)
        if state == "up":
            ip("-n", self.name, "route", "replace", "default", "dev", "eth0")


def block_multicast(number: int) -> None:
    """Let the wire pass no multicasts to machine `number` of those that are there, as many access points do:
    neither mDNS nor neighbour discovery of IPv6 gets to it.
    """
    port = ("dev", f"p{number}", "mcast_flood", "off")
    command = ["ip", "netns", "exec", f"bw{os.getpid()}s", "bridge", "link", "set", *port]
    subprocess.run(command, check=True, capture_output=True, timeout=20)


@contextlib.contextmanager
def machines(count: int, ipv4: bool = True) -> Iterator[list[Machine]]:
    """`count` machines on one wire; without IPv4 they have link-local addresses of IPv6 alone."""
    tag = f"bw{os.getpid()}"
    made: list[Machine] = []
    try:
        ip("netns", "add", f"{tag}s")
        ip("-n", f"{tag}s", "link", "add", "wire", "type", "bridge")
        ip("-n", f"{tag}s", "link", "set", "wire", "up")
        for number in range(count):
            name = f"{tag}m{number}"
            ip("netns", "add", name)
            made.append(Machine(name, f"{SUBNET}.{number + 1}", tempfile.mkdtemp(prefix="bw-")))
            ip(
                "-n",
                name,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"p{number}",
                "netns",
                f"{tag}s",
            )
            ip("-n", f"{tag}s", "link", "set", f"p{number}", "master", "wire", "up")
            if ipv4:
                ip("-n", name, "addr", "add", f"{made[-1].address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "lo", "up")
            made[-1].set_link("up")  # with a route to everywhere, which multicasts need
        yield made
    finally:
        for machine in made:
            shutil.rmtree(machine.directory, ignore_errors=True)
        for name in [machine.name for machine in made] + [f"{tag}s"]:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)
