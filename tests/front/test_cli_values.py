"""How the command line reads and prints values, and counts rates: without a bus."""

import array
import asyncio
import datetime
import decimal
import json
import uuid

import cbor2
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import busway
from busway.adapters.records import NodeInfo
from busway.cli import failures, look, output, payload, session
from busway.cli.failures import Failure
from busway.cli.pinging import Tally
from busway.cli.rates import Rates, View
from busway.cli.survey import OK, SILENT, Found, survey, well_formed
from busway.protocol import Node
from busway.testing import Network, run

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("21.5", 21.5),
            ('{"rpm": 300}', {"rpm": 300}),
            ("null", None),
            ('"x"', "x"),
            ("x", "x"),
            ("", ""),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
            ("{rpm: 300}", "{rpm: 300}"),
            ("[" * 100_000, "[" * 100_000),
        ],
    )
    def test_auto(self, text: str, value: object) -> None:
        assert payload.interpret(text.encode(), payload.AUTO) == value

    @given(plain_values)
    def test_json_comes_as_it_was(self, value: object) -> None:
        assert payload.interpret(output.json_text(value).encode(), payload.JSON) == value

    @given(st.binary())
    def test_bytes_never_fail(self, data: bytes) -> None:
        assert payload.interpret(data, payload.RAW) == data
        assert payload.interpret(data.hex(" ").encode(), payload.HEX) == data

    @given(st.binary() | st.text().map(str.encode), st.sampled_from(["auto", "json", "text", "hex"]))
    def test_what_cannot_be_read_is_wrong_usage(self, data: bytes, form: str) -> None:
        try:
            payload.interpret(data, form)
        except Failure as failure:
            status = failure.status
        else:
            status = failures.USAGE
        assert status == failures.USAGE


class TestPrinting:
    @given(st.text())
    def test_nothing_that_a_terminal_obeys(self, text: str) -> None:
        assert output.printable(text).isprintable()
        assert output.json_text([text]).isprintable()
        assert json.loads(output.json_text([text])) == [text]

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (b"\x00\xff", "00ff"),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            ({1: {2}, b"\x01": None, (1, 2): True}, {"1": [2], "01": None, "[1,2]": True}),
            (datetime.date(2024, 2, 29), "2024-02-29"),
            (decimal.Decimal("1.50"), "1.50"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (cbor2.CBORTag(300, b"\x01"), {"tag": 300, "value": "01"}),
            (cbor2.undefined, "undefined"),
        ],
    )
    def test_what_json_has_not(self, value: object, shown: object) -> None:
        assert json.loads(output.json_text(value)) == shown

    def test_long_values_are_cut_for_people(self) -> None:
        assert output.value_text(b"ab") == "b'ab'"
        assert output.value_text({"a": 1}) == '{"a":1}'
        assert output.value_text([numpy.ones((1, 2), "u1")]) == "[[[1,1]]]"
        assert output.value_text({"a": numpy.zeros((1080, 1920, 3), "u1")}) == '{"a":"uint8 1080 x 1920 x 3"}'
        assert (
            output.json_text([numpy.zeros(1001), array.array("h", [1])])
            == f"[[{','.join(['0.0'] * 1001)}],[1]]"
        )
        assert output.value_text("x" * 2000).endswith("x… 1,002 more characters")
        assert output.value_text(bytes(1001)).endswith("'… 1 more bytes")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"HELLO", "HELLO"),
            (b"two\tcolumns\nand lines\n", "two\tcolumns\nand lines"),
            (b"\n\n", "\n"),
            ("grün".encode(), "grün"),
            (b"", "b''"),
            (b"\x1b[2J", "b'\\x1b[2J'"),
            ("a\u202eb".encode(), "b'a\\xe2\\x80\\xaeb'"),
            (b"a\rb", "b'a\\rb'"),
            (b"\xff", "b'\\xff'"),
        ],
    )
    def test_bytes_at_a_terminal(self, value: bytes, text: str) -> None:
        assert output.bytes_text(value) == text

    @pytest.mark.parametrize(
        ("milliseconds", "text"),
        [
            (-1, "-"),
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (2e9, "23 d"),
        ],
    )
    def test_durations(self, milliseconds: float, text: str) -> None:
        assert output.duration_text(milliseconds) == text

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e6, "2.0 MB"), (5e12, "5000.0 GB")]
    )
    def test_sizes(self, size: float, text: str) -> None:
        assert output.size_text(size) == text

    def test_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.table(("NAME", ">COUNT", "NOTE"), [("a\x1b", 1234, "x" * 200), ("[b]字", "-", "")])
        assert capsys.readouterr().out.splitlines() == [
            "NAME     COUNT  NOTE",
            "a\\u001b  1,234  " + "x" * 200,
            "[b]字        -",
        ]


class TestNodes:
    nodes = (
        NodeInfo(bytes.fromhex("aa" * 16), "answers", False),
        NodeInfo(bytes.fromhex("ab" * 16), "answers too", False),
        NodeInfo(bytes.fromhex("cd" * 16), "ab", False),
    )

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("answers", [0]),
            ("answers t", [1]),
            ("answ", [0, 1]),
            ("ab", [2]),
            ("aba", [1]),
            ("AA", [0]),
            ("a", [0, 1]),
            ("abababab-abab-abab-abab-abababababab", [1]),
            ("nix", []),
            ("", []),
            ("-", []),
        ],
    )
    def test_matching(self, wanted: str, found: list[int]) -> None:
        assert session.matching(wanted, self.nodes) == [self.nodes[index] for index in found]


class TestReports:
    def test_a_real_one_is_taken(self) -> None:
        node = Node(bytes(16), entropy=bytes, label="x", encode=cbor2.dumps)
        node.register(bytes(15) + b"\x01", 1)
        assert well_formed(cbor2.loads(cbor2.dumps(node.report(0))))

    @given(plain_values, st.sampled_from(["links", "endpoints", "seen", "nodes"]))
    def test_a_strange_one_is_not(self, value: object, name: str) -> None:
        node = Node(bytes(16), entropy=bytes, encode=cbor2.dumps)
        assert not well_formed(value)
        assert not well_formed(node.report(0) | {name: [value]})
        assert not well_formed(node.report(0) | {"counters": [value]})


def test_the_endpoints_of_a_node_that_answers_late_stay_in_view_without_rates() -> None:
    node = Node(bytes(16), entropy=bytes, label="x", encode=cbor2.dumps)
    node.register(bytes(15) + b"\x01", 1, name="lab/pump")
    info = NodeInfo(bytes(16), "x", False)
    answered = Found(info, OK, cbor2.loads(cbor2.dumps(node.report(0))))
    rates, bus = Rates(), busway.AsyncBus("of-nobody")
    rates.view(bus, [answered], 0.0)
    (told,) = rates.view(bus, [answered], 1.0).endpoints
    assert (told.name, told.rate) == ("lab/pump", 0.0)
    for now in (2.0, 3.0):
        late = rates.view(bus, [Found(info, SILENT)], now)
        assert [(line.name, line.rate, line.holders) for line in late.endpoints] == [
            ("lab/pump", None, ["x"])
        ]
        assert late.nodes[0].answer == SILENT
    assert rates.view(bus, [answered], 4.0).endpoints == [told]
    assert rates.view(bus, [], 5.0).endpoints == []
    assert rates.view(bus, [Found(info, SILENT)], 6.0).endpoints == []  # it has been gone


def test_rates_are_what_came_divided_by_the_time_it_took() -> None:
    """One each 20 ms, in the loop's own time: exactly 50 a second, taken and published."""

    async def main() -> tuple[View, View]:
        time = asyncio.get_running_loop().time
        async with Network() as network:
            looking, talking, hearing = [
                await network.bus(label) for label in ("looking", "talking", "hearing")
            ]
            for one, other in ((looking, talking), (looking, hearing), (talking, hearing)):
                await network.link(one, other)
            inbox, rates = hearing.subscribe("lab/numbers"), Rates()
            await network.settle()
            await talking.publish("lab/numbers", 0)
            await inbox.receive()
            first = rates.view(looking, await survey(looking, 1), time())
            for number in range(200):
                await asyncio.sleep(0.02)
                await talking.publish("lab/numbers", number)
                await inbox.receive()
            return first, rates.view(looking, await survey(looking, 1), time())

    first, second = run(main())
    assert (first.rate, first.sent_rate) == (0, 0)
    assert second.rate == pytest.approx(50)
    assert second.sent_rate == pytest.approx(50)
    assert {node.label: node.messages_rate for node in second.nodes}["hearing"] == pytest.approx(50)


def test_ping_statistics() -> None:
    tally = Tally()
    assert (tally.summary(), tally.lost_percent, tally.status()) == ({}, 0.0, failures.UNKNOWN)
    tally.asked, tally.times = 4, [1.0, 2.0, 3.0]
    assert tally.lost_percent == 25.0
    assert tally.summary() == {
        "min_ms": 1.0,
        "avg_ms": 2.0,
        "max_ms": 3.0,
        "mdev_ms": pytest.approx((2 / 3) ** 0.5),
    }
    assert tally.status() == failures.OK


def test_the_note_of_a_link_tells_of_answers_that_were_lost() -> None:
    assert look.link_note({"dropped_answers": 1200}) == "1,200 answers dropped"
    assert look.link_note({"dropped_answers": 0}) == look.link_note({}) == ""
