"""Plain broadcasts that follow each other, of which the links share one copy: that it costs once, and that
nothing else is different for it.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from busway.protocol import FullError, Limits, LocalError, codes
from busway.protocol.link import batch
from busway.protocol.link.queue import OVERHEAD
from tests.protocol.helpers import payloads
from tests.protocol.nets import Mesh, chain
from tests.protocol.pairs import E, F, G, Net, node_of
from tests.rigs.steps import steps
from tests.rigs.uncounted import first_counted

SMALL = 16 + OVERHEAD  # what a message of 16 bytes counts for


class Star(Net):
    """`hub` publishes, each of the others subscribes, and has heard something already: E has its number."""

    def __init__(self, count: int = 3, *, heard: bool = True, **options: Any) -> None:
        super().__init__()
        self.hub = self.node("a", **options)
        self.others = [self.node(chr(98 + number), **options) for number in range(count)]
        for other in self.others:
            self.link(self.hub, other)
        self.pump()
        self.receivers = [other.register(E, codes.BROADCAST) for other in self.others]
        self.pump()
        if heard:
            self.publish(b"first")
            assert self.taken() == [[b"first"]] * count

    def publish(self, *texts: bytes, **options: Any) -> None:
        for text in texts:
            assert self.hub.publish(E, text, self.now, **options) == 0

    def taken(self) -> list[list[object]]:
        self.pump()
        pairs = zip(self.others, self.receivers, strict=True)
        return [payloads(self.drain(node, receiver)) for node, receiver in pairs]

    def queues(self) -> list[Any]:
        return [cable.a.broadcasts for cable in self.cables]


def numbers(count: int) -> list[bytes]:
    return [b"%016d" % number for number in range(count)]


def test_the_links_write_the_very_same_bytes() -> None:
    net = Star(3)
    net.publish(*numbers(20))
    written = [cable.a.data_to_send(65536, net.now) for cable in net.cables]
    assert written[0] is written[1] is written[2]
    assert [queue.size for queue in net.queues()] == [0, 0, 0]
    for cable, data in zip(net.cables, written, strict=True):
        node_of(cable.b).take_events()
        cable.b.receive_data(data, net.now)
    assert net.taken() == [numbers(20)] * 3


def test_one_more_costs_the_same_however_many_links_there_are() -> None:
    spent = []
    for count in (2, 12):
        net = Star(count)
        net.publish(b"begins")
        spent.append(steps(partial(net.publish, *numbers(100)), "/protocol/"))
        assert net.taken() == [[b"begins", *numbers(100)]] * count
    assert spent[0] == spent[1]


def test_a_queue_counts_what_a_batch_may_hold_until_it_is_written() -> None:
    net = Star(2)
    net.publish(*numbers(10))
    assert [queue.size for queue in net.queues()] == [batch.SIZE_MAX] * 2
    net.cables[0].a.data_to_send(65536, net.now)
    assert [queue.size for queue in net.queues()] == [0, 10 * SMALL]
    net.publish(*numbers(5))
    net.hub.report(net.now)
    assert [queue.size for queue in net.queues()] == [5 * SMALL, 15 * SMALL]


def test_a_full_batch_is_followed_by_another() -> None:
    net = Star(2)
    texts = numbers(batch.SIZE_MAX // SMALL * 2 + 10)
    net.publish(*texts)
    assert [len(queue.items) for queue in net.queues()] == [3, 3]
    assert net.taken() == [texts] * 2


def test_a_message_that_no_batch_takes_goes_by_itself_and_keeps_its_place() -> None:
    net = Star(2)
    huge = bytes(batch.SIZE_MAX)
    net.publish(b"1", b"2", huge, b"3", b"4")
    assert net.taken() == [[b"1", b"2", huge, b"3", b"4"]] * 2


def test_a_large_message_under_way_is_not_overtaken() -> None:
    net = Star(2)
    large = bytes(300_000)
    net.publish(b"1", large)
    for cable in net.cables:
        end = cable.ends[1]
        end.inbox += cable.a.data_to_send(70_000, net.now)
    net.publish(*numbers(5))
    assert net.taken() == [[b"1", large, *numbers(5)]] * 2


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_however_little_a_link_takes_at_a_time(size: int) -> None:
    net = Star(2)
    net.publish(*numbers(300))
    net.pump(size=size)
    assert net.taken() == [numbers(300)] * 2


def test_the_first_messages_of_all_bind_the_name() -> None:
    net = Star(3, heard=False)
    net.publish(*numbers(10))
    assert net.taken() == [numbers(10)] * 3


def test_links_where_the_endpoint_has_other_numbers() -> None:
    """One of its own, and one of two bytes."""
    net = Star(3, heard=False, limits=Limits(aliases_max=300))
    for place, count in ((1, 5), (2, 200)):
        for number in range(count):
            uuid = b"%016d" % number
            net.others[place].register(uuid, codes.BROADCAST)
            net.pump()
            net.hub.publish(uuid, b"x", net.now)
            net.pump()
    for _ in range(3):
        net.publish(*numbers(10))
        assert net.taken() == [numbers(10)] * 3
    assert [cable.a.outbox.aliases.numbers[E] for cable in net.cables] == [1, 6, 201]


def test_numbers_of_16_bits_that_come_round() -> None:
    net = Star(2)
    net.hub.origin.publisher.flows[E].sent = 65_530
    for receiver in net.receivers:
        for flow in receiver.endpoint.active:
            flow.received = 65_530
    net.publish(*numbers(12))
    net.pump()
    for node, receiver in zip(net.others, net.receivers, strict=True):
        got = net.drain(node, receiver)
        assert [message.seq for message in got] == list(range(65_531, 65_543))
        assert [message.missed for message in got] == [0] * 12


def test_what_differs_in_form_keeps_its_place() -> None:
    net = Star(2)
    net.publish(b"1", b"2")
    net.publish(b"3", b"4", format=codes.CBOR)
    net.publish(b"5", format=codes.TYPED, type_id=F)
    net.publish(b"6", format=codes.TYPED_AS_ENDPOINT)
    net.publish(b"7", best_effort=True)
    net.publish(b"8", b"9")
    net.publish(b"10", realm=codes.USERSPACE)
    net.publish(b"11", b"12")
    net.pump()
    for node, receiver in zip(net.others, net.receivers, strict=True):
        got = net.drain(node, receiver)
        assert payloads(got) == [b"%d" % number for number in range(1, 13)]
        formats = {message.payload: message.format for message in got}
        assert formats[b"2"] == formats[b"12"] == codes.RAW
        assert formats[b"3"] == formats[b"4"] == codes.CBOR
        assert formats[b"6"] == codes.TYPED_AS_ENDPOINT
        assert got[4].type_id == F


def test_a_payload_that_is_none_is_refused_also_in_the_midst() -> None:
    net = Star(2)
    net.publish(b"1", b"2")
    for payload, options in (
        ("text", {}),
        (bytearray(b"x"), {}),
        (b"x", {"format": 9}),
        (b"x", {"realm": 7}),
        (b"x", {"patience_ms": -2}),
    ):
        with pytest.raises(LocalError):
            net.hub.publish(E, payload, net.now, **options)  # type: ignore[arg-type]
    net.publish(b"3")
    assert net.taken() == [[b"1", b"2", b"3"]] * 2
    net.hub.close(net.now)
    with pytest.raises(LocalError):
        net.hub.publish(E, b"x", net.now)


# Who comes and goes in the midst


def test_who_subscribes_in_the_midst_gets_what_comes_then_and_who_leaves_no_more() -> None:
    net = Star(3)
    late, gone = net.others[2], net.others[0]
    late.deregister(net.receivers[2], net.now)
    net.pump()
    net.publish(b"1", b"2")
    net.receivers[2] = late.register(E, codes.BROADCAST)
    for end in net.cables[2].ends[::-1]:  # the hub hears of it, and has written nothing
        end.inbox.clear()
    net.cables[2].ends[0].inbox += net.cables[2].b.data_to_send(65536, net.now)
    net.cables[2].a.receive_data(net.cables[2].ends[0].take_inbox(), net.now)
    net.publish(b"3", b"4")
    gone.deregister(net.receivers[0], net.now)
    net.cables[0].a.receive_data(net.cables[0].b.data_to_send(65536, net.now), net.now)
    net.publish(b"5")
    assert net.taken() == [[], [b"1", b"2", b"3", b"4", b"5"], [b"3", b"4", b"5"]]


def test_our_own_subscriber_gets_its_copies_at_once() -> None:
    net = Star(2)
    mine = net.hub.register(E, codes.BROADCAST)
    net.publish(*numbers(5))
    assert payloads(net.drain(net.hub, mine)) == numbers(5)
    net.hub.deregister(mine, net.now)
    net.publish(b"more")
    assert net.taken() == [[*numbers(5), b"more"]] * 2


def test_a_link_that_is_lost_leaves_what_waits_to_another_one() -> None:
    net = Star(2)
    net.link(net.hub, net.others[0], via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    net.publish(*numbers(10))
    net.cables[0].cut()
    assert net.queues()[0].size == 0
    assert [queue.size for queue in net.queues()[1:]] == [10 * SMALL] * 2
    assert net.taken() == [numbers(10)] * 2
    net.publish(b"1", b"2")
    assert net.taken() == [[b"1", b"2"]] * 2


def test_a_better_link_does_not_overtake() -> None:
    net = Star(0)
    other = net.node("b")
    net.others.append(other)
    net.link(net.hub, other, via="tcp://h:1", realm=codes.LOCALNET)
    net.link(net.hub, net.node("c"))
    net.pump()
    net.receivers = [other.register(E, codes.BROADCAST)]
    net.others.append(net.nodes[-1])
    net.receivers.append(net.nodes[-1].register(E, codes.BROADCAST))
    net.pump()
    net.publish(b"0")
    net.taken()
    net.cables[0].block(net.hub)
    net.publish(*numbers(5))
    net.link(net.hub, other)
    net.step()
    net.pump()
    assert [queue.size for queue in net.queues()] == [0, 0, 0]
    net.publish(b"more")
    net.cables[0].block(net.hub, False)
    assert net.taken() == [[*numbers(5), b"more"]] * 2


# Links that have no room, and those that take no batch


def fill(net: Star, size: int) -> int:
    """How many are taken until a publish would have to wait."""
    count = 0
    while True:
        try:
            net.hub.publish(E, bytes(size), net.now, wait=False)
        except FullError:
            return count
        count += 1


def test_links_are_full_after_as_many_bytes_as_ever() -> None:
    net = Star(2)
    for cable in net.cables:
        cable.block(net.hub)
    count = fill(net, 1000)
    assert count == -(-codes.BROADCAST_SIZE_MAX // (1000 + OVERHEAD))
    assert [queue.size for queue in net.queues()] == [count * (1000 + OVERHEAD)] * 2
    for cable in net.cables:
        cable.block(net.hub, False)
    assert [len(texts) for texts in net.taken()] == [count] * 2


def test_many_endpoints_at_once_fill_a_link_no_sooner() -> None:
    """Each has a batch that counts as full, and holds one message."""
    net = Star(2)
    names = [bytes((number,)) * 16 for number in range(1, 41)]
    receivers = [[node.register(uuid, codes.BROADCAST) for uuid in names] for node in net.others]
    net.pump()
    for turn in range(12):
        for uuid in names:
            assert net.hub.publish(uuid, b"%d" % turn, net.now, wait=False) == 0
    assert all(queue.size <= codes.BROADCAST_SIZE_MAX for queue in net.queues())
    net.pump()
    for node, mine in zip(net.others, receivers, strict=True):
        for receiver in mine:
            assert payloads(net.drain(node, receiver)) == [b"%d" % turn for turn in range(12)]


def test_a_slow_link_keeps_the_newest_and_holds_up_nobody() -> None:
    net = Star(3)
    net.cables[0].block(net.hub)
    size = 1000 + OVERHEAD
    full = -(-codes.BROADCAST_SIZE_MAX // size)
    texts = [b"%d" % number + bytes(1000 - len(str(number))) for number in range(full + 100)]
    got = []
    for at in range(0, full + 100, 50):
        net.publish(*texts[at : at + 50])
        got += net.taken()[1]
    assert got == texts
    assert net.hub.origin.counters["broadcast_dropped"] == 99
    assert net.queues()[0].size == full * size
    net.cables[0].block(net.hub, False)
    net.pump()
    last = net.drain(net.others[0], net.receivers[0])[-1]
    assert (last.payload, last.seq, last.missed) == (texts[-1], len(texts) + 1, 99)
    net.publish(b"1", b"2")
    assert net.taken()[0] == [b"1", b"2"]


def beside(**options: Any) -> Star:
    """Two links that take batches, and a third one that takes none."""
    net = Star(2)
    other = net.node("z", **options)
    net.link(net.hub, other)
    net.pump()
    net.others.append(other)
    net.receivers.append(other.register(E, codes.BROADCAST))
    net.pump()
    net.publish(b"first")
    assert net.taken() == [[b"first"]] * 3
    return net


def test_a_link_of_small_frames_takes_each_by_itself() -> None:
    net = beside(limits=Limits(frame_size_max=1000))
    net.publish(*numbers(50))
    assert [len(queue.items) for queue in net.queues()] == [1, 1, 50]
    assert net.taken() == [numbers(50)] * 3


def test_a_link_that_takes_no_batch_is_waited_for_and_misses_as_others_do() -> None:
    net = beside(limits=Limits(frame_size_max=1000))
    net.cables[-1].block(net.hub)
    queue = net.queues()[-1]
    count = -(-codes.BROADCAST_SIZE_MAX // (10_000 + OVERHEAD))
    for _ in range(count + 5):
        net.publish(bytes(10_000))
        assert [len(texts) for texts in net.taken()] == [1, 1, 0]
    assert len(queue) == count
    assert net.hub.origin.counters["broadcast_dropped"] == 4  # the newest is kept
    net.publish(b"0")
    assert [len(each.items) for each in net.queues()[:2]] == [1, 1]
    assert net.queues()[0].items[0].grows  # though one is full that takes none
    tokens = [net.hub.publish(E, text, net.now, patience_ms=500) for text in (b"1", b"2")]
    assert all(tokens)
    assert net.taken() == [[b"0"], [b"0"], []]
    net.advance(500)
    assert net.taken() == [[b"1", b"2"], [b"1", b"2"], []]
    assert [len(net.outcomes(net.hub, token)) for token in tokens] == [1, 1]
    net.publish(b"3", b"4", patience_ms=500)
    net.cables[-1].block(net.hub, False)
    taken = net.taken()
    assert taken[:2] == [[b"3", b"4"]] * 2
    assert taken[2][count:] == [b"4"]


def test_a_link_of_small_messages_misses_a_larger_one_alone() -> None:
    net = beside(limits=Limits(message_size_max=5000))
    net.publish(b"1", bytes(5001), b"2")
    assert net.taken() == [[b"1", bytes(5001), b"2"]] * 2 + [[b"1", b"2"]]
    assert net.hub.origin.counters["broadcast_dropped"] == 1


def test_who_waits_goes_on_when_little_is_left_whatever_batches_count() -> None:
    net = Star(1)
    names = [bytes((number,)) * 16 for number in range(1, 8)]
    for uuid in names:
        net.others[0].register(uuid, codes.BROADCAST)
    net.pump()
    while net.queues()[0].size < codes.BROADCAST_SIZE_MAX:
        net.publish(bytes(50_000))
    token = net.hub.publish(E, b"waits", net.now)
    assert token
    net.cables[0].ends[1].inbox += net.cables[0].a.data_to_send(300_000, net.now)
    for uuid in names:
        net.hub.publish(uuid, b"x", net.now)
    assert net.queues()[0].growing == len(names)
    net.cables[0].ends[1].inbox += net.cables[0].a.data_to_send(560_000, net.now)
    assert 0 < net.queues()[0].size < codes.BROADCAST_SIZE_MAX >> 2
    net.note(net.hub, net.hub.take_events())
    assert len(net.outcomes(net.hub, token)) == 1
    assert net.taken()[0][-1] == b"waits"


def test_to_look_for_room_may_end_the_batch_that_is_added_to() -> None:
    """A link that took each message of E by itself has a batch of F that counts as full."""
    net = Star(3)
    for uuid, nodes in ((F, net.others), (G, net.others[:1])):
        for node in nodes:
            node.register(uuid, codes.BROADCAST)
    net.pump()
    first = net.cables[0].a
    first.backlog.skipped[E] = 1
    net.publish(b"1")
    assert net.hub.origin.publisher.growing[E].others == [first]
    net.hub.publish(F, b"x", net.now)
    while first.broadcasts.size < codes.BROADCAST_SIZE_MAX:
        net.hub.publish(G, bytes(batch.SIZE_MAX), net.now)
    net.publish(b"2")
    net.hub.report(net.now)
    assert [queue.size for queue in net.queues()[1:]] == [3 * (1 + OVERHEAD)] * 2
    assert net.taken() == [[b"1", b"2"]] * 3
    assert [queue.size for queue in net.queues()] == [0] * 3


# On the way


class Fan(Mesh):
    """a publishes, b passes on to `letters`, of which each has heard something; a leaf's name is large."""

    def __init__(self, letters: str = "cdef", *, source: str = "a", **options: Any) -> None:
        super().__init__()
        self.add("b")
        self.add(letters, **options)
        self.letters, self.source = letters, source
        if source == "a":
            self.add("a")
            self.join("ab")
        else:
            self.leaf(source, "b")
        self.join(" ".join("b" + letter for letter in letters))
        self.pump()
        self.receivers = {letter: self[letter].register(E, codes.BROADCAST) for letter in letters}
        self.pump()
        for text in (b"first", b"second"):
            self.publish(text)
            assert self.taken() == [[text]] * len(letters)

    def publish(self, *texts: bytes, **options: Any) -> None:
        for text in texts:
            assert self[self.source].publish(E, text, self.now, **options) == 0

    def arrive(self) -> None:
        """All that the source has written gets to b, which writes nothing."""
        cable = self.cable[self.source + "b"]
        while data := cable.a.data_to_send(65536, self.now):
            cable.b.receive_data(data, self.now)

    def taken(self) -> list[list[Any]]:
        self.pump()
        return [self.payloads(letter, receiver) for letter, receiver in self.receivers.items()]

    def queues(self) -> list[Any]:
        return [self.cable["b" + letter].a.broadcasts for letter in self.letters]


@pytest.mark.parametrize("source", ["a", "l"])
def test_what_passes_through_is_shared_by_the_links_that_it_takes(source: str) -> None:
    net = Fan(source=source)
    passed = net["b"].forwarder.counters["forwarded"]
    net.publish(*numbers(20))
    net.arrive()
    assert [len(queue.items) for queue in net.queues()] == [1] * 4
    net["b"].report(net.now)
    assert [queue.size for queue in net.queues()] == [20 * SMALL] * 4
    assert net["b"].forwarder.counters["forwarded"] == passed + 80
    written = [net.cable["b" + letter].a.data_to_send(65536, net.now) for letter in net.letters]
    assert all(data is written[0] for data in written)
    for letter, data in zip(net.letters, written, strict=True):
        net.cable["b" + letter].b.receive_data(data, net.now)
    assert net.taken() == [numbers(20)] * 4


def test_one_more_on_the_way_costs_the_same_however_many_links_there_are() -> None:
    spent = []
    for letters in ("cd", "cdefghij"):
        net = Fan(letters)
        net.publish(b"begins")
        net.arrive()
        net.publish(*numbers(100))
        spent.append(steps(net.arrive, "/protocol/"))
        assert net.taken() == [[b"begins", *numbers(100)]] * len(letters)
    assert spent[0] == spent[1]


def test_what_comes_from_farther_off_is_shared_as_well_by_the_links_that_it_takes() -> None:
    """The frames have a routing header, and c is neither where they come from nor where they end."""
    spent = []
    for letters in ("de", "defghijk"):
        net = chain("abc")
        net.add(letters)
        net.join(" ".join("c" + letter for letter in letters))
        net.pump()
        receivers = {letter: net[letter].register(E, codes.BROADCAST) for letter in letters}
        net.pump()
        for text in (b"first", b"second", b"third"):
            net["a"].publish(E, text, net.now)
            net.pump()
        assert [net.payloads(letter, receivers[letter]) for letter in letters] == [
            [b"first", b"second", b"third"]
        ] * len(letters)
        for text in numbers(100):
            net["a"].publish(E, text, net.now)
        from_a = net.cable["ab"].a.data_to_send(65536, net.now)
        net.cable["ab"].b.receive_data(from_a, net.now)
        from_b = net.cable["bc"].a.data_to_send(65536, net.now)
        spent.append(steps(partial(net.cable["bc"].b.receive_data, from_b, net.now), "/protocol/"))
        queues = [net.cable["c" + letter].a.broadcasts for letter in letters]
        assert [len(queue.items) for queue in queues] == [1] * len(letters)
        net.pump()
        assert [net.payloads(letter, receivers[letter]) for letter in letters] == [numbers(100)] * len(
            letters
        )
    assert spent[1] - spent[0] < 40 * 6  # six more links join the batch once and take nothing each


def test_what_comes_from_farther_off_is_read_in_runs_where_it_ends() -> None:
    spent = []
    for count in (100, 200):
        net = Fan("c")
        net.publish(*numbers(count))
        net.arrive()
        data = net.cable["bc"].a.data_to_send(65536, net.now)
        spent.append(steps(partial(net.cable["bc"].b.receive_data, data, net.now), "/protocol/"))
        assert net.taken() == [numbers(count)]
    assert (spent[1] - spent[0]) / 100 < 30


def test_on_the_way_what_differs_in_form_keeps_its_place() -> None:
    net = Fan()
    texts = [b"%d" % number for number in range(1, 14)]
    for _ in range(2):  # the second time both forms are known
        net.publish(*texts[:2])
        net.publish(*texts[2:4], format=codes.CBOR)
        net.publish(*texts[4:6])
        net.arrive()
        net.pump()
        for letter, receiver in net.receivers.items():
            got = net.drain(net[letter], receiver)
            assert payloads(got) == texts[:6]
            assert [message.format for message in got] == [0, 0, codes.CBOR, codes.CBOR, 0, 0]
    net.publish(texts[0], format=codes.TYPED, type_id=F)
    net.publish(texts[1], best_effort=True)
    net.publish(*texts[2:5])
    net.publish(texts[5], realm=codes.GLOBAL)
    net.publish(*texts[6:11])
    net.arrive()
    net.publish(*texts[11:])
    net.arrive()
    assert net.taken() == [texts] * 4


def test_on_the_way_those_of_another_tree_are_looked_at_one_by_one() -> None:
    """A leaf's go along its router's, and who names that has to be believed each time."""
    net = Fan("cd", source="l")
    net.add("y")
    net.join("cy")
    net.pump()
    receiver = net["y"].register(E, codes.BROADCAST)
    net["c"].deregister(net.receivers.pop("c"), net.now)
    net.pump()
    for _ in range(2):
        net.publish(*numbers(5))
        net.arrive()
        cable = net.cable["bc"]
        cable.b.receive_data(cable.a.data_to_send(65536, net.now), net.now)
        assert len(net.cable["cy"].a.broadcasts.items) == 5
        net.pump()
        assert net.payloads("y", receiver) == net.payloads("d", net.receivers["d"]) == numbers(5)


def test_on_the_way_a_large_one_keeps_its_place() -> None:
    net = Fan()
    for size in (20_000, batch.SIZE_MAX, 300_000):
        net.publish(b"1", bytes(size), b"2", b"3")
        net.arrive()
        net.publish(b"4")
        assert net.taken() == [[b"1", bytes(size), b"2", b"3", b"4"]] * 4


def test_on_the_way_more_than_a_batch_holds() -> None:
    net = Fan()
    texts = numbers(batch.SIZE_MAX // SMALL * 2 + 10)
    for at in range(0, len(texts), 100):
        net.publish(*texts[at : at + 100])
        net.arrive()
    assert [len(queue.items) for queue in net.queues()] == [3] * 4
    assert net.taken() == [texts] * 4


def test_on_the_way_to_a_link_whose_numbers_are_not_bound() -> None:
    net = Fan()
    net.publish(*numbers(5))
    net.arrive()
    key = net["a"].me.key
    net.cable["bc"].a.outbox.aliases.numbers.pop(E)
    net.cable["bd"].a.outbox.nodes.numbers.pop(key)
    before = [len(net.sent_by("b", pair)) for pair in ("bc", "bd", "be")]
    assert net.taken() == [numbers(5)] * 4
    sent = [bytes(net.sent_by("b", pair)[at:]) for pair, at in zip(("bc", "bd", "be"), before, strict=True)]
    assert [data.count(E) for data in sent] == [1, 0, 0]
    assert [data.count(key) for data in sent] == [0, 1, 0]
    net.publish(*numbers(5))
    assert net.taken() == [numbers(5)] * 4


def test_on_the_way_to_look_for_room_may_end_the_batch_that_is_added_to() -> None:
    net = Fan("cd")
    for letter in "cd":
        net[letter].register(F, codes.BROADCAST)
    net["c"].register(G, codes.BROADCAST)
    net.pump()
    net["b"].publish(G, b"which d does not want", net.now)
    net.pump()
    for _ in range(2):
        for uuid in (E, F):
            net["a"].publish(uuid, b"known", net.now)
            net.pump()
    first = net.cable["bc"].a
    first.backlog.skipped[G] = 1
    net.publish(b"1")
    net.arrive()
    del first.backlog.skipped[G]
    net["a"].publish(F, b"x", net.now)
    net.arrive()
    assert [queue.growing for queue in net.queues()] == [1, 2]
    while first.broadcasts.size < codes.BROADCAST_SIZE_MAX:
        net["b"].publish(G, bytes(batch.SIZE_MAX), net.now)
    net.publish(b"2", b"3")
    net.arrive()
    net["b"].report(net.now)
    for queue in net.queues():
        frames = [
            frame for out in queue.items for frame in (out.frames() if hasattr(out, "frames") else [out])
        ]
        assert queue.size == sum(len(frame.payload) + OVERHEAD for frame in frames)
    assert net.taken() == [[b"known", b"known", b"1", b"2", b"3"]] * 2
    assert [queue.size for queue in net.queues()] == [0, 0]


def test_on_the_way_who_subscribes_or_joins_in_the_midst_gets_what_comes_then() -> None:
    net = Fan("cd")
    net.publish(b"1", b"2")
    net.arrive()
    net.add("e")
    net.join("be")
    receiver = net["e"].register(E, codes.BROADCAST)
    net.cable["bc"].block(net["b"])
    net.cable["bd"].block(net["b"])
    net.pump()
    net.publish(b"3", b"4")
    net.arrive()
    mine = net["b"].register(E, codes.BROADCAST)
    net.publish(b"5", b"6")
    net.arrive()
    for pair in ("bc", "bd"):
        net.cable[pair].block(net["b"], False)
    assert net.taken() == [[b"1", b"2", b"3", b"4", b"5", b"6"]] * 2
    assert net.payloads("e", receiver) == [b"3", b"4", b"5", b"6"]
    assert net.payloads("b", mine) == [b"5", b"6"]


def test_on_the_way_a_link_that_takes_no_batch_gets_each_by_itself() -> None:
    net = Fan("cd")
    net.add("z", limits=Limits(frame_size_max=1000))
    net.join("bz")
    net.pump()
    net.letters += "z"
    net.receivers["z"] = net["z"].register(E, codes.BROADCAST)
    for text in (b"first", b"second"):
        net.publish(text)
        net.taken()
    net.publish(*numbers(30))
    net.arrive()
    assert [len(queue.items) for queue in net.queues()] == [1, 1, 30]
    assert net.taken() == [numbers(30)] * 3
    net["c"].deregister(net.receivers.pop("c"), net.now)
    net["d"].deregister(net.receivers.pop("d"), net.now)
    for _ in range(2):
        net.publish(*numbers(30))
        assert net.taken() == [numbers(30)]


def test_on_the_way_a_full_link_falls_behind_as_ever() -> None:
    net = Fan("cd")
    net.cable["bc"].block(net["b"])
    size = 1000 + OVERHEAD
    full = -(-codes.BROADCAST_SIZE_MAX // size)
    texts = [b"%d" % number + bytes(1000 - len(str(number))) for number in range(full + 100)]
    got = []
    for at in range(0, len(texts), 20):
        net.publish(*texts[at : at + 20])
        net.pump()
        got += net.payloads("d", net.receivers["d"])
    assert got == texts
    assert net["b"].origin.counters["broadcast_dropped"] == 99
    net["b"].report(net.now)
    assert net.queues()[0].size == full * size
    net.cable["bc"].block(net["b"], False)
    net.pump()
    last = net.drain(net["c"], net.receivers["c"])[-1]
    assert (last.payload, last.missed) == (texts[-1], 99)


def test_on_the_way_a_lost_link_or_a_new_one_leaves_no_trace() -> None:
    net = Fan("cd")
    net.publish(*numbers(5))
    net.arrive()
    net.cable["bc"].cut()
    net.join("bd", via="again", realm=codes.USERSPACE)
    assert net.taken()[1] == numbers(5)
    net.publish(*numbers(5))
    assert net.taken()[1] == numbers(5)
    assert net["b"].forwarder._growing == {}
    assert [queue.size for queue in net.queues()] == [0, 0]


# All of it at once


class Storm(Net):
    """Two publish, at random, to five that come, go, stop reading and lose links; the first of these keeps
    its links and reads. `bridged`: two nodes between pass on all that is said.
    """

    def __init__(self, seed: int, bridged: bool) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.bridges: list[Any] = []
        if bridged:
            nodes = [self.node(letter) for letter in "abcdefg"]
            self.bridges = [self.node(letter, transit=True) for letter in "yz"]
            for bridge in self.bridges:
                for node in nodes:
                    self.link(node, bridge, realm=codes.LOCALNET, medium="tcp")
            self.pump()
        else:
            nodes = self.mesh("abcdefg")
        self.sources, self.others = nodes[:2], nodes[2:]
        self.steady = self.others[0]
        self.said = dict.fromkeys(self.sources, 0)
        self.got: dict[Any, list[Any]] = {node: [] for node in self.others}
        self.receivers: dict[Any, Any] = {}
        for node in self.others:
            self.join(node)
        self.pump()

    def join(self, node: Any) -> None:
        self.receivers[node] = node.register(E, codes.BROADCAST, queue_max=100_000)
        self.got[node].append(None)

    def read(self, node: Any) -> None:
        self.got[node] += self.drain(node, self.receivers[node])

    def publish(self) -> None:
        rng = self.rng
        source = rng.choice(self.sources)
        count = rng.choice((1, 1, 3, 40))
        for _ in range(count):
            self.said[source] += 1
            size = rng.choice((10, 10, 100, 1000) if count > 3 else (10, 10, 100, 5000, 40_000))
            text = b"%010d" % self.said[source] + bytes(size)
            source.publish(E, text, self.now, best_effort=rng.random() < 0.1, patience_ms=0)

    def disturb(self) -> None:
        rng = self.rng
        node = rng.choice(self.others[1:])
        free = [cable for cable in self.cables if self.steady not in map(node_of, (cable.a, cable.b))]
        what = rng.randrange(6)
        if what < 3:
            cable = rng.choice(free)
            cable.block(rng.choice([node_of(cable.a), node_of(cable.b)]), what < 2)
        elif what == 3:
            if node in self.receivers:
                self.read(node)
                node.deregister(self.receivers.pop(node), self.now)
            else:
                self.join(node)
        elif what == 4:
            hub = rng.choice(self.bridges or self.sources)
            self.link(hub, node, via=f"again{len(self.cables)}", realm=codes.LOCALNET, medium="tcp")
        else:
            rng.choice(free).cut()

    def settle(self) -> None:
        for cable in self.cables:
            for end in cable.ends:
                end.writable = True
        self.pump()
        for node in self.receivers:
            self.read(node)
        assert {connection.broadcasts.size for node in self.nodes for connection in node.connections} == {0}


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("seed", first_counted(range(6), 1))
def test_whatever_happens_nothing_comes_twice_nor_in_another_order(seed: int, bridged: bool) -> None:
    """What each gets of each source are numbers that rise, and every gap is told."""
    net = Storm(seed, bridged)
    for _ in range(120):
        what = net.rng.random()
        if what < 0.5:
            net.publish()
        elif what < 0.8:
            net.step(net.rng.choice((1000, 65536)), rng=net.rng)
        else:
            net.disturb()
    net.settle()
    for node, messages in net.got.items():
        last: dict[bytes, tuple[int, int]] = {}
        for message in messages:
            if message is None:
                last = {}
                continue
            text = int(message.payload[:10])
            if message.source in last:
                seq, before = last[message.source]
                assert message.seq == seq + 1 + message.missed
                assert text > before
            last[message.source] = message.seq, text
        if node is net.steady and not bridged:
            sent = {source.node_id: source.origin.publisher.flows[E].sent for source in net.sources}
            assert {source: seq for source, (seq, _) in last.items()} == sent


def test_a_link_that_does_not_read_keeps_no_bytes_of_all_the_others() -> None:
    """Each link has another number for the endpoint, and so other bytes."""
    net = Star(12, heard=False)
    for number, other in enumerate(net.others):
        for before in range(number):
            other.register(b"%08d%08d" % (number, before), codes.BROADCAST)
    net.pump()
    for number in range(12):
        for before in range(number):
            net.hub.publish(b"%08d%08d" % (number, before), b"", net.now)
    net.publish(b"first")
    net.pump()
    assert len({cable.a.outbox.aliases.numbers[E] for cable in net.cables}) == 12
    net.cables[0].block(net.hub)
    net.publish(*numbers(20))
    net.pump()
    kept = [out for out in net.queues()[0].items if isinstance(out, batch.Batch)]
    held = sum(len(data) for out in kept for data in out._encoded.values())
    assert 0 < held <= 2 * net.queues()[0].size
    net.cables[0].block(net.hub, False)
    assert net.taken() == [[b"first", *numbers(20)]] * 12
