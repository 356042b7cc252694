"""Handshakes of Noise: the vectors of other people's implementations, and one of them at the other end."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

from busway.primitives import PRIMITIVES, Primitives
from busway.protocol.errors import LocalError
from busway.protocol.secure.noise import ES, NNPSK0, PSK, SE, XXPSK3, E, HandshakeState, Pattern, S

EE = 2
VECTORS = Path(__file__).parent.parent / "vectors" / "noise"
PATTERNS = {
    pattern.name.decode(): pattern
    for pattern in (
        XXPSK3,
        NNPSK0,
        Pattern("Noise_XX", ((E,), (E, EE, S, ES), (S, SE))),
        Pattern("Noise_NN", ((E,), (E, EE))),
        Pattern("Noise_NNpsk2", ((E,), (E, EE, PSK))),
    )
}
LOW_ORDER = bytes(32)


def pair_of(private: str | None) -> tuple[bytes, bytes]:
    if not private:
        return b"", b""
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(private))
    return bytes.fromhex(private), key.public_key().public_bytes_raw()


class Fixed(Primitives):
    """Draws one key."""

    def __init__(self, private: str) -> None:
        self.private = private

    def keypair(self) -> tuple[bytes, bytes]:
        return pair_of(self.private)


def official() -> list[Any]:
    return [
        pytest.param(vector, id=f"{source}-{vector['protocol_name']}")
        for source in ("cacophony", "snow")
        for vector in json.loads((VECTORS / f"{source}.json").read_text())["vectors"]
    ]


def side(vector: dict[str, Any], who: str) -> HandshakeState:
    psks = vector.get(f"{who}_psks") or [""]
    return HandshakeState(
        Fixed(vector[f"{who}_ephemeral"]),
        PATTERNS[vector["protocol_name"]],
        who == "init",
        bytes.fromhex(vector[f"{who}_prologue"]),
        bytes.fromhex(psks[0]),
        pair_of(vector.get(f"{who}_static")),
    )


@pytest.mark.parametrize("vector", official())
def test_official_vectors(vector: dict[str, Any]) -> None:
    sides = [side(vector, "init"), side(vector, "resp")]
    ciphers: list[Any] = []
    for at, message in enumerate(vector["messages"]):
        writer, reader = at % 2, 1 - at % 2
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        if not sides[writer].finished:
            assert sides[writer].my_turn
            assert not sides[reader].my_turn
            assert sides[writer].write_message(payload) == ciphertext
            assert sides[reader].read_message(ciphertext) == payload
        else:
            ciphers = ciphers or [one.split() for one in sides]
            assert ciphers[writer][0].encrypt(b"", payload) == ciphertext
            assert ciphers[reader][1].decrypt(b"", ciphertext) == payload
    assert ciphers
    assert sides[0].hash == sides[1].hash
    assert sides[0].hash.hex() == vector.get("handshake_hash", sides[0].hash.hex())


def test_official_vectors_of_both_patterns_are_there() -> None:
    names = {vector.values[0]["protocol_name"] for vector in official()}
    assert names == set(PATTERNS)


PSK_BYTES = bytes(range(32))
STATIC = ("11" * 32, "22" * 32)


def other(pattern: Pattern, initiator: bool) -> NoiseConnection:
    """An independent implementation's side."""
    one = NoiseConnection.from_name(pattern.name)
    one.set_psks(PSK_BYTES)
    one.set_prologue(b"both know this")
    one.set_as_initiator() if initiator else one.set_as_responder()
    if pattern is XXPSK3:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.set_keypair_from_private_bytes(Keypair.STATIC, bytes.fromhex(STATIC[not initiator]))
    one.start_handshake()
    return one


def ours(
    pattern: Pattern, initiator: bool, psk: bytes = PSK_BYTES, prologue: bytes = b"both know this"
) -> HandshakeState:
    static = pair_of(STATIC[not initiator]) if pattern is XXPSK3 else (b"", b"")
    return HandshakeState(PRIMITIVES, pattern, initiator, prologue, psk, static)


@pytest.mark.parametrize("pattern", [XXPSK3, NNPSK0], ids=["XXpsk3", "NNpsk0"])
@pytest.mark.parametrize("initiator", [True, False], ids=["dialling", "dialled"])
def test_independent_implementation_shakes_hands_with_ours(pattern: Pattern, initiator: bool) -> None:
    mine, theirs = ours(pattern, initiator), other(pattern, not initiator)
    while not mine.finished:
        if mine.my_turn:
            assert theirs.read_message(mine.write_message()) == b""
        else:
            assert mine.read_message(bytes(theirs.write_message())) == b""
    assert mine.hash == theirs.get_handshake_hash()
    assert mine.remote_static == (pair_of(STATIC[initiator])[1] if pattern is XXPSK3 else b"")
    sender, receiver = mine.split()
    for number in range(300):
        text = b"message %d" % number
        assert theirs.decrypt(sender.encrypt(b"", text)) == text
        assert receiver.decrypt(b"", bytes(theirs.encrypt(text))) == text


def converse(first: HandshakeState, second: HandshakeState) -> int:
    """How many messages the two understand of each other."""
    for count in range(3):
        writer, reader = (first, second) if count % 2 == 0 else (second, first)
        if writer.finished or reader.read_message(writer.write_message()) is None:
            return count
    return 3


def test_where_a_handshake_of_those_who_differ_ends() -> None:
    """A prologue shows at once, a psk in the message that mixes it in."""
    assert converse(ours(XXPSK3, True), ours(XXPSK3, False)) == 3
    assert converse(ours(XXPSK3, True), ours(XXPSK3, False, prologue=b"else")) == 0
    assert converse(ours(XXPSK3, True), ours(XXPSK3, False, psk=bytes(32))) == 2
    assert converse(ours(NNPSK0, True), ours(NNPSK0, False)) == 2
    assert converse(ours(NNPSK0, True), ours(NNPSK0, False, psk=bytes(32))) == 0


@pytest.mark.parametrize("pattern", [XXPSK3, NNPSK0], ids=["XXpsk3", "NNpsk0"])
def test_any_changed_bit_of_any_message_ends_the_handshake(pattern: Pattern) -> None:
    """Or any byte that is missing, or one more."""

    def ends(at: int, change: Any) -> bool:
        sides = [ours(pattern, True), ours(pattern, False)]
        for number in range(len(pattern.messages)):
            message = sides[number % 2].write_message()
            if number == at:
                message = change(message)
            if sides[1 - number % 2].read_message(message) is None:
                return True
        return False

    sizes = {XXPSK3: (48, 96, 64), NNPSK0: (48, 48)}[pattern]
    for at, size in enumerate(sizes):
        assert not ends(at, lambda message: message)
        assert ends(at, lambda message: message + b"\0")
        assert ends(at, lambda message: message[:-1])
        assert ends(at, lambda message: message[:20])
        assert ends(at, lambda message: b"")
        for byte in range(size):
            assert ends(at, lambda m, b=byte: m[:b] + bytes((m[b] ^ 1 << b % 7,)) + m[b + 1 :]), (at, byte)


def test_key_of_low_order_is_refused_by_who_reads_and_by_who_answers() -> None:
    """It would make a secret that anybody knows."""

    class Low(Primitives):
        def keypair(self) -> tuple[bytes, bytes]:
            return bytes(31) + b"\1", LOW_ORDER

    mine = ours(XXPSK3, False)
    hostile = HandshakeState(Low(), XXPSK3, True, b"both know this", PSK_BYTES, pair_of(STATIC[0]))
    assert mine.read_message(hostile.write_message()) == b""
    assert mine.write_message() == b""
    mine = ours(XXPSK3, True)
    assert mine.write_message()
    assert mine.read_message(LOW_ORDER + bytes(64)) is None


def test_arguments_are_checked() -> None:
    with pytest.raises(LocalError, match="32 bytes"):
        HandshakeState(PRIMITIVES, XXPSK3, True, b"", b"short")
    with pytest.raises(LocalError, match="else empty"):
        HandshakeState(PRIMITIVES, Pattern("Noise_NN", ((E,), (E, EE))), True, b"", bytes(32))
