"""The documents: examples run, links lead somewhere, each file says its job, tables equal the code."""

import contextlib
import inspect
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import busway
from busway.adapters import making
from busway.adapters.opening import TCP_PORT
from busway.drivers import ble, serial, serial_ports, tcp, unix, upgrades, websocket
from busway.errors import _REASON_SENTENCES
from busway.names import NAME_SIZE_MAX, NAMESPACE
from busway.payloads import DEPTH_MAX, INTEGER_SIZE_MAX
from busway.protocol import Limits, codes
from busway.protocol.packet.packets import MTU_SERIAL
from busway.protocol.wire import things
from tests.front.cli_rig import Running, busway_started
from tests.rigs import aio, forks
from tests.rigs.boards import board
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT, SOURCE

DOCUMENTS = (
    *(path.name for path in sorted(ROOT.glob("*.md"))),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
    "firmware_examples/bridge/README.md",
)
CALLS, TESTING, CLOCK = "docs/tutorial/calls.md", "docs/howto/testing.md", "docs/tutorial/first-program.md"
COMMANDS = "docs/howto/command-line.md"
SEALED = "docs/howto/sealed.md"
SERVICES = "docs/howto/services.md"
MACHINES, BOARD = "docs/tutorial/two-machines.md", "docs/tutorial/board.md"
CONFIGURATION = "docs/reference/configuration.md"
CODE_FOLDERS = (
    "protocol",
    "drivers",
    "adapters",
    "src/busway",
    "benchmarks",
    "firmware_examples",
    "examples",
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\) +# (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ASKS = re.compile(r'^ *"""((?:What|Who|Whoever|Whom|Whose|Those)\b.*)', re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|Users|workspace|builds|tmp/plan)\b")


# What the documents say --------------------


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for found, body in FENCE.findall(text_of(document)) if found == language]


def programs(document: str) -> dict[str, str]:
    """Its Python blocks that begin with a file name, by that name."""
    named = {}
    for body in blocks(document, "python"):
        if first := re.match(r"# (\w+\.py)\n", body):
            named[first[1]] = body
    return named


def pasted(document: str) -> str:
    """Its other Python blocks, as one pastes them: a blank line ends what is indented."""
    found = [body for body in blocks(document, "python") if not re.match(r"# [\w/]+\.py\n", body)]
    return "\n".join(found) + "\n"


def tables(document: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header cells and rows of each table."""
    for found in re.findall(r"(?:^\|.*\|\n)+", FENCE.sub("", text_of(document)), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found.splitlines()]
        yield rows[0], rows[2:]


def rows_of(document: str, *header: str) -> list[list[str]]:
    """The rows of the one table whose header begins so."""
    (rows,) = [rows for head, rows in tables(document) if tuple(head[: len(header)]) == header]
    return rows


def anchors(document: str) -> set[str]:
    """The anchors that a Markdown viewer makes of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Running examples --------------------


@pytest.fixture
def own_bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples use the bus "default"; here nobody else is on it."""
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        monkeypatch.setenv("BUSWAY_DIR", directory)
        yield


@contextmanager
def running(script: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, script]) as process:
        try:
            yield
        finally:
            process.terminate()


async def answered(endpoint: str, payload: object) -> None:
    """Wait until somebody answers there."""
    async with busway.AsyncBus() as bus:
        await bus.request(endpoint, payload, ttl=10.0, timeout=15.0)


@contextmanager
def at_work(document: str, name: str, folder: Path, endpoint: str, payload: object) -> Iterator[None]:
    """A program of the document that serves, once it answers there."""
    script = folder / name
    script.write_text(programs(document)[name])
    with running(script):
        aio.run(answered(endpoint, payload))
        yield


@pytest.fixture
def pump(own_bus: None, tmp_path: Path) -> Iterator[None]:
    """The first terminal of the README's first example."""
    with at_work("README.md", "pump.py", tmp_path, "lab/pump", {"rpm": 0}):
        yield


@pytest.fixture
def clock(own_bus: None, tmp_path: Path) -> Iterator[None]:
    """The tutorial's first program."""
    with at_work(CLOCK, "clock.py", tmp_path, "lab/time", None):
        yield


def in_order(expected: Sequence[str], output: str) -> bool:
    """Whether each text stands in the output behind the one before it."""
    position = 0
    for text in expected:
        position = output.find(text, position)
        if position < 0:
            return False
        position += len(text)
    return True


def prints_what_it_says(document: str, name: str, folder: Path) -> None:
    """Runs a program to its end."""
    source = programs(document)[name]
    (folder / name).write_text(source)
    assert PRINTED.findall(source) == output_of([sys.executable, folder / name], cwd=folder).splitlines()


def test_two_terminals(pump: None, tmp_path: Path) -> None:
    prints_what_it_says("README.md", "ask.py", tmp_path)


def test_two_terminals_need_at_most_eight_lines_each() -> None:
    for name in ("pump.py", "ask.py"):
        assert len([line for line in programs("README.md")[name].splitlines()[1:] if line]) <= 8


def test_the_tutorials_first_program(clock: None, tmp_path: Path) -> None:
    prints_what_it_says(CLOCK, "ask_time.py", tmp_path)
    shows_what_it_says(CLOCK, tmp_path)


RUN_ELSEWHERE = {
    "pump.py",
    "ask.py",
    "clock.py",
    "ask_time.py",
    "panel.py",
    "reader.py",
    "alarms.py",
    "lost_pump.py",
    "watcher.py",
    "site.py",
    "hall_app.py",
}  # the last two: tests/web/test_page.py, tests/web/test_asgi.py
ALONE = [
    (document, name) for document in DOCUMENTS for name in programs(document) if name not in RUN_ELSEWHERE
]


@pytest.mark.parametrize(
    ("waits", "comes", "printed"),
    [("pump.py", "panel.py", ["panel True", "panel False"]), ("reader.py", "alarms.py", ["panel door 3"])],
)
def test_sealed_programs(own_bus: None, tmp_path: Path, waits: str, comes: str, printed: list[str]) -> None:
    """As two programs, which meet by themselves."""
    text = blocks(SEALED, "toml")[0]
    for name, key in zip(("panel", "pump"), re.findall(r"busway1\w+", text), strict=True):
        own = busway.Key.new()
        own.save(tmp_path / f"{name}.pem")
        text = text.replace(key, own.text)
    (tmp_path / "trust.toml").write_text(text)
    for name in (waits, comes):
        (tmp_path / name).write_text(programs(SEALED)[name])
    options: Any = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, waits], **options) as waiting:
        try:
            said = subprocess.run([sys.executable, comes], **options, timeout=120, check=True).stdout
            assert waiting.stdout is not None
            assert [waiting.stdout.readline().strip() for _ in printed] == printed
        finally:
            waiting.terminate()
    if comes == "panel.py":
        assert said.splitlines() == ["{'ok': True}", "at 0", "at 45", "at 90"]


def test_a_last_word_comes_to_who_watches(own_bus: None, tmp_path: Path) -> None:
    document = "docs/howto/presence.md"
    for name, source in programs(document).items():
        (tmp_path / name).write_text(source)
    options: Any = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "watcher.py"], **options) as watching:
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline() == "watching\n"
            assert subprocess.run([sys.executable, "lost_pump.py"], **options, timeout=120).returncode == 1
            said = watching.stdout.readline().strip()
        finally:
            watching.terminate()
    assert said
    assert f"`{said}`" in (ROOT / document).read_text()


@pytest.mark.parametrize(("document", "name"), ALONE)
def test_programs_that_run_alone(own_bus: None, tmp_path: Path, document: str, name: str) -> None:
    prints_what_it_says(document, name, tmp_path)


def test_there_are_such_programs() -> None:
    assert {name for _, name in ALONE} == {
        *("upper.py", "blocking.py", "core.py", "patience.py", "told.py"),
        *("readings.py", "oven.py", "arm.py", "away.py"),
        *("speeds.py", "contract.py", "lamp.py", "greenhouse.py", "logger.py"),
        *("blink.py", "lamp_alone.py", "replay.py", "citizen.py"),
        *("hall.py", "granted.py", "keeper.py", "regions.py"),
    }


@pytest.mark.parametrize(("document", "words"), [(CALLS, 20), (TESTING, 4)])
def test_what_is_pasted_into_the_python_prompt(
    own_bus: None, tmp_path: Path, document: str, words: int
) -> None:
    source = pasted(document)
    run = subprocess.run(
        [sys.executable, "-m", "asyncio"],
        input=source,
        cwd=tmp_path,
        timeout=120,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Error" not in run.stderr, run.stderr
    expected = [word for line in PRINTED.findall(source) for word in line.split()]
    assert len(expected) > words
    assert in_order(expected, run.stdout), run.stdout


def commands(document: str) -> list[tuple[str, list[str]]]:
    """Its `busway` commands, each with the lines it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for body in blocks(document, "console"):
        for line in body.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


# What differs from run to run: times of day, node ids, round trips, and the seconds that clock.py publishes.
VARYING = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{3})?|\b[0-9a-f]{8}\b|\b\d+\.\d\d ms|bus '\w+'|(?<=\")\d\d(?=\")")


def prints(line: str, shown: Sequence[str], folder: Path, **extra: str) -> None:
    """Runs one command; "…" stands for what differs from run to run, too."""
    words = shlex.split(line)
    assert words[0] == "busway", line
    program = forks.Program(["-m", *words], {**os.environ, **extra}, directory=folder)
    status, output, complaints = program.communicate(b"", 120)
    printed = (output + complaints).decode()
    assert status == 0, f"{line} printed:\n{printed}"
    assert printed.strip() or not shown, line
    for text in shown:
        parts = [" ".join(part.split()) for part in VARYING.sub("…", text).split("…")]
        assert in_order(parts, " ".join(printed.split())), f"{line} printed:\n{printed}"


def shows_what_it_says(document: str, folder: Path) -> None:
    """Runs the document's commands one after the other."""
    assert commands(document)
    for line, shown in commands(document):
        prints(line, shown, folder)


@pytest.mark.parametrize("document", ["README.md", COMMANDS])
def test_command_line(pump: None, tmp_path: Path, document: str) -> None:
    shows_what_it_says(document, tmp_path)


def test_services_from_a_shell(own_bus: None, tmp_path: Path) -> None:
    """The first program of the page, but that it serves until it is ended."""
    source = programs(SERVICES)["speeds.py"]
    head, serving, _ = source.partition("        bus.host(Pump())\n")
    assert serving
    (tmp_path / "pump.py").write_text(
        f"{head}{serving}        await asyncio.Event().wait()\n\n\nasyncio.run(main())\n"
    )
    with running(tmp_path / "pump.py"):
        aio.run(answered("lab/pump", ["busway.describe", {}]))
        shows_what_it_says(SERVICES, tmp_path)


def test_two_machines(tmp_path: Path) -> None:
    """Each machine is a `BUSWAY_DIR` of its own; the address is a port of the first one's bridge."""
    (serve, _), (listening, _), (dialling, _), *asked = commands(MACHINES)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(tempfile.TemporaryDirectory(prefix="bw-")) for _ in range(2))

        def start(line: str, directory: str) -> Running:
            words = shlex.split(line)[1:]
            return stack.enter_context(
                busway_started(
                    *words, bus="default", BUSWAY_DIR=directory, BUSWAY_TOKEN="secret-h4k9w2x7q5m8z3t6r1v0"
                )
            )

        start(serve, first)
        said = until_line(start(listening.replace("0.0.0.0:7000", "127.0.0.1:0"), first), "listening")
        (url,) = re.findall(r"tcp://[\d.:]+", said)
        until_line(start(dialling.replace("tcp://192.168.1.20:7000", url), second), "link-up")
        for line, shown in asked:
            prints(line, shown, tmp_path, BUSWAY_DIR=second)


def test_the_board_of_the_tutorial(own_bus: None, tmp_path: Path) -> None:
    installed, shell = tmp_path / "board", tmp_path / "shell"
    installed.mkdir()
    shell.mkdir()
    with (
        board("uart_sensor.py", installed) as found,
        busway_started("bridge", found.url, bus="default") as bridge,
    ):
        until_line(bridge, "link-up")
        aio.run(answered("lab/identify", 1))
        shows_what_it_says(BOARD, shell)


def until_line(running: Running, text: str) -> str:
    """The next line it prints that has the text."""
    while text not in (line := running.line()):
        pass
    return line


# Links and what files say of themselves --------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in LINK.findall(FENCE.sub("", text_of(document))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / document).parent / path if path else ROOT / document
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), target


def test_each_file_says_its_job_first() -> None:
    silent = []
    for folder in (*CODE_FOLDERS, "tests"):
        for base, folders, files in os.walk(ROOT / folder, followlinks=False):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in files:
                path = Path(base, name)
                text = path.read_text(encoding="utf-8") if name.endswith((".py", ".js")) else "# no code"
                if text.strip() and not re.match(r'(#!.*\n)?("""|#|/\*)', text):
                    silent.append(str(path.relative_to(ROOT)))
    assert silent == []


NAMED_PATH = re.compile(r"[` ]((?:\.ci|adapters|docs|drivers|examples|protocol|src|tests)/[\w./*-]*)")


def test_docstrings_begin_with_the_thing_or_the_verb() -> None:
    """Not with a word that asks: who reads a list of first sentences looks for the thing."""
    found = []
    for folder in CODE_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found += [f"{path.relative_to(ROOT)}: {first}" for first in ASKS.findall(text)]
    assert found == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_files_that_a_document_names_are_there(document: str) -> None:
    named = {path.rstrip(".") for path in NAMED_PATH.findall(text_of(document)) if "NAME" not in path}
    assert [path for path in sorted(named) if not list(ROOT.glob(path))] == []
    assert len(named) > 25 or document != "CONTRIBUTING.md"
    for path, test in re.findall(r"(tests/\S+\.py)::(\w+)", text_of(document)):
        assert f"def {test}(" in text_of(path)


def test_contributors_are_sent_to_tables_that_are_there() -> None:
    found = re.findall(r"`(\w+)`\s+(?:of|in)\s+`([\w./]+\.py)`", text_of("CONTRIBUTING.md"))
    assert len(found) >= 4
    assert [(name, path) for name, path in found if not re.search(rf"\b{name}\b", text_of(path))] == []


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_machine_path(document: str) -> None:
    assert MACHINE_PATH.findall(text_of(document)) == []


def test_the_machine_path_rule_itself() -> None:
    assert MACHINE_PATH.search("see /home/ann/busway")
    assert MACHINE_PATH.search("/" + "root/.cache")
    assert not MACHINE_PATH.search("/run/user/UID/busway, else /tmp/busway-UID")


# Tables of guarantees.md --------------------


@pytest.mark.parametrize("kind", [busway.AsyncBus, busway.Bus])
def test_the_arguments_of_a_bus(kind: type) -> None:
    told = [re.findall(r"`(\w+)", row[0])[0] for row in rows_of(CONFIGURATION, "Argument", "Meaning")]
    assert told == [name for name in inspect.signature(kind).parameters if name != "self"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://127.0.0.1:1", ConnectionRefusedError),
        ("ws://127.0.0.1:1", ConnectionRefusedError),
        ("tcp://nowhere.invalid:1", socket.gaierror),
        ("serial:///dev/no-such-line", FileNotFoundError),
        ("tcp://[", ValueError),
    ],
)
def test_what_connect_raises_is_in_the_table(url: str, expected: type[Exception]) -> None:
    with busway.Bus(ipc=False) as bus, pytest.raises(expected) as caught:
        bus.connect(url)
    assert isinstance(caught.value, (busway.BusError, OSError)) == (expected is not ValueError)
    cells = [row[0] for row in rows_of("docs/guarantees.md", "Exception", "When")]
    assert any(expected.__name__ in cell for cell in cells)


def named_limits() -> dict[str, int]:
    """The numbers below the comment in codes.py that says docs/guarantees.md lists them."""
    source = Path(codes.__file__).read_text()
    tail = source.partition("docs/guarantees.md lists them")[2]
    assert tail
    return {name: getattr(codes, name) for name in re.findall(r"^([A-Z_]+): ", tail, re.MULTILINE)}


def test_limits_equal_the_code() -> None:
    told = {row[0]: int(row[1]) for row in rows_of("docs/guarantees.md", "Name", "Value")}
    assert told == named_limits()
    assert len(told) > 20


def test_every_limit_says_what_happens_beyond_it() -> None:
    for row in rows_of("docs/guarantees.md", "Name", "Value"):
        assert all(row[2:4]), row[0]


def test_default_limits_equal_the_code() -> None:
    limits = Limits()
    told = {row[0]: int(row[1]) for row in rows_of("docs/guarantees.md", "Name", "Default")}
    assert told == {name: getattr(limits, name) for name in Limits.__slots__}


def test_limits_of_the_upper_layers() -> None:
    told = {row[0].split(",")[0]: row[1] for row in rows_of("docs/guarantees.md", "What", "Value")}
    assert told["nodes of one bus and user on one machine"] == str(unix.NODES_MAX)
    assert told["path of a Unix socket"] == f"{unix.PATH_SIZE_MAX} bytes"
    assert told["nesting of a CBOR value"] == f"{DEPTH_MAX} levels"
    assert told["an integer in a CBOR value"] == f"{INTEGER_SIZE_MAX} bytes"
    assert NAME_SIZE_MAX == codes.TEXT_SIZE_MAX


def test_every_outcome_names_a_real_error_and_reason() -> None:
    cells = [cell for row in rows_of("docs/guarantees.md", "What happened", "`send`") for cell in row[1:]]
    for name in re.findall(r"`([A-Z]\w+)`", " ".join(cells)):
        assert name == "CancelledError" or issubclass(getattr(busway, name), busway.BusError), name
    reasons = set(codes.REASON_NAMES.values())
    assert set(re.findall(r"\b[A-Z]+_[A-Z]+\b", " ".join(cells))) <= reasons


# Tables of protocol.md --------------------

MESSAGE_KINDS = ("SEND", "PUBLISH", "CONFIRM", "REQUEST", "REPLY", "PART", "ERROR", "SIGNAL")
CONTROL_FRAMES = (
    "HELLO",
    "HANDSHAKE",
    "CLOSE",
    "PING",
    "PONG",
    "DIRECTORY",
    "MORE",
    "ROUTES",
    "SYNC",
    "RUN",
    "SLEEP",
)


def numbered(cells: Sequence[str]) -> dict[str, int]:
    """Names by number from cells such as "1 CANCEL"."""
    pairs = [cell.split()[:2] for cell in cells]
    return {name: int(number) for number, name in pairs}


def test_link_errors_equal_the_code() -> None:
    rows = rows_of("docs/protocol.md", "Code", "Name", "Sentence")
    assert {int(row[0]): row[1] for row in rows if row[1]} == codes.LINK_ERROR_NAMES


def test_reasons_equal_the_code() -> None:
    rows = rows_of("docs/protocol.md", "Code", "Name", "Meaning")
    assert {int(row[0]): row[1] for row in rows if row[1]} == codes.REASON_NAMES
    assert set(_REASON_SENTENCES) == set(codes.REASON_NAMES)


def test_control_frames_equal_the_code() -> None:
    rows = rows_of("docs/protocol.md", "Head", "Control frame")
    assert {row[1]: int(row[0], 16) for row in rows} == {
        name: getattr(codes, name) for name in CONTROL_FRAMES
    }


def test_message_kinds_equal_the_code() -> None:
    rows = rows_of("docs/protocol.md", "Kind", "Fields")
    assert [row[0] for row in rows] == list(MESSAGE_KINDS)
    (bits,) = [row for row in rows_of("docs/protocol.md", "Bits of the head") if row[0].startswith("6")]
    told = numbered(bits[1].removeprefix("kind: ").split(", "))
    assert told == {name: getattr(codes, name) for name in MESSAGE_KINDS}


def test_signals_and_options_equal_the_code() -> None:
    signals = [
        "CANCEL",
        "CREDIT",
        "PROBE",
        "PART_CREDIT",
        "UNDELIVERABLE",
        "END",
        "WHO",
        "HAVE",
        "PRUNE",
        "GRAFT",
        "TRACE",
        "TRACED",
        "SELECT",
        "SELECTED",
        "HAVE_PART",
    ]
    told = numbered([row[0] for row in rows_of("docs/protocol.md", "Signal", "Fields")])
    assert told == {name: getattr(codes, name) for name in signals}
    told = numbered([row[0] for row in rows_of("docs/protocol.md", "Type", "Value")])
    assert told == {
        "CUT": codes.OPTION_CUT,
        "STREAM": codes.OPTION_STREAM,
        "BEST_EFFORT": codes.OPTION_BEST_EFFORT,
        "REACH": codes.OPTION_REACH,
        "NAME": codes.OPTION_NAME,
        "RETAIN": codes.OPTION_RETAIN,
        "LANE": codes.OPTION_LANE,
        "THINGS": things.OPTION_THINGS,
        "SHARED": things.OPTION_SHARED,
    }


def test_fixed_identifiers_equal_the_code() -> None:
    text = text_of("docs/protocol.md")
    assert str(NAMESPACE) in text
    assert busway.endpoint_id("busway/introspection") == codes.INTROSPECTION
    digits = codes.INTROSPECTION.hex()
    assert "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) in text


def test_bluetooth_uuids_equal_the_code() -> None:
    told = [row[1].strip("`") for row in rows_of("docs/protocol.md", "Part", "UUID")]
    base = uuid.uuid5(NAMESPACE, "busway/ble").bytes
    numbered_parts = [str(uuid.UUID(bytes=base[:2] + bytes((0, n)) + base[4:])) for n in (1, 2, 3)]
    assert told == numbered_parts == [ble.SERVICE, ble.RX, ble.TX]


def test_protocol_states_what_the_carriers_do() -> None:
    text = " ".join(text_of("docs/protocol.md").split())
    for sentence in (
        f"The usual port is {TCP_PORT}.",
        f"the subprotocol **`{upgrades.SUBPROTOCOL}`**",
        f"The path of a socket has at most {unix.PATH_SIZE_MAX} bytes.",
        f"if there are {unix.NODES_MAX}, it removes those of dead nodes",
        f"{serial_ports.BAUD_DEFAULT} bits per second unless both sides",
        f"with `mtu` {MTU_SERIAL}.",
    ):
        assert sentence in text, sentence
    rows = {row[0]: row[2:4] for row in rows_of("docs/protocol.md", "Carrier", "Link")}
    carriers: dict[str, tuple[str, Any]] = {
        "TCP": ("tcp", tcp.TcpChannel),
        "WebSocket": ("ws", websocket.WebSocketChannel),
        "Unix socket": ("ipc", unix.UnixChannel),
        "serial line": ("serial", serial.SerialChannel),
        "Bluetooth LE": ("ble", ble.BleChannel),
    }
    keepalives = {scheme: keepalive_ms for scheme, (_, keepalive_ms) in making._LINK_DEFAULTS.items()}
    for name, (scheme, channel) in carriers.items():
        assert rows[name] == [channel.realm.upper(), str(keepalives[scheme])], name


def test_protocol_states_the_times_and_sizes_of_the_code() -> None:
    text = " ".join(text_of("docs/protocol.md").split())
    for sentence in (
        f"no HELLO within {codes.HELLO_TIMEOUT_MS // 1000} seconds",
        f"a length above {codes.HELLO_SIZE_MAX};",
        f"more than {codes.ENTRIES_MAX:,} entries of one node",
        f"else the opening credit is {codes.OPENING_CREDIT} ",
        f"cut between characters to {codes.CLOSE_TEXT_SIZE_MAX} bytes",
        f"probes after {codes.PROBE_MS // 1000} second, then at doubling intervals",
        f"intervals up to {codes.PROBE_MAX_MS // 1000} seconds",
        f"not sent to a pair for {codes.FLOW_FALLBACK_MS // 1000} seconds",
        f"reclaims a window after {codes.FLOW_RECLAIM_MS // 1000} seconds",
        f"After {codes.FLOW_FORGET_OUT_MS // 1000} seconds the origin forgets",
        f"after {codes.FLOW_FORGET_IN_MS // 1000} seconds the destination forgets",
    ):
        assert sentence in text, sentence


def test_the_table_of_the_environment_is_what_the_code_reads() -> None:
    section = text_of(CONFIGURATION).partition("## Environment")[2]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    folders = (SOURCE, *(ROOT / folder for folder in ("adapters", "drivers", "protocol")))
    sources = [ROOT / "setup.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    read = set()
    for path in sources:
        text = path.read_text(encoding="utf-8")
        read |= set(re.findall(r"\b_?BUSWAY_[A-Z_]*[A-Z]\b", text))
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text))
        if "getproxies()" in text:
            read |= {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}
    assert listed == read


def test_help_names_the_variables_that_commands_read() -> None:
    shown = output_of([sys.executable, "-m", "busway", "--help"], cwd=ROOT)
    names = ("BUS", "TOKEN", "CAFILE", "DIR", "TAP")
    assert [name for name in names if f"BUSWAY_{name}" not in shown] == []
