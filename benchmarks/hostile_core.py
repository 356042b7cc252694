"""Attacks of a hostile neighbour on nodes of the bare core: which messages arrive where, who stays connected,
and what its bytes cost. The rows of docs/attacks.md that need no program; benchmarks/hostile.py runs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

from busway.protocol import Link, LocalError, Receiver, codes, events
from busway.protocol.wire.fields import frame, varint
from tests.protocol.nets import (
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    key,
    message,
    parent,
    retract,
    routes,
    signal,
    stranger,
    u16,
    update,
)
from tests.protocol.pairs import E, F
from tests.protocol.test_unfinished import MIB, PIECE, pour
from tests.protocol.test_work import FRAMES, SIZE, SOURCES, filled
from tests.rigs.steps import steps

TRIES = 10
GUESSES = 1000
SOURCE = codes.HOW_SOURCE
MESH = 30  # nodes of the mesh that news spreads in

Row = tuple[str, str]  # what is looked at, and how it is


def _calls(net: Mesh, caller: str, holder: str, receiver: Receiver) -> str:
    """How many of some calls the right one answers."""
    right = 0
    for _ in range(TRIES):
        token = -1
        try:
            token = net[caller].request(E, b"?", net.now, timeout_ms=1000)
        except LocalError:
            continue  # nobody has the name any more
        net.pump()
        for request in net.drain(net[holder], receiver):
            net[holder].respond(request, b"true", net.now)
        net.pump()
        net.advance(1000)
        right += [outcome.payload for outcome in net.outcomes(net[caller], token)] == [b"true"]
    return f"{right} of {TRIES}"


def displaced() -> list[Row]:
    """A HELLO over the network with the id of a program of this machine."""
    net = Mesh()
    net.add("av")
    net.join("va", realm=USERSPACE, via="ipc", medium="ipc")
    net.pump()
    receiver = net["v"].register(E, UNICAST, USERSPACE)
    net.pump()
    Liar(net, net["a"], "v", incarnation=7, hears=False)
    net.advance(3000)
    return [("private calls to the program whose id was claimed, answered", _calls(net, "a", "v", receiver))]


def hidden() -> list[Row]:
    """A line of a version that never was, told by a neighbour that then leaves."""
    net = chain("abc", cost=100)
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, net["c"].me.key), 1, 0)))
    liar.say(directory(b"\x03", LOCALNET, 0, 0xFFFFFFFF))
    liar.leave()
    net.advance(60_000)
    return [("calls to a node whose line was forged, a minute later", _calls(net, "a", "c", receiver))]


def name_taken() -> list[Row]:
    """A leaf on the network that announces a private name; its id is the smallest."""
    net = Mesh()
    net.add("hgu")
    net.join("hg hu gu", realm=USERSPACE, medium="ipc")
    net.pump()
    receiver = net["h"].register(E, UNICAST, USERSPACE)
    net.pump()
    liar = Liar(net, net["g"], "0", leaf=True)
    liar.say(directory(SELF, LOCALNET, 0, 1, entry(UNICAST, E)))
    net.pump()
    for number in range(TRIES):
        net["u"].send(E, b"private%d" % number, net.now)
        net.pump()
    stolen = sum(body.count(b"private") for body in liar.hear())
    there = len(net.payloads("h", receiver))
    return [("private messages to a name: at its holder, at a thief", f"{there}, {stolen} of {TRIES}")]


def forged() -> list[Row]:
    """A router that says it leads to a friend of ours, and speaks in its name."""
    net = chain("ab")
    a, b = net["a"], net["b"]
    liar = Liar(net, a)
    liar.say(routes(update(bind(8, b.me.key), 1, 1)))
    receiver = b.register(E, UNICAST)
    own = a.register(F, UNICAST)
    net.pump()
    tokens = [a.request(E, b"?", net.now) for _ in range(4)]
    net.pump()
    liar.say(*[_says(b.me.key, codes.REPLY, varint(guess) + b"forged") for guess in range(1, GUESSES)])
    answers = [outcome.payload for token in tokens for outcome in net.outcomes(a, token)]
    for _ in range(4):
        b.request(F, b"?", net.now)
    net.pump()
    net.drain(a, own)
    hints = [
        _says(b.me.key, codes.SIGNAL, bytes((codes.CANCEL,)) + varint(guess)) for guess in range(1, GUESSES)
    ]
    liar.say(*hints)
    ended = len(net.seen(a, events.REQUEST_CANCELLED))
    for number in range(TRIES):
        liar.say(_says(b.me.key, codes.SEND, alias(1, F) + u16(100 + number) + b"forged"))
    taken = net.payloads("a", own).count(b"forged")
    assert len(net.drain(b, receiver)) == 4
    return [
        ("answers of a friend that were forged, taken", f"{answers.count(b'forged')} of 4"),
        ("calls of a friend that were called off in its name", f"{ended} of 4"),
        ("messages that were sent in its name, taken", f"{taken} of {TRIES}"),
    ]


def _says(source: bytes, kind: int, rest: bytes) -> bytes:
    return message(kind, SOURCE, 255, bind(9, source), rest)


def news_forged() -> list[Row]:
    """Values published in a friend's name by another neighbour."""
    net = chain("ab")
    receiver = net["a"].register(E, BROADCAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(8, net["b"].me.key), 1, 1)))
    both = codes.HOW_DESTINATION | SOURCE  # the root of the tree, and whose it is
    for number in range(TRIES):
        rest = alias(1, E) + u16(number + 1) + b"forged"
        liar.say(message(codes.PUBLISH, both, 255, SELF + bind(9, net["b"].me.key), rest))
    taken = net.payloads("a", receiver).count(b"forged")
    return [("values that were published in a friend's name, taken", f"{taken} of {TRIES}")]


def work() -> list[Row]:
    """Frames of every kind to a node whose tables are as full as one neighbour may make them."""
    worst, which = 0.0, ""
    net, liar = filled()
    for kind, frames in FRAMES.items():
        net.advance(codes.SYNC_MS)
        data, count = b"", max([line.version for line in net.see("b", "z").lines], default=0)
        while len(data) < SIZE:
            data += b"".join(frame(said) for said in frames(count))
            count += 1
        lines = _lines(liar, data) / len(data)
        worst, which = max((worst, which), (lines, kind))
        liar.hear()
        net.pump()
    net, liar = filled()
    for number in range(codes.PRUNES_MAX):  # it wants none of these itself
        uuid, source = (
            alias(5 + number // SOURCES, b"%016d" % (number // SOURCES)),
            varint(3 + number % SOURCES),
        )
        liar.say(signal(codes.PRUNE, uuid + source))
    body = parent(varint(3)) * 16_000
    started = time.process_time()
    liar.connection.receive_data(frame(routes(body)), net.now)
    spent = time.process_time() - started
    rows = [("one frame of 32 KB against 4,096 prunes, processor time", f"{spent:.2f} s")]
    return [
        *rows,
        (f"the worst of {len(FRAMES)} kinds of frames ({which}), lines run for a byte", f"{worst:.0f}"),
    ]


def _lines(liar: Liar, data: bytes) -> int:
    now = liar.net.now
    return steps(lambda: liar.connection.receive_data(data, now), "/protocol/")


def credit() -> list[Row]:
    """Senders that do not exist take an endpoint's credit."""
    net = chain("ab")
    receiver = net["a"].register(E, UNICAST, queue_max=256)
    net.pump()
    _bursts(net, receiver, 50)
    liar = Liar(net, net["a"])
    for n in range(4000):
        liar.say(routes(update(bind(3 + n, stranger(n)), 1, 1)))
        uuid = varint(1) if n else alias(1, E)
        liar.say(message(codes.SEND, SOURCE, 255, varint(3 + n), uuid + u16(1)))
        if n % 100 == 99:
            net.pump()
            liar.hear()
            net.drain(net["a"], receiver)
    _bursts(net, receiver, 3)
    for _ in range(64):
        net["b"].send(E, b"honest", net.now)
    net.pump()
    taken: list[int] = []
    lines = steps(lambda: taken.append(len(net.payloads("a", receiver))), "/protocol/")
    return [
        ("credit of an honest sender beside 4,000 that do not exist, messages", f"{taken[0]}"),
        ("... and lines run when one of its messages is taken", f"{lines / taken[0]:.0f}"),
    ]


def _bursts(net: Mesh, receiver: Receiver, count: int) -> None:
    for _ in range(count):
        for _ in range(8):
            net["b"].send(E, b"honest", net.now)
        net.pump()
        net.drain(net["a"], receiver)
        net.pump()


def tables() -> list[Row]:
    """One neighbour that fills the table of routes; then an honest one comes, that leads to another."""
    net = chain("ab")
    liar = Liar(net, net["b"])
    for start in range(0, 16384, 1000):
        names = [bind(3 + number, stranger(number)) for number in range(start, min(start + 1000, 16381))]
        liar.say(routes(*[update(name, 1, 1) for name in names]))
    net.add("cd")
    net.join("bc cd")
    net.pump()
    net.advance(2000)
    seen = sum(letter in net.reaches("b") for letter in "acd")
    open_ = sum(net.cable[pair].a.state == net.cable[pair].b.state == codes.OPEN for pair in ("ab", "bc"))
    return [
        (
            "honest nodes seen, and links that stand, beside one that fills the routes",
            f"{seen} of 3, {open_} of 2",
        )
    ]


def spread() -> list[Row]:
    """News of nodes that come and go, in a mesh of 30 nodes and 44 links: what its links write."""
    rows = []
    for at_once in (True, False):
        net = Mesh()
        letters = [chr(0x41 + number) for number in range(MESH)]
        net.add("".join(letters))
        chords = [letters[n] + letters[n + 15] for n in range(15)]
        net.join(" ".join([a + b for a, b in pairwise(letters)] + chords))
        net.pump()
        liar = Liar(net, net["A"], "z")
        before, said = _written(net), 0
        number = 0
        while said < 14_000:
            number += 1
            for n in range(100):
                one = [routes(update(bind(3 + n, stranger(n)), number, 1)), routes(retract(varint(3 + n)))]
                said += sum(len(body) + 1 for body in one)
                for body in one:
                    liar.say(body)
                    if not at_once:
                        net.pump()
                        liar.hear()
        net.pump()
        how = "at once" if at_once else "one after the other"
        title = f"14 KB of nodes that come and go, {how}: written on {len(net.cables)} links"
        rows.append((title, f"{(_written(net) - before) / 1000:.0f} KB"))
    return rows


def _written(net: Mesh) -> int:
    return sum(end.connection.bytes_out for cable in net.cables for end in cable.ends)


def crowd() -> list[Row]:
    """As many strangers as a node has links."""
    net = Mesh()
    net.add("ab")
    for number in range(codes.LINKS_MAX):
        net["b"].connection(Link(LOCALNET, medium="tcp", via=f"tcp:{number}"), net.now)
    net.join("ab", realm=USERSPACE, via="ipc", medium="ipc")
    net.pump()
    joined = net.cable["ab"].a.state == net.cable["ab"].b.state == codes.OPEN
    return [("a program of this machine beside 1,280 strangers joins", "yes" if joined else "no")]


def unfinished() -> list[Row]:
    """Eight links, each with four messages of 16 MiB that never end."""
    net = chain("ab")
    liars = [Liar(net, net["a"], letter) for letter in "stuvwxyz"]
    for liar in liars:
        pour(liar, 4, 16 * MIB - 2 * PIECE)
    rows = [("unfinished messages of eight links, memory", f"{_kept(net) / MIB:.0f} MiB")]
    for _ in range(12):
        net.advance(30_000)
        for liar in liars:
            liar.hear()
            liar.say(bytes((codes.PING, 1)))
    return [*rows, ("... six minutes later", f"{_kept(net) / MIB:.0f} MiB")]


def _kept(net: Mesh) -> int:
    inboxes = [connection.inbox for connection in net["a"].connections]
    return sum(len(one.data) for inbox in inboxes for one in inbox.assemblies.values())


def next_hop() -> list[Row]:
    """An UPDATE that leads to a board behind a dearer link; and a life of a node that never was."""
    net = Mesh()
    net.add("a")
    board = net.leaf("x", "a", cost=512)
    receiver = board.register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, board.me.key), 9, 0)))
    net.pump()
    for _ in range(TRIES):
        net["a"].send(E, b"private", net.now)
        net.pump()
    stolen = sum(body.count(b"private") for body in liar.hear())
    there = len(net.payloads("x", receiver))
    rows = [
        ("messages to a board: at the board, at who claims to be nearer", f"{there}, {stolen} of {TRIES}")
    ]
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, key("c", 7)), 40_000, 0)))
    net.pump()
    title = "calls to a node of which another life was told, answered"
    return [*rows, (title, _calls(net, "a", "c", receiver))]


def published() -> list[Row]:
    """Values published without a word about how far, beside a peer that came from the wide world."""
    net = chain("ab")
    page = Liar(net, net["a"], "p", realm=GLOBAL, leaf=True)
    page.say(directory(SELF, GLOBAL, 0, 1, entry(BROADCAST, E)))
    near = net["b"].register(E, BROADCAST)
    net.pump()
    for _ in range(TRIES):
        net["a"].publish(E, b"private", net.now)
        net.pump()
    far = sum(body.count(b"private") for body in page.hear())
    there = len(net.payloads("b", near))
    return [
        ("published values: at a node of the network, at one of the wide world", f"{there}, {far} of {TRIES}")
    ]


def lookups() -> list[Row]:
    """One neighbour that asks for thousands of names; then others ask for what is behind a slow link."""
    net = chain("ab")
    slow = Liar(net, net["b"], "y", lookups=True)
    liar = Liar(net, net["b"], "z")
    for number in range(5000):
        liar.say(signal(codes.WHO, alias(1, b"%016d" % number)))
    slow.hear()
    honest = Liar(net, net["b"], "x")
    for number in range(TRIES):
        honest.say(signal(codes.WHO, alias(1, b"honest %9d" % number)))
    net.pump()
    asked = sum(body.count(b"honest ") for body in slow.hear())
    return [
        ("questions of an honest peer that are passed on beside 5,000 of another's", f"{asked} of {TRIES}")
    ]


ROWS: list[tuple[int, Callable[[], list[Row]]]] = [
    (2, displaced),
    (2, hidden),
    (3, name_taken),
    (4, forged),
    (4, news_forged),
    (5, work),
    (7, credit),
    (8, tables),
    (8, spread),
    (9, crowd),
    (10, unfinished),
    (11, next_hop),
    (16, published),
    (21, lookups),
]
