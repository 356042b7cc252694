"""The small leaf and the core in the role of a leaf, in the same random sessions with a scripted router: the
same HELLO, the same frames where the protocol leaves no choice, the same outcomes, and the same verdicts on
what breaks the format.

tests/web/test_leaves_alike.py has the JavaScript client beside them. Here are also messages in pieces,
publishes, options that nobody knows, and tokens.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from busway.protocol import Link, codes
from busway.protocol.leaf.keyed import Secret
from busway.protocol.wire.control import write_close
from busway.protocol.wire.fields import varint
from tests.rigs.alike import (
    LIMITS,
    NODES,
    ROUTER,
    UUIDS,
    Life,
    PythonLeaf,
    Sessions,
    alias,
    frame,
    head,
    hello,
    u16,
)

from .board_crypto import Crypto
from .pairs import Entropy, guard

SEED = 11
SESSIONS = 600


class RicherSessions(Sessions):
    """The sessions that all three leaves share, and what only these two are asked to do."""

    def draw(self) -> list[list[Any]]:
        return [self.register(), *super().draw()]

    def step(self) -> list[Any]:
        rng = self.rng
        way = rng.randrange(12)
        if way == 0:
            kind = rng.choice(["confirm", "request"])
            return ["submit", kind, rng.choice(UUIDS), 5000, rng.choice([100, 138, 139, 140, 400, 1000])]
        if way == 1:
            pieces = self.pieces()
            if rng.random() < 0.03:
                del pieces[rng.randrange(len(pieces)) + 1 :]
            if rng.random() < 0.03:
                at = rng.randrange(len(pieces))
                pieces[at] = self.garbled(frame(pieces[at]))[1:] if len(pieces[at]) < 120 else pieces[at][:9]
            data = b"".join(map(frame, pieces))
            return ["feed", data, rng.choice([0, rng.randrange(999)])]
        if way == 2:
            return ["publish", rng.choice(UUIDS), b"p" + bytes(rng.choice([0, 0, 300]))]
        if way == 3:
            what = rng.choice(["reply", "reply", "reply", "error 300"])
            return ["answer", rng.randrange(4), what, rng.random() < 0.2]
        if way == 4:
            return self.have()
        if way == 5:
            return ["feed", frame(self.message()) + frame(self.message()), 0]
        if way == 6:
            about = u16(rng.randrange(4)) + bytes((rng.choice([1, 2]),))
            signal = head(codes.SIGNAL, rng.choice(NODES)) + bytes((codes.UNDELIVERABLE,))
            return ["feed", frame(signal + alias(rng.choice(UUIDS)) + about), 0]
        return super().step()

    def message(self) -> bytes:
        rng = self.rng
        body = super().message()
        options = self.options() if rng.random() < 0.3 else b""
        if body[0] >> 4 & 7 == codes.REQUEST and rng.random() < 0.3:
            options += rng.choice([b"\x02\x02\x00\x05"] * 4 + [b"\x02\x02\x00\x00", b"\x02\x01\x05"])
        return with_options(body, options) if options else body

    def options(self) -> bytes:
        rng = self.rng
        usual = [b"\x03\x00", b"\x03\x01x", b"\x09\x02ab", b"\xff\x00"]
        found = b"".join(rng.sample(usual, rng.randrange(3)))
        if rng.random() < 0.03:
            found += rng.choice([b"\x09\x05ab", b"\x01\x04abcd", b"\x09"])
        return found

    def pieces(self) -> list[bytes]:
        """A message that comes in pieces, now and then with too few, too many or more at once."""
        rng = self.rng
        source, uuid = rng.choice(NODES), rng.choice(UUIDS)
        self.numbers[source, uuid] = number = self.numbers.get((source, uuid), 0) + 1
        size = rng.choice([120, 300, 700, LIMITS[1], LIMITS[1] + 1 if rng.random() < 0.1 else 500])
        payload = b"m%d" % number + bytes(size - 1 - len(str(number)))
        option = bytes((codes.OPTION_CUT, 5, rng.random() < 0.15)) + u16(size >> 16) + u16(size)
        first = with_options(head(codes.SEND, source) + alias(uuid) + u16(number), option)
        at = rng.choice([0, 1, 100]) if rng.random() < 0.9 else min(size, 120)
        found = [first + payload[:at]]
        while at < size:
            end = at + (0 if rng.random() < 0.01 else rng.choice([1, 60, 240]))
            found.append(bytes((codes.MORE, rng.random() < 0.01)) + payload[at:end])
            at = end
        if rng.random() < 0.05:
            found.insert(1, rng.choice([self.message(), found[-1], first]))
        return found


def with_options(body: bytes, options: bytes) -> bytes:
    """A message's body with options behind its head and routing header."""
    at = 1
    if body[0] & codes.HEAD_ROUTED:
        at = next(len(head(0, key)) for key in NODES[1:] if body[1:].startswith(head(0, key)[1:]))
    start = bytes((body[0] | codes.HEAD_OPTIONS,)) + body[1:at]
    return start + varint(len(options)) + options + body[at:]


class SameLife(Life):
    """Told that nobody has an endpoint, a leaf may ask once more or take that as it is: a link that ends
    meanwhile makes it another reason."""

    def run(self, steps: list[list[Any]]) -> dict[str, Any]:
        found = super().run(steps)
        for place, outcome in self.outcomes.items():
            if self.closed and place not in self.written and outcome[1] == codes.NO_ENDPOINT:
                outcome[1] = codes.NO_ROUTE
        return found


def both(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of one session, of the core and of the small leaf."""
    steps = RicherSessions(random.Random(seed)).draw()
    return SameLife(PythonLeaf(small=False)).run(steps), SameLife(PythonLeaf(small=True)).run(steps)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_both_make_the_same_of_a_session() -> None:
    """A failure is replayed by its seed: `both(seed)`."""
    ends: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for seed in range(SEED, SEED + SESSIONS):
        core, small = both(seed)
        assert small == core, f"they differ in the session of seed {seed}"
        ends[core["closed"]] += 1
        seen.update(status for status, *_ in core["outcomes"].values())
        sizes = [len(message[1]) // 2 for found in core["messages"].values() for message in found]
        seen["came in pieces"] += sum(size >= 300 for size in sizes)
        seen["published"] += sum(line.startswith("message 1 ") for line in core["said"])
        seen["left in pieces"] += sum(line.count(".") > 200 for line in core["said"])
    # That these sessions come far enough to tell something.
    assert {-1, codes.MALFORMED, codes.UNKNOWN_ALIAS, codes.TOO_MANY} <= set(ends), ends
    assert min(seen[what] for what in ("came in pieces", "published", "left in pieces", "replied")) > 3, seen


@pytest.mark.parametrize(
    ("ours", "theirs", "code"),
    [("right", "right", None), ("right", "wrong", codes.TOKEN), (None, "right", codes.TOKEN)],
)
def test_both_shake_hands_alike(ours: str | None, theirs: str, code: int | None) -> None:
    """With the same nonces: the same messages, the same records, the same refusals."""
    ways = []
    for small in (False, True):
        security: Any = None
        if ours is not None and small:
            security = Secret(Crypto(), Entropy(3), b"", ours.encode())
        elif ours is not None:
            security = guard(ours, seed=2, first=codes.PSK_AES)
        leaf = PythonLeaf(small, Link(codes.GLOBAL, True, security=security, runs=False))
        router = guard(theirs, seed=5).channel(False, "default")
        written = [leaf.step("feed", data=b"")[2]]
        happened: list[list[Any]] = []
        for _ in range(2):
            plaintext = router.receive(written[-1])
            if router.refusal is not None:
                router.out += write_close(router.refusal.code, router.refusal.text)
            elif router.ready and plaintext:
                router.say(frame(hello()))
            _, more, said = leaf.step("feed", data=router.out)
            router.out = b""
            written.append(said)
            happened += more
        closed = [event[1] for event in happened if event[0] == "closed"]
        assert closed == ([] if code is None else [code])
        assert any(event[0] == "open" for event in happened) is (code is None)
        ways.append((written[:2], closed, leaf.connection.close_text))
    assert ways[0] == ways[1]


@pytest.mark.parametrize("limits", [(128, 1, 1, 1), (127, 1, 1, 1), (1 << 20, 0, 9, 9), (500, 600, 0, 1)])
def test_both_agree_to_the_same_limits(limits: tuple[int, ...]) -> None:
    body = hello()
    start = len(body) - len(b"".join(map(varint, LIMITS))) - len(b"\0\7default\6router\0")
    theirs = body[:start] + b"".join(map(varint, limits)) + b"\0\7default\6router\0"
    found = []
    for small in (False, True):
        leaf = PythonLeaf(small)
        happened = leaf.step("feed", data=frame(theirs))[1]
        agreed = leaf.connection
        if not small:
            agreed = agreed.limits
        kept = (agreed.frame_size_max, agreed.message_size_max) if happened[0][0] == "open" else ()
        found.append((happened[0][0], happened[0][1:] if not kept else [], kept, leaf.connection.close_text))
    assert found[0] == found[1]


def test_the_nodes_of_the_script_are_known() -> None:
    assert with_options(b"\x80abc", b"\x03\x00") == b"\x84\x02\x03\x00abc"
    routed = head(codes.SEND, NODES[1]) + b"rest"
    assert with_options(routed, b"") == bytes((routed[0] | 4,)) + routed[1:-4] + b"\0rest"
    assert head(codes.SEND, ROUTER) == b"\x80"


def test_what_waits_for_credit_when_the_link_ends_is_not_sent_to_another_holder_over_that_link() -> None:
    """The core accepted it for the next holder while it was still being told that the first one was gone."""
    uuid = UUIDS[1]
    steps: list[list[Any]] = [
        ["have", uuid, [(node, codes.ANYCAST) for node in NODES]],
        ["feed", frame(hello()), 0],
        ["submit", "confirm", uuid, 500],
        ["feed", b"\x02\x41d", 0],  # so that the router says who has it
        *[["submit", kind, uuid, 5000] for kind in ("send", "request", "request", "send")],
        ["feed", frame(write_close(codes.GOODBYE, "bye")), 0],
    ]
    core, small = (Life(PythonLeaf(each)).run([list(step) for step in steps]) for each in (False, True))
    assert core["outcomes"] == small["outcomes"]
    assert core["outcomes"][4][:2] == ["undelivered", codes.NO_ROUTE]


def test_an_answer_to_what_has_no_id_is_nobodys() -> None:
    """It was that of the first that has one, whose holder the core forgot, and the script did not."""
    uuid, other = UUIDS[:2]
    steps: list[list[Any]] = [
        ["have", uuid, [(ROUTER, codes.ANYCAST), (NODES[2], codes.ANYCAST)]],
        ["have", other, [(ROUTER, codes.ANYCAST)]],
        ["feed", frame(hello()), 0],
        ["submit", "confirm", uuid, 500],
        ["submit", "send", other, 500],
        ["wait", 1],  # so that the router says who has them
        ["answer", 1, "error 1", False],
        ["submit", "confirm", uuid, 500],
    ]
    core, small = (Life(PythonLeaf(each)).run([list(step) for step in steps]) for each in (False, True))
    assert core == small
