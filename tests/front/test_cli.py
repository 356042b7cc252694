"""The common part of all commands of `busway`: help, errors, exit statuses, colours, a fast start."""

import dis
import platform
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import click
import pytest

import busway as front
from busway import protocol
from busway.cli import failures
from busway.cli.app import commands, group, main
from tests.front.cli_rig import busway, busway_anew, new_bus, peer, python

COMMANDS = sorted(commands())
_COMMANDS = (
    "audit",
    *("nodes", "endpoints", "links", "clients", "routes", "trace"),
    *("listen", "send", "publish", "last", "request", "serve", "host"),
    *("describe", "call", "schema", "stub"),
    *(
        "ping",
        "watch",
        "monitor",
        "bridge",
        "connect",
        "listen-on",
        "bench",
        "ports",
        "scan",
        "found",
        "doctor",
        "decode",
    ),
    *("certificate", "key", "pair", "policy", "javascript", "firmware", "token"),
    *("store", "jobs", "history"),
)


def test_commands() -> None:
    assert sorted(_COMMANDS) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    with click.Context(group, info_name="busway", terminal_width=100) as parent:
        command = commands()[name]
        text = command.get_help(click.Context(command, info_name=name, parent=parent))
    assert f"Examples:\n  busway {name}" in text
    assert "--json" in text
    assert max(map(len, text.splitlines())) <= 110


def loaded_names(code: CodeType) -> set[str]:
    """The variables that a function, or one inside it, reads."""
    reads = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")
    found = {step.argval for step in dis.get_instructions(code) if step.opname.startswith(reads)}
    names = {name for each in found for name in (each if isinstance(each, tuple) else (each,))}
    return names.union(*(loaded_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_looked_at(name: str) -> None:
    function: Any = commands()[name].callback
    while function is not None:  # the command itself, and what its decorators put around it
        code = function.__code__
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        assert set(arguments) <= loaded_names(code)
        function = getattr(function, "__wrapped__", None)


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("monitor --log --interval 5", "--interval"),
        ("listen --all --kind unicast", "--kind"),
        ("listen --all --realm global", "--realm"),
        ("listen --all --policy latest", "--policy"),
        ("bench --serve tcp://127.0.0.1:0 --size 16", "--size"),
        ("bench --serve tcp://127.0.0.1:0 --seconds 5", "--seconds"),
        ("bench tcp://127.0.0.1:1 --open", "--open"),
        ("bridge tcp://127.0.0.1:1 --open", "--open"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words: str, idle: str) -> None:
    assert idle in busway(*words.split(), bus=new_bus()).failed(2)


def test_help_of_all() -> None:
    text = busway_anew("--help").ok().text
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "Exit status:" in text
    assert busway("send", "-h").ok().text.startswith("Usage: busway send ")


def test_version() -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    compiled = str(protocol.__file__).endswith(".so")  # programs run the package that the tests do
    core = "compiled" if compiled else "pure Python"
    assert busway_anew("--version").ok().text == f"busway {front.__version__}, {core} core, {python}\n"


def test_no_command_shows_the_help() -> None:
    ended = busway_anew()
    assert ended.status == 2
    assert "Commands:" in ended.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["nods"], "Did you mean 'nodes'?"),
        (["send"], "Missing argument 'NAME'"),
        (["send", "x" * 65], "1 to 64 UTF-8 bytes"),
        (["nodes", "--bus", "a\nb"], "no control characters"),
        (["nodes", "--timeout", "-1"], "--timeout"),
        (["send", "x", "-j", "{no"], "the payload is no JSON: "),
        (["send", "x", "--hex", "abc"], "not hexadecimal"),
        (["send", "x", "y", "--file", "/dev/null"], "exclude each other"),
        (["serve", "x"], "Missing argument"),
        (["key"], "Choose from: new, show (see busway key --help)"),
        (["nodes", "--connect", "carrier-pigeon://loft"], "expected tcp://host:port"),
        (["decode", "0g"], "expected hex digits"),
        (["decode", " "], "there are no bytes"),
    ],
)
def test_wrong_usage(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["busway", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("busway: ")
    assert sentence in line


def test_wrong_usage_as_json() -> None:
    ended = busway("send", "x", "--json", "--hex", "abc")
    assert ended.failed(2) == f"busway: {ended.document['error']['message']}"
    assert ended.document["error"]["status"] == 2


def test_a_bus_that_cannot_be_joined(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert "expected 0700: run `chmod 700 " in busway("nodes", BUSWAY_DIR=str(tmp_path)).failed(4)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("tcp://192.0.2.1:7660: Connection refused", "; is a node listening there?"),
        ("tcp://192.0.2.1:7660: No route to host", "; is that machine on, and its address right?"),
        ("tcp://192.0.2.1:7660: Network is unreachable", "; has this machine a network that leads there?"),
        (
            "tcp://192.0.2.1:7660: Connection timed out",
            "; is its address right, and does a firewall let its port pass?",
        ),
        (
            "serial:///dev/ttyS0: nobody answers on the line",
            "; are the wires crossed (TX to RX), both ends' baud the same, and does a program run there?",
        ),
        ("no answer within 10 s", "; is its address right, and does a firewall let its port pass?"),
        ("tcp://192.0.2.1:7660: Permission denied", ""),
    ],
)
def test_place_that_cannot_be_reached(text: str, remedy: str) -> None:
    assert failures.with_remedy(text) == text + remedy


def test_a_link_that_is_refused() -> None:
    assert "Connection refused; is a node" in busway("nodes", "--connect", "tcp://127.0.0.1:1").failed(4)


_FAR = """
import asyncio, busway
async def main():
    async with busway.AsyncBus(label="far", ipc=False) as bus:
        listener = await bus.listen("tcp://127.0.0.1:0", token="secret-h4k9w2x7q5m8z3t6r1v0")
        bus.serve("lab/echo", lambda request: request.payload)
        print(listener.url, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_node_over_tcp() -> None:
    with python("-c", _FAR) as far:
        url = far.line()
        assert "one side has none" in busway("nodes", "--connect", url).failed(4)
        assert "the token is wrong" in busway(
            "nodes", "--connect", url, BUSWAY_TOKEN="other-h4k9w2x7q5m8z3t6r1v0"
        ).failed(4)
        connect = ("--connect", url, "--token", "secret-h4k9w2x7q5m8z3t6r1v0")
        assert busway("request", "lab/echo", "7", *connect).ok().text == "7\n"
        # Its state is for programs of its own machine; that it says so is an answer, too.
        (node,) = busway("nodes", "--json", *connect).ok().document
        assert (node["label"], node["answer"]) == ("far", "beyond introspection's realm")
        row = busway("nodes", *connect).ok().text.splitlines()[1]
        assert row.endswith("beyond introspection's realm")
        assert "1 replies" in busway("ping", "far", "-c", "1", *connect).ok().text


def test_no_colours_in_a_pipe_nor_with_no_color() -> None:
    bus = new_bus()
    with peer(bus):
        assert "\x1b" not in busway("nodes", bus=bus).ok().text
        assert "\x1b[32mok" in _on_terminal(bus)
        assert "\x1b" not in _on_terminal(bus, NO_COLOR="1")


def _on_terminal(bus: str, **extra: str) -> str:
    """The row of `busway nodes` as a terminal gets it."""
    script = "import pty, sys; pty.spawn([sys.executable, '-m', 'busway', 'nodes'])"
    with python("-c", script, BUSWAY_BUS=bus, TERM="xterm", **extra) as terminal:
        terminal.line()
        return terminal.line()


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (["--help"], {"asyncio", "rich", "cbor2"}),
        (["listen", "--help"], {"rich", "cbor2", "busway.cli.look"}),
        (["send", "x", "1", "--bus", "test-nobody"], {"rich", "msgspec", "busway.cli.serving"}),
    ],
)
def test_starts_without_what_it_does_not_need(words: list[str], unwanted: set[str]) -> None:
    script = (
        "import sys, contextlib\nfrom busway.cli import main\n"
        f"sys.argv = {['busway', *words]!r}\n"
        "with contextlib.suppress(SystemExit): main()\n"
        f"print('imported', sorted({unwanted!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.splitlines()[-1] == "imported []"


def test_nothing_is_collected_while_a_command_loads() -> None:
    """What loads is no garbage; once the command runs, there may be some."""
    script = (
        "import contextlib, gc, sys\nfrom busway.cli import app, main\nload = app.import_module\n"
        "app.import_module = lambda name: (print('collects', gc.isenabled()), load(name))[1]\n"
        "sys.argv = ['busway', 'decode', '05']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('collects', gc.isenabled())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    said = [line for line in run.stdout.splitlines() if line.startswith("collects")]
    assert said == ["collects False", "collects True"]


class TestDecode:
    # SEND over alias 1, message 1, bytes "hi!"
    HEX = "07 90 01 00 01 68 69 21"

    def test_arguments(self) -> None:
        lines = busway("decode", *self.HEX.split()).ok().lines
        assert lines[0].startswith("PUBLISH  8 bytes at 0")
        assert any("payload" in line and "hi!" in line for line in lines)

    @pytest.mark.parametrize("text", [True, False])
    def test_standard_input_and_json(self, text: bool) -> None:
        data = bytes.fromhex(self.HEX)
        ended = busway("decode", "--json", stdin=self.HEX.encode() if text else data).ok()
        (frame,) = ended.document
        assert (frame["name"], frame["hex"], frame["problem"]) == ("PUBLISH", data.hex(), "")
        assert [field["name"] for field in frame["fields"]][:2] == ["length", "head"]

    def test_a_file_of_text_taken_as_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "capture"
        path.write_bytes(b"0123456789" * 5)  # 0x31 is no frame that is known
        ended = busway("decode", "--file", str(path), "--binary", "--json")
        assert ended.status == 1
        assert ended.document[0]["error"]["name"] == "UNKNOWN_FRAME"

    def test_malformed(self) -> None:
        ended = busway("decode", "00", "ff")
        assert ended.status == 1
        assert "MALFORMED (9)" in ended.text
