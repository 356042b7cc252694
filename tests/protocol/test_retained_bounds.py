"""What a subscriber cannot gain with last values, and what is bounded: work, memory, bytes on a link, and the
place of others.
"""

from __future__ import annotations

from functools import partial

import pytest

from busway.protocol import FullError, Guard, Limits, codes
from busway.protocol.messaging import lasts, replaying, resending, retained
from busway.protocol.messaging.lasts import Lasts
from busway.protocol.messaging.marked import Last
from busway.protocol.wire.ascending import NUMBERS_MAX, read_ascending, write_ascending
from busway.protocol.wire.fields import frame, varint
from busway.protocol.wire.messages import Frame, Options
from tests.protocol.nets import GLOBAL, LOCALNET, SELF, USERSPACE, Liar, directory, u16
from tests.protocol.pairs import Net
from tests.protocol.test_addressing_attacks import _keeper, _patterns, say
from tests.protocol.test_publishing_patterns import guarded, id_of, knows_names, subscribe
from tests.protocol.test_retained_losses import anew, came, line, lose_copies, retain
from tests.rigs.steps import steps

SIZE = 16384


def note(kept: Lasts, link: object, source: bytes, number: int, size: int = 1) -> None:
    kept.note(link, source, id_of("lab/*"), f"lab/{number}", Last(number, bytes(size), codes.RAW, b"", 0))


def numbers(kept: Lasts, source: bytes) -> list[int]:
    return [last.number for _, last in kept.of(source, id_of("lab/*"))]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("size", [1, 3 * lasts.SIZE_MIN])
def test_the_flood_of_a_link_takes_no_place_of_what_others_brought(size: int) -> None:
    """However many publishers it invents, and however little each has."""
    kept = Lasts()
    for number in range(100):
        note(kept, "honest", b"h", number)
    for number in range(10_000):
        note(kept, "liar", u16(number), number, size)
    assert numbers(kept, b"h") == list(range(100))
    assert len(kept.sources()) < 4200
    kept.link_ended("liar")
    kept.link_ended("one that brought nothing")
    note(kept, "another", b"i", 1)
    for number in range(5000):
        note(kept, "liar again", u16(number), number, size)
    assert numbers(kept, b"h") == list(range(100))
    assert numbers(kept, b"i") == [1]
    note(kept, "another", b"h", 1000)  # what there is of it counts for this link now
    for number in range(5000):
        note(kept, "another", u16(number), number, size)
    for _ in kept.sources():
        kept.forget(id_of("lab/*"))
    assert (kept.count, kept.size, kept._links.total, kept._sources, kept._link_of) == (0, 0, 0, {}, {})
    assert kept._floors == {} or all(place[:2] != b"h" for place in kept._floors)


def test_what_has_found_no_room_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasts, "SIZE_MIN", lasts.SIZE_MAX // 8)
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    for number in range(20):
        retain(net, net["a"], f"lab/{number}", b"x")
    net.pump()
    net.advance(60_000)
    assert len(came(net, net["b"], receiver)) == 20
    net.cables[-1].cut()
    net.advance(5000)
    net.join("ab")
    net.pump()
    net.advance(60_000)
    assert came(net, net["b"], receiver) == []
    assert len(anew(net, net["b"], "lab/*")) == 8


def test_who_closes_and_subscribes_again_at_once_gets_what_had_found_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nothing at all was left here of its publisher."""
    monkeypatch.setattr(lasts, "SIZE_MIN", lasts.SIZE_MAX)
    net = line("abc")
    former = subscribe(net["b"], "lab/x")
    net.pump()
    for letter in "ac":
        retain(net, net[letter], "lab/x", letter.encode())
        net.pump()
    assert len(net["b"].receiving.lasts.sources()) == 1
    net.advance(60_000)
    net["b"].deregister(former, net.now)  # told in one word with what comes next: it is there
    receiver = subscribe(net["b"], "lab/x")
    net.pump()
    net.advance(60_000)
    assert sorted(payload for _, payload in came(net, net["b"], receiver)) == [b"a", b"c"]


def test_so_many_floors_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasts, "SIZE_MIN", lasts.SIZE_MAX)
    monkeypatch.setattr(codes, "ENTRIES_MAX", 3)
    kept = Lasts()
    for number in range(10):
        note(kept, "a", u16(number), number)
    assert len(kept._floors) == 3


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_way_that_becomes_wider_and_narrower_again_and_again_brings_nothing_twice() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*", GLOBAL)
    for number in range(20):
        retain(net, net["a"], f"lab/{number}", bytes(SIZE))
    retain(net, net["a"], "lab/near", b"near", USERSPACE)
    net.pump()
    net.advance(10_000)
    assert len(came(net, net["b"], receiver)) == 20
    before = net.cable["ab"].a.bytes_out
    told = 0
    for _ in range(50):
        net.join("ab", realm=USERSPACE, medium="ipc", via="ipc")
        net.pump()
        assert ("lab/near", b"near") in anew(net, net["b"], "lab/*", GLOBAL)
        told += net.cables[-1].a.bytes_out
        net.cables[-1].cut()
        net.pump()
        assert len(anew(net, net["b"], "lab/*", GLOBAL)) == 20
    assert told + net.cable["ab"].a.bytes_out - before < 2 * 20 * SIZE
    assert came(net, net["b"], receiver) == [("lab/near", b"near")]


def test_who_closes_and_subscribes_again_and_again_fills_no_line_for_ever() -> None:
    net = line("ab")
    values, times = 20, 100
    for number in range(values):
        retain(net, net["a"], f"lab/{number}", bytes(SIZE))
    counts: list[int] = []
    for _ in range(times):
        receiver = subscribe(net["b"], "lab/*")
        net.pump()
        counts.append(len(came(net, net["b"], receiver)))
        net["b"].deregister(receiver, net.now)
        net.pump()
    assert counts[:15] == [values] * 15
    assert sum(counts) < 25 * values
    assert counts[-1] == 0
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    net.advance(600_000)
    assert len(came(net, net["b"], receiver)) == values
    assert net["a"].origin.retained._parked == {}


def test_one_that_waits_for_that_may_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resending, "_TIMES_MAX", 1)
    monkeypatch.setattr(retained, "_FORMER_MAX", 2)
    net = line("ab")
    kept = net["a"].origin.retained
    for number in range(20):
        retain(net, net["a"], f"lab/{number}", bytes(SIZE))
    for wanted in ("lab/*", "lab/**", "**", "*/*"):
        for _ in range(4):
            receiver = subscribe(net["b"], wanted)
            net.pump()
            net["b"].deregister(receiver, net.now)
            net.pump()
            assert kept._parked == {}
            assert kept._replays == {}
    assert len(kept._former) == 2


def test_so_many_nodes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "DEPARTED_MAX", 1)
    net = line("abc")
    retain(net, net["a"], "lab/x", b"1")
    for letter in "bcb":
        for _ in range(3):
            receiver = subscribe(net[letter], "lab/*")
            net.pump()
            net[letter].deregister(receiver, net.now)
            net.pump()
    assert len(net["a"].origin.retained._spent) == 1


def test_who_lost_the_right_to_publish_leaves_no_value_to_others() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    net.pump()
    assert len(came(net, net["b"], receiver)) == 2
    net["b"].guard = guarded(("a", codes.MAY_PUBLISH, "lab/y"))
    net["b"].guard_changed(net.now)
    assert anew(net, net["b"], "lab/*") == [("lab/y", b"1")]
    net.cables[-1].cut()
    net.advance(1000)
    waiting = subscribe(net["b"], "lab/*")
    net.join("ab")
    net.pump()
    net.advance(10_000)
    assert came(net, net["b"], waiting) == [("lab/y", b"1")]
    retain(net, net["a"], "lab/x", b"2")
    net.advance(10_000)
    assert came(net, net["b"], receiver) == []
    net["b"].guard = None
    net["b"].guard_changed(net.now)
    net.advance(1000)
    assert came(net, net["b"], receiver) == [("lab/x", b"2")]


def test_what_is_denied_when_it_is_sent_anew_is_sent_when_it_is_permitted() -> None:
    net = line("ab")
    net["b"].guard = guarded(("a", codes.MAY_PUBLISH, "lab/y"))
    net["b"].guard_changed(net.now)
    retain(net, net["a"], "lab/x", b"1")
    receivers = [subscribe(net["b"], wanted) for wanted in ("lab/*", "lab/x")]
    net.advance(60_000)
    assert [came(net, net["b"], receiver) for receiver in receivers] == [[], []]
    net["b"].deregister(receivers.pop(), net.now)
    net["b"].guard = guarded(("a", codes.MAY_PUBLISH, "lab/x"))
    net["b"].guard_changed(net.now)
    net.advance(1000)
    assert came(net, net["b"], receivers[0]) == [("lab/x", b"1")]


def test_who_lost_the_right_to_subscribe_has_no_value_for_others_any_more() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    net.pump()
    net.advance(10_000)
    assert len(came(net, net["b"], receiver)) == 2
    net["a"].guard = guarded(("b", codes.MAY_SUBSCRIBE, "lab/y"))
    net["a"].guard_changed(net.now)
    net.advance(5000)
    assert anew(net, net["b"], "lab/*") == [("lab/y", b"1")]
    net["a"].guard = None
    net["a"].guard_changed(net.now)
    net.advance(5000)
    assert sorted(anew(net, net["b"], "lab/*")) == [("lab/x", b"1"), ("lab/y", b"1")]


def test_who_may_not_see_an_endpoint_is_not_told_what_has_come_to_it() -> None:
    net = line("ab")
    subscribe(net["b"], "lab/*")
    net.pump()
    net["b"].guard = Guard(lambda link, node_id, what, uuid, name, realm: False, lambda link, which: -1)
    retain(net, net["a"], "lab/x", b"1")
    net.advance(10_000)
    [known] = net["a"].origin.retained._subscribers[net["b"].me.key].values()
    assert known.deaf
    net["a"].guard_changed(net.now)  # which changes nothing for that one
    assert known.deadline < 0


def test_questions_are_cut_as_the_link_takes_them() -> None:
    net = line("a")
    net.add("b", limits=Limits(frame_size_max=1024, message_size_max=20))
    knows_names(net["b"])
    net.join("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    lose_copies(net["b"])
    for number in range(50):
        retain(net, net["a"], f"lab/{number}", b"x")
    retain(net, net["a"], "hall", b"x")
    net.pump()
    assert len(came(net, net["b"], receiver)) == 50
    net["b"].receiving.lasts.forget(id_of("lab/*"))
    net.advance(60_000)
    assert len(came(net, net["b"], receiver)) == 50
    assert net["a"].origin.retained._asked == {}


def test_many_are_asked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resending, "_LOOKS_MAX", 100)
    monkeypatch.setattr(retained, "NUMBERS_MAX", 16)
    net = line("ab")
    receivers = [subscribe(net["b"], f"{'*/' * depth}**") for depth in range(5)]
    net.pump()
    for number in range(100):
        retain(net, net["a"], f"a/b/c/d/e/{number}", b"x")
    for _ in range(60):
        retain(net, net["a"], "a/b/c/d/e/f", b"x")
    net.pump()
    for receiver in receivers:
        assert len(came(net, net["b"], receiver)) == 160
        net["b"].receiving.lasts.forget(receiver.endpoint.uuid)
    net.advance(60_000)
    assert [len(came(net, net["b"], receiver)) for receiver in receivers] == [101] * 5
    assert net["a"].origin.retained._asked == {}


def test_who_answers_no_questions_is_asked_no_more_and_gets_all_when_it_subscribes_anew() -> None:
    net, node, liar = _keeper(3)
    kept = node.origin.retained

    def messages() -> list[bytes]:
        return [body for body in liar.hear() if body[0] & codes.MESSAGE]

    def answer(code: int) -> None:
        [id] = kept._asked
        liar.say(bytes((codes.MESSAGE | codes.ERROR << 4,)) + varint(id) + varint(code))

    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    assert len(messages()) == 3
    net.advance(2000)
    assert len(messages()) == 1
    answer(codes.QUEUE_FULL)
    assert kept._asked == {}
    net.advance(4000)
    assert len(messages()) == 1
    for payload in (b"\x80", write_ascending(list(range(1, NUMBERS_MAX + 5)))):
        [id] = kept._asked
        liar.say(bytes((codes.MESSAGE | codes.REPLY << 4,)) + varint(id) + payload)
        assert kept._asked == {}
        net.advance(30_000)
        assert len(messages()) >= 1
    [id] = kept._asked
    liar.say(bytes((codes.MESSAGE | codes.REPLY << 4,)) + varint(id + 1))  # for no question
    answer(codes.WRONG_KIND)
    net.advance(600_000)
    node.retain(id_of("lab/0"), b"w", net.now)
    net.advance(600_000)
    assert messages() == []
    liar.say(directory(SELF, LOCALNET, 1, 2, *_patterns(1)))
    assert len(messages()) == 3
    assert node.origin.counters["unknown_reply"] == 0


def test_an_endpoint_that_is_of_another_kind_now_is_no_subscriber() -> None:
    net, node, liar = _keeper(3)
    kept = node.origin.retained
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    [subscribers] = kept._subscribers.values()
    [known] = subscribers.values()
    entry = _patterns(1)[0]
    liar.say(directory(SELF, LOCALNET, 1, 2, bytes((codes.ANYCAST | 0x40,)) + entry[1:]))
    assert kept._subscribers == {}
    assert not kept.undelivered(known.peer, known.uuid, 1, codes.WRONG_KIND)
    kept.ask(known, net.now)
    assert kept._asked == {}
    del known.peer.entries[known.uuid]
    kept.ask(known, net.now)
    assert kept._asked == {}


def test_what_it_says_it_lacks_is_sent_as_far_as_it_is_kept() -> None:
    net, node, liar = _keeper(3)
    kept = node.origin.retained
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    net.advance(2000)
    liar.hear()
    node.retain(id_of("lab/0"), b"w", net.now)  # the first of them is another now
    liar.hear()
    [id] = kept._asked
    liar.say(bytes((codes.MESSAGE | codes.REPLY << 4,)) + varint(id) + write_ascending([1, 2, 99]))
    [body] = [body for body in liar.hear() if body[0] & codes.MESSAGE]
    assert b"lab/1" in body


def test_one_is_sent_all_and_some_at_once() -> None:
    net, node, liar = _keeper(9)
    kept = node.origin.retained
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    liar.hear()
    [entry] = [entry for entry in node.directory.all() if entry.kind == codes.BROADCAST]

    def sent(*steps: list[int] | int) -> list[bytes]:
        replay = kept.replay(entry)
        for step in steps:
            assert kept.replay(entry) is replay
            if isinstance(step, int):
                replay.widen(step)
            else:
                replay.add(step)
        hop, entry.peer.hop = entry.peer.hop, None
        kept.queue(replay, net.now)  # there is no way for now
        entry.peer.hop = hop
        kept.resume_replays(entry.peer, net.now)
        return [body[body.index(b"lab/") + 4 :][:1] for body in liar.hear() if b"lab/" in body]

    assert sent([3, 5], [4, 5]) == [b"2", b"3", b"4"]
    assert sent([5], 7) == sent(7, [5]) == [b"4", b"5", b"6", b"7", b"8"]
    assert sent([5], 2) == sent(2, [5]) == sent(4, [9], 2, 3) == [b"2", b"3", b"4", b"5", b"6", b"7", b"8"]
    node.clear(id_of("lab/3"), net.now)
    assert sent([3, 4]) == [b"2"]
    assert kept._replays == {}


def test_values_that_it_cannot_have_are_remembered_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retained, "NUMBERS_MAX", 2)
    _, node, liar = _keeper(5)
    kept = node.origin.retained
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    [[known]] = [subscribers.values() for subscribers in kept._subscribers.values()]
    for number in (1, 2, 3, 4, 99):
        assert kept.undelivered(known.peer, known.uuid, number, codes.MESSAGE_TOO_LARGE)
    assert list(known.untaken) == [4]


def test_a_publisher_that_is_too_far_away_for_an_endpoint_leaves_nothing_to_others() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    retain(net, net["a"], "lab/x", b"1", GLOBAL)
    net.pump()
    net.advance(10_000)
    assert came(net, net["b"], receiver) == [("lab/x", b"1")]
    net.join("ab", realm=GLOBAL, medium="ws", via="ws")
    net.pump()
    net.cable["ab"], near = net.cables[-1], net.cables[-2]
    near.cut()
    net.advance(5000)
    second = subscribe(net["b"], "lab/*")
    assert came(net, net["b"], second) == anew(net, net["b"], "lab/*") == []
    net.join("ab")
    net.pump()
    net.advance(5000)
    assert came(net, net["b"], second) == [("lab/x", b"1")]
    assert came(net, net["b"], receiver) == []


def test_a_question_that_is_none_is_not_answered() -> None:
    net = line("ab")
    subscribe(net["b"], "lab/*")
    net.pump()
    peer = net.see("a", "b")
    for payload in (b"", b"\x80"):
        out = Frame(codes.REQUEST, peer.key, id_of("lab/*"), 0, payload, codes.RAW, b"")
        out.options = Options()
        out.options.retain, out.id, out.expires = 1, codes.ID_MAX + 1, net.now + 1000
        assert peer.hop is not None
        peer.hop.enqueue(out)
        before = net.cable["ab"].b.bytes_out
        net.pump()
        assert net.cable["ab"].b.bytes_out == before


def test_a_value_that_comes_twice_is_given_once() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/x")
    net.pump()
    peer = net.see("a", "b")
    for _ in range(2):
        out = Frame(codes.SEND, peer.key, id_of("lab/x"), 1, b"x", codes.RAW, b"")
        out.options = Options()
        out.options.retain = 1
        assert peer.hop is not None
        peer.hop.enqueue(out)
    net.pump()
    assert came(net, net["b"], receiver) == [("lab/x", b"x")]


def test_who_takes_no_values_is_asked_about_none() -> None:
    net, node, liar = _keeper(3)
    kept = node.origin.retained
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    assert len([body for body in liar.hear() if body[0] & codes.MESSAGE]) == 3
    [[known]] = [subscribers.values() for subscribers in kept._subscribers.values()]
    assert kept.undelivered(known.peer, known.uuid, 1, codes.WRONG_KIND)
    net.advance(100_000)
    assert [body for body in liar.hear() if body[0] & codes.MESSAGE] == []


def test_questions_cost_a_node_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is some bytes, and has all looked through that came of the one who asks."""
    monkeypatch.setattr(replaying, "_LOOKS_MAX", 100)
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    for number in range(30):
        retain(net, net["a"], f"lab/{number}", b"x")
    net.advance(10_000)
    assert len(came(net, net["b"], receiver)) == 30
    [known] = net["a"].origin.retained._subscribers[net["b"].me.key].values()
    asked = net["a"].origin.retained._asked
    for _ in range(3):
        answered = 0
        for _ in range(20):
            known.look_again()
            net["a"].origin.retained.ask(known, net.now)
            net.pump()
            answered += not asked
        assert answered == 4
        net.advance(1000)
    net.cables[-1].cut()
    assert net["b"].receiving.looked == {}


@pytest.mark.no_cover  # it counts lines itself
def test_questions_cost_no_more_than_a_constant_for_each_byte() -> None:
    net = Net()
    node = net.node("a")
    subscribe(node, "lab/*")
    liar = Liar(net, node)
    for number in range(1, 4001):
        say(liar, id_of("lab/*"), number & 0xFFFF, b"", name=b"lab/%d" % number, retain=number)
    assert node.receiving.lasts.count == 4000
    options = bytes((codes.OPTION_RETAIN, 4)) + (5000).to_bytes(4, "big")
    head = bytes((codes.MESSAGE | codes.REQUEST << 4 | codes.HEAD_OPTIONS, len(options))) + options
    for numbers in ([0], list(range(1000, 2000))):
        question = head + varint(1) + u16(0) + varint(codes.ID_MAX + 9) + varint(9) + write_ascending(numbers)
        data = frame(question) * (65536 // len(question))
        work = steps(partial(liar.connection.receive_data, data, net.now), "/protocol/")
        assert work < 120 * len(data)
        assert liar.hear()
        net.advance(1000)
    assert liar.error == -1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_means_nothing_and_says_so_again_and_again_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resending, "_TIMES_MAX", 1)
    net, node, liar = _keeper(1000)
    kept = node.origin.retained
    head = bytes((codes.BROADCAST | 0x40,)) + bytes(16)
    for number in range(1, 200):
        name = b"none/%d/*" % number
        liar.say(directory(SELF, LOCALNET, number - 1, number, head + bytes((len(name),)) + name))
        net.advance(10, pump=False)
    [known] = [known for subscribers in kept._subscribers.values() for known in subscribers.values()]
    most = kept.size + resending._SIZE_MIN
    assert most - 8192 < kept._spent_by(known.peer, net.now) < most + 8192  # of 200 times 4 KiB
    assert known.deadline > net.now


def test_numbers_have_an_end_that_is_said() -> None:
    net = line("ab")
    kept = net["a"].origin.retained
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    kept.newest = 0x7FFFFFFF - 1026
    retain(net, net["a"], "lab/x", b"1")
    retain(net, net["a"], "lab/y", b"1")
    with pytest.raises(FullError, match="start it anew"):
        retain(net, net["a"], "lab/x", b"2")
    net.pump()
    assert came(net, net["b"], receiver) == [("lab/x", b"1"), ("lab/y", b"1")]
    kept.newest = 0x7FFFFFFE
    for name in ("lab/x", "lab/y"):
        net["a"].clear(id_of(name), net.now)
    net.advance(10_000)
    assert anew(net, net["b"], "lab/*") == []
    assert net.cables[-1].a.state == codes.OPEN


def test_numbers_of_peers_are_read_with_care() -> None:
    assert read_ascending(write_ascending([0, 5, 260, 0x7FFFFFFF])) == [0, 5, 260, 0x7FFFFFFF]
    assert read_ascending(b"") == []
    assert read_ascending(write_ascending(list(range(NUMBERS_MAX + 1)))) == list(range(NUMBERS_MAX + 1))
    for bad in (
        b"\x80",
        b"\x05\x00",
        write_ascending([0x7FFFFFFF, 0x80000000]),
        write_ascending(list(range(NUMBERS_MAX + 2))),
        b"\xff\xff\xff\xff\xff\xff",
    ):
        assert read_ascending(bad) is None
