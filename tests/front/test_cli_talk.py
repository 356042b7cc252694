"""`busway listen`, `send`, `publish`, `request` and `serve`, with running programs."""

import asyncio
import json
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

import busway as front
from busway.adapters.tap import TAP_NAME
from tests.front.cli_rig import (
    Running,
    busway,
    busway_started,
    environment,
    is_gone,
    new_bus,
    peer,
    started,
    until,
)
from tests.rigs import terminal


@pytest.fixture(scope="module")
def program() -> Iterator[tuple[str, Running]]:
    """A bus and the program "answers" on it."""
    name = new_bus()
    with peer(name) as running:
        yield name, running


@pytest.fixture
def bus(program: tuple[str, Running]) -> str:
    return program[0]


class TestListen:
    def test_lines(self, bus: str) -> None:
        ended = busway("listen", "lab/numbers", "-c", "2", bus=bus)
        assert "listening to lab/numbers on bus" in ended.failed(0)
        pattern = r'\d\d:\d\d:\d\d\.\d{3}  lab/numbers  answers [0-9a-f]{8}  \{"number":(\d+),"raw":"00ff"\}'
        first, second = (re.fullmatch(pattern, line) for line in ended.lines)
        assert first is not None
        assert second is not None
        assert int(second[1]) == int(first[1]) + 1

    def test_json_lines(self, bus: str) -> None:
        (message,) = busway("listen", "lab/numbers", "-qc1", "--json", bus=bus).ok().documents
        assert message["payload"]["raw"] == "00ff"
        assert message["endpoint_id"] == str(_uuid("lab/numbers"))
        assert (message["source_label"], message["what"], message["missed"]) == ("answers", "message", 0)

    def test_all_traffic(self, bus: str) -> None:
        with busway_started("listen", "--all", "--json", bus=bus) as listener:
            published = json.loads(listener.line())  # of the program that publishes all the time
            assert (published["what"], published["endpoint"]) == ("publish", "lab/numbers")
            assert (published["source_label"], published["to"]) == ("answers", "")
            assert published["payload"]["raw"] == "00ff"
            busway("request", "lab/echo", '{"rpm": 300}', bus=bus).ok()
            seen: list[dict[str, object]] = []
            while not seen or seen[-1]["what"] != "reply":
                seen.append(json.loads(listener.line()))
            (asked,) = (record for record in seen if record["what"] == "request")
            assert (asked["endpoint"], asked["payload"]) == ("lab/echo", {"rpm": 300})
            assert str(asked["source_label"]).startswith("busway request")
            assert (seen[-1]["to_label"], seen[-1]["payload"]) == (asked["source_label"], {"rpm": 300})

    def test_all_traffic_in_lines(self, bus: str) -> None:
        (line,) = busway("listen", "--all", "-qc1", bus=bus).ok().lines
        pattern = r'[\d:.]{12}  lab/numbers  publish  answers [0-9a-f]{8}  ->  all  \d+ B  \{"number":\d+,.*'
        assert re.fullmatch(pattern, line), line

    @pytest.mark.parametrize("words", [(), ("--all", "lab/x")])
    def test_either_names_or_all(self, words: tuple[str, ...]) -> None:
        assert "name the endpoints to listen to, or give --all" in busway("listen", *words).stderr

    @pytest.mark.parametrize("words", [("listen", "-c1", "--timeout", "0.1"), ("publish",)])
    def test_a_name_that_looks_like_a_pattern(self, bus: str, words: tuple[str, ...]) -> None:
        ended = busway(*words, "lab/#", bus=bus)
        assert "'lab/#' is the name of one endpoint" in ended.stderr
        assert "LiteralName" not in ended.stderr

    def test_by_pattern(self, bus: str) -> None:
        with busway_started("listen", "kept/*", "--json", bus=bus) as listener:
            busway("publish", "kept/door/lock", "1", bus=bus).ok()
            busway("publish", "kept/door", '"open"', "--realm", "localnet", bus=bus).ok()
            told = json.loads(listener.line())
            assert (told["endpoint"], told["payload"]) == ("kept/door", "open")
        assert "stands for a whole level" in busway("listen", "kept/d*", bus=bus).failed(2)
        for words in (("publish", "kept/*", "1"), ("last", "**"), ("send", "*", "1")):
            assert "is a pattern, which stands for many names" in busway(*words, bus=bus).failed(2)

    def test_a_value_that_is_kept(self, bus: str) -> None:
        with busway_started("publish", "kept/mode", '"idle"', "--retain", bus=bus) as keeper:
            assert "keeping the value of kept/mode" in keeper.complaint()
            assert busway("last", "kept/mode", bus=bus).ok().text.strip() == "idle"
            found = busway("last", "kept/mode", "--json", bus=bus).ok().document
            assert (found["payload"], found["retained"]) == ("idle", True)
            heard = busway("listen", "kept/**", "-qc1", bus=bus).ok().text
            assert "kept/mode" in heard
            assert "(retained)" in heard
            keeper.tell(signal.SIGINT)
            assert keeper.status() == 0
        ended = busway("last", "kept/mode", "--timeout", "0.3", bus=bus)
        assert "no last value of kept/mode came within 0.3 s" in ended.failed(3)

    def test_open_files_and_regions_beside_them_are_counted(self, bus: str) -> None:
        with (
            busway_started("listen", "lab/files", "--json", bus=bus) as listener,
            busway_started("listen", "lab/files", bus=bus) as reader,
            front.Bus(bus, label="publisher") as own,
        ):
            own.publish("lab/files", 1, files=[0, 1], regions=[front.Region(1)])
            own.publish("lab/files", bytes(70_000))
            told = json.loads(listener.line())
            assert (told["payload"], told["files"], told["regions"]) == (1, 2, 1)
            assert "files" not in json.loads(listener.line())
            assert reader.line().endswith("  1  (2 files)  (1 region)")
            assert "(" not in reader.line()

    def test_only_the_newest(self, bus: str) -> None:
        ended = busway("listen", "lab/numbers", "-qc2", "--policy", "latest", bus=bus)
        assert len(ended.ok().lines) == 2
        refused = busway("listen", "lab/mine", "--kind", "unicast", "--policy", "latest", bus=bus)
        assert "LATEST is for broadcast endpoints" in refused.failed(2)

    def test_what_they_were_sent_with(self, bus: str) -> None:
        with busway_started("listen", "lab/urgent", "--json", bus=bus) as listener:
            busway("publish", "lab/urgent", "1", "--priority", "urgent", bus=bus).ok()
            assert json.loads(listener.line())["priority"] == "urgent"
            busway("publish", "lab/urgent", "1", bus=bus).ok()
            assert json.loads(listener.line())["priority"] == "normal"
        with busway_started("listen", "lab/high", "--kind", "unicast", bus=bus) as listener:
            busway("send", "lab/high", "1", "--priority", "high", bus=bus).ok()
            assert listener.line().endswith("  1  (high)")
        assert (
            "is not one of 'low', 'normal'" in busway("send", "x", "1", "--priority", "top", bus=bus).stderr
        )

    def test_all_traffic_says_it_too(self, bus: str) -> None:
        with busway_started("listen", "--all", "--json", bus=bus) as listener:
            listener.line()
            busway("request", "lab/echo", "1", "--priority", "low", bus=bus).ok()
            seen: list[dict[str, object]] = []
            while not seen or seen[-1]["what"] != "reply":
                seen.append(json.loads(listener.line()))
            (asked,) = (record for record in seen if record["what"] == "request")
            assert (asked["priority"], seen[-1]["priority"]) == ("low", "low")

    def test_several_endpoints_until_interrupted(self, bus: str) -> None:
        with busway_started("listen", "lab/a", "lab/b", bus=bus) as listener:
            busway("publish", "lab/b", "x\x1b[2J\u202e", bus=bus).ok()
            busway("publish", "lab/a", bus=bus).ok()
            assert listener.line().endswith('  "x\\u001b[2J\\u202e"')  # nothing that a terminal would obey
            assert listener.line().endswith("  null")
            listener.tell(signal.SIGINT)
            assert listener.status() == 0
            assert listener.rest() == []

    def test_sigterm_ends_it_and_a_count_makes_that_an_interruption(self, bus: str) -> None:
        with (
            busway_started("listen", "lab/a", bus=bus) as endless,
            busway_started("listen", "lab/a", "-c", "5", bus=bus) as counting,
        ):
            endless.tell(signal.SIGTERM)
            counting.tell(signal.SIGINT)
            assert (endless.status(), counting.status()) == (0, 130)
            assert counting.rest() == []

    def test_nothing_in_time(self, bus: str) -> None:
        assert busway("listen", "lab/silence", "-q", "--timeout", "0.1", bus=bus).status == 3
        assert busway("listen", "lab/numbers", "-q", "--timeout", "3", bus=bus).ok().lines

    def test_a_held_unicast_endpoint(self, bus: str) -> None:
        line = busway("listen", "lab/log", bus=bus).failed(1)
        assert re.search(r"lab/log is held by answers [0-9a-f]{8} and can have only one receiver$", line)
        assert "try --kind unicast" in busway("listen", "lab/log", "--kind", "anycast", bus=bus).failed(1)

    def test_takes_the_kind_that_is_known_and_declines_requests(self) -> None:
        bus = new_bus()
        with (
            busway_started("listen", "lab/jobs", "--kind", "anycast", bus=bus) as first,
            busway_started("listen", "lab/jobs", bus=bus) as second,
        ):
            kinds = busway("endpoints", "--json", bus=bus).ok().document
            assert [row["kind"] for row in kinds] == ["anycast", "anycast"]
            first.tell(signal.SIGINT)
            assert first.status() == 0
            assert "use `busway serve` (error 256)" in busway("request", "lab/jobs", "7", bus=bus).failed(1)
            assert second.line().endswith("  7  (a request, declined)")

    def test_a_closed_pipe_is_quiet(self, bus: str) -> None:
        script = "{ $PYTHON -m busway listen lab/numbers -q; echo status $? >&2; } | head -n 1"
        with started("sh", "-c", script, BUSWAY_BUS=bus, PYTHON=sys.executable) as shell:
            assert "lab/numbers" in shell.line()
            assert shell.rest() == ["status 141"]


class TestSend:
    def test_arrives(self, program: tuple[str, Running]) -> None:
        bus, answers = program
        ended = busway("send", "lab/log", '{"celsius": 21.5}', bus=bus).ok()
        assert ended.output == b""
        assert answers.line() == "taken {'celsius': 21.5}"

    @pytest.mark.parametrize(
        ("words", "stdin", "taken"),
        [
            (["--text", "21.5"], b"", "21.5"),
            (["--raw", "21.5"], b"", b"21.5"),
            (["--hex", "00:ff 0x10"], b"", b"\x00\xff\x10"),
            ([], b"", None),
            (["-"], b"\x00\x01", b"\x00\x01"),
            (["-", "-j"], b"[1, 2]\n", [1, 2]),
            (["--", "-5"], b"", -5),
        ],
    )
    def test_payloads(
        self, program: tuple[str, Running], words: list[str], stdin: bytes, taken: object
    ) -> None:
        bus, answers = program
        busway("send", "--confirm", "lab/log", *words, bus=bus, stdin=stdin).ok()
        assert answers.line() == f"taken {taken!r}"

    def test_from_a_file_confirmed(self, program: tuple[str, Running], tmp_path: Path) -> None:
        bus, answers = program
        path = tmp_path / "payload"
        path.write_bytes(b"\xfe")
        sent = busway("send", "lab/log", "--file", str(path), "--confirm", "--json", bus=bus).ok().document
        assert sent == {"endpoint": "lab/log", "endpoint_id": str(_uuid("lab/log")), "verdict": "taken"}
        assert answers.line() == "taken b'\\xfe'"

    def test_nobody_has_it(self, bus: str) -> None:
        line = busway("send", "lab/lgo", "x", bus=bus).failed(1)
        assert f"nobody has the endpoint 'lab/lgo' on bus {bus!r}; known similar: lab/log" in line
        failed = busway("send", "quite/else", "x", "--json", bus=bus)
        assert "`busway endpoints` lists what there is" in failed.failed(1)
        assert failed.document["error"]["name"] == "NO_ENDPOINT"
        assert failed.document["error"]["status"] == 1

    def test_the_wrong_kind_is_wrong_usage(self, bus: str) -> None:
        assert "use `busway send`" in busway("publish", "lab/log", "1", bus=bus).failed(2)
        with busway_started("listen", "lab/news", bus=bus):
            assert "use `busway publish`" in busway("send", "lab/news", "1", bus=bus).failed(2)
            assert "use `busway publish`" in busway("request", "lab/news", "1", bus=bus).failed(2)

    def test_ttl_waits_for_somebody(self) -> None:
        bus = new_bus()
        with busway_started("send", "lab/late", "hello", "--ttl", "20", bus=bus) as send:
            with busway_started("listen", "lab/late", "--kind", "unicast", bus=bus) as listener:
                assert listener.line().endswith('  "hello"')
            assert send.status() == 0

    def test_publish_tells_who_subscribed(self, bus: str) -> None:
        assert busway("publish", "lab/nobody", "1", "--json", bus=bus).ok().document["nodes"] == []
        with busway_started("listen", "lab/news", bus=bus):
            assert len(busway("publish", "lab/news", "1", "--json", bus=bus).ok().document["nodes"]) == 1


TYPED = "6f1c1c8e-5d0d-4a53-9a2e-0d6a4c9b7f10"  # of cli_peer.py


class TestMessageTypes:
    @pytest.mark.parametrize("name", ["lab/typed", TYPED])
    def test_a_request_says_its_type_by_name_or_uuid(self, bus: str, name: str) -> None:
        asked = busway("request", "lab/typed", '{"number": 21}', "--type", name, bus=bus)
        assert asked.ok().text == "42\n"

    def test_a_message_is_taken_as_its_type(self, program: tuple[str, Running]) -> None:
        bus, answers = program
        busway("send", "lab/log", '{"number": 1}', "--type", TYPED, "--confirm", bus=bus).ok()
        assert answers.line() == "taken Typed(number=1)"

    def test_what_is_published_has_it_too(self, bus: str) -> None:
        with busway_started("listen", "lab/news", "-c", "1", "--json", bus=bus) as listener:
            busway("publish", "lab/news", '{"number": 1}', "--type", "lab/other", bus=bus).ok()
            told = json.loads(listener.line())
        assert (told["format"], told["payload"]) == ("typed", {"number": 1})
        assert told["type"] == str(uuid.UUID(bytes=front.endpoint_id("lab/other")))

    def test_fields_may_come_from_standard_input(self, bus: str) -> None:
        asked = busway("request", "lab/typed", "-", "--type", TYPED, bus=bus, stdin=b'{"number": 4}')
        assert asked.ok().text == "8\n"

    def test_fields_left_out_are_missed_there(self, bus: str) -> None:
        told = busway("request", "lab/typed", "--type", TYPED, bus=bus).failed(1)
        assert "Typed.number: the field is missing" in told

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("21",), "a JSON object of the type's fields"),
            (("--hex", "00ff"), "a JSON object of the type's fields"),
            (('{"a b": 1}',), "'a b' cannot be a field"),
            (('{"class": 1}',), "'class' cannot be a field"),
        ],
    )
    def test_what_cannot_be_a_message_is_refused(self, words: tuple[str, ...], why: str) -> None:
        assert why in busway("request", "lab/typed", *words, "--type", TYPED, bus=new_bus()).failed(2)

    def test_a_type_has_a_name_or_uuid(self) -> None:
        assert "--type" in busway("send", "lab/log", "{}", "--type", "", bus=new_bus()).failed(2)


class TestRequest:
    def test_the_name_that_a_message_type_shows(self, bus: str) -> None:
        """It is addressed by its UUID, which is not the one that its name alone would stand for."""
        failed = busway("request", "lab/typed", "21", bus=bus)
        assert "UNREADABLE" in failed.failed(1)  # it came there: a bare number is no Typed
        assert "such as --type lab/typed" in failed.stderr

    def test_what_looks_like_json_and_is_none_is_said_to_go_as_text(self, bus: str) -> None:
        asked = busway("request", "lab/echo", "{rpm: 300}", bus=bus)
        assert (asked.status, asked.text) == (0, "{rpm: 300}\n")
        assert "PAYLOAD is no JSON" in asked.stderr
        assert busway("request", "lab/echo", "--text", "{rpm: 300}", bus=bus).ok().text == "{rpm: 300}\n"

    def test_values_as_json_text_and_bytes_as_they_are(self, bus: str) -> None:
        assert busway("request", "lab/echo", '{"a": [1, null]}', bus=bus).ok().text == '{"a":[1,null]}\n'
        assert busway("request", "lab/echo", "grün", bus=bus).ok().text == "grün\n"
        assert busway("request", "lab/echo", "-", bus=bus, stdin=b"\x00\xff").ok().output == b"\x00\xff"

    @pytest.mark.parametrize(
        ("words", "shown"),
        [
            (("--raw", "HELLO"), b"HELLO\r\n"),
            (("--raw", "\x1b[2J"), b"b'\\x1b[2J'\r\n"),
        ],
    )
    def test_at_a_terminal_each_reply_ends_its_line(
        self, bus: str, words: tuple[str, str], shown: bytes
    ) -> None:
        command = (sys.executable, "-m", "busway", "request", "lab/echo", *words)
        with terminal.opened(*command, env=environment({"BUSWAY_BUS": bus})) as screen:
            assert screen.ends() == 0
        assert screen.said == shown

    def test_json(self, bus: str) -> None:
        reply = busway("request", "lab/echo", "--hex", "00ff", "--json", bus=bus).ok().document
        assert (reply["payload"], reply["format"], reply["endpoint"]) == ("00ff", "bytes", "lab/echo")

    def test_a_remote_error(self, bus: str) -> None:
        ended = busway("request", "lab/failing", "--json", bus=bus)
        assert ended.failed(1) == "busway: no water\\x1b[31m (error 300)"
        assert ended.document["error"]["name"] == "REMOTE_300"

    def test_no_reply_in_time(self, bus: str) -> None:
        assert "no reply within" in busway("request", "lab/slow", "--timeout", "2", bus=bus).failed(3)

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted(self, number: signal.Signals, status: int) -> None:
        bus = new_bus()
        with peer(bus) as answers, busway_started("request", "lab/slow", bus=bus) as request:
            assert answers.line() == "asked"
            request.tell(number)
            assert request.status() == status
            assert request.rest() == []

    def test_streams(self, bus: str) -> None:
        assert busway("request", "lab/parts", "--stream", bus=bus).ok().lines == ["0", '{"one":"01"}']
        parts = busway("request", "lab/parts", "--stream", "--json", bus=bus).ok().documents
        assert [(part["part"], part["payload"]) for part in parts] == [(0, 0), (1, {"one": "01"})]
        assert "ask it with --stream" in busway("request", "lab/parts", bus=bus).failed(1)

    def test_node_selects_the_holder(self, bus: str) -> None:
        with peer(bus, "second"):
            for label in ("second", "answers"):
                assert busway("request", "lab/who", "-n", label, bus=bus).ok().text == f"{label}\n"
            assert "no node matches 'third'" in busway("request", "lab/who", "-n", "third", bus=bus).failed(1)


class TestServe:
    def test_payload_in_output_out(self) -> None:
        bus = new_bus()
        with busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus) as server:
            assert busway("request", "lab/upper", "--raw", "hello", bus=bus).ok().output == b"HELLO"
            assert busway("request", "lab/upper", '{"a": 1}', bus=bus).ok().text == '{"A":1}\n'
            big = b"a" * 3_000_000
            assert busway("request", "lab/upper", "-", bus=bus, stdin=big).ok().output == b"A" * 3_000_000
            assert re.search(r"  lab/upper  busway request \(\d+\) [0-9a-f]{8}  ok  \d+ ms$", server.line())
            server.tell(signal.SIGINT)
            assert server.status() == 0
            assert server.rest() == []

    def test_json_both_ways_and_the_environment(self) -> None:
        bus = new_bus()
        words = ["sh", "-c", 'read x; echo "[$x, \\"$BUSWAY_ENDPOINT\\", \\"$BUSWAY_BUS\\"]"']
        with busway_started("serve", "lab/json", "-j", "--", *words, bus=bus):
            reply = busway("request", "lab/json", "--text", "7", "--json", bus=bus).ok().document
            assert reply["payload"] == ["7", "lab/json", bus]

    def test_a_failing_command_is_a_remote_error(self) -> None:
        bus = new_bus()
        words = ["sh", "-c", "echo first >&2; echo last words >&2; exit 3"]
        with busway_started("serve", "lab/bad", "--json", "--", *words, bus=bus) as server:
            assert busway("request", "lab/bad", bus=bus).failed(1) == "busway: last words (error 259)"
            assert '"code":259,"message":"last words"' in server.line()

    def test_a_slow_command_is_ended_with_its_children(self, tmp_path: Path) -> None:
        bus = new_bus()
        words = ["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; wait"]
        with busway_started("serve", "lab/slow", "--timeout", "3", "--", *words, bus=bus):
            assert "longer than 3 s (error 380)" in busway("request", "lab/slow", bus=bus).failed(1)
            until(lambda: is_gone(int((tmp_path / "pid").read_text())))

    def test_leaving_and_giving_up_end_the_command(self, tmp_path: Path) -> None:
        bus = new_bus()
        words = ["sh", "-c", f"echo $$ >>{tmp_path}/pids; exec sleep 60"]
        with busway_started("serve", "lab/slow", "--", *words, bus=bus) as server:
            busway("request", "lab/slow", "--timeout", "3", bus=bus).failed(3)
            with busway_started("request", "lab/slow", bus=bus):
                pids = tmp_path / "pids"
                until(lambda: len(pids.read_text().split()) == 2)
                server.tell(signal.SIGTERM)
                assert server.status() == 0
            for pid in pids.read_text().split():
                until(partial(is_gone, int(pid)))

    def test_no_more_at_once_than_the_limit(self, tmp_path: Path) -> None:
        bus = new_bus()
        # mkdir fails while another one runs.
        words = ["sh", "-c", f"mkdir {tmp_path}/busy && sleep 0.05 && rmdir {tmp_path}/busy"]
        with busway_started("serve", "lab/one", "--limit", "1", "--", *words, bus=bus), ExitStack() as stack:
            requests = [stack.enter_context(busway_started("request", "lab/one", bus=bus)) for _ in range(3)]
            assert [request.status() for request in requests] == [0, 0, 0]

    def test_a_command_that_is_none(self) -> None:
        assert "'no-such-command' is no command" in busway("serve", "lab/x", "no-such-command").failed(2)


def _uuid(name: str) -> uuid.UUID:
    return uuid.UUID(bytes=front.endpoint_id(name))


async def _tell(bus: str, record: dict[str, object]) -> None:
    async with front.AsyncBus(bus) as program:
        await program.send(TAP_NAME, record, confirm=True)


def test_all_traffic_steers_no_terminal() -> None:
    """Any program's words in place of the tap."""
    bus = new_bus()
    text = "\x1b[31m\nforged"
    record: dict[str, object] = dict.fromkeys(("what", "name", "from_label", "to_label"), text)
    record |= dict.fromkeys(("endpoint", "to", "type", "payload"), bytes(16))
    record |= {"size": 16, "format": 0, "lost": 0}
    with busway_started("listen", "--all", "-c1", bus=bus) as listener:
        asyncio.run(_tell(bus, record))
        line = listener.line()
    assert line.isprintable(), line
    assert line.count("forged") == 4


def test_all_traffic_names_whom_a_commands_request_goes_to() -> None:
    """A command is a leaf and does not know who has the endpoint; who watches does."""
    bus = new_bus()
    with peer(bus, "holder"), busway_started("listen", "--all", bus=bus) as listener:
        listener.line()  # the program publishes all the time: it is watched
        busway("request", "lab/echo", "1", bus=bus).ok()
        while "  request  " not in (line := listener.line()):
            pass
        assert re.search(r"  ->  holder [0-9a-f]{8}  1 B", line), line


@pytest.mark.parametrize("command", ["send", "request"])
def test_alone_on_the_bus_nobody_has_an_endpoint(command: str) -> None:
    """A command is a leaf: without a program to ask, the core says that no way leads there."""
    said = busway(command, "lab/pump", "1", bus=new_bus()).failed(1)
    assert "nobody has the endpoint 'lab/pump'" in said
