"""Open files as programs have them: who owns the descriptor, and when it is closed."""

import copy
import gc
import io
import itertools
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import busway
from busway import files
from tests.rigs import held


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = held.descriptors()
    yield
    assert held.descriptors().keys() == before.keys()


def test_a_file_is_a_copy_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"hello")
    with path.open("rb") as original:
        file = busway.File(original)
        assert file.fileno() != original.fileno()
        assert repr(file) == f"<File {file.fileno()}>"
    assert not os.get_inheritable(file.fileno())
    with file, file.open() as opened:
        assert file.closed
        assert opened.read() == b"hello"
    assert repr(file) == "<File, closed>"
    with pytest.raises(ValueError, match="closed"):
        file.fileno()
    with pytest.raises(ValueError, match="closed"):
        file.open()
    with pytest.raises(ValueError, match="closed"), file:
        pass
    file.close()
    file.close()


def test_text_modes_and_their_options(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as original, busway.File(original).open("w", encoding="latin-1") as opened:
        opened.write("é")
    assert path.read_bytes() == b"\xe9"


@pytest.mark.parametrize(
    ("mode", "options", "error"),
    [
        ("q", {}, ValueError),
        ("rb", {"encoding": "utf-8"}, ValueError),
        ("r", {"encoding": "no-such-encoding"}, LookupError),
        ("w+b", {"buffering": 0, "newline": "x"}, ValueError),
    ],
)
def test_who_cannot_open_it_keeps_it(mode: str, options: dict[str, object], error: type[Exception]) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    file = busway.File(reader)
    os.close(reader)
    with pytest.raises(error):
        file.open(mode, **options)
    os.fstat(file.fileno())
    file.close()


def test_a_directory_can_be_sent_and_not_opened(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    file = busway.File(fd)
    os.close(fd)
    with pytest.raises(IsADirectoryError):
        file.open()
    assert os.listdir(file.fileno()) == []
    file.close()


def test_a_socket_goes_on_as_it_was() -> None:
    ours, theirs = socket.socketpair()
    for blocking in (True, False):
        theirs.setblocking(blocking)
        with busway.File(theirs).socket() as copy:
            assert copy.getblocking() is blocking
            assert copy.family == socket.AF_UNIX
            ours.send(b"x")
            assert copy.recv(1) == b"x"
    ours.close()
    theirs.close()


def test_what_is_no_socket_stays() -> None:
    with open(os.devnull, "rb") as null, busway.File(null) as file:
        with pytest.raises(OSError):
            file.socket()
        assert not file.closed


def test_a_detached_descriptor_is_the_callers() -> None:
    with open(os.devnull, "rb") as null:
        file = busway.File(null)
    fd = file.detach()
    assert file.closed
    del file
    os.close(fd)


def test_one_that_is_dropped_open_is_closed_with_a_warning() -> None:
    with open(os.devnull, "rb") as null:
        file = busway.File(null)
    fd = file.fileno()
    held_by = [file]
    del file
    with pytest.warns(ResourceWarning, match=f"unclosed <File {fd}>"):
        held_by.clear()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_where_warnings_are_errors_it_is_closed_all_the_same(recwarn: pytest.WarningsRecorder) -> None:
    with open(os.devnull, "rb") as null:
        file = busway.File(null)
    fd = file.fileno()
    unraised: list[object] = []
    former, sys.unraisablehook = sys.unraisablehook, unraised.append
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del file
            gc.collect()
    finally:
        sys.unraisablehook = former
    assert len(unraised) == 1
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize("wrong", ["name", b"name", 1.5, None, True, [], busway.File, io.BytesIO(b"x")])
def test_what_has_no_descriptor_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        busway.File(wrong)  # type: ignore[arg-type]


def test_what_is_closed_is_refused() -> None:
    with open(os.devnull, "rb") as null:
        file = busway.File(null)
        number = file.fileno()
    file.close()
    sock = socket.socket()
    sock.close()
    for wrong in (null, file, number, sock, -1, 1 << 40):
        with pytest.raises(ValueError):
            busway.File(wrong)


def test_as_many_as_a_message_carries_and_one_more() -> None:
    reader, writer = os.pipe()
    try:
        before = held.count()
        made = files.given([reader, writer] * 32)
        assert len(made) == files.FILES_MAX == 64
        assert held.count() == before + 64
        del made
        with pytest.raises(ValueError, match="at most 64 files, not 65"):
            files.given(iter([reader] * 65))
        with pytest.raises(ValueError, match="at most 64 files, not 65 or more"):
            files.given(itertools.repeat(reader))
        region = busway.Region(4096)
        with pytest.raises(ValueError, match="at most 64 files and regions, not 65 or more"):
            busway.Attached(regions=itertools.repeat(region))
        del region
        assert held.count() == before
    finally:
        os.close(reader)
        os.close(writer)


def test_what_was_copied_before_one_that_is_wrong_is_closed() -> None:
    with open(os.devnull, "rb") as null:
        before = held.count()
        for wrong in ("x", None):
            with pytest.raises(TypeError):
                files.given([null, null, wrong])  # type: ignore[list-item]
        assert held.count() == before


@pytest.mark.parametrize("wrong", ["path", b"path", 7])
def test_one_file_is_no_list(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"files=\[file\]"):
        files.given(wrong)  # type: ignore[arg-type]


def test_an_open_file_is_one_file_and_not_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    for mode in ("r", "rb"):
        with open(path, mode) as file, pytest.raises(TypeError, match=r"files=\[file\]"):
            files.given(file)


@pytest.mark.parametrize("path", ["/dev/null", b"/dev/null", Path("/dev/null")])
def test_a_path_is_to_be_opened_first(path: object) -> None:
    with pytest.raises(TypeError, match=r"not .*/dev/null.* \(open it first\)$"):
        files.given([path])  # type: ignore[list-item]


def test_no_copy_of_a_file_closes_it_again() -> None:
    with busway.File(0) as file:
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="File cannot be copied or pickled"):
                copied(file)
        with pytest.raises(TypeError, match="Descriptor cannot be copied"):
            copy.deepcopy(busway.Attached("value", files=[file]))
        os.fstat(file.fileno())
