"""Pairing: the same words on both sides, others with somebody in between; and `busway pair` as processes."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import busway as front
from busway import ephemeral, pairing
from busway.cli.pair import _answer_in
from busway.keys import Key, public_text
from busway.pairing import COMPARING, ENDED, FRAME_SIZE_MAX, PAIRED, Pairing
from busway.primitives import PRIMITIVES
from busway.trust import Trusted, TrustFile, append
from busway.words import words_of
from tests.front.cli_rig import PATIENCE_S, Running, busway, environment
from tests.rigs import forks

ALICE, BOB, MALLORY = (PRIMITIVES.keypair() for _ in range(3))


def side(static: tuple[bytes, bytes], dialled: bool, name: str = "") -> Pairing:
    return Pairing(PRIMITIVES, static, dialled, name, os.urandom(32))


def carry(one: Pairing, other: Pairing) -> None:
    """What both say reaches the other, until neither says anything."""
    said = True
    while said:
        said = False
        for source, target in ((one, other), (other, one)):
            if data := source.data_to_send():
                target.receive_data(data)
                said = True


def met(one: tuple[bytes, bytes] = ALICE, other: tuple[bytes, bytes] = BOB) -> tuple[Pairing, Pairing]:
    """Two that have words."""
    sides = side(one, True, "alice"), side(other, False, "bob")
    carry(*sides)
    return sides


# Words


def test_words_are_six_and_all_different() -> None:
    every = [words_of(bytes((number,)) * 6).split() for number in range(256)]
    assert {len(words) for words in every} == {6}
    assert len({words[0] for words in every}) == 256
    assert words_of(bytes((0, 1, 16, 255, 128, 254))) == "babel badan debel zazud mobel zayas"
    with pytest.raises(ValueError, match="6 bytes, not 5"):
        words_of(bytes(5))


# Two


def test_both_see_the_same_words() -> None:
    alice, bob = met()
    assert alice.words == bob.words != ""
    assert (alice.public, bob.public) == (BOB[1], ALICE[1])
    assert (alice.name, bob.name) == ("bob", "alice")
    for each in (alice, bob):
        each.answer(True)
        assert each.state == COMPARING
    carry(alice, bob)
    assert (alice.state, bob.state) == (PAIRED, PAIRED)


def test_words_are_others_each_time() -> None:
    assert len({met()[0].words for _ in range(8)}) == 8


@pytest.mark.parametrize("first", [0, 1])
def test_a_no_of_either_ends_it_for_both(first: int) -> None:
    sides = met()
    sides[first].answer(False)
    carry(*sides)
    assert [each.state for each in sides] == [ENDED, ENDED]
    assert sides[first].trouble == "the words were not the same here"
    assert sides[1 - first].trouble == "the words were not the same for the other side"


def test_a_yes_of_one_alone_pairs_nobody() -> None:
    alice, bob = met()
    alice.answer(True)
    carry(alice, bob)
    assert (alice.state, bob.state) == (COMPARING, COMPARING)
    with pytest.raises(ValueError, match="no words"):
        alice.answer(True)
    bob.receive_eof()
    assert (bob.state, bob.trouble) == (ENDED, "the other side went away")


@pytest.mark.parametrize("dialled", [True, False])
def test_key_of_one_run_is_paired_with_nobody(dialled: bool) -> None:
    """As `busway pair` never has one, but whoever speaks its protocol may."""
    momentary = ephemeral.pair()
    assert momentary is not None
    theirs, mine = side(momentary, not dialled), side(ALICE, dialled)
    carry(mine, theirs)
    assert (mine.state, mine.words) == (ENDED, "")
    assert "the other side's key is of one run" in mine.trouble
    assert theirs.state == ENDED


def test_byte_by_byte() -> None:
    alice, bob = side(ALICE, True), side(BOB, False)
    for _ in range(6):
        for source, target in ((alice, bob), (bob, alice)):
            for byte in source.data_to_send():
                target.receive_data(bytes((byte,)))
    assert alice.words == bob.words != ""


@pytest.mark.parametrize(
    ("said", "taken"),
    [("a\x1b[2Jb", ""), ("x" * 80, "x" * 64), (" desk ", "desk"), ("", ""), ("busway1a", "")],
)
def test_names_are_no_more_than_names(said: str, taken: str) -> None:
    alice, bob = side(ALICE, True, said), side(BOB, False, said)
    carry(alice, bob)
    assert (alice.name, bob.name) == (taken, taken)


# Somebody in between


def test_somebody_in_between_is_seen() -> None:
    """With a handshake of its own to each side, all said at the best moments: other words on each screen."""
    for _ in range(20):
        alice, bob = side(ALICE, True), side(BOB, False)
        as_bob, as_alice = side(MALLORY, False), side(MALLORY, True)
        carry(alice, as_bob)
        carry(as_alice, bob)
        assert alice.state == bob.state == COMPARING
        assert alice.public == bob.public == MALLORY[1]
        assert alice.words != bob.words


def test_somebody_in_between_cannot_choose_after_it_has_seen() -> None:
    """The grinding attack: the words of one side are known, and the own random bytes for the other are tried
    until its words would be the same. The commitment has been given by then.
    """
    bob, as_alice = side(BOB, False), side(MALLORY, True)
    while bob.state == pairing.HANDSHAKE:  # until the commitment is given
        bob.receive_data(as_alice.data_to_send())
        as_alice.receive_data(bob.data_to_send()) if bob.state == pairing.HANDSHAKE else None
    bob.receive_data(as_alice.data_to_send())
    as_alice._nonce = os.urandom(32)  # a better one
    carry(as_alice, bob)
    assert (bob.state, bob.words) == (ENDED, "")
    assert bob.trouble == "it is not what it had committed itself to"


def test_a_listener_tells_its_nonce_to_one_only() -> None:
    """Who knows the words of one side could else ask the other for nonces until they agree."""
    asked = iter((True, False))

    def guess() -> tuple[Pairing, Pairing]:
        sides = side(MALLORY, True), Pairing(PRIMITIVES, BOB, False, "bob", os.urandom(32), asked.__next__)
        carry(*sides)
        return sides

    assert [each.state for each in guess()] == [COMPARING, COMPARING]
    as_alice, bob = guess()
    assert (bob.told, bob.state, as_alice.state, as_alice.words) == (False, ENDED, ENDED, "")
    assert "another machine" in bob.trouble
    assert "another machine" in as_alice.trouble


def test_who_only_passes_bytes_on_is_nobody() -> None:
    """And learns no key: those travel encrypted."""
    alice, bob = side(ALICE, True), side(BOB, False)
    seen = b""
    for _ in range(6):
        for source, target in ((alice, bob), (bob, alice)):
            data = source.data_to_send()
            seen += data
            target.receive_data(data)
    assert alice.words == bob.words
    assert ALICE[1] not in seen
    assert BOB[1] not in seen


@given(st.integers(0, 9), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_changed_bytes_pair_nobody(which: int, rand: random.Random) -> None:
    """Flip, drop, repeat or cut one thing that is said: never a pair, never an exception, never more kept."""
    sides = side(ALICE, True), side(BOB, False)
    step = 0
    for _ in range(8):
        for number, source in enumerate(sides):
            if source.state == COMPARING and source._mine is None:
                source.answer(True)
            data = bytearray(source.data_to_send())
            if not data:
                continue
            if step == which:
                at = rand.randrange(len(data))
                how = rand.randrange(4)
                if how == 0:
                    data[at] ^= 1 << rand.randrange(8)
                elif how == 1:
                    data[at : at + 1] = b""
                elif how == 2:
                    data *= 2
                else:
                    data[at:] = rand.randbytes(40)
            step += 1
            sides[1 - number].receive_data(bytes(data))
            assert len(sides[1 - number]._kept) <= FRAME_SIZE_MAX + 5
    for number, each in enumerate(sides):
        each.receive_eof()
        if each.state == PAIRED:  # what was changed was not for it, and came after its words
            assert each.public == sides[1 - number]._handshake._static_public
            assert sides[1 - number].words == each.words


@given(st.binary(max_size=700))
def test_whatever_comes_is_an_end_at_most(data: bytes) -> None:
    for dialled in (False, True):
        one = side(ALICE, dialled)
        one.receive_data(data)
        one.receive_data(b"more")
        one.receive_eof()
        assert one.state == ENDED
        assert one.words == ""


def test_who_is_no_pairing_hears_so() -> None:
    one = side(BOB, False)
    one.receive_data(b"\x06\x01BSWY\x02")  # HELLO
    assert one.state == ENDED
    assert b"`busway pair --listen` waits there" in one.data_to_send()
    other = side(ALICE, True)
    other.receive_data(b"\x0a\x03\x07no token")
    assert (other.state, other.trouble) == (ENDED, "no token")


def test_bus_that_listens_there_is_told_from_a_pairing(tmp_path: Path) -> None:
    key_in(tmp_path, "bob")
    with front.Bus(ipc=False) as bus:
        url = bus.listen("tcp://127.0.0.1:0").url
        assert "a bus listens there" in busway("pair", url, *files(tmp_path, "bob")).failed(1)
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "bob")) as listening,
        front.Bus(ipc=False) as bus,
        pytest.raises(front.LinkRefused, match="waits there, and no bus"),
    ):
        bus.connect(listening.url())


# The command


class Screen(Running):
    """A `busway pair` and the person before it."""

    def __init__(self, *words: str, **extra: str) -> None:
        self.program = forks.Program(["-m", "busway", "pair", *words], environment(extra))
        super().__init__(self.program)

    def words(self) -> str:
        while not (line := self.line()).startswith("    "):
            pass
        self.line()
        return line.strip()

    def url(self) -> str:
        return self.line().removeprefix("waiting at ").split()[0]

    def say(self, text: str) -> None:
        self.program.stdin.write(f"{text}\n".encode())
        self.program.stdin.flush()


@contextmanager
def screen(*words: str, **extra: str) -> Iterator[Screen]:
    """A `busway pair` that is ended at the end."""
    running = Screen(*words, **extra)
    try:
        yield running
    finally:
        running.end()
        running.program.stdin.close()


def key_in(folder: Path, name: str) -> Key:
    key = Key.new()
    key.save(folder / f"{name}.pem")
    return key


def files(folder: Path, name: str) -> list[str]:
    return ["--key", str(folder / f"{name}.pem"), "--trust", str(folder / f"{name}.toml")]


def test_two_processes_pair(tmp_path: Path) -> None:
    alice, bob = key_in(tmp_path, "alice"), key_in(tmp_path, "bob")
    with (
        screen(
            "--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice"), "--name", "bob", "--role", "leaf"
        ) as listening,
        screen(listening.url(), *files(tmp_path, "bob")) as dialling,
    ):
        assert listening.words() == dialling.words()
        assert not (tmp_path / "alice.toml").exists()
        dialling.say("yes")
        listening.say("yes")
        assert (listening.status(), dialling.status()) == (0, 0)
    assert TrustFile(tmp_path / "alice.toml").entries == [Trusted("bob", bob.public, "leaf")]
    assert TrustFile(tmp_path / "bob.toml").entries == [Trusted(socket.gethostname(), alice.public, "router")]


def test_a_no_enters_nothing(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    key_in(tmp_path, "bob")
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening,
        screen(listening.url(), *files(tmp_path, "bob")) as dialling,
    ):
        assert listening.words() == dialling.words()
        listening.say("yes")
        dialling.say("no")
        assert (listening.status(), dialling.status()) == (1, 1)
        assert "not paired: the words were not the same for the other side" in listening.rest()[-1]
    assert not list(tmp_path.glob("*.toml"))


def test_slip_of_the_finger_is_no_answer(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    key_in(tmp_path, "bob")
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening,
        screen(listening.url(), *files(tmp_path, "bob")) as dialling,
    ):
        assert listening.words() == dialling.words()
        assert "yes: it may join" in dialling.complaint()
        for slip in ("yse", ""):
            dialling.say(slip)
            assert dialling.complaint() == "busway: yes or no?"
        dialling.say(" Y ")
        listening.say("yes\nno")
        assert (listening.status(), dialling.status()) == (0, 0)


def test_who_reads_to_the_end_and_finds_no_yes_says_no() -> None:
    kept = bytearray()
    assert _answer_in(kept, b"ye") is None
    assert _answer_in(kept, b"") is False
    kept = bytearray(b"yes")
    assert _answer_in(kept, b"") is True


def sit_between(trap: socket.socket, real_url: str) -> None:
    """Pair with both sides, and say yes to both."""

    def talk(sock: socket.socket, work: Pairing) -> None:
        while work.state < PAIRED:
            if work.state == COMPARING and work._mine is None:
                work.answer(True)
            sock.sendall(work.data_to_send())
            if not (data := sock.recv(4096)):
                return
            work.receive_data(data)

    with trap.accept()[0] as caught, socket.create_connection(place_of(real_url)) as real:
        talks = [(caught, side(MALLORY, False)), (real, side(MALLORY, True))]
        threads = [threading.Thread(target=talk, args=each, daemon=True) for each in talks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)


def place_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def test_somebody_between_two_processes_is_seen(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    key_in(tmp_path, "bob")
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening,
        socket.create_server(("127.0.0.1", 0)) as trap,
    ):
        between = threading.Thread(target=sit_between, args=(trap, listening.url()), daemon=True)
        between.start()
        with screen(f"tcp://127.0.0.1:{trap.getsockname()[1]}", *files(tmp_path, "bob")) as dialling:
            assert listening.words() != dialling.words()
            dialling.say("no")
            listening.say("no")
            assert (listening.status(), dialling.status()) == (1, 1)
        between.join(PATIENCE_S)
    assert not list(tmp_path.glob("*.toml"))


def test_strangers_do_not_end_the_waiting(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    key_in(tmp_path, "bob")
    with screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening:
        url = listening.url()
        with (
            socket.create_connection(place_of(url)),
            socket.create_connection(place_of(url)) as loud,
            screen(url, *files(tmp_path, "bob")) as dialling,
        ):
            loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert loud.recv(100)[1:2] == b"\x03"  # CLOSE
            assert listening.words() == dialling.words()


def test_who_breaks_off_once_it_could_guess_ends_the_waiting(tmp_path: Path) -> None:
    """Before it has shown its own random bytes: nobody would see that the guess was wrong."""
    key_in(tmp_path, "alice")
    with screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening:
        with socket.create_connection(place_of(listening.url())) as sock:
            guess = side(MALLORY, True)
            while guess.state != COMPARING:
                sock.sendall(guess.data_to_send())
                guess.receive_data(sock.recv(4096))
        assert listening.status() == 1
        assert "somebody began to pair, and broke off" in listening.rest()[-1]


def test_where_the_command_looks(tmp_path: Path) -> None:
    """With nothing told it makes a key and a trust file among this user's settings."""
    alice = key_in(tmp_path, "alice")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home"), "BUSWAY_KEY": "", "BUSWAY_TRUST": ""}
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening,
        screen(listening.url(), "--json", **home) as dialling,
    ):
        listening.words()
        listening.say("yes")
        dialling.say("yes")
        assert (listening.status(), dialling.status()) == (0, 0)
    folder = tmp_path / "home" / "busway"
    assert [each.public for each in TrustFile(folder / "trust.toml").entries] == [alice.public]
    assert Key.load(folder / "key.pem").public == TrustFile(tmp_path / "alice.toml").entries[0].public


def test_pairing_again_changes_nothing(tmp_path: Path) -> None:
    alice, bob = key_in(tmp_path, "alice"), key_in(tmp_path, "bob")
    append(tmp_path / "alice.toml", Trusted("robert", bob.public, "router"))
    append(tmp_path / "bob.toml", Trusted(socket.gethostname(), MALLORY[1], "leaf"))
    before = (tmp_path / "alice.toml").read_text()
    with (
        screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening,
        screen(listening.url(), *files(tmp_path, "bob")) as dialling,
    ):
        assert listening.line() == f"robert has the key {public_text(bob.public)}"
        listening.say("yes")
        dialling.say("yes")
        assert (listening.status(), dialling.status()) == (0, 0)
    assert (tmp_path / "alice.toml").read_text() == before
    names = {each.name: each.public for each in TrustFile(tmp_path / "bob.toml").entries}
    assert names[f"{socket.gethostname()}-2"] == alice.public


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ([], 2, "give a URL, or --listen URL"),
        (["ws://127.0.0.1:1"], 2, "expected tcp://host:port"),
        (["127.0.0.1:1", "--name", "busway1x"], 2, "the key stands where the name belongs"),
        (["127.0.0.1:1"], 4, "Connection refused; is `busway pair --listen` waiting there?"),
    ],
)
def test_what_cannot_be(tmp_path: Path, words: list[str], status: int, sentence: str) -> None:
    key_in(tmp_path, "alice")
    assert sentence in busway("pair", *words, *files(tmp_path, "alice")).failed(status)


def test_files_that_cannot_be_used_are_told_first(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    (tmp_path / "alice.toml").write_text("[a]\n")
    assert "line 1: a needs key" in busway("pair", "127.0.0.1:1", *files(tmp_path, "alice")).failed(1)
    (tmp_path / "alice.pem").chmod(0o644)
    assert "chmod 600" in busway("pair", "127.0.0.1:1", *files(tmp_path, "alice")).failed(1)


def test_both_with_one_key(tmp_path: Path) -> None:
    key_in(tmp_path, "alice")
    with screen("--listen", "tcp://127.0.0.1:0", *files(tmp_path, "alice")) as listening:
        text = busway("pair", listening.url(), *files(tmp_path, "alice")).failed(1)
        assert "both sides have the same key" in text
        assert listening.status() == 1
