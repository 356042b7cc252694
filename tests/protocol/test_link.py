"""The settings of a link before the first byte: wrong values are refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Link, LocalError, codes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"realm": codes.PROCESS}, "realm must be USERSPACE"),
        ({"realm": 4}, "realm must be USERSPACE"),
        ({"cost": 0}, "cost must be 1 to 16382"),
        ({"cost": 16383}, "cost must be 1 to 16382"),
        ({"keepalive_ms": -1}, "keepalive_ms must be 0"),
        ({"keepalive_ms": 86400001}, "keepalive_ms must be 0"),
    ],
)
def test_a_link_with_a_wrong_option_is_refused_at_once(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalError, match=sentence):
        Link(**options)


def test_a_long_via_is_clipped_between_characters() -> None:
    assert Link(via="ä" * 40).via == "ä" * 32


def test_the_edges_of_each_option_are_taken() -> None:
    for cost in (1, 16382):
        assert Link(cost=cost).cost == cost
    for realm in (codes.USERSPACE, codes.GLOBAL):
        assert Link(realm).realm == realm
    for keepalive_ms in (0, 86400000):
        assert Link(keepalive_ms=keepalive_ms).keepalive_ms == keepalive_ms


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sort": "message"}, "sort"),
        ({"sort": "packet", "window": 0}, "window"),
        ({"sort": "packet", "window": 32}, "window"),
        ({"sort": "packet", "mtu": 19}, "mtu"),
        ({"sort": "packet", "mtu": 65536}, "mtu"),
        ({"mtu": 20}, "mtu"),
    ],
)
def test_options_of_packet_links(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalError, match=f"{sentence} must be"):
        Link(**options)


def test_a_packet_link_has_a_keepalive() -> None:
    assert Link(sort="packet").keepalive_ms == 5000
    assert Link(sort="packet", keepalive_ms=700, mtu=20, window=1).keepalive_ms == 700
    assert Link(sort="packet", mtu=65535).window == 31
