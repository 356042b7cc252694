"""Sealed payloads: the vectors, what is bound to what, and bytes that nobody has sealed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem
from hypothesis import given
from hypothesis import strategies as st

from busway import Key, MissingLibrary, SealError, sealing
from busway.sealing import STEPS_MAX, Answers, Content, GroupKey, Opened, Other, Own, Suites, published
from tests.rigs import hpke
from tests.rigs.tree import ROOT

VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "sealed.json").read_text("utf-8"))
E = bytes.fromhex(VECTORS["endpoint"])


def side(name: str) -> tuple[bytes, bytes]:
    return bytes.fromhex(VECTORS[name]["private"]), bytes.fromhex(VECTORS[name]["public"])


def own(name: str) -> Own:
    made = Own(*side(name))
    assert made.id.hex() == VECTORS[name]["id"]
    made.epoch, made.session = bytes.fromhex(VECTORS["epoch"]), bytes.fromhex(VECTORS["session"])
    return made


def opened_of(vector: dict[str, Any]) -> Opened:
    content = Content(bytes.fromhex(vector["payload"]), vector["format"], bytes.fromhex(vector["type"]))
    session, secret = bytes.fromhex(VECTORS["session"]), bytes.fromhex(vector["secret"])
    return Opened(vector["what"], session, vector["number"], vector["deadline"], secret, content)


def pair() -> tuple[Own, Own]:
    return Own(*Key.new().pair), Own(*Key.new().pair)


def some(what: int = sealing.SEND, number: int = 1, payload: bytes = b"hello") -> Opened:
    secret = sealing.new_secret(what)
    return Opened(what, b"sessions", number, 1000, secret, Content(payload, 0, b""))


# Vectors


@pytest.mark.parametrize("vector", VECTORS["messages"])
def test_message_of_another_hand_is_opened(vector: dict[str, Any]) -> None:
    receiver = own("receiver")
    found = receiver.open(Other(receiver, side("sender")[1]), E, bytes.fromhex(vector["sealed"]))
    assert found == opened_of(vector)


@pytest.mark.parametrize("vector", VECTORS["messages"])
def test_what_is_sealed_is_what_another_hand_seals(vector: dict[str, Any]) -> None:
    """HPKE is written out in tests/rigs/hpke.py; only the ephemeral key differs."""
    sender, receiver = own("sender"), own("receiver")
    offer = receiver.itself(0)._replace(mlkem=b"")
    sealed = Other(sender, receiver.public).seal(sender, offer, E, opened_of(vector))
    assert sealed[0] == sealing.X25519
    inner = hpke.decrypt(receiver.private, bytes.fromhex(VECTORS["info"]), sealed[17:])
    assert inner.hex() == vector["inner"]
    assert len(sealed) * 2 == len(vector["sealed"])


def test_hybrid_is_what_another_hand_opens() -> None:
    sender, receiver = own("sender"), own("receiver")
    mine = mlkem.MLKEM768PrivateKey.generate()
    offer = receiver.itself(0)._replace(mlkem=mine.public_key().public_bytes_raw())
    vector = VECTORS["messages"][1]
    sealed = Other(sender, receiver.public).seal(sender, offer, E, opened_of(vector))
    assert sealed[0] == sealing.HYBRID
    info = bytes.fromhex(VECTORS["info"])
    info = info.replace(b"busway-seal-2\x01", b"busway-seal-2\x02")
    inner = hpke.decrypt_hybrid(mine, receiver.private, info, sealed[17:])
    assert inner.hex() == vector["inner"]


def test_neither_secret_alone_opens_the_hybrid() -> None:
    sender, receiver = pair()
    sealed = Other(sender, receiver.public).seal(sender, receiver.itself(0), E, some())
    assert sealed[0] == sealing.HYBRID
    later = Own(receiver.private.private_bytes_raw(), receiver.public)
    later.epoch = receiver.epoch  # who has got the static key since has all but the run's key
    with pytest.raises(SealError, match="cannot be decrypted"):
        later.open(Other(later, sender.public), E, sealed)
    assert receiver.open(Other(receiver, sender.public), E, sealed).content.payload == b"hello"


def test_answers_of_another_hand_are_opened_and_made() -> None:
    sender, receiver = own("sender"), own("receiver")
    secret = bytes.fromhex(VECTORS["messages"][1]["secret"])
    reading = Answers(Other(sender, receiver.public).key_to, secret)
    writing = Answers(Other(receiver, sender.public).key_from, secret)
    for vector in VECTORS["answers"]:
        data = bytes.fromhex(vector["data"])
        assert reading.open(bytes.fromhex(vector["sealed"])) == (vector["what"], data)
        assert writing.seal(vector["what"], data).hex() == vector["sealed"]


@pytest.mark.parametrize("vector", VECTORS["offers"])
def test_offer_of_another_hand_is_read(vector: dict[str, Any]) -> None:
    sender, receiver = own("sender"), own("receiver")
    other, nonce = Other(sender, receiver.public), bytes.fromhex(vector["nonce"])
    offer = other.read_offer(nonce, bytes.fromhex(vector["offer"]))
    assert (offer.epoch.hex(), offer.time, offer.mlkem) == (vector["epoch"], vector["time"], b"")
    receiver._mlkem = b""
    assert receiver.offer(Other(receiver, sender.public), nonce, vector["time"]).hex() == vector["offer"]


def test_what_another_hand_published_is_opened_and_published() -> None:
    first = GroupKey.unpack(bytes.fromhex(VECTORS["key"]))
    assert first.pack().hex() == VECTORS["key"]
    sender = side("sender")[1]
    for vector in VECTORS["published"]:
        data = bytes.fromhex(vector["sealed"])
        head = published(data)
        assert (head.key_id, head.generation, head.number) == (
            first.id,
            vector["generation"],
            vector["number"],
        )
        assert head.session.hex() == VECTORS["session"]
        key = first.at(head.generation)
        content = key.open(sender, E, data)
        assert (content.format, content.payload.hex()) == (vector["format"], vector["payload"])
        assert key.chain.hex() == vector["chain"]
        assert key.seal(sender, E, head.number, content) == data


# What it is bound to


@pytest.mark.parametrize("mlkem", [True, False])
@pytest.mark.parametrize("what", [sealing.SEND, sealing.REQUEST, sealing.STREAM])
def test_only_the_one_it_is_for_opens_it_and_only_as_what_it_was(mlkem: bool, what: int) -> None:
    sender, receiver = pair()
    third = Own(*Key.new().pair)
    offer = receiver.itself(0) if mlkem else receiver.itself(0)._replace(mlkem=b"")
    said = some(what)
    sealed = Other(sender, receiver.public).seal(sender, offer, E, said)
    assert receiver.open(Other(receiver, sender.public), E, sealed) == said
    refused = [
        (third, sender.public, E, sealed),  # another receiver
        (receiver, third.public, E, sealed),  # another sender
        (receiver, receiver.public, E, sealed),
        (receiver, sender.public, bytes(16), sealed),  # another endpoint
        (sender, receiver.public, E, sealed),  # sent back
        (receiver, sender.public, E, bytes((sealed[0] ^ 3,)) + sealed[1:]),  # another suite
    ]
    for at, source, endpoint, data in refused:
        with pytest.raises(SealError):
            at.open(Other(at, source), endpoint, data)
    receiver.epoch = os.urandom(16)  # another run
    with pytest.raises(SealError):
        receiver.open(Other(receiver, sender.public), E, sealed)


def test_who_knows_public_keys_only_cannot_seal() -> None:
    """Whoever it is can encrypt to the receiver; the MAC is what it lacks."""
    sender, receiver = own("sender"), own("receiver")
    inner = bytes.fromhex(VECTORS["messages"][0]["inner"])
    info = bytes.fromhex(VECTORS["info"])
    mac = sealing.mac_of(bytes.fromhex(VECTORS["messages"][0]["sealed"]))
    for forged in (inner, inner[:-1] + b"!", b"", inner[:15]):
        sealed = b"\x01" + mac + hpke.encrypt(os.urandom(32), receiver.public, info, forged)
        with pytest.raises(SealError, match="made by another"):
            receiver.open(Other(receiver, sender.public), E, sealed)


def test_nothing_is_decrypted_that_was_not_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What anybody makes up costs a hash, and no key exchange."""
    sender, receiver = pair()
    source = Other(receiver, sender.public)
    sealed = [
        Other(sender, receiver.public).seal(sender, offer, E, some())
        for offer in (receiver.itself(0), receiver.itself(0)._replace(mlkem=b""))
    ]
    made_up = [data[:-1] + bytes((data[-1] ^ 1,)) for data in sealed]
    have: Any = Suites()
    have.plain = have.hybrid = None
    monkeypatch.setattr(sealing, "_suites", have)
    for data in (*made_up, b"\x01", b"\x01" + bytes(100), b"\x02" + bytes(2000)):
        with pytest.raises(SealError, match="made by another"):
            receiver.open(source, E, data)
    for data in sealed:
        with pytest.raises(SealError, match="cannot be decrypted"):
            receiver.open(source, E, data)


def test_each_byte_counts() -> None:
    sender, receiver = pair()
    offer = receiver.itself(0)._replace(mlkem=b"")
    sealed = Other(sender, receiver.public).seal(sender, offer, E, some())
    source = Other(receiver, sender.public)
    for at in range(len(sealed)):
        for data in (sealed[:at], sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]):
            with pytest.raises(SealError):
                receiver.open(source, E, data)
    with pytest.raises(SealError):
        receiver.open(source, E, sealed + b"\x00")


def test_offer_is_of_its_node_for_this_asker_and_this_question() -> None:
    asker, node = pair()
    third = Own(*Key.new().pair)
    nonce = os.urandom(16)
    said = node.offer(Other(node, asker.public), nonce, 77)
    assert Other(asker, node.public).read_offer(nonce, said) == node.itself(77)
    for who, of, asked, data in (
        (third, node, nonce, said),
        (asker, third, nonce, said),
        (asker, node, bytes(16), said),  # an earlier answer, said again
        (asker, node, nonce, said[:-1]),
        (asker, node, nonce, b""),
        (asker, node, nonce, said[:1] + b"\x01" + said[2:]),  # as if it had no hybrid suite
        (asker, node, nonce, asker.offer(Other(asker, node.public), nonce, 77)),  # what it said itself
    ):
        with pytest.raises(SealError):
            Other(who, of.public).read_offer(asked, data)


def test_offer_of_a_later_version_is_refused() -> None:
    asker, node = pair()
    for body in (b"\x02\x01" + bytes(24), b"\x01\x02" + bytes(24), b"\x01\x03" + bytes(24)):
        to = Other(node, asker.public)
        said = body + sealing._mac(to.key_to, b"offer" + bytes(16) + body, 32)
        with pytest.raises(SealError, match="not known here"):
            Other(asker, node.public).read_offer(bytes(16), said)


# What is published


def test_published_is_of_its_publisher_endpoint_key_and_number() -> None:
    key, sender = GroupKey.new(b"a sessio", 1), Key.new().public
    data = key.seal(sender, E, 9, Content(b"news", 0, b""))
    assert key.open(sender, E, data) == Content(b"news", 0, b"")
    other = GroupKey(key.id, 0, os.urandom(32))
    for by, public, endpoint, wrong in (
        (other, sender, E, data),
        (key.at(1), sender, E, data),
        (key, Key.new().public, E, data),
        (key, sender, bytes(16), data),
        *((key, sender, E, data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]) for at in range(len(data))),
        *((key, sender, E, data[:at]) for at in range(len(data))),
    ):
        with pytest.raises(SealError):
            by.open(public, endpoint, wrong)


def test_key_steps_forward_only_and_so_far_only() -> None:
    key = GroupKey.new(b"a sessio", 1)
    later = key.at(STEPS_MAX)
    assert later.at(STEPS_MAX) is later
    assert key.at(7).at(STEPS_MAX).chain == later.chain
    for start, generation in ((later, 0), (later, STEPS_MAX - 1), (key, STEPS_MAX + 1), (key, 0xFFFFFFFF)):
        with pytest.raises(SealError):
            start.at(generation)


def test_keys_that_are_none() -> None:
    for data in (b"", bytes(47), bytes(49)):
        with pytest.raises(SealError):
            GroupKey.unpack(data)
    for data in (b"", b"\x03" + bytes(23), b"\x01" + bytes(24)):
        with pytest.raises(SealError):
            published(data)


# Without some of it


def test_who_has_no_mlkem_offers_none_and_is_sealed_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Own(*Key.new().pair)
    less = Suites()
    less.hybrid = None
    monkeypatch.setattr(sealing, "_suites", less)
    receiver = Own(*Key.new().pair)
    nonce = os.urandom(16)
    said = receiver.offer(Other(receiver, sender.public), nonce, 5)
    monkeypatch.setattr(sealing, "_suites", Suites())
    to = Other(sender, receiver.public)
    offer = to.read_offer(nonce, said)
    assert offer.mlkem == b""
    sealed = to.seal(sender, offer, E, some())
    assert sealed[0] == sealing.X25519
    monkeypatch.setattr(sealing, "_suites", less)
    assert receiver.open(Other(receiver, sender.public), E, sealed).content.payload == b"hello"
    full = sender.itself(5)  # nor does it use what the other offers
    assert Other(receiver, sender.public).seal(receiver, full, E, some())[0] == sealing.X25519
    with pytest.raises(SealError, match="in a way that is not known here"):
        receiver.open(Other(receiver, sender.public), E, bytes((sealing.HYBRID,)) + sealed[1:])


def test_a_library_without_hpke_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Suites()  # imports it
    monkeypatch.delattr("cryptography.hazmat.primitives.hpke")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hpke", None)
    with pytest.raises(MissingLibrary, match="pip install -U cryptography"):
        Suites()


def test_who_seals_nothing_imports_nothing_of_it() -> None:
    text = (
        "import sys, busway; busway.AsyncBus(ipc=False).register('x');"
        "print([name for name in sys.modules if 'seal' in name or 'hpke' in name])"
    )
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True).stdout == "[]\n"


# Answers


def test_answers_are_of_their_request_and_in_order() -> None:
    sender, receiver = pair()
    to, source = Other(sender, receiver.public), Other(receiver, sender.public)
    writing = Answers(source.key_from, b"s" * 32)
    said = [writing.seal(sealing.VALUE, bytes((number,))) for number in range(3)]
    for wrong in (said[1], said[0][:-1], b"", b"\x00", b"\x00\x04" + said[0][2:], b"\x01" + said[0][1:]):
        with pytest.raises(SealError):
            Answers(to.key_to, b"s" * 32).open(wrong)
    with pytest.raises(SealError):
        Answers(to.key_to, b"t" * 32).open(said[0])  # of another request
    with pytest.raises(SealError):
        Answers(source.key_to, b"s" * 32).open(said[0])
    with pytest.raises(SealError):
        Answers(to.key_to, b"s" * 32).open(b"\x00\x02" + said[0][2:])  # the end, made of a value
    with pytest.raises(SealError):
        Answers(to.key_to, b"s" * 32).open(b"\x00\x03" + said[0][2:])  # a part
    reading = Answers(to.key_to, b"s" * 32)
    assert [reading.open(each)[1] for each in said] == [b"\x00", b"\x01", b"\x02"]
    with pytest.raises(SealError):
        reading.open(said[2])


def test_error_may_overtake_and_comes_back_as_it_was() -> None:
    key = b"k" * 32
    writing, reading = Answers(key, b"s" * 32), Answers(key, b"s" * 32)
    writing.seal(sealing.VALUE, b"never read")
    what, data = reading.open(writing.seal(sealing.ERROR, sealing.pack_error(300, "no wäter \udcff")))
    assert (what, sealing.unpack_error(data)) == (sealing.ERROR, (300, "no wäter \\udcff"))
    with pytest.raises(SealError):
        sealing.unpack_error(b"\x00")


@given(st.binary(max_size=80), st.integers(0, 2), st.binary(min_size=16, max_size=16))
def test_contents_come_back(payload: bytes, format: int, type_id: bytes) -> None:
    for content in (Content(payload, format, b""), Content(payload, 3, type_id)):
        assert sealing.unpack(content.pack()) == content


@pytest.mark.parametrize("data", [b"", b"\x04", b"\x03" + bytes(15)])
def test_content_that_is_none(data: bytes) -> None:
    with pytest.raises(SealError):
        sealing.unpack(data)


@given(st.binary(max_size=1300))
def test_nothing_but_an_error_comes_of_a_strangers_bytes(data: bytes) -> None:
    with pytest.raises(SealError):
        RECEIVER.open(SOURCE, E, data)
    with pytest.raises(SealError):
        Answers(bytes(32), bytes(32)).open(data)
    with pytest.raises(SealError):
        SOURCE.read_offer(bytes(16), data)


def test_key_of_low_order_is_nobodys() -> None:
    with pytest.raises(SealError, match="low order"):
        Other(RECEIVER, bytes(32))


def test_key_with_contents_that_are_none_is_refused() -> None:
    """Sealed by a trusted key, but not by ours."""
    sender, receiver = own("sender"), own("receiver")
    info = bytes.fromhex(VECTORS["info"])
    key = Other(sender, receiver.public).key_to
    for said in (b"", b"\x07" + bytes(24) + b"\x00", b"\x02" + bytes(24) + b"\x00", b"\x01" + bytes(24)):
        sealed = hpke.encrypt(os.urandom(32), receiver.public, info, said)
        data = b"\x01" + sealing._mac(key, b"message" + info + sealed, 16) + sealed
        with pytest.raises(SealError, match="what was sealed"):
            receiver.open(Other(receiver, sender.public), E, data)


RECEIVER = Own(*Key.new().pair)
SOURCE = Other(RECEIVER, Key.new().public)
