"""Keys of nodes: their files, their text, the id that follows from them, and `busway key`."""

import hashlib
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from hypothesis import given
from hypothesis import strategies as st

import busway as front
from busway.keys import Hold, Key, id_of_public, key_of, public_of, public_text
from tests.front.cli_rig import busway, environment
from tests.rigs import terminal

PUBLIC = bytes(range(32))


def saved(path: Path, passphrase: str | None = None) -> Key:
    key = Key.new()
    key.save(path, passphrase)
    return key


def refusal(path: Path | str, passphrase: str | None = None) -> str:
    with pytest.raises(front.KeyFileError) as caught:
        Key.load(path, passphrase)
    return str(caught.value)


# The text


@given(st.binary(min_size=32, max_size=32))
def test_text_and_back(public: bytes) -> None:
    public = public[:-1] + bytes((public[-1] & 0x7F,))  # of one to keep
    text = public_text(public)
    assert len(text) == 63
    assert text.isascii()
    assert text.isalnum()  # a double click takes all of it
    assert public_of(f"  {text[:20].upper()} \n{text[20:]} ") == public


@given(st.integers(7, 62), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_letter_is_found(where: int, letter: str) -> None:
    text = public_text(PUBLIC)
    wrong = text[:where] + letter + text[where + 1 :]
    if wrong != text:
        with pytest.raises(ValueError, match="mistyped"):
            public_of(wrong)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello", "those begin with busway1"),
        ("busway1abc", "it has 10 characters, and should have 63"),
        ("busway1" + "a" * 55 + "0", "a to z and 2 to 7 only"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEI", r"'-----BEGIN PRIVATE K…' is no public key"),
    ],
)
def test_what_is_no_public_key(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        public_of(text)


def test_text_of_another_size() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        public_text(bytes(31))


# The id


def test_id_follows_from_the_key() -> None:
    expected = bytearray(hashlib.sha256(b"busway-id-2" + PUBLIC).digest()[:16])
    expected[0] |= 0x80
    assert id_of_public(PUBLIC) == expected
    assert id_of_public(PUBLIC[::-1]) != expected


@given(st.binary(min_size=32, max_size=32))
def test_id_says_that_it_is_bound(public: bytes) -> None:
    assert id_of_public(public)[0] & 0x80


# Files


def test_file_is_the_owners_only(tmp_path: Path) -> None:
    former = os.umask(0)  # whatever it is
    try:
        key = saved(tmp_path / "key.pem")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    again = Key.load(tmp_path / "key.pem")
    assert (again.pair, again.text, again.id) == (key.pair, key.text, key.id)


def test_file_is_one_that_others_read(tmp_path: Path) -> None:
    """PKCS #8, as RFC 8410 has it: nobody is tied to this library."""
    key = saved(tmp_path / "key.pem")
    read = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    assert isinstance(read, x25519.X25519PrivateKey)
    assert read.public_key().public_bytes_raw() == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o610])
def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    saved(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    text = refusal(tmp_path / "key.pem")
    assert f"(mode {mode:04o}): `chmod 600 {tmp_path / 'key.pem'}`" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "key.pem")
    os.chown(tmp_path / "key.pem", 12345, -1)
    assert "belongs to another user (uid 12345)" in refusal(tmp_path / "key.pem")


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    key = saved(tmp_path / "key.pem")
    with pytest.raises(front.KeyFileError, match="never overwritten"):
        Key.new().save(tmp_path / "key.pem")
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(front.KeyFileError, match="never overwritten"):
        Key.new().save(tmp_path / "link.pem")
    assert Key.load(tmp_path / "key.pem").public == key.public


def test_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    key = saved(path, "six dull words")
    asked: list[str] = []

    def ask() -> str:
        asked.append("asked")
        return "six dull words"

    assert Key.load(path, "six dull words").public == key.public
    assert Key.load(path, ask).public == key.public
    assert asked == ["asked"]
    assert "passphrase=..." in refusal(path)
    assert "BUSWAY_PASSPHRASE" in refusal(path)
    assert "the passphrase is wrong" in refusal(path, "six shiny words")
    monkeypatch.setenv("BUSWAY_PASSPHRASE", "six dull words")
    assert Key.load(path).public == key.public
    assert key.pair[0] not in path.read_bytes()
    with pytest.raises(ValueError, match="the passphrase is empty"):
        key.save(tmp_path / "other.pem", "")


def test_nobody_is_asked_for_the_passphrase_of_a_plain_file(tmp_path: Path) -> None:
    key = saved(tmp_path / "key.pem")
    assert Key.load(tmp_path / "key.pem", pytest.fail).public == key.public


def test_what_is_no_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    assert f"make it with `busway key new {path}`" in refusal(path)
    path.touch(0o600)
    assert "holds no key that can be read" in refusal(path)
    path.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert "a key for Ed25519, and a node needs one for X25519" in refusal(path)
    assert "no file" in refusal(tmp_path)
    with pytest.raises(front.KeyFileError, match="cannot write"):
        Key.new().save(tmp_path / "nowhere" / "key.pem")


def test_private_half_stays_where_it_is() -> None:
    key = Key.new()
    assert key.pair[0].hex() not in repr(key) + repr(key.text)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(key)


# One file, one bus


def test_file_is_held_by_one(tmp_path: Path) -> None:
    path = str(tmp_path / "key.pem")
    saved(tmp_path / "key.pem")
    first = Hold(path)
    with pytest.raises(front.KeyFileError, match="in use by another bus on this machine"):
        Hold(path)
    first.release()
    first.release()
    Hold(path).release()


def test_who_is_killed_holds_it_no_longer(tmp_path: Path) -> None:
    path = str(tmp_path / "key.pem")
    saved(tmp_path / "key.pem")
    program = "import sys; from busway.keys import Hold; h = Hold(sys.argv[1]); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(front.KeyFileError, match="in use"):
            Hold(path)
        other.kill()
    Hold(path).release()


# What a bus is given


def test_what_key_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSWAY_KEY", raising=False)
    key = saved(tmp_path / "key.pem")
    assert key_of(key) is key
    assert key_of(None) is None
    for given_path in (tmp_path / "key.pem", str(tmp_path / "key.pem")):
        found = key_of(given_path)
        assert found is not None
        assert found.public == key.public
    monkeypatch.setenv("BUSWAY_KEY", str(tmp_path / "key.pem"))
    found = key_of(None)
    assert found is not None
    assert found.public == key.public
    with pytest.raises(TypeError, match="not bytes"):
        key_of(b"key")


# The command


def test_new_and_show(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "key.pem")
    made = busway("key", "new", path)
    assert made.status == 0
    assert path in made.stderr
    (text,) = made.lines
    key = Key.load(path)
    assert text == key.text
    assert busway("key", "show", path).ok().text == f"{text}\n"
    shown = busway("key", "show", path, "--json").ok().document
    assert shown["key"] == text
    assert shown["node"].replace("-", "") == key.id.hex()
    assert "never overwritten" in busway("key", "new", path).failed(1)
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_where_the_command_looks(tmp_path: Path) -> None:
    home = str(tmp_path)
    text = busway("key", "new", XDG_CONFIG_HOME=home, BUSWAY_KEY="").text
    assert Key.load(tmp_path / "busway" / "key.pem").text == text.strip()
    other = str(tmp_path / "other.pem")
    busway("key", "new", XDG_CONFIG_HOME=home, BUSWAY_KEY=other)
    assert (
        busway("key", "show", XDG_CONFIG_HOME=home, BUSWAY_KEY=other).ok().text.strip()
        == Key.load(other).text
    )


def test_command_and_passphrase(tmp_path: Path) -> None:
    path = str(tmp_path / "key.pem")
    text = busway("key", "new", path, "--passphrase", BUSWAY_PASSPHRASE="open sesame").text.strip()
    assert "ENCRYPTED" in Path(path).read_text()
    assert busway("key", "show", path, BUSWAY_PASSPHRASE="open sesame").ok().text.strip() == text
    assert "is encrypted" in busway("key", "show", path).failed(1)
    assert "the passphrase is wrong" in busway("key", "show", path, BUSWAY_PASSPHRASE="sesame").failed(1)
    assert "--passphrase is for new" in busway("key", "show", path, "--passphrase").failed(2)


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    saved(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    assert "chmod 600" in busway("key", "show", str(tmp_path / "key.pem")).failed(1)
    assert "cannot make the folder" in busway("key", "new", "/dev/null/x/key.pem").failed(1)


def test_passphrase_of_a_new_key_is_asked_for_twice_and_not_again_to_show_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    words = ("-m", "busway", "key", "new", str(path), "--passphrase")
    with terminal.forked(*words, env=environment({}), ready=(), columns=200) as screen:
        screen.until(lambda: "passphrase:" in screen.text)
        screen.press("six words\n")
        screen.until(lambda: "Repeat for confirmation:" in screen.text)
        screen.press("six words\n")
        assert screen.ends() == 0
        assert "passphrase of the key" not in screen.text
        assert Key.load(path, "six words").text in screen.text
