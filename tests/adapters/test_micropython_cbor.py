"""The small CBOR for boards beside cbor2, on generated values; and the same corpus on a real MicroPython."""

from __future__ import annotations

import array
import json
import math
import random
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.adapters import micropython_cbor as small
from busway.payloads import encode
from tests.rigs.micropython import MicroPython
from tests.rigs.tree import ROOT, copy_folder

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 500), 1 << 500)
    | st.floats()
    | st.binary(max_size=300)
    | st.text(max_size=100)
)
KEYS = st.integers() | st.text(max_size=20) | st.binary(max_size=20) | st.booleans()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(KEYS, inner, max_size=30),
    max_leaves=20,
)


def same(left: object, right: object) -> bool:
    """Equal, NaN included, of equal types."""
    return repr(left) == repr(right)


@given(VALUES)
def test_cbor2_reads_what_it_writes(value: object) -> None:
    assert same(cbor2.loads(small.dumps(value)), value)


@given(VALUES, st.booleans())
def test_it_reads_what_cbor2_writes(value: object, canonical: bool) -> None:
    raw = cbor2.dumps(value, canonical=canonical)
    assert same(small.loads(raw), cbor2.loads(raw))


@given(st.binary(max_size=60))
def test_noise_is_a_value_error_or_what_cbor2_reads(raw: bytes) -> None:
    try:
        value = small.loads(raw)
    except ValueError:
        return
    assert same(value, cbor2.loads(raw))


@given(VALUES, st.data())
def test_what_is_cut_short_is_refused(value: object, data: st.DataObject) -> None:
    raw = small.dumps(value)
    with pytest.raises(ValueError):
        small.loads(raw[: data.draw(st.integers(0, len(raw) - 1))])


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("9f0102ff", [1, 2]),
        ("bf616101ff", {"a": 1}),
        ("5f41614162ff", b"ab"),
        ("7f61616162ff", "ab"),
        ("f93c00", 1.0),
        ("f90001", 2.0**-24),
        ("f9fc00", -math.inf),
        ("fa3f800000", 1.0),
        ("c249010000000000000000", 1 << 64),
        ("c349010000000000000000", -1 - (1 << 64)),
    ],
)
def test_forms_that_cbor2_seldom_writes(raw: str, value: object) -> None:
    assert same(small.loads(bytes.fromhex(raw)), value)


@pytest.mark.parametrize(
    "raw",
    [
        "-",
        "1c",
        "5f6161ff",
        "5f5f4161ffff",
        "ff",
        "f7",
        "f818",
        "c001",
        "c201",
        "a1800102",
        "a201020103",
        "61ff",
        "0000",
        "9f01",
        "5b7fffffffffffffff",
        "9affffffff",
        "9b00ffffffffffffff",
        "c2584100",
    ],
)
def test_malformed_is_a_value_error(raw: str) -> None:
    with pytest.raises(ValueError):
        small.loads(bytes.fromhex(raw.strip("-")) + bytes(64 if raw.startswith("c258") else 0))


def test_depth_and_size_are_bounded() -> None:
    value: object = 1
    for _ in range(small.DEPTH_MAX):
        value = [value]
    assert small.loads(small.dumps(value)) == value
    with pytest.raises(ValueError, match="deeper than 16"):
        small.dumps([value])
    with pytest.raises(ValueError):
        small.loads(cbor2.dumps([value]))
    assert small.loads(small.dumps(2**512 - 1)) == 2**512 - 1
    with pytest.raises(ValueError, match="64 bytes"):
        small.dumps(2**512)


def test_a_view_of_something_wider_than_bytes_loses_nothing() -> None:
    wide = array.array("i", [1, 70000])
    assert small.loads(small.dumps([memoryview(wide)])) == [wide.tobytes()]


def test_an_array_of_numbers_names_its_tag() -> None:
    with pytest.raises(ValueError, match="a tag that boards do not know: 78"):
        small.loads(encode(array.array("i", [1]), b"")[0])


def test_a_type_that_does_not_travel() -> None:
    with pytest.raises(TypeError, match="a payload is"):
        small.dumps({1, 2})


CORPUS = """
import json
from busway.adapters import micropython_cbor as small
def unhex(text):
    return bytes([int(text[at:at + 2], 16) for at in range(0, len(text), 2)])
good = bad = 0
for raw, wanted in json.load(open("corpus.json")):
    raw = unhex(raw)
    try:
        value = small.loads(raw)
    except ValueError:
        assert wanted is None, (raw, "refused")
        bad += 1
        continue
    assert wanted is not None, (raw, "taken", value)
    assert small.loads(small.dumps(value)) == value, raw
    if wanted:
        assert small.dumps(value) == unhex(wanted), (raw, value)
    good += 1
print(good, bad)
"""


def corpus() -> list[tuple[str, str | None]]:
    """Values, and the same with a byte changed; beside each what CPython writes of it again ("": in any
    order), None if it is refused.
    """
    rng = random.Random(4)
    found: list[tuple[str, str | None]] = []
    values: list[object] = [
        0,
        23,
        24,
        255,
        256,
        65535,
        65536,
        2**32,
        2**64 - 1,
        2**64,
        -1,
        -(2**64),
        -(2**64) - 1,
        2**70,
    ]
    for value in [*values, 1.5, -0.0, 1e300, "grün", b"\0\xff", [], {}, [1, [2, {"a": None}]], True, None]:
        raw = small.dumps(value)
        for round in range(20):
            changed = bytearray(raw)
            if round:
                changed[rng.randrange(len(raw))] = rng.randrange(256)
            try:
                again = small.loads(bytes(changed))
            except ValueError:
                found.append((changed.hex(), None))
            else:
                if again == again:
                    found.append((changed.hex(), small.dumps(again).hex()))
    return found


def test_the_same_on_a_board(real_micropython: MicroPython) -> None:
    cases = corpus()
    directory = Path(real_micropython.directory)
    (directory / "corpus.json").write_text(json.dumps(cases))
    copy_folder(ROOT / "adapters", directory / "busway" / "adapters")
    (directory / "busway" / "adapters" / "__init__.py").write_text("")
    good = len([case for case in cases if case[1] is not None])
    assert real_micropython.run(CORPUS).split() == [str(good), str(len(cases) - good)]
