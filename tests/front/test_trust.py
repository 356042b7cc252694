"""Trust: tables and files of who may join, errors that name the line, files that change."""

import os
import stat
from pathlib import Path

import pytest

import busway as front
from busway import settings, trust
from busway.keys import public_text
from busway.trust import Trusted, TrustFile, append, parse, trust_of

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
ENTRY = f'[lab-pc]\nkey = "{public_text(ONE)}"\nrole = "router"\n'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("BUSWAY_TRUST", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "trust.toml"


def written(path: Path, text: str) -> TrustFile:
    path.write_text(text)
    path.chmod(0o600)
    return TrustFile(path)


# What stands in a file


def test_entries(path: Path) -> None:
    text = f'{ENTRY}\n["a phone"]\nrole = "leaf"\nkey = "{public_text(TWO).upper()}"\n'
    book = written(path, text)
    assert book.entries == [Trusted("lab-pc", ONE, "router"), Trusted("a phone", TWO, "leaf")]
    assert book.find(TWO) == Trusted("a phone", TWO, "leaf")
    assert book.find(THREE) is None
    assert written(path, "# nobody yet\n").entries == []


KEY = public_text(ONE)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ('\n[a]\nkey = "x"\nrole = "leaf"\n', 3, "a: 'x' is no public key"),
        (f'[a]\nkey = "{KEY[:-1]}2"\nrole = "leaf"\n', 2, "is mistyped"),
        (f'[a]\nkey = "{KEY}"\n\nrole = "boss"\n', 4, "not 'boss'"),
        (f'[a]\nkey = "{KEY}"\nrole = 1\n', 3, 'a needs role = "leaf" or "router"'),
        (f'[a]\nkey = "{KEY}"\n', 1, "a needs role"),
        (f'[a]\nkey = "{KEY}"\nrole = "leaf"\nrank = 1\n', 4, "a has 'rank'"),
        (f'{ENTRY}\n[b]\nrole = "leaf"\nkey = "{KEY}"\n', 7, "b has the key of lab-pc"),
        (f'a = {{ role = "boss", key = "{KEY}" }}\n', 1, "not 'boss'"),
        (f'# first\n"lab pc" = {{ key = "{KEY}" }}\n', 2, "lab pc needs role"),
        ("x = 1\n", 1, "expected [x]"),
        (f'[{KEY}]\nrole = "leaf"\n', 1, "the key stands where the name belongs"),
        ('["a\\u001b"]\nrole = "leaf"\n', 1, "no control characters"),
        ("# fine\n[a\n", 2, "no TOML"),
        ("a = \n", 1, "no TOML"),
        ('[a]\nkey = "', 2, "no TOML"),
    ],
)
def test_errors_name_the_line(text: str, line: int, sentence: str) -> None:
    with pytest.raises(front.TrustFileError) as caught:
        parse(text, "F")
    assert sentence in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"trust file F: line {line}: ")


def test_file_has_an_end() -> None:
    most = "".join(f"x{number} = 1\n" for number in range(trust.KEYS_MAX + 1))
    with pytest.raises(front.TrustFileError, match="line 4097: it has 4097 entries, and 4096 are the most"):
        parse(most, "F")


def test_file_that_cannot_be_used(path: Path) -> None:
    with pytest.raises(front.TrustFileError, match="`busway pair` makes one"):
        TrustFile(path)
    with pytest.raises(front.TrustFileError, match="more than 1048576 bytes"):
        written(path, "#" * 1048577)
    path.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(front.TrustFileError, match="line 2: it is not UTF-8"):
        TrustFile(path)
    with pytest.raises(front.TrustFileError, match="directory"):
        TrustFile(path.parent)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    path.write_text(ENTRY)
    path.chmod(mode)
    with pytest.raises(front.TrustFileError, match=f"mode {mode:04o}.*chmod go-w"):
        TrustFile(path)
    path.chmod(0o644)  # it is no secret
    assert TrustFile(path).find(ONE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_file_of_another_user_is_refused(path: Path) -> None:
    path.write_text(ENTRY)
    os.chown(path, 12345, -1)
    with pytest.raises(front.TrustFileError, match="belongs to another user"):
        TrustFile(path)


# Files that change


def test_file_is_read_again_when_it_changes(path: Path) -> None:
    book = written(path, ENTRY)
    first = book.version()
    assert book.version() == first
    path.write_text(ENTRY.replace("router", "leaf"))
    assert book.find(ONE) == Trusted("lab-pc", ONE, "leaf")
    assert book.version() != first
    second = book.version()
    path.write_text("# nobody\n")
    assert book.version() != second
    assert book.find(ONE) is None


def test_what_it_said_holds_while_the_new_is_wrong(path: Path) -> None:
    book = written(path, ENTRY)
    before = book.version()
    path.write_text(ENTRY + "[b]\n")
    assert book.find(ONE)
    assert book.version() != before  # somebody has to be told
    assert (
        str(book.trouble)
        == f'trust file {path}: line 4: b needs key = "busway1…", as `busway key show` prints it'
    )
    same = book.version()
    path.write_text(ENTRY + f'\n[b]\nkey = "{public_text(TWO)}"\nrole = "leaf"\n')
    assert book.find(TWO)
    assert book.trouble is None
    assert book.version() != same
    path.unlink()
    assert book.find(TWO)
    assert "No such file" in str(book.trouble)


def test_what_is_completed_while_it_is_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever was taken out would stay trusted until the next change."""
    book = written(path, ENTRY)

    def half_written(where: str, *_: object) -> tuple[str, tuple[int, ...]]:
        monkeypatch.undo()
        path.write_text("# nobody any more\n")
        raise front.TrustFileError(where, 0, "half of it")

    path.write_text("[")
    monkeypatch.setattr(settings, "contents", half_written)
    assert book.find(ONE)
    assert book.find(ONE) is None
    assert book.trouble is None


@pytest.mark.parametrize("text", [f"a = {'1' * 5000}\n", f"a = {'[' * 5000}\n"])
def test_what_the_parser_gives_up_on_is_wrong_as_all_else(path: Path, text: str) -> None:
    book = written(path, ENTRY)
    path.write_text(text)
    assert book.find(ONE)
    assert "no TOML: a number is too long" in str(book.trouble)


def test_permissions_count_at_each_change(path: Path) -> None:
    book = written(path, ENTRY)
    path.chmod(0o666)
    path.write_text(ENTRY + f'\n[b]\nkey = "{public_text(TWO)}"\nrole = "leaf"\n')
    assert book.find(TWO) is None
    assert "others can write it" in str(book.trouble)


def test_file_that_stays_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = written(path, ENTRY)
    monkeypatch.setattr(settings, "contents", pytest.fail)
    for _ in range(100):
        assert book.find(ONE)
        assert book.find(TWO) is None


# Entering a key


def test_append(path: Path) -> None:
    append(path, Trusted('a "quoted" \\ name', ONE, "leaf"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(path.read_text() + "# my own words, without a line's end")
    path.chmod(0o640)
    append(path, Trusted("b", TWO, "router"))
    assert TrustFile(path).entries == [
        Trusted('a "quoted" \\ name', ONE, "leaf"),
        Trusted("b", TWO, "router"),
    ]
    assert "# my own words" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == [path.name]


def test_appending_keeps_who_may_read_it(path: Path) -> None:
    """A service of another user reads it, and whoever pairs has a umask of their own."""
    path.write_text(ENTRY)
    path.chmod(0o644)
    former = os.umask(0o077)
    try:
        append(path, Trusted("b", TWO, "leaf"))
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_appending_leaves_nothing_behind_when_it_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what another has left behind is in nobody's way: in a container every process has the same id."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    path.write_text(ENTRY)
    (path.parent / f"trust.toml.{os.getpid()}.new").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(front.TrustFileError, match="cannot be written: No space left"):
            append(path, Trusted("b", TWO, "leaf"))
    assert len(list(path.parent.iterdir())) == 2
    append(path, Trusted("b", TWO, "leaf"))
    assert len(TrustFile(path).entries) == 2


def test_appending_follows_a_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is made beside the real one: from another file system it could not be moved there."""
    real = path.parent / "there" / "real.toml"
    real.parent.mkdir()
    real.write_text(ENTRY)
    path.symlink_to(real)
    moved: list[str] = []
    monkeypatch.setattr(os, "replace", lambda source, target: moved.append(os.path.dirname(source)))
    append(path, Trusted("b", TWO, "leaf"))
    assert moved == [str(real.parent)]


def test_append_to_a_link_keeps_the_link(path: Path) -> None:
    real = path.with_name("real.toml")
    written(real, ENTRY)
    path.symlink_to(real)
    append(path, Trusted("b", TWO, "router"))
    assert path.is_symlink()
    assert len(TrustFile(real).entries) == 2


def test_what_cannot_be_entered(path: Path) -> None:
    written(path, ENTRY)
    for trusted, sentence in (
        (Trusted("other", ONE, "leaf"), "it has that key already, as lab-pc with role router"),
        (Trusted("lab-pc", TWO, "leaf"), "it has lab-pc already, with another key"),
    ):
        with pytest.raises(front.TrustFileError, match=sentence):
            append(path, trusted)
    with pytest.raises(ValueError, match="is no name"):
        append(path, Trusted("a\n[b]", TWO, "leaf"))
    with pytest.raises(ValueError, match="the key of one run"):
        append(path, Trusted("other", TWO[:-1] + bytes((TWO[-1] | 0x80,)), "leaf"))
    assert path.read_text() == ENTRY


# What a bus is given


def test_table(path: Path) -> None:
    written(path, ENTRY)
    os.makedirs(path.parent / "busway")
    path.rename(path.parent / "busway" / "trust.toml")
    found = trust_of({public_text(TWO): "leaf", "lab-pc": "leaf"})
    assert found is not None
    assert found.find(ONE) == Trusted("lab-pc", ONE, "leaf")
    second = found.find(TWO)
    assert second is not None
    assert second.role == "leaf"
    assert found.find(THREE) is None
    assert found.version() == found.version()
    assert found.trouble is None


def test_what_trust_may_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust_of(None) is None
    written(path, ENTRY)
    monkeypatch.setenv("BUSWAY_TRUST", str(path))
    for given in (None, path, str(path), {"lab-pc": "router"}):
        found = trust_of(given)
        assert found is not None
        assert found.find(ONE)
    with pytest.raises(ValueError, match=r"'lab' is no key .*nor a name in the trust file"):
        trust_of({"lab": "leaf"})
    with pytest.raises(ValueError, match="not 'king'"):
        trust_of({public_text(ONE): "king"})
    with pytest.raises(ValueError, match="mistyped"):
        trust_of({public_text(ONE)[:-1] + "2": "leaf"})
    with pytest.raises(TypeError, match="not b'"):
        trust_of({ONE: "leaf"})
    with pytest.raises(TypeError, match="not list"):
        trust_of([public_text(ONE)])
    with pytest.raises(ValueError, match="4097 entries"):
        trust_of({str(number): "leaf" for number in range(4097)})
