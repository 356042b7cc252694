"""Streams over subjects: joined in memory, where each message can be lost or doubled; URLs, and tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from busway.drivers import nats
from busway.drivers.nats import Hub, NatsChannel

ONE, TWO = b"1" * 16, b"2" * 16


class Servers:
    """NATS, as streams see it: a message goes to those who have subscribed, or its sender hears of nobody."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.messages: deque[tuple[Session, str, bytes, str]] = deque()
        self.lose: Callable[[str, bytes], bool] = lambda subject, data: False
        self.later: list[Callable[[], object]] = []

    def run(self) -> None:
        """Until nothing is under way."""
        while self.messages or self.later:
            while self.later:
                self.later.pop(0)()
            if self.messages:
                self._deliver(*self.messages.popleft())

    def _deliver(self, sender: Session, subject: str, data: bytes, reply: str) -> None:
        if self.lose(subject, data):
            return
        there = [each for each in self.sessions if each is not sender and each.takes(subject)]
        for session in there:
            session.hub.came(subject, data, reply, "")
        if not there and reply:
            sender.hub.came(reply, b"", "", "503")


class Session:
    """One side's connection with them."""

    hub: Hub

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.subjects: set[str] = set()
        servers.sessions.append(self)

    def takes(self, subject: str) -> bool:
        return any(
            subject == each or (each.endswith("*") and subject.startswith(each[:-1]))
            for each in self.subjects
        )

    def subscribe(self, subject: str) -> None:
        self.subjects.add(subject)

    def unsubscribe(self, subject: str) -> None:
        self.subjects.discard(subject)

    def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        self.servers.messages.append((self, subject, data, reply))

    def soon(self, callback: Callable[[], object]) -> None:
        self.servers.later.append(callback)


class Side:
    """The user of a hub, which reads at once unless told otherwise."""

    def __init__(self, servers: Servers, mine: bytes, shared: bytes = b"bus") -> None:
        self.session = Session(servers)
        self.hub = self.session.hub = Hub(self.session, shared, mine, "nats://x:1", self)
        self.channels: list[NatsChannel] = []
        self.got = b""
        self.ends: list[str] = []
        self.reads = True
        self.answers: list[tuple[int, bytes, bool]] = []
        self.news: list[tuple[str, bytes, str]] = []
        self.writable = 0

    def answered(self, number: int, data: bytes, nobody: bool) -> None:
        self.answers.append((number, data, nobody))

    def heard(self, where: str, data: bytes, reply: str) -> None:
        self.news.append((where, data, reply))
        self.hub.reply(reply, b"yes")

    def reached(self, channel: NatsChannel) -> None:
        self.take(channel)

    def take(self, channel: NatsChannel) -> None:
        self.channels.append(channel)
        channel.on_readable = lambda: self.read(channel)
        channel.on_writable = self._writable

    def _writable(self) -> None:
        self.writable += 1

    def read(self, channel: NatsChannel, size: int = 1 << 20) -> None:
        if not self.reads:
            return
        try:
            data = channel.read(size)
        except OSError as error:
            self.ends.append(str(error))
            channel.close()
            return
        if data == b"":
            self.ends.append("")
            channel.close()
        self.got += data or b""

    def dial(self, other: bytes) -> NatsChannel:
        channel = self.hub.dial(other)
        self.take(channel)
        return channel


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def pair(servers: Servers) -> tuple[Side, Side, NatsChannel]:
    """Two sides with a stream between them, the first's."""
    one, two = Side(servers, ONE), Side(servers, TWO)
    channel = one.dial(TWO)
    servers.run()
    assert len(two.channels) == 1
    return one, two, channel


def test_bytes_go_both_ways_and_the_end_is_told(
    servers: Servers, pair: tuple[Side, Side, NatsChannel]
) -> None:
    one, two, channel = pair
    assert channel.write(b"hello") == 5
    servers.run()
    [back] = two.channels
    assert back.write(memoryview(b"world")) == 5
    servers.run()
    assert (two.got, one.got) == (b"hello", b"world")
    assert (channel.dialled, back.dialled) == (True, False)
    assert channel.address == f"nats://x:1/{nats.token_of(TWO)}"
    assert back.other == ONE
    channel.close()
    channel.close()
    servers.run()
    assert two.ends == [""]
    assert one.hub._streams == two.hub._streams == {}


def test_no_more_is_under_way_than_the_reader_has_room_for(
    servers: Servers, pair: tuple[Side, Side, NatsChannel]
) -> None:
    one, two, channel = pair
    two.reads = False
    one.hub.payload_max = 100_000
    data = bytes(range(256)) * 4096
    assert channel.write(data) == nats.WINDOW
    assert channel.write(b"more") == 0
    servers.run()
    assert one.writable == 0
    two.reads = True
    two.read(two.channels[0])
    servers.run()
    assert one.writable == 1
    assert two.got == data[: nats.WINDOW]
    at = nats.WINDOW
    while at < len(data):
        at += channel.write(data[at:])
        servers.run()
    assert two.got == data
    assert channel.used == two.channels[0].used == len(data)


def test_what_is_read_in_parts_is_read_on_in_turns(
    servers: Servers, pair: tuple[Side, Side, NatsChannel]
) -> None:
    _, two, channel = pair
    back = two.channels[0]
    back.on_readable = lambda: two.read(back, 10)
    channel.write(b"0123456789" * 5)
    channel.close()
    servers.run()
    assert two.got == b"0123456789" * 5
    assert two.ends == [""]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_message_that_nats_drops_is_the_end_at_both_sides(
    servers: Servers, pair: tuple[Side, Side, NatsChannel], number: int
) -> None:
    one, two, channel = pair
    count = 0

    def lose(subject: str, data: bytes) -> bool:
        nonlocal count
        count += 1
        return count == number

    servers.lose = lose
    for letter in b"abcd":
        channel.write(bytes((letter,)))
    servers.run()
    assert two.got == b"abcd"[: number - 1]
    assert "messages were lost on the way" in two.ends[0]
    assert "the other side has lost it" in one.ends[0]
    with pytest.raises(OSError, match="has lost it"):
        channel.write(b"e")


def test_a_message_that_comes_twice_is_the_end_and_is_not_read_twice(
    servers: Servers, pair: tuple[Side, Side, NatsChannel]
) -> None:
    _, two, channel = pair
    channel.write(b"a")
    servers.messages.append(servers.messages[0])
    servers.run()
    assert two.got == b"a"
    assert "lost on the way" in two.ends[0]


def test_who_is_not_there_is_known_at_once(servers: Servers) -> None:
    one = Side(servers, ONE)
    one.dial(TWO)
    servers.run()
    assert "nobody is there" in one.ends[0]
    assert one.hub._streams == {}


def test_who_has_lost_a_stream_says_so(servers: Servers, pair: tuple[Side, Side, NatsChannel]) -> None:
    one, two, channel = pair
    two.hub.lose_all("the servers are gone")
    servers.run()
    assert two.ends == [f"[Errno 104] {two.channels[0].address}: the servers are gone"]
    channel.write(b"a")
    servers.run()
    assert "the other side has lost it" in one.ends[0]
    assert two.hub.dropped == 1


def test_a_stream_whose_failure_is_read_behind_what_came(
    servers: Servers, pair: tuple[Side, Side, NatsChannel]
) -> None:
    _, two, channel = pair
    two.reads = False
    channel.write(b"abc")
    servers.run()
    two.channels[0].fail("gone")
    two.reads = True
    servers.run()
    assert two.got == b"abc"
    assert "gone" in two.ends[0]


def put(side: Side, channel: NatsChannel, data: bytes, status: str = "") -> None:
    """A message that a stranger sends to a stream of a side."""
    token = nats.token_of(side.hub.mine)
    side.hub.came(f"busway.{nats.token_of(b'bus')}.to.{token}.{channel.token}", data, "", status)


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"\2", "", "not in order"),
        (b"\x09" + bytes((0, 0, 0, 1)) + bytes(4), "", "not in order"),
        (b"\2" + bytes((0, 0, 0, 1)) + bytes((0, 0, 0, 9)) + b"x", "", "more was read than sent"),
        (b"\2" + bytes((0, 0, 0, 1)) + bytes(4) + bytes(nats.WINDOW + 1), "", "room for"),
        (b"\2" + bytes((0, 0, 0, 1)) + bytes(4), "", "not in order"),
        (b"", "408", "NATS says 408"),
    ],
)
def test_whoever_breaks_the_rules_ends_the_stream_and_nothing_else(
    servers: Servers, pair: tuple[Side, Side, NatsChannel], data: bytes, status: str, text: str
) -> None:
    _, two, _ = pair
    put(two, two.channels[0], data, status)
    servers.run()
    assert text in two.ends[0]


def test_streams_that_are_begun_wrongly_are_refused(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Side(servers, ONE), Side(servers, TWO)
    root = f"busway.{nats.token_of(b'bus')}."
    reply = f"{root}to.{nats.token_of(ONE)}.{nats.token_of(bytes(8))}"
    head = b"\1" + bytes(8)

    def begin(data: bytes, token: str = nats.token_of(bytes(8))) -> None:
        two.hub.came(f"{root}to.{nats.token_of(TWO)}.{token}", data, reply, "")

    begin(head + b"\2" + ONE)
    begin(head + b"\1" + ONE[:-1])
    begin(head + b"\1" + TWO)
    begin(head + b"\1" + ONE, "short")
    begin(b"\2" + bytes(9))
    begin(b"\4" + bytes(8))
    begin(b"\5" + bytes(8))
    two.hub.came(f"{root}to.{nats.token_of(TWO)}.xxxxxxxxxxx", b"", "", "503")
    assert two.channels == []
    assert two.hub.dropped == 5
    monkeypatch.setattr(nats, "STREAMS_MAX", 1)
    one.dial(TWO)
    servers.run()
    one.dial(TWO)
    servers.run()
    assert len(two.channels) == 1
    assert "has lost it" in one.ends[-1]


def test_questions_are_answered_to_who_asked(servers: Servers) -> None:
    one, two, three = Side(servers, ONE), Side(servers, TWO), Side(servers, b"3" * 16, b"other")
    for side in (two, three):
        side.hub.listen("who.x")
    one.hub.ask("who.x", b"me", 7)
    one.hub.ask("who.y", b"me", 8)
    servers.run()
    assert sorted(one.answers) == [(7, b"yes", False), (8, b"", True)]
    assert [each[:2] for each in two.news] == [("who.x", b"me")]
    assert three.news == []
    two.hub.leave("who.x")
    one.hub.tell("who.x", b"me")
    two.hub.reply("elsewhere", b"yes")
    servers.run()
    assert len(two.news) == 1
    assert servers.messages == deque()


def test_answers_and_subjects_that_are_none_are_left_alone(servers: Servers) -> None:
    one = Side(servers, ONE)
    inbox = f"busway.{nats.token_of(b'bus')}.to.{nats.token_of(ONE)}."
    for token in ("=", "=x", "=1" * 20, "=٣"):
        one.hub.came(inbox + token, b"", "", "")
    one.hub.came("elsewhere", b"", "", "")
    assert one.answers == []
    assert one.news == []


def test_an_abandoned_stream_says_nothing(servers: Servers, pair: tuple[Side, Side, NatsChannel]) -> None:
    _, two, channel = pair
    channel.abandon()
    channel.close()
    servers.run()
    assert two.ends == []
    with pytest.raises(OSError, match="closed"):
        channel.write(b"x")
    assert channel.fileno() == -1
    assert channel.connected()


@pytest.mark.parametrize(
    ("url", "servers", "tls", "name"),
    [
        ("nats://host", ("nats://host:4222",), False, "nats://host:4222"),
        ("nats://me:a%40b@host:5000", ("nats://me:a%40b@host:5000",), False, "nats://host:5000"),
        ("NATS://a,b:1", ("nats://a:4222", "nats://b:1"), False, "nats://a:4222,b:1"),
        ("tls://a, nats+tls://b", ("tls://a:4222", "tls://b:4222"), True, "tls://a:4222,b:4222"),
        ("nats://[::1]:4222", ("nats://[::1]:4222",), False, "nats://[::1]:4222"),
    ],
)
def test_urls_are_those_of_a_clusters_servers(
    url: str, servers: tuple[str, ...], tls: bool, name: str
) -> None:
    assert nats.is_nats(url)
    assert nats.parse(url) == (servers, tls, name)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nats://", "expected nats"),
        ("nats://host/path", "expected nats"),
        ("nats://host:99999", "ort"),
        ("nats://a,tcp://b", "not tcp"),
        ("nats://" + ",".join("abcdefgh" * 9), "at most 64"),
    ],
)
def test_urls_that_are_none(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        nats.parse(url)


def test_users_and_tokens() -> None:
    assert nats.user_of("nats://me:a%40b@host:1") == ("me", "a@b")
    assert nats.user_of("nats://host:1") == ("", "")
    assert not nats.is_nats("tcp://host")
    assert not nats.is_nats("nats")
    assert nats.bytes_of(nats.token_of(bytes(range(16)))) == bytes(range(16))
    assert nats.bytes_of("a") == b""


def test_a_hub_that_ends_refuses_nothing_that_another_with_its_id_may_know(servers: Servers) -> None:
    one, two = Side(servers, ONE), Side(servers, TWO)
    one.hub.ends = True
    again = Side(servers, ONE)
    channel = again.dial(TWO)
    channel.write(b"a")
    servers.run()
    two.channels[0].write(b"b")
    servers.run()
    assert (two.got, again.got, one.got) == (b"a", b"b", b"")
    assert two.ends == []
