"""Memory that the core takes for a link and for an endpoint: of both there may be thousands."""

from __future__ import annotations

from benchmarks import memory

# A tenth above what was counted on CPython 3.11.
LINK_MAX = 7_900  # bytes, for one end
OWN_MAX, KNOWN_MAX = 1_050, 400


def test_an_idle_link_takes_little() -> None:
    assert memory.link() < LINK_MAX


def test_an_endpoint_takes_little_at_its_node_and_at_others() -> None:
    own, known = memory.endpoint()
    assert own < OWN_MAX
    assert known < KNOWN_MAX
