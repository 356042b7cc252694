"""busway.names: what may stand for an endpoint, and what it turns into."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway import payloads
from busway.adapters import audit, board_logs, tap
from busway.messages import message
from busway.names import NAME_SIZE_MAX, NAMESPACE, check_bus_name, endpoint_id, endpoint_name

READING_ID = "0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2d"


@message(READING_ID, name="lab/reading")
@dataclass
class Reading:
    celsius: float


class Heir(Reading):
    pass


def test_a_name_is_a_version_5_uuid_and_stays_what_it_is() -> None:
    found = uuid.UUID(bytes=endpoint_id("lab/temperature"))
    assert found.version == 5
    # Golden: whoever changes this breaks every bus in the field.
    assert str(NAMESPACE) == "f2066500-0bc6-4ea2-9d3a-7801eb92bb6c"
    assert found.hex == "4128e4563a715415a5a9944d3f9d9d00"


@given(st.text(min_size=1, max_size=16))
def test_names_map_by_their_bytes(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="UTF-8"):
            endpoint_id(name)
        return
    assert size <= NAME_SIZE_MAX
    assert endpoint_id(name) == uuid.uuid5(NAMESPACE, name).bytes
    assert endpoint_name(name) == name


def test_case_and_composition_matter() -> None:
    assert endpoint_id("Lab") != endpoint_id("lab")
    assert endpoint_id("\u00e9") != endpoint_id("e\u0301")


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32])
def test_the_longest_name(name: str) -> None:
    assert len(endpoint_id(name)) == 16
    with pytest.raises(ValueError, match="1 to 64 UTF-8 bytes"):
        endpoint_id(name + "x")


def test_the_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 64 UTF-8 bytes"):
        endpoint_id("")


@given(st.uuids())
def test_uuids_in_every_form(identity: uuid.UUID) -> None:
    for form in (identity, identity.bytes, str(identity), str(identity).upper()):
        assert endpoint_id(form) == identity.bytes
        assert endpoint_name(form) == ""


def test_only_the_canonical_form_is_a_uuid() -> None:
    for near in (
        READING_ID.replace("-", ""),
        "{" + READING_ID + "}",
        READING_ID[:-1] + "g",
        READING_ID + "\n",
    ):
        assert endpoint_id(near) == uuid.uuid5(NAMESPACE, near).bytes
        assert endpoint_name(near) == near


def test_a_str_subclass_counts_as_its_text() -> None:
    class Text(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    assert endpoint_id(Text("a")) == endpoint_id("a")
    assert endpoint_id(Text("b")) == endpoint_id("b")


def test_a_message_class_stands_for_its_endpoint() -> None:
    assert endpoint_id(Reading) == uuid.UUID(READING_ID).bytes
    assert endpoint_name(Reading) == "lab/reading"


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Reading(1.0), "by the class Reading, not by an instance"),
        (Heir, "class Heir names no endpoint"),
        (int, "class int names no endpoint"),
        (12, "got int"),
        (None, "got NoneType"),
        (["lab"], "got list"),
    ],
)
def test_what_names_no_endpoint(target: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        endpoint_id(target)
    with pytest.raises(TypeError, match=sentence):
        endpoint_name(target)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_bytes_must_be_sixteen(size: int) -> None:
    with pytest.raises(ValueError, match=f"16-byte UUID, got {size} bytes"):
        endpoint_id(b"x" * size)
    with pytest.raises(ValueError, match="16-byte UUID"):
        endpoint_name(b"x" * size)


@pytest.mark.parametrize("name", ["default", "x" * 64, "Küche 2"])
def test_bus_names(name: str) -> None:
    assert check_bus_name(name) == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "1 to 64"),
        ("x" * 65, "1 to 64"),
        ("a\nb", "control"),
        ("\x7f", "control"),
        ("a\x85", "control"),
        ("\ud800", "UTF-8"),
    ],
)
def test_improper_bus_names(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_bus_name(name)


def test_a_bus_name_is_a_str() -> None:
    bus: Any = b"default"
    with pytest.raises(TypeError, match="must be a str, got bytes"):
        check_bus_name(bus)


def test_what_is_written_out_is_what_the_names_stand_for() -> None:
    """Or each program would wait at import for what computes it."""
    assert endpoint_id("busway/sealed") == payloads.SEALED
    assert endpoint_id(audit.AUDIT_NAME) == audit._ENDPOINT
    assert endpoint_id(board_logs.LOG_NAME) == board_logs._ENDPOINT
    assert endpoint_id(tap.TAP_NAME) == tap.TAP


CANONICAL = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
CLOSE = [
    *("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2d", "0B0C7C4E-6F0E-4B5C-9D0A-1F3A5C7E9B2D"),
    *("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2", "0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2d0"),
    *("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2g", "0b0c7c4e6-f0e-4b5c-9d0a-1f3a5c7e9b2d"),
    *("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e  2d", " 0b0c7c4-6f0e-4b5c-9d0a-1f3a5c7e9b2d"),
    *("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7-9b2d", "0b0c7c4e_6f0e_4b5c_9d0a_1f3a5c7e9b2d"),
    *("\uff10b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2", "\u0660b0c7c4-6f0e-4b5c-9d0a-1f3a5c7e9b2d", "-" * 36),
]


@pytest.mark.parametrize("text", CLOSE)
def test_what_is_close_to_the_canonical_form_is_a_name(text: str) -> None:
    meant = uuid.UUID(text) if CANONICAL.fullmatch(text) else uuid.uuid5(NAMESPACE, text)
    assert endpoint_id(text) == meant.bytes
    assert endpoint_name(text) == ("" if CANONICAL.fullmatch(text) else text)


@given(st.text(alphabet="0123456789abcdefABCDEF-", min_size=36, max_size=36))
def test_whatever_is_like_it_is_as_the_standard_library_says(text: str) -> None:
    meant = uuid.UUID(text) if CANONICAL.fullmatch(text) else uuid.uuid5(NAMESPACE, text)
    assert endpoint_id(text) == meant.bytes


@given(st.text(min_size=1, max_size=10))
def test_bus_names_have_no_control_characters(text: str) -> None:
    if re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        with pytest.raises(ValueError, match="control"):
            check_bus_name(text)
    else:
        assert check_bus_name(text) == text
