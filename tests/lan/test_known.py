"""The programs that are known, what is dialled of them, and how many are kept."""

from __future__ import annotations

from busway.lan.announced import Announced
from busway.lan.known import KNOWN_MAX, OTHERS_MAX, STRIKES_MAX, Known, KnownOnes, OtherOnes
from busway.lan.networks import Network

NETWORKS = (Network("eth0", 2, "192.0.2.7", 24),)


def node(number: int) -> bytes:
    return number.to_bytes(16, "big")


def said(number: int, *addresses: str, port: int = 7000) -> Announced:
    return Announced(node(number), "0" * 16, addresses or ("192.0.2.1",), port)


def nothing(_: bytes) -> None:
    """Nobody is told."""


def nobody(_: Known) -> bool:
    return False


def announced(ones: KnownOnes, number: int, now: float = 0.0) -> Known | None:
    return ones.announce(said(number), now, nobody)


def test_what_worked_is_dialled_first_and_at_first_alone() -> None:
    known = Known(node(1), "mdns", [("192.0.2.1", 7000), ("192.0.2.2", 7000)], 0.0)
    assert known.first_places(NETWORKS) == known.places
    known.worked = ("192.0.2.3", 7000)
    assert known.all_places() == [("192.0.2.3", 7000), *known.places]
    assert known.first_places(NETWORKS) == known.all_places()
    known.announced = False
    assert known.first_places(NETWORKS) == [("192.0.2.3", 7000)]
    known.failed(0.0)
    assert known.first_places(NETWORKS) == known.all_places()


def test_only_what_is_on_a_network_of_this_machine_is_dialled() -> None:
    known = Known(node(1), "mdns", [("203.0.113.1", 7000), ("192.0.2.2", 7000)], 0.0)
    assert known.near_places(NETWORKS) == [("192.0.2.2", 7000)]
    assert known.near_places(()) == []
    assert known.near_places(NETWORKS) == [("192.0.2.2", 7000)]
    known.places = [("192.0.2.9", 7000)]
    assert known.near_places(NETWORKS) == known.places


def test_an_address_that_this_machine_has_too_is_dialled_only_where_there_is_no_other() -> None:
    known = Known(node(1), "mdns", [("192.0.2.7", 7000), ("192.0.2.2", 7000)], 0.0)
    assert known.near_places(NETWORKS) == [("192.0.2.2", 7000)]
    known.places = [("192.0.2.7", 7000)]  # another program of this machine
    assert known.near_places(NETWORKS) == known.places


def test_who_refuses_is_left_alone_until_it_announces_something_else() -> None:
    ones = KnownOnes(nothing)
    known = announced(ones, 1)
    assert known is not None
    seen = [known.is_refused]
    known.refused.update(known.places)
    seen.append(known.is_refused)
    assert announced(ones, 1) is known  # the same once more
    seen.append(known.is_refused)
    ones.announce(said(1, port=7001), 0.0, nobody)
    assert [*seen, known.is_refused] == [False, True, True, False]
    assert known.places == [("192.0.2.1", 7001)]


def test_an_address_where_somebody_else_is_now_keeps_nobody_from_the_others() -> None:
    known = Known(node(1), "mdns", [("192.0.2.1", 7000)], 0.0)
    known.worked = ("192.0.2.9", 7000)
    known.announced = False
    known.refused.add(known.worked)
    assert not known.is_refused
    assert known.first_places(NETWORKS) == [("192.0.2.1", 7000)]


def test_waits_grow_and_are_shorter_where_a_link_was_open_before() -> None:
    stranger = Known(node(1), "mdns", [("192.0.2.1", 7000)], 0.0)
    friend = Known(node(2), "remembered", [("192.0.2.2", 7000)], 0.0)
    friend.worked = friend.places[0]
    waits: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(30):
        for known in (stranger, friend):
            known.failed(100.0)
            waits[known is friend].append(known.next_try - 100.0)
    assert waits[False][:3] == [2.0, 4.0, 8.0]
    assert waits[True][:3] == [0.25, 0.5, 1.0]
    assert waits[False][-1] == waits[True][-1] == 600.0
    friend.try_anew()
    assert (friend.failures, friend.next_try) == (0, 0.0)


def test_an_address_at_which_dials_fail_rests_ever_longer() -> None:
    ones = KnownOnes(nothing)
    for _ in range(4):
        ones.strike("192.0.2.1", 0.0)
    assert not ones.is_resting("192.0.2.1", 0.0)
    ones.strike("192.0.2.1", 0.0)
    assert ones.is_resting("192.0.2.1", 1.9)
    assert not ones.is_resting("192.0.2.1", 2.0)
    for _ in range(30):
        ones.strike("192.0.2.1", 0.0)
    assert ones.is_resting("192.0.2.1", 599.0)
    assert not ones.is_resting("192.0.2.1", 600.0)
    assert not ones.is_resting("192.0.2.2", 0.0)
    ones.absolve("192.0.2.1")
    assert not ones.is_resting("192.0.2.1", 0.0)
    ones.absolve("192.0.2.1")


def test_addresses_that_rest_are_bounded() -> None:
    ones = KnownOnes(nothing)
    for number in range(STRIKES_MAX + 1):
        ones.strike(f"address {number}", 0.0)
    assert len(ones._strikes) == STRIKES_MAX
    ones.try_anew()
    assert not ones._strikes


def test_as_many_as_there_is_room_for_and_one_more() -> None:
    gone: list[bytes] = []
    ones = KnownOnes(gone.append)
    for number in range(KNOWN_MAX):
        assert announced(ones, number, float(number))
    assert len(ones) == KNOWN_MAX
    assert announced(ones, KNOWN_MAX, 2000.0)
    assert len(ones) == KNOWN_MAX
    assert ones.find(node(0)) is None  # the one that was longest known
    assert gone == [node(0)]
    assert ones.turned_away == 0


def test_those_that_came_to_nothing_make_room_first_and_those_that_worked_never() -> None:
    ones = KnownOnes(nothing)
    for number in range(KNOWN_MAX):
        announced(ones, number, float(number))
    failed, refused, worked = (ones.find(node(number)) for number in (7, 8, 0))
    assert failed is not None
    assert refused is not None
    assert worked is not None
    failed.failed(0.0)
    refused.refused.update(refused.places)
    worked.worked = worked.places[0]
    for number in (2000, 2001):
        announced(ones, number, 3000.0)
    assert ones.find(node(7)) is None
    assert ones.find(node(8)) is None
    announced(ones, 2002, 3000.0)
    assert ones.find(node(1)) is None
    assert ones.find(node(0)) is worked


def test_where_all_are_needed_the_new_one_is_turned_away() -> None:
    ones = KnownOnes(nothing)
    for number in range(KNOWN_MAX):
        announced(ones, number)
    assert ones.announce(said(5000), 0.0, lambda known: True) is None
    assert ones.turned_away == 1
    assert ones.announce(said(1), 0.0, lambda known: True)  # who is known already is no new one


def test_announcements_of_others_are_bounded() -> None:
    gone: list[str] = []
    others = OtherOnes(gone.append)
    for number in range(OTHERS_MAX):
        others.add(str(number))
        others.add(str(number))
    assert gone == []
    others.add("one more")
    assert gone == ["0"]
    assert others.discard("one more")
    assert not others.discard("one more")
