"""What bytes cost that a neighbour chooses: no frame makes a node do more than a constant amount of work for
each of its bytes, however much there is in the node's tables.

Work is counted in lines of the protocol that are run (tests/rigs/steps.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from busway import wire_names
from busway.protocol import codes
from busway.protocol.wire import things
from busway.protocol.wire.fields import frame, text8, varint
from busway.protocol.wire.runs import FEATURE
from busway.protocol.wire.things import SHARED_MIN
from tests.rigs.steps import steps

from .beside import Memory, Thing, waiting
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    SELF,
    UNICAST,
    YOU,
    Liar,
    Mesh,
    ack,
    alias,
    bind,
    chain,
    departed,
    directory,
    entry,
    id_of,
    message,
    parent,
    retract,
    routes,
    seqreq,
    signal,
    stranger,
    u16,
    update,
)
from .pairs import E, F, G

STEPS_MAX = 120  # lines for each byte that was read; the plainest messages cost 10
SIZE = 3000  # bytes that are measured, at least
SOURCES = 2000  # of prunes, holders and routes there are so many, or 4,096

FAR = varint(3)  # a source that the neighbour offers, and has told to want no broadcasts
Frames = Callable[[int], list[bytes]]


def _one(*bodies: bytes) -> Frames:
    """The same again and again."""
    return lambda _: list(bodies)


def _number(count: int) -> bytes:
    return varint(3 + count % SOURCES)


def _with_options(kind: int, options: bytes, fields: bytes) -> bytes:
    """A message that the neighbour itself sends."""
    head = codes.MESSAGE | codes.HEAD_OPTIONS | kind << 4
    return bytes((head,)) + varint(len(options)) + options + fields


def _cut(count: int, size: int, *pieces: bytes) -> list[bytes]:
    """A message of `size` bytes in its first frame, which has none of them, and `pieces`."""
    cut = bytes((codes.OPTION_CUT, 5, 0)) + size.to_bytes(4, "big")
    first = _with_options(codes.SEND, cut, varint(1) + u16(count & 0xFFFF))
    return [first, *[bytes((codes.MORE, 0)) + piece for piece in pieces]]


STREAM = bytes((codes.OPTION_STREAM, 2)) + u16(9)
REACH = bytes((codes.OPTION_REACH, 1, codes.GLOBAL))
BEST_EFFORT = bytes((codes.OPTION_BEST_EFFORT, 0))
NAME = bytes((codes.OPTION_NAME, 64)) + b"n/" * 32
RETAIN = bytes((codes.OPTION_RETAIN, 4, 0))

FRAMES: dict[str, Frames] = {
    "PING, PONG": _one(bytes((codes.PING, 1)), bytes((codes.PONG, 1))),
    "SLEEP": _one(bytes((codes.SLEEP, 0))),
    "an unknown frame": _one(b"\x7f"),
    "SYNC": lambda count: [bytes((codes.SYNC, 4 + count % 2))],
    "SYNC 1, 2, 3": lambda count: [bytes((codes.SYNC, 1 + count % 3))],
    "ROUTES: PARENT of one": _one(routes(parent(FAR))),
    "ROUTES: PARENT of each": lambda count: [routes(parent(_number(count)))],
    "ROUTES: PARENT with versions": lambda count: [routes(parent(_number(count), 1 + count % 9, 7))],
    "ROUTES: PARENT of ourselves": _one(routes(parent(YOU))),
    "ROUTES: PARENT of none": _one(routes(parent(bind(9000, stranger(99_999))))),
    "ROUTES: UPDATE and RETRACT of one": _one(routes(retract(FAR), update(FAR, 1, 1))),
    "ROUTES: UPDATE and DEPARTED of one": _one(routes(departed(FAR), update(FAR, 1, 1))),
    "ROUTES: DEPARTED of none": _one(routes(departed(bind(9000, stranger(99_999))))),
    "ROUTES: UPDATE that changes": lambda count: [routes(update(_number(count), 1, 1 + count % 9))],
    "ROUTES: UPDATE of new ones": lambda count: [routes(update(bind(9000, stranger(50_000 + count)), 1, 1))],
    "ROUTES: SEQREQ": lambda count: [routes(seqreq(FAR, count), seqreq(FAR, count + 1, True))],
    "ROUTES: SEQREQ to us": lambda count: [routes(seqreq(YOU, count & 0xFFFF))],
    "ROUTES: ACK": _one(routes(ack(0))),
    "DIRECTORY: many have it, one comes and goes": lambda count: [
        directory(SELF, GLOBAL, count, count + 1, entry(ANYCAST if count % 2 else 0, E))
    ],
    "DIRECTORY: a subscriber comes and goes": lambda count: [
        directory(SELF, GLOBAL, count, count + 1, entry(BROADCAST if count % 2 else 0, F))
    ],
    "DIRECTORY: a kind changes": lambda count: [
        directory(SELF, GLOBAL, count, count + 1, entry((UNICAST, BROADCAST)[count % 2], G))
    ],
    "DIRECTORY: the lookups come and go": lambda count: [
        directory(SELF, GLOBAL, count, count + 1, entry(ANYCAST if count % 2 else 0, codes.LOOKUP))
    ],
    "DIRECTORY: another label": lambda count: [directory(FAR, GLOBAL, 0, 0, label=f"{count:04}")],
    "DIRECTORY: a version too far": _one(directory(FAR, GLOBAL, 99, 100)),
    "DIRECTORY: a version that was": lambda count: [directory(FAR, GLOBAL, 0, 2 + count % 2)],
    "SEND": lambda count: [message(codes.SEND, 8, 9, FAR, varint(1) + u16(count & 0xFFFF))],
    "SEND in pieces of a byte": lambda count: _cut(count, 3, b"x", b"y", b"z"),
    "SEND of another lane": lambda count: [
        _with_options(
            codes.SEND, bytes((codes.OPTION_LANE, 1, 2 + count % 6)), varint(1) + u16(count & 0xFFFF)
        )
    ],
    "SEND of best effort": lambda count: [
        _with_options(codes.SEND, BEST_EFFORT, varint(1) + u16(count & 0xFFFF))
    ],
    "SEND with options of nobody": lambda count: [
        _with_options(codes.SEND, bytes((77, 0)) * 40, varint(1) + u16(count & 0xFFFF))
    ],
    "SEND on": lambda count: [
        message(codes.SEND, 12, 9, _number(count) + FAR, varint(1) + u16(count & 0xFFFF))
    ],
    "RUN of SEND": lambda count: [
        bytes((codes.RUN,))
        + message(codes.SEND, 8, 9, FAR, varint(1) + u16(9 * count & 0xFFFF) + u16(4) + bytes(36))
    ],
    "RUN of SEND on": lambda count: [
        bytes((codes.RUN,))
        + message(
            codes.SEND, 12, 9, _number(count) + FAR, varint(1) + u16(9 * count & 0xFFFF) + u16(4) + bytes(36)
        )
    ],
    "RUN of SEND of different sizes": lambda count: [
        bytes((codes.RUN,))
        + message(
            codes.SEND, 8, 9, FAR, varint(1) + u16(0) + bytes((0, 0, 0, 3, 0, 4, 0, 5, 0, 4)) + bytes(13)
        )
    ],
    "RUN of PUBLISH": lambda count: [
        bytes((codes.RUN,))
        + message(codes.PUBLISH, 8, 9, FAR, varint(1) + u16(9 * count & 0xFFFF) + u16(4) + bytes(36))
    ],
    "PUBLISH": lambda count: [message(codes.PUBLISH, 8, 9, FAR, varint(1) + u16(count & 0xFFFF))],
    "PUBLISH of nobody wants": lambda count: [
        message(codes.PUBLISH, 8, 9, FAR, alias(9, b"%016d" % count) + u16(1))
    ],
    "PUBLISH with a realm said forty times": lambda count: [
        _with_options(codes.PUBLISH, REACH * 40, varint(1) + u16(count & 0xFFFF))
    ],
    "PUBLISH under a name": lambda count: [
        _with_options(codes.PUBLISH, NAME, varint(1) + u16(count & 0xFFFF))
    ],
    "PUBLISH of what stays": lambda count: [
        _with_options(codes.PUBLISH, RETAIN + bytes((count >> 8 & 0xFF, count & 0xFF, 1)), varint(1) + u16(1))
    ],
    "CONFIRM": lambda count: [
        message(codes.CONFIRM, 8, 9, FAR, varint(1) + u16(count & 0xFFFF) + varint(1 + count) + varint(9))
    ],
    "REQUEST": lambda count: [
        message(codes.REQUEST, 8, 9, FAR, varint(1) + u16(count & 0xFFFF) + varint(1 + count) + varint(9))
    ],
    "REQUEST of a stream": lambda count: [
        _with_options(codes.REQUEST, STREAM, varint(1) + u16(count & 0xFFFF) + varint(1 + count) + varint(9))
    ],
    "REPLY": _one(message(codes.REPLY, 8, 9, FAR, varint(9))),
    "PART": _one(message(codes.PART, 8, 9, FAR, varint(9) + u16(1))),
    "ERROR": _one(message(codes.ERROR, 8, 9, FAR, varint(9) + varint(1))),
    "CANCEL": _one(signal(codes.CANCEL, varint(9))),
    "CREDIT": _one(signal(codes.CREDIT, varint(1) + u16(9))),
    "PROBE": lambda count: [signal(codes.PROBE, varint(1) + u16(count & 0xFFFF))],
    "PART_CREDIT": _one(signal(codes.PART_CREDIT, varint(9) + u16(9))),
    "UNDELIVERABLE": _one(signal(codes.UNDELIVERABLE, varint(1) + u16(1) + b"\1")),
    "END": _one(signal(codes.END, varint(9) + u16(9))),
    "WHO: many have it": _one(signal(codes.WHO, varint(1))),
    "WHO: nobody has it": lambda count: [signal(codes.WHO, alias(9, b"%016d" % count))],
    "HAVE": _one(signal(codes.HAVE, varint(1) + b"\x0d" + SELF + u16(0))),
    "HAVE of as many as may be": lambda count: [
        signal(
            codes.HAVE,
            varint(1) + b"".join(b"\x0d" + _number(count + n) + u16(0) for n in range(codes.HOLDERS_MAX)),
        )
    ],
    "HAVE_PART": _one(signal(codes.HAVE_PART, varint(1) + b"\x0d" + SELF + u16(0))),
    "SELECT: all are meant": _one(signal(codes.SELECT, varint(1) + b"\1\1x\5")),
    "SELECT: another each time": lambda count: [signal(codes.SELECT, varint(1) + b"\1\6%06d" % count)],
    "SELECT: of many terms": lambda count: [
        signal(codes.SELECT, varint(1) + b"\1\6%06d" % count + b"\2\x0d**/**/**/**/a\4" * 15)
    ],
    "SELECT: nothing that can be read": _one(signal(codes.SELECT, varint(1) + b"\1\1x" * 100)),
    "SELECTED": _one(signal(codes.SELECTED, varint(1) + b"\0\x0d" + SELF + varint(1) + u16(0))),
    "PRUNE": lambda count: [signal(codes.PRUNE, varint(1) + _number(count))],
    "GRAFT": lambda count: [signal(codes.GRAFT, varint(1) + _number(count))],
    "GRAFT of ours": _one(signal(codes.GRAFT, varint(1) + YOU)),
    "TRACE": _one(signal(codes.TRACE, varint(1))),
    "TRACED": _one(signal(codes.TRACED, varint(1) + b"\3\1" + text8("x") + text8("y"))),
    "an unknown signal": _one(signal(99, b"")),
}


def _beside(option: int, value: bytes, kind: int = codes.SEND, fields: bytes = b"") -> Frames:
    """Messages with one thing each."""
    options = bytes((option, len(value))) + value
    return lambda count: [_with_options(kind, options, fields + varint(1) + u16(count & 0xFFFF))]


TAKEN, LARGE = bytes(SHARED_MIN), SHARED_MIN.to_bytes(4, "big")  # a payload in memory, and what describes it
BESIDE: dict[str, tuple[Frames, object]] = {
    "a file": (_beside(things.OPTION_THINGS, b"\0\1"), Thing()),
    "a region": (_beside(things.OPTION_THINGS, b"\1\0"), Thing()),
    "a payload in memory": (_beside(things.OPTION_SHARED, LARGE), TAKEN),
    "a file, published": (_beside(things.OPTION_THINGS, b"\0\1", codes.PUBLISH), Thing()),
    "a file, to an endpoint that nobody has": (
        lambda count: [_with_options(codes.SEND, b"\x08\2\0\1", varint(2) + u16(count & 0xFFFF))], Thing()
    ),
}  # fmt: skip


ENDING = {codes.HELLO, codes.HANDSHAKE, codes.CLOSE}  # which come once: what follows them ends the link


def test_no_kind_of_frame_is_left_out() -> None:
    makers = [*FRAMES.values(), *[make for make, _ in BESIDE.values()]]
    bodies = [body for make in makers for body in make(1)]
    messages = [body for body in bodies if body[0] & codes.MESSAGE]
    kinds = {body[0] >> 4 & 7 for body in messages}
    signals = {body[1] for body in messages if body[0] >> 4 & 7 == codes.SIGNAL}
    entries = {body[1] for body in bodies if body[0] == codes.ROUTES}
    entries |= {body[-4] for body in FRAMES["ROUTES: SEQREQ"](1)}  # the second one, of all
    options = {body[2] for body in messages if body[0] & codes.HEAD_OPTIONS}
    assert {body[0] for body in bodies} >= set(wire_names.CONTROL_NAMES) - ENDING
    assert kinds == set(wire_names.KIND_NAMES)
    assert signals >= set(wire_names.SIGNAL_NAMES)
    assert entries >= set(wire_names.ROUTE_NAMES)
    assert options >= set(wire_names.OPTION_NAMES)


def filled() -> tuple[Mesh, Liar]:
    """A node whose tables are as full as one neighbour may make them, and that neighbour."""
    net = Mesh()
    net.add("b")
    net.add("a", transit=False)
    net.join("ab")
    net.pump()
    liar = Liar(net, net["b"], features=FEATURE)
    for start in range(0, SOURCES, 500):
        names = [bind(3 + n, stranger(n)) for n in range(start, start + 500)]
        liar.say(routes(*[update(name, 1, 1) for name in names]))
        for n in range(start, start + 500):
            liar.say(directory(varint(3 + n), GLOBAL, 0, 1, entry(ANYCAST, E)))
    net.pump()
    for n in range(codes.PRUNES_MAX):
        fields = alias(1, E) if not n else varint(1)
        liar.say(message(codes.PUBLISH, 8, 9, _number(n), (fields if n < SOURCES else alias(2, G)) + u16(1)))
    liar.hear()
    for n in range(codes.WATCHES_MAX):
        liar.say(signal(codes.WHO, alias(9, b"%016d" % (70_000 + n))))
    liar.hear()
    net.pump()
    assert len(net["b"].forwarder._pruned) >= SOURCES
    assert len(net["b"].directory.known(E)) == SOURCES
    assert id_of("z") in net["b"].routes.peers
    return net, liar


@pytest.fixture(scope="module")
def full() -> tuple[Mesh, Liar]:
    return filled()


@pytest.mark.no_cover  # it counts lines itself
@pytest.mark.parametrize("kind", FRAMES)
def test_no_frame_costs_more_than_a_constant_for_each_byte(full: tuple[Mesh, Liar], kind: str) -> None:
    net, liar = full
    net.advance(codes.SYNC_MS)
    data = b""
    count = max([line.version for line in net.see("b", "z").lines], default=0)
    while len(data) < SIZE:
        data += b"".join(frame(body) for body in FRAMES[kind](count))
        count += 1
    work = steps(lambda: liar.connection.receive_data(data, net.now), "/protocol/")
    liar.hear()
    net.pump()
    assert liar.error == -1, liar.connection.close_text
    assert work / len(data) < STEPS_MAX


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", BESIDE)
def test_nor_does_one_with_something_beside_it(kind: str) -> None:
    """Also when more wait than may: those are answered, or dropped."""
    net = Mesh()
    net.add("b")
    net["b"].register(E, BROADCAST if "published" in kind else UNICAST)
    near: dict[str, Any] = {"realm": codes.USERSPACE, "medium": "ipc", "aside": Memory()}
    liar = Liar(net, net["b"], features=FEATURE | things.ASIDE, **near)
    number = codes.PUBLISH if "published" in kind else codes.SEND
    for at, endpoint in [(1, E), (2, F)]:
        liar.say(bytes((codes.MESSAGE | number << 4,)) + alias(at, endpoint) + u16(0))
    make, thing = BESIDE[kind]
    work = size = count = 0
    while size < SIZE:
        count += 1
        data = b"".join(frame(body) for body in make(count))
        liar.connection.receive_things([thing], net.now)
        work += steps(partial(liar.connection.receive_data, data, net.now), "/protocol/")
        size += len(data)
        liar.hear()
    net.pump()
    assert liar.error == -1, liar.connection.close_text
    assert waiting(liar.connection) == 0
    assert work / size < STEPS_MAX


@pytest.mark.no_cover
@pytest.mark.parametrize("what", ["for its credit", "for an answer"])
def test_the_end_of_a_node_costs_no_more_if_much_is_under_way_to_others(what: str) -> None:
    costs = []
    for outstanding in (1, 2000):
        net = chain("ab")
        receiver = net["b"].register(E, ANYCAST, queue_max=8192)
        net.pump()
        if what == "for its credit":
            net.cable["ab"].block(net["b"])
        for _ in range(outstanding):
            net["a"].request(E, b"", net.now)
            if what == "for an answer":
                net.pump()
                net.drain(net["b"], receiver)
        assert len(net["a"].origin.pending) == outstanding
        liar = Liar(net, net["a"])
        liar.say(routes(*[update(bind(3 + n, stranger(n)), 1, 1) for n in range(100)]))
        assert len(net["a"].peers()) == 102
        gone = routes(*[retract(varint(3 + n)) for n in range(100)])
        costs.append(steps(partial(liar.say, gone), "/protocol/"))
        net.advance(codes.ROUTE_LOSS_GRACE_MS)
        assert [peer.node_id for peer in net["a"].peers()] == [id_of("b"), id_of("z")]
    assert costs[1] < 2 * costs[0]
