"""Announcements: what is said in them, and what is taken from those of others."""

from __future__ import annotations

import pytest

from busway.lan.announced import (
    ADDRESSES_MAX,
    Announced,
    bus_hash,
    host_name,
    instance_name,
    parse,
    text_record,
)

NODE = bytes(range(16))
NAME = instance_name(NODE)
SAID: dict[str, str | None] = dict(text_record(NODE, "meadow", 4711))


def test_what_is_announced_is_read_again() -> None:
    found = parse(NAME, SAID, ["192.0.2.1", "fe80::1%2", "192.0.2.1"], 4711)
    assert found == Announced(NODE, bus_hash("meadow"), ("192.0.2.1", "fe80::1%2"), 4711)


def test_neither_name_nor_program_can_be_read_from_it() -> None:
    said = f"{NAME} {host_name(NODE)} {SAID}"
    assert "meadow" not in said
    assert bus_hash("meadow") == "c0d2253eb86051d1"
    assert bus_hash("meadow") != bus_hash("orchard")
    assert len(NAME.partition(".")[0]) <= 63
    assert len(host_name(NODE).partition(".")[0]) <= 63


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"v": "2"}, "version '2'"),
        ({"v": None}, "version ''"),
        ({"id": "00" * 16}, "another one than its name"),
        ({"id": "zz" * 16}, "no node id"),
        ({"bus": "0123"}, "which bus"),
        ({"bus": "x" * 16}, "which bus"),
        ({"port": "4712"}, "no port, or two"),
        ({"realm": "global"}, "'global'"),
        ({"realm": "g" * 200}, "'gggggggggggggggg'"),
    ],
)
def test_what_is_wrong_with_an_announcement_is_said(changes: dict[str, str | None], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse(NAME, {**SAID, **changes}, ["192.0.2.1"], 4711)


@pytest.mark.parametrize("port", [None, 0, 65536])
def test_a_port_is_one(port: int | None) -> None:
    with pytest.raises(ValueError, match="no port"):
        parse(NAME, {**SAID, "port": str(port)}, ["192.0.2.1"], port)


def test_addresses_that_nobody_is_dialled_at_are_left_out() -> None:
    none = ["127.0.0.1", "::1", "224.0.0.251", "0.0.0.0", "::", "ff02::fb", "fe80::1", "::ffff:192.0.2.1"]
    with pytest.raises(ValueError, match="no address"):
        parse(NAME, SAID, [*none, "240.0.0.1", "busway.example"], 4711)
    found = parse(NAME, SAID, [*none, "FD00::1"], 4711)
    assert found.addresses == ("fd00::1",)


def test_addresses_are_bounded() -> None:
    many = [f"192.0.2.{number}" for number in range(1, 100)]
    assert len(parse(NAME, SAID, many[:ADDRESSES_MAX], 4711).addresses) == ADDRESSES_MAX
    assert len(parse(NAME, SAID, many[: ADDRESSES_MAX + 1], 4711).addresses) == ADDRESSES_MAX
