"""Tests of busway.ephemeral: pairs without a library are X25519's, and are known as what they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from busway import Key, ephemeral
from busway.keys import id_of_public, public_of, public_text
from busway.primitives import PRIMITIVES


@given(st.binary(min_size=32, max_size=32))
def test_public_half_is_that_of_the_library(private: bytes) -> None:
    expected = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    assert ephemeral.public_of(private) == expected


def made() -> ephemeral.Pair:
    found = ephemeral.pair()
    assert found is not None
    return found


def test_pair_is_a_key_like_others_but_for_its_mark() -> None:
    """RFC 7748, section 5: who computes with a public key masks that bit."""
    (mine, my_public), (theirs, their_public) = made(), PRIMITIVES.keypair()
    assert PRIMITIVES.dh(mine, their_public) == PRIMITIVES.dh(theirs, my_public)
    assert ephemeral.is_ephemeral(my_public)
    assert not ephemeral.is_ephemeral(their_public)
    assert not ephemeral.is_ephemeral(Key.new().public)
    assert ephemeral.id_of(my_public) == id_of_public(my_public)


def test_two_are_never_the_same() -> None:
    assert len({made() for _ in range(50)}) == 50


def test_its_text_is_refused_where_a_key_has_to_last() -> None:
    _, public = made()
    with pytest.raises(ValueError, match="the key of one run"):
        public_of(public_text(public))


def test_without_cryptography_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert ephemeral.pair() is None
    monkeypatch.delitem(sys.modules, "cryptography")
    monkeypatch.setattr(sys, "meta_path", [])
    assert ephemeral.pair() is None


def test_pair_imports_nothing() -> None:
    script = (
        "import sys\nfrom busway import ephemeral\nprivate, public = ephemeral.pair()\n"
        "assert 'cryptography' not in sys.modules\nfrom busway.primitives import PRIMITIVES as p\n"
        "mine, theirs = p.keypair()\nprint(p.dh(private, theirs) == p.dh(mine, public))\n"
        "print(p.dh(ephemeral.pair()[0], theirs) != b'')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "True\nTrue\n"


def test_an_old_import_hook_keeps_no_bus_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some programs still have: one of before Python 3.4, which imports pass over."""
    monkeypatch.delitem(sys.modules, "cryptography")
    monkeypatch.setattr(sys, "meta_path", [object(), *sys.meta_path])
    assert ephemeral.pair() is not None
