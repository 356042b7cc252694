"""The three leaves side by side: the core in the role of a leaf, the small leaf of boards, the JavaScript
client. Each lives through the same session with a scripted router; what its program and the router see of it
is put down in the same words. Knows no test.
"""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

from busway.protocol import Limits, Link, Node, codes, events
from busway.protocol.errors import WrongKindError
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.messaging.requests import Request
from busway.protocol.wire.aliases import AliasTable, node_reader
from busway.protocol.wire.fields import Reader, text8, varint
from busway.protocol.wire.messages import Frame, read_frame
from tests.rigs import browser

START = 1_000_000  # ms
ME, ROUTER = b"m" * 16 + b"own!", b"r" * 16 + b"rout"
LOW, HIGH = b"a" * 16 + b"low.", b"z" * 16 + b"high"
NODES = (ROUTER, LOW, HIGH)
UUIDS = tuple(letter * 16 for letter in (b"E", b"F", b"G", b"H"))
NOBODYS = 1000  # an id, of an answer to what has none: theirs count from 1
SUBMISSIONS_MAX = 8  # of one session: what a small leaf has under way at once
LIMITS = (256, 1024, 16, 1)
LINK = Link(codes.GLOBAL, True, cost=32, medium="ws", runs=False)  # which neither of the others takes
STATUS = {
    events.ACCEPTED: "accepted",
    events.TAKEN: "taken",
    events.REPLIED: "replied",
    events.FAILED: "failed",
    events.UNDELIVERED: "undelivered",
    events.TIMED_OUT: "timeout",
    events.UNKNOWN: "unknown",
    events.CANCELLED: "cancelled",
}
KINDS = {"send": codes.SEND, "confirm": codes.CONFIRM, "request": codes.REQUEST}
SCRIPT = Path(__file__).parent.parent / "web" / "leaf.mjs"

Happened = list[list[Any]]


class _Entropy:
    """An incarnation, and then ids that count from 1, as JavaScript's do if nobody draws them."""

    def __init__(self) -> None:
        self.ids = 0
        self.calls = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        if self.calls == 1:
            return b"own!"
        words = range(self.ids + 1, self.ids + 1 + size // 4)
        self.ids = words[-1]
        return b"".join(word.to_bytes(4, "big") for word in words)


class PythonLeaf:
    """The core in the role of a leaf, or the small leaf: their faces are alike."""

    def __init__(self, small: bool, link: Link = LINK) -> None:
        self.name = "small leaf" if small else "core"
        self.now = START
        self.leaf: Any = (
            Leaf(ME[:16], entropy=_Entropy(), limits=LIMITS)
            if small
            else Node(ME[:16], entropy=_Entropy(), leaf=True, limits=Limits(*LIMITS))
        )
        self.connection: Any = self.leaf.connection(link, self.now)
        self.receivers: dict[bytes, Any] = {}
        self.requests: list[Any] = []
        self.happened: Happened = []

    def forget_unfinished(self) -> None:
        """The core gives up what has not come whole after a while; a leaf of another sort has no others."""
        if self.name == "core":
            for assembly in self.connection.inbox.assemblies.values():
                assembly.grown_at = self.now + 1_000_000

    def submit(self, kind: str, uuid: bytes, payload: bytes, timeout_ms: int) -> int:
        if kind == "request":
            token: int = self.leaf.request(uuid, payload, self.now, timeout_ms=timeout_ms)
            return token
        if kind == "confirm":
            token = self.leaf.send(uuid, payload, self.now, confirm=True, timeout_ms=timeout_ms)
        else:  # which has no time limit: it waits for credit as long as the link lasts
            token = self.leaf.send(uuid, payload, self.now)
        if not token:  # the core's way to say that it is on its way
            self.happened.append(["outcome", 0, "accepted", 0, "", ""])
        return token

    def do(self, op: str, **how: Any) -> list[Any]:
        leaf, now = self.leaf, self.now
        if op == "feed":
            return list(self.connection.receive_data(how["data"], now))
        if op == "eof":
            return list(self.connection.receive_eof(now, "gone"))
        if op == "pass":
            return self.pass_time(how["ms"])
        if op == "register":
            self.receivers[how["endpoint"]] = leaf.register(how["endpoint"], how["kind"], codes.GLOBAL)
        elif op == "withdraw":
            leaf.deregister(self.receivers.pop(how["endpoint"]), now)
        elif op == "cancel":
            leaf.cancel(how["id"], now)
        elif op == "publish":
            leaf.publish(how["endpoint"], how["payload"], now, realm=codes.GLOBAL)  # that of its link
        elif op == "respond":
            leaf.respond(self.requests[how["at"]], how["payload"], now)
        else:
            assert op == "reject"
            leaf.respond_error(self.requests[how["at"]], how["code"], "no", now)
        return []

    def pass_time(self, ms: int) -> list[Any]:
        until = self.now + ms
        seen: list[Any] = []
        while (due := self.leaf.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            seen += self.leaf.handle_timer(self.now)
            if (again := self.leaf.next_deadline()) is not None and again <= self.now:
                self.now += 1
        self.now = max(self.now, until)
        return seen

    def step(self, op: str, **how: Any) -> tuple[int, Happened, bytes]:
        """Do one thing: the id it got, what happened, and what was said."""
        self.happened = []
        number = 0
        if op == "submit":
            try:
                number = self.submit(**how)
            except WrongKindError:  # what the client in JavaScript says as an outcome
                self.happened.append(["outcome", 0, "undelivered", codes.WRONG_KIND, "", ""])
            seen: list[Any] = []
        else:
            seen = self.do(op, **how)
        said = b""
        while True:
            due = self.leaf.next_deadline()
            if due is not None and due <= self.now:  # as an adapter does
                seen += self.leaf.handle_timer(self.now)
            seen += self.leaf.take_events()
            self.happened += [word for word in map(self.word, seen) if word] + self.take_all()
            more = self.connection.data_to_send(1 << 20, self.now)
            said += more
            if not more and not seen:
                return number, self.happened, said
            seen = []

    def word(self, event: Any) -> list[Any]:
        kind = event.kind
        if kind == events.LINK_OPEN:
            return ["open", self.connection.peer_key.hex() if isinstance(self.leaf, Leaf) else ""]
        if kind == events.LINK_CLOSED:
            return ["closed", event.code]
        if kind in (events.RECEIVER_TAKEN, events.RECEIVER_BACK):
            word = "taken" if kind == events.RECEIVER_TAKEN else "back"
            return [word, next(uuid for uuid, it in self.receivers.items() if it is event.receiver).hex()]
        if kind == events.UNDELIVERABLE:
            return [
                "undeliverable",
                event.endpoint.hex(),
                event.reason if self.name == "core" else event.code,
            ]
        if kind == events.OUTCOME:
            text = event.text if event.status == events.FAILED else ""
            payload = bytes(event.payload or b"").hex()
            return ["outcome", event.token, STATUS[event.status], event.code, text, payload]
        if kind == events.REQUEST_CANCELLED:
            return ["cancelled", self.requests.index(event.request)]
        return []

    def wants_answer(self, message: Any) -> bool:
        return (
            bool(message.wants_answer)
            if isinstance(self.leaf, Leaf)
            else isinstance(message, Request) and not message.confirm
        )

    def take_all(self) -> Happened:
        found: Happened = []
        for uuid, receiver in self.receivers.items():
            while receiver.queue if isinstance(self.leaf, Leaf) else receiver.queue.items:
                message = self.leaf.take(receiver, self.now)
                if message is None:
                    break
                at = -1
                if self.wants_answer(message):
                    at = len(self.requests)
                    self.requests.append(message)
                found.append(
                    ["message", uuid.hex(), message.source.hex(), message.payload.hex(), message.missed, at]
                )
        return found


class ScriptLeaf:
    """The JavaScript client, in a process of node's that serves many sessions."""

    name = "JavaScript"

    def __init__(self) -> None:
        command = [browser.node(), SCRIPT]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def begin(self) -> ScriptLeaf:
        hello: dict[str, Any] = {
            "leaf": True,
            "realm": codes.GLOBAL,
            "dialled": True,
            "lookups": False,
            "keepalive_ms": 0,
        }
        hello |= {"node": ME[:16].hex(), "incarnation": ME[16:].hex()}
        names = ("frame_size_max", "message_size_max", "aliases_max", "partials_max")
        hello |= dict(zip(names, LIMITS, strict=True)) | {"bus": "default", "label": "", "via": ""}
        self._ask({"op": "begin", "hello": hello, "at": START})
        return self

    def _ask(self, step: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(step) + "\n")
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def step(self, op: str, **how: Any) -> tuple[int, Happened, bytes]:
        """As `PythonLeaf.step`."""
        how = {key: value.hex() if isinstance(value, bytes) else value for key, value in how.items()}
        if "uuid" in how:
            how["endpoint"] = how.pop("uuid")
            timeout_ms = how.pop("timeout_ms")
            if how["kind"] != "send":  # which has none, as above
                how["timeoutMs"] = timeout_ms
        found = self._ask({"op": op, **how})
        for event in found["happened"]:
            if event[0] == "outcome" and event[2] == "unsent":
                event[2] = "undelivered"  # its runner offers it to the next session, as long as it has time
            if event[0] == "message":
                event[2] = event[2][:32]
        called_off = [event[1] for event in found["happened"] if event[0] == "cancelled"]
        happened = [  # what the others take out of their queue before the program has seen it
            event for event in found["happened"] if event[0] != "message" or event[-1] not in called_off
        ]
        come = [event[-1] for event in found["happened"] if event[0] == "message"]
        happened = [event for event in happened if event[0] != "cancelled" or event[1] not in come]
        return found["id"], happened, bytes.fromhex(found["said"])

    def forget_unfinished(self) -> None:
        """It keeps them as long as its session lasts."""

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Life:
    """One session of one of them: `run` its steps, then `record` is what there was to see."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf
        self.open = self.closed = False
        self.code = -1
        self.submitted: list[tuple[int, int]] = []  # what of ours was sent: its place, its id
        self.written: dict[int, Frame] = {}  # of these what the router has read
        self.outcomes: dict[int, list[Any]] = {}
        self.messages: dict[str, Happened] = {}
        self.requests: list[Any] = []  # those that are not cancelled
        self.seen: list[str] = []
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.holders: dict[bytes, list[tuple[bytes, int]]] = {}  # what the router knows: nodes and kinds
        self.owed: list[bytes] = []  # endpoints whose holders it has been asked for
        self.again: list[bytes] = []  # ... once more
        self.told: list[bytes] = []
        self.registered: dict[bytes, int] = {}
        self.used: list[bytes] = []  # endpoints that were sent to
        self.published: list[bytes] = []
        self.cut: Frame | None = None  # a message whose pieces are coming
        self.pieces = b""
        self.aliases = AliasTable(LIMITS[2])
        self.nodes = node_reader(ROUTER, ME, LIMITS[2])

    def run(self, steps: list[list[Any]]) -> dict[str, Any]:
        self._do("feed", data=b"")
        for op, *how in steps:
            owed = [] if op == "submit" else self.owed  # so that some links end before
            getattr(self, "_" + op)(*how)
            while self.again:
                self._pay([self.again.pop(0)])
            self._pay(owed)
        self._pay(self.owed)
        self.leaf.forget_unfinished()
        self._do("pass", ms=120_000)
        return {
            "closed": self.code,
            "outcomes": self.outcomes,
            "messages": self.messages,
            "seen": sorted(self.seen),
            "said": sorted(self.said),
            "asked": sorted(self.asked),
        }

    def _do(self, op: str, **how: Any) -> None:
        number, happened, said = self.leaf.step(op, **how)
        if op == "submit":
            self.submitted.append((len(self.submitted), number))
        ended = any(event[0] == "closed" for event in happened)
        for event in happened:
            # Whether one that wants an answer is shown then, and taken back at once, is the leaf's affair;
            # that a plain one is shown: tests/protocol/test_leaf_faults.py.
            if not ended or event[0] not in ("message", "cancelled"):
                self._see(*event)
        before = len(self.said)
        self._read(said)
        pongs = [line for line in self.said[before:] if line.startswith("PONG")]
        for line in pongs[:-1]:  # of several PINGs only the last need be answered
            self.said.remove(line)
        if self.closed:  # an answer that was not written before the CLOSE may be dropped
            self.said[before:] = [line for line in self.said[before:] if line.startswith("CLOSE")]

    def _see(self, kind: str, *more: Any) -> None:
        if kind == "open":
            self.open = True
        elif kind == "closed":
            self.open, self.closed, self.code = False, True, more[0]
        elif kind == "outcome":
            place = self._place(more[0])
            assert place not in self.outcomes, "two outcomes of one message"
            if self.closed and place not in self.written and more[2] == codes.EXPIRED:
                more = (0, "undelivered", codes.NO_ROUTE)  # how long it waits for a link is its own affair
            self.outcomes[place] = [*more[1:], "", ""][:4]
        elif kind == "message":
            if more[-1] >= 0:
                self.requests.append(more)
            self.messages.setdefault(more[0], []).append([*more[1:-1], more[-1] >= 0])
        elif kind != "back":  # how soon a name comes back is its affair: tests/protocol/test_leaf_faults.py
            if kind == "cancelled":
                self.requests = [request for request in self.requests if request[-1] != more[0]]
                more = ()  # which it is has another number in each
            self.seen.append(f"{kind} {more}")

    def _place(self, id: int) -> int:
        return max(place for place, other in self.submitted if other == id)

    def _pay(self, owed: list[bytes]) -> None:
        """The router answers what it was asked."""
        for uuid in list(owed):
            if uuid in self.owed:
                self.owed.remove(uuid)
            self.told.append(uuid)
            if not self.closed:
                self._do("feed", data=have(uuid, self.holders.get(uuid, [])))

    def _have(self, uuid: bytes, holders: list[tuple[bytes, int]]) -> None:
        """The holders of an endpoint are others now: the router tells who has asked."""
        self._pay(self.owed)
        self.holders[uuid] = holders
        if uuid in self.told:
            self._pay([uuid])

    def _retract(self, key: bytes) -> None:
        """A node is gone, and its endpoints with it."""
        if not self.closed:
            self._do("feed", data=frame(bytes((codes.ROUTES, codes.RETRACT)) + node(key)))
        for uuid in list(self.holders):
            self._lose_holder(uuid, key)

    def _lose_holder(self, uuid: bytes, key: bytes) -> None:
        left = [holder for holder in self.holders.get(uuid, []) if holder[0] != key]
        if left != self.holders.get(uuid, []):
            self._have(uuid, left)

    # What it says

    def _read(self, said: bytes) -> None:
        reader = Reader(said, 0, len(said))
        while reader.left():
            size = reader.varint()
            self._read_frame(Reader(said, reader.pos, reader.pos + size))
            reader.pos += size

    def _read_frame(self, reader: Reader) -> None:
        head = reader.u8()
        if head >= codes.MESSAGE:
            header = read_frame(head, reader, self.aliases, self.nodes, 0)
            if header.options is not None and header.options.partial >= 0:
                self.cut, self.pieces = header, reader.rest()
            else:
                self._read_message(header, reader.rest())
        elif head == codes.MORE:
            self._read_more(reader)
        elif head == codes.CLOSE:
            self.said.append(f"CLOSE {reader.varint()}")
        elif head == codes.PONG:
            self.said.append(f"PONG {reader.varint()}")

    def _read_more(self, reader: Reader) -> None:
        assert self.cut is not None
        assert self.cut.options is not None
        assert reader.u8() == self.cut.options.partial
        self.pieces += reader.rest()
        if len(self.pieces) >= self.cut.options.size:
            self._read_message(self.cut, self.pieces)
            self.cut = None

    def _read_message(self, header: Frame, payload: bytes) -> None:
        to = repr((header.destination or ROUTER)[:1])
        kind = header.kind
        if kind <= codes.REQUEST:
            if kind != codes.PUBLISH:
                self.written[int(payload[1:].rstrip(b"."))] = header
            self.said.append(f"message {kind} to {to} {header.endpoint[:1]!r} {header.number} {payload!r}")
        elif kind in (codes.REPLY, codes.ERROR):
            self.said.append(f"answer {kind} to {to} of {header.id}, {header.code} {payload[:2]!r}")
        elif header.signal == codes.WHO:
            self.asked.add(header.endpoint.hex())
            if header.endpoint in self.told:
                self.again.append(header.endpoint)  # it asks where the others still know
            elif header.endpoint not in self.owed:
                self.owed.append(header.endpoint)
        elif header.signal == codes.CANCEL:
            mine = [place for place, other in self.written.items() if other.id == header.id]
            self.said.append(f"CANCEL to {to} of {mine}")
        elif header.signal == codes.UNDELIVERABLE:
            what = f"{header.endpoint[:1]!r} {header.number} {header.code}"
            self.said.append(f"UNDELIVERABLE to {to}: {what}")
        elif header.signal not in (codes.CREDIT, codes.PROBE, codes.HAVE):  # how much, how often: its affair
            self.said.append(f"signal {header.signal} to {to} of {header.id}")

    # The steps

    def _feed(self, data: bytes, cut: int) -> None:
        """Bytes of the router's, in two pieces."""
        if self.closed:
            return
        cut = cut % (len(data) + 1)
        if cut:
            self._do("feed", data=data[:cut])
        if not self.closed:
            self._do("feed", data=data[cut:])
        if data.endswith(bytes((codes.SLEEP, 100))) and not self.closed:
            self._do("pass", ms=50)  # what it does with messages meanwhile is its own affair
            self._do("feed", data=frame(bytes((codes.PONG, 9))))

    def _answer(self, place: int, body: str, stranger: bool) -> None:
        """Something about one of ours, from whom it went to or from somebody else. `body` is a template."""
        header = self.written.get(place)
        if self.closed or header is None:
            return
        source = header.destination or ROUTER
        if stranger:
            source = NODES[(NODES.index(source) + 1) % 3]
        self._do("feed", data=frame(answer(body, header, source)))
        if body in ("error 1", "undeliverable 1"):  # its router hears of that, too
            self._lose_holder(header.endpoint, source)

    def _publish(self, uuid: bytes, payload: bytes) -> None:
        if self.open and uuid not in (*self.registered, *self.used, *self.told):  # its kind may be known
            self.published.append(uuid)
            self._do("publish", endpoint=uuid, payload=payload)

    def _submit(self, kind: str, uuid: bytes, timeout_ms: int, padding: int = 0) -> None:
        if (self.open or self.closed) and len(self.submitted) < SUBMISSIONS_MAX:
            if uuid in self.registered or uuid in self.published:
                return
            self.used.append(uuid)
            payload = b"s%d" % len(self.submitted) + b"." * padding
            self._do("submit", kind=kind, uuid=uuid, payload=payload, timeout_ms=timeout_ms)

    def _register(self, uuid: bytes, kind: int) -> None:
        if uuid not in self.registered and uuid not in self.used and uuid not in self.published:
            self.registered[uuid] = kind
            self._do("register", endpoint=uuid, kind=kind)

    def _withdraw(self, uuid: bytes) -> None:
        if uuid in self.registered and f"taken {(uuid.hex(),)}" not in self.seen:
            del self.registered[uuid]
            self._do("withdraw", endpoint=uuid)

    def _cancel(self, place: int) -> None:
        if place >= len(self.submitted) or place in self.outcomes or self.closed:
            return
        if self.submitted[place][1]:
            self._do("cancel", id=self.submitted[place][1])

    def _respond(self, at: int, code: int) -> None:
        if not self.requests or self.closed:
            return
        self.requests.sort()  # each numbers them in its own order
        request = self.requests.pop(at % len(self.requests))
        number = request[-1]
        if code:
            self._do("reject", at=number, code=code)
        else:
            self._do("respond", at=number, payload=b"r" + bytes.fromhex(request[2]))

    def _wait(self, ms: int) -> None:
        self._do("pass", ms=ms)

    def _eof(self) -> None:
        if not self.closed:
            self._do("eof")


def frame(body: bytes) -> bytes:
    return varint(len(body)) + body


def u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def node(key: bytes) -> bytes:
    """The field for a node, in the router's direction."""
    return b"\x01" if key == ROUTER else b"\x00" + varint(3 + NODES.index(key)) + key


def alias(uuid: bytes) -> bytes:
    return b"\x00" + varint(1 + UUIDS.index(uuid)) + uuid


def head(kind: int, source: bytes) -> bytes:
    """A message's head, and its routing header if it comes from afar."""
    if source == ROUTER:
        return bytes((codes.MESSAGE | kind << 4,))
    return bytes((codes.MESSAGE | kind << 4 | codes.HEAD_ROUTED, codes.HOW_SOURCE, 200)) + node(source)


def answer(what: str, about: Frame, source: bytes) -> bytes:
    """The body of a frame that says something about a message."""
    name, _, value = what.partition(" ")
    number = int(value or 0)
    id = varint(about.id or NOBODYS)
    signal = head(codes.SIGNAL, source)
    if name == "reply":
        return head(codes.REPLY, source) + id + (b"" if about.kind == codes.CONFIRM else b"yes")
    if name == "error":
        return head(codes.ERROR, source) + id + varint(number) + b"why"
    if name == "part":
        return head(codes.PART, source) + id + u16(number) + b"piece"
    if name == "end":
        return signal + bytes((codes.END,)) + id + u16(number)
    if name == "credit":
        return signal + bytes((codes.CREDIT,)) + alias(about.endpoint) + u16(about.number + number)
    assert name == "undeliverable"
    return (
        signal + bytes((codes.UNDELIVERABLE,)) + alias(about.endpoint) + u16(about.number) + bytes((number,))
    )


def have(uuid: bytes, holders: list[tuple[bytes, int]]) -> bytes:
    body = head(codes.SIGNAL, ROUTER) + bytes((codes.HAVE,)) + alias(uuid)
    for key, kind in holders:
        metric = codes.GLOBAL << 14 | 40 + 5 * NODES.index(key)  # one is always the nearest
        body += bytes((kind | codes.GLOBAL << 2,)) + node(key) + u16(metric)
    return frame(body)


def hello(flags: int = codes.GLOBAL << 1, bus: str = "default", key: bytes = ROUTER) -> bytes:
    body = b"\x01BSWY\x02" + bytes((flags,)) + key + b"\x00"
    for limit in LIMITS:
        body += varint(limit)
    return body + varint(0) + text8(bus) + text8("router") + text8("")


class Sessions:
    """Sessions drawn from a seed, as lists of steps."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.numbers: dict[tuple[bytes, bytes], int] = {}
        self.id = 0
        self.told: list[bytes] = []  # endpoints whose holders the router has named

    def draw(self) -> list[list[Any]]:
        rng = self.rng
        steps: list[list[Any]] = [self.register() for _ in range(rng.randrange(3))]
        steps += [self.have() for _ in range(rng.randrange(5))]
        if rng.random() < 0.05:
            steps.append(["feed", self.garbled(self.any_frame()), rng.randrange(8)])
        first = hello()
        if rng.random() < 0.05:
            first = self.garbled(frame(first))[1:]
        elif rng.random() < 0.05:
            first = rng.choice(
                [hello(0), hello(6, "other"), hello(6, key=ME), hello(14), b"\x41\x05", b"\x00"]
            )
        sync = frame(bytes((codes.SYNC, 3)))  # a router says it at once
        steps.append(["feed", frame(first) + sync, rng.choice([0, rng.randrange(60)])])
        steps += [self.step() for _ in range(rng.randrange(4, 40))]
        return steps

    def step(self) -> list[Any]:
        rng = self.rng
        way = rng.randrange(20)
        if way < 5:
            kind = rng.choice(["send", "confirm", "request"])
            return ["submit", kind, rng.choice(UUIDS), 60_000 if kind == "send" else rng.choice([500, 5000])]
        if way < 9:
            names = ["reply", "error 1", "error 2", "error 300", "part 0", "end 0", "end 1", "credit 3"]
            what = rng.choice([*names, "undeliverable 1", "undeliverable 2"])
            return ["answer", min(rng.randrange(4), rng.randrange(8)), what, rng.random() < 0.1]
        if way < 11:
            return ["respond", rng.randrange(9), rng.choice([0, 0, 64, 300])]
        if way == 11:
            fresh = self.register()
            if fresh[1] in self.told:  # where it is known that it is taken, the core refuses at once
                fresh = ["wait", 1]
            return rng.choice([fresh, ["withdraw", rng.choice(UUIDS)], ["cancel", rng.randrange(8)]])
        if way == 12:
            return ["wait", rng.choice([1, 500, 2100, 6000])]
        if way == 13 and rng.random() < 0.1:
            return ["eof"]
        if way > 17:
            return self.have() if rng.random() < 0.8 else ["retract", rng.choice(NODES[1:])]
        data = frame(self.any_frame())
        if rng.random() < 0.03:
            data = self.garbled(data)
        if rng.random() < 0.2:
            data += frame(self.any_frame())
        return ["feed", data, rng.choice([0, 0, rng.randrange(99)])]

    def register(self) -> list[Any]:
        return ["register", self.rng.choice(UUIDS), self.rng.choice([1, 1, 2, 3])]

    def garbled(self, data: bytes) -> bytes:
        """One byte another, one too many or too few, with the length before it as it should be."""
        rng = self.rng
        body = bytearray(data[1:] if len(data) > 1 else b"\x05\x01")
        at = rng.randrange(len(body))
        way = rng.randrange(4)
        if way == 0:
            body[at] = rng.randrange(256)
        elif way == 1:
            body[at] ^= 1 << rng.randrange(8)
        elif way == 2:
            del body[at:]
        else:
            body.insert(at, rng.randrange(4))
        for key in NODES[1:]:
            if key[:16] in body and key not in body:
                return data  # another incarnation is another matter
        return frame(bytes(body))

    def any_frame(self) -> bytes:
        rng = self.rng
        draws = [self.message, self.message, self.message, self.control, self.control]
        body: bytes = rng.choice(draws)()
        return body

    def have(self) -> list[Any]:
        rng = self.rng
        uuid = rng.choice(UUIDS)
        self.told.append(uuid)
        keys = sorted(rng.sample(NODES, rng.choice([0, 1, 1, 2, 3])), key=NODES.index)
        kinds = rng.choice([[1], [2], [1, 2, 2, 3]])
        if (
            len(keys) == 3
        ):  # which of several that agree counts beside one that does not, a board may judge less well
            kinds = kinds[:1]
        return ["have", uuid, [(key, rng.choice(kinds)) for key in keys]]

    def message(self) -> bytes:
        rng = self.rng
        source, uuid = rng.choice(NODES), rng.choice(UUIDS)
        kind = rng.choice([codes.SEND, codes.PUBLISH, codes.CONFIRM, codes.REQUEST])
        number = self.numbers.get((source, uuid), 0) + rng.choice([1, 1, 1, 1, 2, 0])
        self.numbers[source, uuid] = number
        body = head(kind, source) + alias(uuid) + u16(number)
        if kind >= codes.CONFIRM:
            self.id += 1
            body += varint(self.id) + varint(rng.choice([400, 90_000]))
        return body + b"m%d" % number

    def control(self) -> bytes:
        rng = self.rng
        way = rng.randrange(9)
        signal = head(codes.SIGNAL, rng.choice(NODES))
        if way == 0:
            return bytes((codes.PING, rng.randrange(100)))
        if way == 1:
            wrong = rng.choice([b"\x80", b"\x05\x05", b""])
            return bytes((codes.SLEEP,)) + (wrong if rng.random() < 0.1 else rng.choice([b"\x00", b"\x64"]))
        if way == 2:
            return self.directory()
        if way == 3:
            return bytes((codes.ROUTES, codes.ACK, 0, rng.random() < 0.1))
        if way == 4:
            return signal + bytes((codes.CANCEL,)) + varint(rng.randrange(1, self.id + 2))
        if way == 5:
            return signal + bytes((codes.TRACE,)) + varint(7)
        if way == 6:
            return signal + bytes((codes.WHO,)) + alias(rng.choice(UUIDS))
        if way == 7:
            return bytes((rng.choice([0x40, 0x42, 0x7F, rng.choice([0x0A, 0x00, 0x42, 0x42, 0x42])]), 1))
        return b"\x03\x00bye" if rng.random() < 0.1 else bytes((codes.PONG, 9))

    def directory(self) -> bytes:
        rng = self.rng
        rare = rng.random() < 0.1
        body = bytes((codes.DIRECTORY, rng.choice([1, 2, 3, 0 if rare else 3]) | rng.choice([0, 4, 16])))
        body += rng.choice([node(ROUTER), node(LOW), b"\x0f" if rare else b"\x01"])
        if body[1] & 4:
            body += text8("label")
        odd = rng.choice([1, 4, 0x10, 0x80]) if rare else 0x41
        entry = rng.choice([b"", bytes((odd,)) + UUIDS[0] + b"\x02ab"])
        return body + b"\x00" + varint(rng.randrange(3)) + entry


def compare(steps: list[list[Any]], script: ScriptLeaf) -> list[tuple[str, dict[str, Any]]]:
    """The results of each of the three in a session; they must be equal."""
    leaves = (PythonLeaf(small=False), PythonLeaf(small=True), script.begin())
    return [(leaf.name, Life(leaf).run(steps)) for leaf in leaves]
