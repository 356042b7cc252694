"""Priorities on a link: who passes whom, between the pieces of large messages too, shares, room, and that a
link of normal messages has nothing of it.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from busway.protocol import FullError, Limits, Receiver, codes, events
from busway.protocol.turns import PASSED_MAX, Turns

from .helpers import assert_settled, verdicts
from .nets import ANYCAST, BROADCAST, UNICAST, Mesh, chain
from .pairs import E, F

LOW, NORMAL, HIGH, URGENT = codes.LOW, codes.NORMAL, codes.HIGH, codes.URGENT
SHARES = {URGENT: 16, HIGH: 4, NORMAL: 2, LOW: 1}
SMALL = Limits(frame_size_max=256, message_size_max=100_000)


class Row:
    """Nodes in a row; what the first sends to the last waits at one of them until `go`."""

    def __init__(self, letters: str = "ab", at: str = "", limits: Limits | None = None) -> None:
        self.net = Mesh()
        self.net.add(letters, limits=limits)
        self.net.join(" ".join(a + b for a, b in itertools.pairwise(letters)))
        self.net.pump()
        self.first, self.last = self.net[letters[0]], self.net[letters[-1]]
        here = at or letters[0]
        self.here = self.net[here]
        self.cable = self.net.cable[here + letters[letters.index(here) + 1]]
        self.receivers: list[Receiver] = []
        self.order: list[Any] = []  # of payloads, as they came

    def serve(self, uuid: bytes, kind: int = UNICAST, **options: Any) -> Receiver:
        options.setdefault("queue_max", 100_000)
        receiver = self.last.register(uuid, kind, **options)
        self.net.pump()
        self.receivers.append(receiver)
        return receiver

    def warm(self, uuid: bytes, *priorities: int) -> None:
        """Credit enough for what is to come."""
        for _ in range(10):
            for priority in priorities:
                for _ in range(64):
                    self.first.send(uuid, b"warm", self.net.now, priority=priority)
            self.net.pump()
            for receiver in self.receivers:
                self.net.drain(self.last, receiver)
            self.net.pump()

    def hold(self) -> None:
        self.cable.block(self.here)

    def go(self, size: int = 512) -> list[Any]:
        """Let it write, `size` bytes at a time; what came, in order, is taken as it comes."""
        self.cable.block(self.here, False)
        while self.net.step(size):
            for receiver in self.receivers:
                self.order += [message.payload for message in self.net.drain(self.last, receiver)]
        return self.order


WHERE = pytest.mark.parametrize(("letters", "at"), [("ab", "a"), ("abc", "b")], ids=["own", "in transit"])


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WHERE
def test_higher_ones_pass_lower_ones(letters: str, at: str) -> None:
    row = Row(letters, at)
    row.serve(E)
    row.warm(E, LOW, NORMAL, HIGH, URGENT)
    row.hold()
    for priority in (LOW, NORMAL, HIGH, URGENT):
        for number in range(3):
            row.first.send(E, b"%d%d" % (priority, number), row.net.now, priority=priority)
            row.net.pump()
    assert row.go() == [b"%d%d" % (p, n) for p in (URGENT, HIGH, NORMAL, LOW) for n in range(3)]
    assert row.cable.a.outbox.rows is None
    assert row.cable.a.queued_bytes() == 0


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WHERE
@pytest.mark.parametrize("who", [(LOW, URGENT), (NORMAL, HIGH), (LOW, NORMAL, HIGH, URGENT)])
def test_a_lower_one_is_never_starved(letters: str, at: str, who: tuple[int, ...]) -> None:
    row = Row(letters, at, SMALL)
    row.serve(E)
    row.warm(E, *who)
    row.hold()
    for priority in who:
        for _ in range(200):
            row.first.send(E, bytes((priority,)) * 40, row.net.now, priority=priority)
        row.net.pump()
    order = row.go()[: 200 * sum(SHARES[p] for p in who) // max(SHARES[p] for p in who)]
    counts = {priority: sum(payload[0] == priority for payload in order) for priority in who}
    total = sum(SHARES[priority] for priority in who)
    for priority in who:
        # No less than its share of what all have together; what the others do not use goes to the highest.
        assert counts[priority] >= len(order) * SHARES[priority] // 23 - 3, (counts, total)
    assert sum(counts.values()) == len(order)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_while_all_wait_they_share_as_is_promised() -> None:
    turns = Turns()
    for sizes in ([1, 1, 1, 1], [500, 100, 16, 40], [16, 400, 3000, 30]):
        sums = [0, 0, 0, 0]
        for _ in range(20_000):
            priority = turns.choose(sizes)
            turns.went(priority, sizes[priority], sizes)
            sums[priority] += sizes[priority]
        assert [round(23 * each / sum(sums), 1) for each in sums] == [1, 2, 4, 16]


def test_what_waits_for_the_first_time_is_passed_by_no_more_than_that() -> None:
    turns = Turns()
    for lower in (LOW, NORMAL, HIGH):
        sizes = [0, 0, 0, 7]
        sizes[lower] = 7
        went = []
        while lower not in went:
            went.append(turns.choose(sizes))
            turns.went(went[-1], 7, sizes)
        assert went == [URGENT] * PASSED_MAX[lower] + [lower]
    assert turns.choose([0, 0, 0, 0]) == -1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WHERE
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("priority", [HIGH, URGENT])
def test_it_passes_between_the_pieces_of_a_large_message(
    letters: str, at: str, same: bool, priority: int
) -> None:
    row = Row(letters, at, SMALL)
    row.serve(E)
    row.serve(F)
    row.warm(E, NORMAL, priority)
    row.warm(F, NORMAL, priority)
    row.hold()
    large = bytes(50_000)
    row.first.send(E, large, row.net.now)
    row.first.send(E, b"behind", row.net.now)
    row.net.pump()
    row.cable.block(row.here, False)
    row.net.step(1000)  # it has begun
    row.first.send(E if same else F, b"now", row.net.now, priority=priority)
    assert row.go(1000) == [b"now", large, b"behind"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_large_ones_pass_large_ones() -> None:
    row = Row("ab", limits=SMALL)
    row.serve(E)
    row.warm(E, LOW, NORMAL, URGENT)
    row.hold()
    large = {priority: bytes((priority,)) * 20_000 for priority in (LOW, NORMAL, URGENT)}
    for priority, payload in large.items():
        row.first.send(E, payload, row.net.now, priority=priority)
    row.cable.block(row.here, False)
    order = row.go(300)
    assert order == [large[URGENT], large[NORMAL], large[LOW]]


@pytest.mark.parametrize("partials", [1, 2])
@pytest.mark.parametrize("lower", [LOW, NORMAL])
def test_a_large_one_waits_for_no_more_than_the_place_of_another(partials: int, lower: int) -> None:
    row = Row("ab", limits=Limits(frame_size_max=256, message_size_max=100_000, partials_max=partials))
    row.serve(E)
    row.serve(F)
    row.warm(E, lower, URGENT)
    row.warm(F, NORMAL)
    row.hold()
    for number in range(6):
        row.first.send(E, b"%d" % number * 5000, row.net.now, priority=lower)
        row.first.send(F, b"f%d" % number * 2500, row.net.now)
    row.cable.block(row.here, False)
    row.net.step(1000)
    row.first.send(E, b"u" * 5000, row.net.now, priority=URGENT)
    row.first.send(E, b"v" * 50, row.net.now, priority=URGENT)
    order = [payload[:2] for payload in row.go(300)]
    assert order.index(b"uu") <= partials
    assert order.index(b"vv") == order.index(b"uu") + 1
    assert [each for each in order if each[:1].isdigit()] == [b"%d" % n * 2 for n in range(6)]
    assert len(order) == 14


def test_what_is_no_longer_wanted_or_late_is_not_written() -> None:
    row = Row("ab")
    receiver = row.serve(E, ANYCAST)
    row.hold()
    first = row.first.request(E, b"1", row.net.now, priority=URGENT, timeout_ms=100)
    second = row.first.request(E, b"2", row.net.now, priority=URGENT)
    row.first.cancel(second, row.net.now)
    row.net.advance(200, pump=False)
    row.first.send(E, b"3", row.net.now, priority=URGENT)
    assert row.go() == [b"3"]
    assert verdicts(row.net, row.first, first) == [(events.TIMED_OUT, codes.EXPIRED)]
    assert verdicts(row.net, row.first, second) == [(events.CANCELLED, 0)]
    assert not len(receiver.queue)
    assert_settled(row.net)


def test_a_cancel_stays_behind_its_request_and_a_probe_behind_what_it_counts() -> None:
    row = Row("abc", "b")
    receiver = row.serve(E, ANYCAST)
    row.hold()
    token = row.first.request(E, b"1", row.net.now, priority=LOW)
    row.net.pump()
    row.first.cancel(token, row.net.now)
    row.net.pump()
    for number in range(8):
        row.first.send(E, b"%d" % number, row.net.now, priority=LOW)
    row.net.advance(3000)
    assert row.first.origin.counters["probes"] > 0
    order = row.go()
    row.net.advance(3000)
    order += row.go()
    assert order[-8:] == [b"%d" % number for number in range(8)]
    assert row.last.receiving.counters["missed"] == row.last.receiving.counters["late"] == 0
    assert not len(receiver.queue)
    assert_settled(row.net)


@pytest.mark.parametrize("failed", [False, True])
def test_answers_of_urgent_requests_pass_those_of_others(failed: bool) -> None:
    net = chain("ab")
    receiver = net["b"].register(E, ANYCAST)
    net.pump()
    tokens = [net["a"].request(E, b"%d" % p, net.now, priority=p, window=4) for p in (NORMAL, URGENT)]
    net.pump()
    requests: list[Any] = sorted(net.drain(net["b"], receiver), key=lambda request: request.payload)
    net.cable["ab"].block(net["b"])
    for request in requests:
        for number in range(4):
            net["b"].respond_part(request, b"%d" % number, net.now)
        if failed:
            net["b"].respond_error(request, 300, "broken", net.now)
        else:
            net["b"].respond_end(request, net.now)
    net.cable["ab"].block(net["b"], False)
    net.pump(100)
    ends = [event.token for event in net.seen(net["a"], events.OUTCOME) if event.status != events.PARTIAL]
    assert ends == tokens[::-1]
    for token in tokens:
        parts = [each.payload for each in net.outcomes(net["a"], token) if each.status == events.PARTIAL]
        assert parts == [b"%d" % number for number in range(4)]
    assert_settled(net)


# Room


def fill(row: Row, uuid: bytes, priority: int, size: int = 10_000) -> int:
    """Send until there is no room; how many went."""
    count = 0
    while count < 5000:
        try:
            row.first.send(uuid, bytes(size), row.net.now, priority=priority, wait=False)
        except FullError:
            break
        count += 1
    return count


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_high_and_urgent_ones_find_room_beside_a_full_queue() -> None:
    row = Row("ab")
    row.serve(E)
    row.warm(E, LOW, NORMAL, HIGH, URGENT)
    row.hold()
    assert 50 < fill(row, E, NORMAL) < 200
    assert row.cable.a.queued_bytes() < codes.QUEUE_SIZE_MAX + 10_100
    assert fill(row, E, LOW) == 0
    found = fill(row, E, URGENT) + fill(row, E, HIGH)
    assert codes.QUEUE_RESERVE // 10_032 <= found <= codes.QUEUE_RESERVE // 10_032 + 1
    assert row.cable.a.queued_bytes() < codes.QUEUE_SIZE_MAX + codes.QUEUE_RESERVE + 2 * 10_100
    tokens = {p: row.first.send(E, b"%d" % p, row.net.now, priority=p) for p in (LOW, NORMAL, HIGH, URGENT)}
    assert all(tokens.values())
    order = row.go()
    assert all(verdicts(row.net, row.first, token) == [(events.ACCEPTED, 0)] for token in tokens.values())
    assert {b"0", b"1", b"2", b"3"} <= set(order)
    assert order.index(b"3") < order.index(b"1")
    assert row.cable.a.queued_bytes() == 0
    assert row.cable.a.outbox.rows is None
    assert_settled(row.net)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_low_ones_count_in_the_queue_of_all() -> None:
    row = Row("ab")
    row.serve(E)
    row.warm(E, LOW, NORMAL)
    row.hold()
    assert fill(row, E, LOW) > 50
    assert fill(row, E, NORMAL) == 0
    token = row.first.send(E, b"waits", row.net.now, priority=LOW)
    assert token
    assert row.go()[-1] == b"waits"


def test_those_who_wait_for_room_wait_on_another_link_when_theirs_ends() -> None:
    row = Row("ab")
    row.serve(E)
    row.warm(E, NORMAL, URGENT)
    row.hold()
    fill(row, E, NORMAL)
    fill(row, E, URGENT)
    tokens = [row.first.send(E, b"%d" % p, row.net.now, priority=p) for p in (NORMAL, URGENT)]
    row.net.join("ab", via="tcp:other")
    row.net.pump()
    row.cable.cut()
    row.net.pump()
    row.go()
    assert all(verdicts(row.net, row.first, token) == [(events.ACCEPTED, 0)] for token in tokens)


def test_others_messages_find_room_as_ours_do() -> None:
    row = Row("abc", "b")
    row.serve(E, size_max=1 << 30)
    row.serve(F)
    row.warm(E, LOW, NORMAL, URGENT)
    row.hold()
    size = 100_000
    for priority, most in ((NORMAL, codes.TRANSIT_SIZE_MAX), (URGENT, codes.TRANSIT_RESERVE)):
        for _ in range(most // size + 3):
            row.first.send(E, bytes(size), row.net.now, priority=priority)
            row.net.pump()
    refused = [event.reason for event in row.net.seen(row.first, events.UNDELIVERABLE)]
    assert set(refused) <= {codes.QUEUE_FULL}
    most = codes.TRANSIT_SIZE_MAX + codes.TRANSIT_RESERVE + 2 * size
    assert codes.TRANSIT_SIZE_MAX // 2 < row.here.connections[-1].transit.size < most
    row.go(1 << 20)
    row.net.advance(5000)
    row.go(1 << 20)
    assert all(link.transit.size == link.transit.ends == 0 for link in row.here.connections)
    assert_settled(row.net)


# Broadcasts


def published(row: Row, priority: int, count: int, size: int = 1000, **options: Any) -> int:
    """How many of so many found room."""
    for number in range(count):
        payload = b"%d%06d" % (priority, number) + bytes(size - 7)
        if isinstance(row, Fan) and not number % 100:
            row.net.pump()
        try:
            row.first.publish(E, payload, row.net.now, priority=priority, wait=False, **options)
        except FullError:
            return number
    return count


class Fan(Row):
    """One who subscribes reads all the time, so that no publish waits; the other one does not, until `go`."""

    def __init__(self) -> None:
        super().__init__("ab")
        self.other = self.net.node("c")
        self.net.link(self.first, self.other)
        self.net.pump()
        self.other.register(E, BROADCAST, queue_max=100_000, policy=codes.LATEST)


@WHERE
def test_broadcasts_of_higher_priority_pass_too(letters: str, at: str) -> None:
    row = Row(letters, at)
    row.serve(E, BROADCAST)
    row.hold()
    for priority in (LOW, NORMAL, HIGH, URGENT):
        published(row, priority, 3, 100)
        row.net.pump()
    order = [payload[:1] for payload in row.go()]
    assert order == [b"3"] * 3 + [b"2"] * 3 + [b"1"] * 3 + [b"0"] * 3


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_where_their_queue_is_full_low_ones_give_way() -> None:
    row = Fan()
    row.serve(E, BROADCAST)
    row.hold()
    count = codes.BROADCAST_SIZE_MAX // 1032
    assert published(row, LOW, count + 3) == count + 3
    assert published(row, NORMAL, 400) == 400
    assert published(row, URGENT, 50) == 50
    assert row.cable.a.broadcasts.size <= codes.BROADCAST_SIZE_MAX + 1032 * 51
    order = row.go(4096)
    found = {p: [payload for payload in order if payload[:1] == b"%d" % p] for p in range(4)}
    assert len(found[URGENT]) == 50
    assert len(found[NORMAL]) == 400
    assert count - 460 <= len(found[LOW]) <= count - 395
    assert int(found[LOW][-1][1:7]) == count + 2  # the newest comes in the end
    assert found[LOW] == sorted(found[LOW])
    assert order[0][:1] == b"3"
    assert row.first.origin.counters["broadcast_dropped"] > 0


def test_they_do_so_rather_than_that_a_publish_waits() -> None:
    row = Row("ab")
    row.serve(E, BROADCAST)
    row.hold()
    count = published(row, LOW, 2000)
    assert count < 1100
    assert published(row, NORMAL, 100) == 100
    assert len(row.go(4096)) in range(count - 100, count + 101)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_best_effort_ones_that_give_way_are_lost() -> None:
    row = Row("ab")
    row.serve(E, BROADCAST)
    row.hold()
    for number in range(codes.BROADCAST_SIZE_MAX // 1032 + 3):
        row.first.publish(E, b"%07d" % number + bytes(993), row.net.now, priority=LOW, best_effort=True)
    before = row.first.origin.counters["best_effort_dropped"]
    assert published(row, NORMAL, 5) == 5
    assert row.first.origin.counters["best_effort_dropped"] >= before + 4
    assert len([payload for payload in row.go(4096) if payload[:4] == b"1000"]) == 5


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_urgent_ones_have_room_of_their_own_and_no_more() -> None:
    row = Fan()
    row.serve(E, BROADCAST)
    row.hold()
    published(row, NORMAL, codes.BROADCAST_SIZE_MAX // 1032 + 50)
    assert published(row, URGENT, 300) == 300
    assert row.cable.a.broadcasts.size < codes.BROADCAST_SIZE_MAX * 9 // 8 + 40_000
    order = row.go(4096)
    urgent = [int(payload[1:7]) for payload in order if payload[:1] == b"3"]
    assert urgent == sorted(urgent)
    assert 120 <= len(urgent) <= 140
    assert urgent[-1] == 299
    assert row.cable.a.broadcasts.size == 0
    assert row.cable.a.outbox.rows is None


def test_of_what_is_kept_the_lowest_goes_first() -> None:
    row = Fan()
    uuids = [b"%016d" % number for number in range(40)]
    for uuid in uuids:
        row.serve(uuid, BROADCAST)
        row.other.register(uuid, BROADCAST, policy=codes.LATEST)
    row.serve(E, BROADCAST)
    row.hold()
    published(row, NORMAL, codes.BROADCAST_SIZE_MAX // 1032 + 50)
    for priority, count in ((LOW, 40), (HIGH, 16)):
        for uuid in uuids[:count]:
            row.net.pump()
            row.first.publish(uuid, b"%d" % priority * 50_000, row.net.now, priority=priority)
    order = row.go(1 << 16)
    assert order.count(b"2" * 50_000) == 16
    assert 0 < order.count(b"0" * 50_000) < 20


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("wait", [True, False])
def test_a_publish_waits_for_room_of_its_own(wait: bool) -> None:
    row = Row("ab")
    row.serve(E, BROADCAST)
    row.hold()
    tokens = []
    for number in range(400):
        try:
            tokens.append(
                row.first.publish(
                    E, b"%07d" % number + bytes(9000), row.net.now, priority=HIGH, patience_ms=-1, wait=wait
                )
            )
        except FullError:
            assert not wait
            break
    assert any(tokens) == wait
    order = row.go(1 << 16)
    assert order == [b"%07d" % number + bytes(9000) for number in range(len(tokens))]
    assert len(tokens) > 100


# When the link ends


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WHERE
def test_what_was_not_written_goes_another_way_in_order(letters: str, at: str) -> None:
    row = Row(letters, at)
    row.serve(E)
    row.warm(E, LOW, NORMAL, URGENT)
    row.hold()
    for number in range(30):
        row.first.send(E, b"%02d" % number, row.net.now, priority=(LOW, NORMAL, URGENT)[number % 3])
    row.net.pump()
    row.net.join(
        row.cable_name if hasattr(row, "cable_name") else at + letters[letters.index(at) + 1], via="x:y"
    )
    row.net.pump()
    row.cable.cut()
    for _ in range(5):
        row.net.pump()
        row.order += [message.payload for message in row.net.drain(row.last, row.receivers[0])]
    for rest in range(3):
        mine = [int(payload) for payload in row.order if int(payload) % 3 == rest]
        assert mine == sorted(mine)
    assert len(row.order) == 30


def test_broadcasts_take_another_link_too() -> None:
    row = Row("ab")
    row.serve(E, BROADCAST)
    row.hold()
    published(row, HIGH, 5, 100)
    published(row, NORMAL, 5, 100)
    row.net.join("ab", via="tcp:other")
    row.net.pump()
    row.cable.cut()
    row.net.pump()
    row.order += [message.payload[:1] for message in row.net.drain(row.last, row.receivers[0])]
    assert row.order.count(b"2") == row.order.count(b"1") == 5


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_link_that_is_closed_is_drained_first() -> None:
    row = Row("ab", limits=SMALL)
    row.serve(E)
    row.warm(E, LOW, NORMAL, URGENT)
    row.hold()
    for priority in (LOW, NORMAL, URGENT):
        row.first.send(E, b"%d" % priority * 2000, row.net.now, priority=priority)
    row.cable.a.close(row.net.now)
    order = [payload[:1] for payload in row.go(300)]
    assert order == [b"3", b"1", b"0"]
    assert row.cable.a.done


def test_without_draining_what_has_begun_is_written_whole() -> None:
    row = Row("ab", limits=SMALL)
    row.serve(E)
    row.warm(E, LOW, NORMAL, URGENT)
    row.hold()
    for priority in (URGENT, NORMAL):
        row.first.send(E, b"%d" % priority * 2000, row.net.now, priority=priority)
    row.cable.block(row.here, False)
    row.net.step(300)
    row.cable.a.close(row.net.now, drain=False)
    assert [payload[:1] for payload in row.go(300)] == [b"3"]
    assert row.cable.a.done
    assert [event.reason for event in row.net.seen(row.first, events.UNDELIVERABLE)] == [codes.NO_ROUTE]


def test_broadcasts_that_are_taken_back_count_no_more() -> None:
    row = Row("abc", "b")
    row.serve(E, BROADCAST)
    row.hold()
    link = row.cable.a
    for priority in (NORMAL, HIGH, LOW):
        published(row, priority, 3, 100)
    row.net.pump()
    key = row.net.see("b", "a").key
    size = link.broadcasts.size
    assert link.take_broadcasts(b"?" * 20) == []
    assert link.broadcasts.size == size > 0
    assert len(link.take_broadcasts(key)) == 9
    assert link.broadcasts.size == 0
    published(row, HIGH, 3, 100)
    row.net.pump()
    assert len(link.take_broadcasts(key)) == 3
    assert link.broadcasts.size == 0
