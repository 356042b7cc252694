"""`python -m tests.memory.holder FD`: takes regions over that socket, and does with them as it is told: a
word and descriptors come, a word goes back. Ends with the socket.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from busway.drivers.descriptors import Descriptor
from busway.memory import region as regions

held: list[Any] = []


def keep(descriptor: Descriptor) -> str:
    """Hold what came, without looking at it."""
    held.append(descriptor)
    return "kept"


def map_(descriptor: Descriptor) -> str:
    """Hold no more than a view of it."""
    with regions.received(descriptor) as region:
        held.append(region.view)
    descriptor.close()
    return "mapped"


def write(descriptor: Descriptor) -> str:
    """Write in it, if that can be."""
    region = regions.received(descriptor)
    if region.view.readonly:
        return "read only"
    region.view[:5] = b"there"
    return "written"


def force(descriptor: Descriptor) -> str:
    """Try to write in what is read only, by every way there is."""
    import mmap

    ways: list[Callable[[], object]] = [
        lambda: mmap.mmap(descriptor.fd, 0),
        lambda: mmap.mmap(os.open(f"/proc/self/fd/{descriptor.fd}", os.O_RDWR), 0),
        lambda: os.pwrite(os.open(f"/proc/self/fd/{descriptor.fd}", os.O_RDWR), b"x", 0),
        lambda: os.ftruncate(os.open(f"/proc/self/fd/{descriptor.fd}", os.O_RDWR), 0),
        lambda: regions.received(descriptor).view.__setitem__(0, 1),
    ]
    for number, way in enumerate(ways):
        try:
            way()
        except (OSError, TypeError):
            continue
        return f"way {number} succeeded"
    return "refused"


def freeze(place: int, descriptor: Descriptor) -> str:
    """Freeze it when its first byte says so, as others do at that instant; ready once its own byte is set."""
    with regions.received(descriptor) as region:
        view = region.view
        view[place] = 1
        while not view[0]:
            pass
        region.freeze()
        return "frozen" if region.frozen else "not frozen"


def drop() -> str:
    """Let go of all."""
    held.clear()
    return "dropped"


def main() -> None:
    commands: dict[str, Callable[..., str]] = {
        "keep": keep, "map": map_, "write": write, "force": force, "drop": drop,
        "freeze 1": partial(freeze, 1), "freeze 2": partial(freeze, 2),
    }  # fmt: skip
    with socket.socket(fileno=int(sys.argv[1])) as line:
        while True:
            word, fds, _, _ = socket.recv_fds(line, 64, 8)
            if not word:
                return
            line.sendall(commands[word.decode()](*map(Descriptor, fds)).encode())


if __name__ == "__main__":
    main()
