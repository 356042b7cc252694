"""Sealed payloads: bytes that only one node can read, and only one other can have made. Knows keys and bytes,
not nodes, trust or frames; docs/protocol.md, section 15, has the layout.

Encryption is HPKE (RFC 9180, base mode) to the receiver's static key. Base mode does not say who encrypted.
So the sender puts a MAC before what it has encrypted, over all of it and its context, with a key that follows
from the two static keys: "e, es" is HPKE's part, "ss" the MAC's, as in the one-way pattern X of Noise
(revision 34). That authenticating what was encrypted, with both identities bound to each, is sound against
outsiders is shown in J. H. An, Y. Dodis, T. Rabin, On the Security of Joint Signature and Encryption
(EUROCRYPT 2002). It stands outside so that what a stranger makes up costs a hash, not a key exchange. It
gives what HPKE's own auth mode does (RFC 9180, section 9.1), with the same limit: whoever has the receiver's
private key can pretend to the receiver to be anybody. Nobody can prove to a third party who said something.

Answers are encrypted with a key that comes inside the request, as in RFC 9458, section 4.4: who can use it
has read the request, so is its receiver.

What is published is encrypted with a key that its readers share, stepped forward by a one-way function when
one joins, as the chains of Signal's sender keys: who has a later step knows none of the earlier ones.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Any, Final, NamedTuple

from busway.errors import MissingLibrary, SealError
from busway.keys import id_of_public
from busway.payloads import TYPED

TAG: Final = b"busway-seal-2"
ANSWER: Final = 0  # what its first byte says
X25519: Final = 1
HYBRID: Final = 2
PUBLISHED: Final = 3

SEND: Final = 1
REQUEST: Final = 2
STREAM: Final = 3
"""The answer that is asked for: nothing, a reply, parts."""

VALUE: Final = 0
ERROR: Final = 1
END: Final = 2
PART: Final = 3
"""The sort of an answer: the value of a reply, an error, the end of parts, one of them."""

NONCE_SIZE: Final = 16
SESSION_SIZE: Final = 8
_EPOCH_SIZE = 16
_SECRET_SIZE = 32
_MAC_SIZE = 16
_MLKEM_SIZE = 1184
_OFFER_VERSION = 1
_HEAD = struct.Struct(">B8sQQ")  # what, session, number, deadline
_OFFER_HEAD = struct.Struct(">BB16sQ")  # version, suites, epoch, time
_OFFER_MAC_SIZE = 32
_PUBLISHED_HEAD = struct.Struct(">B12sIQ")  # suite, the key's id, generation, number
_KEY = struct.Struct(">12sI32s")  # the key's id, generation, chain

KEY_ID_SIZE: Final = 12  # the session of the publisher, and a count
STEPS_MAX: Final = 1024
"""Generations that a key for what is published has."""


class Content(NamedTuple):
    """A value as the core has it: its bytes, their format, the message type's uuid with TYPED."""

    payload: bytes
    format: int
    type_id: bytes

    def pack(self) -> bytes:
        return bytes((self.format,)) + self.type_id + self.payload


def unpack(data: bytes) -> Content:
    """Read what `Content.pack` wrote. Raises SealError."""
    if not data or data[0] > TYPED:
        raise SealError("what was sealed has no payload that is known here")
    end = 17 if data[0] == TYPED else 1
    if len(data) < end:
        raise SealError("what was sealed ends too soon")
    return Content(data[end:], data[0], data[1:end])


class Offer(NamedTuple):
    """An offer: what a node says of itself to one that wants to seal something for it: the `epoch` of this
    run, 16 bytes; `time`, its clock in ms; `mlkem`, its public key for the hybrid suite, b"" if it has none.
    """

    epoch: bytes
    time: int
    mlkem: bytes


class Opened(NamedTuple):
    """A message that was opened: `what`, the sender's `session` and `number` in it, the `deadline` on the
    clock of the offer in ms, the `secret` for answers (b"" for SEND), and the content.
    """

    what: int
    session: bytes
    number: int
    deadline: int
    secret: bytes
    content: Content


class Suites:
    """`cryptography`'s HPKE, imported. Raises MissingLibrary."""

    def __init__(self) -> None:
        try:
            from cryptography.hazmat.primitives import hpke
        except ImportError as error:
            raise MissingLibrary(
                "sealing needs HPKE, which this `cryptography` does not have: `pip install -U cryptography`"
            ) from error
        from cryptography.hazmat.primitives.asymmetric import x25519
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._hpke = hpke
        self.x25519 = x25519
        self.aead = ChaCha20Poly1305
        sha, chacha = hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305
        self.plain = hpke.Suite(hpke.KEM.X25519, sha, chacha)
        self.hybrid: Any = None
        self.mlkem: Any = None
        try:
            from cryptography.hazmat.primitives.asymmetric import mlkem

            mlkem.MLKEM768PrivateKey.generate()
            self.hybrid = hpke.Suite(hpke.KEM.MLKEM768_X25519, sha, chacha)
            self.mlkem = mlkem
        except Exception:  # noqa: BLE001 - an OpenSSL without it says so in several ways
            return

    def hybrid_private(self, mlkem: Any, private: Any) -> Any:
        return self._hpke.MLKEM768X25519PrivateKey(mlkem, private)

    def hybrid_public(self, mlkem: bytes, public: Any) -> Any:
        return self._hpke.MLKEM768X25519PublicKey(
            self.mlkem.MLKEM768PublicKey.from_public_bytes(mlkem), public
        )


_suites: Suites | None = None


def suites() -> Suites:
    """The suites there are; imported once. Raises MissingLibrary."""
    global _suites
    if _suites is None:
        _suites = Suites()
    return _suites


class Own:
    """This node's side: its static pair, and what it draws for this run.

    Args: the private and the public key, 32 bytes each. Raises MissingLibrary.
    """

    def __init__(self, private: bytes, public: bytes) -> None:
        have = suites()
        self.public = public
        self.id = id_of_public(public)
        self.private = have.x25519.X25519PrivateKey.from_private_bytes(private)
        self.session = os.urandom(SESSION_SIZE)
        self.epoch = os.urandom(_EPOCH_SIZE)
        self._mlkem = b""
        self._hybrid: Any = None
        if have.hybrid is not None:
            mlkem = have.mlkem.MLKEM768PrivateKey.generate()
            self._mlkem = mlkem.public_key().public_bytes_raw()
            self._hybrid = have.hybrid_private(mlkem, self.private)

    def itself(self, time: int) -> Offer:
        """The offer that it would make itself."""
        return Offer(self.epoch, time, self._mlkem)

    def offer(self, to: Other, nonce: bytes, time: int) -> bytes:
        """The answer to a node that asks what to seal with; `nonce` is what it sent, `time` our clock, ms."""
        body = _OFFER_HEAD.pack(_OFFER_VERSION, 1 | 2 * bool(self._mlkem), self.epoch, time) + self._mlkem
        return body + _mac(to.key_to, b"offer" + nonce + body, _OFFER_MAC_SIZE)

    def open(self, source: Other, endpoint: bytes, data: bytes) -> Opened:
        """Open a message that says that it comes from `source`. Raises SealError."""
        suite = data[0] if data else -1
        have = suites()
        if suite == X25519:
            way, private = have.plain, self.private
        elif suite == HYBRID and self._hybrid is not None:
            way, private = have.hybrid, self._hybrid
        else:
            raise SealError(f"it is sealed in a way that is not known here ({suite})")
        info = _info(suite, source.public, self.public, endpoint, self.epoch)
        tag, sealed = mac_of(data), data[1 + _MAC_SIZE :]
        if not hmac.compare_digest(tag, _mac(source.key_from, b"message" + info + sealed, _MAC_SIZE)):
            raise SealError("it was changed, or made by another, or is not for this node, endpoint and run")
        try:
            inner = way.decrypt(sealed, private, info=info)
        except Exception as error:  # its sender made it wrong, or for a key that this run has not
            raise SealError("it cannot be decrypted") from error
        return _opened(inner)


class Other:
    """The other node, as this one sees it: its public key, and the keys that both have.

    Args: `own` this node's side, `public` the other's key, 32 bytes. Raises SealError for a key that is none.
    """

    __slots__ = ("_x25519", "id", "key_from", "key_to", "public")

    def __init__(self, own: Own, public: bytes) -> None:
        try:
            self._x25519 = suites().x25519.X25519PublicKey.from_public_bytes(public)
            shared = own.private.exchange(self._x25519)
        except ValueError as error:
            raise SealError("the public key is of low order: nobody has such a key") from error
        self.public = public
        self.id = id_of_public(public)
        self.key_to = _auth_key(shared, own.public, public)
        self.key_from = _auth_key(shared, public, own.public)

    def read_offer(self, nonce: bytes, data: bytes) -> Offer:
        """The offer that this node made for us, as the answer to `nonce`. Raises SealError."""
        body, mac = data[:-_OFFER_MAC_SIZE], data[-_OFFER_MAC_SIZE:]
        wanted = _mac(self.key_from, b"offer" + nonce + body, _OFFER_MAC_SIZE)
        if len(body) < _OFFER_HEAD.size or not hmac.compare_digest(mac, wanted):
            raise SealError(
                "what it says of its keys was not said by it: somebody on the way changes messages"
            )
        version, has, epoch, time = _OFFER_HEAD.unpack_from(body)
        mlkem = body[_OFFER_HEAD.size :]
        if version != _OFFER_VERSION or not has & 1 or len(mlkem) != _MLKEM_SIZE * (has >> 1 & 1):
            raise SealError("it seals in a way that is not known here")
        return Offer(epoch, time, mlkem)

    def seal(self, own: Own, offer: Offer, endpoint: bytes, opened: Opened) -> bytes:
        """A message that only this node can read; `opened` is what it is to find."""
        have = suites()
        hybrid = bool(offer.mlkem) and have.hybrid is not None
        suite = HYBRID if hybrid else X25519
        info = _info(suite, own.public, self.public, endpoint, offer.epoch)
        inner = _HEAD.pack(opened.what, opened.session, opened.number, opened.deadline)
        inner += opened.secret + opened.content.pack()
        if hybrid:
            to = have.hybrid_public(offer.mlkem, self._x25519)
            sealed = bytes(have.hybrid.encrypt(inner, to, info=info))
        else:
            sealed = bytes(have.plain.encrypt(inner, self._x25519, info=info))
        return bytes((suite,)) + _mac(self.key_to, b"message" + info + sealed, _MAC_SIZE) + sealed


class Answers:
    """The answers to one request, one after the other: made by its receiver, read by its sender.

    Args: `key` that the sender has for messages to the receiver, `secret` that came with the request.
    """

    __slots__ = ("_aead", "_count", "in_parts")

    def __init__(self, key: bytes, secret: bytes) -> None:
        self.in_parts = False  # what is said next is one of several
        self._aead = suites().aead(_mac(key, b"answer" + secret, 32))
        self._count = 0

    def seal(self, what: int, data: bytes) -> bytes:
        """The next answer: a VALUE or a PART with its packed content, an ERROR with its code and text, or the
        END. An error is the last and may overtake parts, so it is not counted with them.
        """
        head = bytes((ANSWER, what))
        return head + self._aead.encrypt(self._nonce(what), data, head)

    def open(self, data: bytes) -> tuple[int, bytes]:
        """Open the next answer: what it is, and its data. Raises SealError."""
        try:
            if data[0] != ANSWER or data[1] > PART:
                raise ValueError
            return data[1], self._aead.decrypt(self._nonce(data[1]), data[2:], data[:2])
        except Exception as error:  # whatever the library makes of a stranger's bytes
            raise SealError("an answer was changed, left out, or made by somebody else") from error

    def _nonce(self, what: int) -> bytes:
        if what == ERROR:
            return b"\xff" * 12
        self._count += 1
        return self._count.to_bytes(12, "big")


class Published(NamedTuple):
    """The part of a published payload that is open: with which key it is sealed, and its number."""

    key_id: bytes
    generation: int
    number: int

    @property
    def session(self) -> bytes:
        """In which its numbers rise."""
        return self.key_id[:SESSION_SIZE]


class GroupKey:
    """Seals what one node publishes to one endpoint, and opens it for its readers: a chain of keys, from a
    generation on.
    """

    __slots__ = ("_aead", "chain", "generation", "id")

    def __init__(self, id: bytes, generation: int, chain: bytes) -> None:
        self.id = id
        self.generation = generation
        self.chain = chain
        self._aead: Any = None

    @classmethod
    def new(cls, session: bytes, count: int) -> GroupKey:
        """A key that nobody has yet; `count` is another one for each of a session."""
        return cls(session + count.to_bytes(4, "big"), 0, os.urandom(32))

    @classmethod
    def unpack(cls, data: bytes) -> GroupKey:
        """Read what `pack` wrote. Raises SealError."""
        if len(data) != _KEY.size:
            raise SealError("what came is no key")
        return cls(*_KEY.unpack(data))

    def pack(self) -> bytes:
        """As it is handed over."""
        return _KEY.pack(self.id, self.generation, self.chain)

    def at(self, generation: int) -> GroupKey:
        """The key of a generation, from which this one cannot be had. Raises SealError for an earlier one, or
        one that is more than STEPS_MAX, which no key has.
        """
        if generation == self.generation:
            return self
        if generation < self.generation:
            raise SealError("it was published before this node was a reader")
        if generation > STEPS_MAX:
            raise SealError("its key has more generations than any has")
        chain = self.chain
        for _ in range(generation - self.generation):
            chain = _mac(chain, b"next", 32)
        return GroupKey(self.id, generation, chain)

    def seal(self, publisher: bytes, endpoint: bytes, number: int, content: Content) -> bytes:
        """Seal what is published, by whose public key; `number` is used once."""
        head = _PUBLISHED_HEAD.pack(PUBLISHED, self.id, self.generation, number)
        bound = TAG + head + publisher + endpoint
        return head + bytes(self._cipher().encrypt(_nonce(number), content.pack(), bound))

    def open(self, publisher: bytes, endpoint: bytes, data: bytes) -> Content:
        """Open what was published, of this generation. Raises SealError."""
        head = data[: _PUBLISHED_HEAD.size]
        number = published(data).number
        try:
            bound = TAG + head + publisher + endpoint
            plain = self._cipher().decrypt(_nonce(number), data[len(head) :], bound)
        except Exception as error:  # whatever the library makes of a stranger's bytes
            raise SealError("it was changed, or is not for this endpoint or of this node") from error
        return unpack(plain)

    def _cipher(self) -> Any:
        if self._aead is None:
            self._aead = suites().aead(_mac(self.chain, b"key", 32))
        return self._aead


def published(data: bytes) -> Published:
    """Read the part of a published payload that is open. Raises SealError."""
    if len(data) < _PUBLISHED_HEAD.size or data[0] != PUBLISHED:
        raise SealError("it is sealed in a way that is not known here, or not to be published")
    return Published(*_PUBLISHED_HEAD.unpack_from(data)[1:])


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def new_secret(what: int) -> bytes:
    """The secret for the answers to what is asked; b"" where there are none."""
    return b"" if what == SEND else os.urandom(_SECRET_SIZE)


def pack_error(code: int, text: str) -> bytes:
    """The data of an ERROR."""
    return code.to_bytes(4, "big") + text.encode(errors="backslashreplace")


def unpack_error(data: bytes) -> tuple[int, str]:
    """Code and text of an ERROR. Raises SealError."""
    if len(data) < 4:
        raise SealError("the error that was sealed ends too soon")
    return int.from_bytes(data[:4], "big"), data[4:].decode(errors="replace")


def mac_of(data: bytes) -> bytes:
    """By which a message is known, once it was opened: no two have the same."""
    return data[1 : 1 + _MAC_SIZE]


def _opened(said: bytes) -> Opened:
    if len(said) < _HEAD.size:
        raise SealError("what was sealed ends too soon")
    what, session, number, deadline = _HEAD.unpack_from(said)
    at = _HEAD.size + _SECRET_SIZE * (what in (REQUEST, STREAM))
    if what not in (SEND, REQUEST, STREAM) or len(said) < at:
        raise SealError("what was sealed is nothing that is known here")
    return Opened(what, session, number, deadline, said[_HEAD.size : at], unpack(said[at:]))


def _info(suite: int, sender: bytes, receiver: bytes, endpoint: bytes, epoch: bytes) -> bytes:
    """The binding of a message, HPKE's `info`."""
    ids = id_of_public(sender) + id_of_public(receiver)
    return TAG + bytes((suite,)) + ids + sender + receiver + endpoint + epoch


def _auth_key(shared: bytes, sender: bytes, receiver: bytes) -> bytes:
    """By which the receiver knows the sender: HKDF-SHA-256 (RFC 5869) of the secret that both have."""
    extracted = hmac.digest(TAG, shared, "sha256")
    return hmac.digest(extracted, b"auth" + sender + receiver + b"\x01", "sha256")


def _mac(key: bytes, data: bytes, size: int) -> bytes:
    return hmac.digest(key, data, "sha256")[:size]
