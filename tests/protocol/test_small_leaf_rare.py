"""What a small leaf loads only when it is used, and some of what it does then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from busway.protocol import LocalError, codes
from busway.protocol.leaf import (
    closing,
    names,
    priorities,
    selecting,
    sleeping,
    streams,
    tracing,
    traits,
    values,
)

from .leaves import LeafNet
from .pairs import E, F

RARE = (closing, names, priorities, selecting, sleeping, streams, tracing, traits, values)

PROGRAM = """
import sys
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.link.link import Link
leaf = Leaf(b"b" * 16, entropy=bytes)
leaf.register(b"e" * 16, 2, name="plain")
leaf.connection(Link(2, True), 0)
leaf.publish(b"f" * 16, b"payload", 0, name="other")
leaf.send(b"g" * 16, b"payload", 0)
leaf.handle_timer(0)
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_a_leaf_loads_nothing_that_it_does_not_use() -> None:
    """Other parts of the package would: it is imported as a board does, by its own modules."""
    names_of = [module.__name__ for module in RARE]
    bare = "import types, sys\nfor name in ('busway', 'busway.protocol'):\n"
    bare += "    sys.modules[name] = types.ModuleType(name)\n"
    bare += f"sys.modules['busway'].__path__ = [{sys.modules['busway'].__path__[0]!r}]\n"
    bare += f"sys.modules['busway.protocol'].__path__ = [{sys.modules['busway.protocol'].__path__[0]!r}]\n"
    run = subprocess.run(
        [sys.executable, "-c", bare + PROGRAM, *names_of],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")


@pytest.mark.parametrize("labels", ["abc", [""], ["x" * 33], [f"l{number}" for number in range(9)]])
def test_labels_that_are_none(labels: object) -> None:
    net = LeafNet()
    with pytest.raises(LocalError, match="labels are a set"):
        net.leaf.register(E, codes.ANYCAST, labels=labels)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="a last word"):
        net.leaf.register(E, codes.ANYCAST, gone=bytes(130))
    assert net.leaf.receivers == []


def test_labels_travel_sorted_with_the_last_word_behind_them() -> None:
    net = LeafNet()
    net.leaf.register(E, codes.ANYCAST, labels={"b", "a"}, gone=b"\0off")
    net.leaf.register(F, codes.ANYCAST, labels=iter(()))
    net.settle()
    assert b"\x0c\1\1a\1\1b\2\4\0off" in net.cord.sent
    assert net.leaf.receivers[1].labels == b""


def test_a_request_that_wants_one_reply_has_no_use_for_room_for_parts() -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.ANYCAST)
    net.settle()
    net.router.request(E, b"", net.now)
    net.settle()
    request = net.leaf.take(receiver, net.now)
    assert request is not None
    body = bytes((codes.MESSAGE | codes.SIGNAL << 4, codes.PART_CREDIT)) + varint_of(request.id) + b"\0\x09"
    net.cord.connection.receive_data(bytes((len(body),)) + body, net.now)
    assert request.window == 0
    assert request.wants_answer


def varint_of(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def test_a_router_that_was_silent_for_long_and_speaks_again_is_not_given_up() -> None:
    net = LeafNet()
    connection = net.cord.connection
    connection._suspect = True  # as a deadline that passed leaves it
    connection.receive_data(b"\x02\x05\x09", net.now)
    assert connection._suspect is False
    assert connection.state == codes.OPEN


def test_a_name_that_another_keeps_is_closed_with_the_rest() -> None:
    net = LeafNet("ab")
    net.cord.cut()
    net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    receiver = net.leaf.register(E, codes.UNICAST)
    net.cord = net.plug(net.leaf, net.router)
    net.settle()
    assert receiver.lost
    net.leaf.close(net.now)
    assert receiver.closed
    assert not receiver.lost
