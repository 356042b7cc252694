"""What a reader is told adds up to what is there, however slow it is."""

from __future__ import annotations

import random

import pytest

from busway.adapters.records import EndpointInfo, NodeInfo, Sighting
from busway.adapters.sightings import Key, Seen, Sightings

A: Key = (b"node", b"a")
B: Key = (b"node", b"b")


def seen(key: Key = A, name: str = "a", incarnation: int = 0) -> Seen:
    info = EndpointInfo(key[1], name, "anycast", "localnet", key[0])
    return Seen(info, NodeInfo(key[0], "label", False), bytes((incarnation,)))


def told(sightings: Sightings) -> list[str]:
    words = []
    while sightings:
        each = sightings.popleft()
        words.append(f"{each.what} {each.endpoint.name}" if each.endpoint is not None else each.what)
    return words


def test_first_what_is_there_then_that_it_is_complete_then_what_comes() -> None:
    sightings = Sightings()
    sightings.put(A, seen())
    sightings.put(B, seen(B, "b"))
    sightings.complete()
    sightings.complete()
    assert told(sightings) == ["present a", "present b", "complete"]
    sightings.put(A, seen(A, "other"))
    sightings.drop(B, "lost", "aaargh")
    changed, departed = sightings.popleft(), sightings.popleft()
    assert (changed.what, changed.former) == ("changed", seen().endpoint)
    assert (departed.what, departed.reason, departed.lost, departed.last_word) == (
        "departed",
        "lost",
        True,
        "aaargh",
    )
    assert not sightings
    sightings.put(B, seen(B, "b"))
    assert told(sightings) == ["arrived b"]


def test_what_came_and_went_unseen_is_not_told() -> None:
    sightings = Sightings()
    sightings.put(A, seen())
    sightings.drop(A, "goodbye")
    sightings.drop(A, "goodbye")
    assert told(sightings) == []


def test_a_change_back_is_none() -> None:
    sightings = Sightings()
    sightings.put(A, seen())
    assert told(sightings) == ["present a"]
    sightings.put(A, seen())
    sightings.put(A, seen(A, "other"))
    sightings.put(A, seen())
    assert told(sightings) == []


def test_who_departed_and_came_again_did_both() -> None:
    sightings = Sightings()
    sightings.put(A, seen())
    sightings.complete()
    assert told(sightings) == ["present a", "complete"]
    sightings.drop(A, "lost")
    sightings.put(A, seen(A, "new", 1))
    sightings.drop(A, "goodbye")
    sightings.put(A, seen(A, "newer", 2))
    assert told(sightings) == ["departed a", "arrived newer"]
    sightings.put(A, seen(A, "last"))
    sightings.clear()
    assert told(sightings) == []


def test_records_print_well() -> None:
    assert repr(Sighting("complete")) == "<complete>"
    gone = Sighting("departed", seen().endpoint, seen().node, "lost", b"bye")
    assert repr(gone) == f"<departed {seen().endpoint!r}: lost, last word b'bye'>"
    assert repr(Sighting("arrived", seen().endpoint)) == f"<arrived {seen().endpoint!r}>"


@pytest.mark.parametrize("seed", range(40))
def test_it_adds_up_and_stays_small(seed: int) -> None:
    rng = random.Random(seed)
    sightings = Sightings()
    reader: dict[Key, EndpointInfo] = {}
    keys = [(bytes((node,)), bytes((uuid,))) for node in range(3) for uuid in range(3)]
    for _ in range(2000):
        key = rng.choice(keys)
        if rng.random() < 0.5:
            sightings.put(key, seen(key, rng.choice("xyz"), rng.randrange(2)))
        else:
            sightings.drop(key, rng.choice(("lost", "goodbye", "withdrawn")))
        if rng.random() < 0.01:
            sightings.complete()
        assert len(sightings) <= len(keys) + 1
        for _ in range(rng.choice((0, 0, 1, 3))):
            if sightings:
                take(reader, sightings.popleft())
    while sightings:
        take(reader, sightings.popleft())
    assert reader == {key: each.endpoint for key, each in sightings.here.items()}


def take(reader: dict[Key, EndpointInfo], sighting: Sighting) -> None:
    """As a program would: nothing departs that is not there, nothing arrives that is."""
    endpoint = sighting.endpoint
    if endpoint is None:
        return
    key = (endpoint.node, endpoint.id)
    assert (key in reader) == (sighting.what in ("departed", "changed"))
    if sighting.what == "changed":
        assert reader[key] == sighting.former
    if sighting.what == "departed":
        assert reader.pop(key) is not None
    else:
        reader[key] = endpoint
