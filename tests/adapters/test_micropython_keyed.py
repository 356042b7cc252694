"""Boards whose link has a key: a real MicroPython beside the core's router, and somebody on the line between
them who sees every byte and changes some.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from busway.adapters import micropython_cbor as small
from busway.adapters.micropython_names import uuid_of
from busway.board_keys import id_of_board, save_board_key
from busway.primitives import PRIMITIVES
from busway.protocol import Connection, Link, Node, codes, events
from busway.protocol.secure.security import Security

KEY = bytes(range(32))
TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"

PROGRAM = """
import socket, sys
from busway.adapters.micropython import Loop

sort, place, key, token = sys.argv[1:5]

def dial():
    line = socket.socket()
    line.connect(socket.getaddrinfo("127.0.0.1", int(place))[0][-1])
    return line

stream = dial if sort == "stream" else open(place, "r+b")
loop = Loop(stream, "board", sort=sort, key=key, token=token, keepalive_ms=1000)
count = [0]

@loop.serve("lab/echo")
def echo(value):
    return value

@loop.every(10)
def tell():
    if loop.connected and loop.publish("lab/count", [count[0], "value %d" % count[0]]):
        count[0] += 1

@loop.serve("lab/trouble")
def trouble(value):
    return repr(loop.last_error)

def tell_error():
    if loop.last_error is not None:
        print(loop.last_error)
        loop.last_error = None

loop.every(20)(tell_error)
loop.run()
"""


class Gateway:
    """A router's side of a board's link, by hand.

    Args: `sort` of link; `keys` of boards, by their node ids; `token`; `begins`: on packet links this side
    begins the handshake.
    """

    def __init__(
        self, sort: str, keys: dict[bytes, bytes] | None = None, token: str = "", begins: bool = False
    ) -> None:
        self.sort = sort
        self.begins = begins
        self.node = Node(b"g" * 16, entropy=os.urandom)
        self.counts = self.node.register(uuid_of("lab/count"), codes.BROADCAST, queue_max=4096)
        self.security = Security(
            PRIMITIVES,
            os.urandom,
            first=codes.PSK_AES,
            takes=(codes.PSK_AES,),
            token=token.encode(),
            board_key=(keys or {}).get,
        )
        self.link: Connection | None = None
        self.happened: list[events.Event] = []
        self.read: Callable[[bytes], bytes] = bytes  # what somebody on the line makes of what the board says
        self.written: Callable[[bytes], bytes] = bytes  # ... and of what this side says
        self.seen = b""  # all that went over the line
        if sort == "stream":
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.place = str(self._listener.getsockname()[1])
            self._line = -1
            self._socket: socket.socket | None = None
        else:
            self._line, self._end = os.openpty()
            tty.setraw(self._end)
            os.set_blocking(self._line, False)
            self.place = os.ttyname(self._end)

    def now(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def close(self) -> None:
        if self.sort == "stream":
            self._drop()
            self._listener.close()
        else:
            os.close(self._line)
            os.close(self._end)

    def _begin(self) -> None:
        packets = self.sort == "packet"
        link = Link(codes.LOCALNET, packets and self.begins, sort=self.sort, security=self.security)
        self.link = self.node.connection(link, self.now())

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._line = -1

    def turn(self) -> None:
        """Moves what there is; waits 10 ms at most."""
        if self._line < 0:
            if not select.select([self._listener], [], [], 0.01)[0]:
                return
            self._socket, _ = self._listener.accept()
            self._line = self._socket.fileno()
        if self.link is None:
            self._begin()
        link = self.link
        assert link is not None
        if select.select([self._line], [], [], 0.01)[0]:
            data = os.read(self._line, 4096)
            self.seen += data
            if not data:
                self.happened += link.receive_eof(self.now())
            else:
                self.happened += link.receive_data(self.read(data), self.now())
        self.happened += self.node.handle_timer(self.now())
        with contextlib.suppress(OSError):  # the board has ended it
            if data := link.data_to_send(256, self.now()):
                self.seen += data
                os.write(self._line, self.written(data))
        if link.done:
            self.link = None
            if self.sort == "stream":
                self._drop()

    def ask(self, name: str, value: object = None) -> object:
        """A request, and its reply; as often as the link is lost."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            token = self.node.request(
                uuid_of(name), small.dumps(value), self.now(), codes.CBOR, ttl_ms=15000, timeout_ms=15000
            )
            outcome = self._outcome(token)
            if outcome.status == events.REPLIED:
                return small.loads(bytes(outcome.payload))
            assert outcome.status != events.FAILED, outcome.text
        raise AssertionError("no reply")

    def _outcome(self, token: int) -> Any:
        while True:
            for event in self.happened:
                if event.kind == events.OUTCOME and event.token == token:  # type: ignore[attr-defined]
                    return event
            self.turn()

    def endings(self) -> list[int]:
        return [event.code for event in self.happened if event.kind == events.LINK_CLOSED]  # type: ignore[attr-defined]

    def counted(self) -> list[int]:
        """The numbers that the board has published; each has its own text beside it."""
        found = []
        while (message := self.node.take(self.counts, self.now())) is not None:
            number, text = cast("list[Any]", small.loads(bytes(message.payload)))
            assert text == f"value {number}"
            found.append(number)
        return found


@contextlib.contextmanager
def gateway(sort: str, **options: Any) -> Iterator[Gateway]:
    made = Gateway(sort, **options)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def board(
    interpreter: str, folder: Path, place: Gateway, key: str = "", token: str = ""
) -> Iterator[subprocess.Popen[str]]:
    (folder / "keyed.py").write_text(PROGRAM)
    command = [interpreter, "-X", "heapsize=256k", "keyed.py", place.sort, place.place, key, token]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def key(board_files: Path) -> str:
    """The name of the board's key file, where the board has it."""
    (board_files / "board.key").unlink(missing_ok=True)  # other tests give their board another
    save_board_key(board_files / "board.key", KEY)
    return "board.key"


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("sort", ["stream", "packet"])
def test_a_board_with_a_key_of_its_own(
    interpreter: str, board_files: Path, key: str, sort: str, begins: bool
) -> None:
    """Its node id is that of the key, and nothing can be read on the line."""
    with (
        gateway(sort, keys={id_of_board(KEY): KEY}, begins=begins) as gate,
        board(interpreter, board_files, gate, key),
    ):
        for value in ("readable", "x" * 700, [1, 2]):
            assert gate.ask("lab/echo", value) == value
        assert gate.ask("lab/trouble") == "None"
        (peer,) = gate.node.peers()
        assert peer.node_id == id_of_board(KEY)
        assert gate.endings() == []
        assert b"readable" not in gate.seen
        assert b"xxxx" not in gate.seen
        assert b"value" not in gate.seen


@pytest.mark.parametrize("sort", ["stream", "packet"])
def test_a_board_with_a_token(interpreter: str, board_files: Path, sort: str) -> None:
    with gateway(sort, token=TOKEN) as gate, board(interpreter, board_files, gate, token=TOKEN):
        assert gate.ask("lab/echo", "readable") == "readable"
        (peer,) = gate.node.peers()
        assert peer.node_id[0] & 0x80 == 0
        assert b"readable" not in gate.seen


@pytest.mark.parametrize("sort", ["stream", "packet"])
@pytest.mark.parametrize(
    ("keys", "token"),
    [({}, ""), ({id_of_board(KEY): bytes(32)}, ""), ({}, TOKEN)],
    ids=["unknown", "another", "token"],
)
def test_a_board_whose_key_the_router_does_not_have(
    interpreter: str, board_files: Path, key: str, sort: str, keys: dict[bytes, bytes], token: str
) -> None:
    with gateway(sort, keys=keys, token=token) as gate, board(interpreter, board_files, gate, key) as running:
        while not gate.endings():
            gate.turn()
        assert gate.endings()[0] == codes.TOKEN
        for _ in range(20):
            gate.turn()
        assert running.stdout is not None
        assert running.stdout.readline().startswith("link error 7. ")
        assert gate.node.peers() == []


def test_a_board_with_another_token(interpreter: str, board_files: Path) -> None:
    with (
        gateway("stream", token=TOKEN) as gate,
        board(interpreter, board_files, gate, token="guessed") as one,
    ):
        while not gate.endings():
            gate.turn()
        for _ in range(20):
            gate.turn()
        assert one.stdout is not None
        assert one.stdout.readline().startswith("link error 7. ")


ENDINGS = {codes.FORGED, codes.TOKEN, codes.MALFORMED, codes.TOO_LARGE, codes.LOST, codes.HELLO_TIMEOUT}
"""How a stream ends whose bytes were changed: it depends on which, and on what waits for the rest."""


class Attacker:
    """Somebody on the line: does to some of the pieces that come by what they may do to one."""

    def __init__(self, seed: int, how: str) -> None:
        self._random = random.Random(seed)
        self._how = how
        self._held = b""
        self.changed = 0
        self.active = False

    def __call__(self, data: bytes) -> bytes:
        rng = self._random
        if not self.active or rng.random() > 0.1:
            return data
        self.changed += 1
        at = rng.randrange(len(data))
        stop = at + rng.randint(1, 20)
        former, self._held = self._held, data
        return {
            "flip": data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :],
            "drop": data[:at] + data[stop:],
            "repeat": data[:stop] + data[at:],
            "splice": data + former,
        }[self._how]


@pytest.mark.parametrize("how", ["flip", "drop", "repeat", "splice"])
@pytest.mark.parametrize("sort", ["stream", "packet"])
def test_somebody_changes_bytes_on_the_line(
    interpreter: str, board_files: Path, key: str, sort: str, how: str
) -> None:
    """The link ends and comes again, or heals; no message arrives changed, repeated or out of turn."""
    with gateway(sort, keys={id_of_board(KEY): KEY}) as gate, board(interpreter, board_files, gate, key):
        gate.read, gate.written = there, back = Attacker(1, how), Attacker(2, how)
        assert gate.ask("lab/echo", "begin") == "begin"
        there.active = back.active = True
        for number in range(12):
            assert gate.ask("lab/echo", f"echo {number}") == f"echo {number}"
        there.active = back.active = False
        assert gate.ask("lab/echo", "end") == "end"
        numbers = gate.counted()
        assert numbers == sorted(set(numbers))
        assert there.changed
        assert back.changed
        if sort == "stream":  # there is no healing: TCP has no errors, so this is somebody
            assert gate.endings()
            assert set(gate.endings()) <= ENDINGS
