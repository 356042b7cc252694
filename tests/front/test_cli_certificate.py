"""`busway certificate`: what it writes works for wss://, and nobody else can read it."""

import stat
from pathlib import Path

import busway as front
from tests.front.cli_rig import busway


def test_what_it_writes_works(tmp_path: Path) -> None:
    out = tmp_path / "certificates"
    for _ in range(2):  # what is there is replaced
        ended = busway("certificate", "--out", str(out)).ok()
        assert ended.text.split() == [str(out / name) for name in ("ca.pem", "chain.pem", "key.pem")]
    assert stat.S_IMODE((out / "key.pem").stat().st_mode) == 0o600
    with front.Bus(ipc=False) as server, front.Bus(ipc=False) as client:
        server.serve("echo", lambda request: request.payload, realm="global")
        listener = server.listen(
            "wss://127.0.0.1:0", certificate=str(out / "chain.pem"), key=str(out / "key.pem")
        )
        client.connect(listener.url, cafile=str(out / "ca.pem"))
        assert client.request("echo", b"through TLS") == b"through TLS"


def test_other_names_and_json(tmp_path: Path) -> None:
    found = busway("certificate", "--out", str(tmp_path), "--name", "lab.example", "--json").ok().document
    assert found == {name: str(tmp_path / f"{name}.pem") for name in ("ca", "chain", "key")}


def test_what_cannot_be(tmp_path: Path) -> None:
    assert busway("certificate").status == 2
    (tmp_path / "file").write_text("")
    assert "cannot write" in busway("certificate", "--out", str(tmp_path / "file" / "x")).stderr
