"""Subjects of a backbone: a pattern's subject takes in those of all names that it means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busway.backbone import subjects
from busway.names import endpoint_id
from busway.protocol.wire.patterns import matches

LEVELS = st.text(st.sampled_from("ab.>* é%$-"), max_size=3).filter(lambda text: "*" not in text)
NAMES = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
PATTERNS = st.lists(LEVELS | st.sampled_from(["*", "**"]), min_size=1, max_size=4).map("/".join).filter(bool)


def takes_in(subscribed: str, subject: str) -> bool:
    """Whether NATS gives what is published on a subject to who has subscribed so."""
    ours, theirs = subscribed.split("."), subject.split(".")
    for at, token in enumerate(ours):
        if token == ">":
            return len(theirs) > at
        if at >= len(theirs) or token not in ("*", theirs[at]):
            return False
    return len(ours) == len(theirs)


@given(PATTERNS, NAMES)
def test_who_has_a_pattern_hears_of_all_names_that_it_means(pattern: str, name: str) -> None:
    if matches(pattern, name):
        assert takes_in(subjects.pattern(pattern), subjects.name(name))


@given(NAMES, NAMES)
def test_names_have_subjects_of_their_own_that_nats_takes(one: str, other: str) -> None:
    found = subjects.name(one)
    assert (found == subjects.name(other)) == (one == other)
    assert found.isascii()
    assert not set(" *>\t\r\n") & set(found)
    assert "" not in found.split(".")


def test_uuids_stand_in_subjects_and_are_read_from_them() -> None:
    uuid = endpoint_id("plant/pump")
    assert subjects.uuid_in(subjects.who(uuid)) == subjects.uuid_in(subjects.new(uuid)) == uuid
    assert subjects.uuid_in("who.x") == subjects.uuid_in("who." + "g" * 32) == subjects.uuid_in("who") == b""
