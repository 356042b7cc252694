"""The JavaScript client under node: golden vectors, its choice among several holders, its CBOR beside
cbor2, its hashes beside hashlib.
"""

import array
import datetime
import hashlib
import hmac
import json
import math
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.bounds import ITEMS_MAX
from busway.payloads import decode, encode
from tests.rigs import browser

HERE = Path(__file__).parent
VECTORS = json.loads((HERE.parent / "vectors" / "arrays.json").read_text())

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=300)
)
KEYS = st.text(max_size=5) | st.integers(-(2**64), 2**64 - 1)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(KEYS, inner, max_size=30),
    max_leaves=60,
)


def node(script: str, *lines: str) -> list[str]:
    """The answer of a script of this folder to these lines."""
    run = subprocess.run(
        [browser.node(), HERE / script],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("vectors.test.mjs", 19),
        ("patterns.test.mjs", 3),
        ("crowd.test.mjs", 12),
        ("latest.test.mjs", 5),
        ("secure.test.mjs", 18),
    ],
)
def test_under_node(script: str, count: int) -> None:
    run = subprocess.run(
        [browser.node(), "--test", "--test-reporter=tap", HERE / script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"# pass {count}" in run.stdout, run.stdout


class Echo:
    """The client's CBOR, value by value, in one process."""

    def __init__(self) -> None:
        command = [browser.node(), HERE / "cbor.mjs"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, value: object) -> object:
        """The value that comes back; raises ValueError if that is no CBOR."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(cbor2.dumps(value).hex() + "\n")
        return cbor2.loads(bytes.fromhex(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    made = Echo()
    with made.process:
        yield made
        made.process.kill()


@settings(max_examples=300, deadline=None)
@given(value=VALUES)
def test_cbor_says_what_cbor2_says(echo: Echo, value: object) -> None:
    assert echo.ask(value) == value


def test_infinities(echo: Echo) -> None:
    assert echo.ask([math.inf, -math.inf, -0.0]) == [math.inf, -math.inf, 0]


def test_cbor_of_every_width() -> None:
    edges = [
        0,
        23,
        24,
        255,
        256,
        65535,
        65536,
        2**32 - 1,
        2**32,
        2**53 - 1,
        2**53,
        2**53 + 1,
        2**63,
        2**64 - 1,
    ]
    values: list[object] = [sign * edge - (sign < 0) for edge in edges for sign in (1, -1)]
    values += ["", "a" * 24, "ö" * 200, b"x" * 70000, list(range(300)), {str(n): n for n in range(300)}]
    values += [1.5, -0.1, 1e300, 5e-324, [[[[]]]], {"a": {"b": {}}}, {1: 2, "x": b""}]
    lines = [cbor2.dumps(value).hex() for value in values]
    assert node("cbor.mjs", *lines) == lines


def test_cbor_that_others_write() -> None:
    """Half and single precision, indefinite lengths, tags, and what is not text or not CBOR."""
    good = {
        "f93e00": 1.5,
        "f90001": 2**-24,
        "f97c00": math.inf,
        "fa47c35000": 100000,
        "9f018202039f0405ffff": [1, [2, 3], [4, 5]],
        "bf61610161629f0203ffff": {"a": 1, "b": [2, 3]},
        "5f42010243030405ff": b"\x01\x02\x03\x04\x05",
        "7f657374726561646d696e67ff": "streaming",
        "1800": 0,
        "f7": None,
    }
    answers = node("cbor.mjs", *good)
    assert [cbor2.loads(bytes.fromhex(answer)) for answer in answers] == list(good.values())
    assert node("cbor.mjs", "c11a514b67b0") == ["c11a514b67b0"]  # a tag keeps its number and its value
    (nan,) = node("cbor.mjs", "f97e00")
    assert math.isnan(cbor2.loads(bytes.fromhex(nan)))
    bad = [
        "61ff",
        "18",
        "5affffffff00",
        "ff",
        "8201",
        "a201020102",
        "0000",
        "1c",
        "9f01",
        "81ff",
        "f8ff",
        "81" * 70 + "00",
    ]
    assert [line for line in node("cbor.mjs", *bad) if "Error" not in line] == []


def test_a_value_has_as_many_items_as_elsewhere() -> None:
    def maps(count: int) -> str:
        return (b"\x9a" + count.to_bytes(4, "big") + b"\xa0" * count).hex()

    (most, one_more) = node("cbor.mjs", maps(ITEMS_MAX - 1), maps(ITEMS_MAX))
    assert most == maps(ITEMS_MAX - 1)
    assert one_more == f"Error: CBOR of more than {ITEMS_MAX} items"


def test_typed_arrays_and_large_integers_go_through_javascript() -> None:
    """RFC 8746, in both orders of bytes, and halves, which become floats."""
    values: list[object] = [array.array(code, [1, 2, 100]) for code in "bBhHiIqQfd"]
    values += [array.array("f"), 2**64, -(2**64) - 1, 2**8000, -(2**8000), [{"a": array.array("h", [-1])}]]
    lines = [encode(value, b"")[0].hex() for value in values]
    answers = node("cbor.mjs", *lines)
    assert [decode(bytes.fromhex(answer), 1, b"", b"", None) for answer in answers][2:] == values[2:]
    foreign = {"d8414401020304": [258, 772], "d851443fc00000": [1.5], "d850443e00c000": [1.5, -2]}
    read = [decode(bytes.fromhex(answer), 1, b"", b"", None) for answer in node("cbor.mjs", *foreign)]
    assert [list(found) for found in read] == list(foreign.values())
    bad = ["d84143010203", "d84101", "c201", "c2590401" + "01" * 1025]
    assert [line for line in node("cbor.mjs", *bad) if "Error" not in line] == []


def test_arrays_with_a_shape_go_through_javascript() -> None:
    """Their golden vectors: with one dimension they are typed arrays like others, with more they keep it."""
    vectors = VECTORS["arrays"]
    for vector, answer in zip(vectors, node("cbor.mjs", *(vector["hex"] for vector in vectors)), strict=True):
        found = decode(bytes.fromhex(answer), 1, b"", b"", None)
        numbers: Any = vector["numbers"]
        shape = [len(numbers)] if vector["shape"] is None else vector["shape"]
        if vector["dtype"] == "<c8":
            shape = [*shape, 2]
        if len(shape) == 1:
            assert list(found) == numbers
        else:
            assert type(found) is numpy.ndarray
            assert (list(found.shape), found.tolist()) == (shape, numpy.reshape(numbers, shape).tolist())
    answers = node("cbor.mjs", *(vector["hex"] for vector in VECTORS["refused"]))
    allowed = [vector["why"] for vector in VECTORS["refused"]].index("2 is no truth value")
    assert [number for number, answer in enumerate(answers) if "array that is none" not in answer] == [
        allowed
    ]
    left = [vector for vector in VECTORS["left"] if vector["why"] in ("no elements", "the reserved tag")]
    assert node("cbor.mjs", *(vector["hex"] for vector in left)) == [vector["hex"] for vector in left]


def test_what_has_a_shape_in_javascript_arrives_as_an_array_of_numpy() -> None:
    sent = {
        "Object.assign(Uint8Array.of(1, 2, 3, 4, 5, 6), { shape: [2, 3] })": numpy.arange(
            1, 7, dtype="u1"
        ).reshape(2, 3),
        "[Object.assign(Float32Array.of(1.5, 2), { shape: [2, 1] })]": numpy.array([[1.5], [2]], "<f4"),
        "Object.assign(BigInt64Array.of(-1n), { shape: [] })": numpy.array(-1, "<i8"),
    }
    for answer, wanted in zip(node("encode.mjs", *sent), sent.values(), strict=True):
        found = decode(bytes.fromhex(answer), 1, b"", b"", None)
        found = found[0] if type(found) is list else found
        assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())
    for shape in ("[2]", "[-1]", "[0.5, 2]", "'ab'"):
        (answer,) = node("encode.mjs", f"Object.assign(Uint8Array.of(1), {{ shape: {shape} }})")
        assert answer.startswith("RangeError: a shape of 1 numbers was expected")


def test_what_javascript_sends_arrives_as_what_it_was_or_is_refused() -> None:
    sent: dict[str, object] = {
        "Float32Array.of(1.5, -2)": array.array("f", [1.5, -2]),
        "Int16Array.of(1, -2)": array.array("h", [1, -2]),
        "BigInt64Array.of(-1n)": array.array("q", [-1]),
        "Int8Array.of(-1)": array.array("b", [-1]),
        "Uint8ClampedArray.of(1)": array.array("B", [1]),
        "new Float64Array(Float64Array.of(1, 2, 3).buffer, 8, 1)": array.array("d", [2]),
        "Uint8Array.of(1, 2)": b"\x01\x02",
        "new DataView(Uint8Array.of(1, 2).buffer)": b"\x01\x02",
        "Uint8Array.of(1, 2).buffer": b"\x01\x02",
        "2n ** 70n": 2**70,
        "-(2n ** 70n)": -(2**70),
        "new Map([[1, 2]])": {1: 2},
        "new (class { constructor() { this.x = 1; } })()": {"x": 1},
        "new Tagged(1, 0)": datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    }
    answers = node("encode.mjs", *sent)
    assert [decode(bytes.fromhex(answer), 1, b"", b"", None) for answer in answers] == list(sent.values())
    refused = {
        "new Date(0)": "TypeError: CBOR cannot carry a Date: send date.toISOString()",
        "[new Set([1])]": "TypeError: CBOR cannot carry a Set: send [...set]",
        "({ a: /x/ })": "TypeError: CBOR cannot carry a RegExp",
        "new Error('x')": "TypeError: CBOR cannot carry a Error",
        "() => 1": "TypeError: CBOR cannot carry a function",
        "Promise.resolve(1)": "TypeError: CBOR cannot carry a Promise",
        "2n ** 9000n": "RangeError: a whole number of at most 1024 bytes",
    }
    for answer, wanted in zip(node("encode.mjs", *refused), refused.values(), strict=True):
        assert answer.startswith(wanted)


def test_hashes() -> None:
    draw = random.Random(7)
    pairs = [
        (draw.randbytes(size % 100 or 1), draw.randbytes(size)) for size in [*range(1, 200), 1000, 65536]
    ]
    wanted = [
        f"{hashlib.sha1(message).hexdigest()} {hashlib.sha256(message).hexdigest()}"
        f" {hmac.new(key, message, hashlib.sha256).hexdigest()}"
        for key, message in pairs
    ]
    assert node("hashes.mjs", *(f"{key.hex()} {message.hex()}" for key, message in pairs)) == wanted
