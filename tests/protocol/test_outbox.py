"""Writing, when and in how many bytes: order, pieces of large messages, bounds of every queue."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busway.protocol import Connection, FullError, Limits, Message, Receiver, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import Reader, frame, varint
from busway.protocol.wire.messages import Frame, signal, write_header

from ..rigs.effort import effort
from .pairs import E, F, G, Pair, bodies, node_of

FRAME_MAX = 256
WHOLE_MAX = FRAME_MAX - codes.HEADER_SIZE_MAX  # the largest payload that is not cut
SMALL = Limits(frame_size_max=FRAME_MAX, message_size_max=100_000)


def is_kind(body: bytes, kind: int) -> bool:
    return body[0] >= codes.MESSAGE and body[0] >> 4 & 7 == kind


class HandFed(Pair):
    """A pair in which b has E and F (unicast) and G (broadcast); what a's outbox gets is pushed by hand."""

    def __init__(self, limits: Limits | None = SMALL, **options: Any) -> None:
        super().__init__(limits=limits, **options)
        self.e = self.b.register(E, codes.UNICAST)
        self.f = self.b.register(F, codes.UNICAST)
        self.g = self.b.register(G, codes.BROADCAST)
        self.pump()
        self._seq = {E: 0, F: 0, G: 0}
        self.outbox = self.ca.outbox
        assert self.ca.peer is not None
        self.peer = self.ca.peer

    def push(self, uuid: bytes, payload: bytes, kind: int = codes.SEND, **fields: Any) -> Frame:
        """One message into a's outbox, numbered as the origin would."""
        self._seq[uuid] += 1
        destination = b"" if kind == codes.PUBLISH else self.peer.key
        out = Frame(kind, destination, uuid, self._seq[uuid], payload, codes.RAW, b"")
        for name, value in fields.items():
            setattr(out, name, value)
        (self.ca.enqueue_broadcast if kind == codes.PUBLISH else self.ca.enqueue)(out)
        return out

    def b_reads(self, data: bytes) -> None:
        """Let what a has written reach b."""
        self.note(self.b, self.cb.receive_data(data, self.now))

    def bind(self) -> None:
        """All aliases bound, nothing queued."""
        for uuid in (E, F):
            self.push(uuid, b"")
        self.push(G, b"", codes.PUBLISH)
        self.pump()
        for receiver in (self.e, self.f, self.g):
            self.drain(self.b, receiver)
        self.pump()

    def written(self, size: int = 1 << 20) -> list[bytes]:
        """The bodies of what a writes now; b reads them."""
        data = self.ca.data_to_send(size, self.now)
        self.note(self.b, self.cb.receive_data(data, self.now))
        return bodies(data)

    def got(self, receiver: Receiver) -> list[bytes]:
        return [message.payload for message in self.drain(self.b, receiver)]


# Cost


@pytest.mark.parametrize(
    ("size", "cost"),
    [(0, 5), (1, 5), (123, 5), (124, 6), (1000, 6), (16379, 6), (16380, 7), (60_000, 7)],
)
@pytest.mark.parametrize("kind", [codes.SEND, codes.PUBLISH])
def test_a_send_to_a_neighbour_costs_six_bytes_at_most(size: int, cost: int, kind: int) -> None:
    fed = HandFed(Limits())
    fed.bind()
    uuid = G if kind == codes.PUBLISH else E
    for format in (codes.RAW, codes.CBOR, codes.TYPED_AS_ENDPOINT):
        payload = bytes(size)
        fed.push(uuid, payload, kind, format=format)
        data = fed.ca.data_to_send(1 << 20, fed.now)
        assert len(data) - size == cost
        fed.note(fed.b, fed.cb.receive_data(data, fed.now))
        (message,) = fed.drain(fed.b, fed.g if uuid == G else fed.e)
        assert (message.payload, message.format) == (payload, format)


def test_the_budget_holds_for_messages_sent_through_the_node() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.send(E, b"x", pair.now)
    pair.pump()
    before = pair.ca.bytes_out
    for _ in range(3):
        assert pair.a.send(E, bytes(500), pair.now, wait=False) == 0
        pair.pump()
    assert pair.ca.bytes_out - before == 3 * (500 + 6)
    assert len(pair.drain(pair.b, receiver)) == 4


def test_the_short_way_writes_what_the_long_way_would() -> None:
    fed = HandFed()
    fed.bind()
    for size in (0, 123, 124, WHOLE_MAX):
        out = fed.push(E, bytes(size))
        data = fed.ca.data_to_send(1 << 20, fed.now)
        outbox = fed.outbox
        header = write_header(out, outbox.aliases, outbox.nodes, outbox.direct, fed.now)
        assert data == frame(header + bytes(size))


@pytest.mark.parametrize("aliases_max", [1, 2, 127, 200])
def test_aliases_are_bound_when_written_and_a_full_table_rebinds(aliases_max: int) -> None:
    fed = HandFed(Limits(aliases_max=aliases_max))
    for turn in range(5):
        for uuid in (E, F):
            fed.push(uuid, b"%d" % turn)
    fed.pump()
    assert fed.got(fed.e) == fed.got(fed.f) == [b"0", b"1", b"2", b"3", b"4"]


def test_an_alias_of_two_bytes_is_understood() -> None:
    fed = HandFed(Limits(aliases_max=300))
    for number in range(130):
        fed.outbox.aliases.write(number.to_bytes(16, "big"))
    fed.push(E, b"first")
    fed.push(E, b"second")
    first, second = fed.written()
    assert (len(first), len(second)) == (1 + 19 + 2 + 5, 1 + 2 + 2 + 6)
    assert fed.got(fed.e) == [b"first", b"second"]


# Order


def test_control_comes_first_then_directory_credit_answers_and_messages() -> None:
    fed = HandFed()
    fed.bind()
    flow = talk(fed.ca.peer).in_flows
    receiver = fed.a.register(b"a's own endpoint", codes.UNICAST)
    fed.pump()
    fed.b.send(b"a's own endpoint", b"x", fed.now)
    fed.pump()
    fed.push(E, b"a message")
    fed.push(G, b"a broadcast", codes.PUBLISH)
    cancel = signal(codes.CANCEL, fed.peer.key, b"", 0, 9)
    fed.ca.answer(cancel)
    fed.ca.credit(flow[b"a's own endpoint"])
    fed.a.register(b"another endpoint", codes.UNICAST)
    fed.ca.receive_data(frame(bytes((codes.PING,)) + varint(77)), fed.now)
    heads = [body[0] if body[0] < 0xF0 else (body[0], body[1]) for body in fed.written()]
    assert heads == [codes.PONG, codes.DIRECTORY, (0xF0, codes.CREDIT), (0xF0, codes.CANCEL), 0x80, 0x90]
    assert receiver.queue.peek().payload == b"x"


def test_credit_is_told_once_as_it_stands_when_written() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.cable.block(pair.b)
    for _ in range(4):
        pair.a.send(E, b"x", pair.now)
    pair.pump()
    pair.drain(pair.b, receiver)
    (flow,) = talk(pair.cb.peer).in_flows.values()
    for _ in range(3):
        pair.cb.credit(flow)
    flow.limit += 7
    pair.cable.block(pair.b, False)
    before = len(pair.cable.ends[1].sent)
    pair.pump()
    credits = [body for body in bodies(pair.cable.ends[1].sent[before:]) if body[:2] == b"\xf0\x02"]
    assert len(credits) == 1
    assert credits[0][-2:] == flow.limit.to_bytes(2, "big")
    assert talk(pair.ca.peer).out_flows[E].limit == flow.limit


def test_messages_and_broadcasts_take_turns() -> None:
    fed = HandFed()
    fed.bind()
    for _ in range(20):
        fed.push(E, bytes(100))
        fed.push(G, bytes(100), codes.PUBLISH)
    kinds = [body[0] for body in fed.written()]
    assert kinds.count(0x80) == kinds.count(0x90) == 20
    assert max(len(run) for run in "".join("se"[kind == 0x90] for kind in kinds).split("e")) <= 3


# Never more than asked for


@given(st.integers(1, 40), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_any_sizes_asked_for_give_the_same_messages(size: int, rng: random.Random) -> None:
    check_a_mix(size, rng)


@pytest.mark.parametrize("seed", [275, 288])
def test_nothing_stays_behind_when_a_large_message_makes_room_for_others(seed: int) -> None:
    rng = random.Random(seed)
    check_a_mix(rng.randint(1, 40), rng)


def check_a_mix(size: int, rng: random.Random) -> None:
    fed = HandFed(Limits(frame_size_max=128, message_size_max=5000, partials_max=2))
    sent: dict[bytes, list[bytes]] = {E: [], F: [], G: []}
    for number in range(12):
        uuid = rng.choice([E, F, G])
        payload = b"%d " % number + bytes(rng.choice([0, 3, 31, 32, 33, 200, 1000]))
        sent[uuid].append(payload)
        fed.push(uuid, payload, codes.PUBLISH if uuid == G else codes.SEND)
    fed.pump(size, split=rng.randint(0, 9), rng=rng)
    assert [fed.got(fed.e), fed.got(fed.f), fed.got(fed.g)] == list(sent.values())
    assert fed.outbox.queue.size == fed.outbox.broadcasts.size == 0
    assert not fed.outbox.has_messages()
    assert not fed.outbox.has_bytes(False)
    assert fed.ca.state == fed.cb.state == codes.OPEN


def test_nothing_is_written_when_nothing_is_asked_for() -> None:
    fed = HandFed()
    fed.push(E, b"x")
    assert fed.ca.data_to_send(0, fed.now) == b""
    assert fed.ca.wants_write
    assert [body[-1:] for body in fed.written()] == [b"x"]


@pytest.mark.parametrize("format", [codes.RAW, codes.TYPED])
def test_messages_become_bytes_only_when_they_are_asked_for(format: int) -> None:
    fed = HandFed()
    fed.bind()
    for _ in range(100):
        fed.push(E, bytes(100), format=format, type_id=b"t" * 16)
    fed.ca.data_to_send(1000, fed.now)
    assert 88 <= len(fed.outbox.queue) <= 91
    assert fed.outbox.queue.size == len(fed.outbox.queue) * 132


# Large messages


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("size", [*range(WHOLE_MAX - 1, FRAME_MAX + 3), 2 * FRAME_MAX, 3 * FRAME_MAX - 100])
def test_a_message_near_the_frame_size_is_cut_or_not_but_arrives(size: int) -> None:
    fed = HandFed()
    payload = random.Random(size).randbytes(size)
    fed.push(E, payload)
    written = fed.written()
    assert all(len(body) <= FRAME_MAX for body in written)
    assert (len(written) > 1) == (size > WHOLE_MAX)
    assert all(len(body) > 2 for body in written[1:])
    assert fed.got(fed.e) == [payload]
    assert fed.cb.state == codes.OPEN


def test_every_piece_but_the_first_and_last_fills_its_frame() -> None:
    fed = HandFed()
    fed.bind()
    fed.push(E, bytes(1000))
    sizes = [len(body) for body in fed.written()]
    first = 1 + 1 + 7 + 1 + 2 + WHOLE_MAX  # head, options' length, CUT, alias, seq
    assert sizes == [first, FRAME_MAX, FRAME_MAX, FRAME_MAX, 1000 - WHOLE_MAX - 3 * (FRAME_MAX - 2) + 2]


def test_a_large_message_of_every_kind_arrives_whole() -> None:
    pair = Pair(limits=SMALL)
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    ask, part, reply = (bytes([value]) * 3000 for value in b"apr")
    token = pair.a.request(E, ask, pair.now, codes.TYPED, b"t" * 16, window=4)
    pair.pump(100, 33)
    (request,) = pair.drain(pair.b, receiver)
    assert (request.payload, request.type_id) == (ask, b"t" * 16)
    pair.b.respond_part(request, part, pair.now)
    pair.b.respond_part(request, part[1:], pair.now, codes.CBOR)
    pair.b.respond_end(request, pair.now)
    pair.pump(100, 33)
    assert [outcome.status for outcome in pair.outcomes(pair.a, token)] == [
        events.PARTIAL,
        events.PARTIAL,
        events.ENDED,
    ]
    assert [outcome.payload for outcome in pair.outcomes(pair.a, token)][:2] == [part, part[1:]]
    for answer in ("respond", "respond_error"):
        token = pair.a.request(E, b"q", pair.now)
        pair.pump()
        (request,) = pair.drain(pair.b, receiver)
        if answer == "respond":
            pair.b.respond(request, reply, pair.now)
        else:
            pair.b.respond_error(request, 300, "e" * 3000, pair.now)
        pair.pump(100, 33)
        (outcome,) = pair.outcomes(pair.a, token)
        assert (outcome.payload, outcome.text) in [(reply, ""), (b"", "e" * 3000)]
    token = pair.a.send(E, ask, pair.now, confirm=True)
    pair.pump(100, 33)
    assert [message.payload for message in pair.drain(pair.b, receiver)] == [ask]
    pair.pump()
    assert [outcome.status for outcome in pair.outcomes(pair.a, token)] == [events.TAKEN]


def test_other_pairs_pass_between_the_pieces_and_the_same_pair_waits() -> None:
    fed = HandFed()
    fed.bind()
    fed.push(E, bytes(2000))
    fed.push(E, b"behind it")
    for _ in range(3):
        fed.push(F, b"in between")
        fed.push(G, b"in between", codes.PUBLISH)
    written = fed.written()
    kinds = [body[0] for body in written]
    last_piece = len(kinds) - 1 - kinds[::-1].index(codes.MORE)
    between = [body for body in written[:last_piece] if body.endswith(b"in between")]
    assert len(between) == 6
    behind = next(place for place, body in enumerate(written) if body.endswith(b"behind it"))
    assert behind > last_piece
    assert fed.got(fed.e) == [bytes(2000), b"behind it"]


def test_what_waits_behind_a_large_broadcast_is_kept_in_order_and_counted() -> None:
    fed = HandFed()
    fed.bind()
    sent = [bytes(2000), b"1", bytes(700), b"2"]
    for payload in sent:
        fed.push(G, payload, codes.PUBLISH)
    fed.ca.data_to_send(300, fed.now)  # begins
    assert fed.outbox.in_pieces()
    assert fed.outbox.broadcasts.size + fed.outbox.queue.size > 0
    fresh = HandFed()
    for payload in sent:
        fresh.push(G, payload, codes.PUBLISH)
    fresh.pump(100)
    assert fresh.got(fresh.g) == sent
    assert (fresh.outbox.queue.size, fresh.outbox.broadcasts.size) == (0, 0)


def test_flow_control_passes_a_large_message_of_its_pair_but_the_end_of_a_stream_does_not() -> None:
    pair = Pair(limits=SMALL)
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.request(E, b"q", pair.now, window=4)
    pair.pump()
    (request,) = pair.drain(pair.b, receiver)
    pair.b.respond_part(request, bytes(2000), pair.now)
    pair.b.respond_end(request, pair.now)
    pair.note(pair.b, pair.b.take_events())
    # About b's own request of the same number.
    about_ours = signal(codes.PART_CREDIT, request.flow.peer.key, b"", 0, request.id)
    first = pair.cb.data_to_send(300, pair.now)
    pair.cb.answer(about_ours)
    rest = pair.cb.data_to_send(1 << 20, pair.now)
    heads = [(body[0], body[1]) for body in bodies(first + rest)]
    credit = heads.index((0xF0, codes.PART_CREDIT))
    end = heads.index((0xF0, codes.END))
    assert credit < heads.index((codes.MORE, 0), credit) < end


@pytest.mark.parametrize("partials_max", [1, 2, 3])
def test_no_more_large_messages_at_once_than_agreed(partials_max: int) -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX, partials_max=partials_max))
    uuids = [bytes([number]) * 16 for number in range(5)]
    receivers = [fed.b.register(uuid, codes.UNICAST) for uuid in uuids]
    fed.pump()
    for uuid in uuids:
        fed._seq[uuid] = 0
        fed.push(uuid, uuid * 100)
    under_way: set[int] = set()
    left: dict[int, int] = {}
    most = 0
    for body in fed.written():
        if body[0] == codes.MORE:
            assert body[1] in under_way
            left[body[1]] -= len(body) - 2
            if not left[body[1]]:
                under_way.remove(body[1])
        elif body[0] & codes.HEAD_OPTIONS:
            assert body[4] not in under_way
            under_way.add(body[4])
            left[body[4]] = 1600 - WHOLE_MAX
        most = max(most, len(under_way))
    assert most == partials_max
    assert [fed.got(receiver) for receiver in receivers] == [[uuid * 100] for uuid in uuids]


def test_a_large_message_waits_for_a_number_and_small_ones_behind_it_wait_too() -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX, partials_max=1))
    fed.push(E, bytes(1000))
    fed.push(F, bytes(1000))
    fed.push(F, b"small")
    fed.pump(100)
    assert fed.got(fed.e) == [bytes(1000)]
    assert fed.got(fed.f) == [bytes(1000), b"small"]


def written_all(fed: HandFed, count: int) -> float:
    """The effort to write that many large messages of one lane."""
    for number in range(count):
        fed.push(E, b"%4d" % number + bytes(200))

    def write() -> None:
        while fed.outbox.has_messages():
            fed.outbox.write(4096, True, False, fed.now)

    return effort(write)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_large_messages_of_a_lane_are_not_moved_for_each_of_them() -> None:
    few = min(written_all(HandFed(), 250) for _ in range(3))
    many = written_all(HandFed(), 4000)
    assert many < 16 * 5 * few


def test_a_link_that_ends_between_two_large_messages_gives_back_only_what_was_not_written() -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX))
    fed.bind()
    fed.push(E, bytes(300))
    second = fed.push(E, bytes(400))
    fed.outbox.write(200, True, False, fed.now)
    assert [partial.is_written() for partial in fed.outbox._partials] == [True]
    assert fed.outbox.leftovers() == [second]


@given(
    st.lists(
        st.tuples(st.sampled_from([E, E, F, G]), st.sampled_from([0, 9, 139, 141, 300, 700])), max_size=60
    )
)
@settings(max_examples=30)
@example([(E, 300), (E, 300), *[(E, 9)] * 60, (E, 300), (F, 300)])
def test_however_large_and_small_ones_mix_each_lane_keeps_its_order(what: list[tuple[bytes, int]]) -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX, message_size_max=5000, partials_max=2))
    fed.bind()
    sent: dict[bytes, list[bytes]] = {E: [], F: [], G: []}
    outs: dict[bytes, list[Frame]] = {E: [], F: [], G: []}
    for number, (uuid, size) in enumerate(what):
        sent[uuid].append(b"%d " % number + bytes(size))
        outs[uuid].append(fed.push(uuid, sent[uuid][-1], codes.PUBLISH if uuid == G else codes.SEND))
        fed.b_reads(fed.ca.data_to_send(50, fed.now))
    for _ in range(len(what)):
        fed.b_reads(fed.ca.data_to_send(90, fed.now))
    fed.b_reads(fed.outbox.write(1 << 20, False, False, fed.now))  # what of a frame was kept back
    rest = fed.outbox.leftovers()
    assert fed.outbox.queue.size == fed.outbox.broadcasts.size == 0
    for uuid, receiver in ((E, fed.e), (F, fed.f), (G, fed.g)):
        came = fed.got(receiver)
        assert came == sent[uuid][: len(came)]
        assert [out for out in rest if out.endpoint == uuid] == outs[uuid][len(came) :]


@pytest.mark.parametrize("expires", [0, 1])
def test_small_ones_between_large_ones_are_written_by_the_frame(expires: int) -> None:
    fed = HandFed()
    fed.bind()
    sent = [bytes(2000), *[b"%2d" % number + bytes(20) for number in range(60)], bytes(301)]
    for payload in sent:
        fed.push(E, payload, expires=expires * (fed.now + 5) if payload == sent[-1] else 0)
    fed.b_reads(fed.ca.data_to_send(700, fed.now))
    fed.now += 10
    fed.pump(1000)
    assert fed.got(fed.e) == sent[: len(sent) - expires]
    assert not fed.outbox.has_messages()


def test_a_link_that_closes_ends_what_is_under_way_and_leaves_the_rest_in_order() -> None:
    fed = HandFed()
    fed.bind()
    outs = [fed.push(E, b"%d" % number + bytes(300 * (number % 3))) for number in range(30)]
    for _ in range(20):
        fed.b_reads(fed.ca.data_to_send(60, fed.now))
    fed.b_reads(fed.outbox.write(1 << 20, True, True, fed.now))
    came = fed.got(fed.e)
    assert 3 < len(came) < 30
    assert fed.outbox.leftovers() == outs[len(came) :]


# Deadlines


def test_what_ran_out_in_the_queue_is_not_written() -> None:
    fed = HandFed()
    fed.cable.block(fed.a)
    token = fed.a.send(E, b"late", fed.now, confirm=True, timeout_ms=100)
    request = fed.a.request(E, b"late", fed.now, timeout_ms=100)
    fed.now += 100  # the outbox sees it before the timer does
    assert [body for body in fed.written() if body[0] >= codes.MESSAGE] == []
    fed.note(fed.a, fed.a.take_events())
    assert [outcome.status for outcome in fed.outcomes(fed.a, token)] == [events.UNDELIVERED]
    assert [outcome.status for outcome in fed.outcomes(fed.a, request)] == [events.TIMED_OUT]
    assert fed.outbox.queue.size == 0
    fed.advance(1000)
    assert len(fed.outcomes(fed.a, token)) == len(fed.outcomes(fed.a, request)) == 1


def test_a_deadline_travels_as_the_time_left_when_written() -> None:
    fed = HandFed()
    fed.a.request(E, b"", fed.now, timeout_ms=100)
    fed.now += 60
    (body,) = (body for body in fed.written() if is_kind(body, codes.REQUEST))
    assert body[-1] == 40


# Directory


Told = tuple[int, int, int, bool, list[tuple[int, bytes, str]]]


def told(body: bytes) -> Told:
    """Realm, base, version, whether more follows, and entries of a DIRECTORY frame about its sender."""
    reader = Reader(body, 1, len(body))
    head, node = reader.u8(), reader.u8()
    assert node == codes.SENDER
    assert not head & 0x04  # HELLO has told the label
    base, version = reader.varint(), reader.varint()
    entries = []
    while reader.left():
        what, uuid, name = reader.u8(), reader.take(16), ""
        if what & 0x20:
            reader.varint()
        if what & 0x40:
            name = reader.text8()
        entries.append((what & 3, uuid, name))
    return head & 3, base, version, head & 0x20 != 0, entries


def directories(written: list[bytes]) -> list[Told]:
    return [told(body) for body in written if body[0] == codes.DIRECTORY]


def test_the_first_exchange_is_complete_even_if_there_is_nothing_to_tell() -> None:
    pair = Pair()
    for end in pair.cable.ends:
        written = bodies(end.sent)
        assert [body for body in written if body[0] == codes.DIRECTORY] == []  # HELLO has told the label
        assert written.count(b"\x09\x03") == 1
        assert written.index(b"\x09\x03") == len(written) - 1
        assert end.connection.synced


def test_many_entries_fill_several_frames_and_the_last_says_complete() -> None:
    pair = Pair(opened=False, limits=Limits(frame_size_max=128))
    uuids = [bytes([number]) * 16 for number in range(20)]
    for uuid in uuids:
        pair.b.register(uuid, codes.ANYCAST, name=f"name {uuid[0]}", cost=300)
    pair.pump(50, 7)
    told_by_b = directories(bodies(pair.cable.ends[1].sent))
    assert len(told_by_b) > 4
    assert [change[:3] for change in told_by_b] == [(codes.LOCALNET, 0, 20)] * len(told_by_b)
    assert [change[3] for change in told_by_b] == [True] * (len(told_by_b) - 1) + [False]
    assert [entry[1] for change in told_by_b for entry in change[4]] == uuids
    assert all(len(body) <= 128 for body in bodies(pair.cable.ends[1].sent)[1:])
    assert {entry.uuid: (entry.name, entry.cost) for entry in pair.a.entries()} == {
        uuid: (f"name {uuid[0]}", 300) for uuid in uuids
    }


def test_a_change_is_told_once_as_it_stands_when_written() -> None:
    pair = Pair()
    first = pair.b.register(E, codes.UNICAST, name="first")
    pair.b.deregister(first, pair.now)
    pair.b.register(E, codes.UNICAST, name="second")
    never = pair.b.register(F, codes.UNICAST)
    pair.b.deregister(never, pair.now)
    data = pair.cb.data_to_send(1000, pair.now)
    changes = [(codes.UNICAST, E, "second"), (0, F, "")]
    assert directories(bodies(data)) == [(codes.LOCALNET, 0, 5, False, changes[:1])]


def test_a_withdrawal_is_told_once_even_of_what_came_and_went_unseen() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.b.deregister(receiver, pair.now)
    never = pair.b.register(F, codes.UNICAST)
    pair.b.deregister(never, pair.now)
    assert directories(bodies(pair.cb.data_to_send(1000, pair.now))) == [
        (codes.LOCALNET, 1, 4, False, [(0, E, ""), (0, F, "")])
    ]
    assert pair.cb.data_to_send(1000, pair.now) == b""
    pair.pump()
    again = pair.b.register(F, codes.UNICAST)
    pair.b.deregister(again, pair.now)
    assert directories(bodies(pair.cb.data_to_send(1000, pair.now))) == [
        (codes.LOCALNET, 4, 6, False, [(0, F, "")])
    ]
    assert pair.seen(pair.a, events.ENDPOINT_UP)[1:] == []


def test_an_endpoint_narrower_than_the_link_is_not_told() -> None:
    pair = Pair(realm=codes.LOCALNET)
    pair.b.register(E, codes.UNICAST, codes.USERSPACE)
    pair.b.register(F, codes.UNICAST, codes.LOCALNET)
    pair.b.register(G, codes.UNICAST, codes.PROCESS)
    pair.pump()
    assert [entry.uuid for entry in pair.a.entries()] == [F]


# Bounds


def test_the_queue_takes_a_mebibyte_and_goes_on_when_a_quarter_is_left() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    flow_limit(pair.ca, 1 << 20)
    pair.cable.block(pair.a)
    payload = bytes(1000)
    fits = -(-codes.QUEUE_SIZE_MAX // (1000 + 32))
    for _ in range(fits):
        assert pair.a.send(E, payload, pair.now, wait=False) == 0
    assert codes.QUEUE_SIZE_MAX <= pair.ca.outbox.queue.size < codes.QUEUE_SIZE_MAX + 1032
    with pytest.raises(FullError):
        pair.a.send(E, payload, pair.now, wait=False)
    token = pair.a.send(E, b"waited", pair.now)
    assert token
    assert pair.a.send(E, b"waited too", pair.now)  # although small: order
    while not pair.outcomes(pair.a, token):
        assert pair.ca.outbox.queue.size > codes.QUEUE_LOW
        data = pair.ca.data_to_send(1000, pair.now)
        pair.note(pair.b, pair.cb.receive_data(data, pair.now))
        pair.note(pair.a, pair.a.take_events())
    assert pair.ca.outbox.queue.size > codes.QUEUE_LOW - 2000
    pair.cable.block(pair.a, False)
    pair.pump()
    assert [outcome.status for outcome in pair.outcomes(pair.a, token)] == [events.ACCEPTED]
    payloads = [message.payload for message in pair.drain(pair.b, receiver)]
    assert payloads == [payload] * fits + [b"waited", b"waited too"]


def flow_limit(connection: Connection, limit: int) -> None:
    """Give the flow to E all the credit there is: what counts here is the link's queue."""
    peer = adverts(connection).peer
    assert peer is not None
    node = node_of(connection)
    node.origin.flow(peer, E, 0, 0).limit = limit


def test_the_broadcast_queue_takes_a_mebibyte_then_drops_or_waits() -> None:
    pair = Pair()
    receiver = pair.b.register(G, codes.BROADCAST)
    pair.pump()
    pair.cable.block(pair.a)
    payload = bytes(10_000)
    fits = -(-codes.BROADCAST_SIZE_MAX // (10_000 + 32))
    for _ in range(fits):
        assert pair.a.publish(G, payload, pair.now, wait=False) == 0
    with pytest.raises(FullError):
        pair.a.publish(G, payload, pair.now, wait=False)
    tokens = [pair.a.publish(G, word, pair.now) for word in (b"waited", b"too")]
    pair.step()
    assert [pair.outcomes(pair.a, token) for token in tokens] == [[], []]
    pair.cable.block(pair.a, False)
    pair.pump()
    for token in tokens:
        assert [outcome.status for outcome in pair.outcomes(pair.a, token)] == [events.ACCEPTED]
    payloads = [message.payload for message in pair.drain(pair.b, receiver)]
    assert payloads == [payload] * fits + [b"waited", b"too"]


def test_a_peer_that_asks_and_never_reads_is_cut_off_one_past_the_limit() -> None:
    fed = HandFed(Limits())
    fed.cable.block(fed.b)
    nobody = b"nobody has this!"
    ask = frame(b"\x80\x01\x00\x01")
    fed.cb.receive_data(frame(b"\x80\x00\x01" + nobody + b"\x00\x01"), fed.now)
    fed.cb.receive_data(ask * (codes.ANSWERS_MAX - 1), fed.now)
    fed.b.handle_timer(fed.now)
    assert fed.b.next_deadline() != 0
    fed.note(fed.b, fed.b.handle_timer(fed.now))
    assert fed.cb.state == codes.OPEN
    fed.cb.receive_data(ask * 3, fed.now)
    assert fed.b.next_deadline() == 0
    fed.fire()
    (closed,) = fed.closings(fed.cb)
    assert (closed.code, closed.by_peer) == (codes.NOT_READING, False)
    fed.cable.block(fed.b, False)
    fed.pump()
    assert [event.code for event in fed.closings(fed.ca)] == [codes.NOT_READING]


# What is left over


def test_leftovers_are_all_that_was_not_written_whole_in_order() -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX, partials_max=1))
    fed.bind()
    outs = [fed.push(E, bytes(1000)), fed.push(E, b"held"), fed.push(F, bytes(700)), fed.push(F, b"y")]
    last = fed.push(G, b"z", codes.PUBLISH)
    fed.ca.data_to_send(100, fed.now)
    assert fed.outbox.in_pieces()
    assert fed.outbox.leftovers() == [*outs, last]
    assert not fed.outbox.has_messages()
    assert (fed.outbox.queue.size, fed.outbox.broadcasts.size) == (0, 0)
    assert fed.outbox.leftovers() == []


def test_a_message_is_plain_bytes_when_taken() -> None:
    fed = HandFed()
    fed.push(E, b"x")
    fed.pump(1, 1)
    (message,) = fed.drain(fed.b, fed.e)
    assert isinstance(message, Message)
    assert type(message.payload) is bytes


@pytest.mark.parametrize("size", [1, 50, FRAME_MAX, 10 * FRAME_MAX])
def test_a_large_message_does_not_keep_others_waiting_however_little_is_asked_for(size: int) -> None:
    fed = HandFed(Limits(frame_size_max=FRAME_MAX, partials_max=3))
    fed.bind()
    h = fed.b.register(b"endpoint-h-id-16", codes.UNICAST)
    fed.pump()
    fed._seq[b"endpoint-h-id-16"] = 0
    for uuid in (E, b"endpoint-h-id-16"):
        fed.push(uuid, bytes(20 * FRAME_MAX))
    fed.push(F, b"small")
    fed.push(G, b"small", codes.PUBLISH)
    written = 0
    while not (fed.f.queue.items and fed.g.queue.items):
        data = fed.ca.data_to_send(size, fed.now)
        written += len(data)
        fed.note(fed.b, fed.cb.receive_data(data, fed.now))
    assert written <= 6 * (FRAME_MAX + 2) + size
    while not fed.e.queue.items:
        fed.note(fed.b, fed.cb.receive_data(fed.ca.data_to_send(size, fed.now), fed.now))
    fed.pump(size)
    assert fed.got(fed.e) == fed.got(h) == [bytes(20 * FRAME_MAX)]
