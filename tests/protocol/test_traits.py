"""Labels and last words of endpoints: what is refused, and that they travel with their entries, to those who
know what they are.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import Limits, LocalError, codes
from busway.protocol.errors import Refusal
from busway.protocol.report import report
from busway.protocol.wire.traits import (
    fit_traits,
    gone_of,
    labels_of,
    pack_traits,
    read_traits,
    write_traits,
)

from .leaves import LeafNet
from .nets import ANYCAST, GLOBAL, UNICAST, Mesh
from .pairs import E, F, Pair

texts = st.text(min_size=1, max_size=9).filter(lambda text: len(text.encode()) <= 32)
words = st.binary(max_size=128).map(lambda payload: b"\1" + payload)


@given(st.lists(texts, max_size=8), st.just(b"") | words)
def test_what_is_packed_is_read_and_labels_are_a_set(labels: list[str], gone: bytes) -> None:
    items = pack_traits(labels, gone)
    assert read_traits(items) == items == pack_traits(reversed(labels), gone)
    assert labels_of(items) == sorted({label.encode() for label in labels})
    assert gone_of(items) == gone
    assert write_traits(items)[1 if len(items) < 128 else 2 :] == items
    assert pack_traits([], b"") == write_traits(b"") == b""


@given(st.lists(texts, max_size=8), st.just(b"") | words, st.integers(0, 450))
def test_what_does_not_fit_is_left_out_from_the_end(labels: list[str], gone: bytes, room: int) -> None:
    items = pack_traits(labels, gone)
    fitting = fit_traits(items, room)
    assert items.startswith(fitting)
    assert len(write_traits(fitting)) <= room
    assert read_traits(fitting) == fitting
    if fitting != items:
        following = items[len(fitting) :]
        assert len(write_traits(fitting + following[: 2 + following[1]])) > room


@pytest.mark.parametrize(
    ("labels", "gone", "text"),
    [
        ("abc", b"", "not one text"),
        ([1], b"", "must be a text"),
        ([""], b"", "1 to 32 bytes"),
        (["ü" * 17], b"", "has 34"),
        ([str(number) for number in range(9)], b"", "at most 8 labels"),
        (["\ud800"], b"", "text that UTF-8 can say"),
        ([], bytes(130), "at most 128 bytes, not 129"),
        ([], b"\3" + bytes(16 + 129), "at most 128 bytes, not 129"),
    ],
)
def test_what_no_endpoint_may_have_is_refused(labels: Any, gone: bytes, text: str) -> None:
    net = Pair()
    with pytest.raises(LocalError, match=text):
        net.a.register(E, ANYCAST, labels=labels, gone=gone)
    assert not net.a.endpoints()


@pytest.mark.parametrize(
    "extension",
    [
        "01",
        "0102ff",
        "0100",
        "0101ff",
        "0121" + "61" * 33,
        "010161" * 9,
        "0200",
        "020104",
        "020103",
        "0281" + "00" * 130,
        "020100" * 2,
    ],
)
def test_an_extension_that_breaks_the_format_is_refused(extension: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_traits(bytes.fromhex(extension))
    assert refused.value.code == codes.MALFORMED


@given(st.binary(max_size=60))
def test_whatever_comes_is_refused_or_kept_in_one_form(extension: bytes) -> None:
    try:
        items = read_traits(extension)
    except Refusal:
        return
    assert read_traits(items) == items
    assert len(labels_of(items)) <= 8


def labels_at(net: Mesh, letter: str, uuid: bytes = E) -> list[str]:
    entries = net[letter].directory.known(uuid)
    return [label.decode() for entry in entries for label in labels_of(entry.traits)]


def test_labels_travel_with_the_entry_over_all_hops_and_change_with_it() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab bc")
    net.pump()
    receiver = net["a"].register(E, ANYCAST, labels=["renderer", "gpu"], gone=b"\0bye")
    net.pump()
    assert labels_at(net, "b") == labels_at(net, "c") == ["gpu", "renderer"]
    assert gone_of(net["c"].directory.known(E)[0].traits) == b"\0bye"
    net["a"].deregister(receiver, net.now)
    net["a"].register(E, ANYCAST, labels=["codec"])
    net.pump()
    assert labels_at(net, "b") == labels_at(net, "c") == ["codec"]


def test_a_change_of_labels_alone_is_a_change_of_the_endpoint() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    net.pump()
    entry = net["a"].register(E, ANYCAST)
    net.pump()
    known = net["b"].directory.known(E)[0]
    assert entry.endpoint.traits == known.traits == b""
    other = type(known)(known.peer, E, known.kind, known.realm, traits=pack_traits(["x"], b""))
    assert known.differs(other)
    assert known.is_other(other)


def test_who_does_not_know_labels_is_told_without_and_tells_on_without() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", addressing=False)
    net.join("bc")
    net.pump()
    receiver = net["a"].register(E, ANYCAST, labels=["renderer"])
    net.pump()
    assert labels_at(net, "b") == labels_at(net, "c") == []
    assert net.holders("c", E) == "a"
    net.join("ac")  # over which all is told anew
    net.advance(20_000)
    assert labels_at(net, "c") == ["renderer"]
    token = net["c"].send(E, b"x", net.now, confirm=True)
    net.pump()
    assert token
    assert net.payloads("a", receiver) == [b"x"]


@pytest.mark.parametrize("addressing", [True, False])
def test_over_links_with_lookups_the_answer_says_labels(addressing: bool) -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", lookups=True, addressing=addressing)
    net.pump()
    net["b"].register(E, ANYCAST, name="n" * 64, labels=["renderer"])
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert labels_at(net, "a") == (["renderer"] if addressing else [])


def test_labels_that_do_not_fit_a_small_frame_are_left_out() -> None:
    net = Mesh()
    net.add("a", limits=Limits(frame_size_max=128))
    net.add("b")
    net.join("ab")
    net.pump()
    labels = [letter * 32 for letter in "abcdefgh"]
    net["a"].register(E, ANYCAST, labels=labels, gone=bytes(129))
    net["a"].register(F, ANYCAST, name="n" * 64, labels=labels)
    net.pump()
    assert labels_at(net, "b") == labels[:2]
    assert labels_at(net, "b", F) == []


def test_in_a_small_frame_an_answer_has_holders_before_labels() -> None:
    net = Mesh()
    net.add("ab", limits=Limits(frame_size_max=300))
    net.join("ab", lookups=True)
    net.pump()
    labels = [letter * 32 for letter in "abcdefgh"]
    net["b"].register(E, ANYCAST, labels=labels)
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert labels_at(net, "a") == labels[:3]


def test_all_receivers_of_an_endpoint_at_a_node_have_the_same_labels() -> None:
    net = Pair()
    net.a.register(E, ANYCAST, labels=["x", "y"])
    net.a.register(E, ANYCAST, labels=["y", "x"])
    with pytest.raises(LocalError, match="other labels"):
        net.a.register(E, ANYCAST)
    with pytest.raises(LocalError, match="other labels"):
        net.a.register(E, ANYCAST, labels=["x", "y"], gone=b"\0")


@pytest.mark.parametrize("addressing", [True, False])
def test_a_small_leaf_tells_its_labels(addressing: bool) -> None:
    net = LeafNet("m")
    leaf = net.add_leaf("y")
    leaf.register(E, UNICAST, GLOBAL, labels=["pump", "lab", "pump"])
    net.plug(leaf, net.router, leaf_options={"addressing": addressing})
    net.settle()
    (entry,) = net.router.directory.known(E)
    assert labels_of(entry.traits) == ([b"lab", b"pump"] if addressing else [])


def test_a_small_leaf_leaves_out_labels_that_do_not_fit_its_frames() -> None:
    net = LeafNet("m", limits=(128, 1024, 16, 1))
    net.leaf.register(E, UNICAST, GLOBAL, name="n", labels=[letter * 32 for letter in "abcdefgh"])
    net.settle()
    (entry,) = net.router.directory.known(E)
    assert (entry.name, entry.traits) == ("n", b"")


@pytest.mark.parametrize("labels", ["pump", [""], ["ü" * 17], [str(number) for number in range(9)]])
def test_a_small_leaf_refuses_what_is_no_label(labels: Any) -> None:
    net = LeafNet("m")
    with pytest.raises(LocalError, match="at most 8 texts"):
        net.leaf.register(E, UNICAST, labels=labels)


def test_of_what_has_no_last_word_there_is_none() -> None:
    assert gone_of(pack_traits(["a", "b"], b"")) == b""
    assert gone_of(pack_traits(["a", "b"], b"\0x")) == b"\0x"


def test_a_report_says_labels_where_there_are_any() -> None:
    net = Pair()
    net.a.register(E, ANYCAST, labels=["x", "y"])
    net.a.register(F, ANYCAST, gone=b"\0")
    net.pump()
    mine, theirs = report(net.a, net.now), report(net.b, net.now)
    for rows in (mine["endpoints"], theirs["seen"]):
        assert isinstance(rows, list)
        assert [row.get("labels") for row in rows] == [["x", "y"], None]
